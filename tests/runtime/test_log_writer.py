"""One thread writes what every process says, in the order in which it was said, and holds up nobody."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from colony.core.model import LogPolicy
from colony.runtime.awaited import AwaitedLine
from colony.runtime.file_channel import FileChannel
from colony.runtime.log_writer import BUSY, MANY, REST, REST_READ, LogWriter
from colony.runtime.logs import JsonRelay, Relay, open_pipe
from colony.runtime.stream import Stream
from tests.runtime.loop import Loop, Recorder, descriptors, said

# Any is what the system calls that are replaced are called with.

QUIET = LogPolicy(relay=False)


class Office:
    """A writer, its directory, and processes that are descriptors."""

    def __init__(self, loop: Loop, folder: Path, relay: Relay) -> None:
        self.loop = loop
        self.logs = folder / "logs"
        self.pipes = folder / "pipes"
        self.logs.mkdir()
        self.pipes.mkdir()
        self.told = 0
        self.writer = LogWriter(loop.reactor, relay, lambda: str(self.logs), self._hear)
        self.writer.start()
        self._numbers = 0

    def _hear(self) -> None:
        self.told += 1

    def start(self, name: str = "web", policy: LogPolicy = QUIET, *, plain: bool = False) -> tuple[FileChannel, int]:
        """A channel that has begun, and the end that a child would have."""
        self._numbers += 1
        path = None if plain else str(self.pipes / f"{name}.{self._numbers}")
        channel = FileChannel(self.writer, name, policy, path)
        end = os.dup(channel.child_fd)
        channel.start()
        self.loop.turn()  # after which it is told of
        return channel, end

    def kept(self, name: str = "web") -> bytes:
        path = self.logs / f"{name}.log"
        return path.read_bytes() if path.exists() else b""

    def close(self) -> None:
        assert self.writer.finish()
        self.writer.close()


def fill(end: int, piece: bytes) -> int:
    """Write until it is full; returns how much that took."""
    total = 0
    while True:
        try:
            total += os.write(end, piece)
        except BlockingIOError:
            return total


@pytest.fixture
def relay() -> Recorder:
    return Recorder()


@pytest.fixture
def office(loop: Loop, tmp_path: Path, relay: Recorder) -> Iterator[Office]:
    office = Office(loop, tmp_path, relay)
    yield office
    office.close()


@pytest.mark.parametrize("plain", [False, True])
def test_what_is_said_is_in_the_file_and_relayed(office: Office, relay: Recorder, plain: bool) -> None:
    channel, end = office.start(policy=LogPolicy(), plain=plain)
    os.write(end, b"one\ntw")
    office.loop.until(lambda: relay.told)
    assert (office.kept(), relay.text) == (b"one\ntw", b"one\n")
    os.write(end, b"o")
    os.close(end)
    channel.flush()
    assert office.writer.finish()
    assert (office.kept(), relay.text) == (b"one\ntwo", b"one\ntwo\n")
    assert list(office.pipes.iterdir()) == []
    office.writer.start()


def test_all_that_was_said_before_the_end_comes_before_what_the_next_one_says(office: Office) -> None:
    expected = b""
    for number in range(50):
        channel, end = office.start()
        said = b"".join(b"%d %d\n" % (number, line) for line in range(1000))
        assert os.write(end, said) == len(said)
        os.close(end)
        channel.flush()
        channel.close()
        expected += said
    assert office.writer.finish()
    assert office.kept() == expected
    office.writer.start()


def test_what_a_kill_has_left_half_compressed_goes_before_anything_is_written(office: Office) -> None:
    for name in (".old.log.1.gz.new", ".mine", "old.log.1.gz"):
        (office.logs / name).touch()
    _, end = office.start()
    os.write(end, b"one\n")
    os.close(end)
    office.loop.until(office.kept)
    assert {path.name for path in office.logs.iterdir()} == {".mine", "old.log.1.gz", "web.log", ".web.log.times"}


def test_who_ends_leaves_nothing_half_compressed(office: Office) -> None:
    channel, end = office.start(policy=LogPolicy(max_bytes=0, compress=True, relay=False))
    (office.logs / "web.log").write_bytes(random.Random(1).randbytes(20_000_000) + b"\n")
    office.writer.rotate()
    office.loop.until(lambda: list(office.logs.glob(".*.new")))
    assert office.writer.finish()
    assert {path.name for path in office.logs.iterdir()} - {".web.log.times"} == {"web.log.1"}
    os.close(end)
    channel.flush()
    office.writer.start()


def test_what_is_left_to_wait_is_written_when_it_goes_on(office: Office) -> None:
    channel, end = office.start()
    assert office.writer.finish()
    os.write(end, b"meanwhile\n")
    assert office.kept() == b""
    office.writer.start()
    office.loop.until(lambda: office.kept() == b"meanwhile\n")
    os.close(end)
    channel.flush()


def test_a_slow_disk_makes_who_writes_wait_and_not_the_reactor(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    splice = os.splice

    def hang(*arguments: Any, **more: Any) -> int:
        assert go.wait(20)
        return splice(*arguments, **more)

    monkeypatch.setattr(os, "splice", hang)
    channel, end = office.start()
    os.set_blocking(end, False)  # the description is ours too: what is spliced is taken without waiting anyhow
    total = fill(end, b"x" * 4096)
    assert total == 65_536
    began = time.monotonic()
    others = [office.start(f"other{number}") for number in range(10)]
    for other, _ in others:
        other.drain()
        other.flush()
    assert not office.writer.finish(0.05)
    assert time.monotonic() - began < 5
    go.set()
    office.writer.start()
    office.loop.until(lambda: len(office.kept()) == total)
    for descriptor in (end, *(other for _, other in others)):
        os.close(descriptor)
    channel.flush()


def test_who_says_little_is_looked_at_now_and_then(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    take = Stream.take

    def counted(stream: Stream) -> int:
        looks.append(stream)
        return take(stream)

    monkeypatch.setattr(Stream, "take", counted)
    channel, end = office.start()
    began = time.monotonic()
    for number in range(1000):
        os.write(end, b"%d\n" % number)
        time.sleep(0.0005)
    took = time.monotonic() - began
    office.loop.until(lambda: office.kept().endswith(b"\n999\n"))
    assert len(looks) < 100 * took + 20
    os.close(end)
    channel.flush()


def test_a_flood_does_not_keep_others_waiting(office: Office) -> None:
    flood, flooding = office.start("flood")
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            os.write(flooding, b"x" * 99 + b"\n")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        office.loop.until(lambda: len(office.kept("flood")) > 10 * BUSY)
        channel, end = office.start("other")
        os.write(end, b"hello\n")
        office.loop.until(lambda: office.kept("other") == b"hello\n")
    finally:
        over.set()
        thread.join()
    for descriptor in (flooding, end):
        os.close(descriptor)
    flood.flush()
    channel.flush()


def test_errors_apart_have_a_file_and_a_stream_of_their_own(loop: Loop, tmp_path: Path) -> None:
    told: list[bytes] = []
    office = Office(loop, tmp_path, JsonRelay(told.append))
    channel, end = office.start(policy=LogPolicy(split=True))
    error = os.dup(channel.child_error_fd)
    os.write(end, b"out\n")
    os.write(error, b"err\n")
    loop.until(lambda: len(told) == 2)
    found = {value["stream"]: value["line"] for value in map(json.loads, told)}
    assert found == {"stdout": "out", "stderr": "err"}
    assert (office.logs / "web.log.err").read_bytes() == b"err\n"
    os.close(end)
    os.close(error)
    channel.flush()
    office.close()


def test_a_line_that_is_waited_for_is_found_in_the_reactor(office: Office) -> None:
    where: list[threading.Thread] = []
    line = AwaitedLine("ready$")
    line.then = lambda: where.append(threading.current_thread())
    channel = FileChannel(office.writer, "web", QUIET, str(office.pipes / "web.1"))
    channel.awaited = line
    end = os.dup(channel.child_fd)
    channel.start()
    os.write(end, b"not yet\n")
    os.write(end, b"ready\nready\n")
    office.loop.until(lambda: where)
    assert where == [threading.current_thread()]
    assert line.found
    os.close(end)
    channel.flush()


def test_what_was_dropped_is_counted_and_told_in_the_reactor(office: Office) -> None:
    (office.logs / "web.log").mkdir()
    with said() as heard:
        channel, end = office.start()
        os.write(end, b"one\n")
        office.loop.until(lambda: office.told)
        assert office.writer.dropped == 4
        (office.logs / "web.log").rmdir()
        os.write(end, b"two\n")
        office.loop.until(lambda: office.told == 2)
    assert office.kept() == b"two\n"
    assert len(heard) == 2
    os.close(end)
    channel.flush()


def test_a_survivors_pipe_that_cannot_be_opened_now_is_opened_soon(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = office.pipes / "web.1"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDWR)
    os.write(end, b"one\n")
    with said() as heard:
        with monkeypatch.context() as failing:
            opened = os.open

            def refuse(path: str, *arguments: Any) -> int:
                if path == str(fifo):
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return opened(path, *arguments)

            failing.setattr(os, "open", refuse)
            channel = FileChannel.of_survivor(office.writer, "web", QUIET, str(fifo))
            channel.start()
            office.loop.until(lambda: heard)
        office.loop.until(lambda: office.kept() == b"one\n")
    assert heard == ["what web says cannot be read now: Too many open files", "what web says can be read again"]
    os.close(end)
    channel.flush()


def test_a_survivor_without_a_pipe_is_said_to_be_unheard(office: Office) -> None:
    with said() as heard:
        channel = FileChannel.of_survivor(office.writer, "web", QUIET, str(office.pipes / "gone"))
        channel.start()
        assert office.writer.finish()
    assert heard == ["what web says from now on is lost: it has no pipe any more"]
    office.writer.start()
    channel.flush()


def test_a_pipe_is_as_large_as_asked_for(office: Office) -> None:
    channel, end = office.start(policy=LogPolicy(relay=False, buffer=4096))
    assert office.writer.finish()
    os.set_blocking(end, False)
    assert fill(end, b"x") == 4096
    office.writer.start()
    os.close(end)
    channel.flush()


@pytest.mark.parametrize(("buffer", "piece"), [(4096, 4096), (4096, 64), (65_536, 128)])
def test_who_fills_its_pipe_is_not_made_to_wait_while_words_gather(office: Office, buffer: int, piece: int) -> None:
    channel, end = office.start(policy=LogPolicy(relay=False, buffer=buffer, max_bytes=0))
    line = b"x" * (piece - 1) + b"\n"
    began = time.monotonic()
    for _ in range(250 * buffer // piece):
        os.write(end, line)
    assert time.monotonic() - began < 2.5, "a rest for each pipe full would be 5 seconds"
    os.close(end)
    channel.flush()
    assert office.writer.finish()
    assert office.kept() == 250 * buffer // piece * line
    office.writer.start()


def test_who_says_little_is_looked_at_now_and_then_also_after_it_has_said_much(office: Office) -> None:
    channel, end = office.start()
    [stream] = channel._streams
    for _ in range(200_000):
        os.write(end, b"x" * 99 + b"\n")
    assert stream.rest < REST / 4

    def says_little() -> bool:
        os.write(end, b"y\n")
        return stream.rest == REST

    office.loop.until(says_little)
    os.close(end)


def test_of_many_that_talk_each_is_looked_at_less_often_but_who_is_waited_for(office: Office) -> None:
    started = [office.start(str(number)) for number in range(3 * MANY)]
    awaited, *others = (channel._streams[0] for channel, _ in started)
    started[0][0].awaited = AwaitedLine("never")

    def talked() -> bool:
        for _, end in started:
            os.write(end, b"y\n")
        return others[0].rest > 2 * REST

    office.loop.until(talked)
    assert awaited.rest <= REST_READ
    for channel, end in started:
        os.close(end)
        channel.flush()


def test_where_nothing_wakes_us_it_is_looked_at_now_and_then(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def refuse(*arguments: Any) -> None:
        refused.append(arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(office.writer._selector, "register", refuse)
    channel, end = office.start()
    office.loop.until(lambda: len(refused) > 1)
    for said_so_far in (b"one\n", b"one\ntwo\n"):
        os.write(end, said_so_far[-4:])
        office.loop.until(partial(lambda so_far: office.kept() == so_far, said_so_far))
    os.close(end)
    channel.flush()


@pytest.mark.parametrize("writes", [3, 4])
def test_who_had_to_wait_while_nobody_read_is_told_of(office: Office, writes: int) -> None:
    policy = LogPolicy(relay=False, buffer=16_384)
    path = str(office.pipes / "web.1")
    _, end = open_pipe(path, None)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 16_384)
    for _ in range(writes):
        os.write(end, b"x" * 2100)  # two do not fit into a page, so there are four at the most
    told: list[bool] = []
    channel = FileChannel.of_survivor(office.writer, "web", policy, path)
    channel.on_full(lambda: told.append(True))
    channel.start()
    office.loop.until(lambda: len(office.kept()) == writes * 2100)
    office.loop.until(lambda: len(told) == (writes == 4))
    os.close(end)


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_is_left_of_one_that_had_no_child(office: Office, plain: bool) -> None:
    before = descriptors()
    path = None if plain else str(office.pipes / "web.1")
    FileChannel(office.writer, "web", LogPolicy(split=True), path).abandon()
    assert descriptors() == before
    assert list(office.pipes.iterdir()) == []


def test_nothing_is_left_of_one_that_could_not_be_made(office: Office) -> None:
    (office.pipes / "web.1.err").touch()
    before = descriptors()
    with pytest.raises(FileExistsError):
        FileChannel(office.writer, "web", LogPolicy(split=True), str(office.pipes / "web.1"))
    assert descriptors() == before
    assert [path.name for path in office.pipes.iterdir()] == ["web.1.err"]


def test_nothing_is_left_of_those_that_have_ended(loop: Loop, tmp_path: Path, relay: Recorder) -> None:
    before = descriptors()
    office = Office(loop, tmp_path, relay)
    for number in range(20):
        channel, end = office.start(f"p{number}", plain=number % 2 == 0)
        os.write(end, b"hello\n")
        os.close(end)
        channel.flush()
    office.close()
    assert descriptors() == before
    assert list(office.pipes.iterdir()) == []
