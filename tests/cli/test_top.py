"""``top``: what processes use, with all that they have started."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony import ctllib
from colony.cli import usage
from colony.cli.top import size
from colony.cli.usage import Process, Usage
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

# A child that leaves the session, and a grandchild whose parent is gone: both are its family's.
FAMILY = """
import os, sys, time
if not os.fork():
    os.setsid()
    time.sleep(1000)
if not os.fork():
    if not os.fork():
        time.sleep(1000)
    os._exit(0)
os.wait()
print("ready", flush=True)
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[int]:
    """The pid of a process that uses all the processor it gets, and has started two others."""
    process = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        members = usage.families([process.pid], usage.processes())[process.pid]
        for one in members:
            os.kill(one.pid, 9)
        process.communicate()


def test_top_tells_what_a_family_uses(ctl: Ctl, colony: StandIn, busy: int) -> None:
    idle = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        colony.introduce(pid=os.getpid())
        colony.tell("web", pid=busy)
        colony.tell("idle", pid=idle.pid)
        colony.tell("down", "stopped", pid=None)
        told = ctl("top", "--json").json
    finally:
        idle.kill()
        idle.wait()
    assert told["processes"][0]["name"] == "web"
    by_name = {one["name"]: one for one in told["processes"]}
    assert set(by_name) == {"web", "idle", None}
    assert by_name["web"]["pid"] == busy
    assert by_name["web"]["processes"] == 3
    assert by_name["web"]["cpu"] > 3
    assert by_name["idle"]["cpu"] < 1
    assert by_name["idle"]["processes"] == 1
    assert 1_000_000 < by_name["web"]["pss"] <= by_name["web"]["rss"]
    assert told["memory"] == "pss"


def test_top_is_a_table(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce(pid=1)
    colony.tell("web", pid=os.getpid())
    done = ctl("top", "web")
    heading, line, summary = done.out.splitlines()
    assert heading.split() == ["CPU%", "PSS", "PROCS", "PID", "UP", "NAME"]
    assert line.split()[3:] == [str(os.getpid()), "0s", "web"]
    assert "of memory (PSS)" in summary
    assert ctl("top", "typo").code == 4


def test_top_needs_a_supervisor(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("top").code == 5


def test_on_a_terminal_it_is_told_again_until_interrupted(colony: StandIn) -> None:
    colony.tell("web", pid=os.getpid())
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "colony", "top", "--every", "0.1", "--messages", str(colony.messages)],
        stdout=child,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    os.close(child)
    try:
        seen = b""
        while seen.count(b"\x1b[H\x1b[J") < 3:
            seen += os.read(parent, 4096)
        assert seen.count(b"NAME") >= 2
        process.send_signal(2)
        assert process.communicate(timeout=20)[1] == b""
        assert process.returncode == 130
    finally:
        process.kill()
        process.wait()
        os.close(parent)


def one(pid: int, parent: int = 1, session: int | None = None, cpu: float = 0.0, started: int = 1) -> Process:
    return Process(pid, parent, session or pid, started, cpu, 4096)


def test_a_family_is_a_session_and_all_that_it_has_started() -> None:
    there = {
        each.pid: each
        for each in (
            one(10),
            one(11, parent=10, session=10),
            one(12, parent=11),  # left the session
            one(13, parent=1, session=10),  # its parent is gone
            one(14, parent=12, session=12),
            one(20),
            one(21, parent=20, session=20),
        )
    }
    found = usage.families([10, 99], there)
    assert sorted(each.pid for each in found[10]) == [10, 11, 12, 13, 14]
    assert found[99] == []


def test_use_is_what_was_used_since() -> None:
    before = {10: one(10, cpu=5.0), 11: one(11, cpu=9.0, started=1)}
    family = [one(10, cpu=5.5), one(11, cpu=0.25, started=2), one(12, cpu=0.25)]
    assert usage.use(family, before, 2.0, {10: 1, 11: 2, 12: 3}, 10) == Usage(10, 3, 50.0, 3 * 4096, 6)
    assert usage.use(family, before, 2.0, {10: 1, 11: None, 12: 3}, 10).pss is None


def test_without_proc_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ctllib.Refused, match="cannot tell who uses what"):
        usage.processes(str(tmp_path / "proc"))


def test_memory_of_somebody_else_is_not_known(tmp_path: Path) -> None:
    assert usage.proportional(7, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0K"), (102400, "100K"), (1023 * 1024, "1.0M"), (5 * 1024**4, "5.0T")],
)
def test_sizes_have_three_digits_or_so(number: int, text: str) -> None:
    assert size(number) == text
