"""A process that a killed supervisor has left runs on: found by what was recorded, listened to, signalled, mourned."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from colony.core.lifecycle import Emptied, Exited, Learned
from colony.core.model import Exit, Name, Pid, ProcessSpec, RestartPolicy, Survivor
from colony.runtime import family, logs, proc
from colony.runtime.adopt import survivors
from colony.runtime.records import Record
from tests.runtime.loop import BOUND, Loop, descriptors, lives, said
from tests.runtime.machine import Machine

SPEC = ProcessSpec(("web",), digest="d")


class Former:
    """A supervisor that is no more: what it started is init's child, and writes to a FIFO that somebody else made."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.machine = Machine(loop, folder)
        self.loop = loop
        self.before = descriptors()

    def left(self, script: str, env: dict[str, str] | None = None) -> Survivor:
        """A shell that runs ``script``, in a session of its own."""
        start = os.urandom(8).hex()
        token = f"{'c' * 16}.{start}"
        fifo = self.machine.pipes / f"web.{start}"
        os.mkfifo(fifo)
        subprocess.run(
            ["sh", "-c", f'setsid sh -c "$0" 1<>{fifo} 2>&1 &', f"echo $$ > pid.new; mv pid.new pid; {script}"],
            env={"PATH": os.environ["PATH"], "COLONY_TOKEN": token} if env is None else env,
            cwd=self.machine.folder,
            check=True,
        )
        pid = Pid(self.machine.number("pid"))
        return Survivor(Name("web"), token, "d", 1, pid, 0.0, True, False)

    def adopt(self, survivor: Survivor, spec: ProcessSpec = SPEC) -> Pid:
        self.machine.spawner.adopt(survivor, spec, self.machine.events.append)
        self.machine.pids.append(survivor.pid)
        return survivor.pid


@pytest.fixture
def former(loop: Loop, tmp_path: Path) -> Iterator[Former]:
    former = Former(loop, tmp_path)
    yield former
    former.machine.close()


def test_what_it_wrote_meanwhile_and_writes_from_now_on_is_relayed(former: Former) -> None:
    survivor = former.left("echo before; while [ ! -e go ]; do sleep 0.01; done; echo after; exit 3")
    pid = former.adopt(survivor)
    former.machine.await_output(b"before\n")
    (former.machine.folder / "go").touch()
    former.machine.await_end(pid)
    assert former.machine.output.text == b"before\nafter\n"


def test_its_end_is_told_at_once_its_code_when_the_kernel_knows_it_and_then_nothing_is_left(former: Former) -> None:
    survivor = former.left("while [ ! -e go ]; do sleep 0.01; done; exit 3")
    pid = former.adopt(survivor)
    (former.machine.folder / "go").touch()
    assert former.machine.await_end(pid) in (Exit(None), Exit(3))
    assert list(former.machine.pipes.iterdir()) == []
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        pytest.skip("Linux tells of it since 6.15")
    ended, reaped = time.monotonic(), float("inf")
    while descriptors() != former.before:
        former.loop.turn(0.005)
        if proc.stat(pid) is None:
            reaped = min(reaped, time.monotonic() - ended)
        assert time.monotonic() - ended < BOUND
    # Whether the code is known in time is init's to say: it is asked for during five seconds.
    known = former.machine.exit_of(pid) == Exit(3) or Learned(pid, Exit(3)) in former.machine.events
    assert known or reaped > 4.5


def test_where_the_code_decides_the_end_waits_for_it_a_little(former: Former) -> None:
    survivor = former.left("while [ ! -e go ]; do sleep 0.01; done; exit 3")
    pid = former.adopt(survivor, ProcessSpec(("web",), digest="d", restart=RestartPolicy(when="failure")))
    (former.machine.folder / "go").touch()
    assert former.machine.await_end(pid) in (Exit(None), Exit(3))


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_a_signal_reaches_it_and_its_group(former: Former, signal: str) -> None:
    survivor = former.left("sleep 1000 & echo $! > child; wait")
    pid = former.adopt(survivor)
    child = former.machine.number("child")
    former.machine.spawner.kill(pid, signal)
    former.machine.await_end(pid)
    assert not lives(pid)
    assert not lives(child)


def test_whoever_it_leaves_behind_is_told_of_and_can_be_signalled(former: Former) -> None:
    survivor = former.left("sleep 1000 & echo $! > child; while [ ! -e go ]; do sleep 0.01; done")
    pid = former.adopt(survivor)
    child = former.machine.number("child")
    (former.machine.folder / "go").touch()
    former.loop.until(lambda: former.machine.events)
    [event] = former.machine.events
    assert isinstance(event, Exited)
    assert not event.alone
    former.machine.spawner.kill(pid, "TERM")
    former.loop.until(lambda: Emptied(pid) in former.machine.events)
    assert not lives(child)


