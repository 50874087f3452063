"""Who a real process is and what it may, as /proc shows it; and that nothing starts with more, or less, than asked."""

from __future__ import annotations

import grp
import os
import pwd
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from colony.core import check
from colony.core.model import Limit, ProcessSpec
from colony.runtime import privileges
from colony.runtime.launch import CannotStart
from colony.runtime.privileges import Denied, Identity, Privileges, Refused, Step
from tests.runtime.loop import Loop, descriptors
from tests.runtime.machine import LIMIT, Machine

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else")
NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may do all this")


def capable(capability: int) -> bool:
    """Have we that capability in force?"""
    [mask] = re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())
    return bool(int(mask, 16) >> capability & 1)


Make = Callable[..., Machine]


@pytest.fixture
def make(loop: Loop, tmp_path: Path) -> Iterator[Make]:
    """Makes machines in places that everybody may enter, and ends what they have started."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            os.set_inheritable(int(entry), int(entry) < 3)
    machines: list[Machine] = []

    def make(**options: object) -> Machine:
        place = tmp_path / f"machine{len(machines)}"
        place.mkdir()
        machines.append(Machine(loop, place, **options))  # type: ignore[arg-type]  # handed on
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()


@contextmanager
def being(uid: int) -> Iterator[None]:
    """As root, be somebody else for a while."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def status(machine: Machine) -> dict[str, list[str]]:
    """What /proc/self/status says of a process of that machine."""
    seen = machine.says("cat", "/proc/self/status").decode()
    return {key: value.split() for key, _, value in (line.partition(":") for line in seen.splitlines())}


def numbers(found: list[str]) -> list[int]:
    return [int(number) for number in found]


def why(machine: Machine) -> str:
    """Why nothing can be started."""
    before = descriptors()
    with pytest.raises(CannotStart) as raised:
        machine.run("true")
    assert descriptors() == before
    assert machine.events == []
    assert list(machine.pipes.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


def refusal(**keys: object) -> str:
    with pytest.raises(Refused) as raised:
        privileges.resolve(ProcessSpec(("x",), "d", **keys))  # type: ignore[arg-type]  # handed on
    return f"{raised.value.stage}: {raised.value}"


# -- user -----------------------------------------------------------------------------------------------------


@AS_ROOT
@pytest.mark.parametrize("user", ["nobody", "daemon", "root"])
def test_a_user_is_its_uid_its_group_exactly_its_other_groups_and_its_variables(make: Make, user: str) -> None:
    entry = pwd.getpwnam(user)
    machine = make(user=user)
    before = os.getgroups()
    os.setgroups([0, 7, 4242])  # of which it gets none that is not its own
    try:
        seen = status(machine)
    finally:
        os.setgroups(before)
    assert numbers(seen["Uid"]) == [entry.pw_uid] * 4
    assert numbers(seen["Gid"]) == [entry.pw_gid] * 4
    assert sorted(numbers(seen["Groups"])) == sorted(os.getgrouplist(user, entry.pw_gid))
    said = machine.says("/bin/sh", "-c", 'echo "$HOME $USER $LOGNAME $SHELL"')
    assert said.decode().split() == [entry.pw_dir, user, user, entry.pw_shell]


@AS_ROOT
def test_a_user_may_be_given_another_group_and_no_others(make: Make) -> None:
    seen = status(make(user="nobody", gid=4242, supplementary_groups=()))
    assert numbers(seen["Gid"]) == [4242] * 4
    assert numbers(seen["Groups"]) == []


@AS_ROOT
def test_supplementary_groups_are_these_by_number_or_by_name_whoever_it_is(make: Make) -> None:
    name, number = grp.getgrgid(1).gr_name, 1
    for keys in ({"uid": NOBODY}, {"user": "nobody"}, {"gid": 0}, {}):
        seen = status(make(supplementary_groups=(4242, name, 4242), **keys))
        assert sorted(numbers(seen["Groups"])) == [number, 4242], keys


def test_a_user_that_is_not_there_is_named() -> None:
    assert refusal(user="no-such-user") == "user: no such user: no-such-user"


@AS_ROOT
def test_a_group_that_is_not_there_is_named() -> None:
    assert refusal(uid=1, supplementary_groups=("no-such",)) == "supplementary_groups: no such group: no-such"


def test_who_is_to_be_nobody_else_is_started_without_a_fork() -> None:
    assert privileges.resolve(ProcessSpec(("x",), "d")) == Privileges()


def test_a_user_who_is_who_we_are_has_its_variables() -> None:
    entry = pwd.getpwuid(os.geteuid())
    found = privileges.resolve(ProcessSpec(("x",), "d", user=entry.pw_name))
    assert found.account["HOME"] == entry.pw_dir
    assert found.account["USER"] == found.account["LOGNAME"] == entry.pw_name


# -- the rest -------------------------------------------------------------------------------------------------


def test_a_umask_is_the_childs_alone(make: Make) -> None:
    before = os.umask(0o022)
    try:
        assert make(umask=0o027).says("/bin/sh", "-c", "umask") == b"0027\n"
        assert make(umask=0).says("/bin/sh", "-c", "umask") == b"0000\n"
        assert make().says("/bin/sh", "-c", "umask") == b"0022\n"
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_nice_value_is_the_childs_alone(make: Make) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert make(nice=19).says("nice") == b"19\n"
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    assert make().says("nice") == b"%d\n" % own


@AS_ROOT
def test_a_high_priority_is_had_by_who_has_no_right_to_it_himself(make: Make) -> None:
    machine = make(nice=-5, user="nobody", limits=(Limit("nofile", 100, LIMIT[1]),))
    assert machine.says("nice") == b"-5\n"


def test_limits_are_the_childs_alone(make: Make) -> None:
    numbers = [getattr(resource, f"RLIMIT_{name.upper()}") for name in check.LIMITS]
    own = [resource.getrlimit(number) for number in numbers]
    cpu = resource.getrlimit(resource.RLIMIT_CPU)[1]
    limits = (
        Limit("nofile", 100, 200),
        Limit("core", 0, 0),
        Limit("cpu", 50, None if cpu == resource.RLIM_INFINITY else cpu),
    )
    said = make(limits=limits).says("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; ulimit -St")
    assert said.split() == [b"100", b"200", b"0", b"0", b"50"]
    assert [resource.getrlimit(number) for number in numbers] == own


def test_a_limit_on_files_counts_from_what_children_inherit_and_not_from_what_we_have_raised_ours_to(
    make: Make,
) -> None:
    inherited = (64, LIMIT[1])
    assert make(nofile=inherited).says("/bin/sh", "-c", "ulimit -Sn").strip() == b"64"
    assert make(nofile=inherited, umask=0o22).says("/bin/sh", "-c", "ulimit -Sn").strip() == b"64"
    machine = make(nofile=inherited, limits=(Limit("nofile", 80, LIMIT[1]),))
    assert machine.says("/bin/sh", "-c", "ulimit -Sn").strip() == b"80"
    machine = make(nofile=inherited, limits=(Limit("core", 0, 0),))
    assert machine.says("/bin/sh", "-c", "ulimit -Sn; ulimit -Sc").split() == [b"64", b"0"]


@pytest.mark.skipif(not capable(24), reason="needs CAP_SYS_RESOURCE")
def test_root_raises_a_hard_limit_for_who_is_not_root(make: Make) -> None:
    before = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (1000, 1000))
    try:
        machine = make(limits=(Limit("msgqueue", 2000, None),), user="nobody")
        [line] = [line for line in machine.says("cat", "/proc/self/limits").split(b"\n") if b"msgqueue" in line]
    finally:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, before)
    assert line.split()[3:5] == [b"2000", b"unlimited"]


