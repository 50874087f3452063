"""pm2: a process manager in JavaScript, here in its foreground form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program, Unavailable
from benchmarks.peers.obtain import by_npm


class Pm2(Peer):
    """With its defaults, in fork mode, each program run as it is."""

    name = "pm2"

    def __init__(self) -> None:
        self._root = Path()

    def install(self, cache: Path) -> str:
        self._root, version = by_npm(cache, "pm2")
        return version

    def environment(self, place: Path) -> Mapping[str, str]:
        return {"PM2_HOME": str(place / "pm2"), "PM2_DISABLE_VERSION_CHECK": "true"}

    def _node(self, script: str) -> list[str]:
        node = shutil.which("node")
        if node is None:
            raise Unavailable("no node")
        return [node, str(self._root / "node_modules" / "pm2" / "bin" / script)]

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        apps = [
            {"name": one.name, "script": one.argv[0], "args": one.argv[1:], "interpreter": "none", "exec_mode": "fork"}
            for one in programs
        ]
        (place / "apps.json").write_text(json.dumps({"apps": apps}))

    def command(self, place: Path) -> Sequence[str]:
        return [*self._node("pm2-runtime"), "start", str(place / "apps.json")]

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        words = ["start", program.argv[0], "--name", program.name, "--interpreter", "none", "--", *program.argv[1:]]
        return [*self._node("pm2"), *words]
