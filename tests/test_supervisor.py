"""The one mutable cell: what is started, stopped, signalled, refused and reported, on a clock that a test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from colony.core import lifecycle
from colony.core.desired import Content, Listing, Readable, Unreadable
from colony.core.lifecycle import Alarm, Backoff, Down, Failed, Up
from colony.core.model import Answer, Defaults, Exit, Name, NotYet, Pid, Rest, Start, Survivor
from colony.core.report import Report, Transition
from colony.core.wire import parse_message, parse_spec
from colony.report.status import why
from colony.runtime.spawn import Ended
from colony.supervisor import CONFIRM, SLICE, Supervisor
from colony.telling import REPORT_DELAY, REPORT_PATIENCE, REPORT_RETRY, REPORT_SLICE, TRANSITIONS_SLICE
from tests.fakes import FakeChecks, FakeMemory, FakeProcess, FakeSpawner, Heard, listening

# Any is a JSON value.

DEFAULTS = Defaults(threshold=1, killtime=5, initial=2, limit=16)
NO_JITTER = {"jitter": 0}


class Colony:
    """A supervisor, and what it is told of and tells."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.spawner = FakeSpawner()
        self.memory = FakeMemory()
        self.gave_up: list[tuple[Name, Exit | None]] = []
        self.reports: list[Report] = []
        self.report_errors: list[Exception] = []
        self.scans = 0
        self.rotations = 0
        self.has_logs = True
        self.sees = True
        self.files: dict[str, Content] = {}
        self.begin()

    def begin(self, *survivors: Survivor) -> None:
        """A new supervisor, which remembers what the one before it did, whose timers are no more."""
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.checks = FakeChecks()
        self.supervisor = Supervisor(
            self.clock,
            self.spawner,
            self.checks,
            self.memory,
            "c0",
            DEFAULTS,
            self.report,
            self.scan,
            self.rotate,
            lambda name, exit: self.gave_up.append((name, exit)),
        )
        self.supervisor.restore(dict(self.memory.specs), frozenset(self.memory.stops), survivors)

    def report(self, report: Report) -> None:
        if self.report_errors:
            raise self.report_errors.pop(0)
        self.reports.append(report)

    def rotate(self) -> bool:
        self.rotations += 1
        return self.has_logs

    def scan(self) -> bool:
        self.scans += 1
        if self.sees:
            self.look_again()
        return self.sees

    # -- the directory

    def write(self, *names: str, **spec: Any) -> None:
        """Files that say this, found by one look."""
        spec = {"args": ["run"], **spec}
        spec["restart"] = {**NO_JITTER, **spec.get("restart", {})}
        self.write_bytes(*names, data=json.dumps(spec).encode())

    def write_bytes(self, *names: str, data: bytes) -> None:
        self.found(**dict.fromkeys(names, Readable(data)))

    def found(self, **changed: Content) -> None:
        self.files |= changed
        self.supervisor.take(Listing(changed, ignored=frozenset()))

    def remove(self, *names: str) -> None:
        for name in names:
            del self.files[name]
        self.supervisor.take(Listing(gone=frozenset(names), ignored=frozenset()))

    def look_again(self) -> None:
        """The first look of a new supervisor."""
        self.supervisor.take(Listing(dict(self.files), ignored=frozenset()))

    # -- messages

    def ask(self, kind: str, **fields: str) -> Answer | NotYet:
        return self.supervisor.obey(parse_message(json.dumps({"type": kind, **fields}).encode()))

    def asked(self, seen: float, kind: str, **fields: str) -> Answer | NotYet:
        """The same, of a message that was there at that instant already."""
        return self.supervisor.obey(
            attrs.evolve(parse_message(json.dumps({"type": kind, **fields}).encode()), seen=seen)
        )

    # -- what is

    def of(self, name: str) -> FakeProcess:
        return self.spawner.of(name)

    def running(self) -> list[str]:
        return [process.start.name for process in self.spawner.running]

    def pids(self) -> list[int]:
        return [process.pid for process in self.spawner.running]

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def settle(self) -> None:
        """Let everything be done that needs no time, and a report be made."""
        for _ in range(50):
            self.clock.advance(0)
        self.clock.advance(REPORT_DELAY)
        for _ in range(50):
            self.clock.advance(0)

    @property
    def last(self) -> Report:
        return self.reports[-1]


@pytest.fixture
def colony() -> Colony:
    return Colony()


@pytest.fixture
def heard() -> Iterator[Heard]:
    with listening() as found:
        yield found


def fired(done: Deferred[None]) -> bool:
    return done.called


# -- files --------------------------------------------------------------------------------------------------------


def test_a_file_is_a_process(colony: Colony) -> None:
    colony.write("web")

    [process] = colony.spawner.running
    assert process.start.name == "web"
    assert process.start.spec.args == ("run",)
    assert process.start.source == colony.memory.specs[Name("web")]


def test_every_start_has_a_token_of_its_own(colony: Colony) -> None:
    colony.write("web", "echo")
    colony.of("web").exits()
    colony.wait(2)

    tokens = [process.start.token for process in colony.spawner.started]
    assert len(set(tokens)) == 3
    assert all(len(token) == 3 + 16 and token.startswith("c0.") for token in tokens)


def test_the_same_bytes_and_an_equal_value_restart_nothing(colony: Colony) -> None:
    colony.write_bytes("web", data=b'{"args": ["run"]}')

    colony.write_bytes("web", data=b'{"args": ["run"]}')
    colony.write_bytes("web", data=b' {"args":["run"]} ')

    assert colony.pids() == [100]
    assert colony.of("web").signals == []


def test_a_changed_file_restarts_its_process_and_no_other(colony: Colony) -> None:
    colony.write("web", "echo")
    colony.write("web", args=["run", "2"])
    assert colony.of("web").signals == ["TERM", "CONT"]

    colony.of("web").exits(None, "TERM")

    assert colony.of("web").start.spec.args == ("run", "2")
    assert colony.of("echo").signals == []


def test_a_broken_edit_leaves_the_running_process_alone(colony: Colony) -> None:
    colony.write("web")

    colony.write_bytes("web", data=b"{")
    colony.found(web=Unreadable("cannot be read: Input/output error"))

    assert colony.pids() == [100]
    assert colony.of("web").signals == []


def test_a_missing_file_stops_nothing_until_it_is_gone(colony: Colony) -> None:
    colony.write("web")
    colony.supervisor.take(Listing(missing=frozenset({"web"})))
    assert colony.of("web").signals == []

    colony.remove("web")

    assert colony.of("web").signals == ["TERM", "CONT"]


