"""``completion``: what a shell needs to complete colony's words, made of the parsers of its verbs."""

from __future__ import annotations

from importlib import import_module

from colony.cli import arguments, grammar

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places

SHELLS = ("bash", "zsh", "fish")


def options(parser: Parser, verb: str) -> None:
    """The shell is all it takes."""


def completion(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Print it."""
    given = [*words.positionals, *(words.tail or ())]
    if len(given) != 1 or given[0] not in SHELLS:
        raise arguments.Usage(f"needs one of {', '.join(SHELLS)}")
    script: str = import_module(f"colony.cli.completion_{given[0]}").script(grammar.everything())
    output.document["script"] = script
    output.say(script.rstrip("\n"))
    return 0
