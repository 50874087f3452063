"""When something is due next, and how many times were missed."""

from __future__ import annotations

import math

import attrs


@attrs.frozen
class Due:
    """The next moment, and how many before it have passed unused; on the clock of the question."""

    at: float
    missed: int


@attrs.frozen
class Every:
    """A fixed grid, ``seconds`` (more than 0) apart."""

    seconds: float

    def next(self, reference: float, now: float) -> Due:
        """The first point of the grid through ``reference`` that lies after it and not before ``now``."""
        steps = max(1, math.ceil((now - reference) / self.seconds))
        return Due(reference + steps * self.seconds, steps - 1)
