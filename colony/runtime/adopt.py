"""
What a supervisor that was killed has left running: found, and sorted into what goes on and what is stopped.

Found by the records of starts; an intent without a pid by its token in /proc, or by its FIFO as standard output (a
token alone is not enough: programs overwrite their environment). What carries a token of ours and belongs to nothing
that goes on is stopped before anything is started.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from colony.core.ending import Ending, advance, begin
from colony.core.model import Pid, StopLadder, Survivor
from colony.runtime import family, proc
from colony.runtime.records import Record

log = Logger(namespace="colony")

_PACE = 0.02
"""Seconds between two looks at what is being stopped."""

_TICKS = os.sysconf("SC_CLK_TCK")


def survivors(records: Iterable[Record], pipes: str | None) -> list[Survivor]:
    """What became of each start that was recorded; an intent that came to nothing is left out."""
    found = []
    intents = []
    for record in records:
        if record.pid is None:
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
        # Ticks count from the boot, as this clock does but for the time that the machine slept.
        started=time.monotonic() if start_time is None else start_time / _TICKS,
        alive=alive,
        stale=record.stale,
        done=record.done,
        start_time=start_time,
    )


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
    """A process that carries a token of ours and belongs to nothing that goes on."""

    stat: proc.Stat
    name: str


def leftovers(colony: str, spared: Collection[str] = ()) -> list[Leftover]:
    """
    Every living process that a supervisor of the same CONFIG has started, itself or through others.

    But for this process, and those with a token among ``spared``.
    """
    found = []
    for pid in proc.pids():
        token = proc.token(pid)
        if token is None or not token.startswith(f"{colony}.") or token in spared or pid == os.getpid():
            continue
        stat = proc.stat(pid)
        if stat is not None and not stat.ended:
            found.append(Leftover(stat, proc.variable(pid, b"COLONY_NAME") or "?"))
    return found


class Clearing:
    """Stops leftovers, and what they start meanwhile, each by the ladder; `gone` fires when none is left."""

    def __init__(self, clock: IReactorTime, colony: str, ladder: StopLadder, spared: Collection[str] = ()) -> None:
        self._clock = clock
        self._colony = colony
        self._ladder = ladder
        self._spared = spared
        self._endings: dict[tuple[int, int], Ending] = {}
        self.gone: Deferred[None] = Deferred()

    def begin(self) -> None:
        """Look, and go on until nobody is left."""
        now = self._clock.seconds()
        found = leftovers(self._colony, self._spared)
        for leftover in found:
            key = leftover.stat.pid, leftover.stat.start_time
            ending = self._endings.get(key)
            if ending is None:
                log.warn(
                    "{name} ({pid}) was left running by a supervisor that is no more: stopping it",
                    name=leftover.name,
                    pid=leftover.stat.pid,
                )
                ending, signals = begin(self._ladder, now)
            else:
                ending, signals = advance(ending, now)
            self._endings[key] = ending
            for name in signals:
                family.send(leftover.stat, signal.Signals[f"SIG{name}"])
        if found:
            self._clock.callLater(_PACE, self.begin)
        else:
            self.gone.callback(None)
