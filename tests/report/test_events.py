"""What ``events.jsonl`` says of what happens, and that neither its size nor a full disk troubles anybody."""

from __future__ import annotations

import errno
import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
from pyrsistent import pmap

from colony.core.check import Problem
from colony.core.desired import Desired, Readable
from colony.core.ending import Ending
from colony.core.lifecycle import Backoff, Down, Running, Spawning, Starting, Stopping, Unit, Up
from colony.core.model import Exit, Name, Pid, ProcessSpec, default_ladder
from colony.core.report import Report, Transition
from colony.report import events
from colony.report.events import EventsFile
from colony.report.status import Clocks

# Any is a JSON value.

WEB = Name("web")
SPEC = ProcessSpec(("web",), "d1")
CLOCKS = Clocks(monotonic=lambda: 100.0, wall=lambda: 1795299483.5)
"""It is 22:18:03.5, and 100 s after the machine was started."""
PROCESS = Running(Pid(8), SPEC, 1, 90.0)
THERE = Desired(files=pmap({"web": Readable(b"")}))
NEW = Unit(WEB, SPEC, generation=1)
ORDERED = attrs.evolve(NEW, state=Spawning(SPEC, 1))
UP = attrs.evolve(NEW, state=Up(PROCESS), starts=1)
STOPPING = attrs.evolve(UP, held=True, state=Stopping(PROCESS, Ending(default_ladder(5), 0, 105.0), asked=True))

to = attrs.evolve


def ended(unit: Unit, exit: Exit, at: float = 99.0) -> Unit:
    return to(unit, last_exit=exit, last_exit_at=at, last_exit_of=Pid(8))


