"""``python -m benchmarks SCENARIO...``: measures, prints, and adds to RESULTS.md."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peers, processes, programs, results, scenarios
from benchmarks.peer import Peer, Unavailable

_HERE = Path(__file__).resolve().parent


def _place() -> Path:
    """
    Where peers keep their files unless told otherwise: in memory where that can be had.

    ext4 passes over inodes that were freed within the last minutes, so on a disk whoever makes files would pay, ten
    times over, for what the rounds before have deleted.
    """
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What colony costs, beside its peers.")
    parser.add_argument("scenario", nargs="+", choices=[*scenarios.every, "all"], metavar="SCENARIO",
                        help=f"{', '.join(scenarios.every)}; or all")  # fmt: skip
    parser.add_argument("--peers", default=",".join(peers.usual), metavar="A,B", help="of " + ", ".join(peers.every))
    parser.add_argument("--n", default="", metavar="N,M", help="how many processes, instead of the scenario's own")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each peer takes its turn")
    parser.add_argument("--place", type=Path, default=_place(), metavar="DIR", help="where the peers keep their files")
    parser.add_argument("--cache", type=Path, default=_HERE / ".cache", metavar="DIR", help="where peers are installed")
    parser.add_argument("--results", type=Path, default=_HERE / "RESULTS.md", metavar="FILE", help="what is added to")
    parser.add_argument("--no-results", action="store_true", help="print only")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.peers.split(",") if name not in peers.every]
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}")
    asked.cache, asked.results, asked.place = (path.resolve() for path in (asked.cache, asked.results, asked.place))
    return asked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _available(names: Sequence[str], child: Path, cache: Path) -> tuple[list[Peer], list[str]]:
    """The peers that work here, and one line about each of those asked for."""
    found, about = [], []
    for name in names:
        peer = peers.every[name]
        try:
            version = peer.install(cache)
            scenarios.prove(peer, child)
        except Unavailable as reason:
            about.append(f"{name}: skipped, {reason}")
        else:
            found.append(peer)
            about.append(f"{name}: {version}")
        _say(about[-1])
    return found, about


def _told(samples: scenarios.Samples | str) -> str:
    if isinstance(samples, str):
        return samples
    return "; ".join(f"{title} " + " ".join(f"{value:.6g}" for value in samples[title]) for title in samples)


def _measure(scenario: scenarios.Scenario, working: Sequence[Peer], child: Path, n: int, rounds: int) -> results.Rounds:
    found: dict[str, list[scenarios.Samples | str]] = {peer.name: [] for peer in working}
    for turn in range(rounds):
        # Whoever comes first meets the machine as the last round left it: everybody does, once.
        first = turn % max(1, len(working))
        for peer, samples in scenario.round([*working[first:], *working[:first]], child, n):
            found[peer.name].append(samples)
            _say(f"{scenario.name} n={n} round {turn + 1}/{rounds} {peer.name}: {_told(samples)}")
    return found


def _end(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


@contextmanager
def _leaving_nothing(place: Path) -> Iterator[None]:
    """However we end, by INT, TERM or HUP too and in the midst of tidying up, no process and no file is left."""
    enders = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    processes.raise_descriptor_limit()
    processes.become_subreaper()
    tempfile.tempdir = tempfile.mkdtemp(prefix="colony-benchmark-", dir=place)
    try:
        for signum in enders:
            signal.signal(signum, _end)
        yield
    finally:
        for signum in enders:
            signal.signal(signum, signal.SIG_IGN)
        processes.end_descendants()
        shutil.rmtree(tempfile.tempdir)


def main(argv: Sequence[str]) -> None:
    """Measure what ``argv`` asks for."""
    asked = _arguments(argv)
    os.chdir("/")  # no peer finds anything by where it was started
    with _leaving_nothing(asked.place):
        _run(asked, "python -m benchmarks " + shlex.join(argv))


def _run(asked: argparse.Namespace, command: str) -> None:
    child, made_of = programs.child(asked.cache)
    _say(made_of)
    machine = results.machine(asked.place)
    working, about = _available(asked.peers.split(","), child, asked.cache)
    for name in scenarios.every if "all" in asked.scenario else asked.scenario:
        scenario = scenarios.every[name]
        counts = [int(word) for word in asked.n.split(",") if word] or scenario.steps or [scenario.n]
        facts = [machine, f"Python {platform.python_version()}, {made_of}", *about]
        found: dict[int, results.Rounds] = {}
        for n in counts:
            found[n] = _measure(scenario, working, child, n, asked.rounds or scenario.rounds)
            if not scenario.steps:
                _keep(
                    asked, results.section(scenario, n, command, facts, results.table(scenario, found[n], peers.LIMIT))
                )
        if scenario.steps:
            _keep(asked, results.section(scenario, min(counts), command, facts, results.growth(scenario, found)))


def _keep(asked: argparse.Namespace, text: str) -> None:
    print(text, flush=True)
    if not asked.no_results:
        results.append(asked.results, text)


if __name__ == "__main__":
    main(sys.argv[1:])
