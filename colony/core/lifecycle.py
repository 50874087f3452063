"""
One supervised unit: what is wanted of it, what is, and what follows.

Wanted and observed are two facts. ``record`` writes a fact down; ``settle`` looks at (wanted, state, now) and moves. A
running process is *stale* when its generation differs from the wanted one, so that restart, a changed file, removal
and re-adding while it stops need no flags, no cancelled timers and no special case.

All instants are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import assert_never

import attrs

from colony.core.desired import Desired
from colony.core.ending import Ending, advance, again, begin, insist
from colony.core.model import Exit, Name, Pid, ProcessSpec, default_ladder

PACE = 0.1
"""Seconds from a start to the next one by itself, at the least, whatever the policy says: a loop must not spin."""

# -- states -------------------------------------------------------------------------------------------------


@attrs.frozen
class Down:
    """Nothing runs. ``ended`` is the generation whose policy wanted no more after its exit, None if nobody wants it."""

    ended: int | None = None


@attrs.frozen
class Backoff:
    """Nothing runs until ``until``, as the last start did not live long, or failed."""

    until: float
    generation: int


@attrs.frozen
class Spawning:
    """A start has been ordered."""

    spec: ProcessSpec
    generation: int


@attrs.frozen
class Running:
    """What is known of a process that was started: by which spec, when, and since when that had been ordered."""

    pid: Pid
    spec: ProcessSpec
    generation: int
    started: float
    ordered: float = -math.inf


@attrs.frozen
class Up:
    """It runs."""

    process: Running


@attrs.frozen
class Stopping:
    """
    It is on its way down the ladder, or what it left behind is.

    ``asked``: we wanted it gone; otherwise it ended by itself, and left members of its family behind. ``exit`` and
    ``ended`` (when) are known once the main process has been reaped.
    """

    process: Running
    ending: Ending
    asked: bool
    exit: Exit | None = None
    ended: float | None = None


@attrs.frozen
class Failed:
    """Given up, until an edit or a message."""

    generation: int


State = Down | Backoff | Spawning | Up | Stopping | Failed

# -- events -------------------------------------------------------------------------------------------------


@attrs.frozen
class Wanted:
    """Its file says this."""

    spec: ProcessSpec
    source: bytes


@attrs.frozen
class Unwanted:
    """Its file is gone."""


@attrs.frozen
class Held:
    """A STOP."""


@attrs.frozen
class Released:
    """A START: ends a STOP, a backoff, a giving up."""


@attrs.frozen
class RestartAsked:
    """A RESTART: an instance is to run that is started after this."""


@attrs.frozen
class SignalAsked:
    """A SIGNAL for whatever runs."""

    signal: str


@attrs.frozen
class Closing:
    """The supervisor is ending: everything stops, whatever the files say."""


@attrs.frozen
class Insisted:
    """The supervisor is in a hurry: the last rung of the ladder, now."""


@attrs.frozen
class Spawned:
    """The start that was ordered has happened."""

    pid: Pid


@attrs.frozen
class SpawnFailed:
    """The start that was ordered has not happened, and why (``no such file: /opt/web/run``)."""

    why: str


@attrs.frozen
class Exited:
    """The main process has been reaped; ``alone`` if nobody of its family is left."""

    pid: Pid
    exit: Exit
    alone: bool


@attrs.frozen
class Ready:
    """Its main process is of use to others now."""

    pid: Pid


@attrs.frozen
class Probed:
    """Whether its main process is well: ``trouble`` None, or why not, in one line."""

    pid: Pid
    trouble: str | None


@attrs.frozen
class Learned:
    """How a main process ended whose exit could not be told when it was noticed."""

    pid: Pid
    exit: Exit


@attrs.frozen
class Emptied:
    """Nobody is left of the family of a main process that was reaped before."""

    pid: Pid


@attrs.frozen
class Alarm:
    """Time has passed: look again."""


Event = (
    Wanted
    | Unwanted
    | Held
    | Released
    | RestartAsked
    | SignalAsked
    | Closing
    | Insisted
    | Spawned
    | SpawnFailed
    | Exited
    | Learned
    | Emptied
    | Alarm
)

# -- effects ------------------------------------------------------------------------------------------------


@attrs.frozen
class Spawn:
    """Start it; answer with Spawned or SpawnFailed."""

    name: Name
    spec: ProcessSpec
    source: bytes


@attrs.frozen
class Kill:
    """Send a signal to its whole family."""

    pid: Pid
    signal: str


Effect = Spawn | Kill

# -- the unit -----------------------------------------------------------------------------------------------


@attrs.frozen
class Unit:
    """
    One name: what is wanted (spec, generation, held, closing), and what is (state and its history).

    ``generation`` grows with every reason to run anew; ``streak`` counts early deaths in a row; ``trouble`` is why the
    last start failed, None if it did not; ``since`` is when ``state`` became what it is.
    """

    name: Name
    spec: ProcessSpec | None = None
    source: bytes = b""
    generation: int = 0
    held: bool = False
    closing: bool = False
    state: State = Down()
    since: float = 0.0
    starts: int = 0
    streak: int = 0
    last_exit: Exit | None = None
    last_exit_at: float | None = None
    last_exit_of: Pid | None = None
    trouble: str | None = None

    @property
    def wanted(self) -> bool:
        """Is it to run, as far as files and messages say?"""
        return self.spec is not None and not self.held and not self.closing

    @property
    def startable(self) -> bool:
        """Is it to run, and known how?  What was adopted may run though nobody knows any more from what (no args)."""
        return self.wanted and self.spec is not None and self.spec.args != ()

    @property
    def forgotten(self) -> bool:
        """Is there neither a file nor anything left of it?"""
        return self.spec is None and isinstance(self.state, Down | Backoff | Failed)

    @property
    def process(self) -> Running | None:
        """What runs, or is being stopped, or has left others behind that are."""
        return self.state.process if isinstance(self.state, Up | Stopping) else None

    @property
    def main(self) -> Running | None:
        """What runs: the process whose pid is its own still."""
        return None if isinstance(self.state, Stopping) and self.state.exit is not None else self.process

    def is_fresh(self, seen: float) -> bool:
        """Does what is wanted run, started after that instant?  Who asked for a restart before it has got one."""
        process = None if isinstance(self.state, Stopping) else self.process
        return process is not None and process.generation == self.generation and process.ordered > seen


def step(unit: Unit, event: Event, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    """Take in one event; returns the unit as it is then, and what is to be done, in order."""
    recorded, first = record(unit, event, now)
    settled, second = settle(recorded, now)
    if settled.state is not unit.state and type(settled.state) is not type(unit.state):
        settled = attrs.evolve(settled, since=now)
    return settled, (*first, *second)


def deadline(unit: Unit) -> float | None:
    """When to look again though nothing happens; None for never."""
    match unit.state:
        case Backoff(until=until):
            return until
        case Stopping(ending=ending):
            return ending.until
        case _:
            return None


def changes(before: Desired, after: Desired, names: Iterable[Name]) -> Iterator[tuple[Name, Event]]:
    """What has become of those names, between two states of CONFIG."""
    for name in names:
        old, new = before.specs.get(name), after.specs.get(name)
        if new is None:
            if old is not None:
                yield name, Unwanted()
        elif old is None or old.source != new.source:
            yield name, Wanted(new.spec, new.source)


# -- facts --------------------------------------------------------------------------------------------------


def record(unit: Unit, event: Event, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    """Write a fact down. Only a signal that somebody asks for has an effect of its own."""
    match event:
        case Wanted(spec, source):
            if unit.spec is None or unit.spec.digest != spec.digest:
                unit = _anew(unit)
            return attrs.evolve(unit, spec=spec, source=source), ()
        case Unwanted():
            return attrs.evolve(unit, spec=None, held=False), ()
        case Held():
            return attrs.evolve(unit, held=True), ()
        case Released():
            runs = isinstance(unit.state, Spawning | Up)
            return attrs.evolve(unit if runs else _anew(unit), held=False), ()
        case RestartAsked():
            return attrs.evolve(_anew(unit), held=False), ()
        case SignalAsked(signal):
            return unit, () if unit.process is None else (Kill(unit.process.pid, signal),)
        case Closing():
            return attrs.evolve(unit, closing=True), ()
        case Insisted():
            if not isinstance(unit.state, Stopping):
                return unit, ()
            ending, signals = insist(unit.state.ending)
            stopping = attrs.evolve(unit.state, ending=ending)
            return attrs.evolve(unit, state=stopping), _kills(stopping.process, signals)
        case Spawned(pid):
            return _spawned(unit, pid, now), ()
        case SpawnFailed(why):
            assert isinstance(unit.state, Spawning), "only what was ordered can fail"
            return _early(attrs.evolve(unit, trouble=why), unit.state.spec, unit.state.generation, now, now), ()
        case Exited(pid, exit, alone):
            return _exited(unit, pid, exit, alone, now)
        case Learned(pid, exit):
            return attrs.evolve(unit, last_exit=exit) if unit.last_exit_of == pid else unit, ()
        case Emptied(pid):
            if isinstance(unit.state, Stopping) and unit.state.process.pid == pid and unit.state.exit is not None:
                return _gone(unit, unit.state), ()
            return unit, ()
        case Alarm():
            return unit, ()
        case _:
            assert_never(event)


def _anew(unit: Unit) -> Unit:
    """There is a new reason to run: what runs is stale, what was counted against it is forgiven."""
    return attrs.evolve(unit, generation=unit.generation + 1, streak=0)


def _spawned(unit: Unit, pid: Pid, now: float) -> Unit:
    assert isinstance(unit.state, Spawning), "only what was ordered is started"
    process = Running(pid, unit.state.spec, unit.state.generation, now, ordered=unit.since)
    return attrs.evolve(unit, state=Up(process), starts=unit.starts + 1, trouble=None)


def _exited(unit: Unit, pid: Pid, exit: Exit, alone: bool, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    match unit.state:
        case Up(process) if process.pid == pid:
            # Nobody asked for this end. What it left behind gets TERM and KILL, not the ladder made for the main.
            ending, signals = begin(default_ladder(process.spec.killtime), now)
            state = Stopping(process, ending, asked=False, exit=exit, ended=now)
        case Stopping(process) if process.pid == pid:
            signals = again(unit.state.ending)  # what left its group heard nothing of it
            state = attrs.evolve(unit.state, exit=exit, ended=now)
        case _:
            return unit, ()
    unit = attrs.evolve(unit, state=state, last_exit=exit, last_exit_at=now, last_exit_of=pid)
    return (_gone(unit, state), ()) if alone else (unit, _kills(process, signals))


def _gone(unit: Unit, state: Stopping) -> Unit:
    """Main and family are no more: what does its policy say?"""
    assert state.exit is not None and state.ended is not None, "gone is known only after the exit"
    spec, generation = state.process.spec, state.process.generation
    if state.asked:
        return attrs.evolve(unit, state=Down(), streak=0)
    if not spec.restart.wants_more(state.exit):
        return attrs.evolve(unit, state=Down(ended=generation), streak=0)
    if state.ended - state.process.started < spec.restart.threshold:
        return _early(unit, spec, generation, state.process.started, state.ended)
    until = max(state.ended, state.process.started + PACE)
    return attrs.evolve(unit, state=Backoff(until, generation), streak=0)


def _early(unit: Unit, spec: ProcessSpec, generation: int, started: float, ended: float) -> Unit:
    """It did not live: wait longer each time, or give up."""
    # What a newer generation will be is not known yet, and nothing counts against it.
    streak = unit.streak + 1 if generation == unit.generation else 0
    if spec.restart.attempts is not None and streak >= spec.restart.attempts:
        return attrs.evolve(unit, state=Failed(generation), streak=streak)
    delay = spec.restart.delay(streak, f"{unit.name} {unit.starts}")
    until = max(ended + delay, started + PACE)
    return attrs.evolve(unit, state=Backoff(until, generation), streak=streak)


def _kills(process: Running, signals: Iterable[str]) -> tuple[Effect, ...]:
    return tuple(Kill(process.pid, signal) for signal in signals)


# -- moves --------------------------------------------------------------------------------------------------


def settle(unit: Unit, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    """Move from what is towards what is wanted, as far as can be done at once."""
    match unit.state:
        case Down(ended):
            return _spawn(unit) if unit.startable and ended != unit.generation else (unit, ())
        case Backoff(until, generation):
            if not unit.startable:
                return attrs.evolve(unit, state=Down()), ()
            return _spawn(unit) if generation != unit.generation or now >= until else (unit, ())
        case Failed(generation):
            if not unit.startable:
                return attrs.evolve(unit, state=Down()), ()
            return _spawn(unit) if generation != unit.generation else (unit, ())
        case Spawning():
            return unit, ()
        case Up(process):
            if unit.wanted and process.generation == unit.generation:
                return unit, ()
            ending, signals = begin(process.spec.stop, now)
            return attrs.evolve(unit, state=Stopping(process, ending, asked=True)), _kills(process, signals)
        case Stopping(process, ending):
            ending, signals = advance(ending, now)
            if signals:
                unit = attrs.evolve(unit, state=attrs.evolve(unit.state, ending=ending))
            return unit, _kills(process, signals)
        case _:
            assert_never(unit.state)


def _spawn(unit: Unit) -> tuple[Unit, tuple[Effect, ...]]:
    assert unit.spec is not None, "wanted implies it"
    state = Spawning(unit.spec, unit.generation)
    return attrs.evolve(unit, state=state), (Spawn(unit.name, unit.spec, unit.source),)
