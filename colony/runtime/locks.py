"""Holds a directory for one supervisor: a flock(2) on the directory itself, for life."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress


class Taken(Exception):
    """Another supervisor holds the directory; ``pid`` is its, None if nobody can tell."""

    def __init__(self, path: str, pid: int | None) -> None:
        who = "another supervisor" if pid is None else f"the supervisor with pid {pid}"
        super().__init__(f"{path} belongs to {who}")
        self.pid = pid


class DirectoryLock:
    """One directory, made if it is missing, locked as long as this process lives and the path means that directory."""

    def __init__(self, path: str, held: int | None = None) -> None:
        """``held``: a descriptor that has it locked already, from the code before us in this process."""
        self.path = path
        self._fd = held
        if held is not None:
            os.set_inheritable(held, False)

    @property
    def held(self) -> int | None:
        """The descriptor that has it locked; None if none has."""
        return self._fd

    def acquire(self) -> bool:
        """
        Lock the directory that has the path now, also if that is another one than before; returns whether it was.

        One that was held and is gone is not made anew: that would be in the way of its coming back.
        Raises Taken, or OSError where there is no directory and none can be made; what was held before is held on.
        """
        if self._fd is not None and self._is_same(self._fd):
            return False
        if self._fd is None:
            with suppress(FileExistsError):
                os.makedirs(self.path, 0o700)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = holder(descriptor)
            os.close(descriptor)
            raise Taken(self.path, pid) from None
        except OSError:  # a file system without locks; asked again and again, so nothing may be left open
            os.close(descriptor)
            raise
        if self._fd is not None:
            os.close(self._fd)
        self._fd = descriptor
        return True

    def _is_same(self, descriptor: int) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        held = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def holder(descriptor: int) -> int | None:
    """The pid that holds a flock on what ``descriptor`` has open, as /proc/locks has it; None if it is not there."""
    found = os.fstat(descriptor)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError), open("/proc/locks") as locks:
        for line in locks:
            match = re.search(r"FLOCK\s+\S+\s+WRITE\s+(\d+)\s+(\S+)", line)
            if match and match[2] == device and "->" not in line:
                return int(match[1])
    return None