class Book:
    """The file, and what is told to whom writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complaints: list[str] = []
        self.file = self.another()

    def another(self) -> EventsFile:
        return EventsFile(str(self.path), 0o640, None, CLOCKS, self.complaints.append)

    def happen(self, *units: Unit, desired: Desired = THERE, at: float = 99.5) -> list[dict[str, Any]]:
        """Each of these became the next one; the events that are new then."""
        before = len(self.told())
        transitions = tuple(Transition(*pair, at) for pair in pairwise(units))
        self.file(Report(pmap({WEB: units[-1]}), desired, frozenset(), transitions))
        return self.told()[before:]

    def move(self, unit: Unit | None, desired: Desired = THERE) -> list[dict[str, Any]]:
        """Nothing has happened to it, yet it is another one; the events that are new then."""
        before = len(self.told())
        self.file(Report(pmap({} if unit is None else {WEB: unit}), desired, frozenset([WEB])))
        return self.told()[before:]

    def told(self, suffix: str = "") -> list[dict[str, Any]]:
        path = self.path / f"events.jsonl{suffix}"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def brief(told: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["from"], one["to"], one["why"], one["pid"], one["exit"]) for one in told]


def test_a_start_is_one_event_with_all_that_is_known(book: Book) -> None:
    assert book.happen(Unit(WEB), ORDERED, UP) == [
        {
            "at": "2026-11-21T22:18:03.000000Z",
            "name": "web",
            "from": None,
            "to": "running",
            "why": "started",
            "pid": 8,
            "exit": None,
            "starts": 1,
            "streak": 0,
            "next_start": None,
        }
    ]


def test_a_start_that_is_to_become_ready_is_two(book: Book) -> None:
    starting = to(UP, state=Starting(PROCESS, 200.0))
    assert brief(book.happen(Unit(WEB), ORDERED, starting, UP)) == [
        (None, "starting", "started; not ready yet", 8, None),
        ("starting", "running", "ready", 8, None),
    ]


def test_a_start_that_fails_is_told_each_time(book: Book) -> None:
    def failed(times: int) -> Unit:
        return to(NEW, state=Backoff(104.0, 1), streak=times, trouble="cannot start: no such file: /opt/web")

    told = book.happen(Unit(WEB), ORDERED, failed(1), ORDERED, failed(2))
    assert brief(told) == [
        (None, "backoff", "cannot start: no such file: /opt/web; early deaths in a row: 1", None, None),
        ("backoff", "backoff", "cannot start: no such file: /opt/web; early deaths in a row: 2", None, None),
    ]
    assert [one["streak"] for one in told] == [1, 2]
    assert told[0]["next_start"] == "2026-11-21T22:18:07.500000Z"


def test_an_end_is_told_with_its_exit_and_the_pid_that_was(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP)
    early = ended(to(UP, state=Backoff(104.0, 1), streak=1), Exit(3))
    assert brief(book.happen(UP, early)) == [
        ("running", "backoff", "exited with code 3; early deaths in a row: 1", 8, {"code": 3, "signal": None})
    ]


def test_an_end_after_which_it_is_started_at_once_is_told_too(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP)
    again = ended(to(UP, state=Spawning(SPEC, 1)), Exit(None, "KILL"))
    assert brief(book.happen(UP, again, to(again, state=Up(Running(Pid(9), SPEC, 1, 99.0)), starts=2))) == [
        ("running", "starting", "killed by KILL", 8, {"code": None, "signal": "KILL"}),
        ("starting", "running", "started", 9, None),
    ]


def test_a_stop_is_told_when_it_begins_and_when_it_is_done(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP)
    down = to(ended(STOPPING, Exit(None, "TERM")), state=Down(), sent="TERM")
    assert brief(book.happen(UP, STOPPING, down)) == [
        ("running", "stopping", "a STOP is in force; sent TERM", 8, None),
        ("stopping", "stopped", "a STOP is in force; sent TERM, killed by TERM", 8, {"code": None, "signal": "TERM"}),
    ]


def test_an_end_that_leaves_others_behind_says_how_it_was(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP, STOPPING)
    ending = Ending(default_ladder(5), 0, 105.0)
    left = ended(to(UP, held=True, state=Stopping(PROCESS, ending, asked=True, exit=Exit(0), ended=99.0)), Exit(0))
    assert brief(book.happen(STOPPING, left)) == [
        (
            "stopping",
            "stopping",
            "exited with code 0; a STOP is in force; sent TERM",
            8,
            {"code": 0, "signal": None},
        )
    ]


def test_what_becomes_known_of_an_exit_later_is_told_again(book: Book) -> None:
    unknown = ended(to(UP, state=Backoff(104.0, 1), streak=1), Exit(None))
    told = book.happen(UP, unknown, ended(unknown, Exit(4)))
    assert [one["exit"]["code"] for one in told] == [None, 4]


def test_what_changes_nothing_that_shows_is_no_event(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP)
    assert book.happen(UP, to(UP, streak=2), to(UP, source=b"new")) == []
    assert book.move(UP) == []


def test_what_is_gone_for_good_is_nothing(book: Book) -> None:
    book.happen(Unit(WEB), ORDERED, UP)
    gone = to(ended(UP, Exit(0)), spec=None, state=Down(), sent="TERM")
    assert brief(book.happen(UP, gone, desired=Desired())) == [
        ("running", None, "its file was removed; sent TERM, exited with code 0", 8, {"code": 0, "signal": None})
    ]
    assert book.move(None, Desired()) == []
    assert [one["from"] for one in book.happen(Unit(WEB), ORDERED, UP)] == [None]


def test_what_was_adopted_is_told_of(book: Book) -> None:
    assert brief(book.move(UP)) == [(None, "running", "went on without a supervisor", 8, None)]


def test_a_file_that_goes_bad_and_good_is_told_once_each(book: Book) -> None:
    bad = attrs.evolve(THERE, problems=pmap({WEB: (Problem("uid", "must be an integer"),)}))
    book.happen(Unit(WEB), ORDERED, UP)
    reason = "its file is bad: uid: must be an integer; the last good one stays in force"
    assert brief(book.move(UP, bad)) == [("running", "running", reason, 8, None)]
    assert book.move(UP, bad) == []
    assert brief(book.move(UP)) == [("running", "running", "its file is good again", 8, None)]


def test_a_file_that_never_was_good_is_a_failure_and_then_gone(book: Book) -> None:
    bad = attrs.evolve(THERE, problems=pmap({WEB: (Problem("", "not JSON"),)}))
    assert brief(book.move(Unit(WEB), bad)) == [(None, "failed", "not JSON", None, None)]
    assert brief(book.move(None, Desired())) == [("failed", None, "nothing is left of it", None, None)]


def test_the_supervisor_itself_has_no_name(book: Book) -> None:
    book.file.begin("1.2")
    book.file.end()
    assert [(one["name"], one["to"], one["why"], one["pid"]) for one in book.told()] == [
        (None, "running", "colony 1.2 began", os.getpid()),
        (None, None, "ended: every process is gone", os.getpid()),
    ]


# -- the file


def test_it_has_the_mode_that_was_asked_for_whatever_the_umask(book: Book) -> None:
    before = os.umask(0o077)
    try:
        book.file.begin("1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((book.path / "events.jsonl").stat().st_mode) == 0o640


def test_it_is_rotated_once_it_is_long_and_no_event_is_lost(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_BYTES", 500)
    told = []
    for _ in range(4):
        book.file.begin("1")
        told.append(len(book.told(".1")) + len(book.told()))
    assert told == [1, 2, 3, 4]
    assert len(book.told(".1")) == 3


def test_a_file_that_is_there_is_continued(book: Book) -> None:
    book.file.begin("1")
    book.another().begin("2")
    assert [one["why"] for one in book.told()] == ["colony 1 began", "colony 2 began"]


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_file_that_somebody_took_away_is_begun_anew(book: Book, how: str) -> None:
    book.file.begin("1")
    if how == "moved":
        (book.path / "events.jsonl").rename(book.path / "mine")
    else:
        (book.path / "events.jsonl").unlink()
    book.file.begin("2")
    assert [one["why"] for one in book.told()] == ["colony 2 began"]


def test_a_full_disk_costs_events_which_are_counted_and_said(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.file.begin("1")
    write = os.write
    full = True

    def filling(descriptor: int, data: bytes) -> int:
        if not full:
            return write(descriptor, data)
        if len(data) > 400:  # the last that fits
            return write(descriptor, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", filling)
    assert book.happen(Unit(WEB), ORDERED, UP) == []
    assert book.happen(UP, STOPPING, ended(to(STOPPING, state=Down()), Exit(0))) == []
    assert book.file.dropped == 3
    assert len(book.complaints) == 1
    assert "No space left on device" in book.complaints[0]
    full = False
    told = book.happen(Unit(WEB), ORDERED, UP)
    assert [one["why"] for one in told] == ["3 events before this were lost: they could not be written", "started"]
    assert len(book.told()) == 3
    assert [one["why"] for one in book.happen(UP, STOPPING)] == ["a STOP is in force; sent TERM"]
    assert book.file.dropped == 3


def test_what_is_no_file_is_not_written_to(book: Book) -> None:
    os.mkfifo(book.path / "events.jsonl")
    book.file.begin("1")
    (book.path / "events.jsonl").unlink()
    (book.path / "events.jsonl").symlink_to(book.path / "elsewhere")
    book.file.begin("1")
    assert book.file.dropped == 2
    assert not (book.path / "elsewhere").exists()
