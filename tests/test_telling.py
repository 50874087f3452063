"""When units are told of: after what is urgent, and before long all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from pyrsistent import pmap
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from colony.core.desired import Desired
from colony.core.lifecycle import Alarm, Event, Unit
from colony.core.model import Name
from colony.core.report import Report
from colony.core.words import Line
from colony.telling import MOST_UNSAID, MOST_UNTOLD, REPORT_DELAY, REPORT_PATIENCE, REPORT_RETRY, Telling

# Any is whatever Twisted calls.

TURN = REPORT_DELAY / 2


class Turns(Clock):
    """What is to be done at once is done in the next turn."""

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> IDelayedCall:
        return super().callLater(max(delay, TURN), callable, *args, **kw)


class Storm:
    """Units to which something happens in every reactor turn, and what is told of them."""

    def __init__(self) -> None:
        self.clock = Turns()
        self.told: dict[Name, float] = {}
        self.events: list[float] = []
        self.happened = 0
        self.fails = False
        self.busy = False
        self.telling = Telling(self.clock, self.report, lambda: (pmap(), Desired()), lambda: self.busy)

    def report(self, report: Report) -> None:
        self.told |= dict.fromkeys(report.moved, self.clock.seconds())
        self.events += [transition.at for transition in report.transitions]
        if self.fails:
            raise OSError(28, "No space left on device")

    def step(self, name: str) -> None:
        before = Unit(Name(name), starts=self.happened)
        self.telling.happened(before, attrs.evolve(before, starts=self.happened + 1), Alarm())
        self.happened += 1

    def rage(self, seconds: float, each_turn: int, do: Callable[[], None] = lambda: None) -> None:
        """So many events a turn, of a hundred units in a row."""
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            for _ in range(each_turn):
                self.step(f"p{self.happened % 100}")
            self.clock.advance(TURN)
            do()


@pytest.fixture
def storm() -> Storm:
    return Storm()


def test_a_storm_that_never_ends_is_told_of_as_it_goes_on(storm: Storm) -> None:
    storm.step("calm")
    storm.rage(4, each_turn=16)

    now = storm.clock.seconds()
    assert storm.told[Name("calm")] < 2 * REPORT_PATIENCE
    assert now - min(at for name, at in storm.told.items() if name != "calm") < 2 * REPORT_PATIENCE
    assert now - storm.events[-1] < 2 * REPORT_PATIENCE
    assert storm.events == sorted(storm.events)


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_untold_of_a_storm_is_bounded_however_much_happens_in_a_turn(storm: Storm, fails: bool) -> None:
    storm.fails = fails
    untold: list[int] = []
    storm.rage(2, each_turn=300, do=lambda: untold.append(storm.happened - len(storm.events)))

    wait = REPORT_RETRY if fails else REPORT_PATIENCE
    assert max(untold) <= MOST_UNTOLD + 300 * (wait + REPORT_DELAY) / TURN
    assert len(storm.told) == 100, "each name has its turn"


def test_what_is_unsaid_of_a_storm_is_bounded_however_much_happens_in_a_turn(
    storm: Storm, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []

    def of_unit(before: Unit, after: Unit, event: Event) -> tuple[Line, ...]:
        said.append(event)
        return ()

    monkeypatch.setattr("colony.telling.words.of_unit", of_unit)
    storm.busy = True
    unsaid: list[int] = []
    storm.rage(1, each_turn=300, do=lambda: unsaid.append(storm.happened - len(said)))

    assert max(unsaid) <= MOST_UNSAID + 300
