"""``completion`` and ``man``: made of the parsers, and understood by the programs that they are for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from colony.cli import EXIT_CODES, VERBS, grammar
from colony.core import check
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

Complete = Callable[..., list[str]]


@pytest.fixture
def config(dead: StandIn) -> Path:
    """Two processes, and what is none."""
    for name in ("web", "worker@1.json", "web.bak", ".hidden", "web~", "a b"):
        (dead.config / name).write_text("{}")
    (dead.config / "folder").mkdir()
    return dead.config


def _shell(name: str, *arguments: str, cwd: Path, **environment: str) -> str:
    command = shutil.which(name)
    if command is None:
        pytest.skip(f"there is no {name}")
    done = subprocess.run(
        [command, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


BASH = r"""
source "$1"; shift
COMP_LINE=$1; COMP_POINT=${#COMP_LINE}
# As readline takes a line apart: at = and : and @ too.
mapfile -t COMP_WORDS < <(grep -oE '[=:@]|[^[:space:]=:@]+' <<< "$COMP_LINE")
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_colony
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def bash(ctl: Ctl, config: Path, tmp_path: Path) -> Complete:
    """What bash, with our script, offers for a line."""
    done = ctl("completion", "bash")
    assert done.code == 0
    (tmp_path / "script").write_text(done.out)

    def complete(line: str, **environment: str) -> list[str]:
        environment = environment or {"COLONY_CONFIG": str(config)}
        return _shell("bash", "-c", BASH, "-", str(tmp_path / "script"), line, cwd=tmp_path, **environment).split("\n")[
            :-1
        ]

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("colony re", ["remove", "restart", "restart-all", "restart-group", "reload"]),
        ("colony ctl sta", ["start", "status"]),
        ("colony --config /nowhere sta", ["start", "status"]),
        ("colony restart ", ["web", "worker@1"]),
        ("colony restart w web wo", ["worker@1"]),
        ("colony ctl restart --wait --wait-timeout 5 wo", ["worker@1"]),
        ("colony restart worker@", ["1"]),
        ("colony restart --name=wo", ["worker@1"]),
        ("colony add new --after wo", ["worker@1"]),
        ("colony restart --config /nowhere w", [""]),
        ("colony restart --wai", ["--wait", "--wait-timeout"]),
        ("colony status -", "-o --config --messages --state --json --name --help".split()),
        ("colony --he", ["--help"]),
        ("colony --vers", ["--version"]),
        ("colony wait web --for r", ["running", "ready"]),
        ("colony wait web --for=r", ["running", "ready"]),
        ("colony wait web --for=", ["running", "ready", "stopped", "done"]),
        ("colony wait --wait-timeout ", [""]),
        ("colony signal w", ["web", "worker@1"]),
        ("colony signal web HU", ["HUP"]),
        ("colony signal web HUP x", [""]),
        ("colony add new --reload US", ["USR1", "USR2"]),
        ("colony import ", ["supervisord", "procfile", "circus"]),
        ("colony import circus scr", ["script"]),
        ("colony validate con", ["config", "config.state"]),
        ("colony --config con", ["config", "config.state"]),
        ("colony add new --cwd=mes", ["messages"]),
        ("colony add new -- scr", ["script"]),
        ("colony completion z", ["zsh"]),
        ("colony man remo", ["remove"]),
        ("colony nothing ", [""]),
        ("colony restart-all ", [""]),
    ],
)
def test_bash_offers_what_may_come(bash: Complete, tmp_path: Path, line: str, offered: list[str]) -> None:
    (tmp_path / "config.state").mkdir(exist_ok=True)
    assert sorted(bash(line)) == sorted(offered)


@pytest.mark.parametrize(
    "line", ["colony --config {} stop w", "colony stop --config={} w", "colony stop --config {} w"]
)
def test_bash_finds_names_where_the_line_says(bash: Complete, config: Path, line: str) -> None:
    assert bash(line.format(config), NOTHING="") == ["web", "worker@1"]


