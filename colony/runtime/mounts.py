"""Which paths lie on a file system that may hang: one behind a network, or behind another process (FUSE, autofs)."""

from __future__ import annotations

import os
import re
import select
from contextlib import suppress

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

    def may_hang(self, path: str) -> bool:
        """Could looking at ``path``, absolute, block for long?  Said without looking; a link on the way is not seen."""
        if self._fd is not None and self._poll.poll(0):
            with suppress(OSError):
                self._read()
        if not self._any:
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


def parse(text: str) -> list[tuple[str, bool]]:
    """Each mount point, and whether its file system may hang; a later mount on the same point hides the earlier."""
    mounts: dict[str, bool] = {}
    for line in text.split("\n"):
        fields, separator, rest = line.partition(" - ")
        if separator:
            kind = rest.split(" ", 1)[0]
            point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
            mounts[point] = kind in _REMOTE or kind.partition(".")[0] == "fuse"
    return list(mounts.items())


def _contains(point: str, path: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")
