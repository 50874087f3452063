"""Who a process is and what it may, under a real supervisor: seen in /proc, in the log and in status."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, stays

pytestmark = pytest.mark.live
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else")


def status(pid: int) -> dict[str, list[str]]:
    """What /proc/PID/status says."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def limit(pid: int, name: str) -> list[str]:
    """Soft and hard, as /proc/PID/limits has them."""
    [line] = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()[:2]


@AS_ROOT
def test_a_user_is_taken_on_whole_with_everything_else_that_is_asked_for(colony: Colony) -> None:
    colony.write(
        "web",
        *SLEEP,
        user="daemon",
        supplementary_groups=["nogroup" if _has_group("nogroup") else "nobody", 4242],
        umask="027",
        nice=7,
        limits={"nofile": [100, 200], "core": 0},
        no_new_privs=True,
        env={"LOGNAME": "another"},
    )
    pid = colony.runs("web")
    entry, seen = pwd.getpwnam("daemon"), status(pid)
    assert seen["Uid"] == [str(entry.pw_uid)] * 4
    assert seen["Gid"] == [str(entry.pw_gid)] * 4
    assert seen["Groups"] == ["4242", "65534"]
    assert (seen["Umask"], seen["NoNewPrivs"]) == (["0027"], ["1"])
    assert [int(seen[key][0], 16) for key in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert (limit(pid, "Max open files"), limit(pid, "Max core file size")) == (["100", "200"], ["0", "0"])
    [main] = colony.family("web")
    expected = {"HOME": entry.pw_dir, "USER": "daemon", "LOGNAME": "another", "SHELL": entry.pw_shell}
    assert {key: main.environ[key] for key in expected} == expected


def _has_group(name: str) -> bool:
    return any(entry.gr_name == name for entry in grp.getgrall())


def test_what_needs_no_root_is_had_without(colony: Colony) -> None:
    colony.write("web", *SLEEP, umask="077", nice=19, limits={"core": 0}, no_new_privs=True)
    pid = colony.runs("web")
    assert (status(pid)["Umask"], status(pid)["NoNewPrivs"]) == (["0077"], ["1"])
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_a_file_that_says_none_of_it_has_the_limits_the_supervisor_was_started_with(colony: Colony) -> None:
    colony.write("by-spawn", *SLEEP)
    colony.write("by-fork", *SLEEP, umask="022")
    supervisor = colony.supervisor
    assert supervisor is not None
    for name in ("by-spawn", "by-fork"):
        assert limit(colony.runs(name), "Max open files") == limit(os.getpid(), "Max open files")


def test_a_user_that_is_not_there_is_a_failed_start_that_is_tried_again_and_names_it(colony: Colony) -> None:
    colony.write("web", *SLEEP, user="no-such-user", restart={"initial": 0.1, "jitter": 0})
    colony.wait_for(lambda: len(colony.said("cannot start web: user: no such user: no-such-user")) > 1)
    told = colony.wait_for(lambda: colony.status("web") if colony.status("web").get("why") else None)
    assert told is not None
    assert "no such user: no-such-user" in told["why"]
    assert told["problems"] == []
    assert stays(lambda: not colony.running("web"), 0.3)
    colony.obeys_at_once()


def test_a_limit_that_cannot_be_had_is_a_failed_start_that_names_it(colony: Colony) -> None:
    colony.write("web", *SLEEP, limits={"nofile": "unlimited"})
    colony.wait_for(lambda: colony.said("cannot start web: limits: cannot set nofile unlimited"), AT_ONCE)
    assert colony.running("web") == []


def test_ctl_writes_every_key_by_its_option(colony: Colony) -> None:
    options = ["--umask=027", "--nice", "5", "--limits", '{"core": 0}', "--no-new-privs", "true"]
    assert colony.done("add", "web", *options, "--wait", "--", *SLEEP) == "added"
    pid = colony.runs("web")
    assert (status(pid)["Umask"], status(pid)["NoNewPrivs"]) == (["0027"], ["1"])
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
    done = colony.ctl("add", "web", "--umask", "999", "--", *SLEEP)
    assert done.returncode == 2
    assert "umask" in done.stderr
