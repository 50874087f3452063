"""Real Checks on a loop of their own, everything they tell, and servers of every kind to be asked."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Health, Name, Pid, ProcessSpec, Readiness
from colony.runtime.checks import Checks
from colony.runtime.notify import Notify
from colony.runtime.probe_http import IReactor
from tests.runtime.loop import Loop
from tests.runtime.machine import Machine

EVERY = 0.05
"""Seconds between two questions about health, unless a test says otherwise."""


class Attendance:
    """Checks, and the processes that they look after: those of a Machine."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.loop = loop
        self.machine = Machine(loop, folder)
        self.address = f"@colony-test-{os.urandom(8).hex()}"
        reactor = cast(IReactor, loop.reactor)
        self.notify = Notify(loop.reactor, self.machine.spawner.runs)
        self.checks = Checks(reactor, self.machine.spawner, self.notify, "c" * 16, lambda name: b"{}")
        self.told: list[Ready | Probed] = []

    def listen(self) -> None:
        """Hear what is said by sd_notify."""
        self.notify.bind(self.address)
        self.notify.begin()

    def attend(
        self,
        probe: object,
        pid: int = 1,
        *,
        ready: bool = False,
        every: float = EVERY,
        timeout: float = 5.0,
        name: str = "web",
        **keys: object,
    ) -> Pid:
        """Watch the process ``pid``, real or not, for its health, or for its being ready; ``keys`` are of its spec."""
        what = Readiness(probe, timeout) if ready else Health(probe, every, timeout)  # type: ignore[arg-type]
        keys = {"args": ("web",), "digest": "", "config_env": False, **keys}
        spec = ProcessSpec(**keys)  # type: ignore[arg-type]
        self.checks.watch(Name(name), Pid(pid), spec, what, self.told.append)
        return Pid(pid)

    @property
    def troubles(self) -> list[str | None]:
        """What was told of health, in order."""
        return [event.trouble for event in self.told if isinstance(event, Probed)]

    def next(self, count: int = 1) -> list[str | None]:
        """The next so many that are told of health."""
        before = len(self.troubles)
        self.loop.until(lambda: len(self.troubles) >= before + count)
        return self.troubles[before : before + count]

    def await_ready(self, pid: int = 1) -> None:
        self.loop.until(lambda: Ready(Pid(pid)) in self.told)

    def close(self) -> None:
        gone: list[None] = []
        _ = self.checks.close().addCallback(gone.append)
        self.loop.until(lambda: gone)
        self.notify.close()
        self.machine.close()
        self.loop.until(lambda: all(thread.name != "colony-aside" for thread in threading.enumerate()))
        self.loop.until(lambda: self.loop.timers() == 0)  # answers that are being read to their end


class Server:
    """Listens on a port of this host, and serves each caller by ``serve``, in a thread, until it is closed."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.socket(family)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((host, port))
        self._listening.listen()
        self.port: int = self._listening.getsockname()[1]
        self.served = 0
        self._serve = serve
        self._calls: list[socket.socket] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                call, _ = self._listening.accept()
            except OSError:  # closed; or there are no descriptors, of which accept(2) takes one before it waits
                if self._closed:
                    return
                time.sleep(0.01)
                continue
            if self._closed:
                call.close()
                return
            self._calls.append(call)
            self.served += 1
            threading.Thread(target=self._talk, args=(call,), daemon=True).start()

    def _talk(self, call: socket.socket) -> None:
        with suppress(OSError):
            self._serve(call)
        call.close()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        for call in self._calls:
            with suppress(OSError):
                call.shutdown(socket.SHUT_RDWR)
            call.close()


@contextmanager
def serving(serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(serve, host)
    try:
        yield server
    finally:
        server.close()


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """Reads the request, says that, and closes."""

    def serve(call: socket.socket) -> None:
        read_request(call)
        call.sendall(data)
        call.shutdown(socket.SHUT_WR)
        silent(call)

    return serve


def read_request(call: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = call.recv(65536)
        if not chunk:
            break
        data += chunk
    return data


def silent(call: socket.socket) -> None:
    """Reads, and says nothing."""
    while call.recv(65536):
        pass


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def attending(loop: Loop, folder: Path) -> Iterator[Attendance]:
    """All that was opened meanwhile is closed at the end."""
    attendance = Attendance(loop, folder)
    try:
        yield attendance
    finally:
        attendance.close()
