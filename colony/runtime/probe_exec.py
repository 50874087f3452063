"""The exec probe: does a command, run as the process is, exit with code 0?"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from colony.core.lifecycle import Exited, Told
from colony.core.model import Pid, Start
from colony.runtime.launch import CannotStart
from colony.runtime.logs import readable
from colony.runtime.probes import Answer, Ill, Unasked, Well, of_error
from colony.runtime.spawn import ProcessSpawner

_SAID = 200
"""Characters of what the command says that are kept as the reason."""


class ExecProbe:
    """Runs a command; what it leaves behind, and it itself when it is not waited for any more, is killed."""

    def __init__(self, spawner: ProcessSpawner, start: Callable[[], Start], running: set[Pid]) -> None:
        """``start`` makes each start of it, all of the same args; its pid is among ``running`` until all is gone."""
        self._spawner = spawner
        self._start = start
        self._running = running
        self._command = "the command"
        self._pid: Pid | None = None
        self._done: Callable[[Answer], None] | None = None

    @property
    def overdue(self) -> str:
        return f"{self._command} has not ended"

    def ask(self, done: Callable[[Answer], None]) -> None:
        if self._pid is not None:
            done(Ill(f"{self._command}, run before and killed, is not gone yet"))
            return
        start = self._start()
        self._command = start.spec.args[0]
        said = _Said()

        def ended(event: Told) -> None:
            if isinstance(event, Exited) and not event.alone:
                self._spawner.kill(event.pid, "KILL")
            else:
                self._pid = None
                self._running.discard(event.pid)
            if isinstance(event, Exited):
                self._finish(self._judge(event, said.line))

        try:
            self._pid = self._spawner.spawn(start, ended, recorded=False, relay=said)
        except CannotStart as error:
            done(attrs.evolve(of_error(error.errno, ""), why=str(error)))
            return
        self._running.add(self._pid)
        self._done = done

    def cancel(self) -> None:
        self._done = None
        if self._pid is not None:
            self._spawner.kill(self._pid, "KILL")

    def _judge(self, event: Exited, line: str) -> Answer:
        if event.exit.code == 0:
            return Well()
        if event.exit.code is None and event.exit.signal is None:
            return Unasked(f"nobody knows how {self._command} ended")
        return Ill(f"{self._command} {event.exit}{': ' if line else ''}{line}")

    def _finish(self, answer: Answer) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(answer)


class _Said:
    """A Relay that keeps the first line that is not empty, and forgets the rest."""

    def __init__(self) -> None:
        self.line = ""

    def lines(self, name: str, data: bytes, stream: str = "stdout") -> None:
        if not self.line:
            self.line = readable(data[: 4 * _SAID].strip().partition(b"\n")[0])[:_SAID].strip()
