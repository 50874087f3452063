"""What a killed supervisor has written down may be damaged, old, or about somebody else: nobody suffers for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony, alive, stays

pytestmark = pytest.mark.live


@pytest.fixture
def killed(place: Colony) -> tuple[int, int]:
    """The pids of ``web`` and ``other``, whose supervisor was killed."""
    place.start("-k", "1")
    place.write("web", *SLEEP)
    place.write("other", *SLEEP)
    pids = place.runs("web"), place.runs("other")
    place.stop(signal.SIGKILL)
    return pids


def record(place: Colony) -> Path:
    return place.state / "records" / "web.json"


def changed(place: Colony, **keys: object) -> None:
    value = json.loads(record(place).read_bytes())
    assert keys.keys() <= value.keys()
    record(place).write_text(json.dumps(value | keys))


def becomes_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def becomes_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(b"\0" * 1024),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "no object": lambda path: path.write_bytes(b"[1]"),
    "other types": lambda path: path.write_text(
        json.dumps(json.loads(path.read_bytes()) | {"pid": "1", "start_time": []})
    ),
    "more keys": lambda path: path.write_text(json.dumps(json.loads(path.read_bytes()) | {"colour": 1})),
    "a directory": becomes_a_directory,
    "a fifo": becomes_a_fifo,
    "gone": Path.unlink,
}


SELDOM = {"empty", "zeros", "no object", "more keys", "a directory", "gone"}


@pytest.mark.parametrize(
    "damage", [pytest.param(damage, marks=[pytest.mark.slow] * (damage in SELDOM)) for damage in DAMAGES]
)
def test_a_damaged_record_costs_a_restart_of_that_one_and_nothing_else(
    place: Colony, killed: tuple[int, int], damage: str
) -> None:
    web, other = killed
    DAMAGES[damage](record(place))
    place.start("-k", "1")
    new = place.runs("web")
    assert stays(lambda: place.running("web") == [new] and place.running("other") == [other], 0.3)
    assert new == web or not alive(web)
    place.obeys_at_once()


def test_a_record_of_another_boot_is_not_believed(place: Colony, killed: tuple[int, int]) -> None:
    web, other = killed
    changed(place, boot_id="another")
    place.start("-k", "1")
    place.runs("web", instead_of=web)
    assert place.running("other") == [other]


def test_a_number_that_a_stranger_has_by_now_is_neither_believed_nor_signalled(
    place: Colony, killed: tuple[int, int]
) -> None:
    web, other = killed
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        try:
            changed(place, pid=stranger.pid)
            place.start("-k", "1")
            new = place.runs("web", instead_of=web)
            place.ask("STOP", name="web")
            place.is_gone("web")
            assert stranger.poll() is None
            assert not alive(web)
            assert not alive(new)
            assert place.running("other") == [other]
        finally:
            stranger.kill()


def test_who_ended_meanwhile_is_started_again(place: Colony, killed: tuple[int, int]) -> None:
    web, other = killed
    os.kill(web, signal.SIGKILL)
    place.wait_for(lambda: not alive(web))
    place.start("-k", "1")
    place.runs("web", instead_of=web)
    assert place.running("other") == [other]


def test_what_it_had_started_is_stopped_before_that(place: Colony) -> None:
    place.start("-k", "1")
    place.write("web", "sh", "-c", "sleep 1001 & exec sleep 1000")
    web = place.runs("web")
    place.wait_for(lambda: len(place.family("web")) == 2)
    place.stop(signal.SIGKILL)
    os.kill(web, signal.SIGKILL)
    place.wait_for(lambda: len(place.family("web")) == 1)
    [child] = place.family("web")
    place.start("-k", "1")
    place.runs("web", instead_of=web)
    assert not alive(child.pid)


def test_a_fifo_that_is_gone_costs_only_what_is_said(place: Colony) -> None:
    place.start("-k", "1")
    place.write("web", "sh", "-c", "while :; do echo here; sleep 0.05; done")
    place.wait_for(lambda: place.said("[web] here"))
    web = place.runs("web")
    place.stop(signal.SIGKILL)
    for path in (place.state / "pipes").iterdir():
        path.unlink()
    place.start("-k", "1")
    place.wait_for(lambda: place.said("is lost"))
    assert stays(lambda: place.running("web") == [web], 0.3)
    place.ask("RESTART", name="web")
    place.runs("web", instead_of=web)
    place.wait_for(lambda: place.said("[web] here"))
