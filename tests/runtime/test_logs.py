"""Output of any shape comes through, whoever closes what, and never more of it is held than a line may have."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import textFileLogObserver

from colony.runtime.logs import MAX_LINE, Channel, JsonRelay, TextRelay, relay_for
from colony.runtime.splice import CHUNK
from tests.runtime.loop import Loop, Recorder, descriptors, said
from tests.runtime.machine import Machine

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def relay() -> Recorder:
    return Recorder()


@pytest.fixture(params=["fifo", "pipe"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return str(tmp_path / "web.start") if request.param == "fifo" else None


class Pipe:
    """A Channel, and the end that a child would have."""

    def __init__(self, loop: Loop, relay: Recorder, path: str | None) -> None:
        self.channel = Channel(loop.reactor, relay, "web", path)
        self.end = os.dup(self.channel.child_fd)
        self.channel.start()

    def write(self, data: bytes) -> None:
        assert os.write(self.end, data) == len(data)

    def finish(self) -> None:
        """As the spawner does when nobody is left."""
        self.channel.flush()
        self.channel.close()


@pytest.fixture
def pipe(loop: Loop, relay: Recorder, path: str | None) -> Iterator[Pipe]:
    pipe = Pipe(loop, relay, path)
    yield pipe
    os.close(pipe.end)


# -- the pipe -------------------------------------------------------------------------------------------------


def test_a_fifo_is_for_its_owner_alone_whatever_the_umask(loop: Loop, relay: Recorder, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        channel = Channel(loop.reactor, relay, "web", str(tmp_path / "fifo"))
    finally:
        os.umask(before)
    found = (tmp_path / "fifo").stat()
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    channel.abandon()


@AS_ROOT
def test_a_fifo_belongs_to_who_writes_to_it(loop: Loop, relay: Recorder, tmp_path: Path) -> None:
    channel = Channel(loop.reactor, relay, "web", str(tmp_path / "fifo"), (1234, 5678))
    found = (tmp_path / "fifo").stat()
    assert (found.st_uid, found.st_gid) == (1234, 5678)
    channel.abandon()


def test_no_child_inherits_it_but_through_its_own_three(loop: Loop, relay: Recorder, path: str | None) -> None:
    channel = Channel(loop.reactor, relay, "web", path)
    assert not os.get_inheritable(channel.child_fd)
    assert not os.get_inheritable(channel.fileno())
    channel.abandon()


def test_nothing_is_left_of_one_that_had_no_child(
    loop: Loop, relay: Recorder, path: str | None, tmp_path: Path
) -> None:
    before = descriptors()
    Channel(loop.reactor, relay, "web", path).abandon()
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_one_that_could_not_be_made(loop: Loop, relay: Recorder, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    before = descriptors()
    with pytest.raises(FileExistsError):
        Channel(loop.reactor, relay, "web", str(tmp_path / "there"))
    assert (tmp_path / "there").exists()
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Channel(loop.reactor, relay, "web", str(tmp_path / "fifo"), (0, 0))
        assert not (tmp_path / "fifo").exists()
    assert descriptors() == before


def test_nothing_is_left_of_one_that_has_ended(loop: Loop, relay: Recorder, path: str | None, tmp_path: Path) -> None:
    before = descriptors()
    pipe = Pipe(loop, relay, path)
    pipe.finish()
    os.close(pipe.end)
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


# -- what comes through ---------------------------------------------------------------------------------------


def test_whole_lines_are_told_as_they_come(loop: Loop, relay: Recorder, pipe: Pipe) -> None:
    pipe.write(b"one\ntwo\nthr")
    loop.until(lambda: relay.told)
    assert relay.told == [("web", b"one\ntwo\n")]
    pipe.write(b"ee\n")
    loop.until(lambda: len(relay.told) == 2)
    assert relay.told[1:] == [("web", b"three\n")]
    pipe.finish()


def test_the_last_line_is_kept_though_nobody_ended_it(loop: Loop, relay: Recorder, pipe: Pipe) -> None:
    pipe.write(b"one\nlast words")
    pipe.finish()
    assert relay.text == b"one\nlast words\n"


def test_what_was_said_before_the_end_is_not_lost(relay: Recorder, pipe: Pipe) -> None:
    said = b"".join(b"%05d\n" % number for number in range(10_000))  # as much as fits
    pipe.write(said)
    pipe.finish()
    assert relay.text == said


def test_any_bytes_come_through_unchanged(loop: Loop, relay: Recorder, pipe: Pipe) -> None:
    said = bytes(range(256)) * 10 + b"\n"
    pipe.write(said)
    loop.until(lambda: relay.text.endswith(b"\xff\n"))
    assert relay.text == said
    pipe.finish()


@pytest.mark.parametrize("length", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE + 5])
def test_a_line_longer_than_is_waited_for_comes_in_pieces_of_that_size(
    loop: Loop, relay: Recorder, pipe: Pipe, length: int
) -> None:
    def written() -> int:
        return sum(len(data.replace(b"\n", b"")) for _, data in relay.told)

    left = length
    while left:
        pipe.write(b"x" * min(left, CHUNK))
        left -= min(left, CHUNK)
        pipe.channel.drain()
    pipe.write(b"\nend\n")
    loop.until(lambda: relay.text.endswith(b"end\n"))
    assert written() == length + 3
    assert max(len(line) for line in relay.text.split(b"\n")) <= MAX_LINE + CHUNK
    pipe.finish()


def test_a_flood_without_a_newline_is_held_in_bounds(loop: Loop, tmp_path: Path) -> None:
    machine = Machine(loop, tmp_path)
    held = []
    lines = machine.output.lines

    def watch(name: str, data: bytes, stream: str = "stdout") -> None:
        held.append(len(data))
        machine.output.told = [(name, b"")]

    machine.output.lines = watch  # type: ignore[method-assign]
    pid = machine.run("head", "-c", "50000000", "/dev/zero")
    machine.await_end(pid)
    machine.output.lines = lines  # type: ignore[method-assign]
    assert sum(held) == 50_000_000 + len(held)
    assert max(held) <= MAX_LINE + CHUNK + 1
    machine.close()


def test_a_child_outlives_our_end_of_its_fifo(loop: Loop, relay: Recorder, tmp_path: Path) -> None:
    channel = Channel(loop.reactor, relay, "web", str(tmp_path / "fifo"))
    script = "read go; echo more; echo $? >&2"
    child = subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=channel.child_fd, stderr=subprocess.PIPE
    )
    channel.start()
    channel.close()
    _, result = child.communicate(b"go\n", timeout=20)
    assert (child.returncode, result) == (0, b"0\n")


def test_a_plain_pipe_that_everybody_has_closed_is_looked_at_no_more(loop: Loop, relay: Recorder) -> None:
    pipe = Pipe(loop, relay, None)
    pipe.write(b"end\n")
    os.close(pipe.end)
    loop.until(lambda: relay.told and pipe.channel not in loop.reactor.getReaders())
    pipe.finish()
    assert relay.text == b"end\n"


def refuse(descriptor: int, size: int) -> bytes:
    raise OSError(5, os.strerror(5))


def test_a_pipe_that_cannot_be_read_for_a_while_is_said_once_and_read_again(
    loop: Loop, relay: Recorder, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def fail(descriptor: int, size: int) -> bytes:
        reads.append(descriptor)
        return refuse(descriptor, size)

    monkeypatch.setattr(os, "read", fail)
    with said() as lines:
        pipe.write(b"one\n")
        loop.during(1)
        monkeypatch.undo()
        assert 2 <= len(reads) <= 5, "after 0.1, 0.3 and 0.7 seconds"
        loop.until(lambda: relay.told)
    assert relay.text == b"one\n"
    assert lines == ["cannot read what web says: Input/output error", "what web says can be read again"]
    pipe.finish()
    assert loop.timers() == 0


def test_a_pipe_that_cannot_be_read_when_it_is_closed_leaves_nothing(
    loop: Loop, relay: Recorder, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.write(b"one\n")
    with monkeypatch.context() as failing:
        failing.setattr(os, "read", refuse)
        loop.until(lambda: pipe.channel not in loop.reactor.getReaders())
        pipe.finish()
    assert loop.timers() == 0


def test_a_child_that_makes_its_output_nonblocking_is_read_all_the_same(
    loop: Loop, relay: Recorder, pipe: Pipe
) -> None:
    os.set_blocking(pipe.end, False)
    pipe.write(b"one\n")
    loop.until(lambda: relay.told)
    pipe.channel.doRead()  # nothing there: it neither blocks nor complains
    assert relay.text == b"one\n"
    pipe.finish()


def test_looking_where_nothing_is_does_not_block(pipe: Pipe) -> None:
    pipe.channel.doRead()
    pipe.channel.drain()
    pipe.finish()


# -- the format of the supervisor's own log ----------------------------------------------------------------


def nowhere(data: bytes) -> None:
    raise AssertionError("nothing is written")


class Parent(dict[str, Any]):
    """The options of twist or twistd."""


def test_output_is_text_unless_json_was_asked_for() -> None:
    parent = Parent(logFormat="json")  # what twist takes by itself where standard output is no terminal
    assert isinstance(relay_for(parent, ["colony", "--config", "c"], nowhere), TextRelay)
    assert parent["logFormat"] == "text"
    assert parent["fileLogObserverFactory"] is textFileLogObserver


@pytest.mark.parametrize("argument", ["--log-format=json", "--log-format"])
def test_json_is_one_object_a_line_twisteds_too(argument: str) -> None:
    parent = Parent(logFormat="json")
    assert isinstance(relay_for(parent, [argument, "json", "colony"], nowhere), JsonRelay)
    file = io.StringIO()
    parent["fileLogObserverFactory"](file)({"log_format": "hello"})
    assert file.getvalue().startswith("{")
    assert file.getvalue().endswith("}\n")


@pytest.mark.parametrize("parent", [None, Parent()])
def test_under_twistd_output_is_text(parent: Parent | None) -> None:
    assert isinstance(relay_for(parent, ["-n", "colony"], nowhere), TextRelay)
