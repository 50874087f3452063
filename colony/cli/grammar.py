"""What may be typed after each verb, as data: made of its parser and its usage, for completion and manual pages."""

from __future__ import annotations

import re
from argparse import SUPPRESS
from collections import namedtuple

from colony import cli

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Action

KINDS = {"NAME": "name", "PATH": "file", "FILE": "file", "DIR": "directory", "SIGNAL": "signal"}
"""What a word in a usage, or the name of an option's value, stands for; anything else is nothing known."""


LITTER = "new tmp swp swx bak orig rej rpmsave rpmnew rpmorig dpkg-* ucf-*".split()
"""The endings of files in CONFIG that are no processes', as patterns of a shell."""


class Option(namedtuple("Option", ("names", "value", "kind", "help"))):
    """
    One option of a verb.

    ``value`` is what its value is called, None for a flag; ``kind`` is one of `KINDS`, ``words A B`` for those to
    choose from, or empty.
    """

    __slots__ = ()
    names: tuple[str, ...]
    value: str | None
    kind: str
    help: str


class Grammar(namedtuple("Grammar", ("verb", "usage", "summary", "options", "positionals", "repeats"))):
    """One verb; ``positionals`` are kinds as an option's, the last one for all that follow if it ``repeats``."""

    __slots__ = ()
    verb: str
    usage: str
    summary: str
    options: tuple[Option, ...]
    positionals: tuple[str, ...]
    repeats: bool


def everything() -> list[Grammar]:
    """Every verb."""
    return [of(verb) for verb in cli.VERBS]


def of(verb: str) -> Grammar:
    """What a verb takes."""
    usage, summary = cli.VERBS[verb].usage, cli.VERBS[verb].summary
    _, parser = cli.parser(verb)
    choices = {option: f"words {words.replace('|', ' ')}" for option, words in _CHOICE.findall(usage)}
    found = tuple(
        Option(tuple(action.option_strings), *_value(action, choices), (action.help or "").replace("%%", "%"))
        for action in parser._actions  # argparse has no other door to what was added
        if action.help is not SUPPRESS
    )
    words = _BRACKETED_OPTION.sub("", usage.split(" | ")[0]).split()
    kinds = tuple(_kind(word.strip("[].")) for word in words)
    return Grammar(verb, usage, summary, found, kinds, any("..." in word for word in words))


def common(every: list[Grammar]) -> tuple[Option, ...]:
    """The options that each verb has, the same ones."""
    return tuple(option for option in every[0].options if all(option in each.options for each in every))


def flags(every: list[Grammar]) -> str:
    """The options that take no value, of whatever verb, with spaces between them."""
    options = (option for each in every for option in each.options if option.value is None)
    return " ".join(sorted({name for option in options for name in option.names}))


def names(options: tuple[Option, ...]) -> str:
    """What options are called, with spaces between them; of two names the longer one."""
    return " ".join(option.names[-1] for option in options)


def signals() -> str:
    """The signals there are, but for the real-time ones, with spaces between them."""
    import signal  # here: an enum of 35 members is slow to build

    return " ".join(each.name.removeprefix("SIG") for each in signal.Signals if not each.name.startswith("SIGRT"))


def filled(script: str, **parts: str) -> str:
    """``script`` with each ``@NAME@`` replaced by that part."""
    for name, part in parts.items():
        script = script.replace(f"@{name}@", part)
    return script


_CHOICE = re.compile(r"(--[a-z-]+) ([a-z]+(?:\|[a-z]+)+)")
_BRACKETED_OPTION = re.compile(r"\[--[^]]*\](?:\.\.\.)?")


def _value(action: Action, choices: dict[str, str]) -> tuple[str | None, str]:
    """What an option's value is called, and its kind."""
    if action.nargs == 0:
        return None, ""
    name = str(action.metavar)
    return name, choices.get(action.option_strings[-1]) or _kind(name)


def _kind(word: str) -> str:
    if word == "VERB":
        return f"words {' '.join(cli.VERBS)}"
    return f"words {word.replace('|', ' ')}" if "|" in word else KINDS.get(word, "")
