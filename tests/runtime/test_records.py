"""What a killed supervisor has written of its starts is what the next one reads, and nothing else stops it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from colony.core.model import Exit, Name, Pid, ProcessSpec, Rest, Start
from colony.runtime import proc
from colony.runtime.records import Record, Records
from tests.runtime.loop import said

WEB = Start(Name("web"), f"{'c' * 16}.{'5' * 16}", ProcessSpec(("web",), digest="d" * 64), b"{}")
OWN = Pid(os.getpid())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "records"
    path.mkdir()
    return path


def records(folder: Path) -> Records:
    return Records(lambda: str(folder))


def start_time() -> int:
    found = proc.stat(OWN)
    assert found is not None
    return found.start_time


def test_an_intent_is_there_before_the_start_and_the_pid_after_it(folder: Path) -> None:
    writer = records(folder)
    writer.intend(WEB)
    assert list(records(folder).read()) == [Record(WEB.name, WEB.token, WEB.spec.digest)]
    writer.started(WEB, OWN, start_time())
    assert list(records(folder).read()) == [Record(WEB.name, WEB.token, WEB.spec.digest, 1, OWN, start_time())]


def test_what_was_asked_since_and_how_often_it_started_is_known(folder: Path) -> None:
    writer = records(folder)
    for _ in range(3):
        writer.intend(WEB)
        writer.started(WEB, OWN, start_time())
    writer.doom(WEB.name)
    [found] = records(folder).read()
    assert (found.starts, found.stale, found.rest) == (3, True, None)
    writer.doom(Name("nobody"))
    writer.intend(WEB)
    [found] = records(folder).read()
    assert (found.starts, found.pid, found.stale) == (3, None, False)


@pytest.mark.parametrize(
    "rest",
    [
        Rest(None, 0, Exit(0), 1.5),
        Rest(1e9, 3, Exit(None, "SEGV"), 2.5),
        Rest(7.25, 1, trouble="cannot start: no such file: /opt/web"),
    ],
)
def test_why_nothing_runs_is_known_until_the_next_start(folder: Path, rest: Rest) -> None:
    writer = records(folder)
    writer.intend(WEB)
    writer.started(WEB, OWN, start_time())
    writer.rest(WEB.name, WEB.spec.digest, rest)
    [found] = records(folder).read()
    assert (found.rest, found.starts, found.pid) == (rest, 1, OWN)
    writer.doom(WEB.name)
    [found] = records(folder).read()
    assert (found.rest, found.stale) == (rest, True)
    writer.intend(WEB)
    [found] = records(folder).read()
    assert (found.rest, found.stale) == (None, False)


def test_why_a_start_was_not_even_tried_is_known_too(folder: Path) -> None:
    writer = records(folder)
    writer.intend(WEB)
    writer.started(WEB, OWN, start_time())
    failed = Rest(None, 2, trouble="\N{PILE OF POO}" * 1000)
    for name in (WEB.name, Name("new")):
        writer.rest(name, "e" * 64, failed)
    new, web = records(folder).read()
    assert (web.digest, web.token, web.pid, web.starts) == ("e" * 64, "", None, 1)
    assert (new.digest, new.token, new.pid, new.starts) == ("e" * 64, "", None, 0)
    assert new.rest == attrs.evolve(failed, trouble="\N{PILE OF POO}" * 120)
    assert (folder / "web.json").stat().st_size == (folder / "new.json").stat().st_size


def test_the_counting_goes_on_from_what_was_read(folder: Path) -> None:
    writer = records(folder)
    writer.intend(WEB)
    writer.started(WEB, OWN, start_time())
    later = records(folder)
    list(later.read())
    later.intend(WEB)
    later.started(WEB, OWN, start_time())
    [found] = records(folder).read()
    assert found.starts == 2


def test_a_record_is_for_us_alone_and_always_of_one_size(folder: Path) -> None:
    writer = records(folder)
    sizes = set()
    steps: list[Callable[[], None]] = [
        lambda: writer.intend(WEB),
        lambda: writer.started(WEB, OWN, start_time()),
        lambda: writer.doom(WEB.name),
    ]
    for step in steps:
        step()
        found = (folder / "web.json").stat()
        sizes.add(found.st_size)
        assert stat.S_IMODE(found.st_mode) == 0o600
    assert len(sizes) == 1


def test_what_is_forgotten_leaves_nothing(folder: Path) -> None:
    writer = records(folder)
    writer.intend(WEB)
    writer.forget(WEB.name)
    writer.forget(WEB.name)
    writer.intend(WEB)
    writer.forget_all()
    assert os.listdir(folder) == []


def test_a_record_of_another_boot_is_of_nobody(folder: Path) -> None:
    records(folder).intend(WEB)
    value = json.loads((folder / "web.json").read_bytes())
    (folder / "web.json").write_text(json.dumps(value | {"boot_id": "another"}))
    assert list(records(folder).read()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"3", b'"text"', b"[]", b"{}", b"\xff", b'{"boot_id": BOOT}', b'{"boot_id": BOOT, "token": 3}']
    + [
        b'{"boot_id": BOOT, "token": "c.s", "digest": "d", %s}' % field
        for field in (b'"pid": "1"', b'"pid": [1]', b'"pid": -1', b'"start_time": "1"', b'"starts": null')
    ]
    + [
        b'{"boot_id": BOOT, "token": "c.s", "digest": "d", "rest": %s}' % rest
        for rest in (
            b"1",
            b"{}",
            b'{"until": 1, "streak": 1, "exit": null, "ended": null, "trouble": null, "more": 1}',
            b'{"until": "1", "streak": 1, "exit": null, "ended": null, "trouble": null}',
            b'{"until": NaN, "streak": 1, "exit": null, "ended": null, "trouble": null}',
            b'{"until": 1, "streak": -1, "exit": null, "ended": null, "trouble": null}',
            b'{"until": 1, "streak": 1, "exit": {"code": "1", "signal": null}, "ended": null, "trouble": null}',
            b'{"until": 1, "streak": 1, "exit": {"code": 1, "signal": 2}, "ended": null, "trouble": null}',
            b'{"until": 1, "streak": 1, "exit": null, "ended": null, "trouble": 3}',
        )
    ],
)
def test_what_is_no_record_is_passed_over(folder: Path, content: bytes) -> None:
    boot_id = proc.boot_id()
    (folder / "bad.json").write_bytes(content.replace(b"BOOT", json.dumps(boot_id).encode()))
    (folder / "directory.json").mkdir()
    (folder / ".litter").touch()
    records(folder).intend(WEB)
    assert [record.name for record in records(folder).read()] == ["web"]


def test_what_another_version_knows_besides_is_passed_over(folder: Path) -> None:
    writer = records(folder)
    writer.intend(WEB)
    writer.started(WEB, OWN, start_time())
    value = json.loads((folder / "web.json").read_bytes())
    del value["rest"]
    (folder / "web.json").write_text(json.dumps(value | {"done": False, "code": None}))

    assert list(records(folder).read()) == [Record(WEB.name, WEB.token, WEB.spec.digest, 1, OWN, start_time())]


def test_where_nothing_can_be_recorded_it_is_said_once_and_stops_nothing(folder: Path) -> None:
    folder.rmdir()
    writer = records(folder)
    with said() as lines:
        for _ in range(3):
            writer.intend(WEB)
            writer.started(WEB, OWN, start_time())
        assert len(lines) == 1
        assert list(records(folder).read()) == []
    assert len(lines) == 2


def test_without_a_folder_nothing_is_recorded() -> None:
    nowhere = Records(lambda: None)
    nowhere.intend(WEB)
    nowhere.started(WEB, OWN, start_time())
    nowhere.forget_all()
    assert list(nowhere.read()) == []
