"""Reads supervisord's configuration: what its programs are as process files (supervisor 4, its documentation)."""

from __future__ import annotations

import configparser
import glob
import os
import platform
import shlex

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

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from colony.cli.foreign import Asked, Sections

    # Any is a JSON value here.

_OURS = frozenset("supervisord include program fcgi-program eventlistener group".split())
_ASKED_OTHERWISE = frozenset("unix_http_server inet_http_server supervisorctl rpcinterface ctlplugin".split())

_ITS_LOG = "what it logs itself is a matter of twistd here (--logfile)"
_ITSELF = {
    **dict.fromkeys(("logfile", "logfile_maxbytes", "logfile_backups", "loglevel", "silent"), _ITS_LOG),
    **dict.fromkeys(("nodaemon", "pidfile"), "colony stays in front; twistd can put it into the background"),
    "minfds": 'limits are a matter of each process: "limits": {"nofile": N}',
    "minprocs": 'limits are a matter of each process: "limits": {"nproc": N}',
    "childlogdir": "output is in files of STATE/logs",
    "strip_ansi": "output stays as it is written",
    "identifier": "a colony is known by its directories",
    "nocleanup": "there is nothing to clean up",
}
_OF_A_PROGRAM = {
    "serverurl": "colony is asked by files, there is no server",
    "socket_backlog": "no sockets are handed on",
}
_STREAMS = {
    "syslog": "nothing is written to syslog",
    "capture_maxbytes": "there are no events",
    "events_enabled": "there are no events",
}
_RELAYED = frozenset(("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2"))


def read(path: str, asked: Asked) -> Imported:
    """What the programs of the file, and of those that it includes, become. Raises OSError and Refused."""
    return _Reader(path, asked).imported


class _Values(dict[str, str]):
    """What ``%(NAME)s`` stands for; environment variables by need."""

    def __init__(self, known: dict[str, Any], later: Later | None) -> None:
        super().__init__(known)
        self._later = later

    def __missing__(self, key: str) -> str:
        if not key.startswith("ENV_"):
            raise KeyError(key)
        name = key.removeprefix("ENV_")
        if self._later is not None:
            return self._later.mark(name)
        if name not in os.environ:
            raise KeyError(key)
        return os.environ[name]


