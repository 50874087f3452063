"""``man``: manual pages of colony and of its verbs, made of their parsers."""

from __future__ import annotations

import os

from colony import __version__, atomic, cli
from colony.cli import arguments, grammar

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from colony.cli.arguments import Parser, Words
    from colony.cli.grammar import Grammar, Option
    from colony.cli.output import Output
    from colony.ctllib import Places

ENVIRONMENT = {
    "COLONY_CONFIG": "the directory of process files, where --config is not given",
    "COLONY_MESSAGES": "the directory of messages, where --messages is not given",
    "COLONY_STATE": "the directory of what is, where --state is not given",
    "NO_COLOR": "if it is set, nothing is coloured",
}

_ABOUT = (
    "defines the processes of a colony, asks for restarts and stops, and shows what runs. It works on directories of"
    " JSON files: a file a process in CONFIG, a file a request in MESSAGES, and what is in STATE. No supervisor needs"
    " to be alive to define processes. The supervisor itself is started by"
)


def options(parser: Parser, verb: str) -> None:
    parser.value("--output", metavar="DIR", help="write all pages there, as colony.1 and colony-VERB.1")


def man(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Print one page, or write all of them."""
    given = [*words.positionals, *(words.tail or ())]
    if len(given) > 1 or (given and options.output is not None):
        raise arguments.Usage("takes one VERB, or --output DIR")
    if given and given[0] not in cli.VERBS:
        raise arguments.Usage(f"unknown verb {given[0][:40]!r}")
    if options.output is None:
        page = _verb(grammar.of(given[0])) if given else _overview(grammar.everything())
        output.document["page"] = page
        output.say(page.rstrip("\n"))
        return 0
    output.action = "write the pages"
    os.makedirs(options.output, exist_ok=True)
    every = grammar.everything()
    pages = {"colony.1": _overview(every), **{f"colony-{each.verb}.1": _verb(each) for each in every}}
    for name, page in pages.items():
        atomic.write(os.path.join(options.output, name), page.encode())
    output.document["files"] = list(pages)
    output.say(f"{len(pages)} pages")
    return 0


def _overview(every: list[Grammar]) -> str:
    return _page(
        "colony",
        "define, ask for and look at supervised processes",
        _sections(
            ("SYNOPSIS", [_usage("colony", "[ctl] VERB [options]")]),
            ("DESCRIPTION", [rf"\fBcolony\fR {_text(_ABOUT)} \fBtwistd colony\fR."]),
            ("VERBS", [line for each in every for line in _term(f"{each.verb} {each.usage}".strip(), each.summary)]),
            ("OPTIONS", ["Before the verb or after it:", *_options(grammar.common(every))]),
            *_end(),
            ("SEE ALSO", [", ".join(rf"\fBcolony\-{_text(each.verb)}\fR(1)" for each in every)]),
        ),
    )


def _verb(each: Grammar) -> str:
    return _page(
        f"colony-{each.verb}",
        each.summary,
        _sections(
            ("SYNOPSIS", _usages(each)),
            ("DESCRIPTION", [_text(f"{each.summary[0].upper()}{each.summary[1:]}.")]),
            ("OPTIONS", _options(each.options)),
            *_end(),
            ("SEE ALSO", [r"\fBcolony\fR(1)"]),
        ),
    )


def _usages(each: Grammar) -> Iterator[str]:
    for at, usage in enumerate(each.usage.split(" | ")):
        if at:
            yield ".br"
        yield _usage(f"colony {each.verb}", f"{usage} [options]".strip())


def _usage(command: str, rest: str) -> str:
    return rf"\fB{_text(command)}\fR {_text(rest)}"


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(option.names)
        yield from _term(names if option.value is None else f"{names} {option.value}", option.help)


def _end() -> Iterator[tuple[str, list[str]]]:
    yield "ENVIRONMENT", [line for name, meaning in ENVIRONMENT.items() for line in _term(name, meaning)]
    yield "EXIT STATUS", [line for code, meaning in cli.EXIT_CODES.items() for line in _term(str(code), meaning)]


# -- roff, as man(7) has it


def _page(name: str, summary: str, sections: Iterable[str]) -> str:
    head = f'.TH "{_text(name.upper())}" 1 "" "colony {_text(__version__)}" "colony"'
    lines = [head, ".SH NAME", rf"{_text(name)} \- {_text(summary)}", *sections]
    return "\n".join(lines) + "\n"


def _sections(*sections: tuple[str, Iterable[str]]) -> Iterator[str]:
    for title, lines in sections:
        yield f".SH {title}"
        yield from lines


def _term(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{_text(term)}\fR"
    yield _text(meaning)


_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def _text(text: str) -> str:
    """``text`` as roff prints it: no escape, no request, hyphens that can be searched for and copied."""
    for letter, escape in _ESCAPES.items():
        text = text.replace(letter, escape)
    return rf"\&{text}" if text.startswith(".") else text
