"""What an upgrade execs, and what passes through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from colony.runtime.upgrade import HandOver, Refused, become, command, take_over

TWISTD = {"nodaemon": False, "logfile": None, "syslog": False, "uid": None, "gid": None, "chroot": None}


@pytest.mark.parametrize("option", ["uid", "gid", "chroot"])
def test_whom_twistd_has_made_somebody_else_is_refused(option: str) -> None:
    with pytest.raises(Refused, match=f"twistd's --{option}"):
        command(["twistd", "colony"], {**TWISTD, option: 0})


def test_a_hand_over_may_be_larger_than_any_variable(tmp_path: Path) -> None:
    script = """
import os, sys
from colony.runtime.upgrade import HandOver, become
token = "t" * 33
become([sys.executable, "-c", sys.argv[1]], os.getcwd(), None, HandOver(os.getpid(), {}, {token: b"x" * 1_000_000}))
"""
    then = """
import json, os
from colony.runtime.upgrade import VARIABLE, take_over
found = take_over()
sizes = {token: len(data) for token, data in found.partial.items()}
print(json.dumps([sizes, VARIABLE in os.environ, sorted(map(int, os.listdir("/proc/self/fd")))[:4]]))
"""
    done = subprocess.run([sys.executable, "-c", script, then], capture_output=True, check=True, cwd=tmp_path)
    sizes, is_seen, descriptors = json.loads(done.stdout)
    assert sizes == {"t" * 33: 1_000_000}
    assert not is_seen
    assert descriptors[:3] == [0, 1, 2]


def test_what_is_somebody_elses_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONY_HANDOVER", f"{os.getppid()}:0")
    assert take_over() is None
    assert "COLONY_HANDOVER" not in os.environ


def test_an_exec_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("1\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    before = os.getcwd(), sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        become(["python"], str(tmp_path), str(pid_file), HandOver(os.getpid(), {}, {}))
    assert (os.getcwd(), sorted(os.listdir("/proc/self/fd"))) == before
    assert pid_file.read_text() == "1\n"