class _Reader:
    def __init__(self, path: str, asked: Asked) -> None:
        self._asked = asked
        self.imported = Imported()
        self._here = os.path.dirname(os.path.abspath(path))
        self._sections = _all(path, self.imported)
        self._later = Later(text for options in self._sections.values() for text in options.values())
        self._variables: dict[str, str] = {}
        self._common: dict[str, Any] = {"here": self._here, "host_node_name": platform.node()}
        self._itself = Options("[supervisord]", self._sections.get("supervisord", {}))
        self._variables = self._pairs("[supervisord]", self._itself.take("environment"), self._common)
        # What a daemon, and nobody else, does to itself and so to its children.
        nodaemon = self._now("[supervisord]", "nodaemon", self._itself.rest.get("nodaemon", "false"), self._common)
        daemon = not boolean("[supervisord]", "nodaemon", nodaemon)
        self._directory, self._umask = (
            self._itself.take(option) if daemon else None for option in ("directory", "umask")
        )
        self._user = self._itself.take("user")
        groups = self._groups()
        for section, options in self._sections.items():
            kind, _, program = section.partition(":")
            at = f"[{section}]"
            if kind == "program":
                self._program(at, program.strip(), Options(at, options), groups.get(program.strip()))
            elif kind == "fcgi-program":
                self.imported.miss(at, program, "its socket is opened by supervisord and handed on")
            elif kind == "eventlistener":
                self.imported.leave(at, "", "not written: there are no events of supervisord to listen to")
            elif kind in _ASKED_OTHERWISE:
                self.imported.leave(at, "", "not carried: colony is asked by files, there is no server")
            elif kind not in _OURS:
                self.imported.leave(at, "", "not carried: unknown")
        without = "only a supervisord in the background does that"
        self._itself.leave_rest(self.imported, {**_ITSELF, "directory": without, "umask": without})

    # -- texts

    def _expand(self, section: str, option: str, text: str, values: _Values) -> str:
        try:
            return text % values
        except KeyError as error:
            raise refused(section, option, f"%({error.args[0][:80]})s is not known") from None
        except (TypeError, ValueError) as error:
            raise refused(section, option, f"{error}; a percent sign is written %%") from None

    def _now(self, section: str, option: str, text: str, known: dict[str, Any]) -> str:
        """The text, variables as they are at this moment: for what the format cannot leave to a start."""
        found = self._expand(section, option, text, _Values({**_as_env(self._variables), **known}, None))
        try:
            return self._later.now(found).strip()
        except KeyError as error:
            raise refused(section, option, f"%(ENV_{error.args[0][:80]})s is not known") from None

    def _late(self, section: str, option: str, text: str, known: dict[str, Any]) -> str:
        """The text with marks for variables, or as they are now if that is asked for."""
        later = None if self._asked.expand_env else self._later
        known = {**_as_env(self._variables), **known}
        return self._expand(section, option, text, _Values(known, later)).strip()

    def _pairs(self, section: str, text: str | None, known: dict[str, Any]) -> dict[str, str]:
        """``KEY="value",KEY2=value2``, marks still in the values."""
        if text is None:
            return {}
        expanded = self._late(section, "environment", text, known)
        lexer = shlex.shlex(expanded)
        lexer.wordchars += f"/.+-():{self._later.marks}"
        try:
            tokens = list(lexer)
        except ValueError as error:
            raise refused(section, "environment", str(error).lower()) from None
        found = {}
        for at in range(0, len(tokens), 4):
            match tokens[at : at + 4]:
                case [key, "=", value] | [key, "=", value, ","]:
                    found[key] = value.strip("'\"")
                case _:
                    raise refused(section, "environment", f'not KEY="value",... from {" ".join(tokens[at:])[:40]!r} on')
        return found

    # -- sections

    def _groups(self) -> dict[str, tuple[str, int]]:
        """For each program in a ``[group:x]``, that and its priority."""
        found: dict[str, tuple[str, int]] = {}
        for section, options in self._sections.items():
            kind, _, group = section.partition(":")
            if kind != "group":
                continue
            at = f"[{section}]"
            rest = Options(at, options)
            priority = rest.take("priority")
            if priority is not None and not self._asked.order:
                self.imported.leave(at, "priority", _NO_ORDER)
            rank = integer(at, "priority", self._now(at, "priority", priority or "999", self._common))
            for program in self._now(at, "programs", rest.take("programs") or "", self._common).split(","):
                name = program.strip()
                if not any(f"{kind}:{name}" in self._sections for kind in ("program", "fcgi-program")):
                    raise refused(at, "programs", f"no such program: {name}")
                found[name] = (group.strip(), rank)
            rest.leave_rest(self.imported, {})
        return found

    def _program(self, at: str, program: str, options: Options, group: tuple[str, int] | None) -> None:
        known = {**self._common, "program_name": program, "group_name": group[0] if group else program}

        def now(option: str, default: str) -> str:
            return self._now(at, option, options.take(option) or default, known)

        if not boolean(at, "autostart", now("autostart", "true")) and not self._asked.everything:
            self.imported.leave(at, "autostart", "not written: it is not to start by itself, and here it would (--all)")
            return
        command, name = options.take("command"), options.take("process_name") or "%(program_name)s"
        if command is None:
            raise refused(at, "command", "is missing")
        environment = options.take("environment")
        directory = options.take("directory") or self._directory
        shared: dict[str, Any] = {"env_inherit": ["*"]}
        if umask := now("umask", self._umask or ""):
            shared["umask"] = octal(at, "umask", umask)
        if user := now("user", self._user or ""):
            shared |= {"uid": int(user)} if user.isdecimal() else {"user": user}
        count = integer(at, "numprocs", now("numprocs", "1"))
        first = integer(at, "numprocs_start", now("numprocs_start", "0"))
        if count > 1 and "%(process_num)" not in name:
            raise refused(at, "process_name", "must have %(process_num) in it where numprocs is more than 1")
        if group is not None or count > 1:
            shared["group"] = [known["group_name"]]
        shared["restart"] = self._restart(at, options, now)
        shared["stop"] = self._stop(at, options, now)
        log = self._log(at, options, now)
        priority = "priority" in options
        rank = integer(at, "priority", now("priority", "999"))
        if priority and not self._asked.order:
            self.imported.leave(at, "priority", _NO_ORDER)
        if options.rest.get("serverurl", "").strip().upper() == "AUTO":
            options.take("serverurl")
        whole = set()
        for num in range(first, first + count):
            each = {**known, "process_num": num, "numprocs": count}
            variables = self._variables | self._pairs(at, environment, each)
            words = {**each, **_as_env(variables)}
            line = self._late(at, "command", command, words)
            whole.update(self._later.names(line))
            try:
                args = [self._later.settle(word) for word in shlex.split(line)]
            except ValueError as error:
                raise refused(at, "command", str(error).lower()) from None
            if not args:
                raise refused(at, "command", "is empty")
            definition: dict[str, Any] = {"args": args}
            if directory is not None:
                definition["cwd"] = self._later.settle(self._late(at, "directory", directory, words))
            if variables:
                definition["env"] = {key: self._later.settle(value) for key, value in variables.items()}
            definition |= shared
            if log is not None:
                definition["log"] = log
            process = self._now(at, "process_name", name, each)
            self.imported.processes.append(
                Process(at, program, process, definition, (group[1] if group else rank, rank))
            )
        for variable in sorted(whole):
            why = f"%(ENV_{variable})s is read at each start, and one word whatever is in it (--expand-env: now)"
            self.imported.leave(at, "command", why)
        options.leave_rest(self.imported, _OF_A_PROGRAM)

    def _restart(self, at: str, options: Options, now: Callable[[str, str], str]) -> dict[str, Any]:
        when, given = now("autorestart", "unexpected").lower(), "startretries" in options
        seconds = number(at, "startsecs", now("startsecs", "1"))
        retries = integer(at, "startretries", now("startretries", "3"))
        codes = [integer(at, "exitcodes", code) for code in now("exitcodes", "0").split(",") if code.strip()]
        if when == "unexpected":
            policy: dict[str, Any] = {"when": "failure", "success": codes}
        elif boolean(at, "autorestart", when):
            policy = {"when": "always"}
        else:
            if given and retries:
                why = "not carried: what autorestart=false ends is not started again here, however soon it ended"
                self.imported.leave(at, "startretries", why)
            return {"when": "never"}
        # There, it waits 1 s, then 2 s, 3 s ...; here the waits grow by a factor, to the same longest one.
        return policy | {"threshold": seconds, "attempts": max(retries, 0) + 1, "limit": max(retries, 1)}

    def _stop(self, at: str, options: Options, now: Callable[[str, str], str]) -> list[list[Any]]:
        name = signal_name(at, "stopsignal", now("stopsignal", "TERM"))
        seconds = number(at, "stopwaitsecs", now("stopwaitsecs", "10"))
        everybody = boolean(at, "stopasgroup", now("stopasgroup", "false"))
        if not boolean(at, "killasgroup", now("killasgroup", "true")):
            self.imported.leave(at, "killasgroup", "not carried: KILL is for the whole process group here")
        return ladder(name, seconds, main=not everybody)

    def _log(self, at: str, options: Options, now: Callable[[str, str], str]) -> dict[str, Any] | bool:
        """The key ``log``."""
        together = boolean(at, "redirect_stderr", now("redirect_stderr", "false"))
        log: dict[str, Any] = {}
        relayed = False
        for stream in ("stdout", "stderr"):
            for option, text in list(options.take_all(f"{stream}_")):
                what = option.removeprefix(f"{stream}_")
                if what == "logfile" and text.strip() in _RELAYED:
                    relayed = True
                elif what.startswith("logfile") and (relayed or (together and stream == "stderr")):
                    pass  # it means nothing there either
                elif what == "logfile" and text.strip().lower() == "auto":
                    pass
                elif what == "logfile_maxbytes" and stream == "stdout":
                    log["max_bytes"] = _bytes(at, option, text)
                elif what == "logfile_backups" and stream == "stdout":
                    log["backups"] = integer(at, option, text)
                elif what.startswith("logfile"):
                    self.imported.leave(at, option, "not carried: its output is in STATE/logs (colony logs)")
                elif what not in _STREAMS:
                    self.imported.leave(at, option, "not carried: unknown")
                elif text.strip().lower() not in ("false", "0", "no", "off"):
                    self.imported.leave(at, option, f"not carried: {_STREAMS[what]}")
        if relayed:
            return False
        return {"max_bytes": 50 * 2**20, "backups": 10, "relay": False, **({} if together else {"split": True}), **log}


