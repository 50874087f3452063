"""A queue's tasks, its clock, and a page: what the worker, beat, flower and gunicorn of this example load."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from logging import Logger, LogRecord
from logging.handlers import SocketHandler
from typing import Any

from celery import Celery
from celery.signals import after_setup_logger

app = Celery("sprout", broker=f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/0")
app.conf.task_ignore_result = app.conf.broker_connection_retry_on_startup = True
app.conf.beat_schedule = {"tick": {"task": "sprout.tick", "schedule": 2.0}}


@app.task
def tick() -> None:
    """Counts itself in memcached."""
    with socket.create_connection(("127.0.0.1", int(os.environ["MEMCACHED_PORT"])), 5) as cache:
        cache.sendall(b"add ticks 0 0 1 noreply\r\n0\r\nincr ticks 1\r\n")
        cache.recv(64)


@app.task
def slow(seconds: float) -> None:
    """Takes so long, then says so in a file."""
    time.sleep(seconds)
    with open(os.environ["DONE"], "a", encoding="utf-8") as done:
        done.write(f"{seconds}\n")


class Lines(SocketHandler):
    """Log records as lines of JSON, for the collector."""

    def makePickle(self, record: LogRecord) -> bytes:
        return json.dumps({"pid": record.process, "text": record.getMessage()}).encode() + b"\n"


@after_setup_logger.connect
def collect(logger: Logger, **_: Any) -> None:  # Any: whatever else Celery tells
    logger.addHandler(Lines("127.0.0.1", int(os.environ["LOG_PORT"])))


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:  # as WSGI has it
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}\n".encode()]
