"""The verbs that ask: a message each, its answer, and with ``--wait`` its effect."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from colony import ctllib
from tests.cli.conftest import Ctl
from tests.cli.standin import Message, StandIn


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ("restart web", [{"type": "RESTART", "name": "web"}]),
        ("restart --name=web", [{"type": "RESTART", "name": "web"}]),
        ("restart web --name web", [{"type": "RESTART", "name": "web"}]),
        ("restart b a b", [{"type": "RESTART", "name": "b"}, {"type": "RESTART", "name": "a"}]),
        ("restart-all", [{"type": "RESTART-ALL"}]),
        ("restart-group diary", [{"type": "RESTART-GROUP", "group": "diary"}]),
        ("restart-group --group=diary", [{"type": "RESTART-GROUP", "group": "diary"}]),
        ("stop web", [{"type": "STOP", "name": "web"}]),
        ("stop --group=diary", [{"type": "STOP", "group": "diary"}]),
        ("stop web --group=diary", [{"type": "STOP", "name": "web"}, {"type": "STOP", "group": "diary"}]),
        ("start web", [{"type": "START", "name": "web"}]),
        ("start --group diary", [{"type": "START", "group": "diary"}]),
        ("reload b a b", [{"type": "RELOAD", "name": "b"}, {"type": "RELOAD", "name": "a"}]),
        ("reload --name=web", [{"type": "RELOAD", "name": "web"}]),
        ("signal web SIGHUP", [{"type": "SIGNAL", "name": "web", "signal": "HUP"}]),
        ("signal --name=web --signal=usr1", [{"type": "SIGNAL", "name": "web", "signal": "USR1"}]),
        ("signal --name=web HUP", [{"type": "SIGNAL", "name": "web", "signal": "HUP"}]),
        ("rotate", [{"type": "ROTATE"}]),
        ("scan", [{"type": "SCAN"}]),
    ],
)
def test_with_nobody_there_the_message_is_left_and_said_so(
    ctl: Ctl, dead: StandIn, argv: str, messages: list[Message]
) -> None:
    done = ctl(*argv.split())
    assert (done.code, done.out) == (0, "")
    assert done.err == "colony: no supervisor is alive; the message is left for the next one\n"
    assert dead.asked() == messages


@pytest.mark.parametrize("verb", ["stop", "restart"])
@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("db web", "web db"),
        ("web db", "web db"),
        ("db app alone web", "alone web app db"),
        ("hen egg db app", "hen egg app db"),
        ("alone gone", "alone gone"),
    ],
)
def test_of_several_those_go_first_that_need_others(ctl: Ctl, dead: StandIn, verb: str, names: str, order: str) -> None:
    needs = {"db": [], "app": ["db"], "web": ["app", "missing"], "alone": [], "hen": ["egg"], "egg": ["hen", "a/b"]}
    for name, after in needs.items():
        (dead.config / name).write_text(json.dumps({"args": ["x"], "after": after}))
    ctl(verb, *names.split())
    asked = [message["name"] for message in dead.asked()]
    assert sorted(asked) == sorted(order.split())
    assert [name for name in asked if name in ("web", "app", "db")] == [
        name for name in order.split() if name in ("web", "app", "db")
    ]


def test_where_nobody_says_where_the_files_are_names_are_asked_as_given(
    ctl: Ctl, dead: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dead.config / "web").write_text('{"args": ["x"], "after": ["db"]}')
    monkeypatch.delenv("COLONY_CONFIG")
    monkeypatch.setenv("COLONY_STATE", str(dead.state))
    ctl("stop", "db", "web")
    assert [message["name"] for message in dead.asked()] == ["db", "web"]


def test_an_accepted_request_is_silent(ctl: Ctl, colony: StandIn) -> None:
    assert ctl("restart", "web") == (0, "", "")
    assert colony.heard[0]["type"] == "RESTART"
    assert colony.heard[0]["by"]


def test_who_asks_is_told(ctl: Ctl, colony: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    [answer] = ctl("restart", "web", "--json").json["answers"]
    assert (answer["by"], answer["names"]) == ("ada", ["web"])


def refuse(message: Message) -> dict[str, Any]:
    if message.get("name") != "typo":
        return {"names": [message["name"]]}
    return {"ok": False, "code": 4, "error": "no such process: typo"}


def test_a_refusal_is_told_and_the_others_are_done(ctl: Ctl, colony: StandIn) -> None:
    colony.reply = refuse
    done = ctl("restart", "typo", "web")
    assert done == (4, "", "colony: cannot restart typo: no such process: typo\n")
    assert [message["name"] for message in colony.heard] == ["typo", "web"]
    told = ctl("restart", "web", "typo", "--json").json
    assert [answer["ok"] for answer in told["answers"]] == [True, False]
    assert (told["code"], told["error"]) == (4, "cannot restart typo: no such process: typo")


def test_one_bad_name_among_good_ones_leaves_no_message(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("restart", "web", ".").code == 2
    assert dead.asked() == []


def test_no_answer_is_not_waited_for_if_nobody_wants_it(ctl: Ctl, dead: StandIn) -> None:
    dead.live()
    assert ctl("restart", "web", "--no-answer") == (0, "", "")
    dead.die()
    assert dead.asked() == [{"type": "RESTART", "name": "web"}]


def test_a_supervisor_that_ends_meanwhile_leaves_the_message_to_the_next(ctl: Ctl, colony: StandIn) -> None:
    def end(message: Message) -> None:
        colony.die()

    colony.reply = end
    done = ctl("restart", "web")
    assert done.code == 0
    assert "left for the next one" in done.err


def test_waiting_needs_a_supervisor_and_leaves_no_message(ctl: Ctl, dead: StandIn) -> None:
    done = ctl("restart", "web", "--wait")
    assert done.code == 5
    assert dead.asked() == []


def test_restart_and_wait_returns_when_the_new_instance_runs(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", starts=7)
    assert ctl("restart", "web", "--wait", "--wait-timeout=0.3").code == 124

    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", starts=8)
        return {"names": ["web"]}

    colony.reply = obey
    assert ctl("restart", "web", "--wait").code == 0


def test_restart_all_and_wait_waits_for_whom_the_answer_names(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", starts=2)
        return {"names": ["web"]}

    colony.tell("web")
    colony.tell("other")
    colony.reply = obey
    assert ctl("restart-all", "--wait").code == 0


def test_stop_and_wait_returns_when_nothing_is_left(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", "stopped", wanted=False)
        return {"names": ["web"]}

    colony.tell("web")
    colony.reply = obey
    assert ctl("stop", "--group", "diary", "--wait") == (0, "web stopped: it did not run\n", "")


HOW: dict[str, tuple[dict[str, Any], str]] = {
    "web": ({"code": 0, "signal": None}, "a STOP is in force; sent TERM, exited with code 0"),
    "deaf": ({"code": None, "signal": "KILL"}, "a STOP is in force; sent KILL, killed by KILL"),
}


def ended(colony: StandIn, name: str) -> None:
    last, why = HOW[name]
    at = ctllib.now()
    colony.tell(name, "stopped", wanted=False, why=why, last_exit={**last, "at": at}, since=at)


def test_stop_and_wait_tells_of_each_how_it_ended(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        ended(colony, message["name"])
        return {"names": [message["name"]]}

    colony.reply = obey
    done = ctl("stop", "web", "deaf", "--wait")
    assert (done.code, done.err) == (0, "")
    assert re.sub(r"\d\.\d s", "T", done.out) == (
        "web stopped: sent TERM, exited with code 0 after T\ndeaf killed: sent KILL after T\n"
    )
    told = ctl("stop", "web", "deaf", "--wait", "--json").json["stopped"]
    assert [(one["name"], one["code"], one["signal"], one["killed"]) for one in told] == [
        ("web", 0, None, False),
        ("deaf", None, "KILL", True),
    ]


def test_a_stop_that_takes_too_long_tells_who_ended_and_who_did_not(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        ended(colony, "web")
        colony.tell("worker", "stopping", wanted=False, why="a STOP is in force; sent TERM")
        colony.tell("queue", "stopping", wanted=False, why="a STOP is in force; waits until worker has gone")
        return {"names": ["web", "worker", "queue"]}

    colony.reply = obey
    done = ctl("stop", "--group=g", "--wait", "--wait-timeout=0.3")
    assert done.code == 124
    assert done.out.startswith("web stopped: sent TERM")
    assert done.err == (
        "colony: timed out: worker is stopping: a STOP is in force; sent TERM;"
        " queue is stopping: a STOP is in force; waits until worker has gone\n"
    )


# -- one after another


def rolling(colony: StandIn, *names: str) -> None:
    for name in names:
        ctllib.add(colony.places, name, "sleep", [], group=["g"], ready={"tcp": 1})
        colony.tell(name, ready=True)

    def obey(message: Message) -> dict[str, Any]:
        if message["name"] == "bad":
            colony.tell("bad", "backoff", starts=2, why="exited with code 1")
        else:
            colony.tell(message["name"], starts=2, ready=True)
        return {"names": [message["name"]]}

    colony.reply = obey


def test_a_rolling_restart_tells_of_each(ctl: Ctl, colony: StandIn) -> None:
    rolling(colony, "a", "b", "c")
    colony.tell("b", "stopped", wanted=False)
    assert ctl("restart-group", "g", "g", "--rolling") == (
        0,
        "a restarted\nb skipped: it is stopped\nc restarted\n",
        "",
    )
    assert [message["name"] for message in colony.heard] == ["a", "c"]


def test_a_halted_rolling_restart_says_who_was_restarted_and_who_was_not_touched(ctl: Ctl, colony: StandIn) -> None:
    rolling(colony, "a", "bad", "c")
    assert ctl("restart-group", "g", "--rolling") == (
        1,
        "a restarted\n",
        "colony: the rolling restart is halted: bad failed: exited with code 1; restarted: a; not touched: c\n",
    )
    colony.tell("a", ready=True)
    colony.tell("bad", ready=True)
    told = ctl("restart-group", "g", "--rolling", "--json").json
    assert (told["code"], told["restarted"], told["failed"], told["untouched"]) == (1, ["a"], "bad", ["c"])


def test_a_rolling_restart_needs_somebody_to_see_to_it(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("restart-group", "g", "--rolling").code == 5
    assert ctl("restart-group", "g", "--rolling", "--no-answer").code == 2
    assert dead.asked() == []


def test_waiting_for_the_answer_is_part_of_the_waiting(ctl: Ctl, dead: StandIn) -> None:
    dead.live()
    done = ctl("restart", "a", "b", "--wait", "--wait-timeout=0.1")
    dead.die()
    assert done.code == 124
    assert done.err.splitlines() == [
        "colony: no answer in time; the message stays",
        "colony: no answer in time; the message stays",
    ]


def test_start_and_wait_that_fails_says_why(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", "failed", why="given up")
        return {"names": ["web"]}

    colony.reply = obey
    assert ctl("start", "web", "--wait") == (1, "", "colony: web failed: given up\n")
