"""
Who a process is to be, and what it may: resolved to all that must be set, or refused; then set, all or nothing.

Between fork and exec nothing may be looked up or waited for, so everything is resolved into `Step` values before.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import resource
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from colony.core.model import Limit, ProcessSpec

# Any is the argument of a system call.

_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39


class Refused(Exception):
    """It may not, or cannot, become that: what was to be set (``user``, ``limits``), and why not."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(why)
        self.stage = stage


class Denied(Exception):
    """In the child: the step of that index failed, with that errno."""

    def __init__(self, step: int, error: int) -> None:
        super().__init__(step, error)
        self.step = step
        self.error = error


@attrs.frozen
class Identity:
    """The uid, gid and supplementary groups that a process gets, exactly these."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@attrs.frozen
class Step:
    """One thing to set or to verify in the child: for which key, what cannot be if it fails, and the call itself."""

    stage: str
    what: str
    call: Callable[..., object]
    arguments: tuple[Any, ...]


@attrs.frozen
class Privileges:
    """
    What is to be set between fork and exec, in this order; nothing for what is to be as the supervisor itself.

    ``account`` are the variables that come with the spec's ``user``.
    """

    identity: Identity | None = None
    account: Mapping[str, str] = attrs.field(factory=dict)
    steps: tuple[Step, ...] = ()


def resolve(spec: ProcessSpec) -> Privileges:
    """What the process of ``spec`` is to be. Raises Refused."""
    entry = None if spec.user is None else _account(spec.user)
    identity = _identity(spec, entry)
    # What needs root comes first; nothing is regained after the uid, and no_new_privs has no say over setuid(2).
    steps = (
        *_scheduling(spec),
        *(() if identity is None else _becoming(identity)),
        *(_no_new_privs() if spec.no_new_privs else ()),
    )
    return Privileges(identity, {} if entry is None else _variables(entry), steps)


def drop(wanted: Privileges) -> None:
    """In the child, between fork and exec: do every step. Raises Denied at the first that fails."""
    for index, step in enumerate(wanted.steps):
        try:
            step.call(*step.arguments)
        except OSError as error:
            raise Denied(index, error.errno or errno.EPERM) from None
        except (ValueError, OverflowError, MemoryError) as error:
            raise Denied(index, errno.ENOMEM if isinstance(error, MemoryError) else errno.EINVAL) from None


# -- limits, nice, umask ------------------------------------------------------------------------------------


def _scheduling(spec: ProcessSpec) -> Iterator[Step]:
    for limit in spec.limits:
        number = getattr(resource, f"RLIMIT_{limit.resource.upper()}", None)
        if number is None:
            raise Refused("limits", f"this system has no limit {limit.resource}")
        pair = _height(limit.soft), _height(limit.hard)
        yield Step("limits", f"cannot set {_shown(limit)}", _limit, (number, pair))
    if spec.nice is not None:
        yield Step("nice", f"cannot have {spec.nice}", os.setpriority, (os.PRIO_PROCESS, 0, spec.nice))
    if spec.umask is not None:
        yield Step("umask", "cannot set it", os.umask, (spec.umask,))


def _height(limit: int | None) -> int:
    return resource.RLIM_INFINITY if limit is None else limit


def _shown(limit: Limit) -> str:
    soft, hard = ("unlimited" if value is None else str(value) for value in (limit.soft, limit.hard))
    return f"{limit.resource} {soft}" if soft == hard else f"{limit.resource} {soft} (hard {hard})"


def _limit(number: int, pair: tuple[int, int]) -> None:
    try:
        resource.setrlimit(number, pair)
    except ValueError:  # how Python tells of EPERM; the pair itself is known to be in order
        raise PermissionError(errno.EPERM, "above the hard limit") from None


# -- identity -----------------------------------------------------------------------------------------------


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Refused("user", f"no such user: {user}") from None


def _variables(entry: pwd.struct_passwd) -> dict[str, str]:
    """What login(1) would set."""
    return {
        "HOME": entry.pw_dir or "/",
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell or "/bin/sh",  # as passwd(5) reads an empty field
    }


def _identity(spec: ProcessSpec, entry: pwd.struct_passwd | None) -> Identity | None:
    """
    Who it is to be; None for exactly who we are.

    A user, or a uid without a gid, takes its passwd entry's group, and the supplementary groups are that user's.
    """
    if spec.uid is None and spec.gid is None and spec.user is None and spec.supplementary_groups is None:
        return None
    own_uid, own_gid = os.geteuid(), os.getegid()
    if entry is not None:
        uid = entry.pw_uid
    else:
        uid = own_uid if spec.uid is None else spec.uid
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            entry = None
    if spec.gid is not None:
        gid = spec.gid
    elif spec.user is None and spec.uid is None:
        gid = own_gid
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise Refused("user", f"uid {uid} has no passwd entry: give gid too")
    if own_uid != 0:
        _refuse_others(spec, uid, gid)
        return None
    if spec.supplementary_groups is not None:
        groups = [_group(group) for group in spec.supplementary_groups]
    else:
        groups = [gid] if entry is None else os.getgrouplist(entry.pw_name, gid)
    return Identity(uid, gid, tuple(dict.fromkeys(groups)))


def _refuse_others(spec: ProcessSpec, uid: int, gid: int) -> None:
    """Without root a process can be nobody but who we are. Raises Refused."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    if (uid, gid) != (own_uid, own_gid):
        who = f"uid {uid} gid {gid}" if spec.user is None else f"{spec.user} (uid {uid} gid {gid})"
        raise Refused("user", f"only root may start as {who}, and the supervisor runs as uid {own_uid} gid {own_gid}")
    if spec.supplementary_groups is not None:
        groups = {_group(group) for group in spec.supplementary_groups}
        if groups | {gid} != {*os.getgroups(), gid}:
            why = f"only root may change them, and the supervisor runs as uid {own_uid}"
            raise Refused("supplementary_groups", why)


