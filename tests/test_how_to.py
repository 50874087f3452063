"""What the how-to page on order, readiness and health shows can be used as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from colony.core import wire
from colony.core.model import Defaults

PAGE = (Path(__file__).parent.parent / "docs/how-to/order-readiness-health.md").read_text()
FILES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
WAYS = re.findall(r"^\|[^|]*\| `(\{.*\})` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("text", FILES)
def test_each_file_is_one_that_runs_as_it_is_meant(text: str) -> None:
    spec = wire.parse_spec(text.encode(), Defaults())
    assert spec.unknown == ()
    assert spec.ready or spec.after or spec.health


@pytest.mark.parametrize("text", WAYS)
def test_each_way_to_be_ready_is_one(text: str) -> None:
    assert wire.parse_spec(json.dumps({"args": ["x"], "ready": json.loads(text)}).encode(), Defaults()).ready


def test_there_are_such() -> None:
    assert (len(FILES), len(WAYS)) == (6, 6)
