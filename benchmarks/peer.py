"""What a scenario asks of a supervisor; one file in peers/ answers for one supervisor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Unavailable(Exception):
    """This peer cannot be had here, or has no such ability; the text says why."""


@dataclass(frozen=True)
class Program:
    """
    One supervised program: its name, its command line, and the uid and gid that it runs as (None: ours).

    ``logged``: what it says is to be kept in files of its own, at 50 MiB begun anew, ten old ones being kept;
    ``relayed``: and in the supervisor's own log too.
    """

    name: str
    argv: tuple[str, ...]
    uid: int | None = None
    logged: bool = False
    relayed: bool = False


class Peer(Protocol):
    """
    One supervisor. ``place`` is a directory of its own for one run of it, its socket, configuration and logs.

    ``period`` is how many seconds may pass before it looks at its files by itself, ``reaping`` before it looks for the
    dead; 0 if it is told at once. ``changes_user``: whether it can run programs as somebody else;
    ``is_python``: whether its interpreter is Python.
    """

    name: str
    changes_user: bool = False
    is_python: bool = False
    period: float = 0.0
    reaping: float = 0.0

    def install(self, cache: Path) -> str:
        """Make it available, below ``cache`` if it is not here already. Returns its version; raises Unavailable."""

    def environment(self, place: Path) -> Mapping[str, str]:
        """What its commands need in their environment besides PATH, HOME and LANG."""
        return {}

    def define(self, place: Path, programs: Sequence[Program]) -> None:
        """Write the whole configuration, before it is started."""

    def logs(self, place: Path) -> Path:
        """The directory below which it keeps what `logged` programs say."""
        raise Unavailable("not measured with log files")

    def command(self, place: Path) -> Sequence[str]:
        """The supervisor's command line, in the foreground."""

    def add(self, place: Path, program: Program) -> None:
        """Have one more program in the quickest way that it offers to another program: a file, a socket."""
        raise Unavailable("no way to add but its command line")

    def add_command(self, place: Path, program: Program) -> Sequence[str]:
        """The command line by which a person adds a program."""
        raise Unavailable("no command that adds")

    def schedule_command(self, place: Path, argv: Sequence[str], seconds: float) -> Sequence[str]:
        """The command line that runs ``argv`` every so many seconds, in the foreground."""
        raise Unavailable("nothing that runs a command every second")

    def restart(self, place: Path, name: str) -> None:
        """Ask for a restart in the quickest way that it offers to another program."""
        raise Unavailable("no way to ask for a restart")


def write_whole(path: Path, text: str) -> None:
    """Have ``path`` appear with ``text`` in it, at once: by another name first, one that no peer reads."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    os.rename(temporary, path)
