"""What the log says of a change: each thing once, in words that name who and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest

from colony.core.desired import Desired, Listing, Readable, fold
from colony.core.ending import Ending
from colony.core.lifecycle import (
    Alarm,
    Backoff,
    Down,
    Emptied,
    Event,
    Exited,
    Failed,
    HadToWait,
    Ready,
    Running,
    Spawned,
    SpawnFailed,
    Spawning,
    Starting,
    Stopping,
    Unit,
    Up,
    Waiting,
)
from colony.core.model import Defaults, Exit, Name, Pid, ProcessSpec, default_ladder
from colony.core.words import Line, of_files, of_unit

# Any: attributes of a Unit, each with its own type.

WEB = Name("web")
SPEC = ProcessSpec(("web",), digest="d")
PROCESS = Running(Pid(7), SPEC, 1, 10.0)
UNIT = Unit(WEB, spec=SPEC, generation=1, since=20.0)
ENDING = Ending(default_ladder(5), 0, 25.0)
STOPPING = Stopping(PROCESS, ENDING, asked=True)


def said(lines: Iterable[Line]) -> list[str]:
    return [f"{line.level.value}: {line.text.format(**line.fields)}" for line in lines]


@pytest.mark.parametrize(
    ("before", "after", "event", "lines"),
    [
        ({"state": Spawning(SPEC, 1)}, {"state": Up(PROCESS)}, Spawned(Pid(7)), ["info: started web as 7"]),
        (
            {"state": Spawning(SPEC, 1)},
            {"state": Backoff(22.0, 1), "streak": 2},
            SpawnFailed("exec: no such file"),
            [
                "warn: cannot start web: exec: no such file",
                "info: web is started again in 2.0 s; early deaths in a row: 2",
            ],
        ),
        (
            {"state": Up(PROCESS)},
            {"state": Failed(1), "streak": 5, "last_exit_at": 20.0},
            Exited(Pid(7), Exit(3), True),
            ["info: web (7) exited with code 3", "error: web is given up; early deaths in a row: 5"],
        ),
        (
            {"state": Up(PROCESS)},
            {"state": attrs.evolve(STOPPING, asked=False), "last_exit_at": 20.0},
            Exited(Pid(7), Exit(None, "KILL"), False),
            ["info: web (7) killed by KILL, leaving others that it started behind"],
        ),
        ({"state": Up(PROCESS)}, {"state": STOPPING}, Alarm(), ["info: stopping web (7)"]),
        ({"state": Up(PROCESS)}, {"state": STOPPING, "closing": True}, Alarm(), []),
        ({"state": STOPPING}, {"state": Down()}, Emptied(Pid(7)), []),
        ({}, {"state": Waiting((Name("db"), Name("mq")))}, Alarm(), ["info: web waits for db, mq"]),
        ({"state": Waiting((Name("db"),))}, {"state": Waiting((Name("mq"),))}, Alarm(), []),
        ({"state": Starting(PROCESS, 9.0)}, {"state": Up(PROCESS)}, Ready(Pid(7)), ["info: web is ready"]),
        (
            {"state": Up(PROCESS)},
            {"state": attrs.evolve(STOPPING, asked=False, fault="unhealthy: refused")},
            Alarm(),
            ["warn: stopping web (7): unhealthy: refused"],
        ),
        (
            {"state": Up(PROCESS)},
            {"state": Up(PROCESS), "yields": Name("mq")},
            Alarm(),
            ["info: web is stopped once mq has gone, which needs it"],
        ),
        ({"state": Up(PROCESS), "yields": Name("db")}, {"state": Up(PROCESS), "yields": Name("mq")}, Alarm(), []),
        ({"state": Up(PROCESS)}, {"state": Up(PROCESS)}, Exited(Pid(8), Exit(0), True), []),
        (
            {"state": Up(PROCESS)},
            {"state": Up(attrs.evolve(PROCESS, waited=True))},
            HadToWait(Pid(7)),
            ["warn: web had to wait: its pipe was full, and nobody read"],
        ),
    ],
)
def test_each_change_has_its_line(
    before: dict[str, Any], after: dict[str, Any], event: Event, lines: list[str]
) -> None:
    assert said(of_unit(attrs.evolve(UNIT, **before), attrs.evolve(UNIT, **after), event)) == lines


def took(desired: Desired, **files: bytes) -> tuple[Desired, list[str]]:
    after, names = fold(desired, Listing({name: Readable(data) for name, data in files.items()}), Defaults())
    return after, said(of_files(desired, after, names))


def test_a_bad_file_is_said_once_for_each_content_and_what_stays_in_force() -> None:
    desired, lines = took(Desired(), web=b"{")
    assert len(lines) == 1
    assert lines[0].startswith("warn: bad file for web: not JSON")
    assert said(of_files(desired, desired, [WEB])) == []
    desired, lines = took(desired, web=b'{"args": ["a"]}')
    assert lines == []
    desired, lines = took(desired, web=b"{}")
    assert lines == ["warn: bad file for web: has neither args nor shell; the last good one stays in force"]


def test_an_unknown_key_and_a_file_of_no_name_are_said_once() -> None:
    desired, lines = took(Desired(), web=b'{"args": ["a"], "mine": 1}', **{"a b": b"{}"})
    assert lines[0] == "info: in the file of web: unknown key 'mine'"
    assert lines[1].startswith("warn: bad file a b: 'a b' is no name")
    assert took(desired, other=b'{"args": ["a"]}')[1] == []


def test_who_waits_for_nobody_or_for_itself_is_said_once() -> None:
    desired, lines = took(Desired(), web=b'{"args": ["a"], "after": ["db", "mq"]}', mq=b'{"args": ["a"]}')
    assert lines == ["warn: web has to wait: after[0]: no such process: db"]
    desired, lines = took(desired, mq=b'{"args": ["a"], "after": ["web"]}')
    assert lines == [
        "warn: mq has to wait: after: waits for itself: mq -> web -> mq",
        "warn: web has to wait: after: waits for itself: web -> mq -> web",
    ]
    assert took(desired, other=b'{"args": ["a"]}')[1] == []
