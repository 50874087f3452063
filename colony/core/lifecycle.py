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
from typing import Protocol, assert_never

import attrs

from colony.core.change import evolve
from colony.core.desired import Desired
from colony.core.ending import Ending, advance, again, begin, insist
from colony.core.health import Vitals, probed
from colony.core.model import (
    Elapsed,
    Exit,
    Health,
    Name,
    Pid,
    ProcessSpec,
    Readiness,
    default_ladder,
)

# -- states -------------------------------------------------------------------------------------------------


@attrs.frozen
class Down:
    """Nothing runs. ``ended`` is the generation whose policy wanted no more after its exit, None if nobody wants it."""

    ended: int | None = None


@attrs.frozen
class Waiting:
    """Nothing runs, as those are not ready that it needs."""

    missing: tuple[Name, ...]


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
    """
    What is known of a process that was started: by which spec, when, and since when that had been ordered.

    ``waited``: it had to, as its pipe was full and no supervisor was there to read.
    """

    pid: Pid
    spec: ProcessSpec
    generation: int
    started: float
    ordered: float = -math.inf
    waited: bool = False


@attrs.frozen
class Starting:
    """
    It runs, and is not ready yet; ``due`` is when its start will have failed, None for never.

    ``trouble`` is what the last look found it lacking, None if that is not known.
    ``unheard``: then it counts as ready instead, as it may have said so while nobody listened.
    """

    process: Running
    due: float | None
    trouble: str | None = None
    unheard: bool = False


@attrs.frozen
class Up:
    """It runs, and is ready."""

    process: Running
    vitals: Vitals = attrs.Factory(Vitals)


@attrs.frozen
class Stopping:
    """
    It is on its way down the ladder, or what it left behind is.

    ``asked``: we wanted it gone; otherwise it ended by itself, and left members of its family behind, or it had a
    ``fault``: it was not ready in time, or is not well. ``exit`` and ``ended`` (when) are known once the main process
    has been reaped.
    """

    process: Running
    ending: Ending
    asked: bool
    fault: str | None = None
    exit: Exit | None = None
    ended: float | None = None
    vitals: Vitals = attrs.Factory(Vitals)


@attrs.frozen
class Failed:
    """Given up, until an edit or a message."""

    generation: int


State = Down | Waiting | Backoff | Spawning | Starting | Up | Stopping | Failed

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
class ReloadAsked:
    """A RELOAD for whatever runs."""


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
    """Whether its main process is well, or ready: ``trouble`` None, or why not, in one line."""

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
class HadToWait:
    """Its pipe was full when we came to read it: while there was no supervisor, it could not go on."""

    pid: Pid


Told = Exited | Learned | Emptied | HadToWait
"""What becomes of a process that was started or adopted."""


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
    | ReloadAsked
    | Closing
    | Insisted
    | Spawned
    | SpawnFailed
    | Ready
    | Probed
    | Told
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


@attrs.frozen
class Signal:
    """Send a signal to its main process alone."""

    pid: Pid
    signal: str


Effect = Spawn | Kill | Signal

# -- the unit -----------------------------------------------------------------------------------------------


