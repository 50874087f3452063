"""Compresses log files that nobody writes to any more, a slice at a time, so that nothing waits for long."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator
from contextlib import suppress

from twisted.logger import Logger

log = Logger(namespace="colony")

_SLICE = 262_144
"""Bytes compressed in one step: some ten milliseconds."""

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to ask for gzip's format."""


class Compressor:
    """What is to be compressed, in order: ``PATH`` becomes ``PATH.gz``. For one thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._now: Generator[None, None, None] | None = None
        self._said: int | None = None

    @property
    def busy(self) -> bool:
        """Is there something to do?"""
        return bool(self._waiting)

    def add(self, path: str, log_path: str) -> None:
        """Have ``path`` compressed, which is one of the old files of that log."""
        self._waiting.setdefault(path, log_path)

    def step(self) -> None:
        """Do a little of it."""
        if not self._waiting:
            return
        path = next(iter(self._waiting))
        if self._now is None:
            self._now = _compress(path)
        try:
            next(self._now)
        except StopIteration:
            self._said = None
        except OSError as error:  # it stays as it is, and is tried again when the log is rotated the next time
            if self._said != error.errno:
                log.warn("cannot compress {path}: {error}", path=path, error=error.strerror)
            self._said = error.errno
        else:
            return
        self._now = None
        del self._waiting[path]

    def settle(self, log_path: str) -> None:
        """Finish what is to be done for that log: its old files are about to get other names."""
        while log_path in self._waiting.values():
            self.step()

    def close(self) -> None:
        """Do no more; what is half done is undone."""
        if self._now is not None:
            self._now.close()
            self._now = None
        self._waiting.clear()


def _compress(path: str) -> Generator[None, None, None]:
    """A step at a time. Raises OSError: ``path`` is as it was."""
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}.gz.new")
    try:
        with open(path, "rb") as source, open(_made(new), "wb") as target:
            packing = zlib.compressobj(wbits=_GZIP)
            while data := source.read(_SLICE):
                target.write(packing.compress(data))
                yield
            target.write(packing.flush())
            found = os.fstat(source.fileno())
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))  # when something was last said in it
        os.rename(new, f"{path}.gz")
        os.unlink(path)
    except BaseException:  # also where it is given up in the midst
        with suppress(OSError):
            os.unlink(new)
        raise


def _made(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
