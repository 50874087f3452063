"""ctl and a real supervisor: what one asks, the other does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colony import ctllib
from colony.ctllib import Places

pytestmark = pytest.mark.live

CHECKOUT = Path(__file__).resolve().parent.parent.parent

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """A supervisor of its own."""
    config, messages = tmp_path / "config", tmp_path / "messages"
    config.mkdir()
    messages.mkdir()
    places = Places(str(config), str(messages))
    command = [sys.executable, "-m", "twisted", "colony", "--config", str(config), "--messages", str(messages)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
    with open(tmp_path / "log", "wb") as log:
        supervisor = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 20
        while not (ctllib.alive(places) and (messages / ".state").exists()):
            assert supervisor.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.01)
        yield places
    finally:
        supervisor.terminate()
        assert supervisor.wait(20) == -signal.SIGTERM


@pytest.fixture
def ctl(places: Places) -> Run:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
        environment |= {"COLONY_CONFIG": str(places.config), "COLONY_MESSAGES": str(places.messages)}
        command = [sys.executable, "-m", "colony", "ctl", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=30)

    return run


def pid(ctl: Run, name: str = "web") -> int:
    return int(ctl("status", name, "-o", "pid").stdout)


def runs(pid: int) -> bool:
    """Is it there, and no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_goes_through_its_whole_life(ctl: Run) -> None:
    done = ctl("add", "web", "--wait", "--", "sleep", "1000")
    assert (done.returncode, done.stdout, done.stderr) == (0, "added\n", "")
    first = pid(ctl)
    assert runs(first)

    assert ctl("add", "web", "--wait", "--", "sleep", "1000").stdout == "unchanged\n"
    assert pid(ctl) == first

    assert ctl("add", "web", "--wait", "--", "sleep", "1001").stdout == "changed\n"
    second = pid(ctl)
    assert not runs(first)
    assert Path(f"/proc/{second}/cmdline").read_bytes() == b"sleep\x001001\0"

    assert ctl("restart", "web", "--wait").returncode == 0
    third = pid(ctl)
    assert third != second
    assert not runs(second)

    assert ctl("stop", "web", "--wait").returncode == 0
    assert not runs(third)
    assert ctl("status").returncode == 0
    done = ctl("add", "web", "--wait", "--", "sleep", "1002")
    assert (done.returncode, done.stderr) == (
        1,
        "colony: web is stopped: a STOP is in force; sent TERM, killed by TERM\n",
    )

    assert ctl("start", "web", "--wait").returncode == 0
    fourth = pid(ctl)
    assert Path(f"/proc/{fourth}/cmdline").read_bytes() == b"sleep\x001002\0"
    assert ctl("diff").returncode == 0

    assert ctl("remove", "web", "--wait").returncode == 0
    assert not runs(fourth)
    assert ctl("status", "web").returncode == 4
    assert ctl("wait", "web", "--for", "stopped").returncode == 0


def test_what_cannot_run_is_told_by_every_verb_that_looks(ctl: Run, places: Places) -> None:
    done = ctl("add", "web", "--wait", "--", "/nowhere/at/all")
    assert done.returncode == 1
    assert "/nowhere/at/all" in done.stderr
    done = ctl("status")
    assert done.returncode == 3
    assert "/nowhere/at/all" in done.stdout
    assert ctl("wait", "web", "--timeout=0.2").returncode == 124

    Path(str(places.config), "web").write_text("{")
    assert ctl("scan").returncode == 0
    assert ctl("diff").stdout == "broken web\n"
    assert "! web: not JSON" in ctl("status").stdout
    assert ctl("validate").returncode == 2
    assert json.loads(ctl("show", "web", "--json").stdout)["files"][0]["problems"]


def test_a_typo_is_refused_and_the_next_request_works(ctl: Run) -> None:
    ctl("add", "web", "--wait", "--", "sleep", "1000")
    before = pid(ctl)
    done = ctl("restart", "typo")
    assert done.returncode == 4
    assert "no such process: typo" in done.stderr
    assert ctl("restart", "web", "--wait").returncode == 0
    assert pid(ctl) != before


def test_groups_are_asked_as_one(ctl: Run) -> None:
    for name in ("a", "b"):
        assert ctl("add", name, "--group=g", "--wait", "--", "sleep", "1000").returncode == 0
    assert ctl("add", "c", "--wait", "--", "sleep", "1000").returncode == 0
    before = [pid(ctl, name) for name in ("a", "b", "c")]

    assert ctl("restart-group", "g", "--wait").returncode == 0
    after = [pid(ctl, name) for name in ("a", "b", "c")]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]

    assert ctl("stop", "--group", "g", "--wait").returncode == 0
    assert not runs(after[0])
    assert not runs(after[1])
    assert ctl("restart-all", "--wait").returncode == 0
    assert not runs(after[2])
    assert ctl("status", "-o", "name,state").stdout == "a\tstopped\nb\tstopped\nc\trunning\n"


def test_a_signal_reaches_the_process(ctl: Run) -> None:
    ctl("add", "web", "--wait", "--restart", '{"when": "never"}', "--", "sleep", "1000")
    assert ctl("signal", "web", "SIGUSR1").returncode == 0
    assert ctl("wait", "web", "--for=done", "--timeout=10").returncode == 0
    assert ctl("status", "web", "-o", "last_exit.signal").stdout == "USR1\n"
