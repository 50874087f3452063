"""What need not be waited for is done in order, one at a time, and one fault stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from colony.runtime.later import Later
from tests.runtime.loop import said


@pytest.fixture
def later() -> Iterator[Later]:
    later = Later()
    later.start()
    yield later
    later.finish()


def test_works_are_done_in_the_order_asked_and_outside_this_thread() -> None:
    later, done = Later(), []
    later.start()
    for number in range(200):
        later("count", lambda number=number: done.append((number, threading.get_ident())))  # type: ignore[misc]
    later.finish()
    assert [number for number, _ in done] == list(range(200))
    assert threading.get_ident() not in {thread for _, thread in done}


def test_what_was_asked_before_the_start_is_done_too() -> None:
    later, done = Later(), []
    later("append", lambda: done.append(1))
    assert done == []
    later.start()
    later.finish()
    assert done == [1]


def test_the_asking_does_not_wait_and_the_finish_does(later: Later) -> None:
    gate, done = threading.Event(), threading.Event()

    def work() -> None:
        assert gate.wait(20)
        done.set()

    later("wait", work)
    assert not done.is_set()
    gate.set()
    assert done.wait(20)


def test_a_fault_is_said_with_what_was_to_be_done_and_the_next_is_done() -> None:
    later, done = Later(), []

    def fail() -> None:
        raise OSError(28, os.strerror(28))

    with said() as lines:
        later.start()
        later("remember specs", fail)
        later("append", lambda: done.append(1))
        later.finish()
    assert done == [1]
    assert lines == ["cannot remember specs: [Errno 28] No space left on device"]


def assert_opened(gate: threading.Event) -> None:
    assert gate.wait(20)


def test_the_finish_waits_for_what_hangs_but_not_for_good_and_says_so() -> None:
    later, gate = Later(), threading.Event()
    later.start()
    later("hang", lambda: assert_opened(gate))
    began = time.monotonic()
    with said() as lines:
        later.finish(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    assert lines == ["not all is remembered in STATE: its disk has not answered for 0.2 s"]
    gate.set()


def test_what_hangs_keeps_no_process_from_ending() -> None:
    script = """
from threading import Event
from colony.runtime.later import Later

later = Later()
later.start()
later("hang", lambda: Event().wait() and None)
later.finish(0.1)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
