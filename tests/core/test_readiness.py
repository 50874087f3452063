"""One unit among others: it waits, becomes ready, falls ill, and lets others go first."""

from __future__ import annotations

import attrs
import pytest

from colony.core.ending import Ending, begin, insist
from colony.core.health import Vitals
from colony.core.lifecycle import (
    Alarm,
    Backoff,
    Closing,
    Down,
    Effect,
    Event,
    Exited,
    Failed,
    Held,
    Insisted,
    Kill,
    Probed,
    Ready,
    Released,
    ReloadAsked,
    RestartAsked,
    Running,
    Signal,
    Spawn,
    Spawned,
    Spawning,
    Starting,
    State,
    Stopping,
    Unit,
    Unwanted,
    Up,
    Waiting,
    Wanted,
    deadline,
    step,
    watched,
)
from colony.core.model import (
    Elapsed,
    Exec,
    Exit,
    Health,
    Http,
    LogLine,
    Name,
    Notify,
    Pid,
    ProcessSpec,
    Readiness,
    RestartPolicy,
    Rung,
    Tcp,
)
from colony.core.succession import adopted, has_said

WORKER, REDIS, BEAT = Name("worker"), Name("redis"), Name("beat")
PID = Pid(100)
NOW = 50.0

READY = Readiness(Tcp(6379), timeout=30)
HEALTH = Health(Tcp(6379), failures=2)
LADDER = (Rung("INT", 7), Rung("KILL", 0))
POLICY = RestartPolicy(initial=1, factor=2, limit=60, jitter=0, threshold=5)
SPEC = ProcessSpec(("worker",), "one", restart=POLICY, stop=LADDER, after=(REDIS,), ready=READY, health=HEALTH)
SOURCE = b"{}"
UNIT = Unit(WORKER, SPEC, SOURCE, generation=1, since=10.0, starts=1)
PROCESS = Running(PID, SPEC, 1, 10.0)
STARTING = Starting(PROCESS, due=60.0)
UP = Up(PROCESS)
INT = (Kill(PID, "INT"), Kill(PID, "CONT"))
START = (Spawn(WORKER, SPEC, SOURCE),)

to = attrs.evolve


@attrs.frozen
class Crowd:
    """The others, as a test wants them."""

    unready: tuple[Name, ...] = ()
    needing: Name | None = None

    def missing(self, unit: Unit) -> tuple[Name, ...]:
        return self.unready

    def first(self, unit: Unit) -> Name | None:
        return self.needing


UNREADY = Crowd(unready=(REDIS,))
NEEDED = Crowd(needing=BEAT)
READY_ALL = Crowd()
BEHIND = Waiting((REDIS,))


# -- waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "state", "event", "then", "effects"),
    [
        (to(UNIT, spec=None), Down(), Wanted(SPEC, SOURCE), BEHIND, ()),
        (UNIT, Backoff(NOW, 1), Alarm(), BEHIND, ()),
        (UNIT, Backoff(NOW + 1, 1), Alarm(), Backoff(NOW + 1, 1), ()),
        (UNIT, Backoff(NOW + 1, 1), RestartAsked(), BEHIND, ()),
        (UNIT, Failed(1), Released(), BEHIND, ()),
        (UNIT, BEHIND, Alarm(), BEHIND, ()),
        (UNIT, Waiting((REDIS, BEAT)), Alarm(), BEHIND, ()),
        (UNIT, BEHIND, RestartAsked(), BEHIND, ()),
        (UNIT, BEHIND, Held(), Down(), ()),
        (UNIT, BEHIND, Unwanted(), Down(), ()),
        (UNIT, BEHIND, Closing(), Down(), ()),
        # What runs does not care who else does.
        (UNIT, UP, Alarm(), UP, ()),
        (UNIT, STARTING, Alarm(), STARTING, ()),
    ],
)
def test_nothing_is_started_before_those_are_ready_that_it_needs(
    unit: Unit, state: State, event: Event, then: State, effects: tuple[Effect, ...]
) -> None:
    after, done = step(to(unit, state=state), event, NOW, UNREADY)

    assert (after.state, done) == (then, effects)
    assert deadline(after) is None or not isinstance(then, Waiting)


