"""What is ready, in each way to be so, and what becomes of those that wait for it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, alive, free_port, process, stays
from tests.live.programs import Journal, keeps, main

# Any is a JSON value.

pytestmark = pytest.mark.live

NEVER = ["false"]
"""A probe that nobody passes."""


@pytest.fixture
def journal(place: Colony) -> Journal:
    return Journal(place)


@pytest.fixture
def gate(place: Colony) -> Path:
    """Where a file says that they may be ready."""
    return place.folder / "gate"


# -- each way to be ready


@pytest.mark.parametrize("kind", ["tcp", "http", "exec", "log", "notify", "child"])
def test_who_waits_is_started_once_it_is_ready_and_not_before(
    colony: Colony, journal: Journal, gate: Path, kind: str
) -> None:
    port = free_port()
    ways: dict[str, Any] = {
        "tcp": {"tcp": port},
        "http": {"http": f"http://127.0.0.1:{port}/health"},
        "exec": {"exec": ["test", "-e", str(gate)]},
        "log": {"log": "^now +serv"},
        "notify": {"notify": True},
        "child": {"notify": True},
    }
    colony.write("web", *journal.program(), after=["db"])
    colony.write("db", *journal.gated(kind, gate, str(port)), ready=ways[kind])
    journal.holds("+db")
    db = main(colony, "db")
    colony.wait_for(lambda: colony.status("db").get("state") == "starting" and colony.status("web"))
    assert (colony.status("db")["pid"], colony.status("db")["ready"]) == (db, False)
    web = colony.status("web")
    assert (web["state"], web["ready"]) == ("waiting", False)
    assert web["why"].startswith("waits for db")
    assert stays(lambda: "+web" not in journal.lines() and keeps(colony, "db", db))
    assert colony.ctl("wait", "web", "--timeout", "0.1").returncode == 124
    assert colony.ctl("status", "db").returncode == 3

    gate.touch()

    journal.holds("+web")
    assert colony.done("wait", "db", "web", "--for", "ready", "--timeout", "10") == ""
    assert (colony.status("db")["state"], colony.status("db")["ready"]) == ("running", True)
    assert keeps(colony, "db", db)
    assert len(colony.said("db is ready")) == 1


def test_what_has_run_for_seconds_is_ready(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"seconds": 1.5})
    colony.write("web", *SLEEP, after=["db"])
    db, web = main(colony, "db"), colony.runs("web")
    assert began(web) - began(db) >= 1.49


def began(pid: int) -> float:
    """When a process was started, in seconds since the boot, to a hundredth."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19]) / 100


def test_what_ran_once_and_ended_well_is_ready(colony: Colony, journal: Journal, gate: Path) -> None:
    script = f"until [ -e {gate} ]; do sleep 0.05; done; echo done >>{journal.path}; exit 3"
    colony.write("migrate", "sh", "-c", script, restart={"when": "failure", "success": [3]})
    colony.write("web", *journal.program(), after=["migrate"])
    colony.runs("migrate")
    # It runs, so whoever has no `ready` of its own is: web does not wait for its end.
    colony.runs("web")
    gate.touch()
    colony.wait_for(lambda: colony.status("migrate").get("state") == "stopped")
    web = colony.runs("web")
    colony.done("restart", "web", "--wait")
    colony.runs("web", instead_of=web)


def test_who_is_to_have_run_once_is_not_ready_before_its_end_if_it_says_so(colony: Colony, journal: Journal) -> None:
    """A one-shot that is never ready while it runs: those that need it come after its end."""
    script = f"sleep 0.5; echo done >>{journal.path}"
    colony.write("migrate", "sh", "-c", script, restart={"when": "failure"}, ready={"seconds": 1000})
    colony.write("web", *journal.program(), after=["migrate"])
    assert journal.holds("+web") == ["done", "+web"]


