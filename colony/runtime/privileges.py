"""Who a process is to be, and what it may: resolved to all that must be set, or refused; then set, all or nothing."""

from __future__ import annotations

import errno
import os
import pwd

import attrs

from colony.core.model import ProcessSpec


class Refused(Exception):
    """It may not, or cannot, become that; and why."""


@attrs.frozen
class Identity:
    """The uid, gid and supplementary groups that a process gets, exactly these."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@attrs.frozen
class Privileges:
    """What is to be set between fork and exec; None and empty for what stays the supervisor's own."""

    identity: Identity | None = None


def resolve(spec: ProcessSpec) -> Privileges | None:
    """What the process of ``spec`` is to be; None for nothing but the supervisor's own self. Raises Refused."""
    identity = _identity(spec)
    return None if identity is None else Privileges(identity)


def _identity(spec: ProcessSpec) -> Identity | None:
    """A uid without a gid takes its passwd entry's, and the groups are that user's."""
    if spec.uid is None and spec.gid is None:
        return None
    uid = os.geteuid() if spec.uid is None else spec.uid
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        entry = None
    if spec.gid is not None:
        gid = spec.gid
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise Refused(f"uid {uid} has no passwd entry: give gid too")
    if os.geteuid() != 0:
        if (uid, gid) != (os.geteuid(), os.getegid()):
            raise Refused(f"only root may start as uid {uid} gid {gid}, and the supervisor runs as uid {os.geteuid()}")
        return None
    groups = os.getgrouplist(entry.pw_name, gid) if entry is not None else [gid]
    return Identity(uid, gid, tuple(dict.fromkeys(groups)))


def drop(wanted: Privileges) -> None:
    """In the child, between fork and exec: become it, and make sure of it. Raises OSError."""
    if wanted.identity is not None:
        uid, gid, groups = wanted.identity.uid, wanted.identity.gid, wanted.identity.groups
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or {*os.getgroups()} != {*groups}:
            raise PermissionError(errno.EPERM, "not what was asked for")