def test_what_waits_is_started_as_soon_as_they_are() -> None:
    unit, effects = step(to(UNIT, state=BEHIND), Alarm(), NOW, READY_ALL)

    assert (unit.state, effects) == (Spawning(SPEC, 1), START)


def test_what_waits_and_has_no_file_any_more_is_forgotten() -> None:
    assert to(UNIT, spec=None, state=BEHIND).forgotten


# -- becoming ready -------------------------------------------------------------------------------------------------


def started(spec: ProcessSpec) -> Unit:
    unit, _ = step(to(UNIT, spec=spec, state=Spawning(spec, 1)), Spawned(PID), NOW)
    return unit


@pytest.mark.parametrize(
    ("ready", "state"),
    [
        (None, Up),
        (READY, Starting),
        (Readiness(Elapsed(3)), Starting),
        (Readiness(Elapsed(0)), Up),
    ],
)
def test_what_is_started_is_up_when_nothing_says_how_to_know_more(ready: Readiness | None, state: type[State]) -> None:
    unit = started(to(SPEC, ready=ready))

    assert type(unit.state) is state
    assert unit.ready is (state is Up)


def test_it_is_up_once_it_is_ready_and_nobody_elses_readiness_counts() -> None:
    unit = started(SPEC)
    assert deadline(unit) == NOW + 30

    same, effects = step(unit, Ready(Pid(7)), NOW)
    assert (same, effects) == (unit, ())

    unit, effects = step(unit, Ready(PID), NOW)
    assert (unit.state, effects) == (Up(to(PROCESS, started=NOW, ordered=10.0)), ())
    assert unit.ready
    assert deadline(unit) is None

    assert step(unit, Ready(PID), NOW) == (unit, ())


def test_it_is_ready_when_its_seconds_are_over() -> None:
    unit = started(to(SPEC, ready=Readiness(Elapsed(3), timeout=1)))
    assert deadline(unit) == NOW + 3

    unit, effects = step(unit, Alarm(), NOW + 3)

    assert (type(unit.state), effects) == (Up, ())


def test_what_is_not_ready_in_time_has_failed_to_start() -> None:
    unit = to(started(SPEC), streak=1)

    unit, effects = step(unit, Alarm(), NOW + 30)

    assert effects == INT
    assert unit.trouble == "not ready after 30 s"
    assert isinstance(unit.state, Stopping)
    assert (unit.state.asked, unit.state.fault) == (False, "not ready after 30 s")

    unit, effects = step(unit, Exited(PID, Exit(0), alone=True), NOW + 31)
    assert (unit.state, effects) == (Backoff(NOW + 33, 1), ())
    assert unit.streak == 2
    assert unit.trouble == "not ready after 30 s"

    unit, effects = step(unit, Alarm(), NOW + 33)
    unit, _ = step(unit, Spawned(PID), NOW + 33)
    assert unit.trouble is None


def test_what_it_lacks_is_told_and_is_why_its_start_has_failed() -> None:
    unit, effects = step(started(SPEC), Probed(PID, "refused"), NOW)
    assert (unit.state, effects) == (Starting(to(PROCESS, started=NOW, ordered=10.0), NOW + 30, "refused"), ())

    unit, _ = step(unit, Alarm(), NOW + 30)
    assert unit.trouble == "not ready after 30 s: refused"


def test_it_is_given_up_after_so_many_starts_that_never_became_ready() -> None:
    unit = started(to(SPEC, restart=to(POLICY, attempts=1)))
    unit, _ = step(unit, Alarm(), NOW + 30)

    unit, _ = step(unit, Exited(PID, Exit(0), alone=True), NOW + 31)

    assert unit.state == Failed(1)
    assert unit.given_up


@pytest.mark.parametrize(
    ("when", "state"), [("always", Backoff(NOW + 32, 1)), ("failure", Backoff(NOW + 32, 1)), ("never", Down(ended=1))]
)
def test_whatever_code_it_ends_with_then_it_has_failed(when: str, state: State) -> None:
    unit = started(to(SPEC, restart=to(POLICY, when=when)))
    unit, _ = step(unit, Alarm(), NOW + 30)

    unit, _ = step(unit, Exited(PID, Exit(0), alone=True), NOW + 31)

    assert unit.state == state


