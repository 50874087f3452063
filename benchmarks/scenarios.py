"""What is measured: one function a scenario, one round of it at a time, and their table."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from benchmarks import processes
from benchmarks.peer import Peer, Unavailable
from benchmarks.programs import compiled
from benchmarks.reports import Late
from benchmarks.stage import Stage

# Any is what a stage is made with.

Samples = Mapping[str, Sequence[float]]
"""What a round found: the title of a measure -> its samples."""

Round = Callable[[Sequence[Peer], Path, int], Iterator[tuple[Peer, Samples | str]]]
"""(peers in this round's order, the child, n) -> for each peer its samples, or why there are none."""


PATIENCE = 2.0
"""Seconds that a measurement waits for others on the machine to be quiet, before it is made all the same."""

BUSY = "were made on a busy machine"
"""Beside the measures of a turn: whether it did."""


class StageOf(Protocol):
    """Makes a stage of the peer whose turn it is, with so many programs."""

    def __call__(self, count: int, *, uid: int | None = None, ballast: int = 0) -> Stage: ...


@dataclass(frozen=True)
class Measure:
    """A column: its title with the unit, whether ``x limit`` stands beside it, and how many decimals it is worth."""

    title: str
    ratio: bool = True
    digits: int = 2


@dataclass(frozen=True)
class Scenario:
    """
    A row of the table of goals: ``n`` and ``rounds`` are what it runs with unless told otherwise.

    With ``steps`` it runs with each of these instead, and one table shows how each measure grows.
    """

    name: str
    title: str
    measures: tuple[Measure, ...]
    n: int
    rounds: int
    round: Round
    steps: tuple[int, ...] = ()


def _stage(
    stages: list[Stage], peer: Peer, child: Path, count: int, *, uid: int | None = None, ballast: int = 0
) -> Stage:
    stages.append(Stage(peer, child, count, patience=PATIENCE, uid=uid, ballast=ballast))
    return stages[-1]


def _one_by_one(measure: Callable[[StageOf, int], Samples]) -> Round:
    """
    A round in which the peers take turns, each alone on the machine.

    ``measure`` is given what makes a stage of that peer with so many programs, and n.
    """

    def in_turn(peers: Sequence[Peer], child: Path, n: int) -> Iterator[tuple[Peer, Samples | str]]:
        for peer in peers:
            stages: list[Stage] = []
            try:
                samples = measure(partial(_stage, stages, peer, child), n)
            except (Late, Unavailable) as reason:
                yield peer, str(reason)
            else:
                yield peer, {**samples, BUSY: [not all(one.calm for one in stages)]}

    return in_turn


def _milliseconds(later: float, earlier: float) -> float:
    return (later - earlier) * 1000


def _all_up(stage_of: StageOf, n: int) -> Samples:
    """From the start of the supervisor's command to the first breath of the last child."""
    with stage_of(n) as stage:
        at = [report.at - stage.began for report in stage.up().values()]
        spent = processes.cpu(stage.own()) / 1000
        return {"all up, s": [max(at)], "first up, s": [min(at)], "its CPU, s": [spent]}


NOBODY = 65534
"""The uid and gid of those who own nothing."""


def _uid(stage_of: StageOf, n: int) -> Samples:
    """As all-up, each program as a user of no rights: the path that forks."""
    with stage_of(n, uid=NOBODY) as stage:
        at = [report.at - stage.began for report in stage.up().values()]
        spent = processes.cpu(stage.own()) / 1000
        span = max(at) - min(at)
        return {"all up, s": [max(at)], "a start, ms": [span * 1000 / max(1, n - 1)], "its CPU, s": [spent]}


def _uid_memory(stage_of: StageOf, n: int) -> Samples:
    """100 as a user of no rights, then 100 as the supervisor's own, by a supervisor that is ``n`` MiB larger."""
    samples: dict[str, list[float]] = {}
    for uid, title in ((NOBODY, "a start with a uid, ms"), (None, "a start without, ms")):
        with stage_of(100, uid=uid, ballast=n) as stage:
            at = [report.at for report in stage.up().values()]
            samples[title] = [(max(at) - min(at)) * 1000 / 99]
    return samples


def _fair(count: int, period: float) -> Iterator[int]:
    """
    Numbers of as many of ``count`` samples as a round has time for, each begun at a fair moment.

    A peer that looks every ``period`` seconds is asked at a random phase of it: asked right after it has looked, it
    would be measured at its worst every time.
    """
    for number in range(min(count, 2) if period > 1 else count):
        time.sleep(random.uniform(0.05, max(period, 0.1)))
        yield number


def _back_after_kill(stage: Stage, name: str) -> float:
    """Milliseconds from just before SIGKILL to the first breath of the next instance."""
    pid = stage.pid(name)
    before = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return _milliseconds(stage.next([name])[name].at, before)


def _one_killed(stage_of: StageOf, n: int) -> Samples:
    """Some of the children are killed, one after another; then the only child of a supervisor without others."""
    kills = 10
    with stage_of(n + kills) as stage:
        stage.up()
        stage.ripen()
        victims = random.sample(stage.names, kills)
        beside = [_back_after_kill(stage, victims[number]) for number in _fair(kills, stage.peer.reaping)]
    with stage_of(1) as stage:
        stage.up()
        alone = []
        for _ in _fair(3, stage.peer.reaping):
            stage.ripen()
            alone.append(_back_after_kill(stage, stage.names[0]))
    return {"alone, ms": alone, "beside the others, ms": beside}


def _kill_all(stage: Stage) -> tuple[float, float]:
    """Kill everybody at once. Returns the seconds until the last is back, and the supervisor's seconds of CPU."""
    pids = [stage.pid(name) for name in stage.names]
    own = stage.own()
    idle, before = processes.cpu(own), time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    back = stage.next(stage.names)
    return max(report.at for report in back.values()) - before, (processes.cpu(own) - idle) / 1000


def _all_killed(stage_of: StageOf, n: int) -> Samples:
    """From just before the first of ``n`` SIGKILLs in a row to the first breath of the last one back."""
    with stage_of(n) as stage:
        stage.up()
        stage.ripen()
        seconds, spent = _kill_all(stage)
        return {"all back, s": [seconds], "its CPU, s": [spent]}


def _add_some(stage: Stage) -> list[float]:
    """Milliseconds from just before one more program is added to its first breath, some times."""
    found = []
    for number in _fair(5, stage.peer.period):
        name = f"more{number}"
        before = stage.add(name)
        found.append(_milliseconds(stage.next([name])[name].at, before))
    return found


def _file(stage_of: StageOf, n: int) -> Samples:
    """From just before the file of one more program is written (or the call is made) to that program's first breath."""
    with stage_of(n) as stage:
        stage.up()
        stage.ripen()
        return {"running after, ms": _add_some(stage)}


def _ctl_add(stage_of: StageOf, n: int) -> Samples:
    """From just before the command line is started to the first breath of the program that it adds."""
    with stage_of(n) as stage:
        stage.up()
        stage.ripen()
        found = []
        for number in _fair(5, stage.peer.period):
            name = f"more{number}"
            before = stage.type_add(name)
            found.append(_milliseconds(stage.next([name])[name].at, before))
            processes.reap()
        return {"running after, ms": found}


def _restart(stage_of: StageOf, n: int) -> Samples:
    """From just before the message is written (or the call is made) to the first breath of the new instance."""
    with stage_of(n) as stage:
        stage.up()
        stage.ripen()
        found = []
        for number in _fair(5, stage.peer.period):
            name = stage.names[number % n]
            before = stage.restart(name)
            found.append(_milliseconds(stage.next([name])[name].at, before))
        return {"new instance after, ms": found}


WINDOW = 20.0
"""Seconds of idleness; two scans at colony's default frequency."""


def _idle(peers: Sequence[Peer], child: Path, n: int) -> Iterator[tuple[Peer, Samples | str]]:
    """All peers idle side by side in the same `WINDOW`."""
    with ExitStack() as end:
        stages: list[Stage] = []
        for peer in peers:
            try:
                stage = end.enter_context(Stage(peer, child, n))
                stage.up()
            except (Late, Unavailable) as reason:
                yield peer, str(reason)
            else:
                stages.append(stage)
        time.sleep(3)
        own = [stage.own() for stage in stages]
        began, before = time.monotonic(), [processes.cpu(pids) for pids in own]
        time.sleep(WINDOW)
        after, span = [processes.cpu(pids) for pids in own], time.monotonic() - began
        for stage, earlier, later in zip(stages, before, after, strict=True):
            yield stage.peer, {"CPU, ms per s": [(later - earlier) / span]}


def _memory(stage_of: StageOf, n: int) -> Samples:
    """The supervisor's own processes, without the children, 1.5 s after the last child began; and with none at all."""
    samples: dict[str, list[float]] = {}
    for count, about in ((0, "with none"), (n, "with n")):
        with stage_of(count) as stage:
            stage.up()
            time.sleep(1.5)
            proportional, unshared = processes.memory(stage.own())
            samples[f"PSS {about}, MiB"] = [proportional]
            samples[f"unshared {about}, MiB"] = [unshared]
    return samples


def _stop(stage: Stage, bound: float) -> tuple[float, int]:
    """TERM to the supervisor. Returns the seconds until all that end have ended, and how many children have not."""
    pids = {stage.pid(name) for name in stage.names}
    pids = {pid for pid in pids if processes.alive(pid)}
    before = time.monotonic()
    os.kill(stage.supervisor, signal.SIGTERM)
    gone = processes.wait_for_ends({stage.supervisor}, bound)
    # What its last signals reach ends within a moment; who is there a second later was forgotten.
    gone |= processes.wait_for_ends(pids, 1.0 if gone else 0.0)
    return max(gone.values(), default=time.monotonic()) - before, len(pids - gone.keys())


def _shutdown(stage_of: StageOf, n: int) -> Samples:
    """From just before SIGTERM until the supervisor and all its children have ended; and who has not."""
    with stage_of(n) as stage:
        stage.up()
        stage.ripen()
        seconds, left = _stop(stage, 30.0)
        return {"all gone, s": [seconds], "orphans": [left]}


def _growth(stage_of: StageOf, n: int) -> Samples:
    """One life with ``n``: all up, idle, memory, some more, all killed, all stopped; each as elsewhere here."""
    with stage_of(n) as stage:
        up = max(report.at - stage.began for report in stage.up().values())
        stage.ripen()
        own = stage.own()
        began, before = time.monotonic(), processes.cpu(own)
        time.sleep(WINDOW)
        idle = (processes.cpu(own) - before) / (time.monotonic() - began)
        _, unshared = processes.memory(own)
        added = _add_some(stage)
        stage.ripen()
        back, _ = _kill_all(stage)
        stage.ripen()
        gone, _ = _stop(stage, 60.0)
    return {
        "all up, s": [up],
        "all back, s": [back],
        "all gone, s": [gone],
        "one more, ms": added,
        "idle, CPU ms per s": [idle],
        "unshared memory, MiB": [unshared],
    }


def _crash(stage_of: StageOf, n: int) -> Samples:
    """The supervisor is killed and started again; 4 s later we look; then it is told to stop."""
    with stage_of(n) as stage:
        first = stage.up()
        stage.ripen()
        os.kill(stage.supervisor, signal.SIGKILL)
        processes.wait_for_ends({stage.supervisor}, 5.0)
        processes.reap()
        stage.start()
        until = time.monotonic() + 4.0
        while (left := until - time.monotonic()) > 0:
            stage.reports.hear(min(left, 0.05))
            processes.reap()  # an orphan's end shows to its next supervisor only once its parent, us, has reaped it
        living = [[one for one in stage.reports.began[name] if processes.alive(one.pid)] for name in stage.names]
        restarts = sum(stage.reports.began[name][-1] != first[name] for name in stage.names)
        duplicates = sum(len(instances) > 1 for instances in living)
        down = sum(not instances for instances in living)
        pids = {one.pid for instances in living for one in instances}
        os.kill(stage.supervisor, signal.SIGTERM)
        if processes.wait_for_ends({stage.supervisor}, 30.0):
            pids -= processes.wait_for_ends(pids, 1.0).keys()
        return {"duplicates": [duplicates], "restarts": [restarts], "down": [down], "left at its stop": [len(pids)]}


def _scheduler(stage_of: StageOf, n: int) -> Samples:
    """How much later than its punctual run each of ``n`` runs begins, one a second; and what the scheduler takes."""
    with stage_of(0) as stage:
        stage.schedule("tick", 1.0)
        begun = []
        for number in range(n):
            begun.append(stage.next(["tick"]).popitem()[1].at - number)
            processes.reap()
        late = [_milliseconds(at, min(begun)) for at in begun]
        proportional, _ = processes.memory([stage.supervisor])
        return {"mean, ms": [sum(late) / n], "latest, ms": [max(late)], "PSS, MiB": [proportional]}


def _talkers(measure: Callable[[Callable[..., Stage], int], Samples]) -> Round:
    """As `_one_by_one`, with programs that talk instead of silent ones, and no peer that has no log files."""

    def in_turn(peers: Sequence[Peer], child: Path, n: int) -> Iterator[tuple[Peer, Samples | str]]:
        talk = compiled("talk", child.parent)
        for peer in peers:
            stages: list[Stage] = []

            def stage_of(count: int, peer: Peer = peer, stages: list[Stage] = stages, **more: Any) -> Stage:
                if talk is None:
                    raise Unavailable("no C compiler, and so nobody who talks fast enough")
                peer.logs(Path())
                stages.append(Stage(peer, talk, count, patience=PATIENCE, **more))
                return stages[-1]

            try:
                samples = measure(stage_of, n)
            except (Late, Unavailable) as reason:
                yield peer, str(reason)
            else:
                yield peer, {**samples, BUSY: [not all(one.calm for one in stages)]}

    return in_turn


def _flood(stage_of: Callable[..., Stage], n: int) -> Samples:
    """From the first breath of one that writes ``n`` MB to the last of them in its file."""
    size = n * 1_000_000
    with stage_of(1, words=(str(size), "0"), logged=True) as stage:
        began = next(iter(stage.up().values())).at
        before = processes.cpu(stage.own())  # a millisecond late, but without what a start costs
        last, kept = began, -1
        while kept < size and time.monotonic() < last + 3:  # who loses some is not waited for
            now_kept = stage.kept()
            if now_kept != kept:
                last, kept = time.monotonic(), now_kept
            time.sleep(0.001)
        spent = processes.cpu(stage.own()) - before
        return {"MB/s": [kept / 1e6 / (last - began)], "its CPU, ms/MB": [spent / n], "kept, %": [100 * kept / size]}


SECONDS = 5
"""That many talk for."""


def _lines(stage_of: Callable[..., Stage], n: int, *, relayed: bool = False) -> Samples:
    """``n`` that say a thousand lines a second each: what is in the files in the end, and what that took."""
    size = n * SECONDS * 1000 * 100
    with stage_of(n, words=(str(SECONDS * 100_000), "1000"), logged=True, relayed=relayed) as stage:
        began = max(report.at for report in stage.up().values())
        time.sleep(1)
        before, since = processes.cpu(stage.own()), time.monotonic()
        time.sleep(max(0.0, began + SECONDS - 1 - time.monotonic()))
        spent, took = processes.cpu(stage.own()) - before, time.monotonic() - since
        bound = time.monotonic() + 5
        while stage.kept() < size and time.monotonic() < bound:
            time.sleep(0.05)
        return {"its CPU, % of a core": [spent / took / 10], "kept, %": [100 * stage.kept() / size]}


def _count(title: str) -> Measure:
    return Measure(title, ratio=False, digits=0)


every: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "all-up",
            "{n} configured: all up",
            (Measure("all up, s"), Measure("first up, s", ratio=False), Measure("its CPU, s")),
            1000,
            3,
            _one_by_one(_all_up),
        ),
        Scenario(
            "uid",
            "{n} configured, each with a uid: all up",
            (Measure("all up, s"), Measure("a start, ms", digits=3), Measure("its CPU, s")),
            1000,
            3,
            _one_by_one(_uid),
        ),
        Scenario(
            "uid-memory",
            "a start with a uid, by a supervisor that has n MiB more",
            (Measure("a start with a uid, ms", digits=3), Measure("a start without, ms", digits=3)),
            16,
            3,
            _one_by_one(_uid_memory),
            steps=(16, 128, 1024),
        ),
        Scenario(
            "one-killed",
            "one killed: back after, alone and beside {n} others",
            (Measure("alone, ms"), Measure("beside the others, ms")),
            500,
            2,
            _one_by_one(_one_killed),
        ),
        Scenario(
            "all-killed",
            "{n} killed at once: all back",
            (Measure("all back, s", digits=3), Measure("its CPU, s", digits=3)),
            500,
            3,
            _one_by_one(_all_killed),
        ),
        Scenario(
            "file",
            "file written -> running, beside {n} others",
            (Measure("running after, ms"),),
            20,
            3,
            _one_by_one(_file),
        ),
        Scenario(
            "ctl-add",
            "`ctl add` typed -> running, beside {n} others",
            (Measure("running after, ms", digits=1),),
            20,
            3,
            _one_by_one(_ctl_add),
        ),
        Scenario(
            "restart",
            "restart by message, one of {n}",
            (Measure("new instance after, ms"),),
            20,
            3,
            _one_by_one(_restart),
        ),
        Scenario(
            "idle",
            "{n} idle: CPU ms per s",
            (Measure("CPU, ms per s", ratio=False, digits=3),),
            500,
            2,
            _idle,
        ),
        Scenario(
            "memory",
            "memory of the supervisor, 0 / {n} processes",
            tuple(
                Measure(f"{kind} with {count}, MiB", ratio=False, digits=1)
                for count in ("none", "n")
                for kind in ("PSS", "unshared")
            ),
            1000,
            2,
            _one_by_one(_memory),
        ),
        Scenario(
            "shutdown",
            "SIGTERM with {n}: all gone, orphans",
            (Measure("all gone, s", digits=3), _count("orphans")),
            500,
            3,
            _one_by_one(_shutdown),
        ),
        Scenario(
            "crash",
            "kill -9 of the supervisor with {n}, started again: duplicates, restarts",
            (_count("duplicates"), _count("restarts"), _count("down"), _count("left at its stop")),
            20,
            2,
            _one_by_one(_crash),
        ),
        Scenario(
            "log-flood",
            "one that writes {n} MB of lines of 100 bytes into its log file",
            (
                Measure("MB/s", ratio=False, digits=0),
                Measure("its CPU, ms/MB", ratio=False, digits=3),
                Measure("kept, %", ratio=False, digits=1),
            ),
            200,
            3,
            _talkers(_flood),
        ),
        Scenario(
            "log-lines",
            "{n} that write a thousand lines a second each into their log files",
            (Measure("its CPU, % of a core", ratio=False, digits=1), Measure("kept, %", ratio=False, digits=2)),
            100,
            2,
            _talkers(_lines),
        ),
        Scenario(
            "log-relay",
            "the same, and into the supervisor's own log",
            (Measure("its CPU, % of a core", ratio=False, digits=1), Measure("kept, %", ratio=False, digits=2)),
            100,
            2,
            _talkers(partial(_lines, relayed=True)),
        ),
        Scenario(
            "scheduler",
            "a command every second, {n} times: how late it begins",
            (
                Measure("mean, ms", ratio=False),
                Measure("latest, ms", ratio=False, digits=1),
                Measure("PSS, MiB", ratio=False, digits=1),
            ),
            30,
            2,
            _one_by_one(_scheduler),
        ),
        Scenario(
            "growth",
            "how cost grows with the number of processes",
            (
                Measure("all up, s", digits=3),
                Measure("all back, s", digits=3),
                Measure("all gone, s", digits=3),
                Measure("one more, ms"),
                Measure("idle, CPU ms per s", digits=3),
                Measure("unshared memory, MiB", digits=1),
            ),
            100,
            1,
            _one_by_one(_growth),
            steps=(100, 1000, 5000),
        ),
    )
}


def prove(peer: Peer, child: Path) -> None:
    """Run one child once: warms the caches, and raises Unavailable if this peer does not work here."""
    try:
        with Stage(peer, child, 1) as stage:
            stage.up(20.0)
    except Late as reason:
        raise Unavailable(f"does not start one child: {reason}") from None


def summary(samples: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(median, smallest, largest) of all samples of all rounds."""
    flat = [sample for one in samples for sample in one]
    return median(flat), min(flat), max(flat)


def ratio(samples: Sequence[Sequence[float]], limit: Sequence[Sequence[float]]) -> float | None:
    """The median over the rounds of (median of this peer / median of the limit in the same round)."""
    each = [median(own) / median(bare) for own, bare in zip(samples, limit, strict=False) if own and bare]
    return median(each) if each else None
