"""A colony as its operator sees it: commands, files, and the process table."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

# Any is JSON, or what Popen takes.

Fact = TypeVar("Fact")

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parent.parent.parent

PATIENCE = 15.0
"""Seconds that a fact has to come true on a machine that is busy with other things."""

AT_ONCE = 3.0
"""Seconds that are too few for the slow scan, which comes every ten, and many for what inotify rings for."""

LOOK = 0.005
"""Seconds between two looks."""

NOBODY = 65534

SLEEP = ("sleep", "1000")

MARK = "COLONY_LIVE_TEST"
"""In the environment of every command of a test: its folder, by which what is left of it is found."""


def wait_for(fact: Callable[[], Fact], seconds: float = PATIENCE, told: Callable[[], str] = str) -> Fact:
    """What ``fact`` returns as soon as that is true; fails with ``told`` after ``seconds``."""
    bound = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < bound, f"not so after {seconds} s:\n{told()}"
        time.sleep(LOOK)
    return found


def stays(fact: Callable[[], object], seconds: float = 0.6) -> bool:
    """Is ``fact`` true at each look for so long?"""
    bound = time.monotonic() + seconds
    while time.monotonic() < bound:
        if not fact():
            return False
        time.sleep(LOOK)
    return bool(fact())


# -- the process table --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One process, as /proc shows it; ``environ`` is what it was started with."""

    pid: int
    parent: int
    group: int
    session: int
    environ: Mapping[str, str]


def process(pid: int) -> Process | None:
    """The living process of that number; None if there is none, or it may not be read."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    entries = (os.fsdecode(entry).partition("=") for entry in environ.split(b"\0"))
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), {key: value for key, _, value in entries})


def processes(environ: str) -> Iterator[Process]:
    """Every living process that was started with this text in its environment."""
    wanted = environ.encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                is_one = wanted in Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if is_one and (found := process(int(entry))) is not None:
                yield found


def alive(pid: int) -> bool:
    """Is there a process of that number that is no zombie?"""
    return process(pid) is not None


def ignored_signals(pid: int) -> set[int]:
    """The signals that a process ignores; less 32 and 33, glibc's own, which its posix_spawn sets so."""
    return signal_set(pid, "SigIgn") - {32, 33}


def signal_set(pid: int, which: str) -> set[int]:
    """One of ``SigBlk``, ``SigIgn``, ``SigCgt`` of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [int(line.split()[1], 16) for line in lines if line.startswith(f"{which}:")]
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def page(port: int) -> str | None:
    """What is served at that port, None if nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            body: bytes = response.read()
            return body.decode() if response.status == 200 else None
    except OSError:
        return None


