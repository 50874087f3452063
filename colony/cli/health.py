"""``health``: is all well?  For a container's HEALTHCHECK, so its exit code is 0 or 1."""

from __future__ import annotations

from colony import ctllib
from colony.cli import arguments

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")


_TOLD = 5
"""Processes at most that the line tells of; the others are counted."""


def health(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Say in one line what is wrong, if anything is."""
    output.action = "tell how all is"
    names = arguments.names(words, options.name, least=0)
    troubles = ctllib.health(places, names or None)
    output.document["troubles"] = [{"name": name, "trouble": trouble} for name, trouble in troubles.items()]
    if not troubles:
        output.say("all is well")
        return 0
    parts = [f"{name} {trouble}" for name, trouble in troubles.items()]
    more = [f"and {len(parts) - _TOLD} more"] if len(parts) > _TOLD else []
    raise ctllib.Refused("; ".join([*parts[:_TOLD], *more]))
