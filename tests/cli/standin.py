"""A supervisor for ctl to talk to: it holds the lock, answers messages as it is told to, and writes state files."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from colony import atomic, ctllib
from colony.core import check

# Any is a JSON value here.
Message = dict[str, Any]


def accept(message: Message) -> dict[str, Any]:
    """The answer of one who agrees to everything."""
    return {"names": [message["name"]] if "name" in message else []}


class StandIn:
    """Alive within ``with``; ``reply`` says to each message what is special about its answer, None for no answer."""

    def __init__(self, root: Path) -> None:
        self.config, self.messages, self.state = root / "config", root / "messages", root / "state"
        for directory in (self.config, self.messages, self.state, self.state / "status", self.state / "answers"):
            directory.mkdir()
        (self.messages / ".state").write_text(f"{self.state}\n")
        self.places = ctllib.Places(str(self.config), str(self.messages))
        self.reply: Callable[[Message], dict[str, Any] | None] = accept
        self.heard: list[Message] = []
        self._ending = threading.Event()
        self._descriptor: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.live()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join()
        self.die()

    def live(self) -> None:
        """Take the lock."""
        self._descriptor = os.open(self.messages, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def die(self) -> None:
        """Lose the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _run(self) -> None:
        while not self._ending.wait(0.002):
            if self._descriptor is None:
                continue
            for path in sorted(self.messages.iterdir()):
                if not check.is_ignored(path.name):
                    self._obey(path)

    def _obey(self, path: Path) -> None:
        message = json.loads(path.read_bytes())
        self.heard.append(message)
        special = self.reply(message)
        if special is not None:
            answer = {
                "ok": True,
                "code": 0,
                "error": None,
                "type": message["type"],
                "names": [],
                "by": message.get("by"),
            }
            self._write(f"answers/{path.name}.json", {**answer, "at": ctllib.now(), **special})
        path.unlink()

    def tell(self, name: str, state: str = "running", **more: Any) -> None:
        """Write a status file."""
        now = ctllib.now()
        status = {
            "name": name,
            "wanted": True,
            "state": state,
            "why": "wanted",
            "pid": 4321 if state in ("running", "stopping") else None,
            "since": now,
            "started": now if state in ("running", "stopping") else None,
            "starts": 1,
            "streak": 0,
            "last_exit": None,
            "next_start": None,
            "ready": None,
            "health": None,
            "digest": None,
            "problems": [],
            "unknown": [],
        }
        self._write(f"status/{name}.json", {**status, **more})

    def forget(self, name: str) -> None:
        """Remove a status file."""
        (self.state / "status" / f"{name}.json").unlink()

    def introduce(self, **more: Any) -> None:
        """Write ``supervisor.json``."""
        self._write("supervisor.json", {"pid": 99, "version": "0", "started": ctllib.now(), "broken": {}, **more})

    def _write(self, filename: str, value: object) -> None:
        atomic.write(str(self.state / filename), json.dumps(value).encode(), durable=False)

    def asked(self) -> list[Message]:
        """The messages that lie there, in the order of their names, without who asked."""
        found = sorted(path for path in self.messages.iterdir() if not check.is_ignored(path.name))
        return [{k: v for k, v in json.loads(path.read_bytes()).items() if k != "by"} for path in found]
