"""Whatever a supervisor was started with, its children start clean: seen from a child of one started badly."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# In its own process, as it changes the whole process. What is to be inherited is left to exec, as a shell would.
SUPERVISOR = """
import json, os, resource, signal, sys
from colony.runtime import inheritance

prepared = inheritance.prepare()
if "ignore" in sys.argv:
    inheritance.ignore(signal.SIGPIPE, signal.SIGUSR2)
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "cat /proc/self/status; ls /proc/self/fd; ulimit -Sn"], os.environ,
                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)])
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
with open(sys.argv[1] + ".own", "w") as file:
    json.dump({
        "code": code,
        "nofile": prepared.nofile,
        "own": resource.getrlimit(resource.RLIMIT_NOFILE),
        "given": prepared.own_nofile,
        "raised": prepared.raised,
        "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "standard": [os.path.exists(f"/proc/self/fd/{number}") for number in range(3)],
    }, file)
"""

BADLY = """
import os, resource, signal, sys
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {blocked})
for _ in range({descriptors}):
    os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
if {soft}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for number in {closed}:
    os.close(number)
os.execv(sys.executable, [sys.executable, "-c", {supervisor!r}, *sys.argv[1:]])
"""

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Seen:
    """What a child found, and what its supervisor has."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        ignored: tuple[int, ...] = (),
        blocked: tuple[int, ...] = (),
        descriptors: int = 0,
        soft: int = 0,
        closed: tuple[int, ...] = (),
    ) -> None:
        code = BADLY.format(
            ignored=tuple(map(int, ignored)),
            blocked=tuple(map(int, blocked)),
            descriptors=descriptors,
            soft=soft,
            closed=closed,
            supervisor=SUPERVISOR,
        )
        path = folder / "seen"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), *arguments], capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        self.own = json.loads((folder / "seen.own").read_text())
        lines = path.read_text().splitlines()
        self.status = dict(line.split(":", 1) for line in lines if ":" in line)
        numbers = [line for line in lines if line.isdigit()]
        self.descriptors, self.limit = numbers[:-1], int(numbers[-1])

    def signals(self, key: str) -> set[int]:
        """Those in SigIgn, SigBlk or SigCgt of the child."""
        bits = int(self.status[key], 16)
        # But for the two that libc keeps for threads, which its posix_spawn ignores.
        return {number for number in signal.valid_signals() if bits >> number - 1 & 1}


def test_signals_that_were_ignored_as_under_nohup_have_their_defaults_in_a_child(tmp_path: Path) -> None:
    everything = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
    assert Seen(tmp_path, ignored=everything).signals("SigIgn") == set()


def test_signals_that_were_blocked_are_not_in_a_child(tmp_path: Path) -> None:
    everything = tuple(signal.valid_signals())
    assert Seen(tmp_path, blocked=everything).signals("SigBlk") == set()


def test_signals_that_we_ignore_ourselves_are_not_ignored_in_a_child(tmp_path: Path) -> None:
    assert Seen(tmp_path, "ignore").signals("SigIgn") == set()


def test_descriptors_that_we_were_started_with_do_not_reach_a_child(tmp_path: Path) -> None:
    assert Seen(tmp_path, descriptors=20).descriptors == ["0", "1", "2", "3"]  # the last is the listing's


def test_sigint_and_sigterm_are_as_a_python_program_finds_them_so_that_twisted_takes_them(tmp_path: Path) -> None:
    own = Seen(tmp_path, ignored=(signal.SIGINT, signal.SIGHUP)).own
    assert own["int"]
    assert own["term"]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors_are_opened_so_that_nothing_of_ours_becomes_one(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    seen = Seen(tmp_path, closed=closed)
    assert seen.own["code"] == 0
    assert seen.own["standard"] == [True, True, True]
    assert seen.descriptors == ["0", "1", "2", "3"]


@pytest.mark.skipif(0 <= HARD < 300, reason="the hard limit is too low to tell")
def test_the_descriptor_limit_is_raised_for_us_and_what_it_was_is_known_for_children(tmp_path: Path) -> None:
    own = Seen(tmp_path, soft=200).own
    assert own["nofile"] == [200, HARD]
    assert own["own"] == own["given"]
    assert own["own"][0] > 200 or own["own"][0] == resource.RLIM_INFINITY
    assert own["raised"]


def test_this_process_was_left_alone() -> None:
    assert os.path.exists("/proc/self/fd/0")
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
