"""
Finds everything that is wrong with a process file or a message, as problems with their JSON paths.

The one validator: the supervisor asks it before it obeys a file, ctl before it writes one. It knows
the formats and nothing else; standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, namedtuple
from itertools import islice

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    # Any is a JSON value here: what json.loads returns, before anything is known about it.
    _Check = Callable[[Any, str], Iterator["Problem"]]

MAX_SPEC_BYTES = 120_000
"""A process file travels in one environment string, which Linux bounds at 128 KiB (MAX_ARG_STRLEN)."""

MAX_MESSAGE_BYTES = 65_536
MAX_NAME_BYTES = 200

MAX_DEPTH = 100
"""Lists within lists: what is read here must be written again from any depth of Python's own stack."""

MAX_PROBLEMS = 100
"""As many as anybody reads; each costs time, and a file may be wrong sixty thousand times."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")
_IGNORED = re.compile(
    r"\..*|.*~|#.*#|.*\.(new|tmp|swp|swx|bak|orig|rej|rpmsave|rpmnew|rpmorig)|.*\.(dpkg|ucf)-.*", re.DOTALL
)
_MAX_ID = 2**32 - 2
"""The largest uid or gid; 2**32 - 1 means "unchanged" to setresuid(2)."""


class Problem(namedtuple("Problem", ("path", "message"))):
    """One thing wrong, and where: ``path`` is dotted (``restart.initial``, ``args[2]``), empty for the whole."""

    __slots__ = ()
    path: str
    message: str

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        if not text.isprintable():  # a path holds keys, which may hold anything
            text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        return text


class Malformed(Exception):
    """
    Bytes that are not a JSON document as these formats mean it.

    ``whole`` is False when the document may still be on its way (empty, or cut off in the middle), True when
    it is complete and wrong, as with a duplicate key.
    """

    def __init__(self, message: str, *, whole: bool) -> None:
        super().__init__(message)
        self.message = message
        self.whole = whole


# -- names ------------------------------------------------------------------------------------------------


def is_ignored(filename: str) -> bool:
    """Is this directory entry litter (editors', package managers', temporary files), never looked at?"""
    return _IGNORED.fullmatch(filename) is not None


def name_of(filename: str) -> str:
    """The process a file in CONFIG is about: the file's name less one trailing ``.json``."""
    return filename.removesuffix(".json")


def name_problem(name: str) -> str | None:
    """Why ``name`` can be no process's name, or None if it can."""
    if not name:
        return "a name is empty"
    shown = repr(name) if len(name) <= 60 else repr(name[:57] + "...")
    if not _NAME.fullmatch(name):
        return f"{shown} is no name: letters, digits and . _ @ + - only, the first a letter, a digit or _"
    if len(name) > MAX_NAME_BYTES:
        return f"{shown} is no name: longer than {MAX_NAME_BYTES} bytes"
    if name.endswith(".json"):
        return f"{shown} is no name: it ends in .json"
    if is_ignored(name):
        return f"{shown} is no name: files of that ending are ignored"
    return None


# -- bytes to a JSON value ----------------------------------------------------------------------------------


def decode(data: bytes, limit: int) -> Any:
    """
    The JSON value that ``data`` holds.

    Raises Malformed for more than ``limit`` bytes, bytes that are not UTF-8, no JSON, duplicate keys, NaN,
    Infinity, numbers too large for a float, text that UTF-8 cannot carry (lone surrogates), and more than
    MAX_DEPTH lists and objects within each other.
    """
    if len(data) > limit:
        raise Malformed(f"larger than {limit} bytes", whole=True)
    if not data.strip():
        raise Malformed("the file is empty", whole=False)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}", whole=error.end < len(data)) from None
    if text.startswith("\ufeff"):
        raise Malformed("starts with a byte order mark", whole=True)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
        # What json.loads lets through and UTF-8 does not: "\ud800".
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
            raise RecursionError
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}", whole=False) from None
    except RecursionError:
        raise Malformed("nested too deeply", whole=True) from None
    except UnicodeEncodeError:
        raise Malformed("has a lone surrogate", whole=True) from None
    except ValueError as error:  # an integer of more than 4300 digits
        raise Malformed(str(error), whole=True) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise Malformed(f"duplicate key {key!r}", whole=True)
    return value


