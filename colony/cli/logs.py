"""``logs``: what processes wrote, and what they write."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections import deque
from heapq import merge
from itertools import chain

from colony import ctllib
from colony.cli import arguments
from colony.cli.table import coloured

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places
    from colony.logs.log import Log, Piece

LAST = 10
"""Lines of each process, where nobody says how many."""

_LOOK = 0.2
"""Seconds between two looks at files that somebody may write to."""

_NEWCOMERS = 5
"""Looks after which it is looked for other logs, too."""

_TURN = 4_194_304
"""Bytes of one log after which the others get their turn."""

_ALL = -1


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.value("-n", metavar="N", dest="last", convert=_count, help=f"the last N lines of each ({LAST}), or all")
    parser.value(
        "--since", metavar="T", convert=arguments.moment, help="all since then: 2h30m ago, or 2026-11-21T22:18"
    )


def _count(text: str) -> int:
    """A number of lines, or ``all``."""
    return _ALL if text == "all" else arguments.count(text)


def logs(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Print what was written, by time; and go on, if asked to. Nobody need be alive."""
    output.action = "read the logs"
    names = arguments.names(words, options.name, least=0)
    for name in names:
        ctllib.check_name(name)
    chosen = _Chosen(places, names)
    begun = chosen.newcomers()
    for name in names:
        if not any(log.name == name for log in begun):
            _explain(places, name, output, follow=options.follow)
    _allow_many_files(2 * len(begun))
    output.streams = True
    writer = _Writer(output, is_marked=len(names) != 1, names=[*names, *(log.name for log in begun)])
    more = [_start(log, options, output) for log in begun]
    for log, piece in merge(*(_pieces(log, options) for log in begun), key=lambda found: found[1].at):
        writer.write(log, piece)
        if not output.heard:
            return 0
    if options.follow:
        return _follow(chosen, begun, writer, output)
    if any(more) and options.last is None and options.since is None and not sys.stdout.isatty():
        output.note(f"the last {LAST} lines of each; -n all prints all, -n N so many")
    return 0


def _start(log: Log, options: Namespace, output: Output) -> bool:
    """Begin where it is asked for; returns whether anything before was left out."""
    log.stop_here()
    if options.since is not None:
        if not log.start_at(options.since):
            output.note(f"when {log.name} wrote its lines is not known: all of a file of which some are later")
        return True
    return options.last != _ALL and log.start_with_last(LAST if options.last is None else options.last)


def _pieces(log: Log, options: Namespace) -> Iterator[tuple[Log, Piece]]:
    """What there is now, in the order written."""
    pieces: Iterable[Piece] = iter(log.read, None)
    if options.since is not None and options.last not in (None, _ALL):
        lines = (piece._replace(data=line) for piece in pieces for line in piece.data.splitlines(keepends=True))
        pieces = deque(lines, options.last)
    if not options.follow:
        pieces = chain(pieces, _unfinished(log))
    latest = 0.0
    for piece in pieces:
        latest = max(latest, piece.at)  # a clock that was set back changes no order
        yield log, piece._replace(at=latest)
    log.go_on()


def _follow(chosen: _Chosen, begun: list[Log], writer: _Writer, output: Output) -> int:
    looks = 0
    told: set[Log] = set()
    try:
        while output.pause(_LOOK if looks else 0):
            looks += 1
            if looks % _NEWCOMERS == 0:
                begun += chosen.newcomers()
            while sum(_catch_up(log, writer) for log in begun) and output.pause(0):
                pass
            for log in begun:
                if log.gap and log not in told:
                    told.add(log)
                    output.note(f"some of what {log.name} wrote was rotated away before it could be read")
    except KeyboardInterrupt:
        for log in begun:
            for piece in _unfinished(log):
                writer.write(log, piece)
        raise
    return 0


