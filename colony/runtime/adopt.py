"""
What a supervisor that was killed has left running: found, and sorted into what goes on and what is stopped.

Found by the records of starts; an intent without a pid by its token in /proc, or by its FIFO as standard output (a
token alone is not enough: programs overwrite their environment). What carries a token of ours and belongs to nothing
that goes on is stopped before anything is started, and so is who is in a cgroup of ours, whatever it carries; what
cannot be ended keeps its own name waiting, and no other.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from colony.core import check
from colony.core.ending import Ending, advance, begin
from colony.core.model import Name, Pid, StopLadder, Survivor
from colony.runtime import family, proc
from colony.runtime.cgroups import Cgroup, Cgroups, directory
from colony.runtime.records import Record

log = Logger(namespace="colony")

_PACE = 0.02
"""Seconds between two looks at what is being stopped."""

_PACE_STUCK = 0.25
"""The same for what nothing more can be done about."""

PATIENCE_KILLED = 1.0
"""Seconds that what was killed has to end, until the others go on without waiting for it."""

_TICKS = os.sysconf("SC_CLK_TCK")


def survivors(records: Iterable[Record], pipes: str | None) -> list[Survivor]:
    """What became of each start that was recorded; an intent that came to nothing is left out."""
    found = []
    intents = []
    for record in records:
        if record.rest is not None:
            found.append(_survivor(record, record.pid or Pid(0), record.start_time, alive=False))
        elif record.pid is None:
            intents.append(record)
        else:
            stat = proc.stat(record.pid)
            alive = stat is not None and not stat.ended and stat.start_time == record.start_time
            found.append(_survivor(record, record.pid, record.start_time, alive))
    return [*found, *(_resolved(intents, pipes) if intents else ())]


def _survivor(record: Record, pid: Pid, start_time: int | None, alive: bool) -> Survivor:
    return Survivor(
        name=record.name,
        token=record.token,
        digest=record.digest,
        starts=record.starts,
        pid=pid,
        started=time.monotonic() if start_time is None else start_time / _TICKS - _slept(),
        alive=alive,
        stale=record.stale,
        rest=record.rest,
        start_time=start_time,
        said=record.said,
    )


def _slept() -> float:
    """Seconds that the machine has slept since its boot: start times count them, the monotonic clock does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic() if hasattr(time, "CLOCK_BOOTTIME") else 0.0


def _resolved(intents: Collection[Record], pipes: str | None) -> list[Survivor]:
    """
    Those whose start had happened though nobody wrote its pid down any more.

    The main leads a session, and is older than what it has started into sessions of their own.
    """
    by_token = {record.token: record for record in intents}
    by_pipe = {
        f"{pipes}/{record.name}.{record.token.rpartition('.')[2]}": record for record in intents if pipes is not None
    }
    mains: dict[str, proc.Stat] = {}
    for pid in proc.pids():
        record = by_token.get(proc.token(pid) or "") or by_pipe.get(proc.output(pid) or "")
        if record is None:
            continue
        stat = proc.stat(pid)
        if stat is not None and not stat.ended and stat.session == pid:
            mains[record.token] = min(stat, mains.get(record.token, stat), key=_age)
    return [
        _survivor(attrs.evolve(by_token[token], starts=by_token[token].starts + 1), stat.pid, stat.start_time, True)
        for token, stat in mains.items()
    ]


def _age(stat: proc.Stat) -> tuple[int, int]:
    """Small for old; within one tick (10 ms) the numbers tell, unless they have just begun anew."""
    return stat.start_time, stat.pid


