"""Lets a crowd through one by one, so that a thousand at once hold up nobody else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

Leave = Callable[[], None]


class Turnstile:
    """
    Begins one piece of work a reactor turn, and no more than ``places`` at once.

    A place is kept until the work leaves it, or for ``patience`` seconds: work that hangs gets slower company, and
    keeps nobody out for good.
    """

    def __init__(self, clock: IReactorTime, places: int = 64, patience: float = 0.25) -> None:
        self._clock = clock
        self._free = places
        self._patience = patience
        self._waiting: deque[Callable[[Leave], None]] = deque()
        self._turn: IDelayedCall | None = None

    def enter(self, work: Callable[[Leave], None]) -> None:
        """Call ``work`` when it is its turn, never before this returns; it calls what it is given when it is over."""
        self._waiting.append(work)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if self._turn is None and self._waiting and self._free:
            self._turn = self._clock.callLater(0, self._let_in)

    def _let_in(self) -> None:
        self._turn = None
        self._free -= 1
        place = self._clock.callLater(self._patience, self._give_back)

        def leave() -> None:
            if place.active():
                place.cancel()
                self._give_back()

        work = self._waiting.popleft()
        try:
            work(leave)
        finally:
            self._turn_soon()

    def _give_back(self) -> None:
        self._free += 1
        self._turn_soon()
