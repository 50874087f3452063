"""What /proc knows: who a process is, who is in its session, whose token it carries."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import attrs

from colony.core.model import Pid


@attrs.frozen
class Stat:
    """
    What /proc/PID/stat says of a process (proc(5)).

    ``start_time`` is in clock ticks since boot (field 22): with the pid and the boot id it names a process for good.
    """

    pid: Pid
    state: str
    parent: Pid
    group: Pid
    session: Pid
    start_time: int

    @property
    def ended(self) -> bool:
        """Is it a zombie, or past that?  It runs nothing and holds nothing any more."""
        return self.state in "ZX"


def boot_id() -> str | None:
    """What changes with every boot; None where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return None


def stat(pid: int) -> Stat | None:
    """What is known of ``pid``; None if there is no such process."""
    data = _read(f"/proc/{pid}/stat")
    if not data:
        return None
    # The command's name, in parentheses, may hold anything, parentheses too.
    fields = data[data.rindex(b")") + 2 :].split()
    return Stat(
        pid=Pid(pid),
        state=fields[0].decode(),
        parent=Pid(int(fields[1])),
        group=Pid(int(fields[2])),
        session=Pid(int(fields[3])),
        start_time=int(fields[19]),
    )


def start_time(pid: int) -> int | None:
    """The `Stat.start_time` of ``pid`` alone, at half the price; None if there is no such process."""
    with suppress(OSError, ValueError):  # of who has ended some kernels tell nothing, instead of an error
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, 4096)  # one line, which the kernel gives whole
        finally:
            os.close(descriptor)
        return int(data[data.rindex(b")") + 2 :].split(b" ", 20)[19])
    return None


_TICK = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
"""Nanoseconds; the kernel gives start times in whole ones."""

_PROOFS = 8
"""Start times that have to be as they were reckoned, one after the other, before they are not read any more."""


class Births:
    """
    The `start_time` of children, mostly without reading it, which is a twentieth of what a start costs.

    What was started while the clock that start times are on (CLOCK_BOOTTIME, fork(2)) stayed within one tick, was
    started in that tick. Whether this kernel keeps to that is seen at the first starts.
    """

    def __init__(self) -> None:
        self._begun: int | None = None
        self._proofs = 0 if hasattr(time, "CLOCK_BOOTTIME") else -1

    def begin(self) -> None:
        """One is about to be started."""
        self._begun = self._tick()

    def of(self, pid: int) -> int | None:
        """The start time of what has been since; None if it is not to be had."""
        begun, self._begun = self._begun, None
        if begun is None or begun != self._tick():
            return start_time(pid)
        if self._proofs >= _PROOFS:
            return begun
        found = start_time(pid)
        if found is not None:
            self._proofs = self._proofs + 1 if found == begun else -1
        return found

    def _tick(self) -> int | None:
        return None if self._proofs < 0 else time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK


def pids() -> Iterator[int]:
    """Every process there is; some may be gone when they are looked at."""
    try:
        entries = os.listdir("/proc")
    except OSError:
        return
    for entry in entries:
        if entry.isdigit():
            yield int(entry)


def token(pid: int) -> str | None:
    """The COLONY_TOKEN in the environment that ``pid`` was started with; None if it has none, or may not be read."""
    return variable(pid, b"COLONY_TOKEN")


def output(pid: int) -> str | None:
    """The file that is standard output of ``pid``; None if it has none, or it may not be seen."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return None


def is_elsewhere(pid: int, path: str) -> bool:
    """
    Is ``path``, without links, another file or directory to ``pid`` than to us (a container, a chroot)?

    Where it cannot be seen on both sides, who is in another PID namespace than we are is elsewhere. False where nothing
    can be told, or there is no such process.
    """
    try:
        there, here = os.stat(f"/proc/{pid}/root{path}"), os.stat(path)
    except OSError:
        theirs, ours = _pid_namespace(pid), _pid_namespace(os.getpid())
        return None not in (theirs, ours) and theirs != ours
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


def _pid_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def variable(pid: int, name: bytes) -> str | None:
    """A variable of the environment that ``pid`` was started with; None if it is not set, or may not be read."""
    data = _environment(pid)
    if name not in data:
        return None
    for entry in data.split(b"\0"):
        if entry.startswith(name + b"="):
            return os.fsdecode(entry[len(name) + 1 :])
    return None


_EXEC = 0.1
"""Seconds that an exec may take from where the old memory is gone to where the new environment is known."""


def _environment(pid: int) -> bytes:
    """In the midst of an exec nobody has one; it is the old one until then, so that is waited for."""
    data = _read(f"/proc/{pid}/environ")
    until = time.monotonic() + _EXEC
    while not data:
        waits = _is_in_exec(pid) and time.monotonic() < until
        data = _read(f"/proc/{pid}/environ")  # also where that was over between the two questions
        if not waits:
            break
        time.sleep(0.0005)
    return data


def _is_in_exec(pid: int) -> bool:
    """
    Has it memory, and no place in it for an environment (proc(5): vsize, env_end)?

    False where we may not know: not before its environment could be opened at all.
    """
    data = _read(f"/proc/{pid}/stat")
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) < 49 or fields[20] == b"0" or fields[48] != b"0":
        return False
    return os.access(f"/proc/{pid}/exe", os.F_OK)


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = b""
        while chunk := os.read(descriptor, 65536):
            data += chunk
        return data
    except OSError:  # it ended in the midst
        return b""
    finally:
        os.close(descriptor)
