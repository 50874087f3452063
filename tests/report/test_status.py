"""What status files say of each state, and which of them are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from pyrsistent import pmap

from colony.core.check import Problem
from colony.core.desired import Desired
from colony.core.ending import Ending
from colony.core.health import Vitals
from colony.core.lifecycle import Backoff, Down, Failed, Running, Spawning, Starting, State, Stopping, Unit, Up, Waiting
from colony.core.model import Exit, Name, Pid, ProcessSpec, default_ladder
from colony.core.report import Report
from colony.report.status import Clocks, StatusFiles, status

# Any is a JSON value.

WEB, ECHO = Name("web"), Name("echo")
SPEC = ProcessSpec(("web",), "d1", unknown=("evn",))
CLOCKS = Clocks(monotonic=lambda: 100.0, wall=lambda: 1795299483.5)
"""It is 22:18:03.5, and 100 s after the machine was started."""

UNIT = Unit(
    WEB, SPEC, generation=2, since=90.0, starts=4, streak=3, last_exit=Exit(1), last_exit_at=89.5, last_exit_of=Pid(7)
)
PROCESS = Running(Pid(8), SPEC, 2, 90.0)
LADDER = default_ladder(5)
BROKEN = Desired(problems=pmap({WEB: (Problem("restart.initial", "must be at least 0"),)}))

GOLDEN: dict[str, Any] = {
    "name": "web",
    "wanted": True,
    "state": "running",
    "why": "wanted",
    "pid": 8,
    "since": "2026-11-21T22:17:53.500000Z",
    "started": "2026-11-21T22:17:53.500000Z",
    "starts": 4,
    "streak": 3,
    "last_exit": {"code": 1, "signal": None, "at": "2026-11-21T22:17:53.000000Z"},
    "next_start": None,
    "ready": True,
    "health": None,
    "digest": "d1",
    "problems": [],
    "unknown": ["evn"],
}
"""Of what runs."""

NOTHING = {"pid": None, "started": None, "digest": None, "ready": False}
UNASKED = {**NOTHING, "ready": None}
"""Nothing runs, and nothing is to."""

to = attrs.evolve


def test_status_tells_of_what_runs() -> None:
    assert status(to(UNIT, state=Up(PROCESS)), Desired(), CLOCKS) == GOLDEN


@pytest.mark.parametrize(
    ("unit", "state", "differs"),
    [
        (UNIT, Spawning(SPEC, 2), {"state": "starting", **NOTHING}),
        (
            UNIT,
            Backoff(104.0, 2),
            {
                "state": "backoff",
                "why": "exited with code 1; early deaths in a row: 3",
                "next_start": "2026-11-21T22:18:07.500000Z",
                **NOTHING,
            },
        ),
        (
            to(UNIT, trouble="cannot start: exec: /opt/web/run: No such file or directory (ENOENT)"),
            Backoff(104.0, 2),
            {
                "state": "backoff",
                "why": "cannot start: exec: /opt/web/run: No such file or directory (ENOENT); early deaths in a row: 3",
                "next_start": "2026-11-21T22:18:07.500000Z",
                **NOTHING,
            },
        ),
        (
            UNIT,
            Failed(2),
            {
                "state": "failed",
                "why": "given up after 3 early deaths in a row; the last: exited with code 1",
                **NOTHING,
            },
        ),
        (
            UNIT,
            Stopping(PROCESS, Ending(LADDER, 0, 105.0), asked=True),
            {"state": "stopping", "why": "being restarted; sent TERM", "ready": False},
        ),
        (
            UNIT,
            Stopping(PROCESS, Ending(LADDER, 0, 105.0), asked=False, exit=Exit(1), ended=89.5),
            {
                "state": "stopping",
                "why": "exited with code 1, and left others behind; sent TERM",
                "pid": None,  # its number may be anybody's before long
                "started": None,
                "digest": None,
                "ready": False,
            },
        ),
        (
            to(UNIT, held=True),
            Stopping(PROCESS, Ending(LADDER, 1, None), asked=True),
            {"state": "stopping", "why": "a STOP is in force; sent KILL", "wanted": False, "ready": False},
        ),
        (
            to(UNIT, spec=None),
            Stopping(PROCESS, Ending(LADDER, 0, 105.0), asked=True),
            {
                "state": "stopping",
                "why": "its file was removed; sent TERM",
                "wanted": False,
                "unknown": [],
                "ready": False,
            },
        ),
        (
            to(UNIT, closing=True),
            Stopping(PROCESS, Ending(LADDER, 0, 105.0), asked=True),
            {"state": "stopping", "why": "the supervisor ended; sent TERM", "wanted": False, "ready": False},
        ),
        (
            to(UNIT, held=True),
            Down(),
            {"state": "stopped", "why": "a STOP is in force", "wanted": False, **UNASKED},
        ),
        (
            to(UNIT, closing=True),
            Down(),
            {"state": "stopped", "why": "the supervisor ended", "wanted": False, **UNASKED},
        ),
        (
            to(UNIT, last_exit=Exit(None, "KILL")),
            Down(ended=2),
            {
                "state": "stopped",
                "why": "killed by KILL, and its restart policy wants no more",
                "wanted": False,
                "last_exit": {"code": None, "signal": "KILL", "at": "2026-11-21T22:17:53.000000Z"},
                **NOTHING,
            },
        ),
        (
            to(UNIT, last_exit=None, last_exit_at=None),
            Down(ended=2),
            {
                "state": "stopped",
                "why": "ended before this supervisor began, and its restart policy wants no more",
                "wanted": False,
                "last_exit": None,
                **NOTHING,
            },
        ),
        (
            UNIT,
            Up(to(PROCESS, waited=True)),
            {"why": "wanted; had to wait for a supervisor to read what it says"},
        ),
        (
            to(UNIT, last_exit=Exit(None)),
            Up(PROCESS),
            {"last_exit": {"code": None, "signal": None, "at": "2026-11-21T22:17:53.000000Z"}},
        ),
        (UNIT, Starting(PROCESS, 120.0), {"state": "starting", "why": "not ready yet", "ready": False}),
        (
            UNIT,
            Starting(PROCESS, 120.0, "port 80: refused"),
            {"state": "starting", "why": "not ready yet: port 80: refused", "ready": False},
        ),
        (
            UNIT,
            Waiting((ECHO, Name("db"))),
            {"state": "waiting", "why": "waits for echo, which is not there, db, which is not there", **NOTHING},
        ),
        (
            to(UNIT, held=True, yields=ECHO),
            Up(PROCESS),
            {
                "state": "stopping",
                "why": "a STOP is in force; waits until echo has gone, which needs it",
                "wanted": False,
                "ready": False,
            },
        ),
        (
            to(UNIT, generation=3, yields=ECHO),
            Starting(PROCESS, 120.0),
            {
                "state": "stopping",
                "why": "being restarted; waits until echo has gone, which needs it",
                "ready": False,
            },
        ),
        (UNIT, Up(PROCESS, Vitals(1, True, "refused")), {"health": "healthy"}),
        (
            to(UNIT, trouble="unhealthy: refused"),
            Stopping(
                PROCESS,
                Ending(LADDER, 0, 105.0),
                asked=False,
                fault="unhealthy: refused",
                vitals=Vitals(3, False, "refused"),
            ),
            {"state": "stopping", "why": "unhealthy: refused; sent TERM", "health": "unhealthy", "ready": False},
        ),
        (
            to(UNIT, trouble="not ready after 60 s"),
            Backoff(104.0, 2),
            {
                "state": "backoff",
                "why": "not ready after 60 s; early deaths in a row: 3",
                "next_start": "2026-11-21T22:18:07.500000Z",
                **NOTHING,
            },
        ),
        (
            to(UNIT, held=True, sent="TERM", last_exit=Exit(0)),
            Down(),
            {
                "state": "stopped",
                "why": "a STOP is in force; sent TERM, exited with code 0",
                "wanted": False,
                "last_exit": {"code": 0, "signal": None, "at": "2026-11-21T22:17:53.000000Z"},
                **UNASKED,
            },
        ),
    ],
)
def test_status_tells_of_every_state(unit: Unit, state: State, differs: dict[str, Any]) -> None:
    assert status(to(unit, state=state), Desired(), CLOCKS) == {**GOLDEN, **differs}


def test_a_bad_file_whose_last_good_one_is_in_force_is_told_with_its_problems() -> None:
    assert status(to(UNIT, state=Up(PROCESS)), BROKEN, CLOCKS) == {
        **GOLDEN,
        "why": "its file is bad, the last good one is in force",
        "problems": [{"path": "restart.initial", "message": "must be at least 0"}],
    }


def test_a_circle_is_told_to_who_asks_why_it_waits() -> None:
    circle = Problem("after", "waits for itself: web -> echo -> web")
    missing = Problem("after[1]", "no such process: db")
    desired = Desired(problems=pmap({ECHO: (Problem("", "x"),)}), tangles=pmap({WEB: (missing, circle)}))

    told = status(to(UNIT, state=Waiting((ECHO, Name("db")))), desired, CLOCKS)

    assert told["why"] == "waits for echo, db, which is not there; waits for itself: web -> echo -> web"
    assert told["problems"] == [missing._asdict(), circle._asdict()]


def test_a_file_that_never_was_good_is_failed() -> None:
    assert status(Unit(WEB, since=90.0), BROKEN, CLOCKS) == {
        **GOLDEN,
        **UNASKED,
        "state": "failed",
        "why": "restart.initial: must be at least 0",
        "starts": 0,
        "streak": 0,
        "last_exit": None,
        "problems": [{"path": "restart.initial", "message": "must be at least 0"}],
        "unknown": [],
    }


def test_the_digest_is_that_of_what_runs_not_of_what_is_wanted() -> None:
    unit = to(UNIT, spec=to(SPEC, digest="d2"), state=Stopping(PROCESS, Ending(LADDER, 0, 105.0), asked=True))

    assert status(unit, Desired(), CLOCKS)["digest"] == "d1"


# -- the files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "status").mkdir()
    return tmp_path


def files(state: Path) -> StatusFiles:
    return StatusFiles(str(state), 0o640, None, CLOCKS, lambda: {"pid": 1, "version": "0"})


def told(state: Path, name: str) -> Any:
    return json.loads((state / "status" / f"{name}.json").read_bytes())


def supervisor(state: Path) -> Any:
    return json.loads((state / "supervisor.json").read_bytes())


def report(*moved: Name, desired: Desired | None = None, **units: Unit) -> Report:
    by_name = pmap({Name(name): unit for name, unit in units.items()})
    return Report(by_name, desired or Desired(), frozenset(moved))


UP = to(UNIT, state=Up(PROCESS))


def test_what_a_supervisor_before_has_told_is_no_longer_true(state: Path) -> None:
    (state / "status" / "web.json").write_text("{}")

    files(state).begin()

    assert os.listdir(state / "status") == []
    assert supervisor(state) == {"pid": 1, "version": "0", "counts": {}, "ignored": [], "broken": {}}


def test_only_what_moved_is_told(state: Path) -> None:
    files(state)(report(WEB, web=UP, echo=to(UP, name=ECHO)))

    assert os.listdir(state / "status") == ["web.json"]
    assert told(state, "web") == GOLDEN
    assert (state / "status" / "web.json").stat().st_mode & 0o777 == 0o640


def test_what_is_no_more_has_no_file(state: Path) -> None:
    write = files(state)
    write(report(WEB, web=UP))

    write(report(WEB))
    write(report(WEB))

    assert os.listdir(state / "status") == []
    assert supervisor(state)["counts"] == {}


def test_the_supervisors_file_counts_and_names(state: Path) -> None:
    desired = to(BROKEN, strays=pmap({"a b": "'a b' is no name"}), ignored=frozenset({"x~", ".y"}))

    files(state)(report(WEB, ECHO, web=UP, echo=to(UP, name=ECHO, state=Failed(2)), desired=desired))

    assert supervisor(state) == {
        "pid": 1,
        "version": "0",
        "counts": {"running": 1, "failed": 1},
        "ignored": [".y", "x~"],
        "broken": {"web": "restart.initial: must be at least 0", "a b": "'a b' is no name"},
    }


def test_each_is_counted_once_in_the_state_that_it_is_in_now(state: Path) -> None:
    write = files(state)
    echo = to(UP, name=ECHO)
    counts = []
    for units in (
        report(WEB, ECHO, web=UP, echo=echo),
        report(WEB, web=to(UNIT, state=Failed(2)), echo=echo),
        report(WEB, ECHO, web=UP),
    ):
        write(units)
        counts.append(supervisor(state)["counts"])

    assert counts == [{"running": 2}, {"failed": 1, "running": 1}, {"running": 1}]


def test_the_supervisors_file_is_left_alone_while_it_says_the_same(state: Path) -> None:
    write = files(state)
    write(report(WEB, web=UP))
    before = (state / "supervisor.json").stat().st_ino

    write(report(WEB, web=UP))

    assert (state / "supervisor.json").stat().st_ino == before


def test_one_file_that_cannot_be_written_keeps_no_other_from_being(state: Path) -> None:
    names = [Name(f"p{number}") for number in range(20)]
    (state / "status" / "p7.json").mkdir()
    write = files(state)

    with pytest.raises(IsADirectoryError):
        write(Report(pmap({name: to(UP, name=name) for name in names}), Desired(), frozenset(names)))

    assert {name for name in names if (state / "status" / f"{name}.json").is_file()} == set(names) - {"p7"}
    assert supervisor(state)["counts"] == {"running": 20}


def test_what_could_not_be_told_of_the_supervisor_is_told_the_next_time(state: Path) -> None:
    write = files(state)
    (state / "supervisor.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write(report(WEB, web=UP))
    (state / "supervisor.json").rmdir()

    write(report(WEB, web=UP))

    assert supervisor(state)["counts"] == {"running": 1}
