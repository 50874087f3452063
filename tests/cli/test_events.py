"""``events``: what happened, and what happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colony import ctllib
from colony.cli import arguments
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

# Any is a JSON value.


def happen(colony: StandIn, name: str | None, state: str | None, former: str | None = None, **more: Any) -> None:
    """Write an event, as the supervisor does."""
    event = {"at": ctllib.now(), "name": name, "from": former, "to": state, "why": "started", "pid": 7, "exit": None}
    with (colony.state / "events.jsonl").open("a") as file:
        file.write(f"{json.dumps({**event, 'starts': 1, 'streak': 0, 'next_start': None, **more})}\n")


def rotate(colony: StandIn) -> None:
    (colony.state / "events.jsonl").rename(colony.state / "events.jsonl.1")


def whys(trail: ctllib.Events) -> list[str]:
    return [event["why"] for event in trail.read()]


def test_events_are_lines_for_people(ctl: Ctl, colony: StandIn) -> None:
    happen(colony, None, "running", why="colony 1 began", pid=99)
    happen(colony, "web", "running", "starting")
    happen(colony, "web", "running", "running", why="its file is bad: \x1b[31m", pid=None)
    happen(colony, "web", None, "running", why="its file was removed")
    done = ctl("events", "-n", "10")
    assert done.code == 0
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  "
    assert all(re.match(moment, line) for line in done.out.splitlines())
    assert re.sub(rf"(?m)^{moment}", "", done.out).splitlines() == [
        "(colony)  running               colony 1 began (99)",
        "web       starting -> running   started (7)",
        "web       running               its file is bad: \\x1b[31m",
        "web       running -> gone       its file was removed (7)",
    ]


def test_events_for_programs_are_a_document_a_line(ctl: Ctl, colony: StandIn) -> None:
    happen(colony, "web", "running")
    happen(colony, "a", "running")
    told = [json.loads(line) for line in ctl("events", "--json", "-n", "9").out.splitlines()]
    assert [(one["name"], one["to"], one["exit"]) for one in told] == [("web", "running", None), ("a", "running", None)]


def test_events_are_of_the_names_that_are_asked_for(ctl: Ctl, colony: StandIn) -> None:
    for name in ("web", "a", "web", None, "b"):
        happen(colony, name, "running")
    assert len(ctl("events", "web", "b", "-n", "9").out.splitlines()) == 3
    assert ctl("events", "typo", "-n", "9").code == 4
    (colony.config / "new").write_text('{"args": ["x"]}')
    assert ctl("events", "new", "-n", "9").code == 0


def test_the_last_ones_and_those_since_a_moment(ctl: Ctl, colony: StandIn) -> None:
    happen(colony, "web", "running", why="old", at="2026-01-01T00:00:00.000000Z")
    rotate(colony)
    happen(colony, "web", "running", why="new")
    happen(colony, "web", "running", why="newest")
    assert len(ctl("events", "-n", "9").out.splitlines()) == 3
    assert "newest" in ctl("events", "-n", "1").out
    assert len(ctl("events", "-n1").out.splitlines()) == 1
    assert "old" not in ctl("events", "--since", "1h").out
    assert len(ctl("events", "--since", "2025-12-31").out.splitlines()) == 3
    assert ctl("events", "-n", "0").out == ""
    assert ctl("events", "-n", "x").code == 2
    assert ctl("events", "--since", "tomorrow").code == 2


def test_without_a_supervisor_the_past_is_told_all_the_same(ctl: Ctl, dead: StandIn) -> None:
    happen(dead, "web", "running")
    done = ctl("events", "-n", "9")
    assert done.code == 5
    assert "started" in done.out
    assert "no supervisor is alive" in done.err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h30m", 9000), ("1d", 86400), ("1w", 604800)])
def test_a_moment_is_so_long_ago(text: str, seconds: int) -> None:
    assert arguments.moment(text) == pytest.approx(time.time() - seconds, abs=5)


def test_a_moment_is_a_date_or_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert arguments.moment("2026-11-21T22:18:03.5Z") == 1795299483.5
        assert arguments.moment("2026-11-22 00:18:03.5") == 1795299483.5
        today = time.localtime()
        assert time.localtime(arguments.moment("00:05"))[:5] == (*today[:3], 0, 5)
    finally:
        monkeypatch.undo()
        time.tzset()


# -- the trail


def test_a_trail_goes_on_through_rotations(colony: StandIn) -> None:
    happen(colony, "web", "running", why="1")
    trail = ctllib.Events(colony.places)
    assert whys(trail) == ["1"]
    assert whys(trail) == []
    happen(colony, "web", "running", why="2")
    rotate(colony)
    assert whys(trail) == ["2"]  # between two files
    happen(colony, "web", "running", why="3")
    assert whys(trail) == ["3"]
    happen(colony, "web", "running", why="4")
    rotate(colony)
    happen(colony, "web", "running", why="5")
    assert whys(trail) == ["4", "5"]
    trail.close()


def test_a_trail_begins_when_the_first_file_does(colony: StandIn) -> None:
    trail = ctllib.Events(colony.places)
    assert whys(trail) == []
    happen(colony, "web", "running")
    assert whys(trail) == ["started"]
    trail.close()


def test_a_trail_waits_for_the_rest_of_a_line_and_does_without_litter(colony: StandIn) -> None:
    path = colony.state / "events.jsonl"
    trail = ctllib.Events(colony.places)
    path.write_text('no JSON\n[1]\n{"why": "1"}\n{"why": ')
    assert whys(trail) == ["1"]
    with path.open("a") as file:
        file.write('"2"}\n')
    assert whys(trail) == ["2"]
    path.write_text("")  # what a full disk had half of
    happen(colony, "web", "running", why="3")
    os.truncate(path, 0)
    assert whys(trail) == []
    happen(colony, "web", "running", why="4")
    assert whys(trail) == ["4"]
    trail.close()


# -- following


@pytest.fixture
def follower(colony: StandIn) -> Iterator[subprocess.Popen[str]]:
    """``events`` as somebody types it, its output read by us."""
    happen(colony, "web", "running", why="before")
    command = [sys.executable, "-m", "colony", "events", "--json", "--messages", str(colony.messages)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def following(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    why: str = json.loads(process.stdout.readline())["why"]
    return why


def test_events_follow_what_happens(colony: StandIn, follower: subprocess.Popen[str]) -> None:
    assert following(follower) == "before"
    happen(colony, "web", "running", why="1")
    assert following(follower) == "1"
    happen(colony, "web", "running", why="2")
    rotate(colony)
    happen(colony, "web", "running", why="3")
    assert [following(follower), following(follower)] == ["2", "3"]


def test_who_is_interrupted_says_nothing_more(colony: StandIn, follower: subprocess.Popen[str]) -> None:
    following(follower)
    follower.send_signal(2)
    out, err = follower.communicate(timeout=20)
    assert (follower.returncode, out, err) == (130, "", "")


def test_who_is_not_read_any_more_ends_though_nothing_happens(colony: StandIn, follower: subprocess.Popen[str]) -> None:
    following(follower)
    assert follower.stdout is not None
    follower.stdout.close()
    assert follower.wait(20) == 0


def test_who_follows_is_told_when_nobody_writes_any_more(colony: StandIn, follower: subprocess.Popen[str]) -> None:
    following(follower)
    colony.die()
    assert follower.stderr is not None
    assert follower.stderr.readline() == "colony: no supervisor is alive; waiting for one\n"
    colony.live()
    assert follower.stderr.readline() == "colony: a supervisor is alive again\n"
