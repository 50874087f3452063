"""Puts faults into a supervisor: a death at a chosen call, calls of the C library that fail, a clock that jumps."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make calls fail")


def environment_of_a_death(
    folder: Path, point: str, call: int = 1, number: signal.Signals = signal.SIGKILL
) -> dict[str, str]:
    """
    The environment in which a supervisor kills itself, or sends itself another signal.

    ``point`` is ``module:Class.method:before`` or ``...:after``; ``call`` says at which call of it.
    """
    module, path, when = point.split(":")
    return _site(folder, _DEATH.format(module=module, path=path, when=when, call=call, number=int(number)))


_DEATH = """\
import importlib.machinery, os, signal, sys

MODULE, PATH, WHEN, CALL, NUMBER = {module!r}, {path!r}, {when!r}, {call!r}, {number!r}


def wrapped(function):
    calls = [0]

    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] == CALL and WHEN == "before":
            os.kill(os.getpid(), NUMBER)
        try:
            return function(*args, **kwargs)
        finally:
            if calls[0] == CALL:
                os.kill(os.getpid(), NUMBER)

    return call


class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != MODULE:
            return None
        spec = super().find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            owner = module
            *owners, last = PATH.split(".")
            for part in owners:
                owner = getattr(owner, part)
            setattr(owner, last, wrapped(getattr(owner, last)))

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
"""


def environment_of_a_countdown(folder: Path, count: int) -> dict[str, str]:
    """The environment in which a supervisor kills itself with KILL at that touch of a file below ``folder``."""
    return _site(folder, _COUNTDOWN.format(folder=str(folder), count=count))


_COUNTDOWN = """\
import os, signal, sys

FOLDER, COUNT = {folder!r}, {count!r}
STARTS = ("os.posix_spawn", "os.fork", "os.killpg", "os.kill", "fcntl.flock")
seen = 0


def hook(event, args):
    global seen
    if event in STARTS or args and isinstance(args[0], str) and args[0].startswith(FOLDER) and "/site/" not in args[0]:
        seen += 1
        if seen == COUNT:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(hook)
"""


def _site(folder: Path, text: str) -> dict[str, str]:
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


class Shim:
    """A library that is loaded before libc, and fails the calls that it is told to, in one process."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).with_name("shim.c"), folder / "shim.so"
        subprocess.run(
            ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, capture_output=True
        )
        self._control = folder / "control"
        self._control.write_text("")
        self._hits = folder / "hits"
        self.environment = {
            "LD_PRELOAD": str(library),
            "SHIM_CONTROL": str(self._control),
            "SHIM_HITS": str(self._hits),
            "SHIM_BELOW": str(folder),
        }

    def fail(self, calls: str, error: int) -> None:
        """From now on these calls (a word each; those on files only below the folder) fail with that errno."""
        self._say(f"{error} 0 {calls} ")

    def failed(self) -> set[str]:
        """The calls that have failed so far."""
        return set(self._hits.read_text().split()) if self._hits.exists() else set()

    def step_clock(self, seconds: int) -> None:
        """From now on the wall's clock is so much later than it is."""
        self._say(f"0 {seconds} ")

    def heal(self) -> None:
        """Everything works again."""
        self._say("")

    def _say(self, text: str) -> None:
        new = self._control.with_suffix(".new")
        new.write_text(text)
        new.rename(self._control)