def test_nothing_is_offered_where_nothing_is_known_of_config(bash: Complete) -> None:
    assert bash("colony stop ", NOTHING="") == [""]


def test_fish_offers_the_same(ctl: Ctl, config: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(ctl("completion", "fish").out)
    line = "source script; for line in $argv; complete -C $line | string replace -r '\\t.*' ''; echo; end"
    lines = ["colony ctl resta", "colony restart w", "colony wait web --for r", "colony signal web HU"]
    out = _shell("fish", "--no-config", "-c", line, *lines, cwd=tmp_path, COLONY_CONFIG=str(config))
    assert [sorted(each.split()) for each in out.split("\n\n")[:-1]] == [
        ["restart", "restart-all", "restart-group"],
        ["web", "worker@1"],
        ["ready", "running"],
        ["HUP"],
    ]


def test_zsh_can_read_its_script(ctl: Ctl, config: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(ctl("completion", "zsh").out)
    _shell("zsh", "-f", "-n", "script", cwd=tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_verb_is_known_to_a_shell(ctl: Ctl, dead: StandIn, shell: str) -> None:
    script = ctl("completion", shell).out
    for each in grammar.everything():
        assert each.verb in script
        for option in each.options:
            name = option.names[-1]
            assert (f"-l {name[2:]}" if shell == "fish" and name.startswith("--") else name) in script
    assert not re.search("@[A-Z]+@", script)
    assert ctl("completion", shell, "--json").json["script"] == script


@pytest.mark.parametrize("argv", [["completion"], ["completion", "tcsh"], ["completion", "bash", "zsh"]])
def test_another_shell_is_refused(ctl: Ctl, dead: StandIn, argv: list[str]) -> None:
    assert ctl(*argv).code == 2


def test_the_litter_that_shells_know_is_what_is_ignored() -> None:
    for ending in grammar.LITTER:
        assert check.is_ignored(f"web.{ending.replace('*', 'x')}")
    assert len(grammar.LITTER) == len(re.findall(r"[a-z]+", check._IGNORED.pattern.partition("\\.(")[2]))


# -- manual pages


def test_a_page_for_each_verb_and_one_for_all(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    assert ctl("man", "--output", str(tmp_path / "man")) == (0, f"{len(VERBS) + 1} pages\n", "")
    pages = {path.name: path.read_text() for path in (tmp_path / "man").iterdir()}
    assert set(pages) == {"colony.1", *(f"colony-{verb}.1" for verb in VERBS)}
    assert ctl("man").out == pages["colony.1"]
    assert ctl("man", "add").out == pages["colony-add.1"]
    assert ctl("man", "nothing").code == 2
    assert ctl("man", "add", "--output", "x").code == 2
    assert ctl("man", "--output", "/dev/null/x").err == "colony: cannot write the pages: not a directory: /dev/null/x\n"


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_a_page_is_rendered_without_a_warning_and_says_it_all(
    ctl: Ctl, dead: StandIn, tmp_path: Path, verb: str | None
) -> None:
    page = tmp_path / "page.1"
    page.write_text(ctl("man", *([verb] if verb else [])).out)
    text = _shell("groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-ww", "page.1", cwd=tmp_path)
    words = " ".join(text.split())
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{section}\n" in text, text
    for meaning in EXIT_CODES.values():
        assert meaning in words
    if verb is None:
        assert all(each.summary in words for each in VERBS.values())
        return
    assert f"colony-{verb} - {VERBS[verb].summary}" in words
    for option in grammar.of(verb).options:
        assert ", ".join(option.names) in words
        assert " ".join(option.help.split()) in words


def test_man_itself_shows_a_page(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "page.1").write_text(ctl("man", "add").out)
    text = _shell("man", "-l", "page.1", cwd=tmp_path, MANPAGER="cat", MANWIDTH="100", LC_ALL="C")
    assert "--env K=V" in re.sub(".\b", "", text)
