"""What does not run, and why, as one supervisor leaves it and the next finds it."""

from __future__ import annotations

import attrs
import pytest

from colony.core.lifecycle import (
    Alarm,
    Backoff,
    Down,
    Failed,
    Released,
    Spawn,
    Spawning,
    State,
    Unit,
    Up,
    Waiting,
    step,
)
from colony.core.lifecycle import Running as Process
from colony.core.model import Exit, Name, Pid, ProcessSpec, Rest, RestartPolicy
from colony.core.succession import rest, rested

SPEC = ProcessSpec(("web",), "one", restart=RestartPolicy(initial=10, limit=100, jitter=0))
UNIT = Unit(
    Name("web"),
    SPEC,
    generation=4,
    starts=7,
    streak=3,
    since=40.0,
    last_exit=Exit(None, "SEGV"),
    last_exit_at=40.0,
    trouble="unhealthy",
)
NOW = 50.0

to = attrs.evolve


@pytest.mark.parametrize(
    ("state", "streak"), [(Backoff(75.0, generation=4), 3), (Failed(generation=4), 3), (Down(ended=4), 0)]
)
def test_the_next_supervisor_finds_it_as_it_was(state: State, streak: int) -> None:
    unit = to(UNIT, state=state, streak=streak)
    left = rest(unit)
    assert left is not None

    found = rested(Unit(Name("web"), SPEC, generation=4, starts=7), left, SPEC, NOW)

    assert found == unit
    assert step(found, Alarm(), NOW) == (found, ())
    assert step(found, Released(), NOW)[1] == (Spawn(Name("web"), SPEC, b""),)


@pytest.mark.parametrize(
    "unit",
    [
        to(UNIT, state=Down()),
        to(UNIT, state=Down(ended=3)),
        to(UNIT, state=Failed(generation=3)),
        to(UNIT, state=Failed(generation=4), spec=None),
        to(UNIT, state=Backoff(75.0, generation=3)),
        to(UNIT, state=Backoff(40.0, generation=4), streak=0),
        to(UNIT, state=Waiting((Name("db"),))),
        to(UNIT, state=Spawning(SPEC, 4)),
        to(UNIT, state=Up(Process(Pid(3), SPEC, 4, 0.0))),
    ],
)
def test_what_runs_or_is_to_run_as_soon_as_it_can_does_not_rest(unit: Unit) -> None:
    assert rest(unit) is None


@pytest.mark.parametrize(("until", "believed"), [(-1e9, -1e9), (89.0, 89.0), (1e9, NOW + 40)])
def test_an_instant_is_believed_no_further_than_the_policy_goes(until: float, believed: float) -> None:
    found = rested(Unit(Name("web"), SPEC, generation=4), Rest(until, 3), SPEC, NOW)
    assert found.state == Backoff(believed, 4)


def test_what_never_ran_has_no_end() -> None:
    found = rested(Unit(Name("web"), SPEC), Rest(60.0, 1, trouble="cannot start: no such file"), SPEC, NOW)
    assert (found.last_exit, found.last_exit_at, found.since) == (None, None, NOW)


def test_nothing_has_ended_in_the_future() -> None:
    found = rested(Unit(Name("web"), SPEC), Rest(60.0, 1, Exit(1), 1e9), SPEC, NOW)
    assert (found.last_exit_at, found.since) == (NOW, NOW)
