"""The vocabulary: how long a backoff is, who is run again, and what is said of an end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from colony.core.model import Exit, RestartPolicy, Rung, default_ladder, timestamp
from tests.strategies import exits, policies, steady


def test_no_early_death_no_delay() -> None:
    assert RestartPolicy(initial=7).delay(0, "web") == 0


def test_the_delay_doubles_from_the_first_to_the_limit() -> None:
    policy = RestartPolicy(initial=1, factor=2, limit=10, jitter=0)

    assert [policy.delay(streak, "web") for streak in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("factor", [1.01, 1.1, 1.5, 2, 1000])
def test_any_factor_above_one_reaches_the_limit_in_the_end(factor: float) -> None:
    policy = RestartPolicy(initial=1, factor=factor, limit=3600, jitter=0)

    assert policy.delay(1000, "web") == 3600


@pytest.mark.parametrize("streak", [100, 10**4, 10**6])
@pytest.mark.parametrize("factor", [2, 1.5, 1000])
def test_a_long_row_of_deaths_overflows_nothing(streak: int, factor: float) -> None:
    assert RestartPolicy(initial=1, factor=factor, limit=60, jitter=0).delay(streak, "web") == 60


def test_an_initial_delay_of_zero_stays_zero() -> None:
    policy = RestartPolicy(initial=0)

    assert {policy.delay(streak, "web") for streak in (1, 2, 100, 10**6)} == {0}


def test_an_initial_delay_beyond_the_limit_is_the_limit() -> None:
    assert RestartPolicy(initial=60, limit=5, jitter=0).delay(1, "web") == 5


@steady
@given(policies, st.integers(1, 10**6), st.text(max_size=5))
def test_the_delay_is_never_outside_its_bounds(policy: RestartPolicy, streak: int, salt: str) -> None:
    delay = policy.delay(streak, salt)

    assert min(policy.initial, policy.limit) <= delay <= policy.limit * (1 + policy.jitter)


@steady
@given(policies, st.integers(1, 10**4), st.text(max_size=5))
def test_jitter_is_at_most_its_share_of_the_delay(policy: RestartPolicy, streak: int, salt: str) -> None:
    plain = RestartPolicy(initial=policy.initial, factor=policy.factor, limit=policy.limit, jitter=0)

    base = plain.delay(streak, salt)

    assert base <= policy.delay(streak, salt) <= base * (1 + policy.jitter)


@steady
@given(policies, st.integers(1, 500))
def test_without_jitter_one_more_death_never_shortens_the_wait(policy: RestartPolicy, streak: int) -> None:
    plain = RestartPolicy(initial=policy.initial, factor=policy.factor, limit=policy.limit, jitter=0)

    assert plain.delay(streak, "") <= plain.delay(streak + 1, "")


def test_a_crowd_that_died_together_is_spread() -> None:
    policy = RestartPolicy(initial=10, jitter=0.1)

    delays = [policy.delay(1, f"web{number}") for number in range(100)]

    assert len(set(delays)) > 90
    assert max(delays) - min(delays) > 0.5


def test_the_same_death_has_the_same_jitter() -> None:
    assert RestartPolicy().delay(3, "web 5") == RestartPolicy().delay(3, "web 5")


@pytest.mark.parametrize(
    ("when", "exit", "more"),
    [
        ("always", Exit(0), True),
        ("always", Exit(1), True),
        ("always", Exit(None), True),
        ("failure", Exit(0), False),
        ("failure", Exit(7), False),
        ("failure", Exit(1), True),
        ("failure", Exit(None, "TERM"), True),
        ("failure", Exit(None), True),  # nobody knows: taken for a failure
        ("never", Exit(0), False),
        ("never", Exit(1), False),
        ("never", Exit(None, "SEGV"), False),
    ],
)
def test_the_policy_decides_by_the_exit(when: str, exit: Exit, more: bool) -> None:
    assert RestartPolicy(when=when, success=(0, 7)).wants_more(exit) is more


@steady
@given(exits, st.lists(st.integers(0, 255)))
def test_only_a_code_can_be_a_success(exit: Exit, success: list[int]) -> None:
    assume(exit.code is None)

    assert RestartPolicy(when="failure", success=tuple(success)).wants_more(exit)


@pytest.mark.parametrize(
    ("exit", "text"),
    [
        (Exit(0), "exited with code 0"),
        (Exit(3), "exited with code 3"),
        (Exit(None, "KILL"), "killed by KILL"),
        (Exit(None), "ended, nobody knows how"),
    ],
)
def test_an_exit_is_said_in_words(exit: Exit, text: str) -> None:
    assert str(exit) == text


def test_the_ladder_of_who_names_none_is_term_and_kill() -> None:
    assert default_ladder(5) == (Rung("TERM", 5), Rung("KILL", 0))


@pytest.mark.parametrize(
    ("wall", "text"),
    [(0, "1970-01-01T00:00:00.000000Z"), (1795299483.123456, "2026-11-21T22:18:03.123456Z")],
)
def test_a_time_is_written_in_utc_with_microseconds(wall: float, text: str) -> None:
    assert timestamp(wall) == text


@steady
@given(st.floats(-(10**9), 10**10))
def test_an_instant_is_written_as_datetime_has_it(wall: float) -> None:
    assert timestamp(wall) == datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("wall", [0.9999996, 1.9999999, 1e9 + 0.99999994, -0.25, -1e-7])
def test_an_instant_is_rounded_as_datetime_does(wall: float) -> None:
    assert timestamp(wall) == datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
