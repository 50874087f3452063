"""One log file: what a pipe holds goes into it, cut into files of a size at the ends of lines."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from colony.core.model import LogPolicy
from colony.runtime.gzipped import Compressor
from colony.runtime.marks import Marks
from colony.runtime.splice import CHUNK, Mouth

log = Logger(namespace="colony")

MAX_LINE = 262_144
"""Bytes by which a line without an end may make a file longer than it is to be; then it is cut after all."""

BATCH = 4 * CHUNK
"""Bytes taken in one turn, about; others want theirs too."""

_TICK = 1_000_000_000
"""Nanoseconds; more than any tick, and no matter to anybody who asks when a file was written."""

_PASSING = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN))
"""What says nothing of the disk: it is waited for, and the process in its pipe."""

See = Callable[[bytes], None]
"""Told of all that is taken, be it kept or dropped."""


class Later(Exception):
    """It cannot be taken now, but soon, by what is said of this system."""


class LogFile:
    """
    ``path``, and the old ones beside it, ``path.1`` the youngest.

    What others do to it is seen before each batch: cut short (copytruncate), removed, moved away. ``lost`` is told how
    many bytes were dropped. For one thread.
    """

    def __init__(
        self,
        name: str,
        path: str,
        policy: LogPolicy,
        compressor: Compressor,
        lost: Callable[[int], None],
        *,
        goes_on: bool = False,
    ) -> None:
        """``goes_on``: what is written in it is by the same start, and its last line may be still on its way."""
        self._name = name
        self._path = path
        self._policy = policy
        self._compressor = compressor
        self._lost = lost
        self._marks = Marks(path)
        self._moved = False
        self._file = -1
        self._identity = (0, 0)
        self._goes_on = goes_on
        self._turning = False
        self._leaving = False
        self._limit = policy.max_bytes or 2**62
        self._trouble: OSError | None = None
        self._dropped = 0
        self._skipping = False
        self._cannot_turn: int | None = None
        self._swept = False
        self._turned: int | None = None

    def take(self, mouth: Mouth, see: See | None) -> int:
        """
        Take what the pipe holds, not much more than BATCH; returns how many bytes there were.

        What cannot be written is dropped. ``see`` None: nobody looks at it. Raises Later.
        """
        taken = 0
        while taken < BATCH:
            moved, more = self._take(mouth, see)
            taken += moved
            if not more:
                break
        return taken

    def lose(self, mouth: Mouth, see: See) -> None:
        """Drop what the pipe holds, for want of time."""
        with suppress(OSError):
            while dropped := mouth.drop(CHUNK):
                self._count(len(dropped))
                see(dropped)
        log.error("{dropped} bytes of the log of {name} were dropped", dropped=self._dropped, name=self._name)

    def turn(self) -> None:
        """Begin a new file as soon as a line ends, unless there is nothing in this one."""
        if self._file < 0 and not os.path.exists(self._path):
            return
        self._turning = True
        try:
            if not self._size():
                self._turning = False
            elif self._is_between_lines() and not self._leaving:
                self._rotate()
        except OSError:
            pass  # it is said when something is to be written

    def unfinished(self) -> bytes:
        """What is there of a line that has not ended, as far as it is waited for. Raises OSError."""
        return self._last_line(self._size())

    def _last_line(self, size: int) -> bytes:
        start = max(0, size - MAX_LINE)
        return os.pread(self._file, size - start, start).rpartition(b"\n")[2]

    def end(self, pid: int) -> None:
        """All is in it that this process wrote: note down where that ends."""
        with suppress(OSError):
            if self._file < 0 and os.path.lexists(self._path):
                self._open()
            if self._file >= 0:
                self._marks.end(self._set_apart(), os.fstat(self._file).st_size, pid)
            elif self._written_before():  # the one that is begun next
                self._marks.end(self._written_before() + 1, 0, pid)

    def close(self) -> None:
        """Write no more to it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # -- taking

    def _take(self, mouth: Mouth, see: See | None) -> tuple[int, bool]:
        """One piece: how long it was, and whether there may be more at once."""
        data: bytes | None = None
        try:
            size = self._size()
            room = self._limit - size
            ending = self._turning or self._leaving
            if see is not None or ending or self._trouble is not None or room < mouth.capacity:
                data = mouth.look()
                if not data:
                    return 0, False
                if self._skipping:
                    return self._skip(mouth, data, see), True
                count = self._fitting(data, size, room)
                if not count:
                    self._next()
                    return 0, True
            else:
                count = mouth.capacity
            moved = mouth.move(self._file, size, count)
        except OSError as error:
            return self._drop(mouth, data, see, error), False
        if data is not None:
            if see is not None and moved:
                see(data[:moved])
            if moved == len(data):
                self._heal()
        return moved, data is not None and 0 < moved < len(data)

    def _fitting(self, data: bytes, size: int, room: int) -> int:
        """How much of ``data`` goes into this file; 0: none, begin a new one."""
        if not size:
            self._turning = False
        if not self._turning and not self._leaving:
            if len(data) <= room:
                return len(data)
            if cut := data.rfind(b"\n", 0, max(0, room)) + 1:
                return cut
        if size and (self._is_between_lines() or -room > MAX_LINE):
            return 0
        # A line that began in this file ends in it; and one that is longer than a file gets one for itself.
        return data.find(b"\n") + 1 or len(data)

    def _is_between_lines(self) -> bool:
        size = os.fstat(self._file).st_size
        return size == 0 or os.pread(self._file, 1, size - 1) == b"\n"

    # -- what cannot be written

    def _drop(self, mouth: Mouth, data: bytes | None, see: See | None, error: OSError) -> int:
        if error.errno in _PASSING:
            self._say(error, "cannot write the log of {name} now: {error}")
            raise Later from None
        self._say(error, "cannot write the log of {name}, what it says is dropped until that is over: {error}")
        if not self._skipping:
            self._cut_back()
        dropped = mouth.drop(CHUNK if data is None else len(data))
        if dropped:
            self._skipping = not dropped.endswith(b"\n")
            self._count(len(dropped))
            if see is not None:
                see(dropped)
        return len(dropped)

    def _skip(self, mouth: Mouth, data: bytes, see: See | None) -> int:
        """Half of a line was dropped: so is the other half."""
        dropped = mouth.drop(data.find(b"\n") + 1 or len(data))
        self._skipping = not dropped.endswith(b"\n")
        self._count(len(dropped))
        if see is not None:
            see(dropped)
        return len(dropped)

    def _cut_back(self) -> None:
        """Take back the half of a line whose other half cannot be written."""
        with suppress(OSError):
            if self._file >= 0:
                size = os.fstat(self._file).st_size
                rest = len(self._last_line(size))
                if 0 < rest < MAX_LINE:
                    os.ftruncate(self._file, size - rest)
                    self._count(rest)
                    self._skipping = True  # unless what is dropped now brings its end

    def _count(self, dropped: int) -> None:
        self._dropped += dropped
        self._lost(dropped)

    def _say(self, error: OSError, text: str) -> None:
        if self._trouble is None or self._trouble.errno != error.errno:
            log.error(text, name=self._name, error=error.strerror)
        self._trouble = error

    def _heal(self) -> None:
        if self._trouble is not None:
            log.info(
                "the log of {name} is written again; {dropped} bytes were dropped",
                name=self._name,
                dropped=self._dropped,
            )
            self._trouble = None
            self._dropped = 0
            self._lost(0)

    # -- the files

    def _size(self) -> int:
        """How long it is now; opened, if it is not the one that has the name any more. Raises OSError."""
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            found = None
        if self._file >= 0:
            if found is not None and (found.st_dev, found.st_ino) == self._identity:
                self._marks.note(found)
                return found.st_size
            old = os.fstat(self._file)
            if old.st_nlink and not self._is_between_lines():
                self._leaving = True  # a line that began in it ends in it
                return old.st_size
            self._leave()
        return self._open()

    def _leave(self) -> None:
        log.warn("the log of {name} was moved or removed: it is begun anew", name=self._name)
        self._leaving = False
        self._moved = True
        self.close()

    def _next(self) -> None:
        if self._leaving:
            self._leave()
        else:
            self._rotate()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            # Not O_APPEND: what is spliced goes to an offset (splice(2): EINVAL).
            self._file = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            folder = os.path.dirname(self._path)
            os.mkdir(folder, 0o700)
            log.warn("{folder} had vanished: it is made anew", folder=folder)
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "a symbolic link is in its place, which is not followed") from None
            raise
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise OSError(errno.EINVAL, "something else than a file is in its place")
        self._identity = found.st_dev, found.st_ino
        if found.st_mode & 0o077:
            with suppress(OSError):
                os.fchmod(self._file, 0o600)
        if self._goes_on:
            self._marks.begin(found, anew=self._moved)
        else:
            self._goes_on = True
            if not self._is_between_lines():  # nobody will end that line any more
                self._marks.begin(found, anew=False)
                os.pwrite(self._file, b"\n", found.st_size)
                found = os.fstat(self._file)
            self._marks.start(found)
        self._moved = False
        return found.st_size

    def _rotate(self) -> None:
        """
        This one becomes the first of the old ones, and the next one begins.

        By names only, the oldest first: killed in between, it has left a gap among the numbers and every byte in its
        place.
        """
        self._turning = False
        try:
            written = self._set_apart()
            self._shift()
        except OSError as error:
            if self._cannot_turn != error.errno:
                log.error("cannot rotate the log of {name}: {error}", name=self._name, error=error.strerror)
            self._cannot_turn = error.errno
            self._limit = os.fstat(self._file).st_size + max(CHUNK, self._policy.max_bytes // 10)
        else:
            self._turned = written
            self._cannot_turn = None
            self._limit = self._policy.max_bytes or 2**62
            self.close()
            if self._policy.compress:
                for path in map(self._old, range(self._policy.backups, 0, -1)):
                    if os.path.exists(path):
                        self._compressor.add(path)

    def _set_apart(self) -> int:
        """
        Have no two files with one time of the last write, which this one's is then; in nanoseconds.

        Whatever they are called, and once compressed, they are known by it. In a flood several are filled within a tick
        of the kernel's clock.
        """
        found = os.fstat(self._file)
        before = self._written_before()
        if not 0 <= before - found.st_mtime_ns < _TICK:
            return found.st_mtime_ns
        os.utime(self._file, ns=(found.st_atime_ns, before + 1))
        return before + 1

    def _written_before(self) -> int:
        """When something was last written to the one before this; 0: there is none."""
        if self._turned is None:
            self._turned = max(_written(self._old(1)), _written(self._old(1) + ".gz"))
        return self._turned

    def _shift(self) -> None:
        kept = self._policy.backups
        if not self._swept:
            with suppress(OSError):  # for want of a descriptor, say: with the next one then
                self._sweep(kept)
                self._swept = True
        if not kept:
            os.unlink(self._path)
            return
        free = 1  # the first number that nothing has: what is older need not move
        while free < kept and (os.path.lexists(self._old(free)) or os.path.lexists(self._old(free) + ".gz")):
            free += 1
        self._remove(self._old(free))
        self._remove(self._old(free) + ".gz")
        for number in range(free - 1, 0, -1):
            plain, packed = self._old(number), self._old(number) + ".gz"
            if self._rename(plain, self._old(number + 1)):
                self._remove(packed)  # it was being made of that one
            else:
                self._rename(packed, self._old(number + 1) + ".gz")
        os.rename(self._path, self._old(1))

    def _sweep(self, kept: int) -> None:
        """Remove those beyond ``kept``: more were kept before, and there may be gaps among their numbers."""
        folder, name = os.path.split(self._path)
        old = re.compile(re.escape(name) + r"\.([0-9]{1,9})(?:\.gz)?")
        for entry in os.listdir(folder):
            if (found := old.fullmatch(entry)) and int(found[1]) > kept:
                self._remove(os.path.join(folder, entry))

    def _old(self, number: int) -> str:
        return f"{self._path}.{number}"

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        self._compressor.removed(path)

    def _rename(self, path: str, to: str) -> bool:
        try:
            os.rename(path, to)
        except FileNotFoundError:
            return False
        self._compressor.renamed(path, to)
        return True


def _written(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return 0
