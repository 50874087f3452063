"""A line that is waited for in what a process writes."""

from __future__ import annotations

import re
from collections.abc import Callable

SEARCHED = 8192
"""Characters of each line that are searched."""


class AwaitedLine:
    """Remembers whether the expression was found in any line, also before anybody asked."""

    def __init__(self, pattern: str) -> None:
        self._expression = re.compile(pattern)
        self.found = False
        self.then: Callable[[], None] | None = None
        """Called once, when it is found."""

    def look(self, data: bytes) -> None:
        """Search whole lines; what is no UTF-8 is replaced."""
        if self.found:
            return
        search = self._expression.search
        for line in data.decode("utf-8", "replace").split("\n")[:-1]:
            if search(line[:SEARCHED].removesuffix("\r")):
                self.found = True
                if self.then is not None:
                    self.then()
                return
