"""Where the output of a process goes: a pipe made for survival, and from it into the supervisor's own log."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorFromThreads, IReactorTime, IReadDescriptor
from twisted.logger import Logger, formatTime, jsonFileLogObserver, textFileLogObserver
from twisted.python.failure import Failure
from zope.interface import implementer

from colony.core.model import timestamp
from colony.runtime.awaited import AwaitedLine
from colony.runtime.splice import CHUNK, is_full, unread

log = Logger(namespace="colony")

# Any is what usage.Options maps to.

MAX_PIPE = 1_048_576
"""The most that a pipe holds (/proc/sys/fs/pipe-max-size, unless root has raised it)."""

MAX_LINE = 262_144
"""Bytes of a line that are waited for; what is longer goes out in pieces of that size, each a line of its own."""

RETRY = 0.1
MAX_RETRY = 5.0
"""Seconds after which a pipe that could not be opened or read is tried again: from the one, doubling, to the other."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_HARMLESS = bytes((0x09, 0x0A, *range(0x20, 0x7F)))


def readable(data: bytes) -> str:
    """Text that does no harm on a terminal: control characters, and bytes that are no UTF-8, as escapes."""
    if not data.translate(None, _HARMLESS):  # nothing else is in it; ten times quicker than a search for some
        return data.decode("ascii")
    text = data.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: match[0].translate(_ESCAPES), text)  # by runs: a flood of NUL is one


class Relay(Protocol):
    """Takes output for people and machines to read beside what the supervisor itself says."""

    def lines(self, name: str, data: bytes, stream: str = "stdout") -> None:
        """Take whole lines of that process, the last one ending in a newline too. In whatever thread."""


class TextRelay:
    """``TIME [NAME] line``, prefixed in bulk: one time stamp a chunk, as Twisted's own lines have it."""

    def __init__(self, write: Callable[[bytes], None], wall: Callable[[], float] = time.time) -> None:
        self._write = write
        self._wall = wall

    def lines(self, name: str, data: bytes, stream: str = "stdout") -> None:
        """Take whole lines."""
        prefix = f"{formatTime(self._wall())} [{name}] "
        text = readable(data).removesuffix("\n").replace("\n", "\n" + prefix)
        self._write(f"{prefix}{text}\n".encode())


class JsonRelay:
    """One object ``{"time", "name", "stream", "line"}`` a line."""

    def __init__(self, write: Callable[[bytes], None], wall: Callable[[], float] = time.time) -> None:
        self._write = write
        self._wall = wall

    def lines(self, name: str, data: bytes, stream: str = "stdout") -> None:
        """Take whole lines; control characters are JSON's to escape, bytes that are no UTF-8 become ``\\xff``."""
        start = json.dumps({"time": timestamp(self._wall()), "name": name, "stream": stream})[:-1] + ', "line": '
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace").removesuffix("\n")
        self._write("".join(f"{start}{json.dumps(line)}}}\n" for line in text.split("\n")).encode())


def relay_for(parent: Any, argv: list[str], write: Callable[[bytes], None]) -> Relay:
    """
    Where output goes, by ``write``: among the log that ``parent`` (twist's or twistd's options) has, in its format.

    twist writes JSON by itself where standard output is no terminal; we do only where asked to (--log-format=json), and
    then without the record separator that line-wise readers choke on.
    """
    asked = any(argument.startswith("--log-fo") for argument in argv)
    if parent is not None and parent.get("logFormat") is not None:
        if asked and parent["logFormat"] == "json":
            parent["fileLogObserverFactory"] = partial(jsonFileLogObserver, recordSeparator="")
            return JsonRelay(write)
        parent["fileLogObserverFactory"] = textFileLogObserver
        parent["logFormat"] = "text"
    return TextRelay(write)


class IReactor(IReactorFDSet, IReactorTime, IReactorFromThreads):
    """What needs descriptors, time and other threads; every Twisted reactor has them."""


class Lines:
    """Makes whole lines of chunks; ``partial`` is what has not ended yet."""

    def __init__(self, hand_on: Callable[[bytes], None], partial: bytes = b"") -> None:
        self._hand_on = hand_on
        self.partial = partial

    def take(self, data: bytes) -> None:
        """Take a chunk, and hand on what ends in it."""
        end = data.rfind(b"\n") + 1
        if end:
            self._hand_on(self.partial + data[:end])
            self.partial = data[end:]
        else:
            self.partial += data
        while len(self.partial) >= MAX_LINE:
            self._hand_on(self.partial[:MAX_LINE] + b"\n")
            self.partial = self.partial[MAX_LINE:]

    def end(self) -> None:
        """Nothing more comes: hand on the line that nobody will end."""
        if self.partial:
            self._hand_on(self.partial + b"\n")
            self.partial = b""


def open_pipe(path: str | None, owner: tuple[int, int] | None) -> tuple[int, int]:
    """
    Our end of a new pipe, and the child's: of a FIFO at ``path``, or of a plain pipe.

    Of a FIFO both are one: open for reading and writing, so that its writer never gets SIGPIPE, and blocking, as that
    expects of its standard output. It belongs to ``owner`` (uid, gid) if given, so that /dev/stdout can be opened by
    it. Raises OSError; nothing is left then.
    """
    if path is None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        return reading, writing
    os.mkfifo(path, 0o600)
    try:
        if owner is not None:
            os.chown(path, *owner)
        both = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        os.unlink(path)
        raise
    return both, both


