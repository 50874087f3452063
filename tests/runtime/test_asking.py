"""When probes are asked: soon and often until ready, then each period; never twice at once, never all at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from twisted.internet.task import Clock

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Health, Name, Pid, Tcp
from colony.runtime.asking import Asking, Course, Rounds, UntilReady, first_look
from colony.runtime.probes import Answer, Ill, Unasked, Well
from colony.runtime.turnstile import Leave, Turnstile
from tests.fakes import listening
from tests.runtime.loop import Loop

PID = Pid(7)


class Patient:
    """A probe that answers when a test says so."""

    overdue = "nothing"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self.at_once: Answer | Exception | None = None
        self.done: Callable[[Answer], None] | None = None
        self.cancelled = 0

    def ask(self, done: Callable[[Answer], None]) -> None:
        assert self.done is None, "two at once"
        self.asked.append(self.clock.seconds())
        if isinstance(self.at_once, Exception):
            raise self.at_once
        if self.at_once is not None:
            done(self.at_once)
        else:
            self.done = done

    def answer(self, answer: Answer) -> None:
        assert self.done is not None, "nobody asked"
        done, self.done = self.done, None
        done(answer)

    def cancel(self) -> None:
        self.cancelled += 1
        self.done = None


class Ward:
    """One patient on one course."""

    def __init__(self, *, every: float | None = None, timeout: float = 5.0) -> None:
        self.clock = Clock()
        self.patient = Patient(self.clock)
        self.told: list[Ready | Probed] = []
        self.short: list[str | None] = []
        course: Course = UntilReady(Name("web"), PID, self.told.append)
        if every is not None:
            course = Rounds(Name("web"), PID, Health(Tcp(1), every), self.told.append)
        self.asking = Asking(
            self.clock, Turnstile(self.clock), Name("web"), self.patient, timeout, course, self.short.append
        )
        self.asking.begin()

    def run(self, seconds: float, step: float = 0.001) -> None:
        self.clock.pump([step] * round(seconds / step))

    @property
    def pauses(self) -> list[float]:
        asked = self.patient.asked
        return [round(after - before, 2) for before, after in pairwise(asked)]


def test_until_it_is_ready_it_is_asked_at_once_then_more_and_more_slowly() -> None:
    ward = Ward()
    ward.patient.at_once = Ill("no")
    ward.run(4)
    assert ward.patient.asked[0] < 0.005
    assert ward.pauses[:3] == [pytest.approx(pause, abs=0.011) for pause in (0.02, 0.03, 0.045)]
    assert ward.pauses == sorted(ward.pauses)
    assert ward.pauses[-1] == pytest.approx(0.5, abs=0.011)
    assert ward.told == [Probed(PID, "no")], "once, as it is always the same"


def test_once_it_is_ready_it_is_not_asked_any_more() -> None:
    ward = Ward()
    ward.patient.at_once = Well()
    ward.run(3)
    assert ward.told == [Ready(PID)]
    assert len(ward.patient.asked) == 1
    assert ward.clock.getDelayedCalls() == []


def test_a_probe_that_takes_long_is_not_asked_more_than_half_of_the_time() -> None:
    ward = Ward()
    for _ in range(4):
        ward.run(0.01)
        ward.run(0.3)
        ward.patient.answer(Ill("no"))
        asked = len(ward.patient.asked)
        ward.run(0.28)
        assert len(ward.patient.asked) == asked
        ward.run(0.03)


def test_health_is_asked_first_after_one_period_and_then_each() -> None:
    ward = Ward(every=10)
    ward.patient.at_once = Well()
    ward.run(41, 0.01)
    first = first_look(10, Name("web"))
    assert 10 <= first <= 11
    assert ward.patient.asked[0] == pytest.approx(first, abs=0.05)
    assert ward.pauses == [pytest.approx(10, abs=0.05)] * 3 or ward.pauses == [pytest.approx(10, abs=0.05)] * 2
    assert set(ward.told) == {Probed(PID, None)}


def test_first_looks_of_a_crowd_are_spread() -> None:
    looks = [first_look(10, Name(f"web{number}")) for number in range(1000)]
    assert 10 <= min(looks) < 10.05
    assert 10.95 < max(looks) <= 11
    assert all(sum(low <= look < low + 0.1 for look in looks) > 50 for low in (10, 10.3, 10.6, 10.8))


def test_what_it_says_is_told_each_time() -> None:
    ward = Ward(every=1)
    for answer in (Ill("a"), Well(), Ill("b")):
        ward.run(1.2)
        ward.patient.answer(answer)
    assert ward.told == [Probed(PID, "a"), Probed(PID, None), Probed(PID, "b")]


def test_the_next_question_waits_for_the_answer_to_the_last() -> None:
    ward = Ward(every=1, timeout=100)
    ward.run(1.2)
    ward.run(5)
    assert len(ward.patient.asked) == 1
    ward.patient.answer(Well())
    ward.run(0.01)
    assert len(ward.patient.asked) == 2


def test_no_answer_in_time_is_trouble_and_the_question_is_withdrawn() -> None:
    ward = Ward(every=10, timeout=2)
    ward.run(11, 0.01)
    ward.run(2.1, 0.01)
    assert ward.told == [Probed(PID, "nothing within 2 s")]
    assert ward.patient.cancelled == 1


def test_held_up_ourselves_we_read_what_has_come_before_we_judge() -> None:
    ward = Ward(every=10, timeout=2)
    ward.run(11, 0.01)
    ward.clock.advance(60)
    assert ward.told == []
    ward.patient.answer(Well())
    assert ward.told == [Probed(PID, None)]


def test_held_up_and_nothing_has_come_it_is_judged() -> None:
    ward = Ward(every=10, timeout=2)
    ward.run(11, 0.01)
    ward.clock.advance(60)
    ward.run(0.2)
    assert ward.told == [Probed(PID, "nothing within 2 s")]


def test_what_could_not_be_asked_is_not_told_and_asked_again_soon() -> None:
    ward = Ward(every=100)
    ward.run(first_look(100, Name("web")) + 0.5, 0.1)
    ward.patient.answer(Unasked("no descriptors"))
    ward.run(1.1)
    ward.patient.answer(Well())
    assert ward.told == [Probed(PID, None)]
    assert ward.short == ["cannot ask how web is: no descriptors", None]


def test_a_mistake_of_ours_makes_nobody_ill_and_ends_nothing() -> None:
    ward = Ward(every=1)
    ward.patient.at_once = ZeroDivisionError("ours")
    with listening() as heard:
        ward.run(1.2)
    assert len(heard.failures()) == 1
    ward.patient.at_once = Well()
    ward.run(1.2)
    assert ward.told == [Probed(PID, None)]


def test_ended_nothing_is_told_whatever_it_was_at() -> None:
    for moment in (0.0, 0.5, 1.2):
        ward = Ward(every=1)
        ward.run(moment)
        done = ward.patient.done
        ward.asking.end()
        ward.asking.end()
        if done is not None:
            done(Well())
        ward.run(3)
        assert ward.told == []
        assert ward.patient.cancelled == (done is not None)
        assert ward.clock.getDelayedCalls() == []


def test_it_may_be_ended_by_whoever_is_told() -> None:
    clock, told = Clock(), []
    patient = Patient(clock)
    patient.at_once = Ill("no")

    def tell(event: Ready | Probed) -> None:
        told.append(event)
        asking.end()

    course = Rounds(Name("web"), PID, Health(Tcp(1), 1), tell)
    asking = Asking(clock, Turnstile(clock), Name("web"), patient, 5, course, lambda why: None)
    asking.begin()
    clock.pump([0.1] * 50)
    assert told == [Probed(PID, "no")]
    assert clock.getDelayedCalls() == []


def test_what_was_never_ready_is_said_with_the_last_reason_when_nobody_asks_any_more() -> None:
    ward = Ward()
    ward.patient.at_once = Ill("connection refused")
    with listening() as heard:
        ward.run(0.5)
        assert heard.lines() == []
        ward.asking.end()
    assert heard.lines() == ["web (7) was not ready: connection refused"]


def test_what_became_ready_is_not_said_to_have_been_none() -> None:
    ward = Ward()
    ward.patient.at_once = Ill("connection refused")
    with listening() as heard:
        ward.run(0.5)
        ward.patient.at_once = Well()
        ward.run(1)
        ward.asking.end()
    assert heard.lines() == []


# -- the turnstile ------------------------------------------------------------------------------------------


def test_a_crowd_is_let_in_one_a_turn_in_order(loop: Loop) -> None:
    turnstile = Turnstile(loop.reactor)
    seen: list[int] = []

    def work(number: int, leave: Leave) -> None:
        seen.append(number)
        leave()

    for number in range(5):
        turnstile.enter(partial(work, number))
    assert seen == []
    for turn in range(1, 6):
        loop.turn()
        assert seen == list(range(turn))
    assert loop.timers() == 0


def test_a_full_house_waits_for_who_leaves() -> None:
    clock = Clock()
    turnstile = Turnstile(clock, places=2, patience=100)
    inside: list[Leave] = []
    for _ in range(4):
        turnstile.enter(inside.append)
    clock.pump([0] * 10)
    assert len(inside) == 2
    inside[0]()
    inside[0]()
    clock.pump([0] * 10)
    assert len(inside) == 3


def test_who_does_not_leave_keeps_nobody_out_for_good() -> None:
    clock = Clock()
    turnstile = Turnstile(clock, places=2, patience=1)
    inside: list[Leave] = []
    for _ in range(5):
        turnstile.enter(inside.append)
    clock.pump([0.1] * 30)
    assert len(inside) == 5
    for leave in inside:
        leave()
    clock.pump([0.1] * 30)
    for _ in range(5):
        turnstile.enter(inside.append)
    clock.pump([0] * 10)
    assert len(inside) == 7


def test_who_fails_inside_stops_nobody() -> None:
    clock = Clock()
    turnstile = Turnstile(clock)
    seen: list[int] = []

    def fail(leave: Leave) -> None:
        raise ZeroDivisionError

    turnstile.enter(fail)
    turnstile.enter(lambda leave: seen.append(1))
    with pytest.raises(ZeroDivisionError):
        clock.advance(0)
    clock.advance(0)
    assert seen == [1]
