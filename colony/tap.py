"""The composition root of ``python -m twisted colony``: options in, a service out."""

from __future__ import annotations

import atexit
import hashlib
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NoReturn

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

import colony
from colony.core import check
from colony.core.desired import Desired, Listing, fold
from colony.core.environment import finish
from colony.core.model import Defaults, Report, Survivor, default_ladder, timestamp
from colony.report.pidfiles import PidFiles
from colony.report.status import Clocks, StatusFiles
from colony.runtime.adopt import Clearing, survivors
from colony.runtime.family import become_subreaper
from colony.runtime.inbox import Inbox
from colony.runtime.inheritance import Inheritance, ignore, prepare, unblock_signals
from colony.runtime.later import Later
from colony.runtime.launch import Launcher
from colony.runtime.locks import DirectoryLock, Taken
from colony.runtime.logs import Relay, relay_for
from colony.runtime.own_log import OwnLog
from colony.runtime.ownership import Ownership, Untrusted
from colony.runtime.records import Records
from colony.runtime.rounds import Rounds
from colony.runtime.spawn import ProcessSpawner
from colony.runtime.state import StateDirectory
from colony.runtime.upgrade import SELF_CHECK, HandOver, Upgrade, take_over
from colony.runtime.watch import Unseen, Watch
from colony.supervisor import Supervisor

log = Logger(namespace="colony")

# Any is the global reactor, which Twisted types as a module, and what usage.Options maps to.

