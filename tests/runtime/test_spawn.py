"""What a real process gets and loses: seen by itself, in /proc, and in what its Spawner tells."""

from __future__ import annotations

import errno
import os
import pwd
import re
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.internet.selectreactor import SelectReactor

from colony.core.lifecycle import Emptied, Exited, Told
from colony.core.model import Exit
from colony.runtime.launch import CannotStart
from tests.runtime.loop import Loop, descriptors, lives, said
from tests.runtime.machine import LIMIT, Machine

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else")

Make = Callable[..., Machine]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place that everybody may enter, whoever runs the tests, and whatever descriptors they were started with."""
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            os.set_inheritable(int(entry), int(entry) < 3)
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def make(loop: Loop, folder: Path) -> Iterator[Make]:
    """Makes machines, and ends what they have started."""
    machines: list[Machine] = []

    def make(**options: object) -> Machine:
        place = folder / f"machine{len(machines)}"
        place.mkdir()
        machines.append(Machine(loop, place, **options))  # type: ignore[arg-type]  # handed on
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()


@pytest.fixture(params=["posix_spawn", "fork"])
def machine(request: pytest.FixtureRequest, make: Make) -> Machine:
    """One that starts in each of the two ways."""
    if request.param == "posix_spawn":
        return make()
    if os.geteuid() != 0:
        pytest.skip("only root starts as somebody else, and only then is there a fork")
    return make(uid=NOBODY, gid=NOBODY)


def status(text: bytes) -> dict[str, str]:
    """What /proc/PID/status says."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.decode().splitlines())}


