"""Messages are obeyed in order, answered and removed; whatever cannot be is never lost, and stops nothing."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colony.core.model import Answer, Message, NotYet
from colony.runtime import inbox
from colony.runtime.inbox import BATCH, FEW, MAX_PAUSE, PATIENCE_BROKEN, PATIENCE_UNKNOWN, Inbox
from colony.runtime.watch import Unseen
from tests.runtime.loop import descriptors, said

AS_OTHER = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)


class Messages:
    """MESSAGES, an Inbox of it, whom it obeys and what it answers; with a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.now = 1000.0
        self.names = {"web"}
        self.obeyed: list[Message] = []
        self.answers: list[tuple[str, str | None, str | None, Answer]] = []
        self.inbox = Inbox(str(path), self.obey, lambda *answer: self.answers.append(answer), lambda: self.now)

    def obey(self, message: Message) -> Answer | NotYet:
        name = getattr(getattr(message.command, "target", None), "name", "web")
        if name not in self.names:
            return NotYet(Answer(code=4, error=f"no such process: {name}"))
        self.obeyed.append(message)
        return Answer((name,))

    def put(self, filename: str, **value: object) -> None:
        self.write(filename, json.dumps(value).encode())

    def write(self, filename: str, data: bytes) -> None:
        (self.path / filename).write_bytes(data)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def look(self, after: float = 0.0) -> bool:
        self.now += after
        return self.inbox.look()

    def errors(self) -> dict[str, str | None]:
        """What was answered, by file name."""
        return {filename: answer.error for filename, _, _, answer in self.answers}


@pytest.fixture
def messages(tmp_path: Path) -> Messages:
    return Messages(tmp_path / "messages")


# -- what is obeyed -------------------------------------------------------------------------------------------


def test_a_message_is_obeyed_answered_and_removed(messages: Messages) -> None:
    messages.put("1", type="restart", name="web", by="me")
    assert messages.look() is False
    assert [message.kind for message in messages.obeyed] == ["RESTART"]
    assert messages.answers == [("1", "RESTART", "me", Answer(("web",)))]
    assert messages.files() == []


def test_messages_are_obeyed_in_the_order_of_their_names_not_of_their_making(messages: Messages) -> None:
    for filename in ("30", "1", "200", "a", "100"):
        messages.put(filename, type="SCAN", by=filename)
    messages.look()
    assert [message.by for message in messages.obeyed] == ["1", "100", "200", "30", "a"]


def test_a_message_is_answered_before_it_is_removed(messages: Messages) -> None:
    there = []
    messages.inbox = Inbox(
        str(messages.path), messages.obey, lambda *_: there.append(messages.files()), lambda: messages.now
    )
    messages.put("1", type="SCAN")
    messages.look()
    assert there == [["1"]]
    assert messages.files() == []


def test_litter_is_left_where_it_is(messages: Messages) -> None:
    for filename in (".1.new", "1.new", "1~", ".state"):
        messages.put(filename, type="SCAN")
    messages.look(PATIENCE_BROKEN + 1)
    assert messages.obeyed == []
    assert messages.files() == [".1.new", ".state", "1.new", "1~"]


def test_a_message_whose_effect_takes_the_next_one_away_is_no_fault(messages: Messages) -> None:
    messages.put("1", type="SCAN")
    messages.put("2", type="SCAN")
    messages.inbox = Inbox(
        str(messages.path), messages.obey, lambda *_: (messages.path / "2").unlink(), lambda: messages.now
    )
    with said() as lines:
        messages.look()
    assert len(messages.obeyed) == 1
    assert lines == []


