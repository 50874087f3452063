"""The verbs that leave a message: ``restart`` and its kin, ``start``, ``stop``, ``reload``, ``signal``, ``scan``..."""

from __future__ import annotations

import os

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import visible
from colony.core import standing

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places


def options(parser: Parser, verb: str) -> None:
    if verb in ("restart", "start", "stop", "reload", "signal"):
        parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")
    if verb in ("restart-group", "start", "stop"):
        parser.value("--group", metavar="GROUP", action="append", help="every process of that group; repeat")
    if verb == "restart-group":
        parser.flag("--rolling", "one by one: each has to be ready before the next; the first that fails ends it")
    if verb == "signal":
        parser.value("--signal", metavar="SIGNAL", help="instead of the second positional: HUP, or SIGHUP")
    parser.flag("--no-answer", "do not wait for the supervisor's answer")
    parser.flag("--wait", "return when it has been done")
    parser.wait_timeout()


def restart(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have new instances started."""
    names = ctllib.needing_first(places, _names(words, options))
    return _ask(places, options, output, [{"kind": "RESTART", "name": name} for name in names])


def restart_all(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have new instances of everything started."""
    arguments.none_left(words)
    return _ask(places, options, output, [{"kind": "RESTART-ALL"}])


def restart_group(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have new instances of groups started."""
    groups = list(dict.fromkeys(arguments.names(words, options.group, what="GROUP")))
    if options.rolling:
        return _roll(places, groups, options, output)
    return _ask(places, options, output, [{"kind": "RESTART-GROUP", "group": group} for group in groups])


def start(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """End stops and backoffs."""
    return _ask(places, options, output, _either(places, "START", words, options))


def stop(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Stop, until started again."""
    return _ask(places, options, output, _either(places, "STOP", words, options))


def reload(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have configurations read again."""
    return _ask(places, options, output, [{"kind": "RELOAD", "name": name} for name in _names(words, options)])


def signal(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Send a signal."""
    positionals = [*words.positionals, *(words.tail or ())]
    wanted = options.signal
    if wanted is None and positionals:
        wanted = positionals.pop()
    names = arguments.names(words._replace(positionals=positionals, tail=None), options.name, least=0)
    if wanted is None or len(names) != 1:
        raise arguments.Usage("needs one NAME and one SIGNAL")
    return _ask(places, options, output, [{"kind": "SIGNAL", "name": names[0], "signal": wanted}])


def rotate(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have log files begun anew."""
    arguments.none_left(words)
    return _ask(places, options, output, [{"kind": "ROTATE"}])


def scan(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Have CONFIG looked at."""
    arguments.none_left(words)
    return _ask(places, options, output, [{"kind": "SCAN"}])


def _names(words: Words, options: Namespace) -> list[str]:
    return list(dict.fromkeys(arguments.names(words, options.name)))


def _either(places: Places, kind: str, words: Words, options: Namespace) -> list[dict[str, str]]:
    """One message for each name, and one for each group."""
    names = list(dict.fromkeys(arguments.names(words, options.name, least=0 if options.group else 1)))
    if kind == "STOP":
        names = ctllib.needing_first(places, names)
    return [
        *({"kind": kind, "name": name} for name in names),
        *({"kind": kind, "group": group} for group in dict.fromkeys(options.group or ())),
    ]


def _ask(places: Places, options: Namespace, output: Output, requests: list[dict[str, str]]) -> int:
    """Leave a message for each request, then take the answers; the first refusal is the verb's, others are notes."""
    output.action = _action(requests[0])
    alive = ctllib.alive(places)
    if options.wait and not alive:
        ctllib.must_be_alive(places)
    for request in requests:  # all or none: a bad one among them is found before the first is written
        ctllib.request(**request)
    names = [request["name"] for request in requests if "name" in request]
    before = ctllib.starts(places, names if len(names) == len(requests) else None) if options.wait else {}
    left = ctllib.countdown(options.wait_timeout)
    asked = ctllib.now()
    sent = [(request, ctllib.ask(places, by=_by(), **request)) for request in requests]
    answers: list[dict[str, Any]] = output.document.setdefault("answers", [])
    output.document["messages"] = [filename for _, filename in sent]
    if not alive:
        output.note(_LEFT)
        return 0
    if options.no_answer and not options.wait:
        return 0
    failures = []
    accepted: list[str] = []
    for request, filename in sent:
        output.action = _action(request)
        try:
            told = ctllib.answer(places, filename, left() if options.wait else ctllib.ANSWER_SECONDS)
            answers.append(told)
            accepted += ctllib.accepted(told, output.action)
        except ctllib.Refused as refused:
            if refused.code == ctllib.DEAD and not options.wait:
                output.note(f"{_LEFT}: the one that was there has ended")
                break
            failures.append(refused)
    if options.wait and accepted:
        kind = requests[0]["kind"]
        done = _Stopped(asked, output) if kind == "STOP" else None
        try:
            ctllib.effect(places, kind, accepted, before, asked, left(), done)
        except ctllib.Refused as refused:
            failures.append(refused)
    for failure in failures[1:]:
        output.note(str(failure))
    if failures:
        raise failures[0]
    return 0


def _action(request: dict[str, str]) -> str:
    """``restart web``."""
    whom = request.get("name") or request.get("group")
    return request["kind"].lower() + (f" {whom}" if whom else "")


class _Stopped:
    """Tells of each process that was stopped how it ended, as soon as it has."""

    def __init__(self, asked: str, output: Output) -> None:
        self._asked = asked
        self._output = output
        self._document: list[dict[str, Any]] = output.document.setdefault("stopped", [])

    def __call__(self, name: str, told: dict[str, Any] | None) -> None:
        end = standing.ending(told, self._asked)
        self._document.append({"name": name, **end._asdict()})
        self._output.say(visible(f"{name} {'killed' if end.killed else 'stopped'}: {end.how}"))


def _roll(places: Places, groups: list[str], options: Namespace, output: Output) -> int:
    """Restart one by one; says of each that it has been, as soon as it has."""
    output.action = f"restart {' '.join(groups)}"
    if options.no_answer:
        raise arguments.Usage("--rolling waits for each; --no-answer does not go with it")

    def done(name: str, restarted: bool) -> None:
        output.say(f"{name} restarted" if restarted else f"{name} skipped: it is stopped")

    try:
        rolled = ctllib.roll(places, groups, _by(), options.wait_timeout, done)
    except ctllib.Halted as halted:
        output.document |= halted.rolled._asdict()
        raise
    output.document |= rolled._asdict()
    return 0


_LEFT = "no supervisor is alive; the message is left for the next one"


def _by() -> str:
    """Who asks, as the answer and the history will say; a courtesy, not a proof."""
    for variable in ("SUDO_USER", "LOGNAME", "USER"):
        if name := os.environ.get(variable):
            return name
    return f"uid {os.getuid()}"
