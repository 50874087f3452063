"""A reactor of one's own, turned by hand until a fact holds; and what tests of ``runtime`` read out of the kernel."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from colony.runtime.logs import IReactor

BOUND = 20.0
"""Seconds that a fact may take; far more than it needs, as the machine may be busy with others."""


class Loop:
    """A fresh reactor on the monotonic clock, never the global one."""

    def __init__(self, kind: Callable[[], PosixReactorBase] = EPollReactor) -> None:
        self._base = kind()
        self._base.seconds = time.monotonic
        self.reactor = cast(IReactor, self._base)

    def turn(self, seconds: float = 0.0) -> None:
        """One iteration, waiting at most so long for something to happen."""
        due = self._base.timeout()
        self._base.iterate(seconds if due is None else min(due, seconds))

    def until(self, fact: Callable[[], object], within: float = BOUND) -> None:
        """Turn until ``fact`` holds; fails if it does not within so many seconds."""
        deadline = time.monotonic() + within
        while not fact():
            assert time.monotonic() < deadline, "it never came about"
            self.turn(0.005)

    def during(self, seconds: float) -> None:
        """Turn for so long, for what must not happen."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.turn(min(0.005, left))

    def timers(self) -> int:
        """How many are set."""
        return len(self._base.getDelayedCalls())

    def close(self) -> None:
        """Forget everything, and let go of the reactor's own descriptors."""
        for timer in self._base.getDelayedCalls():
            timer.cancel()
        self._base.removeAll()
        for own in list(self._base._internalReaders):
            self._base.removeReader(own)
            own.connectionLost(None)
        if isinstance(self._base, EPollReactor):
            self._base._poller.close()


class Recorder:
    """A Relay that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []

    def lines(self, name: str, data: bytes, stream: str = "stdout") -> None:
        assert data.endswith(b"\n"), "whole lines"
        self.told.append((name, data))

    @property
    def text(self) -> bytes:
        """Everything, in order."""
        return b"".join(data for _, data in self.told)


@contextmanager
def said() -> Iterator[list[str]]:
    """What is logged meanwhile, formatted."""
    observer = _Observer()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.lines
    finally:
        globalLogPublisher.removeObserver(observer)


@implementer(ILogObserver)
class _Observer:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def lives(pid: int) -> bool:
    """Does it run?  A zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(pid: int) -> None:
    """KILL that very process, if it is there, and those whom it leads."""
    with suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
