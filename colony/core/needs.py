"""
Who needs whom, by names alone: circles, who is missing, and an order in which each comes behind what it needs.

Standard library and `colony.core.check` alone: ctl and the supervisor ask the same.
"""

from __future__ import annotations

from colony.core.check import Problem

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence


def cycles(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """
    Those that wait for each other and so would never start: each one's need is the next, the last one's the first.

    ``needs`` are the names that each name waits for; those that are no keys of it wait for nobody. There is one cycle
    for every knot, and none without; each begins with its least name, and they are sorted. Linear in names and needs.
    """
    found = []
    for knot in _knots(needs):
        met: dict[str, int] = {}
        at = min(knot)
        while at not in met:
            met[at] = len(met)
            at = next(need for need in needs[at] if need in knot)
        cycle = list(met)[met[at] :]
        first = cycle.index(min(cycle))
        found.append((*cycle[first:], *cycle[:first]))
    return tuple(sorted(found))


def between(needs: Mapping[str, Sequence[str]], known: Container[str]) -> dict[str, tuple[Problem, ...]]:
    """
    What is wrong between process files: who would wait for a process that is not ``known``, or in a circle.

    ``needs`` are the names that each name is after. Names with which nothing is wrong are left out.
    """
    found: dict[str, list[Problem]] = {}
    for name, after in needs.items():
        for index, need in enumerate(after):
            if need not in known:
                found.setdefault(name, []).append(Problem(f"after[{index}]", f"no such process: {need}"))
    for cycle in cycles(needs):
        for index, name in enumerate(cycle):
            found.setdefault(name, []).append(Problem("after", f"waits for itself: {_circle(cycle, index)}"))
    return {name: tuple(problems) for name, problems in found.items()}


_SHOWN = 10
"""Names of a circle that are told; a longer one is no clearer for more."""


def _circle(cycle: Sequence[str], index: int) -> str:
    around = [cycle[(index + step) % len(cycle)] for step in range(min(len(cycle), _SHOWN))]
    more = ["..."] if len(cycle) > _SHOWN else []
    return " -> ".join([*around, *more, cycle[index]])


def _knots(needs: Mapping[str, Sequence[str]]) -> Iterator[set[str]]:
    """
    The names that lead to each other, and so back to themselves: the strongly connected components with an edge.

    Tarjan's algorithm, without recursion: a chain of needs may be longer than Python's stack.
    """
    low: dict[str, int] = {}  # the earliest name, by the order of meeting, that a name is known to lead back to
    path: list[str] = []  # names met that may still turn out to belong together
    position: dict[str, int] = {}
    for root in needs:
        if root in low:
            continue
        branch = [(root, iter(needs[root]))]
        low[root] = position[root] = len(low)
        path.append(root)
        while branch:
            name, rest = branch[-1]
            for need in rest:
                if need in position:
                    low[name] = min(low[name], position[need])
                elif need in needs and need not in low:
                    branch.append((need, iter(needs[need])))
                    low[need] = position[need] = len(low)
                    path.append(need)
                    break
            else:
                branch.pop()
                if branch:
                    parent = branch[-1][0]
                    low[parent] = min(low[parent], low[name])
                if low[name] == position[name]:
                    knot: set[str] = set()
                    while name not in knot:
                        member = path.pop()
                        del position[member]
                        knot.add(member)
                    if len(knot) > 1 or name in needs[name]:
                        yield knot


def needed_first(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> list[str]:
    """
    Those names, each behind all that it needs, directly or through others, cycles aside; else by the alphabet.

    ``needs`` may know of more names, and of fewer. Without recursion: a chain may be longer than Python's stack.
    """
    chosen = set(names)
    ordered: list[str] = []
    met: set[str] = set()
    for name in sorted(chosen):
        path: list[tuple[str, Iterator[str]]] = [("", iter((name,)))]
        while path:
            last, rest = path[-1]
            need = next(rest, None)
            if need is None:
                path.pop()
                if last in chosen:
                    ordered.append(last)
            elif need not in met:
                met.add(need)
                path.append((need, iter(sorted(needs.get(need, ())))))
    return ordered
