"""
A log collector: lines of JSON come in by TCP, and go to one file in order of arrival, each with where it came from.

``python logserver.py PORT FILE``, until TERM or INT.  What has arrived by then is written first.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TextIO

PATIENCE = 1.0
"""Seconds, at the end, for reading what those who have left had sent."""


class Collector:
    """One file, and who is writing to it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._clients: set[asyncio.Task[None]] = set()
        self.lines = 0

    async def collect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write down what one client sends, until it leaves; what is no record is written as it is."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        port = writer.get_extra_info("peername")[1]
        try:
            async for line in reader:
                try:
                    record = json.loads(line)
                    text = f"{record['pid']} {record['text']}"
                except (ValueError, LookupError, TypeError):
                    text = f"? {line!r}"
                self.lines += 1
                print(f"{port} {text}", file=self._file, flush=True)
        except ConnectionError:
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def serve(self, port: int) -> None:
        end = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end.set)
        server = await asyncio.start_server(self.collect, "127.0.0.1", port)
        print(f"collecting at port {port}", flush=True)
        await end.wait()
        server.close()
        if self._clients:
            await asyncio.wait(self._clients, timeout=PATIENCE)
        print(f"collected {self.lines} lines", flush=True)


if __name__ == "__main__":
    with open(sys.argv[2], "a", encoding="utf-8") as file:
        asyncio.run(Collector(file).serve(int(sys.argv[1])))
