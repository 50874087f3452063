"""What must hold of any bytes, as a process file, as a message, and as a file's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from colony.core import check, wire
from colony.core.model import Defaults

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
    # Seconds: neither negative nor endless.
    assert all(0 <= spec.restart.delay(streak, "web 1") < 10**10 for streak in (0, 1, 2, 1000))


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
