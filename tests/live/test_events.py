"""``events.jsonl`` and ``colony events``, from outside."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from typing import Any

import pytest

from tests.live.driver import SLEEP, Colony

pytestmark = pytest.mark.live

# Any is a JSON value.


def happened(colony: Colony, name: str) -> list[dict[str, Any]]:
    path = colony.state / "events.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [event for event in told if event["name"] == name]


def steps(colony: Colony, name: str) -> list[tuple[str | None, str | None]]:
    return [(event["from"], event["to"]) for event in happened(colony, name)]


def test_every_step_of_a_life_is_told_in_order_with_pids_and_exits(colony: Colony) -> None:
    colony.write("web", *SLEEP, restart={"threshold": 0})
    first = colony.runs("web")
    os.kill(first, signal.SIGKILL)
    second = colony.runs("web", instead_of=first)
    colony.done("stop", "web", "--wait")
    colony.done("start", "web", "--wait")
    third = colony.runs("web")
    colony.done("remove", "web", "--wait")

    colony.wait_for(lambda: steps(colony, "web")[-1][1] is None)
    told = [
        (event["from"], event["to"], event["pid"], event["exit"] and event["exit"]["signal"])
        for event in happened(colony, "web")
    ]
    assert told == [
        (None, "running", first, None),
        ("running", "starting", first, "KILL"),
        ("starting", "running", second, None),
        ("running", "stopping", second, None),
        ("stopping", "stopped", second, "TERM"),
        ("stopped", "running", third, None),
        ("running", "stopping", third, None),
        ("stopping", None, third, "TERM"),
    ]
    at = [event["at"] for event in happened(colony, "web")]
    assert at == sorted(at)


def test_many_deaths_in_a_moment_are_each_told(colony: Colony) -> None:
    colony.write("flap", "/bin/false", restart={"threshold": 0, "attempts": 20})
    colony.write("once", shell="exit 7", restart={"when": "never"})
    colony.wait_for(lambda: len([event for event in happened(colony, "flap") if event["exit"]]) >= 10)
    colony.done("stop", "flap", "--wait")

    told = happened(colony, "flap")
    starts = [event["starts"] for event in told if event["why"] == "started"]
    assert starts == list(range(1, len(starts) + 1))
    ends = [event["exit"] for event in told if event["exit"]]
    assert len(ends) == len(starts)
    assert {end["code"] for end in ends[:-1]} == {1}  # the last may have been stopped
    assert steps(colony, "once") == [(None, "running"), ("running", "stopped")]
    assert happened(colony, "once")[-1]["exit"] == {"code": 7, "signal": None}


def test_a_supervisor_that_was_killed_is_seen_to_be_another_one(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    colony.wait_for(lambda: happened(colony, "web"))
    assert colony.supervisor is not None
    colony.supervisor.kill()
    colony.supervisor.wait()
    again = colony.start()
    colony.wait_for(lambda: len(happened(colony, "web")) == 2)

    assert [(event["to"], event["pid"]) for event in happened(colony, "web")] == [("running", pid)] * 2
    told = [json.loads(line) for line in colony.done("events", "--json", "-n", "100").splitlines()]
    began = [event for event in told if event["name"] is None]
    assert [event["to"] for event in began] == ["running", "running"]
    assert began[1]["pid"] == again
    colony.stop()
    last = json.loads((colony.state / "events.jsonl").read_text().splitlines()[-1])
    assert (last["name"], last["to"], last["why"]) == (None, None, "ended: every process is gone")


def test_who_follows_sees_it_happen(colony: Colony) -> None:
    command = ["python", "-m", "colony", "ctl", *colony.places, "events", "--json"]
    follower = subprocess.Popen(command, env=colony.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["name"] is None
        colony.write("web", *SLEEP)
        event = json.loads(follower.stdout.readline())
        assert (event["name"], event["to"], event["pid"]) == ("web", "running", colony.runs("web"))
        colony.remove("web")
        assert [json.loads(follower.stdout.readline())["to"] for _ in range(2)] == ["stopping", None]
    finally:
        follower.terminate()
        follower.communicate()


@pytest.mark.parametrize(("mode", "expected"), [(0o700, 0o600), (0o770, 0o640)])
def test_who_may_write_messages_may_read_events(place: Colony, mode: int, expected: int) -> None:
    place.messages.chmod(mode)
    place.start()
    place.wait_for(lambda: (place.state / "events.jsonl").exists())
    found = (place.state / "events.jsonl").stat()
    assert stat.S_IMODE(found.st_mode) == expected
    assert found.st_gid == place.messages.stat().st_gid