# -- what cannot be obeyed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        (b"[]", None, "must be an object"),
        (b'{"type": "EXPLODE", "by": "me"}', "EXPLODE", "type: "),
        (b'{"type": "RESTART"}', "RESTART", "needs name"),
        (b'{"type": "RESTART", "name": 3}', "RESTART", "name: "),
        (b'{"type": "SIGNAL", "name": "web", "signal": 9}', "SIGNAL", "signal: "),
        (b'{"type": "SCAN", "type": "SCAN"}', None, "type"),
    ],
)
def test_whole_json_that_is_no_request_is_answered_and_removed_at_once(
    messages: Messages, data: bytes, kind: str | None, error: str
) -> None:
    messages.write("1", data)
    messages.look()
    [(filename, told, _, answer)] = messages.answers
    assert (filename, told, answer.code) == ("1", kind, 1)
    assert error in (answer.error or "")
    assert messages.files() == []


def test_a_message_written_slowly_in_place_is_obeyed_once_when_it_is_whole(messages: Messages) -> None:
    whole = json.dumps({"type": "RESTART", "name": "web"}).encode()
    with (messages.path / "1").open("wb", buffering=0) as file, said() as lines:
        messages.look()
        for index in range(len(whole)):
            file.write(whole[index : index + 1])
            messages.look(1)
        messages.look(1)
    assert len(messages.obeyed) == 1
    assert messages.files() == []
    assert all("not obeyed" in line for line in lines)


def test_a_message_that_never_gets_whole_is_said_once_and_set_aside_after_a_minute(messages: Messages) -> None:
    messages.write("1", b'{"type": ')
    messages.put("2", type="SCAN")
    with said() as lines:
        messages.look()
        assert len(messages.obeyed) == 1
        assert messages.inbox.again_at == messages.now + PATIENCE_BROKEN
        for _ in range(5):
            messages.look(PATIENCE_BROKEN / 6)
        assert [line for line in lines if "message 1" in line] == lines
        assert len(lines) == 1
        assert "1" not in messages.errors()
        messages.look(PATIENCE_BROKEN / 6)
    assert messages.errors()["1"]
    assert messages.files() == [".bad"]
    assert (messages.path / ".bad" / "1").read_bytes() == b'{"type": '
    assert messages.inbox.again_at is None


def test_the_minute_begins_again_when_a_broken_message_changes(messages: Messages) -> None:
    messages.write("1", b"{")
    messages.look()
    messages.look(PATIENCE_BROKEN - 1)
    messages.write("1", b'{"type"')
    messages.look(2)
    messages.look(PATIENCE_BROKEN - 1)
    assert messages.files() == ["1"]
    messages.look(1)
    assert messages.files() == [".bad"]


def test_a_name_that_is_unknown_may_appear_within_two_seconds(messages: Messages) -> None:
    messages.put("1", type="RESTART", name="new")
    messages.look()
    assert messages.inbox.again_at == messages.now + PATIENCE_UNKNOWN
    messages.look(PATIENCE_UNKNOWN - 0.1)
    assert (messages.obeyed, messages.answers) == ([], [])
    messages.names.add("new")
    messages.look(0.05)
    assert len(messages.obeyed) == 1
    assert messages.errors() == {"1": None}
    assert messages.files() == []
    assert messages.inbox.again_at is None


def test_a_name_that_stays_unknown_is_refused_aloud_after_two_seconds(messages: Messages) -> None:
    messages.put("1", type="RESTART", name="typo", by="me")
    messages.put("2", type="RESTART", name="web")
    messages.look()
    assert len(messages.obeyed) == 1  # it stops nobody
    with said() as lines:
        messages.look(PATIENCE_UNKNOWN)
    assert messages.answers[1:] == [("1", "RESTART", "me", Answer(code=4, error="no such process: typo"))]
    assert lines == ["message 1 (RESTART) refused: no such process: typo"]
    assert messages.files() == []


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_link_to_a_message(path: Path) -> None:
    target = path.parent / ".elsewhere"
    target.write_bytes(b'{"type": "SCAN"}')
    path.symlink_to(target)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def one_byte_too_many(path: Path) -> None:
    path.write_bytes(b" " * 65_500 + b'{"type": "SCAN", "by": "somebody"}'.ljust(37))


