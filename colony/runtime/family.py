"""
Who belongs to a process that was started: its session, its group, and whoever carries its token.

A family is asked about without a walk where that is possible: one kill(2) with signal 0 tells whether its group is
empty, and one file tells of orphans that have become ours, as their subreaper (prctl(2)). Only where one of them finds
somebody is /proc read.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection, Mapping
from contextlib import suppress

import attrs

from colony.core.model import Pid
from colony.runtime import proc

_PR_SET_CHILD_SUBREAPER = 36


@attrs.frozen
class Kin:
    """By what a family is known: the pid of its main, its session, and its token; empty for one that is not its own."""

    main: Pid
    session: int
    token: str


def become_subreaper() -> bool:
    """
    Let orphans of what we start become our children, instead of init's; returns whether that can be had.

    Not where the kernel does not list our children (CONFIG_PROC_CHILDREN): they would never be found, nor reaped.
    """
    if not os.path.exists(_children()):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _children() -> str:
    return f"/proc/self/task/{os.getpid()}/children"


def orphans(mains: Collection[Pid], unreaped: int | None = None) -> frozenset[Pid]:
    """
    Our children that are not among ``mains``: what has lost its parent, zombies too; nobody where the kernel is silent.

    ``unreaped`` is how many of the mains are our children still: where the kernel has no more, there is no orphan.
    """
    try:
        with open(_children(), "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return frozenset()
    if unreaped is not None and data.count(b" ") <= unreaped:
        return frozenset()
    return frozenset(Pid(int(pid)) for pid in data.split()).difference(mains)


def has_group(main: Pid) -> bool:
    """Is anybody, living or not yet reaped, in the process group of that number?"""
    try:
        os.killpg(main, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def members(families: Collection[Kin], others: Collection[Pid] = ()) -> Mapping[Pid, tuple[proc.Stat, ...]]:
    """
    The living members of families whose mains have been reaped, by one walk of /proc; by the pid of the main.

    Never a stranger: where a main's number is in use again, nobody of its session was left (the kernel does not give a
    number away that is still a session's or a group's). Never a zombie. ``others`` are sessions known not to be asked
    about, which saves reading their environments.
    """
    found: dict[Pid, list[proc.Stat]] = {kin.main: [] for kin in families}
    if not families:
        return {}
    by_main = {kin.main: kin for kin in families}
    by_token = {kin.token: kin for kin in families if kin.token}
    reused = set()
    own = os.getpid()
    for pid in proc.pids():
        stat = proc.stat(pid)
        if stat is None or pid == own:
            continue
        if stat.pid in by_main:
            if not stat.ended:
                reused.add(stat.pid)
            continue
        if stat.ended or stat.session in others:
            continue
        token = proc.token(pid)
        kin = by_token.get(token) if token else None
        if kin is None:
            # It may have overwritten its environment, or be somebody else's to read: then session and group tell.
            near = by_main.get(stat.group) or by_main.get(stat.session)
            if near is not None and near.session == stat.session and (token is None or not near.token):
                kin = near
        if kin is not None:
            found[kin.main].append(stat)
    return {
        main: tuple(stat for stat in stats if main not in reused or proc.token(stat.pid) == by_main[main].token)
        for main, stats in found.items()
    }


def send(stat: proc.Stat, number: signal.Signals) -> None:
    """Signal that very process: by pidfd, its start time asked again, as the number may be a stranger's by now."""
    with suppress(OSError):
        descriptor = os.pidfd_open(stat.pid) if hasattr(os, "pidfd_open") else None
        try:
            found = proc.stat(stat.pid)
            if found is None or found.start_time != stat.start_time:
                return
            if descriptor is None:
                os.kill(stat.pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            if descriptor is not None:
                os.close(descriptor)
