"""What processes announce by themselves: that they are ready, in a line or by sd_notify, and that they are alive."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Name, Pid
from colony.runtime.asking import Tell, first_look
from colony.runtime.awaited import AwaitedLine
from colony.runtime.notify import ALIVE, READY, Notify

log = Logger(namespace="colony")

_READS = 16
"""How often the socket is read before one counts as silent: a flood of others may stand before it."""


class _Announced:
    """Tells once, in a turn of its own."""

    def __init__(self, clock: IReactorTime, pid: Pid, tell: Tell) -> None:
        self._clock = clock
        self._pid = pid
        self._tell = tell
        self._telling: IDelayedCall | None = None

    def ready(self) -> None:
        """It has been announced."""
        if self._telling is None:
            self._telling = self._clock.callLater(0, self._tell, Ready(self._pid))

    def stop(self) -> None:
        """Tell nothing."""
        if self._telling is not None and self._telling.active():
            self._telling.cancel()


class ReadyByLine:
    """It writes a line that is waited for."""

    def __init__(self, clock: IReactorTime, pid: Pid, line: AwaitedLine | None, tell: Tell) -> None:
        """``line`` None: nobody reads what it writes."""
        self._announced = _Announced(clock, pid, tell)
        self._line = line

    def begin(self) -> None:
        if self._line is not None:
            self._line.then = self._announced.ready
            if self._line.found:
                self._announced.ready()

    def end(self) -> None:
        self._announced.stop()
        if self._line is not None:
            self._line.then = None


class ReadyByNotify:
    """It says READY=1."""

    def __init__(self, clock: IReactorTime, notify: Notify, name: Name, pid: Pid, tell: Tell) -> None:
        self._announced = _Announced(clock, pid, tell)
        self._notify = notify
        self._name = name
        self._pid = pid

    def begin(self) -> None:
        if self._notify.trouble is not None:
            log.warn("{name} cannot say that it is ready: {why}", name=self._name, why=self._notify.trouble)
        self._notify.listen(self._pid, self._name, self._hear)

    def end(self) -> None:
        self._announced.stop()
        self._notify.ignore(self._pid)

    def _hear(self, lines: frozenset[bytes]) -> None:
        if READY in lines:
            self._announced.ready()


class Pulse:
    """It says WATCHDOG=1, at least once ``every`` so many seconds."""

    def __init__(self, clock: IReactorTime, notify: Notify, name: Name, pid: Pid, every: float, tell: Tell) -> None:
        self._clock = clock
        self._notify = notify
        self._name = name
        self._pid = pid
        self._every = every
        self._tell = tell
        self._heard = False
        self._timer: IDelayedCall | None = None

    def begin(self) -> None:
        self._notify.listen(self._pid, self._name, self._hear)
        self._timer = self._clock.callLater(first_look(self._every, self._name), self._look)

    def end(self) -> None:
        self._notify.ignore(self._pid)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _hear(self, lines: frozenset[bytes]) -> None:
        self._heard = self._heard or ALIVE in lines

    def _look(self) -> None:
        for _ in range(_READS):  # what it said while we were held up counts
            if self._heard or self._notify.read():
                break
        heard, self._heard = self._heard, False
        self._timer = self._clock.callLater(self._every, self._look)
        if heard:
            self._tell(Probed(self._pid, None))
        elif self._notify.trouble is None:  # else it may have said it, to nobody
            self._tell(Probed(self._pid, f"no WATCHDOG=1 within {self._every:g} s"))
