"""What a process finds in its environment, and what ``${env:NAME}`` in its spec becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

import attrs

from colony.core.model import ProcessSpec, Start

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


def finish(start: Start, account: Mapping[str, str], inherited: Mapping[str, str]) -> Finished:
    """
    Expand ``start``; of the supervisor's own environment, ``inherited``, only PATH and what the spec names is taken.

    ``account`` is what the spec's ``user`` brings along (HOME, USER, LOGNAME, SHELL). ``env`` values expand against
    these and what is inherited, never against each other; args and cwd against the finished environment. What colony
    itself says (NCOLONY_NAME, COLONY_TOKEN, ...) is overridden by nothing. Raises Unset.
    """
    spec = start.spec
    base = {"PATH": inherited.get("PATH", DEFAULT_PATH), **_taken(spec, inherited), **account}
    env = base | {key: expand(value, base) for key, value in spec.env}
    if spec.config_env:
        env["NCOLONY_CONFIG"] = start.source.decode("utf-8")
    env |= {"NCOLONY_NAME": start.name, "COLONY_NAME": start.name, "COLONY_TOKEN": start.token}
    return Finished(
        args=tuple(expand(arg, env) for arg in spec.args),
        cwd=None if spec.cwd is None else expand(spec.cwd, env),
        env=env,
    )


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
