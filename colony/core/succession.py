"""What passes from one supervisor to the next, of what runs and of what does not."""

from __future__ import annotations

from typing import assert_never

import attrs

from colony.core.lifecycle import Backoff, Down, Failed, Running, Starting, State, Unit, Up
from colony.core.model import Elapsed, Exec, Http, LogLine, Notify, ProcessSpec, Rest, Tcp


def adopted(process: Running, said: bool, now: float) -> State:
    """
    The state of what was started before us, and runs; ``said``: we know that it has told of being ready.

    Where somebody can be asked whether it is ready, that is asked again; what it said of itself is not said twice. It
    is not ended for being late: nobody knows how late it is.
    """
    ready = process.spec.ready
    if ready is None:
        return Up(process)
    match ready.probe:
        case Tcp() | Http() | Exec():
            return Starting(process, None)
        case Elapsed(seconds):
            return Starting(process, process.started + seconds)
        case LogLine() | Notify():
            return Up(process) if said else Starting(process, now + ready.timeout, unheard=True)
        case _:
            assert_never(ready.probe)


def has_said(before: Unit, after: Unit) -> bool:
    """Has it told just now of being ready, which it will not do twice?"""
    if not isinstance(before.state, Starting) or not isinstance(after.state, Up):
        return False
    ready = after.state.process.spec.ready
    return ready is not None and isinstance(ready.probe, LogLine | Notify)


def rest(unit: Unit) -> Rest | None:
    """Why it does not run though it is to, by its present generation; None if the next supervisor may start it."""
    match unit.state:
        case Down(generation) | Failed(generation) if generation == unit.generation and unit.spec is not None:
            until = None
        case Backoff(until, generation) if generation == unit.generation and unit.spec is not None and unit.streak:
            pass
        case _:
            return None
    return Rest(until, unit.streak, unit.last_exit, unit.last_exit_at, unit.trouble)


def rested(unit: Unit, rest: Rest, spec: ProcessSpec, now: float) -> Unit:
    """
    The unit as it was when it rested, by its present generation.

    An instant of a start is believed no further than its policy goes from now: it may be another machine's clock.
    """
    state: State
    if rest.until is not None:
        latest = now + spec.restart.delay(rest.streak, f"{unit.name} {unit.starts}")
        state = Backoff(min(rest.until, latest), unit.generation)
    elif rest.streak:
        state = Failed(unit.generation)
    else:
        state = Down(ended=unit.generation)
    since = now if rest.ended is None else min(rest.ended, now)
    return attrs.evolve(
        unit,
        state=state,
        since=since,
        streak=rest.streak,
        last_exit=rest.exit,
        last_exit_at=None if rest.exit is None else since,
        trouble=rest.trouble,
    )
