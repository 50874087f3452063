"""The one thread that writes log files: whatever a disk does, it is this thread, and the pipes behind it, that wait."""

from __future__ import annotations

import heapq
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count

from twisted.logger import Logger

from colony.core.model import LogPolicy
from colony.runtime.gzipped import Compressor, sweep
from colony.runtime.inheritance import blocked_signals
from colony.runtime.logfile import LogFile
from colony.runtime.logs import IReactor, Relay
from colony.runtime.splice import Glass
from colony.runtime.stream import Stream

log = Logger(namespace="colony")

REST = 0.02
"""Seconds that who says little is let gather: a thousand lines a second are fifty looks, not a thousand."""

REST_READ = 0.05
"""The same where what is said is read, too: that costs by the look, and people read no faster."""

LEAST_REST = 0.001
"""Seconds that who fills its pipe by many small writes is let gather: it would wait longer otherwise."""

MANY = 100
"""That so many gather is usual; of more each gathers for longer, as they cost by the look, not by the byte."""

BUSY = 16_384
"""Bytes in one look that are no little; or half of what the pipe holds."""

PATIENCE = 5.0
"""Seconds that an end waits for what is still to be written."""

_TELL = 1.0
"""Seconds between two tellings that something was dropped."""


class LogWriter:
    """
    Writes what streams say into files in ``folder`` (None: there is no place for any).

    Streams are told of from the reactor's thread, and served in the order told. ``relay`` is where what they say goes
    too; ``told`` is called in the reactor when something has been dropped, and when that is over.
    """

    def __init__(
        self,
        reactor: IReactor,
        relay: Relay,
        folder: Callable[[], str | None],
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.relay = relay
        self._folder = folder
        self._told = told
        self.dropped = 0
        self._tell_at = 0.0
        self._commands: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._wakes = False
        self._ending = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._wake_reading, self._wake_writing = os.pipe()
        os.set_blocking(self._wake_reading, False)
        os.set_blocking(self._wake_writing, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reading, selectors.EVENT_READ)
        self._streams: dict[Stream, None] = {}
        self._listening: set[Stream] = set()
        self._resting: list[tuple[float, int, Stream]] = []
        self._rests: dict[Stream, int] = {}
        self._numbers = count()
        self._compressor = Compressor()
        self._swept = False
        self.glass = _glass()

    # -- for the reactor's thread

    def path(self, name: str, stream: str) -> str | None:
        """The file that this is written to; None where there is no place for it."""
        folder = self._folder()
        if folder is None:
            return None
        return os.path.join(folder, f"{name}.log" if stream == "stdout" else f"{name}.log.err")

    def file(self, name: str, path: str, policy: LogPolicy, *, goes_on: bool) -> LogFile:
        """That file, not opened yet."""
        return LogFile(name, path, policy, self._compressor, self._lost, goes_on=goes_on)

    def start(self) -> None:
        """From now on it is written; to be called after any fork, which threads do not survive."""
        with self._lock:
            self._ending = False
            if self._thread is not None:  # it goes on, though a `finish` had waited for it in vain
                return
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="colony-logs", daemon=True)
        with blocked_signals():
            self._thread.start()

    def finish(self, seconds: float = PATIENCE) -> bool:
        """Do what was asked so far and then nothing more, until `start`; returns whether that could be done."""
        with self._lock:
            self._ending = True
            if self._thread is None:
                return True
        self._wake()
        return self._ended.wait(seconds)

    def close(self) -> None:
        """Let go of everything; after `finish`."""
        self._selector.close()
        os.close(self._wake_reading)
        os.close(self._wake_writing)
        if self.glass is not None:
            self.glass.close()

    def add(self, streams: Iterable[Stream]) -> None:
        """Write what these say."""
        for stream in streams:
            self._ask(lambda stream=stream: self._begin(stream))  # type: ignore[misc]  # mypy knows no such default

    def hurry(self, streams: Iterable[Stream]) -> None:
        """Look at these at once, however shortly ago they were looked at."""
        for stream in streams:
            self._ask(lambda stream=stream: self._serve(stream))  # type: ignore[misc]

    def end(self, streams: Iterable[Stream], pid: int | None = None) -> None:
        """Nobody is left who could write to these: what is in their pipes is the last of the process ``pid``."""
        for stream in streams:
            self._ask(lambda stream=stream: self._end(stream, pid))  # type: ignore[misc]

    def rotate(self) -> None:
        """Have each file begun anew."""
        self._ask(self._rotate)

    def _ask(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        if not self._wakes:  # once for all of this reactor turn: two threads that take turns hold each other up
            self._wakes = True
            self.reactor.callLater(0, self._wake_after_turn)

    def _wake_after_turn(self) -> None:
        self._wakes = False
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with suppress(BlockingIOError):
                os.write(self._wake_writing, b".")

    # -- the thread

    def _run(self) -> None:
        while True:
            ready = self._selector.select(self._patience())
            for key, _ in ready:
                if isinstance(key.data, Stream):
                    self._serve(key.data)
                else:
                    with suppress(BlockingIOError):
                        os.read(self._wake_reading, 64)
            self._woken = False  # before looking: what is asked from now on wakes us again
            self._obey()
            now = time.monotonic()
            while self._resting and self._resting[0][0] <= now:
                _, number, stream = heapq.heappop(self._resting)
                if self._rests.get(stream) == number:  # else it was looked at since
                    self._serve(stream)
            self._compressor.step()
            if self._ending:
                self._compressor.pause()
            with self._lock:
                if self._ending and not self._commands:
                    self._thread = None
                    self._ended.set()
                    return

    def _patience(self) -> float | None:
        """How long nothing is to be done by itself."""
        if self._commands or self._ending or self._compressor.busy:
            return 0
        return max(0.0, self._resting[0][0] - time.monotonic()) if self._resting else None

    def _obey(self) -> None:
        while self._commands:
            command = self._commands.popleft()
            try:
                command()
            except Exception:  # ours to mend; the others must not suffer for it
                log.failure("cannot do what was asked of the log files")

    def _begin(self, stream: Stream) -> None:
        if not self._swept and (folder := self._folder()) is not None:
            self._swept = True
            sweep(folder)
        self._streams[stream] = None
        if stream.is_survivor:
            stream.begin()
        if stream.is_survivor or not self._listen(stream):  # else the selector tells of its first word
            self._serve(stream)

    def _serve(self, stream: Stream) -> None:
        if stream not in self._streams:
            return
        rested = self._rests.pop(stream, None) is not None
        try:
            taken = stream.take()
        except Exception:  # the same
            log.failure("cannot write what {name} says", name=stream.name)
            taken, rest = 0, 1.0
        else:
            rest = stream.wait or self._rest(stream, taken, rested)
            if not stream.wait and (not taken or taken >= min(BUSY, stream.capacity // 2)) and self._listen(stream):
                return
        self._ignore(stream)
        self._rests[stream] = number = next(self._numbers)
        heapq.heappush(self._resting, (time.monotonic() + rest, number, stream))

    def _rest(self, stream: Stream, taken: int, rested: bool) -> float:
        """How long it may gather now: not until its pipe is full, as far as the last rest has shown."""
        most = REST_READ if stream.is_read else REST
        if not stream.is_awaited:
            most *= max(1.0, len(self._rests) / MANY)
        rest = min(stream.rest or most, most)
        if rested and taken >= stream.capacity // 2:
            rest = max(rest / 4, LEAST_REST)
        elif rested and taken < stream.capacity // 8:
            rest = min(rest * 2, most)
        stream.rest = rest
        return rest

    def _listen(self, stream: Stream) -> bool:
        """Be woken by its next word; returns whether that can be."""
        if stream.over:
            self._ignore(stream)
        elif stream not in self._listening:
            try:
                self._selector.register(stream.descriptor, selectors.EVENT_READ, stream)
            except OSError:  # no memory, or too many are waited for: it is looked at now and then
                return False
            self._listening.add(stream)
        return True

    def _ignore(self, stream: Stream) -> None:
        # The child may have the same description, so closing alone would not end the kernel's telling (epoll(7)).
        if stream in self._listening:
            self._selector.unregister(stream.descriptor)
            self._listening.discard(stream)

    def _end(self, stream: Stream, pid: int | None) -> None:
        self._streams.pop(stream, None)
        self._rests.pop(stream, None)
        self._ignore(stream)
        stream.end(pid)

    def _rotate(self) -> None:
        for stream in self._streams:
            stream.file.turn()

    def _lost(self, dropped: int) -> None:
        """So many bytes were dropped; 0: that is over."""
        self.dropped += dropped
        now = time.monotonic()
        if not dropped or now >= self._tell_at:
            self._tell_at = now + _TELL
            self.reactor.callFromThread(self._told)


def _glass() -> Glass | None:
    try:
        return Glass()
    except OSError:
        return None
