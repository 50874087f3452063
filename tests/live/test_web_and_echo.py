"""Twisted's demo web server and an echo, defined by two commands and kept by a third: the whole main job."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.live.driver import NOBODY, PATIENCE, Colony, alive, free_port, ignored_signals, page, python_for

pytestmark = pytest.mark.live

DEAF = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]


class Quickstart:
    """Both programs' definitions, as a newcomer types them."""

    def __init__(self, colony: Colony, port: int, frequency: float) -> None:
        self.colony = colony
        self.port = port
        self.frequency = frequency
        self.python = ["--cmd=python"]

    def add_web(self, *more: str) -> str:
        words = ["--name=web", *self.python, "--arg=-m", "--arg=twisted", "--arg=web"]
        if self.port != 8080:
            words.append(f"--arg=--listen=tcp:{self.port}")
        return self.colony.done("add", *words, *more)

    def add_echo(self, *more: str) -> str:
        words = ["--arg=-m", "--arg=twisted", "--arg=colony-scheduler", "--arg=--arg=echo", "--arg=--arg=hello"]
        words += [f"--arg=--frequency={self.frequency}", "--arg=--timeout=5", "--arg=--grace=10"]
        return self.colony.done("add", "--name=echo", *self.python, *words, *more)

    def serves(self) -> bool:
        return "Twisted" in (page(self.port) or "")

    def greetings(self) -> list[str]:
        return self.colony.said("[echo] hello")

    def is_up(self) -> tuple[int, int]:
        """Wait until both do what they are for; returns their pids."""
        self.colony.wait_for(self.serves)
        self.colony.wait_for(self.greetings)
        return self.colony.runs("web"), self.colony.runs("echo")


@pytest.fixture
def quickstart(place: Colony) -> Quickstart:
    return Quickstart(place, free_port(), 0.5)


def test_both_serve_and_greet_and_what_is_asked_for_is_done(quickstart: Quickstart) -> None:
    colony = quickstart.colony
    assert quickstart.add_web() == "added"
    assert quickstart.add_echo() == "added"
    colony.start()
    web, echo = quickstart.is_up()

    # Readable, each a line of its own, again and again.
    colony.wait_for(lambda: len(quickstart.greetings()) >= 3)
    assert all(re.fullmatch(r"\S+ \[echo\] (\S+ \[echo\] )?hello", line) for line in quickstart.greetings())

    colony.done("restart", "--name=echo")
    echo = colony.runs("echo", instead_of=echo)
    colony.done("restart", "echo")
    echo = colony.runs("echo", instead_of=echo)
    assert colony.running("web") == [web]

    colony.done("restart-all")
    web, echo = colony.runs("web", instead_of=web), colony.runs("echo", instead_of=echo)

    assert quickstart.add_echo() == "unchanged"
    assert quickstart.add_web("--arg=--notracebacks") == "changed"
    web = colony.runs("web", instead_of=web)
    assert colony.running("echo") == [echo]
    colony.wait_for(quickstart.serves)

    colony.done("remove", "echo")
    colony.is_gone("echo")
    refused = colony.ctl("restart", "typo")
    assert refused.returncode == 4
    assert "typo" in refused.stderr
    assert colony.running("web") == [web]
    colony.done("restart", "web")
    web = colony.runs("web", instead_of=web)
    for no_name in (".", ""):
        assert colony.ctl("remove", no_name).returncode == 2
    assert colony.running() == [web]


def test_ctrl_c_ends_all_of_it_and_the_next_start_brings_it_back(quickstart: Quickstart) -> None:
    colony = quickstart.colony
    quickstart.add_web()
    quickstart.add_echo()
    colony.done("add", "deaf", "--", *DEAF)
    colony.start("-k", "0.3")
    quickstart.is_up()
    colony.wait_for(lambda: colony.said("[deaf] deaf"))

    assert colony.supervisor is not None
    os.killpg(colony.supervisor.pid, signal.SIGINT)

    assert colony.supervisor.wait(PATIENCE) == -signal.SIGINT
    assert not colony.family()
    assert not quickstart.serves()

    colony.start("-k", "0.3")
    quickstart.is_up()
    colony.runs("deaf")


