"""One connection by TCP, for a few words: it never waits, keeps nothing, and ends when it is told to."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

CHUNK = 65_536
"""Bytes read in one reactor turn."""


class Conversation(Protocol):
    """What is said over a connection."""

    def connected(self) -> bytes:
        """It stands; returns what to send."""

    def received(self, data: bytes) -> bytes:
        """Take in what came; returns what to send."""

    def ended(self, error: int | None) -> None:
        """
        It came to nothing, or is over: by that errno, None for an end in order.

        Not told after `Connection.close`.
        """


@implementer(IReadDescriptor, IWriteDescriptor)
class Connection:
    """
    A connection, from the first attempt on.

    Made of a bare socket, as Twisted's transports hide the errno of a failure in one of a dozen exceptions, and read on
    where nobody wants to know more.
    """

    def __init__(self, reactor: IReactorFDSet, host: str, port: int, conversation: Conversation) -> None:
        """``host`` is an address. Nothing is told before `begin`."""
        self._reactor = reactor
        self._address = host, port
        self._conversation = conversation
        self._socket: socket.socket | None = None
        self._stands = False
        self._unsent = b""

    def begin(self) -> None:
        """Connect; that it cannot be may be told before this returns."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            error = self._socket.connect_ex(self._address)
        except OSError as failed:
            error = failed.errno or errno.EIO
        if self._socket is None or error not in (0, errno.EINPROGRESS):
            self._end(error)
            return
        self._reactor.addReader(self)
        self._reactor.addWriter(self)

    def close(self) -> None:
        """Let go of it; nothing is told any more."""
        if self._socket is not None:
            if self._socket.fileno() >= 0:
                self._reactor.removeReader(self)
                self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None

    def _end(self, error: int | None) -> None:
        self.close()
        self._conversation.ended(error)

    def _connect(self) -> bool:
        """Has it been made?  Told if it cannot be."""
        assert self._socket is not None, "it is being read or written"
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            try:
                # With nobody listening, the port we are given to call from may be the very one that we call, and the
                # kernel connects it with itself (RFC 9293, simultaneous open).
                itself = self._socket.getpeername() == self._socket.getsockname()
            except OSError as failed:
                error = failed.errno or errno.EIO
            else:
                error = errno.ECONNREFUSED if itself else 0
        if error:
            self._end(error)
            return False
        self._stands = True
        self._unsent = self._conversation.connected()
        return self._socket is not None

    # IReadDescriptor, IWriteDescriptor

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "probe"

    def doWrite(self) -> None:
        if self._socket is None or not (self._stands or self._connect()):
            return
        if self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error.errno)
                return
        if not self._unsent:
            self._reactor.removeWriter(self)

    def doRead(self) -> None:
        if self._socket is None or not (self._stands or self._connect()):
            return
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error.errno)
            return
        if not data:
            self._end(None)
            return
        self._unsent += self._conversation.received(data)
        if self._unsent and self._socket is not None:
            self._reactor.addWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending, or has seen an error that it does not let us read."""
        error = None
        if self._socket is not None:
            with suppress(OSError):
                error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._end(error or errno.ECONNRESET)