def test_what_ends_before_it_is_ready_has_ended() -> None:
    unit, effects = step(to(UNIT, state=STARTING), Exited(PID, Exit(1), alone=True), 11.0)

    assert (unit.state, effects) == (Backoff(12.0, 1), ())


def test_what_starts_can_be_stopped() -> None:
    unit, effects = step(to(UNIT, state=STARTING), Held(), NOW)

    assert effects == INT
    assert unit.state == Stopping(PROCESS, Ending(LADDER, 0, NOW + 7), asked=True)


def test_a_start_asked_for_of_what_starts_is_no_restart() -> None:
    unit = to(UNIT, state=STARTING)

    assert step(unit, Released(), NOW) == (unit, ())


# -- health -----------------------------------------------------------------------------------------------------------


def probed(unit: Unit, *answers: str | None, now: float = NOW) -> tuple[Unit, tuple[Effect, ...]]:
    effects: tuple[Effect, ...] = ()
    for trouble in answers:
        unit, effects = step(unit, Probed(PID, trouble), now)
    return unit, effects


def test_what_is_not_well_is_restarted_after_a_while() -> None:
    unit, effects = probed(to(UNIT, state=UP), None, "refused")
    assert (unit.state, effects) == (Up(PROCESS, Vitals(1, True, "refused")), ())

    unit, effects = probed(unit, "timed out")
    assert effects == INT
    assert isinstance(unit.state, Stopping)
    assert unit.state.fault == unit.trouble == "unhealthy: timed out"
    assert unit.state.vitals.healthy is False

    unit, _ = step(unit, Exited(PID, Exit(0), alone=True), NOW + 1)
    assert unit.state == Backoff(NOW + 2, 1)
    assert unit.streak == 1


def test_what_is_well_for_a_while_is_forgiven() -> None:
    sick = to(UNIT, state=UP, streak=4)

    assert probed(sick, None)[0].streak == 0
    assert probed(sick, "refused")[0].streak == 4
    assert probed(sick, None, now=14.0)[0].streak == 4


@pytest.mark.parametrize(
    "unit",
    [
        to(UNIT, state=Starting(to(PROCESS, pid=Pid(7)), 60.0)),
        to(UNIT, state=Up(to(PROCESS, pid=Pid(7)))),
        to(UNIT, state=Up(to(PROCESS, spec=to(SPEC, health=None)))),
        to(UNIT, state=Down(), held=True),
        to(UNIT, state=Up(PROCESS, Vitals(0, True))),
    ],
)
def test_a_probe_of_somebody_else_or_that_tells_nothing_new_changes_nothing(unit: Unit) -> None:
    assert probed(unit, None) == (unit, ())


# -- what is to be found out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (STARTING, READY),
        (UP, HEALTH),
        (Starting(to(PROCESS, spec=to(SPEC, ready=Readiness(Elapsed(3)))), 60.0), None),
        (Up(to(PROCESS, spec=to(SPEC, health=None))), None),
        (Stopping(PROCESS, begin(LADDER, NOW)[0], asked=True), None),
        (Down(), None),
    ],
)
def test_readiness_is_looked_for_while_it_starts_and_health_while_it_is_up(
    state: State, what: Readiness | Health | None
) -> None:
    found = watched(to(UNIT, state=state))

    assert (None if found is None else found[1]) == what


@pytest.mark.parametrize("probe", [Tcp(80), Http("http://localhost/"), Exec(("true",))])
@pytest.mark.parametrize("said", [True, False])
def test_of_what_was_started_before_readiness_is_asked_again_where_somebody_answers(
    probe: Tcp | Http | Exec, said: bool
) -> None:
    process = to(PROCESS, spec=to(SPEC, ready=Readiness(probe)))

    state = adopted(process, said, NOW)

    assert state == Starting(process, None)
    assert deadline(to(UNIT, state=state)) is None
    assert step(to(UNIT, state=state), Alarm(), 1e9)[0].state == state


