"""When and what the supervisor tells: reports of what moved, lines of what happened, after what is to be done."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

from pyrsistent import PMap
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from colony.core import words
from colony.core.desired import Desired
from colony.core.lifecycle import Event, Unit
from colony.core.model import Name
from colony.core.report import Report, Transition
from colony.core.words import Level, Line

log = Logger(namespace="colony")

REPORT_DELAY = 0.02
"""Seconds that a report waits for more to tell: starting again comes before telling of it."""

REPORT_DELAY_CLOSING = 0.5
"""The same while everything is being stopped, which mostly is over by then."""

REPORT_PATIENCE = 0.5
"""Seconds that reports wait at the most for a storm to pass; then all that is owed is told, and they wait anew."""

REPORT_SLICE = 64
"""Names told of in one reactor turn."""

MOST_UNSAID = 2048
"""Events whose lines wait at the most for what is to be done; a thousand starts are two thousand."""

TRANSITIONS_SLICE = 256
"""Transitions told of in one reactor turn; names are told of once none is left."""

MOST_UNTOLD = 2048
"""More of them than that are told of at once: turns in which so much happens would never come to the end of them."""

REPORT_RETRY = 1.0
"""Seconds after which a report that could not be made is made again."""


_LEVELS = {level: LogLevel.levelWithName(level.value) for level in Level}


class Telling:
    """
    Tells of units, in files and in the log, at moments when nothing more urgent is to be done.

    ``report`` is given each Report, made from what ``now_is`` returns then; ``busy`` says whether something is to be
    done first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        report: Callable[[Report], None],
        now_is: Callable[[], tuple[PMap[Name, Unit], Desired]],
        busy: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._report = report
        self._now_is = now_is
        self._busy = busy
        self._closing = False
        self._moved: dict[Name, None] = {}
        self._transitions: deque[Transition] = deque()
        self._next_report: IDelayedCall | None = None
        self._unsaid: deque[tuple[Unit, Unit, Event]] = deque()
        self._next_speech: IDelayedCall | None = None
        self._unreported: str | None = None
        self._stepped = -math.inf
        self._owed: float | None = None

    def moved(self, name: Name) -> None:
        """There is something new to report of it."""
        self._moved[name] = None

    def happened(self, before: Unit, after: Unit, event: Event) -> None:
        """A unit has taken in an event, at this moment."""
        self._stepped = self._clock.seconds()
        self._unsaid.append((before, after, event))
        if self._next_speech is None:
            self._next_speech = self._clock.callLater(0, self._speak)
        if after is not before:
            self._transitions.append(Transition(before, after, self._stepped))
            self.moved(after.name)
            self.soon()

    def soon(self) -> None:
        """Report before long, though no unit may have moved: litter, and files of no name, are told of too."""
        if self._next_report is None:
            if self._owed is None:
                self._owed = self._clock.seconds()
            delay = REPORT_DELAY_CLOSING if self._closing else REPORT_DELAY
            self._next_report = self._clock.callLater(delay, self._report_slice)

    def close(self) -> None:
        """Everything is being stopped from now on."""
        self._closing = True

    def flush(self) -> None:
        """Report and say what has not been yet."""
        if self._next_speech is not None:
            self._next_speech.cancel()
            self._next_speech = None
        while self._unsaid:
            self.say(words.of_unit(*self._unsaid.popleft()))
        if self._next_report is not None:
            self._next_report.cancel()
            self._next_report = None
        self._owed = None
        moved, self._moved = frozenset(self._moved), {}
        self._report_guarded(moved, len(self._transitions))

    def say(self, lines: Iterable[Line]) -> None:
        """Write lines into the log."""
        for line in lines:
            log.emit(_LEVELS[line.level], line.text, **line.fields)

    def _report_slice(self) -> None:
        self._next_report = None
        now = self._clock.seconds()
        # What is still to be done comes before telling of what was; for a while.
        patient = self._owed is not None and now < self._owed + REPORT_PATIENCE
        if patient and (self._busy() or now < self._stepped + REPORT_DELAY):
            self.soon()
            return
        untold = len(self._transitions)
        most = TRANSITIONS_SLICE if untold <= MOST_UNTOLD else untold
        moved: frozenset[Name] = frozenset()
        if untold <= most:
            moved = frozenset(list(self._moved)[:REPORT_SLICE])
            for name in moved:
                del self._moved[name]
        self._report_guarded(moved, most)
        if not self._moved:
            self._owed = None
        elif self._next_report is None:
            self._next_report = self._clock.callLater(0, self._report_slice)

    def _report_guarded(self, moved: frozenset[Name], most: int) -> None:
        transitions = tuple(self._transitions.popleft() for _ in range(min(most, len(self._transitions))))
        try:
            self._report(Report(*self._now_is(), moved, transitions))
        except OSError as error:  # a full disk, STATE gone: what was not told is told later
            if str(error) != self._unreported:
                self._unreported = str(error)
                log.error("cannot tell in files what is going on: {error}", error=error)
            self._moved |= dict.fromkeys(moved)  # last: perhaps the others can be told of
            if not self._closing and self._next_report is None:
                self._next_report = self._clock.callLater(REPORT_RETRY, self._report_slice)
        except Exception:
            log.failure("cannot report")
        else:
            self._unreported = None

    def _speak(self) -> None:
        """Say in the log what has happened, once what is to be done has been, or too much is unsaid."""
        self._next_speech = None
        if not self._busy() or len(self._unsaid) > MOST_UNSAID:
            most = max(REPORT_SLICE, len(self._unsaid) - MOST_UNSAID)
            for _ in range(min(most, len(self._unsaid))):
                self.say(words.of_unit(*self._unsaid.popleft()))
        if self._unsaid:
            self._next_speech = self._clock.callLater(0, self._speak)
