"""Who a process is to be: a uid and gid resolved to all that must be set, or refused."""

from __future__ import annotations

import os
import pwd

import attrs

from colony.core.model import ProcessSpec


class Refused(Exception):
    """It may not, or cannot, become that user; and why."""


@attrs.frozen
class Identity:
    """The uid, gid and supplementary groups that a process gets, exactly these."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def resolve(spec: ProcessSpec) -> Identity | None:
    """
    Who the process of ``spec`` is to be; None for the supervisor's own self, nothing to set.

    A uid without a gid takes its passwd entry's, and the groups are that user's. Raises Refused.
    """
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
