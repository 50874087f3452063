"""What processes wrote is what ``colony logs`` prints: each line once and in order, while files come and go."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import pytest

from tests.live.driver import PATIENCE, Colony

# Any is JSON.

pytestmark = pytest.mark.live

STEADY = """
import sys, time
count, rate, written = int(sys.argv[1]), int(sys.argv[2]), 0
began = time.monotonic()
while written < count:
    due = min(count, int((time.monotonic() - began) * rate))
    sys.stdout.write("".join(f"{number:08d} some words\\n" for number in range(written, due)))
    sys.stdout.flush()
    written = due
    time.sleep(0.002)
time.sleep(1000)
"""


def steady(count: int) -> list[str]:
    return [f"{number:08d} some words" for number in range(count)]


def test_following_loses_and_doubles_no_line_while_files_are_rotated_and_compressed(colony: Colony) -> None:
    count, rate = 20_000, 5000
    names = ["gzip", "plain", "slow"]
    printed = colony.folder / "printed"
    with printed.open("wb") as out:
        follower = subprocess.Popen(
            ["python", "-m", "colony", "logs", "-f", "-n", "all", "--json", *colony.places],
            env=colony.environment,
            stdout=out,
        )
    log = {"max_bytes": 20_000, "backups": 300, "relay": False}
    for name, keys in (("gzip", log | {"compress": True}), ("plain", log), ("slow", log | {"max_bytes": 2000})):
        speed = (count, rate) if name != "slow" else (count // 20, rate // 20)
        colony.write(name, sys.executable, "-c", STEADY, *map(str, speed), log=keys)
    pids = {name: colony.runs(name) for name in names}
    time.sleep(1)  # anywhere in it
    colony.stop(signal.SIGKILL)
    colony.start()
    assert {name: colony.runs(name) for name in names} == pids

    def lines() -> dict[str, list[str]]:
        told = [json.loads(line) for line in printed.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return {name: [one["line"] for one in told if one["name"] == name] for name in names}

    wanted = {"gzip": steady(count), "plain": steady(count), "slow": steady(count // 20)}
    colony.wait_for(lambda: sum(map(len, lines().values())) >= sum(map(len, wanted.values())), 3 * PATIENCE)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(PATIENCE) == 130
    assert lines() == wanted
    assert (colony.state / "logs" / "gzip.log.9.gz").exists()

    for name in names:
        assert colony.done("logs", name, "-n", "all").splitlines() == wanted[name]
        assert colony.done("logs", name, "-n", "3000").splitlines() == wanted[name][-3000:]


def test_lines_are_told_by_time_to_the_second(colony: Colony) -> None:
    count, rate = 12_000, 2000
    log = {"max_bytes": 50_000, "backups": 9, "compress": True}
    colony.write("web", sys.executable, "-c", STEADY, str(count), str(rate), log=log)
    colony.runs("web")
    colony.wait_for(lambda: colony.done("logs", "web", "-n", "1") == steady(count)[-1])
    told = [json.loads(line) for line in colony.done("logs", "web", "-n", "all", "--json").splitlines()]
    assert [one["line"] for one in told] == steady(count)
    instants = [datetime.fromisoformat(one["at"]).timestamp() for one in told]
    assert instants == sorted(instants)
    end = instants[-1]
    # Said 2000 to the second, so each one's moment is known but for how late they all were.
    for number, instant in enumerate(instants):
        assert abs((end - instant) - (count - number) / rate) < 1.5
    for second in (1, 3):
        since = datetime.fromtimestamp(end - second).astimezone().isoformat()
        found = len(colony.done("logs", "web", "--since", since).splitlines())
        assert second * rate - 0.3 * rate < found < (second + 1.3) * rate


def test_nobody_need_be_alive(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "echo one; printf two; sleep 1000")
    colony.wait_for(lambda: colony.done("logs", "web") == "one\ntwo")
    colony.stop()
    assert colony.done("logs", "web") == "one\ntwo"
    assert colony.done("logs") == "web | one\nweb | two"


@pytest.mark.parametrize("log", [{}, {"max_bytes": 100, "backups": 20, "compress": True}, {"split": True}])
def test_each_exit_is_told_of_with_what_was_written_before_it(colony: Colony, log: dict[str, Any]) -> None:
    script = (
        'n=$(cat n); n=$((n + 1)); echo $n > n; for i in 1 2 3 4 5 6; do echo "life $n line $i"; done;'
        'echo "error $n" >&2; printf "dying $n"; if [ $n -lt 6 ]; then exit $n; fi; echo; sleep 1000'
    )
    (colony.folder / "n").write_text("0\n")
    keys = {"log": log, "cwd": str(colony.folder), "restart": {"initial": 0.05, "factor": 1, "jitter": 0}}
    colony.write("web", shell=script, **keys)
    colony.wait_for(lambda: colony.status("web").get("starts") == 6)
    colony.wait_for(lambda: "dying 6" in colony.done("logs", "web"))

    def told() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(colony.done("show", "web", "--json"))["lives"]
        return found

    colony.wait_for(lambda: all(life["output"] for life in told()))
    lives = told()
    assert [life["exit"] and life["exit"]["code"] for life in lives] == [3, 4, 5, None]
    for life, number in zip(lives, (3, 4, 5, 6), strict=True):
        said = [f"life {number} line {line}" for line in range(1, 7)] + [f"dying {number}"]
        assert sorted(life["output"]) == sorted([*said, f"error {number}"])
    assert lives[-1]["pid"] == colony.running("web")[0]

    colony.stop(signal.SIGKILL)
    colony.start()
    colony.wait_for(lambda: colony.said("adopted web"))
    colony.done("signal", "web", "KILL")
    colony.wait_for(lambda: colony.status("web").get("starts") == 7)
    colony.wait_for(lambda: len(told()) == 4 and told()[-1]["output"] and told()[-2]["output"])
    assert [life["pid"] for life in told()] == [*(life["pid"] for life in lives[1:]), colony.running("web")[0]]
    assert "dying 6" in told()[-2]["output"]
    assert "dying 7" in told()[-1]["output"]
