"""docs/how-to/find-out-why.md is true: each failure is brought about, and each command prints what the page says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.driver import Colony

pytestmark = pytest.mark.live

PAGE = (Path(__file__).parents[2] / "docs/how-to/find-out-why.md").read_text("utf-8")


def blocks(kind: str) -> Iterator[str]:
    """The page's blocks of that kind, in order."""
    for match in re.finditer(r"(?ms)^```(\w+)\n(.*?)^```$", PAGE):
        if match[1] == kind:
            yield match[2]


FILES = dict(re.findall(r"(?ms)^`CONFIG/(\w+)`:\n\n```json\n(.*?)^```$", PAGE))
COMMANDS = [text.removeprefix("$ colony ").partition("\n") for text in blocks("console")]

VARIES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r"\b(in|up) \d+[smhd](\d+[smhd])?", r"\1 AGE"),
    (r"\b\d+[smhd](\d+[smhd])? ago", "AGE ago"),
    (r"\(\d+\)", "(PID)"),
    (r"supervisor \d+", "supervisor PID"),
    (r" +", " "),
)
"""What is another one each time, and its place in a pattern."""


def plain(text: str) -> str:
    """The text without what varies."""
    for pattern, place in VARIES:
        text = re.sub(pattern, place, text)
    return text.strip()


def says(expected: str, printed: str) -> bool:
    """Is that what was printed?  ``...`` stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line) + r" ?\n" for line in plain(expected).splitlines()
    )
    return re.fullmatch(pattern, plain(printed) + "\n") is not None


def test_the_page_tells_of_six_failures() -> None:
    assert len(FILES) == 6
    assert len(COMMANDS) >= 7
    assert PAGE.count("\n## ") == 6


def test_every_failure_looks_as_the_page_says(place: Colony) -> None:
    for name, text in FILES.items():
        place.write_bytes(name, text.encode())
    place.start("--minrestartdelay", "300")  # so that all stays as it is while we look
    settled = {"failed", "backoff"}
    place.wait_for(lambda: all(place.status(name).get("state") in settled for name in FILES))
    place.wait_for(lambda: place.status("cart")["state"] == "failed")

    for command, _, expected in COMMANDS:
        result = place.ctl(*shlex.split(command))
        assert result.returncode == (3 if command.startswith("status") else 0), result.stderr
        assert says(expected, result.stdout), f"$ colony {command}\n{plain(result.stdout)}\n--- not\n{plain(expected)}"
    for line in "".join(blocks("text")).splitlines():
        assert place.said(line), f"the log lacks: {line}"
