"""
The one mutable cell: a queue of events, through ``core.lifecycle``, to effects and reports.

Everything that happens is told here (`Supervisor.tell`); what follows is decided in ``core``, done through the
Spawner, and reported. No other object changes a unit.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol, assert_never

import attrs
from pyrsistent import PMap, pmap
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from colony.core import wire, words
from colony.core.desired import Desired, Listing, fold
from colony.core.ending import begin, insist
from colony.core.lifecycle import (
    Alarm,
    Backoff,
    Closing,
    Down,
    Effect,
    Emptied,
    Event,
    Exited,
    Failed,
    Held,
    Insisted,
    Kill,
    Released,
    ReloadAsked,
    RestartAsked,
    Running,
    Signal,
    SignalAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    Spawning,
    Starting,
    Stopping,
    Unit,
    Unwanted,
    Waiting,
    changes,
    deadline,
    step,
    watched,
)
from colony.core.model import (
    AS_IT_IS,
    Answer,
    AskReload,
    AskRestart,
    AskRotate,
    AskScan,
    AskSignal,
    AskStart,
    AskStop,
    Defaults,
    Everyone,
    Exit,
    Group,
    Health,
    Message,
    Name,
    NotYet,
    One,
    Pid,
    ProcessSpec,
    Readiness,
    Rest,
    Start,
    Survivor,
    Target,
    default_ladder,
)
from colony.core.order import Among, Order
from colony.core.report import Report
from colony.core.succession import adopted, has_said, rest, rested
from colony.runtime.spawn import Spawner
from colony.telling import Telling

log = Logger(namespace="colony")

SLICE = 32
"""Events handled in one reactor turn, a start costing most; between slices others have theirs."""

CONFIRM = 0.2
"""Seconds between the first look at CONFIG and the one that decides what is not there any more."""

GENERATION_ADOPTED = 1
"""Of what was started before us; a file that says something else makes the next one."""


class Memory(Protocol):
    """What outlasts a supervisor."""

    def keep_specs(self, specs: Mapping[Name, bytes]) -> None:
        """Remember these good bytes."""

    def forget(self, name: Name) -> None:
        """Remember nothing of that name."""

    def hold(self, name: Name, by: str | None) -> None:
        """Remember a STOP, for good when this returns. Raises OSError."""

    def release(self, name: Name) -> None:
        """Remember no STOP. Raises OSError."""

    def doom(self, name: Name) -> None:
        """Remember that what runs of that name is to be replaced."""

    def said(self, name: Name) -> None:
        """Remember that what runs of that name has told of being ready."""

    def again(self, name: Name) -> None:
        """Remember nothing of what ran of that name: it is to be run anew."""

    def rest(self, name: Name, digest: str, rest: Rest) -> None:
        """Remember that what was started by that spec does not run, why, and until when."""


class Checks(Protocol):
    """What finds out whether processes are ready, and well."""

    def watch(
        self, name: Name, pid: Pid, spec: ProcessSpec, what: Readiness | Health, tell: Callable[[Event], None]
    ) -> None:
        """
        Find out about a process until it is forgotten, instead of what was to be found out about it before.

        ``tell`` is called with Ready once, before that with Probed when what it lacks has changed; or with Probed again
        and again for its health. Never before this returns.
        """

    def forget(self, pid: Pid) -> None:
        """Nothing is told of it after this returns; silent if nothing was to be found out."""


class Supervisor:
    """
    Keeps what runs at what is wanted.

    ``clock`` is monotonic; ``colony`` begins every token; ``report`` is given each Report; ``scan`` looks at CONFIG
    and says whether it could; ``rotate`` has every log file begun anew, and says whether there are any; ``gave_up`` is
    told when an essential process has given up, and how it ended (None: it could not be started).
    """

    def __init__(
        self,
        clock: IReactorTime,
        spawner: Spawner,
        checks: Checks,
        memory: Memory,
        colony: str,
        defaults: Defaults,
        report: Callable[[Report], None],
        scan: Callable[[], bool],
        rotate: Callable[[], bool],
        gave_up: Callable[[Name, Exit | None], None],
    ) -> None:
        self._clock = clock
        self._spawner = spawner
        self._checks = checks
        self._memory = memory
        self._colony = colony
        self._defaults = defaults
        self._telling = Telling(clock, report, lambda: (self._units, self._desired), lambda: bool(self._queue))
        self._scan = scan
        self._rotate = rotate
        self._gave_up = gave_up
        self._units: PMap[Name, Unit] = pmap()
        self._order = Order()
        self._yielding: dict[Name, set[Name]] = {}
        self._watched: dict[Name, tuple[Pid, Readiness | Health]] = {}
        self._desired = Desired()
        self._held: frozenset[Name] = frozenset()
        self._unchecked: frozenset[Name] = frozenset()
        self._blocked: dict[Name, Pid] = {}
        self._ended_unseen: list[tuple[Name, Event]] = []
        self._seen = False
        self._queue: deque[tuple[Name, Event]] = deque()
        self._draining = False
        self._next_slice: IDelayedCall | None = None
        self._alarms: dict[Name, tuple[float, IDelayedCall]] = {}
        self._busy: set[Name] = set()
        self._closed: list[Deferred[None]] = []
        self._closing = False

    # -- what is told

    def restore(
        self, remembered: Mapping[Name, bytes], held: frozenset[Name], survivors: Iterable[Survivor] = ()
    ) -> None:
        """Take over what outlasted the supervisor before; to be called before anything else."""
        self._desired = attrs.evolve(self._desired, remembered=pmap(remembered))
        self._held = held
        self._unchecked = frozenset(remembered) | held
        for survivor in survivors:
            self._adopt(survivor, remembered.get(survivor.name, b""))

    def _adopt(self, survivor: Survivor, source: bytes) -> None:
        """Go on with what was started before us, as if we had; what follows is decided once CONFIG has been seen."""
        name = survivor.name
        spec = self._spec_of(survivor, source)
        process = Running(survivor.pid, spec, GENERATION_ADOPTED - survivor.stale, survivor.started)
        if survivor.alive:
            try:
                self._spawner.adopt(survivor, spec, lambda event: self.tell(name, event))
            except OSError as error:
                log.warn("cannot adopt {name} ({pid}): {error}", name=name, pid=survivor.pid, error=error)
                survivor = attrs.evolve(survivor, alive=False)
            else:
                log.info("adopted {name} ({pid})", name=name, pid=survivor.pid)
        now = self._clock.seconds()
        unit = Unit(
            name,
            spec=spec,
            source=source,
            generation=GENERATION_ADOPTED,
            held=name in self._held,
            since=survivor.started,
            starts=survivor.starts,
        )
        if survivor.rest is not None:
            unit = rested(unit, survivor.rest, spec, now)
            if survivor.stale:
                unit = attrs.evolve(unit, state=Down())
        elif survivor.alive:
            unit = attrs.evolve(unit, state=adopted(process, survivor.said, now))
        else:
            # Whoever ended unseen is of no use to others, though what follows is decided later.
            unit = attrs.evolve(unit, state=Starting(process, None))
            self._ended_unseen.append((name, Exited(survivor.pid, Exit(None), alone=True)))
        self._units = self._units.set(name, unit)
        self._order = self._order.moved(unit)
        if survivor.alive:
            self._watch(unit)
        self._telling.moved(name)
        self._busy.update([] if survivor.rest else [name])

    def block(self, stuck: Mapping[Name, Pid]) -> None:
        """Start nothing of these until they are `freed`: a process of theirs was killed before, and does not end."""
        now = self._clock.seconds()
        for name, pid in stuck.items():
            unit = self._units.get(name) or Unit(name, held=name in self._held)
            main = unit.process
            if main is not None and all(name != of for of, _ in self._ended_unseen):
                continue  # its main goes on, so nothing of it is to be started
            self._ended_unseen = [(of, event) for of, event in self._ended_unseen if of != name]
            main = main or Running(pid, ProcessSpec((), "", stop=default_ladder(0)), unit.generation, -math.inf)
            ending, _ = insist(begin(default_ladder(0), now)[0])
            state = Stopping(main, ending, asked=False, exit=Exit(None), ended=now)
            self._units = self._units.set(name, attrs.evolve(unit, state=state, since=now, last_exit=Exit(None)))
            self._blocked[name] = main.pid
            self._telling.moved(name)
            self._busy.add(name)

    def freed(self, name: Name) -> None:
        """What kept that name from being started is gone."""
        pid = self._blocked.pop(name, None)
        if pid is not None and self._seen:
            self.tell(name, Emptied(pid))
        elif pid is not None:  # what follows is decided once CONFIG has been seen
            self._ended_unseen.append((name, Emptied(pid)))

    def _spec_of(self, survivor: Survivor, source: bytes) -> ProcessSpec:
        with suppress(wire.Invalid):
            spec = wire.parse_spec(source, self._defaults)
            if spec.digest == survivor.digest:
                return spec
        # Nobody knows what it was started from, so it is not what is wanted, and is stopped in the usual way.
        killtime = self._defaults.killtime
        return ProcessSpec((), survivor.digest, stop=default_ladder(killtime), killtime=killtime, log=AS_IT_IS)

    def take(self, listing: Listing) -> None:
        """Take in what a look at CONFIG found."""
        if self._closing:
            return
        before = self._desired
        self._desired, names = fold(before, listing, self._defaults)
        if self._seen and not names and self._desired == before:
            return
        self._telling.say(words.of_files(before, self._desired, names))
        units = self._units.evolver()
        for name in names:
            if name not in self._units and self._desired.has(name):
                units.set(name, Unit(name, held=name in self._held, since=self._clock.seconds()))
        self._units = units.persistent()
        for name in names:
            self._telling.moved(name)
            if before.has(name) and not self._desired.has(name):
                self._memory.forget(name)
                self._held -= {name}
                self._drop_if_forgotten(name)
        if not self._seen:
            self._seen = True
            self._clock.callLater(CONFIRM, self._look_for_absent)
        good = {name: self._desired.specs[name].source for name in names if name in self._desired.specs}
        self._memory.keep_specs(good)
        self._queue.extend(changes(before, self._desired, self._ordered(names)))
        self._look_at_waiting(names)
        # After that: who ended unseen is started again as the files say now. Whether those without a file are wanted
        # still is known only when they have been looked for again.
        absent = [(name, event) for name, event in self._ended_unseen if not self._desired.has(name)]
        self._queue.extend(ended for ended in self._ended_unseen if ended not in absent)
        self._ended_unseen = absent
        self._drain()
        self._telling.soon()

    def _look_for_absent(self) -> None:
        """What was removed while nobody looked?  Asked a second time: files may only have been being replaced."""
        if self._closing:
            return
        if not self._scan():
            self._clock.callLater(CONFIRM, self._look_for_absent)
            return
        absent = (self._unchecked | frozenset(self._units)) - self._desired.names()
        self._unchecked = frozenset()
        remembered = pmap({name: data for name, data in self._desired.remembered.items() if name not in absent})
        self._desired = attrs.evolve(self._desired, remembered=remembered)
        for name in self._order.last_first(absent):
            self._memory.forget(name)
            self._held -= {name}
            self._queue.append((name, Unwanted()))
        self._queue.extend(self._ended_unseen)
        self._ended_unseen = []
        self._drain()

    def obey(self, message: Message) -> Answer | NotYet:
        """Act on a message; the answer says that its effect is ordered, not that it has come about."""
        if self._closing:
            return Answer(code=1, error="the supervisor is ending")
        match message.command:
            case AskScan():
                if self._scan():
                    return Answer()
                return Answer(code=1, error="CONFIG cannot be seen now; everything stays as it is")
            case AskRotate():
                if self._rotate():
                    return Answer()
                return Answer(code=1, error="without STATE there are no log files")
            case AskSignal(target, signal):
                return self._signal(target, SignalAsked(signal))
            case AskReload(target):
                return self._signal(target, ReloadAsked())
            case AskRestart(target) | AskStop(target) | AskStart(target):
                found = self._names(target)
                if isinstance(found, NotYet):
                    return found
                match message.command:
                    case AskRestart():
                        return self._restart(target, found, message.seen)
                    case AskStop():
                        return self._stop(found, message.by)
                    case AskStart():
                        return self._start(found)
                    case _:
                        assert_never(message.command)
            case _:
                assert_never(message.command)

    def tell(self, name: Name, event: Event) -> None:
        """Let a unit know of something that happened, and do at once what follows."""
        self._queue.append((name, event))
        self._drain()

    def close(self) -> Deferred[None]:
        """Stop everything; fires when every family is gone. Asked again, it changes nothing, and fires then too."""
        done: Deferred[None] = Deferred()
        self._closed.append(done)
        self._closing = True
        self._telling.close()
        self._queue.extend(self._ended_unseen)
        self._ended_unseen = []
        # Before all that waits: what has not been started yet is not to be started any more.
        order = reversed(self._order.last_first(self._units))  # each is put before the others
        self._queue.extendleft((name, Closing()) for name in order if not self._units[name].closing)
        self._drain()
        self._settle_close()
        return done

    def insist(self) -> None:
        """Take everything that is being stopped to the last rung of its ladder."""
        self._queue.extend((name, Insisted()) for name in sorted(self._busy))
        self._drain()

    def report(self) -> None:
        """Report before long, though no unit may have moved: something else is to be told."""
        self._telling.soon()

    def source(self, name: Name) -> bytes:
        """The bytes of the file by which that process runs; none where nobody knows them."""
        unit = self._units.get(name)
        return b"" if unit is None else unit.source

    def flush(self) -> None:
        """Report and say what has not been yet."""
        self._telling.flush()

    # -- messages

    def _names(self, target: Target) -> tuple[Name, ...] | NotYet:
        match target:
            case One(name):
                if self._desired.has(name):
                    return (name,)
                return NotYet(Answer(code=4, error=f"no such process: {name}"))
            case Group(group):
                names = self._ordered(self._desired.group(group))
                return tuple(names) or NotYet(Answer(code=4, error=f"no process is in group {group}"))
            case Everyone():
                return tuple(self._ordered(self._desired.specs))
            case _:
                assert_never(target)

    def _ordered(self, names: Iterable[Name]) -> list[Name]:
        """
        Those names in the order in which to tell many of one thing.

        Whoever runs before whom it needs, so that it is known to leave when those ask who has to go first; then who
        does not run, so that nothing is started for the sake of those that leave.
        """
        return sorted(self._order.last_first(names), key=lambda name: name not in self._busy)

    def _restart(self, target: Target, names: tuple[Name, ...], seen: float) -> Answer:
        refused = None
        if isinstance(target, One):
            if refused := self._cannot_run(names[0]):
                return refused
        else:
            names = tuple(name for name in names if not self._is_stopped(name))
        for name in names:
            unit = self._units.get(name)
            if unit is not None and name not in self._held and unit.is_fresh(seen):
                continue
            if refused := self._release(name):
                break
            self._memory.doom(name)
            self._queue.append((name, RestartAsked()))
        self._drain()
        return refused or Answer(names)

    def _is_stopped(self, name: Name) -> bool:
        unit = self._units.get(name)
        return name in self._held or (unit is not None and unit.state == Down(ended=unit.generation))

    def _start(self, names: tuple[Name, ...]) -> Answer:
        refused = None
        if len(names) == 1 and (refused := self._cannot_run(names[0])):
            return refused
        for name in names:
            if refused := self._release(name):
                break
            unit = self._units.get(name)
            if unit is not None and isinstance(unit.state, Backoff | Down | Failed):
                self._memory.doom(name)  # its rest is over, though we be killed before its turn comes
            self._queue.append((name, Released()))
        self._drain()
        return refused or Answer(names)

    def _stop(self, names: tuple[Name, ...], by: str | None) -> Answer:
        answer = Answer(names)
        for name in names:
            try:
                self._memory.hold(name, by)
            except OSError as error:
                answer = Answer(names, 1, f"cannot remember that {name} is to stay stopped: {error.strerror}")
                break
            self._held |= {name}
            self._queue.append((name, Held()))
        self._drain()
        return answer

    def _release(self, name: Name) -> Answer | None:
        if name in self._held:
            try:
                self._memory.release(name)
            except OSError as error:
                return Answer((name,), 1, f"cannot forget that {name} was stopped: {error.strerror}")
            self._held -= {name}
        return None

    def _cannot_run(self, name: Name) -> Answer | None:
        if name in self._desired.specs:
            return None
        return Answer((name,), 1, f"{name} cannot run: {self._desired.problems[name][0]}")

    def _signal(self, target: One, asked: SignalAsked | ReloadAsked) -> Answer | NotYet:
        names = self._names(target)
        if isinstance(names, NotYet):
            return names
        unit = self._units.get(target.name)
        if unit is None or unit.process is None:
            return Answer(names, 1, f"{target.name} is not running")
        if isinstance(asked, ReloadAsked) and unit.process.spec.reload is None:
            return Answer(names, 1, "its file has no reload signal")
        self.tell(target.name, asked)
        return Answer(names)

    # -- the machine

    def _drain(self) -> None:
        if self._draining or self._next_slice is not None:
            return
        self._draining = True
        try:
            for _ in range(len(self._queue) if self._closing else SLICE):  # at the end, signals come before anything
                if not self._queue:
                    break
                name, event = self._queue.popleft()
                try:
                    self._step(name, event)
                except Exception:
                    # Ours to mend; the other units must not suffer for it.
                    log.failure("cannot take in {event} of {name}", event=type(event).__name__, name=name)
        finally:
            self._draining = False
        if self._queue:
            self._slice_soon()

    def _slice_soon(self) -> None:
        if self._next_slice is None:
            self._next_slice = self._clock.callLater(0, self._slice)

    def _slice(self) -> None:
        self._next_slice = None
        self._drain()
        self._settle_close()

    def _step(self, name: Name, event: Event) -> None:
        before = self._units.get(name)
        if before is None:
            return  # it was dropped, so nothing runs
        after, effects = step(before, event, self._clock.seconds(), Among(self._order, self._units))
        self._units = self._units.set(name, after)
        self._order = self._order.moved(after)
        if after.process is not None or isinstance(after.state, Spawning):
            self._busy.add(name)
        else:
            self._busy.discard(name)
        self._set_alarm(name, deadline(after))
        for effect in effects:  # first what is to be done, then what is to be said: a restart waits for nothing
            self._perform(name, effect)
        self._watch(after)
        self._let_others_go_on(before, after)
        if after.state != before.state or after.last_exit != before.last_exit:
            self._remember_rest(after)
        if has_said(before, after):
            self._memory.said(name)
        if after.given_up and not before.given_up and after.spec is not None and after.spec.essential:
            self._gave_up(name, after.last_exit if after.trouble is None else None)
        self._telling.happened(before, after, event)
        if after.forgotten:
            self._drop_if_forgotten(name)
        self._settle_close()

    def _perform(self, name: Name, effect: Effect) -> None:
        match effect:
            case Spawn(spec=spec, source=source):
                start = Start(name, f"{self._colony}.{secrets.token_hex(8)}", spec, source)
                try:
                    pid = self._spawner.spawn(start, lambda event: self.tell(name, event))
                except OSError as error:
                    self._queue.append((name, SpawnFailed(str(error))))
                except Exception as error:
                    log.failure("cannot start {name}", name=name)
                    self._queue.append((name, SpawnFailed(repr(error))))
                else:
                    self._queue.append((name, Spawned(pid)))
            case Kill(pid, signal):
                self._spawner.kill(pid, signal)
            case Signal(pid, signal):
                self._spawner.signal(pid, signal)
            case _:
                assert_never(effect)

    def _remember_rest(self, unit: Unit) -> None:
        found = rest(unit)
        if found is None:
            return
        assert unit.spec is not None, "what is to run has one"
        if unit.spec.essential and found.until is None:
            self._memory.again(unit.name)  # colony ends with it, and the next one begins with it
        else:
            self._memory.rest(unit.name, unit.spec.digest, found)

    def _watch(self, unit: Unit) -> None:
        """See to it that what is to be found out about it is, and nothing else."""
        found = watched(unit)
        wanted = None if found is None else (found[0].pid, found[1])
        known = self._watched.get(unit.name)
        if wanted == known:
            return
        if known is not None:
            del self._watched[unit.name]
            self._checks.forget(known[0])
        if found is not None:
            process, what = found
            self._watched[unit.name] = process.pid, what
            self._checks.watch(unit.name, process.pid, process.spec, what, lambda event: self.tell(unit.name, event))

    def _let_others_go_on(self, before: Unit, after: Unit) -> None:
        """Have those look again that wait for a unit which has become ready, or has gone."""
        name = after.name
        if after.ready != before.ready:
            self._look_at_waiting([name])
        if before.yields is not None and before.yields != after.yields:
            self._yielding.get(before.yields, set()).discard(name)
        if after.yields is not None:
            self._yielding.setdefault(after.yields, set()).add(name)
        if not after.leaving:
            self._queue.extend((other, Alarm()) for other in sorted(self._yielding.pop(name, ())))

    def _look_at_waiting(self, names: Iterable[Name]) -> None:
        """Have those look again that wait for any of them."""
        for name in names:
            for other in self._order.needed_by.get(name, ()):
                if other in self._units and isinstance(self._units[other].state, Waiting):
                    self._telling.moved(other)  # why it waits may have become another reason
                    self._queue.append((other, Alarm()))

    def _set_alarm(self, name: Name, at: float | None) -> None:
        set_at, alarm = self._alarms.get(name, (None, None))
        if set_at == at:
            return
        if alarm is not None:
            del self._alarms[name]
            alarm.cancel()
        if at is not None:
            delay = max(0.0, at - self._clock.seconds())
            self._alarms[name] = at, self._clock.callLater(delay, self._ring, name)

    def _ring(self, name: Name) -> None:
        del self._alarms[name]
        self._queue.append((name, Alarm()))
        self._slice_soon()  # not at once: a crowd's are due together, and each may be a start

    def _drop_if_forgotten(self, name: Name) -> None:
        unit = self._units.get(name)
        if unit is not None and unit.forgotten and not self._desired.has(name):
            self._set_alarm(name, None)
            self._units = self._units.remove(name)
            self._telling.moved(name)
            self._telling.soon()

    def _settle_close(self) -> None:
        if self._closed and not self._busy and not self._queue:
            self._telling.flush()
            closed, self._closed = self._closed, []
            for done in closed:
                done.callback(None)
