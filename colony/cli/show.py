"""``show``: one process, all that is known of it."""

from __future__ import annotations

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import pretty, visible
from colony.cli.status import age, last_exit
from colony.core import check

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional")


def show(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Tell of one process: its definition also where no supervisor is alive, which is exit code 5 then."""
    names = arguments.names(words, options.name)
    if len(names) > 1:
        raise arguments.Usage("one NAME")
    [name] = names
    verdicts = ctllib.definitions(places, name)
    dead = told = None
    try:
        told = ctllib.status(places, [name])[name]
    except ctllib.Refused as refused:
        if refused.code == ctllib.UNKNOWN and not verdicts:
            raise
        if refused.code not in (ctllib.UNKNOWN, ctllib.DEAD):
            raise
        dead = refused if refused.code == ctllib.DEAD else None
    if dead is not None and not verdicts:
        raise dead
    output.document |= {
        "name": name,
        "files": [
            {
                "file": verdict.path,
                "definition": verdict.value,
                "problems": [{"path": path, "message": message} for path, message in verdict.problems],
                "unknown": list(verdict.unknown),
            }
            for verdict in verdicts
        ],
        "status": told,
    }
    for verdict in verdicts:
        output.say(f"{visible(verdict.path)}:")
        if verdict.value is not None:
            output.say(pretty(verdict.value))
        for problem in verdict.problems:
            output.say(visible(f"! {problem}"))
        for key in verdict.unknown:
            output.say(visible(f"note: {check.unknown_note(key)}"))
    if not verdicts:
        output.say("no file: it is being removed")
    if told is not None:
        output.say("\n".join(_lines(told, verdicts[0].value if verdicts else None)))
    if dead is not None:
        raise dead
    return 0


def _lines(told: Mapping[str, Any], definition: Any) -> Iterator[str]:
    yield visible(f"state      {told['state']}" + (f": {told['why']}" if told["why"] else ""))
    yield f"wanted     {'yes' if told['wanted'] else 'no'}"
    if told["pid"] is not None:
        yield f"pid        {told['pid']}"
    yield f"since      {told['since']} ({age(told['since'])})"
    yield f"starts     {told['starts']}" + (f", {told['streak']} early deaths in a row" if told["streak"] else "")
    if told["last_exit"] is not None:
        yield f"last exit  {last_exit(told['last_exit'])} at {told['last_exit']['at']}"
    if told["next_start"] is not None:
        yield f"next start {told['next_start']}"
    if told["ready"] is not None:
        yield f"ready      {'yes' if told['ready'] else 'no'}"
    if told["health"] is not None:
        yield visible(f"health     {told['health']}")
    if told["digest"] is not None and definition is not None and told["digest"] != check.digest(definition):
        yield "definition in force: not the one in the file"
    for problem in told["problems"]:
        where = f"{problem['path']}: " if problem["path"] else ""
        yield visible(f"problem    {where}{problem['message']}")
    if told["unknown"]:
        yield visible(f"unknown    {', '.join(told['unknown'])}")
