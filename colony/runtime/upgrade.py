"""Becomes the code that is installed now, in place: the same pid, the same children, the same locks, by exec(2)."""

from __future__ import annotations

import base64
import getopt
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, NoReturn

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from colony.core.lifecycle import Exited, Told
from colony.core.model import Name, Pid, ProcessSpec, Start
from colony.runtime.launch import here
from colony.runtime.spawn import ProcessSpawner

log = Logger(namespace="colony")

# Any is twistd's options, for the attributes that getopt needs.

VARIABLE = "COLONY_HANDOVER"
"""
In the environment of the exec'd: whose it is, and the descriptor of what it takes over. Removed at once, so that no
child sees it. Not the thing itself: the beginnings of lines may be longer than a variable can be.
"""


class Refused(Exception):
    """This supervisor cannot become another one, and why."""


@attrs.frozen
class HandOver:
    """
    What passes through the exec.

    ``pid`` is whose it is: a variable that somebody else inherited means nothing. ``locks`` are the descriptors of the
    locked directories by path; ``partial`` are the beginnings of lines that were read and not yet ended, by token;
    ``notify`` is the descriptor of the socket for sd_notify, in which waits what is said during the exec.
    """

    pid: int
    locks: Mapping[str, int]
    partial: Mapping[str, bytes]
    notify: int | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that must be open in the new code."""
        return (*self.locks.values(), *(() if self.notify is None else (self.notify,)))

    def written(self) -> str:
        """As `take_over` reads it."""
        partial = {token: base64.b64encode(data).decode() for token, data in self.partial.items()}
        return json.dumps({"locks": dict(self.locks), "partial": partial, "notify": self.notify})


def take_over() -> HandOver | None:
    """What the code before us in this process has handed over; None if there was none."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        pid, _, descriptor = text.partition(":")
        if int(pid) == os.getpid():
            with os.fdopen(int(descriptor), "rb") as file:
                file.seek(0)
                value = json.loads(file.read())
            partial = {token: base64.b64decode(data) for token, data in value["partial"].items()}
            locks = {str(path): int(lock) for path, lock in value["locks"].items()}
            notify = value.get("notify")
            return HandOver(os.getpid(), locks, partial, None if notify is None else int(notify))
    return None


def command(argv: Sequence[str], parent: Mapping[str, object] | None) -> list[str]:
    """
    The command line to exec, from the one we were started with (``sys.orig_argv``) and twist's or twistd's options.

    twistd has daemonised already, and must not again; its log's default is another file then. Raises Refused.
    """
    if not _is_twistd(parent):
        return list(argv)
    assert parent is not None, "twistd's options are there"
    for option in ("uid", "gid", "chroot"):
        if parent.get(option) is not None:
            raise Refused(f"twistd's --{option} has changed what this process may do: restart it instead")
    added = ["--nodaemon"]
    if not parent.get("nodaemon") and not parent.get("logfile") and not parent.get("syslog"):
        added.append("--logfile=twistd.log")
    return _with(argv, parent, *added)


def _is_twistd(parent: Mapping[str, object] | None) -> bool:
    return parent is not None and "nodaemon" in parent


def _with(argv: Sequence[str], parent: Any, *options: str) -> list[str]:
    """The command line with more of twistd's options, the last of them, so that they win. Raises Refused."""
    script = next((index for index, word in enumerate(argv) if os.path.basename(word) == "twistd"), len(argv))
    try:
        _, rest = getopt.getopt(list(argv[script + 1 :]), parent.shortOpt, parent.longOpt)
    except getopt.GetoptError:
        rest = []
    if not rest:
        raise Refused(f"cannot tell how twistd was started: {' '.join(argv)}")
    command = len(argv) - len(rest)
    return [*argv[:command], *options, *argv[command:]]


