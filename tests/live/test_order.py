"""Who waits for whom to start, and whom to end: as the process table shows it."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, PATIENCE, SLEEP, Colony, alive, stays
from tests.live.programs import READY, Journal, keeps, main

pytestmark = pytest.mark.live

EXACTLY = timedelta(seconds=0.1)
"""The kernel tells of starts in hundredths of a second."""

NEVER = {"exec": ["false"], "timeout": 1000}
"""Somebody who runs and is not ready."""


@pytest.fixture
def journal(place: Colony) -> Journal:
    return Journal(place)


def chain(colony: Colony, journal: Journal, slow: float = 0) -> list[str]:
    """A store, what needs it, and what needs that, in one group; the one in the middle takes its time to end."""
    colony.write("web", *journal.program(), after=["worker", "db"], ready=READY, group=["all"])
    colony.write("worker", *journal.program(slow), after=["db"], ready=READY, group=["all"])
    colony.write("db", *journal.program(), ready=READY, group=["all"])
    return ["db", "worker", "web"]


def started(colony: Colony, journal: Journal, slow: float = 0) -> dict[str, int]:
    """The pids of that chain, running."""
    names = chain(colony, journal, slow)
    # Each is of use as soon as it has been started, so who is the first to write is chance.
    assert sorted(journal.holds("+db", "+worker", "+web")) == ["+db", "+web", "+worker"]
    colony.wait_for(lambda: all(colony.status(name).get("state") == "running" for name in names))
    return {name: colony.runs(name) for name in names}


def waits_for(colony: Colony, name: str, other: str) -> bool:
    """Does it say so?"""
    told = colony.status(name)
    return told.get("state") == "waiting" and other in told["why"]


# -- to start


def test_who_is_needed_is_started_first_whatever_the_order_of_the_files(place: Colony, journal: Journal) -> None:
    chain(place, journal)
    place.start()
    journal.holds("+db", "+worker", "+web")
    started_as = [line.partition("] ")[2].split()[-3] for line in place.says_often("started ", 3)]
    assert started_as == ["db", "worker", "web"]


def test_who_needs_what_is_not_there_waits_and_says_for_whom(colony: Colony) -> None:
    colony.write("web", *SLEEP, after=["db", "cache"])
    colony.write("cache", *SLEEP)
    colony.runs("cache")
    colony.wait_for(lambda: "db" in colony.status("web").get("why", ""))
    told = colony.status("web")
    assert (told["state"], told["wanted"], told["ready"], told["pid"]) == ("waiting", True, False, None)
    assert "cache" not in told["why"]
    assert stays(lambda: not colony.running("web"))
    assert colony.ctl("status", "web").returncode == 3

    colony.write("db", *SLEEP)

    colony.runs("web", seconds=AT_ONCE)
    colony.wait_for(lambda: (colony.status("web")["state"], colony.status("web")["ready"]) == ("running", True))


def test_a_circle_never_starts_and_says_so_and_starts_when_it_is_broken(colony: Colony) -> None:
    colony.write("hen", *SLEEP, after=["egg"])
    colony.write("egg", *SLEEP, after=["hen"])
    colony.write("fox", *SLEEP, after=["hen"])
    for name, other in (("hen", "egg"), ("egg", "hen"), ("fox", "hen")):
        colony.wait_for(partial(waits_for, colony, name, other))
    assert stays(lambda: not colony.family())
    colony.obeys_at_once()

    colony.write("egg", *SLEEP)

    for name in ("egg", "hen", "fox"):
        colony.runs(name)


def test_who_is_needed_may_come_and_go_without_harm_to_who_runs(colony: Colony) -> None:
    colony.write("db", *SLEEP, restart={"threshold": 0})
    colony.write("web", *SLEEP, after=["db"])
    web, db = colony.runs("web"), colony.runs("db")

    os.kill(db, signal.SIGKILL)
    db = colony.runs("db", instead_of=db)
    colony.done("restart", "db", "--wait")
    db = colony.runs("db", instead_of=db)
    colony.write("db", *SLEEP, env={"EDITION": "2"})
    db = colony.runs("db", instead_of=db)
    colony.done("stop", "db", "--wait")
    colony.is_gone("db")
    assert stays(lambda: colony.running("web") == [web], 0.3)

    # It runs on; but it is not started anew without what it needs.
    os.kill(web, signal.SIGKILL)
    colony.wait_for(lambda: colony.status("web").get("state") == "waiting")
    assert stays(lambda: not colony.running("web"), 0.3)
    colony.done("start", "db", "--wait")
    colony.runs("web", instead_of=web)


def test_who_waits_starts_only_when_who_is_needed_is_back(colony: Colony, journal: Journal) -> None:
    """What flaps is ready for a moment each time; what waits gets it only while it is."""
    colony.write("db", "sh", "-c", "exit 1", ready={"seconds": 0.5}, restart={"initial": 0.1, "limit": 0.2})
    colony.write("web", *SLEEP, after=["db"])
    colony.wait_for(lambda: colony.status("db").get("starts", 0) >= 4)
    assert colony.status("web")["starts"] == 0

    colony.write("db", *SLEEP, ready={"seconds": 0.1})

    colony.runs("web")


# -- to end


def test_at_the_end_each_is_gone_before_what_it_needs_is_asked_to_go(place: Colony, journal: Journal) -> None:
    place.start()
    started(place, journal, slow=0.5)
    assert place.stop() == -signal.SIGTERM
    assert journal.lines()[3:] == ["-web", "-worker", "-db"]


def test_a_group_is_stopped_and_started_in_order(colony: Colony, journal: Journal) -> None:
    colony.write("other", *SLEEP)
    other = colony.runs("other")
    started(colony, journal, slow=0.5)
    colony.ask("STOP", group="all")
    assert journal.holds("-db")[3:] == ["-web", "-worker", "-db"]
    colony.wait_for(lambda: {colony.status(name)["state"] for name in ("web", "worker", "db")} == {"stopped"})
    colony.ask("START", group="all")
    journal.holds("+db", "+db", "+worker", "+worker", "+web", "+web")
    assert journal.lines()[6:] == ["+db", "+worker", "+web"]
    assert colony.running("other") == [other]


def test_who_is_stopped_while_others_that_need_it_stay_does_not_wait_for_them(colony: Colony, journal: Journal) -> None:
    pids = started(colony, journal)
    colony.done("stop", "db", "--wait")
    assert journal.lines()[3:] == ["-db"]
    assert colony.running("worker") == [pids["worker"]]
    assert colony.running("web") == [pids["web"]]


def test_files_that_are_removed_together_end_in_order(colony: Colony, journal: Journal) -> None:
    started(colony, journal, slow=0.5)
    for name in ("db", "worker", "web"):
        colony.remove(name)
    assert journal.holds("-db")[3:] == ["-web", "-worker", "-db"]
    colony.wait_for(lambda: not any(colony.status(name) for name in ("db", "worker", "web")))


def test_a_restart_of_all_ends_and_starts_in_order(colony: Colony, journal: Journal) -> None:
    pids = started(colony, journal, slow=0.3)
    colony.ask("RESTART-ALL")
    journal.holds(*2 * ["+db", "+worker", "+web"])
    assert journal.lines()[3:] == ["-web", "-worker", "-db", "+db", "+worker", "+web"]
    for name, pid in pids.items():
        assert colony.runs(name) != pid


def test_a_circle_keeps_nobody_from_ending(colony: Colony) -> None:
    colony.write("egg", *SLEEP)
    colony.write("hen", *SLEEP, after=["egg"])
    colony.write("fox", *SLEEP, after=["hen"])
    egg, hen = colony.runs("egg"), colony.runs("hen")
    colony.runs("fox")
    # It closes only now: egg is replaced, and waits for hen, which runs on; fox and hen stop all the same.
    colony.write("egg", *SLEEP, after=["hen"])
    colony.runs("egg", instead_of=egg)
    colony.ask("RESTART", name="hen")
    colony.runs("hen", instead_of=hen)
    assert colony.stop() == -signal.SIGTERM
    assert not colony.family()


def test_a_second_term_in_the_midst_changes_nothing(place: Colony, journal: Journal) -> None:
    place.start()
    started(place, journal, slow=1)
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGTERM)
    journal.holds("-web")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        place.supervisor.send_signal(number)
    assert place.supervisor.wait(PATIENCE) == -signal.SIGTERM
    assert journal.lines()[3:] == ["-web", "-worker", "-db"]
    assert not place.family()


def test_signals_that_come_together_are_one_end(place: Colony, journal: Journal) -> None:
    place.start()
    started(place, journal, slow=0.3)
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGSTOP)
    place.supervisor.send_signal(signal.SIGTERM)
    place.supervisor.send_signal(signal.SIGINT)
    place.supervisor.send_signal(signal.SIGCONT)
    assert place.supervisor.wait(PATIENCE) in (-signal.SIGTERM, -signal.SIGINT)
    assert journal.lines()[3:] == ["-web", "-worker", "-db"]
    assert not place.family()


def test_a_quit_in_the_midst_kills_whoever_is_left(place: Colony, journal: Journal) -> None:
    place.start("-k", "1000")
    pids = started(place, journal, slow=1000)
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGTERM)
    journal.holds("-web")
    assert alive(pids["db"])
    place.supervisor.send_signal(signal.SIGQUIT)
    place.supervisor.wait(PATIENCE)
    assert not place.family()
    assert journal.lines()[3:] == ["-web"]


def test_several_that_are_stopped_by_name_end_in_order_however_they_are_named(colony: Colony, journal: Journal) -> None:
    started(colony, journal, slow=0.3)
    colony.done("stop", "db", "worker", "web", "--wait")
    assert journal.lines()[3:] == ["-web", "-worker", "-db"]


def test_a_term_while_somebody_waits_starts_nobody(place: Colony, journal: Journal) -> None:
    """What is needed becomes ready while everything is being stopped."""
    gate = place.folder / "gate"
    place.write("db", *journal.program(0.7), ready={"exec": ["test", "-e", str(gate)]})
    place.write("web", *journal.program(), after=["db"])
    place.start()
    journal.holds("+db")
    place.wait_for(lambda: place.status("web").get("state") == "waiting")
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGTERM)
    # Both at once would be a start before the end as well as none.
    place.wait_for(lambda: place.status("db").get("state") == "stopping")
    gate.touch()
    assert place.supervisor.wait(PATIENCE) == -signal.SIGTERM
    assert "+web" not in journal.lines()


# -- whatever becomes of the supervisor


def test_a_killed_supervisor_disturbs_neither_who_starts_nor_who_waits(place: Colony, journal: Journal) -> None:
    gate = place.folder / "gate"
    place.start()
    place.write("up", *journal.program(), ready=READY)
    place.write("db", *journal.gated("exec", gate), ready={"exec": ["test", "-e", str(gate)]}, after=["up"])
    place.write("web", *journal.program(), after=["db"])
    journal.holds("+up", "+db")
    pids = place.runs("up"), main(place, "db")
    began = place.status("db")["started"]
    for _ in range(3):
        place.stop(signal.SIGKILL)
        place.start()
        place.wait_for(lambda: place.status("web").get("state") == "waiting")
    place.wait_for(lambda: place.status("db").get("state") == "starting")
    gate.touch()
    journal.holds("+web")
    assert (place.runs("up"), main(place, "db")) == pids
    assert abs(datetime.fromisoformat(place.status("db")["started"]) - datetime.fromisoformat(began)) < EXACTLY
    assert [line for line in journal.lines() if line.startswith("+")] == ["+up", "+db", "+web"]
    # And what was adopted is stopped in order too.
    assert place.stop() == -signal.SIGTERM
    ended = [line for line in journal.lines() if line.startswith("-")]
    assert ended == ["-web", "-db", "-up"]


def test_an_upgrade_disturbs_neither_who_starts_nor_who_waits(colony: Colony, journal: Journal) -> None:
    gate = colony.folder / "gate"
    colony.write("db", *journal.gated("exec", gate), ready={"exec": ["test", "-e", str(gate)]})
    colony.write("web", *journal.program(), after=["db"])
    journal.holds("+db")
    db = main(colony, "db")
    colony.done("upgrade")
    colony.wait_for(lambda: colony.status("web").get("state") == "waiting")
    assert journal.lines() == ["+db"]
    gate.touch()
    journal.holds("+web")
    assert main(colony, "db") == db


SLOW_BEGINNING = """
import os, time
if "COLONY_HANDOVER" in os.environ:
    open({gate!r}, "w").close()
    while "!db" not in open({journal!r}).read():
        time.sleep(0.01)
