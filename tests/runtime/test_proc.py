"""/proc is read as it is, and what is not there, or may not be read, is nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colony.runtime import proc


@contextmanager
def running(*args: str, executable: str | None = None, **env: str) -> Iterator[int]:
    """That process, when it has begun to say something."""
    process = subprocess.Popen(args, executable=executable, env=env, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


SLEEP = ("/bin/sh", "-c", "echo; sleep 1000; true")
"""Not exec'd: in the midst of an exec the kernel shows no environment."""


def test_the_start_time_is_the_same_asked_for_alone_whatever_the_command_is_called(tmp_path: Path) -> None:
    odd = tmp_path / ") 1 2 (x"
    odd.symlink_to("/bin/sh")
    with running(*SLEEP, executable=str(odd)) as pid:
        stat = proc.stat(pid)
        assert stat is not None
        assert stat.start_time == proc.start_time(pid)
    assert proc.start_time(pid) is None


def test_a_process_is_known_with_its_parent_group_and_session() -> None:
    with running(*SLEEP) as pid:
        stat = proc.stat(pid)
        assert stat is not None
        assert (stat.pid, stat.parent, stat.group, stat.session) == (pid, os.getpid(), pid, pid)
        assert not stat.ended


@pytest.mark.parametrize("name", [") S 1 1 1 (", "a b", "((("])
def test_a_name_may_hold_anything(tmp_path: Path, name: str) -> None:
    script = tmp_path / name
    script.write_text("#!/bin/sh\necho\nwhile :; do read line < /dev/zero; done\n")
    script.chmod(0o755)
    with running(str(script)) as pid:
        stat = proc.stat(pid)
        assert stat is not None
        assert (stat.parent, stat.session) == (os.getpid(), pid)


def test_a_start_time_is_later_for_who_started_later() -> None:
    with running(*SLEEP) as first, running(*SLEEP) as second:
        earlier, later = proc.stat(first), proc.stat(second)
        own = proc.stat(os.getpid())
        assert None not in (own, earlier, later)
        times = [stat.start_time for stat in (own, earlier, later) if stat is not None]
        assert times == sorted(times)


def test_a_zombie_has_ended_and_nobody_is_none() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    stat = proc.stat(process.pid)
    assert stat is not None
    assert stat.ended
    assert proc.token(process.pid) is None
    process.wait()
    assert proc.stat(process.pid) is None
    assert proc.token(process.pid) is None
    assert process.pid not in proc.pids()


def test_a_token_is_that_of_the_environment_it_was_started_with() -> None:
    with running(*SLEEP, COLONY_TOKEN="c.s", OTHER="COLONY_TOKEN=not.this") as pid:
        assert proc.token(pid) == "c.s"
        assert proc.variable(pid, b"OTHER") == "COLONY_TOKEN=not.this"
        assert proc.variable(pid, b"THER") is None
    with running(*SLEEP, OTHER="COLONY_TOKEN=not.this") as pid:
        assert proc.token(pid) is None


def test_a_large_environment_is_read_whole() -> None:
    large = {f"X{number}": "x" * 100_000 for number in range(5)}
    with running(*SLEEP, **large, ZZ="last") as pid:
        assert proc.variable(pid, b"ZZ") == "last"


def test_every_process_is_listed_ourselves_among_them() -> None:
    pids = list(proc.pids())
    assert os.getpid() in pids
    assert os.getppid() in pids
    assert len(pids) == len(set(pids))


def test_the_boot_has_one_name() -> None:
    assert proc.boot_id() is not None
    assert proc.boot_id() == proc.boot_id()


def test_who_is_in_the_midst_of_an_exec_is_waited_for() -> None:
    """As it is when Popen returns, more often than not: the kernel knows the new environment last."""
    empty = []
    for number in range(200):
        with subprocess.Popen(["/bin/sleep", "1000"], env={"COLONY_TOKEN": f"c.{number}"}) as process:
            try:
                empty.append(not Path(f"/proc/{process.pid}/environ").read_bytes())
                assert proc.token(process.pid) == f"c.{number}"
            finally:
                process.kill()
    if not any(empty):
        pytest.skip("this kernel is quicker than us")


def test_who_has_no_environment_is_not_waited_for() -> None:
    with running(*SLEEP) as pid:
        began = time.monotonic()
        for _ in range(100):
            assert proc.token(pid) is None
        assert time.monotonic() - began < 100 * proc._EXEC


def test_what_may_not_be_read_has_no_token() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else for a while")
    assert proc.variable(os.getpid(), b"PATH") is not None
    code = (
        "import os; from colony.runtime import proc; os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3);"
        f"print(proc.variable({os.getpid()}, b'PATH'), proc.stat({os.getpid()}) is not None)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert seen.stdout == "None True\n"


def test_who_ends_as_it_is_read_has_no_start_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proc.start_time(os.getpid()) == of_stat(os.getpid())
    monkeypatch.setattr("colony.runtime.proc.os.read", lambda descriptor, size: b"")
    assert proc.start_time(os.getpid()) is None


def test_a_start_time_reckoned_from_the_clock_is_the_one_that_the_kernel_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    births = proc.Births()
    read: list[int] = []

    def start_time(pid: int) -> int | None:
        read.append(pid)
        return of_stat(pid)

    monkeypatch.setattr(proc, "start_time", start_time)
    for _ in range(60):
        births.begin()
        pid = os.posix_spawn("/bin/true", ["true"], {})
        try:
            assert births.of(pid) == of_stat(pid)
        finally:
            os.waitpid(pid, 0)
    assert len(read) < 60, "some were reckoned"


def test_what_started_in_another_tick_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    births = proven(monkeypatch, tick := [100])
    births.begin()
    tick[0] += 1
    assert births.of(7) == 5


def test_a_kernel_whose_start_times_are_on_another_clock_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    births = proven(monkeypatch, [100], proofs=7)
    births.begin()
    assert births.of(7) == 5, "the eighth was not as reckoned"
    births.begin()
    assert births.of(7) == 5


def proven(monkeypatch: pytest.MonkeyPatch, tick: list[int], proofs: int = 8) -> proc.Births:
    """Births that were as reckoned so often, at that tick; from now on /proc says 5."""
    births = proc.Births()
    nanoseconds = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: tick[0] * nanoseconds)
    monkeypatch.setattr(proc, "start_time", lambda pid: tick[0])
    for _ in range(proofs):
        births.begin()
        assert births.of(7) == tick[0]
    monkeypatch.setattr(proc, "start_time", lambda pid: 5)
    if proofs == 8:
        births.begin()
        assert births.of(7) == tick[0], "it is not read any more"
    return births


def of_stat(pid: int) -> int | None:
    stat = proc.stat(pid)
    return None if stat is None else stat.start_time
