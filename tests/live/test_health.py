"""What is not well is started anew, never in a storm; what is, is left alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, alive, free_port, stays
from tests.live.programs import Journal, keeps, main

# Any is a JSON value.

pytestmark = pytest.mark.live

QUICK = {"every": 0.15, "timeout": 0.5, "failures": 2}
BRIEF = {"initial": 0.1, "limit": 0.2, "threshold": 0}
KINDS = ("tcp", "http", "exec", "notify", "beat")


@pytest.fixture
def journal(place: Colony) -> Journal:
    return Journal(place)


@pytest.fixture
def well(place: Colony) -> Path:
    """While it is there, programs are well."""
    path = place.folder / "well"
    path.touch()
    return path


def write(colony: Colony, journal: Journal, well: Path, kind: str, more: dict[str, Any] | None = None) -> None:
    """A process ``web`` that is asked about its health in that way."""
    port, beat = str(free_port()), colony.folder / "beat"
    ways: dict[str, Any] = {
        "tcp": {"tcp": int(port)},
        "http": {"http": f"http://127.0.0.1:{port}/health"},
        "exec": {"exec": ["test", "-e", str(well)]},
        "notify": {"notify": True},
        "beat": {"beat": str(beat)},
    }
    args = journal.well(kind, well, str(beat) if kind == "beat" else port)
    colony.write("web", *args, health=ways[kind] | QUICK | (more or {}), restart=BRIEF)


def is_healthy(colony: Colony) -> bool:
    return bool(colony.status("web").get("health") == "healthy")


# -- each way to be well


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_well_is_left_alone_and_who_is_not_is_started_anew(
    colony: Colony, journal: Journal, well: Path, kind: str
) -> None:
    write(colony, journal, well, kind)
    colony.write("other", *SLEEP, after=["web"])
    colony.wait_for(lambda: is_healthy(colony))
    web, other = main(colony, "web"), main(colony, "other")
    assert stays(lambda: keeps(colony, "web", web) and is_healthy(colony), 1)

    well.unlink()

    assert journal.holds("-web", "+web", "+web")[:3] == ["+web", "-web", "+web"]
    assert colony.says(f"stopping web ({web}): unhealthy: ")
    colony.wait_for(lambda: colony.status("web")["streak"] >= 1)
    well.touch()
    colony.wait_for(lambda: is_healthy(colony))
    colony.wait_for(lambda: colony.status("web")["streak"] == 0)
    assert keeps(colony, "other", other)


def test_one_failure_is_none(colony: Colony, journal: Journal, well: Path) -> None:
    """Only so many in a row count."""
    script = f"date >>{colony.folder}/asked; [ $(($(wc -l <{colony.folder}/asked) % 3)) -eq 0 ]"
    colony.write("web", *SLEEP, health={"exec": ["sh", "-c", script], "every": 0.1, "failures": 3})
    web = main(colony, "web")
    asked = colony.folder / "asked"
    colony.wait_for(lambda: asked.exists() and len(asked.read_text().splitlines()) >= 12)
    assert keeps(colony, "web", web)


# -- never a storm


def test_who_is_never_well_is_started_with_backoff(colony: Colony, journal: Journal) -> None:
    policy = {"initial": 0.4, "factor": 2, "limit": 60, "jitter": 0, "threshold": 0}
    health = {"exec": ["sh", "-c", "echo no disk; exit 4"], "every": 0.1, "failures": 2}
    began = time.monotonic()
    colony.write("web", *journal.program(), health=health, restart=policy)
    journal.holds(*4 * ["+web"])
    # Each life lasts two looks; after them 0.4, 0.8 and 1.6.
    assert time.monotonic() - began >= 3 * 0.2 + 2.8
    assert stays(lambda: journal.lines().count("+web") == 4, 1)
    assert not stays(lambda: colony.status("web").get("state") == "running", 1)
    told = colony.status("web")
    assert (told["state"], told["streak"], told["ready"]) == ("backoff", 4, False)
    assert told["why"].startswith("unhealthy: sh exited with code 4: no disk")
    assert told["next_start"]


def test_a_restart_or_an_edit_ends_the_wait_of_who_was_not_well(colony: Colony, journal: Journal, well: Path) -> None:
    policy = {"initial": 1000, "limit": 1000}
    keys = {"health": {"exec": ["test", "-e", str(well)]} | QUICK, "restart": policy}
    well.unlink()
    colony.write("web", *journal.program(), **keys)
    colony.wait_for(lambda: colony.status("web").get("state") == "backoff")
    well.touch()
    colony.ask("RESTART", name="web")
    journal.holds("+web", "+web")
    colony.wait_for(lambda: is_healthy(colony))


def test_who_is_never_well_is_given_up_if_so_asked(colony: Colony) -> None:
    policy = {"initial": 0.05, "limit": 0.05, "attempts": 3}
    colony.write("web", *SLEEP, health={"exec": ["false"]} | QUICK, restart=policy)
    colony.wait_for(lambda: colony.status("web").get("state") == "failed")
    assert colony.status("web")["starts"] == 3
    assert not colony.family()


def test_while_it_begins_failures_do_not_count(colony: Colony, journal: Journal, well: Path) -> None:
    well.unlink()
    write(colony, journal, well, "exec", {"start": 2.5})
    web = main(colony, "web")
    assert stays(lambda: keeps(colony, "web", web), 1.5)
    assert colony.status("web")["health"] is None
    well.touch()
    colony.wait_for(lambda: is_healthy(colony))
    well.unlink()
    main(colony, "web", instead_of=web)


def test_nobody_is_asked_before_it_is_ready(colony: Colony, journal: Journal) -> None:
    gate = colony.folder / "gate"
    port = free_port()
    colony.write(
        "web",
        *journal.gated("http", gate, str(port)),
        ready={"exec": ["test", "-e", str(gate)]},
        health={"http": f"http://127.0.0.1:{port}/"} | QUICK,
    )
    web = main(colony, "web")
    assert stays(lambda: keeps(colony, "web", web), 1)
    gate.touch()
    colony.wait_for(lambda: is_healthy(colony))
    assert keeps(colony, "web", web)


# -- questions that hang


def test_who_does_not_answer_is_not_well_and_keeps_nobody_waiting(colony: Colony, journal: Journal, well: Path) -> None:
    port = free_port()
    health = {"http": f"http://127.0.0.1:{port}/", "every": 0.2, "timeout": 0.3, "failures": 2}
    colony.write("web", *journal.well("hung", well, str(port)), health=health, restart=BRIEF)
    web = main(colony, "web")
    colony.obeys_at_once()
    main(colony, "web", instead_of=web)
    assert colony.said(f"stopping web ({web}): unhealthy: ")[0].endswith("within 0.3 s")


def test_a_command_that_hangs_is_killed_with_all_that_it_started(colony: Colony) -> None:
    command = ["sh", "-c", "sleep 1001 & sleep 1002 & sleep 1003"]
    health = {"exec": command, "every": 0.2, "timeout": 0.4, "failures": 3}
    colony.write("web", *SLEEP, health=health, restart={"initial": 1000, "limit": 1000})
    colony.wait_for(lambda: commands(colony, "sleep\x00100"))
    colony.wait_for(lambda: colony.status("web").get("state") == "backoff")
    assert colony.status("web")["why"].startswith("unhealthy: sh")
    colony.wait_for(lambda: not colony.family("web"), AT_ONCE)


def commands(colony: Colony, text: str) -> list[int]:
    """The pids of those of web's commands that have this text in their arguments."""
    found = []
    for one in colony.family("web"):
        try:
            arguments = Path(f"/proc/{one.pid}/cmdline").read_text()
        except OSError:
            continue
        if text in arguments:
            found.append(one.pid)
    return found


