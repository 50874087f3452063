"""The stop ladder: ask, ask again, insist; shared by everything that is ever stopped."""

from __future__ import annotations

import attrs

from colony.core.model import Rung, StopLadder


@attrs.frozen
class Ending:
    """
    Somebody on the way down a ladder: the rung it stands on, and when the next one is due.

    ``until`` is on the caller's monotonic clock; None on the last rung, after which nothing more can be done.
    """

    ladder: StopLadder
    rung: int
    until: float | None

    @property
    def main(self) -> bool:
        """Are the signals of its rung for the main process alone?"""
        return self.ladder[self.rung].main


def begin(ladder: StopLadder, now: float) -> tuple[Ending, tuple[str, ...]]:
    """Step on the first rung; returns the signals to send now."""
    return _stand(ladder, 0, now)


def advance(ending: Ending, now: float) -> tuple[Ending, tuple[str, ...]]:
    """Step on the next rung if it is due; returns the signals to send now, none if it is not."""
    if ending.until is None or now < ending.until:
        return ending, ()
    return _stand(ending.ladder, ending.rung + 1, now)


def again(ending: Ending) -> tuple[str, ...]:
    """The signals of the rung it stands on, for somebody who was not there when they were sent."""
    return _signals(ending.ladder[ending.rung])


def insist(ending: Ending) -> tuple[Ending, tuple[str, ...]]:
    """Step on the last rung at once; none to send if it stands there already."""
    last = len(ending.ladder) - 1
    if ending.rung == last:
        return ending, ()
    return _stand(ending.ladder, last, 0.0)


def _stand(ladder: StopLadder, rung: int, now: float) -> tuple[Ending, tuple[str, ...]]:
    until = now + ladder[rung].seconds if rung + 1 < len(ladder) else None
    return Ending(ladder, rung, until), _signals(ladder[rung])


def _signals(rung: Rung) -> tuple[str, ...]:
    # A stopped process (SIGSTOP, Ctrl-Z) cannot answer until it is continued; KILL does not ask.
    return (rung.signal,) if rung.signal == "KILL" else (rung.signal, "CONT")
