"""Consecutive failures of a probe make a process unhealthy."""

from __future__ import annotations

import attrs

from colony.core.model import Health


@attrs.frozen
class Vitals:
    """
    How a process has answered its health probe.

    ``failures`` in a row that count; ``healthy`` None until that is known; ``trouble`` is why the last probe failed,
    None if it did not.
    """

    failures: int = 0
    healthy: bool | None = None
    trouble: str | None = None


def probed(vitals: Vitals, health: Health, trouble: str | None, age: float) -> Vitals:
    """Take in one probe of a process ``age`` seconds old; ``trouble`` is None if it is well."""
    if trouble is None:
        return Vitals(healthy=True)
    if age < health.start:
        return attrs.evolve(vitals, trouble=trouble)
    failures = vitals.failures + 1
    return Vitals(failures, False if failures >= health.failures else vitals.healthy, trouble)
