"""Reads circus's configuration: what its watchers are as process files (circus 0.18, its documentation)."""

from __future__ import annotations

import configparser
import glob
import os
import re
import shlex
from fnmatch import fnmatch

from colony.cli.foreign import (
    Imported,
    Later,
    Options,
    Process,
    boolean,
    integer,
    ladder,
    number,
    octal,
    refused,
    sections,
    signal_name,
)
from colony.core import check

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from colony.cli.foreign import Asked, Sections

    # Any is a JSON value here.

_NAME = r"((?:circus|env)\.[\w.\-]+)"
_REFERENCE = re.compile(rf"\$\({_NAME}\)|\(\({_NAME}\)\)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")

_ITSELF = "it is about circusd itself"
_REASONS = {
    "warmup_delay": 'nothing waits for time; "ready" and "after" say what it is to wait for',
    "check_flapping": '"restart" says how an early death is met',
    "max_age": "nothing is started anew for its age",
    "max_age_variance": "nothing is started anew for its age",
    "on_demand": "nothing is started by a connection",
    "copy_path": "give PYTHONPATH in env",
    "virtualenv": "give PATH or PYTHONPATH in env, or the environment's own python in args",
    "shell_args": "use shell",
    "executable": "args has the executable",
    "close_child_stdin": "there is no input",
    "close_child_stdout": "redirect it to /dev/null in a shell",
    "close_child_stderr": "redirect it to /dev/null in a shell",
    "use_papa": "what runs is adopted when colony is started again, always",
    "stream_backend": "it is about circusd itself",
}


def read(path: str, asked: Asked) -> Imported:
    """What the watchers of the file, and of those that it includes, become. Raises OSError and Refused."""
    return _Reader(path, asked).imported


