"""What a process finds in its environment, and what ``${env:NAME}`` in its spec becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import attrs

from colony.core import env_file
from colony.core.model import Notify, ProcessSpec, Start

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"

_REFERENCE = re.compile(r"(\$?)\$\{env:([^}]+)\}")


class Unset(Exception):
    """``${env:NAME}`` asks for a variable that is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"${{env:{name}}} is not set")
        self.name = name


@attrs.frozen
class Finished:
    """A spec with everything expanded, and the environment its process gets."""

    args: tuple[str, ...]
    cwd: str | None
    env: dict[str, str]


def finish(
    start: Start,
    account: Mapping[str, str],
    inherited: Mapping[str, str],
    files: Sequence[bytes] = (),
    notify: str | None = None,
) -> Finished:
    """
    Expand ``start``; of the supervisor's own environment, ``inherited``, only PATH and what the spec names is taken.

    ``account`` is what the spec's ``user`` brings along (HOME, USER, LOGNAME, SHELL), ``files`` what its ``env_file``
    hold now. ``env`` values expand against these and what is inherited, never against each other; args and cwd against
    the finished environment. What colony itself says (NCOLONY_NAME, COLONY_TOKEN, ...) is overridden by nothing;
    ``notify`` is the address of the socket for sd_notify(3), for those that are to use it. Raises Unset and Misread.
    """
    spec = start.spec
    base = {"PATH": inherited.get("PATH", DEFAULT_PATH), **_taken(spec, inherited), **account}
    for path, data in zip(spec.env_file, files, strict=True):
        base |= env_file.parse(path, data)
    env = base | {key: expand(value, base) for key, value in spec.env}
    if spec.config_env:
        env["NCOLONY_CONFIG"] = start.source.decode("utf-8")
    env |= {"NCOLONY_NAME": start.name, "COLONY_NAME": start.name, "COLONY_TOKEN": start.token}
    if notify is not None:
        env |= _told_to_notify(spec, notify)
    return Finished(
        args=tuple(expand(arg, env) for arg in spec.args),
        cwd=None if spec.cwd is None else expand(spec.cwd, env),
        env=env,
    )


def _told_to_notify(spec: ProcessSpec, address: str) -> dict[str, str]:
    """What sd_notify(3) and sd_watchdog_enabled(3) look at; nothing for who is not to use them."""
    told = {}
    if spec.ready is not None and isinstance(spec.ready.probe, Notify):
        told["NOTIFY_SOCKET"] = address
    if spec.health is not None and isinstance(spec.health.probe, Notify):
        told |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(spec.health.every * 1e6))}
    return told


def _taken(spec: ProcessSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    taken = {}
    for pattern in spec.env_inherit:
        if pattern in inherited:
            taken[pattern] = inherited[pattern]
        elif any(character in pattern for character in "*?["):
            taken |= {key: value for key, value in inherited.items() if fnmatchcase(key, pattern)}
    return taken


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace each ``${env:NAME}``; ``$${env:NAME}`` loses its first ``$``, every other ``$`` stays. Raises Unset."""

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in variables:
            raise Unset(match[2])
        return variables[match[2]]

    return _REFERENCE.sub(value, text) if "${env:" in text else text
