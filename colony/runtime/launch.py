"""Starts one process: by posix_spawn where that can set all that is wanted, else by a fork of our own."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
from contextlib import suppress
from typing import NoReturn

from twisted.logger import Logger

from colony.core.environment import Finished
from colony.core.model import Pid
from colony.runtime import privileges
from colony.runtime.family import Kin
from colony.runtime.inheritance import Inheritance
from colony.runtime.mounts import Mounts
from colony.runtime.privileges import Privileges

log = Logger(namespace="colony")

_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

_PATIENCE_EXEC = 1.0
"""Seconds that a forked child has to say how its exec went; then it counts as started, hung or not."""


class CannotStart(OSError):
    """Nothing was started: at which stage, and why, in one line."""

    def __init__(self, stage: str, what: str, error: int | None = None) -> None:
        if error is not None:
            what = f"{what}: {os.strerror(error)} ({errno.errorcode.get(error, error)})"
        super().__init__(error, what)
        self.why = f"{stage}: {what}"

    def __str__(self) -> str:
        return self.why


class Launcher:
    """
    Starts processes that begin clean: descriptors 0 to 2, default signals, an empty mask, the limits we were given.

    With ``own_session`` each leads a session of its own, otherwise only a process group in ours.
    """

    def __init__(self, inheritance: Inheritance, *, own_session: bool = True, mounts: Mounts | None = None) -> None:
        self._inheritance = inheritance
        self._own_session = own_session
        self._mounts = mounts or Mounts()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = here()
        # Opened early, and so below any limit that children get: glibc refuses file actions on descriptors above it.
        self._output = os.dup(self._null)
        self._error = os.dup(self._null)

    def close(self) -> None:
        """Start nothing more."""
        for descriptor in (self._null, self._home, self._output, self._error):
            os.close(descriptor)

    def kin(self, pid: Pid, token: str) -> Kin:
        """The family of what was started: its session, or where that is ours, its group, and then nobody by token."""
        return Kin(pid, pid, token) if self._own_session else Kin(pid, os.getsid(0), "")

    def launch(
        self, finished: Finished, wanted: Privileges, output: int, error: int | None = None
    ) -> tuple[Pid, int | None]:
        """
        Start it, its standard output going to the descriptor ``output``, its standard error to ``error`` (None: too).

        Returns its pid; and a pipe's end, to be closed, if it is still on its way to its exec (a dead network mount).
        Raises CannotStart.
        """
        error = output if error is None else error
        if self._mounts.any():
            candidates = self._find(finished)
            may_hang = len(candidates) > 1 or self._may_hang(finished, candidates)
        else:
            candidates = [find(finished.args[0], finished.env.get("PATH", ""), finished.cwd)]
            may_hang = False
        within_limit = max(self._null, self._output, self._error) < self._inheritance.nofile[0]
        if not wanted.steps and within_limit and not may_hang:
            return self._spawn(candidates[0], finished, output, error), None
        return self._fork(candidates, finished, output, error, wanted)

    def _find(self, finished: Finished) -> list[str]:
        """The files that may be meant, in order: one, unless PATH leads over file systems that may hang when asked."""
        name = finished.args[0]
        if "/" in name:
            return [name]
        asked: list[str] = []
        unasked: list[str] = []
        path = finished.env.get("PATH", "")
        for folder in path.split(":"):
            (unasked if self._mounts.may_hang(self._absolute(folder, finished.cwd)) else asked).append(folder)
        if not unasked:
            return [find(name, path, finished.cwd)]
        return [os.path.join(folder or ".", name) for folder in path.split(":")]

    def _may_hang(self, finished: Finished, candidates: list[str]) -> bool:
        paths = [self._absolute(candidate, finished.cwd) for candidate in candidates]
        return any(self._mounts.may_hang(path) for path in (self._absolute("", finished.cwd), *paths))

    def _absolute(self, path: str, cwd: str | None) -> str:
        return os.path.join(self._folder, cwd or "", path)

    def _spawn(self, executable: str, finished: Finished, output: int, error: int) -> Pid:
        """By posix_spawn, which shares our memory until the exec and so costs the same however large we are."""
        if finished.cwd is not None:
            try:
                os.chdir(finished.cwd)
            except OSError as failure:
                raise CannotStart("cwd", finished.cwd, failure.errno) from None
        try:
            if self._inheritance.raised:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.nofile)
            os.dup2(output, self._output, inheritable=False)
            os.dup2(error, self._error, inheritable=False)
            own: dict[str, object] = {"setsid": True} if self._own_session else {"setpgroup": 0}
            return Pid(
                os.posix_spawn(
                    executable,
                    finished.args,
                    finished.env,
                    file_actions=(
                        (os.POSIX_SPAWN_DUP2, self._null, 0),
                        (os.POSIX_SPAWN_DUP2, self._output, 1),
                        (os.POSIX_SPAWN_DUP2, self._error, 2),
                    ),
                    setsigmask=(),
                    setsigdef=_DEFAULT_SIGNALS,
                    **own,  # type: ignore[arg-type]  # one of two exclusive keywords
                )
            )
        except OSError as failure:
            raise explain(executable, failure.errno) from None
        except ValueError as failure:
            raise CannotStart("exec", str(failure)) from None
        finally:
            if self._inheritance.raised:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.own_nofile)
            if finished.cwd is not None:
                os.fchdir(self._home)

    def _fork(
        self, candidates: list[str], finished: Finished, output: int, error: int, wanted: Privileges
    ) -> tuple[Pid, int | None]:
        """
        By fork, for what posix_spawn cannot set, or may hang in; the child tells by a pipe at which stage it failed.

        Returns the pipe's end too if the child is still on its way to its exec (a dead network mount).
        """
        try:
            arguments = [os.fsencode(arg) for arg in finished.args]
            environment = {os.fsencode(key): os.fsencode(value) for key, value in finished.env.items()}
            if any(
                b"\0" in text for text in (os.fsencode(candidates[0]), *arguments, *environment, *environment.values())
            ):
                raise ValueError("embedded null byte")
        except ValueError as failure:
            raise CannotStart("exec", str(failure)) from None
        try:
            report, child_report = os.pipe()
        except OSError as failure:
            raise CannotStart("fork", "cannot make a pipe", failure.errno) from None
        try:
            # Few, and found out here: what the child does in Python it does slowly, every page it touches being copied.
            # The others have their default already, and who sends one of them to the child means its end.
            changed = [number for number in _DEFAULT_SIGNALS if signal.getsignal(number) is not signal.SIG_DFL]
            before = signal.pthread_sigmask(signal.SIG_BLOCK, changed)
            try:
                pid = os.fork()
                if pid == 0:
                    self._become(
                        candidates, arguments, environment, finished.cwd, output, error, wanted, child_report, changed
                    )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                os.close(child_report)
            poll = select.poll()
            poll.register(report, select.POLLIN)
            said = os.read(report, 100) if poll.poll(_PATIENCE_EXEC * 1000) else None
        except OSError as failure:
            os.close(report)
            raise CannotStart("fork", "cannot fork", failure.errno) from None
        if said is None:
            return Pid(pid), report
        os.close(report)
        if not said:  # the exec has closed the other end
            return Pid(pid), None
        os.waitpid(pid, 0)
        stage, _, number = said.decode().partition(" ")
        if stage == "exec" and len(candidates) == 1:
            raise explain(candidates[0], int(number), finished.cwd)
        if stage.startswith("step"):
            step = wanted.steps[int(stage.removeprefix("step"))]
            raise CannotStart(step.stage, step.what, int(number))
        what = {"cwd": finished.cwd or ".", "exec": f"{finished.args[0]} in PATH {finished.env.get('PATH', '')}"}
        raise CannotStart(stage, what.get(stage, "cannot be set up"), int(number))

    def _become(
        self,
        candidates: list[str],
        arguments: list[bytes],
        environment: dict[bytes, bytes],
        cwd: str | None,
        output: int,
        error: int,
        wanted: Privileges,
        report: int,
        changed: list[signal.Signals],
    ) -> NoReturn:
        """In the child, between fork and exec: system calls on what was prepared, nothing else."""
        stage = b"session"
        try:
            if self._own_session:
                os.setsid()
            else:
                os.setpgid(0, 0)
            os.dup2(self._null, 0)
            os.dup2(output, 1)
            os.dup2(error, 2)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.nofile)
            for number in changed:
                signal.signal(number, signal.SIG_DFL)
            stage = b"privileges"
            privileges.drop(wanted)
            stage = b"cwd"
            if cwd is not None:
                os.chdir(cwd)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            stage = b"exec"
            for executable in candidates[:-1]:
                try:
                    os.execve(executable, arguments, environment)
                except (FileNotFoundError, NotADirectoryError, PermissionError):
                    continue  # as execvp(3) does
            os.execve(candidates[-1], arguments, environment)
        except privileges.Denied as denied:
            os.write(report, b"step%d %d" % (denied.step, denied.error))
        except OSError as failure:
            os.write(report, b"%s %d" % (stage, failure.errno or 0))
        except MemoryError:  # a limit on memory is in force by then
            os.write(report, b"%s %d" % (stage, errno.ENOMEM))
        finally:
            os._exit(127)


def here() -> str:
    """The directory that we are in; one that has been deleted under us (an old release) is nowhere, and counts as /."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def find(executable: str, path: str, cwd: str | None) -> str:
    """
    The file that ``executable`` means: itself if it has a slash, else the first match in ``path``.

    What is relative is so to ``cwd``. Raises CannotStart.
    """
    if "/" in executable:
        return executable
    refused = False
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", executable)
        try:
            found = os.stat(os.path.join(cwd or ".", candidate))
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            if found.st_mode & 0o111:
                return candidate
            refused = True
    error = errno.EACCES if refused else errno.ENOENT
    raise CannotStart("exec", f"{executable} in PATH {path}", error)


def explain(executable: str, error: int | None, cwd: str | None = None) -> CannotStart:
    """Why an exec failed in ``cwd`` (None: in ours), in words that name what to mend."""
    with suppress(OSError):
        found = os.stat(os.path.join(cwd or ".", executable))
        if error == errno.ENOENT:
            return CannotStart("exec", f"{executable}: the interpreter in its first line", error)
        if error == errno.ENOEXEC:
            return CannotStart("exec", f"{executable} has no #! line and is no program", error)
        if error == errno.EACCES and not stat.S_ISREG(found.st_mode):
            return CannotStart("exec", f"{executable} is not a file", error)
    return CannotStart("exec", executable, error)
