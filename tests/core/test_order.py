"""Who needs whom, as it follows from what files say and what runs."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core.ending import begin
from colony.core.lifecycle import Down, Running, State, Stopping, Unit, Up, Waiting
from colony.core.model import Exit, Name, Pid, ProcessSpec, RestartPolicy
from colony.core.order import Among, Order


def spec(*after: str) -> ProcessSpec:
    return ProcessSpec(("run",), "".join(after), after=tuple(map(Name, after)))


def unit(name: str, *after: str, **about: object) -> Unit:
    return attrs.evolve(Unit(Name(name), spec(*after), generation=1), **about)  # type: ignore[arg-type]  # any field


def up(name: str, *after: str, generation: int = 1) -> Unit:
    return unit(name, *after, state=Up(Running(Pid(1), spec(*after), generation, 0.0)))


def among(*units: Unit) -> Among:
    order = Order()
    for one in units:
        order = order.moved(one)
    return Among(order, {one.name: one for one in units})


def needed_by(order: Order) -> dict[str, set[str]]:
    return {name: set(others) for name, others in order.needed_by.items()}


def test_what_needs_nobody_has_no_place_in_it() -> None:
    assert Order().moved(unit("web")) == Order()


def test_what_is_needed_no_more_is_forgotten() -> None:
    order = Order().moved(unit("worker", "redis", "cache")).moved(unit("beat", "redis"))
    assert needed_by(order) == {"redis": {"worker", "beat"}, "cache": {"worker"}}

    order = order.moved(unit("worker", "cache", "log"))
    assert needed_by(order) == {"redis": {"beat"}, "cache": {"worker"}, "log": {"worker"}}

    assert order.moved(unit("worker")).moved(unit("beat")) == Order()


def test_what_runs_is_needed_by_what_it_was_started_as() -> None:
    edited = attrs.evolve(up("worker", "redis"), spec=spec("cache"))
    removed = attrs.evolve(up("beat", "redis"), spec=None)

    order = Order().moved(edited).moved(removed)

    assert needed_by(order) == {"redis": {"worker", "beat"}, "cache": {"worker"}}


@pytest.mark.parametrize(
    ("after", "names", "ordered"),
    [
        ({}, "bca", "abc"),
        ({"b": "a", "c": "b"}, "abc", "cba"),
        ({"b": "a", "c": "b"}, "ac", "ca"),
        ({"b": "a", "c": "a", "d": "bc"}, "abcd", "dbca"),
        ({"b": "a", "a": "b"}, "abc", "bac"),
        ({"a": "a"}, "ab", "ab"),
        ({"a": "x"}, "ab", "ab"),
    ],
)
def test_they_are_stopped_before_whomever_they_need(after: dict[str, str], names: str, ordered: str) -> None:
    order = Order()
    for name, needs in after.items():
        order = order.moved(unit(name, *needs))

    assert order.last_first(map(Name, names)) == list(ordered)


def of(after: dict[str, set[str]]) -> Order:
    order = Order()
    for name, needs in after.items():
        order = order.moved(unit(name, *sorted(needs)))
    return order


_letters = st.sampled_from("abcdef")
_graphs = st.dictionaries(_letters, st.sets(_letters, max_size=3))
_without_cycles = _graphs.map(lambda after: {name: {n for n in needs if n < name} for name, needs in after.items()})


@given(_graphs, st.sets(_letters))
def test_the_order_to_stop_in_holds_everybody_once(after: dict[str, set[str]], names: set[str]) -> None:
    assert sorted(of(after).last_first(map(Name, names))) == sorted(names)


@given(_without_cycles, st.permutations("abcdef"), st.sets(_letters))
def test_nobody_is_stopped_after_whom_it_needs(after: dict[str, set[str]], called: str, names: set[str]) -> None:
    rename = dict(zip("abcdef", called, strict=True))
    order = of({rename[name]: {rename[need] for need in needs} for name, needs in after.items()})

    ordered = order.last_first(map(Name, names))

    for index, name in enumerate(ordered):
        assert not set(ordered[index + 1 :]) & set(order.followers(name)), f"{name} is needed still"


def test_a_thousand_in_a_row_are_no_problem() -> None:
    names = [Name(f"p{number}") for number in range(3000)]
    order = Order()
    for name, need in zip(names[1:], names, strict=False):
        order = order.moved(unit(name, need))

    assert order.last_first(names) == names[::-1]
    assert set(order.needed(names[-1])) == set(names[:-1])


# -- who may start ------------------------------------------------------------------------------------------------

WORKER = unit("worker", "redis", "cache")


@pytest.mark.parametrize(
    ("redis", "ready"),
    [
        (up("redis"), True),
        (attrs.evolve(up("redis"), held=True), False),
        (up("redis", generation=0), False),
        (unit("redis"), False),
        (unit("redis", state=Waiting(())), False),
        (unit("redis", state=Down(ended=1), last_exit=Exit(0)), True),
        (unit("redis", state=Down(ended=1), last_exit=Exit(1)), False),
        (unit("redis", state=Down(ended=1), last_exit=Exit(None)), False),
        (unit("redis", state=Down(ended=1)), False),
        (unit("redis", state=Down(ended=0), last_exit=Exit(0)), False),
        (unit("redis", state=Down(ended=1), last_exit=Exit(0), held=True), False),
    ],
)
def test_what_is_needed_must_be_up_and_stay_or_have_ended_well(redis: Unit, ready: bool) -> None:
    assert among(WORKER, redis, up("cache")).missing(WORKER) == (() if ready else ("redis",))


def test_codes_that_count_as_success_are_the_files() -> None:
    once = ProcessSpec(("run",), "", restart=RestartPolicy(when="never", success=(0, 3)))
    migrated = attrs.evolve(unit("redis"), spec=once, state=Down(ended=1), last_exit=Exit(3))

    assert among(WORKER, migrated).missing(WORKER) == ("cache",)


def test_what_is_not_there_is_missing_too() -> None:
    assert among(WORKER).missing(WORKER) == ("redis", "cache")
    assert among().missing(attrs.evolve(WORKER, spec=None)) == ()


# -- who has to go first ------------------------------------------------------------------------------------------

LADDER = spec().stop


def leaving(name: str, *after: str) -> Unit:
    return attrs.evolve(up(name, *after), closing=True)


@pytest.mark.parametrize(
    ("others", "first"),
    [
        ([leaving("worker", "redis")], "worker"),
        ([up("worker", "redis")], None),
        ([up("worker", "redis", generation=0)], "worker"),
        ([leaving("worker")], None),
        ([unit("worker", "redis", closing=True)], None),
        # Through somebody who does not leave, or does not run.
        ([leaving("beat", "worker"), up("worker", "redis")], "beat"),
        ([leaving("beat", "worker"), unit("worker", "redis")], "beat"),
        # A cycle binds nobody.
        ([leaving("worker", "redis"), leaving("redis", "worker")], None),
        ([leaving("worker", "redis"), leaving("redis", "worker"), leaving("beat", "worker")], "beat"),
        ([leaving("redis", "redis")], None),
    ],
)
def test_those_go_first_who_need_it_and_leave_too(others: list[Unit], first: str | None) -> None:
    redis = leaving("redis")

    assert among(redis, *others).first(redis) == first


def test_what_has_been_asked_to_go_still_goes_first() -> None:
    process = Running(Pid(1), spec("redis"), 1, 0.0)
    for state in (
        Stopping(process, begin(LADDER, 0.0)[0], asked=False, exit=Exit(1), ended=0.0),
        Stopping(process, begin(LADDER, 0.0)[0], asked=True),
    ):
        assert among(leaving("redis"), with_state("worker", state)).first(leaving("redis")) == "worker"


def with_state(name: str, state: State) -> Unit:
    return unit(name, "redis", state=state)


def test_what_nobody_knows_of_does_not_have_to_go() -> None:
    redis = leaving("redis")
    order = Order().moved(leaving("worker", "redis"))

    assert Among(order, {redis.name: redis}).first(redis) is None
