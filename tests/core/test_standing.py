"""What ctl makes of a status file."""

from __future__ import annotations

from typing import Any

import pytest

from colony.core import standing

BEFORE = "2026-11-21T22:18:00.000000Z"
ASKED = "2026-11-21T22:18:01.000000Z"
LATER = "2026-11-21T22:18:04.200000Z"
LAST = "2026-11-21T22:18:09.200000Z"


def status(state: str = "running", **more: Any) -> dict[str, Any]:
    """What the supervisor tells of a process; Any is JSON."""
    told = {"state": state, "wanted": True, "pid": 1, "ready": True, "health": None, "why": "", "last_exit": None}
    return told | {"since": LATER} | more


def exit_(code: int | None = None, signal: str | None = None, at: str = LATER) -> dict[str, Any]:
    return {"code": code, "signal": signal, "at": at}


@pytest.mark.parametrize(
    ("told", "running", "ready"),
    [
        (status("running"), True, True),
        (status("running", ready=None), True, True),
        (status("running", ready=False), True, False),
        (status("starting", ready=False), True, False),
        (status("starting", pid=None, ready=False), False, False),
        (status("stopping", ready=False), False, False),
        (status("backoff", pid=None, ready=False), False, False),
    ],
)
def test_what_runs_may_not_be_ready_yet(told: dict[str, Any], running: bool, ready: bool) -> None:
    assert (standing.is_running(told), standing.is_ready(told)) == (running, ready)


@pytest.mark.parametrize(
    ("told", "stopped", "done"),
    [
        (status("stopped", pid=None), True, True),
        (status("failed", pid=None), True, False),
        (status("waiting", pid=None), True, False),
        (status("backoff", pid=None), False, False),
        (status("stopping"), False, False),
        (status("stopping", pid=None), False, False),
    ],
)
def test_what_has_left_others_behind_is_not_stopped(told: dict[str, Any], stopped: bool, done: bool) -> None:
    assert (standing.is_stopped(told), standing.is_done(told)) == (stopped, done)


@pytest.mark.parametrize(
    ("told", "fresh", "verdict"),
    [
        (status("running"), False, True),
        (status("starting", ready=False), True, False),
        (status("waiting", pid=None, ready=False), True, False),
        (status("backoff", why="died"), False, False),
        (status("backoff", why="died"), True, "web failed: died"),
        (status("failed", why="died"), True, "web failed: died"),
        (status("stopped", why="gone"), True, "web is stopped: gone"),
        (status("stopped", last_exit=exit_(0)), True, True),
        (status("stopped", last_exit=exit_(3)), True, True),
        (status("stopped", last_exit=exit_(4), why="bad"), True, "web is stopped: bad"),
        (status("stopped", last_exit=exit_(0), wanted=False), True, True),
        (status("stopped", last_exit=exit_(0, at=BEFORE), wanted=False, why="held"), True, "web is stopped: held"),
    ],
)
def test_a_start_ends_well_or_badly_or_has_not_ended(told: dict[str, Any], fresh: bool, verdict: bool | str) -> None:
    assert standing.outcome("web", told, fresh, ASKED, (0, 3)) == verdict


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (None, "has no status yet"),
        (status("backoff", why="exited with code 1"), "is in backoff: exited with code 1"),
        (status("starting", why=""), "is starting"),
    ],
)
def test_a_standing_is_told_in_words(told: dict[str, Any] | None, text: str) -> None:
    assert standing.described(told) == text


@pytest.mark.parametrize(
    ("told", "trouble"),
    [
        (status("running", health="healthy"), None),
        (status("running", health="unhealthy"), "is unhealthy"),
        (status("starting", ready=False, why="not ready yet"), "is starting: not ready yet"),
        (status("waiting", ready=False, why="waits for db"), "is waiting: waits for db"),
        (status("backoff", ready=False, why="died"), "is in backoff: died"),
        (status("failed", ready=False, why="given up"), "is failed: given up"),
        (status("stopping", ready=False, why="being restarted"), "is stopping: being restarted"),
        (status("stopping", ready=False, wanted=False, why="a STOP is in force"), None),
        (status("stopped", ready=None, wanted=False, why="a STOP is in force"), None),
        (status("stopped", ready=True, wanted=False, why="exited with code 0"), None),
        (status("stopped", ready=False, wanted=False, why="exited with code 1"), "is stopped: exited with code 1"),
    ],
)
def test_trouble_is_what_should_run_and_be_ready_and_is_not(told: dict[str, Any], trouble: str | None) -> None:
    assert standing.trouble(told) == trouble


HELD = "a STOP is in force"


@pytest.mark.parametrize(
    ("told", "killed", "how"),
    [
        (None, False, "its file is gone"),
        (status("stopped"), False, "it did not run"),
        (status("stopped", last_exit=exit_(0, at=BEFORE), why=f"{HELD}; sent TERM, x"), False, "it did not run"),
        (
            status("stopped", last_exit=exit_(0), why=f"{HELD}; sent TERM, exited with code 0"),
            False,
            "sent TERM, exited with code 0 after 3.2 s",
        ),
        (
            status("stopped", last_exit=exit_(signal="KILL"), why=f"{HELD}; sent KILL, killed by KILL"),
            True,
            "sent KILL after 3.2 s",
        ),
        (
            status("stopped", last_exit=exit_(signal="KILL"), why=f"{HELD}; sent TERM, killed by KILL"),
            False,
            "sent TERM, killed by KILL after 3.2 s",
        ),
        (
            status("stopped", last_exit=exit_(0), why=f"{HELD}; sent TERM, exited with code 0", since=LAST),
            False,
            "sent TERM, exited with code 0 after 3.2 s; what it left behind was gone 5.0 s later",
        ),
        (status("stopped", last_exit=exit_(7), why=HELD), False, "by itself, exited with code 7 after 3.2 s"),
        (status("stopped", last_exit=exit_(signal="SEGV"), why=HELD), False, "by itself, killed by SEGV after 3.2 s"),
        (status("stopped", last_exit=exit_(), why=HELD), False, "by itself, nobody knows how after 3.2 s"),
    ],
)
def test_how_a_process_was_stopped(told: dict[str, Any] | None, killed: bool, how: str) -> None:
    end = standing.ending(told, ASKED)
    assert (end.killed, end.how) == (killed, how)
    if end.seconds is not None:
        assert told is not None
        assert (end.code, end.signal) == (told["last_exit"]["code"], told["last_exit"]["signal"])
        assert end.seconds == pytest.approx(3.2)