def python_for(uid: int) -> tuple[list[str], str]:
    """A Python that this uid may run, and the PYTHONPATH with which it finds colony: ours, or the system's."""
    libraries = f"{sysconfig.get_path('purelib')}:{CHECKOUT}"
    # Without site: a system's own packages may not fit Twisted's.
    for command, path in (([str(BIN / "python")], ""), (["/usr/bin/python3", "-S"], libraries)):
        try:
            subprocess.run(
                [*command, "-c", "import twisted.web.tap, colony.scheduler"],
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": path},
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return command, path
    pytest.skip(f"uid {uid} may run no Python that has Twisted and colony")


# -- the colony ---------------------------------------------------------------------------------------------


class Colony:
    """Three directories below ``folder``, the supervisor on them, and what it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.messages = folder / "messages"
        self.state = folder / "config.state"
        self.log = folder / "log"
        self.config.mkdir()
        self.messages.mkdir()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("COLONY_", "NCOLONY_"))},
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            MARK: str(folder),
        }
        self.places = ["--messages", str(self.messages), "--config", str(self.config)]
        self._token = hashlib.sha256(os.path.realpath(self.config).encode()).hexdigest()[:16] + "."
        self._messages = self._added = 0
        self._said_before = 0

    # -- the supervisor

    def start(self, *options: str, twisted: Sequence[str] = (), **popen: Any) -> int:
        """Start the supervisor; returns its pid once it keeps the colony."""
        self.begin("python", "-m", "twisted", *twisted, "colony", *self.places, *options, **popen)
        self.wait_until_it_keeps()
        assert self.supervisor is not None
        return self.supervisor.pid

    def begin(self, *command: str, env: Mapping[str, str] | None = None, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a command that is, or becomes, the supervisor; its output is added to the log."""
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.supervisor = subprocess.Popen(
                command,
                **{
                    "cwd": self.folder,
                    "env": self.environment | dict(env or {}),
                    "stdin": subprocess.DEVNULL,
                    "stdout": log,
                    "stderr": log,
                    "start_new_session": True,
                    **popen,
                },
            )
        return self.supervisor

    def wait_until_it_keeps(self) -> None:
        """Return when the supervisor that was started last has begun its rounds."""

        def keeps() -> bool:
            # One that went into the background has left a parent that ended well.
            assert self.supervisor is not None
            assert self.supervisor.poll() in (None, 0), f"it has ended:\n{self._situation()}"
            return bool(self.said(f" keeps {self.config}"))

        self.wait_for(keeps)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the supervisor to end; returns its exit code as Popen has it."""
        assert self.supervisor is not None
        self.supervisor.send_signal(number)
        return self.supervisor.wait(PATIENCE)

    def said(self, text: str) -> list[str]:
        """The lines with ``text`` that the supervisor that was started last has logged."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(self._said_before)
            return [line for line in file.read().decode("utf-8", "replace").split("\n") if text in line]

    def says(self, text: str, seconds: float = PATIENCE) -> list[str]:
        """The lines with ``text`` in the log, waited for."""
        return self.wait_for(lambda: self.said(text), seconds)

    def says_often(self, text: str, times: int) -> list[str]:
        """The lines with ``text`` in the log, once there are so many."""
        self.wait_for(lambda: len(self.said(text)) >= times)
        return self.said(text)

    def wait_for(self, fact: Callable[[], Fact], seconds: float = PATIENCE) -> Fact:
        """See the function; a failure shows the log's end and what STATE says."""
        return wait_for(fact, seconds, self._situation)

    def _situation(self) -> str:
        statuses = (path.read_text() for path in sorted(self.state.glob("status/[!.]*.json")))
        return "\n".join([*self.said("")[-40:], *statuses])

    # -- files in

    def write(self, name: str, *args: str, **keys: Any) -> None:
        """Put a process file there, whole, as ctl and careful tools do."""
        spec = {"args": list(args)} | keys if args else keys
        self.write_bytes(name, json.dumps(spec).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Put a file of these bytes into CONFIG, whole."""
        self._replace(self.config / name, data)

    def remove(self, name: str) -> None:
        """Take a process file away."""
        (self.config / name).unlink()

    def ask(self, type: str, **keys: Any) -> str:
        """Leave a message; returns its file's name."""
        self._messages += 1
        filename = f"m{self._messages:06}"
        self._replace(self.messages / filename, json.dumps({"type": type} | keys).encode())
        return filename

    def _replace(self, path: Path, data: bytes) -> None:
        new = path.parent / f".{path.name}.new"
        new.write_bytes(data)
        new.rename(path)

    # -- what is told

    def status(self, name: str) -> dict[str, Any]:
        """STATE/status/NAME.json; empty if there is none."""
        return _json(self.state / "status" / f"{name}.json")

    def told(self) -> dict[str, Any]:
        """STATE/supervisor.json; empty if there is none."""
        return _json(self.state / "supervisor.json")

    def answer(self, filename: str) -> dict[str, Any]:
        """The answer to a message, waited for."""
        return self.wait_for(lambda: _json(self.state / "answers" / f"{filename}.json"))

    # -- the process table

    def family(self, name: str | None = None) -> list[Process]:
        """Every living process that was started by this colony, itself or through others; of one name, or all."""
        return sorted(
            (
                found
                for found in processes(f"COLONY_TOKEN={self._token}")
                if name in (None, found.environ.get("COLONY_NAME"))
            ),
            key=lambda found: found.pid,
        )

    def running(self, name: str | None = None) -> list[int]:
        """The pids of main processes: those that lead a session."""
        return [found.pid for found in self.family(name) if found.pid == found.session]

    def runs(self, name: str, instead_of: int | None = None, seconds: float = PATIENCE) -> int:
        """Wait until one process of that name runs, and is not ``instead_of``; returns its pid."""

        def found() -> int | None:
            pids = self.running(name)
            return pids[0] if len(pids) == 1 and pids[0] != instead_of else None

        pid = self.wait_for(found, seconds)
        assert pid is not None
        return pid

    def is_gone(self, name: str, seconds: float = PATIENCE) -> None:
        """Wait until nothing of that name is left."""
        self.wait_for(lambda: not self.family(name), seconds)

    def obeys_at_once(self) -> None:
        """Is nothing in the way of what is added and asked for now?"""
        self._added += 1
        name = f"other{self._added}"
        self.write(name, *SLEEP)
        pid = self.runs(name, seconds=AT_ONCE)
        self.ask("RESTART", name=name)
        self.runs(name, instead_of=pid, seconds=AT_ONCE)
        self.remove(name)
        self.is_gone(name, AT_ONCE)

    # -- the command line

    def ctl(self, *words: str, **run: Any) -> subprocess.CompletedProcess[str]:
        """Run ``python -m colony ctl``, on this colony's directories."""
        return subprocess.run(
            ["python", "-m", "colony", "ctl", *self.places, *words],
            **{"env": self.environment, "capture_output": True, "text": True, "timeout": 60, "check": False, **run},
        )

    def done(self, *words: str) -> str:
        """Run a verb that is to succeed; returns what it prints."""
        result = self.ctl(*words)
        assert result.returncode == 0, f"ctl {words}: exit {result.returncode}: {result.stdout}{result.stderr}"
        return str(result.stdout).strip()

    # -- the end

    def clean(self) -> list[str]:
        """End whatever is left, and return what there was: nothing, where the supervisor ended as it should."""
        left: dict[int, str] = {}
        while found := [*self.family(), *processes(f"{MARK}={self.folder}\0")]:
            for one in found:
                left[one.pid] = _command(one.pid)
                _kill(one)
            if self.supervisor is not None:
                self.supervisor.poll()
        if self.supervisor is not None:
            self.supervisor.wait(PATIENCE)
        return list(left.values())


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return value


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return f"pid {pid}"


def _kill(one: Process) -> None:
    """By pidfd: the number may have become a stranger's since."""
    with suppress(OSError):
        descriptor = os.pidfd_open(one.pid)
        try:
            if process(one.pid) == one:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
