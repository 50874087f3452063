"""Defines a small colony, runs it, shows it live until Ctrl-C, and sees to it that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path

REFRESH = 1.0


def main() -> int:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Set explicitly: a shell starts what it puts in the background with INT ignored.
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="colony-quickstart-") as folder:
        return Quickstart(Path(folder)).run(ended)


class Quickstart:
    """One colony below a directory that goes when it ends."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "colony.log"
        self.site = folder / "site"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("COLONY_")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "COLONY_CONFIG": str(folder / "config"),
            "COLONY_MESSAGES": str(folder / "messages"),
        }
        self.url = f"http://127.0.0.1:{free_port()}/"
        self.answer = "no answer yet"
        self.pids: set[int] = set()

    def run(self, ended: threading.Event) -> int:
        for variable in ("COLONY_CONFIG", "COLONY_MESSAGES"):
            Path(self.environment[variable]).mkdir()
        self.site.mkdir()
        (self.site / "index.html").write_text("<h1>Hello from a colony</h1>\n")
        self.define()
        print("$ python -m twisted colony", flush=True)
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "twisted", f"--log-file={self.log}", "--log-format=text", "colony"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for us; we hand it on
        )
        try:
            while not ended.wait(REFRESH) and supervisor.poll() is None:
                self.show()
        finally:
            supervisor.send_signal(signal.SIGINT)
            code = supervisor.wait()
        if not ended.is_set():
            print(f"colony ended by itself with {code}:\n{self.last_words(20)}", file=sys.stderr)
            return 1
        left = sorted(pid for pid in self.pids if runs(pid))
        print("\nStopped. ", end="")
        print(f"Still running: {left}" if left else "colony and all it had started are gone.")
        return 1 if left else 0

    def define(self) -> None:
        port = self.url.rstrip("/").rpartition(":")[2]
        self.ctl(
            "add", "web", "--", "python", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", self.site
        )
        echo = ["python", "-m", "twisted", "colony-scheduler", "--arg=echo", "--arg=hello"]
        self.ctl("add", "echo", "--", *echo, "--frequency=3", "--timeout=2", "--grace=1")
        self.ctl("add", "crash", "--restart", '{"limit": 20}', "--", "sh", "-c", "echo enough of this; exit 3")

    def ctl(self, *args: str | Path) -> None:
        words = [str(arg) for arg in args]
        print(f"$ colony {shlex.join(words)}", flush=True)
        subprocess.run([sys.executable, "-m", "colony", "ctl", *words], env=self.environment, check=True)

    def show(self) -> None:
        """Print what is, once; on a terminal in the place of what was printed before."""
        status = self.status("status")
        for unit in self.status_files():
            self.pids.add(unit["pid"])
        if self.answer.startswith("no"):
            self.answer = answer(self.url)
        directories = " ".join(f"{key}={self.environment[key]}" for key in ("COLONY_CONFIG", "COLONY_MESSAGES"))
        if sys.stdout.isatty():
            print("\033[H\033[2J", end="")
        print(f"$ colony status\n{status}\n{self.url}  {self.answer}\n\nThe log:\n{self.last_words(8)}\n")
        if sys.stdout.isatty():
            print(f"Ctrl-C ends it. Meanwhile, in another terminal:\n  export {directories}")
            print(f"  {Path(sys.executable).parent}/colony restart web")
        sys.stdout.flush()

    def status(self, *args: str) -> str:
        command = [sys.executable, "-m", "colony", "ctl", *args]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def status_files(self) -> list[dict[str, int]]:
        """The state files of what has a process, read as anybody may."""
        folder = Path(f"{os.path.realpath(self.environment['COLONY_CONFIG'])}.state", "status")
        units = [json.loads(path.read_bytes()) for path in folder.glob("[!.]*.json")]
        return [unit for unit in units if unit["pid"] is not None]

    def last_words(self, count: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, count)).rstrip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return f"answers {response.status}"
    except (urllib.error.URLError, TimeoutError) as error:
        return f"no answer yet ({error})"


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