def test_a_removed_process_is_not_started_again(colony: Colony) -> None:
    colony.write("web")
    colony.remove("web")

    colony.of("web").exits(None, "TERM")
    colony.wait(100)

    assert colony.running() == []
    assert colony.spawner.attempts == ["web"]
    assert "web" not in colony.last.units
    assert colony.memory.specs == {}


def test_a_process_added_again_while_it_stops_runs_once_the_old_one_is_gone(colony: Colony) -> None:
    colony.write("web")
    colony.remove("web")
    colony.write("web", args=["run", "2"])
    assert colony.pids() == [100]

    colony.of("web").exits(None, "TERM")

    assert colony.of("web").start.spec.args == ("run", "2")
    colony.settle()
    assert isinstance(colony.last.units[Name("web")].state, Up)


def test_a_bad_file_in_the_place_of_one_that_was_removed_runs_nothing(colony: Colony) -> None:
    colony.write("web")
    colony.remove("web")
    colony.write_bytes("web", data=b"{")

    colony.of("web").exits(None, "TERM")
    colony.settle()

    assert colony.running() == []
    assert colony.last.units[Name("web")].state == Down()


def test_what_does_not_end_is_killed_after_the_killtime(colony: Colony) -> None:
    colony.write("web")
    colony.remove("web")

    colony.wait(4.9)
    assert colony.of("web").signals == ["TERM", "CONT"]
    colony.wait(0.1)

    assert colony.of("web").signals == ["TERM", "CONT", "KILL"]


# -- deaths ---------------------------------------------------------------------------------------------------------


def test_a_process_that_lived_is_started_again_at_once(colony: Colony) -> None:
    colony.write("web")
    colony.wait(1)

    colony.of("web").exits(1)

    assert colony.pids() == [101]


def test_a_flapping_process_waits_longer_each_time_and_the_others_never_notice(colony: Colony) -> None:
    colony.write("web", "echo")
    for delay in (2, 4, 8, 16, 16):
        colony.of("web").exits(1)
        colony.wait(delay - 0.01)
        assert colony.running() == ["echo"]
        colony.wait(0.02)
        assert sorted(colony.running()) == ["echo", "web"]

    assert colony.of("echo").pid in (100, 101)
    assert colony.of("echo").signals == []


def test_what_cannot_start_is_tried_again_with_backoff(colony: Colony, heard: Heard) -> None:
    colony.spawner.refusals["web"] = OSError(2, "exec: /opt/web/run: No such file or directory (ENOENT)")
    colony.write("web")
    colony.wait(1.9)
    assert colony.spawner.attempts == ["web"]
    colony.wait(0.1)
    assert colony.spawner.attempts == ["web", "web"]

    del colony.spawner.refusals["web"]
    colony.wait(4)

    assert colony.running() == ["web"]
    assert len(heard.lines("cannot start web", "No such file or directory")) == 2
    assert heard.failures() == []


def test_a_spawner_that_breaks_for_one_name_hurts_no_other(colony: Colony, heard: Heard) -> None:
    colony.spawner.refusals["bad"] = ZeroDivisionError("ours")
    colony.write("bad", "web")

    assert colony.running() == ["web"]
    [failure] = heard.failures()
    assert isinstance(failure, ZeroDivisionError)
    del colony.spawner.refusals["bad"]
    colony.wait(2)
    assert colony.running() == ["web", "bad"]


def test_a_signal_that_breaks_hurts_no_other_and_the_end_still_comes(colony: Colony, heard: Heard) -> None:
    colony.write("bad", "web")
    colony.spawner.failing_kills["bad"] = ZeroDivisionError("ours")

    done = colony.supervisor.close()

    assert colony.of("web").signals == ["TERM", "CONT"]
    assert len(heard.failures()) == 1
    colony.of("web").exits()
    colony.of("bad").exits()
    assert fired(done)


def test_after_its_attempts_a_process_is_given_up_until_somebody_asks(colony: Colony, heard: Heard) -> None:
    colony.write("web", restart={"attempts": 2})
    colony.of("web").exits(1)
    colony.wait(2)
    colony.of("web").exits(1)
    colony.wait(10_000)
    assert colony.running() == []
    assert heard.lines("web is given up; early deaths in a row: 2")
    assert isinstance(colony.last.units[Name("web")].state, Failed)

    assert colony.ask("START", name="web") == Answer(("web",))

    assert colony.running() == ["web"]


def test_those_left_behind_by_a_crash_are_stopped_before_the_next_start(colony: Colony, heard: Heard) -> None:
    colony.write("web")
    colony.wait(10)
    colony.of("web").exits(1, leaving=True)
    assert colony.of("web").signals == ["TERM", "CONT"]
    colony.wait(5)
    assert colony.of("web").signals == ["TERM", "CONT", "KILL"]
    assert colony.pids() == [100]

    colony.of("web").empties()

    assert colony.pids() == [101]
    assert heard.lines("web (100) exited with code 1, leaving others")


# -- messages -------------------------------------------------------------------------------------------------------


def test_restart_starts_a_new_one_after_the_old_one_is_gone(colony: Colony) -> None:
    colony.write("web", "echo")

    assert colony.ask("RESTART", name="web") == Answer(("web",))

    assert colony.of("web").signals == ["TERM", "CONT"]
    assert colony.of("echo").signals == []
    colony.of("web").exits(None, "TERM")
    assert sorted(colony.pids()) == [100, 102]


@pytest.mark.parametrize("kind", ["RESTART", "START"])
def test_a_message_ends_a_backoff_at_once(colony: Colony, kind: str) -> None:
    colony.write("web")
    colony.of("web").exits(1)
    assert colony.running() == []

    colony.ask(kind, name="web")

    assert colony.running() == ["web"]


def test_a_changed_file_ends_a_backoff_at_once(colony: Colony) -> None:
    colony.write("web")
    colony.of("web").exits(1)

    colony.write("web", args=["run", "2"])

    assert colony.running() == ["web"]
    colony.wait(100)
    assert colony.pids() == [101]


def test_who_asked_before_a_start_was_ordered_has_had_a_restart_by_it(colony: Colony) -> None:
    colony.wait(10)
    colony.write("web", "other")
    [other] = [process for process in colony.spawner.running if process.start.name == "other"]

    assert colony.asked(9.0, "RESTART", name="web") == Answer(("web",))
    assert colony.asked(9.0, "RESTART-ALL") == Answer(("other", "web"))
    assert [process.signals for process in colony.spawner.running] == [[], []]
    assert colony.memory.doomed == []

    assert colony.asked(10.0, "RESTART", name="web") == Answer(("web",))
    assert colony.of("web").signals == ["TERM", "CONT"]
    assert colony.memory.doomed == ["web"]
    assert other.signals == []


