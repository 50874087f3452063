"""What another program's file is made into: processes with their names, and what could not be carried over."""

from __future__ import annotations

import configparser
import os
import re
from collections import Counter, namedtuple

from colony.core import check
from colony.ctllib import INVALID, Refused

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    # Any is a JSON value here.
    Sections = dict[str, dict[str, str]]


class Asked(namedtuple("Asked", ("everything", "order", "expand_env", "port"), defaults=(False, False, False, None))):
    """
    What the user wants of an import.

    ``everything``: also what is not to start by itself. ``order``: priorities become ``after``. ``expand_env``:
    variables are what they are now. ``port``: of the first line of a Procfile, None for what is usual there.
    """

    __slots__ = ()
    everything: bool
    order: bool
    expand_env: bool
    port: int | None


class Left(namedtuple("Left", ("section", "option", "why"))):
    """What was not carried over; ``option`` is empty for a whole section."""

    __slots__ = ()
    section: str
    option: str
    why: str

    def __str__(self) -> str:
        return f"{self.section} {self.option}: {self.why}" if self.option else f"{self.section}: {self.why}"


class Process(namedtuple("Process", ("section", "program", "name", "definition", "rank"))):
    """One process to be: ``name`` is what the other program calls it, ``rank`` sorts by its priority."""

    __slots__ = ()
    section: str
    program: str
    name: str
    definition: dict[str, Any]
    rank: tuple[int, ...]


class Imported:
    """What one file has become; its reader fills it."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.left: list[Left] = []
        self.missing: list[str] = []
        """Programs that should run, and of which nothing could be made."""

    def leave(self, section: str, option: str, why: str) -> None:
        """Say, once, that something was not carried over."""
        left = Left(section, option, why)
        if left not in self.left:
            self.left.append(left)

    def miss(self, section: str, program: str, why: str) -> None:
        """Say that a program could not be carried over at all."""
        self.missing.append(program)
        self.leave(section, "", f"not written: {why}")

    def definitions(self, order: bool) -> dict[str, dict[str, Any]]:
        """
        The definitions by the names that they get here.

        A name that several have gets its program's before it, one that is no name here is changed; both are said.
        With ``order``, each rank is after the one before. Raises Refused if two names are still the same.
        """
        often = Counter(process.name for process in self.processes)
        found: dict[str, dict[str, Any]] = {}
        ranks: dict[tuple[int, ...], list[str]] = {}
        for process in self.processes:
            name = process.name if often[process.name] == 1 else f"{process.program}_{process.name}"
            name = _fitting(name)
            if name in found:
                raise refused(process.section, "", f"a second process {name}")
            if name != process.name:
                self.leave(process.section, "", f"{process.name} is called {name} here")
            found[name] = process.definition
            ranks.setdefault(process.rank, []).append(name)
        if order:
            before: list[str] = []
            for _, names in sorted(ranks.items()):
                for name in names:
                    if before:
                        found[name]["after"] = before
                before = names
        return found


def refused(section: str, option: str, why: str) -> Refused:
    """The exception for a file that cannot be read as what it is said to be."""
    where = str(Left(section, option, why))
    return Refused(where, [check.Problem(f"{section} {option}".strip(), why)], INVALID)


def _fitting(name: str) -> str:
    """A name of ours that is like ``name``."""
    fit = re.sub(r"[^A-Za-z0-9._@+-]", "_", name)[: check.MAX_NAME_BYTES - 1]
    if not re.match("[A-Za-z0-9_]", fit):
        fit = f"_{fit}"
    return f"{fit}_" if check.name_problem(fit) else fit


# -- reading --------------------------------------------------------------------------------------------------


def text_of(path: str) -> str:
    """What a file holds. Raises OSError, and Refused for what is no text."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(path, "", f"not UTF-8 at byte {error.start}") from None


def sections(parser: configparser.RawConfigParser, path: str) -> Sections:
    """The sections of an ini file, as ``parser`` understands it. Raises OSError and Refused."""
    try:
        parser.read_string(text_of(path), path)
        return {section: dict(parser.items(section)) for section in parser.sections()}
    except configparser.Error as error:
        raise refused(path, "", _fault(error)) from None


