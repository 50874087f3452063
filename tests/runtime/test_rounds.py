"""CONFIG, then MESSAGES, looked at when rung for, when due, and every so often, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from colony.core.desired import Listing
from colony.core.model import Answer, AskScan, Message, NotYet
from colony.runtime import rounds
from colony.runtime.inbox import BATCH, Inbox
from colony.runtime.locks import DirectoryLock
from colony.runtime.rounds import Rounds
from colony.runtime.watch import Watch
from tests.runtime.loop import Loop, descriptors, said

NEVER = 1000.0


class Walk:
    """Both directories, the rounds through them, and what came of those, in order."""

    def __init__(self, loop: Loop, path: Path, frequency: float = NEVER) -> None:
        self.loop = loop
        self.config, self.messages = path / "config", path / "messages"
        self.told: list[str] = []
        self.settled = 0
        self.broken = False
        seconds = loop.reactor.seconds
        self.watch = Watch(str(self.config), 1000, seconds)
        self.rounds = Rounds(
            loop.reactor,
            frequency,
            DirectoryLock(str(self.config)),
            DirectoryLock(str(self.messages)),
            self.watch,
            Inbox(str(self.messages), self.obey, lambda *_: None, seconds),
            self.take,
            self.settle,
        )

    def take(self, listing: Listing) -> None:
        self.told += [f"changed {name}" for name in sorted(listing.changed)]
        self.told += [f"gone {name}" for name in sorted(listing.gone)]
        if self.broken:
            raise ZeroDivisionError

    def obey(self, message: Message) -> Answer | NotYet:
        self.told.append(f"obeyed {message.by}")
        if isinstance(message.command, AskScan):
            self.rounds.scan()
        return Answer()

    def settle(self) -> None:
        self.settled += 1

    def write(self, name: str, data: bytes = b"{}") -> None:
        (self.config / name).write_bytes(data)

    def ask(self, by: str, type: str = "RESTART-ALL") -> None:
        (self.messages / f"{by}.new").write_text(json.dumps({"type": type, "by": by}))
        (self.messages / f"{by}.new").rename(self.messages / by)

    def await_told(self, *told: str) -> None:
        self.loop.until(lambda: self.told == [*told] or len(self.told) > len(told))
        assert self.told == [*told]
        self.told.clear()


@pytest.fixture
def walk(loop: Loop, tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(loop, tmp_path)
    walk.rounds.begin()
    walk.loop.during(0.01)
    yield walk
    walk.rounds.end()


def test_the_first_round_takes_what_is_there_config_before_messages(loop: Loop, tmp_path: Path) -> None:
    walk = Walk(loop, tmp_path)
    for directory in (walk.config, walk.messages):
        directory.mkdir()
    walk.ask("1")
    walk.write("web")
    walk.rounds.begin()
    assert walk.told == ["changed web", "obeyed 1"]
    assert walk.settled == 2
    walk.rounds.end()


def test_missing_directories_are_made_and_what_comes_into_them_is_seen(walk: Walk) -> None:
    walk.write("web")
    walk.await_told("changed web")
    walk.ask("1")
    walk.await_told("obeyed 1")


def test_an_add_and_a_request_in_one_breath_are_taken_in_that_order(walk: Walk) -> None:
    for number in range(20):
        walk.write(f"web{number}")
        walk.ask(str(number))
        walk.await_told(f"changed web{number}", f"obeyed {number}")


def test_what_is_added_after_it_has_rung_for_a_message_comes_before_that(walk: Walk) -> None:
    walk.ask("1")  # rings first, and is handled first
    walk.write("web")
    walk.ask("2")
    walk.await_told("changed web", "obeyed 1", "obeyed 2")


def test_a_change_is_seen_long_before_the_next_full_look(walk: Walk) -> None:
    taken = []
    for number in range(20):
        start = time.monotonic()
        walk.write("web", b"%d" % number)
        walk.await_told("changed web")
        taken.append(time.monotonic() - start)
    assert sorted(taken)[10] < 0.1


def test_what_no_doorbell_tells_of_is_seen_at_the_next_full_look(walk: Walk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, make in (("hard", os.link), ("soft", os.symlink)):
        (elsewhere / name).write_bytes(b"{}")
        make(elsewhere / name, walk.config / name)
    walk.loop.until(lambda: len(walk.told) == 2 and walk.watch.again_at is None)
    walk.told.clear()
    for name in ("hard", "soft"):
        before = (elsewhere / name).stat().st_mtime_ns
        (elsewhere / name).write_bytes(b"[]")  # in place, by another way than through CONFIG, of the same size
        os.utime(elsewhere / name, ns=(before, before))
    walk.loop.during(0.1)
    assert walk.told == []
    walk.rounds.scan_all()
    assert walk.told == ["changed hard", "changed soft"]


def test_a_removed_file_is_gone_within_half_a_second(walk: Walk) -> None:
    walk.write("web")
    walk.await_told("changed web")
    walk.loop.during(0.3)
    assert walk.told == []
    start = time.monotonic()
    (walk.config / "web").unlink()
    walk.await_told("gone web")
    assert 0.2 <= time.monotonic() - start


def test_a_file_put_back_in_between_never_went(walk: Walk) -> None:
    walk.write("web")
    walk.await_told("changed web")
    (walk.config / "web").unlink()
    walk.loop.during(0.05)
    walk.write("web", b"[]")
    walk.await_told("changed web")
    walk.loop.during(0.4)
    assert walk.told == []


def test_a_request_to_look_is_obeyed_while_messages_are_looked_at(walk: Walk) -> None:
    walk.ask("1", "SCAN")
    walk.ask("2", "SCAN")
    walk.await_told("obeyed 1", "obeyed 2")


def test_many_messages_leave_others_their_turn(walk: Walk) -> None:
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(walk.told))
        walk.loop.reactor.callLater(0, turn)

    (walk.messages / "0").write_bytes(b"")
    walk.loop.during(0.02)
    walk.rounds.end()
    for number in range(5 * BATCH):
        walk.ask(f"{number:04}")
    turn()
    walk.rounds.begin()
    walk.loop.until(lambda: len(walk.told) >= 5 * BATCH)
    assert walk.told == [f"obeyed {number:04}" for number in range(5 * BATCH)]
    assert max(after - before for before, after in pairwise([*turns, len(walk.told)])) <= BATCH


# -- without a bell -------------------------------------------------------------------------------------------


def deaf(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "inotify_init1")


def test_without_inotify_changes_are_seen_at_the_next_full_look_and_it_is_said_once(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "Doorbell", deaf)
    walk = Walk(loop, tmp_path, frequency=0.05)
    with said() as lines:
        walk.rounds.begin()
        walk.write("web")
        walk.ask("1")
        walk.await_told("changed web", "obeyed 1")
        walk.loop.during(0.2)
        assert not walk.rounds.inotify
        assert len(lines) == 1
        assert "changes are seen every 0.05 s" in lines[0]
        monkeypatch.undo()
        walk.loop.until(lambda: walk.rounds.inotify)
        assert lines[1:] == ["inotify is back: changes are seen at once"]
    walk.rounds.end()


# -- whatever happens -----------------------------------------------------------------------------------------


def test_a_fault_in_taking_a_look_in_does_not_end_the_looking(walk: Walk) -> None:
    walk.broken = True
    with said() as lines:
        walk.write("web")
        walk.await_told("changed web")
    assert lines == ["cannot take in the configuration"]
    walk.broken = False
    walk.write("other")
    walk.await_told("changed other")
    walk.ask("1")
    walk.await_told("obeyed 1")


def test_a_config_that_vanishes_changes_nothing_is_said_once_and_heals(walk: Walk) -> None:
    walk.write("web")
    walk.await_told("changed web")
    away = walk.config.with_name("away")
    with said() as lines:
        walk.config.rename(away)
        walk.loop.until(lambda: lines)
        walk.loop.during(1.3)  # longer than the first retry
        assert len(lines) == 1
        assert "No such file or directory; everything stays as it is" in lines[0]
        assert not walk.config.exists()
        away.rename(walk.config)
        walk.write("other")
        walk.await_told("changed other")
        assert lines[1:] == [f"{walk.config} can be seen again"]
    walk.loop.during(0.3)
    assert walk.told == []
    walk.write("web", b"[]")
    walk.await_told("changed web")


@pytest.mark.parametrize("which", ["config", "messages"])
def test_a_directory_that_is_replaced_is_held_and_listened_to_at_once(walk: Walk, which: str) -> None:
    for number in range(3):
        path = walk.config if which == "config" else walk.messages
        path.rename(path.with_name(f"away{number}"))
        path.mkdir()
        walk.loop.until(lambda number=number: walk.settled == 3 + number)  # type: ignore[misc]
        walk.write("web", b"%d" % number)
        walk.await_told("changed web")
        walk.ask("1")
        walk.await_told("obeyed 1")


def test_an_empty_directory_in_the_place_of_a_full_one_is_reported_and_stops_nothing(walk: Walk) -> None:
    walk.write("web")
    walk.await_told("changed web")
    with said() as lines:
        walk.config.rename(walk.config.with_name("away"))
        walk.config.mkdir()
        walk.loop.until(lambda: any("another directory than before, and empty" in line for line in lines))
        walk.loop.during(0.5)
    assert walk.told == []


@pytest.mark.parametrize("which", ["config", "messages"])
def test_a_directory_that_another_supervisor_holds_is_not_obeyed_until_it_lets_go(walk: Walk, which: str) -> None:
    walk.write("web")
    walk.await_told("changed web")
    path = walk.config if which == "config" else walk.messages
    theirs = path.with_name("theirs")
    other = DirectoryLock(str(theirs))
    other.acquire()
    if which == "config":
        (theirs / "web").write_bytes(b"[]")
    else:
        (theirs / "1").write_text('{"type": "RESTART-ALL", "by": "1"}')
    with said() as lines:
        path.rename(path.with_name("away"))
        theirs.rename(path)
        walk.loop.until(lambda: any(f"pid {os.getpid()}; it is not obeyed until that ends" in line for line in lines))
        walk.rounds.scan()
        walk.loop.during(0.3)
        assert walk.told == []
    assert other._fd is not None
    os.close(other._fd)
    walk.await_told("changed web" if which == "config" else "obeyed 1")


def test_a_config_that_goes_with_a_file_still_to_be_confirmed_is_not_looked_for_all_the_time(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.write("a")
    walk.await_told("changed a")
    looks = []
    acquire = DirectoryLock.acquire

    def counted(lock: DirectoryLock) -> bool:
        looks.append(lock)
        return acquire(lock)

    monkeypatch.setattr(DirectoryLock, "acquire", counted)
    (walk.config / "a").unlink()
    walk.config.rmdir()
    walk.loop.during(0.8)
    assert 0 < len(looks) < 20


# -- the end --------------------------------------------------------------------------------------------------


def test_after_the_end_nothing_is_looked_at_and_nothing_is_left(loop: Loop, tmp_path: Path) -> None:
    walk = Walk(loop, tmp_path)
    before, timers = descriptors(), loop.timers()
    walk.rounds.begin()
    walk.loop.during(0.02)
    walk.rounds.end()
    assert loop.timers() == timers
    loop.until(lambda: descriptors() == before + 2)  # the locks, for life
    walk.write("web")
    walk.ask("1")
    walk.loop.during(0.1)
    assert walk.told == []
