"""
Writes process files and messages, whole and durable, and reads what the supervisor tells; standard library only.

All that ctl knows, and the door for programs: ``add(Places("/conf", "/messages"), "echo", "/bin/echo", ["hello"])``.
Errors are `Refused` or OSError; then nothing has been written, unless it was the waiting for an effect that failed.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections import namedtuple
from contextlib import suppress

from colony import atomic
from colony.core import check, standing
from colony.core.needs import between, needed_first

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Literal, overload

    from colony.core.check import Problem
    from colony.core.standing import Verdict as Judgement
    from colony.logs.log import Folder, Log

    # Any is a JSON value here. A judge looks at one name's status (None: there is none) and the seconds that it has had
    # to change since it was asked for, infinite where it is known to be newer.
    _Judge = Callable[[str, "dict[str, Any] | None", float], Judgement]

    # Hears of each name that is as it should be, at once, and its status then.
    Done = Callable[[str, "dict[str, Any] | None"], None]

ANSWER_SECONDS = 10.0
WAIT_SECONDS = 60.0

INVALID, UNKNOWN, DEAD, LATE = 2, 4, 5, 124
"""Codes of a `Refused` beside the plain 1: an invalid request, no such process, no supervisor alive, too late."""


class Refused(Exception):
    """
    What could not be done, then why, in one line; ``problems`` has the details of an invalid definition.

    ``code`` is ctl's exit code for it: 1 refused or failed, 2 invalid, 4 no such process, 5 no supervisor alive,
    124 timed out.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = (), code: int = 1) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        self.code = code


# -- places -------------------------------------------------------------------------------------------------


class Places(namedtuple("Places", ("config", "messages", "state"), defaults=(None,))):
    """
    The three directories.

    ``state`` None: looked up (`state_directory`). ``config`` or ``messages`` may be None where nothing asks for it.
    """

    __slots__ = ()
    config: str | os.PathLike[str] | None
    messages: str | os.PathLike[str] | None
    state: str | os.PathLike[str] | None


def _config(places: Places) -> str:
    if places.config is None:
        raise Refused("needs --config DIR, or COLONY_CONFIG", code=INVALID)
    return os.fspath(places.config)


def _messages(places: Places) -> str:
    if places.messages is None:
        raise Refused("needs --messages DIR, or COLONY_MESSAGES", code=INVALID)
    return os.fspath(places.messages)


