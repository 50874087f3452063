"""
The limit in Python: the same bare loop as loop.c, on ``subprocess.Popen``.

loop.py CHILD FIFO NAMES CONTROL [UID]: starts CHILD FIFO NAME, as that user and group if given, for every line of the
file NAMES, and again whenever one ends. A line ``+NAME`` in the FIFO CONTROL starts one more, ``-NAME`` ends one (TERM)
so that it is started again. At TERM: all are told TERM and waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

child, fifo, names, control, *users = sys.argv[1:]
running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
some = threading.Event()


def start(name: str) -> None:
    if users:
        uid = int(users[0])
        process = subprocess.Popen([child, fifo, name], env={}, user=uid, group=uid, extra_groups=[])
    else:
        process = subprocess.Popen([child, fifo, name], env={})
    running[process.pid] = (name, process)
    some.set()


def obey() -> None:
    told = os.open(control, os.O_RDWR | os.O_CLOEXEC)
    while True:
        for line in os.read(told, 4096).decode().split():
            if line[0] == "+":
                start(line[1:])
            else:
                for pid, (name, _) in list(running.items()):
                    if name == line[1:]:
                        os.kill(pid, signal.SIGTERM)


def end(*_: object) -> None:
    for pid in list(running):
        os.kill(pid, signal.SIGTERM)
    for pid in list(running):
        os.waitpid(pid, 0)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
with open(names) as lines:
    for line in lines:
        start(line.strip())
threading.Thread(target=obey, daemon=True).start()
while True:
    try:
        pid, status = os.waitpid(-1, 0)
    except ChildProcessError:
        some.clear()
        some.wait()
        continue
    name, process = running.pop(pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    start(name)
