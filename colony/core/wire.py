"""Turns bytes into the vocabulary: check first, then values; nobody inside sees a JSON dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from colony.core import check
from colony.core.check import Problem
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
    StopLadder,
    Target,
    Tcp,
    default_ladder,
)

# Any is a JSON value that check has found no fault with.


class Invalid(Exception):
    """
    Bytes that cannot be obeyed, with everything that is wrong with them.

    ``whole`` is False if they are no complete JSON document, and so may still be on their way.
    ``kind`` and ``by`` are what a message said of itself, where that could be read.
    """

    def __init__(
        self, problems: tuple[Problem, ...], *, whole: bool = True, kind: str | None = None, by: str | None = None
    ) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems
        self.whole = whole
        self.kind = kind
        self.by = by


def _decode(data: bytes, limit: int) -> Any:
    try:
        return check.decode(data, limit)
    except check.Malformed as malformed:
        raise Invalid((Problem("", malformed.message),), whole=malformed.whole) from None


def parse_spec(data: bytes, defaults: Defaults, name: Name | None = None) -> ProcessSpec:
    """The spec that a process file's bytes hold, of that name if it is known; raises Invalid."""
    value = _decode(data, check.MAX_SPEC_BYTES)
    if problems := check.problems(value, name):
        raise Invalid(problems)
    return ProcessSpec(
        args=tuple(value["args"]) if "args" in value else ("/bin/sh", "-c", value["shell"]),
        digest=check.digest(value),
        env=tuple(value.get("env", {}).items()),
        env_inherit=tuple(value.get("env_inherit", ())),
        config_env=value.get("config_env", True),
        cwd=value.get("cwd"),
        uid=value.get("uid"),
        gid=value.get("gid"),
        user=value.get("user"),
        supplementary_groups=tuple(value["supplementary_groups"]) if "supplementary_groups" in value else None,
        umask=int(value["umask"], 8) if "umask" in value else None,
        nice=value.get("nice"),
        limits=tuple(_limit(resource, given) for resource, given in value.get("limits", {}).items()),
        no_new_privs=value.get("no_new_privs", False),
        group=frozenset(value.get("group", ())),
        restart=_restart(value.get("restart", {}), defaults),
        stop=_ladder(value["stop"]) if "stop" in value else default_ladder(defaults.killtime),
        killtime=defaults.killtime,
        reload=_signal(value["reload"]) if "reload" in value else None,
        essential=value.get("essential", False),
        after=tuple(map(Name, dict.fromkeys(value.get("after", ())))),
        ready=_ready(value["ready"]) if "ready" in value else None,
        health=_health(value["health"]) if "health" in value else None,
        env_file=_paths(value.get("env_file", [])),
        log=_log(value.get("log", {})),
        unknown=check.unknown(value),
    )


def _limit(resource: str, given: Any) -> Limit:
    """One number is both limits."""
    soft, hard = given if isinstance(given, list) else (given, given)
    return Limit(resource, None if soft == "unlimited" else soft, None if hard == "unlimited" else hard)


def _restart(value: Mapping[str, Any], defaults: Defaults) -> RestartPolicy:
    given = dict(value)
    if "success" in given:
        given["success"] = tuple(given["success"])
    policy: dict[str, Any] = {
        "threshold": defaults.threshold,
        "initial": defaults.initial,
        "limit": defaults.limit,
        **given,
    }
    return RestartPolicy(**policy)


def _signal(given: str) -> str:
    signal = check.signal_name(given)
    assert signal is not None, "check has let it through"
    return signal


def _ladder(value: list[Any]) -> StopLadder:
    """Whatever it begins with, it ends in KILL."""
    ladder = tuple(Rung(_signal(signal), seconds, main=bool(whom)) for signal, seconds, *whom in value)
    return ladder if ladder[-1].signal == "KILL" else (*ladder, Rung("KILL", 0))


def _paths(value: str | list[str]) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _log(value: Mapping[str, Any] | Literal[False]) -> LogPolicy | None:
    return None if value is False else LogPolicy(**value)


def _ready(value: Mapping[str, Any]) -> Readiness:
    if "seconds" in value:
        ready = Readiness(Elapsed(value["seconds"]), **_rest(value, "timeout"))
        # They may take as long as they say.
        return ready if "timeout" in value else attrs.evolve(ready, timeout=ready.timeout + value["seconds"])
    probe = LogLine(value["log"]) if "log" in value else _probe(value)
    return Readiness(probe, **_rest(value, "timeout"))


def _health(value: Mapping[str, Any]) -> Health:
    probe = Beat(value["beat"]) if "beat" in value else _probe(value)
    return Health(probe, **_rest(value, "every", "timeout", "failures", "start"))


def _probe(value: Mapping[str, Any]) -> Tcp | Http | Exec | Notify:
    match value:
        case {"tcp": port}:
            return Tcp(port)
        case {"http": url}:
            return Http(url)
        case {"exec": args}:
            return Exec(tuple(args))
        case _:
            return Notify()


def _rest(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value}


def parse_message(data: bytes) -> Message:
    """The request that a message's bytes hold; raises Invalid."""
    value = _decode(data, check.MAX_MESSAGE_BYTES)
    if problems := check.message_problems(value):
        said = value if isinstance(value, dict) else {}
        kind, by = said.get("type"), said.get("by")
        raise Invalid(
            problems,
            kind=kind.upper() if isinstance(kind, str) else None,
            by=by if isinstance(by, str) else None,
        )
    kind = value["type"].upper()
    return Message(kind, _command(kind, value), value.get("by"))


def _command(kind: str, value: Mapping[str, Any]) -> Command:
    match kind:
        case "RESTART":
            return AskRestart(One(Name(value["name"])))
        case "RESTART-ALL":
            return AskRestart(Everyone())
        case "RESTART-GROUP":
            return AskRestart(Group(value["group"]))
        case "STOP":
            return AskStop(_target(value))
        case "START":
            return AskStart(_target(value))
        case "SIGNAL":
            return AskSignal(One(Name(value["name"])), _signal(value["signal"]))
        case "RELOAD":
            return AskReload(One(Name(value["name"])))
        case "SCAN":
            return AskScan()
        case "ROTATE":
            return AskRotate()
        case _:
            raise AssertionError(f"check knows {kind}, wire does not")


def _target(value: Mapping[str, Any]) -> Target:
    return One(Name(value["name"])) if "name" in value else Group(value["group"])
