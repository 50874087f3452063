"""``STATE/status/NAME.json`` and ``STATE/supervisor.json``: what is, rewritten only for what moved."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import assert_never

import attrs

from colony import atomic
from colony.core.desired import Desired
from colony.core.lifecycle import Backoff, Down, Failed, Spawning, Starting, Stopping, Unit, Up, Waiting
from colony.core.model import Name, timestamp
from colony.core.report import Report


@attrs.frozen
class Clocks:
    """The monotonic clock that instants are on, and the wall's; both in seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]

    def written(self, instant: float) -> str:
        """That instant as people and machines write it."""
        return timestamp(self.wall() - (self.monotonic() - instant))


def state_name(unit: Unit) -> str:
    """One of running, starting, backoff, stopping, stopped, waiting, failed."""
    match unit.state:
        case Starting() | Up() if unit.leaving:  # as soon as others have gone
            return "stopping"
        case Up():
            return "running"
        case Spawning() | Starting():
            return "starting"
        case Waiting():
            return "waiting"
        case Backoff():
            return "backoff"
        case Stopping():
            return "stopping"
        case Failed():
            return "failed"
        case Down():
            return "failed" if unit.spec is None else "stopped"
        case _:
            assert_never(unit.state)


def why(unit: Unit, desired: Desired) -> str:
    """Why it is in that state, in one line."""
    match unit.state:
        case Starting() | Up() if unit.leaving:
            return f"{_unwanted(unit) or 'being restarted'}; waits until {unit.yields} has gone, which needs it"
        case Starting(trouble=trouble):
            return "not ready yet" if trouble is None else f"not ready yet: {trouble}"
        case Waiting(missing):
            circle = [problem for problem in desired.tangles.get(unit.name, ()) if problem.path == "after"]
            return "; ".join(
                [f"waits for {', '.join(_need(name, desired) for name in missing)}", *(p.message for p in circle)]
            )
        case Up() | Spawning():
            waited = isinstance(unit.state, Up) and unit.state.process.waited
            reason = "its file is bad, the last good one is in force" if desired.problems.get(unit.name) else "wanted"
            return f"{reason}; had to wait for a supervisor to read what it says" if waited else reason
        case Backoff():
            return f"{_last(unit)}; early deaths in a row: {unit.streak}"
        case Failed():
            return f"given up after {unit.streak} early deaths in a row; the last: {_last(unit)}"
        case Stopping(ending=ending, asked=asked, fault=fault):
            behind = fault or f"{_last(unit)}, and left others behind"
            reason = _unwanted(unit) or ("being restarted" if asked else behind)
            return f"{reason}; sent {ending.ladder[ending.rung].signal}"
        case Down():
            if unit.spec is None and (problems := desired.problems.get(unit.name)):
                return str(problems[0])
            if unwanted := _unwanted(unit):
                return unwanted if unit.sent is None else f"{unwanted}; sent {unit.sent}, {unit.last_exit}"
            return f"{_last(unit)}, and its restart policy wants no more"
        case _:
            assert_never(unit.state)


def _need(name: Name, desired: Desired) -> str:
    return name if desired.has(name) else f"{name}, which is not there"


def _health(unit: Unit) -> str | None:
    healthy = unit.state.vitals.healthy if isinstance(unit.state, Up | Stopping) else None
    return None if healthy is None else "healthy" if healthy else "unhealthy"


def _unwanted(unit: Unit) -> str | None:
    if unit.closing:
        return "the supervisor ended"
    if unit.held:
        return "a STOP is in force"
    return "its file was removed" if unit.spec is None else None


def _last(unit: Unit) -> str:
    if unit.trouble is not None:
        return unit.trouble
    return "ended before this supervisor began" if unit.last_exit is None else str(unit.last_exit)


