"""What every Checks does: it tells of those it watches, when something is to be told, and of nobody else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Exec, Health, Name, Pid, ProcessSpec, Readiness
from colony.runtime.asking import Asking
from tests.fakes import FakeChecks
from tests.runtime.attendance import Attendance, attending
from tests.runtime.loop import Loop

ONE, TWO = Pid(1), Pid(2)


class World(ABC):
    """A Checks, and two processes that are ready, and well, when a test says so; at first they are neither."""

    told: list[Ready | Probed]
    checks: FakeChecks

    @abstractmethod
    def probe(self, pid: Pid) -> Exec:
        """What is asked of that process."""

    @abstractmethod
    def mend(self, pid: Pid) -> None:
        """From now on it is ready, and well."""

    @abstractmethod
    def pass_time(self) -> None:
        """Let every probe be asked more than once."""

    def watch(self, pid: Pid, *, ready: bool) -> None:
        probe = self.probe(pid)
        what = Readiness(probe) if ready else Health(probe, every=0.05)
        spec = ProcessSpec(("web",), digest="", config_env=False)
        self.checks.watch(Name(f"web{pid}"), pid, spec, what, self.told.append)


class Contract:
    """To be run over each Checks by a class with a fixture ``world``."""

    def test_ready_is_told_once_and_before_it_is_what_it_lacks(self, world: World) -> None:
        world.watch(ONE, ready=True)
        world.pass_time()
        [lacking] = world.told
        assert isinstance(lacking, Probed)
        assert lacking.pid == ONE
        assert lacking.trouble
        world.mend(ONE)
        assert world.told == [lacking]
        world.pass_time()
        assert world.told == [lacking, Ready(ONE)]

    def test_what_is_ready_already_is_not_told_before_watch_returns(self, world: World) -> None:
        world.mend(ONE)
        world.watch(ONE, ready=True)
        assert world.told == []
        world.pass_time()
        assert world.told == [Ready(ONE)]

    def test_health_is_told_again_and_again_with_the_reason_or_none(self, world: World) -> None:
        world.watch(ONE, ready=False)
        world.pass_time()
        assert len(world.told) >= 2
        assert all(isinstance(event, Probed) and event.pid == ONE and event.trouble for event in world.told)
        world.mend(ONE)
        world.pass_time()
        assert world.told[-1] == Probed(ONE, None)

    def test_nothing_is_told_of_what_is_forgotten(self, world: World) -> None:
        world.watch(ONE, ready=True)
        world.watch(TWO, ready=False)
        world.checks.forget(ONE)
        world.checks.forget(TWO)
        world.mend(ONE)
        world.pass_time()
        assert world.told == []

    def test_nobody_and_somebody_twice_can_be_forgotten(self, world: World) -> None:
        world.checks.forget(ONE)
        world.watch(ONE, ready=True)
        world.checks.forget(ONE)
        world.checks.forget(ONE)

    def test_each_process_is_told_of_by_itself(self, world: World) -> None:
        world.watch(ONE, ready=True)
        world.watch(TWO, ready=True)
        world.mend(TWO)
        world.pass_time()
        assert [event for event in world.told if event.pid == TWO] == [Ready(TWO)]
        assert Ready(ONE) not in world.told

    def test_a_new_watch_of_a_process_takes_the_place_of_the_old(self, world: World) -> None:
        world.watch(ONE, ready=False)
        world.watch(ONE, ready=True)
        world.pass_time()
        assert len(world.told) == 1, "health would be told again and again"
        world.mend(ONE)
        world.pass_time()
        assert world.told[1:] == [Ready(ONE)]

    def test_health_can_be_watched_from_within_the_news_that_it_is_ready(self, world: World) -> None:
        spec = ProcessSpec(("web",), digest="", config_env=False)

        def tell(event: Ready | Probed) -> None:
            world.told.append(event)
            if isinstance(event, Ready):
                world.checks.watch(Name("web"), ONE, spec, Health(world.probe(ONE), every=0.05), tell)

        world.mend(ONE)
        world.checks.watch(Name("web"), ONE, spec, Readiness(world.probe(ONE)), tell)
        world.pass_time()
        world.pass_time()
        assert world.told[0] == Ready(ONE)
        assert set(world.told[1:]) == {Probed(ONE, None)}


class Imagined(World):
    """The fake's."""

    def __init__(self) -> None:
        self.told = []
        self.checks = FakeChecks()
        self._well: set[Pid] = set()
        self._told: set[Pid] = set()

    def probe(self, pid: Pid) -> Exec:
        return Exec(("true",))

    def mend(self, pid: Pid) -> None:
        self._well.add(pid)

    def pass_time(self) -> None:
        for watch in list(self.checks.watched.values()):
            if isinstance(watch.what, Readiness):
                if watch.pid in self._well:
                    watch.is_ready()
                elif watch.pid not in self._told:
                    self._told.add(watch.pid)
                    watch.is_unready()
                continue
            for _ in range(2):
                if watch.pid in self._well:
                    watch.is_well()
                else:
                    watch.is_ill()


class Real(World):
    """Real commands."""

    def __init__(self, attendance: Attendance) -> None:
        self.told = []
        self.checks = attendance.checks  # type: ignore[assignment]  # as the port has it
        self._attendance = attendance

    def probe(self, pid: Pid) -> Exec:
        return Exec(("/bin/sh", "-c", f"echo >> {self._asks(pid)}; test -e {self._flag(pid)}"))

    def mend(self, pid: Pid) -> None:
        self._flag(pid).touch()

    def _flag(self, pid: Pid) -> Path:
        return self._attendance.machine.folder / f"flag{pid}"

    def _asks(self, pid: Pid) -> Path:
        return self._attendance.machine.folder / f"asks{pid}"

    def _asked(self, pid: Pid) -> int:
        path = self._asks(pid)
        return path.stat().st_size if path.exists() else 0

    def pass_time(self) -> None:
        """Until each has been asked three times, so that two answers at least were taken in."""
        before = {pid: self._asked(pid) for pid in (ONE, TWO)}
        asking = self._attendance.checks._watches

        def is_over(pid: Pid) -> bool:
            watch = asking.get(pid)
            return watch is None or (isinstance(watch, Asking) and watch._over)

        self._attendance.loop.until(
            lambda: all(is_over(pid) or self._asked(pid) >= before[pid] + 3 for pid in (ONE, TWO))
        )
        self._attendance.loop.during(0.1)


class TestInMemory(Contract):
    @pytest.fixture
    def world(self) -> World:
        return Imagined()


class TestReal(Contract):
    @pytest.fixture
    def world(self, loop: Loop, tmp_path: Path) -> Iterator[World]:
        with attending(loop, tmp_path) as attendance:
            yield Real(attendance)
