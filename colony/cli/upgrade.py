"""``upgrade``: the supervisor becomes the code that is installed now, and stops nothing."""

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
    parser.wait_timeout()


def upgrade(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Ask for it, and wait until it has been done or refused."""
    arguments.none_left(words)
    told = ctllib.upgrade(places, options.wait_timeout)
    output.document.update(told)
    output.say(f"upgraded: {told['version']} as {told['pid']}")
    return 0