def become(argv: Sequence[str], cwd: str, pid_file: str | None, hand_over: HandOver) -> NoReturn:
    """
    Exec it. Signals that are blocked stay so until it unblocks them, so that none is lost while nobody handles them.

    Raises OSError: nothing has changed.
    """
    before = here()
    pid_text: bytes | None = None
    written: IO[bytes] | None = None
    try:
        written = _memory()
        written.write(hand_over.written().encode())
        written.flush()
        os.set_inheritable(written.fileno(), True)
        if pid_file is not None:  # or twistd finds its own pid there, and refuses
            with suppress(OSError):
                with open(pid_file, "rb") as file:
                    pid_text = file.read()
                os.unlink(pid_file)
        for descriptor in hand_over.descriptors:
            os.set_inheritable(descriptor, True)
        os.chdir(cwd)
        variable = f"{hand_over.pid}:{written.fileno()}"
        os.execve(sys.executable, list(argv), {**os.environ, VARIABLE: variable})
    except OSError:
        if written is not None:
            written.close()
        with suppress(OSError):
            os.chdir(before)
        for descriptor in hand_over.descriptors:
            os.set_inheritable(descriptor, False)
        if pid_file is not None and pid_text is not None:
            with suppress(OSError), open(pid_file, "wb") as file:
                file.write(pid_text)
        raise


def _memory() -> IO[bytes]:
    """A file that needs no disk, where there is such a thing, and no name. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("hand-over"), "w+b")
    return tempfile.TemporaryFile()


SELF_CHECK = "COLONY_SELF_CHECK"
"""In the environment of a command line that is only to be tried: everything but the taking of locks."""

_PATIENCE_CHECK = 60.0
"""Seconds that a self-check may take."""


class Upgrade:
    """
    Tries the new code in a process of its own, and becomes it if that went well.

    ``obstacle`` is why processes would not outlast it, None if they would; ``finish`` is called last, and returns what
    is handed over; ``refused`` is told why nothing came of it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        spawner: ProcessSpawner,
        parent: Mapping[str, object] | None,
        obstacle: Callable[[], str | None],
        finish: Callable[[], HandOver],
        refused: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._spawner = spawner
        self._parent = parent
        self._obstacle = obstacle
        self._finish = finish
        self._refused = refused
        self._cwd = here()
        self._alarm: IDelayedCall | None = None
        self._pid: Pid | None = None

    def begin(self) -> None:
        """Try it, and go on from there; asked again meanwhile, it does nothing."""
        if self._pid is not None:
            return
        if obstacle := self._obstacle():
            self._refused(obstacle)
            return
        try:
            argv = command(sys.orig_argv, self._parent)
        except Refused as refused:
            self._refused(str(refused))
            return
        env = ((SELF_CHECK, "1"), *((key, value) for key, value in os.environ.items()))
        # twistd would find its own pid in its pid file, and refuse.
        check = _with(argv, self._parent, "--pidfile=") if _is_twistd(self._parent) else argv
        spec = ProcessSpec((sys.executable, *check[1:]), digest="", env=env, cwd=self._cwd, config_env=False)
        try:
            self._pid = self._spawner.spawn(
                Start(Name("self-check"), "", spec, b""), lambda event: self._checked(event, argv), recorded=False
            )
        except OSError as error:
            self._refused(f"the self-check cannot be started: {error}")
            return
        log.info("upgrade: trying the new code as {pid}", pid=self._pid)
        self._alarm = self._clock.callLater(_PATIENCE_CHECK, self._spawner.kill, self._pid, "KILL")

    def _checked(self, event: Told, argv: Sequence[str]) -> None:
        if not isinstance(event, Exited):
            return
        self._pid = None
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if event.exit.code != 0:
            self._refused(f"the new code's self-check {event.exit}; what it said is in the log")
            return
        # What was signalled before this has been handled two turns later, and ends us if it was TERM; what comes after
        # waits for the new code.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._clock.callLater(0, self._clock.callLater, 0, self._become, argv, mask)

    def _become(self, argv: Sequence[str], mask: Iterable[int]) -> None:
        try:
            self._try_to_become(argv)
        finally:  # only where it has failed
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _try_to_become(self, argv: Sequence[str]) -> None:
        if obstacle := self._obstacle():  # since
            self._refused(obstacle)
            return
        pid_file = None if self._parent is None else self._parent.get("pidfile")
        log.info("upgrade: becoming it")
        try:
            become(argv, self._cwd, str(pid_file) if pid_file else None, self._finish())
        except OSError as error:
            self._refused(f"cannot exec {sys.executable}: {error.strerror}")
