"""The door for programs: files and messages are written whole, and what the supervisor tells is waited for."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colony import ctllib
from colony.core import check
from colony.ctllib import Places, Refused
from tests.cli.standin import Message, StandIn


@pytest.fixture
def dead(tmp_path: Path) -> StandIn:
    """The directories, and nobody there."""
    return StandIn(tmp_path)


@pytest.fixture
def colony(dead: StandIn) -> Iterator[StandIn]:
    """Somebody there who agrees to everything."""
    with dead:
        yield dead


def written(colony: StandIn, name: str = "web") -> Any:
    return json.loads((colony.config / name).read_bytes())


def soon(act: Any, *args: Any, after: float = 0.03, **more: Any) -> threading.Timer:
    timer = threading.Timer(after, act, args, more)
    timer.start()
    return timer


# -- places


def test_state_is_where_it_is_said_to_be_else_where_messages_point_else_beside_config(dead: StandIn) -> None:
    config, messages = str(dead.config), str(dead.messages)
    assert ctllib.state_directory(Places(config, messages, "/elsewhere")) == "/elsewhere"
    assert ctllib.state_directory(Places(config, messages)) == str(dead.state)
    (dead.messages / ".state").unlink()
    assert ctllib.state_directory(Places(config, messages)) == f"{config}.state"


def test_the_default_state_is_beside_the_real_config(dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dead.config)
    assert ctllib.state_directory(Places(str(tmp_path / "link"), None)) == f"{dead.config}.state"


def test_places_may_be_paths(dead: StandIn) -> None:
    places = Places(dead.config, dead.messages)
    assert ctllib.add(places, "web", "sleep", ["1"]) == "added"
    assert ctllib.restart(places, "web")
    assert ctllib.state_directory(places) == str(dead.state)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_pointer_of_somebody_else_is_not_believed(dead: StandIn) -> None:
    os.chown(dead.messages / ".state", 4321, 4321)
    with pytest.raises(Refused, match="belongs to uid 4321"):
        ctllib.state_directory(dead.places)
    os.chown(dead.messages, 4321, 4321)
    assert ctllib.state_directory(dead.places) == str(dead.state)


def test_a_pointer_to_no_absolute_path_is_not_believed(dead: StandIn) -> None:
    (dead.messages / ".state").write_text("state\n")
    with pytest.raises(Refused, match="no absolute path"):
        ctllib.state_directory(dead.places)


def test_a_pointer_that_is_a_link_is_not_followed(dead: StandIn, tmp_path: Path) -> None:
    (dead.messages / ".state").rename(tmp_path / "pointer")
    (dead.messages / ".state").symlink_to(tmp_path / "pointer")
    with pytest.raises(OSError) as caught:
        ctllib.state_directory(dead.places)
    assert caught.value.errno == errno.ELOOP


def test_alive_is_who_holds_the_lock(dead: StandIn) -> None:
    assert not ctllib.alive(dead.places)
    dead.live()
    assert ctllib.alive(dead.places)
    dead.die()
    assert not ctllib.alive(dead.places)
    assert not ctllib.alive(Places("/nowhere", "/nowhere"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_who_may_not_look_into_messages_asks_config(dead: StandIn) -> None:
    """In a child, as somebody else; the stand-in's MESSAGES are below a directory of root's alone."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        config = os.path.join(directory, "config")
        os.mkdir(config)
        os.chmod(config, 0o777)
        places = Places(config, str(dead.messages))
        for locked in (False, True):
            descriptor = os.open(config, os.O_RDONLY)
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            child = os.fork()
            if child == 0:
                code = 2
                try:
                    os.setgroups([])
                    os.setgid(4321)
                    os.setuid(4321)
                    ctllib.add(places, "web", "sleep", [])
                    code = int(ctllib.alive(places))
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == int(locked)
            os.close(descriptor)


@pytest.mark.parametrize(("places", "missing"), [(Places(None, "/m"), "--config"), (Places("/c", None), "--messages")])
def test_a_place_that_is_needed_and_not_given_is_named(places: Places, missing: str) -> None:
    with pytest.raises(Refused, match=missing) as caught:
        ctllib.add(places, "web", "sleep", []) if places.config is None else ctllib.scan(places)
    assert caught.value.code == 2


# -- add


def test_add_says_what_it_did(dead: StandIn) -> None:
    assert ctllib.add(dead.places, "web", "sleep", ["1"]) == "added"
    assert ctllib.add(dead.places, "web", "sleep", ["1"]) == "unchanged"
    assert ctllib.add(dead.places, "web", "sleep", ["2"]) == "changed"
    assert written(dead) == {"args": ["sleep", "2"]}
    assert os.listdir(dead.config) == ["web"]


def test_arguments_keep_the_order_that_old_callers_use(dead: StandIn) -> None:
    ctllib.add(dead.places, "web", "prog", ["a"], ["A=1", "B=x=y", "C="], 5, 6, {"mine": [1]}, ["PATH"])
    assert written(dead) == {
        "args": ["prog", "a"],
        "env": {"A": "1", "B": "x=y", "C": ""},
        "uid": 5,
        "gid": 6,
        "mine": [1],
        "env_inherit": ["PATH"],
    }


def test_env_may_be_a_mapping_and_any_key_of_the_format_a_keyword(dead: StandIn) -> None:
    more: dict[str, Any] = {"cwd": "/srv", "group": ("a", "b"), "restart": {"attempts": 3}, "config_env": False}
    ctllib.add(dead.places, "web", None, [], {"A": "1"}, shell="echo", **more)
    assert written(dead) == {"shell": "echo", "env": {"A": "1"}, **more, "group": ["a", "b"]}


