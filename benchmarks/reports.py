"""Hears from the children: who began, as which pid, when."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_F_SETPIPE_SZ = 1031
_ROOM = 1 << 20


@dataclass(frozen=True)
class Report:
    """A child ``name`` began as ``pid`` at ``at`` (monotonic seconds, read by the child itself)."""

    name: str
    pid: int
    at: float


class Late(Exception):
    """Not everybody reported within the bound."""


class Reports:
    """The FIFO that children report to. ``began`` has every report so far, oldest first, by name."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        # Open for both: no end of file while nobody writes. Room for 20,000 reports: children never wait.
        self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._fifo, _F_SETPIPE_SZ, _ROOM)
        self._rest = b""
        self.began: defaultdict[str, list[Report]] = defaultdict(list)

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fifo)

    def hear(self, wait: float = 0.0) -> list[Report]:
        """What was reported meanwhile, waiting up to ``wait`` seconds for the first word."""
        heard: list[Report] = []
        if not select.select([self._fifo], [], [], max(0.0, wait))[0]:
            return heard
        try:
            data = os.read(self._fifo, _ROOM)
        except BlockingIOError:
            return heard
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name, pid, at = line.decode().split()
            report = Report(name, int(pid), int(at) / 1e9)
            self.began[name].append(report)
            heard.append(report)
        return heard

    def next(self, names: Collection[str], bound: float) -> dict[str, Report]:
        """The next report of each of ``names``. Raises Late after ``bound`` seconds."""
        missing = set(names)
        found: dict[str, Report] = {}
        until = time.monotonic() + bound
        while missing:
            left = until - time.monotonic()
            if left <= 0:
                raise Late(f"{len(missing)} of {len(names)} not running after {bound:g} s")
            for report in self.hear(left):
                if report.name in missing:
                    missing.remove(report.name)
                    found[report.name] = report
        return found
