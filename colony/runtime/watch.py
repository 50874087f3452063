"""
Finds out which files of a directory changed, with their bytes: the scan is the truth.

A look is a total function: every entry ends as read, unreadable (and why) or ignored, and only the directory itself can
keep a look from happening (`Unseen`), in which case nothing is known that was not known before.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from functools import partial

import attrs

from colony.core import check
from colony.core.desired import Content, Listing, Readable, Unreadable
from colony.runtime.ownership import Ownership, Untrusted

CONFIRM = 0.2
"""Seconds after which a missing file is looked for again: git and editors unlink, then create."""

LATEST = 0.4
"""Seconds after which a missing file is gone for certain, though others went missing since: who removes many at once
removes them one by one, and they are to be known as gone together, as their processes stop in an order."""

_YOUNG = 0.1
"""
Seconds during which a file's times cannot be trusted to tell a second change from the first.

The kernel stamps files with the time of its last tick, up to 10 ms ago (and 2 s on some file systems, whose
second look this module does not know of).
"""

Identity = tuple[int, int]
"""Device and inode of a directory."""

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, mtime_ns, ctime_ns: as long as all of these are equal, so is the content."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)


class Unseen(Exception):
    """The directory cannot be looked at now, and why; whatever was known of it stays so."""


def open_directory(path: str) -> int:
    """A descriptor of the directory that has that path at this moment. Raises Unseen."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unseen(f"cannot open {path}: {error.strerror}") from None


def list_directory(descriptor: int, path: str) -> list[str]:
    """All its entries, litter too. Raises Unseen."""
    try:
        return os.listdir(descriptor)
    except OSError as error:
        raise Unseen(f"cannot list {path}: {error.strerror}") from None


def sign(directory: int, filename: str, *, follow: bool) -> tuple[Signature, Unreadable | None]:
    """
    The signature of an entry as it is now, and why it cannot be read if that can be seen from outside.

    Raises FileNotFoundError if there is no such entry, OSError if nothing can be said of it.
    """
    try:
        found = os.stat(filename, dir_fd=directory, follow_symlinks=follow)
    except FileNotFoundError:
        found = os.lstat(filename, dir_fd=directory)  # raises, or there is a link, or a file that has just appeared
        if stat.S_ISLNK(found.st_mode):
            return signature(found), Unreadable("a symbolic link to nothing")
    return signature(found), _refusal(found)


