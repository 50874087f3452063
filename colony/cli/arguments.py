"""
Takes a command line apart, so that every value arrives as it was typed.

argparse alone would not do: it takes a value that begins with a dash for an option, loses a value that is ``--``
(seen in Python 3.11), and wants positionals side by side. So the words are sorted first, as getopt_long(3) sorts
them, and argparse gets the options alone, each with its value in the same word.
"""

from __future__ import annotations

import argparse
import os
from collections import namedtuple

from colony.ctllib import WAIT_SECONDS

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

FLAGS = frozenset(
    "-h --help --version --json --dry-run --diff --wait --no-answer --essential --rolling --all --order"
    " --expand-env -f --follow --once".split()
)
"""The options that take no value; every other one takes the next word, whatever that looks like."""

_MARK = "="
"""Begins every value on its way through argparse, so that none is empty, ``--``, or looks like an option."""


class Usage(Exception):
    """What is wrong with a command line, in one line."""


class Words(namedtuple("Words", ("options", "positionals", "tail"))):
    """A command line, sorted: options as argparse takes them; positionals; what follows ``--``, None without one."""

    __slots__ = ()
    options: list[str]
    positionals: list[str]
    tail: list[str] | None


def sort(argv: list[str]) -> Words:
    """Tell options with their values from positionals. Raises Usage for a flag that is given one."""
    options: list[str] = []
    positionals: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return Words(options, positionals, list(words))
        if not word.startswith("-") or word == "-":
            positionals.append(word)
            continue
        if word.startswith("--"):
            name, equals, value = word.partition("=")
        else:
            name, equals, value = word[:2], word[2:], word[2:].removeprefix("=")
        if name in FLAGS:
            if equals:
                raise Usage(f"{name} takes no value")
            options.append(name)
            continue
        if not equals:
            following = next(words, None)
            if following is None:  # who knows the options says whether it is one
                options.append(name)
                break
            value = following
        options.append(f"{name}={_MARK}{value}")
    return Words(options, positionals, None)


class Parser(argparse.ArgumentParser):
    """The options of one verb; those that every verb has are there already."""

    def __init__(self, verb: str, usage: str, summary: str) -> None:
        super().__init__(
            prog=f"colony {verb}",
            usage=" ".join(["colony", verb, *usage.split(), "[options]"]),
            description=f"{summary[0].upper()}{summary[1:]}.",
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        self.add_argument("-h", "--help", action="store_true", help="show this and end")
        self.value("--config", metavar="DIR", help="one file a process (COLONY_CONFIG)")
        self.value("--messages", metavar="DIR", help="requests (COLONY_MESSAGES)")
        self.value("--state", metavar="DIR", help="what is (COLONY_STATE; else found by the others)")
        self.flag("--json", "answer in JSON, errors too")

    def flag(self, name: str, meaning: str) -> None:
        """Add an option without a value."""
        self.add_argument(name, action="store_true", help=meaning)

    def value(self, *names: str, convert: Callable[[str], Any] = str, **more: Any) -> None:
        """Add an option with a value; ``convert`` may raise ValueError, whose text says what was expected."""

        def type(text: str) -> Any:
            try:
                return convert(text.removeprefix(_MARK))
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from None

        self.add_argument(*names, type=type, **more)

    def wait_timeout(self) -> None:
        """Add the bound, in seconds, of waiting for an effect."""
        self.value("--wait-timeout", metavar="S", convert=seconds, default=WAIT_SECONDS, help="at most so long (60)")

    def parse(self, words: Words) -> argparse.Namespace:
        """The values; positionals are not looked at. Raises Usage."""
        options, unknown = self.parse_known_args(words.options)
        if unknown:
            name = unknown[0].partition("=")[0]
            raise Usage(f"unknown option {name} of {self.prog}")
        return options

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        name, _, fault = message.partition(": ")
        raise Usage(f"{name} needs a value" if fault == "expected one argument" else message)


class _Formatter(argparse.HelpFormatter):
    """Knows its width: argparse would import shutil to ask for it, which costs 5 ms, also when nobody wants help."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size().columns
        except OSError:
            width = 100
        super().__init__(prog, max_help_position=30, width=max(width - 2, 40))


def integer(text: str) -> int:
    """A whole number."""
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, from 0 to 1e9."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1e9:
        raise ValueError(f"{text[:40]!r} is not a number of seconds")
    return value


def count(text: str) -> int:
    """A whole number, from 0."""
    if not text.isdecimal():
        raise ValueError(f"{text[:40]!r} is not a number")
    return int(text)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str) -> float:
    """
    A moment, in seconds since the epoch: so long ago (``90s``, ``2h30m``, ``3d``), or an ISO date, time or both.

    What names no time zone is local.
    """
    import re
    import time
    from datetime import datetime

    if re.fullmatch(r"(\d+[smhdw])+", text):
        return time.time() - sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(.)", text))
    for written in (text, f"{time.strftime('%Y-%m-%d')}T{text}"):
        try:
            return datetime.fromisoformat(written).timestamp()
        except ValueError:
            continue
    raise ValueError(f"{text[:40]!r} is neither how long ago (2h30m) nor a date or time (2026-11-21T22:18)")


def names(words: Words, given: list[str] | None, *, least: int = 1, what: str = "NAME") -> list[str]:
    """The names that positionals and ``--name`` agree on. Raises Usage if they do not, or are fewer than ``least``."""
    positional = [*words.positionals, *(words.tail or ())]
    if given and positional and given != positional:
        raise Usage(f"two different {what}s: {' '.join(positional)}, and by option {' '.join(given)}")
    found = positional or given or []
    if len(found) < least:
        raise Usage(f"needs a {what}")
    return found


def none_left(words: Words) -> None:
    """Raises Usage if there are positionals that the verb has no use for."""
    if left := [*words.positionals, *(words.tail or ())]:
        raise Usage(f"takes no {left[0][:40]!r}")
