"""The tcp probe: does this host accept a connection to that port?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorFDSet

from colony.runtime.connection import Connection, Conversation
from colony.runtime.probes import Answer, Ill, Unasked, Well, of_error

LOCAL = ("127.0.0.1", "::1")
"""This host, in the order of trying."""

Failed = Callable[[int | None], None]
"""Told of an end without an answer, and its errno."""


class TcpProbe:
    """Connects to a port of this host, and closes the connection."""

    def __init__(self, reactor: IReactorFDSet, port: int) -> None:
        self._port = port
        self._call = Call(reactor, port)

    @property
    def overdue(self) -> str:
        return f"no connection to port {self._port}"

    def ask(self, done: Callable[[Answer], None]) -> None:
        def accepted() -> None:
            self._call.cancel()
            done(Well())

        self._call.begin(LOCAL, lambda failed: _Nothing(accepted, failed), done)

    def cancel(self) -> None:
        self._call.cancel()


class _Nothing:
    """Says nothing: that somebody is there is all."""

    def __init__(self, accepted: Callable[[], None], failed: Failed) -> None:
        self._accepted = accepted
        self.ended = failed

    def connected(self) -> bytes:
        self._accepted()
        return b""

    def received(self, data: bytes) -> bytes:
        raise AssertionError("the connection is closed by then")


class Call:
    """One connection at a time, to the first of some addresses that accepts it."""

    def __init__(self, reactor: IReactorFDSet, port: int) -> None:
        self._reactor = reactor
        self._port = port
        self._connection: Connection | None = None

    def begin(
        self, hosts: Sequence[str], conversation: Callable[[Failed], Conversation], done: Callable[[Answer], None]
    ) -> None:
        """
        Try ``hosts``, of which there is one at least, in turn; ``done`` is told of a failure of them all.

        ``conversation`` makes what talks over a connection; the failure of one that has been made is its to tell.
        """
        self.cancel()
        self._try(hosts, conversation, None, done)

    def cancel(self) -> None:
        """Cut it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(
        self,
        hosts: Sequence[str],
        conversation: Callable[[Failed], Conversation],
        first: Ill | None,
        done: Callable[[Answer], None],
    ) -> None:
        def failed(error: int | None) -> None:
            self.cancel()
            answer = of_error(error, f"port {self._port} of {hosts[0]}")
            if isinstance(answer, Unasked) and first is None:
                done(answer)
                return
            # What the first address says counts: the others are mostly not there.
            trouble = first or Ill(answer.why)
            if hosts[1:]:
                self._try(hosts[1:], conversation, trouble, done)
            else:
                done(trouble)

        self._connection = Connection(self._reactor, hosts[0], self._port, conversation(failed))
        self._connection.begin()