def test_none_leaves_a_key_out(dead: StandIn) -> None:
    ctllib.add(dead.places, "web", "prog", [], None, None, None, None, None, cwd=None)
    assert written(dead) == {"args": ["prog"]}


@given(
    args=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4),
    env=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0="), min_size=1),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        max_size=3,
    ),
)
@settings(max_examples=50)
def test_whatever_is_given_arrives_unchanged(args: list[str], env: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as config:
        ctllib.add(Places(config, None), "web", "prog", args, [f"{key}={value}" for key, value in env.items()])
        data = Path(config, "web").read_bytes()
    assert check.decode(data, check.MAX_SPEC_BYTES) == {"args": ["prog", *args], "env": env}


def test_the_same_value_in_another_layout_is_left_as_it_is(dead: StandIn) -> None:
    (dead.config / "web").write_bytes(b'{"uid":0,   "args":["sleep"]}')
    before = (dead.config / "web").stat()
    assert ctllib.add(dead.places, "web", "sleep", [], uid=0) == "unchanged"
    after = (dead.config / "web").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_true_is_not_one(dead: StandIn) -> None:
    ctllib.add(dead.places, "web", "sleep", [], extras={"mine": 1})
    assert ctllib.add(dead.places, "web", "sleep", [], extras={"mine": True}) == "changed"


def test_a_file_called_name_json_is_rewritten_where_it_is(dead: StandIn) -> None:
    (dead.config / "web.json").write_bytes(b'{"args": ["old"]}')
    assert ctllib.add(dead.places, "web", "new", []) == "changed"
    assert os.listdir(dead.config) == ["web.json"]
    assert written(dead, "web.json") == {"args": ["new"]}


def test_two_files_of_one_name_are_refused(dead: StandIn) -> None:
    for entry in ("web", "web.json"):
        (dead.config / entry).write_bytes(b"{}")
    with pytest.raises(Refused, match="are both there"):
        ctllib.add(dead.places, "web", "new", [])


@pytest.mark.parametrize("what", ["garbage", "fifo", "dangling", "huge"])
def test_whatever_is_there_instead_of_a_good_file_is_replaced(dead: StandIn, what: str) -> None:
    path = dead.config / "web"
    match what:
        case "garbage":
            path.write_bytes(b"{")
        case "fifo":
            os.mkfifo(path)
        case "dangling":
            path.symlink_to("/nowhere/at/all")
        case _:
            path.write_bytes(b" " * 200_000)
    assert ctllib.add(dead.places, "web", "sleep", []) == "changed"
    assert written(dead) == {"args": ["sleep"]}


def test_a_directory_in_its_place_is_an_error(dead: StandIn) -> None:
    (dead.config / "web").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        ctllib.add(dead.places, "web", "sleep", [])
    assert caught.value.filename == str(dead.config / "web")
    assert os.listdir(dead.config) == ["web"]


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "../web", "x.new", "x.json", ".hidden", "a b", "x" * 201])
def test_a_name_that_is_none_is_refused_and_nothing_written(dead: StandIn, name: str) -> None:
    acts: list[Any] = [
        lambda: ctllib.add(dead.places, name, "sleep", []),
        lambda: ctllib.remove(dead.places, name),
        lambda: ctllib.restart(dead.places, name),
        lambda: ctllib.status(dead.places, [name]),
    ]
    dead.live()
    for act in acts:
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.code == 2
    dead.die()
    assert os.listdir(dead.config) == []
    assert dead.asked() == []


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"cmd": ""}, "args[0]", "must not be empty"),
        ({"cmd": None}, "", "has neither args nor shell"),
        ({"cmd": None, "args": ["a"]}, "args", "arguments without a command"),
        ({"args": "abc"}, "args", "must be a list, not a string"),
        ({"args": [1]}, "args[1]", "must be a string, not a number"),
        ({"env": ["A"]}, "env", "'A' is not K=V"),
        ({"env": {"A": 1}}, "env.A", "must be a string, not a number"),
        ({"uid": "root"}, "uid", "must be an integer, not a string"),
        ({"timeout": 3}, "timeout", "not supported by this version"),
        ({"extras": {"timeout": 3}}, "timeout", "not supported by this version"),
        ({"after": ["queue", "web"]}, "after[1]", "web cannot start after itself"),
        ({"extras": {"after": ["web"]}}, "after[0]", "web cannot start after itself"),
        ({"extras": {"uid": 1}, "uid": 2}, "uid", "given twice: in extras and beside them"),
        ({"gropu": ["a"]}, "gropu", "no key of the format; keys of your own belong in extras"),
        ({"args": ["\udcff"]}, "", "has text that is not UTF-8"),
        ({"args": ["x" * 120_000]}, "", "larger than 120000 bytes"),
        ({"extras": {"mine": float("nan")}}, "", "Out of range float values are not JSON compliant"),
        ({"extras": {"mine": {1, 2}}}, "", "Object of type set is not JSON serializable"),
    ],
)
def test_what_the_supervisor_would_not_run_is_refused_and_nothing_written(
    dead: StandIn, given: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(Refused) as caught:
        ctllib.add(dead.places, "web", **{"cmd": "sleep", "args": [], **given})
    assert caught.value.code == 2
    [problem] = caught.value.problems
    assert (problem.path, problem.message) == (path, message) or message in problem.message
    assert message in str(caught.value)
    assert os.listdir(dead.config) == []


def test_the_same_in_extras_and_beside_them_is_no_contradiction(dead: StandIn) -> None:
    assert ctllib.add(dead.places, "web", "sleep", [], uid=0, extras={"uid": 0}) == "added"


def test_all_problems_are_told(dead: StandIn) -> None:
    with pytest.raises(Refused, match=r"^cannot add web: uid: [^;]*; gid: [^;]*$") as caught:
        ctllib.add(dead.places, "web", "sleep", [], uid=-1, gid=-1)
    assert [problem.path for problem in caught.value.problems] == ["uid", "gid"]


def test_a_dry_run_writes_nothing(dead: StandIn) -> None:
    change = ctllib.put(dead.places, "web", {"args": ["sleep"]}, dry_run=True)
    assert (change.word, change.before) == ("added", None)
    assert os.listdir(dead.config) == []


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_file_whole(dead: StandIn, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ctllib.add(dead.places, "web", "old", [])

    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        with pytest.raises(OSError) as caught:
            ctllib.add(dead.places, "web", "new", [])
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(dead.config / "web")
    assert written(dead) == {"args": ["old"]}
    assert os.listdir(dead.config) == ["web"]


def test_a_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        ctllib.add(Places(str(tmp_path / "conf"), None), "web", "sleep", [])
    assert caught.value.filename == str(tmp_path / "conf")


# -- remove


def test_remove_deletes_the_file_and_rings(colony: StandIn) -> None:
    (colony.config / "web.json").write_bytes(b"{}")
    ctllib.remove(colony.places, "web")
    assert os.listdir(colony.config) == []
    ctllib.answer(colony.places, ctllib.scan(colony.places))
    assert [message["type"] for message in colony.heard] == ["SCAN", "SCAN"]


def test_remove_leaves_no_message_where_nobody_is(dead: StandIn) -> None:
    ctllib.add(dead.places, "web", "sleep", [])
    ctllib.remove(dead.places, "web")
    assert os.listdir(dead.config) == []
    assert dead.asked() == []


def test_remove_of_both_files_of_a_name_deletes_both(dead: StandIn) -> None:
    for entry in ("web", "web.json", "webs"):
        (dead.config / entry).write_bytes(b"{}")
    ctllib.remove(dead.places, "web")
    assert os.listdir(dead.config) == ["webs"]


def test_what_is_not_there_cannot_be_removed(dead: StandIn) -> None:
    with pytest.raises(Refused, match="no such process") as caught:
        ctllib.remove(dead.places, "web")
    assert caught.value.code == 4


# -- messages


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda p: ctllib.restart(p, "web"), {"type": "RESTART", "name": "web"}),
        (lambda p: ctllib.restart_all(p), {"type": "RESTART-ALL"}),
        (lambda p: ctllib.restartAll(p), {"type": "RESTART-ALL"}),
        (lambda p: ctllib.restart_group(p, "diary"), {"type": "RESTART-GROUP", "group": "diary"}),
        (lambda p: ctllib.start(p, "web"), {"type": "START", "name": "web"}),
        (lambda p: ctllib.start(p, group="diary"), {"type": "START", "group": "diary"}),
        (lambda p: ctllib.stop(p, "web", by="me"), {"type": "STOP", "name": "web", "by": "me"}),
        (lambda p: ctllib.stop(p, group="diary"), {"type": "STOP", "group": "diary"}),
        (lambda p: ctllib.signal(p, "web", "sigHup"), {"type": "SIGNAL", "name": "web", "signal": "HUP"}),
        (lambda p: ctllib.reload(p, "web", by="me"), {"type": "RELOAD", "name": "web", "by": "me"}),
        (lambda p: ctllib.rotate(p, by="me"), {"type": "ROTATE", "by": "me"}),
        (lambda p: ctllib.scan(p), {"type": "SCAN"}),
    ],
)
def test_each_request_is_one_message(dead: StandIn, asked: Any, message: Any) -> None:
    filename = asked(dead.places)
    assert json.loads((dead.messages / filename).read_bytes()) == message
    assert check.message_problems(message) == ()