def test_the_supervisor_may_come_first_and_the_directories_and_definitions_later(quickstart: Quickstart) -> None:
    colony = quickstart.colony
    colony.config.rmdir()
    colony.messages.rmdir()
    colony.start()
    assert quickstart.add_web() == "added"
    assert quickstart.add_echo() == "added"
    quickstart.is_up()


def test_under_nohup_it_goes_on_when_the_login_ends(quickstart: Quickstart) -> None:
    colony = quickstart.colony
    quickstart.add_web()
    quickstart.add_echo()
    # As typed in a shell that is no terminal's: nohup ignores HUP, and the shell's & ignores INT and QUIT.
    words = f"nohup python -m twisted colony {' '.join(colony.places)} >> {colony.log} 2>&1 & echo $! > pid"
    shell = colony.begin("sh", "-c", words)
    assert shell.wait(PATIENCE) == 0
    colony.wait_until_it_keeps()
    web, echo = quickstart.is_up()
    supervisor = int((colony.folder / "pid").read_text())

    os.killpg(shell.pid, signal.SIGHUP)
    os.kill(supervisor, signal.SIGHUP)
    greeted = len(quickstart.greetings())
    colony.wait_for(lambda: len(quickstart.greetings()) > greeted)
    assert (colony.running("web"), colony.running("echo")) == ([web], [echo])
    for pid in web, echo:
        assert ignored_signals(pid) <= {signal.SIGPIPE, signal.SIGXFSZ}  # which Python itself ignores

    os.kill(supervisor, signal.SIGTERM)
    colony.wait_for(lambda: not alive(supervisor))
    assert not colony.family()


@pytest.mark.parametrize(
    "foreground",
    [pytest.param(True, id="in the foreground", marks=pytest.mark.slow), pytest.param(False, id="in the background")],
)
def test_under_twistd(quickstart: Quickstart, foreground: bool) -> None:
    colony = quickstart.colony
    quickstart.add_web()
    quickstart.add_echo()
    options = ["--pidfile", str(colony.folder / "twistd.pid"), "--logfile", str(colony.log)]
    twistd = colony.begin("twistd", *(["-n"] if foreground else []), *options, "colony", *colony.places)
    if not foreground:
        assert twistd.wait(PATIENCE) == 0
    colony.wait_until_it_keeps()
    quickstart.is_up()
    supervisor = int((colony.folder / "twistd.pid").read_text())

    os.kill(supervisor, signal.SIGTERM)

    colony.wait_for(lambda: twistd.poll() is not None and not alive(supervisor))
    assert not colony.family()
    assert not (colony.folder / "twistd.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes as somebody else")
def test_with_a_uid_set_both_run_as_that_user(quickstart: Quickstart) -> None:
    colony = quickstart.colony
    command, path = python_for(NOBODY)
    quickstart.python = [f"--cmd={command[0]}", *(f"--arg={option}" for option in command[1:])]
    as_nobody = [f"--uid={NOBODY}", f"--env=PYTHONPATH={path}", "--cwd=/"]
    quickstart.add_web(*as_nobody)
    quickstart.add_echo(*as_nobody)
    colony.start()
    web, echo = quickstart.is_up()
    for pid in web, echo:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        [uids] = [line.split()[1:] for line in lines if line.startswith("Uid:")]
        assert uids == [str(NOBODY)] * 4


@pytest.mark.slow
def test_literally(place: Colony) -> None:
    """On Twisted web's own port, with a greeting every ten seconds."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", 8080))
        except OSError:
            pytest.skip("another program on this machine has port 8080, which is what this is about")
    quickstart = Quickstart(place, 8080, 10)
    quickstart.add_web()
    quickstart.add_echo()
    place.start()
    quickstart.is_up()
    place.wait_for(lambda: len(quickstart.greetings()) == 3, 25)