def no_child_is_left() -> bool:
    """Not even a zombie."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


# -- a clean start --------------------------------------------------------------------------------------------


def test_a_child_has_no_signal_blocked_ignored_or_caught_whatever_we_have(machine: Machine) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN})
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        seen = status(machine.says("cat", "/proc/self/status"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    # glibc's posix_spawn ignores the two signals it keeps for threads; it sets them itself where there are any.
    own = sum(1 << number - 1 for number in range(1, signal.SIGRTMAX) if number not in signal.valid_signals())
    assert [int(seen[key], 16) & ~own for key in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_a_start_leaves_our_own_mask_and_directory_as_they_are(machine: Machine) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.getcwd()
    machine.says("true", cwd="/")
    with pytest.raises(CannotStart):
        machine.run("/nothing/there", cwd="/usr")
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.getcwd()) == before


def test_a_child_has_three_descriptors_the_null_device_and_its_pipe_twice(machine: Machine) -> None:
    # The fourth is what ls reads the listing from.
    seen = machine.says("ls", "-l", "/proc/self/fd").decode()
    found = dict(re.findall(r" (\d+) -> (\S+)", seen))
    assert sorted(found) == ["0", "1", "2", "3"]
    assert found["0"] == "/dev/null"
    assert found["1"] == found["2"]
    assert str(machine.pipes) in found["1"]


def test_a_plain_pipe_is_all_that_a_child_has_where_there_is_no_place_for_a_fifo(make: Make) -> None:
    found = dict(re.findall(r" (\d+) -> (\S+)", make(fifo=False).says("ls", "-l", "/proc/self/fd").decode()))
    assert sorted(found) == ["0", "1", "2", "3"]
    assert found["1"] == found["2"]
    assert found["1"].startswith("pipe:")


def test_what_a_child_reads_is_empty_at_once(machine: Machine) -> None:
    assert machine.says("wc", "-c") == b"0\n"


def test_a_child_leads_a_session_and_a_group_of_its_own(machine: Machine) -> None:
    pid = machine.run("sleep", "1000")
    assert (os.getpgid(pid), os.getsid(pid)) == (pid, pid)


def test_a_child_that_is_to_stay_in_our_session_leads_a_group_there(make: Make) -> None:
    pid = make(own_session=False).run("sleep", "1000")
    assert (os.getpgid(pid), os.getsid(pid)) == (pid, os.getsid(0))


def test_the_environment_is_what_is_given_and_nothing_else(machine: Machine) -> None:
    start = machine.start("env", "-0", env=(("LANG", "C"), ("EMPTY", ""), ("LINES", "a\tb")))
    machine.await_end(machine.spawn(start))
    # A NUL ends each; what the relay is given is ended by a newline.
    assert sorted(machine.output.text.removesuffix(b"\n").split(b"\0")) == sorted(
        [
            b"",
            b"COLONY_NAME=web",
            b"COLONY_TOKEN=" + start.token.encode(),
            b"EMPTY=",
            b"LANG=C",
            b"LINES=a\tb",
            b"NCOLONY_NAME=web",
            b"PATH=" + os.fsencode(os.environ["PATH"]),
        ]
    )


def test_arguments_arrive_unchanged_bytes_that_are_no_text_too(machine: Machine) -> None:
    arguments = ["", " ", "a b", "$HOME", "*", "--", "\n", "ä", os.fsdecode(b"\xff\xfe")]
    seen = machine.says("printf", "%s\\0", *arguments)
    assert seen == b"\0".join(os.fsencode(argument) for argument in arguments) + b"\0\n"


def test_a_child_begins_in_the_directory_it_is_given(machine: Machine) -> None:
    assert machine.says("pwd", "-P", cwd="/usr/bin") == b"/usr/bin\n"
    assert machine.says("pwd", "-P") == os.fsencode(os.path.realpath(".")) + b"\n"


@pytest.mark.parametrize(("args", "path"), [(["./run"], "/"), (["run"], "sub:."), (["run"], "/nothing::")])
def test_what_is_relative_is_so_to_the_childs_directory(machine: Machine, args: list[str], path: str) -> None:
    script = machine.folder / "run"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    assert machine.says(*args, cwd=str(machine.folder), env=(("PATH", path),)) == b"here\n"


def test_an_executable_is_looked_up_in_the_childs_path_past_what_cannot_be_run(machine: Machine) -> None:
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (machine.folder / name).mkdir()
        script = machine.folder / name / "run"
        script.write_text(f"#!/bin/sh\necho {name}\n")
        script.chmod(mode)
    path = f"{machine.folder}/nothing:{machine.folder}/first:{machine.folder}/second"
    assert machine.says("run", env=(("PATH", path),)) == b"second\n"


@pytest.mark.parametrize("uid", [None, pytest.param(NOBODY, marks=AS_ROOT)])
def test_a_child_has_the_descriptor_limit_that_we_began_with(make: Make, uid: int | None) -> None:
    machine = make(uid=uid, gid=uid, nofile=(777, LIMIT[1]))
    assert machine.says("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").split() == [
        b"777",
        b"unlimited" if LIMIT[1] == resource.RLIM_INFINITY else b"%d" % LIMIT[1],
    ]
    with pytest.raises(CannotStart):
        machine.run("/nothing/there")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == LIMIT


def test_a_limit_lower_than_what_we_have_open_stops_no_start(make: Make) -> None:
    soft = max(map(int, os.listdir("/proc/self/fd"))) + 20
    machine = make(nofile=(soft, LIMIT[1]))
    held = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(50)]
    try:
        assert machine.says("/bin/sh", "-c", "ulimit -n") == b"%d\n" % soft
        assert machine.says("ls", "/proc/self/fd").split() == [b"0", b"1", b"2", b"3"]
    finally:
        for descriptor in held:
            os.close(descriptor)


# -- what cannot start ----------------------------------------------------------------------------------------


def failure(machine: Machine, *args: str, cwd: str | None = None, env: tuple[tuple[str, str], ...] = ()) -> str:
    """Why it cannot be started, when nothing is left of the attempt; paths relative to the machine's folder."""
    before = descriptors()
    with pytest.raises(CannotStart) as raised:
        machine.run(*args, cwd=cwd, env=env)
    assert descriptors() == before
    assert list(machine.pipes.iterdir()) == []
    assert no_child_is_left()
    machine.loop.during(0.02)
    assert machine.events == []
    return str(raised.value).replace(f"{machine.folder}/", "")


@pytest.fixture
def script(machine: Machine) -> Path:
    path = machine.folder / "run"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_missing_executable_is_named(machine: Machine, script: Path) -> None:
    script.unlink()
    assert failure(machine, str(script)) == "exec: run: No such file or directory (ENOENT)"


def test_an_executable_that_is_not_in_the_path_is_named_with_the_path(machine: Machine) -> None:
    why = failure(machine, "nothing-there", env=(("PATH", "/one:/two"),))
    assert why == "exec: nothing-there in PATH /one:/two: No such file or directory (ENOENT)"


