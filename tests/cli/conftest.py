"""What the tests of the command line share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from colony.cli import main
from tests.cli.standin import StandIn


class Done(NamedTuple):
    """What one run of ctl did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; Any, as JSON is."""
        return json.loads(self.out)


Ctl = Callable[..., Done]


@pytest.fixture
def dead(tmp_path: Path) -> StandIn:
    """The directories, and nobody there."""
    return StandIn(tmp_path)


@pytest.fixture
def colony(dead: StandIn) -> Iterator[StandIn]:
    """Somebody there who agrees to everything."""
    with dead:
        yield dead


@pytest.fixture
def ctl(dead: StandIn, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """Run the command line in this process, on those directories."""
    for variable in os.environ:
        if variable.startswith("COLONY_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("COLONY_CONFIG", str(dead.config))
    monkeypatch.setenv("COLONY_MESSAGES", str(dead.messages))

    def run(*argv: str) -> Done:
        capfd.readouterr()
        code = main(argv)
        return Done(code, *capfd.readouterr())

    return run