def test_many_who_asked_at_one_instant_get_one_restart(colony: Colony) -> None:
    colony.write("web")
    seen = colony.clock.seconds()
    for _ in range(100):
        colony.asked(seen, "RESTART", name="web")
        if colony.of("web").signals:
            colony.wait(0.01)
            colony.of("web").exits(None, "TERM")
    assert len(colony.spawner.started) == 2


def test_who_asked_before_a_start_ends_a_stop_all_the_same(colony: Colony) -> None:
    colony.wait(10)
    colony.write("web")
    colony.ask("STOP", name="web")

    colony.asked(9.0, "RESTART", name="web")
    colony.of("web").exits(None, "TERM")

    assert colony.memory.stops == {}
    assert colony.running() == ["web"]


def test_restart_all_takes_everyone_but_the_stopped(colony: Colony) -> None:
    colony.write("web", "echo", "cron")
    colony.write("once", restart={"when": "never"})
    colony.of("once").exits(0)
    colony.ask("STOP", name="cron")
    colony.of("cron").exits()

    assert colony.ask("RESTART-ALL") == Answer(("echo", "web"))

    assert colony.of("web").signals == colony.of("echo").signals == ["TERM", "CONT"]
    assert sorted(colony.running()) == ["echo", "web"]


def test_restart_group_takes_the_group(colony: Colony) -> None:
    colony.write("web", "poll", group=["diary"])
    colony.write("echo")
    colony.ask("STOP", name="poll")

    assert colony.ask("RESTART-GROUP", group="diary") == Answer(("web",))

    assert colony.of("web").signals == ["TERM", "CONT"]
    assert colony.of("echo").signals == []


def test_stop_and_start_take_a_group(colony: Colony) -> None:
    colony.write("web", "poll", group=["diary"])
    colony.write("echo")

    assert colony.ask("STOP", group="diary", by="anna") == Answer(("poll", "web"))

    colony.of("web").exits()
    colony.of("poll").exits()
    assert colony.running() == ["echo"]
    assert colony.memory.stops == {"web": "anna", "poll": "anna"}
    assert colony.ask("START", group="diary") == Answer(("poll", "web"))
    assert sorted(colony.running()) == ["echo", "poll", "web"]
    assert colony.memory.stops == {}


def test_a_stop_outlasts_edits_and_supervisors(colony: Colony) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.of("web").exits()
    colony.write("web", args=["run", "2"])
    colony.wait(100)
    assert colony.running() == []

    colony.begin()
    colony.look_again()
    colony.write("web", args=["run", "3"])
    colony.wait(100)

    assert colony.running() == []
    colony.ask("START", name="web")
    assert colony.of("web").start.spec.args == ("run", "3")


def test_restart_of_that_very_name_ends_a_stop(colony: Colony) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.of("web").exits()

    colony.ask("RESTART", name="web")

    assert colony.running() == ["web"]
    assert colony.memory.stops == {}


def test_removal_ends_a_stop(colony: Colony) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.remove("web")
    colony.of("web").exits()

    colony.write("web")

    assert colony.running() == ["web"]
    assert colony.memory.stops == {}


def test_a_stop_of_what_was_removed_while_nobody_looked_is_over(colony: Colony) -> None:
    colony.write("web", "echo")
    colony.ask("STOP", name="web")
    colony.of("web").exits()
    colony.of("echo").exits()
    del colony.files["web"]

    colony.begin()
    colony.look_again()
    assert colony.memory.stops == {"web": None}, "one look may have missed it"
    colony.wait(CONFIRM)
    assert colony.memory.stops == {}
    assert list(colony.memory.specs) == ["echo"]
    colony.write_bytes("web", data=b"{")
    assert "web" not in colony.running(), "it was removed, so there is no last good spec"
    colony.write("web")

    assert sorted(colony.running()) == ["echo", "web"]


def test_what_one_look_missed_is_only_being_replaced(colony: Colony) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.of("web").exits()

    colony.begin()
    colony.supervisor.take(Listing({"echo": Readable(b'{"args": ["run"]}')}, ignored=frozenset()))
    colony.wait(CONFIRM)

    assert colony.memory.stops == {"web": None}
    assert colony.running() == ["echo"]


def test_while_nothing_is_seen_nothing_is_known_to_be_removed(colony: Colony) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.of("web").exits()
    del colony.files["web"]
    colony.begin()
    colony.look_again()

    colony.sees = False
    colony.wait(CONFIRM)
    colony.wait(CONFIRM)
    assert colony.memory.stops == {"web": None}
    colony.sees = True
    colony.wait(CONFIRM)

    assert colony.memory.stops == {}


def test_the_last_good_spec_outlasts_a_supervisor(colony: Colony) -> None:
    colony.write("web", args=["run", "2"])
    colony.write_bytes("web", data=b"{")
    colony.of("web").exits()

    colony.begin()
    colony.look_again()

    assert colony.of("web").start.spec.args == ("run", "2")


def test_a_stop_that_cannot_be_remembered_is_refused(colony: Colony) -> None:
    colony.write("web")
    colony.memory.broken.add("web")

    answer = colony.ask("STOP", name="web")

    assert answer == Answer(("web",), 1, "cannot remember that web is to stay stopped: No space left on device")
    assert colony.of("web").signals == []


def test_of_a_group_those_are_stopped_whose_stop_is_remembered(colony: Colony) -> None:
    colony.write("a", "b", "c", group=["diary"])
    colony.memory.broken.add("b")

    answer = colony.ask("STOP", group="diary")

    assert isinstance(answer, Answer)
    assert answer.code == 1
    assert {name for name in "abc" if colony.of(name).signals} == set(colony.memory.stops)


@pytest.mark.parametrize(("kind", "fields"), [("START", {"name": "web"}), ("RESTART", {"name": "web"})])
def test_a_stop_that_cannot_be_forgotten_stays_in_force(colony: Colony, kind: str, fields: dict[str, str]) -> None:
    colony.write("web")
    colony.ask("STOP", name="web")
    colony.of("web").exits()
    colony.memory.broken.add("web")

    answer = colony.ask(kind, **fields)

    assert answer == Answer(("web",), 1, "cannot forget that web was stopped: No space left on device")
    assert colony.running() == []


def test_of_a_group_those_are_started_whose_stop_is_forgotten(colony: Colony) -> None:
    colony.write("a", "b", "c", group=["diary"])
    colony.ask("STOP", group="diary")
    for name in "abc":
        colony.of(name).exits()
    colony.memory.broken.add("b")

    answer = colony.ask("START", group="diary")

    assert isinstance(answer, Answer)
    assert answer.code == 1
    assert set(colony.running()) == set("abc") - set(colony.memory.stops)


