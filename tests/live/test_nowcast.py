"""A broker, a manager and a scheduler that find their configuration by their environment, and talk by sockets."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.driver import BIN, CHECKOUT, PATIENCE, Colony, alive, free_port

pytestmark = [
    pytest.mark.live,
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("zmq") is None, reason="pyzmq is missing: the extra 'examples'"),
]

EXAMPLE = CHECKOUT / "examples" / "nowcast"
NAMES = ("message_broker", "manager", "scheduler")

HARDLY_ANY = 1.0
"""Seconds in which all three are to be gone."""


class Nowcast:
    """The three, kept by a colony, at ports of their own."""

    def __init__(self, colony: Colony) -> None:
        self.colony = colony
        self.manager_port, self.worker_port = free_port(), free_port()
        self.checklist = colony.folder / "data" / "checklist.json"
        self.yaml = colony.folder / "nowcast.yaml"
        self.yaml.write_text(
            (EXAMPLE / "nowcast.yaml")
            .read_text()
            .replace("4343", str(self.manager_port))
            .replace("4344", str(self.worker_port))
            .replace("nap: 1", "nap: 0.1")
        )
        places = {"COLONY_CONFIG": str(colony.config), "COLONY_MESSAGES": str(colony.messages)}
        subprocess.run(
            [EXAMPLE / "programs", colony.folder / "data"],
            env=colony.environment | places,
            check=True,
            capture_output=True,
        )

    def start(self) -> dict[str, int]:
        """Start the supervisor, and wait until each of the three says that it works; returns their pids."""
        self.colony.start(env={"NOWCAST_YAML": str(self.yaml)})
        self.wait_for("scheduler", "running in process", 5)
        self.wait_for("message_broker", f"worker socket bound to port {self.worker_port}", 5)
        self.wait_for("manager", f"connected to localhost port {self.manager_port}", 5)
        return {name: self.colony.runs(name) for name in NAMES}

    def said(self, name: str, text: str) -> list[str]:
        """The lines of one of them that contain this."""
        return [line for line in self.colony.said(f"[{name}]") if text in line]

    def wait_for(self, name: str, text: str, seconds: float = PATIENCE, times: int = 1) -> str:
        """Wait until it has said this so often; returns the last such line."""
        self.colony.wait_for(lambda: len(self.said(name, text)) >= times, seconds)
        return self.said(name, text)[-1]

    def work(self, worker: str) -> subprocess.CompletedProcess[str]:
        """Run a worker to its end."""
        return subprocess.run(
            [BIN / "python", EXAMPLE / "nowcast.py", worker, self.yaml],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def nowcast(place: Colony) -> Nowcast:
    return Nowcast(place)


def test_each_says_within_seconds_that_it_works_and_under_which_pid(nowcast: Nowcast) -> None:
    pids = nowcast.start()

    for name, pid in pids.items():
        line = nowcast.wait_for(name, "running in process")
        assert line.endswith(f"running in process {pid}")
        assert Path(f"/proc/{pid}/cwd").resolve() == nowcast.checklist.parent.resolve()
        assert nowcast.colony.status(name)["pid"] == pid
        assert nowcast.wait_for(name, "read configuration from").endswith(str(nowcast.yaml))
        assert len(nowcast.said(name, "running in process")) == 1


def test_a_worker_does_its_work_and_the_manager_takes_it_down(nowcast: Nowcast) -> None:
    nowcast.start()

    worker = nowcast.work("sleep")

    assert worker.returncode == 0, worker.stdout + worker.stderr
    assert len(worker.stdout.splitlines()) == 8
    assert json.loads(nowcast.checklist.read_bytes())["sleep"]["slept"] == 0.1


def test_a_killed_manager_is_back_and_has_read_its_checklist_again(nowcast: Nowcast) -> None:
    pids = nowcast.start()
    assert nowcast.work("sleep").returncode == 0
    payload = json.loads(nowcast.checklist.read_bytes())["sleep"]

    os.kill(pids["manager"], signal.SIGKILL)

    nowcast.colony.runs("manager", instead_of=pids["manager"])
    line = nowcast.wait_for("manager", "checklist read from", times=2)
    found = re.search(r"\{.*\}$", line)
    assert found is not None
    assert json.loads(found[0]) == {"sleep": payload}
    assert nowcast.work("awaken").returncode == 0
    assert json.loads(nowcast.checklist.read_bytes()).keys() == {"sleep", "awaken"}
    for name in ("message_broker", "scheduler"):
        assert nowcast.colony.running(name) == [pids[name]]


def test_a_reloaded_broker_binds_its_sockets_again_and_stays(nowcast: Nowcast) -> None:
    pids = nowcast.start()

    nowcast.colony.done("reload", "message_broker")

    nowcast.wait_for("message_broker", "worker socket bound to port", times=2)
    nowcast.wait_for("message_broker", "manager socket bound to port", times=2)
    assert nowcast.work("sleep").returncode == 0
    assert {name: nowcast.colony.runs(name) for name in NAMES} == pids


def test_ctrl_c_ends_all_three_in_their_own_words_at_once(nowcast: Nowcast) -> None:
    pids = nowcast.start()
    assert nowcast.colony.supervisor is not None

    asked = time.monotonic()
    os.killpg(nowcast.colony.supervisor.pid, signal.SIGINT)
    code = nowcast.colony.supervisor.wait(PATIENCE)
    took = time.monotonic() - asked

    assert code == -signal.SIGINT
    assert not any(map(alive, pids.values()))
    assert not nowcast.colony.family()
    for name in NAMES:
        assert len(nowcast.said(name, "shutting down")) == 1, name
    assert took < HARDLY_ANY
