"""A line in the output of a process shows that it is ready."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from colony.core.environment import finish
from colony.core.lifecycle import Ready
from colony.core.model import LogLine, Pid, ProcessSpec, Readiness, Survivor
from colony.runtime import proc
from colony.runtime.awaited import SEARCHED, AwaitedLine
from colony.runtime.logs import Channel
from colony.runtime.spawn import ProcessSpawner
from tests.runtime.attendance import Attendance, attending
from tests.runtime.loop import Loop


@pytest.fixture
def here(loop: Loop, tmp_path: Path) -> Iterator[Attendance]:
    with attending(loop, tmp_path) as attendance:
        yield attendance


def found(pattern: str, *chunks: bytes) -> bool:
    line = AwaitedLine(pattern)
    for chunk in chunks:
        line.look(chunk)
    return line.found


@pytest.mark.parametrize(
    ("pattern", "data"),
    [
        ("ready", b"now ready to serve\n"),
        ("^ready$", b"not yet\nready\n"),
        ("^ready$", b"ready\r\n"),
        ("^$", b"one\n\n"),
        ("caf. \\d+", "café 12\n".encode()),
        ("�ready", b"\xffready\n"),
        ("\x00", b"a\0b\n"),
    ],
)
def test_the_expression_is_searched_in_each_line(pattern: str, data: bytes) -> None:
    assert found(pattern, data)


@pytest.mark.parametrize(
    ("pattern", "data"),
    [("ready", b"steady\n"), ("a\nb", b"a\nb\n"), ("^$", b"one\n"), ("ready", b"x" * SEARCHED + b"ready\n")],
)
def test_it_is_not_found_across_lines_or_far_behind(pattern: str, data: bytes) -> None:
    assert not found(pattern, data)


def test_it_is_told_once() -> None:
    told: list[bool] = []
    line = AwaitedLine("x")
    line.then = lambda: told.append(True)
    for _ in range(3):
        line.look(b"x\nx\n")
    assert told == [True]


def ready_by(here: Attendance, pattern: str, script: str) -> Pid:
    start = here.machine.start("/bin/sh", "-c", script)
    object.__setattr__(start.spec, "ready", Readiness(LogLine(pattern)))
    return here.machine.spawn(start)


def test_a_process_is_ready_when_it_has_written_the_line(here: Attendance) -> None:
    go = here.machine.folder / "go"
    os.mkfifo(go)
    pid = ready_by(here, "^listening on [0-9]+$", f"echo listening; cat {go}; sleep 1000")
    here.attend(LogLine("^listening on [0-9]+$"), pid, ready=True)
    here.machine.await_output(b"listening\n")
    with go.open("wb", buffering=0) as writing:
        writing.write(b"listening on 80")
        here.loop.during(0.1)
        assert here.told == []
        writing.write(b"80\n")
        here.await_ready(pid)


def test_a_line_written_before_anybody_asked_counts(here: Attendance) -> None:
    pid = ready_by(here, "listening", "echo listening >&2; sleep 1000")
    here.machine.await_output(b"listening")
    here.attend(LogLine("listening"), pid, ready=True)
    assert here.told == []
    here.await_ready(pid)
    here.loop.during(0.05)
    assert here.told == [Ready(pid)]


def test_a_line_that_comes_in_pieces_is_one(here: Attendance) -> None:
    pid = ready_by(
        here, "^listening on 80$", "printf listen; sleep 0.1; printf 'ing on '; sleep 0.1; echo 80; sleep 99"
    )
    here.attend(LogLine("^listening on 80$"), pid, ready=True)
    here.await_ready(pid)


def test_forgotten_it_is_not_told(here: Attendance) -> None:
    pid = ready_by(here, "listening", "sleep 0.1; echo listening; sleep 1000")
    here.attend(LogLine("listening"), pid, ready=True)
    here.checks.forget(pid)
    here.machine.await_output(b"listening")
    here.loop.during(0.05)
    assert here.told == []


def test_of_a_process_that_is_gone_nothing_is_told(here: Attendance) -> None:
    here.attend(LogLine("listening"), 1, ready=True)
    here.loop.during(0.05)
    assert here.told == []


def test_an_adopted_process_is_listened_to_as_well(loop: Loop, here: Attendance) -> None:
    """By a second spawner, as a supervisor after the one that started it has."""
    machine = here.machine
    start = machine.start("/bin/sh", "-c", "sleep 0.3; echo listening; sleep 1000")
    pid = machine.spawn(start)
    channel = machine.spawner._processes[pid].channel
    assert isinstance(channel, Channel)
    channel._reading = False
    loop.reactor.removeReader(channel)
    second = ProcessSpawner(
        loop.reactor, machine.output, machine.launcher, partial(finish, inherited={}), pipes=lambda: str(machine.pipes)
    )
    found = proc.stat(pid)
    assert found is not None
    survivor = Survivor(start.name, start.token, "", 1, pid, 0.0, True, False, None, found.start_time)
    spec = ProcessSpec(("x",), "", ready=Readiness(LogLine("listening")))
    second.adopt(survivor, spec, lambda event: None)
    told: list[bool] = []
    line = second.awaited_line(pid)
    assert line is not None
    line.then = lambda: told.append(True)
    loop.until(lambda: told)
    machine.spawner.kill(pid, "KILL")
    loop.until(lambda: not second.runs(pid))
