"""The files are what is wanted: their changes, their going, and what is only loss of sight."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, stays

pytestmark = pytest.mark.live

HALF_A_SECOND = 0.5


@pytest.fixture
def web(colony: Colony) -> int:
    """A process that runs, by its pid."""
    colony.write("web", *SLEEP)
    return colony.runs("web")


# -- changes


def test_a_changed_file_is_restarted_at_once(colony: Colony, web: int) -> None:
    colony.write("web", *SLEEP, env={"NEW": "1"})
    colony.runs("web", instead_of=web, seconds=AT_ONCE)
    assert colony.family("web")[0].environ["NEW"] == "1"


def test_a_file_that_is_written_in_place_runs_once_it_is_whole(colony: Colony) -> None:
    with (colony.config / "web").open("wb", buffering=0) as file:
        file.write(b'{"args": ["sle')
        colony.obeys_at_once()
        assert colony.running("web") == []
        file.write(b'ep", "1000"]}')
    colony.runs("web", seconds=AT_ONCE)


def test_a_rewrite_that_means_the_same_restarts_nothing(colony: Colony, web: int) -> None:
    spec = {"args": list(SLEEP)}
    colony.write_bytes("web", json.dumps(spec).encode())
    colony.write_bytes("web", json.dumps(spec, indent=4).encode() + b"\n")
    (colony.config / "web").touch()
    colony.obeys_at_once()
    assert stays(lambda: colony.running("web") == [web])


@pytest.mark.parametrize("is_new", [False, True], ids=["in place", "replaced"])
def test_a_change_of_content_is_seen_whatever_size_and_time_say(colony: Colony, is_new: bool) -> None:
    path = colony.config / "web"
    colony.write("web", *SLEEP, env={"EDITION": "1"})
    pid = colony.runs("web")
    assert stays(lambda: colony.running("web") == [pid]), "until its times are old enough to be believed"
    times = path.stat()
    assert colony.supervisor is not None
    for edition in ("2", "3"):
        colony.supervisor.send_signal(signal.SIGSTOP)  # it sees the file only when its times are the old ones again
        new = path.with_name(".web.new") if is_new else path
        new.write_text(json.dumps({"args": SLEEP, "env": {"EDITION": edition}}))
        os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
        new.rename(path)
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
        colony.supervisor.send_signal(signal.SIGCONT)
        colony.wait_for(
            lambda edition=edition: [one.environ["EDITION"] for one in colony.family("web")] == [edition],  # type: ignore[misc]  # of the loop
            AT_ONCE,
        )


def test_without_inotify_a_change_is_seen_within_the_frequency(place: Colony, no_inotify: dict[str, str]) -> None:
    place.start("--frequency", "0.5", env=no_inotify)
    began = time.monotonic()
    place.write("web", *SLEEP)
    pid = place.runs("web")
    place.ask("RESTART", name="web")
    place.runs("web", instead_of=pid)
    assert time.monotonic() - began < 2 * 0.5 + 1
    place.remove("web")
    place.is_gone("web")
    place.wait_for(lambda: len(place.said("no inotify")) == 1)
    assert place.told()["capabilities"]["inotify"] is False


# -- removal


def test_removal_stops_within_half_a_second(colony: Colony, web: int) -> None:
    began = time.monotonic()
    colony.remove("web")
    colony.is_gone("web")
    assert time.monotonic() - began < HALF_A_SECOND
    colony.wait_for(lambda: colony.status("web") == {}, AT_ONCE)


def test_who_unlinks_and_creates_again_as_git_does_stops_nothing(colony: Colony, web: int) -> None:
    data = (colony.config / "web").read_bytes()
    for _ in range(5):
        colony.remove("web")
        time.sleep(0.05)  # as long as a checkout may take between the two
        colony.write_bytes("web", data)
        assert stays(lambda: colony.running("web") == [web], 0.3)


@pytest.mark.slow
def test_what_is_removed_while_nobody_looks_is_not_started(colony: Colony, web: int) -> None:
    colony.write("other", *SLEEP)
    colony.runs("other")
    colony.stop()
    colony.remove("web")
    colony.start()
    colony.runs("other")
    colony.obeys_at_once()
    assert colony.running("web") == []
    assert colony.status("web") == {}


# -- loss of sight


def test_a_config_directory_that_is_moved_away_and_back_stops_nothing(colony: Colony, web: int) -> None:
    away = colony.folder / "away"
    colony.config.rename(away)
    assert stays(lambda: colony.running("web") == [web], 1)
    if colony.config.exists():  # a supervisor that makes missing directories has made it: empty
        colony.config.rmdir()
    away.rename(colony.config)

    assert stays(lambda: colony.running("web") == [web])
    colony.write("new", *SLEEP)
    colony.runs("new", seconds=AT_ONCE)
    colony.obeys_at_once()
    assert colony.running("web") == [web]


def test_an_empty_directory_in_place_of_config_is_said_and_not_obeyed(colony: Colony, web: int) -> None:
    colony.config.rename(colony.folder / "away")
    colony.config.mkdir()
    colony.wait_for(lambda: colony.said("is another directory than before, and empty"))
    assert stays(lambda: colony.running("web") == [web], 1)

    # Who fills it means it.
    colony.write("other", *SLEEP)
    colony.runs("other")
    colony.is_gone("web")


@pytest.mark.slow
def test_a_config_that_becomes_a_file_stops_nothing_and_heals(colony: Colony, web: int) -> None:
    away = colony.folder / "away"
    colony.config.rename(away)
    colony.config.touch()
    assert stays(lambda: colony.running("web") == [web], 1)
    colony.config.unlink()
    away.rename(colony.config)
    colony.write("new", *SLEEP)
    colony.runs("new")
    assert colony.running("web") == [web]


def test_a_messages_directory_that_is_replaced_is_obeyed_again(place: Colony) -> None:
    place.start("--frequency", "1000")
    place.write("web", *SLEEP)
    pid = place.runs("web")
    shutil.rmtree(place.messages)
    place.messages.mkdir()
    place.ask("RESTART", name="web")
    place.runs("web", instead_of=pid, seconds=AT_ONCE)
    place.wait_for(lambda: (place.messages / ".state").exists())
    assert (place.messages / ".state").read_text().strip() == str(place.state)
    place.obeys_at_once()


def test_a_config_directory_that_is_removed_and_made_anew_is_obeyed_at_once(place: Colony) -> None:
    place.start("--frequency", "1000")
    place.write("web", *SLEEP)
    pid = place.runs("web")
    shutil.rmtree(place.config)
    place.config.mkdir()
    place.write("web", *SLEEP)
    place.write("new", *SLEEP)
    place.runs("new", seconds=AT_ONCE)
    assert place.running("web") == [pid]
    place.obeys_at_once()


# -- STOP


def edit(colony: Colony) -> None:
    colony.write("web", *SLEEP, env={"EDITION": "new"})


def next_supervisor(colony: Colony) -> None:
    assert colony.stop() == -signal.SIGTERM
    colony.start()


def killed_supervisor(colony: Colony) -> None:
    colony.stop(signal.SIGKILL)
    colony.start()


def restart_all(colony: Colony) -> None:
    assert colony.answer(colony.ask("RESTART-ALL"))["ok"]


def touched_again(colony: Colony) -> None:
    colony.write_bytes("web", b"{")
    colony.obeys_at_once()
    edit(colony)


@pytest.mark.parametrize(
    "event",
    [edit, next_supervisor, killed_supervisor]
    + [pytest.param(event, marks=pytest.mark.slow) for event in (restart_all, touched_again)],
)
def test_a_stop_outlasts(colony: Colony, web: int, event: Callable[[Colony], None]) -> None:
    assert colony.answer(colony.ask("STOP", name="web", by="me"))["ok"]
    colony.is_gone("web")
    event(colony)
    colony.obeys_at_once()
    assert stays(lambda: not colony.running("web"), 0.3)
    colony.wait_for(lambda: colony.status("web").get("state") == "stopped", AT_ONCE)
    assert "STOP" in colony.status("web")["why"]


@pytest.mark.parametrize("type", ["START", "RESTART"])
def test_a_stop_ends_by(colony: Colony, web: int, type: str) -> None:
    colony.ask("STOP", name="web")
    colony.is_gone("web")
    colony.ask(type, name="web")
    colony.runs("web", instead_of=web, seconds=AT_ONCE)
    next_supervisor(colony)
    colony.runs("web")


@pytest.mark.slow
def test_a_stop_ends_by_removal_of_the_file(colony: Colony, web: int) -> None:
    colony.ask("STOP", name="web")
    colony.wait_for(lambda: colony.status("web").get("state") == "stopped")
    colony.remove("web")
    colony.wait_for(lambda: colony.status("web") == {}, AT_ONCE)
    colony.write("web", *SLEEP)
    colony.runs("web", instead_of=web, seconds=AT_ONCE)