"""


def test_what_is_said_in_the_midst_of_an_upgrade_is_heard(place: Colony, journal: Journal) -> None:
    """By sd_notify, while the new code is only beginning."""
    new, gate = place.folder / "new", place.folder / "gate"
    new.mkdir()
    place.start(env={"PYTHONPATH": str(new)})
    place.write("db", *journal.gated("notify", gate), ready={"notify": True, "timeout": 1000})
    journal.holds("+db")
    db = main(place, "db")
    (new / "sitecustomize.py").write_text(SLOW_BEGINNING.format(gate=str(gate), journal=str(journal.path)))

    place.done("upgrade")

    place.wait_for(lambda: place.status("db").get("ready"))
    assert main(place, "db") == db


ANNOUNCED = {"log": {"log": "now serving"}, "notify": {"notify": True}, "child": {"notify": True}}
"""Kinds of readiness that nobody can ask about again."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANNOUNCED)
@pytest.mark.parametrize("how", ["kill", "upgrade"])
def test_who_has_not_said_that_it_is_ready_is_not_taken_for_it_by_the_next_supervisor(
    place: Colony, journal: Journal, kind: str, how: str
) -> None:
    gate = place.folder / "gate"
    place.start()
    place.write("db", *journal.gated(kind, gate), ready=ANNOUNCED[kind])
    place.write("web", *journal.program(), after=["db"])
    journal.holds("+db")
    db = main(place, "db")
    place.wait_for(lambda: place.status("db").get("state") == "starting")
    replaced(place, how)
    place.wait_for(lambda: place.status("web").get("state") == "waiting")
    assert stays(lambda: journal.lines() == ["+db"])
    gate.touch()
    journal.holds("+web")
    assert main(place, "db") == db


