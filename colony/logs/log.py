"""A log, from the oldest of its files to the one that is written, and on as it grows: no line lost, none twice."""

from __future__ import annotations

import os
import re
import time
from collections import deque, namedtuple

from colony.logs import times
from colony.logs.file import File

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._@+-]*)\.log(\.err)?")
_ENTRY = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._@+-]*\.log(?:\.err)?)(?:\.([1-9][0-9]*)(?:\.gz)?)?")

_TICK = 1_000_000_000
"""Nanoseconds; more than any tick of a clock by which files get their times."""

LONGEST = 1_048_576
"""Bytes of a line that are waited for; what is longer comes in pieces."""

_TRIES = 1000
"""Looks at the names of a log, should they change during each."""


class Piece(namedtuple("Piece", ("at", "exact", "data"))):
    """
    Some whole lines, written at that time (seconds since the epoch).

    Not ``exact``: at the latest then; else to about a second.
    """

    __slots__ = ()
    at: float
    exact: bool
    data: bytes


class Ending(namedtuple("Ending", ("pid", "begin", "end"))):
    """
    Between these marks is what that process wrote, which has ended; ``begin`` None: from the first byte.

    ``pid`` and ``end`` None: what has been written since by what has not ended, or nobody saw end.
    """

    __slots__ = ()
    pid: int | None
    begin: times.Mark | None
    end: times.Mark | None


