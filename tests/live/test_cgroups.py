"""With --cgroups nobody gets away: not even who leaves its session, empties its environment, and has no parent."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, NOBODY, SLEEP, Colony, Process, alive, process, stays, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

HIDER = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        with open("hidden.new", "w") as file:
            print(os.getpid(), file=file)
        os.execve("/bin/sh", ["sh", "-c", sys.argv[1]], {})
    os._exit(0)
os.wait()
print("up", flush=True)
time.sleep(1000)
"""
"""Starts a daemon that shares nothing with its main, and that no search by session, parent or token can find."""

MEEK = "mv hidden.new hidden; exec sleep 1001"
DEAF = "trap '' TERM; mv hidden.new hidden; while :; do sleep 1; done"

HOPPER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 10
os.rename("hidden.new", "hidden")
time.sleep(0.1)
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""
"""Is another process every millisecond, so that no signal to a process ever finds it; for ten seconds."""


def tree() -> Path | str:
    """Our own place in the tree of version 2; or why no cgroups can be had there."""
    mounted = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines() if "cgroup2" in line]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    if not mounted or not own:
        return "no cgroup2 is mounted"
    place = Path(mounted[0][4], os.path.relpath(own[0], mounted[0][3]))
    trial = place / f"trial-{os.urandom(8).hex()}"
    try:
        trial.mkdir()
    except OSError as error:
        return f"no cgroup can be made: {error}"
    try:
        return place if (trial / "cgroup.kill").exists() else "cgroup.kill came with Linux 5.14"
    finally:
        trial.rmdir()


class Hiding:
    """A colony with --cgroups, its directory in the tree, and the daemons that hide."""

    def __init__(self, place: Colony) -> None:
        found = tree()
        if isinstance(found, str):
            pytest.skip(found)
        self.colony = place
        self.tree = found
        self.directory = self.tree / f"colony-{hashlib.sha256(os.fsencode(place.config.resolve())).hexdigest()[:16]}"
        self._hidden: list[Process] = []

    def write(self, script: str = MEEK, **keys: object) -> None:
        self.colony.write("web", sys.executable, "-c", HIDER, script, cwd=str(self.colony.folder), **keys)

    def hidden(self) -> int:
        """The pid of the daemon that has been started since this was last asked, and is hidden by now."""
        path = self.colony.folder / "hidden"
        self.colony.wait_for(path.exists)
        found = process(int(path.read_text()))
        assert found is not None
        assert found.environ.keys() <= {"", "PWD"}
        self._hidden.append(found)
        path.unlink()
        return found.pid

    def main(self) -> int:
        return self.colony.runs("web")

    def directories(self) -> int:
        """How many starts have a cgroup."""
        return sum(entry.is_dir() for entry in self.directory.iterdir()) if self.directory.exists() else 0

    def close(self) -> None:
        """End who has got away after all, and leave nothing in the tree."""
        self.colony.clean()
        for one in self._hidden:
            with suppress(OSError):
                descriptor = os.pidfd_open(one.pid)
                found = process(one.pid)
                if found is not None and (found.session, found.environ) == (one.session, one.environ):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                os.close(descriptor)
        for directory in self.tree.glob(f"**/{self.directory.name}/"):
            (directory / "cgroup.kill").write_text("1")
            wait_for(lambda: "populated 0" in (directory / "cgroup.events").read_text())  # noqa: B023 - called here
            for path in sorted(directory.glob("**/"), reverse=True):
                path.rmdir()


@pytest.fixture
def hiding(place: Colony) -> Iterator[Hiding]:
    hiding = Hiding(place)
    try:
        yield hiding
    finally:
        hiding.close()


def test_without_cgroups_it_would_get_away(hiding: Hiding) -> None:
    hiding.colony.start()
    hiding.write()
    hidden = hiding.hidden()
    hiding.colony.remove("web")
    hiding.colony.is_gone("web")
    assert stays(lambda: alive(hidden), 0.2)
    assert not hiding.directory.exists()


