"""A queue, its worker, its clock, its dashboard and its web server, all of them real, kept by a colony."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.driver import CHECKOUT, PATIENCE, Colony, alive, page

# Any is JSON.

MISSING = [name for name in ("redis-server", "memcached") if shutil.which(name) is None]
MISSING += [name for name in ("celery", "redis", "flower", "gunicorn") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.live,
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        bool(MISSING), reason=f"missing: {', '.join(MISSING)} (apt: redis-server memcached; pip: the extra 'examples')"
    ),
]

EXAMPLE = CHECKOUT / "examples" / "sprout"
NAMES = ("redis", "memcached", "logserver", "worker", "beat", "flower", "web")

AT_LENGTH = 60.0
"""Seconds in which Celery and flower, whose imports take one each, are there on a machine that is busy."""


class Sprout:
    """The seven, defined as the example defines them, at ports of their own."""

    def __init__(self, colony: Colony) -> None:
        self.colony = colony
        self.data = colony.folder / "data"
        self.done = self.data / "done"
        names = ("REDIS_PORT", "MEMCACHED_PORT", "LOG_PORT", "WEB_PORT", "FLOWER_PORT")
        self.ports = dict(zip(names, quiet_ports(len(names)), strict=True))
        self.environment = colony.environment | {name: str(port) for name, port in self.ports.items()}
        places = {"COLONY_CONFIG": str(colony.config), "COLONY_MESSAGES": str(colony.messages)}
        subprocess.run(
            [EXAMPLE / "programs", self.data], env=self.environment | places, check=True, capture_output=True
        )

    def only(self, *names: str) -> None:
        """Leave the others out."""
        for name in set(NAMES) - set(names):
            self.colony.remove(name)

    def change(self, name: str, **keys: Any) -> None:
        spec = json.loads((self.colony.config / name).read_bytes())
        self.colony.write(name, **(spec | keys))

    def start(self) -> dict[str, int]:
        """Start the supervisor; returns the pids when all are ready."""
        self.colony.start()
        return self.are_ready()

    def are_ready(self) -> dict[str, int]:
        """Wait until everything that is defined is ready; returns the pids."""
        names = sorted(path.name for path in self.colony.config.iterdir())
        self.colony.wait_for(lambda: all(map(self.is_ready, names)), AT_LENGTH)
        return {name: self.colony.status(name)["pid"] for name in names}

    def is_ready(self, name: str) -> bool:
        status = self.colony.status(name)
        return status.get("state") == "running" and status["ready"] is not False

    def is_back(self, name: str, instead_of: int) -> int:
        """Wait until another process of that name is ready; returns its pid."""

        def found() -> int | None:
            pid: int | None = self.colony.status(name).get("pid")
            return pid if pid != instead_of and self.is_ready(name) else None

        pid = self.colony.wait_for(found, AT_LENGTH)
        assert pid is not None
        return pid

    def order(self, seconds: float) -> None:
        """Put ``slow(seconds)`` into the queue, as any program would."""
        environment = {"PYTHONPATH": str(EXAMPLE), "DONE": str(self.done)}
        subprocess.run(
            [sys.executable, "-c", f"import sprout; sprout.slow.delay({seconds})"],
            env=self.environment | environment,
            check=True,
            timeout=60,
        )

    def works_on(self, seconds: float) -> None:
        """Have the worker begin with ``slow(seconds)``, which no other is before."""
        before = len(self.said("worker", "slow", "received"))
        self.order(seconds)
        self.colony.wait_for(lambda: len(self.said("worker", "slow", "received")) > before)

    def results(self) -> list[str]:
        return self.done.read_text().split() if self.done.exists() else []

    def said(self, name: str, *texts: str) -> list[str]:
        """The lines of one of them that contain all of these."""
        return [line for line in self.colony.said(f"[{name}]") if all(text in line for text in texts)]

    def left(self) -> list[int]:
        """Every process that works in the data directory: redis, which writes over its environment, is found so."""
        return [
            int(entry)
            for entry in os.listdir("/proc")
            if entry.isdigit() and works_in(self.data, int(entry)) and alive(int(entry))
        ]


def works_in(folder: Path, pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(folder.resolve())
    except OSError:
        return False


def quiet_ports(count: int) -> list[int]:
    """Free ports from below those that the kernel gives to clients, of whom there are many here."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(15000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def children(pid: int) -> list[int]:
    """The processes that this one started, threads' children included."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


class Ends:
    """When each of these processes ends, on the monotonic clock; watched from a thread of its own."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.at: dict[str, float] = {}
        self._descriptors = {os.pidfd_open(pid): name for name, pid in pids.items()}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        while self._descriptors:
            ended = poll.poll()
            now = time.monotonic()
            for descriptor, _ in ended:
                self.at[self._descriptors.pop(descriptor)] = now
                poll.unregister(descriptor)
                os.close(descriptor)

    def all(self) -> dict[str, float]:
        self._thread.join(AT_LENGTH)
        assert not self._thread.is_alive(), f"still there: {self._descriptors.values()}"
        return self.at