@pytest.mark.parametrize(
    "asked",
    [
        lambda p: ctllib.stop(p),
        lambda p: ctllib.stop(p, "web", "diary"),
        lambda p: ctllib.signal(p, "web", "9"),
        lambda p: ctllib.ask(p, "RUN", name="web"),
        lambda p: ctllib.restart_group(p, ""),
    ],
)
def test_what_is_no_request_is_refused_and_not_written(dead: StandIn, asked: Any) -> None:
    with pytest.raises(Refused) as caught:
        asked(dead.places)
    assert caught.value.code == 2
    assert caught.value.problems
    assert dead.asked() == []


def test_messages_sort_by_time_and_never_collide(dead: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)  # a clock that stands still
        filenames = [ctllib.restart(dead.places, f"x{number}") for number in range(50)]
        assert filenames == sorted(set(filenames))
        assert [message["name"] for message in dead.asked()] == [f"x{number}" for number in range(50)]
        patched.setattr(ctllib, "_last", 0)  # as in another process, or on another host
        others = [ctllib.restart(dead.places, f"x{number}") for number in range(50)]
    assert [name[:20] for name in filenames] == [name[:20] for name in others]
    assert set(filenames).isdisjoint(others)
    assert all(re.fullmatch(r"\d{20}-[0-9a-f]{32}", filename) for filename in filenames)


def test_a_message_takes_its_mode_from_the_directory(dead: StandIn) -> None:
    dead.messages.chmod(0o750)
    filename = ctllib.scan(dead.places)
    assert stat.S_IMODE((dead.messages / filename).stat().st_mode) == 0o640


# -- answers


def test_an_answer_is_what_the_supervisor_said(colony: StandIn) -> None:
    colony.reply = lambda message: {"names": ["web"]}
    told = ctllib.answer(colony.places, ctllib.restart(colony.places, "web", by="me"))
    assert (told["ok"], told["names"], told["by"]) == (True, ["web"], "me")
    assert ctllib.accepted(told, "restart web") == ["web"]


