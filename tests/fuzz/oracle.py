"""What must hold of any bytes, as a process file, as a message, and as a file's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from colony.core import check, wire
from colony.core.model import Beat, Defaults, Elapsed, Exec, Http, LogLine, Notify, ProcessSpec, Tcp

# Any is a JSON value.

_Value = TypeVar("_Value")
_Error = TypeVar("_Error", bound=Exception)

DEFAULTS = Defaults(threshold=1, killtime=5, initial=1, limit=3600)


def holds(data: bytes) -> None:
    """Raises whatever is wrong: AssertionError, or an exception that nobody expects."""
    as_spec(data)
    as_message(data)
    as_name(data.decode("utf-8", "surrogateescape"))


def _tried(parse: Callable[[], _Value], error: type[_Error]) -> _Value | _Error:
    """The value, or the error that may be raised; any other goes on."""
    try:
        return parse()
    except error as raised:
        return raised


def _is_refused_rightly(value: Any, invalid: wire.Invalid, problems: Callable[[Any], object]) -> None:
    """Do decoder, validator and parser say the same?"""
    assert invalid.problems
    assert is_one_line(str(invalid))
    if isinstance(value, check.Malformed):
        assert is_one_line(value.message)
        assert invalid.whole == value.whole
    else:
        assert invalid.whole
        assert invalid.problems == problems(value)


def as_spec(data: bytes) -> None:
    """The validator and the parser agree, and what is accepted means the same however it is written."""
    value = _tried(lambda: check.decode(data, check.MAX_SPEC_BYTES), check.Malformed)
    spec = _tried(lambda: wire.parse_spec(data, DEFAULTS), wire.Invalid)
    if isinstance(spec, wire.Invalid):
        _is_refused_rightly(value, spec, check.problems)
        return
    assert not isinstance(value, check.Malformed)
    assert check.problems(value) == ()
    assert spec.digest == check.digest(value)
    assert all("\0" not in arg for arg in spec.args)
    assert spec.args[0]
    assert all(is_one_line(check.unknown_note(key)) for key in spec.unknown)
    for written in (check.canonical(value), json.dumps(value, indent=1, ensure_ascii=False)):
        if len(written.encode()) <= check.MAX_SPEC_BYTES:
            again = wire.parse_spec(written.encode(), DEFAULTS)
            assert again.digest == spec.digest
            assert sorted(again.env) == sorted(spec.env)
            assert (again.args, again.restart, again.group) == (spec.args, spec.restart, spec.group)
            assert (again.stop, again.reload, again.after) == (spec.stop, spec.reload, spec.after)
            assert again.log == spec.log
            assert (again.ready, again.health, again.env_file) == (spec.ready, spec.health, spec.env_file)
    _is_sound(spec)
    # Seconds: neither negative nor endless.
    assert all(0 <= spec.restart.delay(streak, "web 1") < 10**10 for streak in (0, 1, 2, 1000))


def _is_sound(spec: ProcessSpec) -> None:
    """May what looks after it rely on what the vocabulary says?"""
    assert spec.stop[-1].signal == "KILL"
    for signal in (*(rung.signal for rung in spec.stop), *([] if spec.reload is None else [spec.reload])):
        assert check.signal_name(signal) == signal
    assert all(0 <= rung.seconds < 10**10 for rung in spec.stop)
    assert all(path.startswith("/") and "\0" not in path for path in spec.env_file)
    assert all(check.name_problem(name) is None for name in spec.after)
    assert len(set(spec.after)) == len(spec.after)
    if spec.ready is not None:
        assert 0 < spec.ready.timeout < 10**10
        match spec.ready.probe:
            case Elapsed(seconds):
                assert 0 <= seconds < spec.ready.timeout
            case LogLine(pattern):
                re.compile(pattern)
            case probe:
                _can_be_asked(probe)
    if spec.health is not None:
        assert 0 < spec.health.timeout < 10**10
        assert 0.1 <= spec.health.every < 10**10
        assert 0 <= spec.health.start < 10**10
        assert spec.health.failures >= 1
        _can_be_asked(spec.health.probe)


def _can_be_asked(probe: object) -> None:
    match probe:
        case Http(url):
            parts = urlsplit(url)
            assert parts.scheme in ("http", "https")
            assert parts.hostname
            assert parts.port is None or 0 < parts.port < 2**16
            assert is_one_line(url)
            assert url.isascii()
        case Tcp(port):
            assert 0 < port < 2**16
        case Exec(args):
            assert args[0]
            assert all("\0" not in arg for arg in args)
        case _:
            assert isinstance(probe, Notify | Beat)


def as_message(data: bytes) -> None:
    """The validator and the parser agree."""
    value = _tried(lambda: check.decode(data, check.MAX_MESSAGE_BYTES), check.Malformed)
    message = _tried(lambda: wire.parse_message(data), wire.Invalid)
    if isinstance(message, wire.Invalid):
        _is_refused_rightly(value, message, check.message_problems)
        return
    assert not isinstance(value, check.Malformed)
    assert check.message_problems(value) == ()
    assert message == wire.parse_message(check.canonical(value).encode())
    assert message.kind in check.MESSAGES


def as_name(filename: str) -> None:
    """A name is safe as a file's name, and its file is looked at."""
    name = check.name_of(filename)
    problem = check.name_problem(name)
    if problem is not None:
        assert is_one_line(problem)
        return
    assert not check.is_ignored(name)
    assert not check.is_ignored(f"{name}.json")
    assert check.name_of(f"{name}.json") == check.name_of(name) == name
    assert not set(name) & set("/\0\n ")
    assert len(name.encode()) <= check.MAX_NAME_BYTES


def is_one_line(text: str) -> bool:
    """May it be shown on a terminal, and written into a line of a log?"""
    text.encode("utf-8", "surrogatepass")
    return text.isprintable()