def test_an_executable_in_the_path_that_is_none_is_told_apart_from_a_missing_one(
    machine: Machine, script: Path
) -> None:
    script.chmod(0o644)
    why = failure(machine, "run", env=(("PATH", str(machine.folder) + "/."),))
    assert why == "exec: run in PATH .: Permission denied (EACCES)"


def test_a_file_that_may_not_be_executed_is_named(machine: Machine, script: Path) -> None:
    script.chmod(0o644)
    assert failure(machine, str(script)) == "exec: run: Permission denied (EACCES)"


@pytest.mark.parametrize("content", ["echo no shell is slipped in\n", "", "\x7fELF"])
def test_a_script_without_an_interpreter_line_is_named_and_no_shell_is_slipped_in(
    machine: Machine, script: Path, content: str
) -> None:
    script.write_text(content)
    assert failure(machine, str(script)) == "exec: run has no #! line and is no program: Exec format error (ENOEXEC)"


def test_a_missing_interpreter_is_told_apart_from_a_missing_script(machine: Machine, script: Path) -> None:
    script.write_text("#!/nothing/there\n")
    assert failure(machine, str(script)) == (
        "exec: run: the interpreter in its first line: No such file or directory (ENOENT)"
    )


def test_a_missing_interpreter_of_a_relative_script_is_told_too(machine: Machine, script: Path) -> None:
    script.write_text("#!/nothing/there\n")
    assert failure(machine, "./run", cwd=str(machine.folder)) == (
        "exec: ./run: the interpreter in its first line: No such file or directory (ENOENT)"
    )


def test_a_directory_is_no_executable(machine: Machine) -> None:
    (machine.folder / "sub").mkdir()
    assert failure(machine, str(machine.folder / "sub")) == "exec: sub is not a file: Permission denied (EACCES)"


def test_a_missing_directory_to_begin_in_is_named(machine: Machine) -> None:
    why = failure(machine, "true", cwd=f"{machine.folder}/nothing")
    assert why == "cwd: nothing: No such file or directory (ENOENT)"


def test_a_file_is_no_directory_to_begin_in(machine: Machine, script: Path) -> None:
    assert failure(machine, "true", cwd=str(script)) == "cwd: run: Not a directory (ENOTDIR)"


def test_a_variable_that_is_not_set_is_named(machine: Machine) -> None:
    assert failure(machine, "echo", "${env:NOTHING}") == "environment: ${env:NOTHING} is not set"


def test_arguments_that_no_process_can_have_are_told(machine: Machine) -> None:
    assert failure(machine, "echo", "a\0b") == "exec: embedded null byte"
    assert failure(machine, "echo", "\ud800").startswith("exec: 'utf-8' codec can't encode")
    assert failure(machine, "echo", "x" * 200_000).endswith("Argument list too long (E2BIG)")


def test_an_error_has_its_errno_and_is_one_line(machine: Machine) -> None:
    with pytest.raises(CannotStart) as raised:
        machine.run("/nothing/there")
    assert raised.value.errno == errno.ENOENT
    assert "\n" not in str(raised.value)


# -- as whom --------------------------------------------------------------------------------------------------


def identity(seen: bytes) -> tuple[list[int], list[int], list[int]]:
    found = status(seen)
    uids, gids, groups = ([int(number) for number in found[key].split()] for key in ("Uid", "Gid", "Groups"))
    return uids, gids, sorted(groups)


@AS_ROOT
def test_a_uid_alone_takes_its_users_group_and_exactly_the_users_other_groups(make: Make) -> None:
    # Ours must not be among them.
    before = os.getgroups()
    os.setgroups([0, 7, 4242])
    try:
        for entry in pwd.getpwall():
            if entry.pw_uid in (1, 2, 10, 33, NOBODY):
                uids, gids, groups = identity(make(uid=entry.pw_uid).says("cat", "/proc/self/status"))
                assert uids == [entry.pw_uid] * 4
                assert gids == [entry.pw_gid] * 4
                assert groups == sorted(os.getgrouplist(entry.pw_name, entry.pw_gid))
    finally:
        os.setgroups(before)


@AS_ROOT
def test_a_uid_and_a_gid_that_nobody_has_heard_of_are_taken_as_they_are(make: Make) -> None:
    seen = make(uid=54321, gid=65432).says("cat", "/proc/self/status")
    assert identity(seen) == ([54321] * 4, [65432] * 4, [65432])


