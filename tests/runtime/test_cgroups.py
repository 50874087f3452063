"""Where cgroups can be had is told from what the kernel says of itself; who is in one from its files."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.model import Name, ProcessSpec, default_ladder
from colony.runtime import family, privileges, proc
from colony.runtime.adopt import Clearing, leftovers
from colony.runtime.cgroups import Cgroup, Cgroups, Missing, find, joining
from tests.runtime.loop import BOUND, Loop, descriptors, lives
from tests.runtime.machine import Machine

COLONY = "0123456789abcdef"
TOKEN = f"{COLONY}.{'0' * 16}"
NAME = f"colony-{COLONY}"
START = hashlib.sha256(TOKEN.encode()).hexdigest()[:32]


class Tree:
    """A directory laid out as the kernel lays out a tree of cgroups, and what it says of mounts and of ourselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.top = folder / "sys fs"
        self.mountinfo = folder / "mountinfo"
        self.membership = folder / "cgroup"
        self.top.mkdir()
        self.mounted()
        self.we_are_in("/")

    def mounted(self, root: str = "/", kind: str = "cgroup2") -> None:
        point = str(self.top).replace(" ", "\\040")
        self.mountinfo.write_text(
            f"22 1 254:0 / / rw - ext4 /dev/vda rw\n31 22 0:30 {root} {point} rw shared:1 - {kind} cgroup2 rw\n"
        )

    def we_are_in(self, path: str) -> None:
        self.membership.write_text(f"9:name=systemd:/elsewhere\n0::{path}\n")

    def cgroup(self, path: str = "", kind: str = "domain", pids: str = "", populated: int = 0) -> Path:
        place = self.top / path
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text(pids)
        (place / "cgroup.type").write_text(f"{kind}\n")
        (place / "cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
        (place / "cgroup.kill").touch()
        return place

    def find(self) -> Cgroups:
        return find(COLONY, str(self.folder), str(self.mountinfo), str(self.membership))

    def missing(self) -> str:
        with pytest.raises(Missing) as caught:
            self.find()
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.cgroup()
    return tree


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


# -- where


@pytest.mark.parametrize(
    ("root", "own", "place"),
    [
        ("/", "/", ""),
        ("/", "/system.slice/colony.service", "system.slice/colony.service/"),
        ("/docker/1", "/docker/1", ""),
        ("/docker/1", "/docker/1/inner", "inner/"),
    ],
)
def test_it_is_below_the_cgroup_that_we_are_in(tree: Tree, root: str, own: str, place: str) -> None:
    tree.mounted(root)
    tree.we_are_in(own)
    tree.cgroup(place)
    tree.cgroup(f"{place}{NAME}")
    assert tree.find().folder == f"{tree.top}/{place}{NAME}"


def test_what_was_made_in_vain_is_removed_again(tree: Tree) -> None:
    assert tree.missing().startswith(f"sys fs/{NAME}: ")  # what is no cgroupfs puts no files into a new directory
    assert not (tree.top / NAME).exists()


@pytest.mark.parametrize("inside", ["", "/0123"])
def test_started_by_what_a_former_supervisor_started_it_is_beside_and_not_within(tree: Tree, inside: str) -> None:
    tree.cgroup(f"a/{NAME}{inside}")
    tree.cgroup(f"a/{NAME}")
    tree.cgroup("a")
    tree.we_are_in(f"/a/{NAME}{inside}")
    assert tree.find().folder == f"{tree.top}/a/{NAME}"


def test_another_colony_around_us_is_where_we_are(tree: Tree) -> None:
    around = "colony-fedcba9876543210/start"
    tree.cgroup(around)
    tree.cgroup(f"{around}/{NAME}")
    tree.we_are_in(f"/{around}")
    assert tree.find().folder == f"{tree.top}/{around}/{NAME}"


def test_no_tree_of_version_2_is_missing(tree: Tree) -> None:
    tree.mounted(kind="cgroup")
    assert tree.missing() == "no cgroup2 file system is mounted"


def test_a_system_without_such_cgroups_is_missing(tree: Tree) -> None:
    tree.membership.write_text("9:name=systemd:/\n")
    assert tree.missing() == "this process is in no cgroup of version 2"
    tree.membership.unlink()
    assert tree.missing() == "cgroup: No such file or directory"


@pytest.mark.parametrize(("root", "own"), [("/docker/1", "/docker/12"), ("/", "/../outside"), ("/", "/gone (deleted)")])
def test_being_outside_of_what_is_mounted_is_missing(tree: Tree, root: str, own: str) -> None:
    tree.mounted(root)
    tree.we_are_in(own)
    assert tree.missing() == f"the cgroup that we are in, {own}, is not in what is mounted"


def test_one_that_only_threads_can_join_is_missing(tree: Tree) -> None:
    tree.cgroup(NAME, kind="domain invalid")
    assert tree.missing() == f"no process can join sys fs/{NAME}: its type is domain invalid"


def test_a_kernel_without_cgroup_kill_is_missing(tree: Tree) -> None:
    (tree.cgroup(NAME) / "cgroup.kill").unlink()
    assert tree.missing() == "this kernel has no cgroup.kill, which came with Linux 5.14"


def test_a_tree_in_which_nothing_can_be_made_is_missing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "mkdir", refuse)
    assert tree.missing() == f"cannot make sys fs/{NAME}: Read-only file system"