@pytest.fixture
def sprout(tmp_path: Path) -> Iterator[Sprout]:
    colony = Colony(tmp_path)
    sprout = Sprout(colony)
    try:
        yield sprout
        if colony.supervisor is not None and colony.supervisor.poll() is None:
            assert colony.stop() == -signal.SIGTERM
        assert not sprout.left()
        # Celery tells of a lost connection by tracebacks of its own.
        assert not [line for line in colony.said("Traceback") if "] Traceback" not in line], colony.said("")
    finally:
        colony.clean()
        for pid in sprout.left():
            os.kill(pid, signal.SIGKILL)


def test_all_seven_run_and_nobody_was_started_too_early(sprout: Sprout) -> None:
    slowly(sprout, "redis")

    pids = sprout.start()

    assert set(pids) == set(NAMES)
    assert sprout.colony.ctl("status").returncode == 0
    sprout.colony.wait_for(lambda: sprout.said("worker", "sprout.tick", "succeeded"))
    assert int(page(sprout.ports["WEB_PORT"]) or 0) in children(pids["web"])
    assert "Flower" in (page(sprout.ports["FLOWER_PORT"]) or "")
    for name in ("worker", "beat", "flower", "web"):
        assert not sprout.said(name, "refused"), sprout.said(name)


def slowly(sprout: Sprout, name: str) -> None:
    """Have it take five seconds longer until it serves: whoever does not wait for it finds nobody there."""
    args = json.loads((sprout.colony.config / name).read_bytes())["args"]
    sprout.change(name, args=["sh", "-c", 'sleep 5; exec "$@"', "sh", *args])


def test_a_reload_of_the_web_server_loses_no_request(sprout: Sprout) -> None:
    sprout.only("redis", "web")
    master = sprout.start()["web"]
    workers = set(children(master))
    assert len(workers) == 2
    url = f"http://127.0.0.1:{sprout.ports['WEB_PORT']}/"
    served: list[int] = []
    reload = None
    bound = time.monotonic() + AT_LENGTH
    # Two hundred are soon over: more, while one of the old generation is left.
    while len(served) < 200 or workers & set(children(master)):
        assert time.monotonic() < bound, f"still there: {workers & set(children(master))}"
        if len(served) == 50:
            words = ["python", "-m", "colony", "ctl", *sprout.colony.places, "reload", "web"]
            reload = subprocess.Popen(words, env=sprout.environment, stdout=subprocess.DEVNULL)
        with urllib.request.urlopen(url, timeout=AT_LENGTH) as response:
            assert response.status == 200
            served.append(int(response.read()))

    assert reload is not None
    assert reload.wait(PATIENCE) == 0
    sprout.colony.wait_for(lambda: len(children(master)) == 2)
    assert int(page(sprout.ports["WEB_PORT"]) or 0) in children(master)
    assert set(served[:50]) <= workers
    assert sprout.colony.status("web")["pid"] == master


def test_a_stopped_worker_finishes_its_task_first(sprout: Sprout) -> None:
    sprout.only("redis", "memcached", "logserver", "worker", "beat")
    pids = sprout.start()
    sprout.colony.wait_for(lambda: sprout.said("worker", "sprout.tick", "succeeded"), AT_LENGTH)

    sprout.works_on(4)
    sprout.colony.done("stop", "beat")
    assert sprout.results() == []
    sprout.colony.done("stop", "worker", "--wait", "--wait-timeout", "50")

    assert sprout.results() == ["4"]
    assert not alive(pids["worker"])
    status = sprout.colony.status("worker")
    assert (status["state"], status["pid"]) == ("stopped", None)
    assert (status["last_exit"]["code"], status["last_exit"]["signal"]) == (0, None)
    sprout.colony.wait_for(lambda: sprout.said("worker", "Warm shutdown"))
    assert not sprout.said("worker", "Hitting Ctrl+C")  # what an INT makes it say

    sprout.colony.done("start", "worker", "--wait", "--wait-timeout", "50")
    sprout.order(0.1)
    sprout.colony.wait_for(lambda: sprout.results() == ["4", "0.1"])


