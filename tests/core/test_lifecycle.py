"""One unit, event by event: the state it moves to, and what is ordered."""

from __future__ import annotations

import attrs
import pytest

from colony.core import lifecycle
from colony.core.ending import Ending, begin
from colony.core.lifecycle import (
    Alarm,
    Backoff,
    Closing,
    Down,
    Effect,
    Emptied,
    Event,
    Exited,
    Failed,
    HadToWait,
    Held,
    Insisted,
    Kill,
    Learned,
    Released,
    RestartAsked,
    Running,
    SignalAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    Spawning,
    Starting,
    State,
    Stopping,
    Unit,
    Unwanted,
    Up,
    Wanted,
    deadline,
    step,
)
from colony.core.model import Exit, Name, Pid, ProcessSpec, RestartPolicy, Rung, default_ladder

WEB = Name("web")
PID = Pid(100)
NOW = 50.0
"""When everything in the tables happens; what runs was started at 10, so that its end now is no early death."""

POLICY = RestartPolicy(initial=1, factor=2, limit=60, jitter=0, threshold=5)
LADDER = (Rung("INT", 7), Rung("KILL", 0))
SPEC = ProcessSpec(("web",), "one", restart=POLICY, stop=LADDER, killtime=3)
OTHER = attrs.evolve(SPEC, args=("web", "2"), digest="two")
SAME = attrs.evolve(SPEC)
SOURCE = b"{}"

UP = Up(Running(PID, SPEC, 1, 10.0))
ASKED = Stopping(UP.process, Ending(LADDER, 0, 52.0), asked=True)
"""Asked to go at 45."""
LEFT = Stopping(UP.process, Ending(default_ladder(3), 0, 52.0), asked=False, exit=Exit(1), ended=49.0)
"""Ended by itself at 49, and left others behind."""
WAITING = Backoff(until=60.0, generation=1)
DONE = Down(ended=1)
GIVEN_UP = Failed(1)
STARTING = Spawning(SPEC, 1)

WANTED = Unit(WEB, SPEC, SOURCE, generation=1, since=10.0, starts=1, streak=3)
UNWANTED = attrs.evolve(WANTED, spec=None)
HELD = attrs.evolve(WANTED, held=True)
CLOSING = attrs.evolve(WANTED, closing=True)

TERM = (Kill(PID, "TERM"), Kill(PID, "CONT"))
INT = (Kill(PID, "INT"), Kill(PID, "CONT"))
KILL = (Kill(PID, "KILL"),)
START = (Spawn(WEB, SPEC, SOURCE),)

to = attrs.evolve


def stopping(exit: Exit | None = None, rung: int = 0) -> Stopping:
    """What becomes of what runs when it is not wanted any more."""
    until = NOW + 7 if rung == 0 else None
    ended = None if exit is None else NOW
    return Stopping(UP.process, Ending(LADDER, rung, until), asked=True, exit=exit, ended=ended)


def test_what_is_wanted_is_started() -> None:
    unit, effects = step(Unit(WEB), Wanted(SPEC, SOURCE), NOW)

    assert effects == START
    assert unit == Unit(WEB, SPEC, SOURCE, generation=1, state=Spawning(SPEC, 1), since=NOW)


