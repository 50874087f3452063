"""kill -9 at the worst instants: what runs goes on, nothing runs twice, and what was asked for is done."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.live.driver import MARK, SLEEP, Colony, alive, processes, stays
from tests.live.faults.kit import environment_of_a_countdown, environment_of_a_death

pytestmark = pytest.mark.live
slow = pytest.mark.slow

SPAWN = "colony.runtime.spawn:ProcessSpawner.spawn"
INTEND = "colony.runtime.records:Records.intend"
LAUNCH = "colony.runtime.launch:Launcher.launch"
STARTED = "colony.runtime.records:Records.started"
ADOPT = "colony.runtime.spawn:ProcessSpawner.adopt"
KILL = "colony.runtime.spawn:ProcessSpawner.kill"
OBEY = "colony.supervisor:Supervisor.obey"
HOLD = "colony.runtime.state:StateDirectory.hold"
DOOM = "colony.runtime.state:StateDirectory.doom"
ANSWER = "colony.runtime.state:StateDirectory.answer"
KEEP = "colony.runtime.state:StateDirectory.keep_specs"
FORGET = "colony.runtime.state:StateDirectory.forget"
RESTORE = "colony.supervisor:Supervisor.restore"
CLEAR = "colony.runtime.state:StateDirectory.clear_pipes"


def dies_at(place: Colony, point: str, when: str, call: int = 1) -> None:
    """Start a supervisor that kills itself there; `is_dead` waits for that."""
    env = environment_of_a_death(place.folder, f"{point}:{when}", call)
    place.begin("python", "-m", "twisted", "colony", *place.places, "-k", "1", env=env)


def is_dead(place: Colony) -> None:
    assert place.supervisor is not None
    assert place.supervisor.wait(15) == -signal.SIGKILL, place.said("")


def is_whole(place: Colony, *names: str) -> list[int]:
    """A next supervisor runs each of these once, and nothing else; returns the pids."""
    place.start("-k", "1")
    pids = [place.runs(name) for name in names]
    place.wait_for(lambda: sorted(place.running()) == sorted(pids))
    assert stays(lambda: sorted(place.running()) == sorted(pids), 0.5)
    place.obeys_at_once()
    return pids


@pytest.mark.parametrize(
    ("point", "when", "lives"),
    [
        pytest.param(SPAWN, "before", False, marks=slow),
        pytest.param(INTEND, "before", False, marks=slow),
        (INTEND, "after", False),
        pytest.param(LAUNCH, "before", False, marks=slow),
        (LAUNCH, "after", True),
        pytest.param(STARTED, "before", True, marks=slow),
        (STARTED, "after", True),
        pytest.param(SPAWN, "after", True, marks=slow),
        pytest.param(KEEP, "before", False, marks=slow),
    ],
)
def test_around_a_start(place: Colony, point: str, when: str, lives: bool) -> None:
    place.write("web", *SLEEP)
    dies_at(place, point, when)
    is_dead(place)
    before = place.running("web")
    assert len(before) == lives
    pids = is_whole(place, "web")
    assert pids == before or not lives


def test_term_at_its_first_start_leaves_nothing(place: Colony) -> None:
    place.write("web", *SLEEP)
    env = environment_of_a_death(place.folder, f"{STARTED}:after", number=signal.SIGTERM)
    supervisor = place.begin("python", "-m", "twisted", "colony", *place.places, env=env)
    assert supervisor.wait(15) == -signal.SIGTERM
    assert place.family() == []
    assert place.said("started web")


def test_between_a_start_and_its_record_when_the_environment_is_overwritten(place: Colony) -> None:
    """Then its FIFO tells whose it is."""
    place.write("web", "env", "-i", f"COLONY_LIVE_TEST={place.folder}", "/bin/sleep", "1001")
    dies_at(place, LAUNCH, "after")
    is_dead(place)

    def there() -> list[int]:
        return [one.pid for one in processes(f"{MARK}={place.folder}\0") if one.environ.keys() == {MARK, ""}]

    [pid] = place.wait_for(there)
    place.start()

    place.wait_for(lambda: place.status("web").get("state") == "running")
    assert place.status("web")["pid"] == pid
    assert there() == [pid]
    place.remove("web")
    place.wait_for(lambda: not alive(pid))


def test_between_a_start_and_its_record_when_it_has_a_daemon_by_now(place: Colony) -> None:
    place.write("web", "sh", "-c", "setsid sleep 1001 & exec sleep 1000")
    dies_at(place, LAUNCH, "after")
    is_dead(place)
    place.wait_for(lambda: len(place.running("web")) == 2)
    before = place.family("web")
    place.start()
    place.wait_for(lambda: place.status("web").get("pid") == min(one.pid for one in before))
    assert stays(lambda: place.family("web") == before or not place.family("web"), 0.5)
    place.remove("web")
    place.is_gone("web")


@pytest.mark.parametrize(
    ("point", "when", "call"),
    [
        (ADOPT, "after", 2),
        pytest.param(ADOPT, "before", 1, marks=slow),
        pytest.param(ADOPT, "after", 1, marks=slow),
        pytest.param(ADOPT, "before", 3, marks=slow),
        pytest.param(ADOPT, "after", 3, marks=slow),
        pytest.param(RESTORE, "before", 1, marks=slow),
        pytest.param(RESTORE, "after", 1, marks=slow),
        pytest.param(CLEAR, "after", 1, marks=slow),
    ],
)
def test_while_it_adopts(place: Colony, point: str, when: str, call: int) -> None:
    place.start()
    names = ("a", "b", "c")
    for name in names:
        place.write(name, *SLEEP)
    before = [place.runs(name) for name in names]
    place.stop(signal.SIGKILL)
    dies_at(place, point, when, call)
    is_dead(place)
    assert sorted(place.running()) == sorted(before)
    assert is_whole(place, *names) == before


DEAF = ("sh", "-c", "trap '' TERM; sleep 1001 & while :; do wait; done")


def removed(place: Colony) -> None:
    place.remove("web")


def stopped(place: Colony) -> None:
    place.ask("STOP", name="web")


@pytest.mark.parametrize("order", [removed, pytest.param(stopped, marks=slow)])
@pytest.mark.parametrize(
    ("when", "call"),
    [
        pytest.param("before", 1, marks=slow),
        ("after", 1),
        pytest.param("before", 3, marks=slow),
        pytest.param("after", 3, marks=slow),
    ],
)
def test_on_the_ladder(place: Colony, order: Callable[[Colony], None], when: str, call: int) -> None:
    """TERM, CONT, KILL: the next supervisor goes down it from its beginning."""
    place.write("other", *SLEEP)
    place.write("web", *DEAF)
    dies_at(place, KILL, when, call)
    place.wait_until_it_keeps()
    other = place.runs("other")
    place.wait_for(lambda: len(place.family("web")) == 2)
    order(place)
    is_dead(place)

    assert is_whole(place, "other") == [other]
    place.is_gone("web")


def test_while_it_ends(place: Colony) -> None:
    """What was to be stopped is adopted by the next one: the files want it."""
    for name in ("a", "b"):
        place.write(name, *DEAF)
    dies_at(place, KILL, "after", 2)
    place.wait_until_it_keeps()
    place.wait_for(lambda: len(place.family()) == 4)
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGTERM)
    is_dead(place)
    is_whole(place, "a", "b")


@pytest.mark.parametrize(
    ("point", "when"),
    [
        pytest.param(OBEY, "before", marks=slow),
        pytest.param(OBEY, "after", marks=slow),
        pytest.param(HOLD, "before", marks=slow),
        (HOLD, "after"),
        pytest.param(ANSWER, "before", marks=slow),
        pytest.param(ANSWER, "after", marks=slow),
    ],
)
def test_a_stop_is_never_lost(place: Colony, point: str, when: str) -> None:
    place.write("web", *SLEEP)
    dies_at(place, point, when)
    place.runs("web")
    asked = place.ask("STOP", name="web")
    is_dead(place)
    is_whole(place)
    assert place.answer(asked)["ok"]
    place.wait_for(lambda: place.status("web").get("state") == "stopped")


@pytest.mark.parametrize(
    ("point", "when"),
    [
        pytest.param(OBEY, "before", marks=slow),
        pytest.param(OBEY, "after", marks=slow),
        pytest.param(DOOM, "before", marks=slow),
        (DOOM, "after"),
        (ANSWER, "before"),
        pytest.param(ANSWER, "after", marks=slow),
    ],
)
def test_a_restart_is_never_lost(place: Colony, point: str, when: str) -> None:
    place.write("web", *SLEEP)
    place.write("other", *SLEEP)
    dies_at(place, point, when)
    web, other = place.runs("web"), place.runs("other")
    asked = place.ask("RESTART", name="web")
    is_dead(place)
    place.start()
    place.runs("web", instead_of=web)
    assert place.answer(asked)["ok"]
    assert place.running("other") == [other]


@pytest.mark.parametrize("when", [pytest.param("before", marks=slow), "after"])
def test_a_removal_is_never_lost(place: Colony, when: str) -> None:
    place.write("web", *SLEEP)
    place.write("other", *SLEEP)
    dies_at(place, FORGET, when)
    place.runs("web")
    other = place.runs("other")
    place.remove("web")
    is_dead(place)
    assert is_whole(place, "other") == [other]
    assert place.status("web") == {}


@slow
@pytest.mark.parametrize("count", range(1, 120, 5))
def test_at_any_touch_of_a_file_while_it_finds_work_to_do(place: Colony, count: int) -> None:
    """Something to adopt, to start, to replace, to stop, to end; messages; and a death somewhere in all of that."""
    place.start("-k", "1")
    for name in ("still", "changes", "goes", "asked", "held"):
        place.write(name, *SLEEP)
    pids = {name: place.runs(name) for name in ("still", "changes", "goes", "asked", "held")}
    place.stop(signal.SIGKILL)
    place.write("changes", *SLEEP, env={"EDITION": "2"})
    place.write("comes", *SLEEP)
    place.remove("goes")
    place.ask("RESTART", name="asked")
    place.ask("STOP", name="held")

    env = environment_of_a_countdown(place.folder, count)
    supervisor = place.begin("python", "-m", "twisted", "colony", *place.places, "-k", "1", env=env)
    place.wait_for(lambda: supervisor.poll() is not None or len(place.said(f" keeps {place.config}")))
    if supervisor.poll() is None and not stays(lambda: supervisor.poll() is None, 1.0):
        assert supervisor.wait(1) == -signal.SIGKILL
    if supervisor.poll() is None:
        place.stop(signal.SIGKILL)

    still, changes, asked, _ = is_whole(place, "still", "changes", "asked", "comes")
    assert still == pids["still"]
    assert changes != pids["changes"]
    assert asked != pids["asked"]
