"""STATE on a full, lost or read-only disk: what runs, runs; what cannot be told or remembered is said."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony, stays

pytestmark = pytest.mark.live


def _can_mount() -> bool:
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    )


as_root = pytest.mark.skipif(not _can_mount(), reason="only root may mount")


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[Path]:
    """A file system in memory at that path."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(folder: Path) -> Path:
    """Leave not one byte on that disk."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return path


@as_root
def test_a_full_disk_under_state_stops_nobody_and_heals(place: Colony) -> None:
    with mounted(place.state, "-o", "size=512k,mode=0700"):
        place.start()
        place.write("web", *SLEEP)
        place.write("other", *SLEEP)
        web, other = place.runs("web"), place.runs("other")
        filler = fill(place.state)

        place.write("new", *SLEEP)
        place.runs("new")
        place.ask("RESTART", name="web")
        web = place.runs("web", instead_of=web)
        assert stays(lambda: place.running("other") == [other], 0.5)
        refused = place.ask("STOP", name="web")
        place.wait_for(lambda: not (place.messages / refused).exists())
        assert place.running("web") == [web], "a STOP that cannot be remembered is refused"

        filler.unlink()
        place.wait_for(lambda: place.status("new").get("pid") == place.running("new")[0])
        assert place.answer(place.ask("STOP", name="web"))["ok"]
        place.is_gone("web")
        place.obeys_at_once()
        place.stop(signal.SIGKILL)
        place.start()
        assert stays(lambda: place.running("other") == [other], 0.3)
        place.stop()


@as_root
def test_a_disk_that_is_full_at_the_start(place: Colony) -> None:
    with mounted(place.state, "-o", "size=64k,mode=0700"):
        fill(place.state)
        place.write("web", *SLEEP)
        place.start()
        web = place.runs("web")
        place.ask("RESTART", name="web")
        web = place.runs("web", instead_of=web)
        place.write("new", *SLEEP)
        place.runs("new")
        assert place.running("web") == [web]
        assert place.stop() == -signal.SIGTERM
        assert place.family() == []


@as_root
@pytest.mark.parametrize("what", ["read-only", "gone"])
def test_a_disk_under_state_that_turns_read_only_or_goes(place: Colony, what: str) -> None:
    with mounted(place.state, "-o", "size=4m,mode=0700"):
        place.start()
        place.write("web", *SLEEP)
        web = place.runs("web")
        if what == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(place.state)], check=False, capture_output=True)
        else:
            subprocess.run(["umount", "--lazy", str(place.state)], check=True)
        place.write("new", *SLEEP)
        new = place.runs("new")
        assert place.running("web") == [web]
        if what == "read-only":
            subprocess.run(["mount", "-o", "remount,rw", str(place.state)], check=True)
        else:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place.state)], check=True)
        assert stays(lambda: place.running("web") == [web] and place.running("new") == [new], 1.2)
        place.ask("RESTART", name="web")
        place.runs("web", instead_of=web)
        assert place.stop() == -signal.SIGTERM
        assert place.family() == []


def test_a_state_that_cannot_be_had_is_said_once_and_everything_else_works(place: Colony) -> None:
    place.state.write_text("a file")
    place.start()
    place.wait_for(lambda: len(place.said("no STATE")) == 1)
    place.obeys_at_once()
    place.write("web", *SLEEP)
    web = place.runs("web")
    place.ask("STOP", name="web")
    place.is_gone("web")
    place.ask("START", name="web")
    place.runs("web", instead_of=web)


def test_without_a_state_what_a_killed_supervisor_left_is_stopped_before_it_runs_again(place: Colony) -> None:
    place.state.write_text("a file")
    place.start()
    place.write("web", *SLEEP)
    web = place.runs("web")
    place.stop(signal.SIGKILL)
    place.start()
    place.runs("web", instead_of=web)
    place.wait_for(lambda: place.said("was left running"))


def test_folders_of_state_that_are_deleted_stop_nobody(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    web = colony.runs("web")
    away = colony.folder / "away"
    colony.state.rename(away)
    colony.write("new", *SLEEP)
    colony.runs("new")
    colony.ask("RESTART", name="web")
    web = colony.runs("web", instead_of=web)
    away.rename(colony.state)
    colony.wait_for(lambda: colony.status("web").get("pid") == web)
    colony.obeys_at_once()
