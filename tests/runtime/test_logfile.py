"""What goes into a pipe is in the files, once, in order, in whole lines, whatever becomes of them and of the disk."""

from __future__ import annotations

import errno
import gzip
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colony.core.model import LogPolicy
from colony.logs import times
from colony.logs.log import Log
from colony.runtime.gzipped import Compressor
from colony.runtime.logfile import MAX_LINE, Later, LogFile
from colony.runtime.splice import CHUNK, Glass, Mouth
from tests.runtime.loop import descriptors, said

# Any is what the system calls that are replaced are called with.

USUAL = LogPolicy()
SMALL = LogPolicy(max_bytes=4096, backups=1000)


@pytest.fixture(params=["spliced", "copied"])
def glass(request: pytest.FixtureRequest) -> Iterator[Glass | None]:
    if request.param == "copied":
        yield None
        return
    glass = Glass()
    yield glass
    glass.close()


class Desk:
    """A pipe, the file it goes to, and who may read along."""

    def __init__(self, folder: Path, glass: Glass | None) -> None:
        self.folder = folder
        self.path = folder / "web.log"
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self.writing, False)
        self.mouth = Mouth(self.reading, glass)
        self.compressor = Compressor()
        self.seen = b""
        self.lost: list[int] = []
        self.file = self.open()

    def open(self, policy: LogPolicy = USUAL, *, goes_on: bool = False) -> LogFile:
        self.file = LogFile("web", str(self.path), policy, self.compressor, self.lost.append, goes_on=goes_on)
        return self.file

    def see(self, data: bytes) -> None:
        self.seen += data

    def say(self, data: bytes, *, seen: bool = False) -> None:
        """Have it written, a pipe full at a time."""
        while data:
            try:
                data = data[os.write(self.writing, data) :]
            except BlockingIOError:
                pass
            self.take(seen=seen)

    def take(self, *, seen: bool = False) -> int:
        total = 0
        while taken := self.file.take(self.mouth, self.see if seen else None):
            total += taken
        return total

    def files(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob("web.log*"), key=lambda path: -int("0" + path.name[8:].removesuffix(".gz")))

    def kept(self) -> list[bytes]:
        """What is in them."""
        return [gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in self.files()]

    def close(self) -> None:
        self.file.close()
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def desk(tmp_path: Path, glass: Glass | None) -> Iterator[Desk]:
    folder = tmp_path / "logs"
    folder.mkdir(0o700)
    desk = Desk(folder, glass)
    yield desk
    desk.close()


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b"%08d %s\n" % (n, b"." * (n % 90)) for n in range(first, first + count))


# -- bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [False, True])
def test_any_bytes_are_in_the_file_as_they_were(desk: Desk, seen: bool) -> None:
    data = random.Random(1).randbytes(300_000)
    desk.say(data, seen=seen)
    assert desk.path.read_bytes() == data
    assert desk.seen == (data if seen else b"")
    assert desk.take() == 0


def test_it_is_for_us_alone_whatever_the_umask(desk: Desk) -> None:
    before = os.umask(0)
    try:
        desk.say(b"one\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


def test_one_that_others_could_read_is_closed_to_them(desk: Desk) -> None:
    desk.path.touch(0o644)
    desk.path.chmod(0o644)
    desk.say(b"one\n")
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


def test_what_is_there_already_stays(desk: Desk) -> None:
    desk.path.write_bytes(b"before\n")
    desk.say(b"after\n")
    assert desk.path.read_bytes() == b"before\nafter\n"


def test_a_line_that_nobody_will_end_is_ended_for_the_next_start(desk: Desk) -> None:
    desk.say(b"last words")
    desk.file.close()
    desk.open()
    desk.say(b"first\n")
    assert desk.path.read_bytes() == b"last words\nfirst\n"


def test_a_line_that_is_on_its_way_is_gone_on_with_by_the_next_supervisor(desk: Desk) -> None:
    desk.say(b"one\nthe be")
    desk.file.close()
    desk.open(goes_on=True)
    assert desk.file.unfinished() == b"the be"
    desk.say(b"ginning\n")
    assert desk.path.read_bytes() == b"one\nthe beginning\n"


def test_what_is_not_in_the_file_is_still_in_the_pipe(tmp_path: Path) -> None:
    glass = Glass()
    desk = Desk(tmp_path, glass)
    os.write(desk.writing, b"one\ntwo\n")
    assert desk.mouth.look() == b"one\ntwo\n"
    assert desk.mouth.look() == b"one\ntwo\n"
    assert os.read(desk.reading, 100) == b"one\ntwo\n"
    desk.close()
    glass.close()


def test_a_file_that_cannot_be_spliced_to_is_copied_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "splice", refuse)
    desk.say(lines(5000))
    assert desk.path.read_bytes() == lines(5000)