def a_hundred_megabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (a_directory, "a directory, not a file"),
        (a_fifo, "a FIFO, not a file"),
        (a_socket, "a socket, not a file"),
        (a_link_to_a_message, "a symbolic link, not a file"),
        (a_link_to_nothing, "a symbolic link, not a file"),
        (one_byte_too_many, "larger than 65536 bytes"),
        (a_hundred_megabytes, "larger than 65536 bytes"),
    ],
)
def test_what_is_no_message_file_stops_nothing_is_never_followed_and_set_aside_in_the_end(
    messages: Messages, make: Callable[[Path], None], error: str
) -> None:
    make(messages.path / "1")
    messages.put("2", type="SCAN")
    messages.look()
    assert len(messages.obeyed) == 1
    messages.look(PATIENCE_BROKEN)
    assert messages.errors() == {"2": None, "1": error}
    assert os.path.lexists(messages.path / ".bad" / "1")
    assert not os.path.lexists(messages.path / "1")


def test_a_message_of_exactly_the_limit_is_obeyed(messages: Messages) -> None:
    messages.write("1", b'{"type": "SCAN"}'.ljust(65_536))
    messages.look()
    assert len(messages.obeyed) == 1


def test_a_file_name_too_long_to_be_answered_under_is_bad(messages: Messages) -> None:
    messages.put("a" * 240, type="SCAN")
    messages.put("b" * 241, type="SCAN")
    messages.put("ä" * 121, type="SCAN")
    messages.look()
    assert list(messages.errors()) == ["a" * 240]
    messages.look(PATIENCE_BROKEN)
    assert messages.errors()["ä" * 121] == "its file's name is longer than 240 bytes"
    assert sorted(path.name for path in (messages.path / ".bad").iterdir()) == ["b" * 241, "ä" * 121]


def test_a_file_name_that_is_no_utf8_is_obeyed_like_any_other(messages: Messages) -> None:
    messages.put(os.fsdecode(b"\xff"), type="SCAN")
    messages.look()
    assert len(messages.obeyed) == 1
    assert messages.files() == []


def test_only_the_newest_hundred_are_kept_aside(messages: Messages) -> None:
    for number in range(130):
        messages.write(f"{number:03}", b"")
        os.utime(messages.path / f"{number:03}", (number, number))
    for _ in range(2):
        while messages.look():
            pass
        messages.now += PATIENCE_BROKEN
    kept = sorted(path.name for path in (messages.path / ".bad").iterdir())
    assert kept == [f"{number:03}" for number in range(30, 130)]


# -- what cannot be read or removed now -----------------------------------------------------------------------


@contextmanager
def undeletable(path: Path) -> Iterator[None]:
    """A file that even root cannot remove."""
    if os.geteuid() != 0:
        path.parent.chmod(0o500)
        yield
        path.parent.chmod(0o700)
        return
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system has no immutable files")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_message_that_cannot_be_removed_is_obeyed_once_and_removed_when_it_can(messages: Messages) -> None:
    messages.put("1", type="SCAN", by="1")
    with undeletable(messages.path / "1"), said() as lines:
        for _ in range(3):
            messages.look(PATIENCE_BROKEN)
    assert [message.by for message in messages.obeyed] == ["1"]
    assert len(messages.answers) == 1
    assert lines == ["message 1 cannot be removed, and is not obeyed again: " + lines[0].rpartition(": ")[2]]
    messages.put("2", type="SCAN", by="2")
    messages.look()
    assert [message.by for message in messages.obeyed] == ["1", "2"]
    assert messages.files() == []


def test_a_message_that_cannot_be_removed_blocks_nobody_behind_it(messages: Messages) -> None:
    messages.put("1", type="SCAN", by="1")
    with undeletable(messages.path / "1"):
        if os.geteuid() == 0:
            messages.put("2", type="SCAN", by="2")
        for _ in range(3):
            messages.look()
        assert messages.inbox.again_at is None  # nothing to hurry for
    assert [message.by for message in messages.obeyed] == ["1", "2"][: len(messages.obeyed)]