@pytest.mark.parametrize(
    ("unit", "state", "event", "then", "effects"),
    [
        # An edit.
        (UNWANTED, Down(), Wanted(SPEC, SOURCE), Spawning(SPEC, 2), START),
        (WANTED, DONE, Wanted(SAME, SOURCE), DONE, ()),
        (WANTED, DONE, Wanted(OTHER, SOURCE), Spawning(OTHER, 2), (Spawn(WEB, OTHER, SOURCE),)),
        (WANTED, WAITING, Wanted(SAME, SOURCE), WAITING, ()),
        (WANTED, WAITING, Wanted(OTHER, SOURCE), Spawning(OTHER, 2), (Spawn(WEB, OTHER, SOURCE),)),
        (WANTED, GIVEN_UP, Wanted(SAME, SOURCE), GIVEN_UP, ()),
        (WANTED, GIVEN_UP, Wanted(OTHER, SOURCE), Spawning(OTHER, 2), (Spawn(WEB, OTHER, SOURCE),)),
        (WANTED, STARTING, Wanted(OTHER, SOURCE), STARTING, ()),
        (WANTED, UP, Wanted(SAME, SOURCE), UP, ()),
        (WANTED, UP, Wanted(OTHER, SOURCE), stopping(), INT),
        (WANTED, ASKED, Wanted(OTHER, SOURCE), ASKED, ()),
        (WANTED, LEFT, Wanted(OTHER, SOURCE), LEFT, ()),
        (HELD, Down(), Wanted(OTHER, SOURCE), Down(), ()),
        (CLOSING, Down(), Wanted(OTHER, SOURCE), Down(), ()),
        # A removal.
        (WANTED, Down(), Unwanted(), Down(), ()),
        (WANTED, WAITING, Unwanted(), Down(), ()),
        (WANTED, GIVEN_UP, Unwanted(), Down(), ()),
        (WANTED, STARTING, Unwanted(), STARTING, ()),
        (WANTED, UP, Unwanted(), stopping(), INT),
        (WANTED, ASKED, Unwanted(), ASKED, ()),
        (WANTED, LEFT, Unwanted(), LEFT, ()),
        # A STOP.
        (WANTED, DONE, Held(), DONE, ()),
        (WANTED, WAITING, Held(), Down(), ()),
        (WANTED, GIVEN_UP, Held(), Down(), ()),
        (WANTED, STARTING, Held(), STARTING, ()),
        (WANTED, UP, Held(), stopping(), INT),
        (WANTED, ASKED, Held(), ASKED, ()),
        # A START.
        (HELD, Down(), Released(), Spawning(SPEC, 2), START),
        (WANTED, DONE, Released(), Spawning(SPEC, 2), START),
        (WANTED, WAITING, Released(), Spawning(SPEC, 2), START),
        (WANTED, GIVEN_UP, Released(), Spawning(SPEC, 2), START),
        (WANTED, UP, Released(), UP, ()),
        (HELD, ASKED, Released(), ASKED, ()),
        (UNWANTED, Down(), Released(), Down(), ()),
        # A RESTART.
        (HELD, Down(), RestartAsked(), Spawning(SPEC, 2), START),
        (WANTED, DONE, RestartAsked(), Spawning(SPEC, 2), START),
        (WANTED, WAITING, RestartAsked(), Spawning(SPEC, 2), START),
        (WANTED, GIVEN_UP, RestartAsked(), Spawning(SPEC, 2), START),
        (WANTED, STARTING, RestartAsked(), STARTING, ()),
        (WANTED, UP, RestartAsked(), stopping(), INT),
        (WANTED, ASKED, RestartAsked(), ASKED, ()),
        (UNWANTED, Down(), RestartAsked(), Down(), ()),
        # A SIGNAL.
        (WANTED, UP, SignalAsked("HUP"), UP, (Kill(PID, "HUP"),)),
        (WANTED, ASKED, SignalAsked("HUP"), ASKED, (Kill(PID, "HUP"),)),
        (WANTED, WAITING, SignalAsked("HUP"), WAITING, ()),
        (WANTED, STARTING, SignalAsked("HUP"), STARTING, ()),
        # The supervisor ends.
        (WANTED, Down(), Closing(), Down(), ()),
        (WANTED, WAITING, Closing(), Down(), ()),
        (WANTED, GIVEN_UP, Closing(), Down(), ()),
        (WANTED, STARTING, Closing(), STARTING, ()),
        (WANTED, UP, Closing(), stopping(), INT),
        (WANTED, LEFT, Closing(), LEFT, ()),
        (CLOSING, ASKED, Closing(), ASKED, ()),
        # It is in a hurry.
        (CLOSING, ASKED, Insisted(), to(ASKED, ending=Ending(LADDER, 1, None)), KILL),
        (CLOSING, stopping(rung=1), Insisted(), stopping(rung=1), ()),
        (CLOSING, LEFT, Insisted(), to(LEFT, ending=Ending(default_ladder(3), 1, None)), KILL),
        (WANTED, UP, Insisted(), UP, ()),
        (WANTED, WAITING, Insisted(), WAITING, ()),
        # What was ordered has happened.
        (WANTED, STARTING, Spawned(PID), Up(Running(PID, SPEC, 1, NOW, ordered=10.0)), ()),
        (WANTED, STARTING, SpawnFailed("no such file"), Backoff(NOW + 8, 1), ()),
        (UNWANTED, STARTING, SpawnFailed("no such file"), Down(), ()),
        (HELD, STARTING, SpawnFailed("no such file"), Down(), ()),
        # It ends by itself, alone, after a life.
        (WANTED, UP, Exited(PID, Exit(0), True), Spawning(SPEC, 1), START),
        (WANTED, UP, Exited(Pid(7), Exit(0), True), UP, ()),
        (WANTED, WAITING, Exited(PID, Exit(0), True), WAITING, ()),
        # It ends by itself, and leaves others behind: TERM and KILL, whatever its own ladder says.
        (
            WANTED,
            UP,
            Exited(PID, Exit(1), False),
            Stopping(UP.process, Ending(default_ladder(3), 0, NOW + 3), asked=False, exit=Exit(1), ended=NOW),
            TERM,
        ),
        (WANTED, LEFT, Emptied(PID), Spawning(SPEC, 1), START),
        (WANTED, LEFT, Emptied(Pid(7)), LEFT, ()),
        (HELD, LEFT, Emptied(PID), Down(), ()),
        # It ends as it was asked.
        (WANTED, ASKED, Exited(PID, Exit(0), True), Spawning(SPEC, 1), START),
        (HELD, ASKED, Exited(PID, Exit(0), True), Down(), ()),
        (UNWANTED, ASKED, Exited(PID, Exit(0), True), Down(), ()),
        (CLOSING, ASKED, Exited(PID, Exit(0), True), Down(), ()),
        (
            HELD,
            ASKED,
            Exited(PID, Exit(0), False),
            to(ASKED, exit=Exit(0), ended=NOW),
            (Kill(PID, "INT"), Kill(PID, "CONT")),  # those who left its group were not asked yet
        ),
        (HELD, to(ASKED, exit=Exit(0), ended=49.0), Emptied(PID), Down(), ()),
        (HELD, ASKED, Exited(Pid(7), Exit(0), True), ASKED, ()),
        (HELD, ASKED, Emptied(PID), ASKED, ()),
        (WANTED, UP, Emptied(PID), UP, ()),
        # Time passes.
        (WANTED, to(WAITING, until=NOW), Alarm(), Spawning(SPEC, 1), START),
        (WANTED, to(WAITING, until=NOW + 0.1), Alarm(), to(WAITING, until=NOW + 0.1), ()),
        (WANTED, UP, Alarm(), UP, ()),
        (WANTED, DONE, Alarm(), DONE, ()),
        (WANTED, GIVEN_UP, Alarm(), GIVEN_UP, ()),
        (HELD, to(ASKED, ending=Ending(LADDER, 0, NOW)), Alarm(), stopping(rung=1), KILL),
        (HELD, ASKED, Alarm(), ASKED, ()),
    ],
)
def test_every_event_in_every_state(
    unit: Unit, state: State, event: Event, then: State, effects: tuple[Effect, ...]
) -> None:
    moved, ordered = step(to(unit, state=state), event, NOW)

    assert moved.state == then
    assert ordered == effects


