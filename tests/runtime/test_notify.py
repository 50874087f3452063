"""Processes say by sd_notify(3) that they are ready and alive; who is not one of ours says nothing to anybody."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.lifecycle import Ready
from colony.core.model import Notify, Pid
from colony.runtime import notify
from tests.runtime.attendance import Attendance, attending
from tests.runtime.loop import Loop, descriptors, said

SAY = """
import os, socket, sys
bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
bound.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
def say(text): bound.send(text.encode())
"""


@pytest.fixture
def here(loop: Loop, tmp_path: Path) -> Iterator[Attendance]:
    with attending(loop, tmp_path) as attendance:
        attendance.listen()
        yield attendance


def run(here: Attendance, text: str) -> Pid:
    """A process of ours that does that, and goes on."""
    script = f"{SAY}\n{text}\nimport time; time.sleep(1000)"
    return here.machine.run(sys.executable, "-c", script, env=(("NOTIFY_SOCKET", here.address),))


@pytest.mark.parametrize("text", ["READY=1", "STATUS=loading\\nREADY=1\\nMAINPID=1\\n", "READY=1\\nX=1"])
def test_the_main_process_says_that_it_is_ready(here: Attendance, text: str) -> None:
    pid = run(here, f"say('{text}')")
    here.attend(Notify(), pid, ready=True)
    here.await_ready(pid)
    here.loop.during(0.05)
    assert here.told == [Ready(pid)]


@pytest.mark.parametrize("text", ["READY=0", "XREADY=1", "STATUS=READY=1", "STOPPING=1", "RELOADING=1", "", "\\0"])
def test_nothing_else_means_ready(here: Attendance, text: str) -> None:
    pid = run(here, f"say('{text}'); say('READY=1') if os.path.exists('/nothing') else print('said', flush=True)")
    here.attend(Notify(), pid, ready=True)
    here.machine.await_output(b"said")
    here.loop.during(0.05)
    assert here.told == []


def test_what_was_said_before_it_was_listened_to_counts(here: Attendance) -> None:
    pid = run(here, "say('READY=1'); print('said', flush=True)")
    here.machine.await_output(b"said")
    here.loop.during(0.05)
    here.attend(Notify(), pid, ready=True)
    assert here.told == []
    here.await_ready(pid)


def test_a_grandchild_that_lives_may_say_it(here: Attendance) -> None:
    pid = run(here, "if os.fork() == 0:\n  if os.fork() == 0:\n    say('READY=1')")
    here.attend(Notify(), pid, ready=True)
    here.await_ready(pid)


def test_a_sender_that_is_gone_is_said_once_to_be_nobody(here: Attendance) -> None:
    pid = run(
        here,
        "for _ in range(3):\n  if os.fork() == 0: say('READY=1'); os._exit(0)\n  os.wait()\nprint('said', flush=True)",
    )
    with said() as lines:
        here.attend(Notify(), pid, ready=True, name="web")
        subprocess.run(["sleep", "0.5"], check=True)  # nothing is read before they are gone
        here.machine.await_output(b"said")
        here.loop.during(0.2)
    assert here.told == []
    complaints = [line for line in lines if "gone at once" in line]
    assert len(complaints) == 1
    assert "web" in complaints[0]


def test_a_stranger_is_not_obeyed_and_it_is_said_once(here: Attendance) -> None:
    pid = here.machine.run("sleep", "1000")
    with said() as lines:
        here.attend(Notify(), pid, ready=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            for _ in range(5):
                stranger.sendto(b"READY=1", "\0" + here.address[1:])
                here.loop.during(0.02)
    assert here.told == []
    assert len([line for line in lines if "not obeyed" in line and str(os.getpid()) in line]) == 1


def test_one_process_cannot_speak_for_another(here: Attendance) -> None:
    quiet = here.machine.run("sleep", "1000")
    loud = run(here, "say('READY=1')")
    here.attend(Notify(), quiet, ready=True, name="quiet")
    here.attend(Notify(), loud, ready=True, name="loud")
    here.await_ready(loud)
    here.loop.during(0.05)
    assert here.told == [Ready(loud)]


def test_what_was_said_before_is_not_for_a_later_process_of_that_number(
    here: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = run(here, "say('READY=1'); print('said', flush=True)")
    here.machine.await_output(b"said")
    here.loop.during(0.05)
    monkeypatch.setattr(notify, "_start_time", lambda pid: 0)
    here.attend(Notify(), pid, ready=True)
    here.loop.during(0.05)
    assert here.told == []


def test_watchdog_messages_keep_it_well(here: Attendance) -> None:
    pid = run(here, "import time\nwhile True: say('WATCHDOG=1'); time.sleep(0.02)")
    here.attend(Notify(), pid, every=0.3)
    assert here.next(2) == [None, None]


def test_silence_is_trouble_each_time(here: Attendance) -> None:
    pid = run(here, "say('READY=1'); say('STATUS=fine')")
    here.attend(Notify(), pid, every=0.1)
    assert here.next(3) == ["no WATCHDOG=1 within 0.1 s"] * 3


def test_what_came_while_we_were_held_up_counts(here: Attendance) -> None:
    pid = run(here, "say('WATCHDOG=1'); print('said', flush=True)")
    here.attend(Notify(), pid, every=0.5)
    subprocess.run(["sleep", "1"], check=True)  # timers are due, and the socket is unread
    assert here.next() == [None]


def test_forgotten_it_is_not_heard(here: Attendance) -> None:
    pid = run(here, "import time\nwhile True: say('READY=1'); time.sleep(0.01)")
    here.attend(Notify(), pid, ready=True)
    here.checks.forget(pid)
    here.loop.during(0.3)
    assert here.told == []


def test_a_flood_holds_nobody_up(here: Attendance) -> None:
    flood = run(here, "while True: say('WATCHDOG=1' + 'x' * 2000)")
    other = run(here, "import time\nwhile True: say('WATCHDOG=1'); time.sleep(0.01)")
    here.attend(Notify(), flood, every=0.5, name="flood")
    here.attend(Notify(), other, every=0.5, name="other")
    turns = 0
    told = len(here.troubles)
    while len(here.troubles) < told + 4:
        here.loop.turn(0.005)
        turns += 1
    assert turns > 50
    assert here.told.count(next(event for event in here.told if event.pid == other)) >= 1
    assert all(event.trouble is None for event in here.told if event.pid == other)  # type: ignore[union-attr]


def test_descriptors_that_come_along_are_not_kept(here: Attendance) -> None:
    pid = run(here, "socket.send_fds(bound, [b'READY=1'], list(range(3)) * 20)")
    here.attend(Notify(), pid, ready=True)
    before = descriptors()
    here.await_ready(pid)
    assert descriptors() == before


def test_a_message_that_is_too_long_is_none(here: Attendance) -> None:
    pid = run(here, "say('READY=1\\n' + 'x' * 5000); say('STATUS=1'); print('said', flush=True)")
    here.attend(Notify(), pid, ready=True)
    here.machine.await_output(b"said")
    here.loop.during(0.05)
    assert here.told == []


def test_an_address_that_is_taken_is_said_and_had_as_soon_as_it_is_free(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_RETRY", 0.05)
    with attending(loop, tmp_path) as here, said() as lines:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.bind("\0" + here.address[1:])
            here.listen()
            pid = run(here, "pass")
            here.attend(Notify(), pid, ready=True)
            health = here.attend(Notify(), pid + 1, every=0.05)
            here.loop.during(0.3)
            why = f"cannot listen to sd_notify at {here.address}: another process has that name"
            assert here.notify.trouble == why
            assert lines == [why, f"web cannot say that it is ready: {why}"]
            assert here.told == []
            here.checks.forget(health)
        here.loop.until(lambda: here.notify.trouble is None)
        pid = run(here, "say('READY=1')")
        here.attend(Notify(), pid, ready=True)
        here.await_ready(pid)


def test_for_want_of_descriptors_it_is_tried_again(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_RETRY", 0.05)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with attending(loop, tmp_path) as here:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        here.listen()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert "Too many open files" in str(here.notify.trouble)
        loop.until(lambda: here.notify.trouble is None)


def test_a_successor_has_the_same_address(loop: Loop, here: Attendance) -> None:
    here.notify.close()
    here.listen()
    assert here.notify.trouble is None
    pid = run(here, "say('READY=1')")
    here.attend(Notify(), pid, ready=True)
    here.await_ready(pid)


def test_what_is_said_before_anybody_hears_waits(loop: Loop, tmp_path: Path) -> None:
    with attending(loop, tmp_path) as here:
        here.notify.bind(here.address)
        said = tmp_path / "said"
        pid = run(here, f"say('READY=1'); open({str(said)!r}, 'w')")
        here.loop.until(said.exists)
        here.attend(Notify(), pid, ready=True)
        here.notify.begin()
        here.await_ready(pid)


def test_a_descriptor_that_is_another_socket_is_closed_and_the_address_had(loop: Loop) -> None:
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    before = descriptors()
    ours = notify.Notify(loop.reactor, lambda pid: False, stranger.detach())
    ours.bind(f"@colony-test-{os.getpid()}")
    assert ours.trouble is None
    assert descriptors() == before
    ours.close()


def test_closed_nothing_is_left(loop: Loop, tmp_path: Path) -> None:
    with attending(loop, tmp_path) as here:
        before = descriptors()
        here.listen()
        here.notify.close()
        assert descriptors() == before
