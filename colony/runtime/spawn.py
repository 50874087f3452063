"""Starts processes, signals their families, and tells of their end; goes on with those of a supervisor before."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from colony.core.env_file import Misread
from colony.core.environment import Finished, Unset
from colony.core.lifecycle import Emptied, Exited, HadToWait, Learned, Told
from colony.core.model import Exit, LogLine, LogPolicy, Name, Pid, ProcessSpec, Start, Survivor
from colony.runtime import family, privileges, proc
from colony.runtime.awaited import AwaitedLine
from colony.runtime.cgroups import Cgroup, Cgroups, joining
from colony.runtime.family import Kin
from colony.runtime.file_channel import FileChannel
from colony.runtime.launch import CannotStart, Launcher
from colony.runtime.log_writer import LogWriter
from colony.runtime.logs import Channel, IReactor, Relay
from colony.runtime.privileges import Privileges
from colony.runtime.records import Records

log = Logger(namespace="colony")

Ended = Callable[[Told], None]
"""Told once of the main process's exit, and once more, if it was not alone, when its family is empty."""

_POLL = 0.05
"""Seconds between two looks at a process that no pidfd watches."""

_STRAYS = 0.2
"""Seconds after a SIGCHLD until orphans that have become ours, and ended, are reaped."""

_ASK_AGAIN = (0.05, 0.2, 1.0, 5.0)
"""Seconds after which the exit code of what is not our child is asked for again: its parent has to reap it first."""

_PATIENCE_UNKNOWN = 1.0
"""The longest that an exit waits for its code, where that decides what follows."""


class Spawner(Protocol):
    """Starts processes and tells of their end."""

    def spawn(self, start: Start, ended: Ended) -> Pid:
        """Start it. Raises OSError: nothing was started. ``ended`` is never called before this returns."""

    def adopt(self, survivor: Survivor, spec: ProcessSpec, ended: Ended) -> None:
        """Go on with a process that runs already, as if it had been started here. Raises OSError: it does not run."""

    def kill(self, pid: Pid, signal_name: str) -> None:
        """Send a signal (``TERM``) to the whole family of ``pid``; silent if that is gone."""

    def signal(self, pid: Pid, signal_name: str) -> None:
        """Send a signal (``HUP``) to ``pid`` alone; silent if that is gone."""


