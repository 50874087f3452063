"""Bytes become the vocabulary, or are refused with everything that is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core import check
from colony.core.model import (
    AskReload,
    AskRestart,
    AskRotate,
    AskScan,
    AskSignal,
    AskStart,
    AskStop,
    Beat,
    Command,
    Defaults,
    Elapsed,
    Everyone,
    Exec,
    Group,
    Health,
    Http,
    Limit,
    LogLine,
    LogPolicy,
    Message,
    Name,
    Notify,
    One,
    ProcessSpec,
    Readiness,
    RestartPolicy,
    Rung,
    Tcp,
)
from colony.core.wire import Invalid, parse_message, parse_spec
from tests.strategies import names, spec_values, steady

# Any is a JSON value.

WEB = One(Name("web"))


def spec(value: dict[str, Any], defaults: Defaults | None = None) -> ProcessSpec:
    return parse_spec(json.dumps(value).encode(), defaults or Defaults())


def message(**fields: object) -> Message:
    return parse_message(json.dumps(fields).encode())


# -- process files --------------------------------------------------------------------------------------------


def test_the_smallest_file_means_the_defaults() -> None:
    assert spec({"args": ["sleep", "60"]}) == ProcessSpec(
        args=("sleep", "60"), digest=check.digest({"args": ["sleep", "60"]})
    )


def test_every_key_arrives() -> None:
    value = {
        "shell": "exec web",
        "env": {"B": "2", "A": "1"},
        "env_inherit": ["LC_*"],
        "config_env": False,
        "cwd": "/srv",
        "uid": 1000,
        "gid": 0,
        "supplementary_groups": ["www", 7],
        "umask": "027",
        "nice": 3,
        "limits": {"nofile": 4096, "core": [0, "unlimited"], "as": "unlimited"},
        "no_new_privs": True,
        "group": ["b", "a", "b"],
        "env_file": "/etc/default/web",
        "stop": [["int", 5]],
        "reload": "SIGHUP",
        "essential": True,
        "after": ["queue"],
        "ready": {"notify": True},
        "health": {"beat": "run/beat", "every": 1, "timeout": 2, "failures": 3, "start": 4},
        "log": {"max_bytes": 5000, "backups": 6, "relay": False, "split": True, "compress": True, "buffer": 7000},
        "restart": {
            "when": "failure",
            "initial": 2,
            "factor": 3,
            "limit": 4,
            "jitter": 0,
            "threshold": 5,
            "attempts": 6,
            "success": [0, 7],
        },
        "description": "not ours",
    }

    assert spec(value) == ProcessSpec(
        args=("/bin/sh", "-c", "exec web"),
        digest=check.digest(value),
        env=(("B", "2"), ("A", "1")),
        env_inherit=("LC_*",),
        config_env=False,
        cwd="/srv",
        uid=1000,
        gid=0,
        supplementary_groups=("www", 7),
        umask=0o27,
        nice=3,
        limits=(Limit("nofile", 4096, 4096), Limit("core", 0, None), Limit("as", None, None)),
        no_new_privs=True,
        group=frozenset({"a", "b"}),
        restart=RestartPolicy("failure", 2, 3, 4, 0, 5, 6, (0, 7)),
        stop=(Rung("INT", 5), Rung("KILL", 0)),
        reload="HUP",
        essential=True,
        after=(Name("queue"),),
        ready=Readiness(Notify()),
        health=Health(Beat("run/beat"), 1, 2, 3, 4),
        env_file=("/etc/default/web",),
        log=LogPolicy(5000, 6, relay=False, split=True, compress=True, buffer=7000),
        unknown=("description",),
    )


def test_a_user_arrives_instead_of_a_uid() -> None:
    assert spec({"args": ["x"], "user": "www", "gid": 4}) == ProcessSpec(
        ("x",), digest=check.digest({"args": ["x"], "user": "www", "gid": 4}), user="www", gid=4
    )


def test_no_supplementary_groups_at_all_is_something_else_than_nothing_said_of_them() -> None:
    assert spec({"args": ["x"], "supplementary_groups": []}).supplementary_groups == ()
    assert spec({"args": ["x"]}).supplementary_groups is None


def test_what_a_file_leaves_out_is_as_the_options_say() -> None:
    defaults = Defaults(threshold=3, killtime=7, initial=0.5, limit=20)

    found = spec({"args": ["x"], "restart": {"factor": 3}}, defaults)

    assert found.restart == RestartPolicy(threshold=3, initial=0.5, limit=20, factor=3)
    assert found.stop == (Rung("TERM", 7), Rung("KILL", 0))
    assert found.killtime == 7


def test_what_a_file_says_wins_over_the_options() -> None:
    found = spec({"args": ["x"], "restart": {"threshold": 0, "initial": 0, "limit": 0}}, Defaults(9, 9, 9, 9))

    assert found.restart == RestartPolicy(threshold=0, initial=0, limit=0)


def test_attempts_of_null_are_no_limit() -> None:
    assert spec({"args": ["x"], "restart": {"attempts": None}}).restart.attempts is None


@steady
@given(spec_values)
def test_every_good_file_has_a_spec_that_says_what_it_says(value: dict[str, Any]) -> None:
    found = spec(value)

    written: dict[str, Any] = {}
    if "shell" in value:
        written["shell"] = found.args[2]
    else:
        written["args"] = list(found.args)
    for key in "env_inherit cwd uid gid supplementary_groups nice no_new_privs config_env".split():
        if key in value:
            kept = getattr(found, key)
            written[key] = list(kept) if isinstance(kept, tuple) else kept
    if "env" in value:
        written["env"] = dict(found.env)
    if "group" in value:
        written["group"] = value["group"]
        assert found.group == set(value["group"])
    if "umask" in value:
        written["umask"] = value["umask"]
        assert found.umask == int(value["umask"], 8)
    if "limits" in value:
        written["limits"] = value["limits"]
        for limit, given in zip(found.limits, value["limits"].values(), strict=True):
            kept = ["unlimited" if height is None else height for height in (limit.soft, limit.hard)]
            assert kept == (given if isinstance(given, list) else [given, given])
    if "restart" in value:
        kept = {key: getattr(found.restart, key) for key in value["restart"]}
        written["restart"] = {key: list(item) if isinstance(item, tuple) else item for key, item in kept.items()}
    for key in ("reload", "essential"):
        if key in value:
            kept = getattr(found, key)
            written[key] = value[key] if kept in (value[key], check.signal_name(str(value[key]))) else kept
    if "env_file" in value:
        written["env_file"] = found.env_file[0] if isinstance(value["env_file"], str) else list(found.env_file)
    if "log" in value:
        written["log"] = found.log is not None and {key: getattr(found.log, key) for key in value["log"]}
    if "after" in value:
        written["after"] = value["after"]
        assert list(found.after) == sorted(set(value["after"]), key=value["after"].index)
    if "stop" in value:
        written["stop"] = value["stop"]
        given = [Rung(check.signal_name(step[0]) or "", step[1], main=step[2:] == ["main"]) for step in value["stop"]]
        assert list(found.stop) == given + [Rung("KILL", 0)] * (given[-1].signal != "KILL")
    for key in ("ready", "health"):
        if key in value:
            kept = getattr(found, key)
            [probe] = attrs.astuple(kept.probe) or [True]
            probe = list(probe) if isinstance(probe, tuple) else probe
            written[key] = {item: getattr(kept, item, probe) for item in value[key]}
    written |= {key: value[key] for key in found.unknown}
    assert written == value
    assert found.digest == check.digest(value)
    assert found.stop[-1].signal == "KILL"


def test_a_ladder_that_does_not_end_in_kill_is_made_to() -> None:
    assert spec({"args": ["x"], "stop": [["sigint", 5]]}).stop == (Rung("INT", 5), Rung("KILL", 0))
    assert spec({"args": ["x"], "stop": [["TERM", 600], ["INT", 10], ["KILL", 3]]}).stop == (
        Rung("TERM", 600),
        Rung("INT", 10),
        Rung("KILL", 3),
    )


def test_a_step_may_be_for_the_main_process_alone() -> None:
    assert spec({"args": ["x"], "stop": [["TERM", 600, "main"], ["INT", 10]]}).stop == (
        Rung("TERM", 600, main=True),
        Rung("INT", 10),
        Rung("KILL", 0),
    )


def test_a_ladder_of_its_own_says_nothing_of_what_is_left_behind() -> None:
    assert spec({"args": ["x"], "stop": [["INT", 50]]}, Defaults(killtime=3)).killtime == 3


def test_a_name_that_is_needed_twice_is_needed_once() -> None:
    assert spec({"args": ["x"], "after": ["b", "a", "b"]}).after == ("b", "a")


def test_what_starts_after_itself_is_refused_where_its_name_is_known() -> None:
    data = b'{"args": ["x"], "after": ["web"]}'

    assert parse_spec(data, Defaults(), Name("other")).after == ("web",)
    with pytest.raises(Invalid, match="web cannot start after itself"):
        parse_spec(data, Defaults(), Name("web"))


def test_a_log_may_be_no_file_at_all() -> None:
    assert spec({"args": ["x"], "log": False}).log is None
    assert spec({"args": ["x"], "log": {}}).log == spec({"args": ["x"]}).log == LogPolicy()


def test_one_env_file_may_be_given_without_a_list() -> None:
    assert spec({"args": ["x"], "env_file": "/a"}).env_file == ("/a",)
    assert spec({"args": ["x"], "env_file": ["/a", "/b"]}).env_file == ("/a", "/b")


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        ({"tcp": 80}, Readiness(Tcp(80), 60)),
        ({"http": "http://a/", "timeout": 3}, Readiness(Http("http://a/"), 3)),
        ({"exec": ["a", "b"]}, Readiness(Exec(("a", "b")), 60)),
        ({"log": "^up$"}, Readiness(LogLine("^up$"), 60)),
        ({"notify": True}, Readiness(Notify(), 60)),
        ({"seconds": 2, "timeout": 3}, Readiness(Elapsed(2), 3)),
        ({"seconds": 90}, Readiness(Elapsed(90), 150)),
    ],
)
def test_every_way_of_being_ready_arrives(value: dict[str, Any], ready: Readiness) -> None:
    assert spec({"args": ["x"], "ready": value}).ready == ready


@pytest.mark.parametrize(
    ("value", "health"),
    [
        ({"tcp": 80}, Health(Tcp(80), every=10, timeout=5, failures=3, start=0)),
        ({"http": "http://a/", "every": 1}, Health(Http("http://a/"), every=1)),
        ({"exec": ["a", "b"], "timeout": 1}, Health(Exec(("a", "b")), timeout=1)),
        ({"notify": True, "failures": 1}, Health(Notify(), failures=1)),
        ({"beat": "run/beat", "start": 30}, Health(Beat("run/beat"), start=30)),
    ],
)
def test_every_way_of_being_well_arrives(value: dict[str, Any], health: Health) -> None:
    assert spec({"args": ["x"], "health": value}).health == health


@steady
@given(spec_values, st.integers(0, 4), st.booleans())
def test_white_space_and_the_order_of_keys_change_no_digest(value: dict[str, Any], indent: int, turn: bool) -> None:
    turned = dict(reversed(value.items())) if turn else value

    assert parse_spec(json.dumps(turned, indent=indent).encode(), Defaults()).digest == spec(value).digest


def test_every_problem_of_a_file_is_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        spec({"args": [], "cwd": 3, "restart": {"initial": -1}})

    assert [problem.path for problem in caught.value.problems] == ["args", "cwd", "restart.initial"]
    assert caught.value.whole
    assert str(caught.value) == "; ".join(map(str, caught.value.problems))


@pytest.mark.parametrize(
    ("data", "whole", "words"),
    [
        (b"", False, "empty"),
        (b'{"args"', False, "not JSON"),
        (b'{"args": ["x"], "args": ["y"]}', True, "duplicate key 'args'"),
        (b" " * 120_001, True, "larger than 120000 bytes"),
        (b"[]", True, "must be an object"),
    ],
)
def test_what_is_no_process_file_is_refused_with_the_reason(data: bytes, whole: bool, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        parse_spec(data, Defaults())

    assert caught.value.whole is whole


@steady
@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_garbage_is_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_spec(data, Defaults())
    with pytest.raises(Invalid):
        parse_message(data)


# -- messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"type": "RESTART", "name": "web"}, AskRestart(WEB)),
        ({"type": "RESTART-ALL"}, AskRestart(Everyone())),
        ({"type": "RESTART-GROUP", "group": "diary"}, AskRestart(Group("diary"))),
        ({"type": "STOP", "name": "web"}, AskStop(WEB)),
        ({"type": "STOP", "group": "diary"}, AskStop(Group("diary"))),
        ({"type": "START", "name": "web"}, AskStart(WEB)),
        ({"type": "START", "group": "diary"}, AskStart(Group("diary"))),
        ({"type": "SIGNAL", "name": "web", "signal": "HUP"}, AskSignal(WEB, "HUP")),
        ({"type": "SIGNAL", "name": "web", "signal": "sigusr1"}, AskSignal(WEB, "USR1")),
        ({"type": "RELOAD", "name": "web"}, AskReload(WEB)),
        ({"type": "ROTATE"}, AskRotate()),
        ({"type": "SCAN"}, AskScan()),
    ],
)
@pytest.mark.parametrize("case", [str.upper, str.lower, str.title])
def test_every_type_of_message_is_understood_in_any_case(fields: dict[str, str], command: Command, case: Any) -> None:
    written = {**fields, "type": case(fields["type"])}

    assert message(**written) == Message(fields["type"], command, None)


def test_every_type_that_the_validator_knows_is_understood() -> None:
    values = {"name": "web", "group": "diary", "signal": "HUP"}
    for kind, shapes in check.MESSAGES.items():
        for shape in shapes:
            assert message(type=kind, **{field: values[field] for field in shape}).kind == kind


def test_a_type_that_only_the_validator_knew_would_be_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MESSAGES", {**check.MESSAGES, "DANCE": ((),)})

    with pytest.raises(AssertionError, match="DANCE"):
        message(type="DANCE")


def test_who_asked_is_kept() -> None:
    assert message(type="SCAN", by="anna").by == "anna"


def test_what_a_message_says_beyond_its_type_is_nobodys_business() -> None:
    assert message(type="SCAN", note="please") == Message("SCAN", AskScan(), None)


@steady
@given(names)
def test_any_name_can_be_asked_for(name: Name) -> None:
    assert message(type="RESTART", name=name).command == AskRestart(One(name))


@pytest.mark.parametrize(
    ("fields", "kind", "by"),
    [
        ({"type": "dance", "by": "anna"}, "DANCE", "anna"),
        ({"type": "STOP", "by": 3}, "STOP", None),
        ({"type": 3, "by": "anna"}, None, "anna"),
        ({}, None, None),
    ],
)
def test_a_refused_message_says_of_itself_what_can_be_read(fields: Any, kind: str | None, by: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        message(**fields)

    assert (caught.value.kind, caught.value.by) == (kind, by)


def test_a_message_that_is_no_object_is_refused() -> None:
    with pytest.raises(Invalid, match="must be an object") as caught:
        parse_message(b"[1]")

    assert (caught.value.kind, caught.value.by, caught.value.whole) == (None, None, True)


def test_half_a_message_is_not_whole() -> None:
    with pytest.raises(Invalid) as caught:
        parse_message(b'{"type": "SC')

    assert not caught.value.whole


def test_a_message_is_bounded() -> None:
    with pytest.raises(Invalid, match="larger than 65536 bytes"):
        parse_message(b'{"type": "SCAN"}' + b" " * 65536)
