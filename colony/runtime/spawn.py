"""Starts processes, each in its own session with clean signals and descriptors, signals them as a group, reaps them."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from colony.core.environment import Finished, Unset
from colony.core.lifecycle import Emptied, Exited
from colony.core.model import Exit, Pid, Start
from colony.runtime import privileges, proc
from colony.runtime.inheritance import Inheritance
from colony.runtime.logs import Channel, Relay
from colony.runtime.mounts import Mounts

log = Logger(namespace="colony")

Ended = Callable[[Exited | Emptied], None]
"""Told once of the main process's exit, and once more, if it was not alone, when its family is empty."""

_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

_POLL = 0.05
"""Seconds between two looks at a process that no pidfd watches."""

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


class Spawner(Protocol):
    """Starts processes and tells of their end."""

    def spawn(self, start: Start, ended: Ended) -> Pid:
        """Start it. Raises OSError: nothing was started. ``ended`` is never called before this returns."""

    def kill(self, pid: Pid, signal_name: str) -> None:
        """Send a signal (``TERM``) to the whole family of ``pid``; silent if that is gone."""


class IReactor(IReactorFDSet, IReactorTime):
    """What a spawner needs of a reactor: descriptors and time; every Twisted reactor has both."""


class ProcessSpawner:
    """
    The Spawner of real processes.

    ``finish`` expands a start; ``pipes`` is the directory for FIFOs, None for plain pipes; with ``own_session`` each
    process leads a session of its own, otherwise only a process group in ours.
    """

    def __init__(
        self,
        reactor: IReactor,
        relay: Relay,
        inheritance: Inheritance,
        finish: Callable[[Start], Finished],
        *,
        pipes: Callable[[], str | None] = lambda: None,
        own_session: bool = True,
        mounts: Mounts | None = None,
    ) -> None:
        self._reactor = reactor
        self._relay = relay
        self._inheritance = inheritance
        self._finish = finish
        self._pipes = pipes
        self._own_session = own_session
        self._mounts = mounts or Mounts()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._processes: dict[Pid, _Process] = {}
        self._unwatched: dict[Pid, _Process] = {}
        self._unwatched_look: IDelayedCall | None = None
        self._families: dict[Pid, _Process] = {}
        self._family_pace = 0.0
        self._family_look: IDelayedCall | None = None

    # -- starting

    def spawn(self, start: Start, ended: Ended) -> Pid:
        """Start it; see `Spawner.spawn`. Raises CannotStart."""
        try:
            finished = self._finish(start)
        except Unset as unset:
            raise CannotStart("environment", str(unset)) from None
        try:
            identity = privileges.resolve(start.spec)
        except privileges.Refused as refused:
            raise CannotStart("user", str(refused)) from None
        candidates = self._find(finished)
        channel = self._open_channel(start, identity)
        try:
            if identity is None and len(candidates) == 1 and not self._may_hang(finished, candidates):
                pid, report = self._spawn(candidates[0], finished, channel.child_fd), None
            else:
                pid, report = self._fork(candidates, finished, channel.child_fd, identity)
        except BaseException:
            channel.abandon()
            raise
        channel.start()
        process = _Process(self, pid, start.token, ended, channel, report)
        self._processes[pid] = process
        try:
            process.watch()
        except OSError as error:  # no pidfd to be had: ask for it again and again
            if self._unwatched_look is None:
                log.warn("cannot watch {name} by pidfd, looking instead: {error}", name=start.name, error=error)
                self._unwatched_look = self._reactor.callLater(_POLL, self._look_at_unwatched)
            self._unwatched[pid] = process
        return pid

    def _find(self, finished: Finished) -> list[str]:
        """The files that may be meant, in order: one, unless PATH leads over file systems that may hang when asked."""
        name = finished.args[0]
        if "/" in name:
            return [name]
        asked: list[str] = []
        unasked: list[str] = []
        path = finished.env.get("PATH", "")
        for folder in path.split(":"):
            (unasked if self._mounts.may_hang(_absolute(folder, finished.cwd)) else asked).append(folder)
        if not unasked:
            return [find(name, path, finished.cwd)]
        return [os.path.join(folder or ".", name) for folder in path.split(":")]

    def _may_hang(self, finished: Finished, candidates: list[str]) -> bool:
        paths = [_absolute(candidate, finished.cwd) for candidate in candidates]
        return any(self._mounts.may_hang(path) for path in (_absolute("", finished.cwd), *paths))

    def _open_channel(self, start: Start, identity: privileges.Identity | None) -> Channel:
        folder = self._pipes()
        owner = None if identity is None else (identity.uid, identity.gid)
        path = None if folder is None else os.path.join(folder, f"{start.name}.{start.token.rpartition('.')[2]}")
        try:
            try:
                return Channel(self._reactor, self._relay, start.name, path, owner)
            except OSError:
                if path is None:
                    raise
                return Channel(self._reactor, self._relay, start.name, None)
        except OSError as error:
            raise CannotStart("output", "cannot make a pipe", error.errno) from None

    def _spawn(self, executable: str, finished: Finished, output: int) -> Pid:
        """By posix_spawn, which shares our memory until the exec and so costs the same however large we are."""
        if finished.cwd is not None:
            try:
                os.chdir(finished.cwd)
            except OSError as error:
                raise CannotStart("cwd", finished.cwd, error.errno) from None
        try:
            if self._inheritance.raised:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.nofile)
            own: dict[str, object] = {"setsid": True} if self._own_session else {"setpgroup": 0}
            return Pid(
                os.posix_spawn(
                    executable,
                    finished.args,
                    finished.env,
                    file_actions=(
                        (os.POSIX_SPAWN_DUP2, self._null, 0),
                        (os.POSIX_SPAWN_DUP2, output, 1),
                        (os.POSIX_SPAWN_DUP2, output, 2),
                    ),
                    setsigmask=(),
                    setsigdef=_DEFAULT_SIGNALS,
                    **own,  # type: ignore[arg-type]  # one of two exclusive keywords
                )
            )
        except OSError as error:
            raise explain(executable, error.errno) from None
        except ValueError as error:
            raise CannotStart("exec", str(error)) from None
        finally:
            if self._inheritance.raised:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.own_nofile)
            if finished.cwd is not None:
                os.fchdir(self._home)

    def _fork(
        self, candidates: list[str], finished: Finished, output: int, identity: privileges.Identity | None
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
        except ValueError as error:
            raise CannotStart("exec", str(error)) from None
        try:
            report, child_report = os.pipe()
        except OSError as error:
            raise CannotStart("fork", "cannot make a pipe", error.errno) from None
        try:
            before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    self._become(candidates, arguments, environment, finished.cwd, output, identity, child_report)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                os.close(child_report)
            poll = select.poll()
            poll.register(report, select.POLLIN)
            said = os.read(report, 100) if poll.poll(_PATIENCE_EXEC * 1000) else None
        except OSError as error:
            os.close(report)
            raise CannotStart("fork", "cannot fork", error.errno) from None
        if said is None:
            return Pid(pid), report
        os.close(report)
        if not said:  # the exec has closed the other end
            return Pid(pid), None
        os.waitpid(pid, 0)
        stage, _, number = said.decode().partition(" ")
        if stage == "exec" and len(candidates) == 1:
            raise explain(candidates[0], int(number), finished.cwd)
        what = {"cwd": finished.cwd or ".", "exec": f"{finished.args[0]} in PATH {finished.env.get('PATH', '')}"}
        if identity is not None:
            what["user"] = f"cannot become uid {identity.uid} gid {identity.gid}"
        raise CannotStart(stage, what.get(stage, "cannot be set up"), int(number))

    def _become(
        self,
        candidates: list[str],
        arguments: list[bytes],
        environment: dict[bytes, bytes],
        cwd: str | None,
        output: int,
        identity: privileges.Identity | None,
        report: int,
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
            os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._inheritance.nofile)
            for number in _DEFAULT_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            stage = b"user"
            if identity is not None:
                os.setgroups(identity.groups)
                os.setresgid(identity.gid, identity.gid, identity.gid)
                os.setresuid(identity.uid, identity.uid, identity.uid)
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
        except OSError as error:
            os.write(report, b"%s %d" % (stage, error.errno or 0))
        finally:
            os._exit(127)

    # -- signalling

    def kill(self, pid: Pid, signal_name: str) -> None:
        """Signal the family; see `Spawner.kill`."""
        process = self._processes.get(pid)
        if process is None:
            return
        # An unreaped leader, or a member, keeps the group's number from being given to anybody else.
        if process.exit is not None and not self._members([process])[pid]:
            return
        try:
            os.killpg(pid, signal.Signals[f"SIG{signal_name}"])
        except ProcessLookupError:
            pass
        except OSError as error:
            log.error(
                "cannot send {signal} to the process group {pid}: {error}",
                signal=signal_name,
                pid=pid,
                error=error.strerror,
            )

    # -- reaping

    def _reaped(self, process: _Process) -> None:
        """The main process is no more; is anybody left?  One system call says so, unless there is."""
        self._unwatched.pop(process.pid, None)
        process.channel.drain()
        if not _exists(process.pid):
            self._finish_family(process)
            return
        self._families[process.pid] = process
        self._family_pace = 0.0
        self._look_soon()

    def _finish_family(self, process: _Process) -> None:
        assert process.exit is not None, "a family is empty only after its main"
        del self._processes[process.pid]
        self._families.pop(process.pid, None)
        process.channel.flush()
        if process.told:
            process.ended(Emptied(process.pid))
        else:
            process.ended(Exited(process.pid, process.exit, alone=True))
        process.channel.close()  # afterwards: the next start does not wait for it

    def _look_soon(self) -> None:
        if self._family_look is not None and self._family_look.active():
            if self._family_pace:
                return
            self._family_look.cancel()
        self._family_look = self._reactor.callLater(self._family_pace, self._look_at_families)

    def _look_at_families(self) -> None:
        """One walk of /proc for all that have lost their main since; again, ever more slowly, while some are left."""
        there = self._members([p for p in self._families.values() if _exists(p.pid)])
        for process in list(self._families.values()):
            if not there.get(process.pid):
                self._finish_family(process)
            elif not process.told:
                process.told = True
                assert process.exit is not None, "it is among the families"
                process.ended(Exited(process.pid, process.exit, alone=False))
        if self._families:
            self._family_pace = min(max(0.01, self._family_pace * 1.5), 0.25)
            self._look_soon()

    def _members(self, processes: list[_Process]) -> dict[Pid, list[proc.Stat]]:
        """Who is left, by walking /proc: never a stranger, never a zombie that its parent has not reaped."""
        found: dict[Pid, list[proc.Stat]] = {process.pid: [] for process in processes}
        if not processes:
            return found
        strangers = set()
        for pid in proc.pids():
            stat = proc.stat(pid)
            if stat is None or stat.group not in found:
                continue
            if stat.pid == stat.group:
                strangers.add(stat.group)  # the number is in use again, so nobody of the old group was left
            elif not stat.ended:
                found[stat.group].append(stat)
        for process in processes:
            session = process.pid if self._own_session else os.getsid(0)
            if process.pid in strangers:
                found[process.pid] = []
            found[process.pid] = [
                stat
                for stat in found[process.pid]
                if stat.session == session and proc.token(stat.pid) in (None, process.token)
            ]
        return found

    def _look_at_unwatched(self) -> None:
        for process in list(self._unwatched.values()):
            process.reap()
        # Set until here, so that what is started meanwhile sets no second one.
        self._unwatched_look = self._reactor.callLater(_POLL, self._look_at_unwatched) if self._unwatched else None


@implementer(IReadDescriptor)
class _Process:
    """One process that was started, until its family is empty; readable when its main has ended (pidfd_open(2))."""

    def __init__(
        self, spawner: ProcessSpawner, pid: Pid, token: str, ended: Ended, channel: Channel, report: int | None
    ) -> None:
        self._spawner = spawner
        self.pid = pid
        self.token = token
        self.ended = ended
        self.channel = channel
        self.exit: Exit | None = None
        self.told = False
        self._report = report
        self._pidfd: int | None = None

    def watch(self) -> None:
        """Raises OSError where there are no pidfds, or no descriptors for them."""
        if not hasattr(os, "pidfd_open"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._pidfd = os.pidfd_open(self.pid)
        self._spawner._reactor.addReader(self)

    def reap(self) -> None:
        """Take its exit if there is one."""
        try:
            # Its pid is ours until this call, so the number names nobody else.
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            self.exit = Exit(None)  # somebody else in this process has reaped it
        else:
            if found is None:
                return
            self.exit = _exit(found)
        for descriptor in (self._pidfd, self._report):
            if descriptor is not None:
                if descriptor == self._pidfd:
                    self._spawner._reactor.removeReader(self)
                os.close(descriptor)
        self._pidfd = self._report = None
        self._spawner._reaped(self)

    # IReadDescriptor

    def fileno(self) -> int:
        return -1 if self._pidfd is None else self._pidfd

    def logPrefix(self) -> str:
        return "pidfd"

    def doRead(self) -> None:
        self.reap()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""


def _exit(found: os.waitid_result) -> Exit:
    if found.si_code == os.CLD_EXITED:
        return Exit(found.si_status)
    try:
        return Exit(None, signal.Signals(found.si_status).name.removeprefix("SIG"))
    except ValueError:  # a real-time signal between RTMIN and RTMAX
        return Exit(None, f"RTMIN+{found.si_status - signal.SIGRTMIN}")


def _exists(group: Pid) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _absolute(path: str, cwd: str | None) -> str:
    return os.path.join(os.getcwd(), cwd or "", path)


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
