"""The vocabulary: what a process file means, what a message asks for, how a process ended."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import NewType

import attrs

Name = NewType("Name", str)
"""A process's name, as `colony.core.check.name_problem` allows it."""

Pid = NewType("Pid", int)
"""A process's id, which is its process group's and its own session's id too."""


def timestamp(wall: float) -> str:
    """``2026-11-21T22:18:03.123456Z`` for seconds since the epoch."""
    fraction, seconds = math.modf(wall)
    # Many instants lie in one second; the same rounding as datetime's, which may make it the next one.
    micros = round(fraction * 1e6)
    return f"{_second(int(seconds) + micros // 1_000_000)}.{micros % 1_000_000:06}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@attrs.frozen
class Defaults:
    """What a process file means where it says nothing; the supervisor's options. All in seconds."""

    threshold: float = 1.0
    killtime: float = 5.0
    initial: float = 1.0
    limit: float = 3600.0


@attrs.frozen
class RestartPolicy:
    """
    Whether and how soon a process that ended is started again.

    ``when`` decides by the exit (``success`` are the codes that count as well done); ``threshold``, in seconds,
    tells an early death from a life; after ``attempts`` early deaths in a row (None: never) it is given up.
    """

    when: str = "always"
    initial: float = 1.0
    factor: float = 2.0
    limit: float = 3600.0
    jitter: float = 0.1
    threshold: float = 1.0
    attempts: int | None = None
    success: tuple[int, ...] = (0,)

    def delay(self, streak: int, salt: str) -> float:
        """
        Seconds to wait after ``streak`` early deaths in a row.

        0 for no early death; then ``initial``, growing by ``factor`` up to ``limit``, plus up to ``jitter`` of itself.
        The same ``salt`` gives the same jitter; different ones spread a crowd that died together.
        """
        if streak == 0:
            return 0.0
        try:
            grown = self.initial * float(self.factor) ** (streak - 1)
        except OverflowError:  # past a float is past any limit, unless it began with nothing
            grown = self.limit if self.initial else 0.0
        spread = int.from_bytes(hashlib.sha256(f"{salt} {streak}".encode()).digest()[:4]) / 2**32
        return min(grown, self.limit) * (1 + self.jitter * spread)

    def wants_more(self, exit: Exit) -> bool:
        """Is a process to run again that ended so, by itself?"""
        match self.when:
            case "always":
                return True
            case "failure":
                return exit.code not in self.success
            case _:
                return False


@attrs.frozen
class Rung:
    """
    One step of a stop ladder: the signal to send (``TERM``), and seconds to wait before the next step.

    ``main``: it is for the main process alone, not for all that it has started.
    """

    signal: str
    seconds: float
    main: bool = False


StopLadder = tuple[Rung, ...]


def default_ladder(killtime: float) -> StopLadder:
    """TERM, ``killtime`` seconds, KILL."""
    return (Rung("TERM", killtime), Rung("KILL", 0))


@attrs.frozen
class Limit:
    """One limit of setrlimit(2), by its name in lower case (``nofile``); None is unlimited."""

    resource: str
    soft: int | None
    hard: int | None


@attrs.frozen
class Tcp:
    """Somebody accepts a connection to that port of this host."""

    port: int


@attrs.frozen
class Http:
    """A GET of that URL is answered with a status from 200 to 399."""

    url: str


@attrs.frozen
class Exec:
    """A command, run as the process is (user, environment, directory), exits with code 0."""

    args: tuple[str, ...]


@attrs.frozen
class LogLine:
    """The process has written a line in which the regular expression is found."""

    pattern: str


@attrs.frozen
class Notify:
    """The process says so itself, by sd_notify(3): READY=1, and WATCHDOG=1 for its health."""


@attrs.frozen
class Elapsed:
    """It has run that long, in seconds."""

    seconds: float


@attrs.frozen
class Beat:
    """The process has touched that file since it was last looked at."""

    path: str


@attrs.frozen
class Readiness:
    """How to know that a process is of use to others; after ``timeout`` seconds without, its start has failed."""

    probe: Tcp | Http | Exec | LogLine | Notify | Elapsed
    timeout: float = 60.0


@attrs.frozen
class Health:
    """
    How to know that a process is well still.

    Asked ``every`` seconds, each time for at most ``timeout``; ``failures`` in a row make it unhealthy. What fails in
    the first ``start`` seconds of its life does not count.
    """

    probe: Tcp | Http | Exec | Notify | Beat
    every: float = 10.0
    timeout: float = 5.0
    failures: int = 3
    start: float = 0.0


@attrs.frozen
class LogPolicy:
    """
    How what a process says is kept in a file.

    At about ``max_bytes`` (0: however long) it becomes the first of ``backups`` old ones, ``compress``: by gzip.
    ``relay``: it is in the supervisor's own log too. ``split``: standard error has a file of its own. ``buffer`` are
    the bytes that wait in the pipe at the most, before the process has to.
    """

    max_bytes: int = 10_000_000
    backups: int = 2
    relay: bool = True
    split: bool = False
    compress: bool = False
    buffer: int = 65_536


AS_IT_IS = LogPolicy(max_bytes=0, backups=1000)
"""For files of which nobody knows any more how they are to be kept: of old ones none goes."""


