"""One of a process's outputs on its way from its pipe to its file, and to who reads along."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from colony.runtime.awaited import AwaitedLine
from colony.runtime.logfile import Later, LogFile
from colony.runtime.logs import MAX_PIPE, MAX_RETRY, RETRY, Lines, Relay
from colony.runtime.splice import Glass, Mouth, capacity, is_full

log = Logger(namespace="colony")


class Stream:
    """
    A pipe, the file that it goes to, and its readers; all but the making is for the writer's thread.

    ``descriptor`` -1: ``path`` is a FIFO that what was started before us still writes to, and is to be opened.
    ``holds`` are the bytes that the pipe may hold, and ``in_reactor`` calls what it is given in the reactor's thread.
    ``wait`` is the seconds until it can be taken from, if that cannot be done now, ``rest`` those that its next words
    are let gather, and ``over`` that nobody will write to it any more.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        descriptor: int,
        path: str | None,
        holds: int,
        file: LogFile,
        relay: Relay | None,
        glass: Glass | None,
        in_reactor: Callable[[Callable[[], None]], None],
    ) -> None:
        self.name = name
        self.file = file
        self.awaited: AwaitedLine | None = None
        self.on_full: Callable[[], None] | None = None
        """Told in the reactor, should it be full when it is opened."""
        self.wait = 0.0
        self.rest = 0.0
        self._kind = kind
        self._path = path
        self._relay = relay
        self._glass = glass
        self._in_reactor = in_reactor
        self.is_survivor = descriptor < 0
        self._mouth = Mouth(descriptor, glass, holds)
        self._lines = Lines(self._hand_on)
        self._trouble: int | None = None
        self._opened = descriptor >= 0

    @property
    def descriptor(self) -> int:
        """Our end of the pipe."""
        return self._mouth.descriptor

    @property
    def capacity(self) -> int:
        """Bytes that the pipe may hold."""
        return self._mouth.capacity

    @property
    def over(self) -> bool:
        """Is nothing to be expected any more, until it ends?"""
        return self._mouth.ended or (self._opened and self._mouth.descriptor < 0)

    def begin(self) -> None:
        """Go on where another supervisor left it."""
        if self.is_survivor and self.is_read:
            with suppress(OSError):
                self._lines.partial = self.file.unfinished()

    def take(self) -> int:
        """Take what there is, a bounded piece; returns how many bytes there were."""
        if not self._opened and not self._open():
            return 0
        if self._mouth.descriptor < 0:
            return 0
        try:
            taken = self.file.take(self._mouth, self._lines.take if self.is_read else None)
        except Later:
            self.wait = min(2 * self.wait or RETRY, MAX_RETRY)
            return 0
        self.wait = 0.0
        return taken

    def end(self, pid: int | None = None) -> None:
        """Take the last, and close; ``pid`` is whose it was."""
        left = MAX_PIPE + self.capacity  # not for ever: somebody may go on writing
        while left > 0 and (taken := self.take()):
            left -= taken
        if self.wait and self._mouth.descriptor >= 0:  # it cannot be waited for any more
            self.file.lose(self._mouth, self._lines.take)
        self._lines.end()
        if pid is not None:
            self.file.end(pid)
        self.close()

    def close(self) -> None:
        """Take no more; the FIFO goes."""
        self.file.close()
        if self._mouth.descriptor >= 0:
            os.close(self._mouth.descriptor)
            self._mouth.descriptor = -1
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)

    @property
    def is_read(self) -> bool:
        """Does anybody want its lines, beside the file?"""
        return self._relay is not None or self.is_awaited

    @property
    def is_awaited(self) -> bool:
        """Is a line still waited for?"""
        return self.awaited is not None and not self.awaited.found

    def _hand_on(self, lines: bytes) -> None:
        if self._relay is not None:
            self._relay.lines(self.name, lines, self._kind)
        if self.awaited is not None and self.awaited.matches(lines):
            self._in_reactor(self.awaited.find)

    def _open(self) -> bool:
        """Open the FIFO; returns whether that is settled, be it that there is none any more."""
        try:
            if self._path is None:
                raise FileNotFoundError
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except FileNotFoundError:
            log.warn("what {name} says from now on is lost: it has no pipe any more", name=self.name)
            self._path = None
            self._opened = True
            return True
        except OSError as error:
            if self._trouble != error.errno:
                log.warn("what {name} says cannot be read now: {error}", name=self.name, error=error.strerror)
            self._trouble = error.errno
            self.wait = min(2 * self.wait or RETRY, MAX_RETRY)
            return False
        if self._trouble is not None:
            log.info("what {name} says can be read again", name=self.name)
        self._opened = True
        self.wait = 0.0
        self._mouth = Mouth(descriptor, self._glass, capacity(descriptor))
        if self.on_full is not None and is_full(descriptor):
            self._in_reactor(self.on_full)
        return True
