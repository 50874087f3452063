"""Grandchildren that hide, and a supervisor that is init: nobody is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony, Process, stays

pytestmark = pytest.mark.live

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        os.execvp("sleep", ["sleep", "1001"])
    os._exit(0)
os.wait()
print("up", flush=True)
time.sleep(1000)
"""
"""Starts a daemon by the book: two forks, a session of its own, nothing open."""


def daemon(place: Colony, main: int) -> Process:
    """The one that main has started, once there is no other."""
    place.wait_for(lambda: [one.pid for one in place.family("web") if main not in (one.pid, one.session)])
    place.wait_for(lambda: len(place.family("web")) == 2)
    [found] = [one for one in place.family("web") if one.pid != main]
    return found


@pytest.fixture
def web(colony: Colony) -> int:
    """A main that has started a daemon."""
    colony.write("web", sys.executable, "-c", DAEMON, restart={"threshold": 0})
    colony.wait_for(lambda: colony.said("[web] up"))
    [main] = [one.pid for one in colony.family("web") if one.pid == one.session == one.group and one.environ]
    return main


def test_a_daemon_is_stopped_with_its_main(colony: Colony, web: int) -> None:
    daemon(colony, web)
    colony.remove("web")
    colony.is_gone("web")


def test_a_daemon_is_stopped_when_the_supervisor_ends(colony: Colony, web: int) -> None:
    daemon(colony, web)
    assert colony.stop() == -signal.SIGTERM
    assert colony.family() == []


def test_a_daemon_is_stopped_after_a_crash_and_before_the_restart(colony: Colony, web: int) -> None:
    old = daemon(colony, web)
    os.kill(web, signal.SIGKILL)
    colony.wait_for(lambda: len(colony.said("[web] up")) == 2)
    assert old not in colony.family("web")
    colony.wait_for(lambda: len(colony.family("web")) == 2)  # in the midst of its exec it has no environment


def test_a_daemon_of_an_adopted_main_is_stopped_too(colony: Colony, web: int) -> None:
    old = daemon(colony, web)
    colony.stop(signal.SIGKILL)
    colony.start()
    assert stays(lambda: {one.pid for one in colony.family("web")} == {web, old.pid}, 0.5)
    os.kill(web, signal.SIGKILL)
    colony.wait_for(lambda: colony.said("[web] up"))
    assert old.pid not in {one.pid for one in colony.family("web")}
    colony.remove("web")
    colony.is_gone("web")


def test_a_deaf_daemon_is_killed(place: Colony) -> None:
    place.start("-k", "0.5")
    place.write("web", "sh", "-c", "(trap '' TERM; exec setsid sleep 1001) & exec sleep 1000")
    place.wait_for(lambda: len({one.session for one in place.family("web")}) == 2)
    place.remove("web")
    place.is_gone("web")


# -- as init


DEAF_TO_ALL = """\
import os, signal

send = signal.pidfd_send_signal
signal.pidfd_send_signal = lambda *given: None if os.path.exists({folder!r} + "/deaf") else send(*given)
"""
"""As if whoever is signalled by pidfd slept uninterruptibly."""


@pytest.mark.parametrize("recorded", [True, False])
def test_what_cannot_be_ended_keeps_only_its_own_name_waiting_in_the_next_supervisor(
    place: Colony, recorded: bool
) -> None:
    place.start()
    place.write("web", "sh", "-c", "setsid sleep 1000 & echo $! >daemon; exec sleep 1000", cwd=str(place.folder))
    place.write("other", *SLEEP)
    other = place.runs("other")
    main = place.wait_for(lambda: int(place.status("web").get("pid") or 0))
    left = daemon(place, main)
    place.stop(signal.SIGKILL)
    os.kill(main, signal.SIGKILL)
    if not recorded:
        (place.state / "records" / "web.json").unlink()
    place.write("new", *SLEEP)
    site = place.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(DEAF_TO_ALL.format(folder=str(place.folder)))
    (place.folder / "deaf").touch()

    place.start("-k", "0.2", env={"PYTHONPATH": str(site)})

    place.runs("new")
    assert place.running("other") == [other]
    place.wait_for(lambda: "left others behind; sent KILL" in place.status("web").get("why", ""))
    assert place.said(f"web ({left.pid}) was killed and does not end: web is not started until it has")
    place.obeys_at_once()
    assert place.running("web") == [left.pid]
    (place.folder / "deaf").unlink()
    os.kill(left.pid, signal.SIGKILL)
    place.wait_for(lambda: place.status("web").get("state") == "running")
    assert place.status("web")["pid"] != left.pid


