"""Takes message files in the order of their names: obeyed, answered, then removed; each at least once."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
from twisted.logger import Logger

from colony.core import check, wire
from colony.core.desired import Readable
from colony.core.model import Answer, Message, NotYet
from colony.runtime.ownership import Ownership, Untrusted
from colony.runtime.watch import Signature, list_directory, open_directory, read, sign

log = Logger(namespace="colony")

PATIENCE_UNKNOWN = 2.0
"""Seconds that a message about an unknown name waits for the name's file to appear."""

PATIENCE_BROKEN = 60.0
"""Seconds that a message that is not whole JSON has to become it."""

RETRY = 1.0
"""Seconds after which a message that could not be read is tried again."""

BATCH = 100
"""Messages handled in one go; the rest waits until others have had their turn."""

FEW = 5
"""Messages found at once that are no flood: each of them gets what it asks for without delay."""

PAUSE = 0.05
MAX_PAUSE = 1.0
"""Seconds from one listing of a flood to the next: from the one, doubling, to the other; one listing, one restart."""

MANY = 10_000
"""Messages taken from one listing; what is looked at in one go is bounded."""

_BAD = ".bad"
_BAD_KEPT = 100
_MAX_FILENAME_BYTES = 240
"""The answer's file is called the same and ``.json``, and a file's name has at most 255 bytes."""


@attrs.frozen
class _Refusal:
    """
    Why a message cannot be obeyed as it is, and for how many seconds that may yet change.

    ``unread`` if nothing is known of its content, so that it may be a good one as it stands (no descriptors, EIO).
    """

    answer: Answer
    patience: float
    kind: str | None = None
    by: str | None = None
    unread: bool = False


@attrs.frozen
class _Pending:
    """A message that stays for now: what it looked like, since when, and why; None if only its removal failed."""

    signature: Signature
    since: float
    refusal: _Refusal | None


