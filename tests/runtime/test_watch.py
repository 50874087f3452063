"""Every entry of a directory ends as read, unreadable or ignored, and no look ever hangs, guesses or forgets."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from colony.core.desired import Content, Listing, Readable, Unreadable
from colony.runtime import watch
from colony.runtime.watch import CONFIRM, LATEST, Unseen, Watch

LIMIT = 1000


class Directory:
    """CONFIG, a Watch of it, and the clocks that it sees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.now = 1000.0
        # Long after anything was written: a file's times tell its changes, unless a test says otherwise.
        self.wall = time.time() + 3600
        self.watch = Watch(str(path), LIMIT, lambda: self.now, lambda: self.wall)

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def changed(self) -> dict[str, Content]:
        """What a look at everything finds changed."""
        return dict(self.watch.look().changed)

    def look_again(self) -> Listing:
        """A second look, when it is due."""
        self.now += CONFIRM
        return self.watch.look()


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "config")


# -- what there may be ----------------------------------------------------------------------------------------


def test_a_new_file_is_told_with_its_bytes_and_then_no_more(directory: Directory) -> None:
    directory.write("web", b"{}")
    assert directory.changed() == {"web": Readable(b"{}")}
    assert directory.changed() == {}


def test_a_file_of_no_bytes_is_a_file(directory: Directory) -> None:
    directory.write("web", b"")
    assert directory.changed() == {"web": Readable(b"")}


def test_a_name_that_is_no_utf8_is_told_like_any_other(directory: Directory) -> None:
    Path(os.fsdecode(os.fsencode(directory.path) + b"/\xff\xfe")).write_bytes(b"{}")
    assert directory.changed() == {os.fsdecode(b"\xff\xfe"): Readable(b"{}")}


def test_litter_is_listed_as_ignored_and_never_opened(directory: Directory) -> None:
    for name in (".web.swp", "web~", "#web#", "web.new", "web.dpkg-dist"):
        os.mkfifo(directory.path / name)
    listing = directory.watch.look()
    assert listing.changed == {}
    assert listing.ignored is not None
    assert set(listing.ignored) == {".web.swp", "web~", "#web#", "web.new", "web.dpkg-dist"}


def test_litter_that_is_asked_for_by_name_is_ignored_too(directory: Directory) -> None:
    directory.write(".web.swp", b"{}")
    directory.watch.look()
    assert directory.watch.look(["web~", ".web.swp"]) == Listing()


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.parent / ".fifo")
    path.symlink_to(".fifo")


def a_hundred_megabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


def one_byte_too_many(path: Path) -> None:
    path.write_bytes(b" " * (LIMIT + 1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_directory, "a directory, not a file"),
        (a_fifo, "a FIFO, not a file"),
        (a_socket, "a socket, not a file"),
        (a_link_to_nothing, "a symbolic link to nothing"),
        (a_link_to_itself, "cannot be read: Too many levels of symbolic links"),
        (a_link_to_a_device, "a device, not a file"),
        (a_link_to_a_fifo, "a FIFO, not a file"),
        (a_hundred_megabytes, "larger than 1000 bytes"),
        (one_byte_too_many, "larger than 1000 bytes"),
    ],
)
def test_what_is_no_file_is_told_once_and_why_beside_what_is(
    directory: Directory, make: Callable[[Path], None], reason: str
) -> None:
    make(directory.path / "bad")
    directory.write("web", b"{}")
    assert directory.changed() == {"bad": Unreadable(reason), "web": Readable(b"{}")}
    assert directory.changed() == {}


@pytest.mark.parametrize(
    "make", [a_directory, a_fifo, a_socket, a_link_to_nothing, a_link_to_itself, one_byte_too_many]
)
def test_what_was_no_file_is_read_when_it_is_one(directory: Directory, make: Callable[[Path], None]) -> None:
    bad = directory.path / "web"
    make(bad)
    directory.watch.look()
    if bad.is_dir():
        bad.rmdir()
    else:
        bad.unlink()
    directory.write("web", b"{}")
    assert directory.changed() == {"web": Readable(b"{}")}


