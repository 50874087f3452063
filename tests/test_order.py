"""
Order, whatever fails when: nothing starts before what it needs is ready, nothing it needs stops before it.

A whole supervisor, with processes in memory that start, become ready, fall ill, die and ignore signals as a machine of
random moves says. What it does is held against what files say and what it was told, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from colony.core.desired import Listing, Readable
from colony.core.lifecycle import Waiting
from colony.core.model import Defaults, Name, Pid, Start
from colony.core.report import Report
from colony.core.wire import parse_message
from colony.supervisor import Supervisor
from tests.fakes import FakeChecks, FakeMemory, FakeProcess, FakeSpawner
from tests.strategies import steady

# Any is a JSON value.

NAMES = tuple(map(Name, "abcdef"))
KILLTIME = 5.0

_name = st.sampled_from(NAMES)


class Watched(FakeSpawner):
    """A spawner that holds every start and every first signal against the order."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def spawn(self, start: Start, ended: Any) -> Pid:
        self.world.about_to_start(start)
        pid = super().spawn(start, ended)
        if start.spec.ready is None:
            self.world.ready.add(pid)
        return pid

    def kill(self, pid: Pid, signal_name: str) -> None:
        [process] = [process for process in self.started if process.pid == pid]
        if not process.signals and process.main:
            self.world.about_to_stop(process)
        super().kill(pid, signal_name)
        self.world.signalled(process, signal_name)


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.files: dict[Name, dict[str, Any]] = {}
        self.rank: dict[Name, int] = {}
        self.stopped: set[Name] = set()
        self.doomed: set[Pid] = set()
        self.ready: set[Pid] = set()
        self.well: set[Name] = set()
        self.deaf = False
        self.closed = False
        self.hurried = False
        self.over: list[object] = []
        self.wrong: list[str] = []
        self.spawner = Watched(self)
        self.checks = FakeChecks()
        self.reports: list[Report] = []
        self.supervisor = Supervisor(
            self.clock,
            self.spawner,
            self.checks,
            FakeMemory(),
            "c0",
            Defaults(threshold=1, killtime=KILLTIME, initial=1, limit=4),
            self.reports.append,
            self.scan,
            lambda: True,
            lambda name, exit: None,
        )

    # -- what is true, as files and requests say

    def after(self, name: Name) -> list[Name]:
        return self.files[name]["after"] if name in self.files else []

    def wanted(self, name: Name) -> bool:
        return name in self.files and name not in self.stopped and not self.closed

    def alive(self, name: Name) -> FakeProcess | None:
        return next((process for process in self.spawner.running if process.start.name == name), None)

    def stays(self, process: FakeProcess) -> bool:
        """Is it to go on running, as far as anybody has asked for anything?"""
        return self.wanted(process.start.name) and process.pid not in self.doomed

    def is_of_use(self, name: Name) -> bool:
        process = self.alive(name)
        if process is None:
            return name in self.well and self.wanted(name)
        return process.main and process.pid in self.ready and self.stays(process)

    def followers(self, name: Name) -> Iterator[FakeProcess]:
        """Whatever runs and needs it, as it was started, directly or through others."""
        needs = {one: set(self.after(one)) for one in NAMES}
        needs |= {process.start.name: set(process.start.spec.after) for process in self.spawner.running}
        found, coming = set(), [name]
        while coming:
            need = coming.pop()
            for one in NAMES:
                if need in needs[one] and one not in found:
                    found.add(one)
                    coming.append(one)
        return (process for process in self.spawner.running if process.start.name in found - {name})

    # -- what it does

    def about_to_start(self, start: Start) -> None:
        self.hold(self.wanted(start.name), f"{start.name} starts, and nobody wants it")
        for need in self.after(start.name):
            self.hold(self.is_of_use(need), f"{start.name} starts, and {need} is not ready")
        self.well.discard(start.name)

    def about_to_stop(self, process: FakeProcess) -> None:
        if self.hurried or self.stays(process):  # it is late, or not well
            return
        for other in self.followers(process.start.name):
            stopped = f"{process.start.name} is stopped before {other.start.name}, which needs it"
            self.hold(self.stays(other), stopped)

    def hold(self, true: bool, otherwise: str) -> None:
        """Remember what is wrong: whom the supervisor calls cannot fail a test."""
        if not true:
            self.wrong.append(otherwise)

    def signalled(self, process: FakeProcess, signal: str) -> None:
        if signal == "KILL" or not self.deaf:
            self.clock.callLater(0, self.end, process, None, signal)

    def end(self, process: FakeProcess, code: int | None, signal: str | None = None) -> None:
        if process.main:
            if (
                self.stays(process)
                and code == 0
                and not process.signals
                and process.start.spec.restart.when != "always"
            ):
                self.well.add(process.start.name)
            process.exits(code, signal)

    def scan(self) -> bool:
        self.supervisor.take(Listing({name: self.content(name) for name in self.files}))
        return True

    def content(self, name: Name) -> Readable:
        return Readable(json.dumps(self.files[name]).encode())

    def rest(self) -> None:
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def ask(self, kind: str, **fields: str) -> None:
        if not self.closed:
            self.supervisor.obey(parse_message(json.dumps({"type": kind, **fields}).encode()))
            self.rest()

    def doom(self, names: Iterable[Name]) -> None:
        chosen = set(names)
        self.doomed |= {process.pid for process in self.spawner.running if process.start.name in chosen}
        self.well -= chosen

    def group(self) -> set[Name]:
        return {name for name, file in self.files.items() if file["group"]}

    # -- what happens

    @initialize(called=st.permutations(NAMES))
    def begin(self, called: list[Name]) -> None:
        self.rank = {name: index for index, name in enumerate(called)}
        self.supervisor.restore({}, frozenset())

    @rule(
        names=st.sets(_name, min_size=1, max_size=3),
        after=st.sets(_name, max_size=3),
        when=st.sampled_from(["always", "always", "failure", "never"]),
        ready=st.booleans(),
        health=st.booleans(),
        grouped=st.booleans(),
        number=st.integers(1, 2),
    )
    def write(
        self, names: set[Name], after: set[Name], when: str, ready: bool, health: bool, grouped: bool, number: int
    ) -> None:
        """Files of one look; needs point one way, so that there are no cycles."""
        for name in names:
            file = {
                "args": ["run", str(number)],
                "after": sorted(need for need in after if self.rank[need] < self.rank[name]),
                "group": ["g"] if grouped else [],
                "restart": {"when": when, "jitter": 0},
                **({"ready": {"tcp": 1, "timeout": 3}} if ready else {}),
                **({"health": {"tcp": 1, "failures": 1}} if health else {}),
            }
            if self.files.get(name) != file:
                self.doom([name])
            self.files[name] = file
        self.supervisor.take(Listing({name: self.content(name) for name in names}))
        self.rest()

    @precondition(lambda self: self.files)
    @rule(names=st.sets(_name, min_size=1))
    def remove(self, names: set[Name]) -> None:
        gone = names & set(self.files)
        self.doom(gone)
        for name in gone:
            del self.files[name]
        self.stopped -= gone
        self.supervisor.take(Listing(gone=frozenset(gone)))
        self.rest()

    @precondition(lambda self: self.files)
    @rule(name=_name, grouped=st.booleans())
    def stop(self, name: Name, grouped: bool) -> None:
        names = self.group() if grouped else {name} & set(self.files)
        self.stopped |= names
        self.well -= names
        self.ask("STOP", **({"group": "g"} if grouped else {"name": name}))

    @precondition(lambda self: self.stopped)
    @rule(name=_name, grouped=st.booleans())
    def start(self, name: Name, grouped: bool) -> None:
        names = self.group() if grouped else {name}
        self.stopped -= names
        self.ask("START", **({"group": "g"} if grouped else {"name": name}))

    @precondition(lambda self: self.files)
    @rule(name=_name)
    def restart(self, name: Name) -> None:
        if name in self.files:
            self.doom([name])
            self.stopped.discard(name)
            self.ask("RESTART", name=name)

    @precondition(lambda self: self.files)
    @rule(grouped=st.booleans())
    def restart_many(self, grouped: bool) -> None:
        self.doom((self.group() if grouped else set(self.files)) - self.stopped - self.well)
        if grouped:
            self.ask("RESTART-GROUP", group="g")
        else:
            self.ask("RESTART-ALL")

    @precondition(lambda self: any(watch.what == watch.spec.ready for watch in self.checks.watched.values()))
    @rule(data=st.data())
    def become_ready(self, data: st.DataObject) -> None:
        starting = [watch for watch in self.checks.watched.values() if watch.what == watch.spec.ready]
        watch = data.draw(st.sampled_from(starting))
        self.ready.add(watch.pid)
        watch.is_ready()
        self.rest()

    @precondition(lambda self: any(watch.what == watch.spec.health for watch in self.checks.watched.values()))
    @rule(data=st.data())
    def fall_ill(self, data: st.DataObject) -> None:
        well = [watch for watch in self.checks.watched.values() if watch.what == watch.spec.health]
        data.draw(st.sampled_from(well)).is_ill()
        self.rest()

    @precondition(lambda self: any(process.main for process in self.spawner.running))
    @rule(data=st.data(), code=st.integers(0, 1))
    def die(self, data: st.DataObject, code: int) -> None:
        process = data.draw(st.sampled_from([process for process in self.spawner.running if process.main]))
        self.end(process, code)
        self.rest()

    @rule(deaf=st.booleans())
    def change_who_listens(self, deaf: bool) -> None:
        self.deaf = deaf

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.rest()

    @precondition(lambda self: len(self.spawner.started) > 4)
    @rule(hurry=st.booleans())
    def close(self, hurry: bool) -> None:
        self.closed = True
        _ = self.supervisor.close().addCallback(self.over.append)
        if hurry:
            self.hurried = True
            self.supervisor.insist()
        self.rest()

    # -- what must be

    @invariant()
    def everything_was_in_order(self) -> None:
        assert self.wrong == []

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Given time, whatever is wanted and has what it needs runs, unless its policy wants no more."""
        for name in self.files:
            if not self.wanted(name) or self.alive(name) is not None or not all(map(self.is_of_use, self.after(name))):
                continue
            self.supervisor.flush()
            unit = self.reports[-1].units[name]
            assert not isinstance(unit.state, Waiting), f"{name} waits for {unit.state.missing}"

    def teardown(self) -> None:
        """In the end everything ends, in order."""
        self.close(hurry=False)
        for _ in range(len(NAMES) * 2 + 2):
            self.clock.advance(KILLTIME)
            self.rest()
        assert not self.spawner.running
        assert self.over


TestWorld = World.TestCase
TestWorld.settings = settings(steady, max_examples=150, stateful_step_count=50)
