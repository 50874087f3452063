"""What a probe is: a question about one running process, and one of three answers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

import attrs

# -- answers ------------------------------------------------------------------------------------------------


@attrs.frozen
class Well:
    """It is as it should be."""


@attrs.frozen
class Ill:
    """It is not, and why, in one line."""

    why: str


@attrs.frozen
class Unasked:
    """Nothing was found out, by no fault of the process: we lack what it takes to ask."""

    why: str


Answer = Well | Ill | Unasked

_OURS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EAGAIN,
        errno.EINTR,
        # No free port to call from; as an answer of ::1, where there is no IPv6, it never decides.
        errno.EADDRNOTAVAIL,
    }
)
"""What the supervisor or the machine runs out of: it says nothing about whoever was to be asked."""


def of_error(error: int | None, what: str) -> Ill | Unasked:
    """The answer where asking ``what`` failed with that errno; None for an error without one."""
    why = what if error is None else f"{what}: {os.strerror(error)}"
    return Unasked(why) if error in _OURS else Ill(why)


# -- questions ----------------------------------------------------------------------------------------------


class Probe(Protocol):
    """One question, asked again and again, never twice at once."""

    @property
    def overdue(self) -> str:
        """What is missing when there is no answer in time (``no connection to port 80``)."""

    def ask(self, done: Callable[[Answer], None]) -> None:
        """Find out; ``done`` is called once, perhaps before this returns, and never after `cancel`."""

    def cancel(self) -> None:
        """Do not wait for the answer, and let go of all that asking took. Silent if nothing was asked."""
