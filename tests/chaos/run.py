"""
A colony through random events, against one oracle; a seed gives the same plan every time.

The oracle: never two of a name; nobody starts before what it needs has said that it is ready; at rest what runs is what
the files and STOPs say, as far as what it needs is ready, and nothing else of ours is alive; what nobody touched keeps
its pid, whatever becomes of the supervisor.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.live.driver import LOOK, MARK, Colony, Process, process, wait_for

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")

OPTIONS = ("--frequency", "5", "-t", "0.2", "-k", "0.5", "-m", "0.05", "-M", "0.2")
"""Of the supervisor: so that early deaths and deaf processes cost little time."""

LENGTH = 70
"""Events in a run."""

QUIET = 0.8
"""Seconds without a change that count as rest: more than a deaf process takes to be killed."""

REST = 20.0
"""Seconds within which it must have come to rest, on a busy machine."""

ROLE = "COLONY_CHAOS_ROLE"
"""In the environment of a process that leads a session of its own, and is no main."""

START = """\
exec 9>>"$PLACE/$COLONY_NAME.lock"
flock -n -E 77 9
[ $? -ne 77 ] || echo "$COLONY_NAME: $$ was started beside another" >>"$PLACE/violations"
echo "begin $COLONY_NAME $EDITION $$ $(date +%s%N)" >>"$PLACE/book"
"""
"""What every program begins with: its family holds a lock together, so that no overlap is too short to be seen."""

READY = """\
sleep {delay}
echo "ready $COLONY_NAME $EDITION $$ $(date +%s%N)" >>"$PLACE/book"
echo now ready
"""
"""And what those go on with that say when they are ready, after having written it down."""

NOBODY = "gnu"
"""A name that never has a file, though some need it."""

LOOK_AGAIN = 0.2
"""Seconds in which a command that asks is over; two of a name find each other by their lock at once, besides."""

SLACK = 2.0
"""Seconds in which who was ready may have begun anew before one whom that let start has noted its own start."""

TIMEOUT = 5.0
"""Seconds to become ready; by then it is ended, or taken for ready by a supervisor that may not have heard of it."""

PROGRAMS = {
    "plain": "exec sleep 1000",
    "parent": "sleep 1001 & sleep 1002 & exec sleep 1000",
    "daemon": f"({ROLE}=daemon setsid sleep 1001 &) ; exec sleep 1000",
    "deaf": "trap '' TERM; sleep 1001 & exec sleep 1000",
    "slow": "trap 'sleep 0.2; exit 0' TERM; while :; do sleep 0.05; done",
    "loud": "head -c 100000 /dev/zero | tr '\\0' '\\n'; exec sleep 1000",
    "flaky": "sleep 0.3",
    "once": "exit 0",
}

HEALTH = {"every": 0.4, "timeout": 5, "failures": 2}

BAD = (
    b"",
    b"{",
    b"[]",
    b'{"args": []}',
    b"\xff\xfe",
    b'{"args": ["a"], "args": ["b"]}',
    b'{"args": ["a"], "uid": "x"}',
)

JUNK = (b"", b"{", b'{"type": "EXPLODE"}', b"[]", b'{"type": "RESTART", "name": "nobody"}', b'{"type": "SCAN"}')


class Violation(AssertionError):
    """The oracle says no."""


@dataclass(frozen=True)
class Edition:
    """One good content of a process file."""

    number: int
    kind: str
    after: tuple[str, ...] = ()
    ready: str = "at once"
    health: bool = False

    def spec(self, place: Path) -> dict[str, object]:
        """Its JSON value."""
        env = {"EDITION": str(self.number), "PLACE": str(place), MARK: str(place)}
        begin = START + (READY.format(delay=0.2) if self.ready == "log" else "")
        value: dict[str, object] = {"shell": begin + PROGRAMS[self.kind], "env": env}
        if self.kind == "once":
            value["restart"] = {"when": "never"}
        if self.after:
            value["after"] = list(self.after)
        if self.ready != "at once":
            value["ready"] = {
                "log": {"log": "^now ready$", "timeout": TIMEOUT},
                # Nobody listens there: unlike a line that may have been missed, a later supervisor asks that again.
                "never": {"tcp": 1, "timeout": 0.3},
            }[self.ready]
        if self.health:
            value["health"] = {"exec": ["test", "!", "-e", f"{place}/ill.${{env:COLONY_NAME}}"], **HEALTH}
        return value

    @property
    def stays(self) -> bool:
        """Does it run until somebody ends it?"""
        return self.kind not in ("flaky", "once") and self.ready != "never"


@dataclass
class Expected:
    """
    What must be so of one name, as far as anybody outside can know.

    ``files`` are those that are there, None for a bad one. ``possible`` are the editions of which any may be the last
    good one that was seen, None for none; ``held`` says whether a STOP may be in force. ``pid`` is what ran at the
    last rest, and ``touched`` that it may have been ended since.
    """

    name: str
    files: dict[str, Edition | None] = field(default_factory=dict)
    possible: set[Edition | None] = field(default_factory=lambda: {None})
    held: set[bool] = field(default_factory=lambda: {False})
    pid: int | None = None
    touched: bool = False

    def changed(self) -> None:
        """Take in what the files say now: it may be seen, or be replaced before anybody looks."""
        if not self.files:
            self.possible.add(None)
            self.held.add(False)
            self.touched = True
        elif len(self.files) == 1 and (edition := next(iter(self.files.values()))) is not None:
            if self.possible != {edition}:
                self.touched = True
            self.possible.add(edition)

    def editions(self) -> set[Edition | None]:
        """Of which any may be in force once all has been seen."""
        if not self.files:
            return {None}
        if len(self.files) == 1 and (edition := next(iter(self.files.values()))) is not None:
            return {edition}
        return self.possible


@dataclass(frozen=True)
class Step:
    """One event: of which name, and how long to wait after it; ``chance`` chooses among what is there then."""

    verb: str
    name: str
    pause: float
    chance: float

    def __str__(self) -> str:
        return f"{self.verb} {self.name} (chance {self.chance:.3f}, then {self.pause:.3f} s)"


VERBS = {
    "edit": 16,
    "bad": 5,
    "half": 4,
    "whole": 5,
    "same": 5,
    "remove": 5,
    "replace": 3,
    "twin": 3,
    "untwin": 4,
    "restart": 6,
    "restart_all": 1,
    "stop": 4,
    "start": 5,
    "signal": 1,
    "junk": 2,
    "burst": 2,
    "kill": 8,
    "kill_other": 3,
    "freeze": 2,
    "slay": 5,
    "slay_early": 4,
    "begin": 6,
    "term": 1,
    "term_slay": 2,
    "second": 1,
    "hang": 2,
    "sicken": 4,
}
"""How often each event comes, beside the others."""


def plan(seed: int, length: int = LENGTH) -> list[Step]:
    """The same steps for the same seed: nothing that is seen while they are taken has a part in it."""
    chance = random.Random(seed)
    verbs, weights = zip(*VERBS.items(), strict=True)
    steps = [Step("edit", name, 0.0, chance.random()) for name in NAMES]
    for number in range(length):
        [verb] = chance.choices(verbs, weights)
        pause = chance.choice((0.0, 0.0, 0.01, 0.05, 0.1, 0.3)) * chance.random()
        steps.append(Step(verb, chance.choice(NAMES), pause, chance.random()))
        if number % 14 == 13:
            steps.append(Step("rest", "", 0.0, chance.random()))
    return [*steps, Step("rest", "", 0.0, chance.random()), Step("term", "", 0.0, chance.random())]


class Chaos:
    """One run in ``folder``; `taken` are the steps so far, with the second of each."""

    def __init__(self, folder: Path) -> None:
        self.colony = Colony(folder)
        self.folder = folder
        self.expected = {name: Expected(name) for name in NAMES}
        self.taken: list[str] = []
        self._edition = 0
        self._junk_files = 0
        self._editions: dict[int, Edition] = {}
        self._book: list[list[str]] = []
        self._read = self._held_against = 0
        self._began = time.monotonic()

    def run(self, steps: list[Step]) -> None:
        """Take the steps; raises Violation, or AssertionError for what did not come about."""
        for step in steps:
            self.taken.append(f"{time.monotonic() - self._began:7.3f} {step}")
            verb: Callable[[Expected, float], None] | None = getattr(self, f"_{step.verb}", None)
            if verb is not None:
                verb(self.expected.get(step.name, Expected(step.name)), step.chance)
            time.sleep(step.pause)
            self._never_two()

    # -- files

    def _new(self, expected: Expected, chance: float) -> Edition:
        self._edition += 1
        kinds = list(PROGRAMS)
        more = random.Random(chance)
        others = [name for name in (*NAMES, NOBODY) if name != expected.name]
        edition = Edition(
            self._edition,
            kinds[int(chance * len(kinds))],
            tuple(more.sample(others, 2)[: more.choice((0, 0, 1, 1, 2))]),
            more.choice(("at once", "at once", "log", "log", "log", "never")),
            more.random() < 0.3,
        )
        self._editions[edition.number] = edition
        return edition

    def _put(self, expected: Expected, filename: str, edition: Edition | None, data: bytes | None = None) -> None:
        if data is None:
            assert edition is not None, "a bad file has its bytes"
            data = json.dumps(edition.spec(self.folder)).encode()
        self.colony.write_bytes(filename, data)
        expected.files[filename] = edition
        expected.changed()

    def _one(self, expected: Expected) -> str:
        return next(iter(expected.files), expected.name)

    def _edit(self, expected: Expected, chance: float) -> None:
        self._put(expected, self._one(expected), self._new(expected, chance))

    def _bad(self, expected: Expected, chance: float) -> None:
        self._put(expected, self._one(expected), None, BAD[int(chance * len(BAD))])

    def _half(self, expected: Expected, chance: float) -> None:
        """In place, cut off anywhere."""
        data = json.dumps(self._new(expected, chance).spec(self.folder)).encode()
        filename = self._one(expected)
        expected.files[filename] = None
        (self.colony.config / filename).write_bytes(data[: int(chance * (len(data) - 1))])
        expected.changed()

    def _whole(self, expected: Expected, chance: float) -> None:
        """In place, in two writes."""
        edition = self._new(expected, chance)
        data = json.dumps(edition.spec(self.folder)).encode()
        filename = self._one(expected)
        with (self.colony.config / filename).open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            time.sleep(chance * 0.05)
            file.write(data[len(data) // 2 :])
        expected.files[filename] = edition
        expected.changed()

    def _same(self, expected: Expected, chance: float) -> None:
        """The same value in other bytes, or in the same."""
        for filename, edition in expected.files.items():
            if edition is not None:
                indent = int(chance * 4) or None
                data = json.dumps(edition.spec(self.folder), indent=indent, sort_keys=chance > 0.5).encode()
                self.colony.write_bytes(filename, data)

    def _remove(self, expected: Expected, chance: float) -> None:
        for filename in list(expected.files):
            self.colony.remove(filename)
            del expected.files[filename]
            expected.changed()

    def _replace(self, expected: Expected, chance: float) -> None:
        """As git does: away, and soon there again; but on a busy machine it may be seen as gone."""
        before = {filename: (self.colony.config / filename).read_bytes() for filename in expected.files}
        files = dict(expected.files)
        self._remove(expected, chance)
        time.sleep(chance * 0.15)
        for filename, data in before.items():
            self._put(expected, filename, files[filename], data)

    def _twin(self, expected: Expected, chance: float) -> None:
        if len(expected.files) == 1:
            [there] = expected.files
            other = expected.name if there.endswith(".json") else f"{expected.name}.json"
            if chance > 0.3:
                self._put(expected, other, self._new(expected, chance))
            else:
                self._put(expected, other, None, b"{")

    def _untwin(self, expected: Expected, chance: float) -> None:
        if len(expected.files) == 2:
            filename = sorted(expected.files)[chance > 0.5]
            self.colony.remove(filename)
            del expected.files[filename]
            expected.changed()
            expected.touched = True

    # -- messages

    def _restart(self, expected: Expected, chance: float) -> None:
        self.colony.ask("RESTART", name=expected.name)
        expected.touched = True
        self._released(expected)

    def _released(self, expected: Expected) -> None:
        """By a message: for sure only if it cannot be refused."""
        if expected.files and None not in expected.possible:
            expected.held = {False}
        else:
            expected.held.add(False)

    def _restart_all(self, expected: Expected, chance: float) -> None:
        self.colony.ask("RESTART-ALL")
        for one in self.expected.values():
            one.touched = True

    def _stop(self, expected: Expected, chance: float) -> None:
        self.colony.ask("STOP", name=expected.name)
        expected.touched = True
        if expected.files:
            expected.held = {True}
        else:
            expected.held.add(True)

    def _start(self, expected: Expected, chance: float) -> None:
        self.colony.ask("START", name=expected.name)
        if expected.held != {False}:
            expected.touched = True
        self._released(expected)

    def _signal(self, expected: Expected, chance: float) -> None:
        self.colony.ask("SIGNAL", name=expected.name, signal="CONT")

    def _junk(self, expected: Expected, chance: float) -> None:
        self._junk_files += 1
        path = self.colony.messages / f"a{self._junk_files:06}"
        path.write_bytes(JUNK[int(chance * len(JUNK))])

    def _burst(self, expected: Expected, chance: float) -> None:
        for _ in range(int(chance * 200)):
            self.colony.ask("RESTART", name=expected.name)
        self._restart(expected, chance)

    # -- processes

    def _mains(self, name: str) -> list[Process]:
        return [one for one in self._family(name) if is_main(one)]

    def _family(self, name: str | None = None) -> list[Process]:
        """Those of a name, or all, but for commands that ask whether it is well."""
        return [one for one in self.colony.family(name) if not is_question(one)]

    def _kill(self, expected: Expected, chance: float) -> None:
        expected.touched = True
        for one in self._mains(expected.name):
            send(one, signal.SIGKILL)

    def _kill_other(self, expected: Expected, chance: float) -> None:
        """What it started, but not itself: that is nobody's business but its own."""
        others = [one for one in self.colony.family(expected.name) if not is_main(one)]
        if others:
            send(others[int(chance * len(others))], signal.SIGKILL)

    def _sicken(self, expected: Expected, chance: float) -> None:
        """Not well for a while: long enough to be ended for it, or not."""
        ill = self.folder / f"ill.{expected.name}"
        expected.touched = True
        ill.touch()
        time.sleep(chance * 1.5)
        ill.unlink()

    def _freeze(self, expected: Expected, chance: float) -> None:
        for one in self._mains(expected.name):
            if self._surely_ready(expected.name):  # else it never will be
                send(one, signal.SIGSTOP)

    # -- the supervisor

    def _running(self) -> subprocess.Popen[bytes] | None:
        supervisor = self.colony.supervisor
        return None if supervisor is None or supervisor.poll() is not None else supervisor

    def _begin(self, expected: Expected, chance: float) -> None:
        if self._running() is None:
            self.colony.begin("python", "-m", "twisted", "colony", *self.colony.places, *OPTIONS)

    def _slay(self, expected: Expected, chance: float) -> None:
        if self._running() is not None:
            self.colony.stop(signal.SIGKILL)

    def _slay_early(self, expected: Expected, chance: float) -> None:
        """While it starts, or adopts, or right after."""
        self._slay(expected, chance)
        self._begin(expected, chance)
        time.sleep(chance * 0.9)
        self._slay(expected, chance)

    def _kept(self) -> subprocess.Popen[bytes]:
        self._begin(Expected(""), 0)
        supervisor = self._running()
        assert supervisor is not None, "it has just been started"

        def keeps() -> bool:
            assert supervisor.poll() is None, f"the supervisor ended by itself: {supervisor.poll()}"
            return bool(self.colony.said(f" keeps {self.colony.config}"))

        self.colony.wait_for(keeps)
        return supervisor

    def _term(self, expected: Expected, chance: float) -> None:
        """Once it keeps the colony: nothing is left when it has ended."""
        self._kept()
        code = self.colony.stop()
        left = self.colony.family()
        if code != -signal.SIGTERM or left:
            raise Violation(f"after TERM the supervisor ended with {code} and left {left}")
        self._touched_all()

    def _term_slay(self, expected: Expected, chance: float) -> None:
        """While it stops everything."""
        supervisor = self._kept()
        supervisor.send_signal(signal.SIGTERM)
        time.sleep(chance * 0.4)
        self._slay(expected, chance)
        self._touched_all()

    def _touched_all(self) -> None:
        for one in self.expected.values():
            one.touched = True

    def _second(self, expected: Expected, chance: float) -> None:
        """Beside the first: refused."""
        self._kept()
        command = ["python", "-m", "twisted", "colony", *self.colony.places, *OPTIONS]
        second = subprocess.run(command, env=self.colony.environment, capture_output=True, timeout=60, check=False)
        if second.returncode != 1:
            raise Violation(f"a second supervisor ended with {second.returncode}: {second.stderr!r}")

    def _hang(self, expected: Expected, chance: float) -> None:
        supervisor = self._running()
        if supervisor is not None:
            supervisor.send_signal(signal.SIGSTOP)
            time.sleep(chance * 0.3)
            supervisor.send_signal(signal.SIGCONT)

    # -- the oracle

    def _never_two(self) -> None:
        violations = self.folder / "violations"
        if violations.exists():
            raise Violation(violations.read_text())
        self._in_order()
        mains: dict[str, Process] = {}
        for one in self._family():
            if is_main(one):
                name = one.environ["COLONY_NAME"]
                other = mains.setdefault(name, one)
                if other is not one and self._both_stay(other, one):
                    raise Violation(f"two of {name}: {other} {one}")

    def _both_stay(self, first: Process, second: Process) -> bool:
        """Are both there, and stay?  A command that asks after its health looks like a main until it is what it is."""
        time.sleep(LOOK_AGAIN)
        return process(first.pid) == first and process(second.pid) == second

    def _in_order(self) -> None:
        """Has everybody who has begun found what it needs ready?"""
        path = self.folder / "book"
        if not path.exists():
            return
        with path.open() as file:
            file.seek(self._read)
            text = file.read().rpartition("\n")[0]
        if text:
            self._read += len(text) + 1
            self._book.extend(line.split() for line in text.split("\n"))
        # What is held against others is so once they have had the time to write down their own beginnings.
        settled = time.time() - SLACK
        while self._held_against < len(self._book) and int(self._book[self._held_against][4]) / 1e9 < settled:
            what, name, number, pid, at = self._book[self._held_against]
            self._held_against += 1
            for need in self._editions[int(number)].after if what == "begin" else ():
                if not self._was_ready(need, int(at) / 1e9):
                    raise Violation(f"{name} ({pid}, edition {number}) began at {at}, and {need} was not ready")

    def _was_ready(self, name: str, moment: float) -> bool:
        """By what it wrote down: may it have been so when somebody was started who noted his beginning then?"""
        since: float | None = None
        for what, _, number, _, at in (line for line in self._book if line[1] == name):
            when = int(at) / 1e9
            if what == "begin":
                if since is not None and since <= moment and when >= moment - SLACK:
                    return True
                # Others than those who say so are ready before they have noted that they begin.
                edition = self._editions[int(number)]
                since = when + {"at once": -SLACK, "log": TIMEOUT, "never": math.inf}[edition.ready]
                if edition.kind == "once":  # who has ended well is ready
                    since = min(since, when)
            elif since is not None:
                since = min(since, when)
        return since is not None and since <= moment

    def _surely_ready(self, name: str) -> bool:
        """Does it run, and has it said that it is ready?"""
        mains = self._mains(name)
        if len(mains) != 1 or not (edition := self._editions[int(mains[0].environ["EDITION"])]).stays:
            return False
        if edition.ready == "at once":
            return edition in self.expected[name].editions()
        return any(line[:2] == ["ready", name] and int(line[3]) == mains[0].pid for line in self._book)

    def _is_due(self, edition: Edition | None) -> bool:
        """Is it to run now, if that is what is wanted?"""
        return edition is not None and edition.stays and all(map(self._surely_ready, edition.after))

    def _rest(self, expected: Expected, chance: float) -> None:
        self._kept()
        self._withdraw_junk()
        bound = time.monotonic() + REST
        since, before = time.monotonic(), None
        while True:
            self._never_two()
            pids, wrong = self._judge()
            now = time.monotonic()
            if wrong or pids != before:
                since, before = now, pids
            elif now - since >= QUIET:
                break
            if now > bound:
                raise Violation(f"no rest after {REST} s: " + ("; ".join(wrong) or "processes come and go"))
            time.sleep(4 * LOOK)
        for one in self.expected.values():
            pid = pids.get(one.name)
            if one.pid is not None and not one.touched and pid != one.pid:
                raise Violation(f"{one.name} had pid {one.pid}, and though nobody touched it, it has {pid}")
            self._settle(one, pid)
        self._told(pids)

    def _withdraw_junk(self) -> None:
        """What is no JSON stays for a minute."""
        for path in self.colony.messages.glob("a*"):
            with suppress(FileNotFoundError):
                path.unlink()

    def _is_held(self, one: Expected) -> bool:
        if len(one.held) == 1:
            return next(iter(one.held))
        return (self.colony.state / "stops" / f"{one.name}.json").exists()

    def _judge(self) -> tuple[dict[str, int], list[str]]:
        """The pids of what runs and is to stay, and what is not as it must be."""
        wrong = []
        pids: dict[str, int] = {}
        families: dict[str, list[Process]] = {name: [] for name in self.expected}
        for found in self._family():
            families.setdefault(found.environ.get("COLONY_NAME", "?"), []).append(found)
        for name, family in families.items():
            one = self.expected.get(name)
            mains = [found for found in family if is_main(found)]
            if one is None:
                wrong.append(f"nobody asked for {family}")
                continue
            editions = {None} if self._is_held(one) else one.editions()
            runs = self._editions.get(int(mains[0].environ["EDITION"])) if mains else None
            if runs is not None and runs not in editions:
                wrong.append(f"{name} runs {runs}, not {editions}")
            if runs is None and all(map(self._is_due, editions)):
                wrong.append(f"{name} does not run: {editions}")
            if len({found.environ["COLONY_TOKEN"] for found in family}) > 1 or (family and not mains):
                wrong.append(f"of {name} there are leftovers: {family}")
            if runs is not None and runs.stays:
                pids[name] = mains[0].pid
            elif runs is not None and runs.kind == "once":
                wrong.append(f"{name} is to end by itself")
        waiting = [path.name for path in self.colony.messages.iterdir() if not path.name.startswith(".")]
        if waiting:
            wrong.append(f"messages are waiting: {waiting[:5]}")
        return pids, wrong

    def _settle(self, one: Expected, pid: int | None) -> None:
        """What was not known is known now."""
        one.held = {self._is_held(one)}
        editions = one.editions()
        if pid is not None:
            [found] = [found for found in self._family(one.name) if found.pid == pid]
            editions = {self._editions[int(found.environ["EDITION"])]}
        elif one.held == {False}:
            editions = {edition for edition in editions if not self._is_due(edition)}
        one.possible = editions
        one.pid, one.touched = pid, False

    def _told(self, pids: dict[str, int]) -> None:
        """STATE says the same, and holds nothing of what is gone."""

        def same() -> bool:
            return all(self.colony.status(name).get("pid") == pid for name, pid in pids.items())

        wait_for(same, told=lambda: f"status tells of other pids than {pids}")
        flaky = {name for name, one in self.expected.items() if any(e and not e.stays for e in one.editions())}

        def kept() -> set[str]:
            pipes = {path.name.rpartition(".")[0] for path in (self.colony.state / "pipes").iterdir()}
            return (pipes - flaky) ^ (set(pids) - flaky)

        wait_for(lambda: not kept(), told=lambda: f"pipes are there of others than run: {kept()}")