ASKING: dict[str, Any] = {"exec": ["sh", "-c", "sleep 2001 & sleep 2002"], "every": 0.2, "timeout": 1000}


@pytest.mark.parametrize("how", ["stop", "remove", "restart", "crash"])
def test_nothing_of_a_question_outlasts_who_it_is_about(colony: Colony, how: str) -> None:
    colony.write("web", *SLEEP, health=ASKING, restart={"threshold": 0})
    web = main(colony, "web")
    asking = colony.wait_for(lambda: len(commands(colony, "sleep\x00200")) == 2 and commands(colony, "2001"))
    assert asking
    match how:
        case "stop":
            colony.ask("STOP", name="web")
        case "remove":
            colony.remove("web")
        case "restart":
            colony.ask("RESTART", name="web")
        case _:
            os.kill(web, signal.SIGKILL)
    colony.wait_for(lambda: not any(alive(pid) for pid in (web, *asking)))
    if how in ("stop", "remove"):
        colony.is_gone("web", AT_ONCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_nothing_of_a_question_outlasts_the_supervisor(place: Colony, number: int) -> None:
    place.start()
    place.write("web", *SLEEP, health=ASKING)
    place.write("db", *SLEEP, ready={"exec": ASKING["exec"]})
    place.wait_for(lambda: len(commands(place, "sleep\x00200")) == 2 and len(place.family("db")) == 4)
    place.stop(number)
    assert not place.family()


def test_what_a_killed_supervisor_has_asked_is_ended_and_asked_anew(place: Colony) -> None:
    place.start()
    place.write("web", *SLEEP, health=ASKING)
    asking = place.wait_for(lambda: len(commands(place, "sleep\x00200")) == 2 and commands(place, "sleep\x00200"))
    web = place.status("web")["pid"]
    place.stop(signal.SIGKILL)
    assert asking
    assert all(map(alive, asking))
    place.start()
    place.wait_for(lambda: not any(map(alive, asking)))
    place.wait_for(lambda: len(commands(place, "sleep\x00200")) == 2)
    assert alive(web)
    assert place.status("web")["starts"] == 1


# -- whatever becomes of the supervisor


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["kill", "upgrade"])
def test_health_goes_on_under_the_next_supervisor(
    place: Colony, journal: Journal, well: Path, kind: str, how: str
) -> None:
    place.start()
    write(place, journal, well, kind)
    place.wait_for(lambda: is_healthy(place))
    web = main(place, "web")
    if how == "kill":
        place.stop(signal.SIGKILL)
        place.start()
    else:
        place.done("upgrade")
    place.wait_for(lambda: is_healthy(place))
    assert stays(lambda: keeps(place, "web", web), 0.5)
    well.unlink()
    main(place, "web", instead_of=web)
    well.touch()
    place.wait_for(lambda: is_healthy(place))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_supervisor_that_was_frozen_finds_nobody_ill(colony: Colony, journal: Journal, well: Path, kind: str) -> None:
    write(colony, journal, well, kind, {"failures": 1})
    colony.wait_for(lambda: is_healthy(colony))
    web = main(colony, "web")
    assert colony.supervisor is not None
    for _ in range(3):
        colony.supervisor.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        colony.supervisor.send_signal(signal.SIGCONT)
        assert stays(lambda: keeps(colony, "web", web), 0.4)
    assert is_healthy(colony)
