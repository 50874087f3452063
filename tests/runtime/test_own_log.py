"""The log is written in order, whole, by somebody whom nobody waits for; what is dropped is counted and said."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, globalLogPublisher, textFileLogObserver
from twisted.python.logfile import LogFile

from colony.runtime import own_log
from colony.runtime.own_log import OwnLog

log = Logger(namespace="colony")


@pytest.fixture(autouse=True)
def observers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens but whom a test adds: until logging has begun, Twisted listens itself, for standard error."""
    monkeypatch.setattr(globalLogPublisher, "_observers", [])


@pytest.fixture
def own() -> Iterator[OwnLog]:
    own = OwnLog()
    yield own
    own.finish()


# Any is what Twisted keeps without a type.


def observe(file: Any) -> None:
    globalLogPublisher.addObserver(textFileLogObserver(file))


def test_relayed_lines_go_between_the_lines_of_the_log_itself(own: OwnLog, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        observe(file)
        log.info("first")
        own.start()
        log.info("before")
        own.write(b"\xff said\n")
        log.info("after")
        own.finish()
        log.info("last")
        own.write("written at once\n")

    lines = (tmp_path / "log").read_bytes().splitlines()
    assert [line.split()[-1] for line in lines] == [b"first", b"before", b"said", b"after", b"last", b"once"]
    assert lines[2] == b"\xff said"
    assert own.dropped == 0


def test_a_log_that_twistd_rotates_is_rotated_for_relayed_lines_too(own: OwnLog, tmp_path: Path) -> None:
    file: Any = LogFile("log", str(tmp_path), rotateLength=1000)  # type: ignore[no-untyped-call]  # Twisted's
    observe(file)
    own.start()
    for number in range(100):
        own.write(b"%099d\n" % number)
        own.flush()
        if number % 10 == 9:
            while own._waiting:
                time.sleep(0.001)
    own.finish()
    file.close()

    parts = sorted(tmp_path.iterdir(), key=lambda path: -int("0" + path.suffix[1:]))
    assert len(parts) > 2
    assert b"".join(path.read_bytes() for path in parts) == b"".join(b"%099d\n" % number for number in range(100))


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_was_dropped(
    own: OwnLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_log, "LIMIT", 1_000_000)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file, os.fdopen(reader, "rb") as read:
        observe(file)
        own.start()
        line = b"x" * 999 + b"\n"
        for _ in range(3000):
            own.write(line)
        assert own.dropped >= 1_000_000

        taken = b""
        while b"were dropped here" not in taken:
            taken += os.read(read.fileno(), 65536)
            own.write(line)  # room again: what was lost is said with what comes next

    kept = taken.count(b"x" * 999 + b"\n")
    assert 1000 <= kept
    assert all(line in (b"x" * 999, b"") or b"dropped" in line for line in taken.split(b"\n")[:-1])


@pytest.mark.parametrize("broken", ["closed", "full"])
def test_a_log_that_takes_nothing_stops_nobody_and_is_counted(own: OwnLog, broken: str) -> None:
    with open("/dev/full" if broken == "full" else os.devnull, "w") as file:
        observe(file)
        own.start()
        if broken == "closed":
            file.close()
        own.write(b"said\n")
        own.finish()
        assert own.dropped == len(b"said\n")


def test_a_file_that_does_not_block_is_waited_for(own: OwnLog) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w") as file, os.fdopen(reader, "rb") as read:
        observe(file)
        own.start()
        own.write(b"x" * 500_000 + b"\n")
        taken = b""
        while not taken.endswith(b"\n"):
            taken += os.read(read.fileno(), 65536)
    assert len(taken) == 500_001
    assert own.dropped == 0


def test_who_could_not_finish_in_time_goes_on_when_it_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an upgrade is refused while nobody reads the log."""
    monkeypatch.setattr(own_log, "_LAST_WORDS", 0.05)
    own = OwnLog()
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file, os.fdopen(reader, "rb") as read:
        observe(file)
        own.start()
        own.write(b"x" * 200_000 + b"\n")
        own.finish()  # in vain
        own.start()
        taken = b""
        while not taken.endswith(b"x\n"):
            taken += os.read(read.fileno(), 65536)
        time.sleep(0.02)  # a thread that had still to end would do so now
        own.write(b"after\n")
        assert os.read(read.fileno(), 65536) == b"after\n"
        own.finish()
        own.write(b"at once\n")
        assert os.read(read.fileno(), 65536) == b"at once\n"
