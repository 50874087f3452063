"""``diff``: says where the files differ from what runs."""

from __future__ import annotations

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import visible

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")


def diff(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """A line for each difference; exit code 1 if there is one."""
    found = ctllib.diff(places, arguments.names(words, options.name, least=0) or None)
    output.document["differences"] = [{"name": name, "result": word} for word, name in found]
    for word, name in found:
        output.say(visible(f"{word} {name}"))
    return 1 if found else 0