@attrs.frozen
class Leftover:
    """
    A process that carries a token of ours, or is in a cgroup of ours, and belongs to nothing that goes on.

    ``name`` None: nobody knows whose.
    """

    stat: proc.Stat
    name: Name | None
    cgroup: Cgroup | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What names this process for good."""
        return self.stat.pid, self.stat.start_time


NOBODY: Mapping[str, Name] = MappingProxyType({})


def leftovers(
    colony: str,
    spared: Collection[str] = (),
    names: Mapping[str, Name] = NOBODY,
    cgroups: Collection[Cgroup] = (),
    config: str = "/",
) -> list[Leftover]:
    """
    Every living process that a supervisor of the same CONFIG has started, itself or through others.

    But for this process, and those with a token among ``spared``. ``names`` are known by their tokens; whoever is in
    one of ``cgroups`` is among them too. A token says only what the path of CONFIG is, so who carries one that is not
    known, and to whom ``config`` is another directory than to us, belongs to another colony: one in a container.
    """
    by_directory = {directory(token): name for token, name in names.items()} if cgroups else {}
    found = [
        Leftover(stat, by_directory.get(os.path.basename(cgroup.path)) or _name_of(stat.pid), cgroup)
        for cgroup in cgroups
        for stat in cgroup.members()
    ]
    passed = {os.getpid(), *(leftover.stat.pid for leftover in found)}
    for pid in proc.pids():
        token = proc.token(pid)
        if token is None or not token.startswith(f"{colony}.") or token in spared or pid in passed:
            continue
        if token not in names and proc.is_elsewhere(pid, config):
            continue
        stat = proc.stat(pid)
        if stat is not None and not stat.ended:
            found.append(Leftover(stat, names.get(token) or _name_of(pid)))
    return found


def _name_of(pid: int) -> Name | None:
    name = proc.variable(pid, b"COLONY_NAME")
    return Name(name) if name is not None and check.name_problem(name) is None else None


class Clearing:
    """
    Stops leftovers, and what they start meanwhile, each by the ladder.

    `gone` fires when none is left but those that were killed and do not end (uninterruptible sleep, as on a dead
    network file system), with the names that these belong to, and the pid of one each; ``freed`` is told of each name
    when all of its have ended. What belongs to nobody knows whom is waited for.
    """

    def __init__(
        self,
        clock: IReactorTime,
        colony: str,
        ladder: StopLadder,
        spared: Collection[str] = (),
        names: Mapping[str, Name] = NOBODY,
        freed: Callable[[Name], None] = lambda name: None,
        cgroups: Cgroups | None = None,
        config: str = "/",
    ) -> None:
        """``spared`` are the tokens of what goes on, ``names`` whose the tokens are that are known."""
        self._config = config
        self._cgroups = cgroups
        self._clock = clock
        self._colony = colony
        self._ladder = ladder
        self._spared = spared
        self._names = names
        self._freed = freed
        self._endings: dict[tuple[int, int], Ending] = {}
        self._killed: dict[tuple[int, int], float] = {}
        self.gone: Deferred[dict[Name, Pid]] = Deferred()

    def begin(self) -> None:
        """Look, and go on until nobody is left who can be ended."""
        now = self._clock.seconds()
        stale = [] if self._cgroups is None else self._cgroups.others(self._spared)
        found = leftovers(self._colony, self._spared, self._names, stale, self._config)
        seen_in = {leftover.cgroup for leftover in found}
        for leftover in found:
            self._stop(leftover, now)
        stuck: dict[Name, list[Leftover]] = {}
        for leftover in found:
            if leftover.name is not None and now - self._killed.get(leftover.key, now) >= PATIENCE_KILLED:
                stuck.setdefault(leftover.name, []).append(leftover)
        # Somebody may have been forked into a cgroup in which nobody was seen.
        unseen = any(cgroup not in seen_in and cgroup.has_members() for cgroup in stale)
        if unseen or sum(map(len, stuck.values())) < len(found):
            self._clock.callLater(_PACE, self.begin)
            return
        for name, those in stuck.items():
            log.error(
                "{name} ({pid}) was killed and does not end: {name} is not started until it has",
                name=name,
                pid=those[0].stat.pid,
            )
        for cgroup in stale:
            with suppress(OSError):  # who is stuck is in it still
                cgroup.remove()
        self.gone.callback({name: those[0].stat.pid for name, those in stuck.items()})
        if stuck:
            self._clock.callLater(_PACE_STUCK, self._follow, stuck)

    def _stop(self, leftover: Leftover, now: float) -> None:
        ending = self._endings.get(leftover.key)
        if ending is None:
            log.warn(
                "{name} ({pid}) was left running by a supervisor that is no more: stopping it",
                name=leftover.name or "?",
                pid=leftover.stat.pid,
            )
            ending, signals = begin(self._ladder, now)
        else:
            ending, signals = advance(ending, now)
        self._endings[leftover.key] = ending
        if ending.until is None:
            self._killed.setdefault(leftover.key, now)
        if "KILL" in signals and leftover.cgroup is not None:
            with suppress(OSError):  # each is sent its own all the same
                leftover.cgroup.kill()
        for name in signals:
            family.send(leftover.stat, signal.Signals[f"SIG{name}"])

    def _follow(self, stuck: Mapping[Name, Collection[Leftover]]) -> None:
        """Only at those that are known: others with a token of ours have been started since."""
        left = {}
        for name, those in stuck.items():
            still = [leftover for leftover in those if _is_there(leftover.stat)]
            if still:
                left[name] = still
            else:
                log.info("what was left of {name} is gone", name=name)
                self._freed(name)
        if left:
            self._clock.callLater(_PACE_STUCK, self._follow, left)


def _is_there(known: proc.Stat) -> bool:
    found = proc.stat(known.pid)
    return found is not None and found.start_time == known.start_time and not found.ended