class ProcessSpawner:
    """
    The Spawner of real processes.

    ``finish`` expands a start, given its user's variables; ``pipes`` is the directory for FIFOs, None for plain pipes;
    ``records`` remembers starts for a later supervisor. Where ``launcher`` gives each process its own session, its
    orphans are its family too.
    """

    def __init__(
        self,
        reactor: IReactor,
        relay: Relay,
        launcher: Launcher,
        finish: Callable[[Start, Mapping[str, str]], Finished],
        *,
        pipes: Callable[[], str | None] = lambda: None,
        records: Records | None = None,
        subreaper: bool = False,
        partial: Mapping[str, bytes] = MappingProxyType({}),
        cgroups: Cgroups | None = None,
        logs: LogWriter | None = None,
    ) -> None:
        """
        ``subreaper``: orphans of what is started become our children, see `family.become_subreaper`.

        ``partial``: lines of what will be adopted that were read in part before us, by token.
        ``cgroups``: each start gets one, and whoever is in it is its family too; None for none.
        ``logs``: what writes the files of those whose output goes to any.
        """
        self._reactor = reactor
        self._relay = relay
        self._launcher = launcher
        self._finish = finish
        self._pipes = pipes
        self._records = records or Records(lambda: None)
        self._births = proc.Births()
        self._subreaper = subreaper
        self._partial = dict(partial)
        self.has_fifos = True
        self._cgroups = cgroups
        self._logs = logs
        self._processes: dict[Pid, _Process] = {}
        self._unwatched: dict[Pid, _Process] = {}
        self._unwatched_look: IDelayedCall | None = None
        self._families: dict[Pid, _Process] = {}
        self._family_pace = 0.0
        self._family_look: IDelayedCall | None = None
        self._children = 0
        self._orphans: frozenset[Pid] | None = None
        self._strays_look: IDelayedCall | None = None

    # -- starting

    def spawn(self, start: Start, ended: Ended, *, recorded: bool = True, relay: Relay | None = None) -> Pid:
        """
        Start it; see `Spawner.spawn`.

        No later supervisor goes on with what is not ``recorded``, and it has no log file. ``relay`` takes its output
        instead of the common one.
        """
        wanted, finished = self.finished(start)
        if recorded:
            self._records.intend(start)
        owner = None if wanted.identity is None else (wanted.identity.uid, wanted.identity.gid)
        policy = self._policy(start.spec, start.name) if recorded and relay is None else None
        channel = self._open_channel(start.name, start.token, owner, relay or self._relay, policy)
        channel.awaited = _awaited(start.spec)
        self._births.begin()
        try:
            pid, report, cgroup = self._launch(finished, wanted, channel, start.token)
        except BaseException:
            channel.abandon()
            raise
        if recorded:
            self._records.started(start, pid, self._births.of(pid))
        channel.start()
        kin = self._launcher.kin(pid, start.token)
        process = _Process(self, start.name, pid, kin, ended, channel, report, cgroup)
        process.is_recorded = recorded
        self._watch(process)
        return pid

    def _launch(
        self, finished: Finished, wanted: Privileges, channel: Channel | FileChannel, token: str
    ) -> tuple[Pid, int | None, Cgroup | None]:
        outputs = channel.child_fd, channel.child_error_fd
        if self._cgroups is None or not token:
            return *self._launcher.launch(finished, wanted, *outputs), None
        try:
            cgroup, entrance = self._cgroups.make(token)
        except OSError as error:
            raise CannotStart("cgroup", f"cannot make {error.filename}", error.errno) from None
        try:
            return *self._launcher.launch(finished, joining(wanted, entrance), *outputs), cgroup
        except BaseException:
            self._remove(cgroup)
            raise
        finally:
            os.close(entrance)

    def _remove(self, cgroup: Cgroup) -> None:
        try:
            cgroup.remove()
        except OSError as error:  # it is tried again at the end, and by the next supervisor
            log.warn("cannot remove the cgroup {path}: {error}", path=cgroup.path, error=error.strerror)

    def finished(self, start: Start) -> tuple[Privileges, Finished]:
        """Who it is to be, and everything expanded. Raises CannotStart."""
        try:
            wanted = privileges.resolve(start.spec)
        except privileges.Refused as refused:
            raise CannotStart(refused.stage, str(refused)) from None
        try:
            return wanted, self._finish(start, wanted.account)
        except Unset as unset:
            raise CannotStart("environment", str(unset)) from None
        except Misread as misread:
            raise CannotStart("env_file", str(misread)) from None

    def runs(self, pid: Pid) -> bool:
        """Is that a main process of ours?"""
        return pid in self._processes

    def awaited_line(self, pid: Pid) -> AwaitedLine | None:
        """What its spec waits for in its output; None where it waits for nothing, or has ended."""
        process = self._processes.get(pid)
        return None if process is None else process.channel.awaited

    def adopt(self, survivor: Survivor, spec: ProcessSpec, ended: Ended) -> None:
        """Go on with it; see `Spawner.adopt`. What it has written since, as far as a pipe holds, is read now."""
        found = proc.stat(survivor.pid)
        # Since it was found, others had to be stopped: it may have ended, and its pid may be a stranger's.
        if found is None or found.ended or survivor.start_time not in (None, found.start_time):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        path = self._pipe(survivor.name, survivor.token)
        channel: Channel | FileChannel
        policy = self._policy(spec, survivor.name)
        if policy is not None and self._logs is not None:
            channel = FileChannel.of_survivor(self._logs, survivor.name, policy, path)
        else:
            partial = self._partial.pop(survivor.token, b"")
            channel = Channel.of_survivor(self._reactor, self._relay, survivor.name, path, partial)
        kin = Kin(survivor.pid, survivor.pid, survivor.token)
        cgroup = None if self._cgroups is None else self._cgroups.of(survivor.token)
        process = _Process(self, survivor.name, survivor.pid, kin, ended, channel, None, cgroup)
        process.is_child = found.parent == os.getpid()
        process.code_decides = spec.restart.when == "failure" or spec.essential
        channel.awaited = _awaited(spec)
        channel.on_full(lambda: ended(HadToWait(survivor.pid)))
        channel.start()
        self._watch(process)

    def _watch(self, process: _Process) -> None:
        self._processes[process.pid] = process
        self._children += process.is_child
        try:
            process.watch()
        except OSError as error:  # no pidfd to be had: ask for it again and again
            if self._unwatched_look is None:
                log.warn("cannot watch {name} by pidfd, looking instead: {error}", name=process.name, error=error)
                self._unwatched_look = self._reactor.callLater(_POLL, self._look_at_unwatched)
            self._unwatched[process.pid] = process

    def _pipe(self, name: Name, token: str) -> str | None:
        folder = self._pipes()
        return None if folder is None else os.path.join(folder, f"{name}.{token.rpartition('.')[2]}")

    def _policy(self, spec: ProcessSpec, name: Name) -> LogPolicy | None:
        """How its log file is kept; None where it has none."""
        if self._logs is None or self._logs.path(name, "stdout") is None:
            return None
        return spec.log

    def _open_channel(
        self, name: Name, token: str, owner: tuple[int, int] | None, relay: Relay, policy: LogPolicy | None
    ) -> Channel | FileChannel:
        def channel(path: str | None) -> Channel | FileChannel:
            if policy is not None and self._logs is not None:
                return FileChannel(self._logs, name, policy, path, owner)
            return Channel(self._reactor, relay, name, path, owner)

        path = self._pipe(name, token)
        try:
            try:
                made = channel(path)
                self.has_fifos = path is not None
                return made
            except OSError as error:
                if path is None:
                    raise
                self.has_fifos = False
                made = channel(None)
                log.warn(
                    "{name} writes to a plain pipe, that ends with this supervisor: cannot make a FIFO: {error}",
                    name=name,
                    error=error.strerror,
                )
                return made
        except OSError as error:
            raise CannotStart("output", "cannot make a pipe", error.errno) from None

    def fragile(self) -> list[Name]:
        """Those whose output goes to a plain pipe: they would not outlast us."""
        return sorted(
            process.name for process in self._processes.values() if process.channel.is_fragile and process.is_recorded
        )

    def partial(self) -> dict[str, bytes]:
        """What was read of lines that have not ended yet, by token, for who goes on reading."""
        return {p.kin.token: p.channel.partial for p in self._processes.values() if p.channel.partial}

    # -- signalling

    def kill(self, pid: Pid, signal_name: str) -> None:
        """
        Signal the family; see `Spawner.kill`.

        While the main lives, its group; afterwards whoever was seen to be left of the family, and if they are killed,
        whoever they start until they are gone. A KILL is for the whole cgroup, where there is one.
        """
        process = self._processes.get(pid)
        if process is None:
            return
        number = signal.Signals[f"SIG{signal_name}"]
        if number == signal.SIGKILL and process.cgroup is not None:
            try:
                process.cgroup.kill()
            except OSError as error:  # what follows reaches those that we know of
                log.error("cannot kill the cgroup {path}: {error}", path=process.cgroup.path, error=error.strerror)
        if process.exit is not None:
            process.killed = number == signal.SIGKILL
            for stat in process.left:
                family.send(stat, number)
            return
        if not process.is_child and not self._is_alive(process):
            return
        try:
            os.killpg(pid, number)  # a leader that is not reaped keeps the group's number from everybody else
        except ProcessLookupError:
            pass
        except OSError as error:
            log.error(
                "cannot send {signal} to the process group {pid}: {error}",
                signal=signal_name,
                pid=pid,
                error=error.strerror,
            )

    def signal(self, pid: Pid, signal_name: str) -> None:
        """Signal the main process alone; see `Spawner.signal`."""
        process = self._processes.get(pid)
        if process is None or process.exit is not None or (not process.is_child and not self._is_alive(process)):
            return
        try:
            process.send(signal.Signals[f"SIG{signal_name}"])
        except ProcessLookupError:
            pass
        except OSError as error:
            log.error("cannot send {signal} to {pid}: {error}", signal=signal_name, pid=pid, error=error.strerror)

    def _is_alive(self, process: _Process) -> bool:
        """Is what is not our child, and so may be reaped by others, still that process?"""
        found = proc.stat(process.pid)
        return found is not None and found.start_time == process.start_time

    # -- reaping

    def reap_strays(self) -> None:
        """
        Reap, before long, what has become our child as an orphan, and ended; to be called at SIGCHLD.

        Mains have their pidfds; this is for the others, whom nobody else would reap (as subreaper, and as PID 1).
        """
        if self._strays_look is None:
            self._strays_look = self._reactor.callLater(_STRAYS, self._reap_strays)

    def _reap_strays(self) -> None:
        self._strays_look = None
        for pid in family.orphans(self._processes.keys(), self._children):
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)

    def reaped(self, process: _Process) -> None:
        """The main process is no more; is anybody left?  Two system calls say so, unless there is."""
        self._unwatched.pop(process.pid, None)
        self._children -= process.is_child
        if (
            process.is_child
            and not family.has_group(process.pid)
            and not self._may_have_orphans(process.kin)
            and not (process.cgroup is not None and process.cgroup.has_members())
        ):
            self._finish_family(process)  # which drains, too
            return
        process.channel.drain()
        self._families[process.pid] = process
        self._family_pace = 0.0
        self._look_soon()

    def _may_have_orphans(self, kin: Kin) -> bool:
        """Is it worth a walk to look for who has left its session?"""
        if not self._subreaper or not kin.token:
            return bool(kin.token)  # they are somebody else's children: only a walk of /proc finds them
        if self._orphans is None:
            # One reading for every exit of this reactor turn: they all died before it.
            self._orphans = family.orphans(self._processes.keys(), self._children)
            self._reactor.callLater(0, self._forget_orphans)
        return any(proc.token(pid) == kin.token for pid in self._orphans)

    def _forget_orphans(self) -> None:
        self._orphans = None

    def _finish_family(self, process: _Process) -> None:
        assert process.exit is not None, "a family is empty only after its main"
        del self._processes[process.pid]
        self._families.pop(process.pid, None)
        if process.cgroup is not None:
            self._remove(process.cgroup)
        process.channel.flush(process.pid)
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
        mains = {process.pid for process in self._processes.values() if process.exit is None}
        there = family.members([process.kin for process in self._families.values()], mains)
        for process in list(self._families.values()):
            process.left = there[process.pid]
            in_cgroup = process.cgroup is not None and process.cgroup.has_members()
            if process.cgroup is not None and in_cgroup:
                process.left = tuple({stat.pid: stat for stat in (*process.left, *process.cgroup.members())}.values())
            if not process.left and not in_cgroup:
                self._finish_family(process)
            elif not process.told:
                process.told = True
                assert process.exit is not None, "it is among the families"
                process.ended(Exited(process.pid, process.exit, alone=False))
            elif process.killed:
                self.kill(process.pid, "KILL")
        if self._families:
            self._family_pace = min(max(0.01, self._family_pace * 1.5), 0.25)
            self._look_soon()

    def _look_at_unwatched(self) -> None:
        for process in list(self._unwatched.values()):
            process.reap()
        # Set until here, so that what is started meanwhile sets no second one.
        self._unwatched_look = self._reactor.callLater(_POLL, self._look_at_unwatched) if self._unwatched else None

    def later(self, delay: float, work: Callable[[], None]) -> None:
        """Do it in ``delay`` seconds."""
        self._reactor.callLater(delay, work)

    def listen(self, process: _Process) -> None:
        """Wait for the end of what has a pidfd."""
        self._reactor.addReader(process)

    def ignore(self, process: _Process) -> None:
        """Wait for it no more."""
        self._reactor.removeReader(process)


