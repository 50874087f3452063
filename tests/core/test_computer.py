"""
A small computer in memory: it starts and kills what it is told, while anything happens in any order.

What it was told is compared with a book that is kept beside it, in the words of the formats: when a file, a STOP, a
death or a restart policy says that something runs, it does, and in no other case.
"""

from __future__ import annotations

from collections import deque

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from colony.core.lifecycle import (
    Alarm,
    Closing,
    Emptied,
    Event,
    Exited,
    Held,
    Insisted,
    Kill,
    Released,
    RestartAsked,
    Signal,
    SignalAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    Unit,
    Unwanted,
    Wanted,
    deadline,
    step,
)
from colony.core.model import Exit, Name, Pid, ProcessSpec
from tests.strategies import exits, specs, steady

WEB = Name("web")
MANY = 20
"""More looks than any ladder has rungs."""


@attrs.define(eq=False)
class Process:
    """One start: a main process, and others of its family, whom only KILL ends."""

    pid: Pid
    spec: ProcessSpec
    deaf: bool
    others: int
    main: bool = True
    # What has been told of it, and whether it is still what is wanted.
    started: float | None = None
    ended: float | None = None
    doomed: bool = False


class Computer(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.unit = Unit(WEB)
        self.queue: deque[Event] = deque()
        self.told = 0
        # The computer: who runs, until it is told that nobody does; and what the next start will be like.
        self.family: Process | None = None
        self.refused: Process | None = None
        self.refusals = 0
        self.deaf = False
        self.others = 0
        # The book: what files and messages say, and what deaths say.
        self.file: ProcessSpec | None = None
        self.source = b""
        self.held = False
        self.closing = False
        self.streak = 0
        self.done = False
        self.earliest = self.latest = 0.0

    @property
    def wanted(self) -> bool:
        return self.file is not None and not self.held and not self.closing

    # -- the computer does what it is told

    def spawn(self, effect: Spawn) -> None:
        assert self.family is None, "two of one name"
        assert self.wanted, "nobody wants it"
        assert effect.spec == self.file, "it is not what the file says"
        assert effect.source == self.source, "these are not the bytes of the file"
        assert not self.done, "it was given up, or its policy wants no more"
        assert self.now >= self.earliest, "too soon"
        process = Process(Pid(100 + self.unit.starts), effect.spec, self.deaf, self.others)
        if self.refusals:
            self.refusals -= 1
            self.refused = process
            self.queue.append(SpawnFailed("no such file: /opt/web/run"))
        else:
            self.family = process
            self.queue.append(Spawned(process.pid))

    def kill(self, pid: Pid, signal: str) -> None:
        assert self.family is not None, "a signal to nobody"
        assert self.family.pid == pid, "a signal to a stranger"
        if signal == "KILL":
            self.lose(self.family, Exit(None, "KILL"), others=0)
        elif signal in ("TERM", "INT") and not self.family.deaf:
            self.lose(self.family, Exit(None, signal), others=self.family.others)

    def lose(self, family: Process, exit: Exit, others: int) -> None:
        """The main ends, if it has not yet, and no more than so many of the others stay."""
        main, some = family.main, family.others > 0
        family.main, family.others = False, others
        if main:
            self.queue.append(Exited(family.pid, exit, alone=others == 0))
        elif some and others == 0:
            self.queue.append(Emptied(family.pid))

    # -- the book

    def note(self, event: Event) -> None:
        """Write down what an event means that is being told, in the words of the formats."""
        match event:
            case Wanted(spec, source):
                if self.file is None or self.file.digest != spec.digest:
                    self.forgive()
                    self.doom()
                self.file, self.source = spec, source
            case Unwanted():
                self.file, self.held = None, False
            case Held():
                self.held = True
            case Closing():
                self.closing = True
            case Released():
                self.held = False
                if self.refused is None and (self.family is None or self.family.ended is not None):
                    self.forgive()
            case RestartAsked():
                self.held = False
                self.forgive()
                self.doom()
            case Spawned():
                assert self.family is not None
                self.family.started = self.now
            case SpawnFailed():
                assert self.refused is not None
                refused, self.refused = self.refused, None
                if not refused.doomed:
                    self.die_early(refused.spec)
            case Exited(_, exit, alone):
                self.note_exit(exit)
                if alone:
                    self.family = None
            case Emptied():
                self.family = None
            case _:
                pass
        if not self.wanted and self.family is not None and self.family.started is not None:
            self.doom()

    def note_exit(self, exit: Exit) -> None:
        family = self.family
        assert family is not None
        assert family.started is not None
        family.ended = self.now
        if family.doomed:
            self.forgive()
        elif not family.spec.restart.wants_more(exit):
            self.done, self.streak = True, 0
        elif self.now - family.started < family.spec.restart.threshold:
            self.die_early(family.spec)
        else:
            self.forgive()

    def doom(self) -> None:
        """What runs, or is being started, is not what is wanted any more."""
        for process in (self.family, self.refused):
            if process is not None and process.ended is None:
                process.doomed = True

    def forgive(self) -> None:
        """There is a reason to start at once."""
        self.streak, self.done = 0, False
        self.earliest = self.latest = 0.0

    def die_early(self, spec: ProcessSpec) -> None:
        policy = spec.restart
        self.streak += 1
        if policy.attempts is not None and self.streak >= policy.attempts:
            self.done = True
        else:
            delay = min(policy.initial * policy.factor ** (self.streak - 1), policy.limit)
            self.earliest, self.latest = self.now + delay, self.now + delay * (1 + policy.jitter)

    # -- the world

    def work(self) -> None:
        """Take in one event, and do what follows from it."""
        event = self.queue.popleft()
        self.told += 1
        self.note(event)
        self.unit, effects = step(self.unit, event, self.now)
        for effect in effects:
            match effect:
                case Spawn():
                    self.spawn(effect)
                case Kill(pid, signal):
                    self.kill(pid, signal)
                case Signal():
                    raise AssertionError("nobody has asked it to reload")

    def rest(self) -> None:
        """Work until there is nothing to do but wait."""
        for _ in range(MANY):
            while self.queue:
                self.work()
            at = deadline(self.unit)
            if at is None or at > self.now:
                return
            self.queue.append(Alarm())
        raise AssertionError("a deadline stays in the past, whoever looks")

    def tell(self, event: Event, at_once: bool) -> None:
        self.queue.append(event)
        if at_once:
            self.rest()

    @initialize(spec=specs("web"), deaf=st.booleans(), others=st.integers(0, 1))
    def begin(self, spec: ProcessSpec, deaf: bool, others: int) -> None:
        self.deaf, self.others = deaf, others
        self.tell(Wanted(spec, spec.digest.encode()), at_once=True)

    @precondition(lambda self: self.queue)
    @rule(events=st.sampled_from([1, 2, 100]))
    def work_a_little(self, events: int) -> None:
        for _ in range(min(events, len(self.queue))):
            self.work()

    @rule(seconds=st.sampled_from([0.25, 0.9, 1.0, 3.0, 10.0, 1000.0]), at_once=st.booleans())
    def wait(self, seconds: float, at_once: bool) -> None:
        self.now += seconds
        if at_once:
            self.rest()

    @precondition(lambda self: deadline(self.unit) is not None)
    @rule()
    def wait_for_the_deadline(self) -> None:
        at = deadline(self.unit)
        assert at is not None
        self.now = max(self.now, at)
        self.rest()

    @rule(spec=specs("web"), at_once=st.booleans())
    def write(self, spec: ProcessSpec, at_once: bool) -> None:
        self.tell(Wanted(spec, spec.digest.encode()), at_once)

    @precondition(lambda self: self.file is not None)
    @rule(at_once=st.booleans())
    def write_the_same_with_more_white_space(self, at_once: bool) -> None:
        assert self.file is not None
        self.tell(Wanted(self.file, self.source + b" "), at_once)

    @precondition(lambda self: self.told > 6)
    @rule(at_once=st.booleans())
    def remove(self, at_once: bool) -> None:
        self.tell(Unwanted(), at_once)

    @precondition(lambda self: self.told > 6)
    @rule(at_once=st.booleans())
    def ask_to_stop(self, at_once: bool) -> None:
        self.tell(Held(), at_once)

    @rule(at_once=st.booleans())
    def ask_to_start(self, at_once: bool) -> None:
        self.tell(Released(), at_once)

    @rule(at_once=st.booleans())
    def ask_to_restart(self, at_once: bool) -> None:
        self.tell(RestartAsked(), at_once)

    @rule(event=st.sampled_from([SignalAsked("KILL"), SignalAsked("HUP"), Alarm()]), at_once=st.booleans())
    def ask_for_a_signal_or_look_for_no_reason(self, event: Event, at_once: bool) -> None:
        self.tell(event, at_once)

    @precondition(lambda self: self.told > 20)
    @rule(hurry=st.booleans(), at_once=st.booleans())
    def close(self, hurry: bool, at_once: bool) -> None:
        self.queue.append(Closing())
        self.tell(Insisted() if hurry else Alarm(), at_once)

    @rule(number=st.integers(1, 4))
    def refuse_starts(self, number: int) -> None:
        self.refusals = number

    @rule(deaf=st.booleans(), others=st.integers(0, 1))
    def change_what_is_started_next(self, deaf: bool, others: int) -> None:
        self.deaf, self.others = deaf, others

    @precondition(lambda self: self.family is not None and self.family.main)
    @rule(exit=exits, at_once=st.booleans())
    def end_by_itself(self, exit: Exit, at_once: bool) -> None:
        assert self.family is not None
        self.lose(self.family, exit, self.family.others)
        if at_once:
            self.rest()

    @precondition(lambda self: self.family is not None and self.family.others > 0)
    @rule(at_once=st.booleans())
    def others_end(self, at_once: bool) -> None:
        assert self.family is not None
        if self.family.main:
            self.family.others = 0
        else:
            self.lose(self.family, Exit(None), others=0)
        if at_once:
            self.rest()

    # -- what must be, when there is nothing to do but wait

    @property
    def rests(self) -> bool:
        at = deadline(self.unit)
        return not self.queue and (at is None or at > self.now)

    @invariant()
    def what_runs_is_what_is_wanted(self) -> None:
        family = self.family
        if not self.rests or family is None:
            return
        if family.main and self.wanted and not family.doomed:
            assert family.spec == self.file
            assert deadline(self.unit) is None, "nothing is to be done to it"
            assert self.unit.streak == self.streak
        else:
            assert deadline(self.unit) is not None, "it lives, and nobody will come to end it"

    @invariant()
    def what_is_wanted_runs_or_has_a_reason_not_to(self) -> None:
        if not self.rests or self.family is not None:
            return
        at = deadline(self.unit)
        if not self.wanted or self.done:
            assert at is None, "there is nothing to wait for"
        else:
            assert at is not None, "it is wanted, and nothing will start it"
            assert self.earliest <= at <= self.latest
            assert self.unit.streak == self.streak > 0

    @invariant()
    def a_unit_knows_what_runs(self) -> None:
        if self.rests:
            assert (None if self.family is None else self.family.pid) == (self.unit.process and self.unit.process.pid)
            assert self.unit.wanted == self.wanted


TestComputer = Computer.TestCase
TestComputer.settings = settings(steady, max_examples=300, stateful_step_count=50)