# -- rotation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("limit", [10_000, 50_000, 200_000])
def test_files_are_cut_at_the_ends_of_lines_and_none_is_too_long(desk: Desk, limit: int, seen: bool) -> None:
    desk.open(LogPolicy(max_bytes=limit, backups=1000))
    desk.say(lines(20_000), seen=seen)
    kept = desk.kept()
    assert b"".join(kept) == lines(20_000)
    assert all(data.endswith(b"\n") for data in kept)
    assert all(limit - 100 < len(data) <= limit for data in kept[:-1])
    assert desk.seen == (lines(20_000) if seen else b"")


@pytest.mark.parametrize("seed", range(20))
def test_writes_and_lines_of_any_length_stay_in_order_and_whole(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    desk.open(LogPolicy(max_bytes=chance.choice([4096, 10_000, 100_000]), backups=1000))
    data = b"".join(b"%d" % n * chance.choice([1, 10, 300, 1500]) + b"\n" for n in range(150))
    written = 0
    while written < len(data):
        size = chance.choice([1, 100, 4096, 60_000])
        desk.say(data[written : written + size], seen=chance.random() < 0.5)
        written += size
        if chance.random() < 0.1:
            desk.file.turn()
        if chance.random() < 0.1:
            desk.file.close()
            desk.open(LogPolicy(max_bytes=10_000, backups=1000), goes_on=True)
    kept = desk.kept()
    assert b"".join(kept) == data
    assert all(piece.endswith(b"\n") for piece in kept)


def test_no_more_are_kept_than_asked_for(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=4096, backups=5))
    desk.say(lines(2000))
    assert [path.name for path in desk.files()] == [*(f"web.log.{n}" for n in (5, 4, 3, 2, 1)), "web.log"]
    assert lines(2000).endswith(b"".join(desk.kept()))


def test_fewer_are_kept_once_fewer_are_asked_for(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=4096, backups=5))
    desk.say(lines(1000))
    desk.file.close()
    desk.open(LogPolicy(max_bytes=4096, backups=2))
    desk.say(lines(1000, 1000))
    assert [path.name for path in desk.files()] == ["web.log.2", "web.log.1", "web.log"]


def test_fewer_are_kept_also_where_a_kill_has_left_a_gap(desk: Desk) -> None:
    for number in (1, 3, 4, 70):
        (desk.folder / f"web.log.{number}").write_bytes(b"old\n")
    (desk.folder / "web.log.5.gz").write_bytes(gzip.compress(b"old\n"))
    others = {"web.log.err.5", "web.log.x", "web.log.log.5", "web.log.5.gz.x", "other.log.5"}
    for other in others:
        (desk.folder / other).write_bytes(b"somebody else's\n")
    desk.open(LogPolicy(backups=1))
    desk.say(b"one\n")
    desk.file.turn()
    assert {path.name for path in desk.folder.iterdir()} == {"web.log.1", ".web.log.times"} | others


def test_without_old_ones_it_is_begun_anew(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=4096, backups=0))
    desk.say(lines(1000))
    assert [path.name for path in desk.files()] == ["web.log"]
    assert lines(1000).endswith(desk.path.read_bytes())


def test_with_no_size_it_is_never_begun_anew(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=0))
    desk.say(lines(20_000))
    assert [path.name for path in desk.files()] == ["web.log"]


def test_a_line_longer_than_a_file_stays_whole(desk: Desk) -> None:
    desk.open(SMALL)
    data = b"one\n" + b"x" * 100_000 + b"\ntwo\n"
    desk.say(data)
    assert desk.kept() == [b"one\n", b"x" * 100_000 + b"\n", b"two\n"]


def test_a_line_without_end_is_cut_all_the_same(desk: Desk) -> None:
    desk.open(SMALL)
    desk.say(bytes(3_000_000))
    kept = desk.kept()
    assert b"".join(kept) == bytes(3_000_000)
    assert max(map(len, kept)) <= 4096 + MAX_LINE + CHUNK