def _constant(text: str) -> Any:
    raise Malformed(f"{text} is not JSON", whole=True)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Malformed(f"{text[:20]} is too large a number", whole=True)
    return value


def _deeper(value: Any, depth: int) -> bool:
    """Does ``value`` hold lists and objects more than ``depth`` deep?"""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return depth == 0 or any(_deeper(item, depth - 1) for item in value)


def canonical(value: Any) -> str:
    """The one text of a JSON value, keys sorted and without white space: equal for equal values, and 1 is not true."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """The identity of a JSON value: hex sha256 of its `canonical` text."""
    import hashlib  # here: ctl pays for it only where it compares with what runs

    return hashlib.sha256(canonical(value).encode()).hexdigest()


# -- process files ------------------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _text(value: Any, path: str, *, empty: bool = True) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(path, f"must be a string, not {_kind(value)}")
    elif not empty and not value:
        yield Problem(path, "must not be empty")
    elif "\0" in value:
        yield Problem(path, "must not contain NUL")


def _some_text(value: Any, path: str) -> Iterator[Problem]:
    return _text(value, path, empty=False)


def _list(value: Any, path: str, check: _Check) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(path, f"must be a list, not {_kind(value)}")
        return
    for index, item in enumerate(value):
        yield from check(item, f"{path}[{index}]")


def _boolean(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield Problem(path, f"must be true or false, not {_kind(value)}")


def _integer(value: Any, path: str, low: int, high: int) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int):
        kind = "a fraction" if isinstance(value, float) else _kind(value)
        yield Problem(path, f"must be an integer, not {kind}")
    elif not low <= value <= high:
        yield Problem(path, f"must be from {low} to {high}")


def _number(value: Any, path: str, low: float, high: float) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield Problem(path, f"must be a number, not {_kind(value)}")
    elif not low <= value <= high:
        bound = f"at least {low:g}" if high >= _LONG else f"from {low:g} to {high:g}"
        yield Problem(path, f"must be {bound}")


_LONG = 10.0**9
"""Seconds; what is longer than thirty years is a mistake."""


def _seconds(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > _LONG:
        yield Problem(path, f"must be at most {_LONG:.0f} seconds")
    else:
        yield from _number(value, path, 0, _LONG)


def _positive(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_seconds(value, path), None)
    if problem:
        yield problem
    elif value == 0:
        yield Problem(path, "must be more than 0")


def _interval(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_seconds(value, path), None)
    if problem:
        yield problem
    elif value < 0.1:
        yield Problem(path, "must be at least 0.1")


def _members(value: Any, path: str, checks: Mapping[str, _Check]) -> Iterator[Problem]:
    """Judge an object of ours, in which an unknown key is a mistake."""
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object, not {_kind(value)}")
        return
    for key, item in value.items():
        if key in checks:
            yield from checks[key](item, f"{path}.{key}")
        else:
            yield Problem(f"{path}.{key}", f"unknown key{_did_you_mean(key, checks)}")


def _args(value: Any, path: str) -> Iterator[Problem]:
    yield from _list(value, path, _text)
    if value == []:
        yield Problem(path, "must have at least one entry, the executable")
    elif isinstance(value, list) and value[0] == "":
        yield Problem(f"{path}[0]", "must not be empty")


def _variable(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_some_text(value, path), None)
    if problem:
        yield problem
    elif "=" in value:
        yield Problem(path, "must not contain =")


def _env(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object, not {_kind(value)}")
        return
    for key, item in value.items():
        at = f"{path}.{key}"
        yield from _variable(key, at)
        yield from _text(item, at)


def _names(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, str):
        yield Problem(path, f"must be a list: [{json.dumps(value)}]")
    else:
        yield from _list(value, path, _name)


def _name(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_text(value, path), None)
    if problem:
        yield problem
    elif why := name_problem(value):
        yield Problem(path, why)


def _id(value: Any, path: str) -> Iterator[Problem]:
    return _integer(value, path, 0, _MAX_ID)


def _supplementary(value: Any, path: str) -> Iterator[Problem]:
    return _list(value, path, lambda item, at: _some_text(item, at) if isinstance(item, str) else _id(item, at))


def _umask(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(path, f'must be a string of octal digits such as "027", not {_kind(value)}')
    elif not re.fullmatch("[0-7]{1,4}", value) or int(value, 8) > 0o777:
        yield Problem(path, 'must be octal digits from "000" to "777"')


LIMITS = frozenset(
    "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
"""The resources of setrlimit(2), lower case and without RLIMIT_, that Linux has and Python can name."""

_MAX_LIMIT = 2**63 - 1
"""What Python hands on; all that is larger is unlimited in all but name."""


def _limits(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object, not {_kind(value)}")
        return
    for key, item in value.items():
        at = f"{path}.{key}"
        if key not in LIMITS:
            yield Problem(at, f"no limit of that name{_did_you_mean(key, LIMITS)}")
        elif not isinstance(item, list):
            yield from _limit(item, at)
        elif len(item) != 2:
            yield Problem(at, "must be one limit, or a list of two: soft and hard")
        else:
            found = [problem for index in (0, 1) for problem in _limit(item[index], f"{at}[{index}]")]
            yield from found
            if not found and _height(item[0]) > _height(item[1]):
                yield Problem(at, "the soft limit is above the hard one")


def _limit(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, str):
        if value != "unlimited":
            yield Problem(path, 'must be an integer or "unlimited"')
    else:
        yield from _integer(value, path, 0, _MAX_LIMIT)


def _height(limit: Any) -> float:
    return math.inf if limit == "unlimited" else limit


def _when(value: Any, path: str) -> Iterator[Problem]:
    if value not in ("always", "failure", "never"):
        yield Problem(path, 'must be "always", "failure" or "never"')


def _attempts(value: Any, path: str) -> Iterator[Problem]:
    if value is not None:
        yield from _integer(value, path, 1, 10**9)


def _codes(value: Any, path: str) -> Iterator[Problem]:
    return _list(value, path, lambda item, at: _integer(item, at, 0, 255))


_RESTART: Mapping[str, _Check] = {
    "when": _when,
    "initial": _seconds,
    "factor": lambda value, path: _number(value, path, 1, 1000),
    "limit": _seconds,
    "jitter": lambda value, path: _number(value, path, 0, 1),
    "threshold": _seconds,
    "attempts": _attempts,
    "success": _codes,
}


def signal_name(text: str) -> str | None:
    """``TERM`` for ``TERM`` or ``SIGTERM`` in any case; None for what is no signal's name, numbers among them."""
    import signal  # here: an enum of 35 members is slow to build

    name = text.upper().removeprefix("SIG")
    return name if not text.isdigit() and f"SIG{name}" in signal.Signals.__members__ else None


