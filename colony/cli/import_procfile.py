"""Reads a Procfile: a name and a shell command a line, as foreman has it."""

from __future__ import annotations

import os
import re

from colony.cli.foreign import Imported, Later, Process, integer, refused, text_of

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from typing import Any

    from colony.cli.foreign import Asked

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_PORT = re.compile(r"(?:export )?PORT=[\"']?([0-9]+)[\"']?\s*")

FIRST_PORT = 5000
"""What foreman gives to the first line; each further line gets a hundred more."""


def read(path: str, asked: Asked) -> Imported:
    """What the lines become. Raises OSError and Refused."""
    imported = Imported()
    folder = os.path.dirname(os.path.abspath(path))
    variables = os.path.join(folder, ".env")
    there = os.path.isfile(variables)
    port = asked.port
    if port is None:
        port = (_port(variables) if there else None) or FIRST_PORT
    nothing = Later(())
    for at, line in enumerate(text_of(path).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise refused(f"line {at}", "", f"not NAME: COMMAND, but {line[:40]!r}")
        name, command = match[1], match[2]
        if any(process.name == name for process in imported.processes):
            raise refused(f"line {at}", "", f"a second process {name}")
        definition: dict[str, Any] = {"shell": nothing.settle(command), "cwd": nothing.settle(folder)}
        definition |= {"env": {"PORT": str(port), "PS": f"{name}.1"}, "env_inherit": ["*"]}
        if there:
            definition["env_file"] = variables
        imported.processes.append(Process(f"line {at}", name, name, definition, ()))
        port += 100
    if not imported.processes:
        raise refused(path, "", "has no NAME: COMMAND")
    return imported


def _port(path: str) -> int | None:
    """The PORT in a file of variables, None if there is none: foreman counts from it."""
    found = [match[1] for line in text_of(path).splitlines() if (match := _PORT.fullmatch(line.strip()))]
    return integer(path, "PORT", found[-1]) if found else None
