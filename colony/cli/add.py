"""``add``: writes a process file."""

from __future__ import annotations

import json
import sys
from argparse import SUPPRESS

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import pretty
from colony.core import check

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Change, Places


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", help="instead of the positional")
    parser.value("--cmd", metavar="CMD", help="the executable")
    parser.value("--arg", metavar="ARG", dest="args", action="append", help="one argument of it; repeat")
    parser.value("--shell", metavar="TEXT", help="instead of --cmd: a text for /bin/sh -c")
    parser.value("--env", metavar="K=V", action="append", help="a variable of its environment; repeat")
    parser.value(
        "--env-inherit", metavar="VARIABLE", action="append", help="a variable, or a glob, handed down; repeat"
    )
    parser.value("--config-env", metavar="BOOL", convert=_json, help="false: without NCOLONY_CONFIG")
    parser.value("--cwd", metavar="DIR", help="where it runs")
    parser.value("--uid", metavar="N", convert=arguments.integer, help="the user it runs as")
    parser.value("--gid", metavar="N", convert=arguments.integer, help="the group it runs as")
    parser.value("--user", metavar="USER", help="the user it runs as, by name; instead of --uid")
    parser.value(
        "--supplementary-groups",
        metavar="GROUP",
        convert=_id_or_name,
        action="append",
        help="a group it is in too, a name or a number, instead of the user's own; repeat",
    )
    parser.value("--umask", metavar="OCTAL", help="what its new files' modes lack: 027")
    parser.value("--nice", metavar="N", convert=arguments.integer, help="its priority, -20 to 19")
    parser.value("--limits", metavar="JSON", convert=_json, help='{"nofile": 4096, "core": [0, "unlimited"], ...}')
    parser.value("--no-new-privs", metavar="BOOL", convert=_json, help="true: nothing it executes gains privileges")
    parser.value("--group", metavar="GROUP", action="append", help="a group of processes it belongs to; repeat")
    parser.value("--restart", metavar="JSON", convert=_json, help='{"when": "failure", "attempts": 3, ...}')
    parser.value("--env-file", metavar="PATH", action="append", help="a file of variables, read at each start; repeat")
    parser.value("--stop", metavar="JSON", convert=_json, help='how it is stopped: [["TERM", 60], ["INT", 10]]')
    parser.value("--reload", metavar="SIGNAL", help="what makes it read its configuration again: HUP")
    parser.flag("--essential", "when it gives up, the supervisor ends with its exit code")
    parser.value("--after", metavar="NAME", action="append", help="starts when that process is ready; repeat")
    parser.value("--ready", metavar="JSON", convert=_json, help='how to know: {"tcp": 8000}, {"notify": true}, ...')
    parser.value("--health", metavar="JSON", convert=_json, help='how to know: {"http": URL, "every": 10}, ...')
    parser.value("--log", metavar="JSON", convert=_json, help='{"max_bytes": 1000000, "backups": 5, ...}; or false')
    parser.value(
        "--extras", metavar="JSON", convert=_extras, help="more keys: a JSON object, or a file with one (- is stdin)"
    )
    # Not built yet, and refused by the validator in its own words, whatever the value.
    for key in (*check.UNSUPPORTED, *_SCHEDULES):
        parser.value(f"--{key.replace('_', '-')}", help=SUPPRESS)
    parser.flag("--dry-run", "write nothing, say what would be done")
    parser.flag("--diff", "write nothing, show what would change")
    parser.flag("--wait", "return when that very definition runs, and is ready")
    parser.wait_timeout()


