"""``remove``: deletes process files."""

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
    parser.flag("--wait", "return when nothing of their processes is left")
    parser.wait_timeout()


def remove(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Delete the files of every name that has one; those that have none are told of at the end."""
    names = [ctllib.check_name(name) for name in arguments.names(words, options.name)]
    if options.wait:
        ctllib.must_be_alive(places)
    removed: list[str] = output.document.setdefault("removed", [])
    failures = []
    for name in names:
        output.action = f"remove {name}"
        try:
            ctllib.remove(places, name)
        except ctllib.Refused as refused:
            failures.append(refused)
        else:
            removed.append(name)
            output.say(f"removed {name}")
    if removed and options.wait:
        ctllib.gone(places, removed, options.wait_timeout)
    elif removed and not ctllib.alive(places):
        output.note("no supervisor is alive; the next one will not start them")
    for failure in failures[1:]:
        output.note(str(failure))
    if failures:
        raise failures[0]
    return 0
