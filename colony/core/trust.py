"""
Whose files are obeyed: the rule of strict modes, by owner and mode.

A file decides what its supervisor runs, so whoever can change it acts as the supervisor. Root obeys therefore only
what nobody else than trusted users can have written.
"""

from __future__ import annotations

from collections.abc import Collection

_OTHERS_WRITE = 0o002
_GROUP_WRITES = 0o020
_STICKY = 0o1000


def others_may_write(mode: int) -> bool:
    """May everybody write it?  A sticky directory counts: whatever is put there is put there by somebody."""
    return bool(mode & _OTHERS_WRITE)


def group_may_write(mode: int) -> bool:
    """May its group write it (or, where it has an access control list, anybody named there)?"""
    return bool(mode & _GROUP_WRITES)


def objection(path: str, owner: int, mode: int, trusted: Collection[int], *, read_only: bool = False) -> str | None:
    """
    Why a file or directory is not to be obeyed, with path, mode and mend; None if it is.

    ``trusted`` are the uids whose files are obeyed. On a mount that is ``read_only`` a mode lets nobody write.
    """
    if owner not in trusted:
        return _foreign(path, owner, mode)
    if others_may_write(mode) and not read_only:
        return f"{path} (mode {shown(mode)}) may be written by everybody: chmod o-w {path}"
    return None


def objection_above(
    path: str, owner: int, mode: int, trusted: Collection[int], *, read_only: bool = False
) -> str | None:
    """
    The same for a directory above one that is obeyed: who may write there can put another in its place.

    A sticky one lets only its owner, and the owners of what is in it, do so (/tmp).
    """
    if owner not in trusted:
        return _foreign(path, owner, mode)
    if others_may_write(mode) and not mode & _STICKY and not read_only:
        return f"{path} (mode {shown(mode)}) may be written by everybody: chmod o-w {path}, or chmod +t"
    return None


def _foreign(path: str, owner: int, mode: int) -> str:
    return f"{path} (mode {shown(mode)}) belongs to uid {owner}: chown root {path}, or trust its owner (--trust-user)"


def shown(mode: int) -> str:
    """A mode as chmod(1) takes it."""
    return f"{mode & 0o7777:04o}"