def test_one_that_is_asked_for_comes_at_once_between_lines(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.file.turn()
    desk.say(b"two\n")
    assert desk.kept() == [b"one\n", b"two\n"]


def test_one_that_is_asked_for_in_a_line_waits_for_its_end(desk: Desk) -> None:
    desk.say(b"one\nthe be")
    desk.file.turn()
    desk.say(b"ginning\ntwo\n")
    assert desk.kept() == [b"one\nthe beginning\n", b"two\n"]


def test_an_empty_file_or_none_is_not_rotated(desk: Desk) -> None:
    desk.file.turn()
    assert desk.files() == []
    desk.path.touch()
    desk.file.turn()
    desk.say(b"one\ntwo\n")
    assert desk.kept() == [b"one\ntwo\n"]


def test_a_gap_that_a_kill_has_left_among_the_numbers_costs_nothing(desk: Desk) -> None:
    (desk.folder / "web.log.2").write_bytes(b"old\n")  # .1 was renamed, and then nothing more
    desk.path.write_bytes(b"new\n")
    desk.file.turn()
    desk.say(b"newest\n")
    assert desk.kept() == [b"old\n", b"new\n", b"newest\n"]


def test_where_it_cannot_be_rotated_it_is_written_on_and_said_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.open(SMALL)

    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with said() as heard, monkeypatch.context() as failing:
        failing.setattr(os, "rename", refuse)
        desk.say(lines(5000))
    assert heard == ["cannot rotate the log of web: Operation not permitted"]
    desk.say(lines(2000, 5000))
    assert b"".join(desk.kept()) == lines(7000)
    assert len(desk.files()) > 2


# -- compressed -----------------------------------------------------------------------------------------------


def test_old_ones_are_compressed_if_asked_for(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=4096, backups=4, compress=True))
    desk.say(lines(1000))
    while desk.compressor.busy:
        desk.compressor.step()
    assert [path.name for path in desk.files()] == [*(f"web.log.{n}.gz" for n in (4, 3, 2, 1)), "web.log"]
    assert lines(1000).endswith(b"".join(desk.kept()))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in desk.files())


def test_what_is_half_compressed_is_undone(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=400_000, compress=True))
    desk.say(lines(10_000))
    desk.compressor.step()
    assert [path.name for path in desk.folder.glob(".*.new")] == [".web.log.1.gz.new"]
    before = descriptors()
    desk.compressor.pause()
    assert descriptors() == before - 2
    assert list(desk.folder.glob(".*.new")) == []
    assert b"".join(desk.kept()) == lines(10_000)
    while desk.compressor.busy:
        desk.compressor.step()
    assert (desk.folder / "web.log.1.gz").exists()
    assert b"".join(desk.kept()) == lines(10_000)


def test_who_rotates_waits_for_no_compression_and_what_is_compressed_may_move_on(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=0, backups=2, compress=True))
    desk.say(b"x" * 999_999 + b"\n")
    desk.file.turn()
    desk.compressor.step()
    desk.say(b"two\n")
    desk.file.turn()
    assert [path.name for path in desk.files()] == ["web.log.2", "web.log.1"]
    while desk.compressor.busy:
        desk.compressor.step()
    assert [path.name for path in desk.files()] == ["web.log.2.gz", "web.log.1.gz"]
    assert desk.kept() == [b"x" * 999_999 + b"\n", b"two\n"]


def test_what_is_no_longer_kept_is_no_longer_compressed(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=0, backups=1, compress=True))
    desk.say(b"x" * 999_999 + b"\n")
    desk.file.turn()
    desk.compressor.step()
    before = descriptors()
    desk.say(b"two\n")
    desk.file.turn()
    assert list(desk.folder.glob(".*.new")) == []
    assert descriptors() == before - 2, "what was being compressed, and what it was to become"
    while desk.compressor.busy:
        desk.compressor.step()
    assert [path.name for path in desk.files()] == ["web.log.1.gz"]
    assert desk.kept() == [b"two\n"]


def test_where_a_kill_left_both_the_plain_one_counts(desk: Desk) -> None:
    desk.open(LogPolicy(max_bytes=400_000))
    desk.path.write_bytes(b"two\n")
    (desk.folder / "web.log.1").write_bytes(b"one\n")
    (desk.folder / "web.log.1.gz").write_bytes(gzip.compress(b"one\n"))
    desk.file.turn()
    desk.say(b"three\n")
    assert desk.kept() == [b"one\n", b"two\n", b"three\n"]