def _signal(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(path, f"must be a signal's name such as TERM, not {_kind(value)}")
    elif signal_name(value) is None:
        yield Problem(path, f"{value[:40]!r} is no signal's name such as TERM")


def _ladder(value: Any, path: str) -> Iterator[Problem]:
    yield from _list(value, path, _rung)
    if value == []:
        yield Problem(path, "must have at least one step, a signal and the seconds to wait after it")


def _rung(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, list) or len(value) not in (2, 3):
        yield Problem(path, 'must be a signal and the seconds to wait after it, such as ["TERM", 10]')
        return
    yield from _signal(value[0], f"{path}[0]")
    yield from _seconds(value[1], f"{path}[1]")
    if value[2:] not in ([], ["main"]):
        yield Problem(f"{path}[2]", 'must be "main", or left out')
    elif value[2:] and isinstance(value[0], str) and signal_name(value[0]) == "KILL":
        yield Problem(f"{path}[2]", "KILL is for everybody")


def _paths(value: Any, path: str) -> Iterator[Problem]:
    return _list(value, path, _absolute) if isinstance(value, list) else _absolute(value, path)


def _absolute(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_some_text(value, path), None)
    if problem:
        yield problem
    elif not value.startswith("/"):
        yield Problem(path, "must be an absolute path")


_HTTP = re.compile(r"https?://(?:\[([0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:[/?][!-~]*)?", re.IGNORECASE)


def _http(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_text(value, path), None)
    if problem:
        yield problem
    elif not (found := _HTTP.fullmatch(value)):
        yield Problem(path, "must be a URL such as http://localhost:8000/health, what is special in it percent-encoded")
    elif found[1] and not _is_ipv6(found[1]):
        yield Problem(path, f"[{found[1][:40]}] is no IPv6 address")
    elif found[2] and not 1 <= int(found[2]) <= 65535:
        yield Problem(path, "the port must be from 1 to 65535")


def _is_ipv6(text: str) -> bool:
    import ipaddress  # here: hardly anybody needs it

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _port(value: Any, path: str) -> Iterator[Problem]:
    return _integer(value, path, 1, 65535)


def _pattern(value: Any, path: str) -> Iterator[Problem]:
    problem = next(_some_text(value, path), None)
    if problem:
        yield problem
        return
    import warnings  # here: only such files pay for it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what a later Python would read in another way
            re.compile(value)
    # Beside its own, compile raises what its numbers and its depth lead to.
    except (re.error, ValueError, OverflowError, RecursionError, Warning) as error:
        yield Problem(path, f"is no regular expression: {error}")


def _true(value: Any, path: str) -> Iterator[Problem]:
    if value is not True:
        yield Problem(path, "must be true")


_READY_PROBES: Mapping[str, _Check] = {
    "tcp": _port,
    "http": _http,
    "exec": _args,
    "log": _pattern,
    "notify": _true,
    "seconds": _seconds,
}

_READY: Mapping[str, _Check] = {**_READY_PROBES, "timeout": _positive}

_HEALTH_PROBES: Mapping[str, _Check] = {
    "tcp": _port,
    "http": _http,
    "exec": _args,
    "notify": _true,
    "beat": _some_text,
}

_HEALTH: Mapping[str, _Check] = {
    **_HEALTH_PROBES,
    "every": _interval,
    "timeout": _positive,
    "failures": lambda value, path: _integer(value, path, 1, 10**9),
    "start": _seconds,
}


def _ready(value: Any, path: str) -> Iterator[Problem]:
    problem = None
    for problem in _probed(value, path, _READY, _READY_PROBES):
        yield problem
    if problem is None and "seconds" in value and value.get("timeout", math.inf) <= value["seconds"]:
        yield Problem(f"{path}.timeout", "must be more than seconds")


def _health(value: Any, path: str) -> Iterator[Problem]:
    return _probed(value, path, _HEALTH, _HEALTH_PROBES)


def _probed(value: Any, path: str, checks: Mapping[str, _Check], probes: Mapping[str, _Check]) -> Iterator[Problem]:
    yield from _members(value, path, checks)
    if isinstance(value, dict):
        given = [key for key in value if key in probes]
        if len(given) != 1:
            instead = f", not {' and '.join(given)}" if given else ""
            yield Problem(path, f"must have exactly one of {', '.join(probes)}{instead}")


_LOG: Mapping[str, _Check] = {
    "max_bytes": lambda value, path: _integer(value, path, 0, 10**15),
    "backups": lambda value, path: _integer(value, path, 0, 1000),
    "relay": _boolean,
    "split": _boolean,
    "compress": _boolean,
    "buffer": lambda value, path: _integer(value, path, 4096, 2**20),
}


def _log(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, dict):
        yield from _members(value, path, _LOG)
    elif value is not False:
        yield Problem(path, f"must be an object or false, not {'true' if value is True else _kind(value)}")


_SPEC: Mapping[str, _Check] = {
    "args": _args,
    "shell": _some_text,
    "env": _env,
    "env_inherit": lambda value, path: _list(value, path, _variable),
    "config_env": _boolean,
    "cwd": _some_text,
    "uid": _id,
    "gid": _id,
    "user": _some_text,
    "supplementary_groups": _supplementary,
    "umask": _umask,
    "nice": lambda value, path: _integer(value, path, -20, 19),
    "limits": _limits,
    "no_new_privs": _boolean,
    "group": _names,
    "restart": lambda value, path: _members(value, path, _RESTART),
    "env_file": _paths,
    "stop": _ladder,
    "reload": _signal,
    "essential": _boolean,
    "after": _names,
    "ready": _ready,
    "health": _health,
    "log": _log,
}

UNSUPPORTED = frozenset("schedule timeout grace retry needs run_args".split())
"""Keys of the format whose feature this version does not have: a file that asks for one must not run without it."""

KEYS = frozenset(_SPEC) | UNSUPPORTED


def problems(value: Any, name: str | None = None) -> tuple[Problem, ...]:
    """
    What is wrong with a process file's JSON value, in the file's order; empty if it can be obeyed.

    ``name``, where it is known, is the process that the file is about.
    """
    return tuple(islice(_problems(value, name), MAX_PROBLEMS))


def _problems(value: Any, name: str | None) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem("", f"must be an object, not {_kind(value)}")
        return
    match ("args" in value, "shell" in value):
        case (True, True):
            yield Problem("shell", "args and shell exclude each other")
        case (False, False):
            yield Problem("", "has neither args nor shell")
        case _:
            pass
    if "uid" in value and "user" in value:
        yield Problem("user", "uid and user exclude each other")
    for key, item in value.items():
        if key in _SPEC:
            yield from _SPEC[key](item, key)
        elif key in UNSUPPORTED:
            yield Problem(key, "not supported by this version")
    after = value.get("after")
    if name is not None and isinstance(after, list) and name in after:
        yield Problem(f"after[{after.index(name)}]", f"{name} cannot start after itself")


def unknown(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a process file that mean nothing to colony; they are kept and handed on."""
    return tuple(key for key in value if key not in KEYS)


def unknown_note(key: str) -> str:
    """What to say of an unknown key, with a suggestion where it is a near miss."""
    return f"unknown key {key!r}{_did_you_mean(key, KEYS)}"


def _did_you_mean(key: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    import difflib  # here: only wrong files pay for it

    close = difflib.get_close_matches(key, sorted(known), 1, 0.75)
    return f"; did you mean {close[0]!r}?" if close else ""


# -- who waits for whom -------------------------------------------------------------------------------------


# -- messages -----------------------------------------------------------------------------------------------

_FIELDS: Mapping[str, _Check] = {"name": _name, "group": _name, "signal": _signal}

MESSAGES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "RESTART": (("name",),),
    "RESTART-ALL": ((),),
    "RESTART-GROUP": (("group",),),
    "STOP": (("name",), ("group",)),
    "START": (("name",), ("group",)),
    "SIGNAL": (("name", "signal"),),
    "RELOAD": (("name",),),
    "ROTATE": ((),),
    "SCAN": ((),),
}
"""For each type of message, the sets of fields of which it must have exactly one."""

UNSUPPORTED_MESSAGES = frozenset(("RUN", "PAUSE", "RESUME"))


def message_problems(value: Any) -> tuple[Problem, ...]:
    """Everything wrong with a message's JSON value; empty if it is a request."""
    return tuple(_message_problems(value))


def _message_problems(value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem("", f"must be an object, not {_kind(value)}")
        return
    if "by" in value:
        yield from _text(value["by"], "by")
    kind = value.get("type")
    if not isinstance(kind, str):
        yield Problem("type", "is missing" if kind is None else f"must be a string, not {_kind(kind)}")
        return
    kind = kind.upper()
    if kind in UNSUPPORTED_MESSAGES:
        yield Problem("type", f"{kind} is not supported by this version")
        return
    if kind not in MESSAGES:
        yield Problem("type", f"unknown type {kind[:40]!r}{_did_you_mean(kind, MESSAGES)}")
        return
    shapes = MESSAGES[kind]
    given = {field for shape in shapes for field in shape if field in value}
    if not any(given == set(shape) for shape in shapes):
        wanted = " or ".join(" and ".join(shape) for shape in shapes)
        yield Problem("", f"{kind} needs {wanted}" + (", not both" if len(given) > 1 else ""))
    for field in sorted(given):
        yield from _FIELDS[field](value[field], field)