@pytest.mark.parametrize("probe", [LogLine("ready"), Notify()])
def test_what_was_started_before_and_says_so_itself_is_ready_if_it_has_or_had_the_time_to(
    probe: LogLine | Notify,
) -> None:
    process = to(PROCESS, spec=to(SPEC, ready=Readiness(probe, 7)))
    assert adopted(process, True, NOW) == Up(process)

    unit = to(UNIT, state=adopted(process, False, NOW))

    assert deadline(unit) == NOW + 7
    assert step(unit, Alarm(), NOW + 6)[0] == unit
    assert step(unit, Ready(process.pid), NOW + 1)[0].state == Up(process)
    assert step(unit, Alarm(), NOW + 7) == (to(unit, state=Up(process), since=NOW + 7), ())


def test_what_was_started_before_is_ready_when_it_has_run_that_long_all_in_all() -> None:
    process = to(PROCESS, spec=to(SPEC, ready=Readiness(Elapsed(3))))
    assert deadline(to(UNIT, state=adopted(process, False, NOW))) == process.started + 3


def test_what_was_started_before_and_needs_no_word_is_ready() -> None:
    process = to(PROCESS, spec=to(SPEC, ready=None))
    assert adopted(process, False, NOW) == Up(process)


@pytest.mark.parametrize(
    ("probe", "says"), [(LogLine("ready"), True), (Notify(), True), (Tcp(80), False), (Elapsed(3), False)]
)
def test_who_says_so_itself_has_said_it_once(probe: Tcp | LogLine | Notify | Elapsed, says: bool) -> None:
    process = to(PROCESS, spec=to(SPEC, ready=Readiness(probe)))
    starting, up = to(UNIT, state=Starting(process, None)), to(UNIT, state=Up(process))
    assert has_said(starting, up) is says
    assert not has_said(up, up)
    assert not has_said(starting, starting)


# -- others first -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [UP, STARTING])
@pytest.mark.parametrize("event", [Held(), Unwanted(), Closing(), RestartAsked()])
def test_what_others_need_that_leave_too_lets_them_go_first(state: State, event: Event) -> None:
    unit, effects = step(to(UNIT, state=state), event, NOW, NEEDED)
    assert (unit.state, unit.yields, effects) == (state, BEAT, ())
    assert unit.leaving
    assert not unit.ready
    assert deadline(unit) is None

    unit, effects = step(unit, Alarm(), NOW, READY_ALL)
    assert effects == INT
    assert unit.yields is None
    assert isinstance(unit.state, Stopping)
    assert unit.leaving


def test_what_is_wanted_again_before_it_was_its_turn_stays() -> None:
    unit, _ = step(to(UNIT, state=UP), Held(), NOW, NEEDED)

    unit, effects = step(unit, Released(), NOW, NEEDED)

    assert (unit, effects) == (to(UNIT, state=UP), ())


def test_what_is_not_well_does_not_wait_for_others() -> None:
    unit, effects = step(to(UNIT, state=Up(PROCESS, Vitals(1))), Probed(PID, "refused"), NOW, NEEDED)

    assert effects == INT
    assert isinstance(unit.state, Stopping)


def test_in_a_hurry_nobody_waits_for_others() -> None:
    unit, _ = step(to(UNIT, state=UP), Closing(), NOW, NEEDED)

    unit, effects = step(unit, Insisted(), NOW, NEEDED)

    assert effects == (Kill(PID, "KILL"),)
    assert unit.state == Stopping(PROCESS, insist(begin(LADDER, NOW)[0])[0], asked=True)


def test_what_is_being_started_is_killed_as_soon_as_it_has_been_in_a_hurry() -> None:
    unit = to(UNIT, state=Spawning(SPEC, 1))
    for event in (Closing(), Insisted()):
        unit, _ = step(unit, event, NOW, NEEDED)
        assert unit.leaving

    assert step(unit, Spawned(PID), NOW, NEEDED)[1] == (Kill(PID, "KILL"),)


