"""When lines were written: the marks that colony leaves beside a log (docs/reference/formats/state.md)."""

from __future__ import annotations

import os
from collections import namedtuple

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence


CUT, START = 0, -1
"""Where an end has a pid: the file had been longer, or another one had its name; or what follows is of a new start."""


class Mark(namedtuple("Mark", ("at", "size", "pid"))):
    """
    At that time (ns since the epoch) the last of the first ``size`` bytes of the file of then were written.

    With a ``pid``, these are all that the process of that pid and what it left behind have written; 0 instead of one:
    it had been longer before, or another file had its name; -1: what follows is of a new start.
    """

    __slots__ = ()
    at: int
    size: int
    pid: int | None


class Stretch(namedtuple("Stretch", ("end", "at", "exact"))):
    """Up to the byte ``end`` (None: all there is), it was written at that time; ``exact``: to about a second."""

    __slots__ = ()
    end: int | None
    at: int
    exact: bool


def path_beside(log_path: str) -> str:
    """Where the marks of that log are."""
    folder, name = os.path.split(log_path)
    return os.path.join(folder, f".{name}.times")


def marks(log_path: str) -> list[Mark]:
    """Those of a log, in the order in which they were made; what is no mark is left out. Raises OSError."""
    try:
        with open(path_beside(log_path), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            at, size, *more = map(int, line.split())
        except ValueError:  # a full disk took half of it
            continue
        if len(more) < 2:
            found.append(Mark(at, size, more[0] if more else None))
    return found


def of_file(marks: Sequence[Mark], before: int, written: int, size: int) -> list[Mark]:
    """
    The marks of one file, by when it was written: after the last of the file before it, up to its own last.

    A file has no other name of its own that would outlast renaming and compressing.
    """
    found: list[Mark] = []
    for mark in marks:
        if before < mark.at <= written:
            while found and mark.size < found[-1].size:  # it was cut short by somebody
                found.pop()
            found.append(mark)
    return [mark for mark in found if mark.size <= size]


def stretches(marks: Sequence[Mark], before: int, written: int, size: int) -> list[Stretch]:
    """What is known of when the bytes of a file were written, in order; the last stretch is its end."""
    known = any(mark.at <= before for mark in marks)
    found = []
    for mark in of_file(marks, before, written, size):
        if mark.size:
            found.append(Stretch(mark.size, mark.at, known))
        known = True
    return [*found, Stretch(None, written, known)]
