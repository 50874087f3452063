"""Folds the contents of CONFIG into what is wanted; keeps the last good spec of a broken file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import assert_never

import attrs
from pyrsistent import PMap, pmap

from colony.core import check, wire
from colony.core.check import Problem
from colony.core.model import Defaults, Name, ProcessSpec
from colony.core.needs import between


@attrs.frozen
class Readable:
    """A file's bytes."""

    data: bytes


@attrs.frozen
class Unreadable:
    """A directory entry that no bytes could be had from, and why."""

    reason: str


Content = Readable | Unreadable


@attrs.frozen
class Listing:
    """
    What one look at a directory found that was not known before, by file name.

    ``missing`` are files that this look missed for the first time: perhaps only being replaced. ``gone`` were
    missed again and are no more. A file that is back is in ``changed``. ``ignored`` is litter, never opened; None
    where the look was not at everything.
    """

    changed: Mapping[str, Content] = pmap()
    missing: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    ignored: frozenset[str] | None = None


@attrs.frozen
class Wanted:
    """A spec in force, and the bytes it was read from."""

    spec: ProcessSpec
    source: bytes


@attrs.frozen
class Desired:
    """
    What is wanted, by name: the last good spec of every file that is there.

    ``problems`` are those of the files as they are now; a name may have both. ``needs`` are those that are after
    others, and ``tangles`` what is wrong with that: nobody of that name, or a circle. ``strays`` are files whose name
    can be no process's, with the reason. ``remembered`` are good bytes from before this supervisor started, in force
    only while the file is there and bad, and forgotten with it.
    """

    specs: PMap[Name, Wanted] = pmap()
    problems: PMap[Name, tuple[Problem, ...]] = pmap()
    needs: PMap[Name, tuple[Name, ...]] = pmap()
    tangles: PMap[Name, tuple[Problem, ...]] = pmap()
    strays: PMap[str, str] = pmap()
    files: PMap[str, Content] = pmap()
    missing: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    remembered: PMap[Name, bytes] = pmap()

    def has(self, name: Name) -> bool:
        """Has that name a file, good or not?"""
        return name in self.specs or name in self.problems

    def names(self) -> frozenset[Name]:
        """Every name that has a file, good or not."""
        return frozenset(self.specs) | frozenset(self.problems)

    def group(self, group: str) -> tuple[Name, ...]:
        """The names in that group, sorted."""
        return tuple(sorted(name for name, wanted in self.specs.items() if group in wanted.spec.group))


def fold(desired: Desired, listing: Listing, defaults: Defaults) -> tuple[Desired, frozenset[Name]]:
    """Take in what a look found; returns what is wanted now, and the names that it may have changed anything about."""
    files = desired.files.update(listing.changed)
    strays = desired.strays
    for filename in listing.gone:
        files = files.discard(filename)
    touched = set()
    for filename in {*listing.changed, *listing.missing, *listing.gone}:
        name = check.name_of(filename)
        problem = check.name_problem(name)
        if problem is None:
            touched.add(Name(name))
        else:
            strays = strays.set(filename, problem) if filename in files else strays.discard(filename)
    desired = attrs.evolve(
        desired,
        files=files,
        strays=strays,
        missing=(desired.missing | listing.missing) - listing.gone - set(listing.changed),
        ignored=desired.ignored if listing.ignored is None else listing.ignored,
    )
    before = desired
    problems, remembered, needs = desired.problems, desired.remembered, desired.needs
    good = desired.specs.evolver()  # there may be thousands; of the others mostly few
    for name in touched:
        wanted, found = _judge(desired, name, defaults)
        if wanted is not None:
            good.set(name, wanted)
        elif name in desired.specs:
            good.remove(name)
        if found or problems:
            problems = problems.set(name, found) if found else problems.discard(name)
        after = () if wanted is None else wanted.spec.after
        if after or needs:
            needs = needs.set(name, after) if after else needs.discard(name)
        if wanted is None and not found:  # no file: what a later one will say has nothing to do with it
            remembered = remembered.discard(name)
    specs = good.persistent()
    desired = attrs.evolve(desired, specs=specs, problems=problems, remembered=remembered, needs=needs)
    if needs != before.needs or (needs and any(before.has(name) != desired.has(name) for name in touched)):
        desired = _untangle(desired)
        touched |= {name for name in {*before.tangles, *desired.tangles} if name in specs}
    return desired, frozenset(touched)


def _untangle(desired: Desired) -> Desired:
    """Find what is wrong between the files."""
    needs = {str(name): after for name, after in desired.needs.items()}
    known = {need for after in needs.values() for need in after if desired.has(need)}
    tangles = between(needs, known)
    return attrs.evolve(desired, tangles=pmap({Name(name): problems for name, problems in tangles.items()}))


def _judge(desired: Desired, name: Name, defaults: Defaults) -> tuple[Wanted | None, tuple[Problem, ...]]:
    """What is wanted of one name, and what is wrong with its files."""
    there = [filename for filename in (name, f"{name}.json") if filename in desired.files]
    present = [filename for filename in there if filename not in desired.missing]
    if not there:
        return None, ()
    if not present:  # perhaps only being replaced: nothing is known that was not known before
        return desired.specs.get(name), desired.problems.get(name, ())
    if len(present) > 1:
        return _last_good(desired, name, defaults), (Problem("", f"{name} and {name}.json are both there"),)
    match content := desired.files[present[0]]:
        case Readable(data):
            try:
                return Wanted(wire.parse_spec(data, defaults, name), data), ()
            except wire.Invalid as invalid:
                return _last_good(desired, name, defaults), invalid.problems
        case Unreadable(reason):
            return _last_good(desired, name, defaults), (Problem("", reason),)
        case _:
            assert_never(content)


def _last_good(desired: Desired, name: Name, defaults: Defaults) -> Wanted | None:
    if name in desired.specs:
        return desired.specs[name]
    if name in desired.remembered:
        data = desired.remembered[name]
        with suppress(wire.Invalid):  # written by another version
            return Wanted(wire.parse_spec(data, defaults, name), data)
    return None
