"""Marks are few, small, and enough to tell by time what is in a log."""

from __future__ import annotations

import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest

from colony.logs import times
from colony.runtime import marks
from colony.runtime.marks import COARSER, MAX_BYTES, Marks


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(marks, "time", clock)
    return clock


class Desk:
    """A log, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "web.log"
        self.path.touch()
        self.marks = Marks(str(self.path))

    def at(self, size: int, moment: int) -> os.stat_result:
        os.truncate(self.path, size)
        os.utime(self.path, ns=(moment, moment))
        return self.path.stat()

    def made(self) -> list[times.Mark]:
        return times.marks(str(self.path))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_mark_is_made_once_a_second_where_something_was_written(desk: Desk, clock: Clock) -> None:
    for step in range(100):  # ten seconds, and a write every tenth of a second of the first five
        desk.marks.note(desk.at(min(step, 50), min(step, 50) + 1))
        clock.now += 0.1
    sizes = [size for _, size, _ in desk.made()]
    assert (sizes[0], sizes[-1], len(sizes)) == (0, 50, 6)
    assert all(9 < later - size < 12 for size, later in pairwise(sizes[:-1]))
    assert stat.S_IMODE((desk.path.parent / ".web.log.times").stat().st_mode) == 0o600


def test_what_was_written_last_before_a_long_silence_is_marked_before_what_ends_it(desk: Desk, clock: Clock) -> None:
    desk.marks.note(desk.at(0, 1))
    desk.at(5, 2)
    clock.now += 3600
    desk.marks.note(desk.path.stat())
    assert desk.made() == [(1, 0, None), (2, 5, None)]


def test_a_cut_and_another_file_and_an_end_are_marked_at_once(desk: Desk, clock: Clock) -> None:
    desk.marks.begin(desk.at(7, 1), anew=False)
    desk.marks.note(desk.at(2, 2))
    desk.marks.begin(desk.at(0, 3), anew=True)
    desk.marks.end(4, 9, 123)
    assert desk.made() == [(1, 7, None), (2, 2, 0), (3, 0, 0), (4, 9, 123)]


def test_marks_do_not_become_many_and_the_youngest_stay(desk: Desk, clock: Clock) -> None:
    for step in range(30_000):
        found = desk.at(step, 1_800_000_000_000_000_000 + step * 1_000_000_000)
        if step % 1000 == 999:
            desk.marks.end(found.st_mtime_ns, found.st_size, 7)
        else:
            desk.marks.note(found)
        clock.now += 1
    made = desk.made()
    assert os.path.getsize(desk.path.parent / ".web.log.times") <= MAX_BYTES + 100
    assert made == sorted(made)
    assert [mark.size for mark in made[-1000:]] == list(range(29_000, 30_000))
    assert len([mark for mark in made if mark.pid == 7]) == 30
    assert made[0].size < 60
    ages = [(30_000 - later.size, later.size - one.size) for one, later in pairwise(made)]
    assert all(gap <= max(1, 2 * age / COARSER) for age, gap in ages)


def test_that_no_mark_can_be_made_hurts_nobody(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / ".web.log.times").mkdir()
    desk.marks.begin(desk.path.stat(), anew=False)
    desk.marks.end(1, 1, 1)


def test_half_a_mark_is_taken_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.marks.end(1, 1, 5)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        desk.marks.end(2, 2, 6)
    desk.marks.end(3, 3, 7)
    assert desk.made() == [(1, 1, 5), (3, 3, 7)]