def _catch_up(log: Log, writer: _Writer) -> bool:
    """Write what is new; returns whether there may be more."""
    left = _TURN
    while left > 0:
        piece = log.read()
        if piece is None:
            return False
        writer.write(log, piece)
        left -= len(piece.data)
    return True


def _unfinished(log: Log) -> Iterator[Piece]:
    """The line that nobody has ended, if there is one."""
    piece = log.unfinished()
    if piece is not None:
        yield piece._replace(data=piece.data + b"\n")


def _explain(places: Places, name: str, output: Output, *, follow: bool) -> None:
    """Say why there is no log of that name. Raises Refused if there is no such process."""
    verdicts = [] if places.config is None else ctllib.definitions(places, name)
    if not verdicts and not ctllib.starts(places, [name]):
        raise ctllib.Refused(f"no such process: {name}", code=ctllib.UNKNOWN)
    definition = verdicts[0].value if verdicts else None
    if isinstance(definition, dict) and definition.get("log") is False:
        output.note(f'{name} has no log file ("log": false): what it says is in the log of the supervisor')
    elif not follow:
        output.note(f"{name} has no log yet")


class _Chosen:
    """The logs that were asked for, as they come."""

    def __init__(self, places: Places, names: Iterable[str]) -> None:
        self._folder = ctllib.logs(places)
        self._names = set(names)
        self._known: set[tuple[str, str]] = set()

    def newcomers(self) -> list[Log]:
        """Those that were not there before."""
        found = [log for log in self._folder.logs() if not self._names or log[0] in self._names]
        new = [log for log in found if log not in self._known]
        self._known.update(new)
        return [ctllib.log(self._folder, name, stream) for name, stream in new]


def _allow_many_files(count: int) -> None:
    """Each log is a file or two that is open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count + 100 > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# -- what it looks like -----------------------------------------------------------------------------------------

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURED = re.compile("(\x1b\\[[0-9;]*m)")


class _Writer:
    """Writes lines: for programs a JSON document each, to pipes the very bytes, to terminals what does no harm."""

    def __init__(self, output: Output, *, is_marked: bool, names: Iterable[str]) -> None:
        self._output = output
        self._is_marked = is_marked
        self._is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._width = max(map(len, names), default=0) if self._is_terminal else 0

    def write(self, log: Log, piece: Piece) -> None:
        """Write that; what has no end gets one, unless it is the very bytes that are wanted."""
        if self._output.json:
            self._documents(log, piece)
        elif self._is_terminal:
            mark = self._mark(log.name)
            for line in _lines(piece):
                self._output.stream(mark + harmless(line))
        elif self._is_marked:
            prefix = f"{log.name} | ".encode()
            self._output.raw(prefix + piece.data.removesuffix(b"\n").replace(b"\n", b"\n" + prefix) + b"\n")
        else:
            self._output.raw(piece.data)

    def _documents(self, log: Log, piece: Piece) -> None:
        at = ctllib.instant(piece.at) if piece.exact else None
        for line in _lines(piece):
            told = {"name": log.name, "stream": log.stream, "line": line, "at": at}
            self._output.stream(json.dumps(told))

    def _mark(self, name: str) -> str:
        if not self._is_marked:
            return ""
        self._width = max(self._width, len(name))
        mark = f"{name:{self._width}} | "
        if not coloured():
            return mark
        return f"\x1b[{_COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]}m{mark}\x1b[m"


def _lines(piece: Piece) -> list[str]:
    return piece.data.removesuffix(b"\n").decode("utf-8", "backslashreplace").split("\n")


def harmless(line: str) -> str:
    """That line for a terminal: colours as they are, where any are wanted; whatever else could steer it escaped."""
    line = line.removesuffix("\r")
    if not _STEERING.search(line):
        return line
    parts = _COLOURED.split(line)
    kept = coloured()
    shown = [
        (part if kept else "") if index % 2 else _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", part)
        for index, part in enumerate(parts)
    ]
    return "".join(chain(shown, ("\x1b[m",) if kept and len(parts) > 1 else ()))
