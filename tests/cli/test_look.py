"""``status``, ``show``, ``wait``: what is."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from colony import ctllib
from colony.cli.table import age, clock, table
from colony.core import check
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

# Any is a JSON value.


@pytest.mark.parametrize("argv", [["status"], ["status", "web"], ["status", "-o", "name"], ["top"], ["health"]])
def test_where_the_supervisor_has_told_nothing_it_is_not_said_that_there_is_nothing(
    ctl: Ctl, colony: StandIn, argv: list[str]
) -> None:
    said = f"colony: nothing is known: the supervisor has told nothing in {colony.state}/elsewhere\n"
    assert ctl(*argv, "--state", f"{colony.state}/elsewhere") == (1, "", said)


def test_status_is_a_table_with_a_summary(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce(pid=77)
    colony.tell("web", pid=11, starts=2, last_exit={"code": None, "signal": "KILL", "at": ctllib.now()})
    soon = datetime.fromtimestamp(time.time() + 8.9, UTC).isoformat()
    last = {"code": 1, "signal": None, "at": ctllib.now()}
    colony.tell("a", "backoff", why="exited with code 1", last_exit=last, next_start=soon)
    done = ctl("status")
    assert done.code == 3
    assert done.out.splitlines() == [
        "NAME  STATE    PID  UP  STARTS  LAST EXIT       WHY",
        "a     backoff  -    -   1       code 1, 0s ago  exited with code 1; next try in 8s",
        "web   running  11   0s  2       KILL, 0s ago",
        "2 processes: 1 running, 1 backoff; wanted and not running: a; supervisor 77, up 0s",
    ]


@pytest.mark.parametrize(
    ("state", "wanted", "code"),
    [("running", True, 0), ("stopped", False, 0), ("backoff", True, 3), ("starting", True, 3), ("stopping", False, 0)],
)
def test_status_is_3_if_something_wanted_does_not_run(
    ctl: Ctl, colony: StandIn, state: str, wanted: bool, code: int
) -> None:
    colony.tell("good")
    colony.tell("web", state, wanted=wanted)
    assert ctl("status").code == code
    assert ctl("status", "good").code == 0
    assert ctl("status", "--json").code == code


def test_status_has_a_column_for_health_where_somebody_is_asked(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", pid=11, health="healthy")
    colony.tell("a", "waiting", why="waits for web", starts=0)
    assert ctl("status").out.splitlines()[:3] == [
        "NAME  STATE    HEALTH   PID  UP  STARTS  LAST EXIT  WHY",
        "a     waiting  -        -    -   0       -          waits for web",
        "web   running  healthy  11   0s  1       -",
    ]


def test_status_of_nothing_is_no_processes(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce()
    done = ctl("status")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("no processes; supervisor 99")


def test_status_of_a_typo_is_4(ctl: Ctl, colony: StandIn) -> None:
    assert ctl("status", "typo") == (4, "", "colony: no such process: typo\n")


def test_status_names_what_is_wrong_with_files(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce(broken={"a b": "is no name", "web": "uid: must be an integer"})
    colony.tell("web", digest="x", problems=[{"path": "uid", "message": "must be an integer"}])
    assert [line for line in ctl("status").out.splitlines() if line.startswith("!")] == [
        "! web: uid: must be an integer",
        "! web: the last good definition stays in force",
        "! a b: is no name",
    ]


def test_status_in_json_is_what_the_files_hold(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce(pid=77)
    colony.tell("web", pid=11)
    told = ctl("status", "--json").json
    assert told["supervisor"]["pid"] == 77
    assert told["processes"] == [json.loads((colony.state / "status" / "web.json").read_bytes())]


def test_status_of_chosen_keys_is_for_scripts(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", pid=11, last_exit={"code": 1, "signal": None, "at": ctllib.now()})
    colony.tell("a", "stopped", wanted=False)
    assert ctl("status", "-o", "name,state,pid,wanted,last_exit.code").out.splitlines() == [
        "a\tstopped\t-\tfalse\t-",
        "web\trunning\t11\ttrue\t1",
    ]
    done = ctl("status", "-o", "name,color")
    assert done.code == 2
    assert "no key 'color'" in done.err


def test_status_does_not_steer_the_terminal(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", "backoff", why="\x1b[31mred\nnext \x9b2J")
    done = ctl("status")
    assert "\\x1b[31mred\\nnext \\x9b2J" in done.out
    assert "\x1b" not in done.out


def test_the_last_column_is_wrapped_to_the_terminal_and_cut_after_three_lines() -> None:
    rows = [("NAME", "WHY"), ("web", " ".join(f"word{number}" for number in range(30)))]
    lines = table(rows, 40)
    assert all(len(line) <= 40 for line in lines)
    assert lines[:2] == ["NAME  WHY", "web   word0 word1 word2 word3 word4"]
    assert lines[2].startswith("      word5")
    assert lines[3].endswith(" ...")
    assert len(lines) == 4
    assert len(table(rows, None)) == 2


def test_where_there_is_no_room_the_last_column_goes_below() -> None:
    assert table([("A", "WHY"), ("x" * 30, "because it ends with 1")], 44)[1:] == [
        "x" * 30,
        "    because it ends with 1",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m01s"), (3 * 3600 + 62, "3h01m"), (90000, "1d1h"), (-5, "0s")]
)
def test_an_age_has_two_units(seconds: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5 + seconds)
    assert age("2027-01-15T08:00:00.500000Z") == text


# -- show


def test_show_tells_definition_and_status(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--", "sleep", "1")
    colony.tell("web", pid=11, streak=2, next_start=ctllib.now(), ready=False, digest="other", unknown=["mine"])
    done = ctl("show", "web")
    assert done.code == 0
    assert '"sleep"' in done.out
    for line in ("pid        11", "starts     1; early deaths in a row: 2", "ready      no"):
        assert line in done.out.splitlines()
    assert "started" not in done.out
    assert "in force   another definition than the one in the file" in done.out
    told = ctl("show", "web", "--json").json
    assert told["status"]["pid"] == 11
    assert told["files"][0]["definition"] == {"args": ["sleep", "1"]}


def test_up_is_since_the_start_whatever_happened_to_it_since(ctl: Ctl, colony: StandIn) -> None:
    long_ago = datetime.fromtimestamp(time.time() - 7265, UTC).isoformat()
    colony.tell("web", started=long_ago)
    colony.tell("old", "stopping", started=long_ago)
    for verb in ("status web", "status old"):
        assert "  2h01m  " in ctl(*verb.split()).out
    assert re.search(r"^started    .*, 2h01m ago$", ctl("show", "web").out, re.MULTILINE)


def test_show_tells_what_happened_to_it_and_what_it_said_last(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--", "sleep", "1")
    colony.tell("web", "backoff")
    at = ctllib.now()
    with (colony.state / "events.jsonl").open("w") as file:
        for number in range(7):
            event = {"at": at, "name": "web", "from": "running", "to": "backoff", "why": f"death {number}", "pid": 7}
            file.write(f"{json.dumps(event)}\n{json.dumps({**event, 'name': 'other'})}\n")
    (colony.state / "logs").mkdir()
    (colony.state / "logs" / "web.log").write_bytes(b"".join(b"line %d\xff\x1b\n" % number for number in range(12)))
    lines = ctl("show", "web").out.splitlines()
    lately = lines.index("lately")
    assert lines[lately + 1 : lately + 7] == [
        f"  {clock(at)}  running -> backoff    death {number} (7)" for number in range(1, 7)
    ]
    assert lines[lately + 7 : lately + 18] == ["last output", *(rf"  line {n}\xff\x1b" for n in range(2, 12))]
    told = ctl("show", "web", "--json").json
    assert [event["why"] for event in told["events"]] == [f"death {number}" for number in range(1, 7)]
    assert len(told["output"]) == 10


def died(colony: StandIn, pid: int, code: int | None = 3, **more: Any) -> None:
    """Have the end of that process told of."""
    exit = {"code": code, "signal": None}
    event = {"at": ctllib.now(), "name": "web", "from": "running", "to": "backoff", "why": "died", "pid": pid}
    with (colony.state / "events.jsonl").open("a") as file:
        file.write(f"{json.dumps({**event, 'exit': exit, **more})}\n")


def wrote(colony: StandIn, entry: str, text: str, pid: int | None) -> None:
    """Have that written, at last by this process."""
    path = colony.state / "logs" / entry
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(text)
    if pid is not None:
        found = path.stat()
        with (path.parent / f".{entry}.times").open("a") as file:
            file.write(f"{found.st_mtime_ns} {found.st_size} {pid}\n")


def test_show_tells_of_each_exit_what_was_written_before(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--", "sleep", "1")
    colony.tell("web")
    for pid, said in ((1, "zero\n"), (2, "one\n\x1b\n"), (3, ""), (4, "two\n")):
        wrote(colony, "web.log", said, pid)
        died(colony, pid, None if pid == 4 else pid)
    died(colony, 4)  # known at last
    wrote(colony, "web.log", "now\n", None)
    died(colony, 5, exit=None, to="running")
    told = ctl("show", "web").out
    times = [clock(one["at"]) for one in ctl("show", "web", "--json").json["lives"][:3]]
    assert (
        f"last exits\n  {times[0]}  code 2 (2)\n    one\n    \\x1b\n  {times[1]}  code 3 (3)\n    (it wrote nothing)\n"
        f"  {times[2]}  code 3 (4)\n    two\nlast output\n  now\n"
    ) in told
    lives = ctl("show", "web", "--json").json["lives"]
    assert [(life["pid"], life["output"]) for life in lives] == [
        (2, ["one", "\x1b"]),
        (3, []),
        (4, ["two"]),
        (5, ["now"]),
    ]
    assert lives[-1]["at"] is None


def test_show_says_so_where_it_is_not_known_what_was_written(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--", "sleep", "1")
    colony.tell("web")
    died(colony, 1)
    assert "(what it wrote last is not known: it has no log file)" in ctl("show", "web").out
    wrote(colony, "web.log", "one\n", 1)
    died(colony, 2)
    wrote(colony, "web.log", "three\n", 3)
    died(colony, 3)
    lives = ctllib.lives(colony.places, "web")
    assert [(life["output"], life["lost"]) for life in lives] == [
        (["one"], None), (None, "where it ends was not noted down"), (["three"], None),
    ]  # fmt: skip
    (colony.state / "logs" / "web.log").unlink()
    assert ctllib.lives(colony.places, "web")[0]["lost"] == "it has no log file"
    (colony.state / "logs" / "web.log").touch()
    assert ctllib.lives(colony.places, "web")[0]["lost"] == "the file that it was in is gone"


def test_an_exit_that_has_left_something_behind_is_told_with_all_that_is_written(ctl: Ctl, colony: StandIn) -> None:
    wrote(colony, "web.log", "one\n", 1)
    died(colony, 1)
    wrote(colony, "web.log", "two\n", None)
    died(colony, 2)
    assert [life["output"] for life in ctllib.lives(colony.places, "web")] == [["one"], ["two"]]


def test_both_outputs_are_told_where_they_are_split(ctl: Ctl, colony: StandIn) -> None:
    wrote(colony, "web.log", "one\n", 1)
    wrote(colony, "web.log.err", "two\n", 1)
    died(colony, 1)
    assert [life["output"] for life in ctllib.lives(colony.places, "web")] == [["one", "two"]]
    assert ctllib.output(colony.places, "web") == ["one", "two"]


@pytest.mark.parametrize(("data", "said"), [(b"", []), (b"a", ["a"]), (b"a\n", ["a"]), (b"\na\nb", ["a", "b"])])
def test_the_last_lines_of_an_output_are_found(colony: StandIn, data: bytes, said: list[str]) -> None:
    assert ctllib.output(colony.places, "web") is None
    (colony.state / "logs").mkdir()
    (colony.state / "logs" / "web.log").write_bytes(data)
    assert ctllib.output(colony.places, "web", 2) == said


def test_show_tells_what_is_wrong(ctl: Ctl, colony: StandIn) -> None:
    (colony.config / "web").write_text('{"args": [], "env_inherits": []}')
    problem = {"path": "args", "message": "must have at least one entry, the executable"}
    at = ctllib.now()
    colony.tell("web", "failed", why="bad", problems=[problem], last_exit={"code": None, "signal": None, "at": at})
    out = ctl("show", "web").out
    assert "note       unknown key 'env_inherits'; did you mean 'env_inherit'?" in out
    assert "problem    args: must have at least one entry, the executable" in out
    assert f"last exit  unknown, {clock(at)}, 0s ago" in out


def test_show_of_what_is_being_removed_has_no_file(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", "stopping", unknown=["mine"])
    out = ctl("show", "web").out
    assert "no file: it is being removed" in out
    assert "unknown    mine" in out


def test_show_with_nobody_there_tells_the_definition(ctl: Ctl, dead: StandIn) -> None:
    ctl("add", "web", "--cmd=x")
    done = ctl("show", "web")
    assert done.code == 5
    assert '"x"' in done.out


def test_show_of_a_file_without_status_tells_the_definition(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--cmd=x")
    assert ctl("show", "web", "--json").json["status"] is None


def test_show_of_a_typo_is_4(ctl: Ctl, colony: StandIn) -> None:
    assert ctl("show", "typo").code == 4
    assert ctl("show", "web", "echo").code == 2


# -- wait


def test_wait_is_for_ready_unless_it_says_otherwise(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", ready=False)
    assert ctl("wait", "web", "--for", "running") == (0, "", "")
    assert ctl("wait", "web", "--timeout=0.05") == (
        124,
        "",
        "colony: timed out: web is running: wanted\n",
    )
    colony.tell("web", ready=True)
    assert ctl("wait", "web", "--json").json == {"names": ["web"], "for": "ready"}


def test_what_is_not_ready_yet_runs(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", "starting", pid=11, ready=False, why="not ready yet")
    assert ctl("wait", "web", "--for=running") == (0, "", "")
    assert ctl("wait", "web", "--timeout=0.05") == (124, "", "colony: timed out: web is starting: not ready yet\n")


def test_wait_for_nonsense_is_usage(ctl: Ctl, colony: StandIn) -> None:
    assert ctl("wait", "web", "--for=peace").code == 2


def test_the_digest_is_the_files(ctl: Ctl, colony: StandIn) -> None:
    """What ctl compares with what runs is what the supervisor computes."""
    ctl("add", "web", "--cmd=x", "--env", "É=é")
    [verdict] = ctllib.definitions(colony.places, "web")
    assert check.digest(verdict.value) == check.digest({"env": {"É": "é"}, "args": ["x"]})


# -- health


def test_all_is_well_where_what_is_to_run_is_ready(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce()
    colony.tell("web", ready=True, health="healthy")
    colony.tell("held", "stopped", wanted=False)
    assert ctl("health") == (0, "all is well\n", "")
    assert ctl("health", "--json").json == {"troubles": []}


def test_one_line_says_what_is_not_well(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce()
    colony.tell("web", "backoff", why="exited with code 1")
    colony.tell("echo", "waiting", why="waits for web")
    colony.tell("good", ready=True)
    trouble = "echo is waiting: waits for web; web is in backoff: exited with code 1"
    assert ctl("health") == (1, "", f"colony: {trouble}\n")
    assert ctl("health", "good").code == 0
    assert ctl("health", "good", "--name=good").code == 0
    told = ctl("health", "web", "--json")
    assert (told.code, told.json["code"]) == (1, 1)
    assert told.json["troubles"] == [{"name": "web", "trouble": "is in backoff: exited with code 1"}]


def test_of_many_that_are_not_well_some_are_told(ctl: Ctl, colony: StandIn) -> None:
    colony.introduce()
    for number in range(7):
        colony.tell(f"web{number}", "starting", why="")
    assert ctl("health").err.endswith("; web4 is starting; and 2 more\n")


@pytest.mark.parametrize("argv", ["typo", "--bogus=1", "--config", "--json=1", "web --name=echo", ". "])
def test_health_has_no_other_code_than_1_for_what_goes_wrong(ctl: Ctl, colony: StandIn, argv: str) -> None:
    colony.introduce()
    done = ctl("health", *argv.split())
    assert done.code == 1
    assert len(done.err.splitlines()) == 1


def test_health_without_a_supervisor_or_without_what_it_tells_is_1(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("health") == (1, "", f"colony: no supervisor is alive on {dead.messages}\n")
    assert ctl("health", "--json").json["code"] == 1
    dead.live()
    assert ctl("health").code == 1
    dead.die()


def test_a_process_may_be_called_health(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("add", "health").code == 2
    assert ctl("--config", "health", "add", "web").code == 2
