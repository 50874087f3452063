"""The scheduler: a fixed grid, never two runs at once, and every run is ended with all that it started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from colony.scheduler import Options, Service, Settings
from tests.fakes import FakeProcess, FakeSpawner, Heard, listening
from tests.strategies import steady


class Scheduler:
    """A scheduler that runs ``echo`` every 10 s, for at most 4 s and 2 s of grace."""

    def __init__(self, frequency: float = 10, timeout: float = 4, grace: float = 2) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.spawner = FakeSpawner()
        self.service = Service(
            self.clock, lambda: self.spawner, Settings(("/bin/echo", "hello"), frequency, timeout, grace), "c0.5"
        )

    def begin(self) -> Scheduler:
        self.service.startService()
        self.wait(0)
        return self

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @property
    def last(self) -> FakeProcess:
        return self.spawner.started[-1]

    @property
    def runs(self) -> int:
        return len(self.spawner.started)


def fired(done: Deferred[None]) -> bool:
    return done.called


@pytest.fixture
def heard() -> Iterator[Heard]:
    with listening() as found:
        yield found


def test_the_first_run_is_at_once() -> None:
    scheduler = Scheduler().begin()

    [run] = scheduler.spawner.running
    assert run.start.spec.args == ("/bin/echo", "hello")
    assert run.start.name == "echo"
    assert run.start.token == "c0.5"


def test_the_next_ones_are_on_the_grid_however_long_a_run_takes() -> None:
    scheduler = Scheduler().begin()
    for took in (0.1, 3.9, 2):
        scheduler.wait(took)
        scheduler.last.exits()
        runs = scheduler.runs
        scheduler.wait(9.9 - took)
        assert scheduler.runs == runs
        scheduler.wait(0.1)
        assert scheduler.runs == runs + 1


def test_no_two_runs_at_once_and_missed_points_are_skipped() -> None:
    scheduler = Scheduler(timeout=100).begin()
    scheduler.wait(25)
    assert scheduler.runs == 1

    scheduler.last.exits()

    scheduler.wait(4.9)
    assert scheduler.runs == 1
    scheduler.wait(0.1)
    assert scheduler.runs == 2


def test_a_run_that_ends_right_at_a_point_is_followed_at_once() -> None:
    scheduler = Scheduler(timeout=100).begin()
    scheduler.wait(20)
    scheduler.last.exits()

    scheduler.wait(0)

    assert scheduler.runs == 2


def test_a_run_in_time_is_left_alone(heard: Heard) -> None:
    scheduler = Scheduler().begin()
    scheduler.wait(3.9)
    scheduler.last.exits()
    first = scheduler.last
    scheduler.wait(5)

    assert first.signals == []
    assert heard.events == []


def test_a_run_that_hangs_gets_term_and_after_the_grace_kill(heard: Heard) -> None:
    scheduler = Scheduler().begin()
    scheduler.wait(4)
    assert scheduler.last.signals == ["TERM", "CONT"]
    scheduler.wait(1.9)
    assert scheduler.last.signals == ["TERM", "CONT"]
    scheduler.wait(0.1)
    assert scheduler.last.signals == ["TERM", "CONT", "KILL"]
    assert heard.lines("echo", "has run for 4 s")

    scheduler.last.exits(None, "KILL")
    scheduler.wait(4)

    assert scheduler.runs == 2
    assert heard.lines("killed by KILL")


def test_a_run_that_hears_term_is_not_killed() -> None:
    scheduler = Scheduler().begin()
    first = scheduler.last
    scheduler.wait(4)
    first.exits(None, "TERM")
    scheduler.wait(3)

    assert first.signals == ["TERM", "CONT"]


def test_a_run_that_nothing_ends_holds_the_next_one_back() -> None:
    scheduler = Scheduler().begin()
    for _ in range(100):
        scheduler.wait(1)

    assert scheduler.runs == 1
    assert scheduler.last.signals == ["TERM", "CONT", "KILL"]


@pytest.mark.parametrize("code", [1, 255])
def test_a_run_that_fails_is_said_and_changes_nothing(heard: Heard, code: int) -> None:
    scheduler = Scheduler().begin()
    scheduler.last.exits(code)
    scheduler.wait(10)

    assert scheduler.runs == 2
    assert heard.lines("echo (100) exited with code", str(code))


def test_a_missing_command_is_tried_again_at_the_next_point(heard: Heard) -> None:
    scheduler = Scheduler()
    scheduler.spawner.refusals["echo"] = OSError(2, "exec: /bin/echo: No such file or directory")
    scheduler.begin()
    scheduler.wait(9.9)
    assert scheduler.spawner.attempts == ["echo"]
    scheduler.wait(0.1)
    assert scheduler.spawner.attempts == ["echo"] * 2
    assert len(heard.lines("cannot start echo", "No such file")) == 2

    scheduler.spawner.refusals.clear()
    scheduler.wait(10)

    assert scheduler.runs == 1


def test_a_spawner_that_breaks_does_not_stop_the_schedule(heard: Heard) -> None:
    scheduler = Scheduler()
    scheduler.spawner.refusals["echo"] = ZeroDivisionError("ours")
    scheduler.begin()
    assert [type(failure) for failure in heard.failures()] == [ZeroDivisionError]

    scheduler.spawner.refusals.clear()
    scheduler.wait(10)

    assert scheduler.runs == 1


def test_those_left_behind_are_stopped_before_the_next_run(heard: Heard) -> None:
    scheduler = Scheduler().begin()
    first = scheduler.last
    first.exits(0, leaving=True)
    assert first.signals == ["TERM", "CONT"]
    assert heard.lines("has left others behind")
    scheduler.wait(2)
    assert first.signals == ["TERM", "CONT", "KILL"]
    scheduler.wait(10)
    assert scheduler.runs == 1

    first.empties()
    scheduler.wait(8)

    assert scheduler.runs == 2


def test_those_left_behind_by_a_run_that_was_being_stopped_are_killed_in_time() -> None:
    scheduler = Scheduler().begin()
    scheduler.wait(4)
    scheduler.last.exits(None, "TERM", leaving=True)
    scheduler.wait(2)

    assert scheduler.last.signals[-1] == "KILL"


# -- its end --------------------------------------------------------------------------------------------------------


def test_stopped_between_two_runs_it_ends_at_once_and_runs_no_more() -> None:
    scheduler = Scheduler().begin()
    scheduler.last.exits()

    assert fired(scheduler.service.stopService())

    scheduler.wait(100)
    assert scheduler.runs == 1
    assert scheduler.clock.getDelayedCalls() == []


def test_stopped_before_the_first_run_it_runs_nothing() -> None:
    scheduler = Scheduler()
    scheduler.service.startService()

    assert fired(scheduler.service.stopService())

    scheduler.wait(100)
    assert scheduler.runs == 0


def test_stopped_during_a_run_it_stops_that_first() -> None:
    scheduler = Scheduler().begin()
    scheduler.wait(1)
    done = scheduler.service.stopService()
    again = scheduler.service.stopService()
    assert scheduler.last.signals == ["TERM", "CONT"]
    scheduler.wait(2)
    assert scheduler.last.signals == ["TERM", "CONT", "KILL"]
    assert not fired(done)

    scheduler.last.exits(None, "KILL")

    assert fired(done)
    assert fired(again)
    scheduler.wait(100)
    assert scheduler.runs == 1
    assert scheduler.clock.getDelayedCalls() == []


def test_stopped_during_a_run_it_waits_for_those_left_behind() -> None:
    scheduler = Scheduler().begin()
    done = scheduler.service.stopService()
    scheduler.last.exits(None, "TERM", leaving=True)
    assert not fired(done)

    scheduler.last.empties()

    assert fired(done)


def test_stopped_while_it_stops_a_run_it_gives_that_no_more_time() -> None:
    scheduler = Scheduler().begin()
    scheduler.wait(4)
    scheduler.wait(1)
    _ = scheduler.service.stopService()
    scheduler.wait(1)

    assert scheduler.last.signals == ["TERM", "CONT", "KILL"]


# -- whatever happens -------------------------------------------------------------------------------------------------


@steady
@given(
    st.sampled_from([1.0, 4.0, 16.0]),
    st.lists(st.tuples(st.sampled_from(["exit", "fail", "leave", "hang"]), st.integers(0, 400)), max_size=15),
)
def test_whatever_runs_do_each_starts_at_a_point_of_the_grid(frequency: float, doings: list[tuple[str, int]]) -> None:
    scheduler = Scheduler(frequency, timeout=8, grace=4)
    starts: list[float] = []
    spawn = scheduler.spawner.spawn

    def noting(*arguments: object) -> object:
        starts.append(scheduler.clock.seconds())
        return spawn(*arguments)  # type: ignore[arg-type]

    scheduler.spawner.spawn = noting  # type: ignore[method-assign, assignment]
    scheduler.begin()
    for doing, eighths in doings:
        for _ in range(eighths):
            scheduler.wait(0.125)
        for run in scheduler.spawner.running:
            if "KILL" in run.signals:
                run.exits(None, "KILL") if run.main else run.empties()
            elif run.main and doing != "hang":
                run.exits(0 if doing == "exit" else 1, leaving=doing == "leave")
        scheduler.wait(0)

    assert len(scheduler.spawner.running) <= 1
    assert all((start - 1000) % frequency == 0 for start in starts)
    assert starts == sorted(set(starts))


# -- options ----------------------------------------------------------------------------------------------------------


def read(*words: str) -> Settings:
    options = Options()
    options.parseOptions(list(words))  # type: ignore[no-untyped-call]  # Twisted's
    return Settings.read(options)


GOOD = ("--frequency", "10", "--timeout", "5.5", "--grace", "0")


def test_the_options_are_a_command_and_three_durations() -> None:
    assert read("--arg", "echo", "--arg", "--arg", "--arg=hello", *GOOD) == Settings(
        ("echo", "--arg", "hello"), 10.0, 5.5, 0.0
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (GOOD, "--arg COMMAND is required"),
        (("--arg", "", *GOOD), "--arg COMMAND is required"),
        (("--arg", "echo", *GOOD[:4]), "--grace SECONDS is required"),
        (("--arg", "echo", *GOOD, "--frequency", "0"), "--frequency 0 is no number of seconds that would do"),
        (("--arg", "echo", *GOOD, "--frequency", "soon"), "--frequency soon is no number"),
        (("--arg", "echo", *GOOD, "--timeout", "-1"), "--timeout -1 is no number"),
        (("--arg", "echo", *GOOD, "--timeout", "nan"), "--timeout nan is no number"),
        (("--arg", "echo", *GOOD, "--grace", "1e10"), "--grace 1e10 is no number"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(SystemExit) as caught:
        read(*words)

    assert str(caught.value).startswith(f"colony-scheduler: {why}")
    assert "\n" not in str(caught.value)
