"""A file that a process touches shows that it is alive."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colony.core.model import Beat
from colony.runtime.mounts import Mounts
from tests.runtime.attendance import Attendance, attending
from tests.runtime.loop import Loop

# Any is what os.stat takes.


@pytest.fixture
def here(loop: Loop, tmp_path: Path) -> Iterator[Attendance]:
    with attending(loop, tmp_path) as attendance:
        yield attendance


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    return tmp_path / "beat"


def touch(path: Path, second: int) -> None:
    path.touch()
    os.utime(path, (second, second))


def test_a_touch_between_two_looks_is_well_and_none_is_trouble(here: Attendance, beat: Path) -> None:
    touch(beat, 1000)
    here.attend(Beat(str(beat)), every=0.2)
    touch(beat, 1001)
    assert here.next(2) == [None, f"{beat} was not touched"]
    touch(beat, 900)
    assert here.next(2) == [None, f"{beat} was not touched"]


def test_what_was_touched_before_it_was_looked_after_does_not_count(here: Attendance, beat: Path) -> None:
    touch(beat, 1000)
    here.attend(Beat(str(beat)))
    assert here.next() == [f"{beat} was not touched"]


def test_a_file_that_is_not_there_is_trouble_until_it_is(here: Attendance, beat: Path) -> None:
    here.attend(Beat(str(beat)))
    assert here.next(2) == [f"{beat}: No such file or directory"] * 2
    touch(beat, 1000)
    assert here.next() == [None]


def test_a_file_that_is_replaced_is_touched(here: Attendance, beat: Path) -> None:
    touch(beat, 1000)
    here.attend(Beat(str(beat)))
    new = beat.with_name("beat.new")
    touch(new, 2000)
    new.replace(beat)
    assert here.next() == [None]


def test_a_relative_path_is_below_the_directory_of_the_process(here: Attendance, beat: Path) -> None:
    here.attend(Beat("beat"), cwd="${env:WHERE}/.", env=(("WHERE", str(beat.parent)),))
    [trouble] = here.next()
    assert trouble == f"{beat.parent}/./beat: No such file or directory"
    touch(beat, 1000)
    assert here.next() == [None]


def test_where_the_directory_has_no_name_any_more_the_file_is_not_found(here: Attendance) -> None:
    here.attend(Beat("beat"), cwd="/${env:UNSET}")
    assert here.next() == ["/${env:UNSET}/beat: No such file or directory"]


def test_a_look_that_hangs_stops_nobody_and_is_not_repeated(
    here: Attendance, beat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(beat, 1000)
    monkeypatch.setattr(Mounts, "may_hang", lambda self, path: "beat" in path)
    hang, looks = threading.Event(), []
    real = os.stat

    def stat(path: str, **how: Any) -> os.stat_result:
        if path == str(beat):
            looks.append(path)
            hang.wait()
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    here.attend(Beat(str(beat)), timeout=0.1)
    assert here.next(2) == [f"{beat} could not be looked at within 0.1 s"] * 2
    assert len(looks) == 1
    hang.set()
    here.loop.until(lambda: len(looks) > 1)
    touch(beat, 1001)
    assert None in here.next(3)
    monkeypatch.undo()


def test_without_a_thread_to_be_had_nothing_is_told(
    here: Attendance, beat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Mounts, "may_hang", lambda self, path: True)
    monkeypatch.setattr(threading.Thread, "start", start)
    here.attend(Beat(str(beat)))
    here.loop.during(0.2)
    assert here.told == []
