"""The one reactor of a program, on a clock that nobody can set."""

from __future__ import annotations

import time
from typing import Any


def monotonic_reactor() -> Any:
    """
    The global reactor, its timers made to follow the monotonic clock instead of the wall's.

    To be called before anything is scheduled. Any: Twisted types its global reactor as a module.
    """
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]  # made to be replaced
    return reactor
