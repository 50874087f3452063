"""What ``python -m twisted colony`` is told on its command line, and by its environment, checked."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, NoReturn

import attrs
from twisted.python import usage

from colony.core.model import Defaults

# Any is what usage.Options maps to.


class Options(usage.Options):
    """What `makeService` reads; values are checked there, so that each mistake is one line."""

    synopsis = "--config DIR --messages DIR [options]"
    longdesc = "Keeps the processes running that the files in --config describe; see `python -m colony ctl --help`."
    optParameters: ClassVar = [
        ["config", None, None, "directory with one JSON file a process [COLONY_CONFIG]"],
        ["messages", None, None, "directory that requests are put into [COLONY_MESSAGES]"],
        ["state", None, None, "directory that tells what is [COLONY_STATE, else CONFIG.state]"],
        ["frequency", None, "10", "seconds between two full looks at the directories"],
        ["pid", None, None, "directory to write a pid file a process into"],
        ["threshold", "t", "1", "seconds; a life shorter than this is an early death"],
        ["killtime", "k", "5", "seconds from TERM to KILL"],
        ["minrestartdelay", "m", "1", "seconds of the first backoff"],
        ["maxrestartdelay", "M", "3600", "seconds that a backoff grows to"],
        ["orphans", None, "adopt", "adopt or kill: what becomes of processes whose supervisor was killed"],
    ]
    optFlags: ClassVar = [
        ["cgroups", None, "give each start a cgroup (v2) of its own, which nobody gets out of"],
        ["no-strict-modes", None, "as root, obey files whoever has written them"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self["trust-user"] = []

    def opt_trust_user(self, name: str) -> None:
        """as root, also obey files of this user; repeatable"""
        self["trust-user"].append(name)

    def parseArgs(self, *words: str) -> None:
        """There are options alone; Twisted would say that their number is wrong."""
        if words:
            refuse(f"takes no {words[0][:40]!r}")

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Twisted would print all its help, and exit with 64."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # Twisted's
        except usage.UsageError as error:
            refuse(str(error))


def refuse(why: str) -> NoReturn:
    """End with one line and exit code 1."""
    raise SystemExit(f"colony: {why}")


@attrs.frozen
class Settings:
    """The options, checked; paths are absolute, durations in seconds."""

    config: str
    messages: str
    state: str
    pids: str | None
    frequency: float
    defaults: Defaults
    trusted: frozenset[int] | None = None
    """The uids whose files are obeyed; None for everybody's."""
    adopt: bool = True
    """Do processes of a killed supervisor go on?  Else they are stopped, and started anew."""
    cgroups: bool = False
    """Does each start get a cgroup of its own, where there are any?"""

    @classmethod
    def read(cls, options: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """Raises SystemExit with what is wrong."""
        config = _directory(options["config"] or environ.get("COLONY_CONFIG"), "config")
        messages = _directory(options["messages"] or environ.get("COLONY_MESSAGES"), "messages")
        given = options["state"] or environ.get("COLONY_STATE")
        state = os.path.abspath(given) if given else os.path.realpath(config) + ".state"
        real = {os.path.realpath(path): option for option, path in (("config", config), ("messages", messages))}
        if len(real) < 2:
            refuse("--config and --messages are the same directory")
        for path, option in real.items():
            if os.path.realpath(state) == path:
                refuse(f"--state and --{option} are the same directory")
        seconds = partial(_seconds, options)
        defaults = Defaults(
            threshold=seconds("threshold"),
            killtime=seconds("killtime"),
            initial=seconds("minrestartdelay"),
            limit=seconds("maxrestartdelay"),
        )
        pids = os.path.abspath(options["pid"]) if options["pid"] else None
        trusted = _trusted(options["trust-user"], strict=not options["no-strict-modes"])
        if options["orphans"] not in ("adopt", "kill"):
            refuse(f"--orphans {options['orphans']} is neither adopt nor kill")
        adopt = options["orphans"] == "adopt"
        cgroups = bool(options["cgroups"])
        return cls(config, messages, state, pids, seconds("frequency", 0.01), defaults, trusted, adopt, cgroups)

    @property
    def colony(self) -> str:
        """What begins every token of this CONFIG's processes."""
        return hashlib.sha256(os.path.realpath(self.config).encode()).hexdigest()[:16]


def _directory(path: str | None, option: str) -> str:
    if not path:
        refuse(f"--{option} DIR is required (or COLONY_{option.upper()})")
    if os.path.exists(path) and not os.path.isdir(path):
        refuse(f"--{option} {path} is not a directory")
    return os.path.abspath(path)


def _trusted(names: Iterable[str], *, strict: bool) -> frozenset[int] | None:
    """Root's, and those of the users of these names or uids; None where nobody's files are to be judged."""
    uids = {0}
    for name in names:
        try:
            uids.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            if not (name.isascii() and name.isdecimal()):
                refuse(f"--trust-user {name}: no such user")
            uids.add(int(name))
    return frozenset(uids) if strict and os.geteuid() == 0 else None


def _seconds(options: Mapping[str, Any], option: str, low: float = 0.0) -> float:
    try:
        value = float(options[option])
    except ValueError:
        value = -1.0
    if not low <= value <= 1e9:
        refuse(f"--{option} {options[option]} is no number of seconds{f' of at least {low}' if low else ''}")
    return value
