"""What is no process file is said once, by name, and disturbs nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, stays

pytestmark = pytest.mark.live


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


KINDS: dict[str, Callable[[Path], object]] = {
    "half-of-one": lambda path: path.write_bytes(b'{"args": ["sle'),
    "empty": lambda path: path.write_bytes(b""),
    "no-json": lambda path: path.write_bytes(b"args: sleep 1000\n"),
    "no-utf-8": lambda path: path.write_bytes(b'{"args": ["\xff\xfe"]}'),
    "wrong-types": lambda path: path.write_text(json.dumps({"args": "sleep", "env": ["A=B"], "uid": "root"})),
    "no-object": lambda path: path.write_text("[]"),
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
    "link-to-nothing": lambda path: path.symlink_to("nothing"),
    "link-to-itself": lambda path: path.symlink_to(path.name),
    "link-to-a-device": lambda path: path.symlink_to("/dev/zero"),
    "huge": _huge,
}


def reports(colony: Colony, name: str) -> list[str]:
    return colony.said(f"bad file for {name}:")


def problems(colony: Colony, name: str) -> list[dict[str, str]]:
    """What its status says is wrong with its file, waited for."""

    def found() -> list[dict[str, str]]:
        return list(colony.status(name).get("problems", ()))

    return colony.wait_for(found, AT_ONCE)


def test_a_bad_file_is_said_once_and_what_is_asked_for_right_after_is_done_at_once(colony: Colony) -> None:
    for name, make in KINDS.items():
        _put(colony, name, make)
        colony.obeys_at_once()
        assert problems(colony, name)
        assert colony.status(name)["state"] == "failed"
        assert colony.status(name)["digest"] is None
    assert set(colony.told()["broken"]) == set(KINDS)
    assert colony.supervisor is not None
    colony.supervisor.send_signal(signal.SIGHUP)  # looks at everything again
    colony.obeys_at_once()
    assert {name: len(reports(colony, name)) for name in KINDS} == dict.fromkeys(KINDS, 1)

    for name in KINDS:
        _clear(colony.config / name)
        colony.write(name, *SLEEP)
        colony.runs(name, seconds=AT_ONCE)
    colony.wait_for(lambda: colony.told()["broken"] == {}, AT_ONCE)
    assert all(colony.status(name)["problems"] == [] for name in KINDS)


def test_a_bad_edit_leaves_the_last_good_one_in_force_for_this_supervisor_and_the_next(colony: Colony) -> None:
    for name in KINDS:
        colony.write(name, *SLEEP, env={"EDITION": "good"}, restart={"initial": 0.05})
    pids = {name: colony.runs(name) for name in KINDS}

    for name, make in KINDS.items():
        (colony.config / name).unlink()
        _put(colony, name, make)
    colony.obeys_at_once()
    for name in KINDS:
        assert problems(colony, name)
        assert colony.status(name)["state"] == "running"
        assert colony.running(name) == [pids[name]]
        assert len(reports(colony, name)) == 1

    assert colony.stop() == -signal.SIGTERM
    colony.start()
    pids = {name: colony.runs(name) for name in KINDS}
    assert all(main.environ["EDITION"] == "good" for main in colony.family())
    assert [len(reports(colony, name)) for name in KINDS] == [1] * len(KINDS)

    # And what crashes now is started again as it was.
    for name in KINDS:
        os.kill(pids[name], signal.SIGKILL)
    for name in KINDS:
        colony.runs(name, instead_of=pids[name])
    assert all(main.environ["EDITION"] == "good" for main in colony.family())


def test_bad_files_that_are_there_at_the_start_are_each_said_once_and_the_good_ones_run(place: Colony) -> None:
    for name, make in KINDS.items():
        _put(place, name, make)
    place.write("web", *SLEEP)
    place.start()
    place.runs("web")
    place.obeys_at_once()
    assert {name: len(reports(place, name)) for name in KINDS} == dict.fromkeys(KINDS, 1)
    assert set(place.told()["broken"]) == set(KINDS)
    assert place.ctl("status").returncode == 3


LITTER = [".hidden", ".web.swp", "web~", "#web#", "web.new", "web.bak", "web.dpkg-old"]


def test_litter_never_runs_and_is_no_problem(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    for filename in LITTER:
        (colony.config / filename).write_bytes(json.dumps({"args": SLEEP}).encode())
        (colony.messages / filename).write_bytes(b'{"type": "RESTART-ALL"}')
    colony.obeys_at_once()

    assert colony.running() == [pid]
    assert colony.told()["broken"] == {}
    assert not colony.said("bad file")
    assert not colony.said("not obeyed")
    assert all((colony.messages / filename).exists() for filename in LITTER)


@pytest.mark.slow
def test_litter_is_listed(place: Colony) -> None:
    for filename in LITTER:
        (place.config / filename).touch()
    place.start()
    place.wait_for(lambda: place.told()["ignored"] == sorted(LITTER))


def test_a_file_whose_name_is_no_processs_is_said_once_by_name(colony: Colony) -> None:
    filenames = {"no name", "-web", "web.json.json", "übel", "a" * 201}
    for filename in filenames:
        colony.write(filename, *SLEEP)
    colony.wait_for(lambda: set(colony.told()["broken"]) == filenames, AT_ONCE)
    colony.obeys_at_once()
    assert colony.running() == []
    assert [len(colony.said(f"bad file {filename}:")) for filename in filenames] == [1] * len(filenames)

    colony.remove("no name")
    colony.wait_for(lambda: "no name" not in colony.told()["broken"], AT_ONCE)


def test_web_and_web_json_together_are_a_problem_of_both_and_what_runs_stays(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")

    colony.write("web.json", *SLEEP, env={"OTHER": "one"})
    assert problems(colony, "web")
    colony.obeys_at_once()
    assert colony.running("web") == [pid]
    assert len(reports(colony, "web")) == 1

    colony.remove("web")
    colony.runs("web", instead_of=pid)
    assert colony.family("web")[0].environ["OTHER"] == "one"
    colony.wait_for(lambda: not colony.status("web").get("problems"), AT_ONCE)


def test_a_key_that_is_not_built_yet_is_a_problem_and_never_ignored(colony: Colony) -> None:
    colony.write("clock", *SLEEP, schedule={"every": 10})
    colony.write("quick", *SLEEP, timeout=3)
    for name, key in (("clock", "schedule"), ("quick", "timeout")):
        [problem] = problems(colony, name)
        assert problem["path"] == key
        assert "not supported by this version" in problem["message"]
    assert colony.running() == []


def test_an_unknown_key_is_handed_on_and_noted(colony: Colony) -> None:
    colony.write("web", *SLEEP, pager="+49", essentail=True)
    colony.runs("web")
    [main] = colony.family("web")
    assert json.loads(main.environ["NCOLONY_CONFIG"])["pager"] == "+49"
    colony.wait_for(lambda: sorted(colony.status("web").get("unknown", ())) == ["essentail", "pager"])
    assert colony.said("essential"), "a near miss comes with a suggestion"


@pytest.mark.slow
def test_many_bad_files_that_change_all_the_time_keep_nobody_waiting(colony: Colony) -> None:
    for number in range(200):
        (colony.config / f"bad{number}").write_bytes(b"{")
    for number in range(200):
        (colony.config / f"bad{number}").write_bytes(b"[]")
    colony.obeys_at_once()
    assert stays(lambda: not colony.running(), 0.3)


def _put(colony: Colony, name: str, make: Callable[[Path], object]) -> None:
    """Make it elsewhere and move it into place, so that there is one content to be said something of."""
    elsewhere = colony.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    make(elsewhere / name)
    (elsewhere / name).rename(colony.config / name)


def _clear(path: Path) -> None:
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