class _Reader:
    def __init__(self, path: str, asked: Asked) -> None:
        self._asked = asked
        self.imported = Imported()
        self._sections = _all(path, self.imported)
        self._later = Later(text for options in self._sections.values() for text in options.values())
        itself = Options("[circus]", self._sections.get("circus", {}))
        for option in ("include", "include_dir"):
            itself.take(option)
        self._umask = itself.take("umask")
        itself.leave_rest(self.imported, {}, _ITSELF)
        for section, options in self._sections.items():
            kind, _, name = section.partition(":")
            at = f"[{section}]"
            if kind == "watcher":
                self._watcher(at, name, Options(at, options))
            elif kind == "socket":
                self.imported.leave(at, "", "not carried: sockets are opened by the processes themselves")
            elif kind == "plugin":
                self.imported.leave(at, "", "not carried: there are no plugins of circus")
            elif kind not in ("circus", "env"):
                self.imported.leave(at, "", "not carried: unknown")

    def _watcher(self, at: str, name: str, options: Options) -> None:
        def flag(option: str, default: bool) -> bool:
            text = options.take(option)
            return default if text is None else boolean(at, option, text)

        if not flag("autostart", True) and not self._asked.everything:
            self.imported.leave(at, "autostart", "not written: it is not to start by itself, and here it would (--all)")
            return
        cmd, args = options.take("cmd"), options.take("args") or ""
        if cmd is None:
            raise refused(at, "cmd", "is missing")
        if flag("use_sockets", False) or "circus.sockets." in f"{cmd} {args}".lower():
            self.imported.miss(at, name, "its sockets are opened by circus and handed on")
            return
        variables = self._variables(name)
        shared = self._shared(at, options, flag)
        copied = flag("copy_env", False)
        directory = self._late(at, "working_dir", options.take("working_dir") or "", variables, {})
        if directory:
            shared["cwd"] = self._later.settle(directory)
        count = integer(at, "numprocesses", options.take("numprocesses") or "1")
        if flag("singleton", False):
            count = min(count, 1)
        if count > 1:
            shared["group"] = [name]
        shell = flag("shell", False)
        rank = self._rank(at, options)
        for wid in range(1, count + 1):
            words = {"wid": str(wid)}
            env = {key: self._in_env(key, value, variables) for key, value in variables.items()}
            line = f"{self._late(at, 'cmd', cmd, env, words)} {self._late(at, 'args', args, env, words)}"
            for variable in sorted(self._later.names(line)):
                why = f"${{env:{variable}}} is read at each start, and one word whatever is in it (--expand-env: now)"
                self.imported.leave(at, "args", why)
            try:
                split = shlex.split(line)
            except ValueError as error:
                raise refused(at, "cmd", str(error).lower()) from None
            if not split:
                raise refused(at, "cmd", "is empty")
            definition: dict[str, Any] = {}
            if shell:  # circus quotes the words again, so that the shell finds the same ones
                definition["shell"] = self._later.settle_quoted(shlex.join(split))
            else:
                definition["args"] = [self._later.settle(word) for word in split]
            definition |= shared
            if env:
                definition["env"] = {key: self._later.settle(value) for key, value in env.items()}
            needed = {name for text in (line, directory, *env.values()) for name in self._later.names(text)}
            if inherited := ["*"] if copied else sorted(needed - {"PATH"}):
                definition["env_inherit"] = inherited
            process = name if count == 1 else f"{name}-{wid}"
            self.imported.processes.append(Process(at, name, process, definition, rank))
        options.leave_rest(self.imported, _REASONS)

    def _rank(self, at: str, options: Options) -> tuple[int, ...]:
        priority = options.take("priority")
        if priority is not None and not self._asked.order:
            why = "not carried, as one does not wait for another by a number here (--order makes it after)"
            self.imported.leave(at, "priority", why)
        return (-integer(at, "priority", priority or "0"),)

    def _shared(self, at: str, options: Options, flag: Callable[[str, bool], bool]) -> dict[str, Any]:
        """What is the same for each process of a watcher."""
        found: dict[str, Any] = {}
        if self._umask:
            found["umask"] = octal("[circus]", "umask", self._umask)
        if uid := options.take("uid"):
            found |= {"uid": int(uid)} if uid.isdecimal() else {"user": uid}
        if gid := options.take("gid"):
            found["gid"] = int(gid) if gid.isdecimal() else _gid(at, gid)
        name = signal_name(at, "stop_signal", options.take("stop_signal") or "TERM")
        seconds = number(at, "graceful_timeout", options.take("graceful_timeout") or "30")
        found["stop"] = ladder(name, seconds, main=not flag("stop_children", False))
        if flag("send_hup", False):
            found["reload"] = "HUP"
        restart: dict[str, Any] = {"when": "always" if flag("respawn", True) else "never"}
        retries = integer(at, "max_retry", options.take("max_retry") or "-1")
        if retries > 0:
            restart["attempts"] = retries
        found["restart"] = restart
        limits: dict[str, Any] = {}
        for option, text in list(options.take_all("rlimit_")):
            limit = option.removeprefix("rlimit_").lower()
            if limit in check.LIMITS:
                limits[limit] = integer(at, option, text) if text.strip() else "unlimited"
                if limits[limit] == -1:
                    limits[limit] = "unlimited"
            else:
                self.imported.leave(at, option, "not carried: no such limit")
        if limits:
            found["limits"] = limits
        log = self._log(at, options)
        if log is not None:
            found["log"] = log
        for option, _ in list(options.take_all("hooks.")):
            self.imported.leave(at, option, "not carried: there are no hooks")
        return found

    def _log(self, at: str, options: Options) -> dict[str, Any] | bool | None:
        """The key ``log``; None where nothing is said of it."""
        log: dict[str, Any] = {}
        filed = False
        for stream in ("stdout_stream.", "stderr_stream."):
            given = dict(options.take_all(stream))
            filed = filed or f"{stream}filename" in given
            for option, text in given.items():
                what = option.removeprefix(stream)
                if what == "class" and text.rpartition(".")[2] in ("StdoutStream", "FancyStdoutStream", "FileStream"):
                    pass
                elif what == "max_bytes":
                    log.setdefault("max_bytes", integer(at, option, text))
                elif what == "backup_count":
                    log.setdefault("backups", integer(at, option, text))
                else:
                    self.imported.leave(at, option, "not carried: its output is in STATE/logs (colony logs)")
        return {"relay": False, "split": True, **log} if filed else None

    def _variables(self, name: str) -> dict[str, str]:
        """What the sections [env] and [env:...] say of a watcher, later ones winning."""
        found = dict(self._sections.get("env", {}))
        for section, options in self._sections.items():
            kind, colon, patterns = section.partition(":")
            if kind == "env" and colon and any(fnmatch(name, pattern.strip()) for pattern in patterns.split(",")):
                found |= options
        return found

    def _late(self, at: str, option: str, text: str, env: dict[str, str], words: dict[str, str]) -> str:
        """The text with ``$(circus.NAME)`` and ``$(circus.env.NAME)`` replaced."""

        def reference(match: re.Match[str]) -> str:
            asked = re.sub("^circus[.]", "", match[1] or match[2], flags=re.IGNORECASE)
            if asked.lower() in words:
                return words[asked.lower()]
            if asked.lower().startswith("env."):
                wanted = asked[4:]
                given = next((key for key in env if key.lower() == wanted.lower()), None)
                return env[given] if given else self._variable(wanted)
            self.imported.leave(at, option, f"{match[0]} stays as it is: it is not known")
            return match[0]

        return _REFERENCE.sub(reference, text)

    def _in_env(self, option: str, text: str, variables: dict[str, str]) -> str:
        """The value of a variable, with ``$NAME`` replaced: by circusd's own, or by another one of the watcher's."""

        def variable(match: re.Match[str]) -> str:
            name = match[1]
            if name in variables and name != option and name not in os.environ:
                return variables[name]
            return self._variable(name)

        return _VARIABLE.sub(variable, text)

    def _variable(self, name: str) -> str:
        """A variable of the supervisor's: a mark for it, or what it is here and now if that is asked for."""
        name = next((key for key in os.environ if key.lower() == name.lower()), name)
        if not self._asked.expand_env:
            return self._later.mark(name)
        return os.environ.get(name, "")