@AS_ROOT
def test_a_gid_alone_leaves_the_uid(make: Make) -> None:
    uids, gids, groups = identity(make(gid=65432).says("cat", "/proc/self/status"))
    assert (uids, gids) == ([0] * 4, [65432] * 4)
    assert groups == sorted(os.getgrouplist("root", 65432))


@AS_ROOT
def test_nothing_of_root_is_left_to_who_was_to_be_somebody_else(make: Make) -> None:
    seen = status(make(uid=NOBODY).says("cat", "/proc/self/status"))
    assert [int(seen[key], 16) for key in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]


@AS_ROOT
def test_a_uid_without_an_entry_needs_a_gid(make: Make) -> None:
    assert failure(make(uid=54321), "true") == "user: uid 54321 has no passwd entry: give gid too"


@AS_ROOT
def test_somebody_else_may_open_its_standard_output_by_name(make: Make) -> None:
    machine = make(uid=NOBODY)
    assert machine.says("/bin/sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr") == b"out\nerr\n"


@AS_ROOT
def test_who_is_not_root_starts_nobody_else_and_never_as_itself_instead(make: Make) -> None:
    machine, own = make(uid=1), make(uid=NOBODY, gid=NOBODY)
    (own.folder / "pipes").chmod(0o777)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(CannotStart) as raised:
            machine.run("true")
        own.await_end(own.run("true"))
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert str(raised.value).startswith(
        "user: only root may start as uid 1 gid 1, and the supervisor runs as uid 65534 gid 65534"
    )
    assert machine.events == []


# -- how it ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "exit"),
    [
        ("exit 0", Exit(0)),
        ("exit 255", Exit(255)),
        ("kill -KILL $$", Exit(None, "KILL")),
        ("kill -SEGV $$", Exit(None, "SEGV")),
        ("kill -40 $$", Exit(None, f"RTMIN+{40 - signal.SIGRTMIN}")),
        ("trap 'exit 7' TERM; kill -TERM $$", Exit(7)),
    ],
)
def test_an_end_is_told_as_it_was(machine: Machine, script: str, exit: Exit) -> None:
    assert machine.await_end(machine.run("/bin/sh", "-c", f"ulimit -c 0; {script}")) == exit


def test_an_end_is_told_by_any_reactor(folder: Path) -> None:
    loop = Loop(SelectReactor)
    machine = Machine(loop, folder)
    assert machine.says("/bin/sh", "-c", "echo hello; exit 3") == b"hello\n"
    machine.close()
    loop.close()


def test_what_somebody_else_in_our_process_has_reaped_ended_nobody_knows_how(machine: Machine) -> None:
    pid = machine.run("/bin/sh", "-c", "exit 3")
    os.waitpid(pid, 0)
    assert machine.await_end(pid) == Exit(None)


def test_all_that_was_said_is_relayed_before_the_end_is_told(machine: Machine) -> None:
    def ended(event: Told) -> None:
        seen.append(machine.output.text)

    seen: list[bytes] = []
    text = b"x" * 99 + b"\n"
    for _ in range(10):
        machine.output.told.clear()
        seen.clear()
        machine.spawner.spawn(
            machine.start("/bin/sh", "-c", f"head -c 60000 /dev/zero | tr '\\0' x; echo {text!r}"), ended
        )
        machine.loop.until(lambda: seen)
        assert seen[0].startswith(b"x" * 60000)
        assert seen[0].endswith(b"\n")


DAEMON = """
setsid env -i PATH="$PATH" sh -c '{before} echo $$ > daemon.new; mv daemon.new daemon; exec {command}' &
while [ ! -e daemon ]; do sleep 0.01; done
exit 3
"""
"""Who is left is of no family, neither by session nor by token."""


def test_an_end_is_noticed_at_once_though_a_daemon_holds_the_pipe(make: Make) -> None:
    machine = make()
    pid = machine.run("/bin/sh", "-c", DAEMON.format(before="", command="sleep 1000"), cwd=str(machine.folder))
    machine.loop.until(lambda: machine.exit_of(pid))
    assert machine.events == [Exited(pid, Exit(3), alone=True)]
    assert lives(machine.number("daemon"))


