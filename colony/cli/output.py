"""
Says what happened: lines for people as it happens, or one JSON document at the end; errors in one line on stderr.

A reader of our output who has gone away is no error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from colony.core.check import Problem


class Output:
    """
    Where one verb says what it did.

    ``document`` is what ``--json`` prints, built up as the verb goes; ``highest`` is the exit code that is used for
    every higher one; ``streams`` is whether it says lines that may never end.
    """

    def __init__(self) -> None:
        self.json = False
        self.highest = 255
        self.action = "do that"
        self.document: dict[str, Any] = {}
        self.streams = False
        self._open = sys.stdout is not None  # it is None where descriptor 1 was closed
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Names and reasons may hold what the terminal's encoding has no letter for.
            sys.stdout.reconfigure(errors="backslashreplace")

    def say(self, line: str) -> None:
        """One line or more for people, on stdout."""
        if not self.json:
            self._write(f"{line}\n")

    def note(self, line: str) -> None:
        """One line that a person should know, on stderr."""
        if sys.stderr is not None:
            with suppress(OSError):  # nobody is left to be told
                print(f"colony: {visible(line)}", file=sys.stderr, flush=True)

    def fail(self, message: str, code: int, problems: Sequence[Problem] = ()) -> int:
        """The end of a verb that could not do it."""
        code = min(code, self.highest)
        self.document |= {
            "error": message,
            "code": code,
            "problems": [{"path": path, "message": text} for path, text in problems],
        }
        self.note(message)
        return self.end(code)

    def stream(self, line: str) -> None:
        """One line of many, for people or a JSON document of its own; there is none at the end then but an error."""
        self.streams = True
        self._write(f"{line}\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, of much that may never end."""
        self.streams = True
        try:
            if self._open:
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
        except BrokenPipeError:
            self._close()

    @property
    def heard(self) -> bool:
        """Is anybody left to read on, as far as is known?"""
        return self._open

    def pause(self, seconds: float) -> bool:
        """Let out what was said so far, and wait; is anybody left to read on?"""
        import select

        try:
            if self._open:
                sys.stdout.flush()
        except BrokenPipeError:
            self._close()
        if not self._open:
            return False
        reader = select.poll()
        reader.register(sys.stdout.fileno(), 0)  # a pipe that nobody reads any more is an error at once
        gone = any(event & (select.POLLERR | select.POLLNVAL) for _, event in reader.poll(seconds * 1000))
        if gone:
            self._close()
        return not gone

    def end(self, code: int) -> int:
        """The end of a verb; the exit code, which is 1 if stdout did not take all of it."""
        if self.json and (not self.streams or "error" in self.document):
            self._write(f"{json.dumps(self.document)}\n")
        try:
            if self._open:
                sys.stdout.flush()
        except BrokenPipeError:
            self._close()
        except OSError as error:
            self._close()
            self.note(f"cannot write to stdout: {(error.strerror or str(error)).lower()}")
            return min(code, self.highest) or 1
        return min(code, self.highest)

    def _write(self, text: str) -> None:
        try:
            if self._open:
                sys.stdout.write(text)
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        # What is still buffered would fail once more when the interpreter ends.
        self._open = False
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, sys.stdout.fileno())
        os.close(void)


def visible(text: str) -> str:
    """One line of ``text``, its control characters as escapes: what is told of must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
