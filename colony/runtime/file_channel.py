"""The way from one process's output to its log files, as the spawner sees it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

from colony.core.model import LogPolicy
from colony.runtime.awaited import AwaitedLine
from colony.runtime.log_writer import LogWriter
from colony.runtime.logs import open_pipe
from colony.runtime.splice import CHUNK, capacity
from colony.runtime.stream import Stream

_KINDS = ("stdout", "stderr")
"""What there may be one of each; the second only with ``split``."""


class FileChannel:
    """
    What a `Channel` is for what goes to the supervisor's own log alone; the reading is left to the writer's thread.

    With ``split`` there are two of everything.
    """

    def __init__(
        self,
        writer: LogWriter,
        name: str,
        policy: LogPolicy,
        path: str | None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Make it: a FIFO at ``path``, or a plain pipe. Raises OSError; nothing is left then."""
        self._writer = writer
        self._is_plain = self.is_fragile = path is None
        self._streams: list[Stream] = []
        self._child: list[int] = []
        self._awaited: AwaitedLine | None = None
        try:
            for kind in _KINDS[: 1 + policy.split]:
                at = _path(path, kind)
                reading, writing = open_pipe(at, owner)
                self._child.append(writing)
                holds = _sized(reading, policy.buffer)
                self._streams.append(_stream(writer, name, kind, reading, at, holds, policy))
        except OSError:
            self.abandon()
            raise

    @classmethod
    def of_survivor(cls, writer: LogWriter, name: str, policy: LogPolicy, path: str | None) -> FileChannel:
        """The one that what was started before us still writes to. Raises nothing."""
        channel = cls.__new__(cls)
        channel._writer = writer
        channel._is_plain = channel.is_fragile = False
        channel._child = []
        channel._awaited = None
        # What there are is what it was started with, whatever its file says now.
        kinds = [kind for kind in _KINDS if kind == "stdout" or os.path.lexists(_path(path, kind) or "")]
        channel._streams = [_stream(writer, name, kind, -1, _path(path, kind), CHUNK, policy) for kind in kinds]
        return channel

    @property
    def child_fd(self) -> int:
        """What the child has for its standard output."""
        return self._child[0]

    @property
    def child_error_fd(self) -> int:
        """What the child has for its standard error."""
        return self._child[-1]

    @property
    def awaited(self) -> AwaitedLine | None:
        """What is waited for in its output."""
        return self._awaited

    @awaited.setter
    def awaited(self, awaited: AwaitedLine | None) -> None:
        self._awaited = awaited
        for stream in self._streams:
            stream.awaited = awaited

    @property
    def partial(self) -> bytes:
        """Nothing: whoever goes on finds it in the file."""
        return b""

    def on_full(self, told: Callable[[], None]) -> None:
        """Have it told, in a later turn, that the pipe was full; `start` comes after."""
        for stream in self._streams:
            stream.on_full = told

    def start(self) -> None:
        """The child has its ends now: have what comes written."""
        self._close_plain()
        self._writer.add(self._streams)

    def abandon(self) -> None:
        """There will be no child."""
        self._close_plain()
        for stream in self._streams:
            stream.close()

    def drain(self) -> None:
        """The main has ended."""
        self._writer.hurry(self._streams)

    def flush(self, pid: int | None = None) -> None:
        """Nobody is left to write; before the next start's is added. ``pid`` is whose last words these are."""
        self._writer.end(self._streams, pid)

    def close(self) -> None:
        """The thread does that."""

    def _close_plain(self) -> None:
        if self._is_plain:
            for descriptor in self._child:
                os.close(descriptor)


def _path(path: str | None, kind: str) -> str | None:
    return path if path is None or kind == "stdout" else f"{path}.err"


def _stream(
    writer: LogWriter, name: str, kind: str, descriptor: int, path: str | None, capacity: int, policy: LogPolicy
) -> Stream:
    log_path = writer.path(name, kind)
    assert log_path is not None, "the spawner has asked"
    file = writer.file(name, log_path, policy, goes_on=descriptor < 0)
    relay = writer.relay if policy.relay else None
    return Stream(name, kind, descriptor, path, capacity, file, relay, writer.glass, writer.reactor.callFromThread)


def _sized(descriptor: int, size: int) -> int:
    """Have the pipe hold so many bytes; returns how many it does."""
    if size != CHUNK and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # whoever has many pipes may have none larger
            return fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
    return capacity(descriptor)
