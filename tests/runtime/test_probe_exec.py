"""A command that is run to ask how a process is: as that process, never two at once, never left behind."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.lifecycle import Probed, Ready
from colony.core.model import Exec, Limit, Pid
from tests.runtime.attendance import Attendance, attending
from tests.runtime.loop import Loop, descriptors, end, lives, said

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else")


@pytest.fixture
def here(loop: Loop, tmp_path: Path) -> Iterator[Attendance]:
    with attending(loop, tmp_path) as attendance:
        yield attendance


def shell(text: str) -> Exec:
    return Exec(("/bin/sh", "-c", text))


def test_code_0_is_well(here: Attendance) -> None:
    here.attend(shell("exit 0"))
    assert here.next(2) == [None, None]


def test_any_other_code_is_the_trouble_with_the_first_line_said(here: Attendance) -> None:
    here.attend(shell("echo; echo no such table >&2; echo more; exit 3"))
    assert here.next(2) == ["/bin/sh exited with code 3: no such table"] * 2


def test_a_line_without_an_end_is_kept_too_and_harmless_on_a_terminal(here: Attendance) -> None:
    here.attend(shell(r"printf '\033[31mred'; exit 1"))
    assert here.next() == ["/bin/sh exited with code 1: \\x1b[31mred"]


def test_what_ends_by_a_signal_is_in_trouble(here: Attendance) -> None:
    here.attend(shell("kill -SEGV $$"))
    assert here.next() == ["/bin/sh killed by SEGV"]


def test_what_is_not_there_is_the_trouble(here: Attendance) -> None:
    here.attend(Exec(("/nothing/there",)))
    assert here.next() == ["exec: /nothing/there: No such file or directory (ENOENT)"]


def test_it_is_ready_when_the_command_says_so(here: Attendance) -> None:
    flag = here.machine.folder / "flag"
    here.attend(shell(f"test -e {flag}"), ready=True)
    here.loop.until(lambda: here.told)
    here.loop.during(0.2)
    lacking = Probed(Pid(1), "/bin/sh exited with code 1")
    assert here.told == [lacking]
    flag.touch()
    here.await_ready()
    here.loop.during(0.2)
    assert here.told == [lacking, Ready(Pid(1))]


def test_a_command_may_take_long_to_find_it_ready(here: Attendance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colony.runtime.checks.PATIENCE", 0.05)
    here.attend(shell("sleep 0.3"), ready=True)
    here.await_ready()


def test_it_runs_as_the_process_is(here: Attendance) -> None:
    ask = "import json, os; json.dump([os.getcwd(), dict(os.environ), os.getsid(0) == os.getpid()], open('found', 'w'))"
    here.attend(
        Exec((sys.executable, "-c", ask)),
        cwd=str(here.machine.folder),
        env=(("COLOUR", "blue"),),
        config_env=True,
        name="web.long-name",
    )
    here.next()
    cwd, env, leads = json.loads((here.machine.folder / "found").read_text())
    assert (cwd, leads) == (str(here.machine.folder), True)
    assert env["COLOUR"] == "blue"
    assert env["NCOLONY_CONFIG"] == "{}"
    assert env["COLONY_NAME"] == "web.long-name"
    assert "NOTIFY_SOCKET" not in env


def test_each_has_a_token_of_its_own(here: Attendance) -> None:
    tokens = here.machine.folder / "tokens"
    here.attend(shell(f"echo $COLONY_TOKEN >> {tokens}"))
    here.next(2)
    found = tokens.read_text().split()[:2]
    assert len(set(found)) == 2
    assert all(token.startswith("c" * 16 + ".") for token in found)


@AS_ROOT
def test_it_runs_as_the_user_of_the_process(here: Attendance) -> None:
    here.attend(
        shell("echo $(id -u) $(id -g) $(id -G) $(ulimit -n); exit 1"),
        uid=65534,
        gid=65534,
        supplementary_groups=(1234,),
        limits=(Limit("nofile", 77, 77),),
    )
    assert here.next() == ["/bin/sh exited with code 1: 65534 65534 65534 1234 77"]


@AS_ROOT
def test_what_it_says_can_be_written_by_that_user(here: Attendance) -> None:
    for above in (here.machine.pipes, here.machine.folder):
        above.chmod(0o711)
    here.attend(shell("echo hello > /dev/stderr; exit 1"), uid=65534, gid=65534)
    assert here.next() == ["/bin/sh exited with code 1: hello"]


def test_one_that_hangs_is_killed_with_all_that_it_started(here: Attendance) -> None:
    here.attend(shell("sleep 1000 & echo $! > child; echo $$ > main; wait"), timeout=0.3, cwd=str(here.machine.folder))
    child, main = here.machine.number("child"), here.machine.number("main")
    assert here.next() == ["/bin/sh has not ended within 0.3 s"]
    here.loop.until(lambda: not lives(child) and not lives(main))


def test_what_it_leaves_behind_is_killed(here: Attendance) -> None:
    here.attend(shell("sleep 1000 & echo $! > child; exit 0"), cwd=str(here.machine.folder))
    child = here.machine.number("child")
    assert here.next() == [None]
    here.loop.until(lambda: not lives(child))


def test_there_are_never_two_at_once(here: Attendance) -> None:
    lock = here.machine.folder / "lock"
    here.attend(shell(f"mkdir {lock} || exit 1; sleep 0.1; rmdir {lock}"), every=0.01)
    assert here.next(5) == [None] * 5


def test_a_flood_of_output_is_not_kept(here: Attendance) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    here.attend(Exec(("yes", "no")), timeout=0.5)
    assert here.next() == ["yes has not ended within 0.5 s"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert here.machine.output.told == []


def test_a_line_of_any_length_is_cut(here: Attendance) -> None:
    here.attend(shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 1"))
    [trouble] = here.next()
    assert trouble is not None
    assert trouble.startswith("/bin/sh exited with code 1: xxx")
    assert len(trouble) < 300


def test_its_output_is_no_output_of_the_process(here: Attendance) -> None:
    here.attend(shell("echo hello"))
    here.next()
    assert here.machine.output.told == []


def test_forgotten_it_is_killed_and_nothing_is_told(here: Attendance) -> None:
    pid = here.attend(shell("echo $$ > main; sleep 1000"), cwd=str(here.machine.folder))
    main = here.machine.number("main")
    here.checks.forget(pid)
    here.loop.until(lambda: not lives(main))
    here.loop.during(0.1)
    assert here.told == []


def test_at_the_end_none_is_left(here: Attendance) -> None:
    here.attend(shell("echo $$ > main; sleep 1000"), cwd=str(here.machine.folder))
    main = here.machine.number("main")
    gone: list[None] = []
    _ = here.checks.close().addCallback(gone.append)
    here.loop.until(lambda: gone)
    assert not lives(main)
    assert list(here.machine.pipes.iterdir()) == []


def test_one_that_does_not_go_is_not_waited_for_long(here: Attendance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colony.runtime.checks.GONE_PATIENCE", 0.1)
    here.attend(shell("echo $$ > main; sleep 1000"), cwd=str(here.machine.folder))
    main = here.machine.number("main")
    kill = here.machine.spawner.kill
    monkeypatch.setattr(here.machine.spawner, "kill", lambda pid, signal: None)
    gone: list[None] = []
    _ = here.checks.close().addCallback(gone.append)
    here.loop.until(lambda: gone)
    assert lives(main)
    monkeypatch.setattr(here.machine.spawner, "kill", kill)
    end(main)


def test_one_that_cannot_be_killed_is_not_joined_by_another(here: Attendance, monkeypatch: pytest.MonkeyPatch) -> None:
    here.attend(shell("echo $$ >> mains; sleep 1000"), cwd=str(here.machine.folder), timeout=0.2)
    monkeypatch.setattr(here.machine.spawner, "kill", lambda pid, signal: None)
    assert (
        here.next(3) == ["/bin/sh has not ended within 0.2 s"] + ["/bin/sh, run before and killed, is not gone yet"] * 2
    )
    mains = (here.machine.folder / "mains").read_text().split()
    monkeypatch.undo()
    assert len(mains) == 1
    end(int(mains[0]))


def test_a_hanging_one_holds_nobody_up(here: Attendance) -> None:
    for pid in range(100, 110):
        here.attend(shell("sleep 1000"), pid, every=0.01, timeout=30)
    here.attend(shell("exit 0"))
    assert here.next(5) == [None] * 5


def test_for_want_of_descriptors_nothing_is_told_and_it_is_said_once(here: Attendance) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with said() as lines:
        here.attend(shell("exit 0"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            here.loop.until(lambda: lines)
            here.loop.during(0.1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert here.told == []
    assert [line for line in lines if "Too many open files" in line]
    assert len([line for line in lines if "cannot ask" in line]) == 1
    assert here.next() == [None]


def test_nothing_is_left_of_many(here: Attendance) -> None:
    here.attend(shell("exit 0"), every=0.01)
    here.next()
    before = descriptors()
    here.next(20)
    here.checks.forget(Pid(1))
    here.loop.until(lambda: list(here.machine.pipes.iterdir()) == [])
    assert descriptors() <= before


def test_an_upgrade_is_not_refused_for_the_sake_of_a_probe(loop: Loop, tmp_path: Path) -> None:
    with attending(loop, tmp_path) as here:
        here.machine.pipes.rmdir()  # no FIFO to be had
        here.attend(shell("echo $$ > main; sleep 1000"), cwd=str(tmp_path))
        here.machine.number("main")
        assert here.machine.spawner.fragile() == []
        here.machine.pipes.mkdir()