def test_a_file_of_exactly_the_limit_is_read(directory: Directory) -> None:
    directory.write("web", b" " * LIMIT)
    assert directory.changed() == {"web": Readable(b" " * LIMIT)}


def test_a_look_at_a_fifo_that_somebody_writes_to_takes_nothing_out_of_it(directory: Directory) -> None:
    a_fifo(directory.path / "web")
    other = os.open(directory.path / "web", os.O_RDWR | os.O_NONBLOCK)
    os.write(other, b"for somebody else")
    directory.watch.look()
    assert os.read(other, 100) == b"for somebody else"
    os.close(other)


# Root may read everything, so another user has to look.
LOOK_AS_NOBODY = """
import os, sys, time
from colony.runtime.watch import Watch, Unseen
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
watch = Watch("config", 1000, time.monotonic)
def look():
    try:
        listing = watch.look()
    except Unseen as unseen:
        print(unseen)
    else:
        print(*sorted((name, getattr(content, "reason", "read")) for name, content in listing.changed.items()),
              sorted(listing.missing))
look()
for line in sys.stdin:
    look()
"""


class Nobody:
    """A user that may not read everything, looking when told to."""

    def __init__(self, above: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", LOOK_AS_NOBODY, str(above)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def sees(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def sees_now(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("look\n")
        return self.sees()

    def close(self) -> None:
        self._process.communicate(timeout=20)


def test_a_file_that_may_not_be_read_is_bad_until_it_may_and_a_directory_disturbs_nothing(directory: Directory) -> None:
    directory.write("web", b"{}")
    (directory.path / "web").chmod(0)
    directory.path.chmod(0o755)
    directory.path.parent.chmod(0o755)
    nobody = Nobody(directory.path.parent)
    try:
        assert nobody.sees() == "('web', 'cannot be read: Permission denied') []"
        (directory.path / "web").chmod(0o644)
        assert nobody.sees_now() == "('web', 'read') []"
        directory.path.chmod(0)
        assert nobody.sees_now() == "cannot open config: Permission denied"
        directory.path.chmod(0o755)
        assert nobody.sees_now() == "[]"
        # It may be listed and not entered: nothing is known of the file, so it is neither good nor gone.
        directory.path.chmod(0o744 if os.geteuid() == 0 else 0o644)  # its owner may enter it as well, unless that is us
        assert nobody.sees_now() == "('web', 'cannot be read: Permission denied') []"
    finally:
        directory.path.chmod(0o755)
        nobody.close()


# -- what changes ---------------------------------------------------------------------------------------------


def test_equal_bytes_written_anew_are_no_news(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    directory.write("web", b"{}")
    assert directory.changed() == {}
    (directory.path / "other.new").write_bytes(b"{}")
    (directory.path / "other.new").rename(directory.path / "web")
    assert directory.changed() == {}


def test_other_bytes_of_the_same_size_and_mtime_are_seen(directory: Directory) -> None:
    directory.write("web", b"one")
    os.utime(directory.path / "web", (1, 1))
    directory.watch.look()
    directory.write("web", b"two")
    os.utime(directory.path / "web", (1, 1))
    assert directory.changed() == {"web": Readable(b"two")}


def test_a_file_put_in_place_of_one_of_the_same_size_and_mtime_is_seen(directory: Directory) -> None:
    directory.write("web", b"one")
    directory.write("web.new", b"two")
    for name in ("web", "web.new"):
        os.utime(directory.path / name, (1, 1))
    directory.watch.look()
    (directory.path / "web.new").rename(directory.path / "web")
    assert directory.changed() == {"web": Readable(b"two")}


def test_two_writes_within_one_tick_of_the_kernels_clock_are_both_seen(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All within one tick: since Linux 6.13 some file systems would stamp each of them with another time."""
    directory.wall = time.time()
    tick = int(directory.wall * 1e9)
    real = watch.signature
    monkeypatch.setattr(watch, "signature", lambda found: (*real(found)[:3], tick, tick))
    for content in (b"%03d" % number for number in range(100)):
        directory.write("web", content)
        assert directory.changed() == {"web": Readable(content)}


def test_a_file_just_written_is_looked_at_again_and_then_left_alone(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.wall = (directory.path / "web").stat().st_ctime
    directory.watch.look()
    assert directory.watch.unsure == {"web"}
    assert directory.watch.again_at == directory.now + CONFIRM
    directory.wall += 1
    directory.look_again()
    assert directory.watch.unsure == frozenset()
    assert directory.watch.again_at is None


def test_only_what_is_asked_for_is_looked_at(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    directory.write("web", b"[]")
    directory.write("other", b"{}")
    assert directory.watch.look(["other", "nothing"]) == Listing({"other": Readable(b"{}")})
    assert directory.changed() == {"web": Readable(b"[]")}


def test_what_a_link_leads_to_is_followed_when_it_changes(directory: Directory) -> None:
    # A mounted ConfigMap: web -> ..data/web, ..data -> a directory, swapped as a whole.
    for version, content in (("..1", b"one"), ("..2", b"two")):
        (directory.path / version).mkdir()
        (directory.path / version / "web").write_bytes(content)
    (directory.path / "..data").symlink_to("..1")
    (directory.path / "web").symlink_to("..data/web")
    assert directory.changed() == {"web": Readable(b"one")}
    (directory.path / "..data_tmp").symlink_to("..2")
    (directory.path / "..data_tmp").rename(directory.path / "..data")
    assert directory.changed() == {"web": Readable(b"two")}


# -- what goes ------------------------------------------------------------------------------------------------


def test_a_removed_file_is_gone_only_when_a_second_look_misses_it_too(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    (directory.path / "web").unlink()
    first = directory.watch.look()
    assert first.missing == {"web"}
    assert not first.gone
    assert directory.watch.again_at == directory.now + CONFIRM
    directory.now += CONFIRM - 0.01
    assert directory.watch.look().gone == frozenset()
    directory.now += 0.01
    assert directory.watch.look(directory.watch.unsure).gone == {"web"}
    assert not directory.watch.unsure
    assert directory.watch.look() == Listing(ignored=frozenset())


def test_the_second_look_is_not_put_off_by_looks_in_between(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    (directory.path / "web").unlink()
    start = directory.now
    while not directory.watch.look().gone:
        assert directory.now < start + 1
        directory.now += 1 / 16
    assert directory.now == start + 4 / 16


@pytest.mark.parametrize("content", [b"{}", b"[]"])
def test_a_file_that_is_back_at_the_second_look_never_went(directory: Directory, content: bytes) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    (directory.path / "web").unlink()
    directory.watch.look()
    directory.write("web", content)
    again = directory.look_again()
    # Told even if its bytes are those of before: whoever was told that it is missing must learn that it is not.
    assert again.changed == {"web": Readable(content)}
    assert again.gone == frozenset()
    assert directory.look_again() == Listing(ignored=frozenset())


def test_a_file_that_goes_again_has_its_second_look_again(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    (directory.path / "web").unlink()
    directory.watch.look()
    directory.write("web", b"{}")
    directory.look_again()
    (directory.path / "web").unlink()
    assert directory.look_again().gone == frozenset()
    assert directory.look_again().gone == {"web"}


def test_those_that_are_removed_one_by_one_are_gone_together(directory: Directory) -> None:
    for name in ("db", "web", "worker"):
        directory.write(name, b"{}")
    directory.changed()
    (directory.path / "db").unlink()
    directory.watch.look()
    directory.now += CONFIRM / 2
    (directory.path / "web").unlink()
    (directory.path / "worker").unlink()
    directory.watch.look()

    directory.now += CONFIRM / 2
    assert directory.watch.look(directory.watch.unsure).gone == frozenset()
    assert directory.watch.again_at == directory.now + CONFIRM / 2
    directory.now += CONFIRM / 2
    assert directory.watch.look(directory.watch.unsure).gone == {"db", "web", "worker"}
    assert directory.watch.again_at is None


def test_a_stream_of_removals_puts_none_off_for_long(directory: Directory) -> None:
    names = [f"n{number}" for number in range(10)]
    for name in names:
        directory.write(name, b"{}")
    directory.changed()
    began = {}
    for name in names:
        (directory.path / name).unlink()
        began[name] = directory.now
        for one in directory.watch.look().gone:
            assert directory.now - began[one] <= LATEST + 0.1
            del began[one]
        directory.now += 0.1
    assert len(began) < 6


def test_a_name_never_seen_is_not_missed(directory: Directory) -> None:
    directory.watch.look()
    assert directory.watch.look(["web"]) == Listing()


# -- the directory itself -------------------------------------------------------------------------------------


def test_a_directory_that_vanishes_tells_nothing_and_is_as_it_was_when_it_is_back(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    away = directory.path.with_name("away")
    directory.path.rename(away)
    for _ in range(3):
        with pytest.raises(Unseen, match=r"cannot open .*: No such file or directory"):
            directory.look_again()
    away.rename(directory.path)
    assert directory.look_again() == Listing(ignored=frozenset())


def test_a_file_in_the_directorys_place_is_no_empty_directory(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    shutil.rmtree(directory.path)
    directory.path.write_bytes(b"")
    with pytest.raises(Unseen, match="Not a directory"):
        directory.look_again()


def replace(directory: Directory) -> None:
    directory.path.rename(directory.path.with_name("away"))
    directory.path.mkdir()


@pytest.mark.parametrize("names", [None, ["web"]])
def test_another_directory_that_is_empty_is_reported_and_not_obeyed(
    directory: Directory, names: list[str] | None
) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    replace(directory)
    directory.write(".litter", b"")
    for _ in range(3):
        directory.now += CONFIRM
        with pytest.raises(Unseen, match="another directory than before, and empty"):
            directory.watch.look(names)


def test_another_directory_that_has_files_is_taken_as_what_is_wanted_now(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.write("old", b"{}")
    directory.watch.look()
    replace(directory)
    directory.write("web", b"{}")
    directory.write("new", b"{}")
    listing = directory.watch.look()
    assert listing.changed == {"new": Readable(b"{}")}
    assert listing.missing == {"old"}
    assert directory.look_again().gone == {"old"}


def test_the_same_directory_may_become_empty(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    (directory.path / "web").unlink()
    directory.watch.look()
    assert directory.look_again().gone == {"web"}
    assert directory.look_again() == Listing(ignored=frozenset())


def test_an_empty_directory_may_be_replaced_by_an_empty_one(directory: Directory) -> None:
    assert directory.changed() == {}
    replace(directory)
    assert directory.changed() == {}
    directory.write("web", b"{}")
    assert directory.changed() == {"web": Readable(b"{}")}


def test_without_descriptors_nothing_is_seen_and_nothing_is_lost(directory: Directory) -> None:
    directory.write("web", b"{}")
    directory.watch.look()
    directory.write("web", b"[]")
    held = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, limits[1]))
    try:
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        with pytest.raises(Unseen, match="Too many open files"):
            directory.watch.look()
        # One for the directory, and none to list it with.
        os.close(held.pop())
        with pytest.raises(Unseen, match="Too many open files"):
            directory.watch.look()
        # One for the directory, and none for its file.
        assert directory.watch.look(["web"]).changed == {"web": Unreadable("cannot be read: Too many open files")}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)
    assert directory.changed() == {"web": Readable(b"[]")}


def test_looks_leave_no_descriptor_behind(directory: Directory) -> None:
    for index, make in enumerate([a_directory, a_fifo, a_link_to_itself, one_byte_too_many]):
        make(directory.path / f"bad{index}")
    directory.write("web", b"{}")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        directory.write("web", os.urandom(3))
        directory.watch.look()
    assert len(os.listdir("/proc/self/fd")) == before