LOCK_PATIENCE = 1.0
"""Seconds that a start waits for a supervisor before it to let go."""


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
        ["no-strict-modes", None, "as root, obey files whoever has written them"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self["trust-user"] = []

    def opt_trust_user(self, name: str) -> None:
        """as root, also obey files of this user; repeatable"""
        self["trust-user"].append(name)

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
    adopt: bool = True
    """The uids whose files are obeyed; None for everybody's."""

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
        return cls(config, messages, state, pids, seconds("frequency", 0.01), defaults, trusted, adopt)

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


def makeService(options: Options) -> Service:
    """The supervisor as a service. Raises SystemExit with one line where it cannot be."""
    settings = Settings.read(options, os.environ)
    if os.environ.get(SELF_CHECK):
        self_check(settings)
    hand_over = take_over()
    inheritance = prepare(unblock=hand_over is None)
    held = {} if hand_over is None else hand_over.locks
    locks = (
        DirectoryLock(settings.config, held.get(settings.config)),
        DirectoryLock(settings.messages, held.get(settings.messages)),
    )
    deadline = time.monotonic() + LOCK_PATIENCE
    for lock in locks:
        while True:
            try:
                lock.acquire()
            except Taken as taken:
                if time.monotonic() > deadline:
                    refuse(str(taken))
                time.sleep(0.02)
                continue
            except OSError:
                pass  # the rounds say so, and wait for it
            break
    if hand_over is None:  # else the self-check has asked, and what runs already is not to be left alone for this
        refuse_untrusted(settings)
    own_log = OwnLog()
    relay = relay_for(options.parent, sys.argv[1:], own_log.write)

    from twisted.internet import reactor

    # Timers that no change of the wall's clock moves; before anything is scheduled.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    return ColonyService(reactor, settings, inheritance, locks, own_log, relay, options.parent, hand_over)


def refuse_untrusted(settings: Settings) -> None:
    """Raises SystemExit where others may decide what runs, by CONFIG, or what goes on, by STATE."""
    ownership = Ownership(settings.trusted)
    for option, path in (("config", settings.config), ("state", settings.state)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # it is not there yet; whoever looks into it judges it then
        try:
            ownership.require_directory(path, descriptor)
        except Untrusted as untrusted:
            refuse(f"--{option} is not to be trusted: {untrusted}; or give --no-strict-modes")
        except OSError as error:
            refuse(f"cannot tell who may write --{option} {path}: {error.strerror}")
        finally:
            os.close(descriptor)


def self_check(settings: Settings) -> NoReturn:
    """What an upgrade wants to know of new code: it is there, and can read what it would go on with. Exits."""
    refuse_untrusted(settings)
    with suppress(Unseen):
        ownership = Ownership(settings.trusted)
        listing = Watch(settings.config, check.MAX_SPEC_BYTES, time.monotonic, ownership=ownership).look()
        desired, names = fold(Desired(), listing, settings.defaults)
        sys.stdout.write(f"colony {colony.__version__} can read {len(desired.specs)} of {len(names)} process files\n")
    list(Records(lambda: os.path.join(settings.state, "records")).read())
    raise SystemExit(0)


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
        self._quitting = False
        self._cleared: Deferred[None] = succeed(None)
        self._reporters: list[Callable[[Report], None]] = []
        self._state = StateDirectory(settings.state, self._later)
        self._own_log = own_log
        self._parent = parent
        self._partial = {} if hand_over is None else hand_over.partial
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
        self._spawner = ProcessSpawner(
            self._reactor,
            self._relay,
            Launcher(self._inheritance),
            partial(finish, inherited=dict(os.environ)),
            pipes=self._state.pipes,
            records=self._state.records,
            subreaper=self._subreaper,
            partial=self._partial,
        )
        self._supervisor = Supervisor(
            self._reactor,
            self._spawner,
            self._state,
            settings.colony,
            settings.defaults,
            self._report,
            lambda: self._rounds.scan(),
        )
        ownership = Ownership(settings.trusted)
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
            self._point,
        )
        self._handle_signals()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None]:
        """Fires when every process has been stopped, and nothing of what it started is left."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        ignore(signal.SIGTERM, signal.SIGINT)
        log.info("stopping every process")
        self._rounds.end()
        # What a supervisor before us left behind is gone, or adopted, before everything is stopped.
        return self._cleared.addCallback(lambda _: self._close()).addCallback(lambda _: self._end())

    def _close(self) -> Deferred[None]:
        closed = self._supervisor.close()
        if self._quitting:
            self._supervisor.insist()
        return closed

    def _begin(self) -> None:
        self._own_log.start()
        unblock_signals()
        self._open_state()
        signal.signal(signal.SIGCHLD, lambda *_: self._reactor.callFromThread(self._spawner.reap_strays))
        found = survivors(self._state.records.read(), self._state.pipes())
        if not self._settings.adopt:  # they are stopped as what is not wanted any more is, by their own ladders
            found = [attrs.evolve(survivor, stale=True) for survivor in found]
        ladder = default_ladder(self._settings.defaults.killtime)
        spared = {survivor.token for survivor in found if survivor.alive}
        clearing = Clearing(self._reactor, self._settings.colony, ladder, spared)
        self._cleared = clearing.gone
        _ = clearing.gone.addCallback(lambda _: self._go(found)).addErrback(
            lambda failure: log.failure("cannot begin", failure=failure)
        )
        clearing.begin()

    def _go(self, found: list[Survivor]) -> None:
        self._supervisor.restore(self._state.remembered(), self._state.held(), found)
        self._state.clear_pipes(keep={survivor.token for survivor in found if survivor.alive})
        if not self.running:
            return
        self._rounds.begin()
        upgrade = Upgrade(self._reactor, self._spawner, self._parent, self._hand_over, self._refuse)
        signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self._while_running, upgrade.begin))
        log.info("colony {version} keeps {config}", version=colony.__version__, config=self._settings.config)

    def _end(self) -> None:
        self._state.records.forget_all()
        self._later.finish()
        log.info("every process is gone")
        self._own_log.finish()

    def _hand_over(self) -> HandOver:
        """The last that this code does: what it has still to write is written."""
        self._rounds.end()
        self._supervisor.flush()
        self._later.flush()
        self._own_log.finish()
        locks = {lock.path: lock.held for lock in self._locks if lock.held is not None}
        return HandOver(os.getpid(), locks, self._spawner.partial())

    def _refuse(self, why: str) -> None:
        """No upgrade: go on as if nobody had asked."""
        self._own_log.start()
        log.error("no upgrade: {why}", why=why)
        self._refused = {"at": timestamp(time.time()), "error": why}
        if self._last_report is not None:
            self._report(attrs.evolve(self._last_report, moved=frozenset()))
        self._rounds.begin()

    def _take(self, listing: Listing) -> None:
        self._supervisor.take(listing)
        self._state.keep_seen(self._watch.identity)

    # -- what is told

    def _open_state(self) -> None:
        try:
            self._state.open(self._settings.messages)
        except OSError as error:
            log.error("no STATE ({error}): no status, no answers, no logs, no lasting STOP, no adoption", error=error)
        else:
            modes = self._state.modes
            files = StatusFiles(self._settings.state, modes.file, modes.group, self._clocks, self._about)
            files.begin()
            self._reporters.append(files)
            self._point()
        if self._settings.pids is not None:
            pids = PidFiles(self._settings.pids)
            try:
                pids.begin()
            except OSError as error:
                log.error("no pid files: {error}", error=error)
            else:
                self._reporters.append(pids)

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
                "fifo": self._state.available,
                "subreaper": self._subreaper,
            },
            "log_dropped": self._own_log.dropped,
            "upgrade_refused": self._refused,
        }

    # -- signals

    def _handle_signals(self) -> None:
        """TERM and INT are Twisted's; no other signal is to end us and leave processes behind."""
        ignore(signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR2)  # USR2 until there is something to upgrade
        if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # else it is twistd's, who rotates its log
            ignore(signal.SIGUSR1)
        rescan = self._rounds.scan_all
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._while_running, rescan))
        signal.signal(signal.SIGQUIT, lambda *_: self._reactor.callFromThread(self._quit))

    def _while_running(self, work: Callable[[], None]) -> None:
        if self.running:
            work()

    def _quit(self) -> None:
        """KILL to everything, now; the exit code is that of a shell's for QUIT."""
        if not self.running:
            self._supervisor.insist()
            return
        self._quitting = True
        atexit.register(_exit_at_once, 128 + signal.SIGQUIT)
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def _exit_at_once(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
