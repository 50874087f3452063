"""
Makes this process one whose children start clean, and knows what they are to inherit instead.

What a parent leaves set passes through exec(2): ignored signals (as under nohup), the signal mask, descriptors
without close-on-exec, resource limits. Done once, before anything is started.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import attrs

_SIGNALS = signal.valid_signals()


@attrs.frozen
class Inheritance:
    """What children get though the supervisor itself has something else: its first soft and hard RLIMIT_NOFILE."""

    nofile: tuple[int, int]
    own_nofile: tuple[int, int]

    @property
    def raised(self) -> bool:
        """Must the limit be put back around a start?"""
        return self.nofile != self.own_nofile


def prepare(*, unblock: bool = True) -> Inheritance:
    """
    Close-on-exec for every descriptor above 2, an empty signal mask, no ignored signal, the highest descriptor limit.

    An ignored signal gets a handler that does nothing: exec resets handlers, and keeps SIG_IGN. SIGINT and SIGTERM
    get the dispositions with which a Python program starts, so that Twisted takes them. Not ``unblock``: the mask stays
    as it is until `unblock_signals`.
    """
    _open_standard()
    _close_on_exec()
    if unblock:
        unblock_signals()
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else _nothing
            with suppress(OSError):
                signal.signal(number, default)
    return _raise_limit()


def unblock_signals() -> None:
    """Take every signal from now on."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def blocked_signals() -> Iterator[None]:
    """
    Block every signal meanwhile, for this thread and those that it starts.

    A signal goes to any thread that does not block it: only where the main one alone takes them can it put them off.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore(*numbers: signal.Signals) -> None:
    """Let these signals do nothing, here alone: children start with their defaults."""
    for number in numbers:
        signal.signal(number, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def _open_standard() -> None:
    """Descriptors 0 to 2 exist, so that nothing of ours ever becomes some library's standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free, which is this
            os.set_inheritable(number, True)


def _close_on_exec() -> None:
    for entry in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        if int(entry) > 2:
            with suppress(OSError):  # the listing's own descriptor is closed by now
                os.set_inheritable(int(entry), False)


def _raise_limit() -> Inheritance:
    first = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = first
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Inheritance(first, resource.getrlimit(resource.RLIMIT_NOFILE))