def replaced(place: Colony, how: str) -> None:
    """Another supervisor has the colony."""
    if how == "kill":
        place.stop(signal.SIGKILL)
        place.start()
    else:
        place.done("upgrade")


@pytest.mark.parametrize("kind", ANNOUNCED)
def test_who_has_said_that_it_is_ready_need_not_say_it_again(place: Colony, journal: Journal, kind: str) -> None:
    gate: Path = place.folder / "gate"
    gate.touch()
    place.start()
    place.write("db", *journal.gated(kind, gate), ready=ANNOUNCED[kind])
    place.wait_for(lambda: place.status("db").get("ready"))
    place.stop(signal.SIGKILL)
    place.write("web", *journal.program(), after=["db"])
    place.start()
    journal.holds("+web")


def test_who_may_have_said_it_to_nobody_counts_as_ready_in_time(place: Colony, journal: Journal) -> None:
    gate: Path = place.folder / "gate"
    place.start()
    place.write("db", *journal.gated("notify", gate), ready={"notify": True, "timeout": 4})
    place.write("web", *journal.program(), after=["db"])
    journal.holds("+db")
    db = main(place, "db")
    place.stop(signal.SIGKILL)
    gate.touch()
    journal.holds("!db")
    # What it said then, nobody heard, and it does not say it again.
    place.start()
    journal.holds("+web")
    assert keeps(place, "db", db)


