"""One file of a log, open: plain or compressed, and the same under whatever name it goes meanwhile."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from typing import Any

BLOCK = 262_144
"""Bytes read at once."""

_TRAILER = 18
"""The fewest bytes of anything compressed by gzip (RFC 1952)."""


class File:
    """``number`` is what its name ended in when it was last looked for, 0 for the one that is written."""

    def __init__(self, descriptor: int, number: int, *, packed: bool) -> None:
        self.number = number
        self.packed = packed
        self._descriptor = descriptor
        self._unpacker: Any = None  # zlib has no name for its type
        self._read = 0
        self._held = b""
        self._held_at = 0

    @classmethod
    def at(cls, path: str, number: int) -> File | None:
        """
        The file of that number, ``path`` being the log's; None if there is none.

        The plain one where it is there compressed too: that one is being made of it. Raises OSError.
        """
        for name, packed in names(path, number):
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return cls(descriptor, number, packed=packed)
            os.close(descriptor)
        return None

    def close(self) -> None:
        """Read no more."""
        os.close(self._descriptor)

    @property
    def written(self) -> int:
        """When something was last written into it, in nanoseconds; of a compressed one too."""
        return os.fstat(self._descriptor).st_mtime_ns

    @property
    def size(self) -> int:
        """How many bytes it has to read."""
        return _unpacked(self._descriptor) if self.packed else os.fstat(self._descriptor).st_size

    @property
    def is_gone(self) -> bool:
        """Does no name lead to it any more?"""
        return os.fstat(self._descriptor).st_nlink == 0

    def is_at(self, path: str, number: int) -> bool:
        """Is it the one of that number, be it that it has been compressed since?"""
        mine = os.fstat(self._descriptor)
        for name, packed in names(path, number):
            try:
                there = os.stat(name, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if os.path.samestat(mine, there):
                return True
            if packed != self.packed and mine.st_mtime_ns == there.st_mtime_ns:
                other = File.at(path, number)
                if other is not None:
                    try:
                        return self.is_same(other)
                    finally:
                        other.close()
        return False

    def is_same(self, other: File) -> bool:
        """Do both have the same to read, by all that can be told cheaply?"""
        mine, theirs = os.fstat(self._descriptor), os.fstat(other._descriptor)
        if self.packed == other.packed:
            return os.path.samestat(mine, theirs)
        return mine.st_mtime_ns == theirs.st_mtime_ns and self.size == other.size

    def read(self, offset: int) -> bytes:
        """Some of what it has from there on; nothing at its end. Raises OSError, also for what is no gzip."""
        if not self.packed:
            return os.pread(self._descriptor, BLOCK, offset)
        if self._unpacker is None or offset < self._held_at:
            self._rewind()
        while offset >= self._held_at + len(self._held):
            self._held_at += len(self._held)
            self._held = self._unpack()
            if not self._held:
                return b""
        return self._held[offset - self._held_at :]

    def start_of_last(self, lines: int, end: int | None = None) -> tuple[int, int]:
        """
        Where the last so many lines before ``end`` (None: its own) begin, and how many there are, if fewer.

        What has not ended yet is a line too; for no lines it is where that begins. Read from the end backwards, where
        that can be done.
        """
        if self.packed:
            return self._start_packed(lines, end)
        end = self.size if end is None else min(end, self.size)
        return self._start(lines, end) if end else (0, 0)

    def _start(self, lines: int, end: int) -> tuple[int, int]:
        ends = os.pread(self._descriptor, 1, end - 1) == b"\n"
        left = lines + (1 if ends or not lines else 0)  # the line before the first one ends with this many'th newline
        begin = end
        while begin:
            begin, block_end = max(0, begin - BLOCK // 4), begin
            data = os.pread(self._descriptor, block_end - begin, begin)
            found = data.count(b"\n")
            if found < left:
                left -= found
                continue
            at = len(data)
            for _ in range(left):
                at = data.rindex(b"\n", 0, at)
            return begin + at + 1, lines
        return 0, lines - left + 1 if lines else 0

    def _start_packed(self, lines: int, end: int | None) -> tuple[int, int]:
        from collections import deque

        ends: deque[int] = deque(maxlen=lines + 1)
        offset = 0
        while data := self.read(offset) if end is None else self.read(offset)[: end - offset]:
            at = data.find(b"\n") + 1
            while at:
                ends.append(offset + at)
                at = data.find(b"\n", at) + 1
            offset += len(data)
        if ends and ends[-1] == offset:  # none is unfinished
            return (ends[0], lines) if len(ends) > lines else (0, len(ends))
        if not lines:
            return (ends[-1] if ends else 0), 0
        return (ends[-lines], lines) if len(ends) >= lines else (0, len(ends) + bool(offset))

    def _rewind(self) -> None:
        import zlib

        self._unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)  # zlib's way to ask for gzip's format
        self._read, self._held, self._held_at = 0, b"", 0

    def _unpack(self) -> bytes:
        import errno
        import zlib

        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail
            if not packed:
                packed = os.pread(self._descriptor, BLOCK // 4, self._read)
                self._read += len(packed)
                if not packed:
                    break
            try:
                if data := self._unpacker.decompress(packed, BLOCK):
                    assert isinstance(data, bytes)
                    return data
            except zlib.error:
                raise OSError(errno.EIO, "not what gzip writes") from None
        return b""


def names(path: str, number: int) -> tuple[tuple[str, bool], ...]:
    """What the file of that number may be called, and whether that one is compressed."""
    if not number:
        return ((path, False),)
    return (f"{path}.{number}", False), (f"{path}.{number}.gz", True)


def _unpacked(descriptor: int) -> int:
    """How long it was before gzip; modulo 2**32 (RFC 1952)."""
    size = os.fstat(descriptor).st_size
    return 0 if size < _TRAILER else int.from_bytes(os.pread(descriptor, 4, size - 4), "little")