_NO_ORDER = "not carried, as one does not wait for another by a number here (--order makes it after)"


def _as_env(variables: dict[str, str]) -> dict[str, Any]:
    """Variables by the names that ``%(...)s`` knows them by."""
    return {f"ENV_{name}": value for name, value in variables.items()}


def _bytes(at: str, option: str, text: str) -> int:
    text = text.strip().upper()
    for suffix, factor in (("KB", 2**10), ("MB", 2**20), ("GB", 2**30)):
        if text.endswith(suffix):
            return integer(at, option, text.removesuffix(suffix)) * factor
    return integer(at, option, text)


def _all(path: str, imported: Imported) -> Sections:
    """The sections of the file and of those that it includes; of the same option the last counts."""
    merged = _one(path)
    if not any(section.partition(":")[0] in _OURS | _ASKED_OTHERWISE for section in merged):
        raise refused(path, "", "has no section of supervisord's")
    if "include" not in merged:
        return merged
    include = Options("[include]", merged["include"])
    here = os.path.dirname(os.path.abspath(path))
    patterns = include.take("files")
    if patterns is None:
        raise refused("[include]", "files", "is missing")
    try:
        patterns %= _Values({"here": here, "host_node_name": platform.node()}, None)
    except (KeyError, TypeError, ValueError) as error:
        raise refused("[include]", "files", f"cannot be expanded: {error}") from None
    for pattern in patterns.split():
        found = sorted(glob.glob(os.path.join(here, pattern)))
        if not found:
            imported.leave("[include]", "files", f"nothing there: {pattern}")
        for each in found:
            for section, options in _one(each).items():
                if section == "include":
                    imported.leave(f"[include] of {each}", "files", "not carried: supervisord ignores it as well")
                else:
                    merged.setdefault(section, {}).update(options)
    include.leave_rest(imported, {})
    return merged


def _one(path: str) -> Sections:
    """The sections of one file, ``%(here)s`` being where that is."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    here = os.path.dirname(os.path.abspath(path)).replace("%", "%%")
    found = sections(parser, path)
    return {
        section: {option: text.replace("%(here)s", here) for option, text in options.items()}
        for section, options in found.items()
    }
