"""circus: a loop that looks after its processes every so often, asked over ZeroMQ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Peer, Program
from benchmarks.peers.obtain import by_pip

_CONFIGURATION = """\
[circus]
endpoint=ipc://{place}/endpoint
pubsub_endpoint=ipc://{place}/events
check_delay={delay:g}
"""


class Circus(Peer):
    """At its default check delay of five seconds, or at another."""

    def __init__(self, delay: float | None = None) -> None:
        self.name = "circus" if delay is None else f"circus-{delay:g}s"
        self.reaping = 5.0 if delay is None else delay
        self._python = Path()

    def install(self, cache: Path) -> str:
        self._python, version = by_pip(cache, "circus")
        return version

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        sections = [f"[watcher:{program.name}]\ncmd={' '.join(program.argv)}\n" for program in programs]
        text = _CONFIGURATION.format(place=place, delay=self.reaping)
        (place / "circus.ini").write_text(text + "".join(sections))

    def command(self, place: Path) -> Sequence[str]:
        return [str(self._python.with_name("circusd")), str(place / "circus.ini")]

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        ctl = [str(self._python.with_name("circusctl")), "--endpoint", f"ipc://{place}/endpoint"]
        return [*ctl, "add", "--start", program.name, " ".join(program.argv)]
