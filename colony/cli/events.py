"""``events``: what becomes of processes, as it happens."""

from __future__ import annotations

import json
from collections import deque

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import visible
from colony.cli.table import clock, coloured, painted

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places

LAST = 10
"""Events shown before the new ones, where nobody says how many."""

_LOOK = 0.2
"""Seconds between two looks at the file."""

_ALIVE = 2.0
"""Seconds between two looks at whether somebody still writes it."""


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what happens from now on; so too without -n and --since"
    )
    parser.value("-n", metavar="N", dest="last", convert=arguments.count, help=f"the last N of those kept ({LAST})")
    parser.value(
        "--since", metavar="T", convert=arguments.moment, help="all since then: 2h30m ago, or 2026-11-21T22:18"
    )


def events(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Tell of the last events, and go on with what happens; nobody alive is no reason to tell nothing."""
    output.action = "tell what happened"
    names = {ctllib.check_name(name) for name in arguments.names(words, options.name, least=0)}
    trail = ctllib.Events(places)
    told = trail.read()
    _refuse_unknown(places, names, told)
    chosen = [event for event in told if _concerns(event, names)]
    if options.since is not None:
        chosen = [event for event in chosen if _instant(event) >= options.since]
    elif options.last is None:
        chosen = list(deque(chosen, LAST))
    if options.last is not None:
        chosen = list(deque(chosen, options.last))
    writer = _Lines(output)
    writer.write(chosen)
    if not options.follow and (options.last is not None or options.since is not None):
        ctllib.must_be_alive(places)
        return 0
    return _follow(places, trail, names, writer, output)


def _follow(places: Places, trail: ctllib.Events, names: set[str], writer: _Lines, output: Output) -> int:
    alive = True
    looks = 0
    while output.pause(_LOOK if looks else 0):
        if looks % (_ALIVE / _LOOK) == 0 and ctllib.alive(places) != alive:
            alive = not alive
            output.note("a supervisor is alive again" if alive else "no supervisor is alive; waiting for one")
        looks += 1
        writer.write([event for event in trail.read() if _concerns(event, names)])
    return 0


def _concerns(event: Mapping[str, Any], names: set[str]) -> bool:
    return not names or event["name"] in names


def _refuse_unknown(places: Places, names: set[str], told: Iterable[Mapping[str, Any]]) -> None:
    """Raises Refused for a name that nothing has happened to, and that has no file either."""
    for name in sorted(names - {event["name"] for event in told}):
        if places.config is None or not ctllib.definitions(places, name):
            raise ctllib.Refused(f"no such process: {name}", code=ctllib.UNKNOWN)


def _instant(event: Mapping[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["at"]).timestamp()


class _Lines:
    """Writes events, each a line, in columns that grow as they have to."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._width = len(_SUPERVISOR)

    def write(self, told: Iterable[Mapping[str, Any]]) -> None:
        for event in told:
            self._output.stream(json.dumps(event) if self._output.json else self._line(event))

    def _line(self, event: Mapping[str, Any]) -> str:
        name = visible(event["name"] or _SUPERVISOR)
        self._width = max(self._width, len(name))
        fraction = visible(str(event["at"])[19:23])
        return f"{clock(event['at'])}{fraction}  {name:{self._width}}  {what(event)}"


_SUPERVISOR = "(colony)"
"""Instead of the name that the supervisor has none of; no process can be called so."""

_STATES = len("starting -> stopping")


def what(event: Mapping[str, Any]) -> str:
    """``running -> backoff  exited with code 1 (77)``; one state where it is the same, or there was none before."""
    former, state = event["from"], event["to"] or "gone"
    states = visible(state if former in (None, state) else f"{former} -> {state}").ljust(_STATES)
    pid = "" if event["pid"] is None else f" ({event['pid']})"
    return f"{painted(states, state) if coloured() else states}  {visible(str(event['why']))}{pid}"