def test_a_refusal_has_its_code_and_its_reason(colony: StandIn) -> None:
    colony.reply = lambda message: {"ok": False, "code": 4, "error": "no such process: web"}
    told = ctllib.answer(colony.places, ctllib.restart(colony.places, "web"))
    with pytest.raises(Refused, match="cannot restart web: no such process: web") as caught:
        ctllib.accepted(told, "restart web")
    assert caught.value.code == 4


def test_no_answer_in_time_is_late(dead: StandIn) -> None:
    dead.live()
    filename = ctllib.scan(dead.places)
    with pytest.raises(Refused, match="no answer in time") as caught:
        ctllib.answer(dead.places, filename, timeout=0.1)
    dead.die()
    assert caught.value.code == 124
    assert dead.asked() == [{"type": "SCAN"}]


def test_a_supervisor_that_ends_before_it_answers_is_noticed(dead: StandIn) -> None:
    dead.live()
    soon(dead.die)
    with pytest.raises(Refused, match="no supervisor is alive") as caught:
        ctllib.answer(dead.places, ctllib.scan(dead.places), timeout=20)
    assert caught.value.code == 5


def test_a_message_that_was_taken_without_an_answer_is_not_waited_for_long(colony: StandIn) -> None:
    colony.reply = lambda message: None
    with pytest.raises(Refused, match="was taken, but no answer") as caught:
        ctllib.answer(colony.places, ctllib.scan(colony.places), timeout=20)
    assert caught.value.code == 124


# -- status


def test_status_is_by_name_and_sorted(colony: StandIn) -> None:
    for name in ("web", "echo", "a.b"):
        colony.tell(name)
    (colony.state / "status" / ".web.json.0.new").write_bytes(b"{")
    assert list(ctllib.status(colony.places)) == ["a.b", "echo", "web"]
    assert list(ctllib.status(colony.places, ["web"])) == ["web"]
    with pytest.raises(Refused, match="no such process: typo") as caught:
        ctllib.status(colony.places, ["web", "typo"])
    assert caught.value.code == 4


def test_there_is_no_status_where_nobody_is_alive(dead: StandIn) -> None:
    dead.tell("web")
    with pytest.raises(Refused) as caught:
        ctllib.status(dead.places)
    assert caught.value.code == 5


def test_what_another_version_left_out_is_blank(colony: StandIn) -> None:
    (colony.state / "status" / "web.json").write_bytes(b'{"state": "running", "pid": 1, "novel": 2}')
    assert ctllib.status(colony.places)["web"] | {"since": ""} == {
        "name": "web",
        "wanted": True,
        "state": "running",
        "why": "",
        "pid": 1,
        "since": "",
        "started": None,
        "starts": 0,
        "streak": 0,
        "last_exit": None,
        "next_start": None,
        "ready": None,
        "health": None,
        "digest": None,
        "problems": [],
        "unknown": [],
        "novel": 2,
    }
    ctllib.wait(colony.places, ["web"])


def test_a_supervisor_without_state_has_none(colony: StandIn) -> None:
    places = colony.places._replace(state="/nowhere")
    assert ctllib.status(places) == {}
    assert ctllib.supervisor(places) == {}


# -- validate and diff


def test_validate_has_a_verdict_on_every_file(dead: StandIn) -> None:
    ctllib.add(dead.places, "good", "sleep", [], extras={"mine": 1})
    (dead.config / "bad").write_bytes(b'{"args": [1, 2]}')
    (dead.config / "broken").write_bytes(b"{")
    (dead.config / "list").write_bytes(b"[]")
    (dead.config / "a b").write_bytes(b'{"args": ["x"]}')
    (dead.config / "web~").write_bytes(b"litter")
    (dead.config / "folder").mkdir()
    os.mkfifo(dead.config / "fifo")
    (dead.config / "dangling").symlink_to("/nowhere/at/all")
    for entry in ("two", "two.json"):
        (dead.config / entry).write_bytes(b'{"args": ["x"]}')

    verdicts = {os.path.basename(v.path): [str(p) for p in v.problems] for v in ctllib.validate(dead.places)}

    assert verdicts == {
        "a b": ["'a b' is no name: letters, digits and . _ @ + - only, the first a letter, a digit or _"],
        "bad": ["args[0]: must be a string, not a number", "args[1]: must be a string, not a number"],
        "broken": ["not JSON: Expecting property name enclosed in double quotes at line 1 column 2"],
        "dangling": ["no such file or directory"],
        "fifo": ["not a regular file"],
        "folder": ["not a regular file"],
        "good": [],
        "list": ["must be an object, not a list"],
        "two": ["two and two.json are both there"],
        "two.json": ["two and two.json are both there"],
    }
    [good] = ctllib.definitions(dead.places, "good")
    assert good.unknown == ("mine",)
    assert len(ctllib.definitions(dead.places, "two")) == 2


def test_validate_takes_files_and_directories(dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "draft.tmp").write_bytes(b'{"shell": "x"}')
    ctllib.add(dead.places, "web", "sleep", [])
    verdicts = ctllib.validate(Places(None, None), [tmp_path / "draft.tmp", dead.config, "/nowhere"])
    assert [(v.name, len(v.problems)) for v in verdicts] == [("draft.tmp", 0), ("web", 0), ("nowhere", 1)]


def together(dead: StandIn, **needs: list[str]) -> dict[str, list[str]]:
    """What is said of files that are after one another."""
    for name, after in needs.items():
        (dead.config / name).write_text(json.dumps({"args": ["x"], "after": after}))
    return {v.name: [str(p) for p in v.problems] for v in ctllib.validate(dead.places) if v.problems}


def test_validate_names_those_who_would_wait_for_nobody(dead: StandIn) -> None:
    (dead.config / "broken").write_bytes(b"{")
    found = together(dead, web=["queue", "nobody"], queue=[], clock=["broken", "nothing", "web"])
    del found["broken"]
    assert found == {
        "web": ["after[1]: no such process: nobody"],
        "clock": ["after[1]: no such process: nothing"],  # what is broken is there
    }


