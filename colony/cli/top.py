"""``top``: what processes use, those first that use most of the processor."""

from __future__ import annotations

import sys
import time

from colony import ctllib
from colony.cli import arguments, usage
from colony.cli.output import visible
from colony.cli.table import age, table, width

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places

EVERY = 2.0
"""Seconds between two tables."""

FIRST = 0.5
"""Seconds before the first: what is used is known only over some time."""


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")
    parser.flag("--once", "one table, as where the output is no terminal")
    parser.value("--every", metavar="S", convert=arguments.seconds, help=f"seconds between two tables ({EVERY:g})")


def top(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Tell what is used, again and again on a terminal, until interrupted."""
    output.action = "tell who uses what"
    names = arguments.names(words, options.name, least=0)
    screen = sys.stdout is not None and sys.stdout.isatty() and not output.json
    again = not options.once and (screen or options.every is not None)
    every = max(0.1, EVERY if options.every is None else options.every)
    ctllib.must_have_told(places)
    before, looked = usage.processes(), time.monotonic()
    output.pause(FIRST)
    while True:
        now, at = usage.processes(), time.monotonic()
        told = _told(places, names, before, now, at - looked)
        before, looked = now, at
        if not again:
            output.document |= told
            output.say("\n".join(_lines(told, None)))
            return 0
        if output.json:
            import json

            output.stream(json.dumps(told))
        else:
            height = _height() if screen else None
            output.stream(("\x1b[H\x1b[J" if screen else "") + "\n".join([*_lines(told, height), ""]).rstrip("\n"))
        if not output.pause(every):
            return 0


def _told(
    places: Places,
    names: Sequence[str],
    before: Mapping[int, usage.Process],
    now: Mapping[int, usage.Process],
    seconds: float,
) -> dict[str, Any]:
    """What ``--json`` prints: of every process that runs, those first that use most."""
    supervisor: int = ctllib.supervisor(places).get("pid", 0)
    running = {one["pid"]: one for one in ctllib.status(places, names or None).values() if one["pid"] is not None}
    families = usage.families(running, now)
    if supervisor in now and not names:
        families[supervisor] = [now[supervisor]]  # its children are told of by their names
    shares = {one.pid: usage.proportional(one.pid) for family in families.values() for one in family}
    used = [usage.use(family, before, seconds, shares, main) for main, family in families.items() if family]
    return {
        "at": ctllib.now(),
        "seconds": seconds,
        "memory": "rss" if any(one.pss is None for one in used) else "pss",
        "processes": [
            {
                "name": running[one.pid]["name"] if one.pid in running else None,
                "started": running[one.pid]["started"] if one.pid in running else None,
                **one._asdict(),
            }
            for one in sorted(used, key=lambda one: (-one.cpu, -one.rss, one.pid))
        ],
    }


def _lines(told: Mapping[str, Any], height: int | None) -> list[str]:
    """The table, as much of it as ``height`` lines hold, and a line below that tells of all."""
    memory = told["memory"]
    rows = [
        ("CPU%", memory.upper(), "PROCS", "PID", "UP", "NAME"),
        *(
            (
                f"{one['cpu']:.1f}",
                size(one[memory]),
                str(one["processes"]),
                str(one["pid"]),
                "-" if one["started"] is None else age(one["started"]),
                visible(one["name"] or "(colony)"),
            )
            for one in told["processes"]
        ),
    ]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]) - 1)]
    numbers = [(*(cell.rjust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]) for cells in rows]
    lines = table(numbers, width())
    if height is not None and len(lines) > height - 2:
        lines = [*lines[: max(1, height - 3)], f"... and {len(lines) - max(1, height - 3)} more"]
    total = sum(one["processes"] for one in told["processes"])
    cpu = sum(one["cpu"] for one in told["processes"])
    bytes_used = sum(one[memory] for one in told["processes"])
    return [*lines, f"{total} processes: {cpu:.1f} % of one core, {size(bytes_used)} of memory ({memory.upper()})"]


def size(number: float) -> str:
    """Bytes, in three digits or so: ``12.3M``."""
    for unit in ("B", "K", "M", "G"):
        if number < 999.5:
            return f"{number:.0f}{unit}" if unit == "B" or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1024
    return f"{number:.1f}T"


def _height() -> int | None:
    import os

    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or None
    except OSError:
        return None
