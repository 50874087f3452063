"""colony, from the checkout that this harness is in and with the python that runs it."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program, Unavailable, write_whole
from benchmarks.peers.obtain import run

_CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Colony(Peer):
    """With its defaults."""

    name = "colony"
    changes_user = True
    is_python = True

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def install(self, cache: Path) -> str:
        if not (_CHECKOUT / "colony" / "tap.py").exists():
            raise Unavailable("this checkout has no supervisor yet")
        # As pip does when it installs: a checkout that has just been changed would be compiled at every start.
        run([sys.executable, "-m", "compileall", "-q", "colony", "twisted"], cwd=_CHECKOUT)
        version = run([sys.executable, "-c", "import colony; print(colony.__version__)"], cwd=_CHECKOUT).strip()
        try:
            commit = run(["git", "rev-parse", "--short", "HEAD"], cwd=_CHECKOUT).strip()
            changed = run(["git", "status", "--porcelain", "--", "colony", "twisted"], cwd=_CHECKOUT).strip()
        except Unavailable:  # not a git checkout: the version alone must do
            return version
        return f"{version} at {commit}" + (" with changes" if changed else "")

    def environment(self, place: Path) -> Mapping[str, str]:
        return {"PYTHONPATH": str(_CHECKOUT)}

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        for directory in ("config", "messages"):
            (place / directory).mkdir(mode=0o700)
        for program in programs:
            user = {} if program.uid is None else {"uid": program.uid, "gid": program.uid}
            log = {"relay": program.relayed, "max_bytes": 50 * 2**20, "backups": 10}
            logged = {"log": log} if program.logged else {}
            (place / "config" / program.name).write_text(json.dumps({"args": program.argv, **user, **logged}))

    def logs(self, place: Path) -> Path:
        return place / "state" / "logs"

    def _places(self, place: Path) -> list[str]:
        return [f"--{directory}={place / directory}" for directory in ("config", "messages", "state")]

    def command(self, place: Path) -> Sequence[str]:
        return [sys.executable, "-m", "twisted", "colony", *self._places(place)]

    def add(self, place: Path, program: Program) -> None:
        write_whole(place / "config" / program.name, json.dumps({"args": program.argv}))

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        return [sys.executable, "-m", "colony", "ctl", *self._places(place), "add", program.name, "--", *program.argv]

    def schedule_command(self, place: Path, argv: Sequence[str], seconds: float) -> Sequence[str]:
        bounds = [f"--frequency={seconds:g}", "--timeout=10", "--grace=5"]
        words = [f"--arg={argument}" for argument in argv]
        return [sys.executable, "-m", "twisted", "colony-scheduler", *words, *bounds]

    def restart(self, place: Path, name: str) -> None:
        message = {"type": "RESTART", "name": name}
        write_whole(place / "messages" / f"m{next(self._numbers):06}", json.dumps(message))
