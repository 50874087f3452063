"""A supervisor is killed outright: what runs goes on, or is cleared away, as its operator wishes."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from array import array
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony, alive

pytestmark = pytest.mark.live

FLOOD = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo flooded; exec sleep 1000"


def unread(pipe: Path) -> int:
    """How many bytes a FIFO holds, somebody having it open."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        count = array("i", [0])
        fcntl.ioctl(descriptor, termios.FIONREAD, count)
        return count[0]
    finally:
        os.close(descriptor)


def kill(colony: Colony) -> None:
    assert colony.supervisor is not None
    colony.supervisor.kill()
    colony.supervisor.wait()


def test_kill_9_restarts_nothing_and_what_changed_meanwhile_is_caught_up_with(colony: Colony) -> None:
    for name in ("same", "edited", "removed", "ended"):
        colony.write(name, *SLEEP)
    before = {name: colony.runs(name) for name in ("same", "edited", "removed", "ended")}
    kill(colony)
    assert {name: colony.runs(name) for name in before} == before
    colony.write("edited", "sleep", "1001")
    colony.remove("removed")
    os.kill(before["ended"], signal.SIGKILL)

    colony.start()

    colony.runs("edited", instead_of=before["edited"])
    colony.is_gone("removed")
    colony.runs("ended", instead_of=before["ended"])
    assert colony.runs("same") == before["same"]
    assert colony.status("same")["starts"] == 1
    os.kill(before["same"], signal.SIGKILL)
    colony.runs("same", instead_of=before["same"])


def test_what_is_said_while_nobody_reads_is_kept_and_a_full_pipe_waits(colony: Colony) -> None:
    colony.write("flood", "sh", "-c", f"while [ ! -e go ]; do sleep 0.01; done; {FLOOD}", cwd=str(colony.folder))
    pid = colony.runs("flood")
    kill(colony)
    (colony.folder / "go").touch()
    [pipe] = (colony.state / "pipes").iterdir()
    colony.wait_for(lambda: unread(pipe) > 61_440)

    colony.start()

    colony.wait_for(lambda: colony.said("[flood] flooded"))
    lines = [line.partition("[flood] ")[2] for line in colony.said("[flood] line")]
    assert lines == [f"line {number}" for number in range(20000)]
    assert colony.runs("flood") == pid
    colony.wait_for(lambda: colony.said("flood had to wait: its pipe was full, and nobody read"))
    colony.wait_for(lambda: "had to wait" in colony.status("flood")["why"])


def test_orphans_are_killed_if_so_asked(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    first = colony.runs("web")
    kill(colony)

    colony.start("--orphans", "kill")

    colony.runs("web", instead_of=first)
    assert not alive(first)


def test_a_restart_that_was_accepted_comes_about_across_kill_9(colony: Colony) -> None:
    colony.write("deaf", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    first = colony.runs("deaf")
    colony.wait_for(lambda: colony.said("[deaf] ready"))
    colony.answer(colony.ask("RESTART", name="deaf"))
    kill(colony)
    assert colony.runs("deaf") == first

    colony.start("--killtime", "0.5")

    colony.runs("deaf", instead_of=first)


def test_a_wrong_word_for_orphans_is_one_line(place: Colony) -> None:
    assert place.begin("python", "-m", "twisted", "colony", *place.places, "--orphans", "keep").wait() == 1
    place.wait_for(lambda: place.said("--orphans keep is neither adopt nor kill"))
