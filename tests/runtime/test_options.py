"""The options of ``twisted colony`` become settings, or one line that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colony.core.model import Defaults
from colony.options import Options, Settings


def read(*arguments: str, **environ: str) -> Settings:
    options = Options()
    options.parseOptions(list(arguments))
    return Settings.read(options, environ)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_directories_are_enough(here: Path) -> None:
    settings = read("--config", "c", "--messages", "m")
    trusted = frozenset({0}) if os.geteuid() == 0 else None
    places = str(here / "c"), str(here / "m"), str(here / "c.state")
    assert settings == Settings(*places, None, 10.0, Defaults(), trusted)
    assert list(here.iterdir()) == []


def test_directories_may_come_from_the_environment_and_options_come_first(here: Path) -> None:
    environ = {"COLONY_CONFIG": "/e/c", "COLONY_MESSAGES": "/e/m", "COLONY_STATE": "/e/s"}
    settings = read(**environ)
    assert (settings.config, settings.messages, settings.state) == ("/e/c", "/e/m", "/e/s")
    settings = read("--config", "/o/c", "--messages", "/o/m", "--state", "/o/s", **environ)
    assert (settings.config, settings.messages, settings.state) == ("/o/c", "/o/m", "/o/s")


def test_state_is_beside_what_config_really_is_and_so_is_the_token(here: Path) -> None:
    (here / "real").mkdir()
    (here / "link").symlink_to("real")
    by_link, by_name = read("--config", "link", "--messages", "m"), read("--config", "real", "--messages", "m")
    assert by_link.state == by_name.state == str(here / "real.state")
    assert by_link.colony == by_name.colony
    assert len(by_name.colony) == 16
    assert by_name.colony != read("--config", "other", "--messages", "m").colony


def test_cgroups_are_for_who_asks_for_them(here: Path) -> None:
    assert not read("--config", "c", "--messages", "m").cgroups
    assert read("--config", "c", "--messages", "m", "--cgroups").cgroups


def test_every_duration_reaches_its_default(here: Path) -> None:
    settings = read(*"--config c --messages m --freq 0.5 -t 2 -k 0 -m 0.1 -M 60 --pid p".split())
    assert settings.frequency == 0.5
    assert settings.defaults == Defaults(threshold=2.0, killtime=0.0, initial=0.1, limit=60.0)
    assert settings.pids == str(here / "p")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("", "colony: --config DIR is required (or COLONY_CONFIG)"),
        ("--config c", "colony: --messages DIR is required (or COLONY_MESSAGES)"),
        ("--config x --messages x", "colony: --config and --messages are the same directory"),
        ("--config x --messages ./x", "colony: --config and --messages are the same directory"),
        ("--config c --messages m --state m", "colony: --state and --messages are the same directory"),
        ("--config c --messages m --state c/", "colony: --state and --config are the same directory"),
        ("--config file --messages m", "colony: --config file is not a directory"),
        ("--config c --messages m web", "colony: takes no 'web'"),
        ("--config c --messages m --nonsense", "colony: option --nonsense not recognized"),
        ("--config c --messages m -k five", "colony: --killtime five is no number of seconds"),
        ("--config c --messages m -k -1", "colony: --killtime -1 is no number of seconds"),
        ("--config c --messages m -t nan", "colony: --threshold nan is no number of seconds"),
        ("--config c --messages m -M inf", "colony: --maxrestartdelay inf is no number of seconds"),
        (
            "--config c --messages m --frequency 0",
            "colony: --frequency 0 is no number of seconds of at least 0.01",
        ),
    ],
)
def test_a_mistake_is_one_line(here: Path, arguments: str, why: str) -> None:
    (here / "file").touch()
    with pytest.raises(SystemExit) as raised:
        read(*arguments.split())
    assert raised.value.code == why


@pytest.mark.skipif(os.geteuid() != 0, reason="files are judged where root would obey them")
def test_root_trusts_itself_and_whom_it_is_told_to_by_name_or_by_number(here: Path) -> None:
    config = ["--config", "c", "--messages", "m"]
    assert read(*config).trusted == frozenset({0})
    assert read(*config, "--trust-user", "daemon", "--trust-user=54321").trusted == frozenset({0, 1, 54321})
    assert read(*config, "--trust-user", "daemon", "--no-strict-modes").trusted is None
    os.seteuid(65534)
    try:
        assert read(*config).trusted is None
    finally:
        os.seteuid(0)


def test_a_trusted_user_that_is_not_there_is_refused(here: Path) -> None:
    with pytest.raises(SystemExit, match=r"^colony: --trust-user no-such: no such user$"):
        read("--config", "c", "--messages", "m", "--trust-user", "no-such")
