"""``validate``: says all that is wrong with process files."""

from __future__ import annotations

from colony import ctllib
from colony.cli.output import visible
from colony.core import check

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places


def options(parser: Parser, verb: str) -> None:
    """Its paths are all it takes."""


def validate(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Validate the files of CONFIG, or those that are named; exit code 2 if one cannot be obeyed."""
    verdicts = ctllib.validate(places, [*words.positionals, *(words.tail or ())] or None)
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    output.document["files"] = [
        {
            "file": verdict.path,
            "name": verdict.name,
            "problems": [{"path": path, "message": message} for path, message in verdict.problems],
            "unknown": list(verdict.unknown),
        }
        for verdict in verdicts
    ]
    for verdict in verdicts:
        for problem in verdict.problems:
            output.say(visible(f"{verdict.path}: {problem}"))
        for key in verdict.unknown:
            output.say(visible(f"{verdict.path}: note: {check.unknown_note(key)}"))
    output.say(f"{len(verdicts) - bad} good, {bad} bad")
    return ctllib.INVALID if bad else 0