@attrs.frozen
class ProcessSpec:
    """
    How one process is run and kept.

    ``args`` begins with the executable; a ``shell`` text has become ``/bin/sh -c TEXT``. ``digest`` identifies the
    JSON value it was read from: two specs are the same if it is. ``cwd``, ``uid``, ``gid``, ``user``, ``umask`` and
    ``nice`` None: the supervisor's own. ``supplementary_groups``, gids or names, None: those of the user.
    ``stop`` is how its process is asked to end; ``killtime`` is the seconds that what it left behind has after TERM.
    ``reload`` is the signal that makes it read its configuration again (None: it cannot). ``after`` are those that it
    needs; ``ready`` None: it is ready as soon as it runs. ``env_file`` are read at each start. ``log`` None: what it
    says is in the supervisor's own log alone.
    """

    args: tuple[str, ...]
    digest: str
    env: tuple[tuple[str, str], ...] = ()
    env_inherit: tuple[str, ...] = ()
    config_env: bool = True
    cwd: str | None = None
    uid: int | None = None
    gid: int | None = None
    user: str | None = None
    supplementary_groups: tuple[int | str, ...] | None = None
    umask: int | None = None
    nice: int | None = None
    limits: tuple[Limit, ...] = ()
    no_new_privs: bool = False
    group: frozenset[str] = frozenset()
    restart: RestartPolicy = RestartPolicy()
    stop: StopLadder = default_ladder(5.0)
    killtime: float = 5.0
    reload: str | None = None
    essential: bool = False
    after: tuple[Name, ...] = ()
    ready: Readiness | None = None
    health: Health | None = None
    env_file: tuple[str, ...] = ()
    log: LogPolicy | None = LogPolicy()
    unknown: tuple[str, ...] = ()


@attrs.frozen
class Exit:
    """How a process ended: its exit code, or the signal (``KILL``) that ended it; both None if nobody can tell."""

    code: int | None
    signal: str | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {self.signal}"
        return "ended, nobody knows how" if self.code is None else f"exited with code {self.code}"


@attrs.frozen
class Start:
    """One start of a process: whose, marked by which token (``COLONY.START``), as what, from which bytes."""

    name: Name
    token: str
    spec: ProcessSpec
    source: bytes


@attrs.frozen
class Rest:
    """
    Why nothing ran of a name that was to run, and until when; instants are on the monotonic clock.

    ``until`` None: no start by itself any more. ``streak`` are the early deaths in a row, 0 where its policy wanted no
    more of it. ``exit`` is how it ended, at ``ended``, None where nothing had run; ``trouble`` is why its last start
    failed, or why it was ended.
    """

    until: float | None
    streak: int
    exit: Exit | None = None
    ended: float | None = None
    trouble: str | None = None


@attrs.frozen
class Survivor:
    """
    What a supervisor before this one had started of a name, as far as it was recorded.

    ``alive``: it runs; otherwise it ended while nobody looked, unless there is a ``rest``: the supervisor saw it end,
    or fail to start (``pid`` 0), and let it be. ``stale``: a restart had been asked for. ``said``: it had told of being
    ready. ``started`` is on the monotonic clock; ``start_time`` is the kernel's, None where nobody knows it, and tells
    it from a later one of its pid.
    """

    name: Name
    token: str
    digest: str
    starts: int
    pid: Pid
    started: float
    alive: bool
    stale: bool
    rest: Rest | None = None
    start_time: int | None = None
    said: bool = False


# -- what a message asks for --------------------------------------------------------------------------------


@attrs.frozen
class One:
    """The process of that name."""

    name: Name


@attrs.frozen
class Group:
    """Every process whose ``group`` has that name."""

    group: str


@attrs.frozen
class Everyone:
    """Every process."""


Target = One | Group | Everyone


@attrs.frozen
class AskRestart:
    """An instance is to run that was started after this was asked."""

    target: Target


@attrs.frozen
class AskStop:
    """Is to be stopped, and stay so."""

    target: Target


@attrs.frozen
class AskStart:
    """Is to run again, whatever stopped it."""

    target: Target


@attrs.frozen
class AskSignal:
    """Its process group is to get that signal (``HUP``)."""

    target: One
    signal: str


@attrs.frozen
class AskReload:
    """It is to read its configuration again: its main process is to get its ``reload`` signal."""

    target: One


@attrs.frozen
class AskScan:
    """CONFIG is to be looked at now."""


@attrs.frozen
class AskRotate:
    """Every log file is to be begun anew."""


Command = AskRestart | AskStop | AskStart | AskSignal | AskReload | AskScan | AskRotate


@attrs.frozen
class Message:
    """
    One request: the type it was written as (``RESTART-ALL``), what it asks, and who asked, if it says.

    ``seen`` is an instant on the monotonic clock at which it was there already; infinity where nobody knows one.
    """

    kind: str
    command: Command
    by: str | None
    seen: float = math.inf


@attrs.frozen
class Answer:
    """What became of a message; ``code`` is the exit code that ctl hands on: 0 done, 1 refused, 4 no such process."""

    names: tuple[str, ...] = ()
    code: int = 0
    error: str | None = None


@attrs.frozen
class NotYet:
    """It cannot be obeyed now, but perhaps soon; ``otherwise`` is the answer if not."""

    otherwise: Answer
