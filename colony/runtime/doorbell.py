"""
Rings when something may have changed in a directory (inotify), so that a look at it need not wait.

Never a source of facts: it says where to look, and may be deaf, late or wrong without harm. Learned from inotify(7):
a queue that overflows, a directory that is moved away, deleted or unmounted each end the notices without an error; and
one that is deleted while somebody has it open says nothing itself. So the directory above is listened to as well.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from colony.core import check
from colony.runtime.inheritance import blocked_signals

_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _ONLYDIR = 0x2000, 0x4000, 0x8000, 0x1000000
_MASK = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_MASK_ABOVE = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
_EVENT = struct.Struct("iIII")


@implementer(IReadDescriptor)
class Doorbell:
    """
    Calls ``ring`` with the file names to look at, or None for the whole directory.

    Raises OSError where there is no inotify, or no more of it to be had (fs.inotify.max_user_instances).
    """

    def __init__(self, reactor: IReactorFDSet, path: str, ring: Callable[[frozenset[str] | None], None]) -> None:
        self._reactor = reactor
        self._path = path
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        self._watch: int | None = None
        self._above: int | None = None
        self._above_path, self._name = os.path.split(os.path.abspath(path))
        self._reactor.addReader(self)

    def listen(self) -> None:
        """
        Hang on the directory's door, again if it has been replaced since; to be called at every slow look.

        Raises OSError; the next call tries again.
        """
        with suppress(OSError):  # it may not be ours to read; then the slow look finds out
            self._above = self._hang(self._above_path, _MASK_ABOVE, self._above)
        self._watch = self._hang(self._path, _MASK, self._watch)

    def _hang(self, path: str, mask: int, before: int | None) -> int:
        watch = self._call("inotify_add_watch", self._fd, os.fsencode(path), mask)
        if before is not None and before != watch:
            self._libc.inotify_rm_watch(self._fd, before)  # another directory has that path now
        return watch

    def close(self) -> None:
        """Ring no more."""
        self._reactor.removeReader(self)
        # In a thread: the kernel waits until nobody can be looking at the watches any more (Linux 6.18: 16 ms, nobody
        # working), and an end has more urgent things to do.
        try:
            with blocked_signals():
                Thread(target=os.close, args=(self._fd,), name="colony-bell", daemon=True).start()
        except RuntimeError:  # no thread to be had
            os.close(self._fd)

    def _call(self, function: str, *arguments: object) -> int:
        call = getattr(self._libc, function, None)
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), function)
        result: int = call(*arguments)
        if result == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), function)
        return result

    # IReadDescriptor

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "doorbell"

    def connectionLost(self, reason: Failure) -> None:
        """Nothing can be lost but the rings; the slow look goes on."""

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        names: set[str] = set()
        everything = False
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if watch == self._above and watch != self._watch:
                everything = everything or name == self._name
                if mask & _IGNORED:
                    self._above = None
                continue
            if mask & _IGNORED and watch == self._watch:  # not that of a directory let go of
                self._watch = None
            if mask & (_OVERFLOW | _IGNORED | _UNMOUNT | _DELETE_SELF | _MOVE_SELF) or name.startswith(".."):
                everything = True  # ..data is what a ConfigMap's files all lead through
            elif name and not check.is_ignored(name) and not (mask & _CREATE and self._is_being_written(name)):
                names.add(name)
        if everything or names:
            self._ring(None if everything else frozenset(names))

    def _is_being_written(self, name: str) -> bool:
        """A plain file that was just created will be closed; what is linked, or no plain file, will not."""
        try:
            found = os.lstat(os.path.join(self._path, name))
        except OSError:
            return True
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
