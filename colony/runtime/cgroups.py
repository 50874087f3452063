"""
A cgroup (v2) for each start: joined before its exec, so that nobody whom it starts can get out of reach.

The tree is ``colony-COLONY/START`` below the cgroup that the supervisor itself is in, both names being hashes; START
is that of the token, so that a later supervisor finds the cgroup of what it adopts; it may be in another cgroup
itself, so the directories of those before it are remembered in STATE. No controller is enabled, so nothing is limited
or accounted for, and the rule against processes in inner cgroups does not apply. See cgroups(7) and the kernel's
cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress

import attrs

from colony import atomic
from colony.runtime import mounts, proc
from colony.runtime.privileges import Privileges, Step
from colony.runtime.records import head

_KEPT = "cgroups"
_MAX_KEPT = 65536


class Missing(Exception):
    """There are no cgroups to be had here, and why not."""


@attrs.frozen
class Cgroup:
    """The cgroup of one start, and those that its processes may have made in it."""

    path: str

    def has_members(self) -> bool:
        """Does anybody live in it, or in one below it?  Zombies do not count. True where that cannot be told now."""
        try:
            return "populated 1" in _text(f"{self.path}/cgroup.events")
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENODEV)

    def members(self) -> tuple[proc.Stat, ...]:
        """Those in it and below, but for this process; nobody whose number has been given to a stranger meanwhile."""
        own = os.getpid()
        stats = [stat for pid in self._pids() if pid != own and (stat := proc.stat(pid)) is not None]
        # Who is a member before and after its start time was read either had that start time, or has ended.
        still = self._pids() if stats else frozenset()
        return tuple(stat for stat in stats if stat.pid in still)

    def kill(self) -> None:
        """KILL to all of them at once, those that are just being forked too (Linux 5.14). Raises OSError."""
        descriptor = os.open(f"{self.path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove it, once nobody is in it. Raises OSError."""
        for path in reversed(list(self._paths())):
            with suppress(FileNotFoundError):
                os.rmdir(path)

    def _pids(self) -> frozenset[int]:
        found: set[int] = set()
        for path in self._paths():
            with suppress(OSError):  # it is gone; or it is one of threads, whom the one above it lists
                found.update(map(int, _text(f"{path}/cgroup.procs").split()))
        return frozenset(found)

    def _paths(self) -> Iterator[str]:
        """It, and all below, each before those below it."""
        unseen = [self.path]
        while unseen:
            path = unseen.pop()
            yield path
            with suppress(OSError), os.scandir(path) as entries:
                unseen.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