# -- what is wanted -----------------------------------------------------------------------------------------------


def test_the_newest_bytes_are_what_the_next_start_gets() -> None:
    unit, _ = step(to(WANTED, state=WAITING), Wanted(SAME, b"{ }"), NOW)

    assert step(unit, Alarm(), 60.0)[1] == (Spawn(WEB, SPEC, b"{ }"),)


def test_a_stop_outlasts_edits() -> None:
    unit, _ = step(to(HELD, state=Down()), Wanted(OTHER, SOURCE), NOW)

    assert unit.held
    assert step(unit, Released(), NOW)[1] == (Spawn(WEB, OTHER, SOURCE),)


def test_a_stop_ends_with_the_file() -> None:
    unit, _ = step(to(HELD, state=Down()), Unwanted(), NOW)

    assert step(unit, Wanted(SPEC, SOURCE), NOW)[1] == START


def test_a_process_added_again_while_it_stops_is_started_once_it_is_gone() -> None:
    unit, _ = step(to(WANTED, state=UP), Unwanted(), NOW)
    unit, effects = step(unit, Wanted(SPEC, SOURCE), NOW)
    assert effects == ()

    unit, effects = step(unit, Exited(PID, Exit(0), True), NOW)

    assert effects == START


def test_what_became_stale_while_it_was_started_is_stopped_and_started_anew() -> None:
    unit, _ = step(to(WANTED, state=STARTING), RestartAsked(), NOW)

    unit, effects = step(unit, Spawned(PID), NOW)

    assert effects == INT
    assert step(unit, Exited(PID, Exit(0), True), NOW)[1] == START


