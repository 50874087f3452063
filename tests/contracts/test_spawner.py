"""What every Spawner does, whatever it starts: in memory, by posix_spawn, by fork, with and without pidfds."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.lifecycle import Emptied, Exited, Told
from colony.core.model import Exit, Name, Pid, ProcessSpec, Start
from colony.runtime.spawn import Spawner
from tests.fakes import FakeSpawner
from tests.runtime.loop import Loop
from tests.runtime.machine import Machine


class World(ABC):
    """A Spawner, and the processes that it starts, as far as a test may steer them."""

    spawner: Spawner
    events: list[Told]

    @abstractmethod
    def sleeper(self) -> Start:
        """One that runs until it gets a signal."""

    @abstractmethod
    def finisher(self) -> Start:
        """One that ends by itself, with code 3, when it is let (`finish`)."""

    @abstractmethod
    def parent(self) -> Start:
        """As `finisher`, and leaves somebody of its family behind who runs until killed."""

    @abstractmethod
    def impossible(self) -> Start:
        """One that cannot be started."""

    @abstractmethod
    def finish(self, pid: Pid) -> None:
        """Let a `finisher` or a `parent` end."""

    @abstractmethod
    def settle(self, told: int) -> None:
        """Let happen what happens, until so many events have been told."""

    @abstractmethod
    def idle(self) -> None:
        """Let happen what happens, for a while."""

    def start(self, start: Start) -> Pid:
        return self.spawner.spawn(start, self.events.append)


class Contract:
    """To be run over each Spawner by a class with a fixture ``world``."""

    def test_what_is_started_has_a_pid_of_its_own(self, world: World) -> None:
        pids = [world.start(world.sleeper()) for _ in range(3)]
        assert len(set(pids)) == 3
        assert world.events == []

    def test_an_end_by_itself_is_told_once_with_its_code(self, world: World) -> None:
        pid = world.start(world.finisher())
        world.finish(pid)
        world.settle(1)
        world.idle()
        assert world.events == [Exited(pid, Exit(3), alone=True)]

    @pytest.mark.parametrize("signal", ["TERM", "KILL", "HUP"])
    def test_a_signal_ends_it_and_is_told_as_what_ended_it(self, world: World, signal: str) -> None:
        pid, other = world.start(world.sleeper()), world.start(world.sleeper())
        world.spawner.kill(pid, signal)
        world.settle(1)
        world.idle()
        assert world.events == [Exited(pid, Exit(None, signal), alone=True)]
        assert pid != other

    def test_nothing_is_told_before_spawn_and_kill_return(self, world: World) -> None:
        pid = world.start(world.finisher())
        world.finish(pid)
        pid = world.start(world.sleeper())
        world.spawner.kill(pid, "KILL")
        assert world.events == []
        world.settle(2)

    def test_whoever_is_left_behind_is_told_of_and_then_its_end(self, world: World) -> None:
        pid = world.start(world.parent())
        world.finish(pid)
        world.settle(1)
        world.idle()
        assert world.events == [Exited(pid, Exit(3), alone=False)]
        world.spawner.kill(pid, "KILL")
        world.settle(2)
        world.idle()
        assert world.events == [Exited(pid, Exit(3), alone=False), Emptied(pid)]

    def test_a_signal_reaches_the_whole_family(self, world: World) -> None:
        pid = world.start(world.parent())
        world.spawner.kill(pid, "KILL")
        world.settle(1)
        world.idle()
        assert world.events[0] in [Exited(pid, Exit(None, "KILL"), alone) for alone in (False, True)]
        assert world.events[1:] in ([], [Emptied(pid)])

    def test_a_signal_to_what_has_ended_is_silent(self, world: World) -> None:
        pid = world.start(world.sleeper())
        world.spawner.kill(pid, "KILL")
        world.settle(1)
        world.spawner.kill(pid, "TERM")
        world.spawner.kill(Pid(1), "TERM")
        world.idle()
        assert len(world.events) == 1

    def test_what_cannot_be_started_is_an_oserror_and_nothing_is_told(self, world: World) -> None:
        with pytest.raises(OSError):
            world.start(world.impossible())
        world.idle()
        assert world.events == []
        assert world.start(world.sleeper()) > 0

    def test_it_can_be_started_again_from_within_the_news_of_its_end(self, world: World) -> None:
        pids: list[Pid] = []

        def again(event: Told) -> None:
            world.events.append(event)
            if len(pids) < 3:
                pids.append(world.spawner.spawn(world.sleeper(), again))
                world.spawner.kill(pids[-1], "KILL")

        first = world.spawner.spawn(world.sleeper(), again)
        world.spawner.kill(first, "KILL")
        world.settle(4)
        assert [event.pid for event in world.events] == [first, *pids]


class Imagined(World):
    """Those of the fake: what they are told to do, they do when they are given time."""

    def __init__(self) -> None:
        self.fake = FakeSpawner()
        self.fake.refusals["impossible"] = FileNotFoundError(errno.ENOENT, "no such file")
        self.spawner = self.fake
        self.events = []
        self._named = 0
        self._let: set[Pid] = set()

    def _start(self, kind: str) -> Start:
        self._named += 1
        return Start(Name(f"{kind}{self._named}"), "c.s", ProcessSpec((kind,), digest=""), b"")

    def sleeper(self) -> Start:
        return self._start("sleeper")

    def finisher(self) -> Start:
        return self._start("finisher")

    def parent(self) -> Start:
        return self._start("parent")

    def impossible(self) -> Start:
        return Start(Name("impossible"), "c.s", ProcessSpec(("impossible",), digest=""), b"")

    def finish(self, pid: Pid) -> None:
        self._let.add(pid)

    def settle(self, told: int) -> None:
        while len(self.events) < told:
            before = len(self.events)
            self.idle()
            assert len(self.events) > before, "it never came about"

    def idle(self) -> None:
        for process in self.fake.running:
            if process.signals and process.main:
                process.exits(None, process.signals[0])
            elif process.signals:
                process.empties()
            elif process.pid in self._let and process.main:
                process.exits(3, leaving=process.start.name.startswith("parent"))


class Real(World):
    """Real ones."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.spawner = machine.spawner
        self.events = machine.events

    def start(self, start: Start) -> Pid:
        return self.machine.spawn(start)

    def sleeper(self) -> Start:
        return self.machine.start("sleep", "1000")

    def finisher(self) -> Start:
        return self.machine.start("/bin/sh", "-c", f"read line < {self._gate()}; exit 3")

    def parent(self) -> Start:
        return self.machine.start("/bin/sh", "-c", f"sleep 1000 & read line < {self._gate()}; exit 3")

    def _gate(self) -> Path:
        path = self.machine.folder / "gate"
        if not path.exists():
            os.mkfifo(path)
            path.chmod(0o666)
        return path

    def impossible(self) -> Start:
        return self.machine.start("/nothing/there")

    def finish(self, pid: Pid) -> None:
        # Waits until somebody reads.
        with self._gate().open("w") as gate:
            gate.write("go\n")

    def settle(self, told: int) -> None:
        self.machine.loop.until(lambda: len(self.events) >= told)

    def idle(self) -> None:
        self.machine.loop.during(0.08)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def closing(machine: Machine) -> Iterator[World]:
    yield Real(machine)
    machine.close()


