"""A directory belongs to one supervisor, for life, and to nobody who only had one of its name."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from colony.runtime.locks import DirectoryLock, Taken
from tests.runtime.loop import descriptors

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class Other:
    """Another process that holds a directory."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def end(self) -> None:
        self.process.communicate(timeout=20)


def taken(path: Path) -> bool:
    """Would anybody else be refused?"""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_missing_directory_is_made_for_us_alone_and_locked(tmp_path: Path) -> None:
    path = tmp_path / "above" / "config"
    before = os.umask(0)
    try:
        assert DirectoryLock(str(path)).acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    lock = DirectoryLock(str(tmp_path))
    lock.acquire()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o2775
    assert taken(tmp_path)


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    other = Other(tmp_path)
    before = descriptors()
    try:
        with pytest.raises(Taken) as raised:
            DirectoryLock(str(tmp_path)).acquire()
        assert descriptors() == before
    finally:
        other.end()
    assert raised.value.pid == other.process.pid
    assert str(raised.value) == f"{tmp_path} belongs to the supervisor with pid {other.process.pid}"
    assert DirectoryLock(str(tmp_path)).acquire()


def test_the_same_directory_by_another_path_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "link").symlink_to("config")
    lock = DirectoryLock(str(tmp_path / "config"))
    lock.acquire()
    with pytest.raises(Taken) as raised:
        DirectoryLock(str(tmp_path / "link")).acquire()
    assert raised.value.pid == os.getpid()


def test_what_is_held_is_not_locked_again(tmp_path: Path) -> None:
    lock = DirectoryLock(str(tmp_path))
    assert lock.acquire() is True
    before = descriptors()
    assert lock.acquire() is False
    assert descriptors() == before


def test_a_directory_that_is_replaced_is_locked_anew_and_the_old_one_let_go(tmp_path: Path) -> None:
    path, away = tmp_path / "config", tmp_path / "away"
    lock = DirectoryLock(str(path))
    lock.acquire()
    before = descriptors()
    path.rename(away)
    path.mkdir()
    assert lock.acquire() is True
    assert taken(path)
    assert not taken(away)
    assert descriptors() == before


def test_a_directory_that_went_is_held_on_and_not_made_anew_in_the_way_of_its_return(tmp_path: Path) -> None:
    path, away = tmp_path / "config", tmp_path / "away"
    lock = DirectoryLock(str(path))
    lock.acquire()
    path.rename(away)
    with pytest.raises(FileNotFoundError):
        lock.acquire()
    assert taken(away)
    assert not path.exists()
    away.rename(path)
    assert lock.acquire() is False
    assert taken(path)


def test_one_put_in_its_place_that_somebody_else_holds_is_refused_and_the_old_one_held_on(tmp_path: Path) -> None:
    path, away = tmp_path / "config", tmp_path / "away"
    lock = DirectoryLock(str(path))
    lock.acquire()
    path.rename(away)
    path.mkdir()
    other = Other(path)
    with pytest.raises(Taken):
        lock.acquire()
    assert taken(away)
    other.end()
    assert lock.acquire() is True
    assert not taken(away)


@pytest.mark.parametrize("what", ["a file", "a file above"])
def test_what_is_no_directory_is_an_error_and_leaves_no_descriptor(tmp_path: Path, what: str) -> None:
    (tmp_path / "config").write_bytes(b"")
    path = tmp_path / "config" if what == "a file" else tmp_path / "config" / "sub"
    before = descriptors()
    with pytest.raises(OSError):
        DirectoryLock(str(path)).acquire()
    assert descriptors() == before


def test_a_lock_does_not_pass_to_a_child(tmp_path: Path) -> None:
    lock = DirectoryLock(str(tmp_path))
    lock.acquire()
    assert lock._fd is not None
    assert not os.get_inheritable(lock._fd)


def test_a_file_system_without_locks_is_an_error_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = DirectoryLock(str(tmp_path))
    before = descriptors()
    for _ in range(3):
        with pytest.raises(OSError, match="locks"):
            lock.acquire()
    assert descriptors() == before