def test_a_tree_in_which_we_may_move_nobody_is_missing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.cgroup(NAME)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert tree.missing() == "sys fs/cgroup.procs is not ours to write"


# -- who


def test_members_are_those_in_it_and_below_but_for_us_and_for_strangers(
    tree: Tree, sleeper: subprocess.Popen[bytes]
) -> None:
    place = tree.cgroup("x", pids=f"{os.getpid()}\n0\n")
    tree.cgroup("x/y", pids=f"{sleeper.pid}\n")
    [found] = Cgroup(str(place)).members()
    known = proc.stat(sleeper.pid)
    assert known is not None
    assert (found.pid, found.start_time) == (sleeper.pid, known.start_time)


def test_a_number_that_has_left_the_cgroup_while_it_was_looked_at_is_nobodys(
    tree: Tree, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tree.cgroup("x", pids=f"{sleeper.pid}\n")
    stat = proc.stat(sleeper.pid)

    def left_meanwhile(pid: int) -> proc.Stat | None:
        (place / "cgroup.procs").write_text("")
        return stat

    monkeypatch.setattr(proc, "stat", left_meanwhile)
    assert Cgroup(str(place)).members() == ()


def test_one_is_populated_as_long_as_the_kernel_says_so_or_does_not_say(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Cgroup(str(tree.cgroup("full", populated=1))).has_members()
    assert not Cgroup(str(tree.cgroup("empty", populated=0))).has_members()
    assert not Cgroup(str(tree.top / "gone")).has_members()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("builtins.open", refuse)
    assert Cgroup(str(tree.top / "empty")).has_members()


def test_the_cgroup_of_a_start_is_found_by_its_token_alone(tree: Tree) -> None:
    tree.cgroup(NAME)
    cgroups = tree.find()
    assert cgroups.of(TOKEN) is None
    with pytest.raises(FileNotFoundError):
        cgroups.make(TOKEN)  # what is no cgroupfs has nothing to join
    assert list((tree.top / NAME).glob("*/")) == []
    tree.cgroup(f"{NAME}/{START}")
    assert cgroups.of(TOKEN) == Cgroup(f"{cgroups.folder}/{START}")
    assert cgroups.of(f"{TOKEN}0") is None


def test_those_of_a_supervisor_that_was_in_another_cgroup_are_found_and_removed(tree: Tree) -> None:
    tree.we_are_in("/a")
    tree.cgroup("a")
    tree.cgroup(f"a/{NAME}")
    former = tree.find()
    former.keep(str(tree.folder))
    tree.cgroup(f"a/{NAME}/{START}")
    tree.we_are_in("/b")
    tree.cgroup("b")
    tree.cgroup(f"b/{NAME}")

    cgroups = tree.find()

    assert (cgroups.folder, cgroups.former) == (f"{tree.top}/b/{NAME}", (former.folder,))
    assert cgroups.of(TOKEN) == former.of(TOKEN) is not None
    assert cgroups.others(()) == former.others(())
    assert cgroups.others((TOKEN,)) == []
    cgroups.keep(str(tree.folder))
    assert tree.find() == cgroups


@pytest.mark.parametrize("name", ["a/colony-fedcba9876543210", f"gone/{NAME}"])
def test_a_directory_that_is_not_one_of_this_colony_or_is_gone_is_not_believed(tree: Tree, name: str) -> None:
    tree.cgroup(NAME)
    tree.cgroup("a/colony-fedcba9876543210")
    (tree.folder / "cgroups").write_text(f"{tree.top}/{name}\n")
    assert tree.find().former == ()


def test_what_is_around_us_is_not_ours_to_end(tree: Tree) -> None:
    tree.cgroup(NAME)
    cgroups = tree.find()
    own = tree.cgroup(f"{NAME}/{START}")
    inside = Cgroups(cgroups.folder, f"{own}/inner")
    assert (inside.of(TOKEN), inside.others(())) == (None, [])
    assert cgroups.others(()) == [Cgroup(str(own))]
    assert cgroups.others((TOKEN,)) == []


def test_who_is_in_a_cgroup_that_does_not_go_on_is_a_leftover_whatever_it_carries(
    tree: Tree, sleeper: subprocess.Popen[bytes]
) -> None:
    tree.cgroup(NAME)
    cgroups = tree.find()
    tree.cgroup(f"{NAME}/{START}", pids=f"{sleeper.pid}\n", populated=1)
    [found] = leftovers(COLONY, names={TOKEN: Name("web")}, cgroups=cgroups.others(()))
    assert (found.stat.pid, found.name, found.cgroup) == (sleeper.pid, "web", cgroups.of(TOKEN))
    assert cgroups.others((TOKEN,)) == []
    assert leftovers(COLONY) == []


# -- ended, in the kernel's own tree


@pytest.fixture
def colony() -> str:
    """One that nobody else's tests have at this moment."""
    return os.urandom(8).hex()


@pytest.fixture
def cgroups(colony: str, tmp_path: Path) -> Iterator[Cgroups]:
    """Real ones, of which nothing is left afterwards."""
    try:
        cgroups = find(colony, str(tmp_path))
    except Missing as missing:
        pytest.skip(f"no cgroups here: {missing}")
    yield cgroups
    cgroups.close()
    assert not os.path.exists(cgroups.folder)


@pytest.fixture
def machine(loop: Loop, tmp_path: Path, cgroups: Cgroups) -> Iterator[Machine]:
    machine = Machine(loop, tmp_path, cgroups=cgroups)
    yield machine
    machine.close()


HIDE = "(setsid env -i sh -c 'echo $$ > pid.new; mv pid.new pid; exec sleep 1001' &) >/dev/null 2>&1; exec sleep 1000"


def unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal to a single process arrives from now on."""
    monkeypatch.setattr(family, "send", lambda stat, number: None)


def test_a_kill_is_for_all_at_once_not_for_those_that_were_seen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = machine.run("sh", "-c", HIDE, cwd=str(machine.folder))
    hidden = machine.number("pid")
    unsent(monkeypatch)
    machine.spawner.kill(main, "KILL")
    machine.await_end(main)
    assert not lives(hidden)


def test_whoever_hides_is_told_of_asked_and_then_killed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    main = machine.run("sh", "-c", HIDE, cwd=str(machine.folder))
    hidden = machine.number("pid")
    machine.spawner.kill(main, "TERM")
    machine.loop.until(lambda: machine.exit_of(main))
    assert not machine.is_over(main)
    assert lives(hidden)
    unsent(monkeypatch)
    machine.spawner.kill(main, "KILL")
    machine.loop.until(lambda: machine.is_over(main))
    assert not lives(hidden)


def test_leftovers_are_killed_all_at_once_too(
    loop: Loop, colony: str, cgroups: Cgroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup, entrance = cgroups.make(f"{colony}.1")
    process = subprocess.Popen(["sleep", "1000"], preexec_fn=lambda: os.write(entrance, b"0"))
    os.close(entrance)
    unsent(monkeypatch)
    clearing = Clearing(loop.reactor, colony, default_ladder(0.0), cgroups=cgroups)
    clearing.begin()
    loop.until(lambda: clearing.gone.called)
    assert process.wait(timeout=BOUND) == -9
    assert not os.path.exists(cgroup.path)


def test_a_start_that_fails_after_it_has_joined_leaves_nothing(machine: Machine, cgroups: Cgroups) -> None:
    before = descriptors()
    with pytest.raises(OSError, match="exec: /no/such"):
        machine.run("/no/such")
    assert cgroups.others(()) == []
    assert descriptors() == before


def test_one_that_cannot_be_joined_is_a_start_that_fails(machine: Machine, cgroups: Cgroups) -> None:
    start = machine.start("sleep", "1000")
    os.mkdir(f"{cgroups.folder}/around")
    Path(cgroups.folder, "around/cgroup.type").write_text("threaded")
    machine.spawner._cgroups = Cgroups(f"{cgroups.folder}/around", cgroups.own)  # what is in there is no domain
    with pytest.raises(OSError, match="cgroup: cannot be joined: Operation not supported"):
        machine.spawn(start)


def test_joining_comes_before_what_might_forbid_it() -> None:
    wanted = privileges.resolve(ProcessSpec(("web",), digest="", umask=0o27, nice=5))
    first, *others = joining(wanted, 7).steps
    assert (first.stage, first.call, first.arguments) == ("cgroup", os.write, (7, b"0"))
    assert tuple(others) == wanted.steps
