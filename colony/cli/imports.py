"""``import``: writes process files for what supervisord, foreman or circus is configured to run."""

from __future__ import annotations

import os
from importlib import import_module

from colony import ctllib
from colony.cli import arguments
from colony.cli.foreign import Asked
from colony.cli.output import pretty, visible

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace

    from colony.cli.arguments import Parser, Words
    from colony.cli.foreign import Imported
    from colony.cli.output import Output
    from colony.ctllib import Places

KINDS = ("supervisord", "procfile", "circus")


def options(parser: Parser, verb: str) -> None:
    parser.flag("--dry-run", "write nothing, show what would be written")
    parser.value("--output", metavar="DIR", help="write the process files there, and not into CONFIG")
    parser.flag("--all", "also what is not to start by itself (autostart); here it does start")
    parser.flag("--order", "priorities become after: who comes later waits until the earlier ones are ready")
    parser.flag("--expand-env", "variables are put in as they are here and now, not left for each start")
    parser.value(
        "--port", metavar="N", convert=arguments.integer, help="procfile: PORT of the first line (.env's, or 5000)"
    )


def import_(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Write all of them or none; exit code 1 if a program that should run could not be written at all."""
    positionals = [*words.positionals, *(words.tail or ())]
    if len(positionals) != 2:
        raise arguments.Usage(f"needs {'|'.join(KINDS)} and one FILE")
    kind, path = positionals
    if kind not in KINDS:
        raise arguments.Usage(f"cannot import from {kind[:40]!r}, only from {', '.join(KINDS)}")
    if options.port is not None and kind != "procfile":
        raise arguments.Usage("--port is for procfile")
    output.action = f"import {path}"
    reader = import_module(f"colony.cli.import_{kind}")
    try:
        imported: Imported = reader.read(path, Asked(options.all, options.order, options.expand_env, options.port))
        definitions = imported.definitions(options.order)
    except ctllib.Refused as refused:
        why = str(refused).removeprefix(f"{path}: ")
        raise ctllib.Refused(f"cannot import {path}: {why}", refused.problems, refused.code) from None
    if options.output is not None:
        places = places._replace(config=options.output)
    # Each is judged before the first one is written.
    changes = {name: ctllib.put(places, name, given, dry_run=True) for name, given in definitions.items()}
    if not options.dry_run:
        if options.output is not None:
            os.makedirs(options.output, exist_ok=True)
        changes = {name: ctllib.put(places, name, given) for name, given in definitions.items()}
    output.document |= {
        "processes": [
            {"name": name, "result": change.word, "file": change.path, "definition": definitions[name]}
            for name, change in changes.items()
        ],
        "not_carried": [left._asdict() for left in imported.left],
        "missing": imported.missing,
    }
    for left in imported.left:
        output.note(str(left))
    for name, change in changes.items():
        output.say(f"{change.word} {name}")
        if options.dry_run:
            output.say(visible_lines(pretty(definitions[name])))
    processes, remarks = len(changes), len(imported.left)
    said = f", {remarks} remark{'' if remarks == 1 else 's'}" if remarks else ""
    output.say(f"{processes} process{'' if processes == 1 else 'es'}{said}")
    if not options.dry_run and options.output is None and changes and not ctllib.alive(places):
        output.note("no supervisor is alive; the next one starts them")
    return 1 if imported.missing else 0


def visible_lines(text: str) -> str:
    """``text`` with its lines, and without what would steer a terminal."""
    return "\n".join(visible(line) for line in text.split("\n"))
