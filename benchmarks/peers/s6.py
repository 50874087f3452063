"""s6: a supervisor a service, below a scanner that is told to look."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import Program, Unavailable
from benchmarks.peers.directory import Directory
from benchmarks.peers.obtain import run


class S6(Directory):
    """With room for some thousand services. Must be installed: its scanner knows its supervisor by absolute path."""

    name = "s6"
    changes_user = True
    packages = ("s6",)
    scanner = ("s6-svscan", "-c", "8192")
    again = ("s6-svc", "-r")
    look = ("s6-svscanctl", "-a")

    def install(self, cache: Path) -> str:
        if shutil.which("s6-svscan") is None:
            raise Unavailable("not installed (apt-get install s6)")
        try:
            return run(["dpkg-query", "--show", "--showformat=${Version}", "s6"]).strip()
        except Unavailable:  # not from a Debian package
            return "of unknown version"

    def _service(self, directory: Path, program: Program) -> None:
        # One that has said that it is ready is started again at once; one that never does, after a second.
        super()._service(directory, program)
        user = "" if program.uid is None else f"s6-applyuidgid -u {program.uid} -g {program.uid} -G '' "
        (directory / "run").write_text(f"#!/bin/sh\necho >&3\nexec {user}{shlex.join(program.argv)} 3>&-\n")
        (directory / "notification-fd").write_text("3\n")
        if program.relayed:
            raise Unavailable("has no log of all")
        if program.logged:
            said = directory.parent.parent / "said" / program.name
            (directory / "log").mkdir()
            (directory / "log" / "run").write_text(f"#!/bin/sh\nexec s6-log n10 s52428800 {shlex.quote(str(said))}\n")
            (directory / "log" / "run").chmod(0o755)

    def logs(self, place: Path) -> Path:
        return place / "said"

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        (place / "said").mkdir()
        super().define(place, programs)

    def environment(self, place: Path) -> Mapping[str, str]:
        return {}
