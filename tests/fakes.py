"""The outside world, in memory: processes that end when a test says so, and a memory that fails when it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from colony.core.lifecycle import Emptied, Exited, Learned, Probed, Ready, Told
from colony.core.model import Exit, Health, Name, Pid, ProcessSpec, Readiness, Rest, Start, Survivor

# Any is what a log event maps to.


Ended = Callable[[Told], None]


@attrs.define(eq=False)
class FakeProcess:
    """One process that was started or adopted: what it was started as, and every signal sent to it."""

    pid: Pid
    start: Start
    _ended: Ended
    signals: list[str] = attrs.Factory(list)
    told: list[str] = attrs.Factory(list)
    """Signals to the main alone."""
    main: bool = True
    others: bool = False

    def exits(self, code: int | None = 0, signal: str | None = None, *, leaving: bool = False) -> None:
        """The main process ends, and leaves others of its family behind or not."""
        assert self.main, "it has ended before"
        self.main, self.others = False, leaving
        self._ended(Exited(self.pid, Exit(code, signal), alone=not leaving))

    def empties(self) -> None:
        """Those whom the main process left behind end."""
        assert self.others, "nobody was left behind"
        self.others = False
        self._ended(Emptied(self.pid))

    def learns(self, code: int) -> None:
        """How the main process ended becomes known, after the fact."""
        self._ended(Learned(self.pid, Exit(code)))

    @property
    def alive(self) -> bool:
        return self.main or self.others


class FakeSpawner:
    """
    The Spawner without processes.

    ``refusals`` maps a name to what starting it raises, ``failing_kills`` to what a signal for it raises. A signal to
    nobody is a mistake, as is a second process of one name.
    """

    def __init__(self) -> None:
        self.started: list[FakeProcess] = []
        self.refusals: dict[str, Exception] = {}
        self.failing_kills: dict[str, Exception] = {}
        self.attempts: list[str] = []

    def spawn(self, start: Start, ended: Ended) -> Pid:
        self.attempts.append(start.name)
        assert not any(process.start.name == start.name for process in self.running), "two of one name"
        if start.name in self.refusals:
            raise self.refusals[start.name]
        process = FakeProcess(Pid(100 + len(self.started)), start, ended)
        self.started.append(process)
        return process.pid

    def adopt(self, survivor: Survivor, spec: ProcessSpec, ended: Ended) -> None:
        if survivor.name in self.refusals:
            raise self.refusals[survivor.name]
        start = Start(survivor.name, survivor.token, spec, b"")
        self.started.append(FakeProcess(survivor.pid, start, ended))

    def kill(self, pid: Pid, signal_name: str) -> None:
        [process] = [process for process in self.started if process.pid == pid]
        assert process.alive, "a signal to nobody"
        if process.start.name in self.failing_kills:
            raise self.failing_kills[process.start.name]
        process.signals.append(signal_name)

    def signal(self, pid: Pid, signal_name: str) -> None:
        [process] = [process for process in self.started if process.pid == pid]
        if process.main:
            process.told.append(signal_name)

    @property
    def running(self) -> list[FakeProcess]:
        """Whoever is alive, in the order of their starts."""
        return [process for process in self.started if process.alive]

    def of(self, name: str) -> FakeProcess:
        """The newest process of that name."""
        return [process for process in self.started if process.start.name == name][-1]


@attrs.define(eq=False)
class FakeWatch:
    """What is to be found out about one process, and by a test's leave is."""

    name: Name
    pid: Pid
    spec: ProcessSpec
    what: Readiness | Health
    _tell: Callable[[Ready | Probed], None]
    over: bool = False

    def is_ready(self) -> None:
        """It is found ready, which ends the watch."""
        assert not self.over, "nobody looks any more"
        assert isinstance(self.what, Readiness), "it is not asked whether it is ready"
        self.over = True
        self._tell(Ready(self.pid))

    def is_unready(self, trouble: str = "connection refused") -> None:
        """A look finds it not ready yet."""
        assert not self.over, "nobody looks any more"
        assert isinstance(self.what, Readiness), "it is not asked whether it is ready"
        self._tell(Probed(self.pid, trouble))

    def is_well(self) -> None:
        """A probe finds it well."""
        self._probed(None)

    def is_ill(self, trouble: str = "connection refused") -> None:
        """A probe finds it not well."""
        self._probed(trouble)

    def _probed(self, trouble: str | None) -> None:
        assert not self.over, "nobody looks any more"
        assert isinstance(self.what, Health), "it is not asked whether it is well"
        self._tell(Probed(self.pid, trouble))


class FakeChecks:
    """The Checks without probes: what is watched now, by pid, and every watch there was."""

    def __init__(self) -> None:
        self.watched: dict[Pid, FakeWatch] = {}
        self.watches: list[FakeWatch] = []

    def watch(
        self,
        name: Name,
        pid: Pid,
        spec: ProcessSpec,
        what: Readiness | Health,
        tell: Callable[[Ready | Probed], None],
    ) -> None:
        self.forget(pid)
        self.watched[pid] = FakeWatch(name, pid, spec, what, tell)
        self.watches.append(self.watched[pid])

    def forget(self, pid: Pid) -> None:
        if pid in self.watched:
            self.watched.pop(pid).over = True

    def of(self, name: str) -> FakeWatch:
        """What is watched of that name."""
        [watch] = [watch for watch in self.watched.values() if watch.name == name]
        return watch


class FakeMemory:
    """What outlasts a supervisor, in dicts. ``broken`` are the names of which nothing can be remembered."""

    def __init__(self) -> None:
        self.specs: dict[Name, bytes] = {}
        self.stops: dict[Name, str | None] = {}
        self.doomed: list[Name] = []
        self.renewed: list[Name] = []
        self.ready: list[Name] = []
        self.rests: dict[Name, Rest] = {}
        self.broken: set[str] = set()

    def keep_specs(self, specs: Mapping[Name, bytes]) -> None:
        self.specs.update(specs)

    def forget(self, name: Name) -> None:
        self.specs.pop(name, None)
        self.stops.pop(name, None)

    def hold(self, name: Name, by: str | None) -> None:
        self._write(name)
        self.stops[name] = by

    def release(self, name: Name) -> None:
        self._write(name)
        self.stops.pop(name, None)

    def doom(self, name: Name) -> None:
        self.doomed.append(name)

    def said(self, name: Name) -> None:
        self.ready.append(name)

    def again(self, name: Name) -> None:
        self.rests.pop(name, None)
        self.renewed.append(name)

    def rest(self, name: Name, digest: str, rest: Rest) -> None:
        self.rests[name] = rest

    def _write(self, name: Name) -> None:
        if name in self.broken:
            raise OSError(28, "No space left on device")


@implementer(ILogObserver)
class Heard:
    """What was logged, as lines."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "colony":
            self.events.append(event)

    def lines(self, *words: str) -> list[str]:
        """The lines that have all these words in them."""
        lines = [formatEvent(event) for event in self.events]
        return [line for line in lines if all(word in line for word in words)]

    def failures(self) -> list[Any]:
        """The exceptions that were logged."""
        return [event["log_failure"].value for event in self.events if "log_failure" in event]


@contextmanager
def listening() -> Iterator[Heard]:
    """Hear what colony logs."""
    heard = Heard()
    globalLogPublisher.addObserver(heard)
    try:
        yield heard
    finally:
        globalLogPublisher.removeObserver(heard)
