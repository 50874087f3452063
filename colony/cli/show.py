"""``show``: one process, all that is known of it."""

from __future__ import annotations

from colony import ctllib
from colony.cli import arguments
from colony.cli.events import what
from colony.cli.output import pretty, visible
from colony.cli.status import last_exit
from colony.cli.table import age, clock, until
from colony.core import check

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence
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
    output.action = f"show {name}"
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
    known = ctllib.events(places, name)
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
        "events": (events := known[-_EVENTS:]),
        "output": ctllib.output(places, name),
        "lives": (lives := ctllib.lives(places, name, known=known)),
    }
    if told is not None:
        output.say("\n".join(_lines(told, verdicts[0].value if verdicts else None)))
    if events:
        output.say("lately")
        for event in events:
            output.say(f"  {clock(event['at'])}  {what(event)}")
    for line in _lives(lives):
        output.say(line)
    for verdict in verdicts:
        output.say(visible(f"file       {verdict.path}"))
        for problem in verdict.problems if told is None else ():
            output.say(visible(f"problem    {problem}"))
        for key in verdict.unknown:
            output.say(visible(f"note       {check.unknown_note(key)}"))
        if verdict.value is not None:
            output.say(pretty(verdict.value))
    if not verdicts:
        output.say("no file: it is being removed")
    if dead is not None:
        raise dead
    return 0


_EVENTS = 6
"""The last events that are told of: two or three starts and what became of them."""


def _lives(lives: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was written before each exit, and since."""
    if exits := [life for life in lives if life["exit"] is not None]:
        yield "last exits"
    for life in exits:
        said = life["output"]
        yield f"  {clock(life['at'])}  {last_exit(life['exit'])}" + (f" ({life['pid']})" if life["pid"] else "")
        if said is None:
            yield visible(f"    (what it wrote last is not known: {life['lost']})")
        for line in said if said is not None else ():
            yield visible(f"    {line}")
        if said == []:
            yield "    (it wrote nothing)"
    if lives and lives[-1]["exit"] is None:
        yield "last output"
        for line in lives[-1]["output"]:
            yield visible(f"  {line}")


def _lines(told: Mapping[str, Any], definition: Any) -> Iterator[str]:
    yield visible(f"state      {told['state']}" + (f": {told['why']}" if told["why"] else ""))
    yield f"since      {clock(told['since'])}, {age(told['since'])} ago"
    if told["next_start"] is not None:
        yield f"next try   {clock(told['next_start'])}, in {until(told['next_start'])}"
    yield f"wanted     {'yes' if told['wanted'] else 'no'}"
    if told["pid"] is not None:
        yield f"pid        {told['pid']}"
    if told["started"] not in (None, told["since"]):
        yield f"started    {clock(told['started'])}, {age(told['started'])} ago"
    yield f"starts     {told['starts']}" + (f"; early deaths in a row: {told['streak']}" if told["streak"] else "")
    if told["last_exit"] is not None:
        at = told["last_exit"]["at"]
        yield f"last exit  {last_exit(told['last_exit'])}, {clock(at)}, {age(at)} ago"
    if told["ready"] is not None:
        yield f"ready      {'yes' if told['ready'] else 'no'}"
    if told["health"] is not None:
        yield visible(f"health     {told['health']}")
    for problem in told["problems"]:
        where = f"{problem['path']}: " if problem["path"] else ""
        yield visible(f"problem    {where}{problem['message']}")
    if told["problems"] and told["digest"] is not None:
        yield "in force   the last good definition, not the one in the file"
    elif told["digest"] is not None and definition is not None and told["digest"] != check.digest(definition):
        yield "in force   another definition than the one in the file"
    if told["unknown"] and definition is None:  # else the file itself is asked
        yield visible(f"unknown    {', '.join(told['unknown'])}")
