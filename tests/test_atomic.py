"""A file is the old one whole or the new one whole, with the mode, owner and group that it should have."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony import atomic

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture(autouse=True)
def umask(tmp_path: Path) -> Iterator[None]:  # whose folders are made before it
    """An umask that would take everything away from others, and a bit from ourselves."""
    before = os.umask(0o277)
    yield
    os.umask(before)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir()
    path.chmod(0o755)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 3_000_000])
def test_a_file_holds_what_was_written_and_nothing_else_is_left(directory: Path, data: bytes, durable: bool) -> None:
    atomic.write(str(directory / "web"), data, durable=durable)
    assert (directory / "web").read_bytes() == data
    assert os.listdir(directory) == ["web"]


@pytest.mark.parametrize(("above", "expected"), [(0o700, 0o600), (0o750, 0o640), (0o755, 0o644), (0o2775, 0o644)])
def test_a_new_file_takes_its_mode_from_the_directory_whatever_the_umask(
    directory: Path, above: int, expected: int
) -> None:
    directory.chmod(above)
    atomic.write(str(directory / "web"), b"new")
    assert mode(directory / "web") == expected


def test_a_new_file_takes_the_mode_that_is_asked_for(directory: Path) -> None:
    atomic.write(str(directory / "web"), b"new", mode=0o400)
    assert mode(directory / "web") == 0o400


def test_a_rewrite_keeps_the_mode(directory: Path) -> None:
    (directory / "web").write_bytes(b"old")
    (directory / "web").chmod(0o604)
    atomic.write(str(directory / "web"), b"new", mode=0o600)
    assert mode(directory / "web") == 0o604
    assert (directory / "web").read_bytes() == b"new"


@AS_ROOT
def test_a_new_file_takes_the_group_of_the_directory_or_the_one_asked_for(directory: Path) -> None:
    os.chown(directory, 0, 4321)
    atomic.write(str(directory / "web"), b"new")
    atomic.write(str(directory / "other"), b"new", group=4322)
    assert (directory / "web").stat().st_gid == 4321
    assert (directory / "web").stat().st_uid == 0
    assert (directory / "other").stat().st_gid == 4322


@AS_ROOT
def test_a_rewrite_keeps_owner_and_group(directory: Path) -> None:
    (directory / "web").write_bytes(b"old")
    os.chown(directory / "web", 4321, 4322)
    atomic.write(str(directory / "web"), b"new", group=0)
    kept = (directory / "web").stat()
    assert (kept.st_uid, kept.st_gid) == (4321, 4322)


@AS_ROOT
def test_a_writer_who_may_keep_only_the_group_keeps_it() -> None:
    """In a child, as uid 4321 with the group 4322 beside its own: the file of root stays readable by that group."""
    directory = Path(tempfile.mkdtemp())  # pytest's own directories are root's alone
    try:
        os.chmod(directory, 0o2775)
        os.chown(directory, 0, 4322)
        (directory / "web").write_bytes(b"old")
        os.chown(directory / "web", 0, 4322)
        os.chmod(directory / "web", 0o640)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([4322])
                os.setgid(4321)
                os.setuid(4321)
                atomic.write(str(directory / "web"), b"new")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        written = (directory / "web").stat()
        assert (directory / "web").read_bytes() == b"new"
        assert (written.st_uid, written.st_gid, stat.S_IMODE(written.st_mode)) == (4321, 4322, 0o640)
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def test_a_link_is_replaced_and_what_it_led_to_is_not_touched(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (directory / "web").symlink_to(tmp_path / "elsewhere")
    atomic.write(str(directory / "web"), b"ours")
    assert not (directory / "web").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_name_alone_is_in_the_working_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    atomic.write("web", b"new")
    assert (directory / "web").read_bytes() == b"new"
    atomic.remove("web")
    assert os.listdir(directory) == []


@pytest.mark.parametrize("step", ["write", "fsync", "fchmod", "rename"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_whatever_step_fails_the_old_file_stays_whole_and_no_litter(
    directory: Path, step: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "web").write_bytes(b"old")
    (directory / "web").chmod(0o644)

    def fail(*args: object, **more: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(OSError, match=os.strerror(error)):
            atomic.write(str(directory / "web"), b"new")

    assert (directory / "web").read_bytes() == b"old"
    assert os.listdir(directory) == ["web"]


def test_an_interruption_leaves_no_litter(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            atomic.write(str(directory / "web"), b"new")
    assert os.listdir(directory) == []


def test_a_write_that_takes_only_a_part_is_gone_on_with(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        atomic.write(str(directory / "web"), b"0123456789")
    assert (directory / "web").read_bytes() == b"0123456789"


def test_the_file_is_on_the_disk_before_its_name_and_its_name_before_the_return(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def seen_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        done.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", seen_fsync)
        patched.setattr(os, "rename", seen_rename)
        atomic.write(str(directory / "web"), b"new")
        assert done == ["file", "rename", "directory"]
        done.clear()
        atomic.write(str(directory / "web"), b"newer", durable=False)
        assert done == ["rename"]
        done.clear()
        atomic.remove(str(directory / "web"))
        assert done == ["directory"]


def test_a_directory_of_that_name_is_refused_and_stays(directory: Path) -> None:
    (directory / "web").mkdir(mode=0o755)
    with pytest.raises(IsADirectoryError):
        atomic.write(str(directory / "web"), b"new")
    assert os.listdir(directory) == ["web"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write(str(tmp_path / "nowhere" / "web"), b"new")


def test_removing_what_is_not_there_is_an_error(directory: Path) -> None:
    (directory / "web").write_bytes(b"old")
    atomic.remove(str(directory / "web"), durable=False)
    with pytest.raises(FileNotFoundError):
        atomic.remove(str(directory / "web"))


def test_no_descriptor_is_left_open(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    atomic.write(str(directory / "web"), b"new")
    with pytest.raises(FileNotFoundError):
        atomic.remove(str(directory / "other"))
    (directory / "folder").mkdir(mode=0o755)
    with pytest.raises(IsADirectoryError):
        atomic.write(str(directory / "folder"), b"new")
    assert len(os.listdir("/proc/self/fd")) == len(before)
