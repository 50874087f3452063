"""Writes a file whole or not at all; standard library only."""

from __future__ import annotations

import os
import stat
from contextlib import suppress


def write(path: str, data: bytes, *, mode: int | None = None, group: int | None = None, durable: bool = True) -> None:
    """
    Make ``path`` hold ``data``: afterwards, or after a crash in the midst, it is the old file whole or the new one.

    A file that is there keeps its mode, and its owner and group where the writer may set them. A new one gets
    ``mode``, or the directory's mode & 0644 if None; and ``group`` (a gid), or the directory's group if None,
    where the writer may set it. With ``durable`` it is on the disk when this returns (fsync of the file
    and of the directory).

    Raises OSError; no temporary file is left then, and the old file is untouched, unless all that failed was
    the fsync of the directory.
    """
    folder, filename = os.path.split(path)
    directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_at(directory, filename, data, mode=mode, group=group, durable=durable)
    finally:
        os.close(directory)


def write_at(
    directory: int,
    filename: str,
    data: bytes,
    *,
    mode: int | None = None,
    group: int | None = None,
    durable: bool = True,
) -> None:
    """As `write`, for ``filename`` in the directory that the descriptor ``directory`` has open."""
    above = os.fstat(directory)
    try:
        there = os.stat(filename, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is not None and stat.S_ISREG(there.st_mode):
        owner, group, mode = there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)
    else:
        owner = -1
        group = above.st_gid if group is None else group
        mode = stat.S_IMODE(above.st_mode) & 0o644 if mode is None else mode
    # A leading dot and .new: nobody who reads these directories looks at it.
    temporary = f".{filename[:200]}.{os.urandom(8).hex()}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            made = os.fstat(descriptor)
            # One by one: who may not give a file away may still give it one of their own groups.
            if group != made.st_gid:
                with suppress(PermissionError):
                    os.fchown(descriptor, -1, group)
            if owner not in (-1, made.st_uid):
                with suppress(PermissionError):
                    os.fchown(descriptor, owner, -1)
            if mode != stat.S_IMODE(made.st_mode):  # the umask may have taken bits away
                os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, filename, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if durable:
        os.fsync(directory)


def remove(path: str, *, durable: bool = True) -> None:
    """Remove ``path``; with ``durable``, for good when this returns. Raises OSError, FileNotFoundError among them."""
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.unlink(os.path.basename(path), dir_fd=directory)
        if durable:
            os.fsync(directory)
    finally:
        os.close(directory)
