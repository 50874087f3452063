"""The doorbell says where to look, in time, and its deafness is never taken for silence."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from colony.runtime.doorbell import Doorbell
from tests.runtime.loop import Loop

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


class Door:
    """A directory, the bell at its door, and how often it rang for what."""

    def __init__(self, loop: Loop, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.rings: list[frozenset[str] | None] = []
        self.loop = loop
        self.bell = Doorbell(loop.reactor, str(path), self.rings.append)
        self.bell.listen()

    def heard(self) -> set[str | None]:
        """What it has rung for until it rings for ``end``, written last, so that nothing done before is amiss."""
        while not any(ring is not None and "end" in ring for ring in self.rings):
            known = self.rings[:]  # a ring for everything may swallow it: then once more
            (self.path / "end").write_bytes(b"")
            self.loop.until(partial(operator.ne, known, self.rings))
        heard: set[str | None] = set()
        for ring in self.rings:
            heard |= {None} if ring is None else ring
        self.rings.clear()
        return heard - {"end"}


@pytest.fixture
def door(loop: Loop, tmp_path: Path) -> Iterator[Door]:
    door = Door(loop, tmp_path / "config")
    yield door
    door.bell.close()


def test_it_rings_with_the_name_of_what_was_written_moved_linked_or_removed(door: Door) -> None:
    door.path.joinpath("written").write_bytes(b"{}")
    door.path.joinpath("moved.new").write_bytes(b"{}")
    door.path.joinpath("moved.new").rename(door.path / "moved")
    os.link(door.path / "written", door.path / "linked")
    door.path.joinpath("symlink").symlink_to("written")
    os.mkfifo(door.path / "fifo")
    assert door.heard() == {"written", "moved", "linked", "symlink", "fifo"}
    door.path.joinpath("moved").rename(door.path / "elsewhere")
    door.path.joinpath("linked").unlink()
    door.path.joinpath("symlink").chmod(0o600)  # of what it leads to
    assert door.heard() == {"moved", "elsewhere", "linked", "written"}


def test_a_file_that_is_being_written_rings_when_it_is_closed(door: Door) -> None:
    with door.path.joinpath("web").open("wb", buffering=0) as file:
        file.write(b"{")
        assert door.heard() == set()
    assert door.heard() == {"web"}


def test_many_changes_at_once_are_one_ring(door: Door) -> None:
    for number in range(50):
        door.path.joinpath(f"web{number}").write_bytes(b"{}")
    door.loop.until(lambda: door.rings)
    assert door.rings == [frozenset(f"web{number}" for number in range(50))]


def test_litter_rings_for_nobody(door: Door) -> None:
    for name in (".web.swp", "web~", "#web#", "web.new"):
        door.path.joinpath(name).write_bytes(b"{}")
        door.path.joinpath(name).unlink()
    assert door.heard() == set()


def test_the_link_that_all_of_a_configmap_leads_through_rings_for_everything(door: Door) -> None:
    door.path.joinpath("..data_tmp").symlink_to("..1")
    door.path.joinpath("..data_tmp").rename(door.path / "..data")
    assert None in door.heard()


def test_a_name_that_is_no_utf8_is_rung_for(door: Door) -> None:
    Path(os.fsdecode(os.fsencode(door.path) + b"/\xff")).write_bytes(b"{}")
    assert door.heard() == {os.fsdecode(b"\xff")}


def test_a_queue_that_overflowed_rings_for_everything(door: Door) -> None:
    size = int(QUEUE.read_text())
    if size > 20_000:
        pytest.skip(f"{size} events fit into the queue")
    names = [os.path.join(door.path, name) for name in ("a", "b")]
    for number in range(size + 10):
        os.close(os.open(names[number % 2], os.O_WRONLY | os.O_CREAT))
    door.loop.until(lambda: None in door.rings)
    door.rings.clear()
    assert door.heard() == set()  # and it has not gone deaf


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_directory_that_goes_rings_for_everything(door: Door, how: str) -> None:
    if how == "moved":
        door.path.rename(door.path.with_name("away"))
    else:
        door.path.rmdir()
    door.loop.until(lambda: None in door.rings)
    door.path.mkdir()
    door.bell.listen()
    door.heard()
    door.path.joinpath("web").write_bytes(b"{}")
    assert door.heard() == {"web"}


def test_it_hangs_on_the_directory_that_has_the_path_now_and_on_no_other(door: Door) -> None:
    for number in range(3):
        away = door.path.with_name(f"away{number}")
        door.path.rename(away)
        door.path.mkdir()
        door.bell.listen()
        assert door.heard() == {None}
        door.path.joinpath("web").write_bytes(b"{}")
        away.joinpath("other").write_bytes(b"{}")
        assert door.heard() == {"web"}


def test_listening_again_to_the_same_directory_changes_nothing(door: Door) -> None:
    for _ in range(3):
        door.bell.listen()
    door.path.joinpath("web").write_bytes(b"{}")
    assert door.heard() == {"web"}


def test_a_directory_that_is_not_there_is_an_error_and_can_be_tried_again(door: Door) -> None:
    door.path.rmdir()
    with pytest.raises(FileNotFoundError):
        door.bell.listen()
    door.path.mkdir()
    door.bell.listen()
    door.heard()
    door.path.joinpath("web").write_bytes(b"{}")
    assert door.heard() == {"web"}


def test_a_closed_bell_is_silent_and_leaves_no_descriptor(loop: Loop, tmp_path: Path) -> None:
    rings: list[frozenset[str] | None] = []
    bell = Doorbell(loop.reactor, str(tmp_path), rings.append)
    bell.listen()
    bell.close()
    tmp_path.joinpath("web").write_bytes(b"{}")
    loop.during(0.05)
    assert rings == []
    loop.until(lambda: not is_open(bell.fileno()))


def test_a_directory_that_is_removed_and_made_anew_rings_though_somebody_has_it_open(door: Door) -> None:
    held = os.open(door.path, os.O_RDONLY)
    door.path.rmdir()
    door.loop.until(lambda: None in door.rings)
    door.rings.clear()
    door.path.mkdir()
    door.loop.until(lambda: None in door.rings)
    door.bell.listen()
    os.close(held)
    door.heard()
    door.path.joinpath("web").write_bytes(b"{}")
    assert door.heard() == {"web"}


def test_a_link_that_leads_elsewhere_now_rings_for_everything(loop: Loop, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tmp_path.joinpath(name).mkdir()
    link, rings = tmp_path / "link", list[frozenset[str] | None]()
    link.symlink_to("one")
    bell = Doorbell(loop.reactor, str(link), rings.append)
    bell.listen()
    tmp_path.joinpath("new").symlink_to("two")
    tmp_path.joinpath("new").rename(link)
    loop.until(lambda: rings == [None])
    bell.close()


def test_what_happens_beside_the_directory_rings_for_nobody(door: Door) -> None:
    beside = door.path.with_name("beside")
    beside.mkdir()
    beside.joinpath("web").write_bytes(b"{}")
    beside.rename(door.path.with_name("there"))
    assert door.heard() == set()


def test_where_the_directory_above_may_not_be_read_the_directory_itself_is_listened_to(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.bell, "_above_path", str(door.path / "nothing"))
    door.bell.listen()
    door.path.joinpath("web").write_bytes(b"{}")
    assert door.heard() == {"web"}


def test_closing_it_waits_for_no_kernel(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, gone = threading.Event(), threading.Event()
    bell = Door(loop, tmp_path / "config").bell
    close, descriptor = os.close, bell.fileno()

    def slowly(which: int) -> None:
        if which == descriptor:
            go.wait(20)
        close(which)
        if which == descriptor:
            gone.set()

    monkeypatch.setattr(os, "close", slowly)
    bell.close()
    assert is_open(descriptor)
    go.set()
    assert gone.wait(20)
    assert not is_open(descriptor)


def test_it_is_closed_where_no_thread_can_be_had(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bell = Door(loop, tmp_path / "config").bell
    monkeypatch.setattr(threading.Thread, "start", refuse)
    bell.close()
    assert not is_open(bell.fileno())


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
