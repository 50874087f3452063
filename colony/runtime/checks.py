"""Finds out about processes that run: whether they are ready, whether they are well."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Protocol, assert_never

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from colony.core import model
from colony.core.model import Health, Name, Pid, ProcessSpec, Readiness, Start
from colony.runtime.announced import Pulse, ReadyByLine, ReadyByNotify
from colony.runtime.asking import Asking, Course, Rounds, Tell, UntilReady
from colony.runtime.launch import CannotStart, here
from colony.runtime.mounts import Mounts
from colony.runtime.notify import Notify
from colony.runtime.probe_beat import BeatProbe
from colony.runtime.probe_exec import ExecProbe
from colony.runtime.probe_http import HttpProbe, IReactor
from colony.runtime.probe_tcp import TcpProbe
from colony.runtime.probes import Probe
from colony.runtime.spawn import ProcessSpawner
from colony.runtime.turnstile import Turnstile

log = Logger(namespace="colony")

PATIENCE = 5.0
"""Seconds that one connection may take to show that a process is ready; a command has the whole timeout."""

GONE_PATIENCE = 1.0
"""Seconds that an end waits for commands that were killed."""


class _Watch(Protocol):
    """What goes on for one process."""

    def begin(self) -> None:
        """Tell nothing yet."""

    def end(self) -> None:
        """Tell nothing after this."""


class Checks:
    """
    The Checks of real processes (`colony.supervisor.Checks`).

    Nobody suffers for what is not its fault: while descriptors or memory are short, nothing is told.
    """

    def __init__(
        self,
        reactor: IReactor,
        spawner: ProcessSpawner,
        notify: Notify,
        colony: str,
        source: Callable[[Name], bytes],
    ) -> None:
        """``colony`` begins the token of each command that is run; ``source`` gives the bytes of a process's file."""
        self._reactor = reactor
        self._spawner = spawner
        self._notify = notify
        self._colony = colony
        self._source = source
        self._mounts: Mounts | None = None
        self._turnstile = Turnstile(reactor)
        self._watches: dict[Pid, _Watch] = {}
        self._commands: set[Pid] = set()
        self._shortage: str | None = None

    def watch(self, name: Name, pid: Pid, spec: ProcessSpec, what: Readiness | Health, tell: Tell) -> None:
        """
        Find out about it until it is forgotten: Ready once, or Probed each ``every``; instead of what was before.

        Nothing is told before this returns.
        """
        self.forget(pid)
        watch = self._watches[pid] = self._watch(name, pid, spec, what, tell)
        watch.begin()

    def forget(self, pid: Pid) -> None:
        """No more of it; nothing is told after this. Silent if nothing was watched."""
        watch = self._watches.pop(pid, None)
        if watch is not None:
            watch.end()

    def close(self) -> Deferred[None]:
        """Forget everybody; fires when no command is left, or one does not want to go."""
        for pid in list(self._watches):
            self.forget(pid)
        gone: Deferred[None] = Deferred()
        self._await_commands(gone, self._reactor.seconds() + GONE_PATIENCE)
        return gone

    def kill_commands(self) -> None:
        """Leave no command to who comes after us; what was asked of them is asked again, should we go on."""
        for pid in list(self._commands):
            self._spawner.kill(pid, "KILL")

    def _await_commands(self, gone: Deferred[None], until: float) -> None:
        if not self._commands or self._reactor.seconds() > until:
            gone.callback(None)
        else:
            self._reactor.callLater(0.01, self._await_commands, gone, until)

    # -- what is asked of whom

    def _watch(self, name: Name, pid: Pid, spec: ProcessSpec, what: Readiness | Health, tell: Tell) -> _Watch:
        if isinstance(what, Readiness):
            ready = UntilReady(name, pid, tell)
            match what.probe:
                case model.Tcp() | model.Http():
                    return self._asking(name, spec, what.probe, min(what.timeout, PATIENCE), ready)
                case model.Exec():
                    return self._asking(name, spec, what.probe, what.timeout, ready)
                case model.LogLine():
                    return ReadyByLine(self._reactor, pid, self._spawner.awaited_line(pid), tell)
                case model.Notify():
                    return ReadyByNotify(self._reactor, self._notify, name, pid, tell)
                case model.Elapsed():
                    raise AssertionError("that is but a matter of time, and core's")
                case _:
                    assert_never(what.probe)
        if isinstance(what.probe, model.Notify):
            return Pulse(self._reactor, self._notify, name, pid, what.every, tell)
        return self._asking(name, spec, what.probe, what.timeout, Rounds(name, pid, what, tell))

    def _asking(
        self,
        name: Name,
        spec: ProcessSpec,
        asked: model.Tcp | model.Http | model.Exec | model.Beat,
        timeout: float,
        course: Course,
    ) -> Asking:
        probe = self._probe(name, spec, asked)
        return Asking(self._reactor, self._turnstile, name, probe, timeout, course, self._note_shortage)

    def _probe(self, name: Name, spec: ProcessSpec, asked: model.Tcp | model.Http | model.Exec | model.Beat) -> Probe:
        match asked:
            case model.Tcp(port):
                return TcpProbe(self._reactor, port)
            case model.Http(url):
                return HttpProbe(self._reactor, url)
            case model.Exec(args):
                # As the process is, but ready and well by nothing: it has no sd_notify to speak by.
                command = attrs.evolve(spec, args=args, ready=None, health=None)
                return ExecProbe(self._spawner, lambda: self._start(name, command), self._commands)
            case model.Beat(path):
                path = os.path.join(here(), self._folder(name, spec) if not os.path.isabs(path) else "", path)
                self._mounts = self._mounts or Mounts()
                return BeatProbe(self._reactor, path, may_hang=self._mounts.may_hang(path))
            case _:
                assert_never(asked)

    def _start(self, name: Name, spec: ProcessSpec) -> Start:
        """One more start of it, by a token of its own: nobody's family, and ended by a later supervisor."""
        source = self._source(name) if spec.config_env else b""
        return Start(name, f"{self._colony}.{secrets.token_hex(8)}", spec, source)

    def _folder(self, name: Name, spec: ProcessSpec) -> str:
        try:
            return self._spawner.finished(self._start(name, spec))[1].cwd or ""
        except CannotStart:  # something that it was started with is not set any more
            return spec.cwd or ""

    def _note_shortage(self, why: str | None) -> None:
        """Say it once, until it is over."""
        if why is not None and self._shortage is None:
            log.warn("{why}", why=why)
        self._shortage = why