def test_seconds_go_on_though_the_supervisor_does_not(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("db", *SLEEP, ready={"seconds": 6})
    place.write("web", *SLEEP, after=["db"])
    db = main(place, "db")
    place.stop(signal.SIGKILL)
    place.start()
    web = place.runs("web")
    assert keeps(place, "db", db)
    assert 5.9 <= began(web) - began(db)


def began(pid: int) -> float:
    """When a process was started, in seconds since the boot."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def test_who_is_needed_and_ended_unseen_is_started_first(place: Colony, journal: Journal) -> None:
    place.start()
    place.write("db", *journal.program(), ready=READY)
    db = main(place, "db")
    journal.holds("+db")
    place.stop(signal.SIGKILL)
    os.kill(db, signal.SIGKILL)
    place.write("aweb", *journal.program(), after=["db"])
    place.start()
    assert journal.holds("+aweb") == ["+db", "+db", "+aweb"]


# -- whom a step of a ladder is for


def test_a_step_for_the_main_leaves_alone_whom_it_started(colony: Colony, journal: Journal) -> None:
    """As a queue's worker has it: its children end their work, unless it is taking too long."""
    child = (
        f"trap 'echo child >>{journal.path}; exit' TERM HUP; echo +child >>{journal.path}; while :; do sleep 0.02; done"
    )
    main = f"sh -c \"$CHILD\" & trap 'echo main >>{journal.path}' TERM HUP; while :; do sleep 0.02; done"
    stop = [["TERM", 0.3, "main"], ["HUP", 0.3], ["KILL", 0]]
    colony.write("worker", "sh", "-c", main, env={"CHILD": child}, stop=stop)
    journal.holds("+child")
    pid = colony.running("worker")[0]
    colony.done("stop", "worker", "--wait")
    assert journal.lines()[:2] == ["+child", "main"]
    assert sorted(journal.lines()[2:]) == ["child", "main"]
    assert colony.status("worker")["last_exit"]["signal"] == "KILL"
    assert not alive(pid)


def test_whom_a_main_leaves_behind_after_a_step_of_its_own_is_told_to_go(colony: Colony, journal: Journal) -> None:
    child = f"trap 'echo child >>{journal.path}; exit' TERM; echo +child >>{journal.path}; while :; do sleep 0.02; done"
    colony.write(
        "worker", "sh", "-c", 'sh -c "$CHILD" & exec sleep 1000', env={"CHILD": child}, stop=[["TERM", 1000, "main"]]
    )
    journal.holds("+child")
    colony.ask("STOP", name="worker")
    colony.is_gone("worker")
    assert journal.lines() == ["+child", "child"]
