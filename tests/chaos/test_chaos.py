"""Random edits, messages, kills and supervisors: whatever the order, one oracle holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.chaos.run import LENGTH, plan, run

pytestmark = [
    pytest.mark.live,
    pytest.mark.chaos,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock(1) of util-linux"),
]

MANY = range(1, 21)


def test_a_plan_is_the_same_each_time() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


@pytest.mark.slow
def test_a_little_chaos(tmp_path: Path) -> None:
    is_kept(1, tmp_path, length=28)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_more_chaos(seed: int, tmp_path: Path) -> None:
    is_kept(seed, tmp_path)


def is_kept(seed: int, folder: Path, length: int = LENGTH) -> None:
    """Does the oracle hold?  The steps, and how to take them again, are printed where it does not."""
    wrong = run(seed, folder, length)
    assert not wrong, "\n".join(wrong)