def test_a_stop_right_before_a_restart_of_all_holds_however_much_there_is_to_do(colony: Colony) -> None:
    colony.write(*(f"p{number:03}" for number in range(3 * SLICE)))
    colony.ask("STOP", name="p000")

    answer = colony.ask("RESTART-ALL")

    assert isinstance(answer, Answer)
    assert "p000" not in answer.names
    assert colony.memory.stops == {"p000": None}


def test_a_signal_goes_to_the_process(colony: Colony) -> None:
    colony.write("web")

    assert colony.ask("SIGNAL", name="web", signal="SIGHUP") == Answer(("web",))

    assert colony.of("web").signals == ["HUP"]


def test_a_signal_for_what_does_not_run_is_refused(colony: Colony) -> None:
    colony.write("web")
    colony.of("web").exits(1)

    assert colony.ask("SIGNAL", name="web", signal="HUP") == Answer(("web",), 1, "web is not running")


def test_scan_looks_now(colony: Colony) -> None:
    colony.files["web"] = Readable(b'{"args": ["run"]}')

    assert colony.ask("SCAN") == Answer()

    assert colony.running() == ["web"]


def test_rotate_is_for_all_log_files(colony: Colony) -> None:
    assert colony.ask("ROTATE") == Answer()
    assert colony.rotations == 1


def test_a_rotate_where_there_are_no_log_files_is_refused(colony: Colony) -> None:
    colony.has_logs = False
    assert colony.ask("ROTATE") == Answer(code=1, error="without STATE there are no log files")


def test_a_scan_that_sees_nothing_is_not_done(colony: Colony) -> None:
    colony.sees = False

    answer = colony.ask("SCAN")

    assert answer == Answer(code=1, error="CONFIG cannot be seen now; everything stays as it is")


@pytest.mark.parametrize(
    ("kind", "fields"), [("RESTART", {}), ("STOP", {}), ("START", {}), ("SIGNAL", {"signal": "HUP"})]
)
def test_an_unknown_name_may_yet_come(colony: Colony, kind: str, fields: dict[str, str]) -> None:
    assert colony.ask(kind, name="typo", **fields) == NotYet(Answer(code=4, error="no such process: typo"))

    colony.write("typo")
    colony.settle()
    assert colony.ask(kind, name="typo", **fields) == Answer(("typo",))


@pytest.mark.parametrize("kind", ["RESTART-GROUP", "STOP", "START"])
def test_an_unknown_group_may_yet_come(colony: Colony, kind: str) -> None:
    assert colony.ask(kind, group="typo") == NotYet(Answer(code=4, error="no process is in group typo"))


@pytest.mark.parametrize("kind", ["RESTART", "START"])
def test_what_never_was_good_cannot_run(colony: Colony, kind: str) -> None:
    colony.write_bytes("web", data=b"[]")

    answer = colony.ask(kind, name="web")

    assert answer == Answer(("web",), 1, "web cannot run: must be an object, not a list")


def test_what_never_was_good_can_be_stopped_for_when_it_is(colony: Colony) -> None:
    colony.write_bytes("web", data=b"[]")
    assert colony.ask("STOP", name="web") == Answer(("web",))

    colony.write("web")

    assert colony.running() == []


def test_a_supervisor_that_ends_refuses(colony: Colony) -> None:
    colony.write("web")
    _ = colony.supervisor.close()

    assert colony.ask("RESTART", name="web") == Answer(code=1, error="the supervisor is ending")


# -- what a supervisor before it had started -------------------------------------------------------------------------


RUN = b'{"args": ["run"]}'


def survivor(*, alive: bool = True, stale: bool = False, rest: Rest | None = None, source: bytes = RUN) -> Survivor:
    digest = parse_spec(source, DEFAULTS).digest
    return Survivor(Name("web"), "c0.5", digest, 3, Pid(7), -1000.0, alive, stale, rest)


def adopting(colony: Colony, found: Survivor, file: bytes | None = RUN) -> None:
    """A supervisor finds this process, and that file; the one before it remembered the good one."""
    colony.memory.specs[Name("web")] = RUN
    colony.begin(found)
    colony.files = {} if file is None else {"web": Readable(file)}
    colony.look_again()
    colony.wait(CONFIRM)


def test_what_runs_goes_on(colony: Colony) -> None:
    adopting(colony, survivor())

    assert colony.pids() == [7]
    assert colony.of("web").signals == []
    assert colony.spawner.attempts == []
    colony.settle()
    assert colony.last.units[Name("web")].starts == 3


def test_what_was_adopted_is_started_again_when_it_ends(colony: Colony) -> None:
    adopting(colony, survivor())

    colony.of("web").exits(None)
    colony.of("web")

    assert colony.spawner.attempts == ["web"]


def test_how_an_adopted_process_ended_may_be_learned_later(colony: Colony) -> None:
    adopting(colony, survivor())
    process = colony.of("web")
    process.exits(None)

    process.learns(3)
    colony.wait(1)

    assert colony.last.units[Name("web")].last_exit == Exit(3)


@pytest.mark.parametrize("file", [None, b'{"args": ["run", "2"]}'])
def test_what_was_removed_or_changed_meanwhile_is_stopped(colony: Colony, file: bytes | None) -> None:
    adopting(colony, survivor(), file)
    assert colony.of("web").signals == ["TERM", "CONT"]

    colony.of("web").exits(None, "TERM")

    assert colony.spawner.attempts == ([] if file is None else ["web"])


def test_a_bad_file_leaves_what_was_adopted_alone(colony: Colony) -> None:
    adopting(colony, survivor(), b"{")

    assert colony.of("web").signals == []


def test_a_restart_that_was_asked_for_before_is_done(colony: Colony) -> None:
    adopting(colony, survivor(stale=True))

    assert colony.of("web").signals == ["TERM", "CONT"]


def test_a_stop_is_in_force_for_what_was_adopted(colony: Colony) -> None:
    colony.memory.stops[Name("web")] = None

    adopting(colony, survivor())

    assert colony.of("web").signals == ["TERM", "CONT"]


def test_what_ended_while_nobody_looked_is_started_again(colony: Colony) -> None:
    adopting(colony, survivor(alive=False))

    assert colony.spawner.attempts == ["web"]


def test_what_ended_while_nobody_looked_and_was_removed_is_not(colony: Colony) -> None:
    adopting(colony, survivor(alive=False), None)
    colony.wait(100)

    assert colony.spawner.attempts == []
    assert "web" not in colony.last.units