@attrs.frozen
class Cgroups:
    """
    All of one colony: the directory that they are made in, and the one that the supervisor itself is in.

    ``former`` are directories that supervisors before us have made them in.
    """

    folder: str
    own: str
    former: tuple[str, ...] = ()

    def make(self, token: str) -> tuple[Cgroup, int]:
        """A new one for that start; and a descriptor, to be closed, by which `joining` enters it. Raises OSError."""
        cgroup = Cgroup(f"{self.folder}/{directory(token)}")
        try:
            os.mkdir(cgroup.path)
        except FileNotFoundError:  # somebody tidied up while nothing ran
            os.mkdir(self.folder)
            os.mkdir(cgroup.path)
        try:
            return cgroup, os.open(f"{cgroup.path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            with suppress(OSError):
                cgroup.remove()
            raise

    def of(self, token: str) -> Cgroup | None:
        """That of a start; None if it has none, or if we are in it ourselves, and so cannot end it."""
        for folder in (self.folder, *self.former):
            path = f"{folder}/{directory(token)}"
            if os.path.isdir(path) and not self._is_around_us(path):
                return Cgroup(path)
        return None

    def others(self, tokens: Collection[str]) -> list[Cgroup]:
        """Those of other starts than these."""
        kept = {directory(token) for token in tokens}
        found = []
        for folder in (self.folder, *self.former):
            with suppress(OSError), os.scandir(folder) as entries:
                found += [e.path for e in entries if e.name not in kept and e.is_dir(follow_symlinks=False)]
        return [Cgroup(path) for path in found if not self._is_around_us(path)]

    def close(self) -> None:
        """Remove what is left of directories, as far as they are empty."""
        for cgroup in self.others(()):
            with suppress(OSError):
                cgroup.remove()
        for folder in (self.folder, *self.former):
            with suppress(OSError):
                os.rmdir(folder)

    def keep(self, state: str) -> None:
        """Remember in STATE where they are. Raises OSError."""
        data = "".join(f"{folder}\n" for folder in (self.folder, *self.former)).encode("utf-8", "surrogateescape")
        path = os.path.join(state, _KEPT)
        if head(path, len(data) + 1) != data:
            atomic.write(path, data, mode=0o600, durable=False)

    def _is_around_us(self, path: str) -> bool:
        return f"{self.own}/".startswith(f"{path}/")


def directory(token: str) -> str:
    """What the directory of that start's cgroup is called."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def joining(wanted: Privileges, descriptor: int) -> Privileges:
    """The same privileges, joining first what the descriptor of `Cgroups.make` leads into: afterwards it may not."""
    # 0 is who writes; whether that is allowed is asked of who opened.
    join = Step("cgroup", "cannot be joined", os.write, (descriptor, b"0"))
    return attrs.evolve(wanted, steps=(join, *wanted.steps))


def find(
    colony: str, state: str, mountinfo: str = "/proc/self/mountinfo", membership: str = "/proc/self/cgroup"
) -> Cgroups:
    """Make the directory for the cgroups of ``colony``, where we are ourselves. Raises Missing."""
    try:
        own = _own(_text(membership))
        place = _place(own, _text(mountinfo))
    except OSError as error:
        raise Missing(f"{error.filename}: {error.strerror}") from None
    name = f"colony-{colony}"
    # Started by somebody who was started by a supervisor of the same colony: beside the others, not in one of them.
    around, _, _ = f"{place}/".partition(f"/{name}/")
    around = around.rstrip("/")
    folder = f"{around}/{name}"
    try:
        with suppress(FileExistsError):
            os.mkdir(folder)
    except OSError as error:
        raise Missing(f"cannot make {folder}: {error.strerror}") from None
    if obstacle := _obstacle(around, folder):
        with suppress(OSError):
            os.rmdir(folder)
        raise Missing(obstacle)
    return Cgroups(folder, place, tuple(path for path in _kept(state, name) if path != folder))


def _kept(state: str, name: str) -> Iterator[str]:
    """What `Cgroups.keep` has written into STATE, as far as it is there still."""
    data = head(os.path.join(state, _KEPT), _MAX_KEPT) or b""
    for path in data.decode("utf-8", "surrogateescape").split("\n"):
        if os.path.basename(path) == name and os.path.exists(f"{path}/cgroup.kill"):
            yield path


def _obstacle(around: str, folder: str) -> str | None:
    """Why nobody could be put into ``folder``, or ended there."""
    try:
        kind = _text(f"{folder}/cgroup.type").strip()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if kind != "domain":  # controllers are handed out to single threads around it
        return f"no process can join {folder}: its type is {kind}"
    if not os.path.exists(f"{folder}/cgroup.kill"):
        return "this kernel has no cgroup.kill, which came with Linux 5.14"
    # Who moves a process must be allowed to write here too: it is the nearest that leads to both places.
    if not os.access(f"{around}/cgroup.procs", os.W_OK, effective_ids=True):
        return f"{around}/cgroup.procs is not ours to write"
    return None


def _own(membership: str) -> str:
    """The path of our own cgroup in the v2 tree. Raises Missing."""
    for line in membership.split("\n"):
        if line.startswith("0::/"):
            return line.removeprefix("0::")
    raise Missing("this process is in no cgroup of version 2")


def _place(own: str, mountinfo: str) -> str:
    """Where that is in the file system. Raises Missing."""
    reason = "no cgroup2 file system is mounted"
    for mount in mounts.entries(mountinfo):
        if mount.kind != "cgroup2":
            continue
        reason = f"the cgroup that we are in, {own}, is not in what is mounted"
        root = mount.root.rstrip("/")
        if f"{own}/".startswith(f"{root}/"):
            place = os.path.join(mount.point, own[len(root) :].lstrip("/")).rstrip("/")
            if os.path.exists(f"{place}/cgroup.procs"):  # else it is hidden, or in a namespace around ours (/..)
                return place
    raise Missing(reason)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