class Inbox:
    """
    One directory of messages.

    ``obey`` acts on a message and says what became of it; ``answer`` makes that known under the message's file name,
    with its type and who asked. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        path: str,
        obey: Callable[[Message], Answer | NotYet],
        answer: Callable[[str, str | None, str | None, Answer], None],
        clock: Callable[[], float],
        ownership: Ownership | None = None,
    ) -> None:
        """``ownership`` judges who may ask where everybody may write; elsewhere the directory's mode says who may."""
        self._path = path
        self._ownership = ownership or Ownership()
        self._judged = False
        self._obey = obey
        self._answer = answer
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._queue: deque[tuple[str, Signature | None]] = deque()
        self._listed = self._list_at = -math.inf
        self._pause = 0.0
        self._postponed = self._are_more = False

    @property
    def again_at(self) -> float | None:
        """When a message that waits is to be looked at though nothing happens; None if there is none."""
        waiting = ((p.since, p.refusal) for p in self._pending.values() if p.refusal is not None)
        due = [self._clock() + RETRY if r.unread else since + r.patience for since, r in waiting]
        return min([*due, self._list_at] if self._postponed else due, default=None)

    def look(self) -> bool:
        """
        Handle up to `BATCH` messages; returns whether some are left. Raises Unseen.

        While a flood goes on, what is new is looked for at longer and longer intervals only (see `again_at`).
        """
        if not self._queue and self._clock() < self._list_at:
            self._postponed = True
            return False
        directory = open_directory(self._path)
        try:
            self._judged = self._ownership.everybody_may_write(directory)
            if not self._queue:
                self._list(directory)
            for _ in range(min(BATCH, len(self._queue))):
                filename, listed = self._queue.popleft()
                try:
                    self._handle(directory, filename, listed)
                except FileNotFoundError:
                    self._pending.pop(filename, None)
                except Exception:
                    # Ours to mend, but no reason to be deaf to the next message.
                    log.failure("cannot handle message {filename}", filename=filename)
            self._postponed = self._are_more and not self._queue
            return bool(self._queue)
        finally:
            os.close(directory)

    def _list(self, directory: int) -> None:
        there = sorted(f for f in list_directory(directory, self._path) if not check.is_ignored(f))
        for name in set(self._pending).difference(there):
            del self._pending[name]
        is_flood = len(there) - len(self._pending) > FEW
        self._pause = min(max(PAUSE, 2 * self._pause), MAX_PAUSE) if is_flood else 0.0
        self._queue.extend((filename, _sign(directory, filename)) for filename in there[:MANY])
        self._listed = self._clock()  # afterwards: what has these signatures was there before
        self._list_at = self._listed + self._pause
        self._are_more = len(there) > MANY

    def _handle(self, directory: int, filename: str, listed: Signature | None) -> None:
        known, outside = sign(directory, filename, follow=False)
        pending = self._pending.get(filename)
        if pending is not None and pending.refusal is None and pending.signature[:-1] == known[:-1]:
            self._remove(directory, filename, known)  # whatever was done to its mode or links since
            return
        if pending is not None and pending.signature != known:
            pending = None  # it has changed: a new message, as far as we can tell
        waits = None if pending is None else pending.refusal
        waited = 0.0 if pending is None else self._clock() - pending.since
        if waits is not None and waits.patience == PATIENCE_BROKEN and not waits.unread:
            if waited >= waits.patience:
                self._set_aside(directory, filename, known, waits)
            return
        known, found = (known, _broken(outside.reason)) if outside else self._read(directory, filename, known)
        if isinstance(found, Message):
            # What was written over since may be a later wish.
            seen = self._listed if known == listed else self._clock()
            verdict = self._obey(attrs.evolve(found, seen=seen))
            if isinstance(verdict, Answer):
                self._finish(directory, filename, known, found.kind, found.by, verdict)
                return
            found = _Refusal(verdict.otherwise, PATIENCE_UNKNOWN, found.kind, found.by)
        overdue = waits is not None and waits.patience == found.patience and waited >= found.patience
        if overdue and found.patience == PATIENCE_BROKEN:
            self._set_aside(directory, filename, known, found)
        elif overdue or found.patience == 0:
            self._finish(directory, filename, known, found.kind, found.by, found.answer)
        elif waits is None or (waits.patience, waits.unread) != (found.patience, found.unread):
            if found.patience == PATIENCE_BROKEN:
                log.warn("message {filename} not obeyed: {error}", filename=filename, error=found.answer.error)
            self._pending[filename] = _Pending(known, self._clock(), found)

    def _read(self, directory: int, filename: str, known: Signature) -> tuple[Signature, Message | _Refusal]:
        if len(os.fsencode(filename)) > _MAX_FILENAME_BYTES:
            return known, _broken(f"its file's name is longer than {_MAX_FILENAME_BYTES} bytes")
        try:
            require = partial(self._require, filename)
            known, content = read(directory, filename, check.MAX_MESSAGE_BYTES, require, follow=False)
        except FileNotFoundError:
            raise
        except Untrusted as untrusted:
            return known, _Refusal(Answer(code=1, error=str(untrusted)), 0.0)
        except OSError as error:
            return known, attrs.evolve(_broken(f"cannot be read: {error.strerror}"), unread=True)
        if not isinstance(content, Readable):
            return known, _broken(content.reason)
        try:
            return known, wire.parse_message(content.data)
        except wire.Invalid as invalid:
            patience = 0.0 if invalid.whole else PATIENCE_BROKEN
            return known, _Refusal(Answer(code=1, error=str(invalid)), patience, invalid.kind, invalid.by)

    def _require(self, filename: str, descriptor: int, found: os.stat_result) -> None:
        if self._judged:
            self._ownership.require_file(os.path.join(self._path, filename), descriptor, found)

    def _finish(
        self, directory: int, filename: str, known: Signature, kind: str | None, by: str | None, answer: Answer
    ) -> None:
        """It has been acted on: say so, then remove it, so that a crash in between acts again rather than never."""
        if answer.error is not None:
            log.warn(
                "message {filename} ({kind}) refused: {error}",
                filename=filename,
                kind=kind or "no type",
                error=answer.error,
            )
        self._answer(filename, kind, by, answer)
        self._remove(directory, filename, known)

    def _remove(self, directory: int, filename: str, known: Signature) -> None:
        try:
            os.unlink(filename, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._stays(filename, known, error)
            return
        self._pending.pop(filename, None)

    def _set_aside(self, directory: int, filename: str, known: Signature, refusal: _Refusal) -> None:
        self._answer(filename, refusal.kind, refusal.by, refusal.answer)
        try:
            bad = _open_bad(directory)
        except OSError as error:
            self._stays(filename, known, error)
            return
        try:
            os.rename(filename, filename, src_dir_fd=directory, dst_dir_fd=bad)
            _prune(bad, _BAD_KEPT)
        except OSError as error:
            self._stays(filename, known, error)
            return
        finally:
            os.close(bad)
        self._pending.pop(filename, None)
        log.warn(
            "message {filename} set aside in {bad}: {error}", filename=filename, bad=_BAD, error=refusal.answer.error
        )

    def _stays(self, filename: str, known: Signature, error: OSError) -> None:
        if filename not in self._pending or self._pending[filename].refusal is not None:
            log.warn(
                "message {filename} cannot be removed, and is not obeyed again: {error}",
                filename=filename,
                error=error.strerror,
            )
        self._pending[filename] = _Pending(known, self._clock(), None)


def _sign(directory: int, filename: str) -> Signature | None:
    with suppress(OSError):
        return sign(directory, filename, follow=False)[0]
    return None


def _broken(reason: str) -> _Refusal:
    return _Refusal(Answer(code=1, error=reason), PATIENCE_BROKEN)


def _open_bad(directory: int) -> int:
    """
    The place for what is set aside, made if it is missing. Raises OSError.

    Never by a link: who may write here would lead us to move and remove files anywhere.
    """
    with suppress(FileExistsError):
        os.mkdir(_BAD, 0o700, dir_fd=directory)
    return os.open(_BAD, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _prune(directory: int, keep: int) -> None:
    """Leave the newest ``keep`` entries; what cannot be removed stays."""
    with suppress(OSError), os.scandir(directory) as entries:
        oldest_first = sorted(entries, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns)
        for entry in oldest_first[: max(0, len(oldest_first) - keep)]:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    os.rmdir(entry.name, dir_fd=directory)
                else:
                    os.unlink(entry.name, dir_fd=directory)
