"""Everything put together: it begins with what a supervisor before it left, and ends when every process has."""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

import colony
from colony.core import check
from colony.core.desired import Listing
from colony.core.environment import Finished, finish
from colony.core.model import Exit, Name, Pid, Start, Survivor, default_ladder, timestamp
from colony.core.report import Report
from colony.options import Settings
from colony.report.events import EventsFile
from colony.report.pidfiles import PidFiles
from colony.report.status import Clocks, StatusFiles
from colony.runtime import cgroups
from colony.runtime.adopt import Clearing, survivors
from colony.runtime.cgroups import Cgroups
from colony.runtime.checks import Checks
from colony.runtime.env_files import EnvFiles
from colony.runtime.family import become_subreaper
from colony.runtime.inbox import Inbox
from colony.runtime.inheritance import Inheritance, ignore, unblock_signals
from colony.runtime.later import Later
from colony.runtime.launch import Launcher
from colony.runtime.locks import DirectoryLock
from colony.runtime.log_writer import LogWriter
from colony.runtime.logs import Relay
from colony.runtime.notify import Notify
from colony.runtime.own_log import OwnLog
from colony.runtime.ownership import Ownership
from colony.runtime.rounds import Rounds
from colony.runtime.spawn import ProcessSpawner, signal_number
from colony.runtime.state import StateDirectory
from colony.runtime.upgrade import HandOver, Upgrade
from colony.runtime.watch import Watch
from colony.supervisor import Supervisor

log = Logger(namespace="colony")

# Any is the global reactor, which Twisted types as a module.

_RETRY = 1.0
"""Seconds after which what could not be written is written again."""

STATE_PATIENCE = 10
"""Tenths of a second that a beginning waits for STATE; nothing is supervised yet that would have to wait too."""


