"""Holds every import to the rooms of docs/explanation/architecture.md, lazy and type-only imports too."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


class Room(NamedTuple):
    """What the files of one room may import: modules of ours, packages of others, and which standard library."""

    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    pure: bool = False
    """Only `PURE` of the standard library, and nothing that asks the clock or opens a file."""


_VALUES = ("attr", "attrs", "pyrsistent")
_PLAIN = ("colony.core.check", "colony.core.needs", "colony.core.standing", "colony.atomic")  # standard library alone
_CORE = Room(("colony.core",), _VALUES, pure=True)
_RUNTIME = Room(
    ("colony.runtime", "colony.core", "colony.atomic", "colony.logs.times"), ("attr", "attrs", "zope", "twisted")
)
_REPORT = Room(("colony.report", "colony.core", "colony.atomic"), _VALUES)
_CELL = Room(("colony.core", "colony.runtime.spawn"), (*_VALUES, "twisted"))

ROOMS: Mapping[str, Room] = {
    "colony/__init__.py": Room(),
    "colony/__main__.py": Room(("colony.cli",)),
    "colony/atomic.py": Room(),
    "colony/cli/": Room(("colony.cli", "colony.ctllib", "colony.logs", *_PLAIN)),
    "colony/core/": _CORE,
    "colony/core/__init__.py": Room(pure=True),
    "colony/core/check.py": Room(pure=True),
    "colony/core/needs.py": Room(("colony.core.check",), pure=True),
    "colony/core/standing.py": Room(pure=True),
    "colony/ctllib.py": Room((*_PLAIN, "colony.logs")),
    "colony/logs/": Room(("colony.logs",)),
    "colony/report/": _REPORT,
    "colony/report/history.py": _REPORT._replace(theirs=(*_VALUES, "twisted")),
    "colony/report/web.py": _REPORT._replace(ours=(*_REPORT.ours, "colony.ctllib"), theirs=(*_VALUES, "twisted")),
    "colony/runtime/": _RUNTIME,
    "colony/scheduler.py": Room(("colony.core", "colony.runtime"), (*_VALUES, "twisted")),
    "colony/supervisor.py": _CELL._replace(ours=(*_CELL.ours, "colony.telling")),
    "colony/telling.py": Room(("colony.core",), (*_VALUES, "twisted")),
    "colony/options.py": Room(("colony.core",), (*_VALUES, "twisted")),
    "colony/service.py": Room(("colony",), (*_VALUES, "twisted", "zope")),
    "colony/tap.py": Room(("colony",), (*_VALUES, "twisted", "zope")),
    "twisted/plugins/": Room((), ("twisted",)),
}
"""A file's room is the longest key its path starts with; a file without one has no place in the house."""

PURE = frozenset(
    "__future__ abc bisect collections contextlib copy dataclasses datetime difflib enum fnmatch functools hashlib"
    " heapq ipaddress itertools json math operator re signal string textwrap types typing warnings".split()
)
"""Standard library that touches nothing outside; ``signal`` for names, ``warnings`` to have them raised, alone."""

IMPURE_CALLS = frozenset("open input print exec eval breakpoint now today utcnow".split())
"""What core may not call although no import betrays it: files, the terminal, the clock."""


class Use(NamedTuple):
    line: int
    module: str


def trespasses(sources: Mapping[str, str]) -> list[str]:
    """
    A line for every import that leaves its room.

    ``sources`` maps paths relative to the checkout, with forward slashes, to the text of the files.
    """
    modules = {_module(path) for path in sources}
    return [line for path in sorted(sources) for line in _trespasses(path, sources[path], modules)]


def _trespasses(path: str, source: str, modules: set[str]) -> Iterator[str]:
    key = max((key for key in ROOMS if path.startswith(key)), key=len, default=None)
    if key is None:
        yield f"{path}: belongs to no room; rooms are listed in tests/test_rooms.py"
        return
    room = ROOMS[key]
    tree = ast.parse(source, path)
    for line, module in _uses(path, tree, modules):
        if why := _barred(module, room):
            yield f"{path}:{line}: may not import {module}: {why}"
    if room.pure:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _called(node)) in IMPURE_CALLS:
                yield f"{path}:{node.lineno}: may not call {name}(): core decides, and is handed time and bytes"