def test_validate_names_those_who_would_wait_for_each_other(dead: StandIn) -> None:
    assert together(dead, a=["b"], b=["d", "c"], c=["a"], d=[], top=["a"]) == {
        "a": ["after: waits for itself: a -> b -> c -> a"],
        "b": ["after: waits for itself: b -> c -> a -> b"],
        "c": ["after: waits for itself: c -> a -> b -> c"],
    }
    assert [v.problems for v in ctllib.validate(dead.places, [dead.config / "a"])] == [()]  # which is good by itself


def test_a_large_circle_is_told_in_short(dead: StandIn) -> None:
    found = together(dead, **{f"{number:02}": [f"{(number + 1) % 50:02}"] for number in range(50)})
    assert len(found) == 50
    assert found["45"] == [
        "after: waits for itself: 45 -> 46 -> 47 -> 48 -> 49 -> 00 -> 01 -> 02 -> 03 -> 04 -> ... -> 45"
    ]


def test_who_waits_for_nobody_runs_what_its_file_says_all_the_same(colony: StandIn) -> None:
    together(colony, web=["nobody"])
    colony.tell("web", digest=check.digest({"args": ["x"], "after": ["nobody"]}))
    assert ctllib.diff(colony.places) == []


def test_diff_tells_where_files_and_processes_differ(colony: StandIn) -> None:
    for name in ("same", "changed", "new", "stopped", "mended"):
        ctllib.add(colony.places, name, "sleep", [])
    (colony.config / "broken").write_bytes(b"{")
    digest = check.digest({"args": ["sleep"]})
    colony.tell("same", digest=digest)
    colony.tell("changed", digest=check.digest({"args": ["old"]}))
    colony.tell("broken", digest=digest)
    colony.tell("removed", digest=digest)
    colony.tell("stopped", "stopped")
    colony.tell("mended", "failed", problems=[{"path": "", "message": "the file is empty"}])

    assert ctllib.diff(colony.places) == [
        ("broken", "broken"),
        ("changed", "changed"),
        ("added", "mended"),
        ("added", "new"),
        ("removed", "removed"),
    ]
    assert ctllib.diff(colony.places, ["same", "new"]) == [("added", "new")]
    with pytest.raises(Refused) as caught:
        ctllib.diff(colony.places, ["typo"])
    assert caught.value.code == 4


