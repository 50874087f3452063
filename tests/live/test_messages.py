"""What is asked for is done once, in order, and answered; what is no request stops none that comes after it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, stays

pytestmark = pytest.mark.live


def put(colony: Colony, filename: str, data: bytes) -> Path:
    """A message of these bytes, whole at once."""
    new = colony.messages / f".{filename}.new"
    new.write_bytes(data)
    return new.rename(colony.messages / filename)


def is_kept_and_said_once(colony: Colony, path: Path) -> bool:
    """Is it neither obeyed nor lost, nor in the way, and known to the operator?"""
    colony.wait_for(lambda: colony.said(f"message {path.name} not obeyed"), AT_ONCE)
    colony.obeys_at_once()
    return len(colony.said(f"message {path.name} ")) == 1 and os.path.lexists(path)


def test_garbage_is_said_once_and_stays_until_it_changes(colony: Colony) -> None:
    for number, data in enumerate((b"", b"RESTART web", b'{"type": "RESTART-A')):
        assert is_kept_and_said_once(colony, put(colony, f"garbage{number}", data)), data


def test_what_is_no_file_is_said_once_and_stays(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    outside = colony.folder / "outside"
    outside.write_bytes(b'{"type": "RESTART-ALL"}')
    (colony.messages / "a-directory").mkdir()
    os.mkfifo(colony.messages / "a-fifo")
    (colony.messages / "a-link-to-nothing").symlink_to("nothing")
    (colony.messages / "a-link").symlink_to(outside)
    with outside.with_name("huge").open("wb") as file:
        file.truncate(100_000_000)
    outside.with_name("huge").rename(colony.messages / "a-huge-one")

    for name in ("a-directory", "a-fifo", "a-link-to-nothing", "a-link", "a-huge-one"):
        assert is_kept_and_said_once(colony, colony.messages / name), name
    assert colony.running("web") == [pid]


REFUSED = [
    b'{"type": "EXPLODE"}',
    b'{"type": "RESTART"}',
    b'{"type": "SIGNAL", "name": "web", "signal": 9}',
    b"{}",
    b"[]",
    b"\xff\xfe",
]


def test_what_is_no_request_and_never_will_be_is_refused_at_once(colony: Colony) -> None:
    for number, data in enumerate(REFUSED):
        path = put(colony, f"bad{number}", data)
        answer = colony.answer(path.name)
        assert (answer["ok"], answer["code"]) == (False, 1)
        assert answer["error"]
        colony.wait_for(lambda path=path: not path.exists(), AT_ONCE)  # type: ignore[misc]  # a default's type
        colony.wait_for(lambda path=path: len(colony.said(path.name)) == 1)  # type: ignore[misc]  # a default's type
    colony.obeys_at_once()


def test_an_unknown_name_is_waited_for_then_refused_aloud_and_keeps_nobody_waiting(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    colony.runs("web")
    began = time.monotonic()
    asked = colony.ask("RESTART", name="typo", by="somebody")
    colony.obeys_at_once()

    answer = colony.answer(asked)

    assert time.monotonic() - began > 1.8, "it has two seconds to appear"

    assert (answer["code"], answer["by"]) == (4, "somebody")
    assert "typo" in answer["error"]
    colony.wait_for(lambda: not (colony.messages / asked).exists(), AT_ONCE)
    colony.wait_for(lambda: len(colony.said("no such process: typo")) == 1)


def test_a_name_that_comes_right_after_its_message_is_not_unknown(colony: Colony) -> None:
    asked = colony.ask("RESTART", name="web")
    assert colony.answer(colony.ask("SCAN"))["ok"], "the one before it has been looked at"
    assert (colony.messages / asked).exists()
    colony.write("web", *SLEEP)
    assert colony.answer(asked)["ok"]
    colony.runs("web", seconds=AT_ONCE)


def test_a_half_written_message_is_obeyed_once_it_is_whole(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    with (colony.messages / "slow").open("wb", buffering=0) as file:
        file.write(b'{"type": "REST')
        colony.obeys_at_once()
        assert colony.running("web") == [pid]
        file.write(b'ART", "name": "web"}')

    pid = colony.runs("web", instead_of=pid, seconds=AT_ONCE)
    colony.wait_for(lambda: not (colony.messages / "slow").exists(), AT_ONCE)
    assert stays(lambda: colony.running("web") == [pid])
    assert colony.answer("slow")["ok"]


@pytest.mark.slow
def test_messages_are_obeyed_in_the_order_of_their_names(place: Colony) -> None:
    place.write("web", *SLEEP)
    put(place, "2", b'{"type": "START", "name": "web"}')
    put(place, "1", b'{"type": "STOP", "name": "web"}')
    put(place, "3", b'{"type": "stop", "name": "web"}')
    place.start()
    answers = [place.answer(filename) for filename in ("1", "2", "3")]
    assert [answer["at"] for answer in answers] == sorted(answer["at"] for answer in answers)
    place.wait_for(lambda: place.status("web").get("state") == "stopped")
    assert place.running() == []


def test_groups_are_restarted_and_stopped_as_one(colony: Colony) -> None:
    for name, groups in (("a", ["g"]), ("b", ["g", "h"]), ("c", ["h"])):
        colony.write(name, *SLEEP, group=groups)
    pids = {name: colony.runs(name) for name in "abc"}

    colony.ask("RESTART-GROUP", group="g")
    pids |= {name: colony.runs(name, instead_of=pids[name], seconds=AT_ONCE) for name in "ab"}
    assert colony.running("c") == [pids["c"]]

    colony.ask("STOP", group="h")
    for name in "bc":
        colony.is_gone(name, AT_ONCE)
    assert colony.running() == [pids["a"]]

    colony.ask("RESTART-GROUP", group="h")  # skips what is stopped
    asked = colony.ask("START", group="h")
    assert colony.answer(asked)["names"] == ["b", "c"]
    for name in "bc":
        colony.runs(name, seconds=AT_ONCE)

    assert colony.answer(colony.ask("RESTART-GROUP", group="nobody"))["code"] == 4


def test_a_signal_goes_to_the_whole_group_and_the_pid_stays(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "trap 'echo got HUP' HUP; echo up; while :; do sleep 1000 & wait; done")
    colony.wait_for(lambda: colony.said("[web] up"))
    pid = colony.runs("web")

    assert colony.answer(colony.ask("SIGNAL", name="web", signal="SIGHUP"))["ok"]

    colony.wait_for(lambda: colony.said("[web] got HUP"), AT_ONCE)
    assert colony.running("web") == [pid]
    colony.write("idle", *SLEEP)
    colony.runs("idle")
    colony.ask("STOP", name="idle")
    colony.is_gone("idle")
    colony.wait_for(lambda: colony.status("idle").get("state") == "stopped")
    assert colony.answer(colony.ask("SIGNAL", name="idle", signal="HUP"))["code"] == 1


def waits_after(colony: Colony, starts: int) -> bool:
    told = colony.status("crash")
    return (told.get("starts"), told.get("state")) == (starts, "backoff")


def test_a_restart_or_a_start_or_an_edit_ends_a_backoff_at_once(colony: Colony) -> None:
    def starts() -> int:
        return len(colony.said("[crash] here"))

    colony.write("crash", "sh", "-c", "echo here; exit 1", restart={"initial": 1000})
    colony.wait_for(lambda: colony.status("crash").get("state") == "backoff")
    assert starts() == 1
    colony.ask("RESTART", name="crash")
    colony.wait_for(lambda: starts() == 2, AT_ONCE)
    colony.wait_for(
        lambda: colony.status("crash").get("starts") == 2 and colony.status("crash").get("state") == "backoff"
    )
    colony.ask("START", name="crash")
    colony.wait_for(lambda: starts() == 3, AT_ONCE)
    colony.wait_for(
        lambda: colony.status("crash").get("starts") == 3 and colony.status("crash").get("state") == "backoff"
    )
    colony.write("crash", "sh", "-c", "echo here; exit 2", restart={"initial": 1000})
    colony.wait_for(lambda: starts() == 4, AT_ONCE)


@pytest.mark.slow
def test_a_thousand_messages_at_once_are_few_restarts_and_others_go_on(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    colony.runs("web")
    for number in range(1000):
        put(colony, f"many{number:04}", b'{"type": "RESTART", "name": "web"}')
    colony.obeys_at_once()
    colony.wait_for(lambda: not list(colony.messages.glob("many*")))
    colony.wait_for(lambda: colony.status("web").get("state") == "running")
    assert colony.status("web")["starts"] < 20


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_garbage_that_stays_so_for_a_minute_is_answered_and_set_aside(colony: Colony) -> None:
    put(colony, "a-garbage", b'{"type": "RESTART-A')
    colony.wait_for((colony.messages / ".bad" / "a-garbage").exists, 75)
    answer = colony.answer("a-garbage")
    assert (answer["ok"], answer["code"]) == (False, 1)
    assert not (colony.messages / "a-garbage").exists()
