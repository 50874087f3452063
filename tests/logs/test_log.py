"""A log is read whole and in order, whatever happens to its files meanwhile."""

from __future__ import annotations

import gzip
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colony.logs.file import BLOCK
from colony.logs.log import LONGEST, Folder, Log, Piece

# Any is what system calls are called with.

SECOND = 1_000_000_000
NOON = 1_800_000_000 * SECOND


class Writer:
    """Writes and rotates as colony does, at times of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "web.log"
        self.now = NOON

    def say(self, text: str | bytes, after: float = 1.0, *, marked: bool = False) -> None:
        """Write that, so much later."""
        data = text.encode() if isinstance(text, str) else text
        self.now += round(after * SECOND)
        with self.path.open("ab") as file:
            file.write(data)
        os.utime(self.path, ns=(self.now, self.now))
        if marked:
            self.mark()

    def mark(self) -> None:
        """Note how long it is."""
        with (self.folder / ".web.log.times").open("a") as file:
            file.write(f"{self.now} {self.path.stat().st_size}\n")

    def rotate(self, backups: int = 100, *, packed: bool = False) -> None:
        """Have a new file begun."""
        for _ in self.rotating(backups, packed=packed):
            pass

    def rotating(self, backups: int = 100, *, packed: bool = False) -> Iterator[None]:
        """The same, a step at a time."""
        for number in range(backups, 0, -1):
            for end in ("", ".gz"):
                old = self.folder / f"web.log.{number}{end}"
                if old.exists():
                    old.rename(self.folder / f"web.log.{number + 1}{end}") if number < backups else old.unlink()
                    yield
        first = self.folder / "web.log.1"
        self.path.rename(first)
        yield
        if packed:
            self.pack(1, leave=True)
            yield
            first.unlink()
            yield

    def pack(self, number: int, *, leave: bool = False) -> None:
        """Compress that one."""
        path = self.folder / f"web.log.{number}"
        packed = self.folder / f"web.log.{number}.gz"
        was = path.stat()
        packed.write_bytes(gzip.compress(path.read_bytes()))
        os.utime(packed, ns=(was.st_mtime_ns, was.st_mtime_ns))
        if not leave:
            path.unlink()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(str(tmp_path), "web")
    yield log
    log.close()


def pieces(log: Log) -> list[Piece]:
    return list(iter(log.read, None))


def rest(log: Log) -> str:
    """All that is to be read now."""
    return b"".join(piece.data for piece in pieces(log)).decode()


def numbered(first: int, end: int) -> str:
    return "".join(f"{number}\n" for number in range(first, end))


# -- from its beginning ---------------------------------------------------------------------------------------


def test_it_is_read_from_the_oldest_file_to_the_newest(writer: Writer, log: Log) -> None:
    for number in range(4):
        writer.say(numbered(number * 10, number * 10 + 10))
        writer.rotate(packed=number < 2)
    writer.say(numbered(40, 50))
    assert rest(log) == numbered(0, 50)


def test_there_is_nothing_to_read_where_there_is_no_log(log: Log, tmp_path: Path) -> None:
    assert log.read() is None
    assert not log.start_with_last(3)
    assert log.start_at(0)
    log.stop_here()
    assert log.read() is None
    assert log.unfinished() is None
    assert Folder(str(tmp_path / "none")).logs() == []


def test_a_gap_among_the_numbers_is_none_in_the_lines(writer: Writer, log: Log) -> None:
    for number in range(4):
        writer.say(f"{number}\n")
        writer.rotate()
    (writer.folder / "web.log.3").rename(writer.folder / "web.log.6")
    (writer.folder / "web.log.4").rename(writer.folder / "web.log.9")
    writer.say("4\n")
    assert rest(log) == numbered(0, 5)


def test_what_is_there_plain_and_compressed_is_read_once(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    writer.rotate()
    writer.pack(1, leave=True)
    writer.say("1\n")
    assert rest(log) == numbered(0, 2)


def test_a_line_of_which_only_a_part_is_there_is_not_read_yet(writer: Writer, log: Log) -> None:
    writer.say("whole\nhal")
    assert rest(log) == "whole\n"
    writer.say("f\n")
    assert rest(log) == "half\n"
    writer.say("the end")
    assert rest(log) == ""
    last = log.unfinished()
    assert last is not None
    assert last.data == b"the end"
    assert log.unfinished() is None


def test_a_line_that_was_cut_for_being_too_long_is_one_again(writer: Writer, log: Log) -> None:
    writer.say("a" * 50)
    writer.rotate()
    writer.say("b\n")
    assert rest(log) == "a" * 50 + "b\n"


def test_a_line_without_end_comes_in_pieces(writer: Writer, log: Log) -> None:
    writer.say(b"x" * (3 * LONGEST))
    assert b"".join(piece.data for piece in pieces(log)) == b"x" * (3 * LONGEST)


def test_it_ends_with_what_was_there_when_it_was_asked_for(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    writer.rotate()
    writer.say("1\n2")
    log.stop_here()
    writer.say("3\n")
    writer.rotate()
    writer.say("4\n")
    assert rest(log) == "0\n1\n"
    writer.say("5\n")
    assert rest(log) == ""
    log.go_on()
    assert rest(log) == "23\n4\n5\n"


def test_it_ends_there_too_when_that_is_compressed_or_gone_meanwhile(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    writer.rotate()
    writer.say("1\n")
    log.stop_here()
    writer.rotate(packed=True)
    writer.say("2\n")
    assert rest(log) == "0\n1\n"

    other = Log(str(writer.folder), "web")
    other.stop_here()
    for number in range(3, 6):
        writer.rotate(2)
        writer.say(f"{number}\n")
    assert rest(other) == "3\n"
    other.close()


def test_what_is_no_gzip_is_said(writer: Writer, log: Log) -> None:
    (writer.folder / "web.log.1.gz").write_bytes(b"this is no gzip at all")
    with pytest.raises(OSError, match="gzip"):
        rest(log)


def test_a_gzip_that_was_cut_short_is_read_as_far_as_it_goes(writer: Writer, log: Log) -> None:
    writer.say(random.Random(1).randbytes(1000).hex() + "\n")
    writer.rotate(packed=True)
    path = writer.folder / "web.log.1.gz"
    path.write_bytes(path.read_bytes()[:-100])
    writer.say("then\n")
    assert rest(log).endswith("then\n")


# -- the last lines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ends", [True, False])
def test_its_last_lines_are_counted_right_across_the_files(writer: Writer, ends: bool, packed: bool) -> None:
    for number in range(4):
        writer.say(numbered(number * 3, number * 3 + 3))
        writer.rotate(packed=packed)
    writer.say("12\n13\n14" + ("\n" if ends else ""))
    for count in range(20):
        log = Log(str(writer.folder), "web")
        left = log.start_with_last(count)
        unfinished = rest(log) + (piece.data.decode() + "\n" if (piece := log.unfinished()) else "")
        assert (
            unfinished == numbered(15 - (max(count, 1) if not ends else count), 15) if count < 15 else numbered(0, 15)
        )
        assert left == (count < 15)
        log.close()


@pytest.mark.parametrize("packed", [False, True])
def test_long_lines_are_found_backwards_too(writer: Writer, packed: bool) -> None:
    said = [f"{number}{'.' * size}\n" for number, size in enumerate((10, BLOCK, 5, 3 * BLOCK, 0, BLOCK // 4 - 2, 7))]
    writer.say("".join(said))
    if packed:
        writer.rotate(packed=True)
    for count in range(len(said) + 1):
        log = Log(str(writer.folder), "web")
        log.start_with_last(count)
        assert rest(log) == "".join(said[len(said) - count :])
        log.close()


def test_no_line_of_what_was_written_is_begun_with_where_only_what_is_new_is_wanted(writer: Writer, log: Log) -> None:
    writer.say("old\nhal")
    assert log.start_with_last(0)
    assert rest(log) == ""
    writer.say("f\nnew\n")
    assert rest(log) == "half\nnew\n"


# -- as it grows ----------------------------------------------------------------------------------------------


def test_it_is_followed_through_any_number_of_rotations(writer: Writer, log: Log) -> None:
    expected = ""
    dice = random.Random(7)
    for number in range(300):
        writer.say(line := f"{number}{'.' * dice.randrange(30)}\n", dice.choice((0, 0, 0.001, 1)))
        expected += line
        if dice.random() < 0.4:
            writer.rotate(packed=dice.random() < 0.5)
        if dice.random() < 0.2:
            have = rest(log)
            assert expected.startswith(have)
            expected = expected[len(have) :]
    assert rest(log) == expected


def test_what_is_compressed_while_it_is_read_is_read_on(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    writer.rotate()
    writer.say("1\n")
    assert log.read() == Piece(pytest.approx((NOON + SECOND) / 1e9), False, b"0\n")
    writer.pack(1)
    writer.rotate()
    writer.say("2\n")
    assert rest(log) == numbered(1, 3)


def test_one_that_is_cut_short_is_read_from_its_new_beginning(writer: Writer, log: Log) -> None:
    writer.say("0\n1\nhal")
    assert rest(log) == "0\n1\n"
    os.truncate(writer.path, 0)
    writer.say("2\n")
    assert rest(log) == "hal\n2\n"


def test_one_that_is_removed_and_comes_again_is_read_on(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    writer.rotate()
    writer.say("1\n")
    assert rest(log) == numbered(0, 2)
    writer.path.unlink()
    assert rest(log) == ""
    writer.say("2\n")
    assert rest(log) == "2\n"
    assert not log.gap


def test_one_that_is_moved_away_is_read_to_the_end_of_its_last_line(writer: Writer, log: Log) -> None:
    writer.say("0\nhal")
    assert rest(log) == "0\n"
    elsewhere = writer.folder / "elsewhere"
    writer.path.rename(elsewhere)
    writer.path.touch()
    assert rest(log) == ""
    with elsewhere.open("a") as file:
        file.write("f\n")
    writer.say("1\n")
    assert rest(log) == "half\n1\n"


def test_a_directory_that_vanished_and_comes_again_is_read_on(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = Writer(folder)
    log = Log(str(folder), "web")
    writer.say("0\n")
    assert rest(log) == "0\n"
    writer.path.unlink()
    folder.rmdir()
    assert rest(log) == ""
    folder.mkdir()
    writer.say("1\n")
    assert rest(log) == "1\n"
    log.close()


def test_what_was_rotated_away_before_it_was_read_is_said_to_lack(writer: Writer, log: Log) -> None:
    writer.say("0\n")
    assert rest(log) == "0\n"
    for number in range(1, 6):
        writer.rotate(2)
        writer.say(f"{number}\n")
    assert rest(log) == numbered(3, 6)
    assert log.gap


# -- in the midst of a look -----------------------------------------------------------------------------------


class Between:
    """Does something just before a system call, the one of a number: the first steps of it, the rest later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left, self._pace = 0, 1
        self._steps: Iterator[None] = iter(())
        self._is_idle = True
        for name in ("open", "stat", "fstat", "pread", "listdir"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def before(self, number: int, steps: Iterator[None], pace: int = 1) -> None:
        """Have so many of them done before that call."""
        self._left, self._steps, self._pace, self._is_idle = number, steps, pace, False

    def finish(self) -> bool:
        """Do what is left of them; had they been begun?"""
        self._is_idle = True
        for _ in self._steps:
            pass
        return self._left < 0

    def _counted(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: Any, **more: Any) -> object:
            if not self._is_idle:
                self._left -= 1
                if self._left == -1:
                    self._is_idle = True  # what they call is not looked at
                    for _ in range(self._pace):
                        next(self._steps, None)
                    self._is_idle = False
            return call(*arguments, **more)

        return counted


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    return Between(monkeypatch)


@pytest.mark.parametrize(
    ("start", "rotations", "packed", "pace"),
    [(None, 1, False, 3), (None, 2, False, 100), (None, 1, True, 5), (0, 1, True, 100), (100, 1, False, 2)],
)
def test_nothing_is_lost_or_doubled_whatever_happens_in_the_midst_of_a_look(
    tmp_path: Path, between: Between, start: int | None, rotations: int, packed: bool, pace: int
) -> None:
    def happen(writer: Writer) -> Iterator[None]:
        for each in range(rotations):
            writer.say(f"{7 + 2 * each}\n")
            yield
            yield from writer.rotating(packed=packed)
            writer.say(f"{8 + 2 * each}\n")
            yield

    end = 7 + 2 * rotations
    for call in range(1000):
        log, writer = begin(tmp_path / str(call))
        between.before(call, happen(writer), pace)
        if start is not None:
            log.start_with_last(start)
        read = rest(log)
        begun = between.finish()
        read += rest(log)
        log.close()
        first = int(read.partition("\n")[0]) if read else end
        assert read == numbered(first, end)
        assert first in ((0,) if start is None or start > 6 else range(7 - start, end - start + 1))
        if not begun:
            break
    assert 5 < call < 900


def test_the_end_that_was_asked_for_is_found_whatever_happens_meanwhile(tmp_path: Path, between: Between) -> None:
    def happen(writer: Writer, packed: bool) -> Iterator[None]:
        yield from writer.rotating(packed=packed)
        writer.say("7\n")

    for call in range(1000):
        log, writer = begin(tmp_path / str(call))
        between.before(call, happen(writer, call % 2 == 0))
        log.stop_here()
        read = rest(log)
        begun = between.finish()
        log.close()
        assert read in (numbered(0, 7), numbered(0, 8))
        if not begun:
            break
    assert 5 < call < 900


def begin(folder: Path) -> tuple[Log, Writer]:
    """A log of four files."""
    folder.mkdir()
    writer = Writer(folder)
    for number in range(3):
        writer.say(numbered(2 * number, 2 * number + 2))
        writer.rotate(packed=number == 0)
    writer.say("6\n")
    return Log(str(folder), "web"), writer


# -- by time --------------------------------------------------------------------------------------------------


def since(writer: Writer, seconds: float) -> tuple[str, bool]:
    log = Log(str(writer.folder), "web")
    told = log.start_at(NOON / SECOND + seconds)
    text = rest(log)
    log.close()
    return text, told


def test_marks_tell_lines_by_time(writer: Writer) -> None:
    writer.say("", marked=True)
    for number in range(2, 60):
        writer.say(f"{number}\n", marked=True)
        if number % 20 == 0:
            writer.rotate(packed=number == 20)
    for second in range(2, 60):
        assert since(writer, second) == (numbered(second, 60), True)
    assert since(writer, 0) == (numbered(2, 60), True)
    assert since(writer, 60) == ("", True)


def test_without_marks_whole_files_are_told_by_time(writer: Writer) -> None:
    for number in range(1, 31):
        writer.say(f"{number}\n")
        if number % 10 == 0:
            writer.rotate()
    assert since(writer, 15) == (numbered(11, 31), False)
    assert since(writer, 21) == (numbered(21, 31), False)
    assert since(writer, 31) == ("", True)


def test_marks_of_a_file_before_it_was_cut_short_do_not_count(writer: Writer) -> None:
    for number in range(10, 20):
        writer.say(f"{number}\n", marked=True)
    os.truncate(writer.path, 0)
    writer.mark()
    for number in range(20, 30):
        writer.say(f"{number}\n", marked=True)
    assert since(writer, 15) == (numbered(24, 30), True)


def test_a_line_that_was_begun_before_is_there_in_whole(writer: Writer) -> None:
    writer.say("0\n", marked=True)
    writer.say("begin", marked=True)
    writer.say("ning\n", marked=True)
    assert since(writer, 3) == ("beginning\n", True)


def test_each_piece_has_its_time(writer: Writer, log: Log) -> None:
    writer.say("", marked=True)
    writer.say("a\n", marked=True)
    writer.say("b\n", 100, marked=True)
    writer.say("c\n", 100)
    told = [(round(piece.at - NOON / SECOND), piece.exact, piece.data) for piece in pieces(log)]
    assert told == [(2, True, b"a\n"), (102, True, b"b\n"), (202, True, b"c\n")]


def test_lines_of_before_there_were_marks_have_no_exact_time(writer: Writer, log: Log) -> None:
    writer.say("a\n")
    writer.say("b\n", marked=True)
    writer.say("c\n")
    assert [(piece.exact, piece.data) for piece in pieces(log)] == [(False, b"a\nb\n"), (True, b"c\n")]


def test_what_is_no_mark_is_passed_over(writer: Writer) -> None:
    writer.say("0\n", marked=True)
    with (writer.folder / ".web.log.times").open("a") as file:
        file.write("12\nx y\n1 2 3 4\n\n")
    writer.say("1\n", marked=True)
    assert since(writer, 2) == ("1\n", True)


# -- whose logs there are -------------------------------------------------------------------------------------


def test_logs_are_found_by_their_names_whatever_those_are(tmp_path: Path) -> None:
    for name in (
        "web.log", "web.log.1", "web.log.err.2.gz", "a.log.log", "old.log.3.gz", ".web.log.times", ".x.log.1.gz.new",
        "notes", "b.log.x", "b.log.01", "c.log.err.log.err",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert Folder(str(tmp_path)).logs() == [
        ("a.log", "out"), ("c.log.err", "err"), ("old", "out"), ("web", "err"), ("web", "out"),
    ]  # fmt: skip


def test_ten_lines_of_a_large_log_are_found_without_reading_it(writer: Writer) -> None:
    with writer.path.open("wb") as file:
        file.truncate(50_000_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + numbered(0, 20).encode())
    log = Log(str(writer.folder), "web")
    began = time.process_time()
    log.start_with_last(10)
    assert rest(log) == numbered(10, 20)
    assert time.process_time() - began < 5
    log.close()


# -- the last words of who has ended --------------------------------------------------------------------------


def end(writer: Writer, pid: int) -> None:
    """Note that this one has ended."""
    at, size = (writer.now, writer.path.stat().st_size) if writer.path.exists() else (writer.now + 1, 0)
    with (writer.folder / ".web.log.times").open("a") as file:
        file.write(f"{at} {size} {pid}\n")


def last_words(log: Log, count: int = 2) -> list[tuple[int | None, list[str] | None]]:
    told = []
    for ending in log.endings()[:-1]:
        data = log.last_lines(count, ending.begin, ending.end)
        told.append((ending.pid, None if data is None else data.decode().splitlines()))
    return told


@pytest.mark.parametrize("packed", [False, True])
def test_what_each_process_wrote_last_is_told_apart(writer: Writer, log: Log, packed: bool) -> None:
    writer.say("a\nb\nc\n")
    end(writer, 1)
    writer.say("d\n")
    writer.rotate(packed=packed)
    writer.say("e\n")
    end(writer, 2)
    end(writer, 3)
    writer.say("f\n")
    writer.rotate(packed=packed)
    end(writer, 4)
    writer.say("g\nh\ni\n")
    assert last_words(log) == [(1, ["b", "c"]), (2, ["d", "e"]), (3, []), (4, ["f"])]
    assert log.last_lines(9, log.endings()[-1].begin) == b"g\nh\ni\n"
    assert log.last_lines(4) == b"f\ng\nh\ni\n"


def test_what_a_start_wrote_whose_end_nobody_saw_is_not_the_next_ones(writer: Writer, log: Log) -> None:
    writer.say("a\n")
    end(writer, 1)
    writer.say("b\n")
    end(writer, -1)
    writer.say("c\n")
    end(writer, 2)
    assert last_words(log) == [(1, ["a"]), (2, ["c"])]


def test_nothing_is_told_for_it_when_the_file_is_gone(writer: Writer, log: Log) -> None:
    for pid in range(1, 6):
        writer.say("x" * (100 - pid) + "\n")
        end(writer, pid)
        writer.rotate(2)
    writer.say("y\n")
    assert [(pid, words is not None) for pid, words in last_words(log)] == [
        (1, False), (2, False), (3, False), (4, True), (5, True),
    ]  # fmt: skip
    for path in writer.folder.glob("web.log*"):
        path.unlink()
    assert last_words(log)[-1] == (5, None)
    assert log.last_lines(3) == b""


def test_no_file_stays_open(writer: Writer, log: Log) -> None:
    before = len(os.listdir("/proc/self/fd"))
    test_what_each_process_wrote_last_is_told_apart(writer, log, packed=True)
    end(writer, 7)
    writer.rotate()
    assert log.last_lines(1, log.endings()[-1].begin) == b""
    log.start_at(NOON / SECOND + 2)
    log.stop_here()
    rest(log)
    log.close()
    other = Log(str(writer.folder), "web")
    other.start_with_last(5)
    rest(other)
    other.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_of_a_long_last_line_its_end_is_told(writer: Writer, log: Log) -> None:
    writer.say("x" * 3 * LONGEST)
    end(writer, 1)
    ending, _ = log.endings()
    data = log.last_lines(10, None, ending.end)
    assert data is not None
    assert len(data) == LONGEST