# -- waiting


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("running", {"state": "starting"}, {"state": "running", "ready": False}),
        ("running", {"state": "waiting"}, {"state": "starting", "pid": 4321, "ready": False}),
        ("ready", {"state": "starting", "pid": 4321, "ready": False}, {"state": "running", "ready": True}),
        ("ready", {"state": "running", "ready": False}, {"state": "running", "ready": True}),
        ("ready", {"state": "backoff"}, {"state": "running", "ready": None}),
        ("stopped", {"state": "stopping"}, {"state": "stopped", "wanted": False}),
        ("stopped", {"state": "backoff"}, {"state": "failed"}),
        ("stopped", {"state": "running"}, None),
        ("done", {"state": "running"}, {"state": "stopped"}),
    ],
)
def test_wait_returns_when_it_is_so_and_not_before(
    colony: StandIn, what: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    colony.tell("web", **before)
    with pytest.raises(Refused) as caught:
        ctllib.wait(colony.places, ["web"], what, timeout=0.05)
    assert caught.value.code == 124
    assert before["state"] in str(caught.value)

    if after is None:
        soon(colony.forget, "web")
    else:
        soon(colony.tell, "web", **after)
    ctllib.wait(colony.places, ["web"], what, timeout=10)


def test_wait_waits_for_every_name(colony: StandIn) -> None:
    colony.tell("web")
    colony.tell("echo", "starting")
    with pytest.raises(Refused, match="echo is starting"):
        ctllib.wait(colony.places, ["web", "echo", "web"], timeout=0.05)


def test_a_timeout_says_of_each_that_is_waited_for_still_how_it_stands(colony: StandIn) -> None:
    colony.tell("web")
    colony.tell("echo", "waiting", why="waits for queue")
    colony.tell("queue", "starting", why="not ready yet")
    ctllib.add(colony.places, "new", "sleep", [])
    with pytest.raises(Refused) as caught:
        ctllib.wait(colony.places, ["web", "echo", "queue", "new"], timeout=0.05)
    assert str(caught.value) == (
        "timed out: echo is waiting: waits for queue; queue is starting: not ready yet; new has no status yet"
    )


def test_of_many_that_are_waited_for_still_some_are_told_and_all_counted(colony: StandIn) -> None:
    names = [f"web{number}" for number in range(12)]
    for name in names:
        colony.tell(name, "starting", why="")
    with pytest.raises(Refused) as caught:
        ctllib.wait(colony.places, names, timeout=0.05)
    assert str(caught.value).endswith("; web9 is starting; and 2 more")


def test_one_that_fails_ends_the_waiting_for_those_before_it(colony: StandIn) -> None:
    colony.tell("web", "starting")
    soon(colony.tell, "echo", "failed", why="given up")
    colony.tell("echo", "starting")
    with pytest.raises(Refused, match=r"^echo failed: given up$"):
        ctllib.wait(colony.places, ["web", "echo"], timeout=20)


@pytest.mark.parametrize("what", ["running", "ready", "done"])
def test_a_failure_ends_the_waiting(colony: StandIn, what: str) -> None:
    colony.tell("web", "failed", why="given up")
    with pytest.raises(Refused, match="web failed: given up") as caught:
        ctllib.wait(colony.places, ["web"], what)
    assert caught.value.code == 1


def test_a_name_without_file_and_status_is_not_waited_for(colony: StandIn) -> None:
    with pytest.raises(Refused, match="no such process: web") as caught:
        ctllib.wait(colony.places, ["web"])
    assert caught.value.code == 4
    ctllib.wait(colony.places, ["web"], "stopped")


def test_a_file_that_was_just_written_is_waited_for(colony: StandIn) -> None:
    ctllib.add(colony.places, "web", "sleep", [])
    soon(colony.tell, "web")
    ctllib.wait(colony.places, ["web"], timeout=10)


def test_waiting_ends_with_the_supervisor(colony: StandIn) -> None:
    colony.tell("web", "starting")
    soon(colony.die)
    with pytest.raises(Refused) as caught:
        ctllib.wait(colony.places, ["web"], timeout=20)
    assert caught.value.code == 5


def test_there_are_four_things_to_wait_for(colony: StandIn) -> None:
    with pytest.raises(Refused, match="only for running, ready, stopped, done") as caught:
        ctllib.wait(colony.places, ["web"], "happiness")
    assert caught.value.code == 2


# -- effects


LONG_AGO = "2020-01-01T00:00:00.000000Z"


def effect(colony: StandIn, kind: str, timeout: float = 10, before: int = 1) -> None:
    ctllib.effect(colony.places, kind, ["web"], {"web": before}, ctllib.now(), timeout)


def test_a_restart_is_done_when_a_later_start_runs_and_is_ready(colony: StandIn) -> None:
    colony.tell("web", starts=1)
    with pytest.raises(Refused) as caught:
        effect(colony, "RESTART", 0.3)
    assert caught.value.code == 124

    colony.tell("web", starts=2, ready=False)
    with pytest.raises(Refused) as caught:
        effect(colony, "RESTART", 0.3)
    assert caught.value.code == 124

    soon(colony.tell, "web", starts=2, ready=True)
    effect(colony, "RESTART")


def test_a_restart_of_what_had_no_status_is_done_when_it_runs(colony: StandIn) -> None:
    soon(colony.tell, "web", starts=1)
    ctllib.effect(colony.places, "RESTART-ALL", ["web"], {}, ctllib.now(), 10)


@pytest.mark.parametrize("state", ["backoff", "failed"])
@pytest.mark.parametrize("starts", [1, 2])
def test_a_restart_that_comes_to_nothing_fails_with_the_reason(colony: StandIn, state: str, starts: int) -> None:
    """Also where the start failed before it was one, and is not counted."""
    colony.tell("web", starts=1)
    soon(colony.tell, "web", state, starts=starts, why="cannot start: no such file")
    with pytest.raises(Refused, match="web failed: cannot start: no such file") as caught:
        effect(colony, "RESTART")
    assert caught.value.code == 1


def test_a_backoff_from_before_the_restart_is_none_of_its_failures(colony: StandIn) -> None:
    colony.tell("web", "backoff", starts=1, since=LONG_AGO)
    soon(colony.tell, "web", starts=2)
    effect(colony, "RESTART")


def test_a_restarted_run_that_is_over_and_well_done_is_done(colony: StandIn) -> None:
    ctllib.add(colony.places, "web", "true", [], restart={"when": "never", "success": [0, 3]})
    colony.tell("web", "stopped", starts=2, last_exit={"code": 3, "signal": None, "at": ctllib.now()})
    effect(colony, "RESTART")
    colony.tell("web", "stopped", starts=2, why="exited", last_exit={"code": 4, "signal": None, "at": ctllib.now()})
    with pytest.raises(Refused, match="web is stopped: exited"):
        effect(colony, "RESTART")


def test_a_stop_is_done_when_no_process_is_left(colony: StandIn) -> None:
    colony.tell("web", "stopping")
    soon(colony.tell, "web", "stopped", wanted=False)
    effect(colony, "STOP")
    colony.forget("web")
    effect(colony, "STOP")


def test_a_stop_is_not_done_while_it_waits_until_others_have_gone(colony: StandIn) -> None:
    colony.tell("web", "stopping", since=LONG_AGO, why="a STOP is in force; waits until worker has gone")
    with pytest.raises(Refused, match="web is stopping: a STOP is in force; waits until worker has gone"):
        effect(colony, "STOP", 0.3)
    soon(colony.tell, "web", "stopped", wanted=False)
    effect(colony, "STOP")


def test_each_that_is_done_is_told_at_once(colony: StandIn) -> None:
    colony.tell("a", "stopped", wanted=False)
    colony.tell("b", "stopping")
    told: list[tuple[str, str]] = []

    def done(name: str, status: dict[str, Any] | None) -> None:
        told.append((name, status["state"] if status else "gone"))
        if name == "a":
            colony.forget("b")

    ctllib.effect(colony.places, "STOP", ["b", "a"], {}, ctllib.now(), 10, done)
    assert told == [("a", "stopped"), ("b", "gone")]


def test_who_fails_does_not_keep_the_others_from_being_waited_for(colony: StandIn) -> None:
    colony.tell("a", "failed", why="given up", starts=2)
    soon(colony.tell, "b", starts=2, after=0.2)
    soon(colony.tell, "c", "failed", why="too", starts=2, after=0.1)
    with pytest.raises(Refused) as caught:
        ctllib.effect(colony.places, "RESTART", ["a", "b", "c"], dict.fromkeys("abc", 1), ctllib.now(), 10)
    assert (str(caught.value), caught.value.code) == ("a failed: given up; c failed: too", 1)
    assert ctllib.status(colony.places)["b"]["starts"] == 2


def test_a_status_from_before_the_stop_is_not_believed_at_once(colony: StandIn) -> None:
    """It was stopped, and started again in the same breath: the file still says stopped."""
    colony.tell("web", "stopped", since=LONG_AGO)
    soon(colony.tell, "web", "stopping")
    with pytest.raises(Refused, match="web is stopping"):
        effect(colony, "STOP", 0.4)


def test_a_start_is_done_when_it_runs(colony: StandIn) -> None:
    colony.tell("web", "stopped", since=LONG_AGO, wanted=False)
    soon(colony.tell, "web")
    effect(colony, "START")


def test_a_start_has_not_failed_because_its_status_is_told_late(colony: StandIn) -> None:
    """As while hundreds of others are started: half a second and more."""
    colony.tell("web", "stopped", since=LONG_AGO, wanted=False, why="a STOP is in force")
    soon(colony.tell, "web", after=0.5)
    effect(colony, "START")


def test_a_start_that_changes_nothing_fails_in_the_end(colony: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctllib, "_STORM", 0.3)
    colony.tell("web", "stopped", since=LONG_AGO, wanted=False, why="a STOP is in force")
    with pytest.raises(Refused, match="web is stopped: a STOP is in force"):
        effect(colony, "START")


def test_a_signal_has_no_effect_to_wait_for(colony: StandIn) -> None:
    effect(colony, "SIGNAL")


def test_a_definition_is_in_force_when_its_digest_runs(colony: StandIn) -> None:
    colony.tell("web", digest="old")
    soon(colony.tell, "web", "starting")
    soon(colony.tell, "web", digest="new", after=0.06)
    ctllib.in_force(colony.places, "web", "new", ctllib.now(), 10)


def test_a_definition_that_cannot_start_fails_with_the_reason(colony: StandIn) -> None:
    soon(colony.tell, "web", "backoff", why="no such file")
    with pytest.raises(Refused, match="no such file") as caught:
        ctllib.in_force(colony.places, "web", "new", ctllib.now(), 10)
    assert caught.value.code == 1


def test_a_stop_that_outlasts_the_edit_is_told(colony: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctllib, "_STORM", 0.3)
    exit_ = {"code": 0, "signal": None, "at": LONG_AGO}
    colony.tell("web", "stopped", why="a STOP is in force", since=LONG_AGO, wanted=False, last_exit=exit_)
    with pytest.raises(Refused, match="web is stopped: a STOP is in force"):
        ctllib.in_force(colony.places, "web", "new", ctllib.now(), 10)


def test_gone_is_without_a_status(colony: StandIn) -> None:
    colony.tell("web", "stopping")
    soon(colony.forget, "web")
    ctllib.gone(colony.places, ["web"], 10)


# -- one after another


READY = {"tcp": 1}


class Group:
    """Processes of one group, restarted as a supervisor would; ``fate`` says what becomes of a name, else it runs."""

    def __init__(self, colony: StandIn, **after: list[str]) -> None:
        self.colony = colony
        self.fate: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        for name, needs in after.items():
            self.add(name, after=needs, ready=READY)
        colony.reply = self.obey

    def add(self, name: str, **keys: Any) -> None:
        ctllib.add(self.colony.places, name, "sleep", [], group=["g"], **keys)
        self.colony.tell(name, ready=True)

    def obey(self, message: Message) -> dict[str, Any]:
        assert message["type"] == "RESTART", message
        name = message["name"]
        self.order.append(name)
        fate: dict[str, Any] = {"state": "running", "ready": True, "starts": self.order.count(name) + 1}
        soon(self.colony.tell, name, **fate | self.fate.get(name, {}))
        return {"names": [name]}


def test_a_rolling_restart_is_one_by_one_needed_ones_first(colony: StandIn) -> None:
    group = Group(colony, web=["queue"], clock=["web"], queue=[])
    ctllib.add(colony.places, "other", "sleep", [])
    seen: list[tuple[str, bool]] = []
    rolled = ctllib.roll(colony.places, ["g"], done=lambda name, restarted: seen.append((name, restarted)))
    assert group.order == ["queue", "web", "clock"]
    assert rolled == (("queue", "web", "clock"), (), None, ())
    assert seen == [("queue", True), ("web", True), ("clock", True)]


def test_the_next_is_not_asked_before_one_is_ready(colony: StandIn) -> None:
    group = Group(colony, a=[], b=[])
    group.fate["a"] = {"state": "starting", "pid": 4321, "ready": False}
    late = soon(colony.tell, "a", starts=2, ready=True, after=0.5)
    begun = time.monotonic()
    ctllib.restart_group(colony.places, "g", rolling=True)
    assert group.order == ["a", "b"]
    assert time.monotonic() - begun >= 0.5
    late.join()


def test_what_is_stopped_or_not_there_yet_is_skipped(colony: StandIn) -> None:
    group = Group(colony, a=[], b=[], c=[], d=[], e=[])
    colony.tell("a", "stopped", wanted=False)
    colony.tell("b", "stopping", wanted=False)
    colony.tell("c", "stopped", wanted=True)
    colony.forget("d")
    rolled = ctllib.restart_group(colony.places, "g", rolling=True)
    assert (rolled.restarted, rolled.skipped, group.order) == (("e",), ("a", "b", "c", "d"), ["e"])


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        ({"state": "backoff", "why": "exited with code 1"}, "b failed: exited with code 1"),
        ({"state": "failed", "why": "given up"}, "b failed: given up"),
        ({"state": "starting", "ready": False, "why": "not ready yet"}, "timed out: b is starting: not ready yet"),
        ({"state": "running", "health": "unhealthy"}, "b is unhealthy"),
        ({"starts": 1}, "timed out: b is running"),
    ],
)
def test_a_failure_halts_a_rolling_restart_and_says_who_is_where(
    colony: StandIn, fate: dict[str, Any], why: str
) -> None:
    group = Group(colony, a=[], b=[], c=["b"], d=[])
    group.fate["b"] = fate
    with pytest.raises(ctllib.Halted) as caught:
        ctllib.roll(colony.places, ["g"], timeout=0.4)
    assert group.order == ["a", "b"]
    assert str(caught.value).startswith(f"the rolling restart is halted: {why}")
    assert str(caught.value).endswith("; restarted: a; not touched: c, d")
    assert caught.value.rolled == (("a",), (), "b", ("c", "d"))
    assert caught.value.code == 1