def test_a_signal_is_for_the_process_that_was_seen_and_not_for_a_later_one_of_its_number(former: Former) -> None:
    pid = former.adopt(former.left("exec sleep 1000"))
    seen = proc.stat(pid)
    assert seen is not None
    family.send(attrs.evolve(seen, start_time=seen.start_time - 1), signal.SIGKILL)
    former.loop.during(0.05)
    assert lives(pid)
    family.send(seen, signal.SIGKILL)
    former.machine.await_end(pid)


def test_one_that_does_not_run_any_more_is_an_error_and_nothing_is_told(former: Former) -> None:
    survivor = former.left("exit 3")
    former.loop.until(lambda: not lives(survivor.pid))
    with pytest.raises(ProcessLookupError):
        former.machine.spawner.adopt(survivor, SPEC, former.machine.events.append)
    former.loop.during(0.05)
    assert former.machine.events == []
    assert descriptors() == former.before


def test_one_whose_pipe_is_gone_is_kept_all_the_same(former: Former) -> None:
    survivor = former.left("sleep 1000")
    [fifo] = former.machine.pipes.iterdir()
    fifo.unlink()
    pid = former.adopt(survivor)
    former.machine.spawner.kill(pid, "KILL")
    former.machine.await_end(pid)


# -- who survived ---------------------------------------------------------------------------------------------


def record(survivor: Survivor, **changes: object) -> Record:
    found = proc.stat(survivor.pid)
    assert found is not None
    known: dict[str, object] = {"pid": survivor.pid, "start_time": found.start_time} | changes
    return Record(survivor.name, survivor.token, "d", 2, **known)  # type: ignore[arg-type]  # as given


def test_without_descriptors_it_is_kept_all_the_same_and_not_taken_for_dead(
    former: Former, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = former.left("echo here; while [ ! -e go ]; do sleep 0.01; done; echo there")
    found = proc.stat(survivor.pid)
    monkeypatch.setattr(proc, "stat", lambda pid: found)  # who it is was still to be learned
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        with said() as lines:
            pid = former.adopt(survivor)
            former.loop.during(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest)
        monkeypatch.undo()
    assert [line for line in lines if "says cannot be read" in line] == [
        "what web says cannot be read now: Too many open files"
    ]
    former.machine.await_output(b"here\n")
    (former.machine.folder / "go").touch()
    former.machine.await_end(pid)
    assert former.machine.output.text == b"here\nthere\n"
    assert list(former.machine.pipes.iterdir()) == []


def test_what_was_said_is_read_at_the_end_of_a_main_though_it_could_not_be_before(
    former: Former, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = former.left("echo last words; sleep 1 & while [ ! -e go ]; do sleep 0.01; done")  # somebody holds it
    monkeypatch.setattr(logs, "RETRY", 1000.0)
    refused = iter([True])
    opens = os.open

    def refuse_once(path: str, flags: int) -> int:
        if "/pipes/" in path and next(refused, False):
            raise OSError(24, os.strerror(24))
        return opens(path, flags)

    monkeypatch.setattr(os, "open", refuse_once)
    pid = former.adopt(survivor)
    monkeypatch.undo()
    former.loop.during(0.05)
    (former.machine.folder / "go").touch()
    former.machine.await_end(pid)
    assert former.machine.output.text == b"last words\n"


def test_a_recorded_start_that_runs_is_alive_and_goes_on_counting(former: Former) -> None:
    survivor = former.left("sleep 1000")
    [found] = survivors([record(survivor, stale=True)], str(former.machine.pipes))
    assert (found.pid, found.alive, found.stale, found.starts) == (survivor.pid, True, True, 2)
    assert found.started > 0


def test_a_number_that_somebody_else_has_by_now_is_nobody(former: Former) -> None:
    survivor = former.left("sleep 1000")
    [found] = survivors([record(survivor, start_time=1)], str(former.machine.pipes))
    assert not found.alive


@pytest.mark.parametrize("env", [None, {"PATH": os.environ["PATH"]}])
def test_an_intent_without_a_pid_is_resolved_by_token_or_by_fifo(former: Former, env: dict[str, str] | None) -> None:
    survivor = former.left("sleep 1000; true", env)
    [found] = survivors([record(survivor, pid=None, start_time=None)], str(former.machine.pipes))
    assert (found.pid, found.alive, found.starts) == (survivor.pid, True, 3)


def test_of_an_intent_that_is_a_family_by_now_the_eldest_is_the_main(former: Former) -> None:
    survivor = former.left("setsid sleep 1000 & echo $! > child; wait")
    former.adopt(survivor)
    child = former.machine.number("child")
    former.loop.until(lambda: (stat := proc.stat(child)) is not None and stat.session == child)

    [found] = survivors([record(survivor, pid=None, start_time=None)], str(former.machine.pipes))

    assert found.pid == survivor.pid


def test_an_intent_that_came_to_nothing_is_left_out(former: Former) -> None:
    intent = Record(Name("web"), f"{'c' * 16}.{'0' * 16}", "d")
    assert survivors([intent], str(former.machine.pipes)) == []
    assert survivors([], None) == []