def state_directory(places: Places) -> str:
    """
    Where the supervisor tells what is: given, or named by ``MESSAGES/.state``, or beside CONFIG.

    The pointer is believed only if it belongs to root, to the owner of MESSAGES or to us: somebody else's could
    show us what they please.
    """
    if places.state is not None:
        return os.fspath(places.state)
    if places.messages is not None:
        pointer = os.path.join(_messages(places), ".state")
        try:
            descriptor = os.open(pointer, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            pass
        else:
            try:
                owner = os.fstat(descriptor).st_uid
                if owner not in (0, os.geteuid(), os.stat(_messages(places)).st_uid):
                    raise Refused(f"cannot believe {pointer}: it belongs to uid {owner}; give --state")
                path = os.fsdecode(os.read(descriptor, 4096)).strip("\n")
            finally:
                os.close(descriptor)
            if not os.path.isabs(path):
                raise Refused(f"cannot believe {pointer}: it holds no absolute path; give --state")
            return path
    return os.path.realpath(_config(places)) + ".state"


def alive(places: Places) -> bool:
    """
    Does a supervisor hold the locks that it keeps for life?

    MESSAGES is asked; CONFIG where MESSAGES is not given, or not ours to look into.
    """
    import fcntl

    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(_config(places) if places.messages is None else _messages(places), flags)
        except PermissionError:
            descriptor = os.open(_config(places), flags)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def must_be_alive(places: Places) -> None:
    """Raises Refused with code 5 if no supervisor is alive."""
    if not alive(places):
        directory = os.fspath((places.config if places.messages is None else places.messages) or "")
        missing = "" if os.path.isdir(directory) else ": there is no such directory"
        raise Refused(f"no supervisor is alive on {directory}{missing}", code=DEAD)


# -- process files ------------------------------------------------------------------------------------------


class Change(namedtuple("Change", ("word", "path", "before", "after"))):
    """What `put` did or would do (``added``, ``changed``, ``unchanged``); its file; the bytes before or None; after."""

    __slots__ = ()
    word: Literal["added", "changed", "unchanged"]
    path: str
    before: bytes | None
    after: bytes


def add(
    places: Places,
    name: str,
    cmd: str | None,
    args: Sequence[str],
    env: Mapping[str, str] | Iterable[str] | None = None,
    uid: int | None = None,
    gid: int | None = None,
    extras: Mapping[str, Any] | None = None,
    env_inherit: Sequence[str] | None = None,
    **more: Any,
) -> str:
    """
    Write the process file ``name``, on the disk when this returns; ``added``, ``changed`` or ``unchanged``.

    The arguments are those of `define`.
    """
    return put(places, name, define(cmd, args, env, uid, gid, extras, env_inherit, **more)).word


def define(
    cmd: str | None,
    args: Sequence[str],
    env: Mapping[str, str] | Iterable[str] | None = None,
    uid: int | None = None,
    gid: int | None = None,
    extras: Mapping[str, Any] | None = None,
    env_inherit: Sequence[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """
    The definition of a process, not yet validated.

    ``env`` is a mapping or a list of ``K=V``; ``more`` is any key of the format (``cwd="/srv"``), ``extras`` any
    keys at all, those of other programs among them. None leaves a key out; ``cmd`` is None where ``shell`` is given.
    """
    for key in more:
        if key not in check.KEYS:
            raise _invalid("define", [check.Problem(key, "no key of the format; keys of your own belong in extras")])
    definition: dict[str, Any] = {}
    if isinstance(args, str):
        raise _invalid("define", [check.Problem("args", "must be a list, not a string")])
    if cmd is not None:
        definition["args"] = [cmd, *(args or ())]
    elif args:
        raise _invalid("define", [check.Problem("args", "arguments without a command")])
    given = {
        "env": None if env is None else _variables(env),
        "env_inherit": env_inherit,
        "uid": uid,
        "gid": gid,
        **more,
    }
    definition |= {key: value for key, value in given.items() if value is not None}
    for key, value in (extras or {}).items():
        if key in definition and definition[key] != value:
            raise _invalid("define", [check.Problem(key, "given twice: in extras and beside them")])
        definition[key] = value
    return definition


def _variables(env: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """The environment that ``K=V`` texts make, the last of the same K winning."""
    if isinstance(env, dict) or hasattr(env, "items"):
        return dict(env)  # type: ignore[arg-type]  # whatever has items makes a dict
    variables = {}
    for item in env:
        key, equals, value = item.partition("=")
        if not equals:
            raise _invalid("define", [check.Problem("env", f"{item!r} is not K=V")])
        variables[key] = value
    return variables


def put(places: Places, name: str, definition: Mapping[str, Any], *, dry_run: bool = False) -> Change:
    """
    Make CONFIG hold ``definition`` as ``name``: in ``NAME.json`` where that exists, else in ``NAME``.

    It is validated first, as the supervisor will read it. A file that holds the same JSON value already is left
    as it is. With ``dry_run`` nothing is written.
    """
    check_name(name)
    action = f"add {name}"
    try:
        data = f"{json.dumps(definition, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
        value = check.decode(data, check.MAX_SPEC_BYTES)
    except UnicodeEncodeError:
        raise _invalid(action, [check.Problem("", "has text that is not UTF-8")]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(action, [check.Problem("", str(error))]) from None
    except check.Malformed as malformed:
        raise _invalid(action, [check.Problem("", malformed.message)]) from None
    if found := check.problems(value, name):
        raise _invalid(action, found)
    config = _config(places)
    there = _files(config, name)
    if len(there) > 1:
        raise Refused(f"cannot add {name}: {' and '.join(there)} are both there; remove one")
    path = there[0] if there else os.path.join(config, name)
    before = None
    if there:
        try:
            before = _read(path, check.MAX_SPEC_BYTES)
            if check.canonical(check.decode(before, check.MAX_SPEC_BYTES)) == check.canonical(value):
                return Change("unchanged", path, before, before)
        except (check.Malformed, FileNotFoundError):  # broken, or a dangling link: written anew
            pass
    if not dry_run:
        _write(path, data)
    return Change("changed" if there else "added", path, before, data)


def remove(places: Places, name: str) -> None:
    """
    Delete the process file of ``name``, for good when this returns, and ring for a scan.

    Raises Refused with code 4 if there is none.
    """
    check_name(name)
    config = _config(places)
    there = _files(config, name)
    if not there:
        with suppress(FileNotFoundError):
            os.lstat(os.path.join(config, name))  # where CONFIG may not be looked into, nobody knows
        raise Refused(f"cannot remove {name}: no such process", code=UNKNOWN)
    for path in there:
        try:
            atomic.remove(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
    ring(places)


def ring(places: Places) -> str | None:
    """Ask a living supervisor to look at CONFIG now; the message's file name, None if nobody was there to be asked."""
    try:
        return scan(places) if places.messages is not None and alive(places) else None
    except OSError:  # it looks at its next tick anyway
        return None


def check_name(name: str) -> str:
    """``name``; raises Refused with code 2 for what can be no process's name."""
    if problem := check.name_problem(name):
        raise Refused(problem, [check.Problem("name", problem)], INVALID)
    return name


def _invalid(action: str, problems: Sequence[Problem]) -> Refused:
    return Refused(f"cannot {action}: {_line([str(problem) for problem in problems])}", problems, INVALID)


def _files(config: str, name: str) -> list[str]:
    """The directory entries that speak for ``name``: none, one, or by mistake two."""
    paths = (os.path.join(config, name), os.path.join(config, f"{name}.json"))
    return [path for path in paths if os.path.lexists(path)]


def _read(path: str, limit: int) -> bytes:
    """At most ``limit`` bytes and one more; raises Malformed for what is no regular file: a FIFO would block us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise check.Malformed("not a regular file", whole=True)
        data = b""
        while len(data) <= limit and (chunk := os.read(descriptor, limit + 1 - len(data))):
            data += chunk
        return data
    finally:
        os.close(descriptor)


def _write(path: str, data: bytes) -> None:
    try:
        atomic.write(path, data)
    except OSError as error:
        # The name of a temporary file would tell nobody anything; what is wrong is mostly the directory.
        at_fault = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
        raise OSError(error.errno, error.strerror, (os.path.dirname(path) or ".") if at_fault else path) from error


# -- messages -----------------------------------------------------------------------------------------------

_last = 0


def ask(places: Places, kind: str, by: str | None = None, **fields: str) -> str:
    """
    Write a message, on the disk when this returns; its file name, by which `answer` knows it.

    ``kind`` is the message's type (``RESTART``), ``fields`` what it takes (``name``, ``group``, ``signal``), ``by``
    who asks. Names of later messages sort after those of earlier ones, and collide with nobody's.
    """
    global _last
    message = request(kind, by, **fields)
    _last = max(time.time_ns(), _last + 1)
    filename = f"{_last:020d}-{os.urandom(16).hex()}"
    _write(os.path.join(_messages(places), filename), f"{json.dumps(message)}\n".encode())
    return filename


def request(kind: str, by: str | None = None, **fields: str) -> dict[str, str]:
    """The message that `ask` writes. Raises Refused with code 2 if it is none."""
    message = {"type": kind, **fields}
    if by is not None:
        message["by"] = by
    if found := check.message_problems(message):
        raise _invalid(" ".join([kind.lower(), *filter(None, (fields.get("name"), fields.get("group")))]), found)
    if "signal" in fields:
        message["signal"] = check.signal_name(fields["signal"]) or fields["signal"]
    return message


def restart(places: Places, name: str, by: str | None = None) -> str:
    """Ask that an instance of ``name`` runs that is started after this."""
    return ask(places, "RESTART", by, name=name)


def restart_all(places: Places, by: str | None = None) -> str:
    """Ask the same for every process that is not stopped."""
    return ask(places, "RESTART-ALL", by)


restartAll = restart_all  # the name that old callers know


if TYPE_CHECKING:

    @overload
    def restart_group(places: Places, group: str, by: str | None = None) -> str: ...

    @overload
    def restart_group(
        places: Places, group: str, by: str | None = None, *, rolling: Literal[True], timeout: float = WAIT_SECONDS
    ) -> Rolled: ...


def restart_group(
    places: Places, group: str, by: str | None = None, *, rolling: bool = False, timeout: float = WAIT_SECONDS
) -> str | Rolled:
    """
    Ask the same for every process of a group that is not stopped; with ``rolling`` see it done, one by one, by `roll`.

    ``timeout``, in seconds, is for each of them then.
    """
    return roll(places, [group], by, timeout) if rolling else ask(places, "RESTART-GROUP", by, group=group)


def start(places: Places, name: str | None = None, group: str | None = None, by: str | None = None) -> str:
    """End what `stop` began, and a backoff; of a name or of a group."""
    return ask(places, "START", by, **_either(name, group))


def stop(places: Places, name: str | None = None, group: str | None = None, by: str | None = None) -> str:
    """Ask that a name or a group does not run, until it is started or restarted by name."""
    return ask(places, "STOP", by, **_either(name, group))


def signal(places: Places, name: str, signal: str, by: str | None = None) -> str:
    """Ask that the process group of ``name`` gets a signal: ``HUP``, or ``SIGHUP``."""
    return ask(places, "SIGNAL", by, name=name, signal=signal)


def reload(places: Places, name: str, by: str | None = None) -> str:
    """Ask that ``name`` reads its configuration again, by the signal that its file names for that; its pid stays."""
    return ask(places, "RELOAD", by, name=name)


def rotate(places: Places, by: str | None = None) -> str:
    """Ask that every log file is begun anew, the present one becoming the first of the old ones."""
    return ask(places, "ROTATE", by)


def scan(places: Places, by: str | None = None) -> str:
    """Ask that CONFIG is looked at now."""
    return ask(places, "SCAN", by)


def _either(name: str | None, group: str | None) -> dict[str, str]:
    return {key: value for key, value in (("name", name), ("group", group)) if value is not None}


def answer(places: Places, filename: str, timeout: float = ANSWER_SECONDS) -> dict[str, Any]:
    """
    What the supervisor said to a message, as soon as it has: accepted, and its effect ordered, or refused.

    Raises Refused with code 124 after ``timeout`` seconds, with 5 when no supervisor is alive (any more); the
    message is left for the next one then.
    """
    # A name of ours is made of digits and hex; anything else may not lead out of the directory.
    path = os.path.join(state_directory(places), "answers", f"{os.path.basename(filename)}.json")
    message = os.path.join(_messages(places), os.path.basename(filename))
    taken = None
    for elapsed in _ticks(places, timeout):
        told = _told(path)
        if told is not None:
            return told
        if taken is None and not os.path.lexists(message):
            taken = elapsed
        elif taken is not None and elapsed - taken > 1:
            raise Refused(f"the message was taken, but no answer to it is in {os.path.dirname(path)}", code=LATE)
    raise Refused("no answer in time; the message stays", code=LATE)


def accepted(told: Mapping[str, Any], action: str) -> list[str]:
    """The names an answer speaks of; raises Refused with its code if it is a refusal."""
    if not told.get("ok"):
        raise Refused(f"cannot {action}: {told.get('error')}", code=int(told.get("code") or 1))
    return list(told.get("names") or ())


# -- what is ------------------------------------------------------------------------------------------------


def supervisor(places: Places) -> dict[str, Any]:
    """What the living supervisor tells of itself; empty if it could not write it."""
    must_be_alive(places)
    return _told(os.path.join(state_directory(places), "supervisor.json")) or {}


def must_have_told(places: Places) -> None:
    """Raises Refused with code 5 if no supervisor is alive, with 1 if it has told nothing in what we take for STATE."""
    if not supervisor(places) and not os.path.isdir(os.path.join(state_directory(places), "status")):
        raise _untold(places)


def _untold(places: Places) -> Refused:
    return Refused(f"nothing is known: the supervisor has told nothing in {state_directory(places)}")


def upgrade(places: Places, timeout: float = WAIT_SECONDS) -> dict[str, Any]:
    """
    Have the supervisor become the code that is installed now (SIGUSR2); what it tells of itself afterwards.

    Every process goes on. Raises Refused: 1 if the new code cannot start, or 124 if nothing came of it in time; the old
    code goes on then.
    """
    import signal

    before = supervisor(places)
    lock = _told(os.path.join(state_directory(places), "lock")) or {}
    asked = now()
    try:
        with open(f"/proc/{int(lock['pid'])}/stat", "rb") as file:
            start_time = int(file.read().rpartition(b")")[2].split()[19])
    except (KeyError, TypeError, ValueError, OSError):
        start_time = None
    if start_time is None or start_time != lock.get("start_time"):
        raise Refused("cannot tell the supervisor's pid: STATE/lock does not agree with /proc")
    os.kill(int(lock["pid"]), signal.SIGUSR2)
    for _ in _ticks(places, timeout):
        told = _told(os.path.join(state_directory(places), "supervisor.json")) or {}
        if told.get("started", "") > before.get("started", ""):
            return told
        refused = told.get("upgrade_refused")
        if refused and refused["at"] >= asked:
            raise Refused(f"no upgrade: {refused['error']}")
    raise Refused("timed out: the supervisor has neither become another one nor refused to", code=LATE)


def status(places: Places, names: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """
    What is, by name, sorted; of all, or of ``names``.

    Raises Refused with code 5 if no supervisor is alive (what the last one wrote is not so any more), with 4 for
    a name that has none.
    """
    must_be_alive(places)
    directory = os.path.join(state_directory(places), "status")
    if names is None:
        try:
            found = sorted(entry[:-5] for entry in os.listdir(directory) if entry.endswith(".json"))
        except FileNotFoundError:
            found = []
        return {name: told for name in found if (told := _status(directory, name)) is not None}
    told = {}
    for name in names:
        one = _status(directory, check_name(name))
        if one is None:
            raise Refused(f"no such process: {name}", code=UNKNOWN)
        told[name] = one
    return told


_BLANK = dict.fromkeys("pid started last_exit next_start ready health digest".split()) | {
    "wanted": True,
    "state": "unknown",
    "why": "",
    "since": "1970-01-01T00:00:00.000000Z",
    "starts": 0,
    "streak": 0,
    "problems": [],
    "unknown": [],
}
"""What a status says that a supervisor of another version left out."""


def _status(directory: str, name: str) -> dict[str, Any] | None:
    told = _told(os.path.join(directory, f"{name}.json"))
    return None if told is None else {"name": name, **_BLANK, **told}


def _told(path: str) -> dict[str, Any] | None:
    """The JSON object in one of the supervisor's files, None if there is no such file."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, ValueError):  # it writes whole files; what is no JSON is not its own
        return None
    return value if isinstance(value, dict) else None


class Events:
    """
    What has become of processes, as the supervisor writes it into ``STATE/events.jsonl``; nobody need be alive.

    The first `read` finds all that is kept, every later one what is new; through rotations, without a gap.
    """

    def __init__(self, places: Places) -> None:
        self._path = os.path.join(state_directory(places), "events.jsonl")
        self._descriptor: int | None = None
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The events since the last time, oldest first. Raises OSError; there being no file yet is none."""
        found: list[dict[str, Any]] = []
        if self._descriptor is None:
            current, former = self._open(self._path), self._open(f"{self._path}.1")
            if former is not None and not (current is not None and os.path.sameopenfile(former, current)):
                self._descriptor = former
                found += self._rest()
            self._follow(current)
        while self._descriptor is not None:
            try:
                there = os.stat(self._path)
            except FileNotFoundError:  # between two files, or STATE is gone: no more comes for now
                return found + self._rest()
            replaced = not os.path.samestat(there, os.fstat(self._descriptor))
            found += self._rest()  # a file that is not in use any more grows no more
            if not replaced:
                break
            self._follow(self._open(self._path))
        return found

    def close(self) -> None:
        """Read no more."""
        self._follow(None)

    def _follow(self, descriptor: int | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._offset = descriptor, 0

    def _open(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _rest(self) -> list[dict[str, Any]]:
        """What whole lines the file has that were not read yet."""
        assert self._descriptor is not None
        # What a full disk took half of has been taken back.
        self._offset = min(self._offset, os.fstat(self._descriptor).st_size)
        data = b""
        while chunk := os.pread(self._descriptor, 1 << 20, self._offset + len(data)):
            data += chunk
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        found = []
        for line in data.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                found.append({**_NO_EVENT, **event})
        return found


def logs(places: Places) -> Folder:
    """The directory of logs: whose there are, and what they are read through."""
    from colony.logs.log import Folder

    return Folder(os.path.join(state_directory(places), "logs"))


def log(places: Places | Folder, name: str, stream: str = "out") -> Log:
    """
    That log, to be read right across its rotated files and as it grows, though there may be none yet.

    ``stream`` is ``err`` for standard error where it is split; of many logs one `logs` is to be given.
    """
    from colony.logs.log import Log

    return Log(logs(places) if isinstance(places, Places) else places, check_name(name), stream)


def output(places: Places, name: str, lines: int = 10) -> list[str] | None:
    """
    The last lines that a process has written, right across its files; None where it has no log, or none for us.

    Of what is no UTF-8 there are escapes. Where standard error is split, its lines come last.
    """
    try:
        kept = _kept(places, name)
        return [line for each in kept for line in _text(each.last_lines(lines) or b"")] if kept else None
    except PermissionError:
        return None


def events(places: Places, name: str) -> list[dict[str, Any]]:
    """What is kept of what has become of a process, oldest first; nothing where it may not be read."""
    trail = Events(places)
    try:
        return [event for event in trail.read() if event["name"] == check_name(name)]
    except PermissionError:
        return []
    finally:
        trail.close()


def lives(
    places: Places, name: str, count: int = 3, lines: int = 10, known: Sequence[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """
    The last exits of a process, at most so many, oldest first, each with the last lines that it wrote before.

    ``{"at", "pid", "exit": {"code", "signal"}, "why", "output", "lost"}``: ``lost`` says why ``output`` is None.
    Then, if anything was written since, that life with None for everything but ``pid`` and ``output``. As far as
    events and logs are kept, and may be read. ``known`` are its `events`, where they have been read already.
    """
    found: list[dict[str, Any]] = []
    now = None
    for event in events(places, name) if known is None else known:
        if event["exit"] is None:
            now = event["pid"]
        else:
            now = None if event["pid"] == now else now
            told = {key: event[key] for key in ("at", "pid", "exit", "why")}
            if found and found[-1]["pid"] == event["pid"]:  # how it ended has become known
                told["at"] = found.pop()["at"]
            found.append({**told, "output": None, "lost": "it has no log file"})
    found = found[max(0, len(found) - count) :]
    since: list[str] = []
    try:
        for each in _kept(places, name):
            since += _lives(each, found, lines, has_ended=now is None)
    except PermissionError:
        for told in found:
            told["lost"] = "its log may not be read"
    if since:
        found.append(dict.fromkeys(("at", "pid", "exit", "why", "output", "lost")) | {"pid": now, "output": since})
    return found


def _lives(log: Log, exits: Sequence[dict[str, Any]], lines: int, *, has_ended: bool) -> list[str]:
    """Add to each exit what was written before; what has been written since, unless that was the last one's."""
    endings = log.endings()
    begin = endings[-1].begin
    since = True
    for told in reversed(exits):
        at = max((at for at, ending in enumerate(endings) if ending.pid == told["pid"]), default=None)
        if at is not None:
            data = log.last_lines(lines, endings[at].begin, endings[at].end)
            del endings[at:]
        elif has_ended and told is exits[-1]:  # what it left behind has not ended, or nobody was there to see it
            data = log.last_lines(lines, begin)
            since = False
        else:
            told["lost"] = told["lost"] and "where it ends was not noted down"
            continue
        if data is not None:
            told["output"] = [*(told["output"] or ()), *_text(data)]
            told["lost"] = None
        elif told["output"] is None:
            told["lost"] = "the file that it was in is gone"
    return _text(log.last_lines(lines, begin) or b"") if since else []


def _kept(places: Places, name: str) -> list[Log]:
    """The logs that a process has: two where standard error is split."""
    folder = logs(places)
    return [each for stream in ("out", "err") if (each := log(folder, name, stream)).exists]


def _text(data: bytes) -> list[str]:
    return data.removesuffix(b"\n").decode("utf-8", "backslashreplace").split("\n") if data else []


_NO_EVENT = dict.fromkeys("at name from to why pid exit starts streak next_start".split()) | {"at": _BLANK["since"]}
"""What an event says that a supervisor of another version left out."""


# -- what is written, and whether it is what runs -----------------------------------------------------------


class Verdict(namedtuple("Verdict", ("path", "name", "value", "problems", "unknown"))):
    """One file: its JSON value (None if it has none), all that is wrong with it, and the keys colony does not know."""

    __slots__ = ()
    path: str
    name: str
    value: Any
    problems: tuple[Problem, ...]
    unknown: tuple[str, ...]


def validate(places: Places, paths: Sequence[str | os.PathLike[str]] | None = None) -> list[Verdict]:
    """
    A verdict on every process file of CONFIG, or of ``paths``: files, and directories of them.

    In a directory, files are held against each other too: that one would wait for a process that has no file, or in a
    circle, is a problem here, though the supervisor takes such files, as the one that is missing may come.
    """
    verdicts = []
    for path in [_config(places)] if paths is None else [os.fspath(path) for path in paths]:
        verdicts += _together(_directory(path)) if os.path.isdir(path) else [_verdict(path)]
    return verdicts


def _together(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts on all files of a directory, with what is wrong between them."""
    needs = {verdict.name: verdict.value.get("after", ()) for verdict in verdicts if not verdict.problems}
    found = between(needs, {verdict.name for verdict in verdicts})
    return [verdict._replace(problems=verdict.problems + found.get(verdict.name, ())) for verdict in verdicts]


def _directory(path: str) -> list[Verdict]:
    entries = sorted(entry for entry in os.listdir(path) if not check.is_ignored(entry))
    verdicts = []
    for entry in entries:
        name = check.name_of(entry)
        verdict = _verdict(os.path.join(path, entry))
        found = []
        if problem := check.name_problem(name):
            found.append(check.Problem("", problem))
        elif name in entries and f"{name}.json" in entries:
            found.append(check.Problem("", f"{name} and {name}.json are both there"))
        verdicts.append(verdict._replace(problems=(*found, *verdict.problems)))
    return verdicts


def _verdict(path: str) -> Verdict:
    name = check.name_of(os.path.basename(path))
    try:
        value = check.decode(_read(path, check.MAX_SPEC_BYTES), check.MAX_SPEC_BYTES)
    except check.Malformed as malformed:
        return Verdict(path, name, None, (check.Problem("", malformed.message),), ())
    except OSError as error:
        return Verdict(path, name, None, (check.Problem("", (error.strerror or str(error)).lower()),), ())
    return Verdict(
        path, name, value, check.problems(value, name), check.unknown(value) if isinstance(value, dict) else ()
    )


def definitions(places: Places, name: str) -> list[Verdict]:
    """The verdicts on the files of one name: none, one, or by mistake two."""
    return [_verdict(path) for path in _files(_config(places), check_name(name))]


def diff(places: Places, names: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """
    Where the files and what runs differ: (``added``, ``changed``, ``removed`` or ``broken``, name), sorted by name.

    Raises Refused with code 5 if no supervisor is alive, with 4 for a name that neither knows.
    """
    running = status(places)
    written: dict[str, list[Verdict]] = {}
    for verdict in _directory(_config(places)):
        written.setdefault(verdict.name, []).append(verdict)
    for name in names or ():
        if name not in written and name not in running:
            raise Refused(f"no such process: {name}", code=UNKNOWN)
    found = []
    for name in sorted({*written, *running} if names is None else set(names)):
        word = _difference(written.get(name, ()), running.get(name))
        if word is not None:
            found.append((word, name))
    return found


def _difference(written: Sequence[Verdict], told: Mapping[str, Any] | None) -> str | None:
    if not written:
        return "removed"
    if any(verdict.problems for verdict in written):
        return "broken"
    if told is None or (told["digest"] is None and told["problems"]):
        return "added"
    # One that does not run has no digest: it will run what the file says.
    return None if told["digest"] in (None, check.digest(written[0].value)) else "changed"


# -- waiting ------------------------------------------------------------------------------------------------


def wait(places: Places, names: Sequence[str], what: str = "ready", timeout: float = WAIT_SECONDS) -> None:
    """
    Return when all of ``names`` are ``running``, ``ready``, ``stopped`` (no process left) or ``done``.

    Raises Refused: 1 as soon as one fails, 4 if there is none of that name, 5 if no supervisor is alive (any more),
    124 after ``timeout`` seconds; each says how the name stood.
    """
    if what not in _REACHED:
        raise Refused(f"cannot wait for {what[:40]!r}: only for {', '.join(_REACHED)}", code=INVALID)
    must_be_alive(places)
    reached = _REACHED[what]

    def judge(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        if told is None:
            # A file that is there has its status soon; what has neither is gone, or never was.
            if what != "stopped" and not (places.config is not None and _files(_config(places), name)):
                raise Refused(f"no such process: {name}", code=UNKNOWN)
            return what == "stopped"
        if reached(told):
            return True
        return f"{name} failed: {told['why']}" if told["state"] == "failed" else False

    _await(places, names, judge, "", timeout, patient=False)


_REACHED = {
    "running": standing.is_running,
    "ready": standing.is_ready,
    "stopped": standing.is_stopped,
    "done": standing.is_done,
}


def now() -> str:
    """This moment as state files write it."""
    return instant(time.time())


def instant(moment: float) -> str:
    """That one, in seconds since the epoch."""
    seconds, fraction = divmod(round(moment * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:06d}Z"


def countdown(timeout: float) -> Callable[[], float]:
    """A clock that says how many of ``timeout`` seconds are left, from now on; never less than 0."""
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())


def starts(places: Places, names: Sequence[str] | None = None) -> dict[str, int]:
    """How often each process (of all, or of ``names``) has been started so far: what `effect` compares with."""
    if names is None:
        return {name: told["starts"] for name, told in status(places).items()}
    directory = os.path.join(state_directory(places), "status")
    found = {name: _status(directory, check_name(name)) for name in names}
    return {name: told["starts"] for name, told in found.items() if told is not None}


def effect(
    places: Places,
    kind: str,
    names: Sequence[str],
    before: Mapping[str, int],
    asked: str,
    timeout: float = WAIT_SECONDS,
    done: Done | None = None,
) -> None:
    """
    Return when accepted messages of one kind have had their effect on every one of ``names``.

    ``before`` is `starts` and ``asked`` is `now`, both taken before the first message was written; ``done`` hears of
    each name that is as it should be, and its status then. Raises Refused as `wait` does, but hears everybody out
    first; a start that ends in a backoff has failed.
    """
    success = {name: _success(places, name) for name in names}
    storm = _STORM + _STORM_EACH * len(names)

    def restarted(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        if told is None:
            return False
        if told["starts"] > before.get(name, 0):
            return standing.outcome(name, told, True, asked, success[name])
        if told["state"] not in ("backoff", "failed"):  # a start that never came about is not counted
            return False
        return standing.outcome(name, told, age > storm, asked, success[name])

    def started(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        return told is not None and age > _LAG and standing.outcome(name, told, age > storm, asked, success[name])

    def stopped(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        if told is None:  # not told of yet, or gone
            return not _files(_config(places), name)
        # What was told before the STOP came is of a process that was wanted; what never could run stays so.
        return age > _LAG and standing.is_stopped(told) and (not told["wanted"] or told["state"] == "failed")

    judges: dict[str, _Judge] = {"RESTART": restarted, "START": started, "STOP": stopped}
    judge = judges.get(kind.partition("-")[0])
    if judge is not None:
        _await(places, names, judge, asked, timeout, done)


def in_force(places: Places, name: str, digest: str, asked: str, timeout: float = WAIT_SECONDS) -> None:
    """Return when the definition of that digest runs, and is ready; raises Refused as `effect` does."""
    success = _success(places, name)

    def judge(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        # One that does not run has no digest; what keeps it from running is known to be about this one if it is new.
        if told is None or told["digest"] not in (None, digest):
            return False
        return standing.outcome(name, told, age > _STORM, asked, success)

    _await(places, [name], judge, asked, timeout)


def gone(places: Places, names: Sequence[str], timeout: float = WAIT_SECONDS) -> None:
    """Return when nothing is left of removed processes."""
    _await(places, names, lambda name, told, age: told is None, "", timeout)


def _success(places: Places, name: str) -> Collection[int]:
    """The exit codes that count as well done."""
    if places.config is not None:
        for verdict in definitions(places, name):
            if not verdict.problems:
                codes: Collection[int] = verdict.value.get("restart", {}).get("success", (0,))
                return codes
    return (0,)


_LAG = 0.15
"""Seconds after which a status file is newer than an answer, unless much goes on: it is written within 0.05."""

_STORM, _STORM_EACH = 2.0, 0.01
"""The same while much is started and stopped, and for each that is waited for: then status files come last."""

_TOLD = 10
"""Names at most that a line tells of; the others are counted."""


def _await(
    places: Places,
    names: Sequence[str],
    judge: _Judge,
    asked: str,
    timeout: float,
    done: Done | None = None,
    patient: bool = True,
) -> None:
    """
    Look at the status of every name until ``judge`` has been content with each once.

    For what will never be: Refused, once nobody is left to wait for, or at once if we are not ``patient``.
    """
    pending: dict[str, dict[str, Any] | None] = dict.fromkeys(map(check_name, names))
    failures: list[str] = []
    directory = os.path.join(state_directory(places), "status")
    for elapsed in _ticks(places, timeout):
        for name in list(pending):
            told = pending[name] = _status(directory, name)
            newer = told is not None and told["since"] >= asked
            judged = judge(name, told, math.inf if newer else elapsed)
            if judged is False:
                continue
            del pending[name]
            if isinstance(judged, str):
                failures.append(judged)
            elif done is not None:
                done(name, told)
        if not pending or (failures and not patient):
            break
    else:
        late = [f"{name} {standing.described(told)}" for name, told in pending.items()]
        raise Refused(_line([f"timed out: {late[0]}", *late[1:], *failures]), code=LATE)
    if failures:
        raise Refused(_line(failures))


def _line(parts: Sequence[str]) -> str:
    more = [f"and {len(parts) - _TOLD} more"] if len(parts) > _TOLD else []
    return "; ".join([*parts[:_TOLD], *more])


def _ticks(places: Places, timeout: float) -> Iterator[float]:
    """
    The seconds since the first look, at each moment to look again: soon at first, then every 50 ms, once at the end.

    Where a look takes long, half of the time is spent on looking. Raises Refused with code 5 when no supervisor is
    alive any more.
    """
    begun = time.monotonic()
    pause, asked_alive, elapsed = 0.005, 0.0, 0.0
    while True:
        yield elapsed
        if elapsed >= timeout:
            return
        if elapsed - asked_alive > 0.25:
            must_be_alive(places)
            asked_alive = elapsed
        took = time.monotonic() - begun - elapsed
        time.sleep(max(0.0, min(max(pause, took), timeout - elapsed - took)))
        pause = min(pause * 1.2, 0.05)
        elapsed = time.monotonic() - begun


# -- one after another --------------------------------------------------------------------------------------


class Rolled(namedtuple("Rolled", ("restarted", "skipped", "failed", "untouched"))):
    """What a rolling restart has done: names in its order; ``failed`` is who did not come back, None if nobody."""

    __slots__ = ()
    restarted: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: str | None
    untouched: tuple[str, ...]


class Halted(Refused):
    """A rolling restart did not go on, so that no more than one process is out of order; ``rolled`` says who is."""

    def __init__(self, message: str, rolled: Rolled, code: int) -> None:
        super().__init__(message, code=code)
        self.rolled = rolled


def roll(
    places: Places,
    groups: Sequence[str],
    by: str | None = None,
    timeout: float = WAIT_SECONDS,
    done: Callable[[str, bool], None] | None = None,
) -> Rolled:
    """
    Restart the processes of groups one by one, those first that others need (``after``).

    Each has to run and be ready, and not unhealthy, within ``timeout`` seconds before the next; or to have ended well,
    if it is to run once. Of whom nobody knows when it is ready, its first second (``restart.threshold``) has to pass.
    What is stopped is skipped. ``done`` hears each name, and whether it was restarted.

    Raises Refused with code 4 for a group without processes, with 5 if no supervisor is alive; `Halted` where one
    does not come back, or would not as it needs one that is not ready: the others stay as they are.
    """
    must_be_alive(places)
    pending, needs = _members(places, groups)
    directory = os.path.join(state_directory(places), "status")
    restarted: list[str] = []
    skipped: list[str] = []
    while pending:
        name = pending.pop(0)
        told = _status(directory, name)
        stands = told is not None and told["wanted"] and told["state"] != "stopped"
        if told is not None and stands:
            if (need := _unready(directory, needs[name])) is not None:  # it would go, and not come back
                rolled = Rolled(tuple(restarted), tuple(skipped), None, (name, *pending))
                raise _halted(f"{name} needs {need}, which is not ready", rolled)
            try:
                _restart_one(places, name, told["starts"], by, timeout)
            except Refused as refused:
                rolled = Rolled(tuple(restarted), tuple(skipped), name, tuple(pending))
                raise _halted(str(refused), rolled, DEAD if refused.code == DEAD else 1) from None
        (restarted if stands else skipped).append(name)
        if done is not None:
            done(name, stands)
    return Rolled(tuple(restarted), tuple(skipped), None, ())


def _restart_one(places: Places, name: str, before: int, by: str | None, timeout: float) -> None:
    left = countdown(timeout)
    asked = now()
    accepted(answer(places, restart(places, name, by), left()), f"restart {name}")
    begun = {}

    def done(name: str, told: dict[str, Any] | None) -> None:
        begun[name] = told

    effect(places, "RESTART", [name], {name: before}, asked, left(), done)
    first = begun[name]
    success = _success(places, name)
    untried = countdown(_trial(places, name))

    def settled(name: str, told: dict[str, Any] | None, age: float) -> Judgement:
        if told is None or first is None or told["starts"] != first["starts"]:
            return f"{name} did not go on"
        if told["state"] == "running" and told["health"] == "unhealthy":
            return f"{name} is unhealthy"
        judged = standing.outcome(name, told, True, asked, success)
        return judged if judged is not True or told["state"] != "running" else untried() == 0

    _await(places, [name], settled, asked, left())


def _trial(places: Places, name: str) -> float:
    """Seconds that a process has to live before it is believed: none where it is known when it is ready."""
    for verdict in definitions(places, name):
        if not verdict.problems:
            policy = verdict.value.get("restart", {})
            return 0.0 if "ready" in verdict.value else float(policy.get("threshold", _THRESHOLD))
    return _THRESHOLD


_THRESHOLD = 1.0
"""Seconds that are a life where the file does not say so."""


def _halted(why: str, rolled: Rolled, code: int = 1) -> Halted:
    restarted, untouched = (", ".join(names) or "none" for names in (rolled.restarted, rolled.untouched))
    message = f"the rolling restart is halted: {why}; restarted: {restarted}; not touched: {untouched}"
    return Halted(message, rolled, code)


def _unready(directory: str, names: Iterable[str]) -> str | None:
    """The first of those names that is of no use to who needs it."""
    for name in names:
        told = _status(directory, name)
        if told is None or not (told["ready"] or standing.is_ready(told)):
            return name
    return None


def _members(places: Places, groups: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Who is in any of these groups, as the files say, those first whom others need; and whom each name needs."""
    values = {
        verdict.name: verdict.value
        for verdict in _directory(_config(places))
        if isinstance(verdict.value, dict) and not check.name_problem(verdict.name)
    }
    # A bad file may be of a group all the same: its last good definition is in force.
    names = {group: [name for name, value in values.items() if group in _texts(value, "group")] for group in groups}
    for group, found in names.items():
        if not found:
            raise Refused(f"no process is in group {group}", code=UNKNOWN)
    needs = {name: _texts(value, "after") for name, value in values.items()}
    return needed_first({name for found in names.values() for name in found}, needs), needs


def needing_first(places: Places, names: Sequence[str]) -> list[str]:
    """
    Those names, each before whom it needs by the files (``after``): the order in which to stop or restart them.

    As given where no file says anything about that, or nobody says where the files are.
    """
    if places.config is None or len(names) < 2:
        return list(names)
    needed_by: dict[str, list[str]] = {}
    coming, seen = list(names), set(names)
    while coming:
        name = coming.pop()
        values = [] if check.name_problem(name) else [verdict.value for verdict in definitions(places, name)]
        for need in [text for value in values if isinstance(value, dict) for text in _texts(value, "after")]:
            needed_by.setdefault(need, []).append(name)
            if need not in seen:
                seen.add(need)
                coming.append(need)
    return needed_first(names, needed_by) if needed_by else list(names)


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    found = value.get(key)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


# -- is all well? -------------------------------------------------------------------------------------------


def health(places: Places, names: Sequence[str] | None = None) -> dict[str, str]:
    """
    What is wrong, by name (``is in backoff: ...``), of all processes or of ``names``; empty if all is well.

    Well is what runs and is ready and not unhealthy, what a STOP keeps from running, and what has ended well and is
    not to run again. Raises Refused with code 5 if no supervisor is alive, with 1 if it tells nothing, with 4 for a
    name that has none.
    """
    if not supervisor(places):
        raise _untold(places)
    found = {name: standing.trouble(told) for name, told in status(places, names).items()}
    return {name: trouble for name, trouble in found.items() if trouble is not None}
