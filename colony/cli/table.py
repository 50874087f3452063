"""Tables for people: columns, colours, the width that there is, and how long ago something was."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = {"running": "32", "failed": "31", "backoff": "31", "starting": "33", "stopping": "33", "waiting": "33"}


def coloured() -> bool:
    """Is there somebody who sees colours, and wants them?"""
    return "NO_COLOR" not in os.environ and sys.stdout is not None and sys.stdout.isatty()


def painted(text: str, state: str) -> str:
    """That text in the colour of a state, if it has one."""
    return f"\x1b[{COLOURS[state]}m{text}\x1b[m" if state in COLOURS else text


def width() -> int | None:
    """The columns of the terminal that this goes to; None if it goes to none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


MOST_LINES = 3
"""Lines that the last cell of a row may take; what is longer is cut."""

_NARROW = 30
"""Columns without which the last cell goes below the others."""


def table(rows: Sequence[Sequence[str]], columns: int | None, states: int | None = None) -> list[str]:
    """
    The lines of a table, its last cells wrapped to ``columns`` in all; None: as long as they are.

    ``states`` is the column that is painted in the colour of its state.
    """
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        if states is not None and coloured():
            padded[states] = painted(padded[states], cells[states].partition(" ")[0])
        first, *more = _wrapped(cells[-1], columns, indent)
        lines.append("  ".join([*padded, first]).rstrip())
        lines += more
    return lines


def _wrapped(text: str, columns: int | None, indent: int) -> list[str]:
    if columns is None or indent + len(text) <= columns:
        return [text]
    import textwrap

    below = columns - indent < _NARROW
    indent = 4 if below else indent
    found = textwrap.wrap(
        text, max(columns - indent, 10), max_lines=MOST_LINES, placeholder=" ...", break_on_hyphens=False
    )
    lines = [f"{' ' * indent}{line}" for line in found]
    return ["", *lines] if below else [found[0], *lines[1:]]


def age(moment: str) -> str:
    """How long ago it was, in the two units that matter: ``3h12m``."""
    return lasting(time.time() - _instant(moment))


def until(moment: str) -> str:
    """How long it is till then, likewise."""
    return lasting(_instant(moment) - time.time())


def lasting(seconds: float) -> str:
    """So long, in the two units that matter; never less than ``0s``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def clock(moment: str) -> str:
    """That moment where we are: ``2026-11-21 22:18:03``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_instant(moment)))


def _instant(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