@implementer(IReadDescriptor)
class _Process:
    """
    One process, until its family is empty; readable when its main has ended (pidfd_open(2)).

    ``left`` are the members of its family that were seen after the main's end, ``told`` that this was told of, and
    ``killed`` that they are to be killed, whoever they are.
    """

    def __init__(
        self,
        spawner: ProcessSpawner,
        name: Name,
        pid: Pid,
        kin: Kin,
        ended: Ended,
        channel: Channel | FileChannel,
        report: int | None,
        cgroup: Cgroup | None,
    ) -> None:
        self._spawner = spawner
        self.name = name
        self.pid = pid
        self.kin = kin
        self.ended = ended
        self.channel = channel
        self.cgroup = cgroup
        self.is_child = True
        self.is_recorded = True
        self.code_decides = False
        self.start_time: int | None = None
        self.exit: Exit | None = None
        self.left: tuple[proc.Stat, ...] = ()
        self.told = False
        self.killed = False
        self._asked = 0
        self._waited = 0.0
        self._report = report
        self._pidfd: int | None = None

    def watch(self) -> None:
        """Raises OSError where there are no pidfds, or no descriptors for them."""
        if not self.is_child:
            found = proc.stat(self.pid)
            self.start_time = None if found is None else found.start_time
        if not hasattr(os, "pidfd_open"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._pidfd = os.pidfd_open(self.pid)
        self._spawner.listen(self)

    def send(self, number: signal.Signals) -> None:
        """Signal the main process. Raises OSError."""
        if self._pidfd is None:
            os.kill(self.pid, number)
        else:
            signal.pidfd_send_signal(self._pidfd, number)

    def reap(self) -> None:
        """Take its exit if there is one."""
        if self.exit is not None:
            return
        exit = _wait(self.pid) if self.is_child else self._foreign_exit()
        if exit is None:
            return
        self.exit = exit
        if self._pidfd is not None:
            self._spawner.ignore(self)
            if exit == UNKNOWN and not self.is_child:
                self._spawner.later(_ASK_AGAIN[0], self._ask_again)
            else:
                self._close()
        if self._report is not None:
            os.close(self._report)
            self._report = None
        self._spawner.reaped(self)

    def _foreign_exit(self) -> Exit | None:
        """The exit of what is not our child; None while it lives, or while it is worth waiting for its code."""
        found = proc.stat(self.pid)
        if self._pidfd is None:
            lives = found is not None and not found.ended and found.start_time == self.start_time
            return None if lives else UNKNOWN
        known = exit_of(self._pidfd)
        if known is not None or not self.code_decides or self._waited >= _PATIENCE_UNKNOWN:
            return known or UNKNOWN
        self._spawner.ignore(self)
        self._waited += _POLL
        self._spawner.later(_POLL, self.reap)
        return None

    def _ask_again(self) -> None:
        """Its parent may have reaped it by now, and the kernel may know how it ended."""
        if self._pidfd is None:
            return
        known = exit_of(self._pidfd)
        self._asked += 1
        if known is not None:
            self.ended(Learned(self.pid, known))
        elif self._asked < len(_ASK_AGAIN):
            self._spawner.later(_ASK_AGAIN[self._asked] - _ASK_AGAIN[self._asked - 1], self._ask_again)
            return
        self._close()

    def _close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    # IReadDescriptor

    def fileno(self) -> int:
        return -1 if self._pidfd is None else self._pidfd

    def logPrefix(self) -> str:
        return "pidfd"

    def doRead(self) -> None:
        self.reap()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is ending."""


def _awaited(spec: ProcessSpec) -> AwaitedLine | None:
    """What shows in its output that a process is ready; looked for from its first line on."""
    probe = None if spec.ready is None else spec.ready.probe
    return AwaitedLine(probe.pattern) if isinstance(probe, LogLine) else None


UNKNOWN = Exit(None)


def _wait(pid: Pid) -> Exit | None:
    """Reap a child; None if it lives."""
    try:
        # Its pid is ours until this call, so the number names nobody else.
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return UNKNOWN  # somebody else in this process has reaped it
    if found is None:
        return None
    return Exit(found.si_status) if found.si_code == os.CLD_EXITED else Exit(None, signal_name(found.si_status))


def signal_name(number: int) -> str:
    """``TERM`` for 15; ``RTMIN+n`` for a real-time signal."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"RTMIN+{number - signal.SIGRTMIN}"


def signal_number(name: str) -> int:
    """15 for ``TERM``; the other way round than `signal_name`."""
    base, _, offset = name.partition("+")
    return signal.Signals[f"SIG{base}"] + int(offset or 0)


_PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
"""_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info), Linux 6.13; of its first size, 64 bytes."""

_PIDFD_INFO_EXIT = 1 << 3
"""The exit code is wanted, and there: Linux 6.15, once the process has been reaped."""

_EXIT_CODE = 60
"""Offset of ``exit_code``: a wait status, as wait(2) has it."""


def exit_of(pidfd: int) -> Exit | None:
    """How the process of a pidfd ended, whoever has reaped it; None if nobody has, or the kernel does not say."""
    info = bytearray(struct.pack("=Q", _PIDFD_INFO_EXIT).ljust(64, b"\0"))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not struct.unpack_from("=Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    [status] = struct.unpack_from("=i", info, _EXIT_CODE)
    if os.WIFSIGNALED(status):
        return Exit(None, signal_name(os.WTERMSIG(status)))
    return Exit(os.WEXITSTATUS(status))