def test_it_is_stopped_with_its_main(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    hidden = hiding.hidden()
    assert hiding.colony.told()["capabilities"]["cgroups"] is True

    hiding.colony.remove("web")

    hiding.colony.wait_for(lambda: not alive(hidden))
    hiding.colony.wait_for(lambda: hiding.directories() == 0)


def test_it_is_stopped_after_a_crash_and_before_the_restart(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write(restart={"threshold": 0})
    old = hiding.hidden()

    os.kill(hiding.main(), signal.SIGKILL)

    new = hiding.hidden()
    assert not alive(old)
    assert alive(new)
    assert hiding.directories() == 1


def test_it_is_stopped_when_the_supervisor_ends(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    hidden = hiding.hidden()
    assert hiding.colony.stop() == -signal.SIGTERM
    assert not alive(hidden)
    assert not hiding.directory.exists()


def test_quit_kills_it_at_once(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups", "-k", "60")
    hiding.write(DEAF)
    hidden = hiding.hidden()
    assert hiding.colony.stop(signal.SIGQUIT) == 131
    assert not alive(hidden)
    assert not hiding.directory.exists()


def test_a_deaf_one_is_killed_after_the_killtime(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups", "-k", "0.3")
    hiding.write(DEAF)
    hidden = hiding.hidden()
    hiding.colony.ask("STOP", name="web")
    hiding.colony.wait_for(lambda: not alive(hidden))
    hiding.colony.wait_for(lambda: hiding.colony.status("web").get("state") == "stopped")
    assert hiding.directories() == 0


def test_one_that_is_another_process_every_millisecond_is_killed_too(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups", "-k", "0.3")
    (hiding.colony.folder / "hopper").write_text(HOPPER)
    hiding.write(f"exec {sys.executable} hopper")
    hiding.hidden()
    hiding.colony.ask("STOP", name="web")
    hiding.colony.wait_for(lambda: hiding.directories() == 0, AT_ONCE)


def test_what_a_process_puts_into_cgroups_of_its_own_making_is_ended_too(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    own = "$(sed -n s/^0:://p /proc/self/cgroup)"
    script = f"inner={hiding.tree}/{own}/inner; mkdir $inner && echo $$ > $inner/cgroup.procs && {MEEK}"
    hiding.write(script)
    hidden = hiding.hidden()
    [inner] = hiding.directory.glob("*/inner")
    assert str(hidden) in (inner / "cgroup.procs").read_text().split()
    hiding.colony.remove("web")
    hiding.colony.wait_for(lambda: not alive(hidden))
    hiding.colony.wait_for(lambda: hiding.directories() == 0)


@pytest.mark.slow
def test_a_hundred_restarts_leave_no_directory(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write(restart={"threshold": 0})
    for _ in range(100):
        old = hiding.hidden()
        os.kill(hiding.main(), signal.SIGKILL)
        hiding.colony.wait_for((hiding.colony.folder / "hidden").exists)
        assert not alive(old)
    hiding.hidden()
    assert hiding.directories() == 1
    hiding.colony.remove("web")
    hiding.colony.is_gone("web")
    hiding.colony.wait_for(lambda: hiding.directories() == 0)


def test_starts_that_fail_leave_no_directory(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.colony.write("web", "/no/such/file", restart={"initial": 0.01, "limit": 0.01})
    hiding.colony.says_often("cannot start web", 5)
    hiding.colony.remove("web")
    hiding.colony.wait_for(lambda: hiding.directories() == 0)


def test_one_that_is_adopted_is_stopped_with_its_main_and_leaves_no_directory(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    hidden, main = hiding.hidden(), hiding.main()
    hiding.colony.stop(signal.SIGKILL)

    hiding.colony.start("--cgroups")

    assert stays(lambda: alive(hidden) and hiding.main() == main, 0.3)
    hiding.colony.remove("web")
    hiding.colony.wait_for(lambda: not alive(hidden))
    hiding.colony.stop()
    assert not hiding.directory.exists()


def test_who_is_left_of_a_main_that_died_unseen_is_stopped_before_it_runs_again(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups", "-k", "0.3")
    hiding.write(DEAF)
    old, main = hiding.hidden(), hiding.main()
    hiding.colony.stop(signal.SIGKILL)
    os.kill(main, signal.SIGKILL)

    hiding.colony.start("--cgroups", "-k", "0.3")

    hiding.hidden()
    assert not alive(old)
    assert hiding.directories() == 1


def test_an_empty_directory_of_a_killed_supervisor_is_removed(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    hidden, main = hiding.hidden(), hiding.main()
    hiding.colony.stop(signal.SIGKILL)
    for pid in (main, hidden):
        os.kill(pid, signal.SIGKILL)
    hiding.colony.remove("web")

    hiding.colony.start("--cgroups")

    assert hiding.directories() == 0


def test_one_that_is_adopted_from_another_cgroup_is_stopped_all_the_same(hiding: Hiding) -> None:
    elsewhere = hiding.tree / f"elsewhere-{os.urandom(8).hex()}"
    elsewhere.mkdir()
    try:
        enter = f'echo $$ > {elsewhere}/cgroup.procs && exec "$@"'
        command = ("python", "-m", "twisted", "colony", *hiding.colony.places, "--cgroups")
        hiding.colony.begin("sh", "-c", enter, "sh", *command)
        hiding.colony.wait_until_it_keeps()
        hiding.write()
        hidden, main = hiding.hidden(), hiding.main()
        hiding.colony.stop(signal.SIGKILL)

        hiding.colony.start("--cgroups")

        assert stays(lambda: alive(hidden) and hiding.main() == main, 0.2)
        hiding.colony.remove("web")
        hiding.colony.wait_for(lambda: not alive(hidden))
        hiding.colony.stop()
        assert not hiding.directory.exists()
    finally:
        elsewhere.rmdir()


def test_orphans_that_are_not_to_go_on_are_ended_with_it(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    old = hiding.hidden()
    hiding.colony.stop(signal.SIGKILL)
    hiding.colony.start("--cgroups", "--orphans", "kill")
    hiding.hidden()
    assert not alive(old)
    assert hiding.directories() == 1


def test_after_an_upgrade_in_place_it_is_stopped_all_the_same(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    hiding.write()
    hidden, main = hiding.hidden(), hiding.main()
    hiding.colony.done("upgrade")
    assert (hiding.main(), alive(hidden), hiding.directories()) == (main, True, 1)
    hiding.colony.remove("web")
    hiding.colony.wait_for(lambda: not alive(hidden))
    hiding.colony.wait_for(lambda: hiding.directories() == 0)


def test_it_is_joined_before_privileges_are_dropped(hiding: Hiding) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    hiding.colony.start("--cgroups")
    hiding.colony.write("web", *SLEEP, uid=NOBODY, gid=NOBODY)
    main = hiding.main()
    [procs] = hiding.directory.glob("*/cgroup.procs")
    assert procs.read_text().split() == [str(main)]


def test_a_cgroup_that_cannot_be_made_is_a_failed_start_that_is_tried_again(hiding: Hiding) -> None:
    hiding.colony.start("--cgroups")
    (hiding.directory / "cgroup.max.descendants").write_text("0")
    hiding.colony.write("web", *SLEEP, restart={"initial": 0.05, "limit": 0.05})
    [said, *_] = hiding.colony.says("cannot start web: cgroup: cannot make ")
    assert "(EAGAIN)" in said
    (hiding.directory / "cgroup.max.descendants").write_text("max")
    hiding.main()


def test_where_there_are_none_it_is_said_and_it_runs_all_the_same(place: Colony) -> None:
    without: list[str] = []
    if isinstance(tree(), Path):
        without = ["unshare", "--mount", "sh", "-c", 'umount -l -a -t cgroup2; exec "$@"', "sh"]
        if not shutil.which("unshare") or subprocess.run([*without, "true"], check=False).returncode != 0:
            pytest.skip("needs unshare(1) and the right to use it")
    place.begin(*without, "python", "-m", "twisted", "colony", *place.places, "--cgroups")
    place.wait_until_it_keeps()
    assert len(place.said("no cgroups, so who leaves its session and hides its token may get away: ")) == 1
    assert place.told()["capabilities"]["cgroups"] is False
    assert "has to do without: cgroups" in place.done("status")
    place.obeys_at_once()


def test_who_has_not_asked_for_them_does_without_nothing(colony: Colony) -> None:
    assert "cgroups" not in colony.told()["capabilities"]
    assert "do without" not in colony.done("status")
