"""Asks in a thread of its own what may hang: a dead network mount, a name server."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from twisted.internet.interfaces import IReactorFromThreads

from colony.runtime.inheritance import blocked_signals

T = TypeVar("T")


def aside(reactor: IReactorFromThreads, work: Callable[[], T], answer: Callable[[T], None]) -> None:
    """
    Call ``answer``, in the reactor, with what ``work`` returns in the thread; it must not raise.

    A thread for each question, so that one that hangs holds up no other; whoever asks sees to it that they do not
    become many. Raises RuntimeError if no thread can be had.
    """

    def run() -> None:
        reactor.callFromThread(answer, work())

    with blocked_signals():
        Thread(target=run, name="colony-aside", daemon=True).start()  # as a daemon, it holds up no exit either
