"""``STATE/events.jsonl``: what has become of every process, a line each time, oldest first; bounded by rotation."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from colony.core.desired import Desired
from colony.core.lifecycle import Backoff, Spawning, Starting, Unit, Up
from colony.core.model import Exit, Name
from colony.core.report import Report, Transition
from colony.report.status import Clocks, state_name, why

MAX_BYTES = 1_000_000
"""Past this the file becomes ``events.jsonl.1``, and a new one is begun; so at most twice as much is kept."""

_Event = dict[str, object]


_encode = json.JSONEncoder(separators=(",", ":")).encode


class EventsFile:
    """
    Writes it in the directory ``path``, with this mode and that group (None: as it comes).

    An event: ``at``; ``name``, None for the supervisor itself; ``from`` and ``to``, states as in status files, None for
    what is not known yet, or no more; ``why``; ``pid``, of what was started, ended or runs; ``exit``, where a process
    ended; ``starts`` and ``streak`` of then; ``next_start`` in a backoff.

    A disk that takes no more costs events, never anything else: they are counted in ``dropped``, which ``complain``
    hears of once, and in the file itself as soon as it can be written again.
    """

    def __init__(
        self, path: str, mode: int, group: int | None, clocks: Clocks, complain: Callable[[str], None]
    ) -> None:
        self._path = os.path.join(path, "events.jsonl")
        self._mode = mode
        self._group = group
        self._clocks = clocks
        self._complain = complain
        self._descriptor: int | None = None
        self._states: dict[Name, str] = {}
        self._problems: dict[Name, str] = {}
        self._missing = 0
        self.dropped = 0

    def begin(self, version: str) -> None:
        """This supervisor is here; of what was before it, nothing is known."""
        self._write([self._of_us(None, "running", f"colony {version} began")])

    def end(self) -> None:
        """This supervisor ends, in order."""
        self._write([self._of_us("running", None, "ended: every process is gone")])
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __call__(self, report: Report) -> None:
        """Tell of what has happened, then of what has moved though nothing has happened to it."""
        events = [event for each in report.transitions for event in self._transition(each, report.desired)]
        for name in sorted(report.moved):
            events.extend(self._still(name, report))
        if events:
            self._write(events)

    # -- what there is to tell

    def _transition(self, transition: Transition, desired: Desired) -> Iterator[_Event]:
        before, after = transition.before, transition.after
        ended = after.last_exit if _ended(before, after) else None
        started = after.starts != before.starts
        state = _state(after, desired)
        if ended is None and not started:
            # An order to start is no news of its own: what came of it is, though it failed and all is as it was.
            if isinstance(after.state, Spawning):
                return
            if state == self._states.get(after.name) and not isinstance(before.state, Spawning):
                return
        yield self._event(
            transition.at, after, state, _reason(before, after, desired, started=started, ended=ended), ended
        )

    def _still(self, name: Name, report: Report) -> Iterator[_Event]:
        """What was adopted; what was forgotten; what has become of its file."""
        unit = report.units.get(name)
        now = self._clocks.monotonic()
        problems = "; ".join(map(str, report.desired.problems.get(name, ())))
        known = self._problems.pop(name, "")
        if problems:
            self._problems[name] = problems
        if unit is None:
            if name in self._states:
                yield self._event(now, Unit(name), None, "nothing is left of it")
            return
        state = _state(unit, report.desired)
        if not isinstance(unit.state, Spawning) and state != self._states.get(name):
            reason = "went on without a supervisor" if unit.main is not None else why(unit, report.desired)
            yield self._event(now, unit, state, reason)
        elif problems and problems != known:
            kept = "; the last good one stays in force" if unit.spec is not None else ""
            yield self._event(now, unit, state, f"its file is bad: {problems}{kept}")
        elif known and not problems:
            yield self._event(now, unit, state, "its file is good again")

    def _event(self, at: float, unit: Unit, state: str | None, reason: str, ended: Exit | None = None) -> _Event:
        former = self._states.pop(unit.name, None)
        if state is not None:
            self._states[unit.name] = state
        pid = unit.last_exit_of if ended is not None else None if unit.main is None else unit.main.pid
        return {
            "at": self._clocks.written(at),
            "name": unit.name,
            "from": former,
            "to": state,
            "why": reason,
            "pid": pid,
            "exit": None if ended is None else {"code": ended.code, "signal": ended.signal},
            "starts": unit.starts,
            "streak": unit.streak,
            "next_start": self._clocks.written(unit.state.until) if isinstance(unit.state, Backoff) else None,
        }

    def _of_us(self, former: str | None, state: str | None, reason: str) -> _Event:
        none = dict.fromkeys(("exit", "starts", "streak", "next_start"))
        at = self._clocks.written(self._clocks.monotonic())
        return {"at": at, "name": None, "from": former, "to": state, "why": reason, "pid": os.getpid(), **none}

    # -- the file

    def _write(self, events: list[_Event]) -> None:
        lost = f"{self._missing} events before this were lost: they could not be written"
        first = [self._of_us("running", "running", lost)] if self._missing else []
        try:
            self._append("".join(f"{_encode(event)}\n" for event in first + events).encode())
        except OSError as error:
            if not self._missing:
                self._complain(f"events are lost, cannot write {self._path}: {error.strerror}")
            self._missing += len(events)
            self.dropped += len(events)
        else:
            self._missing = 0

    def _append(self, data: bytes) -> None:
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        if size >= MAX_BYTES:
            os.rename(self._path, f"{self._path}.1")
            descriptor, size = self._open(), 0
        if os.write(descriptor, data) < len(data):  # half a line would spoil the next one too
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)

    def _open(self) -> int:
        """The file that is there now: somebody may have moved it away, or STATE be another one. Raises OSError."""
        if self._descriptor is not None:
            mine = os.fstat(self._descriptor)
            with suppress(OSError):
                there = os.stat(self._path, follow_symlinks=False)
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    return self._descriptor
            os.close(self._descriptor)
            self._descriptor = None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, self._mode)
        try:
            made = os.fstat(descriptor)
            if not stat.S_ISREG(made.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", self._path)
            if self._group is not None and self._group != made.st_gid:
                with suppress(PermissionError):
                    os.fchown(descriptor, -1, self._group)
            if stat.S_IMODE(made.st_mode) != self._mode:
                with suppress(PermissionError):
                    os.fchmod(descriptor, self._mode)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor


def _state(unit: Unit, desired: Desired) -> str | None:
    return None if unit.forgotten and not desired.has(unit.name) else state_name(unit)


def _ended(before: Unit, after: Unit) -> bool:
    """Has a process ended, or has it become known how?"""
    return (after.last_exit_at, after.last_exit) != (before.last_exit_at, before.last_exit)


def _reason(before: Unit, after: Unit, desired: Desired, *, started: bool, ended: Exit | None) -> str:
    if started:
        return "started; not ready yet" if isinstance(after.state, Starting) else "started"
    if isinstance(before.state, Starting) and isinstance(after.state, Up) and not after.leaving:
        return "ready"
    if ended is not None and isinstance(after.state, Spawning):
        return str(ended)
    reason = why(after, desired)
    return reason if ended is None or str(ended) in reason else f"{ended}; {reason}"
