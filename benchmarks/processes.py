"""
Starts programs, and ends whatever became of them: by pid and parentage, never by name.

The harness is a subreaper (prctl(2)): a process whose supervisor was killed becomes its child, so that everything a
run started, daemons too, is found below it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36

ended: dict[int, int] = {}
"""The wait status of every child of ours that ended."""


def become_subreaper() -> None:
    """Orphans below us become our children from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def raise_descriptor_limit() -> int:
    """As many descriptors as we may have, for us and all that we start. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start(argv: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
    """Start ``argv`` in a session of its own, its output added to the file ``output``. Returns the pid."""
    return os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM],
    )


def reap() -> None:
    """Collect every child that has ended, the adopted too."""
    with suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            ended[one[0]] = one[1]


def alive(pid: int) -> bool:
    """Is ``pid`` there, and not a zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(top: int) -> list[int]:
    """Every process below ``top``, parents first."""
    below: defaultdict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                below[int(stat.rpartition(")")[2].split()[1])].append(int(entry))
    found = [top]
    for pid in found:
        found.extend(below[pid])
    return found[1:]


def end_descendants(bound: float = 20.0) -> None:
    """Kill and reap everything below us. Raises TimeoutError if something outlives ``bound`` seconds."""
    until = time.monotonic() + bound
    while left := descendants(os.getpid()):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        reap()
        if time.monotonic() > until:
            raise TimeoutError(f"still there after {bound:g} s: {left}")


def _tasks(pids: Collection[int]) -> Iterator[str]:
    for pid in pids:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                yield f"/proc/{pid}/task/{task}"


def cpu(pids: Collection[int]) -> float:
    """Milliseconds of CPU that the threads of ``pids`` have used so far, to the nanosecond (schedstat, not ticks)."""
    total = 0
    for task in _tasks(pids):
        with suppress(OSError):
            total += int(Path(task, "schedstat").read_text().split()[0])
    return total / 1e6


def memory(pids: Collection[int]) -> tuple[float, float]:
    """(proportional, unshared) MiB of ``pids`` together: PSS, and what would be free if they were gone."""
    proportional = unshared = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                key, _, value = line.partition(":")
                if key == "Pss":
                    proportional += int(value.split()[0])
                elif key in ("Private_Clean", "Private_Dirty"):
                    unshared += int(value.split()[0])
    return proportional / 1024, unshared / 1024


def _busy_time() -> float:
    """Seconds of CPU that all cores together have been busy since the boot."""
    user, nice, system, _, _, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def wait_for_calm(bound: float) -> bool:
    """Wait until nobody has used a tenth of a core for half a second. False if ``bound`` seconds have not sufficed."""
    until = time.monotonic() + bound
    while time.monotonic() < until:
        before = _busy_time()
        time.sleep(0.5)
        if _busy_time() - before <= 0.05:
            return True
    return False


def wait_for_ends(pids: Collection[int], bound: float) -> dict[int, float]:
    """
    Wait until all of ``pids`` have ended, but no longer than ``bound`` seconds.

    Returns pid -> the monotonic second at which its end was seen; those still there are missing. Told by pidfds, so a
    zombie counts as ended and a pid that somebody else was given meanwhile does not count at all.
    """
    at: dict[int, float] = {}
    poll = select.poll()
    descriptors: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                at[pid] = time.monotonic()
            else:
                descriptors[descriptor] = pid
                poll.register(descriptor, select.POLLIN)
        until = time.monotonic() + bound
        while len(at) < len(pids) and (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                at[descriptors[descriptor]] = time.monotonic()
                poll.unregister(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return at