def test_a_ladder_ends_a_worker_that_would_take_too_long(sprout: Sprout) -> None:
    sprout.only("redis", "memcached", "logserver", "worker")
    sprout.change("worker", stop=[["TERM", 1.5, "main"], ["INT", 1, "main"], ["INT", 10, "main"]])
    sprout.start()
    sprout.works_on(30)

    asked = time.monotonic()
    sprout.colony.done("stop", "worker", "--wait", "--wait-timeout", "50")
    took = time.monotonic() - asked

    assert 2.5 < took < 6
    status = sprout.colony.status("worker")
    assert status["state"] == "stopped"
    assert status["last_exit"]["signal"] is None
    sprout.colony.wait_for(lambda: len(sprout.said("worker", "Hitting Ctrl+C")) == 2)
    assert sprout.results() == []


def in_the_foreground(sprout: Sprout) -> int:
    return sprout.colony.start()


def with_nohup(sprout: Sprout) -> int:
    """As typed into a shell that is no terminal's: nohup ignores HUP, and the shell's & ignores INT and QUIT."""
    colony = sprout.colony
    command = f"nohup python -m twisted colony {' '.join(colony.places)} >> {colony.log} 2>&1 & echo $! > pid"
    assert colony.begin("sh", "-c", command).wait(PATIENCE) == 0
    colony.wait_until_it_keeps()
    return int((colony.folder / "pid").read_text())


@pytest.mark.parametrize("begin", [in_the_foreground, with_nohup])
def test_at_the_end_each_stops_before_what_it_needs(sprout: Sprout, begin: Callable[[Sprout], int]) -> None:
    supervisor = begin(sprout)
    pids = sprout.are_ready()
    ends = Ends(pids)

    os.kill(supervisor, signal.SIGTERM)

    at = ends.all()  # the same instant for what the watcher sees at one look
    assert at["beat"] <= at["worker"] <= at["logserver"] <= at["memcached"] <= at["redis"], at
    assert max(at["flower"], at["web"]) <= at["redis"], at
    sprout.colony.wait_for(lambda: not alive(supervisor), AT_LENGTH)
    assert not sprout.left()
    for name in NAMES:
        assert sprout.colony.status(name)["last_exit"]["signal"] is None, sprout.colony.status(name)


def test_a_killed_store_is_back_and_disturbs_no_process(sprout: Sprout) -> None:
    sprout.only("redis", "memcached", "logserver", "worker", "beat")
    pids = sprout.start()

    os.kill(pids["redis"], signal.SIGKILL)

    sprout.is_back("redis", instead_of=pids["redis"])
    sprout.order(0.1)
    sprout.colony.wait_for(lambda: sprout.results() == ["0.1"], AT_LENGTH)
    ticks = len(sprout.said("worker", "sprout.tick", "succeeded"))
    sprout.colony.wait_for(lambda: len(sprout.said("worker", "sprout.tick", "succeeded")) > ticks, AT_LENGTH)
    for name in ("worker", "beat"):
        assert sprout.colony.status(name)["pid"] == pids[name]
        assert alive(pids[name])


def test_a_killed_worker_leaves_no_pool_processes_behind(sprout: Sprout) -> None:
    sprout.only("redis", "memcached", "logserver", "worker")
    pids = sprout.start()
    sprout.works_on(30)
    pool = children(pids["worker"])
    assert len(pool) == 2

    os.kill(pids["worker"], signal.SIGKILL)

    # No two at once: nobody is started while one of these is left.
    sprout.colony.wait_for(lambda: sprout.colony.status("worker")["pid"] not in (None, pids["worker"]), AT_LENGTH)
    assert not any(map(alive, pool))
    sprout.is_back("worker", instead_of=pids["worker"])


def test_a_killed_web_server_leaves_nobody_at_its_port(sprout: Sprout) -> None:
    """Orphans of gunicorn hold its port for several seconds, and a master that comes too early ends for that."""
    sprout.only("redis", "web")
    master = sprout.start()["web"]
    workers = children(master)
    assert len(workers) == 2

    os.kill(master, signal.SIGKILL)

    again = sprout.is_back("web", instead_of=master)
    assert not any(map(alive, workers))
    assert not sprout.said("web", "in use")
    assert int(page(sprout.ports["WEB_PORT"]) or 0) in children(again)