@attrs.frozen
class Unit:
    """
    One name: what is wanted (spec, generation, held, closing), and what is (state and its history).

    ``generation`` grows with every reason to run anew; ``streak`` counts early deaths in a row; ``trouble`` is why the
    last start failed, or why we ended it, None if we had no reason; ``since`` is when ``state`` became what it is.
    ``hurried``: whatever is stopped is killed. ``yields`` is somebody who needs it and has to go before it. ``sent`` is
    the last signal that it was sent to end it before it did.
    """

    name: Name
    spec: ProcessSpec | None = None
    source: bytes = b""
    generation: int = 0
    held: bool = False
    closing: bool = False
    hurried: bool = False
    yields: Name | None = None
    state: State = Down()
    since: float = 0.0
    starts: int = 0
    streak: int = 0
    last_exit: Exit | None = None
    last_exit_at: float | None = None
    last_exit_of: Pid | None = None
    trouble: str | None = None
    sent: str | None = None

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
        return self.spec is None and isinstance(self.state, Down | Waiting | Backoff | Failed)

    @property
    def process(self) -> Running | None:
        """What runs, or is being stopped, or has left others behind that are."""
        return self.state.process if isinstance(self.state, Starting | Up | Stopping) else None

    @property
    def main(self) -> Running | None:
        """What runs: the process whose pid is its own still."""
        return None if isinstance(self.state, Stopping) and self.state.exit is not None else self.process

    def is_fresh(self, seen: float) -> bool:
        """Does what is wanted run, started after that instant?  Who asked for a restart before it has got one."""
        process = None if isinstance(self.state, Stopping) else self.process
        return process is not None and process.generation == self.generation and process.ordered > seen

    @property
    def leaving(self) -> bool:
        """Does something run, or is about to, that is not to stay?"""
        match self.state:
            case Spawning(generation=generation):
                return not self._is_current(generation)
            case Starting(process) | Up(process):
                return not self._is_current(process.generation)
            case Stopping():
                return True
            case _:
                return False

    @property
    def ready(self) -> bool:
        """Is it of use to those that need it?  What was to run once is when it has ended well."""
        match self.state:
            case Up():
                return not self.leaving
            case Down() if self.given_up:
                assert self.spec is not None, "what is wanted has one"
                return self.last_exit is not None and self.last_exit.code in self.spec.restart.success
            case _:
                return False

    @property
    def given_up(self) -> bool:
        """Is it to run, and will not: its starts have failed, or its policy wants no more?"""
        match self.state:
            case Failed(generation) | Down(ended=generation):
                return generation == self.generation and self.wanted
            case _:
                return False

    def _is_current(self, generation: int) -> bool:
        return self.wanted and generation == self.generation


class Others(Protocol):
    """What the other units mean for one."""

    def missing(self, unit: Unit) -> tuple[Name, ...]:
        """Whom it needs to be started, and who is not ready."""

    def first(self, unit: Unit) -> Name | None:
        """Somebody who needs it, is leaving too, and has to go before it."""


class Alone:
    """There are no others."""

    def missing(self, unit: Unit) -> tuple[Name, ...]:
        return ()

    def first(self, unit: Unit) -> Name | None:
        return None


ALONE = Alone()


def step(unit: Unit, event: Event, now: float, others: Others = ALONE) -> tuple[Unit, tuple[Effect, ...]]:
    """Take in one event; returns the unit as it is then, and what is to be done, in order."""
    recorded, first = record(unit, event, now)
    settled, second = settle(recorded, now, others)
    if settled.state is not unit.state and type(settled.state) is not type(unit.state):
        settled = evolve(settled, since=now)
    return settled, (*first, *second)


def deadline(unit: Unit) -> float | None:
    """When to look again though nothing happens; None for never."""
    match unit.state:
        case Backoff(until=until):
            return until
        case Starting(due=due):
            return None if unit.leaving else due
        case Stopping(ending=ending):
            return ending.until
        case _:
            return None


def watched(unit: Unit) -> tuple[Running, Readiness | Health] | None:
    """What is to be found out about what runs; None for nothing."""
    match unit.state:
        case Starting(process) if process.spec.ready and not isinstance(process.spec.ready.probe, Elapsed):
            return process, process.spec.ready
        case Up(process) if process.spec.health:
            return process, process.spec.health
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
            if unit.spec is not None and unit.spec.digest == spec.digest:
                return evolve(unit, spec=spec, source=source), ()
            return evolve(unit, spec=spec, source=source, generation=unit.generation + 1, streak=0), ()
        case Unwanted():
            return evolve(unit, spec=None, held=False), ()
        case Held():
            return evolve(unit, held=True), ()
        case Released():
            runs = isinstance(unit.state, Spawning | Starting | Up)
            return evolve(unit if runs else _anew(unit), held=False), ()
        case RestartAsked():
            return evolve(_anew(unit), held=False), ()
        case SignalAsked(signal):
            return unit, () if unit.process is None else (Kill(unit.process.pid, signal),)
        case ReloadAsked():
            process = unit.main
            if process is None or process.spec.reload is None:
                return unit, ()
            return unit, (Signal(process.pid, process.spec.reload),)
        case Closing():
            return evolve(unit, closing=True), ()
        case Insisted():
            unit = evolve(unit, hurried=True)
            if not isinstance(unit.state, Stopping):
                return unit, ()
            ending, signals = insist(unit.state.ending)
            stopping = evolve(unit.state, ending=ending)
            return evolve(unit, state=stopping), _kills(stopping.process, signals, ending.main)
        case Spawned(pid):
            return _spawned(unit, pid, now), ()
        case SpawnFailed(why):
            assert isinstance(unit.state, Spawning), "only what was ordered can fail"
            failed = evolve(unit, trouble=f"cannot start: {why}")
            return _early(failed, unit.state.spec, unit.state.generation, now), ()
        case Ready(pid):
            if isinstance(unit.state, Starting) and unit.state.process.pid == pid:
                unit = evolve(unit, state=Up(unit.state.process))
            return unit, ()
        case Probed(pid, trouble):
            return _probed(unit, pid, trouble, now), ()
        case Exited(pid, exit, alone):
            return _exited(unit, pid, exit, alone, now)
        case Learned(pid, exit):
            return evolve(unit, last_exit=exit) if unit.last_exit_of == pid else unit, ()
        case Emptied(pid):
            if isinstance(unit.state, Stopping) and unit.state.process.pid == pid and unit.state.exit is not None:
                return _gone(unit, unit.state), ()
            return unit, ()
        case HadToWait(pid):
            if isinstance(unit.state, Starting | Up) and unit.state.process.pid == pid:
                unit = evolve(unit, state=evolve(unit.state, process=evolve(unit.state.process, waited=True)))
            return unit, ()
        case Alarm():
            return unit, ()
        case _:
            assert_never(event)


