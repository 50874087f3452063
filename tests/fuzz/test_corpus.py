"""What fuzzing has found worth keeping, tried again in every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.oracle import holds, is_one_line

CORPUS = sorted(Path(__file__).with_name("corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_any_bytes_are_accepted_or_refused_by_all_alike(path: Path) -> None:
    holds(path.read_bytes())


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) > 50


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\ud800", "\x00"])
def test_what_a_terminal_or_a_log_suffers_from_is_no_line(text: str) -> None:
    assert not is_one_line(text)
