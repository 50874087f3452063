"""What daemontools and its heirs have in common: a directory of directories, each with a program ``run``."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.peer import Peer, Program, Unavailable
from benchmarks.peers.obtain import by_apt, unpacked_environment


class Directory(Peer):
    """
    A scanner of ``place/scan``, from Debian's ``packages``.

    ``scanner`` is its command line less the directory; ``again`` the one that asks for a restart, less the service's
    directory; ``look`` the one that makes the scanner look now, less the directory, or nothing if there is none.
    """

    packages: tuple[str, ...]
    scanner: tuple[str, ...]
    again: tuple[str, ...]
    look: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._root = Path()

    def install(self, cache: Path) -> str:
        self._root, version = by_apt(cache, self.packages)
        return version

    def environment(self, place: Path) -> Mapping[str, str]:
        return unpacked_environment(self._root)

    def _found(self, command: Sequence[str]) -> list[str]:
        program = shutil.which(command[0], path=self.environment(Path()).get("PATH"))
        if program is None:
            raise Unavailable(f"no {command[0]} in its package")
        return [program, *command[1:]]

    def _script(self, program: Program) -> str:
        return f"#!/bin/sh\nexec {shlex.join(program.argv)}\n"

    def _service(self, directory: Path, program: Program) -> None:
        directory.mkdir()
        (directory / "run").write_text(self._script(program))
        (directory / "run").chmod(0o755)

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        (place / "scan").mkdir()
        for program in programs:
            self._service(place / "scan" / program.name, program)

    def command(self, place: Path) -> Sequence[str]:
        return [*self._found(self.scanner), str(place / "scan")]

    def _run(self, place: Path, command: Sequence[str]) -> None:
        processes.start(self._found(command), {**os.environ, **self.environment(place)}, place / "command.out")

    def add(self, place: Path, program: Program) -> None:
        self._service(place / program.name, program)
        os.rename(place / program.name, place / "scan" / program.name)
        if self.look:
            self._run(place, [*self.look, str(place / "scan")])

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        new, scan = shlex.quote(str(place / program.name)), shlex.quote(str(place / "scan"))
        steps = [
            f"mkdir {new}",
            f"printf %s {shlex.quote(self._script(program))} > {new}/run",
            f"chmod +x {new}/run",
            f"mv {new} {scan}",
            *([f"{shlex.join(self.look)} {scan}"] if self.look else []),
        ]
        return ["/bin/sh", "-c", " && ".join(steps)]

    def restart(self, place: Path, name: str) -> None:
        self._run(place, [*self.again, str(place / "scan" / name)])
