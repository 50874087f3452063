"""The supervisor itself: how it begins, who may be there with it, what signals do, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Sequence

import pytest

from tests.live.driver import AT_ONCE, PATIENCE, SLEEP, Colony, alive, stays

pytestmark = pytest.mark.live

DEAF = ("sh", "-c", "trap '' TERM INT HUP QUIT; echo deaf; while :; do sleep 1000; done")


def refused(colony: Colony, commands: Sequence[Sequence[str]]) -> list[str]:
    """Start supervisors that are each to end with exit code 1 and one line; returns the lines."""
    supervisors = [
        subprocess.Popen(
            ["python", "-m", "twisted", "colony", *options],
            cwd=colony.folder,
            env=colony.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for options in commands
    ]
    lines = []
    for supervisor in supervisors:
        said, _ = supervisor.communicate(timeout=30)
        assert supervisor.returncode == 1, said
        assert len(said.splitlines()) == 1, said
        lines.append(said.strip())
    return lines


# -- how it begins


BOTH = ["--config", "config", "--messages", "messages"]

CANNOT_BEGIN = [
    (["--messages", "messages"], "--config DIR is required (or COLONY_CONFIG)"),
    (["--config", "config"], "--messages DIR is required (or COLONY_MESSAGES)"),
    (["--config", "config", "--messages", "file"], "--messages file is not a directory"),
    (["--config", "file", "--messages", "messages"], "--config file is not a directory"),
    (["--config", "config", "--messages", "config"], "same directory"),
    ([*BOTH, "--frequency", "often"], "--frequency often"),
    ([*BOTH, "--frequency", "0"], "--frequency 0"),
    ([*BOTH, "-k", "-1"], "--killtime -1"),
    ([*BOTH, "-t", "nan"], "--threshold nan"),
    ([*BOTH, "--state", "config"], "same directory"),
]


def test_what_it_cannot_begin_with_is_one_line_and_exit_code_1(place: Colony) -> None:
    (place.folder / "file").touch()
    lines = refused(place, [options for options, _ in CANNOT_BEGIN])
    for line, (_, says) in zip(lines, CANNOT_BEGIN, strict=True):
        assert says in line


def test_a_second_one_on_the_same_directories_is_refused_naming_the_first(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    for name in ("other-config", "other-messages"):
        (colony.folder / name).mkdir()
    lines = refused(
        colony,
        [
            colony.places,
            ["--config", "config", "--messages", "other-messages"],
            ["--config", "other-config", "--messages", "messages"],
        ],
    )
    assert colony.supervisor is not None
    assert all(str(colony.supervisor.pid) in line for line in lines), lines
    assert colony.running("web") == [pid]
    colony.obeys_at_once()


@pytest.mark.slow
def test_it_waits_for_the_one_before_it_to_let_go(place: Colony) -> None:
    place.start()
    place.write("web", *SLEEP)
    pid = place.runs("web")
    first = place.supervisor
    assert first is not None
    first.send_signal(signal.SIGTERM)
    place.start()
    assert first.wait(PATIENCE) == -signal.SIGTERM
    place.runs("web", instead_of=pid)


@pytest.mark.slow
def test_directories_from_the_environment_and_a_state_elsewhere(place: Colony) -> None:
    place.state = place.folder / "elsewhere"
    environment = {"COLONY_CONFIG": str(place.config), "COLONY_MESSAGES": "messages", "COLONY_STATE": "elsewhere"}
    place.begin("python", "-m", "twisted", "colony", env=environment)
    place.wait_until_it_keeps()
    place.obeys_at_once()
    assert place.told()["directories"]["state"] == str(place.state)
    assert (place.messages / ".state").read_text().strip() == str(place.state)
    place.wait_for(lambda: place.done("status", "-o", "name") == "")  # who is gone is told of a little later


def test_what_it_makes_is_its_own_business_whatever_the_umask(place: Colony) -> None:
    place.config.rmdir()
    place.messages.rmdir()
    place.start(umask=0)
    place.write("web", *SLEEP)
    place.runs("web")
    place.wait_for(lambda: place.status("web"))
    for directory in (place.config, place.messages, place.state, place.state / "status", place.state / "pipes"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
    for path in place.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.slow
def test_who_may_ask_may_read_what_is_told(place: Colony) -> None:
    place.messages.chmod(0o770)
    place.start()
    place.write("web", *SLEEP)
    place.runs("web")
    place.wait_for(lambda: place.status("web"))
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o750
    assert stat.S_IMODE((place.state / "status" / "web.json").stat().st_mode) == 0o640
    assert stat.S_IMODE((place.state / "specs").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "closed", ["<&- >&- 2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", ">&- 2>&-"))]
)
def test_with_closed_standard_descriptors_it_runs_all_the_same(place: Colony, closed: str) -> None:
    words = f"exec python -m twisted --log-file={place.log} colony {' '.join(place.places)} {closed}"
    place.begin("sh", "-c", words)
    place.wait_until_it_keeps()
    place.write("web", "sh", "-c", "echo hello; exec sleep 1000")
    pid = place.runs("web")
    place.wait_for(lambda: place.said("[web] hello"))
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/1").startswith(str(place.state))


def test_without_a_state_directory_it_runs_and_says_what_is_missing(place: Colony) -> None:
    place.state.touch()
    place.start()
    [line] = place.said("no STATE")
    assert "lasting STOP" in line
    place.obeys_at_once()
    place.write("web", "sh", "-c", "echo hello; exec sleep 1000")
    place.runs("web")
    place.wait_for(lambda: place.said("[web] hello"))
    place.ask("STOP", name="web")
    place.is_gone("web")
    assert place.state.read_bytes() == b""


@pytest.mark.slow
def test_pid_files_are_written_and_removed_on_request(place: Colony) -> None:
    pids = place.folder / "pids"
    place.start("--pid", "pids")
    place.write("web", *SLEEP)
    pid = place.runs("web")
    place.wait_for(lambda: (pids / "web").exists() and int((pids / "web").read_text()) == pid)
    place.remove("web")
    place.is_gone("web")
    place.wait_for(lambda: not (pids / "web").exists())


@pytest.mark.slow
def test_unambiguous_abbreviations_of_options_work(place: Colony) -> None:
    place.start("--freq", "5", "--kill=1", "-M", "10", "-m", "0.1")


# -- kill -9


def test_after_kill_9_each_name_runs_once_and_under_the_new_one(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "sleep 1001 & exec sleep 1000")
    colony.write("deaf", *DEAF)
    colony.write("gone", *SLEEP)
    for name in ("web", "deaf", "gone"):
        colony.runs(name)
    colony.wait_for(lambda: colony.said("[deaf] deaf"))
    colony.stop(signal.SIGKILL)
    assert len(colony.running()) == 3
    colony.remove("gone")

    colony.start("-k", "0.5")

    colony.is_gone("gone")
    pids = sorted(colony.runs(name) for name in ("web", "deaf"))
    colony.wait_for(lambda: sorted(colony.status(name).get("pid", 0) for name in ("web", "deaf")) == pids)
    assert stays(lambda: sorted(colony.running()) == pids, 0.3)
    colony.wait_for(lambda: len(colony.family("web")) == 2)
    colony.obeys_at_once()


def test_another_colonys_processes_are_nobodys_business(colony: Colony) -> None:
    stranger = subprocess.Popen(
        [*SLEEP], env={"COLONY_TOKEN": "0123456789abcdef.0123456789abcdef", "COLONY_NAME": "web"}
    )
    try:
        colony.write("web", *SLEEP)
        colony.runs("web")
        colony.stop(signal.SIGKILL)
        colony.start()
        colony.runs("web")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# -- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_by_that_signal_when_everything_has(colony: Colony, number: signal.Signals) -> None:
    for name in ("a", "b", "c"):
        colony.write(name, "sh", "-c", "sleep 1001 & wait")
    for name in ("a", "b", "c"):
        colony.runs(name)
    began = time.monotonic()
    assert colony.stop(number) == -number
    assert not colony.family()
    assert time.monotonic() - began < 2
    assert colony.status("a")["pid"] is None


@pytest.mark.slow
def test_a_shell_sees_143_and_130(place: Colony) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        # No exec: the shell is to see the end.
        words = f"trap : INT; python -m twisted colony {' '.join(place.places)} & echo $! > pid; wait $!; exit $?"
        shell = place.begin("sh", "-c", words)
        place.wait_until_it_keeps()
        os.kill(int((place.folder / "pid").read_text()), number)
        assert shell.wait(PATIENCE) == code


def test_a_second_term_changes_nothing(place: Colony) -> None:
    place.start("-k", "1")
    place.write("deaf", *DEAF)
    place.wait_for(lambda: place.said("[deaf] deaf"))
    assert place.supervisor is not None
    began = time.monotonic()
    place.supervisor.send_signal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        time.sleep(0.1)
        place.supervisor.send_signal(number)
    assert place.supervisor.wait(PATIENCE) == -signal.SIGTERM
    assert time.monotonic() - began > 0.9, "the killtime holds"
    assert not place.family()


def test_quit_kills_all_at_once(colony: Colony) -> None:
    colony.write("deaf", *DEAF)
    colony.wait_for(lambda: colony.said("[deaf] deaf"))
    began = time.monotonic()
    assert colony.stop(signal.SIGQUIT) == 131
    assert time.monotonic() - began < 2
    assert not colony.family()


@pytest.mark.slow
def test_quit_ends_a_stop_that_takes_too_long(place: Colony) -> None:
    place.start("-k", "30")
    place.write("deaf", *DEAF)
    place.wait_for(lambda: place.said("[deaf] deaf"))
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGTERM)
    place.wait_for(lambda: place.status("deaf").get("state") == "stopping")
    place.supervisor.send_signal(signal.SIGQUIT)
    place.supervisor.wait(PATIENCE)
    assert not place.family()


def test_no_other_signal_ends_it_or_anything(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    assert colony.supervisor is not None
    for name in ("HUP", "USR1", "PIPE", "ALRM", "CHLD", "WINCH", "URG", "USR2"):
        colony.supervisor.send_signal(signal.Signals[f"SIG{name}"])
    colony.obeys_at_once()
    assert colony.supervisor.poll() is None
    assert colony.running("web") == [pid]


def test_hup_looks_at_everything(place: Colony, no_inotify: dict[str, str]) -> None:
    place.start("--frequency", "1000", env=no_inotify)
    place.write("web", *SLEEP)
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGHUP)
    place.runs("web", seconds=AT_ONCE)


@pytest.mark.slow
def test_term_during_the_start_leaves_nothing(place: Colony) -> None:
    for number in range(5):
        place.write(f"web{number}", *SLEEP)
    for delay in (0.05, 0.15, 0.25, 0.3, 0.35, 0.4, 0.45):
        supervisor = place.begin("python", "-m", "twisted", "colony", *place.places)
        time.sleep(delay)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(PATIENCE) in (-signal.SIGTERM, 1)
        assert not place.family()


@pytest.mark.slow
def test_frozen_and_thawed_it_goes_on(colony: Colony) -> None:
    colony.write("web", *SLEEP, restart={"threshold": 0})
    pid = colony.runs("web")
    assert colony.supervisor is not None
    colony.supervisor.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    colony.write("new", *SLEEP)
    assert stays(lambda: not colony.running("new"), 0.3)
    colony.supervisor.send_signal(signal.SIGCONT)
    colony.runs("web", instead_of=pid, seconds=AT_ONCE)
    colony.runs("new", seconds=AT_ONCE)


def test_a_state_that_is_lost_at_run_time_stops_nothing(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    lost = colony.folder / "lost"
    colony.state.rename(lost)
    shutil.rmtree(lost)
    colony.write("web2", *SLEEP)
    colony.runs("web2")
    colony.ask("RESTART", name="web")
    pid = colony.runs("web", instead_of=pid)
    assert alive(pid)
    colony.remove("web2")
    colony.is_gone("web2")


@pytest.mark.slow
def test_what_is_told_is_whole_at_every_moment(colony: Colony) -> None:
    colony.write("crash", "false", restart={"initial": 0.01, "limit": 0.01})
    colony.wait_for(lambda: colony.status("crash").get("starts", 0) > 2)
    path = colony.state / "status" / "crash.json"
    assert stays(lambda: json.loads(path.read_bytes())["name"] == "crash", 0.5)
