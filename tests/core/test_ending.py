"""The stop ladder: every rung in its order and no sooner than it may, KILL in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colony.core.ending import advance, again, begin, insist
from colony.core.model import Rung, StopLadder, default_ladder
from tests.strategies import ladders, steady

LADDER = (Rung("TERM", 600), Rung("INT", 10), Rung("INT", 10), Rung("KILL", 0))


def test_the_first_rung_is_asked_at_once() -> None:
    ending, signals = begin(LADDER, 100)

    assert signals == ("TERM", "CONT")
    assert ending.until == 700


def test_nothing_is_sent_before_the_next_rung_is_due() -> None:
    ending, _ = begin(LADDER, 100)

    assert advance(ending, 699.9) == (ending, ())


def test_the_next_rung_is_asked_when_it_is_due() -> None:
    ending, _ = begin(LADDER, 100)

    ending, signals = advance(ending, 700)

    assert signals == ("INT", "CONT")
    assert ending.until == 710


def test_a_look_that_comes_late_skips_no_rung() -> None:
    ending, _ = begin(LADDER, 100)

    ending, signals = advance(ending, 10_000)

    assert signals == ("INT", "CONT")
    assert ending.until == 10_010


def test_kill_is_the_last_word_and_needs_no_cont() -> None:
    ending, _ = begin(default_ladder(5), 0)

    ending, signals = advance(ending, 5)

    assert signals == ("KILL",)
    assert ending.until is None
    assert advance(ending, 1e9) == (ending, ())


def test_a_ladder_of_kill_alone_kills_at_once() -> None:
    ending, signals = begin((Rung("KILL", 0),), 0)

    assert signals == ("KILL",)
    assert ending.until is None


def test_insisting_skips_to_the_last_rung() -> None:
    ending, _ = begin(LADDER, 0)

    ending, signals = insist(ending)

    assert signals == ("KILL",)
    assert ending.until is None


def test_insisting_twice_sends_nothing_more() -> None:
    ending, _ = insist(begin(LADDER, 0)[0])

    assert insist(ending) == (ending, ())


def test_the_rung_it_stands_on_can_be_said_again() -> None:
    first, _ = begin(LADDER, 0)
    last, _ = insist(first)

    assert again(first) == ("TERM", "CONT")
    assert again(last) == ("KILL",)


@steady
@given(ladders, st.lists(st.floats(0, 200), min_size=1, max_size=30))
def test_whenever_it_is_looked_at_each_rung_comes_once_in_order_and_not_too_soon(
    ladder: StopLadder, waits: list[float]
) -> None:
    now = 0.0
    ending, signals = begin(ladder, now)
    sent = [(now, signals[0])]
    for wait in waits:
        now += wait
        ending, signals = advance(ending, now)
        if signals:
            sent.append((now, signals[0]))

    assert [signal for _, signal in sent] == [rung.signal for rung in ladder[: len(sent)]]
    for (before, _), (after, _), rung in zip(sent, sent[1:], ladder, strict=False):
        assert after >= before + rung.seconds


@steady
@given(ladders, st.floats(0, 1e6))
def test_whoever_looks_at_each_deadline_is_done_after_one_look_a_rung(ladder: StopLadder, now: float) -> None:
    ending, signals = begin(ladder, now)
    sent = [signals[0]]
    while ending.until is not None:
        assert ending.until >= now, "a deadline in the past"
        now = ending.until
        ending, signals = advance(ending, now)
        assert signals, "a deadline at which nothing is due"
        sent.append(signals[0])

    assert sent == [rung.signal for rung in ladder]
