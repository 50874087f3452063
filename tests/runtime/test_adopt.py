"""Who carries a token of ours is found and stopped, whatever it became; who does not is spared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from colony.core.model import Name, Pid, Rung, default_ladder
from colony.runtime import family, proc
from colony.runtime.adopt import PATIENCE_KILLED, Clearing, leftovers, survivors
from colony.runtime.records import Record
from tests.runtime.loop import Loop, descriptors, lives, said

OURS = "0123456789abcdef"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"


class Crowd:
    """Processes that a test has started, each with a token or without."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self, colony: str | None, *args: str, name: str | None = None) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"]}
        if colony is not None:
            env |= {"COLONY_TOKEN": f"{colony}.{os.urandom(8).hex()}", "COLONY_NAME": name or f"web{len(self.all)}"}
        process = subprocess.Popen(
            args or ("sleep", "1000"), env=env, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.all.append(process)
        return process

    def close(self) -> None:
        for process in self.all:
            process.kill()
            process.communicate(timeout=20)


@pytest.fixture
def colony() -> str:
    """One that nobody else's tests have at this moment."""
    return os.urandom(8).hex()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.close()


def clear(loop: Loop, colony: str, killtime: float = 5.0) -> list[bool]:
    clearing = Clearing(loop.reactor, colony, default_ladder(killtime))
    gone: list[bool] = []
    _ = clearing.gone.addCallback(lambda _: gone.append(True))
    clearing.begin()
    return gone


def test_nobody_left_is_known_at_once(loop: Loop, colony: str) -> None:
    assert clear(loop, colony) == [True]
    assert loop.timers() == 0


def test_leftovers_are_found_by_their_token_with_name_and_start_time(crowd: Crowd, colony: str) -> None:
    process = crowd.start(colony)
    crowd.start(OURS)
    crowd.start(None)
    [found] = leftovers(colony)
    stat = proc.stat(process.pid)
    assert stat is not None
    assert (found.stat.pid, found.stat.start_time, found.name) == (process.pid, stat.start_time, "web0")


def test_a_token_that_only_begins_alike_is_a_strangers(crowd: Crowd, colony: str) -> None:
    crowd.start(colony + "0")
    crowd.start(colony[:-1])
    assert leftovers(colony) == []


def _can_unshare() -> bool:
    command = ["unshare", "--mount", "--pid", "--fork", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not _can_unshare(), reason="needs unshare(1) and the right to use it")
@pytest.mark.parametrize(
    ("hide", "spared"),
    [("", 0), ("mount -t tmpfs tmpfs {0};", 1), ("mount -t tmpfs tmpfs {0}; mkdir {1};", 2)],
    ids=["nothing", "hidden", "another"],
)
def test_who_has_gone_into_other_namespaces_is_a_leftover_where_it_sees_what_we_see(
    crowd: Crowd, colony: str, tmp_path: Path, hide: str, spared: int
) -> None:
    """Itself, and who waits for it outside, whom a token of ours marks as well."""
    config = tmp_path / "above" / "config"
    config.mkdir(parents=True)
    script = f"{hide.format(config.parent, config)} echo up; exec sleep 1000"
    process = crowd.start(colony, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    assert len(leftovers(colony, config=str(config))) == 2 - spared
    token = proc.token(process.pid)
    assert token is not None
    known = leftovers(colony, names={token: Name("web")}, config=str(config))
    assert len(known) == 2, "what was recorded is ours wherever it is"


def test_a_zombie_is_no_leftover(crowd: Crowd, colony: str) -> None:
    process = crowd.start(colony)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert leftovers(colony) == []


def test_we_are_not_our_own_leftover(colony: str, tmp_path: Path) -> None:
    code = f"from colony.runtime.adopt import leftovers; print(leftovers({colony!r}))"
    env = os.environ | {"COLONY_TOKEN": f"{colony}.{'0' * 16}"}
    seen = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=20, check=True)
    assert seen.stdout == b"[]\n"


def test_all_are_stopped_and_said_and_strangers_are_spared(loop: Loop, crowd: Crowd, colony: str) -> None:
    ours = [crowd.start(colony) for _ in range(3)]
    strangers = [crowd.start(OURS), crowd.start(None)]
    before = descriptors()
    with said() as lines:
        gone = clear(loop, colony)
        loop.until(lambda: gone)
    assert [process.wait(timeout=20) for process in ours] == [-15] * 3
    assert sorted(lines) == [
        f"web{index} ({process.pid}) was left running by a supervisor that is no more: stopping it"
        for index, process in enumerate(ours)
    ]
    assert all(lives(process.pid) for process in strangers)
    assert descriptors() == before
    assert loop.timers() == 0


def test_who_does_not_listen_is_killed_after_the_killtime(loop: Loop, crowd: Crowd, colony: str) -> None:
    process = crowd.start(colony, sys.executable, "-c", DEAF)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    gone = clear(loop, colony, killtime=0.2)
    loop.during(0.1)
    assert not gone
    loop.until(lambda: gone)
    assert process.wait(timeout=20) == -9


def test_what_they_start_meanwhile_is_stopped_too(loop: Loop, crowd: Crowd, colony: str, tmp_path: Path) -> None:
    script = f"trap ': > {tmp_path}/asked; setsid sleep 1000 & sleep 0.2; exit' TERM; echo; read line"
    process = crowd.start(colony, "/bin/sh", "-c", script)
    assert process.stdout is not None
    process.stdout.readline()
    gone = clear(loop, colony)
    loop.until(lambda: gone)
    assert (tmp_path / "asked").exists()
    assert leftovers(colony) == []


def test_a_stopped_process_is_woken_to_be_asked(loop: Loop, crowd: Crowd, colony: str) -> None:
    process = crowd.start(colony)
    process.send_signal(19)
    clearing = Clearing(loop.reactor, colony, (Rung("TERM", 20), Rung("KILL", 0)))
    clearing.begin()
    assert process.wait(timeout=20) == -15
    loop.until(lambda: clearing.gone.called)


def unkillable(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """What no signal of ours reaches, as if it slept uninterruptibly."""
    send = family.send
    monkeypatch.setattr(family, "send", lambda stat, number: None if stat.pid == pid else send(stat, number))


def test_who_cannot_be_ended_keeps_only_its_own_name_waiting_until_it_is_gone(
    loop: Loop, crowd: Crowd, colony: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = crowd.start(colony), crowd.start(colony)
    unkillable(monkeypatch, stuck.pid)
    gone: list[dict[Name, Pid]] = []
    freed: list[Name] = []
    clearing = Clearing(loop.reactor, colony, default_ladder(0.1), freed=freed.append)
    _ = clearing.gone.addCallback(gone.append)
    began = loop.reactor.seconds()
    with said() as lines:
        clearing.begin()
        loop.until(lambda: gone)
        assert 0.1 + PATIENCE_KILLED <= loop.reactor.seconds() - began < 0.1 + PATIENCE_KILLED + 5
        assert other.wait(timeout=20) == -15
        assert gone == [{"web0": stuck.pid}]
        assert lines[-1] == f"web0 ({stuck.pid}) was killed and does not end: web0 is not started until it has"
        crowd.start(colony)  # what the next supervisor starts itself
        loop.during(0.6)
        assert freed == []
        stuck.kill()
        loop.until(lambda: freed)
        assert lines[-1] == "what was left of web0 is gone"
    assert freed == ["web0"]
    assert loop.timers() == 0
    assert lives(crowd.all[-1].pid)


def test_whose_a_token_is_the_records_know_better_than_an_environment(crowd: Crowd, colony: str) -> None:
    process = crowd.start(colony)
    token = proc.token(process.pid)
    assert token is not None
    [found] = leftovers(colony, names={token: Name("db")})
    assert found.name == "db"


def test_who_cannot_be_ended_and_belongs_to_nobody_known_is_waited_for(
    loop: Loop, crowd: Crowd, colony: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = crowd.start(colony, name="no/name")
    unkillable(monkeypatch, stuck.pid)
    gone = clear(loop, colony, killtime=0.1)
    loop.during(0.1 + PATIENCE_KILLED + 0.5)
    assert not gone
    stuck.kill()
    loop.until(lambda: gone)


def test_what_runs_was_started_before_now_though_the_machine_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    own = proc.stat(os.getpid())
    assert own is not None
    day = 86400 * os.sysconf("SC_CLK_TCK")
    record = Record(Name("web"), "c.s", "d", 1, own.pid, own.start_time)
    [before] = survivors([record], None)
    assert before.started <= time.monotonic()

    # The machine sleeps for a day, and another process is started.
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: boot + 86400)
    [after] = survivors([attrs.evolve(record, start_time=own.start_time + day)], None)

    assert after.started == pytest.approx(before.started, abs=1)