def _anew(unit: Unit) -> Unit:
    """There is a new reason to run: what runs is stale, what was counted against it is forgiven."""
    return evolve(unit, generation=unit.generation + 1, streak=0)


def _spawned(unit: Unit, pid: Pid, now: float) -> Unit:
    assert isinstance(unit.state, Spawning), "only what was ordered is started"
    process = Running(pid, unit.state.spec, unit.state.generation, now, ordered=unit.since)
    state: State = Up(process)
    if ready := process.spec.ready:
        wait = ready.probe.seconds if isinstance(ready.probe, Elapsed) else ready.timeout
        state = Starting(process, now + wait)
    return evolve(unit, state=state, starts=unit.starts + 1, trouble=None, sent=None)


def _probed(unit: Unit, pid: Pid, trouble: str | None, now: float) -> Unit:
    if isinstance(unit.state, Starting) and unit.state.process.pid == pid:
        return evolve(unit, state=evolve(unit.state, trouble=trouble))
    if not isinstance(unit.state, Up) or unit.state.process.pid != pid:
        return unit
    process = unit.state.process
    if process.spec.health is None:
        return unit
    age = now - process.started
    vitals = probed(unit.state.vitals, process.spec.health, trouble, age)
    if vitals != unit.state.vitals:
        unit = evolve(unit, state=Up(process, vitals))
    # It lives and is well: what was counted against those before it is forgiven.
    return evolve(unit, streak=0) if unit.streak and vitals.healthy and age >= _threshold(process) else unit


