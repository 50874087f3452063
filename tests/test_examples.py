"""The examples run as their READMEs say, and leave nothing behind; they install packages, so the network is needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


class Example:
    """A running example, with what it has printed so far in a file."""

    def __init__(self, name: str, folder: Path, **environ: str) -> None:
        self._output = folder / "output"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COLONY_")}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [CHECKOUT / "examples" / name / "run"],
                cwd="/",
                env=environment | {"TMPDIR": str(folder)} | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def wait_for(self, fact: Callable[[], object], seconds: float = 120) -> None:
        """Return when ``fact`` is true; fail with the output after ``seconds``, or when the example has ended."""
        bound = time.monotonic() + seconds
        while not fact():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < bound, f"not so after {seconds} s:\n{self.output}"
            time.sleep(0.05)

    def press_ctrl_c(self) -> int:
        """INT for the foreground group, as a terminal sends it; returns the exit code, as `Popen` has it."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Example]]:
    examples = []

    def begin(name: str, **environ: str) -> Example:
        example = Example(name, tmp_path, **environ)
        examples.append(example)
        return example

    yield begin
    for example in examples:
        example.end()


def statuses(state: Path) -> dict[str, dict[str, Any]]:
    """What the state files below ``state`` say, by name. Any: JSON."""
    return {path.stem: json.loads(path.read_bytes()) for path in state.glob("status/[!.]*.json")}


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_quickstart_shows_three_processes_and_leaves_none(start: Callable[..., Example], tmp_path: Path) -> None:
    example = start("quickstart")
    example.wait_for(lambda: "answers 200" in example.output)
    example.wait_for(lambda: "[echo] hello" in example.output)
    example.wait_for(lambda: "[crash] enough of this" in example.output)
    [folder] = tmp_path.glob("colony-quickstart-*")
    seen = statuses(folder / "config.state")
    assert seen["web"]["state"] == seen["echo"]["state"] == "running"
    example.wait_for(lambda: statuses(folder / "config.state")["crash"]["state"] == "backoff")

    code = example.press_ctrl_c()

    assert code == 0, example.output
    assert not runs(seen["web"]["pid"])
    assert not runs(seen["echo"]["pid"])
    assert not folder.exists()


def test_web_and_echo_serve_and_greet_until_ctrl_c(start: Callable[..., Example]) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", 8080))
        except OSError:
            pytest.skip("another program on this machine has port 8080, which this example is about")
    state = CHECKOUT / "build/web-and-echo/conf.state"
    example = start("web-and-echo")
    example.wait_for(lambda: "] hello\n" in example.output)
    example.wait_for(serves)
    pids = [statuses(state)[name]["pid"] for name in ("web", "echo")]

    code = example.press_ctrl_c()

    assert code == -signal.SIGINT, example.output
    assert not any(map(runs, pids))
    assert not serves()


@pytest.mark.skipif(
    not all(map(shutil.which, ("redis-server", "memcached"))), reason="needs redis-server and memcached, from apt"
)
def test_sprout_grows_until_ctrl_c(start: Callable[..., Example]) -> None:
    names = ("REDIS_PORT", "MEMCACHED_PORT", "LOG_PORT", "WEB_PORT", "FLOWER_PORT")
    ports = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    state = CHECKOUT / "build/sprout/config.state"
    example = start("sprout", **ports)
    example.wait_for(lambda: "sprout.tick" in example.output and "succeeded" in example.output, 240)
    example.wait_for(lambda: serves(ports["WEB_PORT"], b"") and serves(ports["FLOWER_PORT"], b"Flower"))
    pids = [status["pid"] for status in statuses(state).values()]
    assert len(pids) == 7

    code = example.press_ctrl_c()

    assert code == -signal.SIGINT, example.output
    assert not any(map(runs, pids))


def test_nowcast_talks_until_ctrl_c(start: Callable[..., Example], tmp_path: Path) -> None:
    manager, worker = map(str, free_ports(2))
    configuration = (CHECKOUT / "examples/nowcast/nowcast.yaml").read_text()
    (tmp_path / "nowcast.yaml").write_text(configuration.replace("4343", manager).replace("4344", worker))
    state = CHECKOUT / "build/nowcast/config.state"
    example = start("nowcast", NOWCAST_YAML=str(tmp_path / "nowcast.yaml"))
    example.wait_for(lambda: f"[manager] connected to localhost port {manager}" in example.output, 240)
    example.wait_for(lambda: "[scheduler] running in process" in example.output)
    pids = [status["pid"] for status in statuses(state).values()]
    assert len(pids) == 3
    python = CHECKOUT / "build/examples/bin/python"
    program = CHECKOUT / "examples/nowcast/nowcast.py"
    subprocess.run([python, program, "sleep", tmp_path / "nowcast.yaml"], check=True, timeout=60)
    example.wait_for(lambda: "[manager] received message from sleep: (success)" in example.output)

    code = example.press_ctrl_c()

    assert code == -signal.SIGINT, example.output
    assert not any(map(runs, pids))


def serves(port: str = "8080", text: bytes = b"Twisted") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return response.status == 200 and text in response.read()
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
