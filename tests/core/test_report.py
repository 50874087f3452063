"""What is told is handed to several who tell it on."""

from __future__ import annotations

import attrs
import pytest
from pyrsistent import pmap

from colony.core.desired import Desired
from colony.core.lifecycle import Unit, Wanted, step
from colony.core.model import Name, ProcessSpec
from colony.core.report import Report, Transition


def test_nobody_who_hears_a_report_changes_what_the_next_one_hears() -> None:
    before = Unit(Name("web"))
    after, _ = step(before, Wanted(ProcessSpec(("web",), "one"), b"{}"), 1.0)
    report = Report(pmap({after.name: after}), Desired(), frozenset({after.name}), (Transition(before, after, 1.0),))
    for value, field in ((report, "moved"), (report.transitions[0], "after")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field, None)
    assert Report(report.units, report.desired, report.moved).transitions == ()
