"""A colony that is there for one process ends as that did, in order, and never because somebody asked for its end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.live.driver import PATIENCE, SLEEP, Colony, stays
from tests.live.faults.test_families import as_init, init_of
from tests.live.programs import READY, Journal

# Any is a JSON value.

pytestmark = pytest.mark.live

ONCE = {"when": "never"}


@pytest.fixture
def journal(place: Colony) -> Journal:
    return Journal(place)


def ends(place: Colony) -> int:
    """The exit code with which the supervisor ends by itself, leaving nobody."""
    assert place.supervisor is not None
    code = place.supervisor.wait(PATIENCE)
    assert not place.family()
    return code


def begin(place: Colony) -> None:
    """Start a supervisor that may end at once."""
    place.begin("python", "-m", "twisted", "colony", *place.places)


HOW: list[tuple[dict[str, Any], int]] = [
    ({"shell": "exit 7", "restart": ONCE}, 7),
    ({"shell": "exit 0", "restart": ONCE}, 0),
    ({"shell": "exit 0", "restart": {"when": "failure"}}, 0),
    ({"shell": "exit 255", "restart": ONCE}, 255),
    ({"shell": "kill -TERM $$", "restart": ONCE}, 143),
    ({"shell": "kill -KILL $$", "restart": {"attempts": 1}}, 137),
    ({"shell": "exit 3", "restart": {"attempts": 2, "initial": 0.05}}, 3),
    ({"args": ["/nonexistent/command"], "restart": {"attempts": 2, "initial": 0.05}}, 1),
    ({"shell": "exit ${env:NOT_SET_ANYWHERE}", "restart": {"attempts": 1}}, 1),
    ({"args": ["sleep", "9"], "ready": {"exec": ["false"], "timeout": 0.2}, "restart": {"attempts": 1}}, 1),
    ({"args": ["sleep", "9"], "health": {"exec": ["false"], "every": 0.1}, "restart": {"attempts": 1}}, 1),
]


@pytest.mark.parametrize(("keys", "code"), HOW, ids=[f"{number}-{code}" for number, (_, code) in enumerate(HOW)])
def test_its_end_is_the_supervisors_end(place: Colony, keys: dict[str, Any], code: int) -> None:
    place.write("app", essential=True, **keys)
    place.write("other", *SLEEP)
    begin(place)
    assert ends(place) == code
    assert len(place.said("app is essential")) == 1
    assert place.said("every process is gone")


def test_before_it_ends_it_stops_the_others_in_order(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("db", *journal.program(), ready=READY)
    place.write("worker", *journal.program(0.4), after=["db"], ready=READY)
    place.write("web", *journal.program(0.2), after=["worker"])
    journal.holds("+web")
    place.write("app", shell="exit 5", restart=ONCE, essential=True)
    assert ends(place) == 5
    assert journal.lines() == ["+db", "+worker", "+web", "-web", "-worker", "-db"]


def test_an_essential_process_that_others_need_may_end_with_them_running(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("db", *SLEEP, essential=True, restart=ONCE)
    place.write("web", *journal.program(0.2), after=["db"])
    db = place.runs("db")
    journal.holds("+web")
    os.kill(db, signal.SIGKILL)
    assert ends(place) == 137
    assert journal.lines() == ["+web", "-web"]


def test_under_twistd_too(place: Colony) -> None:
    place.write("app", shell="exit 9", restart=ONCE, essential=True)
    place.begin("twistd", "-n", "--pidfile=", "colony", *place.places)
    assert ends(place) == 9


@as_init
def test_as_pid_1_too(place: Colony) -> None:
    place.write("app", shell="sleep 0.3; exit 6", restart=ONCE, essential=True)
    place.write("daemon", "sh", "-c", "setsid sleep 1001 & exec sleep 1000")
    command = ["python", "-m", "twisted", "colony", *place.places]
    place.begin("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *command)
    place.wait_for(lambda: init_of(place))
    assert ends(place) == 6


def test_one_that_is_to_run_always_ends_nothing(colony: Colony) -> None:
    colony.write("app", "sh", "-c", "exit 4", essential=True, restart={"initial": 0.05, "limit": 0.05})
    colony.wait_for(lambda: colony.status("app").get("starts", 0) >= 5)
    colony.obeys_at_once()


@pytest.mark.parametrize("restart", [{"when": "always"}, {"when": "never"}, {"attempts": 1}])
def test_a_stop_a_restart_an_edit_and_a_removal_end_nothing(colony: Colony, restart: dict[str, Any]) -> None:
    keys = {"essential": True, "restart": restart}
    colony.write("app", *SLEEP, **keys)
    app = colony.runs("app")
    colony.done("restart", "app", "--wait")
    app = colony.runs("app", instead_of=app)
    colony.write("app", *SLEEP, env={"EDITION": "2"}, **keys)
    colony.runs("app", instead_of=app)
    colony.done("stop", "app", "--wait")
    colony.done("start", "app", "--wait")
    colony.runs("app")
    colony.remove("app")
    colony.is_gone("app")
    colony.obeys_at_once()


def test_what_it_leaves_behind_goes_too(place: Colony) -> None:
    place.write("app", shell="setsid sleep 1001 & exit 2", restart=ONCE, essential=True)
    begin(place)
    assert ends(place) == 2


def test_what_is_asked_of_it_while_it_ends_changes_neither_order_nor_code(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("db", *journal.program(), ready=READY)
    place.write("web", *journal.program(0.5), after=["db"])
    journal.holds("+web")
    place.write("app", shell="exit 5", restart=ONCE, essential=True)
    place.says("app is essential")
    assert place.supervisor is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        place.supervisor.send_signal(number)
    assert ends(place) == 5
    assert journal.lines() == ["+db", "+web", "-web", "-db"]


def test_a_quit_while_it_ends_kills_the_others(place: Colony, journal: Journal) -> None:
    place.start("-k", "1000")
    place.write("web", *journal.program(1000))
    journal.holds("+web")
    place.write("app", shell="exit 5", restart=ONCE, essential=True)
    place.says("app is essential")
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGQUIT)
    assert place.supervisor.wait(PATIENCE) == 5
    assert not place.family()


def test_two_that_end_are_one_end(place: Colony) -> None:
    place.write("one", shell="exit 5", restart=ONCE, essential=True)
    place.write("two", shell="trap '' TERM; sleep 0.3; exit 6", restart=ONCE, essential=True)
    begin(place)
    assert ends(place) in (5, 6)


def test_started_again_it_ends_with_it_again(place: Colony) -> None:
    place.write("app", shell=f"echo >>{place.folder}/lives; exit 5", restart=ONCE, essential=True)
    for lives in (1, 2, 3):
        begin(place)
        assert ends(place) == 5
        assert len((place.folder / "lives").read_text().splitlines()) == lives


def test_killed_while_it_ended_it_ends_with_it_again(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("web", *journal.program(0.5))
    journal.holds("+web")
    place.write("app", shell="exit 5", restart=ONCE, essential=True)
    place.says("app is essential")
    place.stop(signal.SIGKILL)
    begin(place)
    assert ends(place) == 5


def test_killed_while_it_ran_it_ends_with_it_all_the_same(place: Colony) -> None:
    """With its code where the kernel tells it, else as a failure."""
    place.start()
    gate = place.folder / "gate"
    script = f"until [ -e {gate} ]; do sleep 0.05; done; exit 5"
    place.write("app", shell=script, restart=ONCE, essential=True)
    app = place.wait_for(lambda: int(place.status("app").get("pid") or 0))
    place.stop(signal.SIGKILL)
    place.start()
    assert stays(lambda: place.running("app") == [app], 0.3)
    gate.touch()
    assert ends(place) in (5, 1)


def test_ended_while_nobody_looked_it_ends_the_next_supervisor(place: Colony) -> None:
    place.start()
    place.write("app", *SLEEP, restart=ONCE, essential=True)
    app = place.wait_for(lambda: int(place.status("app").get("pid") or 0))
    place.stop(signal.SIGKILL)
    os.kill(app, signal.SIGKILL)
    begin(place)
    assert ends(place) == 1


def test_who_becomes_essential_when_it_has_ended_already_ends_everything(place: Colony) -> None:
    """By the edit it runs once more, and ends once more."""
    place.start()
    place.write("app", shell="exit 8", restart=ONCE)
    place.wait_for(lambda: place.status("app").get("state") == "stopped")
    place.write("app", shell="exit 8", restart=ONCE, essential=True)
    assert ends(place) == 8