def _barred(module: str, room: Room) -> str | None:
    """Why files of ``room`` may not import ``module``, or None if they may."""
    top = module.partition(".")[0]
    if top == "colony":
        # The bare package holds the version and imports nothing.
        if module == "colony" or any(_within(module, allowed) for allowed in room.ours):
            return None
        return f"of ours, this room takes {', '.join(room.ours) or 'nothing'}"
    if top in sys.stdlib_module_names:
        if not room.pure or top in PURE:
            return None
        return "of the standard library, this room takes the pure part"
    if top in room.theirs:
        return None
    return f"of others, this room takes {', '.join(room.theirs) or 'nothing'}"


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _uses(path: str, tree: ast.AST, modules: set[str]) -> Iterator[Use]:
    """Every module the file names in an import, wherever the import stands."""
    package = _module(path) if path.endswith("/__init__.py") else _module(path).rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (Use(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = module or ""
                if level:
                    above = package.split(".")
                    base = ".".join([*above[: len(above) - level + 1], *([module] if module else [])])
                for alias in names:
                    whole = f"{base}.{alias.name}"
                    yield Use(node.lineno, whole if whole in modules else base)
            case ast.Call() if _called(node) in ("import_module", "__import__", "namedAny", "namedModule"):
                yield Use(node.lineno, _literal(node.args[0]) if node.args else "")
            case _:
                pass


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _literal(node: ast.expr) -> str:
    """The module that a computed import names, or the part of it that is written down."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return text.rstrip(".")
        case _:
            return "a computed name"


def _house() -> dict[str, str]:
    files = [*CHECKOUT.glob("colony/**/*.py"), *CHECKOUT.glob("twisted/**/*.py")]
    return {path.relative_to(CHECKOUT).as_posix(): path.read_text("utf-8") for path in files}


def test_every_import_stays_within_its_room() -> None:
    house = _house()
    assert "colony/core/check.py" in house, "the checker looks at the wrong directory"

    found = trespasses(house)

    assert not found, "\n" + "\n".join(found)


def test_ctl_add_loads_neither_attrs_nor_pyrsistent_nor_twisted(tmp_path: Path) -> None:
    config, messages = tmp_path / "config", tmp_path / "messages"
    config.mkdir()
    messages.mkdir()

    directories = ["--config", str(config), "--messages", str(messages)]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "colony", "ctl", *directories, "add", "web", "--", "sleep", "60"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert (config / "web").exists()
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "colony" in loaded
    assert not loaded & {"attr", "attrs", "pyrsistent", "twisted", "zope"}


# -- the checker itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("colony/core/model.py", "import twisted.internet", "may not import twisted.internet"),
        ("colony/core/model.py", "from zope.interface import implementer", "may not import zope.interface"),
        ("colony/core/model.py", "import os", "takes the pure part"),
        ("colony/core/model.py", "from os import path", "pure part"),
        ("colony/core/model.py", "import time", "pure part"),
        ("colony/core/model.py", "import random", "pure part"),
        ("colony/core/model.py", "import socket", "pure part"),
        ("colony/core/model.py", "import subprocess", "pure part"),
        ("colony/core/model.py", "import threading", "pure part"),
        ("colony/core/model.py", "from pathlib import Path", "pure part"),
        ("colony/core/model.py", "open('x')", "may not call open()"),
        ("colony/core/model.py", "datetime.now(UTC)", "may not call now()"),
        ("colony/core/model.py", "from colony.runtime import spawn", "may not import colony.runtime"),
        ("colony/core/model.py", "from colony import atomic", "may not import colony.atomic"),
        ("colony/core/model.py", "from .. import atomic", "may not import colony.atomic"),
        ("colony/core/model.py", "from ..runtime.spawn import x", "may not import colony.runtime.spawn"),
        ("colony/core/check.py", "import attrs", "of others, this room takes nothing"),
        ("colony/core/check.py", "from colony.core import model", "of ours, this room takes nothing"),
        ("colony/core/__init__.py", "from colony.core.model import Name", "of ours, this room takes nothing"),
        ("colony/core/__init__.py", "from .model import Name", "may not import colony.core.model"),
        ("colony/__init__.py", "from colony.core import check", "of ours, this room takes nothing"),
        ("colony/__init__.py", "from . import ctllib", "may not import colony.ctllib"),
        ("colony/atomic.py", "from colony.core import check", "of ours, this room takes nothing"),
        ("colony/ctllib.py", "from colony.core import wire", "may not import colony.core"),
        ("colony/ctllib.py", "import attrs", "of others, this room takes nothing"),
        ("colony/cli/add.py", "from colony.core.wire import parse_spec", "may not import colony.core.wire"),
        ("colony/cli/add.py", "import twisted", "may not import twisted"),
        ("colony/cli/add.py", "importlib.import_module('colony.core.wire')", "may not import colony.core.wire"),
        ("colony/cli/add.py", "importlib.import_module(f'colony.core.{x}')", "may not import colony.core"),
        ("colony/cli/add.py", "importlib.import_module(x)", "may not import a computed name"),
        ("colony/__main__.py", "import colony.tap", "may not import colony.tap"),
        ("colony/runtime/watch.py", "import pyrsistent", "may not import pyrsistent"),
        ("colony/runtime/watch.py", "from colony import supervisor", "may not import colony.supervisor"),
        ("colony/runtime/watch.py", "from colony.report import status", "may not import colony.report"),
        ("colony/report/status.py", "from twisted.logger import Logger", "may not import twisted.logger"),
        ("colony/report/status.py", "from colony import ctllib", "may not import colony.ctllib"),
        ("colony/report/history.py", "from colony import ctllib", "may not import colony.ctllib"),
        ("colony/supervisor.py", "from colony.runtime import watch", "may not import colony.runtime"),
        ("colony/supervisor.py", "from colony.report.status import Status", "may not import colony.report.status"),
        ("colony/scheduler.py", "from colony import atomic", "may not import colony.atomic"),
        ("colony/tap.py", "import requests", "may not import requests"),
        ("twisted/plugins/x.py", "from colony.tap import Options", "of ours, this room takes nothing"),
        ("colony/helpers.py", "", "belongs to no room"),
    ],
)
def test_the_checker_names_a_trespass(path: str, source: str, complaint: str) -> None:
    [line] = trespasses(_beside({path: source}))
    assert line.startswith(path)
    assert complaint in line


@pytest.mark.parametrize(
    "body",
    [
        "def late():\n    import twisted",
        "if TYPE_CHECKING:\n    import twisted",
        "try:\n    import twisted\nexcept ImportError:\n    pass",
        "class C:\n    async def f(self):\n        from twisted import x",
    ],
)
def test_an_import_counts_wherever_it_stands(body: str) -> None:
    [line] = trespasses({"colony/core/model.py": body})
    assert "twisted" in line


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "colony/core/model.py",
            "import attrs, json, math\nfrom pyrsistent import pmap\nfrom colony.core import check",
        ),
        ("colony/core/check.py", "import json, re\nfrom collections.abc import Mapping"),
        ("colony/ctllib.py", "import os\nfrom colony import atomic\nfrom colony.core import check"),
        ("colony/cli/add.py", "from colony import __version__, ctllib\nfrom colony.cli import common\nimport argparse"),
        ("colony/cli/__init__.py", "importlib.import_module(f'colony.cli.{verb}')"),
        ("colony/runtime/watch.py", "import os, zope.interface\nfrom . import doorbell\nfrom twisted.logger import L"),
        ("colony/report/web.py", "from colony import ctllib\nfrom twisted.web import server"),
        ("colony/report/history.py", "from twisted.internet import threads"),
        ("colony/supervisor.py", "from colony.runtime.spawn import Spawner\nfrom colony.core import lifecycle"),
        ("colony/tap.py", "from colony.report import status\nfrom colony.runtime import watch"),
        ("twisted/plugins/x.py", "from twisted.application.service import ServiceMaker"),
    ],
)
def test_the_checker_lets_the_neighbours_of_a_room_in(path: str, source: str) -> None:
    assert trespasses(_beside({path: source})) == []


def _beside(sources: dict[str, str]) -> dict[str, str]:
    """``sources`` in a small house, so that ``from colony import supervisor`` is known to name a module."""
    rooms = "__init__ atomic ctllib supervisor core/__init__ core/check core/model core/wire"
    return {f"colony/{module}.py": "" for module in rooms.split()} | sources