def test_one_that_would_not_come_back_is_not_touched(colony: StandIn) -> None:
    group = Group(colony, a=[], b=["away"], c=[])
    with pytest.raises(ctllib.Halted, match="b needs away, which is not ready; restarted: a; not touched: b, c"):
        ctllib.roll(colony.places, ["g"])
    colony.tell("away", "starting", ready=False)
    with pytest.raises(ctllib.Halted) as caught:
        ctllib.roll(colony.places, ["g"])
    assert (caught.value.rolled, caught.value.code) == ((("a",), (), None, ("b", "c")), 1)
    assert "b" not in group.order

    colony.tell("away", "stopped", wanted=False, ready=True)  # it ran once, and ended well
    assert ctllib.roll(colony.places, ["g"]).restarted == ("a", "b", "c")


def test_a_refusal_halts_it_too(colony: StandIn) -> None:
    Group(colony, a=[], b=[])
    colony.reply = lambda message: {"ok": False, "code": 4, "error": "no such process: a"}
    with pytest.raises(ctllib.Halted, match="no such process: a; restarted: none; not touched: b") as caught:
        ctllib.roll(colony.places, ["g"])
    assert caught.value.code == 1


def test_where_nobody_knows_when_it_is_ready_its_early_death_halts_it(colony: StandIn) -> None:
    group = Group(colony)
    group.add("a", restart={"threshold": 0.5})
    group.add("b", restart={"threshold": 0.5})

    def obey(message: Message) -> dict[str, Any]:
        soon(colony.tell, "a", "backoff", starts=2, why="exited with code 1", after=0.1)
        return group.obey(message)

    colony.reply = obey
    with pytest.raises(ctllib.Halted, match="a failed: exited with code 1"):
        ctllib.roll(colony.places, ["g"])
    assert group.order == ["a"]

    begun = time.monotonic()
    colony.reply = group.obey
    colony.tell("a", starts=1)
    assert ctllib.roll(colony.places, ["g"]).restarted == ("a", "b")
    assert time.monotonic() - begun >= 1.0


