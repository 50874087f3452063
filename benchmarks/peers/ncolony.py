"""ncolony: a Twisted service over procmon that polls two directories."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program, write_whole
from benchmarks.peers.obtain import by_pip


class NColony(Peer):
    """At its default frequency, or polling every ``frequency`` seconds."""

    def __init__(self, frequency: float | None = None) -> None:
        self.name = "ncolony" if frequency is None else f"ncolony-{frequency:g}s"
        self.period = 10.0 if frequency is None else frequency
        self._python = Path()
        self._numbers = itertools.count()

    def install(self, cache: Path) -> str:
        self._python, version = by_pip(cache, "ncolony")
        return version

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        for directory in ("config", "messages"):
            (place / directory).mkdir()
        for program in programs:
            (place / "config" / program.name).write_text(json.dumps({"args": program.argv}))

    def _places(self, place: Path) -> list[str]:
        return ["--messages", str(place / "messages"), "--config", str(place / "config")]

    def command(self, place: Path) -> Sequence[str]:
        service = [str(self._python), "-m", "twisted", "ncolony", *self._places(place)]
        return [*service, "--frequency", f"{self.period:g}"]

    def add(self, place: Path, program: Program) -> None:
        # ncolony passes over names that end in .new, the dot before them or not.
        write_whole(place / "config" / program.name, json.dumps({"args": program.argv}))

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        words = ["add", program.name, "--cmd", program.argv[0], *(f"--arg={word}" for word in program.argv[1:])]
        return [str(self._python), "-m", "ncolony", "ctl", *self._places(place), *words]

    def schedule_command(self, place: Path, argv: Sequence[str], seconds: float) -> Sequence[str]:
        bounds = ["--frequency", f"{seconds:g}", "--timeout", "10", "--grace", "5"]
        words = [word for argument in argv for word in ("--arg", argument)]
        return [str(self._python), "-m", "twisted", "ncolony-scheduler", *words, *bounds]

    def restart(self, place: Path, name: str) -> None:
        message = {"type": "RESTART", "name": name}
        write_whole(place / "messages" / f"m{next(self._numbers):06}", json.dumps(message))
