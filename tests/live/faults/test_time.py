"""A clock that is set, and a supervisor that is frozen: time passes all the same."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, Process, alive, processes, stays
from tests.live.faults.kit import Shim, needs_gcc

pytestmark = pytest.mark.live

HOUR, YEAR = 3600, 365 * 86400


@pytest.fixture
def shim(place: Colony) -> Shim:
    """A supervisor whose wall clock can be set."""
    shim = Shim(place.folder)
    place.start("-k", "2", env=shim.environment)
    return shim


@needs_gcc
@pytest.mark.parametrize(
    "step", [YEAR, -HOUR, pytest.param(HOUR, marks=pytest.mark.slow), pytest.param(-YEAR, marks=pytest.mark.slow)]
)
def test_a_clock_that_is_set_changes_no_timer(place: Colony, shim: Shim, step: int) -> None:
    place.write("web", *SLEEP)
    place.write("crash", "sh", "-c", "echo here; exit 1", restart={"initial": 2, "factor": 1, "jitter": 0})
    place.write("deaf", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    web = place.runs("web")
    place.wait_for(lambda: place.said("[deaf] up"))
    place.wait_for(lambda: place.said("[crash] here"))
    place.wait_for(lambda: place.status("crash").get("state") == "backoff")
    began, before = time.monotonic(), len(place.said("[crash] here"))
    place.remove("deaf")
    place.wait_for(lambda: place.status("deaf").get("state") == "stopping")

    shim.step_clock(step)

    place.wait_for(lambda: len(place.said("[crash] here")) > before)
    assert 1 < time.monotonic() - began < 4, "the backoff is of two seconds"
    place.is_gone("deaf")
    assert 1.5 < time.monotonic() - began < 6, "the ladder is of two seconds"
    assert place.running("web") == [web]
    place.obeys_at_once()
    place.ask("RESTART", name="web")
    web = place.runs("web", instead_of=web)
    place.wait_for(lambda: place.status("web").get("pid") == web)
    since = datetime.fromisoformat(place.status("web")["since"]).timestamp()
    assert abs(since - step - time.time()) < 60, "what is written is what the wall's clock shows"


@needs_gcc
@pytest.mark.parametrize("step", [YEAR, -HOUR])
def test_a_clock_that_is_set_changes_nothing_for_the_scheduler(place: Colony, step: int) -> None:
    shim, runs, go = Shim(place.folder), place.folder / "runs", place.folder / "go"
    # Set back, the clock would have the next run wait for an hour; set forward, the run under way end for its age.
    script = f"echo run >>{runs}; [ -e {go} ] || exec sleep 1000"
    schedule = ["--arg=sh", "--arg=-c", f"--arg={script}", "--frequency=0.2", "--timeout=1000", "--grace=2"]
    place.begin("python", "-m", "twisted", "colony-scheduler", *schedule, env=shim.environment)
    place.wait_for(lambda: runs.exists())
    [run] = place.wait_for(lambda: [one.pid for one in processes("SHIM_CONTROL=") if is_run(place, one)])
    shim.step_clock(step)
    assert stays(lambda: alive(run) and runs.read_text() == "run\n", 1)

    go.touch()
    os.kill(run, signal.SIGKILL)

    began, before = time.monotonic(), 1
    place.wait_for(lambda: runs.read_text().count("run") > before + 5)
    assert 0.8 < time.monotonic() - began < 5, "five times 0.2 s"
    shim.step_clock(0)
    before = runs.read_text().count("run")
    place.wait_for(lambda: runs.read_text().count("run") > before + 2, AT_ONCE)


def is_run(place: Colony, one: Process) -> bool:
    """Is it the command that the scheduler has started?"""
    return place.supervisor is not None and one.parent == place.supervisor.pid and one.group == one.pid


@needs_gcc
def test_a_clock_that_was_set_back_hides_no_change_of_a_file(place: Colony, shim: Shim) -> None:
    shim.step_clock(-YEAR)
    for edition in range(5):
        place.write("web", *SLEEP, env={"EDITION": str(edition)})
        place.wait_for(
            lambda edition=edition: [one.environ["EDITION"] for one in place.family("web")] == [str(edition)],  # type: ignore[misc]  # of the loop
            AT_ONCE,
        )


def test_a_supervisor_that_was_frozen_takes_up_what_it_missed(colony: Colony) -> None:
    colony.write("still", *SLEEP)
    colony.write("dies", *SLEEP, restart={"threshold": 0})
    colony.write("changes", *SLEEP)
    colony.write("goes", *SLEEP)
    colony.write("backs", "sh", "-c", "echo here; exit 1", restart={"initial": 0.4, "factor": 1, "jitter": 0})
    still, dies, changes, goes = (colony.runs(name) for name in ("still", "dies", "changes", "goes"))
    assert colony.supervisor is not None
    before = len(colony.wait_for(lambda: colony.said("[backs] here")))
    colony.wait_for(lambda: len(colony.said("[backs] here")) > before)
    colony.wait_for(lambda: not colony.family("backs"))
    colony.supervisor.send_signal(signal.SIGSTOP)
    before = len(colony.said("[backs] here"))
    os.kill(dies, signal.SIGKILL)
    colony.write("changes", *SLEEP, env={"EDITION": "2"})
    colony.write("comes", *SLEEP)
    colony.remove("goes")
    asked = colony.ask("STOP", name="still")
    assert stays(lambda: alive(still) and alive(goes), 1)

    colony.supervisor.send_signal(signal.SIGCONT)

    colony.wait_for(lambda: len(colony.said("[backs] here")) > before + 1, AT_ONCE)
    colony.remove("backs")
    colony.runs("dies", instead_of=dies, seconds=AT_ONCE)
    colony.runs("changes", instead_of=changes, seconds=AT_ONCE)
    colony.runs("comes", seconds=AT_ONCE)
    colony.is_gone("goes", AT_ONCE)
    colony.is_gone("still", AT_ONCE)
    assert colony.answer(asked)["ok"]
    colony.obeys_at_once()


def test_a_frozen_supervisor_that_is_terminated_ends_well_when_it_thaws(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    web = colony.runs("web")
    assert colony.supervisor is not None
    colony.supervisor.send_signal(signal.SIGSTOP)
    colony.supervisor.send_signal(signal.SIGTERM)
    assert stays(lambda: alive(web), 0.3)
    colony.supervisor.send_signal(signal.SIGCONT)
    assert colony.supervisor.wait(15) == -signal.SIGTERM
    assert not alive(web)
