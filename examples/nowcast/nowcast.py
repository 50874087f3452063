"""
A forecast system's framework in small: a broker between the workers and their manager, a scheduler, and the workers.

``python nowcast.py message_broker|manager|scheduler|WORKER NOWCAST_YAML [--fail]``.  The three with names of their own
run until TERM or INT, and read their configuration again on HUP; any other name is a worker, which does its work once,
tells the manager how it went, and ends with 0 or 1.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import zmq

Config: TypeAlias = dict[str, str]
Socket: TypeAlias = "zmq.Socket[bytes]"

RELOAD = {signal.SIGHUP}
END = {signal.SIGTERM, signal.SIGINT}
PATIENCE = 10_000
"""Milliseconds that a worker waits for the manager's answer."""


def log(name: str, text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{name}] {text}", flush=True)


def read(name: str, path: str) -> Config:
    """The configuration: of YAML, only lines of ``key: text`` and comments."""
    lines = (line.partition(": ") for line in Path(path).read_text().splitlines() if not line.startswith("#"))
    config = {key.strip(): text.strip() for key, _, text in lines if text}
    log(name, f"read configuration from {path}")
    return config


@contextmanager
def open_sockets(*kinds: int) -> Iterator[list[Socket]]:
    """Sockets that are gone at the end, unsent messages and all: their ports can be bound again at once."""
    with zmq.Context() as context, ExitStack() as opened:  # the context's end waits for its sockets'
        context.linger = 0
        sockets: list[Socket] = [opened.enter_context(context.socket(kind)) for kind in kinds]
        yield sockets


def bind(name: str, side: str, to: Socket, port: str) -> None:
    to.bind(f"tcp://127.0.0.1:{port}")
    log(name, f"{side} socket bound to port {port}")


def connect(name: str, to: Socket, port: str) -> None:
    to.connect(f"tcp://127.0.0.1:{port}")
    log(name, f"connected to localhost port {port}")


class Signals:
    """The signals that came, as something that a poller can wait for together with sockets."""

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        for end in (self._reader, writer):
            end.setblocking(False)
        self._writer = writer
        signal.set_wakeup_fd(writer.fileno())
        for number in RELOAD | END:
            signal.signal(number, lambda *_: None)

    def among(self, sockets: list[Socket], milliseconds: int | None = None) -> Iterator[Socket | signal.Signals]:
        """Wait for the first of them, or so long; then what is there: signals first, then sockets to be read."""
        poller = zmq.Poller()
        for each in sockets:
            poller.register(each, zmq.POLLIN)
        poller.register(self._reader, zmq.POLLIN)
        ready = dict(poller.poll(milliseconds))
        if self._reader.fileno() in ready:
            yield from map(signal.Signals, self._reader.recv(1))  # one by one: none is lost
        yield from (each for each in sockets if each in ready)


def message_broker(name: str, config: Config, signals: Signals) -> signal.Signals:
    """Hand the workers' messages to the manager, and its answers back to them."""
    with open_sockets(zmq.DEALER, zmq.ROUTER) as (manager, workers):
        bind(name, "manager", manager, config["manager port"])
        bind(name, "worker", workers, config["worker port"])
        other = {manager: workers, workers: manager}
        while True:
            for each in signals.among([manager, workers]):
                if isinstance(each, signal.Signals):
                    return each
                other[each].send_multipart(each.recv_multipart())


def manager(name: str, config: Config, signals: Signals) -> signal.Signals:
    """Keep the checklist: what each worker told last.  It is on disk before the worker has its answer."""
    path = Path(config["checklist"])
    checklist = json.loads(path.read_bytes()) if path.exists() else {}
    log(name, f"checklist read from {path}: {json.dumps(checklist)}")
    with open_sockets(zmq.REP) as (broker,):
        connect(name, broker, config["manager port"])
        while True:
            for each in signals.among([broker]):
                if isinstance(each, signal.Signals):
                    return each
                message = json.loads(each.recv())
                log(name, f"received message from {message['source']}: ({message['type']})")
                checklist[message["source"]] = message["payload"]
                new = path.with_name(f".{path.name}.new")
                new.write_text(json.dumps(checklist))
                new.replace(path)
                each.send(json.dumps({"source": name, "type": "ack", "payload": None}).encode())


def scheduler(name: str, config: Config, signals: Signals) -> signal.Signals:
    """Launch a worker every so many seconds."""
    while True:
        for each in signals.among([], int(float(config["every"]) * 1000)):
            assert isinstance(each, signal.Signals)
            return each
        log(name, f"launching {config['scheduled']}")
        subprocess.run([sys.executable, __file__, config["scheduled"], sys.argv[2]], check=False)


def worker(name: str, config: Config, fails: bool) -> int:
    """Take a nap of so many seconds, tell the manager, and wait for its answer; returns the exit code."""
    with open_sockets(zmq.REQ) as (broker,):
        connect(name, broker, config["worker port"])
        nap = float(config["nap"])
        log(name, f"asleep for {nap:g} s")
        time.sleep(nap)
        log(name, "awake")
        message = {
            "source": name,
            "type": "failure" if fails else "success",
            "payload": {"slept": nap, "by": os.getpid()},
        }
        broker.send(json.dumps(message).encode())
        log(name, f"sent message: ({message['type']})")
        if not broker.poll(PATIENCE):
            log(name, "no answer from the manager")
            return 1
        log(name, f"received message from manager: ({json.loads(broker.recv())['type']})")
        log(name, "shutting down")
        return int(fails)


def main(name: str, path: str, *options: str) -> int:
    log(name, f"running in process {os.getpid()}")
    if name not in (long_lived := {each.__name__: each for each in (message_broker, manager, scheduler)}):
        return worker(name, read(name, path), "--fail" in options)
    signals = Signals()
    while (came := long_lived[name](name, read(name, path), signals)) in RELOAD:
        log(name, f"{came.name} received, reloading")
    log(name, f"{came.name} received, shutting down")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
