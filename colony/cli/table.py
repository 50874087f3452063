"""Tables for people: columns, colours, and the width that there is."""

from __future__ import annotations

import os
import sys

COLOURS = {"running": "32", "failed": "31", "backoff": "31", "starting": "33", "stopping": "33", "waiting": "33"}


def coloured() -> bool:
    """Is there somebody who sees colours, and wants them?"""
    return "NO_COLOR" not in os.environ and sys.stdout is not None and sys.stdout.isatty()


def painted(text: str, state: str) -> str:
    """That text in the colour of a state, if it has one."""
    return f"\x1b[{COLOURS[state]}m{text}\x1b[m" if state in COLOURS else text