def _fault(error: configparser.Error) -> str:
    """What configparser says, without the file, which its caller says."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: no [section] before {str(error.line).strip()[:40]!r}"
    return " ".join(str(error).split())


class Options:
    """The options of one section, taken one by one; what nobody takes is told of at the end."""

    def __init__(self, section: str, options: Mapping[str, str]) -> None:
        self.section = section
        self.rest = dict(options)

    def __contains__(self, option: str) -> bool:
        return option in self.rest

    def take(self, option: str) -> str | None:
        """The text of an option; None if it is not there."""
        return self.rest.pop(option, None)

    def take_all(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Those that begin so, and their texts."""
        for option in [option for option in self.rest if option.startswith(prefix)]:
            yield option, self.rest.pop(option)

    def leave_rest(self, imported: Imported, reasons: Mapping[str, str], otherwise: str = "unknown") -> None:
        """Say of each that is left why it is not carried over."""
        for option in self.rest:
            imported.leave(self.section, option, f"not carried: {reasons.get(option, otherwise)}")


def integer(section: str, option: str, text: str) -> int:
    """A whole number. Raises Refused."""
    try:
        return int(text)
    except ValueError:
        raise refused(section, option, f"{text[:40]!r} is not a whole number") from None


def number(section: str, option: str, text: str) -> float:
    """A number that is none less than 0; a whole one without a fraction. Raises Refused."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1e9:
        raise refused(section, option, f"{text[:40]!r} is not a number of seconds")
    return int(value) if value.is_integer() else value


def boolean(section: str, option: str, text: str) -> bool:
    """Yes or no, as both supervisord and circus write it. Raises Refused."""
    match text.strip().lower():
        case "yes" | "true" | "on" | "t" | "1":
            return True
        case "no" | "false" | "off" | "f" | "0":
            return False
        case _:
            raise refused(section, option, f"{text[:40]!r} is neither true nor false")


def signal_name(section: str, option: str, text: str) -> str:
    """The name of a signal that is given by name or number. Raises Refused."""
    import signal  # here: an enum of 35 members is slow to build

    text = text.strip()
    try:
        name = signal.Signals(int(text)).name if text.isdigit() else text
    except ValueError:
        name = ""
    found = check.signal_name(name)
    if found is None:
        raise refused(section, option, f"{text[:40]!r} is no signal")
    return found


def octal(section: str, option: str, text: str) -> str:
    """A umask as the format has it. Raises Refused."""
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise refused(section, option, f"{text[:40]!r} is no umask")
    return f"{value:03o}"


def ladder(signal: str, seconds: float, *, main: bool) -> list[list[Any]]:
    """A ladder of one step; ``main``: to the main process alone, which KILL cannot be."""
    return [[signal, seconds, "main"] if main and signal != "KILL" else [signal, seconds]]


# -- variables that are not known yet --------------------------------------------------------------------------


class Later:
    """
    Variables whose values are not known before a start: each is one character while a text is taken apart.

    So quotes and white space in a value, whatever it will be, cannot change where the text is split.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        taken = set().union(*texts)
        self._free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in taken)
        self._marks: dict[str, str] = {}

    @property
    def marks(self) -> str:
        """All characters that stand for a variable."""
        return "".join(self._marks.values())

    def mark(self, name: str) -> str:
        """The character that stands for a variable."""
        if name not in self._marks:
            self._marks[name] = next(self._free)
        return self._marks[name]

    def names(self, text: str) -> list[str]:
        """The variables that ``text`` asks for."""
        return [name for name, mark in self._marks.items() if mark in text]

    def settle(self, text: str) -> str:
        """``text`` as a process file has it: ``${env:NAME}`` for each variable; one that was there is a literal."""
        text = text.replace("${env:", "$${env:")
        for name, mark in self._marks.items():
            text = text.replace(mark, f"${{env:{name}}}")
        return text

    def settle_quoted(self, text: str) -> str:
        """The same for words that shlex.join has quoted for a shell: it takes the values itself, as they are."""
        text = text.replace("${env:", "$${env:")
        for name, mark in self._marks.items():
            text = text.replace(mark, f"'\"${{{name}}}\"'")
        return text

    def now(self, text: str) -> str:
        """``text`` with the variables as they are at this moment. Raises KeyError."""
        for name in self.names(text):
            text = text.replace(self._marks[name], os.environ[name])
        return text