def test_one_that_is_started_again_meanwhile_did_not_go_on(colony: StandIn) -> None:
    group = Group(colony)
    group.add("a")
    soon(colony.tell, "a", starts=3, after=0.3)
    with pytest.raises(ctllib.Halted, match="a did not go on"):
        ctllib.roll(colony.places, ["g"])


def test_one_that_runs_once_and_ends_well_does_not_halt_it(colony: StandIn) -> None:
    group = Group(colony)
    group.add("a", restart={"when": "failure", "success": [3]})
    last = {"code": 3, "signal": None, "at": "2099-01-01T00:00:00.000000Z"}
    group.fate["a"] = {"state": "stopped", "wanted": False, "last_exit": last}
    assert ctllib.roll(colony.places, ["g"]).restarted == ("a",)


def test_a_bad_file_is_of_its_group_still_as_its_last_good_definition_is_in_force(colony: StandIn) -> None:
    group = Group(colony, a=[])
    (colony.config / "b").write_text('{"args": [], "group": ["g"]}')
    (colony.config / "c").write_text('{"args": [], "group": "g"}')
    (colony.config / "d").write_text("{")
    (colony.config / "no name").write_text('{"args": ["x"], "group": ["g"]}')
    for name in "bcd":
        colony.tell(name, ready=True)
    assert ctllib.roll(colony.places, ["g"]).restarted == ("a", "b")
    assert group.order == ["a", "b"]


def test_a_rolling_restart_of_nobody_or_without_a_supervisor_is_refused(colony: StandIn) -> None:
    Group(colony, a=[])
    with pytest.raises(Refused, match="no process is in group typo") as caught:
        ctllib.roll(colony.places, ["g", "typo"])
    assert caught.value.code == 4
    colony.die()
    with pytest.raises(Refused) as caught:
        ctllib.restart_group(colony.places, "g", rolling=True)
    assert caught.value.code == 5
    assert colony.heard == []


def test_a_supervisor_that_ends_halts_it_with_what_was_done(colony: StandIn) -> None:
    group = Group(colony, a=[], b=[])
    group.fate["a"] = {"state": "starting", "ready": False}
    soon(colony.die, after=0.3)
    with pytest.raises(ctllib.Halted, match="restarted: none; not touched: b") as caught:
        ctllib.roll(colony.places, ["g"])
    assert caught.value.code == 5


# -- is all well?


def test_health_is_what_is_wrong_by_name(colony: StandIn) -> None:
    colony.introduce()
    assert ctllib.health(colony.places) == {}
    colony.tell("web", ready=True)
    colony.tell("echo", "backoff", why="exited with code 1")
    assert ctllib.health(colony.places) == {"echo": "is in backoff: exited with code 1"}
    assert ctllib.health(colony.places, ["web"]) == {}
    with pytest.raises(Refused) as caught:
        ctllib.health(colony.places, ["typo"])
    assert caught.value.code == 4


def test_where_nothing_is_told_all_may_not_be_well(colony: StandIn) -> None:
    with pytest.raises(Refused, match="nothing is known") as caught:
        ctllib.health(colony.places)
    assert caught.value.code == 1
    colony.introduce()
    colony.die()
    with pytest.raises(Refused) as caught:
        ctllib.health(colony.places)
    assert caught.value.code == 5
