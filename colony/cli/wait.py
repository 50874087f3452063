"""``wait``: returns when processes are as they should be."""

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
    parser.value("--for", metavar="WHAT", dest="what", help="running, ready (the default), stopped or done")
    parser.value(
        "--timeout", metavar="S", convert=arguments.seconds, default=ctllib.WAIT_SECONDS, help="at most so long (60)"
    )


def wait(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Wait for every name."""
    names = arguments.names(words, options.name)
    what = "ready" if options.what is None else options.what
    ctllib.wait(places, names, what, options.timeout)
    output.document |= {"names": names, "for": what}
    return 0
