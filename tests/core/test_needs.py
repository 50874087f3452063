"""Who needs whom, by names: circles are found, who is missing is told, and everybody comes behind what it needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core.check import Problem
from colony.core.needs import between, cycles, needed_first

# Any is a tuple of tuples of names.


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ({}, ()),
        ({"a": []}, ()),
        ({"a": ["a"]}, (("a",),)),
        ({"a": ["b"], "b": ["c"], "c": ["b2"]}, ()),
        ({"b": ["a"], "a": ["b"]}, (("a", "b"),)),
        ({"c": ["a"], "a": ["b"], "b": ["c"]}, (("a", "b", "c"),)),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, (("b", "c"),)),
        ({"x": ["y"], "y": ["x", "a"], "a": ["b"], "b": ["a"]}, (("a", "b"), ("x", "y"))),
        ({"a": ["b", "c"], "b": ["a"], "c": ["a"]}, (("a", "b"),)),
        ({"a": ["c", "b"], "b": ["a"], "c": ["a"]}, (("a", "c"),)),
        ({"top": ["left", "right"], "left": ["end"], "right": ["end"], "end": []}, ()),
        ({"a": ["gone", "b"], "b": ["gone"]}, ()),
    ],
)
def test_those_that_wait_for_each_other_are_found(needs: dict[str, list[str]], found: Any) -> None:
    assert cycles(needs) == found


@given(st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefgh"), max_size=3)))
def test_a_cycle_is_told_of_every_knot_and_of_nothing_else(needs: dict[str, list[str]]) -> None:
    reached = {name: _reached(needs, name) for name in needs}
    knots = {frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in needs}

    found = cycles(needs)

    assert found == cycles(dict(reversed(needs.items())))
    for cycle in found:
        assert all(need in needs[name] for name, need in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
        assert cycle[0] == min(cycle)
    assert list(found) == sorted(found)
    assert sorted(any(knot.issuperset(cycle) for cycle in found) for knot in knots - {frozenset()}) == [True] * len(
        found
    )


def _reached(needs: dict[str, list[str]], name: str) -> set[str]:
    """Everything that is waited for, at once or by way of others."""
    reached: set[str] = set()
    new = set(needs[name])
    while new:
        reached |= new
        new = {need for one in new for need in needs.get(one, ())} - reached
    return reached


def test_what_is_wrong_between_files_is_told_of_each() -> None:
    needs = {"a": ["b", "x"], "b": ["a"], "c": ["a"], "d": ["y"]}

    assert between(needs, {"a", "b", "c", "d", "y"}) == {
        "a": (Problem("after[1]", "no such process: x"), Problem("after", "waits for itself: a -> b -> a")),
        "b": (Problem("after", "waits for itself: b -> a -> b"),),
    }


def test_a_long_circle_is_told_in_part() -> None:
    names = [f"p{number:02}" for number in range(20)]
    needs = {name: [need] for name, need in zip(names, [*names[1:], "p00"], strict=True)}
    [problem] = between(needs, names)["p01"]

    assert problem.message.startswith("waits for itself: p01 -> p02 -> ")
    assert problem.message.endswith("p10 -> ... -> p01")


def test_a_long_chain_and_a_long_circle_are_walked_in_a_moment() -> None:
    chain = {str(number): [str(number + 1)] for number in range(50_000)}
    assert cycles(chain) == ()
    chain["50000"] = ["0"]
    [cycle] = cycles(chain)
    assert len(cycle) == 50_001


def test_needed_ones_come_first_also_through_those_that_are_not_asked_for() -> None:
    needs = {"web": ["a"], "a": ["queue"], "clock": ["queue", "nobody"], "queue": []}
    assert needed_first(["web", "clock", "alone", "queue"], needs) == ["alone", "queue", "clock", "web"]


def test_a_circle_binds_nobody_and_loses_nobody() -> None:
    assert needed_first("abc", {"a": ["b"], "b": ["a"], "c": ["a"]}) == ["b", "a", "c"]


NAMES = st.integers(0, 12).map(str)


@given(st.lists(NAMES, unique=True), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12))))
def test_without_circles_everybody_comes_behind_all_that_it_needs(
    names: list[str], pairs: list[tuple[int, int]]
) -> None:
    needs: dict[str, list[str]] = {}
    for first, second in pairs:
        if first > second:
            needs.setdefault(str(first), []).append(str(second))
    ordered = needed_first(names, needs)
    assert sorted(ordered) == sorted(names)
    for index, name in enumerate(ordered):
        coming = list(needs.get(name, ()))
        while coming:
            need = coming.pop()
            assert need not in ordered[index:]
            coming += needs.get(need, ())


def test_a_long_chain_is_no_deeper_than_any() -> None:
    needs = {str(number): [str(number + 1)] for number in range(5000)}
    assert needed_first(["0", "5000"], needs) == ["5000", "0"]