def test_what_ended_while_nobody_looked_is_started_as_its_file_says_now(colony: Colony) -> None:
    adopting(colony, survivor(alive=False), b'{"args": ["run", "2"]}')

    assert colony.spawner.attempts == ["web"]
    assert colony.of("web").start.spec.args == ("run", "2")


def test_what_was_started_from_nobody_knows_what_is_not_started_again_without_a_good_file(colony: Colony) -> None:
    source = b'{"args": ["something else"]}'
    colony.begin(survivor(source=source))
    colony.found(web=Readable(b"{"))
    colony.wait(CONFIRM)
    assert colony.of("web").signals == []
    colony.of("web").exits(None)
    colony.wait(100)
    assert colony.spawner.attempts == []

    colony.found(web=Readable(source))

    assert colony.spawner.attempts == ["web"]


@pytest.mark.parametrize("streak", [0, 3])
def test_what_was_done_or_given_up_before_stays_so_until_somebody_asks(colony: Colony, streak: int) -> None:
    adopting(colony, survivor(alive=False, rest=Rest(None, streak, Exit(1), -50.0)))
    colony.wait(100)
    assert colony.spawner.attempts == []

    colony.ask("START", name="web")

    assert colony.spawner.attempts == ["web"]


def test_what_was_done_or_given_up_before_is_run_as_its_file_says_now(colony: Colony) -> None:
    adopting(colony, survivor(alive=False, rest=Rest(None, 3)), file=b'{"args": ["mended"]}')

    assert colony.spawner.attempts == ["web"]


def test_a_delay_goes_on_where_it_was(colony: Colony) -> None:
    now = colony.clock.seconds()
    adopting(colony, survivor(alive=False, rest=Rest(now + 15, 10, Exit(None, "SEGV"), now - 5)))
    colony.wait(14 - CONFIRM)
    assert colony.spawner.attempts == []
    colony.settle()
    unit = colony.last.units[Name("web")]
    assert (unit.streak, unit.last_exit, unit.last_exit_at) == (10, Exit(None, "SEGV"), now - 5)

    colony.wait(2)
    assert colony.spawner.attempts == ["web"]
    colony.of("web").exits(1)

    colony.settle()
    assert colony.last.units[Name("web")].streak == 11


def test_a_delay_is_believed_no_further_than_the_policy_goes(colony: Colony) -> None:
    adopting(colony, survivor(alive=False, rest=Rest(1e9, 1)))

    colony.wait(2)

    assert colony.spawner.attempts == ["web"]


def test_a_restart_that_was_asked_for_ends_a_delay_of_before_too(colony: Colony) -> None:
    adopting(colony, survivor(alive=False, stale=True, rest=Rest(None, 3)))

    assert colony.spawner.attempts == ["web"]


def test_what_cannot_be_adopted_is_started_again(colony: Colony, heard: Heard) -> None:
    colony.spawner.refusals["web"] = OSError(3, "No such process")
    colony.memory.specs[Name("web")] = RUN
    colony.begin(survivor())
    del colony.spawner.refusals["web"]

    colony.supervisor.take(Listing({"web": Readable(RUN)}, ignored=frozenset()))

    assert colony.spawner.attempts == ["web"]
    assert heard.lines("cannot adopt web (7)")


def test_what_was_started_from_nobody_knows_what_is_replaced(colony: Colony) -> None:
    adopting(colony, survivor(source=b'{"args": ["something else"]}'))

    assert colony.of("web").signals == ["TERM", "CONT"]
    colony.of("web").exits(None, "TERM")
    assert colony.of("web").start.spec.args == ("run",)


def test_whoever_ends_before_the_first_look_stops_what_was_adopted(colony: Colony) -> None:
    colony.memory.specs[Name("web")] = RUN
    colony.begin(survivor())

    done = colony.supervisor.close()
    assert colony.of("web").signals == ["TERM", "CONT"]
    colony.of("web").exits(None, "TERM")

    assert fired(done)


def test_whoever_ends_before_the_first_look_does_not_wait_for_the_dead(colony: Colony) -> None:
    colony.memory.specs[Name("web")] = RUN
    colony.begin(survivor(alive=False))

    assert fired(colony.supervisor.close())


def test_whoever_ends_right_after_the_first_look_does_not_wait_for_the_dead(colony: Colony) -> None:
    colony.memory.specs[Name("web")] = RUN
    colony.begin(survivor(alive=False))
    colony.look_again()

    assert fired(colony.supervisor.close())


def test_what_is_asked_of_a_process_is_remembered_for_the_next_supervisor(colony: Colony) -> None:
    colony.write("web")
    colony.write("once", restart={"when": "never"})

    colony.ask("RESTART", name="web")
    colony.of("once").exits(0)

    assert colony.memory.doomed == ["web"]
    assert colony.memory.rests == {"once": Rest(None, 0, Exit(0), colony.clock.seconds())}


def test_that_a_rest_is_over_is_remembered_for_all_who_are_to_start_before_the_message_goes(colony: Colony) -> None:
    colony.write(*(f"p{number:02}" for number in range(2 * SLICE)), "web", group=["all"])
    colony.write("once", restart={"when": "never"}, group=["all"])
    colony.settle()
    once = [process for process in colony.spawner.running if process.start.name == "once"]
    once[0].exits(0)
    started = len(colony.spawner.attempts)

    colony.ask("START", group="all")

    assert len(colony.spawner.attempts) == started, "it was killed before its turn came"
    assert colony.memory.doomed == ["once"]


def test_a_delay_and_a_giving_up_are_remembered_for_the_next_supervisor(colony: Colony) -> None:
    colony.write("web", restart={"attempts": 2, "initial": 10, "jitter": 0})
    colony.of("web").exits(1)
    now = colony.clock.seconds()
    assert colony.memory.rests == {"web": Rest(now + 10, 1, Exit(1), now)}
    colony.spawner.refusals["web"] = FileNotFoundError("no such file")

    colony.wait(10)

    assert colony.memory.rests == {"web": Rest(None, 2, Exit(1), now, "cannot start: no such file")}


# -- the end --------------------------------------------------------------------------------------------------------


def test_with_nothing_running_the_end_comes_at_once(colony: Colony) -> None:
    assert fired(colony.supervisor.close())


def test_the_end_comes_when_every_family_is_gone(colony: Colony) -> None:
    colony.write("web", "echo")
    done = colony.supervisor.close()
    assert colony.of("web").signals == colony.of("echo").signals == ["TERM", "CONT"]

    colony.of("web").exits(leaving=True)
    colony.of("echo").exits()
    assert not fired(done)
    assert colony.of("web").signals == ["TERM", "CONT"] * 2, "who has left the group is found, and asked, only now"
    colony.wait(5)
    assert colony.of("web").signals[-1] == "KILL"
    colony.of("web").empties()

    assert fired(done)
    assert colony.running() == []


