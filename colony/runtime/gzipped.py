"""Compresses log files that nobody writes to any more, a slice at a time, so that nothing waits for long."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Generator
from contextlib import suppress

from twisted.logger import Logger

log = Logger(namespace="colony")

_SLICE = 262_144
"""Bytes compressed in one step: some ten milliseconds."""

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to ask for gzip's format."""

_ENDING = ".gz.new"
"""Of the name of what is half compressed, after a leading dot, which no log file has."""


class _Old:
    """A file that is to be compressed; ``path`` None: it is no more."""

    def __init__(self, path: str) -> None:
        self.path: str | None = path


class Compressor:
    """
    What is to be compressed, in order: ``PATH`` becomes ``PATH.gz``. For one thread.

    Who renames or removes such a file meanwhile says so, and waits for nothing.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Old] = deque()
        self._known: dict[str, _Old] = {}
        self._packing: Generator[bool, None, None] | None = None
        self._new = ""
        self._said: int | None = None

    @property
    def busy(self) -> bool:
        """Is there something to do?"""
        return bool(self._waiting)

    def add(self, path: str) -> None:
        """Have ``path`` compressed, if that is not to be done already."""
        if path not in self._known:
            self._known[path] = old = _Old(path)
            self._waiting.append(old)

    def renamed(self, path: str, to: str) -> None:
        """That file has another name."""
        old = self._known.pop(path, None)
        if old is not None:
            old.path = to
            self._known[to] = old

    def removed(self, path: str) -> None:
        """There is no such file any more."""
        old = self._known.pop(path, None)
        if old is not None:
            old.path = None
            if old is self._waiting[0]:
                self.pause()

    def step(self) -> None:
        """Do a little of it."""
        if not self._waiting:
            return
        path = self._waiting[0].path
        if path is not None:
            try:
                if not self._pack(path):
                    return
                self._said = None
            except OSError as error:  # it stays as it is, and is tried again when the log is rotated the next time
                if self._said != error.errno:
                    log.warn("cannot compress {path}: {error}", path=path, error=error.strerror)
                self._said = error.errno
            del self._known[path]
        self.pause()
        self._waiting.popleft()

    def pause(self) -> None:
        """What is half done is undone, and begun anew with the next step."""
        if self._packing is not None:
            self._packing.close()
            self._packing = None
            with suppress(OSError):
                os.unlink(self._new)

    def _pack(self, path: str) -> bool:
        """A slice of it; returns whether that was all. Raises OSError: ``path`` is as it was."""
        if self._packing is None:
            self._new = _new(path)
            self._packing = _packed(path, self._new)
        if not next(self._packing):
            return False
        os.rename(self._new, f"{path}.gz")
        os.unlink(path)
        return True


def sweep(folder: str) -> None:
    """Remove what a kill has left half compressed in ``folder``, while nothing is compressed there."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(".") and name.endswith(_ENDING):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def _new(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{_ENDING}")


def _packed(path: str, new: str) -> Generator[bool, None, None]:
    """Have ``path`` compressed in ``new``, a slice a step; yields whether that was all. Raises OSError."""
    with open(path, "rb") as source, open(_made(new), "wb") as target:
        packing = zlib.compressobj(wbits=_GZIP)
        while data := source.read(_SLICE):
            target.write(packing.compress(data))
            yield False
        target.write(packing.flush())
        found = os.fstat(source.fileno())
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))  # when something was last said in it
    yield True


def _made(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
