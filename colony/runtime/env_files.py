"""Reads what ``env_file`` names, at each start anew: never waiting, never much, and of trusted owners alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from colony.core.desired import Readable
from colony.core.env_file import MAX_BYTES
from colony.runtime.launch import CannotStart
from colony.runtime.ownership import Ownership, Untrusted
from colony.runtime.watch import read


class EnvFiles:
    """
    Files of variables, held to the rule of ``ownership`` as process files are: they say as much of what is run.

    So are the directories that a file is in, by its path and by where that leads: who may put a link there could have
    root hand any file to a process of his own.
    """

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def read(self, paths: Sequence[str]) -> tuple[bytes, ...]:
        """What each of them holds. Raises CannotStart."""
        return tuple(map(self._read, paths))

    def _read(self, path: str) -> bytes:
        try:
            with self._trusted_directory(os.path.dirname(os.path.realpath(path))):
                pass
            folder, name = os.path.split(path)
            with self._trusted_directory(folder) as directory:
                _, content = read(directory, name, MAX_BYTES, partial(self._require_file, path), follow=True)
        except Untrusted as untrusted:
            raise CannotStart("env_file", str(untrusted)) from None
        except OSError as error:
            raise CannotStart("env_file", path, error.errno) from None
        if not isinstance(content, Readable):
            raise CannotStart("env_file", f"{path}: {content.reason}")
        return content.data

    @contextmanager
    def _trusted_directory(self, path: str) -> Iterator[int]:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._ownership.require_directory(path, directory)
            yield directory
        finally:
            os.close(directory)

    def _require_file(self, path: str, descriptor: int, found: os.stat_result) -> None:
        self._ownership.require_file(path, descriptor, found)
        self._ownership.note_group("file of variables", path, found)
