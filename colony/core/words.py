"""What is said in the log of what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

import attrs

from colony.core import check
from colony.core.desired import Desired
from colony.core.lifecycle import (
    Backoff,
    Event,
    Exited,
    Failed,
    HadToWait,
    Spawned,
    SpawnFailed,
    Starting,
    Stopping,
    Unit,
    Up,
    Waiting,
)
from colony.core.model import Name


class Level(Enum):
    """How much it matters: all is well, look at it when there is time, look at it now."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@attrs.frozen
class Line:
    """One line: a format in braces, and the fields in it."""

    level: Level
    text: str
    fields: Mapping[str, object]


def of_unit(before: Unit, after: Unit, event: Event) -> Iterator[Line]:
    """What became of one unit by one event."""
    name = after.name
    match event:
        case Spawned(pid):
            yield _line(Level.INFO, "started {name} as {pid}", name=name, pid=pid)
        case SpawnFailed(why):
            yield _line(Level.WARN, "cannot start {name}: {why}", name=name, why=why)
        case Exited(pid, exit, alone) if after.last_exit_at != before.last_exit_at:
            text = "{name} ({pid}) {exit}" if alone else "{name} ({pid}) {exit}, leaving others that it started behind"
            yield _line(Level.INFO, text, name=name, pid=pid, exit=str(exit))
        case HadToWait():
            yield _line(Level.WARN, "{name} had to wait: its pipe was full, and nobody read", name=name)
        case _:
            pass
    if after.yields is not None and before.yields is None:
        text = "{name} is stopped once {first} has gone, which needs it"
        yield _line(Level.INFO, text, name=name, first=after.yields)
    if type(after.state) is type(before.state):
        return
    match after.state:
        case Waiting(missing):
            yield _line(Level.INFO, "{name} waits for {missing}", name=name, missing=", ".join(missing))
        case Up() if isinstance(before.state, Starting):
            yield _line(Level.INFO, "{name} is ready", name=name)
        case Backoff(until):
            yield _line(
                Level.INFO,
                "{name} is started again in {delay:.1f} s; early deaths in a row: {streak}",
                name=name,
                delay=max(0.0, until - after.since),
                streak=after.streak,
            )
        case Failed():
            yield _line(
                Level.ERROR, "{name} is given up; early deaths in a row: {streak}", name=name, streak=after.streak
            )
        case Stopping(process, fault=str(fault)):
            yield _line(Level.WARN, "stopping {name} ({pid}): {fault}", name=name, pid=process.pid, fault=fault)
        case Stopping(process, asked=True) if not after.closing:  # where everything stops, that has been said
            yield _line(Level.INFO, "stopping {name} ({pid})", name=name, pid=process.pid)
        case _:
            pass


def of_files(before: Desired, after: Desired, names: Iterable[Name]) -> Iterator[Line]:
    """What is wrong with the files of those names, once for each content; and with files of no name."""
    for name in sorted(names):
        same = all(before.files.get(file) == after.files.get(file) for file in (name, f"{name}.json"))
        problems = after.problems.get(name, ())
        if problems and not (same and problems == before.problems.get(name)):
            kept = "; the last good one stays in force" if name in after.specs else ""
            text = "; ".join(map(str, problems))
            yield _line(Level.WARN, "bad file for {name}: {problems}{kept}", name=name, problems=text, kept=kept)
        for problem in after.tangles.get(name, ()):
            if problem not in before.tangles.get(name, ()):
                yield _line(Level.WARN, "{name} has to wait: {problem}", name=name, problem=str(problem))
        wanted = after.specs.get(name)
        if wanted is not None and wanted != before.specs.get(name):
            for key in wanted.spec.unknown:
                note = check.unknown_note(key)
                yield _line(Level.INFO, "in the file of {name}: {note}", name=name, note=note)
    for filename, why in after.strays.items():
        if filename not in before.strays:
            yield _line(Level.WARN, "bad file {filename}: {why}", filename=filename, why=why)


def _line(level: Level, text: str, **fields: object) -> Line:
    return Line(level, text, fields)