def test_another_message_under_the_name_of_one_that_stayed_is_obeyed(messages: Messages) -> None:
    messages.put("1", type="SCAN", by="1")
    with undeletable(messages.path / "1"):
        messages.look()
    messages.put("1", type="SCAN", by="another")
    messages.look()
    assert [message.by for message in messages.obeyed] == ["1", "another"]


def test_a_broken_message_that_cannot_be_set_aside_is_answered_once(messages: Messages) -> None:
    messages.write("1", b"{")
    with undeletable(messages.path / "1"):
        messages.look()
        for _ in range(3):
            messages.look(PATIENCE_BROKEN)
    assert len(messages.answers) == 1


@contextmanager
def becoming_nobody(path: Path) -> Iterator[None]:
    """Root may read everything; nobody may not. ``path`` is theirs meanwhile."""
    for above in path.parents:
        if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def without_descriptors(free: int) -> Iterator[None]:
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, LIMIT[1]))
    try:
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for _ in range(free):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, LIMIT)
        for descriptor in held:
            os.close(descriptor)


def test_a_message_that_could_not_be_read_for_a_moment_is_obeyed_as_soon_as_it_can(messages: Messages) -> None:
    for number in range(BATCH + 1):
        messages.put(f"{number:03}", type="SCAN")
    messages.look()
    with without_descriptors(1):  # enough to open the directory, which has been listed
        messages.look()
    assert len(messages.obeyed) == BATCH
    assert messages.inbox.again_at == messages.now + 1
    messages.look(1)
    assert len(messages.obeyed) == BATCH + 1
    assert messages.files() == []


@AS_OTHER
def test_a_message_that_may_not_be_read_is_set_aside_after_a_minute(messages: Messages) -> None:
    messages.put("1", type="SCAN")
    (messages.path / "1").chmod(0)
    with becoming_nobody(messages.path):
        messages.look()
        messages.look(PATIENCE_BROKEN - 1)
        assert messages.answers == []
        messages.look(1)
    assert messages.errors() == {"1": "cannot be read: Permission denied"}
    assert (messages.path / ".bad" / "1").exists()


@AS_OTHER
def test_a_message_that_waits_for_its_name_waits_for_its_bytes_too(messages: Messages) -> None:
    messages.put("1", type="RESTART", name="new")
    messages.look()
    (messages.path / "1").chmod(0)
    with becoming_nobody(messages.path):
        messages.look(PATIENCE_UNKNOWN)
    assert messages.answers == []
    messages.names.add("new")
    messages.look()
    assert len(messages.obeyed) == 1


def test_a_directory_that_cannot_be_seen_loses_nothing(messages: Messages) -> None:
    messages.put("1", type="RESTART", name="new")
    messages.look()
    with without_descriptors(0), pytest.raises(Unseen):
        messages.look()
    away = messages.path.with_name("away")
    messages.path.rename(away)
    with pytest.raises(Unseen):
        messages.look()
    away.rename(messages.path)
    messages.names.add("new")
    messages.look()
    assert len(messages.obeyed) == 1


# -- many -----------------------------------------------------------------------------------------------------


