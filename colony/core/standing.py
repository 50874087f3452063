"""
How a process stands, by what its status file tells: is it ready, over, well, and how did it end; ctl decides by it.

Standard library alone. A status is the JSON object that the supervisor writes, with every key of it.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # not typing's: importing typing would cost ctl 4 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    # Any is a JSON value here.
    Status = Mapping[str, Any]

    Verdict = bool | str
    """True: as it should be; False: not yet; a text: never, and why."""


def is_running(told: Status) -> bool:
    """Does its process run, and is to go on?"""
    return bool(told["state"] == "running" or (told["state"] == "starting" and told["pid"] is not None))


def is_ready(told: Status) -> bool:
    """Is it of use to others?"""
    return bool(told["state"] == "running" and told["ready"] is not False)


def is_stopped(told: Status) -> bool:
    """Is no process left, and none to come without a reason?"""
    return bool(told["pid"] is None and told["state"] in ("stopped", "failed", "waiting"))


def is_done(told: Status) -> bool:
    """Does its policy want no more, or a STOP?"""
    return is_stopped(told) and bool(told["state"] == "stopped")


def outcome(name: str, told: Status, fresh: bool, asked: str, success: Collection[int]) -> Verdict:
    """
    Has a start come to its good end: running and ready, or over and well done?

    A status that is not ``fresh`` tells of an earlier start; what ended after ``asked`` ran for it; ``success`` are the
    codes of those that ended well.
    """
    if is_ready(told):
        return True
    if not fresh or told["state"] not in ("stopped", "backoff", "failed"):
        return False
    last = told["last_exit"]
    over = told["state"] == "stopped" and last is not None and last["code"] in success
    # Where a STOP is in force it is not wanted; one whose run is over is, or ran just now.
    if over and (told["wanted"] or last["at"] >= asked):
        return True
    return f"{name} {'is stopped' if told['state'] == 'stopped' else 'failed'}: {told['why']}"


def described(told: Status | None) -> str:
    """``is in backoff: exited with code 1; early deaths in a row: 2``; follows a name."""
    if told is None:
        return "has no status yet"
    state = "in backoff" if told["state"] == "backoff" else told["state"]
    return f"is {state}" + (f": {told['why']}" if told["why"] else "")


def trouble(told: Status) -> str | None:
    """
    What keeps one who is asked how all is from saying "well", None if nothing does; follows a name.

    What is to run has to run and be ready, and not unhealthy. What a STOP keeps from running is well, and what has
    ended well and is not to run again; what ended badly is not.
    """
    if told["wanted"]:
        if not is_ready(told):
            return described(told)
        return "is unhealthy" if told["health"] == "unhealthy" else None
    # Where a STOP is in force nobody asks whether it is ready: null.
    return described(told) if told["state"] == "stopped" and told["ready"] is False else None


class Ending(namedtuple("Ending", ("code", "signal", "killed", "seconds", "lingered", "how"))):
    """
    How a process was stopped: by its exit ``code``, or by the ``signal`` that ended it.

    ``killed``: nothing but the KILL that it was sent ended it. ``seconds`` is how long that took, None where it did not
    run; ``lingered`` how long what it had left behind was still there. ``how`` says it in words.
    """

    __slots__ = ()
    code: int | None
    signal: str | None
    killed: bool
    seconds: float | None
    lingered: float
    how: str


_LINGERS = 0.1
"""Seconds that pass before anybody cares."""


def ending(told: Status | None, asked: str) -> Ending:
    """How the process ended that was to be stopped at ``asked``, by the status of then; None: that is gone."""
    last = None if told is None else told["last_exit"]
    if told is None or last is None or last["at"] < asked:
        return Ending(None, None, False, None, 0.0, "its file is gone" if told is None else "it did not run")
    seconds = _seconds(asked, last["at"])
    lingered = max(0.0, _seconds(last["at"], told["since"]))
    sent = told["why"].partition("; sent ")[2]
    killed = last["signal"] == "KILL" and sent.startswith("KILL")
    if killed:
        how = "sent KILL"
    elif sent:
        how = f"sent {sent}"
    elif last["signal"] is not None:
        how = f"by itself, killed by {last['signal']}"
    else:
        how = "by itself, " + ("nobody knows how" if last["code"] is None else f"exited with code {last['code']}")
    how += f" after {seconds:.1f} s"
    if lingered >= _LINGERS:
        how += f"; what it left behind was gone {lingered:.1f} s later"
    return Ending(last["code"], last["signal"], killed, seconds, lingered, how)


def _seconds(before: str, after: str) -> float:
    from datetime import datetime  # costs ctl 2 ms

    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()
