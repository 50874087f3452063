"""A colony for each test; whatever becomes of the test, nothing of the colony is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.driver import Colony


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Colony]:
    """The directories, and nobody there yet."""
    colony = Colony(tmp_path)
    try:
        yield colony
        if colony.supervisor is not None and colony.supervisor.poll() is None:
            # Every test is one of these two as well: its supervisor ends well, and had no accident.
            code = colony.stop()
            assert code in (0, -15), code
            assert not colony.family()
        assert not colony.said("Traceback"), colony.said("")
    finally:
        colony.clean()


@pytest.fixture
def colony(place: Colony) -> Colony:
    """A supervisor that keeps an empty colony, with its default options."""
    place.start()
    return place


@pytest.fixture
def no_inotify(tmp_path: Path) -> dict[str, str]:
    """An environment in which nobody gets an inotify instance, as where fs.inotify.max_user_instances is used up."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        """\
import ctypes, errno


class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        return refuse if name == "inotify_init1" else super().__getattr__(name)


def refuse(*arguments):
    ctypes.set_errno(errno.EMFILE)
    return -1


ctypes.CDLL = CDLL
"""
    )
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")}
