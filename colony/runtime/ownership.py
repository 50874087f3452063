"""Finds out who can have written a file or a directory, and asks the rule of strict modes about it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from twisted.logger import Logger

from colony.core import trust

log = Logger(namespace="colony")


class Untrusted(Exception):
    """It is not to be obeyed; why, with path, mode and mend."""


class Ownership:
    """
    Judges what is to be obeyed, by owner and mode.

    With ``trusted`` None (strict modes are off, or we are not root) everything is; else what can have been written
    by these uids alone. What a group may write is obeyed, and can be noted.
    """

    def __init__(self, trusted: frozenset[int] | None = None) -> None:
        self._trusted = trusted
        self._noted: set[str] = set()

    def require_file(self, path: str, descriptor: int, found: os.stat_result) -> None:
        """Raises Untrusted if the open file of that fstat(2) is not to be obeyed."""
        if self._trusted is not None:
            read_only = trust.others_may_write(found.st_mode) and _is_read_only(descriptor)
            _refuse(trust.objection(path, found.st_uid, found.st_mode, self._trusted, read_only=read_only))

    def require_directory(self, path: str, descriptor: int) -> None:
        """Raises Untrusted if what is in the open directory is not to be obeyed, by its own mode or one's above it."""
        if self._trusted is None:
            return
        self.require_file(path, descriptor, os.fstat(descriptor))
        # What is above it by the path that is given, and by where that leads.
        for folder in sorted({*_above(os.path.abspath(path)), *_above(os.path.realpath(path))}):
            found = os.stat(folder)
            read_only = trust.others_may_write(found.st_mode) and _is_read_only(folder)
            _refuse(trust.objection_above(folder, found.st_uid, found.st_mode, self._trusted, read_only=read_only))

    def everybody_may_write(self, descriptor: int) -> bool:
        """Is the open directory one in which only files of trusted owners are to be obeyed?"""
        return self._trusted is not None and trust.others_may_write(os.fstat(descriptor).st_mode)

    def note_group(self, kind: str, path: str, found: os.stat_result) -> None:
        """Say once of each kind of thing that a group may write it, and so rules."""
        if self._trusted is not None and trust.group_may_write(found.st_mode) and kind not in self._noted:
            self._noted.add(kind)
            log.warn(
                "the {kind} {path} (mode {mode}) may be written by its group, gid {group}:"
                " who is in it may run anything as root",
                kind=kind,
                path=path,
                mode=trust.shown(found.st_mode),
                group=found.st_gid,
            )


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise Untrusted(problem)


def _is_read_only(where: str | int) -> bool:
    return bool(os.statvfs(where).f_flag & os.ST_RDONLY)


def _above(path: str) -> Iterator[str]:
    while path != (path := os.path.dirname(path)):
        yield path
