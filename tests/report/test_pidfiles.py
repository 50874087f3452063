"""Pid files: there while something runs, and with its pid; nobody else's files are touched."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from pyrsistent import pmap

from colony.core.desired import Desired
from colony.core.lifecycle import Down, Running, State, Unit, Up
from colony.core.model import Name, Pid, ProcessSpec
from colony.core.report import Report
from colony.report.pidfiles import PidFiles

SPEC = ProcessSpec(("web",), "d1")


def up(pid: int) -> State:
    return Up(Running(Pid(pid), SPEC, 1, 0.0))


def report(**states: State | None) -> Report:
    """These have moved to these states; None is no more."""
    units = {Name(name): Unit(Name(name), state=state) for name, state in states.items() if state is not None}
    return Report(pmap(units), Desired(), frozenset(Name(name) for name in states))


@pytest.fixture
def pids(tmp_path: Path) -> PidFiles:
    files = PidFiles(str(tmp_path / "pids"))
    files.begin()
    return files


def contents(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "pids").iterdir() if path.is_file()}


def test_what_runs_has_a_file_with_its_pid(pids: PidFiles, tmp_path: Path) -> None:
    pids(report(web=up(7), echo=Down()))

    assert contents(tmp_path) == {"web": "7\n"}


def test_a_restart_changes_it(pids: PidFiles, tmp_path: Path) -> None:
    pids(report(web=up(7)))
    pids(report(web=up(8)))

    assert contents(tmp_path) == {"web": "8\n"}


@pytest.mark.parametrize("state", [Down(), None])
def test_an_end_removes_it(pids: PidFiles, tmp_path: Path, state: State | None) -> None:
    pids(report(web=up(7)))

    pids(report(web=state))
    pids(report(web=state))

    assert contents(tmp_path) == {}


def test_a_file_that_somebody_removed_is_no_trouble(pids: PidFiles, tmp_path: Path) -> None:
    pids(report(web=up(7)))
    (tmp_path / "pids" / "web").unlink()

    pids(report(web=Down()))

    assert contents(tmp_path) == {}


def test_what_a_killed_supervisor_left_is_removed_and_other_files_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    for name in ("web", ".keep", "a b"):
        (folder / name).write_text("1\n")

    PidFiles(str(folder)).begin()

    assert sorted(os.listdir(folder)) == [".keep", "a b"]


def test_one_file_that_cannot_be_written_keeps_no_other_from_being(pids: PidFiles, tmp_path: Path) -> None:
    (tmp_path / "pids" / "p3").mkdir()
    states: dict[str, State | None] = {f"p{number}": up(number) for number in range(10)}

    with pytest.raises(IsADirectoryError):
        pids(report(**states))
    assert len(contents(tmp_path)) == 9

    (tmp_path / "pids" / "p3").rmdir()
    pids(report(**states))

    assert contents(tmp_path)["p3"] == "3\n"


def test_a_file_that_cannot_be_removed_is_removed_the_next_time(pids: PidFiles, tmp_path: Path) -> None:
    pids(report(web=up(7)))
    (tmp_path / "pids" / "web").unlink()
    (tmp_path / "pids" / "web").mkdir()
    with pytest.raises(OSError):
        pids(report(web=Down()))
    (tmp_path / "pids" / "web").rmdir()
    (tmp_path / "pids" / "web").write_text("7\n")

    pids(report(web=Down()))

    assert contents(tmp_path) == {}


def test_a_unit_is_what_the_report_says_of_it(pids: PidFiles, tmp_path: Path) -> None:
    told = report(web=up(7))

    pids(attrs.evolve(told, moved=frozenset()))

    assert contents(tmp_path) == {}, "it has not moved"
