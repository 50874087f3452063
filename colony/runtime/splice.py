"""Moves bytes out of a pipe into a file, and leaves in the pipe what is in no file yet."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress

CHUNK = 65_536
"""Bytes moved at once; also what a Linux pipe holds by default (pipe(7))."""

_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 2)
"""For the pipes, not for the file (splice(2), tee(2))."""


def unread(descriptor: int) -> int:
    """How many bytes a pipe holds (FIONREAD)."""
    count = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def capacity(descriptor: int) -> int:
    """How many bytes a pipe holds at the most: less than asked for, or usual, where its user has many (pipe(7))."""
    with suppress(OSError, AttributeError):
        return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    return CHUNK


def is_full(descriptor: int) -> bool:
    """Would who writes to the pipe behind this FIFO, which is open for writing too, have to wait?"""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return not poll.poll(0)


class Glass:
    """
    Shows what is in a pipe without taking it out: by tee(2), into a pipe of our own, which is read.

    For one thread. Raises OSError where there is no tee, or no descriptor.
    """

    def __init__(self) -> None:
        try:
            self._tee: Callable[..., int] = ctypes.CDLL(None, use_errno=True).tee
        except AttributeError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        if not hasattr(os, "splice"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._reading, self._writing = os.pipe()

    def look(self, descriptor: int) -> bytes:
        """What that pipe begins with, as much as there is up to CHUNK. Raises OSError; BlockingIOError for nothing."""
        count = self._tee(descriptor, self._writing, ctypes.c_size_t(CHUNK), ctypes.c_uint(_NONBLOCK))
        if count < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return os.read(self._reading, count) if count else b""

    def close(self) -> None:
        """Look no more."""
        os.close(self._reading)
        os.close(self._writing)


class Mouth:
    """
    The end of a pipe out of which we take.

    With a ``glass`` bytes are spliced: they are in the pipe or in the file at any instant, so that a kill loses none.
    Without one, and into files that cannot be spliced to, they are read and written. ``capacity`` is what the pipe may
    hold; ``ended`` that every writer of a plain pipe is gone.
    """

    def __init__(self, descriptor: int, glass: Glass | None, capacity: int = CHUNK) -> None:
        self.descriptor = descriptor
        self.capacity = capacity
        self.ended = False
        self._glass = glass
        self._held = b""

    def look(self) -> bytes:
        """What comes next, as much as there is up to CHUNK; nothing is taken. Raises OSError."""
        if self._glass is None or self._held:
            return self._hold(CHUNK)
        try:
            data = self._glass.look(self.descriptor)
        except BlockingIOError:
            return b""
        self.ended = not data
        return data

    def move(self, descriptor: int, offset: int, count: int) -> int:
        """
        Take up to so many bytes into a file, at that offset; returns how many, 0 where nothing is there.

        Raises OSError, mostly the file's; what was not taken is still there.
        """
        if self._glass is not None and not self._held:
            try:
                moved = os.splice(self.descriptor, descriptor, count, offset_dst=offset, flags=_NONBLOCK)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                self._glass = None  # not into this kind of file
            else:
                self.ended = not moved
                return moved
        data = self._hold(count)[:count]
        if not data:
            return 0
        written = os.pwrite(descriptor, data, offset)
        self._held = self._held[written:]
        return written

    def drop(self, count: int) -> bytes:
        """Take up to so many bytes to nowhere, and return them. Raises OSError."""
        data = self._hold(count)[:count]
        self._held = self._held[len(data) :]
        return data

    def _hold(self, count: int) -> bytes:
        if not self._held:
            with suppress(BlockingIOError):
                # The descriptor may block, so never read more than is there: nobody else reads from it.
                if os.get_blocking(self.descriptor) and unread(self.descriptor) == 0:
                    return b""
                self._held = os.read(self.descriptor, min(count, CHUNK))
                self.ended = not self._held
        return self._held
