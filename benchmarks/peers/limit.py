"""The limit: a bare loop that starts the same children, and again when they end."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program, Unavailable
from benchmarks.programs import compiled, source

_ADD = """\
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("control")
parser.add_argument("name")
asked = parser.parse_args()
control = os.open(asked.control, os.O_WRONLY)
os.write(control, f"+{asked.name}\\n".encode())
"""


class _Limit(Peer):
    """A loop of ours that is told through a FIFO; its programs must all be the same child of the same user."""

    changes_user = True

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        (place / "names").write_text("".join(program.name + "\n" for program in programs))
        (place / "child").write_text("\n".join(programs[0].argv[:2] if programs else ("/bin/true", "none")))
        (place / "user").write_text("" if not programs or programs[0].uid is None else str(programs[0].uid))
        os.mkfifo(place / "control", 0o600)

    def _arguments(self, place: Path) -> list[str]:
        told = [*(place / "child").read_text().split("\n"), str(place / "names"), str(place / "control")]
        return [*told, *(place / "user").read_text().split()]

    def _tell(self, place: Path, line: str) -> None:
        control = os.open(place / "control", os.O_WRONLY)
        os.write(control, line.encode())
        os.close(control)

    def add(self, place: Path, program: Program) -> None:
        self._tell(place, f"+{program.name}\n")

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        # A bare interpreter with the two imports that a command line with JSON cannot do without.
        return [sys.executable, "-c", _ADD, str(place / "control"), program.name]

    def restart(self, place: Path, name: str) -> None:
        self._tell(place, f"-{name}\n")


class LimitPopen(_Limit):
    """On ``subprocess.Popen``."""

    name = "limit"
    is_python = True

    def install(self, cache: Path) -> str:
        return f"subprocess.Popen of Python {platform.python_version()}"

    def command(self, place: Path) -> Sequence[str]:
        return [sys.executable, str(source("loop.py")), *self._arguments(place)]


class LimitC(_Limit):
    """On C's ``posix_spawn``."""

    name = "limit-c"
    _program = Path()

    def install(self, cache: Path) -> str:
        found = compiled("loop", cache)
        if found is None:
            raise Unavailable("no C compiler")
        self._program = found
        return "posix_spawn of " + " ".join(platform.libc_ver())

    def command(self, place: Path) -> Sequence[str]:
        return [str(self._program), *self._arguments(place)]


class LimitSplice(Peer):
    """For log files alone: C's ``splice``, and nothing else."""

    name = "limit-splice"
    _program = Path()

    def install(self, cache: Path) -> str:
        found = compiled("pour", cache)
        if found is None:
            raise Unavailable("no C compiler")
        self._program = found
        return "splice of " + " ".join(platform.libc_ver())

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        self.logs(place).mkdir()
        (place / "names").write_text("".join(program.name + "\n" for program in programs))
        # All are alike but for their names.
        words = ("{}" if word == programs[0].name else word for word in programs[0].argv) if programs else ["/bin/true"]
        (place / "words").write_text("\n".join(words))

    def logs(self, place: Path) -> Path:
        return place / "logs"

    def command(self, place: Path) -> Sequence[str]:
        words = (place / "words").read_text().split("\n")
        return [str(self._program), str(self.logs(place)), str(place / "names"), *words]
