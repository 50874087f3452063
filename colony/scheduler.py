"""
Runs one short command again and again, on a fixed grid, never two at once: ``python -m twisted colony-scheduler``.

On the same process class as the supervisor: every run is stopped when it takes too long, with all that it started.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import attrs
from twisted.application import service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python import usage

from colony.core.ending import Ending, advance, begin
from colony.core.environment import Finished
from colony.core.lifecycle import Emptied, Exited, HadToWait, Learned, Told
from colony.core.model import Exit, Name, Pid, ProcessSpec, Rung, Start, StopLadder
from colony.core.recurrence import Every
from colony.runtime.inheritance import prepare
from colony.runtime.launch import Launcher
from colony.runtime.logs import relay_for
from colony.runtime.own_log import OwnLog
from colony.runtime.spawn import ProcessSpawner, Spawner

# Any is the global reactor, which Twisted types as a module.

log = Logger(namespace="colony")


class Options(usage.Options):
    """What `makeService` reads: ``--arg`` again and again, and three durations in seconds."""

    synopsis = "--arg COMMAND [--arg ARGUMENT]... --frequency S --timeout S --grace S"
    longdesc = "Runs one short command again and again, at once and then on a fixed grid, never two at once."
    optParameters: ClassVar = [
        ["frequency", None, None, "seconds from one run's start to the next one's, more than 0"],
        ["timeout", None, None, "seconds after which a run is sent TERM"],
        ["grace", None, None, "seconds after that until it is sent KILL"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self["args"] = []

    def opt_arg(self, argument: str) -> None:
        """The command, then its arguments, one each."""
        self["args"].append(argument)


@attrs.frozen
class Settings:
    """The options, checked; durations in seconds."""

    args: tuple[str, ...]
    frequency: float
    timeout: float
    grace: float

    @classmethod
    def read(cls, options: Options) -> Settings:
        """Raises SystemExit with what is wrong, in one line."""
        args = tuple(options["args"])
        if not args or not args[0]:
            raise SystemExit("colony-scheduler: --arg COMMAND is required")
        durations = {}
        for name in ("frequency", "timeout", "grace"):
            text = options[name]
            if text is None:
                raise SystemExit(f"colony-scheduler: --{name} SECONDS is required")
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if not 0 <= value <= 1e9 or (name == "frequency" and value < 0.001):
                raise SystemExit(f"colony-scheduler: --{name} {text} is no number of seconds that would do")
            durations[name] = value
        return cls(args, **durations)

    @property
    def ladder(self) -> StopLadder:
        """How a run is ended that does not end."""
        return (Rung("TERM", self.grace), Rung("KILL", 0))


def makeService(options: Options) -> service.Service:
    """The scheduler as a service. Raises SystemExit with one line where it cannot be."""
    settings = Settings.read(options)
    inheritance = prepare()

    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    reactor.seconds = time.monotonic  # timers that no change of the wall's clock moves
    own_log = OwnLog()
    relay = relay_for(options.parent, sys.argv[1:], own_log.write)
    reactor.callWhenRunning(own_log.start)
    reactor.addSystemEventTrigger("during", "shutdown", own_log.finish)

    def finish(start: Start, account: Mapping[str, str]) -> Finished:
        # Unchanged, its token too: whoever supervises us must find what we started.
        return Finished(start.spec.args, None, dict(os.environ))

    # A group in our session, not a session of its own: whoever ends our session ends our runs too.
    return Service(
        cast(IReactorTime, reactor),
        lambda: ProcessSpawner(reactor, relay, Launcher(inheritance, own_session=False), finish),
        settings,
        os.environ.get("COLONY_TOKEN", ""),
    )


@attrs.define
class _Run:
    """The run under way: when it is due to have ended, and what has been done about it."""

    pid: Pid
    ending: Ending | None = None
    exit: Exit | None = None
    alarm: IDelayedCall | None = None


class Service(service.Service):
    """
    Starts the command at once and then at each point of the grid at which no run is under way.

    A run that cannot start, fails, hangs or leaves others behind is logged, and changes nothing about the next.
    """

    def __init__(
        self, clock: IReactorTime, spawner: Callable[[], Spawner], settings: Settings, token: str = ""
    ) -> None:
        """``spawner`` makes the Spawner when the service starts, after any fork into the background."""
        self._clock = clock
        self._make_spawner = spawner
        self._settings = settings
        self._token = token
        # What it is called in the log.
        self._name = Name(os.path.basename(settings.args[0]) or "command")
        self._spawner: Spawner | None = None
        self._run: _Run | None = None
        self._next: IDelayedCall | None = None
        self._scheduled = 0.0
        self._stopped: list[Deferred[None]] = []

    def startService(self) -> None:
        """Begin: the first run is due now."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._spawner = self._make_spawner()
        self._next = self._clock.callLater(0, self._begin)

    def stopService(self) -> Deferred[None]:
        """Start no more; fires when the run under way has ended, with all that it started."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._run is None:
            return succeed(None)
        self._end_run(self._run)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        return done

    def _begin(self) -> None:
        self._scheduled = self._clock.seconds()
        self._start()

    def _start(self) -> None:
        self._next = None
        assert self._spawner is not None, "the service has started"
        spec = ProcessSpec(self._settings.args, digest="")
        try:
            pid = self._spawner.spawn(Start(self._name, self._token, spec, b""), self._ended)
        except OSError as error:
            log.error("cannot start {name}: {error}", name=self._name, error=error)
            self._plan()
        except Exception:
            log.failure("cannot start {name}", name=self._name)
            self._plan()
        else:
            self._run = _Run(pid)
            self._run.alarm = self._clock.callLater(self._settings.timeout, self._time_out, self._run)

    def _plan(self) -> None:
        if self.running:
            due = Every(self._settings.frequency).next(self._scheduled, self._clock.seconds())
            self._scheduled = due.at
            self._next = self._clock.callLater(max(0.0, due.at - self._clock.seconds()), self._start)

    def _time_out(self, run: _Run) -> None:
        log.warn(
            "{name} ({pid}) has run for {timeout} s: stopping it",
            name=self._name,
            pid=run.pid,
            timeout=self._settings.timeout,
        )
        self._end_run(run)

    def _end_run(self, run: _Run) -> None:
        if run.ending is None:
            run.ending, signals = begin(self._settings.ladder, self._clock.seconds())
            self._send(run, signals)

    def _climb(self, run: _Run) -> None:
        assert run.ending is not None, "it is being ended"
        run.ending, signals = advance(run.ending, self._clock.seconds())
        self._send(run, signals)

    def _send(self, run: _Run, signals: tuple[str, ...]) -> None:
        assert self._spawner is not None, "it has started the run"
        assert run.ending is not None, "it is being ended"
        if run.alarm is not None and run.alarm.active():
            run.alarm.cancel()
        if run.ending.until is not None:
            delay = max(0.0, run.ending.until - self._clock.seconds())
            run.alarm = self._clock.callLater(delay, self._climb, run)
        for name in signals:
            self._spawner.kill(run.pid, name)

    def _ended(self, event: Told) -> None:
        run = self._run
        assert run is not None, "one run at a time"
        match event:
            case Exited(exit=exit, alone=alone):
                run.exit = exit
                if exit.code != 0:
                    log.warn("{name} ({pid}) {exit}", name=self._name, pid=run.pid, exit=str(exit))
                if not alone:
                    log.warn("{name} ({pid}) has left others behind: stopping them", name=self._name, pid=run.pid)
                    self._end_run(run)
                    return
            case Learned() | HadToWait():
                return
            case Emptied():
                pass
        if run.alarm is not None and run.alarm.active():
            run.alarm.cancel()
        self._run = None
        self._plan()
        stopped, self._stopped = self._stopped, []
        for done in stopped:
            done.callback(None)
