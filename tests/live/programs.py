"""Programs that write down when they begin and when they end, and that are ready, or well, once they are let."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.live.driver import LOOK, Colony, alive

PYTHON = [sys.executable, "-I", "-S", "-c"]
"""Which begins quickly: nothing but the standard library is looked for."""

NOTED = """\
trap 'sleep {slow}; echo "-$COLONY_NAME" >>{journal}; exit 0' TERM
echo "+$COLONY_NAME" >>{journal}
echo ready
while :; do sleep 1000 & wait $!; done
"""

COMMON = """\
import os, signal, socket, sys, time

kind, gate, journal, *rest = sys.argv[1:]
name = os.environ["COLONY_NAME"]


def note(text):
    with open(journal, "a") as file:
        file.write(text + "\\n")


def end(*_):
    note("-" + name)
    os._exit(0)


def notify(text):
    try:  # as sd_notify does it: nobody there is no error
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
            speaker.send(text)
    except OSError:
        pass


def serve(port, answer):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        caller, _ = listener.accept()
        if answer:
            caller.recv(4096)
            status = b"200 OK" if os.path.exists(answer) else b"503 No"
            caller.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
        caller.close()


signal.signal(signal.SIGTERM, end)
note("+" + name)
"""

READY = {"log": "^ready$"}
"""Of such a one whose beginning is to be written down before that of who needs it."""

GATED = f"""\
{COMMON}
if kind == "http":  # it answers at once, and well once it is let
    serve(int(rest[0]), gate)
while not os.path.exists(gate):
    time.sleep({LOOK})
note("!" + name)
if kind == "tcp":
    serve(int(rest[0]), "")
elif kind == "log":
    print("now", "serving", flush=True)
elif kind == "notify":
    notify(b"STATUS=here\\nREADY=1")
elif kind == "child" and os.fork() == 0:
    notify(b"READY=1")
while True:
    time.sleep(1000)
"""
"""Becomes ready, in the way that its first argument names, once the file is there that its second names."""

WELL = f"""\
{COMMON}
listener = None
if kind == "http":
    serve(int(rest[0]), gate)
if kind == "hung":
    listener = socket.create_server(("127.0.0.1", int(rest[0])))
while True:
    well = os.path.exists(gate)
    if well and kind == "notify":
        notify(b"WATCHDOG=1")
    elif well and kind == "beat":
        open(rest[0], "w").close()
    elif well and kind == "tcp" and listener is None:
        listener = socket.create_server(("127.0.0.1", int(rest[0])))
    elif not well and kind == "tcp" and listener is not None:
        listener.close()
        listener = None
    time.sleep(0.02)
"""
"""Is well, in the way that its first argument names, while the file is there that its second names."""


class Journal:
    """What programs have written down, in the order in which it happened: ``+web`` it runs, ``-web`` it ends."""

    def __init__(self, colony: Colony) -> None:
        self._colony = colony
        self.path = colony.folder / "journal"

    def lines(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def holds(self, *lines: str) -> list[str]:
        """All lines, once those are among them."""
        self._colony.wait_for(lambda: all(self.lines().count(line) >= lines.count(line) for line in lines))
        return self.lines()

    def place(self, line: str) -> int:
        """The how manieth it is, waited for; there is to be one of it."""
        self.holds(line)
        assert self.lines().count(line) == 1, self.lines()
        return self.lines().index(line)

    def program(self, slow: float = 0) -> list[str]:
        """The args of what runs until it is told to end, and then takes ``slow`` seconds."""
        return ["sh", "-c", NOTED.format(journal=self.path, slow=slow)]

    def gated(self, kind: str, gate: Path, *rest: str) -> list[str]:
        """The args of what is ready in that way once ``gate`` is there."""
        return [*PYTHON, GATED, kind, str(gate), str(self.path), *rest]

    def well(self, kind: str, gate: Path, *rest: str) -> list[str]:
        """The args of what is well in that way while ``gate`` is there."""
        return [*PYTHON, WELL, kind, str(gate), str(self.path), *rest]


# Commands that ask how a process is look like mains of its name, so that these ask of status.


def main(colony: Colony, name: str, instead_of: int | None = None) -> int:
    """The pid of the process itself, waited for, and for its being another one."""

    def found() -> int | None:
        pid = colony.status(name).get("pid")
        return int(pid) if pid not in (None, instead_of) else None

    pid = colony.wait_for(found)
    assert pid is not None
    return pid


def keeps(colony: Colony, name: str, pid: int) -> bool:
    """Is it that process still?"""
    return alive(pid) and colony.status(name).get("pid") == pid
