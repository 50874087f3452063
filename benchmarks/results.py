"""Renders one run as a section of Markdown, and adds it to the results."""

from __future__ import annotations

import itertools
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.scenarios import BUSY, Measure, Samples, Scenario, ratio, summary

Rounds = Mapping[str, Sequence[Samples | str]]
"""Peer -> what each round found, or why not; in the order of the rounds."""


def _file_system(place: Path) -> str:
    """The type of the file system that ``place`` is on."""
    found, kind = Path(), "an unknown file system"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        mounted = Path(fields.split()[4])
        if place.is_relative_to(mounted) and len(mounted.parts) >= len(found.parts):
            found, kind = mounted, rest.split()[0]
    return kind


def machine(place: Path) -> str:
    """Cores, processor, kernel, how busy it was, what the peers' files are on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    about = f"{cores} cores ({model}), Linux {platform.release()}, files on {_file_system(place)}"
    return f"{about}, load {load:.1f} at the start"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value < 1000 or not digits else f"{value:.0f}"


def _cell(measure: Measure, rounds: Sequence[Samples | str], limit: Sequence[Samples | str]) -> list[str]:
    own = [one[measure.title] if not isinstance(one, str) else [] for one in rounds]
    bare = [one[measure.title] if not isinstance(one, str) else [] for one in limit]
    if not any(own):
        return ["-"] * (2 if measure.ratio else 1)
    middle, least, most = (_number(value, measure.digits) for value in summary(own))
    cells = [f"{middle} ({least} - {most})" if (least, most) != (middle, middle) else middle]
    if measure.ratio:
        factor = ratio(own, bare)
        cells.append("-" if factor is None else f"{factor:.1f}")
    return cells


def table(scenario: Scenario, found: Rounds, limit: str) -> str:
    """One line a peer, median (smallest - largest) and ``x limit``; below it, what could not be measured."""
    head = ["peer"]
    for measure in scenario.measures:
        head += [measure.title, "x limit"] if measure.ratio else [measure.title]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    notes = []
    for peer, rounds in found.items():
        cells = [cell for measure in scenario.measures for cell in _cell(measure, rounds, found.get(limit, ()))]
        lines.append("| " + " | ".join([peer, *cells]) + " |")
        for reason in dict.fromkeys(one for one in rounds if isinstance(one, str)):
            count = sum(one == reason for one in rounds)
            notes.append(f"- {peer}, {count} of {len(rounds)} rounds: {reason}")
    turns = [one for rounds in found.values() for one in rounds if not isinstance(one, str)]
    busy = sum(bool(any(turn.get(BUSY, ()))) for turn in turns)
    if busy:
        notes.append(f"- {busy} of {len(turns)} turns {BUSY}")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _slope(low: float, high: float, factor: float) -> str:
    """The exponent e of cost ~ n**e between two neighbours; a dash where there was nothing to grow."""
    return f"{math.log(high / low) / math.log(factor):.2f}" if low > 0 and high > 0 else "-"


def growth(scenario: Scenario, found: Mapping[int, Rounds]) -> str:
    """One line a peer and measure: the medians at each n, then the slopes between neighbours."""
    steps = sorted(found)
    pairs = list(itertools.pairwise(steps))
    head = ["peer", "what", *(f"n = {n}" for n in steps), *(f"slope {low} to {high}" for low, high in pairs)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    notes: list[str] = []
    for peer in found[steps[0]]:
        for measure in scenario.measures:
            at: dict[int, float] = {}
            for n in steps:
                own = [one[measure.title] for one in found[n][peer] if not isinstance(one, str)]
                if any(own):
                    at[n] = summary(own)[0]
            cells = [_number(at[n], measure.digits) if n in at else "-" for n in steps]
            slopes = [_slope(at[low], at[high], high / low) if low in at and high in at else "-" for low, high in pairs]
            lines.append("| " + " | ".join([peer, measure.title, *cells, *slopes]) + " |")
        for n in steps:
            reasons = dict.fromkeys(one for one in found[n][peer] if isinstance(one, str))
            notes.extend(f"- {peer} with {n}: {reason}" for reason in reasons)
    turns = [one for rounds in found.values() for each in rounds.values() for one in each if not isinstance(one, str)]
    if busy := sum(bool(any(turn.get(BUSY, ()))) for turn in turns):
        notes.append(f"- {busy} of {len(turns)} turns {BUSY}")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def section(scenario: Scenario, n: int, command: str, about: Sequence[str], body: str) -> str:
    """A section for RESULTS.md: what, when, on what, by which command, and the table."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = "".join(f"- {fact}\n" for fact in about)
    return f"\n## {scenario.title.format(n=n)} ({now})\n\n`{command}`\n\n{facts}\n{body}"


def append(path: Path, text: str) -> None:
    """Add ``text`` to the results; a new file begins with a title."""
    fresh = not path.exists()
    with path.open("a") as results:
        if fresh:
            results.write("# Results\n\nEvery run, oldest first; README.md beside this file says how to read them.\n")
        results.write(text)
