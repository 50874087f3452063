"""Hypothesis strategies for the vocabulary, and the settings that make every run the same."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from colony.core import check
from colony.core.model import Exit, Name, ProcessSpec, RestartPolicy, Rung, StopLadder

steady = settings(derandomize=True, deadline=None, max_examples=100)
"""The same examples each time, on a machine of any speed."""

names: st.SearchStrategy[Name] = (
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,20}", fullmatch=True)
    .filter(lambda text: check.name_problem(text) is None)
    .map(Name)
)

signals = st.sampled_from(["TERM", "INT", "QUIT", "HUP", "USR1"])

seconds = st.floats(0, 100, allow_nan=False)

ladders: st.SearchStrategy[StopLadder] = st.builds(
    lambda rungs: (*rungs, Rung("KILL", 0)),
    st.lists(st.builds(Rung, signals, seconds, st.booleans()), max_size=4),
)
"""Any ladder that ends in KILL, as every ladder does."""

exits: st.SearchStrategy[Exit] = st.one_of(
    st.builds(Exit, st.sampled_from([0, 1, 2, 255])),
    st.builds(lambda name: Exit(None, name), st.sampled_from(["KILL", "SEGV", "TERM"])),
    st.just(Exit(None)),
)

policies: st.SearchStrategy[RestartPolicy] = st.builds(
    RestartPolicy,
    when=st.sampled_from(["always", "failure", "never"]),
    initial=st.floats(0, 1e9),
    factor=st.floats(1, 1000),
    limit=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
    threshold=st.floats(0, 1e9),
    attempts=st.none() | st.integers(1, 10**9),
    success=st.lists(st.integers(0, 255), max_size=3).map(tuple),
)
"""Everything that the validator lets through."""


def specs(name: str) -> st.SearchStrategy[ProcessSpec]:
    """Specs for the machine: few enough that the same one comes back, with delays that are seen."""
    return st.builds(
        lambda number, policy, stop: ProcessSpec(
            args=(name, str(number)), digest=f"{name} {number} {policy} {stop}", restart=policy, stop=stop, killtime=2.0
        ),
        st.integers(1, 2),
        st.builds(
            RestartPolicy,
            when=st.sampled_from(["always", "always", "failure", "never"]),
            initial=st.sampled_from([1.0, 0.0, 4.0]),
            limit=st.sampled_from([8.0, 3600.0]),
            jitter=st.sampled_from([0.0, 0.5]),
            attempts=st.sampled_from([None, None, 1, 3]),
            success=st.sampled_from([(0,), (0, 2), ()]),
        ),
        st.sampled_from([(Rung("TERM", 5.0), Rung("KILL", 0)), (Rung("INT", 1.0), Rung("INT", 0.0), Rung("KILL", 0))]),
    )


# -- JSON that is good ----------------------------------------------------------------------------------------

# Any is a JSON value.

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
_some_text = _texts.filter(bool)
_variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True)
_seconds = st.integers(0, 10**9) | st.floats(0, 1e9)

_restart = st.fixed_dictionaries(
    {},
    optional={
        "when": st.sampled_from(["always", "failure", "never"]),
        "initial": _seconds,
        "factor": st.integers(1, 1000) | st.floats(1, 1000),
        "limit": _seconds,
        "jitter": st.floats(0, 1),
        "threshold": _seconds,
        "attempts": st.none() | st.integers(1, 10**9),
        "success": st.lists(st.integers(0, 255), max_size=3),
    },
)

_limits = st.one_of(
    st.integers(0, 2**63 - 1),
    st.just("unlimited"),
    st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2).map(sorted),
    st.integers(0, 2**63 - 1).map(lambda soft: [soft, "unlimited"]),
)

_paths = _some_text.map("/{}".format)
_timeouts = st.integers(1, 10**9) | st.floats(0.001, 1e9)
_probes: dict[str, st.SearchStrategy[Any]] = {
    "tcp": st.integers(1, 65535),
    "http": st.builds("http://{}:{}/{}".format, st.sampled_from(["localhost", "[::1]"]), st.integers(1, 65535), names),
    "exec": st.builds(lambda first, rest: [first, *rest], _some_text, st.lists(_texts, max_size=3)),
    "notify": st.just(True),
}


def _probed(
    probes: dict[str, st.SearchStrategy[Any]], settings: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """One probe, whichever, and any of its settings."""
    return st.one_of([st.fixed_dictionaries({key: probe}, optional=settings) for key, probe in probes.items()])


_ready = st.one_of(
    _probed({**_probes, "log": _some_text.map(re.escape)}, {"timeout": _timeouts}),
    st.builds(
        lambda seconds, more: {"seconds": seconds} | ({} if more is None else {"timeout": seconds + more}),
        st.integers(0, 10**6),
        st.none() | st.integers(1, 10**6),
    ),
)

_health = _probed(
    {**_probes, "beat": _some_text},
    {
        "every": st.integers(1, 10**9) | st.floats(0.1, 1e9),
        "timeout": _timeouts,
        "failures": st.integers(1, 10**9),
        "start": _seconds,
    },
)

_signals = st.builds(
    lambda prefix, name, case: case(f"{prefix}{name}"),
    st.sampled_from(["", "SIG"]),
    st.sampled_from(["TERM", "INT", "HUP", "KILL", "USR1"]),
    st.sampled_from([str.upper, str.lower]),
)


def _asks(signal: str) -> bool:
    return check.signal_name(signal) != "KILL"


_log = st.fixed_dictionaries(
    {},
    optional={
        "max_bytes": st.integers(0, 10**15),
        "backups": st.integers(0, 1000),
        "relay": st.booleans(),
        "split": st.booleans(),
        "compress": st.booleans(),
        "buffer": st.integers(4096, 2**20),
    },
)

_optional: dict[str, st.SearchStrategy[Any]] = {
    "env": st.dictionaries(_variables, _texts, max_size=3),
    "env_inherit": st.lists(_variables | st.just("LC_*"), max_size=3),
    "config_env": st.booleans(),
    "cwd": _some_text,
    "uid": st.integers(0, 2**32 - 2),
    "gid": st.integers(0, 2**32 - 2),
    "supplementary_groups": st.lists(st.integers(0, 2**32 - 2) | _some_text, max_size=3),
    "umask": st.integers(0, 0o777).map("{:o}".format),
    "nice": st.integers(-20, 19),
    "limits": st.dictionaries(st.sampled_from(sorted(check.LIMITS)), _limits, max_size=3),
    "no_new_privs": st.booleans(),
    "group": st.lists(names, max_size=3),
    "restart": _restart,
    "env_file": _paths | st.lists(_paths, max_size=2),
    "stop": st.lists(
        st.tuples(_signals, _seconds).map(list)
        | st.tuples(_signals.filter(_asks), _seconds, st.just("main")).map(list),
        min_size=1,
        max_size=4,
    ),
    "reload": _signals,
    "essential": st.booleans(),
    "after": st.lists(names, max_size=3),
    "ready": _ready,
    "health": _health,
    "log": st.just(False) | _log,
    "a key of somebody else's": st.none() | st.booleans() | _texts,
}

spec_values: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {"args": st.builds(lambda first, rest: [first, *rest], _some_text, st.lists(_texts, max_size=3))},
        optional=_optional,
    ),
    st.fixed_dictionaries({"shell": _some_text}, optional=_optional),
)
"""Process files that the validator lets through, as JSON values."""


def spec_bytes(number: int = 0) -> bytes:
    """A good process file; another one for each number."""
    return json.dumps({"args": ["run", str(number)]}).encode()