def is_main(one: Process) -> bool:
    """Was it started by the supervisor itself, and does it not merely lead a session of its own?"""
    return one.pid == one.session and ROLE not in one.environ and "EDITION" in one.environ


def is_question(one: Process) -> bool:
    """Is it a command that was run to know whether a process is well?"""
    try:
        return Path(f"/proc/{one.pid}/cmdline").read_bytes().startswith(b"test\0")
    except OSError:
        return True  # it has ended


def send(one: Process, number: int) -> None:
    """Signal that process, if it is still that."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(one.pid)
        try:
            if process(one.pid) == one:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def run(seed: int, folder: Path, length: int = LENGTH) -> list[str]:
    """One run; returns what went wrong and how it came to that, empty if nothing did. Nothing is left of it."""
    chaos = Chaos(folder)
    try:
        chaos.run(plan(seed, length))
        said = chaos.colony.log.read_text(errors="replace")
        if "Traceback" in said or "Unhandled" in said:
            raise Violation("the supervisor had an accident")
    except Exception as error:
        log = chaos.colony.log
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return [
            f"seed {seed}: {type(error).__name__}: {error}",
            *chaos.taken,
            "-- the log",
            *[line for line in lines if not line.endswith("] ")][-400:],
            f"-- again: python -m tests.chaos --seed {seed} --length {length}",
        ]
    finally:
        chaos.colony.clean()
    return []
