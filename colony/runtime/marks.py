"""Marks beside a log file, of when it was how long: its bytes are a process's own and tell no time."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from colony.logs import times

EVERY = 1.0
"""Seconds between two marks of a log that is written to all the time."""

MAX_BYTES = 524_288
"""Past this marks are taken out: some four hours of a log that is written to every second are marked to the second."""

COARSER = 1000
"""Then those are left that are by such a part of their age apart from the next; some 7000 for a week of seconds."""

_KEPT = 50
"""And the last ends and cuts, whatever."""


class Marks:
    """
    ``FOLDER/.NAME.log.times`` of the log ``FOLDER/NAME.log``; see docs/reference/formats/state.md.

    A mark that cannot be written is no loss that anybody should be told of: there is a coarser one for everything.
    For the thread that writes the log.
    """

    def __init__(self, log_path: str) -> None:
        self._path = times.path_beside(log_path)
        self._due = 0.0
        self._last = (0, 0)

    def note(self, found: os.stat_result) -> None:
        """So is the log before it is written to; a mark is due once a second, and where somebody has cut it short."""
        cut = found.st_size < self._last[1]
        now = time.monotonic()
        if now < self._due and not cut:
            return
        self._due = now + EVERY
        if (found.st_mtime_ns, found.st_size) != self._last:
            self._add(found.st_mtime_ns, found.st_size, f" {times.CUT}" if cut else "")

    def begin(self, found: os.stat_result, *, anew: bool) -> None:
        """So is the log as it is opened; ``anew``: the one that had its name was moved away."""
        self._last = (0, 0)
        if anew:
            self._add(found.st_mtime_ns, found.st_size, f" {times.CUT}")
        else:
            self.note(found)

    def start(self, found: os.stat_result) -> None:
        """So is the log before the first word of a new start."""
        self._due = time.monotonic() + EVERY
        self._add(found.st_mtime_ns, found.st_size, f" {times.START}")

    def end(self, written: int, size: int, pid: int) -> None:
        """So is the log now that all is in it that this process, and what it left behind, wrote."""
        self._add(written, size, f" {pid}")

    def _add(self, written: int, size: int, more: str) -> None:
        self._last = written, size
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(OSError):
            descriptor = os.open(self._path, flags, 0o600)
            try:
                mark = f"{written} {size}{more}\n".encode()
                length = os.fstat(descriptor).st_size
                if os.write(descriptor, mark) < len(mark):  # half of one would spoil the next, too
                    os.ftruncate(descriptor, length)
            finally:
                os.close(descriptor)
            if length > MAX_BYTES:
                self._thin()

    def _thin(self) -> None:
        with open(self._path, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        kept: list[bytes] = []
        special = 0
        newest = after = None
        for line in reversed(lines):
            try:
                at, _, *more = map(int, line.split())
            except ValueError:
                continue
            special += bool(more)
            if newest is None or after is None:
                newest = after = at
            elif after - at < (newest - at) // COARSER and not (more and special <= _KEPT):
                continue
            kept.append(line)
            after = at
        if sum(map(len, kept)) > MAX_BYTES // 2:  # a clock has gone astray
            del kept[len(kept) // 2 :]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(f"{self._path}.new", flags, 0o600), "wb") as file:
            file.writelines(reversed(kept))
        os.rename(f"{self._path}.new", self._path)