def _group(group: int | str) -> int:
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise Refused("supplementary_groups", f"no such group: {group}") from None


def _becoming(identity: Identity) -> Iterator[Step]:
    uid, gid, groups = identity.uid, identity.gid, identity.groups
    what = f"cannot become uid {uid} gid {gid}"
    yield Step("user", f"{what}: supplementary groups", os.setgroups, (groups,))
    yield Step("user", what, os.setresgid, (gid, gid, gid))
    yield Step("user", what, os.setresuid, (uid, uid, uid))
    yield Step("user", f"{what}: it is somebody else", _verify, (uid, gid, frozenset(groups)))


def _verify(uid: int, gid: int, groups: frozenset[int]) -> None:
    """Raises PermissionError if that is not who we are now, or if there is a way back (kept capabilities)."""
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or {*os.getgroups()} != groups:
        raise PermissionError(errno.EPERM, "not what was asked for")
    if uid != 0:
        try:
            os.setuid(0)
        except OSError:
            return
        raise PermissionError(errno.EPERM, "could become root again")


# -- no_new_privs -------------------------------------------------------------------------------------------


def _no_new_privs() -> Iterator[Step]:
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        raise Refused("no_new_privs", "this system has no prctl") from None
    # One argument is unsigned long each; the kernel refuses others than 1, 0, 0, 0.
    long = ctypes.c_ulong
    setting = (_PR_SET_NO_NEW_PRIVS, long(1), long(0), long(0), long(0))
    asking = (_PR_GET_NO_NEW_PRIVS, long(0), long(0), long(0), long(0))
    yield Step("no_new_privs", "cannot be had", _expect, (0, prctl, setting))
    yield Step("no_new_privs", "is not in force", _expect, (1, prctl, asking))


def _expect(result: int, prctl: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    if prctl(*arguments) != result:
        raise OSError(ctypes.get_errno() or errno.EPERM, "prctl")
