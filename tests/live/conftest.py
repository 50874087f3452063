"""A colony for each test; whatever becomes of the test, nothing of the colony is left."""

from __future__ import annotations

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