@implementer(IReadDescriptor)
class Channel:
    """
    The way from one process's output to the relay.

    A FIFO that the child holds open for reading and writing, so that it never gets SIGPIPE, whatever becomes of
    us; its end is not known by EOF, but by being told (`finish`). Where there is no place for a FIFO, a plain pipe.
    """

    def __init__(
        self, reactor: IReactor, relay: Relay, name: str, path: str | None, owner: tuple[int, int] | None = None
    ) -> None:
        """
        Make it: at ``path``, belonging to ``owner`` (uid, gid) if given, so that /dev/stdout can be opened by it.

        Raises OSError; nothing is left then.
        """
        self._set(reactor, relay, name, path)
        self.is_fragile = path is None
        # Of a FIFO they are one, which blocks; we read only what is there (`_available`).
        self._fd, self.child_fd = open_pipe(path, owner)

    @classmethod
    def of_survivor(cls, reactor: IReactor, relay: Relay, name: str, path: str | None, partial: bytes = b"") -> Channel:
        """
        The one that what was started before us still writes to; where that is gone, none at all.

        One that cannot be opened now, for want of descriptors, is tried again and again. Raises nothing: that nobody
        can listen to it is no reason to take it for dead.
        """
        channel = cls.__new__(cls)
        channel._set(reactor, relay, name, path)
        channel._lines.partial, channel.is_fragile = partial, False
        channel._fd = channel.child_fd = -1
        channel._open()
        return channel

    def _set(self, reactor: IReactor, relay: Relay, name: str, path: str | None) -> None:
        self._reactor = reactor
        self._relay = relay
        self._name = name
        self._path = path
        self._lines = Lines(self._hand_on)
        self.awaited: AwaitedLine | None = None
        self._reading = False
        self._again: IDelayedCall | None = None
        self._wait = RETRY
        self._trouble: int | None = None

    def _open(self) -> None:
        try:
            if self._path is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._fd = self.child_fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            log.warn("what {name} says from now on is lost: {error}", name=self._name, error=error.strerror)
            self._path = None
        except OSError as error:
            self._fail("what {name} says cannot be read now: {error}", error, self._open_again)
        else:
            self._heal()

    def _open_again(self) -> None:
        self._again = None
        if self._fd < 0 and self._path is not None:  # else an end came meanwhile, and its last words were asked for
            self._open()
        self._listen()

    def _fail(self, text: str, error: OSError, again: Callable[[], None]) -> None:
        """It may last: say it once, and try it again at growing intervals."""
        if self._trouble != error.errno:
            log.warn(text, name=self._name, error=error.strerror)
        self._trouble = error.errno
        if self._again is None:
            self._again = self._reactor.callLater(self._wait, again)
            self._wait = min(2 * self._wait, MAX_RETRY)

    def _heal(self) -> None:
        if self._trouble is not None:
            log.info("what {name} says can be read again", name=self._name)
        self._trouble = None
        self._wait = RETRY

    @property
    def child_error_fd(self) -> int:
        """What the child has for its standard error."""
        return self.child_fd

    @property
    def partial(self) -> bytes:
        """What was read of a line that has not ended yet."""
        return self._lines.partial

    def on_full(self, told: Callable[[], None]) -> None:
        """Have it told, in a later turn, that the pipe was full; `start` comes after."""
        if self._fd >= 0 and is_full(self._fd):
            self._reactor.callLater(0, told)

    def start(self) -> None:
        """The child has its end now: read what comes."""
        if self._fd < 0:
            return
        if self._path is None:
            os.close(self.child_fd)
        self._listen()

    def _listen(self) -> None:
        if self._fd >= 0:
            self._reactor.addReader(self)
            self._reading = True

    def _listen_again(self) -> None:
        self._again = None
        self._listen()

    def _ignore(self) -> None:
        if self._reading:
            self._reactor.removeReader(self)
            self._reading = False

    def abandon(self) -> None:
        """There will be no child."""
        if self._path is None:
            os.close(self.child_fd)
        self.close()

    def drain(self) -> None:
        """Read what is there now, and no more than a pipe can hold: somebody may go on writing."""
        if self._fd < 0 and self._again is not None:
            self._open()  # there may be no later
        for _ in range(MAX_PIPE // CHUNK + 1):
            if not self._read():
                break

    def flush(self, pid: int | None = None) -> None:
        """Nobody is left to write: read what is there, also the line that nobody will end."""
        self.drain()
        self._lines.end()

    def close(self) -> None:
        """Read no more; the FIFO goes."""
        self._ignore()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._fd >= 0:
            os.close(self._fd)
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)

    # IReadDescriptor

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return self._name

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending; whoever still writes keeps the FIFO."""

    def doRead(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Take one chunk; returns whether there was one."""
        if self._fd < 0:
            return False
        try:
            # The descriptor may block, so never read more than is there: nobody else reads from it.
            data = os.read(self._fd, CHUNK) if self._available() else b""
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                self._ignore()
                self._fail("cannot read what {name} says: {error}", error, self._listen_again)
            return False
        if not data:
            if self._path is None:  # every writer of a plain pipe is gone
                self._ignore()
            return False
        self._heal()
        self._lines.take(data)
        return True

    def _hand_on(self, lines: bytes) -> None:
        self._relay.lines(self._name, lines)
        if self.awaited is not None:
            self.awaited.look(lines)

    def _available(self) -> bool:
        return self._path is None or unread(self._fd) > 0