def test_asked_to_end_twice_it_ends_once(colony: Colony) -> None:
    colony.write("web")
    first, second = colony.supervisor.close(), colony.supervisor.close()
    assert colony.of("web").signals == ["TERM", "CONT"]
    assert not fired(first)
    assert not fired(second)

    colony.of("web").exits()

    assert fired(first)
    assert fired(second)
    assert fired(colony.supervisor.close())


def test_while_it_ends_nothing_is_started(colony: Colony) -> None:
    colony.write("web", "flap")
    colony.of("flap").exits(1)
    done = colony.supervisor.close()

    colony.write("late")
    colony.wait(100)
    colony.of("web").exits()

    assert fired(done)
    assert sorted(colony.spawner.attempts) == ["flap", "web"]


def test_what_was_about_to_start_is_not_started_when_it_ends(colony: Colony) -> None:
    colony.write(*(f"p{number:03}" for number in range(3 * SLICE)))
    started = len(colony.spawner.attempts)
    assert started < 3 * SLICE

    done = colony.supervisor.close()
    colony.settle()

    assert len(colony.spawner.attempts) == started
    for process in colony.spawner.running:
        process.exits()
    colony.settle()
    assert fired(done)


def test_insisting_kills_whatever_is_being_stopped(colony: Colony) -> None:
    colony.write("web", "echo")
    _ = colony.supervisor.close()

    colony.supervisor.insist()

    assert colony.of("web").signals == colony.of("echo").signals == ["TERM", "CONT", "KILL"]


def test_insisting_kills_in_the_middle_of_a_start_too(colony: Colony) -> None:
    colony.write(*(f"p{number:03}" for number in range(3 * SLICE)))
    colony.ask("RESTART-ALL")

    _ = colony.supervisor.close()
    colony.supervisor.insist()
    colony.settle()

    assert colony.spawner.running
    assert all("KILL" in process.signals for process in colony.spawner.running)


def test_the_last_report_tells_of_the_end(colony: Colony) -> None:
    colony.write("web")
    _ = colony.supervisor.close()
    colony.of("web").exits()

    assert colony.last.units[Name("web")].state == Down()
    told = len(colony.reports)
    colony.wait(10)
    assert len(colony.reports) == told


# -- much at once ---------------------------------------------------------------------------------------------------


def test_much_to_do_is_done_in_slices(colony: Colony) -> None:
    colony.write(*(f"p{number:03}" for number in range(200)))
    assert len(colony.spawner.attempts) <= SLICE

    seen: list[int] = []
    colony.clock.callLater(0, lambda: seen.append(len(colony.spawner.attempts)))
    colony.settle()

    assert seen[0] <= 2 * SLICE, "others had their turn after one more slice"

    assert len(colony.running()) == 200


def test_a_crowd_whose_delays_end_together_is_started_in_slices(colony: Colony) -> None:
    names = [f"p{number:03}" for number in range(200)]
    colony.write(*names)
    colony.settle()
    for name in names:
        colony.of(name).exits(1)
    seen: list[int] = []
    colony.clock.callLater(2, lambda: seen.append(len(colony.spawner.attempts) - 200))
    colony.wait(2)

    assert seen[0] <= SLICE, "others have their turn after one slice"
    assert len(colony.running()) == 200


def test_reports_are_bounded_and_tell_of_everything(colony: Colony) -> None:
    colony.write(*(f"p{number:03}" for number in range(200)))
    colony.settle()

    assert max(len(report.moved) for report in colony.reports) <= REPORT_SLICE
    assert frozenset().union(*(report.moved for report in colony.reports)) == {f"p{n:03}" for n in range(200)}
    assert all(isinstance(unit.state, Up) for unit in colony.last.units.values())


def test_reports_tell_of_each_transition_once_in_order_and_of_names_after_theirs(colony: Colony) -> None:
    names = [f"p{number}" for number in range(TRANSITIONS_SLICE)]
    colony.write(*names)
    for _ in range(50):
        colony.wait(0)
    colony.of("p7").exits()
    assert colony.reports == []
    colony.settle()

    assert max(len(report.transitions) for report in colony.reports) <= TRANSITIONS_SLICE
    told = [each for report in colony.reports for each in report.transitions]
    states = [type(each.after.state).__name__ for each in told if each.after.name == "p7"]
    assert states == ["Spawning", "Up", "Backoff"]
    assert all(earlier.at <= later.at for earlier, later in pairwise(told))
    for number, report in enumerate(colony.reports):
        later = {each.after.name for after in colony.reports[number + 1 :] for each in after.transitions}
        assert not report.moved & later


def test_a_report_that_could_not_be_made_has_told_its_transitions(colony: Colony) -> None:
    seen: list[Transition] = []
    made = colony.report

    def report(report: Report) -> None:
        seen.extend(report.transitions)
        made(report)

    colony.report_errors.append(OSError(28, "No space left on device"))
    colony.supervisor._telling._report = report
    colony.write("web")
    colony.settle()
    colony.wait(REPORT_RETRY)

    assert [type(each.after.state).__name__ for each in seen] == ["Spawning", "Up"]
    assert colony.last.moved == {"web"}


def test_a_report_tells_of_what_moved_since_the_one_before(colony: Colony) -> None:
    colony.write("web", "echo")
    colony.settle()
    assert colony.last.moved == {"web", "echo"}

    colony.of("web").exits(1)
    colony.settle()

    assert colony.last.moved == {"web"}
    assert isinstance(colony.last.units[Name("web")].state, Backoff)
    seen = len(colony.reports)
    colony.wait(1)
    assert len(colony.reports) == seen, "nothing moved"


def test_a_report_that_cannot_be_made_is_made_again(colony: Colony, heard: Heard) -> None:
    colony.report_errors = [OSError(28, "No space left on device")] * 2
    colony.write("web")
    colony.settle()
    colony.wait(REPORT_RETRY)
    assert colony.reports == []

    colony.wait(REPORT_RETRY)

    assert colony.last.moved == {"web"}
    assert len(heard.lines("cannot tell in files what is going on", "No space left")) == 1


def test_a_report_that_cannot_be_made_keeps_no_end_from_coming(colony: Colony) -> None:
    colony.write("web")
    done = colony.supervisor.close()
    colony.report_errors = [OSError(28, "No space left on device")] * 9

    colony.of("web").exits()

    assert fired(done)
    colony.wait(10)
    assert len(colony.report_errors) == 8, "after the end nothing is tried again"


