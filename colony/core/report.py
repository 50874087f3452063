"""What is told of units: how they are, and how they have moved."""

from __future__ import annotations

import attrs
from pyrsistent import PMap

from colony.core.desired import Desired
from colony.core.lifecycle import Unit
from colony.core.model import Name


@attrs.frozen
class Transition:
    """A unit, before and after one event, and when that was, on the monotonic clock."""

    before: Unit
    after: Unit
    at: float


@attrs.frozen
class Report:
    """
    What is, at one moment, and the names that have moved since the report before.

    ``transitions`` are how they have, each told once, in order; names may be told of as moved again and again, but not
    while transitions of theirs are still to be told.
    """

    units: PMap[Name, Unit]
    desired: Desired
    moved: frozenset[Name]
    transitions: tuple[Transition, ...] = ()