NO_SUBREAPER = """\
import ctypes


class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        return (lambda *_: -1) if name == "prctl" else super().__getattr__(name)


ctypes.CDLL = CDLL
"""

NO_CHILDREN = """\
import os

exists = os.path.exists
os.path.exists = lambda path: not str(path).endswith("/children") and exists(path)
"""


@pytest.mark.parametrize("fault", [NO_SUBREAPER, NO_CHILDREN], ids=["no subreaper", "no children"])
def test_where_orphans_cannot_be_had_it_is_said_and_all_else_goes_on(place: Colony, fault: str) -> None:
    site = place.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(fault)
    place.start(env={"PYTHONPATH": str(site)})
    assert place.said("orphans cannot become our children")
    place.wait_for(lambda: place.told().get("capabilities", {}).get("subreaper") is False)
    place.write("web", sys.executable, "-c", DAEMON, restart={"threshold": 0})
    place.wait_for(lambda: place.said("[web] up"))
    web = place.wait_for(lambda: int(place.status("web").get("pid") or 0))
    old = daemon(place, web)
    os.kill(web, signal.SIGKILL)
    place.wait_for(lambda: len(place.said("[web] up")) == 2)
    assert old not in place.family("web")
    place.wait_for(lambda: len(place.family("web")) == 2)
    place.obeys_at_once()


def _can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


as_init = pytest.mark.skipif(not _can_unshare(), reason="needs unshare(1) and the right to use it")


def init_of(place: Colony) -> int:
    """The pid, out here, of what is 1 in there."""
    assert place.supervisor is not None
    outside = place.supervisor.pid
    children = Path(f"/proc/{outside}/task/{outside}/children")
    return int(place.wait_for(lambda: children.read_text().split())[0])


def zombies(parent: int) -> int:
    """How many children it has not reaped."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, of = stat[stat.rindex(")") + 2 :].split()[:2]
            count += state == "Z" and int(of) == parent
    return count


@as_init
@pytest.mark.parametrize("more", [["--pid", "--fork", "--mount-proc", "--kill-child"], []], ids=["container", "mounts"])
def test_a_colony_elsewhere_whose_config_has_the_same_path_is_let_alone(place: Colony, more: list[str]) -> None:
    theirs, over = place.folder / "theirs", "mount --bind theirs/config config && mount --bind theirs/messages messages"
    (theirs / "config").mkdir(parents=True)
    (theirs / "messages").mkdir()
    (theirs / "config" / "web").write_text('{"args": ["sleep", "1000"]}')
    state = ["--state", str(place.folder / "theirs.state")]
    command = ["python", "-m", "twisted", "colony", *place.places, *state]
    inner = place.begin("unshare", "--mount", *more, "sh", "-c", f'{over} && exec "$@"', "sh", *command)
    place.wait_until_it_keeps()
    web = place.runs("web")

    place.start()

    place.obeys_at_once()
    assert place.running("web") == [web]
    assert not place.said("was left running")
    outer, place.supervisor = place.supervisor, inner
    os.kill(init_of(place) if more else inner.pid, signal.SIGTERM)
    assert inner.wait(15) in (0, -signal.SIGTERM)
    place.is_gone("web")
    place.supervisor = outer


@as_init
def test_as_pid_1_it_reaps_orphans_and_ends_with_0(place: Colony) -> None:
    command = ["python", "-m", "twisted", "colony", *place.places]
    place.begin("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *command)
    place.wait_until_it_keeps()
    orphans = "for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.05 & ) ; done; exec sleep 1000"
    place.write("web", "sh", "-c", orphans)
    place.write("daemon", sys.executable, "-c", DAEMON)
    place.wait_for(lambda: place.said("[daemon] up"))
    init = init_of(place)
    place.wait_for(lambda: len(place.family("web")) == 1)
    place.wait_for(lambda: zombies(init) == 0)
    place.obeys_at_once()

    os.kill(init, signal.SIGTERM)

    assert place.supervisor is not None
    assert place.supervisor.wait(15) == 0
    assert place.family() == []


@as_init
def test_as_pid_1_it_ends_by_int_and_quit_too(place: Colony) -> None:
    for number, code in ((signal.SIGINT, 0), (signal.SIGQUIT, 131)):
        command = ["python", "-m", "twisted", "colony", *place.places]
        place.begin("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *command)
        place.wait_until_it_keeps()
        place.write("web", *SLEEP)
        place.wait_for(lambda: place.family("web"))
        os.kill(init_of(place), number)
        assert place.supervisor is not None
        assert place.supervisor.wait(15) == code
        assert place.family() == []