def test_what_is_being_started_and_wanted_does_not_leave() -> None:
    assert not to(UNIT, state=Spawning(SPEC, 1)).leaving
    assert not to(UNIT, state=Waiting(())).leaving


# -- whom a rung is for -----------------------------------------------------------------------------------------------

GENTLY = (Rung("TERM", 600, main=True), Rung("INT", 10), Rung("KILL", 0))


def test_a_rung_may_be_for_the_main_alone_while_there_is_one() -> None:
    process = to(PROCESS, spec=to(SPEC, stop=GENTLY, killtime=3))
    unit, effects = step(to(UNIT, state=Up(process)), Held(), NOW)
    assert effects == (Signal(PID, "TERM"), Signal(PID, "CONT"))

    _, effects = step(unit, Alarm(), NOW + 600)
    assert effects == (Kill(PID, "INT"), Kill(PID, "CONT"))
    _, effects = step(unit, Insisted(), NOW)
    assert effects == (Kill(PID, "KILL"),)

    unit, effects = step(unit, Exited(PID, Exit(0), alone=False), NOW)
    assert effects == (Kill(PID, "TERM"), Kill(PID, "CONT"))


def test_whom_the_main_left_behind_hears_every_rung_that_comes() -> None:
    twice = (*GENTLY[:1], *GENTLY[:1], Rung("KILL", 0))
    state = Stopping(PROCESS, begin(twice, NOW)[0], asked=True, exit=Exit(0), ended=NOW)

    assert step(to(UNIT, state=state), Alarm(), NOW + 600)[1] == (Kill(PID, "TERM"), Kill(PID, "CONT"))


def test_what_is_not_well_is_asked_in_the_way_of_its_ladder() -> None:
    process = to(PROCESS, spec=to(SPEC, stop=GENTLY))

    assert step(to(UNIT, state=Starting(process, NOW)), Alarm(), NOW)[1] == (Signal(PID, "TERM"), Signal(PID, "CONT"))


# -- reload, and giving up --------------------------------------------------------------------------------------------


def test_reload_reaches_the_main_alone_with_the_signal_that_it_was_started_with() -> None:
    runs = Up(to(PROCESS, spec=to(SPEC, reload="HUP")))
    unit = to(UNIT, spec=to(SPEC, reload="USR1"), state=runs)

    assert step(unit, ReloadAsked(), NOW) == (unit, (Signal(PID, "HUP"),))


@pytest.mark.parametrize(
    "state",
    [
        UP,
        Down(),
        Stopping(to(PROCESS, spec=to(SPEC, reload="HUP")), begin(LADDER, NOW)[0], asked=False, exit=Exit(0), ended=NOW),
    ],
)
def test_what_cannot_be_reloaded_is_left_alone(state: State) -> None:
    assert step(to(UNIT, state=state), ReloadAsked(), NOW, UNREADY)[1] == ()


@pytest.mark.parametrize(
    ("unit", "given_up"),
    [
        (to(UNIT, state=Failed(1)), True),
        (to(UNIT, state=Down(ended=1)), True),
        (to(UNIT, state=Down()), False),
        (to(UNIT, state=Failed(0)), False),
        (to(UNIT, state=Down(ended=1), held=True), False),
        (to(UNIT, state=Down(ended=1), closing=True), False),
        (to(UNIT, state=Down(ended=1), spec=None), False),
        (to(UNIT, state=UP), False),
    ],
)
def test_it_is_given_up_when_nothing_more_comes_of_it_though_it_is_wanted(unit: Unit, given_up: bool) -> None:
    assert unit.given_up is given_up


def test_the_signal_that_ended_it_is_remembered_until_it_is_started_again() -> None:
    unit, _ = step(to(UNIT, state=UP), RestartAsked(), NOW)
    unit, _ = step(unit, Exited(PID, Exit(0), alone=True), NOW + 1)
    assert unit.sent == "INT"

    unit, _ = step(unit, Spawned(PID), NOW + 1)
    assert unit.sent is None

    unit, _ = step(unit, Exited(PID, Exit(0), alone=True), NOW + 2)
    assert unit.sent is None