class TestInMemory(Contract):
    @pytest.fixture
    def world(self) -> World:
        return Imagined()

    def test_a_signal_to_what_has_ended_is_silent(self, world: World) -> None:
        """The fake is stricter than the port: whoever signals nobody has not listened."""
        pid = world.start(world.sleeper())
        world.spawner.kill(pid, "KILL")
        world.settle(1)
        with pytest.raises(AssertionError, match="a signal to nobody"):
            world.spawner.kill(pid, "TERM")


class TestByPosixSpawn(Contract):
    @pytest.fixture
    def world(self, loop: Loop, folder: Path) -> Iterator[World]:
        yield from closing(Machine(loop, folder))


class TestByFork(Contract):
    @pytest.fixture
    def world(self, loop: Loop, folder: Path) -> Iterator[World]:
        if os.geteuid() != 0:
            pytest.skip("only root starts as somebody else, and only then is there a fork")
        for above in folder.parents:
            if above.stat().st_uid == 0 and str(above).startswith("/tmp/"):
                above.chmod(above.stat().st_mode | 0o011)
        yield from closing(Machine(loop, folder, uid=65534, gid=65534))


class TestWithPlainPipes(Contract):
    @pytest.fixture
    def world(self, loop: Loop, folder: Path) -> Iterator[World]:
        yield from closing(Machine(loop, folder, fifo=False))


class TestInOneSession(Contract):
    @pytest.fixture
    def world(self, loop: Loop, folder: Path) -> Iterator[World]:
        yield from closing(Machine(loop, folder, own_session=False))


class TestWithoutPidfds(Contract):
    @pytest.fixture
    def world(self, loop: Loop, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        monkeypatch.delattr(os, "pidfd_open")
        yield from closing(Machine(loop, folder))
