"""The fixed grid: the next point is on it, ahead, and what was missed is counted."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core.recurrence import Due, Every
from tests.strategies import steady


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (100, Due(110, 0)),  # asked at the reference itself: never the same point again
        (100.1, Due(110, 0)),
        (109.9, Due(110, 0)),
        (110, Due(110, 0)),  # a run that ends right at a point: that point
        (110.1, Due(120, 1)),
        (155, Due(160, 5)),
        (50, Due(110, 0)),  # a clock that is behind
    ],
)
def test_the_next_point_of_a_grid_of_ten_seconds_through_100(now: float, due: Due) -> None:
    assert Every(10).next(100, now) == due


# Multiples of 1/1024 with small numerators, whose sums and quotients by powers of two a float holds exactly.
_instants = st.integers(0, 2**30).map(lambda number: number / 1024)
_steps = st.integers(0, 20).map(lambda power: 2.0**power / 1024)


@steady
@given(_steps, _instants, _instants)
def test_the_next_point_is_the_first_of_the_grid_after_the_reference_and_not_before_now(
    seconds: float, reference: float, now: float
) -> None:
    due = Every(seconds).next(reference, now)

    assert due.at > reference
    assert due.at >= now
    assert (Fraction(due.at) - Fraction(reference)) % Fraction(seconds) == 0
    assert due.at - seconds == reference or due.at - seconds < now, "a point before it would have done"


@steady
@given(_steps, _instants, _instants)
def test_what_was_missed_are_the_points_between(seconds: float, reference: float, now: float) -> None:
    due = Every(seconds).next(reference, now)

    assert due.at == reference + (due.missed + 1) * seconds


@steady
@given(st.floats(0.001, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_for_any_durations_time_goes_on(seconds: float, reference: float, now: float) -> None:
    due = Every(seconds).next(reference, now)

    assert due.at > reference
    assert due.at == pytest.approx(max(now, reference), abs=seconds * 1.000001)
    assert due.missed >= 0