@pytest.mark.parametrize("size", [16_000_000, 64_000_000])
@pytest.mark.parametrize("resource_name", ["as", "data"])
def test_a_limit_on_memory_below_what_we_ourselves_have_is_no_obstacle(
    make: Make, resource_name: str, size: int
) -> None:
    machine = make(limits=(Limit(resource_name, size, size),))
    large = (("LARGE", "x" * 120_000), *((f"NAME{number}", "value" * 20) for number in range(200)))
    assert machine.says("/bin/sh", "-c", "echo started", env=large) == b"started\n"


def test_a_limit_that_this_system_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(resource, "RLIMIT_RTTIME")
    assert refusal(limits=(Limit("rttime", 1, 1),)) == "limits: this system has no limit rttime"


def test_a_limit_that_nobody_may_have_is_a_failed_start_that_says_which(make: Make) -> None:
    beyond = int(Path("/proc/sys/fs/nr_open").read_text()) + 1
    machine = make(limits=(Limit("core", 0, 0), Limit("nofile", 100, beyond)))
    assert why(machine) == f"limits: cannot set nofile 100 (hard {beyond}): Operation not permitted (EPERM)"
    assert why(make(limits=(Limit("nofile", None, None),))) == (
        "limits: cannot set nofile unlimited: Operation not permitted (EPERM)"
    )


def test_no_new_privs_is_in_force_where_it_is_asked_for(make: Make) -> None:
    assert status(make(no_new_privs=True))["NoNewPrivs"] == ["1"]
    assert status(make())["NoNewPrivs"] == status(make(umask=0o22))["NoNewPrivs"]


@AS_ROOT
def test_everything_at_once(make: Make) -> None:
    seen = status(
        make(
            user="daemon",
            supplementary_groups=(4242,),
            umask=0o077,
            nice=-3,
            limits=(Limit("nofile", 50, 60),),
            no_new_privs=True,
        )
    )
    assert numbers(seen["Uid"]) == [pwd.getpwnam("daemon").pw_uid] * 4
    assert numbers(seen["Groups"]) == [4242]
    assert (seen["Umask"], seen["NoNewPrivs"]) == (["0077"], ["1"])
    assert [int(seen[key][0], 16) for key in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]


