"""The STATE directory: what outlasts a supervisor, and what it answers."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

import attrs
from twisted.logger import Logger

from colony import atomic
from colony.core import check
from colony.core.model import Answer, Name, Rest, timestamp
from colony.runtime import proc
from colony.runtime.records import Records, head

log = Logger(namespace="colony")

ANSWERS_KEPT = 1000
ANSWERS_AGE = 3600.0
"""Seconds an answer stays, and how many do; whoever asked looks within ten."""


_SEEN = ".seen"
"""Among the specs, and no name of one."""


@attrs.frozen
class Modes:
    """Who may read what is told: the modes of directories and files, and their group (None: as it comes)."""

    directory: int
    file: int
    group: int | None


def modes(messages: os.stat_result) -> Modes:
    """If the group of MESSAGES may write there, it may read what is told; otherwise only we may."""
    if messages.st_mode & stat.S_IWGRP:
        return Modes(0o750, 0o640, messages.st_gid)
    return Modes(0o700, 0o600, None)


class StateDirectory:
    """
    STATE.

    Without one (`open` raised) everything here does nothing: nothing is remembered, and nobody is answered.
    ``later`` does something that has a name and need not be waited for, in the order asked, outside the reactor's
    thread, and says what failed; ``wall`` tells the time.
    """

    def __init__(
        self,
        path: str,
        later: Callable[[str, Callable[[], None]], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.available = False
        self.modes = Modes(0o700, 0o600, None)
        self._later = later
        self._wall = wall
        self._answered = 0
        self._kept: dict[Name, bytes] = {}
        self._seen: tuple[int, int] | None = None
        self.records = Records(lambda: os.path.join(self.path, "records") if self.available else None)

    def open(self, messages: str) -> None:
        """
        Make what is missing, and take the modes that MESSAGES asks for.

        Raises OSError; colony then runs without.
        """
        with suppress(OSError):  # not there yet: then nobody else may read what is told
            self.modes = modes(os.stat(messages))
        for folder in ("", "status", "answers"):
            self._make(folder, self.modes.directory, self.modes.group)
        for folder in ("pipes", "specs", "stops", "records", "logs"):
            self._make(folder, 0o700, None)
        if not os.access(self.path, os.W_OK):  # a read-only mount
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.path)
        self.available = True  # also on a disk that is full: what is there already can be read, and must be obeyed

    def identify(self) -> None:
        """Say who we are. Raises OSError."""
        if self.available:
            self._write("lock", self._identity(), 0o600)

    def _make(self, folder: str, mode: int, group: int | None) -> None:
        path = os.path.join(self.path, folder).rstrip("/")
        os.makedirs(path, 0o700, exist_ok=True)
        with suppress(PermissionError):  # somebody else's directory, in which we may write all the same
            if group is not None:
                os.chown(path, -1, group)
            os.chmod(path, mode)

    def _identity(self) -> dict[str, object]:
        own = proc.stat(os.getpid())
        return {
            "pid": os.getpid(),
            "start_time": None if own is None else own.start_time,
            "boot_id": proc.boot_id(),
        }

    def _write(self, name: str, value: object, mode: int, group: int | None = None, *, durable: bool = False) -> None:
        data = json.dumps(value).encode()
        atomic.write(os.path.join(self.path, name), data, mode=mode, group=group, durable=durable)

    def point(self, messages: str) -> None:
        """Say in MESSAGES where STATE is. Raises OSError."""
        data = self.path.encode() + b"\n"
        pointer = os.path.join(messages, ".state")
        if head(pointer, len(data) + 1) == data:
            return
        atomic.write(pointer, data, mode=stat.S_IMODE(os.stat(messages).st_mode) & 0o644, durable=False)

    def pipes(self) -> str | None:
        """Where FIFOs are made; None if nowhere."""
        return os.path.join(self.path, "pipes") if self.available else None

    def logs(self) -> str | None:
        """Where log files are; None if nowhere."""
        return os.path.join(self.path, "logs") if self.available else None

    def clear_pipes(self, keep: Collection[str] = ()) -> None:
        """Remove the FIFOs of processes that are no more; those of the tokens ``keep`` are in use."""
        starts = {token.rpartition(".")[2] for token in keep}
        for path in self._entries("pipes"):
            if path.removesuffix(".err").rpartition(".")[2] in starts:
                continue
            with suppress(OSError):
                os.unlink(path)

    def _entries(self, folder: str) -> Iterator[str]:
        if self.available:
            with suppress(OSError):
                for entry in os.listdir(os.path.join(self.path, folder)):
                    yield os.path.join(self.path, folder, entry)

    # -- what outlasts us

    def remembered(self) -> Mapping[Name, bytes]:
        """The last good bytes of each name, from before."""
        for path in self._entries("specs"):
            name = os.path.basename(path)
            if check.name_problem(name) is None:
                source = head(path, check.MAX_SPEC_BYTES + 1)
                if source is not None:
                    self._kept[Name(name)] = source
        return dict(self._kept)

    def seen(self) -> tuple[int, int] | None:
        """Device and inode of CONFIG when files were last seen in it, also by a supervisor before; None if unknown."""
        with suppress(ValueError, TypeError, KeyError):
            value = json.loads(head(os.path.join(self.path, "specs", _SEEN), 1024) or b"")
            self._seen = int(value["device"]), int(value["inode"])
        return self._seen

    def keep_seen(self, identity: tuple[int, int] | None) -> None:
        """Remember that; an empty directory is believed only if it is the same one."""
        if identity is None or identity == self._seen or not self.available:
            return
        self._seen = identity
        value = {"device": identity[0], "inode": identity[1]}
        self._later("remember where CONFIG was", lambda: self._write(f"specs/{_SEEN}", value, 0o600))

    def held(self) -> frozenset[Name]:
        """The names that a STOP is in force for."""
        names = (os.path.basename(path).removesuffix(".json") for path in self._entries("stops"))
        return frozenset(Name(name) for name in names if check.name_problem(name) is None)

    def keep_specs(self, specs: Mapping[Name, bytes]) -> None:
        """Remember good bytes, on the disk before long; what fails is said, and costs only the memory."""
        news = {name: source for name, source in specs.items() if self._kept.get(name) != source}
        self._kept.update(news)
        if not news or not self.available:
            return

        def write() -> None:
            failed: OSError | None = None
            for name, source in news.items():
                try:
                    atomic.write(os.path.join(self.path, "specs", name), source, mode=0o600, durable=False)
                except OSError as error:  # the others are remembered all the same
                    failed = error
            _sync(self.path)  # once for all of them: a thousand at a start would be thousands
            if failed is not None:
                raise failed

        self._later("remember specs", write)

    def forget(self, name: Name) -> None:
        """Its file is gone, so are its last good bytes and its STOP."""
        self._kept.pop(name, None)
        self.records.forget(name)
        if not self.available:
            return

        def remove() -> None:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, "specs", name))

        # In the same queue as the writing, so that neither overtakes the other.
        self._later("forget a spec", remove)
        with suppress(OSError):
            self.release(name)

    def hold(self, name: Name, by: str | None) -> None:
        """A STOP is in force, for good when this returns. Raises OSError."""
        if self.available:
            self._write(f"stops/{name}.json", {"by": by, "at": self._now()}, 0o600, durable=True)

    def release(self, name: Name) -> None:
        """No STOP is in force any more. Raises OSError."""
        if self.available:
            with suppress(FileNotFoundError):
                atomic.remove(os.path.join(self.path, "stops", f"{name}.json"))

    def doom(self, name: Name) -> None:
        """What runs of that name is to be replaced."""
        self.records.doom(name)

    def said(self, name: Name) -> None:
        """It has told of being ready, and will not do so again."""
        self.records.said(name)

    def again(self, name: Name) -> None:
        """Nothing ran of that name, as far as a later supervisor is to know."""
        self.records.forget(name)

    def rest(self, name: Name, digest: str, rest: Rest) -> None:
        """What was started by that spec does not run, why, and until when."""
        self.records.rest(name, digest, rest)

    # -- what is answered

    def answer(self, filename: str, kind: str | None, by: str | None, answer: Answer) -> None:
        """Say what became of a message."""
        if not self.available:
            return
        if self._answered % 100 == 0:
            self._prune_answers()
        self._answered += 1
        value = {
            "ok": answer.code == 0,
            "code": answer.code,
            "error": answer.error,
            "type": kind,
            "names": list(answer.names),
            "by": by,
            "at": self._now(),
        }
        try:
            self._write(f"answers/{filename}.json", value, self.modes.file, self.modes.group)
        except OSError as error:
            log.warn("cannot answer message {filename}: {error}", filename=filename, error=error.strerror)

    def _prune_answers(self) -> None:
        ages = []
        for path in self._entries("answers"):
            with suppress(OSError):
                ages.append((self._wall() - os.stat(path).st_mtime, path))
        ages.sort()
        for index, (age, path) in enumerate(ages):
            if index >= ANSWERS_KEPT or age > ANSWERS_AGE:
                with suppress(OSError):
                    os.unlink(path)

    def _now(self) -> str:
        return timestamp(self._wall())


def _sync(path: str) -> None:
    """Have the file system of ``path`` written out (syncfs(2)); nothing more, should the C library not have that."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ctypes.CDLL(None).syncfs(descriptor)
        finally:
            os.close(descriptor)
