"""What STATE remembers and answers, for whose eyes; and that nothing depends on its being there."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colony.core.model import Answer, Name
from colony.runtime import proc
from colony.runtime.state import ANSWERS_AGE, ANSWERS_KEPT, StateDirectory
from tests.runtime.loop import said

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to other groups")
WEB = Name("web")


def at_once(what: str, work: Callable[[], None]) -> None:
    work()


class Places:
    """MESSAGES, and STATE as one supervisor after another opens it."""

    def __init__(self, path: Path) -> None:
        self.messages, self.path = path / "messages", path / "state"
        self.messages.mkdir(mode=0o700)

    def open(self, later: Callable[[str, Callable[[], None]], None] = at_once) -> StateDirectory:
        state = StateDirectory(str(self.path), later, lambda: 1_763_763_483.5)
        state.open(str(self.messages))
        return state

    def json(self, name: str) -> dict[str, object]:
        value = json.loads((self.path / name).read_bytes())
        assert isinstance(value, dict)
        return value

    def modes(self) -> dict[str, int]:
        """Of everything in it, and itself (``.``)."""
        found = {".": stat.S_IMODE(self.path.stat().st_mode)}
        for path in self.path.rglob("*"):
            found[str(path.relative_to(self.path))] = stat.S_IMODE(path.stat().st_mode)
        return found


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """One that grants everything, as daemons may have."""
    before = os.umask(0)
    yield
    os.umask(before)


# -- for whose eyes -------------------------------------------------------------------------------------------


def test_everything_is_for_us_alone_where_messages_are(places: Places) -> None:
    places.messages.chmod(0o755)
    state = places.open()
    state.answer("1", "STOP", None, Answer())
    state.keep_specs({WEB: b"{}"})
    state.hold(WEB, None)
    modes = places.modes()
    assert {mode for path, mode in modes.items() if (places.path / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if (places.path / path).is_file()} == {0o600}


@AS_ROOT
@pytest.mark.parametrize("mode", [0o770, 0o2770, 0o775])
def test_a_group_that_may_write_messages_may_read_what_is_told_and_no_more(places: Places, mode: int) -> None:
    os.chown(places.messages, -1, 4242)
    places.messages.chmod(mode)
    state = places.open()
    state.answer("1", "STOP", None, Answer())
    state.keep_specs({WEB: b"{}"})
    state.hold(WEB, None)
    modes = places.modes()
    told = {path for path, bits in modes.items() if bits & 0o077}
    assert told == {".", "status", "answers", "answers/1.json"}
    assert {(places.path / path).stat().st_gid for path in told} == {4242}
    assert {modes[path] for path in told - {"answers/1.json"}} == {0o750}
    assert modes["answers/1.json"] == 0o640
    assert {modes[path] for path in modes.keys() - told} == {0o600, 0o700}


@AS_ROOT
def test_a_group_that_may_only_read_messages_sees_nothing(places: Places) -> None:
    os.chown(places.messages, -1, 4242)
    places.messages.chmod(0o750)
    places.open()
    assert places.modes()["answers"] == 0o700


def test_modes_follow_when_those_of_messages_have_changed(places: Places) -> None:
    places.messages.chmod(0o770)
    places.open()
    places.messages.chmod(0o700)
    places.open()
    assert places.modes()["."] == places.modes()["answers"] == 0o700


def test_the_lock_file_says_who_we_are(places: Places) -> None:
    places.open().identify()
    own = proc.stat(os.getpid())
    assert own is not None
    assert places.json("lock") == {"pid": os.getpid(), "start_time": own.start_time, "boot_id": proc.boot_id()}


def test_messages_point_to_state_for_whoever_may_read_them(places: Places) -> None:
    places.messages.chmod(0o750)
    state = places.open()
    state.point(str(places.messages))
    pointer = places.messages / ".state"
    assert pointer.read_text() == f"{places.path}\n"
    assert stat.S_IMODE(pointer.stat().st_mode) == 0o640
    before = pointer.stat()
    state.point(str(places.messages))
    assert pointer.stat() == before


# -- what outlasts a supervisor -------------------------------------------------------------------------------


def test_good_bytes_are_remembered_by_the_next_one_and_forgotten_for_good(places: Places) -> None:
    state = places.open()
    assert state.remembered() == {}
    state.keep_specs({WEB: b"one", Name("echo"): b"echo"})
    state.keep_specs({WEB: b"two"})
    assert places.open().remembered() == {"web": b"two", "echo": b"echo"}
    state.forget(WEB)
    assert places.open().remembered() == {"echo": b"echo"}
    state.keep_specs({WEB: b"two"})
    assert places.open().remembered() == {"web": b"two", "echo": b"echo"}


def test_a_stop_outlasts_the_supervisor_with_who_asked_and_when(places: Places) -> None:
    state = places.open()
    state.hold(WEB, "me")
    assert places.open().held() == {"web"}
    assert places.json("stops/web.json") == {"by": "me", "at": "2025-11-21T22:18:03.500000Z"}
    state.release(WEB)
    state.release(WEB)
    assert places.open().held() == frozenset()


def test_a_removed_process_is_no_longer_stopped(places: Places) -> None:
    state = places.open()
    state.hold(WEB, None)
    state.forget(WEB)
    assert state.held() == frozenset()


def test_what_has_not_changed_is_not_written_again(places: Places) -> None:
    asked: list[str] = []

    def later(what: str, work: Callable[[], None]) -> None:
        asked.append(what)
        work()

    state = places.open(later)
    state.keep_specs({WEB: b"{}"})
    state.keep_specs({WEB: b"{}"})
    state.keep_specs({})
    assert asked == ["remember specs"]


def test_remembering_is_not_waited_for_and_a_stop_is(places: Places) -> None:
    works: list[Callable[[], None]] = []
    state = places.open(lambda what, work: works.append(work))
    state.keep_specs({WEB: b"{}"})
    state.forget(WEB)
    state.keep_specs({WEB: b"[]"})
    assert not (places.path / "specs" / "web").exists()
    for work in works:
        work()
    assert places.open().remembered() == {"web": b"[]"}
    state.hold(WEB, None)
    assert (places.path / "stops" / "web.json").exists()


def test_litter_in_state_is_nobodys_name(places: Places) -> None:
    state = places.open()
    for folder, name in (("specs", ".web.swp"), ("specs", "web~"), ("stops", ".x.json"), ("stops", "a b.json")):
        (places.path / folder / name).write_bytes(b"{}")
    (places.path / "specs" / "directory").mkdir()
    assert state.remembered() == {}
    assert state.held() == frozenset()


@pytest.mark.parametrize("folder", ["specs", "stops"])
def test_what_cannot_be_remembered_is_an_error_to_whoever_waits_for_it(places: Places, folder: str) -> None:
    failed = []

    def later(what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            failed.append(what)

    state = places.open(later)
    (places.path / folder).rmdir()
    (places.path / folder).touch()
    if folder == "stops":
        with pytest.raises(OSError):
            state.hold(WEB, None)
    state.keep_specs({WEB: b"{}"})
    assert failed == (["remember specs"] if folder == "specs" else [])


def test_pipes_of_before_are_cleared_away(places: Places) -> None:
    state = places.open()
    pipes = state.pipes()
    assert pipes == str(places.path / "pipes")
    os.mkfifo(os.path.join(pipes, "web.0123"))
    state.clear_pipes()
    assert os.listdir(pipes) == []


# -- answers --------------------------------------------------------------------------------------------------


def test_an_answer_says_what_became_of_a_message(places: Places) -> None:
    state = places.open()
    state.answer("1.msg", "RESTART", "me", Answer(("web",)))
    state.answer("2", None, None, Answer(code=4, error="no such process: x"))
    assert places.json("answers/1.msg.json") == {
        "ok": True,
        "code": 0,
        "error": None,
        "type": "RESTART",
        "names": ["web"],
        "by": "me",
        "at": "2025-11-21T22:18:03.500000Z",
    }
    second = places.json("answers/2.json")
    assert (second["ok"], second["code"], second["error"]) == (False, 4, "no such process: x")


def test_the_longest_file_name_that_is_obeyed_can_be_answered(places: Places) -> None:
    state = places.open()
    state.answer("x" * 240, "SCAN", None, Answer())
    assert places.json(f"answers/{'x' * 240}.json")["ok"]


def test_an_answer_that_cannot_be_given_is_said_and_stops_nothing(places: Places) -> None:
    state = places.open()
    with said() as lines:
        state.answer("x" * 255, "SCAN", None, Answer())
    assert lines == [f"cannot answer message {'x' * 255}: File name too long"]


def test_answers_are_kept_in_bounds_of_number_and_age(places: Places) -> None:
    state = places.open()
    now = 1_763_763_483.5
    answers = places.path / "answers"
    for number in range(ANSWERS_KEPT + 50):
        path = answers / f"{number:05}.json"
        path.touch()
        os.utime(path, (now - number, now - number))
    for number in range(10):
        path = answers / f"old{number}.json"
        path.touch()
        os.utime(path, (now - ANSWERS_AGE - 1, now - ANSWERS_AGE - 1))
    for number in range(100):
        state.answer(f"new{number}", None, None, Answer())
    kept = {path.name for path in answers.iterdir()}
    assert len(kept) <= ANSWERS_KEPT + 100
    assert "00000.json" in kept
    assert f"{ANSWERS_KEPT + 49:05}.json" not in kept
    assert not any(name.startswith("old") for name in kept)


def test_a_thousand_answers_do_not_wait_for_the_disk(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    state = places.open()
    for number in range(1000):
        state.answer(str(number), None, None, Answer())
    assert synced == []


# -- without --------------------------------------------------------------------------------------------------


def test_without_a_state_nothing_is_remembered_answered_or_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "messages").mkdir()
    asked: list[str] = []
    state = StateDirectory(str(tmp_path / "file" / "state"), lambda what, work: asked.append(what))
    with pytest.raises(OSError):
        state.open(str(tmp_path / "messages"))
    assert not state.available
    state.keep_specs({WEB: b"{}"})
    state.hold(WEB, None)
    state.release(WEB)
    state.answer("1", None, None, Answer())
    state.clear_pipes()
    assert state.held() == frozenset()
    assert state.pipes() is None
    state.forget(WEB)
    assert state.remembered() == {}
    assert asked == []
    assert sorted(os.listdir(tmp_path)) == ["file", "messages"]