def signature(found: os.stat_result) -> Signature:
    """What of ``found`` changes whenever the content does."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _refusal(found: os.stat_result) -> Unreadable | None:
    if stat.S_ISREG(found.st_mode):
        return None
    return Unreadable(next((f"{kind}, not a file" for is_kind, kind in _KINDS if is_kind(found.st_mode)), "not a file"))


def read(
    directory: int, filename: str, limit: int, require: Callable[[int, os.stat_result], None], *, follow: bool
) -> tuple[Signature, Content]:
    """
    What an entry holds, never blocking and never more than ``limit`` bytes, and its signature from before the reading.

    ``require`` is asked about the very file that is then read. Raises what that raises, and OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(filename, flags, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if refusal := _refusal(found):
            return signature(found), refusal
        require(descriptor, found)
        data = b""
        while len(data) <= limit and (chunk := os.read(descriptor, limit + 1 - len(data))):
            data += chunk
    finally:
        os.close(descriptor)
    if len(data) > limit:
        return signature(found), Unreadable(f"larger than {limit} bytes")
    return signature(found), Readable(data)


@attrs.define
class _Entry:
    """What was last found under one name: no signature if it must be read again whatever that is."""

    signature: Signature | None
    content: Content
    missed: float | None = None


def _is_as_it_was(directory: int, name: str, entry: _Entry) -> bool:
    """What a slow look finds of almost every file, and so finds fast."""
    if entry.signature is None or entry.missed is not None:
        return False
    try:
        return signature(os.stat(name, dir_fd=directory)) == entry.signature
    except OSError:
        return False


class Watch:
    """
    Looks at one directory, again and again.

    ``clock`` is monotonic, ``wall`` tells the time that files are stamped with; both in seconds.
    """

    def __init__(
        self,
        path: str,
        limit: int,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        identity: Identity | None = None,
        ownership: Ownership | None = None,
    ) -> None:
        """``identity`` is that of the directory when somebody before us last saw files in it; None if nobody did."""
        self._path = path
        self._ownership = ownership or Ownership()
        self._limit = limit
        self._clock = clock
        self._wall = wall
        self._entries: dict[str, _Entry] = {}
        self._unsure: dict[str, float] = {}
        self.identity = identity
        self._known_before = identity is not None

    @property
    def again_at(self) -> float | None:
        """When another look at `unsure` is due, as what was found may change without a sign; None if never."""
        return min(self._unsure.values(), default=None)

    @property
    def unsure(self) -> frozenset[str]:
        """The files that the next look must not pass over."""
        return frozenset(self._unsure)

    def look(self, names: Collection[str] | None = None) -> Listing:
        """
        What changed since the look before, among ``names`` or (None) everything.

        Raises Unseen; the directory's being another one than before and empty is such a case (an unmounted volume).
        """
        directory = open_directory(self._path)
        try:
            self._require_directory(directory)
            return self._look(directory, names)
        finally:
            os.close(directory)

    def _require_directory(self, directory: int) -> None:
        try:
            self._ownership.require_directory(self._path, directory)
            self._ownership.note_group("directory", self._path, os.fstat(directory))
        except Untrusted as untrusted:
            raise Unseen(str(untrusted)) from None
        except OSError as error:
            raise Unseen(f"cannot tell who may write {self._path}: {error.strerror}") from None

    def _require_file(self, name: str, descriptor: int, found: os.stat_result) -> None:
        path = os.path.join(self._path, name)
        self._ownership.require_file(path, descriptor, found)
        self._ownership.note_group("file", path, found)

    def _look(self, directory: int, names: Collection[str] | None) -> Listing:
        found = os.fstat(directory)
        identity = found.st_dev, found.st_ino
        ignored: frozenset[str] | None = None
        if names is None or identity != self.identity:
            entries = list_directory(directory, self._path)
            # What was ever looked at is no litter: the rule is a tenth of what a slow look costs.
            there = [name for name in entries if name in self._entries or not check.is_ignored(name)]
            ignored = frozenset(entries).difference(there)
            if there or self.identity is None:
                self.identity = identity
                self._known_before = False
            elif identity != self.identity and (self._entries or self._known_before):
                raise Unseen(f"{self._path} is another directory than before, and empty")
            names = {*there, *self._entries}
        else:
            names = [name for name in names if not check.is_ignored(name)]
        now = self._clock()
        changed: dict[str, Content] = {}
        missing, absent = set(), set()
        for name in names:
            entry = self._entries.get(name)
            if entry is not None and _is_as_it_was(directory, name, entry):
                continue
            self._unsure.pop(name, None)
            try:
                content = self._look_at(directory, name, now)
            except FileNotFoundError:
                if entry is None:
                    continue
                if entry.missed is None:
                    entry.missed = now
                    missing.add(name)
                absent.add(name)
                self._unsure[name] = entry.missed + CONFIRM
            else:
                if content is not None:
                    changed[name] = content
        return Listing(changed, frozenset(missing), self._gone(absent, now), ignored)

    def _gone(self, absent: Collection[str], now: float) -> frozenset[str]:
        """Those that have been missing for long enough; what is missed in between puts it off, for a while."""
        unsure = (self._entries.get(name) for name in self._unsure)
        last = max((entry.missed for entry in unsure if entry and entry.missed is not None), default=now)
        gone = set()
        for name in absent:
            missed = self._entries[name].missed
            assert missed is not None, "it is absent"
            due = min(max(missed, last) + CONFIRM, missed + LATEST)
            if now >= due:
                del self._entries[name]
                del self._unsure[name]
                gone.add(name)
            else:
                self._unsure[name] = due
        return frozenset(gone)

    def _look_at(self, directory: int, name: str, now: float) -> Content | None:
        """Its content if that is news. Raises FileNotFoundError."""
        entry = self._entries.get(name)
        known: Signature | None = None
        content: Content
        try:
            known, refusal = sign(directory, name, follow=True)
            if entry is not None and entry.signature == known and entry.missed is None:  # a link to nothing, still
                return None
            if refusal is not None:
                content = refusal
            else:
                known, content = read(directory, name, self._limit, partial(self._require_file, name), follow=True)
                if abs(self._wall() - known[4] / 1e9) < _YOUNG:
                    known = None
                    self._unsure[name] = now + CONFIRM
        except FileNotFoundError:
            raise
        except Untrusted as untrusted:  # to change that is to change the file's ctime
            content = Unreadable(str(untrusted))
        except OSError as error:
            known, content = None, Unreadable(f"cannot be read: {error.strerror}")
        news = entry is None or entry.missed is not None or entry.content != content
        self._entries[name] = _Entry(known, content)
        return content if news else None
