"""What processes use, each with all that it has started: read from /proc."""

from __future__ import annotations

import os
from collections import namedtuple

from colony import ctllib

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(namedtuple("Process", ("pid", "parent", "session", "started", "cpu", "rss"))):
    """One process: ``started`` tells it from a later one of its pid; ``cpu`` in seconds so far, ``rss`` in bytes."""

    __slots__ = ()
    pid: int
    parent: int
    session: int
    started: int
    cpu: float
    rss: int


class Usage(namedtuple("Usage", ("pid", "processes", "cpu", "rss", "pss"))):
    """
    What a main process and its family use.

    ``cpu`` is in per cent of one core; ``rss`` and ``pss`` are bytes, ``pss`` None where the kernel does not tell us.
    """

    __slots__ = ()
    pid: int
    processes: int
    cpu: float
    rss: int
    pss: int | None


def processes(proc: str = "/proc") -> dict[int, Process]:
    """Every process, by pid. Raises Refused where there is no /proc."""
    try:
        entries = os.listdir(proc)
    except OSError as error:
        raise ctllib.Refused(f"cannot tell who uses what: no {proc}: {error.strerror}") from None
    found = {}
    for entry in entries:
        if entry.isdecimal():
            try:
                with open(f"{proc}/{entry}/stat", "rb") as file:
                    data = file.read()
            except OSError:  # it has ended
                continue
            # The command's name, in parentheses, may hold anything.
            fields = data[data.rindex(b")") + 2 :].split()
            cpu = (int(fields[11]) + int(fields[12])) / _TICKS
            one = Process(int(entry), int(fields[1]), int(fields[3]), int(fields[19]), cpu, int(fields[21]) * _PAGE)
            found[one.pid] = one
    return found


def families(mains: Iterable[int], there: Mapping[int, Process]) -> dict[int, list[Process]]:
    """By each main process's pid: itself, whoever is in its session, and all that any of those has started."""
    children: dict[int, list[Process]] = {}
    sessions: dict[int, list[Process]] = {}
    for one in there.values():
        children.setdefault(one.parent, []).append(one)
        sessions.setdefault(one.session, []).append(one)
    found = {}
    for main in mains:
        members: dict[int, Process] = {}
        pending = [*sessions.get(main, ()), *([there[main]] if main in there else ())]
        while pending:
            one = pending.pop()
            if one.pid not in members:
                members[one.pid] = one
                pending += children.get(one.pid, ())
        found[main] = list(members.values())
    return found


def use(
    family: Iterable[Process], before: Mapping[int, Process], seconds: float, pss: Mapping[int, int | None], main: int
) -> Usage:
    """
    What a family uses, by what it had used ``seconds`` before.

    Who was not there then has used all of its time since.
    """
    cpu = 0.0
    rss = number = 0
    proportional: int | None = 0
    for one in family:
        former = before.get(one.pid)
        cpu += one.cpu - (former.cpu if former is not None and former.started == one.started else 0.0)
        rss += one.rss
        number += 1
        share = pss.get(one.pid)
        proportional = None if proportional is None or share is None else proportional + share
    return Usage(main, number, 100 * cpu / seconds, rss, proportional)


def proportional(pid: int, proc: str = "/proc") -> int | None:
    """Bytes of memory, what is shared divided among those who share it; None if we may not know."""
    try:
        with open(f"{proc}/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return 0  # a kernel's own, or a zombie