def _exited(unit: Unit, pid: Pid, exit: Exit, alone: bool, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    sent = unit.sent
    match unit.state:
        case Starting(process) | Up(process) if process.pid == pid:
            # Nobody asked for this end. What it left behind gets TERM and KILL, not the ladder made for the main.
            ending, signals = begin(default_ladder(process.spec.killtime), now)
            state = Stopping(process, ending, asked=False, exit=exit, ended=now)
        case Stopping(process) if process.pid == pid:
            signals = again(unit.state.ending)  # what left its group heard nothing of it
            state = evolve(unit.state, exit=exit, ended=now)
            sent = state.ending.ladder[state.ending.rung].signal
        case _:
            return unit, ()
    unit = evolve(unit, state=state, last_exit=exit, last_exit_at=now, last_exit_of=pid, sent=sent)
    return (_gone(unit, state), ()) if alone else (unit, _kills(process, signals))


def _gone(unit: Unit, state: Stopping) -> Unit:
    """Main and family are no more: what does its policy say?"""
    assert state.exit is not None and state.ended is not None, "gone is known only after the exit"
    spec, generation = state.process.spec, state.process.generation
    if state.asked:
        return evolve(unit, state=Down(), streak=0)
    # Whatever code it ended with when it was made to: not to be ready, or well, is a failure.
    if not spec.restart.wants_more(state.exit if state.fault is None else Exit(None)):
        return evolve(unit, state=Down(ended=generation), streak=0)
    if state.fault is not None or state.ended - state.process.started < _threshold(state.process):
        return _early(unit, spec, generation, state.ended)
    return evolve(unit, state=Backoff(state.ended, generation), streak=0)


def _early(unit: Unit, spec: ProcessSpec, generation: int, ended: float) -> Unit:
    """It did not live: wait longer each time, or give up."""
    # What a newer generation will be is not known yet, and nothing counts against it.
    streak = unit.streak + 1 if generation == unit.generation else 0
    if spec.restart.attempts is not None and streak >= spec.restart.attempts:
        return evolve(unit, state=Failed(generation), streak=streak)
    delay = spec.restart.delay(streak, f"{unit.name} {unit.starts}")
    return evolve(unit, state=Backoff(ended + delay, generation), streak=streak)


def _threshold(process: Running) -> float:
    return process.spec.restart.threshold


def _kills(process: Running, signals: Iterable[str], main: bool = False) -> tuple[Effect, ...]:
    return tuple((Signal if main else Kill)(process.pid, signal) for signal in signals)


# -- moves --------------------------------------------------------------------------------------------------


def settle(unit: Unit, now: float, others: Others = ALONE) -> tuple[Unit, tuple[Effect, ...]]:
    """Move from what is towards what is wanted, as far as can be done at once."""
    match unit.state:
        case Down(ended):
            return _start(unit, others) if unit.startable and ended != unit.generation else (unit, ())
        case Waiting():
            return _start(unit, others) if unit.startable else (evolve(unit, state=Down()), ())
        case Backoff(until, generation):
            if not unit.startable:
                return evolve(unit, state=Down()), ()
            return _start(unit, others) if generation != unit.generation or now >= until else (unit, ())
        case Failed(generation):
            if not unit.startable:
                return evolve(unit, state=Down()), ()
            return _start(unit, others) if generation != unit.generation else (unit, ())
        case Spawning():
            return unit, ()
        case Starting() | Up():
            return _leave(unit, unit.state, now, others) if unit.leaving else _go_on(unit, unit.state, now)
        case Stopping(process, ending, exit=exit):
            ending, signals = advance(ending, now)
            if signals:
                unit = evolve(unit, state=evolve(unit.state, ending=ending))
            # Whom the main has left behind has nobody any more who would tell them.
            return unit, _kills(process, signals, ending.main and exit is None)
        case _:
            assert_never(unit.state)


def _start(unit: Unit, others: Others) -> tuple[Unit, tuple[Effect, ...]]:
    """Start it, unless it has to wait for others."""
    assert unit.spec is not None, "startable implies it"
    if missing := others.missing(unit):
        return evolve(unit, state=Waiting(missing)), ()
    state = Spawning(unit.spec, unit.generation)
    return evolve(unit, state=state), (Spawn(unit.name, unit.spec, unit.source),)


def _leave(unit: Unit, state: Starting | Up, now: float, others: Others) -> tuple[Unit, tuple[Effect, ...]]:
    """Begin to end it, unless others have to go first."""
    if not unit.hurried and (first := others.first(unit)) is not None:
        return evolve(unit, yields=first), ()
    ending, signals = begin(state.process.spec.stop, now)
    if unit.hurried:
        ending, signals = insist(ending)
    stopping = Stopping(state.process, ending, asked=True)
    return evolve(unit, state=stopping, yields=None), _kills(state.process, signals, ending.main)


def _go_on(unit: Unit, state: Starting | Up, now: float) -> tuple[Unit, tuple[Effect, ...]]:
    """Leave it alone, unless it is late, or not well."""
    vitals = Vitals()
    match state:
        case Starting(process, due, trouble) if due is not None and now >= due:
            assert process.spec.ready is not None, "only what is to become ready starts for long"
            if state.unheard or isinstance(process.spec.ready.probe, Elapsed):
                return evolve(unit, state=Up(process), yields=None), ()
            because = "" if trouble is None else f": {trouble}"
            fault = f"not ready after {process.spec.ready.timeout:g} s{because}"
        case Up(process, vitals) if vitals.healthy is False:
            fault = f"unhealthy: {vitals.trouble}"
        case _:
            return evolve(unit, yields=None) if unit.yields else unit, ()
    ending, signals = begin(process.spec.stop, now)
    stopping = Stopping(process, ending, asked=False, fault=fault, vitals=vitals)
    return evolve(unit, state=stopping, yields=None, trouble=fault), _kills(process, signals, ending.main)
