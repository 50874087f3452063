"""Which paths lie on a file system that may hang: one behind a network, or behind another process (FUSE, autofs)."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress

import attrs

_REMOTE = frozenset(
    "9p afs autofs beegfs ceph cifs coda gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs smb3 smbfs"
    " vboxsf virtiofs".split()
)

_ESCAPE = re.compile(r"\\([0-7]{3})")
"""How the kernel writes a space, a tab, a newline and a backslash; every other character is written as it is."""


class Mounts:
    """The mount table of this process (proc(5), mountinfo), read again only when the kernel says that it changed."""

    def __init__(self, path: str = "/proc/self/mountinfo") -> None:
        self._mounts: tuple[tuple[str, bool], ...] = ()
        self._any = False
        self._fd: int | None = None
        self._poll = select.poll()
        with suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._fd, select.POLLPRI | select.POLLERR)
            self._read()

    def any(self) -> bool:
        """Is there a file system that may hang?  On most machines there is none, and no path need be asked about."""
        if self._fd is not None and self._poll.poll(0):
            with suppress(OSError):
                self._read()
        return self._any

    def may_hang(self, path: str) -> bool:
        """Could looking at ``path``, absolute, block for long?  Said without looking; a link on the way is not seen."""
        if not self.any():
            return False
        path = os.path.normpath(path)
        within = [(len(point), remote) for point, remote in self._mounts if _contains(point, path)]
        return max(within, default=(0, False))[1]

    def _read(self) -> None:
        assert self._fd is not None, "it is open"
        data = b""
        os.lseek(self._fd, 0, os.SEEK_SET)
        while chunk := os.read(self._fd, 65536):
            data += chunk
        self._mounts = tuple(parse(data.decode("utf-8", "surrogateescape")))
        self._any = any(remote for _, remote in self._mounts)


@attrs.frozen
class Mount:
    """One mount: which directory of a file system, at which point, and the kind of the file system."""

    root: str
    point: str
    kind: str


def entries(text: str) -> Iterator[Mount]:
    """The lines of a mount table, in its order."""
    for line in text.split("\n"):
        fields, separator, rest = line.partition(" - ")
        if separator:
            root, point = (_ESCAPE.sub(lambda match: chr(int(match[1], 8)), field) for field in fields.split(" ")[3:5])
            yield Mount(root, point, rest.split(" ", 1)[0])


def parse(text: str) -> list[tuple[str, bool]]:
    """Each mount point, and whether its file system may hang; a later mount on the same point hides the earlier."""
    mounts: dict[str, bool] = {}
    for mount in entries(text):
        mounts[mount.point] = mount.kind in _REMOTE or mount.kind.partition(".")[0] == "fuse"
    return list(mounts.items())


def _contains(point: str, path: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")
