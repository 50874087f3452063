"""What every Relay does with lines: each is one line of the log, harmless on a terminal, and tells whose it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from colony.runtime.logs import JsonRelay, Relay, TextRelay

WALL = 1_763_763_483.123456
"""2025-11-21T22:18:03.123456Z."""


class Contract:
    """To be run over each Relay by a class with ``make`` and a way to read the lines back."""

    make: Callable[[Callable[[bytes], None], Callable[[], float]], Relay]

    def relay(self, data: bytes, name: str = "web") -> list[bytes]:
        written: list[bytes] = []
        type(self).make(written.append, lambda: WALL).lines(name, data)
        assert len(written) == 1, "written in bulk, so that nobody comes in between"
        assert written[0].endswith(b"\n")
        return written[0].splitlines(keepends=True)

    def read(self, line: bytes) -> str:
        """What the process said, out of what was written."""
        raise NotImplementedError

    def test_each_line_is_a_line_with_its_name(self) -> None:
        lines = self.relay(b"one\ntwo\n\nfour\n", "my-web@1")
        assert [self.read(line) for line in lines] == ["one", "two", "", "four"]
        assert all(b"my-web@1" in line for line in lines)

    def test_text_of_every_script_stays_as_it_is(self) -> None:
        assert [self.read(line) for line in self.relay("grüße 日本\t🐜\n".encode())] == ["grüße 日本\t🐜"]

    def test_the_end_of_a_line_may_be_that_of_windows(self) -> None:
        assert [self.read(line) for line in self.relay(b"one\r\ntwo\r\n")] == ["one", "two"]

    def test_bytes_that_are_no_utf8_are_escaped(self) -> None:
        assert [self.read(line) for line in self.relay(b"a\xff\xfeb\xc3\n")] == ["a\\xff\\xfeb\\xc3"]

    def test_no_control_character_gets_out_and_no_line_comes_of_one(self) -> None:
        everything = bytes(byte for byte in range(256) if byte != 0x0A) + "\x85\u2028\x9b31m".encode()
        [line] = self.relay(everything + b"\n")
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line[:-1])
        assert not re.search("[\x80-\x9f]", line.decode())

    def test_a_megabyte_is_a_line(self) -> None:
        [line] = self.relay(b"x" * 1_000_000 + b"\n")
        assert self.read(line) == "x" * 1_000_000


class TestText(Contract):
    make = TextRelay

    def read(self, line: bytes) -> str:
        match = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[[^\]]+\] ([^\n]*)\n", line.decode())
        assert match is not None
        return match[1]

    @pytest.mark.parametrize(
        ("said", "seen"), [(b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"), (b"a\0b", "a\\x00b"), (b"a\rb", "a\\x0db")]
    )
    def test_what_it_escaped_can_be_told(self, said: bytes, seen: str) -> None:
        [line] = self.relay(said + b"\n")
        assert self.read(line) == seen


class TestJson(Contract):
    make = JsonRelay

    def read(self, line: bytes) -> str:
        value = json.loads(line)
        assert isinstance(value["line"], str)
        return value["line"]

    def test_each_line_is_an_object_with_four_members(self) -> None:
        [line] = self.relay(b"hello\n")
        assert json.loads(line) == {
            "time": "2025-11-21T22:18:03.123456Z",
            "name": "web",
            "stream": "stdout",
            "line": "hello",
        }

    def test_control_characters_come_back_as_they_were(self) -> None:
        [line] = self.relay(b"\x1b[31m\0\x7f\n")
        assert self.read(line) == "\x1b[31m\0\x7f"