def add(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Write one process file, if that changes anything."""
    [name, *more] = arguments.names(words._replace(tail=None), [options.name] if options.name is not None else None)
    if more:
        raise arguments.Usage(f"one NAME, not also {more[0][:40]!r}; a command goes after --")
    output.action = f"add {name}"
    cmd, args = _command(words, options)
    more_keys = {key: value for key in (*_PLAIN, *check.UNSUPPORTED) if (value := getattr(options, key)) is not None}
    if options.essential:
        more_keys["essential"] = True
    if schedule := {key: value for key in _SCHEDULES if (value := getattr(options, key)) is not None}:
        more_keys["schedule"] = schedule
    try:
        definition = ctllib.define(
            cmd, args, options.env, options.uid, options.gid, options.extras, options.env_inherit, **more_keys
        )
    except ctllib.Refused as refused:
        why = str(refused).removeprefix("cannot define: ")
        raise ctllib.Refused(f"cannot add {name}: {why}", refused.problems, refused.code) from None
    if options.wait:
        ctllib.must_be_alive(places)
    left = ctllib.countdown(options.wait_timeout)
    asked = ctllib.now()
    change = ctllib.put(places, name, definition, dry_run=options.dry_run or options.diff)
    output.document |= {"name": name, "result": change.word, "file": change.path}
    output.say(change.word)
    for key in check.unknown(definition):
        output.note(f"{name}: {check.unknown_note(key)}")
    if options.diff:
        difference = _difference(change)
        output.document["diff"] = difference
        if difference:
            output.say(difference)
    elif options.dry_run:
        pass
    elif options.wait:
        value = json.loads(change.after)
        if (rung := ctllib.ring(places)) is not None:
            ctllib.answer(places, rung, left())
        ctllib.in_force(places, name, check.digest(value), asked, left())
    elif change.word != "unchanged" and not ctllib.alive(places):
        output.note(f"no supervisor is alive; the next one starts {name}")
    return 0


_SCHEDULES = ("every", "cron")
"""Options that are one way each to say ``schedule``."""

_PLAIN = tuple(
    "shell config_env cwd user supplementary_groups umask nice limits no_new_privs group restart"
    " env_file stop reload after ready health log".split()
)
"""The keys whose option is nothing but their value."""


def _command(words: Words, options: Namespace) -> tuple[str | None, list[str]]:
    """The command, from ``-- CMD ARG...`` or from ``--cmd`` and ``--arg``."""
    if words.tail is None:
        if options.args and options.cmd is None:
            raise arguments.Usage("--arg needs --cmd")
        return options.cmd, options.args or []
    if options.cmd is not None or options.args:
        raise arguments.Usage("two commands: after --, and with --cmd and --arg")
    if not words.tail:
        raise arguments.Usage("needs a command after --")
    return words.tail[0], words.tail[1:]


def _difference(change: Change) -> str:
    """A unified diff between the definitions, as JSON in one layout."""
    import difflib

    before = [] if change.before is None else _lines(change.before)
    after = _lines(change.after)
    return "\n".join(difflib.unified_diff(before, after, change.path, change.path, lineterm=""))


def _lines(data: bytes) -> list[str]:
    try:
        return pretty(check.decode(data, check.MAX_SPEC_BYTES)).splitlines()
    except check.Malformed:  # what is to be replaced may be anything
        return data[: check.MAX_SPEC_BYTES].decode(errors="backslashreplace").splitlines()


def _id_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() and text.isascii() else text


def _json(text: str) -> Any:
    try:
        return check.decode(text.encode(errors="surrogateescape"), check.MAX_SPEC_BYTES)
    except check.Malformed as malformed:
        raise ValueError(malformed.message) from None


def _extras(text: str) -> Any:
    """An object, written down or in a file."""
    if not text.lstrip().startswith("{"):
        try:
            if text == "-":
                text = sys.stdin.read(check.MAX_SPEC_BYTES + 1)
            else:
                with open(text, encoding="utf-8") as file:
                    text = file.read(check.MAX_SPEC_BYTES + 1)
        except OSError as error:
            raise ValueError(f"{(error.strerror or str(error)).lower()}: {text[:80]}") from None
        except UnicodeDecodeError as error:
            raise ValueError(str(error)) from None
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value
