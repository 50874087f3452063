"""Reads a file of variables, as service managers and container engines keep them: KEY=VALUE by line."""

from __future__ import annotations

import re

MAX_BYTES = 2**20
"""Of one file; an environment may not be much larger, by Linux's ARG_MAX."""

_BLANK = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)=[ \t]*")
_QUOTED = {"'": re.compile("'([^']*+)'"), '"': re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)}
_END = re.compile(r"(?:[ \t]+#[^\n]*)?[ \t\r]*(?:\n|\Z)")
_ESCAPED = re.compile(r'\\(["\\$`]|\n)')


class Misread(Exception):
    """
    A line that is no KEY=VALUE: of which file, which line, and why.

    What the line says is not told: it may be a secret, or of a file that was meant for nobody.
    """

    def __init__(self, path: str, line: int, why: str) -> None:
        super().__init__(f"{path} line {line}: {why}")
        self.path = path
        self.line = line
        self.why = why


def parse(path: str, data: bytes) -> dict[str, str]:
    """
    The variables in ``data``, the last of one name winning; ``path`` is for errors. Raises Misread.

    In single quotes everything is itself; in double quotes ``\\`` takes the meaning from ``" \\ $ ` `` and joins lines,
    as in sh(1); unquoted, a value is the rest of its line without surrounding white space. Nothing is expanded.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Misread(path, data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None

    def wrong(at: int, why: str) -> Misread:
        return Misread(path, text.count("\n", 0, at) + 1, why)

    if (nul := text.find("\0")) >= 0:
        raise wrong(nul, "has a NUL")
    variables = {}
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        key = _KEY.match(text, at)
        if key is None:
            raise wrong(at, "is not KEY=VALUE")
        start = key.end()
        quote = text[start : start + 1]
        if quote in _QUOTED:
            quoted = _QUOTED[quote].match(text, start)
            if quoted is None:
                raise wrong(start, "has a quote that is not closed")
            end = _END.match(text, quoted.end())
            if end is None:
                raise wrong(quoted.end(), "goes on after the closing quote")
            value = quoted[1] if quote == "'" else _ESCAPED.sub(_meant, quoted[1])
            at = end.end()
        else:
            line_end = text.find("\n", start)
            at = len(text) if line_end < 0 else line_end + 1
            value = text[start:at].strip(" \t\r\n")
        variables[key[1]] = value
    return variables


def _meant(escaped: re.Match[str]) -> str:
    return "" if escaped[1] == "\n" else escaped[1]