def test_what_is_stopped_while_it_was_started_is_stopped_once_it_runs() -> None:
    unit, _ = step(to(WANTED, state=STARTING), Held(), NOW)

    unit, effects = step(unit, Spawned(PID), NOW)

    assert effects == INT
    assert step(unit, Exited(PID, Exit(0), True), NOW)[0].state == Down()


@pytest.mark.parametrize("event", [Released(), RestartAsked(), Wanted(OTHER, SOURCE)])
@pytest.mark.parametrize("policy", [POLICY, to(POLICY, when="never"), to(POLICY, attempts=1)])
def test_asked_for_while_what_a_crash_left_is_stopped_it_starts_once_that_is_gone(
    event: Event, policy: RestartPolicy
) -> None:
    process = Running(PID, to(SPEC, restart=policy), 1, 48.0)
    unit, _ = step(to(WANTED, state=Up(process)), Exited(PID, Exit(1), False), NOW)
    unit, effects = step(unit, event, NOW)
    assert effects == ()

    unit, effects = step(unit, Emptied(PID), NOW + 1)

    assert [type(effect) for effect in effects] == [Spawn]


def test_a_restart_waits_for_those_left_behind_as_long_as_the_backoff_or_longer() -> None:
    process = Running(PID, SPEC, 1, 48.0)
    unit, _ = step(to(WANTED, streak=0, state=Up(process)), Exited(PID, Exit(1), False), NOW)

    soon, _ = step(unit, Emptied(PID), NOW + 0.5)
    late, _ = step(unit, Emptied(PID), NOW + 2)

    assert soon.state == Backoff(NOW + 1, 1)
    assert late.state == Spawning(SPEC, 1)


# -- deaths ---------------------------------------------------------------------------------------------------------


def dead(unit: Unit, exit: Exit, lived: float) -> Unit:
    """The unit after a process of its own ended by itself, alone, after that many seconds."""
    process = Running(PID, unit.spec or SPEC, unit.generation, NOW - lived)
    return step(to(unit, state=Up(process)), Exited(PID, exit, True), NOW)[0]


def test_each_early_death_in_a_row_doubles_the_wait() -> None:
    unit, waits = to(WANTED, streak=0), []
    for _ in range(8):
        unit = dead(unit, Exit(0), 4.9)
        at = deadline(unit)
        assert at is not None
        waits.append(at - NOW)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_life_ends_the_row() -> None:
    unit = dead(WANTED, Exit(1), 5.0)

    assert unit.state == Spawning(SPEC, 1)
    assert unit.streak == 0


@pytest.mark.parametrize("exit", [Exit(0), Exit(1), Exit(None, "KILL"), Exit(None)])
def test_an_early_death_is_one_whatever_the_code(exit: Exit) -> None:
    assert dead(WANTED, exit, 0).streak == 4


def test_after_its_attempts_it_is_given_up() -> None:
    unit = to(WANTED, streak=0, spec=to(SPEC, restart=to(POLICY, attempts=2)))

    unit = dead(unit, Exit(1), 0)
    assert isinstance(unit.state, Backoff)
    unit = dead(unit, Exit(1), 0)

    assert unit.state == Failed(1)
    assert unit.streak == 2
    assert deadline(unit) is None


def test_starts_that_fail_count_as_early_deaths() -> None:
    spec = to(SPEC, restart=to(POLICY, attempts=2, when="never"))
    unit = to(WANTED, streak=0, spec=spec)

    unit, _ = step(to(unit, state=Spawning(spec, 1)), SpawnFailed("no such file"), NOW)
    assert unit.state == Backoff(NOW + 1, 1)
    assert unit.trouble == "cannot start: no such file"
    unit, _ = step(to(unit, state=Spawning(spec, 1)), SpawnFailed("no such file"), NOW)

    assert unit.state == Failed(1)


