"""A spawner of real processes on a loop of its own, everything it tells, and a clean end of all that it started."""

from __future__ import annotations

import os
import resource
from functools import partial
from pathlib import Path
from typing import Any

from colony.core.environment import finish
from colony.core.lifecycle import Emptied, Exited, Told
from colony.core.model import Exit, Name, Pid, ProcessSpec, Start
from colony.runtime.cgroups import Cgroups
from colony.runtime.inheritance import Inheritance
from colony.runtime.launch import Launcher
from colony.runtime.spawn import ProcessSpawner
from tests.runtime.loop import Loop, Recorder, end, lives

# Any is a field of ProcessSpec.

LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)


class Machine:
    """Starts what a test asks for; what it started, and everybody `expected`, is gone when it is closed."""

    def __init__(
        self,
        loop: Loop,
        folder: Path,
        *,
        fifo: bool = True,
        own_session: bool = True,
        nofile: tuple[int, int] = LIMIT,
        inherited: dict[str, str] | None = None,
        cgroups: Cgroups | None = None,
        **keys: Any,
    ) -> None:
        """``keys`` are more fields of each spec."""
        self.loop = loop
        self.folder = folder
        self.pipes = folder / "pipes"
        self.pipes.mkdir()
        self.output = Recorder()
        self.events: list[Told] = []
        self.pids: list[Pid] = []
        self._keys = keys
        self._strangers: list[int] = []
        self.launcher = Launcher(Inheritance(nofile, LIMIT), own_session=own_session)
        self.spawner = ProcessSpawner(
            loop.reactor,
            self.output,
            self.launcher,
            partial(finish, inherited={"PATH": os.environ["PATH"]} if inherited is None else inherited),
            pipes=lambda: str(self.pipes) if fifo else None,
            cgroups=cgroups,
        )

    def start(self, *args: str, cwd: str | None = None, env: tuple[tuple[str, str], ...] = ()) -> Start:
        """How to start that."""
        spec = ProcessSpec(args, digest="", cwd=cwd, env=env, config_env=False, **self._keys)
        return Start(Name("web"), f"{'c' * 16}.{os.urandom(8).hex()}", spec, b"{}")

    def spawn(self, start: Start) -> Pid:
        """Start it; its end is told among `events`."""
        pid = self.spawner.spawn(start, self.events.append)
        self.pids.append(pid)
        return pid

    def run(self, *args: str, cwd: str | None = None, env: tuple[tuple[str, str], ...] = ()) -> Pid:
        return self.spawn(self.start(*args, cwd=cwd, env=env))

    def exit_of(self, pid: Pid) -> Exit | None:
        """How its main ended; None if that has not been told."""
        return next((event.exit for event in self.events if event.pid == pid and isinstance(event, Exited)), None)

    def is_over(self, pid: Pid) -> bool:
        """Has it been told that nobody is left?"""
        return any(
            e.pid == pid and (isinstance(e, Emptied) or (isinstance(e, Exited) and e.alone)) for e in self.events
        )

    def await_end(self, pid: Pid) -> Exit:
        """How it ended, when nobody of its family is left."""
        self.loop.until(lambda: self.is_over(pid))
        exit = self.exit_of(pid)
        assert exit is not None, "the exit is told first"
        return exit

    def says(self, *args: str, cwd: str | None = None, env: tuple[tuple[str, str], ...] = ()) -> bytes:
        """What that says until it ends."""
        self.output.told.clear()
        self.await_end(self.run(*args, cwd=cwd, env=env))
        return self.output.text

    def await_output(self, text: bytes) -> None:
        self.loop.until(lambda: text in self.output.text)

    def number(self, name: str) -> int:
        """The pid that somebody has written into that file; it is ended too when this is closed."""
        path = self.folder / name
        self.loop.until(lambda: path.exists() and path.read_bytes().endswith(b"\n"))
        pid = int(path.read_text())
        self._strangers.append(pid)
        return pid

    def close(self) -> None:
        for pid in self._strangers:
            end(pid)
        for pid in self.pids:
            self.spawner.kill(pid, "KILL")
        self.loop.until(lambda: all(self.is_over(pid) for pid in self.pids))
        assert not any(lives(pid) for pid in self.pids)
        self.launcher.close()
