"""
What a later supervisor must know of each start, should this one be killed: ``STATE/records/NAME.json``.

An intent is written before a start, pid and start time after it. In place, in one write of a fixed size: a killed
supervisor has written all of it or nothing, and nothing needs to outlast the boot whose id it carries.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs
from twisted.logger import Logger

from colony.core import check
from colony.core.change import evolve
from colony.core.model import Exit, Name, Pid, Rest, Start
from colony.runtime import proc

# Any is a JSON value from a file of ours, that somebody may have written over.

log = Logger(namespace="colony")

_SIZE = 2048

_TROUBLE = 120
"""Characters kept of why a start failed: each may take twelve bytes."""


@attrs.frozen
class Record:
    """
    One start: by its token, of the spec with that digest, the how manieth of its name.

    ``pid`` and ``start_time`` (ticks since boot) are None for an intent. ``stale``: a restart was asked for since.
    ``rest``: nothing runs of it, and why. ``said``: it has told of being ready.
    """

    name: Name
    token: str
    digest: str
    starts: int = 0
    pid: Pid | None = None
    start_time: int | None = None
    stale: bool = False
    rest: Rest | None = None
    said: bool = False


_FIELDS = tuple(field.name for field in attrs.fields(Record) if field.name != "name")
"""What a record holds; attrs.asdict finds that out anew at every write, which makes it a third dearer."""


def head(path: str, size: int) -> bytes | None:
    """What a file begins with; None if it cannot be read at once, as a FIFO that somebody has put there."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    return None


class Records:
    """One file a name; without a directory (None) nothing is recorded."""

    def __init__(self, folder: Callable[[], str | None]) -> None:
        self._folder = folder
        self._boot_id = proc.boot_id()
        self._known: dict[Name, Record] = {}
        self._failing = False

    @property
    def failing(self) -> bool:
        """Is what is started unknown to a later supervisor, as it could not be written down last time?"""
        return self._failing

    def intend(self, start: Start) -> None:
        """A start is about to be made."""
        before = self._known.get(start.name)
        starts = 0 if before is None else before.starts
        self._write(Record(start.name, start.token, start.spec.digest, starts))

    def started(self, start: Start, pid: Pid, start_time: int | None) -> None:
        """It has been made."""
        record = self._known[start.name]
        self._write(evolve(record, pid=pid, start_time=start_time, starts=record.starts + 1))

    def doom(self, name: Name) -> None:
        """What runs of that name is not what is wanted any more, whatever its file says."""
        if name in self._known:
            self._write(evolve(self._known[name], stale=True))

    def said(self, name: Name) -> None:
        """It has told of being ready, and will not do so again."""
        if name in self._known:
            self._write(evolve(self._known[name], said=True))

    def rest(self, name: Name, digest: str, rest: Rest) -> None:
        """What was started, or to be started, by that spec is not to run for a while, or not any more."""
        record = self._known.get(name)
        if record is None or record.digest != digest:  # it could not even be tried
            record = Record(name, "", digest, 0 if record is None else record.starts)
        trouble = None if rest.trouble is None else rest.trouble[:_TROUBLE]
        self._write(evolve(record, stale=False, rest=evolve(rest, trouble=trouble)))

    def forget(self, name: Name) -> None:
        """Nothing is left of that name."""
        if self._known.pop(name, None) is not None and (folder := self._folder()) is not None:
            with suppress(OSError):
                os.unlink(os.path.join(folder, f"{name}.json"))

    def forget_all(self) -> None:
        """Everything has been stopped: the next supervisor starts afresh."""
        for name in list(self._known):
            self.forget(name)

    def read(self) -> Iterator[Record]:
        """What a supervisor before us has written since the boot; what cannot be read is passed over."""
        folder = self._folder()
        if folder is None:
            return
        try:
            entries = sorted(os.listdir(folder))
        except OSError as error:
            log.warn("cannot read the records of starts: {error}", error=error)
            return
        for entry in entries:
            name = entry.removesuffix(".json")
            if check.name_problem(name) is not None:
                continue
            with suppress(OSError, ValueError, TypeError, KeyError):
                value = json.loads(head(os.path.join(folder, entry), _SIZE) or b"")
                if isinstance(value, dict) and value.pop("boot_id") == self._boot_id:
                    record = _record(Name(name), value)
                    self._known[record.name] = record
                    yield record

    def _write(self, record: Record) -> None:
        self._known[record.name] = record
        folder = self._folder()
        if folder is None:
            return
        value = {field: getattr(record, field) for field in _FIELDS} | {"boot_id": self._boot_id}
        if record.rest is not None:
            value["rest"] = attrs.asdict(record.rest)
        try:
            descriptor = os.open(
                f"{folder}/{record.name}.json",
                os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC,
                0o600,
            )
            try:
                os.pwrite(descriptor, json.dumps(value).encode().ljust(_SIZE), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._failing:
                log.warn("cannot record starts, a killed supervisor's processes will be stopped: {error}", error=error)
            self._failing = True
        else:
            self._failing = False


def _record(name: Name, value: dict[str, Any]) -> Record:
    """What another version knows besides is passed over: it is no reason to end what runs, at an upgrade or back."""
    value["rest"] = _rest(value.get("rest"))
    record = Record(name, **{field: value[field] for field in _FIELDS if field in value})
    texts = record.token, record.digest
    known = (number for number in (record.pid, record.start_time) if number is not None)
    if not all(isinstance(text, str) for text in texts) or not all(map(_is_count, (record.starts, *known))):
        raise TypeError("not a record")
    return record


def _rest(value: Any) -> Rest | None:
    if value is None:
        return None
    exit = None if value["exit"] is None else Exit(**value["exit"])
    rest = Rest(**{**value, "exit": exit})
    texts = rest.trouble, None if exit is None else exit.signal
    counts = rest.streak, 0 if exit is None or exit.code is None else exit.code
    instants = [instant for instant in (value["until"], value["ended"]) if instant is not None]
    if not all(text is None or isinstance(text, str) for text in texts) or not all(map(_is_count, counts)):
        raise TypeError("not a rest")
    if not all(isinstance(instant, int | float) and math.isfinite(instant) for instant in instants):
        raise TypeError("not a rest")
    return rest


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
