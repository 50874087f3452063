"""What is shipped: the wheel's contents, the drop-in, and both commands as Twisted finds them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from colony import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
DROP_IN = "twisted/plugins/twisted_colony.py"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zipfile.ZipFile:
    """The wheel that hatchling builds of the checkout."""
    monkeypatch.chdir(CHECKOUT)
    return zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path)))


def test_the_wheel_ships_the_package_the_drop_in_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    ours = {path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("colony/**/*.py")}

    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert shipped == ours | {"colony/py.typed", DROP_IN}


def test_no_package_marker_and_no_plugin_cache_goes_under_twisted(wheel: zipfile.ZipFile) -> None:
    # An __init__.py there would overwrite Twisted's own or end its search for plugins; a cache would be stale.
    assert [name for name in wheel.namelist() if name.startswith("twisted/")] == [DROP_IN]
    assert not list(CHECKOUT.glob("twisted/**/__init__.py*"))


def test_the_wheel_carries_the_package_s_version(wheel: zipfile.ZipFile) -> None:
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    text = wheel.read(metadata).decode()
    assert "Name: twisted-colony\n" in text
    assert f"Version: {__version__}\n" in text


def test_the_drop_in_is_made_of_strings() -> None:
    # Twisted runs drop-ins in every command's --help, and caches what they say: they import and compute nothing.
    tree = ast.parse((CHECKOUT / DROP_IN).read_text())
    docstring, imported, *makers = tree.body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(imported) == "from twisted.application.service import ServiceMaker"
    assert len(makers) == 2
    for maker in makers:
        assert isinstance(maker, ast.Assign)
        assert isinstance(maker.value, ast.Call)
        assert all(isinstance(argument, ast.Constant) for argument in maker.value.args)
        assert not maker.value.keywords


def test_twisted_lists_both_commands(tmp_path: Path) -> None:
    listed = _twisted(tmp_path, "--help").stdout
    assert re.search(r"^ +colony  ", listed, re.MULTILINE)
    assert re.search(r"^ +colony-scheduler  ", listed, re.MULTILINE)


@pytest.mark.parametrize(("command", "option"), [("colony", "--config="), ("colony-scheduler", "--frequency=")])
def test_each_command_explains_its_options(tmp_path: Path, command: str, option: str) -> None:
    done = _twisted(tmp_path, command, "--help")
    assert done.returncode == 0, done.stderr
    assert option in done.stdout


def test_every_dependency_says_why_it_was_chosen() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {re.split(r"[<>=\[]", line)[0] for group in [project["dependencies"], *extras] for line in group}
    page = (CHECKOUT / "docs/explanation/decisions/dependencies.md").read_text().lower()

    assert [name for name in wanted - {"twisted-colony"} if f"**{name.lower()}**" not in page] == []


def _twisted(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """``python -m twisted ARGS``, run outside the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "twisted", *args],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