def test_a_start_that_works_ends_the_trouble() -> None:
    unit, _ = step(to(WANTED, state=STARTING, trouble="no such file"), Spawned(PID), NOW)

    assert unit.trouble is None
    assert unit.starts == 2
    assert unit.streak == 3, "a start is no life yet"


@pytest.mark.parametrize("event", [RestartAsked(), Released(), Wanted(OTHER, SOURCE)])
def test_who_asks_for_it_forgives_what_was_counted(event: Event) -> None:
    unit, _ = step(to(WANTED, state=GIVEN_UP), event, NOW)

    assert unit.streak == 0
    assert isinstance(unit.state, Spawning)


def test_a_stop_forgives_what_was_counted() -> None:
    unit, _ = step(to(HELD, state=ASKED), Exited(PID, Exit(None, "TERM"), True), NOW)

    assert unit.streak == 0


def test_a_failure_of_what_is_stale_counts_nothing_against_what_is_new() -> None:
    unit, _ = step(to(WANTED, state=STARTING, generation=2), SpawnFailed("no such file"), NOW)

    assert unit.state == Spawning(SPEC, 2)
    assert unit.streak == 0


@pytest.mark.parametrize(
    ("when", "exit", "then"),
    [
        ("never", Exit(0), DONE),
        ("never", Exit(1), DONE),
        ("failure", Exit(0), DONE),
        ("failure", Exit(1), Spawning(SPEC, 1)),
        ("failure", Exit(None, "KILL"), Spawning(SPEC, 1)),
        ("always", Exit(0), Spawning(SPEC, 1)),
    ],
)
def test_the_policy_of_what_ran_decides(when: str, exit: Exit, then: State) -> None:
    spec = to(SPEC, restart=to(POLICY, when=when))
    then = to(then, spec=spec) if isinstance(then, Spawning) else then

    assert dead(to(WANTED, spec=spec), exit, 30).state == then


def test_a_process_that_is_done_early_is_done() -> None:
    assert dead(to(WANTED, spec=to(SPEC, restart=to(POLICY, when="failure"))), Exit(0), 0).state == DONE


def test_how_it_ended_may_be_learned_later() -> None:
    unit = dead(WANTED, Exit(None), 30)

    learned, effects = step(unit, Learned(PID, Exit(3)), NOW + 1)

    assert effects == ()
    assert learned == to(unit, last_exit=Exit(3))


@pytest.mark.parametrize("state", [UP, Starting(UP.process, None)])
def test_that_it_had_to_wait_is_known_as_long_as_it_runs(state: Up | Starting) -> None:
    waited = to(state, process=to(state.process, waited=True))

    assert step(to(WANTED, state=state), HadToWait(PID), NOW) == (to(WANTED, state=waited), ())
    assert step(to(WANTED, state=state), HadToWait(Pid(7)), NOW) == (to(WANTED, state=state), ())
    assert step(to(WANTED, state=DONE), HadToWait(PID), NOW)[0].state == DONE


def test_how_an_older_one_ended_is_learned_too_late() -> None:
    unit = dead(WANTED, Exit(None), 30)

    assert step(unit, Learned(Pid(7), Exit(3)), NOW + 1) == (unit, ())


def test_the_last_exit_and_its_moment_are_kept() -> None:
    unit = dead(WANTED, Exit(3), 30)

    assert (unit.last_exit, unit.last_exit_at) == (Exit(3), NOW)


# -- what can be asked of a unit ------------------------------------------------------------------------------------


def test_a_state_has_a_beginning() -> None:
    unit, _ = step(to(WANTED, state=UP), Held(), NOW)
    assert unit.since == NOW

    unit, _ = step(unit, Alarm(), 57.0)

    assert unit.since == NOW, "a rung is no new state"


@pytest.mark.parametrize(
    ("state", "at"),
    [(Down(), None), (DONE, None), (WAITING, 60.0), (GIVEN_UP, None), (STARTING, None), (UP, None), (ASKED, 52.0)],
)
def test_only_a_backoff_and_a_ladder_have_a_deadline(state: State, at: float | None) -> None:
    assert deadline(to(WANTED, state=state)) == at


