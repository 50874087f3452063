"""What a supervisor that was killed has left running: found by its token, and stopped, before anything is started."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from colony.core.ending import Ending, advance, begin
from colony.core.model import StopLadder
from colony.runtime import proc

log = Logger(namespace="colony")

_PACE = 0.02
"""Seconds between two looks at what is being stopped."""


@attrs.frozen
class Leftover:
    """A process that carries a token of ours; with its start time the pid means it and nobody else."""

    pid: int
    start_time: int
    token: str
    name: str


def leftovers(colony: str) -> list[Leftover]:
    """Every living process but this one that a supervisor of the same CONFIG has started, itself or through others."""
    found = []
    for pid in proc.pids():
        token = proc.token(pid)
        if token is None or not token.startswith(f"{colony}.") or pid == os.getpid():
            continue
        stat = proc.stat(pid)
        if stat is not None and not stat.ended:
            found.append(Leftover(pid, stat.start_time, token, proc.variable(pid, b"COLONY_NAME") or "?"))
    return found


class Clearing:
    """Stops them, and what they start meanwhile, each by the ladder; `gone` fires when none is left."""

    def __init__(self, clock: IReactorTime, colony: str, ladder: StopLadder) -> None:
        self._clock = clock
        self._colony = colony
        self._ladder = ladder
        self._endings: dict[Leftover, Ending] = {}
        self.gone: Deferred[None] = Deferred()

    def begin(self) -> None:
        """Look, and go on until nobody is left."""
        now = self._clock.seconds()
        found = leftovers(self._colony)
        for leftover in found:
            ending = self._endings.get(leftover)
            if ending is None:
                log.warn(
                    "{name} ({pid}) was left running by a supervisor that is no more: stopping it",
                    name=leftover.name,
                    pid=leftover.pid,
                )
                ending, signals = begin(self._ladder, now)
            else:
                ending, signals = advance(ending, now)
            self._endings[leftover] = ending
            for name in signals:
                _send(leftover, signal.Signals[f"SIG{name}"])
        if found:
            self._clock.callLater(_PACE, self.begin)
        else:
            self.gone.callback(None)


def _send(leftover: Leftover, number: signal.Signals) -> None:
    """By pidfd where there are any: between the look and the signal the number may have become a stranger's."""
    with suppress(OSError):
        descriptor = os.pidfd_open(leftover.pid) if hasattr(os, "pidfd_open") else None
        try:
            found = proc.stat(leftover.pid)
            if found is None or found.start_time != leftover.start_time:
                return
            if descriptor is None:
                os.kill(leftover.pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            if descriptor is not None:
                os.close(descriptor)
