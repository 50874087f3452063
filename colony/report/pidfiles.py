"""``DIR/NAME``: the pid of what runs, for tools that want it in a file; written, removed, never read."""

from __future__ import annotations

import os
from contextlib import suppress

from colony import atomic
from colony.core.check import name_problem
from colony.core.model import Name, Pid
from colony.core.report import Report


class PidFiles:
    """Keeps one file a running process in ``path``, whose other files are nobody's business but the operator's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pids: dict[Name, Pid] = {}

    def begin(self) -> None:
        """Make the directory; what a killed supervisor has left there is no longer true. Raises OSError."""
        os.makedirs(self._path, exist_ok=True)
        for entry in os.listdir(self._path):
            if name_problem(entry) is None:
                with suppress(OSError):
                    os.unlink(os.path.join(self._path, entry))

    def __call__(self, report: Report) -> None:
        """Write or remove the files of what moved. Raises OSError when everything has been done that could be."""
        failed: OSError | None = None
        for name in report.moved:
            unit = report.units.get(name)
            try:
                self._tell(name, None if unit is None or unit.main is None else unit.main.pid)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _tell(self, name: Name, pid: Pid | None) -> None:
        path = os.path.join(self._path, name)
        if pid is None:
            if name in self._pids:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                del self._pids[name]
        elif self._pids.get(name) != pid:
            atomic.write(path, b"%d\n" % pid, mode=0o644, durable=False)
            self._pids[name] = pid