class ColonyService(Service):
    """Everything, put together; ends when every process has."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        inheritance: Inheritance,
        locks: tuple[DirectoryLock, DirectoryLock],
        own_log: OwnLog,
        relay: Relay,
        parent: Mapping[str, object] | None = None,
        hand_over: HandOver | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._later = Later()
        self._ending = False
        self._quitting = False
        self._children_ended = False
        self._cleared: Deferred[None] = succeed(None)
        self._reporters: list[Callable[[Report], None]] = []
        self._events: EventsFile | None = None
        self._state = StateDirectory(settings.state, self._later)
        self._own_log = own_log
        self._parent = parent
        self._partial = {} if hand_over is None else hand_over.partial
        self._inherited_notify = None if hand_over is None else hand_over.notify
        self._last_report: Report | None = None
        self._refused: dict[str, str] | None = None
        self._relay = relay
        self._inheritance = inheritance
        self._locks = locks
        self._clocks = Clocks(reactor.seconds, time.time)
        self._started = timestamp(time.time())

    def startService(self) -> None:
        """Put it together; begin once the reactor runs, and with it the handlers of signals."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        settings = self._settings
        self._later.start()
        self._subreaper = become_subreaper()
        if not self._subreaper:
            log.warn("orphans cannot become our children: each exit costs a look at all of /proc")
        self._logs = LogWriter(self._reactor, self._relay, self._state.logs, lambda: self._supervisor.report())
        ownership = Ownership(settings.trusted)
        self._environment = dict(os.environ)
        self._env_files = EnvFiles(ownership)
        self._cgroups = self._find_cgroups() if settings.cgroups else None
        self._spawner = ProcessSpawner(
            self._reactor,
            self._relay,
            Launcher(self._inheritance),
            self._finish,
            pipes=self._state.pipes,
            records=self._state.records,
            subreaper=self._subreaper,
            partial=self._partial,
            cgroups=self._cgroups,
            logs=self._logs,
        )
        self._notify = Notify(self._reactor, self._spawner.runs, self._inherited_notify)
        self._checks = Checks(
            self._reactor, self._spawner, self._notify, settings.colony, lambda name: self._supervisor.source(name)
        )
        self._supervisor = Supervisor(
            self._reactor,
            self._spawner,
            self._checks,
            self._state,
            settings.colony,
            settings.defaults,
            self._report,
            lambda: self._rounds.scan(),
            self._rotate,
            self._gave_up,
        )
        if settings.trusted is None and os.geteuid() == 0:
            log.warn("strict modes are off: root obeys the files of anybody who can write them")
        self._watch = Watch(
            settings.config,
            check.MAX_SPEC_BYTES,
            self._reactor.seconds,
            identity=self._state.seen(),
            ownership=ownership,
        )
        self._rounds = Rounds(
            self._reactor,
            settings.frequency,
            *self._locks,
            self._watch,
            Inbox(settings.messages, self._supervisor.obey, self._state.answer, self._reactor.seconds, ownership),
            self._take,
            self._settle,
        )
        self._handle_signals()
        self._reactor.callWhenRunning(self._begin_or_end)

    def stopService(self) -> Deferred[None]:
        """Fires when every process has been stopped, and nothing of what it started is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        ignore(signal.SIGTERM, signal.SIGINT)
        log.info("stopping every process")
        self._rounds.end()
        # What a supervisor before us left behind is gone, or adopted, before everything is stopped.
        return self._cleared.addCallback(lambda _: self._close()).addCallback(lambda _: self._end())

    def _finish(self, start: Start, account: Mapping[str, str]) -> Finished:
        """Everything that a start needs to know, as it is at this moment."""
        files = self._env_files.read(start.spec.env_file)
        return finish(start, account, self._environment, files, self._notify.address)

    def _find_cgroups(self) -> Cgroups | None:
        try:
            return cgroups.find(self._settings.colony, self._settings.state)
        except cgroups.Missing as missing:
            log.warn("no cgroups, so who leaves its session and hides its token may get away: {why}", why=missing)
            return None

    def _close(self) -> Deferred[None]:
        closed = self._supervisor.close()
        if self._quitting:
            self._supervisor.insist()
        return closed.addCallback(lambda _: self._checks.close())

    def _begin(self) -> None:
        self._own_log.start()
        self._logs.start()
        self._handle_ends()
        unblock_signals()
        self._open_state()
        self._notify.bind(self._notify_address())
        signal.signal(signal.SIGCHLD, self._child_ended)
        found = survivors(self._state.records.read(), self._state.pipes())
        if not self._settings.adopt:  # they are stopped as what is not wanted any more is, by their own ladders
            found = [attrs.evolve(survivor, stale=survivor.stale or survivor.rest is None) for survivor in found]
        ladder = default_ladder(self._settings.defaults.killtime)
        spared = {survivor.token for survivor in found if survivor.alive}
        names = {survivor.token: survivor.name for survivor in found}
        clearing = Clearing(
            self._reactor,
            self._settings.colony,
            ladder,
            spared,
            names,
            lambda name: self._supervisor.freed(name),
            self._cgroups,
            os.path.realpath(self._settings.config),
        )
        self._cleared = clearing.gone.addCallback(lambda stuck: self._go(found, stuck)).addErrback(self._give_up)
        clearing.begin()

    def _notify_address(self) -> str:
        """
        The same for whoever goes on with what we start, and another one than that of a colony in a container that
        shares our network and knows its CONFIG by the same path.
        """
        try:
            state = os.stat(self._settings.state)
        except OSError:  # nobody goes on without it
            return f"@colony-{self._settings.colony}-{secrets.token_hex(8)}"
        return f"@colony-{self._settings.colony}-{state.st_dev:x}-{state.st_ino:x}"

    def _begin_or_end(self) -> None:
        try:
            self._begin()
        except Exception:
            self._give_up(Failure())  # type: ignore[no-untyped-call]  # Twisted's

    def _give_up(self, failure: Failure) -> None:
        """Ours to mend: end at once rather than hold locks and do nothing; what runs is the next supervisor's."""
        log.failure("cannot begin", failure=failure)
        self._own_log.finish()
        _exit_at_once(1)

    def _go(self, found: list[Survivor], stuck: Mapping[Name, Pid]) -> None:
        self._supervisor.restore(self._state.remembered(), self._state.held(), found)
        self._supervisor.block(stuck)
        self._notify.begin()
        self._spawner.reap_strays()  # those who ended before SIGCHLD was ours
        self._state.clear_pipes(keep={survivor.token for survivor in found if survivor.alive})
        if not self.running:
            return
        self._rounds.begin()
        rescan = self._rounds.scan_all
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._while_running, rescan))
        upgrade = Upgrade(
            self._reactor, self._spawner, self._parent, self._upgrade_obstacle, self._hand_over, self._refuse
        )
        signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self._while_running, upgrade.begin))
        log.info("colony {version} keeps {config}", version=colony.__version__, config=self._settings.config)

    def _end(self) -> None:
        self._state.records.forget_all()
        if self._events is not None:
            self._events.end()
        self._notify.close()
        self._later.finish()
        if not self._logs.finish():
            log.error("not all that was said is in the log files: their disk does not answer")
        if self._cgroups is not None:
            self._cgroups.close()
        log.info("every process is gone")
        self._own_log.finish()

    def _upgrade_obstacle(self) -> str | None:
        if not self.running:
            return "the supervisor is ending"
        if not self._state.available:
            return "without STATE no process would be known afterwards, and all would be started anew"
        if self._state.records.failing:
            return "starts cannot be recorded in STATE, so what was started would be started anew"
        if fragile := self._spawner.fragile():
            return f"the plain pipes that these write to would end: {', '.join(fragile)}; restart them first"
        return None

    def _hand_over(self) -> HandOver:
        """The last that this code does: what it has still to write is written."""
        self._rounds.end()
        self._checks.kill_commands()
        self._supervisor.flush()
        self._later.flush()
        self._logs.finish()
        self._own_log.finish()
        locks = {lock.path: lock.held for lock in self._locks if lock.held is not None}
        return HandOver(os.getpid(), locks, self._spawner.partial(), self._notify.descriptor)

    def _refuse(self, why: str) -> None:
        """No upgrade: go on as if nobody had asked."""
        self._own_log.start()
        self._logs.start()
        log.error("no upgrade: {why}", why=why)
        self._refused = {"at": timestamp(time.time()), "error": why}
        if self.running:
            self._rounds.begin()
        if self._last_report is not None:
            with suppress(OSError):  # it is told with the next one
                self._report(attrs.evolve(self._last_report, moved=frozenset()))

    def _take(self, listing: Listing) -> None:
        self._supervisor.take(listing)
        self._state.keep_seen(self._watch.identity)

    # -- what is told

    def _open_state(self) -> None:
        try:
            for _ in range(STATE_PATIENCE):  # without it, what a killed supervisor has left would be stopped
                with suppress(OSError):
                    self._state.open(self._settings.messages)
                    break
                time.sleep(0.1)
            else:
                self._state.open(self._settings.messages)
        except OSError as error:
            log.error("no STATE ({error}): no status, no answers, no logs, no lasting STOP, no adoption", error=error)
        else:
            modes = self._state.modes
            self._events = EventsFile(self._settings.state, modes.file, modes.group, self._clocks, _complain)
            self._reporters.append(self._events)
            self._events.begin(colony.__version__)
            files = StatusFiles(self._settings.state, modes.file, modes.group, self._clocks, self._about)
            self._reporters.append(files)
            try:
                files.begin()
            except OSError as error:  # it is told with the first report, or as soon as that can be made
                log.error("cannot tell in files that this supervisor is here: {error}", error=error)
            self._point()
            self._identify()
            if self._cgroups is not None:
                try:
                    self._cgroups.keep(self._settings.state)
                except OSError as error:  # it matters only to one that runs in another cgroup than we do
                    log.warn("cannot remember where the cgroups are: {error}", error=error.strerror)
        if self._settings.pids is not None:
            pids = PidFiles(self._settings.pids)
            try:
                pids.begin()
            except OSError as error:
                log.error("no pid files: {error}", error=error)
            else:
                self._reporters.append(pids)

    def _identify(self, said: bool = False) -> None:
        """Say in STATE/lock who we are; where the disk is full, as soon as that can be done."""
        try:
            self._state.identify()
        except OSError as error:
            if not said:
                log.error("cannot say in STATE/lock who we are, so that ctl cannot upgrade: {error}", error=error)
            self._reactor.callLater(_RETRY, self._while_running, partial(self._identify, said=True))

    def _settle(self) -> None:
        """A directory has become another one, or is heard of in another way."""
        self._point()
        self._supervisor.report()

    def _point(self) -> None:
        if self._state.available:
            try:
                self._state.point(self._settings.messages)
            except OSError as error:
                log.warn("cannot say in MESSAGES where STATE is: {error}", error=error)

    def _report(self, report: Report) -> None:
        self._last_report = report
        trouble: OSError | None = None
        for reporter in self._reporters:
            try:
                reporter(report)
            except OSError as error:  # the others are told all the same
                trouble = error
        if trouble is not None:
            raise trouble

    def _about(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "version": colony.__version__,
            "started": self._started,
            "directories": {
                "config": self._settings.config,
                "messages": self._settings.messages,
                "state": self._settings.state,
            },
            "capabilities": {
                "inotify": self._rounds.inotify,
                "pidfd": hasattr(os, "pidfd_open"),
                "fifo": self._state.available and self._spawner.has_fifos,
                "subreaper": self._subreaper,
                "notify": self._notify.trouble is None,
                # Who has not asked for them does not lack them.
                **({"cgroups": self._cgroups is not None} if self._settings.cgroups else {}),
            },
            "log_dropped": self._own_log.dropped + self._logs.dropped,
            "events_dropped": 0 if self._events is None else self._events.dropped,
            "upgrade_refused": self._refused,
        }

    # -- signals

    def _rotate(self) -> bool:
        self._logs.rotate()
        return self._state.available

    def _handle_signals(self) -> None:
        """TERM and INT are Twisted's; no other signal is to end us and leave processes behind."""
        # HUP and USR2 until what was there before us is known: a look at CONFIG would start it a second time.
        ignore(signal.SIGPIPE, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR2)
        signal.signal(signal.SIGUSR1, partial(self._rotate_too, signal.getsignal(signal.SIGUSR1)))
        signal.signal(signal.SIGQUIT, lambda *_: self._reactor.callFromThread(self._quit))

    def _handle_ends(self) -> None:
        """Obey the first TERM or INT, as Twisted does: its handlers stand by now."""
        for number in (signal.SIGTERM, signal.SIGINT):
            obey = signal.getsignal(number)
            if callable(obey):
                signal.signal(number, partial(self._asked_to_end, obey))

    def _child_ended(self, number: int, frame: FrameType | None) -> None:
        """Once for all that ended before the reactor comes to it: where hundreds end, every call counts."""
        if not self._children_ended:
            self._children_ended = True
            self._reactor.callFromThread(self._reap_strays)

    def _reap_strays(self) -> None:
        self._children_ended = False
        self._spawner.reap_strays()

    def _asked_to_end(
        self, obey: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None
    ) -> None:
        if self._is_first_reason():
            obey(number, frame)

    def _is_first_reason(self) -> bool:
        """There is a reason to end: is it the first?  Later ones change neither the end nor its exit code."""
        ignore(signal.SIGTERM, signal.SIGINT)
        first, self._ending = not self._ending, True
        return first

    def _rotate_too(self, found: Any, number: int, frame: FrameType | None) -> None:
        """Rotate the log files, and have whoever was there before rotate his: twistd."""
        if callable(found):
            found(number, frame)
        self._reactor.callFromThread(self._while_running, self._rotate)

    def _while_running(self, work: Callable[[], None]) -> None:
        if self.running:
            work()

    def _quit(self) -> None:
        """KILL to everything, now; the exit code is that of a shell's for QUIT."""
        if not self.running:
            self._supervisor.insist()
            return
        self._quitting = True
        if self._is_first_reason():
            atexit.register(_exit_at_once, 128 + signal.SIGQUIT)
            with suppress(ReactorNotRunning):
                self._reactor.stop()

    def _gave_up(self, name: Name, exit: Exit | None) -> None:
        """End with an essential process, as it did."""
        if self.running and self._is_first_reason():
            how = "it could not be started" if exit is None else str(exit)
            log.error("{name} is essential, and is not started again ({how}): ending", name=name, how=how)
            atexit.register(_exit_at_once, 1 if exit is None else _exit_code(exit))
            with suppress(ReactorNotRunning):
                self._reactor.stop()


def _complain(text: str) -> None:
    log.error("{text}", text=text)


def _exit_code(exit: Exit) -> int:
    """What a shell would make of it; 1 for what nobody knows."""
    if exit.code is not None:
        return exit.code
    return 1 if exit.signal is None else 128 + signal_number(exit.signal)


def _exit_at_once(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