def test_a_disk_too_full_to_compress_leaves_them_as_they_are(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.open(LogPolicy(max_bytes=4096, backups=3, compress=True))

    def refuse(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with said() as heard, monkeypatch.context() as failing:
        failing.setattr(os, "utime", refuse)
        desk.say(lines(500))
        while desk.compressor.busy:
            desk.compressor.step()
    assert len(heard) == 1
    assert heard[0].startswith("cannot compress ")
    assert lines(500).endswith(b"".join(desk.kept()))
    assert list(desk.folder.glob(".*.new")) == []


# -- what others do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [False, True])
def test_one_that_is_cut_short_is_gone_on_with_at_its_new_end(desk: Desk, seen: bool) -> None:
    desk.say(lines(100), seen=seen)
    os.truncate(desk.path, 0)
    desk.say(b"after\n", seen=seen)
    assert desk.path.read_bytes() == b"after\n"


def test_what_somebody_else_adds_is_not_written_over(desk: Desk) -> None:
    desk.say(b"one\n")
    with desk.path.open("ab") as file:
        file.write(b"# by hand\n")
    desk.say(b"two\n")
    assert desk.path.read_bytes() == b"one\n# by hand\ntwo\n"


def test_one_that_is_removed_is_made_anew_and_that_is_said(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.path.unlink()
    with said() as heard:
        desk.say(b"two\n")
    assert desk.path.read_bytes() == b"two\n"
    assert heard == ["the log of web was moved or removed: it is begun anew"]


def test_one_that_is_moved_away_gets_the_end_of_its_last_line(desk: Desk) -> None:
    desk.say(b"one\nthe be")
    desk.path.rename(desk.folder / "elsewhere")
    desk.path.touch()  # as logrotate's create does
    desk.say(b"ginning\ntwo\n")
    assert (desk.folder / "elsewhere").read_bytes() == b"one\nthe beginning\n"
    assert desk.path.read_bytes() == b"two\n"


def test_a_directory_that_vanished_is_made_anew_and_that_is_said(desk: Desk) -> None:
    desk.say(b"one\n")
    shutil.rmtree(desk.folder)
    with said() as heard:
        desk.say(b"two\n")
    assert desk.path.read_bytes() == b"two\n"
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    assert heard[-1] == f"{desk.folder} had vanished: it is made anew"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("link", "a symbolic link is in its place, which is not followed"),
        ("FIFO", "something else than a file is in its place"),
        ("directory", "Is a directory"),
    ],
)
def test_what_somebody_put_in_its_place_is_not_written_to(desk: Desk, tmp_path: Path, what: str, why: str) -> None:
    (tmp_path / "secret").write_bytes(b"mine\n")
    if what == "link":
        desk.path.symlink_to(tmp_path / "secret")
    elif what == "FIFO":
        os.mkfifo(desk.path, 0o644)
    else:
        desk.path.mkdir(0o755)
    before = descriptors(), desk.path.lstat().st_mode
    with said() as heard:
        desk.say(b"one\n", seen=True)
        desk.say(b"two\n", seen=True)
    assert (tmp_path / "secret").read_bytes() == b"mine\n"
    assert desk.seen == b"one\ntwo\n"
    assert heard == [f"cannot write the log of web, what it says is dropped until that is over: {why}"]
    assert sum(desk.lost) == 8
    assert (descriptors(), desk.path.lstat().st_mode) == before


# -- what the disk does ---------------------------------------------------------------------------------------


class Full:
    """A disk that takes so many bytes more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int, number: int = errno.ENOSPC) -> None:
        splice, pwrite = os.splice, os.pwrite
        self.left = left

        def limited_splice(source: int, target: int, count: int, **more: Any) -> int:
            if not self.left:
                raise OSError(number, os.strerror(number))
            moved = splice(source, target, min(count, self.left), **more)
            self.left -= moved
            return moved

        def limited_pwrite(target: int, data: bytes, offset: int) -> int:
            if not self.left:
                raise OSError(number, os.strerror(number))
            moved = pwrite(target, data[: self.left], offset)
            self.left -= moved
            return moved

        monkeypatch.setattr(os, "splice", limited_splice)
        monkeypatch.setattr(os, "pwrite", limited_pwrite)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_drops_whole_lines_counted_and_said_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int, seen: bool
) -> None:
    disk = Full(monkeypatch, 150_010, number)
    with said() as heard:
        desk.say(lines(5000) + b"the first half, ", seen=seen)
        assert len(heard) == 1
        disk.left = 10**9
        desk.say(b"the second half\n" + lines(5000, 5000), seen=seen)
    kept = desk.path.read_bytes()
    everything = lines(5000) + b"the first half, the second half\n" + lines(5000, 5000)
    assert sum(desk.lost) == len(everything) - len(kept)
    assert set(kept.split(b"\n")) <= set(everything.split(b"\n"))
    assert kept.endswith(lines(4000, 6000))
    assert everything.startswith(kept[:140_000])
    assert heard == [
        f"cannot write the log of web, what it says is dropped until that is over: {os.strerror(number)}",
        f"the log of web is written again; {sum(desk.lost)} bytes were dropped",
    ]
    assert desk.seen == (everything if seen else b"")


def test_a_want_of_descriptors_is_waited_for_and_costs_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    os.write(desk.writing, b"one\n")
    with said() as heard:
        with monkeypatch.context() as failing:
            failing.setattr(os, "open", refuse)
            for _ in range(3):
                with pytest.raises(Later):
                    desk.take()
        desk.take()
    assert desk.path.read_bytes() == b"one\n"
    assert heard[0] == "cannot write the log of web now: Too many open files"
    assert len(heard) == 2
    assert sum(desk.lost) == 0


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = descriptors()
    glass = Glass()
    desk = Desk(tmp_path, glass)
    desk.open(LogPolicy(max_bytes=4096, compress=True))
    desk.say(lines(2000))
    desk.close()
    desk.compressor.pause()
    glass.close()
    assert descriptors() == before


# -- for who reads them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_no_two_old_ones_have_the_same_time_of_the_last_write(
    desk: Desk, compress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.open(LogPolicy(max_bytes=100, backups=50, compress=compress))
    for number in range(40):
        if number == 20:
            desk.open(LogPolicy(max_bytes=100, backups=50, compress=compress))  # another start
        desk.say(b"%090d\n" % number)
        os.utime(desk.path, ns=(1_800_000_000_000_000_000, 1_800_000_000_000_000_000))
    while desk.compressor.busy:
        desk.compressor.step()
    written = [path.stat().st_mtime_ns - 1_800_000_000_000_000_000 for path in desk.files()[:-1]]
    assert len(written) == 39
    assert written == sorted(set(written))
    assert written[-1] < 1000


def test_what_was_written_is_known_by_time_from_its_first_byte_on(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.say(b"two\n")
    first, *_ = times.marks(str(desk.path))
    assert (first.size, first.pid) == (0, times.START)


def test_where_what_a_process_wrote_begins_and_ends_is_noted(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.file.end(7)
    desk.file.close()
    desk.open()
    desk.say(b"two\nthree")
    desk.file.turn()
    desk.file.end(8)
    desk.file.close()
    desk.open()
    desk.say(b"four\n")
    log = Log(str(desk.folder), "web")
    told = [(each.pid, log.last_lines(9, each.begin, each.end)) for each in log.endings()]
    assert told == [(7, b"one\n"), (8, b"two\nthree"), (None, b"four\n")]


def test_who_ends_after_a_rotation_without_another_word_wrote_what_is_in_the_old_file(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.file.turn()
    desk.file.end(7)
    desk.file.close()
    log = Log(str(desk.folder), "web")
    assert [log.last_lines(9, each.begin, each.end) for each in log.endings()] == [b"one\n", b""]
    desk.open()
    desk.say(b"two\n")
    assert [log.last_lines(9, each.begin, each.end) for each in log.endings()] == [b"one\n", b"two\n"]


def test_who_never_wrote_anything_has_no_log(desk: Desk) -> None:
    desk.file.end(7)
    assert list(desk.folder.iterdir()) == []


def test_a_log_that_was_moved_away_has_nothing_to_do_with_the_next_one(desk: Desk) -> None:
    desk.say(b"one\n")
    desk.path.unlink()
    desk.say(b"two\n")
    assert (0, 0) in [(mark.size, mark.pid) for mark in times.marks(str(desk.path))]
