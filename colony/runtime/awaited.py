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
        if self.matches(data):
            self.find()

    def matches(self, data: bytes) -> bool:
        """Is it in these lines, and was in none before?  In whatever thread; nothing changes."""
        if self.found:
            return False
        search = self._expression.search
        lines = data.decode("utf-8", "replace").split("\n")[:-1]
        return any(search(line[:SEARCHED].removesuffix("\r")) for line in lines)

    def find(self) -> None:
        """It has been found."""
        if not self.found:
            self.found = True
            if self.then is not None:
                self.then()