def test_the_keys_make_no_difference_to_how_a_missing_executable_is_told(make: Make) -> None:
    machine = make(umask=0o22, nice=19, no_new_privs=True)
    with pytest.raises(CannotStart, match=r"^exec: /nothing/there: No such file or directory \(ENOENT\)$"):
        machine.run("/nothing/there")


# -- who is not root ------------------------------------------------------------------------------------------


@AS_ROOT
def test_without_root_any_privilege_is_refused_in_one_line_and_nothing_is_started(make: Make) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    expected = {
        "user: only root may start as daemon (uid 1 gid 1), and the supervisor runs as uid 65534 gid 65534": make(
            user="daemon"
        ),
        "user: only root may start as root (uid 0 gid 0), and the supervisor runs as uid 65534 gid 65534": make(
            user="root"
        ),
        "user: only root may start as uid 65534 gid 4, and the supervisor runs as uid 65534 gid 65534": make(gid=4),
        "supplementary_groups: only root may change them, and the supervisor runs as uid 65534": make(
            supplementary_groups=(4,)
        ),
        "nice: cannot have -1: Permission denied (EACCES)": make(nice=-1),
        f"limits: cannot set nofile {hard + 1}: Operation not permitted (EPERM)": make(
            limits=(Limit("nofile", hard + 1, hard + 1),)
        ),
    }
    for machine in expected.values():
        machine.pipes.chmod(0o777)
    with being(NOBODY):
        assert [why(machine) for machine in expected.values()] == list(expected)


@AS_ROOT
def test_without_root_what_needs_none_is_had(make: Make) -> None:
    machine = make(
        user="nobody",
        supplementary_groups=(),
        umask=0o077,
        nice=7,
        limits=(Limit("core", 0, 0),),
        no_new_privs=True,
    )
    machine.pipes.chmod(0o777)
    with being(NOBODY):
        seen = status(machine)
    assert numbers(seen["Uid"])[1] == NOBODY
    assert (seen["Umask"], seen["NoNewPrivs"]) == (["0077"], ["1"])


# -- all or nothing -------------------------------------------------------------------------------------------


def steps_of(**keys: object) -> list[str]:
    spec = ProcessSpec(("x",), "d", **keys)  # type: ignore[arg-type]  # handed on
    return [step.stage for step in privileges.resolve(spec).steps]


@AS_ROOT
def test_what_needs_root_comes_before_root_is_gone_and_the_groups_before_the_uid() -> None:
    found = privileges.resolve(
        ProcessSpec(
            ("x",), "d", uid=1, umask=0, nice=-1, limits=(Limit("core", 0, 0), Limit("as", 1, 1)), no_new_privs=True
        )
    )
    assert found.identity == Identity(1, 1, (1,))
    assert [step.stage for step in found.steps] == [
        *("limits", "limits", "nice", "umask"),
        *("user",) * 4,
        *("no_new_privs",) * 2,
    ]
    calls = [step.call for step in found.steps]
    assert calls.index(os.setgroups) < calls.index(os.setresgid) < calls.index(os.setresuid)


def test_nothing_is_done_after_the_first_step_that_fails() -> None:
    def fail() -> None:
        raise PermissionError(13, "no")

    done: list[int] = []
    steps = (
        Step("a", "", done.append, (1,)),
        Step("b", "", fail, ()),
        Step("c", "", done.append, (2,)),
    )
    with pytest.raises(Denied) as raised:
        privileges.drop(Privileges(steps=steps))
    assert (raised.value.step, raised.value.error) == (1, 13)
    assert done == [1]


@AS_ROOT
@pytest.mark.parametrize("missing", [os.setgroups, os.setresgid, os.setresuid])
def test_a_system_that_says_yes_and_does_nothing_is_found_out_before_the_exec(
    make: Make, monkeypatch: pytest.MonkeyPatch, missing: Callable[..., object]
) -> None:
    machine = make(uid=NOBODY)
    groups = os.getgroups()
    os.setgroups([0, 4242])
    try:
        monkeypatch.setattr(os, missing.__name__, lambda *_: None)
        found = why(machine)
    finally:
        monkeypatch.undo()
        os.setgroups(groups)
    assert found == (
        f"user: cannot become uid {NOBODY} gid {NOBODY}: it is somebody else: Operation not permitted (EPERM)"
    )


@AS_ROOT
def test_who_could_become_root_again_is_not_started(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where capabilities are kept across setuid(2): SECBIT_NO_SETUID_FIXUP, see capabilities(7).
    machine = make(uid=NOBODY)
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    assert why(machine).startswith(f"user: cannot become uid {NOBODY}")


def test_the_smallest_key_alone_is_set_by_fork() -> None:
    for keys in ({"umask": 0}, {"nice": 19}, {"no_new_privs": True}, {"limits": (Limit("core", 0, 0),)}):
        assert steps_of(**keys), keys
