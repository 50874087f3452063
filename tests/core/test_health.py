"""When a process that is asked how it is becomes unhealthy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from colony.core.health import Vitals, probed
from colony.core.model import Health, Tcp

HEALTH = Health(Tcp(80), failures=3, start=10)
REFUSED = "connection refused"


def asked(*answers: str | None, ages: Sequence[float] = ()) -> Vitals:
    vitals = Vitals()
    for index, trouble in enumerate(answers):
        vitals = probed(vitals, HEALTH, trouble, ages[index] if ages else 100.0)
    return vitals


def test_nothing_is_known_before_the_first_probe() -> None:
    assert Vitals().healthy is None


@pytest.mark.parametrize(
    ("answers", "healthy", "failures"),
    [
        ([None], True, 0),
        ([REFUSED], None, 1),
        ([None, REFUSED, REFUSED], True, 2),
        ([REFUSED, REFUSED, REFUSED], False, 3),
        ([REFUSED, REFUSED, None, REFUSED, REFUSED], True, 2),
        ([None, REFUSED, REFUSED, REFUSED], False, 3),
    ],
)
def test_so_many_failures_in_a_row_make_it_unhealthy(
    answers: list[str | None], healthy: bool | None, failures: int
) -> None:
    vitals = asked(*answers)

    assert (vitals.healthy, vitals.failures) == (healthy, failures)
    assert vitals.trouble == answers[-1]


def test_what_fails_while_it_is_young_does_not_count() -> None:
    vitals = asked(REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, ages=[1, 5, 9.9, 10, 11])

    assert (vitals.healthy, vitals.failures) == (None, 2)


def test_what_is_well_while_it_is_young_counts() -> None:
    assert asked(None, REFUSED, ages=[1, 2]).healthy is True