def test_a_daemon_outlives_the_pipe_that_it_holds(make: Make) -> None:
    machine = make()
    command = 'sh -c "while [ ! -e written ]; do sleep 0.01; done; echo more; echo alive > alive; sleep 1000"'
    pid = machine.run(
        "/bin/sh", "-c", DAEMON.format(before="", command=command.replace('"', '"')), cwd=str(machine.folder)
    )
    machine.await_end(pid)
    (machine.folder / "written").touch()
    machine.loop.until((machine.folder / "alive").exists)
    assert lives(machine.number("daemon"))


@pytest.mark.parametrize("fifo", [True, False])
@pytest.mark.parametrize("place", ["family", "daemon"])
def test_an_end_is_noticed_though_somebody_floods_the_pipe_without_end(make: Make, place: str, fifo: bool) -> None:
    machine = make(fifo=fifo)
    script = "yes & exit 3" if place == "family" else DAEMON.format(before="", command="yes")
    pid = machine.run("/bin/sh", "-c", script, cwd=str(machine.folder))
    if place == "daemon":
        machine.number("daemon")
    machine.loop.until(lambda: machine.exit_of(pid))
    assert machine.exit_of(pid) == Exit(3)


def test_who_is_left_of_a_family_is_asked_for_until_it_is_gone(make: Make) -> None:
    machine = make()
    pid = machine.run("/bin/sh", "-c", "sleep 1000 & echo $! > child; exit 3", cwd=str(machine.folder))
    child = machine.number("child")
    machine.loop.until(lambda: machine.exit_of(pid))
    assert machine.events == [Exited(pid, Exit(3), alone=False)]
    machine.loop.during(0.1)
    assert len(machine.events) == 1
    os.kill(child, signal.SIGTERM)
    machine.await_end(pid)
    assert machine.events[1:] == [Emptied(pid)]


ZOMBIE = """
import os, time
outside = os.fork()
if outside == 0:
    member = os.fork()
    if member == 0:
        os._exit(0)
    os.waitid(os.P_PID, member, os.WEXITED | os.WNOWAIT)
    os.setsid()
    with open("daemon.new", "w") as file:
        print(os.getpid(), file=file)
    os.rename("daemon.new", "daemon")
    os.execve("/bin/sleep", ["sleep", "1000"], {})  # of no family, by session or by token
while not os.path.exists("daemon") or b"COLONY" in open(f"/proc/{outside}/environ", "rb").read():
    time.sleep(0.01)
os._exit(3)
"""


def test_a_zombie_that_nobody_reaps_is_no_family(make: Make) -> None:
    machine = make()
    pid = machine.run(os.path.realpath("/usr/bin/env"), "python3", "-c", ZOMBIE, cwd=str(machine.folder))
    machine.number("daemon")
    machine.loop.until(lambda: machine.exit_of(pid))
    os.killpg(pid, 0)  # there is somebody in the group: the zombie
    assert machine.events == [Exited(pid, Exit(3), alone=True)]


def test_a_signal_after_the_end_reaches_who_is_left_and_then_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make()
    pid = machine.run("/bin/sh", "-c", "sleep 1000 & echo $! > child; exit 3", cwd=str(machine.folder))
    child = machine.number("child")
    machine.loop.until(lambda: machine.exit_of(pid))
    by_number: list[tuple[int, int]] = []
    killpg = os.killpg
    monkeypatch.setattr(os, "killpg", lambda *given: by_number.append(given) if given[1] else killpg(*given))
    machine.spawner.kill(pid, "TERM")
    machine.await_end(pid)
    assert not lives(child)
    machine.spawner.kill(pid, "TERM")
    assert by_number == [], "a number may be a stranger's once nobody has it any more"


@AS_ROOT
def test_a_signal_that_cannot_be_sent_is_said_and_changes_nothing(make: Make) -> None:
    machine = make(uid=1)
    pid = machine.run("sleep", "1000")
    os.seteuid(NOBODY)
    try:
        with said() as lines:
            machine.spawner.kill(pid, "TERM")
    finally:
        os.seteuid(0)
    assert lines == [f"cannot send TERM to the process group {pid}: Operation not permitted"]
    assert lives(pid)