def test_what_ran_once_and_failed_is_not_ready(colony: Colony) -> None:
    colony.write("migrate", "sh", "-c", "exit 1", restart={"when": "never"}, ready={"seconds": 1000})
    colony.write("web", *SLEEP, after=["migrate"])
    colony.wait_for(lambda: colony.status("migrate").get("state") == "stopped")
    assert stays(lambda: not colony.running("web"))
    assert colony.status("web")["why"].startswith("waits for migrate")


# -- who does not become ready


def test_who_is_not_ready_in_time_is_stopped_by_its_ladder_and_tried_again_with_backoff(
    colony: Colony, journal: Journal, gate: Path
) -> None:
    deaf = f"trap 'echo asked >>{journal.path}' INT; echo +db >>{journal.path}; while :; do sleep 0.05; done"
    colony.write(
        "db",
        "sh",
        "-c",
        deaf,
        ready={"exec": ["test", "-e", str(gate)], "timeout": 0.3},
        stop=[["INT", 0.3], ["KILL", 0]],
        restart={"initial": 0.3, "factor": 3, "limit": 30, "jitter": 0, "threshold": 0},
    )
    began = time.monotonic()
    colony.write("web", *journal.program(), after=["db"])
    assert journal.holds("+db", "+db", "+db") == ["+db", "asked", "+db", "asked", "+db"]
    # Two times 0.3 for the start and 0.3 for the ladder, then 0.3 and 0.9 of backoff.
    assert time.monotonic() - began >= 2.3
    colony.wait_for(lambda: (colony.status("db")["state"], colony.status("db")["starts"]) == ("backoff", 3))
    told = colony.status("db")
    assert told["why"].startswith("not ready after 0.3 s")
    assert told["last_exit"]["signal"] == "KILL"
    assert (told["streak"], told["ready"]) == (3, False)
    assert colony.status("web")["why"].startswith("waits for db")
    assert "+web" not in journal.lines()

    gate.touch()
    colony.ask("RESTART", name="db")

    journal.holds("+web")
    colony.wait_for(lambda: colony.status("db").get("state") == "running")
    assert stays(lambda: colony.status("db").get("state") == "running")
    assert colony.status("web")["starts"] == 1


def test_who_is_given_up_as_it_never_was_ready_leaves_others_waiting(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"exec": NEVER, "timeout": 0.2}, restart={"initial": 0.05, "attempts": 2})
    colony.write("web", *SLEEP, after=["db"])
    colony.wait_for(lambda: colony.status("db").get("state") == "failed")
    assert "not ready after 0.2 s" in colony.status("db")["why"]
    assert colony.status("db")["starts"] == 2
    assert not colony.family()
    assert colony.status("web")["why"].startswith("waits for db")
    assert colony.ctl("wait", "db", "--timeout", "5").returncode == 1
    colony.obeys_at_once()


def test_a_command_that_asks_and_does_not_end_is_gone_when_its_time_is_over(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"exec": ["sh", "-c", "sleep 1001 & sleep 1002"], "timeout": 0.4})
    db = main(colony, "db")
    colony.wait_for(lambda: colony.status("db").get("state") == "backoff")
    assert not alive(db)
    colony.is_gone("db", AT_ONCE)


def test_it_is_not_ready_by_what_another_process_says(colony: Colony, journal: Journal, gate: Path) -> None:
    """Whoever hands on its NOTIFY_SOCKET to another session cannot speak for itself there."""
    gate.touch()
    colony.write("db", *journal.gated("tcp", gate, str(free_port())), ready={"notify": True})
    colony.write("web", *SLEEP, after=["db"])
    journal.holds("+db")
    found = process(main(colony, "db"))
    assert found is not None
    socket = found.environ["NOTIFY_SOCKET"]
    colony.write("other", *journal.gated("notify", gate), env={"NOTIFY_SOCKET": socket})
    journal.holds("!other")
    assert stays(lambda: colony.status("db").get("state") == "starting")
    assert not colony.running("web")