def status(unit: Unit, desired: Desired, clocks: Clocks) -> dict[str, object]:
    """What ``status/NAME.json`` holds."""
    process = unit.main
    last = unit.last_exit
    return {
        "name": unit.name,
        "wanted": (unit.wanted and unit.state != Down(ended=unit.generation))
        or (unit.spec is None and bool(desired.problems.get(unit.name))),
        "state": state_name(unit),
        "why": why(unit, desired),
        "pid": None if process is None else process.pid,
        "since": clocks.written(unit.since),
        "started": None if process is None else clocks.written(process.started),
        "starts": unit.starts,
        "streak": unit.streak,
        "last_exit": None
        if last is None or unit.last_exit_at is None
        else {"code": last.code, "signal": last.signal, "at": clocks.written(unit.last_exit_at)},
        "next_start": clocks.written(unit.state.until) if isinstance(unit.state, Backoff) else None,
        "ready": unit.ready if unit.wanted or process is not None else None,
        "health": _health(unit),
        "digest": None if process is None else process.spec.digest,
        "problems": [
            problem._asdict() for found in (desired.problems, desired.tangles) for problem in found.get(unit.name, ())
        ],
        "unknown": [] if unit.spec is None else list(unit.spec.unknown),
    }


_encode = json.JSONEncoder().encode


class StatusFiles:
    """Writes them under ``path``, with these modes and that group (None: as it comes)."""

    def __init__(
        self, path: str, mode: int, group: int | None, clocks: Clocks, about: Callable[[], Mapping[str, object]]
    ) -> None:
        """``about`` tells of the supervisor itself: pid, version, started, directories, capabilities."""
        self._path = path
        self._mode = mode
        self._group = group
        self._clocks = clocks
        self._about = about
        self._states: dict[Name, str] = {}
        self._counts: Counter[str] = Counter()
        self._supervisor: bytes | None = None

    def begin(self) -> None:
        """Remove what a supervisor before has told; say that this one is here. Raises OSError."""
        folder = os.path.join(self._path, "status")
        for entry in os.listdir(folder):
            with suppress(OSError):
                os.unlink(os.path.join(folder, entry))
        self._write_supervisor(Desired())

    def __call__(self, report: Report) -> None:
        """Tell of what moved. Raises OSError when everything has been told that could be; the rest is told again."""
        for name in report.moved:
            unit = report.units.get(name)
            self._count(name, None if unit is None else state_name(unit))
        try:
            failed = self._tell(report) if report.moved else None
        except OSError as error:
            failed = error
        self._write_supervisor(report.desired)
        if failed is not None:
            raise failed

    def _tell(self, report: Report) -> OSError | None:
        """Returns what went wrong last with one of them. Raises OSError where there is no place for any."""
        failed = None
        folder = os.open(os.path.join(self._path, "status"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in report.moved:
                try:
                    self._write(folder, name, report)
                except OSError as error:
                    failed = error
        finally:
            os.close(folder)
        return failed

    def _write(self, folder: int, name: Name, report: Report) -> None:
        unit = report.units.get(name)
        if unit is None:
            with suppress(FileNotFoundError):
                os.unlink(f"{name}.json", dir_fd=folder)
        else:
            data = _encode(status(unit, report.desired, self._clocks)).encode()
            atomic.write_at(folder, f"{name}.json", data, mode=self._mode, group=self._group, durable=False)

    def _count(self, name: Name, state: str | None) -> None:
        """One by one: among thousands, to count them all at each report would cost more than to start a process."""
        before = self._states.pop(name, None)
        if before is not None:
            self._counts[before] -= 1
        if state is not None:
            self._states[name] = state
            self._counts[state] += 1

    def _write_supervisor(self, desired: Desired) -> None:
        broken: dict[str, str] = {name: "; ".join(map(str, problems)) for name, problems in desired.problems.items()}
        value = {
            **self._about(),
            "counts": dict(+self._counts),
            "ignored": sorted(desired.ignored),
            "broken": {**broken, **desired.strays},
        }
        data = json.dumps(value, sort_keys=True).encode()
        if data != self._supervisor:
            atomic.write(f"{self._path}/supervisor.json", data, mode=self._mode, group=self._group, durable=False)
            self._supervisor = data
