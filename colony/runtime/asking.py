"""When a probe is asked, how long its answer may take, and what is made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Health, Name, Pid
from colony.runtime.probes import Answer, Ill, Probe, Unasked, Well
from colony.runtime.turnstile import Leave, Turnstile

log = Logger(namespace="colony")

FIRST_PAUSE = 0.02
"""Seconds after which one that is not ready is asked again at first."""

LONGEST_PAUSE = 0.5
"""And at the most."""

_GROWTH = 1.5

_JITTER = 0.1
"""The part of ``every`` that a first question is put off at the most, so that a crowd is not asked all at once."""

_UNASKED_PAUSE = 1.0
"""Seconds until the next attempt where nothing could be asked."""

_LATE = 0.1
"""Seconds by which a timer may be late; past that we were held up ourselves, and what came meanwhile is read first."""

Tell = Callable[[Ready | Probed], None]


def first_look(every: float, name: Name) -> float:
    """Seconds until the first of looks that come ``every`` seconds; the same for one name each time."""
    return every * (1 + _JITTER * int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32)


class Course(Protocol):
    """What is made of answers."""

    first: float
    """Seconds until the first question."""

    def answered(self, answer: Well | Ill, took: float) -> float | None:
        """Tell it; returns the seconds until the next question, None if there is to be none."""

    def left(self) -> None:
        """There will be no more questions."""


class UntilReady:
    """Asked soon and often at first, then more slowly, until it is ready."""

    first = 0.0

    def __init__(self, name: Name, pid: Pid, tell: Tell) -> None:
        self._name = name
        self._pid = pid
        self._tell = tell
        self._pause = FIRST_PAUSE
        self._trouble: str | None = None

    def answered(self, answer: Well | Ill, took: float) -> float | None:
        if isinstance(answer, Well):
            self._trouble = None
            self._tell(Ready(self._pid))
            return None
        if answer.why != self._trouble:
            self._trouble = answer.why
            self._tell(Probed(self._pid, answer.why))
        pause, self._pause = self._pause, min(self._pause * _GROWTH, LONGEST_PAUSE)
        return max(pause, min(took, LONGEST_PAUSE))  # what is slow to answer costs somebody; half of the time at most

    def left(self) -> None:
        if self._trouble is not None:
            log.info("{name} ({pid}) was not ready: {why}", name=self._name, pid=self._pid, why=self._trouble)


class Rounds:
    """Asked ``every`` so many seconds, and all told."""

    def __init__(self, name: Name, pid: Pid, health: Health, tell: Tell) -> None:
        self._pid = pid
        self._every = health.every
        self._tell = tell
        self.first = first_look(health.every, name)

    def answered(self, answer: Well | Ill, took: float) -> float | None:
        self._tell(Probed(self._pid, answer.why if isinstance(answer, Ill) else None))
        return max(0.0, self._every - took)

    def left(self) -> None:
        pass


class Asking:
    """
    One probe on its course, never asked twice at once.

    Where nothing could be asked nothing is told; ``short`` hears why, and None when it could be again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        turnstile: Turnstile,
        name: Name,
        probe: Probe,
        timeout: float,
        course: Course,
        short: Callable[[str | None], None],
    ) -> None:
        """``timeout``: the seconds that each answer may take."""
        self._clock = clock
        self._turnstile = turnstile
        self._name = name
        self._probe = probe
        self._timeout = timeout
        self._course = course
        self._short = short
        self._timer: IDelayedCall | None = None
        self._asked = 0.0
        self._leave: Leave | None = None
        """Not None while an answer is waited for."""
        self._over = False

    def begin(self) -> None:
        self._again(self._course.first)

    def end(self) -> None:
        """Nothing is told after this; the probe lets go of what it holds."""
        if self._over:
            return
        self._over = True
        self._stop_timer()
        if self._leave is not None:
            self._leave()
            self._leave = None
            self._probe.cancel()
        self._course.left()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _again(self, delay: float) -> None:
        self._timer = self._clock.callLater(delay, self._turnstile.enter, self._ask)

    def _ask(self, leave: Leave) -> None:
        if self._over:
            leave()
            return
        self._leave = leave
        self._asked = self._clock.seconds()
        self._timer = self._clock.callLater(self._timeout, self._overdue)
        try:
            self._probe.ask(self._answered)
        except Exception as error:  # ours to mend; it is asked again all the same
            log.failure("cannot ask how {name} is", name=self._name)
            self._answered(Unasked(repr(error)))

    def _overdue(self) -> None:
        if self._clock.seconds() - self._asked > self._timeout + _LATE:
            # The answer may be there, unread: timers come before descriptors in a turn of the reactor.
            self._timer = self._clock.callLater(_LATE, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self._probe.cancel()
        self._answered(Ill(f"{self._probe.overdue} within {self._timeout:g} s"))

    def _answered(self, answer: Answer) -> None:
        if self._leave is None:
            return  # once is enough
        self._leave()
        self._leave = None
        self._stop_timer()
        if isinstance(answer, Unasked):
            self._short(f"cannot ask how {self._name} is: {answer.why}")
            self._again(_UNASKED_PAUSE)
            return
        self._short(None)
        pause = self._course.answered(answer, self._clock.seconds() - self._asked)
        if self._over:  # by whom it was told
            return
        if pause is None:
            self.end()
        else:
            self._again(pause)
