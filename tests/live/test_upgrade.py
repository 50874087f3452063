"""The supervisor becomes the code that is installed now: same pid, same children, or nothing at all."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony

pytestmark = pytest.mark.live

COUNTER = """
import sys, time
number = 0
while True:
    sys.stdout.write(f"count {number} ")
    sys.stdout.flush()
    time.sleep(0.02)
    print("whole", flush=True)
    number += 1
"""


def counted(colony: Colony) -> list[int]:
    """The numbers in the lines of the process ``counter``, each line checked to be whole."""
    text = colony.log.read_text("utf-8", "replace")
    lines = [line.partition("[counter] ")[2] for line in text.split("\n") if "[counter] " in line]
    assert all(line.endswith(" whole") for line in lines), lines
    return [int(line.split()[1]) for line in lines]


def test_an_upgrade_keeps_every_pid_and_every_line(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    colony.write("counter", "python", "-c", COUNTER)
    web, counter = colony.runs("web"), colony.runs("counter")
    supervisor = colony.told()["pid"]
    colony.wait_for(lambda: len(counted(colony)) > 20)

    assert colony.done("upgrade") == f"upgraded: {colony.told()['version']} as {supervisor}"

    colony.wait_for(lambda: len(colony.said(" keeps ")) == 2)
    before = len(counted(colony))
    colony.wait_for(lambda: len(counted(colony)) > before + 20)
    assert (colony.runs("web"), colony.runs("counter")) == (web, counter)
    lines = counted(colony)
    assert lines == list(range(len(lines)))
    assert colony.told()["pid"] == supervisor
    colony.obeys_at_once()
    os.kill(web, signal.SIGKILL)
    colony.runs("web", instead_of=web)
    colony.wait_for(lambda: (colony.status("web")["last_exit"] or {}).get("signal") == "KILL")  # it is still our child


def test_an_upgrade_under_twistd_in_the_background(place: Colony) -> None:
    pid_file = place.folder / "pid"
    place.begin("twistd", "--pidfile", str(pid_file), "--logfile", str(place.log), "colony", *place.places)
    place.wait_until_it_keeps()
    assert place.supervisor is not None
    assert place.supervisor.wait() == 0  # its parent, that has gone
    place.write("web", *SLEEP)
    web = place.runs("web")
    supervisor = int(pid_file.read_text())

    place.done("upgrade")

    assert place.told()["pid"] == int(pid_file.read_text()) == supervisor
    assert place.runs("web") == web
    place.obeys_at_once()
    os.kill(supervisor, signal.SIGTERM)
    place.wait_for(lambda: not place.family() and not Path(f"/proc/{supervisor}").exists())


def test_code_that_cannot_start_is_refused_and_the_old_goes_on(place: Colony) -> None:
    new = place.folder / "new"
    new.mkdir()
    place.start(env={"PYTHONPATH": str(new)})
    place.write("web", *SLEEP)
    web = place.runs("web")
    started = place.told()["started"]
    (new / "sitecustomize.py").write_text("import os; print('not ready to be used', flush=True); os._exit(1)")

    refused = place.ctl("upgrade")

    assert refused.returncode == 1
    assert "no upgrade: the new code's self-check exited with code 1" in refused.stderr
    assert refused.stderr.count("\n") == 1
    place.wait_for(lambda: place.said("[self-check] not ready to be used"))
    assert place.told()["started"] == started
    assert place.runs("web") == web
    place.obeys_at_once()

    (new / "sitecustomize.py").unlink()
    place.done("upgrade")
    assert place.told()["started"] > started
    assert place.runs("web") == web


def test_what_was_asked_for_before_an_upgrade_is_not_forgotten_by_it(colony: Colony) -> None:
    colony.write("stopped", *SLEEP)
    colony.write("once", "true", restart={"when": "never"})
    colony.runs("stopped")
    colony.done("stop", "stopped", "--wait")
    colony.wait_for(lambda: colony.status("once").get("state") == "stopped")

    colony.done("upgrade")

    colony.wait_for(lambda: colony.status("once").get("state") == "stopped")
    assert colony.status("stopped")["state"] == "stopped"
    assert colony.status("once")["starts"] == 1
    assert colony.running() == []


@pytest.mark.parametrize("killed", [False, True])
def test_neither_an_upgrade_nor_a_kill_ends_a_delay_or_a_giving_up(colony: Colony, killed: bool) -> None:
    colony.write("crash", "sh", "-c", "exit 3", restart={"attempts": 2, "initial": 0.01})
    colony.write("patient", "sh", "-c", "exit 4", restart={"initial": 900, "jitter": 0})
    colony.write("missing", "/does/not/exist", restart={"initial": 900, "jitter": 0})
    wanted = {"crash": "failed", "patient": "backoff", "missing": "backoff"}
    colony.wait_for(lambda: {name: colony.status(name).get("state") for name in wanted} == wanted)
    before = {name: colony.status(name) for name in wanted}
    assert before["crash"]["starts"] == 2

    if killed:
        colony.stop(signal.SIGKILL)
        colony.start()
    else:
        colony.done("upgrade")

    colony.write("later", *SLEEP)
    colony.runs("later")
    colony.wait_for(lambda: {name: colony.status(name).get("state") for name in wanted} == wanted)
    for name, told in before.items():
        found = colony.status(name)
        assert [found[key] for key in ("starts", "streak", "why")] == [told[key] for key in ("starts", "streak", "why")]
        assert (found["last_exit"] or {}).get("code") == (told["last_exit"] or {}).get("code")
        if told["next_start"] is not None:
            assert abs(instant(found["next_start"]) - instant(told["next_start"])) < 0.1
    # As ever, somebody's word ends it.
    colony.ask("START", name="crash")
    colony.wait_for(lambda: colony.status("crash")["starts"] == 4)
    colony.write("patient", *SLEEP)
    colony.runs("patient")


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