def test_whoever_ends_before_it_was_ready_has_died_early(colony: Colony) -> None:
    policy = {"initial": 0.2, "limit": 30, "factor": 4, "jitter": 0}
    colony.write("db", "sh", "-c", "sleep 0.1", ready={"exec": NEVER}, restart=policy)
    colony.write("web", *SLEEP, after=["db"])
    colony.wait_for(lambda: colony.status("db").get("streak", 0) >= 3)
    assert colony.status("web")["starts"] == 0


# -- edits


def test_who_waits_is_freed_by_an_edit_of_whom_it_needs(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"exec": NEVER})
    colony.write("web", *SLEEP, after=["db"])
    db = main(colony, "db")
    colony.wait_for(lambda: colony.status("web").get("state") == "waiting")
    colony.write("db", *SLEEP, ready={"exec": ["true"]})
    main(colony, "db", instead_of=db)
    colony.runs("web", seconds=AT_ONCE)


def test_who_waits_is_freed_by_an_edit_of_its_own(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"exec": NEVER})
    colony.write("web", *SLEEP, after=["db"])
    db = main(colony, "db")
    colony.wait_for(lambda: colony.status("web").get("state") == "waiting")
    colony.write("web", *SLEEP)
    colony.runs("web", seconds=AT_ONCE)
    assert keeps(colony, "db", db)


def test_who_needs_more_by_an_edit_is_started_anew_once_that_is_ready(
    colony: Colony, journal: Journal, gate: Path
) -> None:
    colony.write("web", *journal.program())
    colony.write("db", *journal.gated("log", gate), ready={"log": "serving"})
    web = colony.runs("web")
    journal.holds("+db", "+web")
    colony.write("web", *journal.program(), after=["db"])
    journal.holds("-web")
    assert stays(lambda: not colony.running("web"), 0.3)
    gate.touch()
    colony.runs("web", instead_of=web)


def test_a_stop_ends_who_is_not_ready_yet_and_a_start_begins_anew(colony: Colony) -> None:
    colony.write("db", *SLEEP, ready={"exec": NEVER})
    colony.write("web", *SLEEP, after=["db"])
    main(colony, "db")
    colony.done("stop", "db", "--wait")
    colony.done("stop", "web", "--wait")
    assert not colony.family()
    colony.done("start", "web")
    colony.wait_for(lambda: colony.status("web").get("state") == "waiting")
    colony.ask("START", name="db")
    main(colony, "db")
    assert colony.stop() == -signal.SIGTERM


ELSEWHERE = 'mount --bind "$1" "$2"; cd "$2"; shift 2; exec "$@"'


def test_two_colonies_that_share_a_network_and_the_path_of_config_hear_each_its_own(
    place: Colony, journal: Journal, gate: Path
) -> None:
    """As two containers with ``--network host`` do."""
    unshared = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshared, "true"], check=False, timeout=10).returncode != 0:
        pytest.skip("needs unshare(1) and the right to use it")
    folder = place.folder / "elsewhere"
    folder.mkdir()
    there = Colony(folder)
    for colony in (place, there):
        colony.write("db", *journal.gated("notify", gate), ready={"notify": True, "timeout": 1000})
    try:
        place.start()
        command = ["python", "-m", "twisted", "colony", *place.places]
        there.begin(*unshared, ELSEWHERE, "sh", str(folder), str(place.folder), *command)
        for colony in (place, there):
            _begins(colony)
        for colony in (place, there):
            (colony.folder / gate.name).touch()
            _becomes_ready(colony)
        assert not there.said("sd_notify")
        assert there.stop() == -signal.SIGTERM
    finally:
        there.clean()


def _begins(colony: Colony) -> None:
    colony.wait_for(lambda: colony.status("db").get("state") == "starting")


def _becomes_ready(colony: Colony) -> None:
    colony.wait_for(lambda: colony.status("db")["ready"])