def _gid(at: str, name: str) -> int:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise refused(at, "gid", f"no such group here: {name}") from None


def _all(path: str, imported: Imported) -> Sections:
    """The sections of the file and of those that it includes; of the same option the first counts."""
    merged = _one(path)
    if not any(section == "circus" or section.startswith("watcher:") for section in merged):
        raise refused(path, "", "has no section of circus's")
    here = os.path.dirname(os.path.abspath(path))
    circus = merged.get("circus", {})
    patterns = circus.get("include", "").split()
    patterns += [os.path.join(folder, "*.ini") for folder in circus.get("include_dir", "").split()]
    for pattern in patterns:
        found = sorted(glob.glob(os.path.join(here, pattern)))
        if not found:
            imported.leave("[circus]", "include", f"nothing there: {pattern}")
        for each in found:
            for section, options in _one(each).items():
                for option, text in options.items():
                    merged.setdefault(section, {}).setdefault(option, text)
    return merged


def _one(path: str) -> Sections:
    """The sections of one file; a comment at a line's end is one only if its semicolon is the first in the line."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of variables keep their case
    found = sections(parser, path)
    return {section: {key: _uncommented(text) for key, text in options.items()} for section, options in found.items()}


def _uncommented(text: str) -> str:
    first, newline, rest = text.partition("\n")
    at = first.find(";")
    if at > 0 and first[at - 1].isspace():
        first = first[:at].rstrip()
    if first == '""':
        first = ""
    return f"{first}{newline}{rest}"