def test_a_thousand_messages_are_handled_in_bounded_batches_and_in_order(messages: Messages) -> None:
    for number in range(1000):
        messages.put(f"{number:04}", type="SCAN", by=f"{number:04}")
    batches = []
    more = True
    while more:
        before = len(messages.obeyed)
        more = messages.look()
        batches.append(len(messages.obeyed) - before)
    assert batches == [BATCH] * (1000 // BATCH)
    assert [message.by for message in messages.obeyed] == [f"{number:04}" for number in range(1000)]
    assert messages.files() == []


def test_what_was_there_at_one_listing_was_seen_at_that_instant_whenever_its_turn_comes(messages: Messages) -> None:
    for number in range(3 * BATCH):
        messages.put(f"{number:03}", type="RESTART", name="web")
    while messages.look():
        messages.now += 1
    assert {message.seen for message in messages.obeyed} == {1000.0}


def test_what_was_written_over_while_it_waited_was_seen_when_it_was_read(messages: Messages) -> None:
    for number in range(BATCH + 2):
        messages.put(f"{number:03}", type="RESTART", name="web", by=f"{number:03}")
    messages.look()
    last = f"{BATCH + 1:03}"
    messages.put(last, type="RESTART", name="web", by="another")
    messages.look(7)
    assert [(message.by, message.seen) for message in messages.obeyed[BATCH:]] == [
        (f"{BATCH:03}", 1000.0),
        ("another", 1007.0),
    ]


def crowd(messages: Messages, size: int) -> None:
    for number in range(size):
        messages.put(f"{number:03}", type="SCAN")


def test_a_flood_is_listed_at_growing_intervals(messages: Messages) -> None:
    pauses = []
    for _ in range(8):
        crowd(messages, FEW + 1)
        listed = messages.now
        messages.look()
        assert messages.files() == []
        crowd(messages, FEW + 1)
        messages.look()
        assert len(messages.files()) == FEW + 1
        assert messages.inbox.again_at is not None
        messages.now = messages.inbox.again_at
        pauses.append(round(messages.now - listed, 2))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE]


def test_a_few_are_heard_at_once_also_when_a_flood_is_over(messages: Messages) -> None:
    crowd(messages, FEW + 1)
    messages.look()
    for after in (MAX_PAUSE, 0, 0, 0):
        crowd(messages, FEW)
        messages.look(after)
        assert messages.files() == []
        assert messages.inbox.again_at is None


def test_broken_messages_that_wait_are_no_flood(messages: Messages) -> None:
    for number in range(2 * FEW):
        messages.write(f"broken{number}", b"{")
    messages.look()
    messages.look(MAX_PAUSE)
    messages.put("1", type="SCAN")
    messages.look()
    assert len(messages.obeyed) == 1


def test_more_than_is_taken_from_one_listing_is_taken_from_the_next(
    messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MANY", 150)
    for number in range(400):
        messages.put(f"{number:03}", type="SCAN", by=f"{number:03}")
    handled = []
    while messages.files():
        while messages.look():
            pass
        handled.append(len(messages.obeyed))
        messages.now = messages.inbox.again_at or messages.now
    assert handled == [150, 300, 400]
    assert [message.by for message in messages.obeyed] == [f"{number:03}" for number in range(400)]
    assert messages.look() is False


def test_what_waits_is_forgotten_when_its_file_is_taken_away(messages: Messages) -> None:
    messages.put("1", type="RESTART", name="new")
    messages.write("2", b"{")
    messages.look()
    for filename in ("1", "2"):
        (messages.path / filename).unlink()
    messages.look()
    assert messages.inbox.again_at is None
    messages.look(PATIENCE_BROKEN)
    assert messages.answers == []


def test_a_fault_of_ours_in_one_message_does_not_stop_the_next(messages: Messages) -> None:
    def obey(message: Message) -> Answer | NotYet:
        if message.by == "1":
            raise ZeroDivisionError
        return messages.obey(message)

    messages.inbox = Inbox(str(messages.path), obey, lambda *_: None, lambda: messages.now)
    messages.put("1", type="SCAN", by="1")
    messages.put("2", type="SCAN", by="2")
    with said() as lines:
        messages.look()
    assert [message.by for message in messages.obeyed] == ["2"]
    assert lines == ["cannot handle message 1"]


def test_looks_leave_no_descriptor_behind(messages: Messages) -> None:
    before = descriptors()
    for number in range(20):
        a_fifo(messages.path / f"{number}.0")
        messages.write(f"{number}.1", b"{")
        messages.put(f"{number}.2", type="SCAN")
        messages.look(1)
    assert descriptors() == before
