"""``status``: what is, as a table."""

from __future__ import annotations

from colony import ctllib
from colony.cli import arguments
from colony.cli.output import visible
from colony.cli.table import age, table, until, width

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence
    from typing import Any

    from colony.cli.arguments import Parser, Words
    from colony.cli.output import Output
    from colony.ctllib import Places

NOT_RUNNING = 3

_HEADINGS = ("NAME", "STATE", "HEALTH", "PID", "UP", "STARTS", "LAST EXIT", "WHY")
_STATE = _HEADINGS.index("STATE")
_HEALTH = _HEADINGS.index("HEALTH")

_NAMED = 5
"""Names that the summary lists at the most."""


def options(parser: Parser, verb: str) -> None:
    parser.value("--name", metavar="NAME", action="append", help="instead of the positional; repeat")
    parser.value("-o", metavar="KEYS", dest="keys", help="only these, tab-separated: name,state,pid,last_exit.code,...")


def status(places: Places, words: Words, options: Namespace, output: Output) -> int:
    """Tell what is; exit code 3 if something that is wanted does not run."""
    output.action = "tell the status"
    names = arguments.names(words, options.name, least=0)
    supervisor = ctllib.supervisor(places)
    if not supervisor:  # "no processes" would be good news
        ctllib.must_have_told(places)
    told = list(ctllib.status(places, names or None).values())
    output.document |= {"supervisor": supervisor, "processes": told}
    if options.keys is not None:
        keys = [key.strip() for key in options.keys.split(",")]
        for one in told:
            output.say("\t".join(_value(one, key) for key in keys))
    elif not output.json:
        for line in _table(told):
            output.say(line)
        for line in _notes(told, {} if names else supervisor):
            output.say(line)
        output.say(_summary(told, supervisor))
    return NOT_RUNNING if any(missing(one) for one in told) else 0


def missing(told: Mapping[str, Any]) -> bool:
    """Is it wanted, and does not run?"""
    return bool(told["wanted"] and told["state"] != "running")


def _value(told: Mapping[str, Any], path: str) -> str:
    """What a dotted path leads to in a status, as one word; ``-`` for null. Raises Usage for a path to nowhere."""
    value: Any = told
    for key in path.split("."):
        if value is None:
            break
        if not isinstance(value, dict) or key not in value:
            raise arguments.Usage(f"-o: no key {path[:40]!r} in a status: {', '.join(told)}")
        value = value[key]
    if isinstance(value, str):
        return visible(value)
    if value is None:
        return "-"
    import json

    return json.dumps(value)


def _table(told: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [_HEADINGS, *(row(one) for one in told)]
    if all(one["health"] is None for one in told):  # nobody is asked how it is
        rows = [cells[:_HEALTH] + cells[_HEALTH + 1 :] for cells in rows]
    return table(rows, width(), _STATE)


def row(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of one status."""
    last = last_exit(told["last_exit"])
    return (
        visible(told["name"]),
        visible(told["state"]) + (" (not ready)" if told["state"] == "running" and told["ready"] is False else ""),
        visible(told["health"] or "-"),
        "-" if told["pid"] is None else str(told["pid"]),
        "-" if told["started"] is None else age(told["started"]),
        str(told["starts"]),
        last if told["last_exit"] is None else f"{last}, {age(told['last_exit']['at'])} ago",
        visible(reason(told)),
    )


def reason(told: Mapping[str, Any]) -> str:
    """Why it is as it is, and when it will be tried again; nothing where all is as wanted."""
    parts = [] if told["why"] in ("", "wanted", None) else [told["why"]]
    if told["next_start"] is not None:
        parts.append(f"next try in {until(told['next_start'])}")
    return "; ".join(parts)


def last_exit(told: Mapping[str, Any] | None) -> str:
    """``code 1``, ``KILL``, ``unknown``; ``-`` where there was none."""
    if told is None:
        return "-"
    if told["signal"] is not None:
        return str(told["signal"])
    return "unknown" if told["code"] is None else f"code {told['code']}"


def _notes(told: Sequence[Mapping[str, Any]], supervisor: Mapping[str, Any]) -> list[str]:
    """What is wrong with files: each problem a line."""
    notes = []
    for one in told:
        for problem in one["problems"]:
            where = f"{problem['path']}: " if problem["path"] else ""
            notes.append(visible(f"! {one['name']}: {where}{problem['message']}"))
        if one["problems"] and one["digest"] is not None:
            notes.append(visible(f"! {one['name']}: the last good definition stays in force"))
    known = {one["name"] for one in told if one["problems"]}
    for entry, reason in sorted((supervisor.get("broken") or {}).items()):
        if entry.removesuffix(".json") not in known:
            notes.append(visible(f"! {entry}: {reason}"))
    missing_ones = sorted(name for name, there in (supervisor.get("capabilities") or {}).items() if not there)
    if missing_ones:
        notes.append(visible(f"! the supervisor has to do without: {', '.join(missing_ones)}"))
    if supervisor.get("events_dropped"):
        notes.append(f"! {supervisor['events_dropped']} events were lost: they could not be written")
    if supervisor.get("log_dropped"):
        notes.append(f"! {supervisor['log_dropped']} bytes of logs were dropped: they could not be written in time")
    return notes


def _summary(told: Sequence[Mapping[str, Any]], supervisor: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for one in told:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    parts = [f"{counts[state]} {state}" for state in sorted(counts, key=lambda state: (state != "running", state))]
    line = f"{len(told)} process{'' if len(told) == 1 else 'es'}: {', '.join(parts)}" if told else "no processes"
    if absent := [visible(one["name"]) for one in told if missing(one)]:
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        line += f"; wanted and not running: {', '.join(absent[:_NAMED])}{more}"
    if supervisor.get("pid"):
        line += f"; supervisor {supervisor['pid']}"
        if supervisor.get("started"):
            line += f", up {age(supervisor['started'])}"
    return line
