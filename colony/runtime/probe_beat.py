"""The beat probe: has the process touched its file since it was last looked at?"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFromThreads

from colony.runtime.aside import aside
from colony.runtime.probes import Answer, Ill, Unasked, Well, of_error


class BeatProbe:
    """Looks at the time of the file's last change; it has to be another one each time."""

    def __init__(self, reactor: IReactorFromThreads, path: str, *, may_hang: bool) -> None:
        """``path`` is absolute. ``may_hang``: looking at it is not done in the reactor's thread."""
        self._reactor = reactor
        self._path = path
        self._may_hang = may_hang
        self._last: int | None = None
        self._done: Callable[[Answer], None] | None = None
        self._looking = False
        self.ask(lambda _: None)  # what a life before this one has left there is no beat

    @property
    def overdue(self) -> str:
        return f"{self._path} could not be looked at"

    def ask(self, done: Callable[[Answer], None]) -> None:
        if not self._may_hang:
            done(self._judge(self._look()))
            return
        self._done = done
        if self._looking:
            return  # it hangs, and one look is enough: its answer is the answer to this question too
        self._looking = True
        try:
            aside(self._reactor, self._look, self._looked)
        except RuntimeError as error:
            self._looking = False
            self._finish(Unasked(str(error)))

    def cancel(self) -> None:
        self._done = None

    def _looked(self, found: int | OSError) -> None:
        self._looking = False
        if self._done is not None or self._last is None:  # else a touch would be used up that nobody is told of
            self._finish(self._judge(found))

    def _finish(self, answer: Answer) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(answer)

    def _look(self) -> int | OSError:
        try:
            return os.stat(self._path).st_mtime_ns
        except OSError as error:
            return error

    def _judge(self, found: int | OSError) -> Answer:
        if isinstance(found, OSError):
            return of_error(found.errno, self._path)
        last, self._last = self._last, found
        return Ill(f"{self._path} was not touched") if found == last else Well()
