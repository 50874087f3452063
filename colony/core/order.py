"""Who needs whom: who may start, who has to go first, and in which order to ask many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import attrs
from pyrsistent import PMap, PSet, pmap, pset

from colony.core.lifecycle import Unit
from colony.core.model import Name
from colony.core.needs import needed_first


@attrs.frozen
class Order:
    """
    Whom each name needs (``after``), and by whom it is needed; names that need nobody and that nobody needs have no
    place in it. Cycles are allowed, and bind nobody: to start they are waited for, to stop they are not.
    """

    needs: PMap[Name, tuple[Name, ...]] = pmap()
    needed_by: PMap[Name, PSet[Name]] = pmap()

    def moved(self, unit: Unit) -> Order:
        """The order as it is once a unit has become this: what its file says, and what it runs."""
        process = unit.process
        given = (*(unit.spec.after if unit.spec else ()), *(process.spec.after if process else ()))
        before = self.needs.get(unit.name, ())
        if given == before:
            return self
        needed_by = self.needed_by
        for name in set(before) - set(given):
            others = needed_by[name].remove(unit.name)
            needed_by = needed_by.set(name, others) if others else needed_by.remove(name)
        for name in set(given) - set(before):
            needed_by = needed_by.set(name, needed_by.get(name, pset()).add(unit.name))
        needs = self.needs.set(unit.name, given) if given else self.needs.discard(unit.name)
        return Order(needs, needed_by)

    def last_first(self, names: Iterable[Name]) -> list[Name]:
        """Those names, each before whomever it needs, cycles aside: the order in which to stop them."""
        if not self.needs:
            return sorted(names)
        # Whoever needs a name is to it what a need is to those that start.
        return list(map(Name, needed_first(names, cast("Mapping[str, Iterable[str]]", self.needed_by))))

    def followers(self, name: Name) -> Iterator[Name]:
        """All who need it, directly or through others; not itself."""
        return _closure(name, self.needed_by)

    def needed(self, name: Name) -> Iterator[Name]:
        """All whom it needs, directly or through others; not itself."""
        return _closure(name, self.needs)


def _closure(name: Name, edges: Mapping[Name, Iterable[Name]]) -> Iterator[Name]:
    seen = {name}
    coming = [name]
    while coming:
        for other in edges.get(coming.pop(), ()):
            if other not in seen:
                seen.add(other)
                coming.append(other)
                yield other


@attrs.frozen
class Among:
    """One unit among the others, as its lifecycle asks of them (`colony.core.lifecycle.Others`)."""

    order: Order
    units: Mapping[Name, Unit]

    def missing(self, unit: Unit) -> tuple[Name, ...]:
        """Whom it needs to be started, and who is not ready."""
        after = () if unit.spec is None else unit.spec.after
        return tuple(name for name in after if name not in self.units or not self.units[name].ready)

    def first(self, unit: Unit) -> Name | None:
        """Somebody who needs it, is leaving too, and has to go before it; nobody whom it needs itself."""
        if unit.name not in self.order.needed_by:
            return None
        for name in self.order.followers(unit.name):
            if name in self.units and self.units[name].leaving and name not in self.order.needed(unit.name):
                return name
        return None
