"""One run of one peer: its directory, its supervisor, its children's reports, and the end of them all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import processes
from benchmarks.peer import Peer, Program, Unavailable
from benchmarks.programs import source
from benchmarks.reports import Late, Report, Reports

BOUND = 60.0
"""Seconds after which a supervisor is taken not to do what it was asked."""

RIPE = 1.5
"""Seconds after which a death is no early one: peers restart early deaths later, by design."""


def environment(peer: Peer, place: Path, ballast: int = 0) -> dict[str, str]:
    """What a peer's commands get: nothing of ours but where programs and the home are, and so many MiB to carry."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    found = {**kept, **peer.environment(place)}
    if ballast:
        path = [str(source("heavy")), *([found["PYTHONPATH"]] if "PYTHONPATH" in found else [])]
        found |= {"PYTHONPATH": os.pathsep.join(path), "BALLAST": str(ballast)}
    return found


class Stage:
    """
    ``peer`` with ``count`` programs configured, not started yet; leaving ends all and removes the directory.

    Before what is to be measured it waits up to ``patience`` seconds for others on the machine to be quiet; ``calm``
    says whether they were, every time.

    ``words`` are more arguments of each program; ``logged`` and ``relayed`` are `Program`'s.

    With ``uid`` the programs run as that user and group, with ``ballast`` the supervisor is so many MiB larger. Raises
    Unavailable where this peer, or we, cannot do that.

    ``names`` are the programs' names, ``supervisor`` the pid of the last one started, ``began`` its start (monotonic).
    """

    def __init__(
        self,
        peer: Peer,
        child: Path,
        count: int,
        *,
        patience: float = 0.0,
        uid: int | None = None,
        ballast: int = 0,
        words: Sequence[str] = (),
        logged: bool = False,
        relayed: bool = False,
    ) -> None:
        if ballast and not peer.is_python:
            raise Unavailable("not in Python, so no way to make it larger")
        if uid is not None and not peer.changes_user:
            raise Unavailable("not measured with another user")
        if uid is not None and os.geteuid() != 0:
            raise Unavailable("only root starts programs as another user")
        self.peer = peer
        self.place = Path(tempfile.mkdtemp(prefix="stage-"))
        self._child = child
        self._uid = uid
        self._words = tuple(words)
        self._logged = logged
        self._relayed = relayed
        self._ballast = ballast
        self.log = self.place / "supervisor.out"
        self._patience = patience
        self.calm = True
        self.supervisor = 0
        self.began = 0.0
        self._own = self.place / "own"
        self._own.mkdir()
        self._fifo = self.place / "reports"
        self.reports = Reports(self._fifo)
        if uid is not None:
            self._let_others_in()
        programs = [self.program(f"c{number:04}") for number in range(count)]
        self.names: Sequence[str] = [program.name for program in programs]
        try:
            self.peer.define(self._own, programs)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            processes.end_descendants()
        finally:
            self.reports.close()
            shutil.rmtree(self.place, ignore_errors=True)

    def _let_others_in(self) -> None:
        """Let another user run the child, and report."""
        for directory in (self.place, self.place.parent):
            directory.chmod(0o711)
        self._fifo.chmod(0o622)
        self._child = Path(shutil.copy(self._child, self.place / "child"))

    def program(self, name: str) -> Program:
        """A child of that name, which reports here."""
        argv = (str(self._child), str(self._fifo), name, *self._words)
        return Program(name, argv, self._uid, logged=self._logged, relayed=self._relayed)

    def kept(self) -> int:
        """How many bytes are in the log files."""
        found = 0
        for folder, _, names in os.walk(self.peer.logs(self._own)):
            for name in names:
                if name.startswith("."):  # what is beside them
                    continue
                with suppress(FileNotFoundError):  # it has got another name
                    found += os.stat(os.path.join(folder, name)).st_size
        return found

    def start(self) -> None:
        """Start the supervisor, and do not wait for anything."""
        argv, around = self.peer.command(self._own), environment(self.peer, self._own, self._ballast)
        self.began = time.monotonic()
        self.supervisor = processes.start(argv, around, self.log)

    def schedule(self, name: str, seconds: float) -> None:
        """Start, instead of a supervisor, what runs a program every so many seconds that reports and ends."""
        self._wait_for_calm()
        argv = self.peer.schedule_command(self._own, (*self.program(name).argv, "once"), seconds)
        self.supervisor = processes.start(argv, environment(self.peer, self._own), self.log)

    def _wait_for_calm(self) -> None:
        if self._patience:
            self.calm &= processes.wait_for_calm(self._patience)

    def up(self, bound: float = BOUND) -> dict[str, Report]:
        """Start the supervisor and wait until everybody runs. Raises Late with the log's last line."""
        self._wait_for_calm()
        self.start()
        return self.next(self.names, bound)

    def next(self, names: Sequence[str], bound: float = BOUND) -> dict[str, Report]:
        """The next report of each of ``names``, reaping meanwhile. Raises Late with the log's last line."""
        until = time.monotonic() + bound
        try:
            return self.reports.next(names, until - time.monotonic())
        except Late as late:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] if self.log.exists() else []
            raise Late(f"{late}; it said last: {''.join(last)[-200:] or 'nothing'}") from None

    def ripen(self) -> None:
        """Wait until the youngest child has lived long enough that its death counts as no early one."""
        self.reports.hear()
        youngest = max((reports[-1].at for reports in self.reports.began.values()), default=0.0)
        time.sleep(max(0.0, youngest + RIPE - time.monotonic()))
        self._wait_for_calm()

    def pid(self, name: str) -> int:
        """The pid that ``name`` reported last."""
        return self.reports.began[name][-1].pid

    def children(self) -> set[int]:
        """Every pid that was ever reported."""
        return {report.pid for reports in self.reports.began.values() for report in reports}

    def own(self) -> list[int]:
        """The supervisor's own processes: itself and all below it that are no children of ours to measure."""
        children = self.children()
        below = processes.descendants(self.supervisor)
        return [pid for pid in (self.supervisor, *below) if pid not in children]

    def add(self, name: str) -> float:
        """Add one more program by file or socket. Returns the monotonic second just before."""
        program = self.program(name)
        before = time.monotonic()
        self.peer.add(self._own, program)
        return before

    def type_add(self, name: str) -> float:
        """Add one more program by the command that a person types, without waiting. Returns the second just before."""
        argv, around = self.peer.add_command(self._own, self.program(name)), environment(self.peer, self._own)
        before = time.monotonic()
        processes.start(argv, around, self.place / "command.out")
        return before

    def restart(self, name: str) -> float:
        """Ask for a restart of ``name``. Returns the monotonic second just before."""
        before = time.monotonic()
        self.peer.restart(self._own, name)
        return before
