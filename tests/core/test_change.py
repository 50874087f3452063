"""A changed value is what attrs makes of it."""

from __future__ import annotations

import attrs
import pytest

from colony.core.change import evolve
from colony.core.lifecycle import Backoff, Unit
from colony.core.model import Name

UNIT = Unit(Name("web"), starts=3, held=True)


def test_what_is_changed_is_new_and_all_else_is_as_it_was() -> None:
    changed = evolve(UNIT, state=Backoff(1.0, 2), starts=4)

    assert changed == attrs.evolve(UNIT, state=Backoff(1.0, 2), starts=4)
    assert UNIT.starts == 3


def test_nothing_changed_is_the_same_value() -> None:
    assert evolve(UNIT) == UNIT


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        evolve(UNIT, nobody=1)  # type: ignore[call-arg]  # the point of the test