class Folder:
    """The directory of many logs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._changed = -1
        self._entries: dict[str, set[int]] = {}

    def logs(self) -> list[tuple[str, str]]:
        """Whose logs are there: names, and ``out``, or ``err`` where what a process says is split. Raises OSError."""
        matches = filter(None, map(_LOG.fullmatch, self._look()))
        return sorted((match[1], "err" if match[2] else "out") for match in matches)

    def numbers(self, log: str) -> set[int]:
        """The numbers of the files of one log, 0 for the one that is written. Raises OSError."""
        return self._look().get(log, set())

    def _look(self) -> dict[str, set[int]]:
        """By the names of logs, the numbers of their files; not listed again before it has changed."""
        try:
            changed = os.stat(self.path).st_mtime_ns
            if changed != self._changed:
                entries = os.listdir(self.path)
                # What changes again within a tick of the kernel's clock has the same time.
                self._changed = changed if time.time_ns() - changed > _TICK else -1
                self._entries = {}
                for match in filter(None, map(_ENTRY.fullmatch, entries)):
                    self._entries.setdefault(match[1], set()).add(int(match[2] or 0))
        except FileNotFoundError:
            self._changed, self._entries = -1, {}
        return self._entries


class Log:
    """
    One log, to be read from its beginning on, unless one of ``start_...`` says from where.

    Everything raises OSError. For reading while it is written, rotated, compressed, moved away and cut short. ``gap``
    is set when a file went before it was read.
    """

    def __init__(self, folder: str | Folder, name: str, stream: str = "out") -> None:
        """``folder``: the directory, or one `Folder` for many logs, which is listed less often then."""
        self._folder = Folder(folder) if isinstance(folder, str) else folder
        self.name = name
        self.stream = stream
        self.gap = False
        self._path = os.path.join(self._folder.path, f"{name}.log" if stream == "out" else f"{name}.log.err")
        self._file: File | None = None
        self._offset = 0
        self._partial = b""
        self._bound: tuple[File, int] | None = None
        self._over = False
        self._marks: list[times.Mark] = []
        self._before = 0
        self._stretches: deque[times.Stretch] = deque()

    def close(self) -> None:
        """Read no more."""
        for file in (self._file, self._bound and self._bound[0]):
            if file is not None:
                file.close()
        self._file = self._bound = None
        self._over = True

    @property
    def exists(self) -> bool:
        """Is there any file of it?"""
        return bool(self._numbers())

    # -- from where, and up to where

    def start_with_last(self, lines: int) -> bool:
        """
        Begin with the last so many; 0: with what is not written yet, or not to its line's end.

        Returns whether there is anything before.
        """
        file = self._newest()
        left = lines
        while file is not None:
            offset, found = file.start_of_last(left)
            left -= found
            older = self._older(file) if left else None
            if older is None:
                return self._begin(file, offset)
            file.close()
            file = older
        return False

    def start_at(self, moment: float) -> bool:
        """
        Begin with what was written at that time, in seconds since the epoch; a second's worth before it may be there.

        Returns whether that could be told: else it is with a whole file, of which something is later.
        """
        since = int(moment * 1e9)
        file = self._newest()
        if file is None:
            return True
        if file.written < since:
            file.close()
            self.start_with_last(0)
            return True
        while (older := self._older(file)) is not None and older.written >= since:
            file.close()
            file = older
        if older is not None:
            older.close()
        self._begin(file, 0)
        while self._stretches[0].end is not None and self._stretches[0].at < since:
            self._offset = self._stretches.popleft().end or 0
        told = self._offset > 0 or self._stretches[0].exact
        self._offset = _line_start(file, self._offset)
        return told

    def stop_here(self) -> None:
        """End with what is there now."""
        newest = self._newest()
        if newest is None:
            self._over = True
        else:
            self._bound = newest, newest.size

    def go_on(self) -> None:
        """Do not end there: what comes now is read too."""
        if self._bound is not None:
            self._bound[0].close()
        self._bound = None
        self._over = False

    # -- the last words of a process

    def endings(self) -> list[Ending]:
        """Where the outputs of processes that have ended begin and end, in order; the last one has not."""
        found = []
        begin = None
        for mark in times.marks(self._path):
            if mark.pid is not None and mark.pid != times.CUT:
                if mark.pid != times.START:
                    found.append(Ending(mark.pid, begin, mark))
                begin = mark
        return [*found, Ending(None, begin, None)]

    def last_lines(self, count: int, begin: times.Mark | None = None, end: times.Mark | None = None) -> bytes | None:
        """
        The last so many lines that were written from ``begin`` to ``end``, None: from the first, to now.

        None if they are in a file that is no more; of a line longer than `LONGEST` its end.
        """
        file = self._newest()
        if file is None:
            return None if end is not None else b""
        if begin is not None and begin.at > file.written:
            file.close()
            return b""
        size = file.size
        if end is not None and end.at <= file.written:
            size = end.size
            file = self._holder(file, end)
        text = b""
        while file is not None:
            older = self._older(file)
            begins = begin is not None and self._holds(file, older, begin)
            start, _ = file.start_of_last(count, size)
            part = _between(file, max(start, size - LONGEST, begin.size if begin is not None and begins else 0), size)
            text = part + text
            count -= part.count(b"\n") + (not part.endswith(b"\n") and part != b"")
            file.close()
            if older is None or begins or count <= 0:
                if older is not None:
                    older.close()
                return text
            file, size = older, older.size
        return None

    def _holder(self, newest: File, mark: times.Mark) -> File | None:
        """The file that a mark is about, None if that is gone."""
        file = newest
        while True:
            older = self._older(file)
            if older is None or older.written < mark.at:
                holds = self._holds(file, older, mark) and mark.size <= file.size
                if older is not None:
                    older.close()
                if holds:
                    return file
                file.close()
                return None
            file.close()
            file = older

    def _holds(self, file: File, older: File | None, mark: times.Mark) -> bool:
        """Is it about this file, which is not of before it?"""
        if older is not None:
            return older.written < mark.at
        # When the oldest one was begun is not known; but no file is shorter later than earlier.
        size = 0
        for other in times.marks(self._path):
            if mark.at <= other.at <= file.written:
                if other.size < size:
                    return False
                size = other.size
        return True

    # -- reading

    def read(self) -> Piece | None:
        """What comes next; None: nothing, for now or at all."""
        while not self._over:
            if self._file is None:
                oldest = self._oldest()
                if oldest is None:
                    return None
                self._begin(oldest, 0)
                continue
            stretch, data = self._take(self._file)
            if data:
                if whole := self._whole(data):
                    return Piece(stretch.at / 1e9, stretch.exact, whole)
            elif not self._turn_from(self._file):
                return None
        return None

    def unfinished(self) -> Piece | None:
        """What was read of a line that has not ended; to be asked for when nothing more is wanted."""
        data, self._partial = self._partial, b""
        if not data:
            return None
        at = self._stretches[0] if self._stretches else times.Stretch(None, self._before, False)
        return Piece((self._file.written if self._file and at.end is None else at.at) / 1e9, at.exact, data)

    def _take(self, file: File) -> tuple[times.Stretch, bytes]:
        """What is in this file, as far as it was written at one time."""
        while (end := self._stretches[0].end) is not None and end <= self._offset:
            self._stretches.popleft()
        stretch = self._stretches[0]
        limit = stretch.end
        if self._bound is not None and self._bound[0].is_same(file):
            limit = self._bound[1] if limit is None else min(limit, self._bound[1])
        data = file.read(self._offset)
        if limit is not None:
            data = data[: max(0, limit - self._offset)]
        self._offset += len(data)
        return (stretch._replace(at=file.written) if stretch.end is None else stretch), data

    def _whole(self, data: bytes) -> bytes:
        """The lines that end in it."""
        end = data.rfind(b"\n") + 1
        if end:
            whole = self._partial + data[:end] if self._partial else data[:end]
            self._partial = data[end:]
            return whole
        self._partial += data
        if len(self._partial) < LONGEST:
            return b""
        whole, self._partial = self._partial, b""
        return whole

    def _turn_from(self, file: File) -> bool:
        """At the end of this one: is there anything else?"""
        if self._bound is not None and (self._bound[0].is_same(file) or self._bound[0].written < file.written):
            self._over = True
            return False
        if not file.packed and file.size < self._offset:  # somebody has cut it short
            self._restart(file)
            return True
        number, after = self._after(file)
        if after is None:
            return False
        if not file.packed and file.size > self._offset:  # that was written before it got its other name
            after.close()
            return True
        if number is None and self._partial and not file.is_gone and not after.size:
            after.close()  # it was moved away, and the line that began in it ends in it
            return False
        if number is None:
            self._end_line()
        before = file.written
        file.close()
        self._set(after, 0, before)
        return True

    def _restart(self, file: File) -> None:
        self._offset = 0
        self._end_line()
        self._stretches = deque([times.Stretch(None, file.written, True)])

    def _end_line(self) -> None:
        """Nobody will end what has begun."""
        if self._partial:
            self._partial += b"\n"

    def _begin(self, file: File, offset: int) -> bool:
        """Read from there on; returns whether there is anything before."""
        before = self._older(file)
        self._marks = times.marks(self._path)
        self._set(file, offset, 0 if before is None else before.written)
        if before is not None:
            before.close()
        return offset > 0 or before is not None

    def _set(self, file: File, offset: int, before: int) -> None:
        self._file, self._offset, self._before = file, offset, before
        self._stretches = deque(times.stretches(self._marks, before, file.written, file.size))

    # -- which file comes before, and which after: names only ever change to greater numbers

    def _newest(self) -> File | None:
        return next(filter(None, (File.at(self._path, number) for number in (0, 1, *self._numbers()))), None)

    def _oldest(self) -> File | None:
        for _ in range(_TRIES):
            numbers = self._numbers()
            found = next(filter(None, (File.at(self._path, number) for number in reversed(numbers))), None)
            if found is None or self._numbers() == numbers:
                return found
            found.close()
        return None

    def _older(self, file: File) -> File | None:
        """The one before it, if there is any."""
        for _ in range(_TRIES):
            number = self._number(file)
            if number is None:
                return None
            found = File.at(self._path, number + 1)
            if found is None:
                last = max(self._numbers(), default=0)
                # By one more than the names were: they may be changing, the oldest first.
                found = next(filter(None, (File.at(self._path, other) for other in range(number + 1, last + 2))), None)
            if file.is_at(self._path, number) and (found is None or not found.is_same(file)):
                return found
            if found is not None:
                found.close()
        return None

    def _after(self, file: File) -> tuple[int | None, File | None]:
        """What number this one has now, None for none; and the file after it, if there is any."""
        for _ in range(_TRIES):
            number = self._number(file)
            if number == 0:
                return 0, None
            if number is None:
                return None, self._first_after_gone(file)
            found = next(filter(None, (File.at(self._path, other) for other in range(number - 1, -1, -1))), None)
            if file.is_at(self._path, number):
                return number, found
            if found is not None:
                found.close()
        return None, None

    def _first_after_gone(self, file: File) -> File | None:
        """The file after one that has none of the names any more: the oldest that was written to since."""
        numbers = self._numbers()
        for number in reversed(numbers):
            found = File.at(self._path, number)
            if found is None:
                continue
            if not number or found.written > file.written:
                self.gap = self.gap or number > 0
                return found
            found.close()
        return None

    def _number(self, file: File) -> int | None:
        """What its name ends in now, None: it has none any more."""
        for number in self._candidates(file):
            if file.is_at(self._path, number):
                file.number = number
                return number
        return None

    def _candidates(self, file: File) -> Iterator[int]:
        yield file.number
        yield file.number + 1
        for _ in range(2):  # while it is looked for it may get the next number, too
            yield from self._numbers()

    def _numbers(self) -> list[int]:
        """The numbers that there are, in order."""
        return sorted(self._folder.numbers(os.path.basename(self._path)))


def _between(file: File, begin: int, end: int) -> bytes:
    """Those bytes of it."""
    parts = []
    while begin < end and (data := file.read(begin)[: end - begin]):
        parts.append(data)
        begin += len(data)
    return b"".join(parts)


def _line_start(file: File, offset: int) -> int:
    """Where the line begins that this byte is in."""
    begin = max(0, offset - LONGEST)
    data = _between(file, begin, offset)
    return begin + data.rfind(b"\n") + 1 if b"\n" in data or not begin else offset