@pytest.mark.parametrize(
    ("unit", "wanted"), [(WANTED, True), (UNWANTED, False), (HELD, False), (CLOSING, False), (Unit(WEB), False)]
)
def test_wanted_is_what_files_and_messages_say(unit: Unit, wanted: bool) -> None:
    assert unit.wanted is wanted


@pytest.mark.parametrize(
    ("unit", "state", "forgotten"),
    [
        (UNWANTED, Down(), True),
        (UNWANTED, UP, False),
        (UNWANTED, ASKED, False),
        (UNWANTED, STARTING, False),
        (WANTED, Down(), False),
    ],
)
def test_forgotten_is_who_has_neither_file_nor_process(unit: Unit, state: State, forgotten: bool) -> None:
    assert to(unit, state=state).forgotten is forgotten


def test_what_runs_from_nobody_knows_what_goes_on_but_is_not_started_again() -> None:
    unknown = to(SPEC, args=())
    adopted = to(WANTED, spec=unknown, state=Up(Running(PID, unknown, 1, 10.0)))
    assert step(adopted, Alarm(), NOW) == (adopted, ())

    ended, effects = step(adopted, Exited(PID, Exit(0), alone=True), NOW)

    assert (ended.state, effects) == (Down(), ())
    assert step(ended, Wanted(SPEC, SOURCE), NOW)[1] == (Spawn(WEB, SPEC, SOURCE),)


def test_what_runs_or_stops_is_its_process() -> None:
    assert to(WANTED, state=UP).process == UP.process
    assert to(WANTED, state=ASKED).process == UP.process
    assert to(WANTED, state=WAITING).process is None


def test_an_answer_to_an_order_that_was_never_given_is_a_mistake_of_ours() -> None:
    for event in (Spawned(PID), SpawnFailed("?")):
        with pytest.raises(AssertionError, match="ordered"):
            step(to(WANTED, state=UP), event, NOW)


def test_record_writes_down_and_only_settle_moves() -> None:
    unit, effects = lifecycle.record(to(WANTED, state=UP), Held(), NOW)
    assert unit == to(HELD, state=UP)
    assert effects == ()

    assert lifecycle.settle(unit, NOW) == (to(unit, state=stopping()), INT)


def test_a_ladder_of_kill_alone_ends_it_at_once() -> None:
    spec = to(SPEC, stop=(Rung("KILL", 0),))
    state = Up(Running(PID, spec, 1, 10.0))

    unit, effects = step(to(WANTED, spec=spec, state=state), Held(), NOW)

    assert effects == KILL
    assert unit.state == Stopping(state.process, begin(spec.stop, NOW)[0], asked=True)
    assert deadline(unit) is None


def test_a_main_that_has_ended_has_no_pid_of_its_own_any_more() -> None:
    assert to(WANTED, state=UP).main == UP.process
    assert to(HELD, state=ASKED).main == ASKED.process
    assert to(WANTED, state=LEFT).main is None
    assert to(WANTED, state=LEFT).process == LEFT.process
    assert WANTED.main is None


# -- what a restart asks for ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "seen", "fresh"),
    [
        (Up(Running(PID, SPEC, 1, 12.0, ordered=10.0)), 9.9, True),
        (Up(Running(PID, SPEC, 1, 12.0, ordered=10.0)), 10.0, False),
        (Up(Running(PID, SPEC, 1, 12.0, ordered=10.0)), 11.0, False),  # it may have been on its way before
        (Up(Running(PID, SPEC, 0, 12.0, ordered=10.0)), 9.0, False),
        (UP, 0.0, False),  # started by a supervisor before this one, nobody knows when that was ordered
        (Stopping(Running(PID, SPEC, 1, 12.0, ordered=10.0), ASKED.ending, asked=True), 9.0, False),
        (STARTING, 9.0, False),
        (WAITING, 9.0, False),
        (DONE, 9.0, False),
    ],
)
def test_only_what_was_ordered_after_a_restart_was_asked_for_is_fresh(state: State, seen: float, fresh: bool) -> None:
    assert to(WANTED, state=state).is_fresh(seen) is fresh


def test_a_start_was_ordered_when_it_was_not_when_it_happened() -> None:
    unit, _ = step(to(WANTED, state=Down(), generation=2), Alarm(), 40.0)
    unit, _ = step(unit, Spawned(PID), NOW)

    assert unit.process == Running(PID, SPEC, 2, NOW, ordered=40.0)