# -- for years ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fifo", [True, False])
def test_three_hundred_starts_leave_nothing_behind(make: Make, fifo: bool) -> None:
    machine = make(fifo=fifo)
    machine.says("true")
    before, timers = descriptors(), machine.loop.timers()
    for _ in range(15):
        for _ in range(20):
            machine.run("true")
        machine.loop.until(lambda: all(machine.is_over(pid) for pid in machine.pids))
    assert descriptors() == before
    assert machine.loop.timers() == timers
    assert list(machine.pipes.iterdir()) == []
    assert no_child_is_left()
    assert len(machine.events) == 301


@AS_ROOT
def test_forked_starts_leave_nothing_behind(make: Make) -> None:
    machine = make(uid=NOBODY)
    before = descriptors()
    for _ in range(20):
        machine.run("true")
    machine.loop.until(lambda: all(machine.is_over(pid) for pid in machine.pids))
    assert descriptors() == before
    assert no_child_is_left()


@AS_ROOT
def test_a_process_started_by_fork_costs_no_more_descriptors_than_another(make: Make) -> None:
    costs = []
    for machine in (make(), make(uid=NOBODY)):
        before = descriptors()
        machine.run("sleep", "1000")
        costs.append(descriptors() - before)
    assert costs[0] == costs[1]


def test_without_descriptors_a_start_fails_in_one_line_or_is_whole_and_then_all_heals(machine: Machine) -> None:
    machine.says("true")
    outcomes = []
    before = descriptors()
    for free in range(8):
        held = []
        # What is listed is one more than there are: the listing's own.
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, LIMIT[1]))
        try:
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                pass
            for _ in range(free):
                os.close(held.pop())
            try:
                pid = machine.run("/bin/sh", "-c", "echo hello; exit 3")
            except CannotStart as error:
                outcomes.append(str(error))
            else:
                assert machine.await_end(pid) == Exit(3)
                outcomes.append("started")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, LIMIT)
            for descriptor in held:
                os.close(descriptor)
        assert descriptors() == before
        assert list(machine.pipes.iterdir()) == []
        assert no_child_is_left()
    assert outcomes[0] == "output: cannot make a pipe: Too many open files (EMFILE)"
    assert outcomes[-1] == "started"
    assert all(outcome == "started" or outcome.endswith("(EMFILE)") for outcome in outcomes), outcomes
    machine.loop.during(0.06)
    assert machine.says("echo", "again") == b"again\n"


def test_without_pidfds_one_timer_looks_after_everybody_and_it_is_said_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    machine = make()
    timers = machine.loop.timers()

    def again(event: Told) -> None:
        machine.events.append(event)
        if len(machine.pids) < 8:
            machine.pids.append(machine.spawner.spawn(machine.start("true"), again))

    with said() as lines:
        machine.pids.append(machine.spawner.spawn(machine.start("true"), again))
        machine.run("sleep", "1000")
        machine.loop.until(lambda: len(machine.events) == 7)
        assert machine.loop.timers() == timers + 1
    assert len(lines) == 1
    assert "Function not implemented" in lines[0]


def test_a_crowd_of_ends_is_told_in_time_proportional_to_it(make: Make) -> None:
    # Left behind each, so that each asks for a walk of /proc: one walk is for all.
    machine = make()
    for _ in range(60):
        machine.run("/bin/sh", "-c", "sleep 1000 & exit 3")
    machine.loop.until(lambda: len(machine.events) == 60)
    start = time.monotonic()
    for pid in machine.pids:
        machine.spawner.kill(pid, "KILL")
    machine.loop.until(lambda: len(machine.events) == 120)
    assert time.monotonic() - start < 10


# -- the pipe -------------------------------------------------------------------------------------------------


def test_the_fifo_is_named_for_the_start_and_belongs_to_who_writes_to_it(machine: Machine) -> None:
    before = os.umask(0)
    try:
        start = machine.start("sleep", "1000")
        machine.spawn(start)
    finally:
        os.umask(before)
    [path] = machine.pipes.iterdir()
    found = path.stat()
    assert path.name == f"web.{start.token.partition('.')[2]}"
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid in (os.geteuid(), NOBODY)
    assert found.st_uid == os.stat(f"/proc/{machine.pids[0]}").st_uid


def test_where_no_fifo_can_be_made_a_plain_pipe_does(machine: Machine) -> None:
    machine.pipes.rmdir()
    assert machine.says("echo", "hello") == b"hello\n"
    machine.pipes.mkdir()
