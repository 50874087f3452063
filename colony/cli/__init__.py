"""
The command line: finds the verb, lets its module do it, and turns every error into one line and an exit code.

A verb's module is imported when it is asked for, and no other.
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from importlib import import_module
from keyword import iskeyword

from colony.cli import arguments
from colony.cli.output import Output
from colony.ctllib import INVALID, Places, Refused

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

INTERRUPTED = 130


class Verb(namedtuple("Verb", ("module", "usage", "summary"))):
    """
    Where a verb is: the function of its name in ``colony.cli.MODULE``, its options in ``options`` there.

    In ``usage``, words with ``|`` between them are the ones to choose from, NAME is a process and PATH or FILE a file:
    completion is made of it.
    """

    __slots__ = ()
    module: str
    usage: str
    summary: str


_COMMAND = "NAME [--cmd CMD] [--arg ARG]... | NAME -- CMD [ARG]..."

VERBS = {
    "add": Verb("add", _COMMAND, "write a process file; the same again changes nothing"),
    "remove": Verb("remove", "NAME...", "delete process files; their processes stop"),
    "validate": Verb("validate", "[PATH...]", "say all that is wrong with process files"),
    "import": Verb("imports", "supervisord|procfile|circus FILE", "write process files for another's configuration"),
    "diff": Verb("diff", "[NAME...]", "say where the files differ from what runs"),
    "restart": Verb("ask", "NAME...", "have new instances started"),
    "restart-all": Verb("ask", "", "the same for every process that is not stopped"),
    "restart-group": Verb("ask", "GROUP... [--rolling]", "the same for the processes of a group"),
    "start": Verb("ask", "NAME... | --group GROUP", "end a stop, or a backoff"),
    "stop": Verb("ask", "NAME... | --group GROUP", "stop, until started again"),
    "reload": Verb("ask", "NAME...", "have processes read their configuration again"),
    "signal": Verb("ask", "NAME SIGNAL", "send a signal to a process and its group"),
    "rotate": Verb("ask", "", "have every log file begun anew"),
    "scan": Verb("ask", "", "have the process files looked at now"),
    "upgrade": Verb("upgrade", "", "have the supervisor become the code that is installed now"),
    "status": Verb("status", "[NAME...]", "what is"),
    "show": Verb("show", "NAME", "one process: its definition, its status, its problems"),
    "logs": Verb("logs", "[NAME...] [-f] [-n N] [--since T]", "what processes wrote, and write"),
    "top": Verb("top", "[NAME...] [--once] [--every S]", "what processes use, with all that they have started"),
    "events": Verb("events", "[NAME...] [-f] [-n N] [--since T]", "what happens to processes, as it does"),
    "health": Verb("health", "[NAME...]", "is all well? exit code 0 or 1, for a container's HEALTHCHECK"),
    "wait": Verb("wait", "NAME... [--for running|ready|stopped|done]", "return when it is so"),
    "completion": Verb("completion", "bash|zsh|fish", "print what that shell needs to complete all this"),
    "man": Verb("man", "[VERB] | --output DIR", "print a manual page, or write them all"),
}

EXIT_CODES = {
    0: "done",
    1: "failed or refused; for diff: something differs",
    2: "wrong usage, or an invalid definition",
    3: "for status: something that should run does not",
    4: "no such process",
    5: "no supervisor alive, where one is needed",
    124: "timed out",
    130: "interrupted",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` says (None: the process's own arguments); the exit code."""
    output = Output()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return output.end(_main(words, output))
    except KeyboardInterrupt:
        # Who goes on for ever is meant to be interrupted.
        return output.end(INTERRUPTED) if output.streams else output.fail("interrupted", INTERRUPTED)
    except arguments.Usage as usage:
        output.json = output.json or "--json" in words
        return output.fail(str(usage), INVALID)
    except Refused as refused:
        return output.fail(str(refused), refused.code, refused.problems)
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename else ""
        why = (error.strerror or str(error)).lower()
        # Once is enough where what was to be done names the file.
        return output.fail(f"cannot {output.action}: {why}{'' if output.action.endswith(where) else f': {where}'}", 1)
    except Exception as error:
        # A fault of ours; whoever runs ctl in a script still gets one line and a code. python -X dev shows it all.
        if sys.flags.dev_mode:
            raise
        return output.fail(f"cannot {output.action}, by a fault of colony: {type(error).__name__}: {error}", 1)


def _main(argv: list[str], output: Output) -> int:
    _limit(output, next((word for word in argv if word in VERBS), ""))
    words = arguments.sort(argv)
    if words.positionals[:1] == ["ctl"]:  # python -m colony ctl VERB is colony VERB
        del words.positionals[0]
    if not words.positionals:
        if "--version" in words.options:
            from colony import __version__

            output.say(f"colony {__version__}")
            return 0
        if "--help" in words.options or "-h" in words.options:
            output.say(_overview())
            return 0
        raise arguments.Usage("say what to do: colony VERB; colony --help lists the verbs")
    verb = output.action = words.positionals.pop(0)
    _limit(output, verb)
    if verb not in VERBS:
        raise arguments.Usage(f"unknown verb {verb[:40]!r}{_did_you_mean(verb)}")
    module, understands = parser(verb)
    options = understands.parse(words)
    if options.help:
        output.say(understands.format_help().rstrip())
        return 0
    output.json = options.json
    places = Places(
        options.config or os.environ.get("COLONY_CONFIG") or None,
        options.messages or os.environ.get("COLONY_MESSAGES") or None,
        options.state or os.environ.get("COLONY_STATE") or None,
    )
    code: int = getattr(module, _function(verb))(places, words, options, output)
    return code


def parser(verb: str) -> tuple[ModuleType, arguments.Parser]:
    """The module of a verb, and what understands its options."""
    module = import_module(f"colony.cli.{VERBS[verb].module}")
    found = arguments.Parser(verb, VERBS[verb].usage, VERBS[verb].summary)
    module.options(found, verb)
    return module, found


def _function(verb: str) -> str:
    """``restart_group`` for ``restart-group``, ``import_`` for ``import``."""
    return f"{verb}_" if iskeyword(verb) else verb.replace("-", "_")


def _limit(output: Output, verb: str) -> None:
    """Keep to the exit codes that the readers of a verb's know; docker reserves 2 in a HEALTHCHECK."""
    output.highest = 1 if verb == "health" else 255


def _overview() -> str:
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "usage: colony [ctl] VERB [options]",
            "",
            *(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()),
            "",
            "Directories, before or after the verb: --config DIR (COLONY_CONFIG), --messages DIR (COLONY_MESSAGES),",
            "--state DIR (COLONY_STATE). --json for programs. colony VERB --help for more.",
            "",
            "Exit codes:",
            *(f"  {code:{width}}  {meaning}" for code, meaning in EXIT_CODES.items()),
        ]
    )


def _did_you_mean(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, 1)
    return f"; did you mean {close[0]}?" if close else ""
