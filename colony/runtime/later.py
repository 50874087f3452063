"""Does what need not be waited for in one thread of its own, in the order asked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from colony.runtime.inheritance import blocked_signals

log = Logger(namespace="colony")


PATIENCE = 5.0
"""Seconds that what is to be done has at the end."""


class _Thread(Thread):
    """One that may hang, and keeps no process from ending."""

    def __init__(self, target: Callable[[], object], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)


class Later:
    """One queue, one thread; what fails is said, and the next comes all the same."""

    def __init__(self) -> None:
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name="colony-later")
        self._pool.threadFactory = _Thread  # type: ignore[assignment]  # a factory, though typed as that class

    def start(self) -> None:
        """From now on it is done; to be called after any fork, which threads do not survive."""
        with blocked_signals():
            self._pool.start()

    def __call__(self, what: str, work: Callable[[], None]) -> None:
        """Do ``work``, called ``what`` in case it fails."""

        def done(success: bool, result: object) -> None:
            if not success:
                assert isinstance(result, Failure), "the pool says so"
                log.warn("cannot {what}: {error}", what=what, error=result.getErrorMessage())

        with blocked_signals():  # it may start the thread
            self._pool.callInThreadWithCallback(done, work)

    def flush(self, seconds: float = PATIENCE) -> bool:
        """Wait until all that was asked so far is done, but not longer than that; returns whether it is."""
        done = Event()
        with blocked_signals():
            self._pool.callInThread(done.set)
        return done.wait(seconds)

    def finish(self, seconds: float = PATIENCE) -> None:
        """The same, and no more will be asked; what could not be done by then, as where a disk hangs, is said."""
        if self.flush(seconds):
            self._pool.stop()
        else:
            log.error("not all is remembered in STATE: its disk has not answered for {seconds} s", seconds=seconds)