def test_a_reporter_that_breaks_hurts_nobody(colony: Colony, heard: Heard) -> None:
    colony.report_errors = [ZeroDivisionError("ours")]
    colony.write("web")
    colony.settle()
    assert [type(failure) for failure in heard.failures()] == [ZeroDivisionError]

    colony.write("echo")
    colony.settle()

    assert colony.last.moved == {"echo"}
    assert sorted(colony.running()) == ["echo", "web"]


def test_a_mistake_of_ours_in_one_unit_hurts_no_other(
    colony: Colony, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(unit: Any, event: Any, now: float, others: Any) -> Any:
        if unit.name == "bad":
            raise ZeroDivisionError("ours")
        return lifecycle.step(unit, event, now, others)

    monkeypatch.setattr("colony.supervisor.step", step)
    colony.write("bad", "web")

    assert colony.running() == ["web"]
    assert [type(failure) for failure in heard.failures()] == [ZeroDivisionError]


# -- what is said ---------------------------------------------------------------------------------------------------


def test_a_bad_file_is_said_once_a_content(colony: Colony, heard: Heard) -> None:
    colony.write_bytes("web", data=b"{")
    colony.write_bytes("web", data=b"{")
    colony.supervisor.take(Listing(missing=frozenset({"web"})))
    colony.write_bytes("web", data=b"{")
    assert len(heard.lines("bad file for web", "not JSON")) == 1

    colony.write_bytes("web", data=b"[]")

    assert len(heard.lines("bad file for web")) == 2


def test_a_bad_file_says_what_stays_in_force(colony: Colony, heard: Heard) -> None:
    colony.write("web")
    colony.write_bytes("web", data=b'{"args": [], "cwd": 3}')

    [line] = heard.lines("bad file for web")
    assert line.endswith(
        "args: must have at least one entry, the executable; cwd: must be a string, not a number;"
        " the last good one stays in force"
    )


def test_a_file_whose_name_is_no_name_is_said_once(colony: Colony, heard: Heard) -> None:
    for _ in range(3):
        colony.supervisor.take(Listing({"a b": Readable(b"{}")}))

    assert len(heard.lines("bad file a b", "is no name")) == 1


def test_an_unknown_key_is_noted_once(colony: Colony, heard: Heard) -> None:
    colony.write("web", env_inherits=["A"])
    colony.write("web", env_inherits=["A"])

    assert heard.lines("in the file of web") == [
        "in the file of web: unknown key 'env_inherits'; did you mean 'env_inherit'?"
    ]


def test_a_start_an_end_and_a_backoff_are_said(colony: Colony, heard: Heard) -> None:
    colony.write("web")
    colony.of("web").exits(3)
    colony.wait(2)
    colony.remove("web")
    colony.wait(0)

    assert heard.lines("web") == [
        "started web as 100",
        "web (100) exited with code 3",
        "web is started again in 2.0 s; early deaths in a row: 1",
        "started web as 101",
        "stopping web (101)",
    ]


def blocked(colony: Colony, *found: Survivor, file: bytes | None = RUN) -> None:
    """A supervisor that finds something of web that was killed and does not end."""
    colony.begin(*found)
    colony.supervisor.block({Name("web"): Pid(99)})
    colony.files = {"other": Readable(RUN)}
    if file is not None:
        colony.files["web"] = Readable(file)
    colony.look_again()
    colony.wait(CONFIRM)


@pytest.mark.parametrize("found", [[], [survivor(alive=False)], [survivor(alive=False, stale=True)]])
def test_whose_last_process_cannot_be_ended_waits_for_it_and_nobody_else_does(
    colony: Colony, found: list[Survivor]
) -> None:
    colony.memory.specs[Name("web")] = RUN
    blocked(colony, *found)
    assert colony.spawner.attempts == ["other"]
    colony.ask("RESTART", name="web")
    colony.wait(1000)
    assert colony.spawner.attempts == ["other"]
    assert why(colony.last.units[Name("web")], colony.last.desired) == (
        "ended, nobody knows how, and left others behind; sent KILL"
    )

    colony.supervisor.freed(Name("web"))

    assert colony.running() == ["other", "web"]
    colony.supervisor.freed(Name("web"))
    assert colony.spawner.attempts == ["other", "web"]


def test_who_was_removed_while_its_last_process_could_not_be_ended_is_forgotten(colony: Colony) -> None:
    blocked(colony, file=None)
    colony.supervisor.freed(Name("web"))
    colony.wait(1)

    assert colony.running() == ["other"]
    assert Name("web") not in colony.last.units


def test_what_goes_on_waits_for_nobody(colony: Colony) -> None:
    colony.memory.specs[Name("web")] = RUN
    blocked(colony, survivor())
    colony.supervisor.freed(Name("web"))

    assert sorted(colony.running()) == ["other", "web"]
    colony.of("web").exits(1)
    assert colony.spawner.attempts == ["other", "web"]


def test_who_is_free_before_config_was_seen_is_started_as_config_says_then(colony: Colony) -> None:
    colony.memory.specs[Name("web")] = RUN
    colony.begin(survivor(alive=False))
    colony.supervisor.block({Name("web"): Pid(99)})
    colony.supervisor.freed(Name("web"))
    assert colony.running() == []

    colony.write("web", args=["another"])

    assert [process.start.spec.args for process in colony.spawner.running] == [("another",)]


# -- order, readiness, health ------------------------------------------------------------------------------------------


def test_what_needs_another_is_started_when_that_is_ready(colony: Colony) -> None:
    colony.write("worker", after=["redis"])
    colony.settle()
    assert colony.running() == []

    colony.write("redis", ready={"tcp": 6379})
    colony.settle()
    assert colony.running() == ["redis"]

    colony.checks.of("redis").is_ready()
    colony.settle()
    assert colony.running() == ["redis", "worker"]
    assert colony.checks.watched == {}


def test_what_runs_goes_on_while_what_it_needs_is_restarted(colony: Colony) -> None:
    colony.write("redis")
    colony.write("worker", after=["redis"])
    colony.settle()
    worker = colony.of("worker")

    colony.of("redis").exits(None, "KILL")
    colony.wait(4)
    colony.settle()

    assert colony.running() == ["worker", "redis"]
    assert worker.signals == []


def test_a_group_is_stopped_and_a_whole_colony_restarted_in_order(colony: Colony) -> None:
    colony.write("a", group=["g"])
    colony.write("b", after=["a"], group=["g"])
    colony.settle()
    a, b = colony.of("a"), colony.of("b")

    colony.ask("RESTART-ALL")
    colony.settle()
    assert (a.signals, b.signals) == ([], ["TERM", "CONT"])
    b.exits(0)
    colony.settle()
    assert (a.signals, colony.running()) == (["TERM", "CONT"], ["a"])
    a.exits(0)
    colony.settle()
    assert colony.running() == ["a", "b"]

    colony.ask("STOP", group="g")
    colony.settle()
    assert (colony.of("a").signals, colony.of("b").signals) == ([], ["TERM", "CONT"])
    colony.of("b").exits(0)
    colony.settle()
    assert colony.of("a").signals == ["TERM", "CONT"]


def test_those_in_a_cycle_wait_for_each_other_and_end_all_the_same(colony: Colony) -> None:
    colony.write("a", after=["b"])
    colony.write("b")
    colony.settle()
    colony.write("b", after=["a"])
    colony.settle()
    b, a = colony.of("b"), colony.of("a")
    assert b.signals == ["TERM", "CONT"]
    b.exits(0)
    colony.settle()
    assert colony.running() == ["a", "b"], "a runs, so b may start"

    colony.ask("RESTART", name="b")
    colony.settle()
    done = colony.supervisor.close()
    for process in (a, colony.of("b")):
        assert process.signals == ["TERM", "CONT"]
        process.exits(0)
    colony.settle()
    assert fired(done)


def test_health_is_asked_while_it_is_up_and_not_longer(colony: Colony) -> None:
    colony.write("web", ready={"tcp": 80}, health={"tcp": 80, "failures": 1})
    first = colony.checks.of("web")
    assert first.what == first.spec.ready
    first.is_ready()
    watch = colony.checks.of("web")
    assert watch.what == watch.spec.health

    watch.is_ill("refused")

    assert colony.of("web").signals == ["TERM", "CONT"]
    assert watch.over
    assert colony.checks.watched == {}


def test_reload_is_for_the_main_alone(colony: Colony) -> None:
    colony.write("web", reload="HUP")
    colony.write("echo")

    assert colony.ask("RELOAD", name="web") == Answer(("web",))
    assert (colony.of("web").told, colony.of("web").signals) == (["HUP"], [])
    assert colony.ask("RELOAD", name="echo") == Answer(("echo",), 1, "its file has no reload signal")
    assert isinstance(colony.ask("RELOAD", name="typo"), NotYet)
    colony.of("web").exits(0)
    assert colony.ask("RELOAD", name="web") == Answer(("web",), 1, "web is not running")


@pytest.mark.parametrize(
    ("restart", "exit", "gave_up"),
    [
        ({"when": "never"}, Exit(3), [("web", Exit(3))]),
        ({"when": "failure"}, Exit(0), [("web", Exit(0))]),
        ({"when": "failure"}, Exit(3), []),
        ({"attempts": 1}, Exit(None, "KILL"), [("web", Exit(None, "KILL"))]),
        ({}, Exit(3), []),
    ],
)
def test_that_an_essential_process_gives_up_is_told(
    colony: Colony, restart: dict[str, Any], exit: Exit, gave_up: list[tuple[str, Exit]]
) -> None:
    colony.write("web", essential=True, restart=restart)
    colony.write("echo", restart=restart)

    colony.of("echo").exits(exit.code, exit.signal)
    colony.of("web").exits(exit.code, exit.signal)

    assert colony.gave_up == gave_up


def test_an_essential_process_that_cannot_be_started_has_no_exit(colony: Colony) -> None:
    colony.spawner.refusals["web"] = FileNotFoundError("no such file")

    colony.write("web", essential=True, restart={"attempts": 1})

    assert colony.gave_up == [("web", None)]


def test_that_an_essential_process_has_ended_is_not_remembered_for_the_next_supervisor(colony: Colony) -> None:
    colony.write("web", essential=True, restart={"when": "never"})

    colony.of("web").exits(3)

    assert (colony.memory.renewed, colony.memory.rests) == (["web"], {})


def test_neither_a_stop_nor_a_removal_is_a_giving_up(colony: Colony) -> None:
    colony.write("web", "echo", essential=True, restart={"when": "never"})

    colony.ask("STOP", name="web")
    colony.remove("echo")
    colony.of("web").exits(0)
    colony.of("echo").exits(0)

    assert colony.gave_up == []


def test_what_had_ended_well_before_is_ready_still(colony: Colony) -> None:
    once = json.dumps({"args": ["run"], "restart": {"when": "never"}}).encode()
    colony.memory.specs = {Name("migrate"): once}
    colony.files = {"migrate": Readable(once), "web": Readable(b'{"args": ["run"], "after": ["migrate"]}')}
    digest, ended = parse_spec(once, DEFAULTS).digest, Rest(None, 0, Exit(0))

    colony.begin(Survivor(Name("migrate"), "c0.5", digest, 1, Pid(7), 0.0, False, False, ended))
    colony.look_again()
    colony.settle()

    assert colony.running() == ["web"]


def test_what_was_started_before_is_asked_whether_it_is_ready(colony: Colony) -> None:
    source = b'{"args": ["run"], "ready": {"tcp": 80, "timeout": 1}}'
    colony.memory.specs[Name("web")] = source
    colony.files = {"web": Readable(source), "after": Readable(b'{"args": ["run"], "after": ["web"]}')}
    digest = parse_spec(source, DEFAULTS).digest

    colony.begin(Survivor(Name("web"), "c0.5", digest, 1, Pid(7), -1000.0, True, False))
    colony.look_again()
    colony.wait(100)
    assert colony.running() == ["web"]
    assert colony.of("web").signals == []

    colony.checks.of("web").is_ready()
    colony.settle()
    assert colony.running() == ["web", "after"]


def test_in_a_storm_that_does_not_pass_reports_are_made_all_the_same(colony: Colony) -> None:
    colony.write("web")
    colony.settle()
    told = len(colony.reports)
    began = colony.clock.seconds()

    while len(colony.reports) == told:  # something happens all the time
        colony.clock.advance(REPORT_DELAY / 2)
        colony.supervisor.tell(Name("web"), Alarm())
        colony.supervisor.report()
        assert colony.clock.seconds() - began < 10

    assert colony.clock.seconds() - began == pytest.approx(REPORT_PATIENCE, abs=2 * REPORT_DELAY)


def test_what_a_thousand_starts_tell_comes_after_the_last_of_them(colony: Colony) -> None:
    at_the_last: list[int] = []
    spawn = colony.spawner.spawn

    def spawned(start: Start, ended: Ended) -> Pid:
        if len(colony.spawner.attempts) == 999:
            at_the_last.append(len(said.events))
        return spawn(start, ended)

    colony.spawner.spawn = spawned  # type: ignore[method-assign]  # it is asked what had been said by then
    with listening() as said:
        colony.write(*(f"p{number:03}" for number in range(1000)))
        colony.settle()

    assert at_the_last == [0]
    assert len(said.lines("started")) == 1000
