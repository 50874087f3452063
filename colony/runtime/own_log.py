"""The supervisor's own log, written by one thread, so that whoever does not read it stops nobody."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from twisted.logger import globalLogPublisher

from colony.runtime.inheritance import blocked_signals

# Any is what Twisted keeps without a type: observers, and the files they write.

LIMIT = 8_388_608
"""Bytes that wait to be written at the most; what comes then is dropped, counted and said."""

_LAST_WORDS = 2.0
"""Seconds that an end waits for what is still to be written."""


class OwnLog:
    """
    The file that Twisted's log goes to, for lines of others between its own.

    Twisted has no public way to that file: it is found through the observers that twist and twistd install, and put
    behind this object, so that both write in order, through the object that twistd rotates. Until `start`, and after
    `finish`, what is written is written at once.
    """

    def __init__(self) -> None:
        self._file: Any = None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._unsaid = 0
        self.dropped = 0
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ending = False

    def start(self) -> None:
        """Take Twisted's log over; to be called when that has begun, and after any fork."""
        with self._change:
            self._ending = False
            if self._thread is not None:  # it goes on, though a `finish` had waited for it in vain
                return
        observer = _file_observer(globalLogPublisher)
        if observer is not None and observer._outFile is not self:
            self._file = observer._outFile
            observer._outFile = self
        self._thread = threading.Thread(target=self._write_on, name="colony-log", daemon=True)
        with blocked_signals():
            self._thread.start()

    def finish(self) -> None:
        """Wait until all is written, but not for long; where it is, what comes from now on is written at once."""
        with self._change:
            self._ending = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._thread is None, _LAST_WORDS)

    # -- a file, as far as Twisted and we need one

    def write(self, data: str | bytes) -> None:
        """Write it before long, or drop it where too much is waiting."""
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        with self._change:
            if self._thread is not None:
                if self._size + len(data) > LIMIT:
                    self._unsaid += len(data)
                    self.dropped += len(data)
                    return
                self._waiting.append(data)
                self._size += len(data)
                self._change.notify_all()
                return
        self._put(data)

    def flush(self) -> None:
        """Whatever was written is written by itself."""

    # -- the thread

    def _write_on(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    self._thread = None
                    self._change.notify_all()
                    return
                data = b"".join(self._waiting)
                self._waiting.clear()
                self._size = 0
                unsaid, self._unsaid = self._unsaid, 0
            if unsaid:
                data += b"[colony] %d bytes of log were dropped here: they could not be written in time\n" % unsaid
            self._put(data)

    def _put(self, data: bytes) -> None:
        file: Any = sys.__stdout__ if self._file is None else self._file
        try:
            if hasattr(file, "rotate"):  # twistd's, who gives it a new descriptor when it has become long
                file.write(data)
                file.flush()
            else:
                self._put_all(file.fileno(), data)
        except (OSError, ValueError, AttributeError):  # full, gone, closed, or none
            self._unsaid += len(data)
            self.dropped += len(data)
            if getattr(getattr(file, "_file", None), "closed", False):  # twistd's, that could not open the next one
                with suppress(OSError):
                    file._openFile()

    def _put_all(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                wait = select.poll()
                wait.register(descriptor, select.POLLOUT)
                wait.poll(1000)


def _file_observer(observer: Any, depth: int = 0) -> Any:
    """The observer that writes Twisted's log into a file, found beneath filters; None if there is none (syslog)."""
    if getattr(observer, "_outFile", None) is not None or depth > 4:
        return observer if hasattr(observer, "_outFile") else None
    for inner in (*getattr(observer, "_observers", ()), *filter(None, [getattr(observer, "_observer", None)])):
        found = _file_observer(inner, depth + 1)
        if found is not None:
            return found
    return None
