"""Where peers come from: pip, apt, npm, each unpacked below the harness's own cache and nowhere else."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Unavailable

_TRIPLET = f"{platform.machine()}-linux-gnu"


def run(argv: Sequence[str], *, cwd: Path | None = None) -> str:
    """The output of ``argv``. Raises Unavailable with its last words if it fails or is not there."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"cannot run {argv[0]}: {error}") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}: {''.join(last)[:200]}")
    return done.stdout


def by_pip(cache: Path, requirement: str) -> tuple[Path, str]:
    """``requirement`` in a virtual environment of its own. Returns that one's python, and the version."""
    python = cache / requirement / "bin" / "python"
    ask = [str(python), "-c", f"import importlib.metadata as m; print(m.version({requirement!r}))"]
    if python.exists():
        try:
            return python, run(ask).strip()
        except Unavailable:  # an installation that was interrupted: made anew below
            pass
    run([sys.executable, "-m", "venv", "--clear", str(python.parent.parent)])
    run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement])
    return python, run(ask).strip()


def by_apt(cache: Path, packages: Sequence[str]) -> tuple[Path, str]:
    """
    Debian's ``packages``, downloaded and unpacked but not installed: nothing is started, no system file is touched.

    Returns the root that they are unpacked in, and the version of the first. Raises Unavailable where apt does not
    know them (``apt-get update`` may help).
    """
    root = cache / packages[0]
    if not (root / "version").exists():
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise Unavailable(f"no {program}: not a Debian")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        run(["apt-get", "download", *packages], cwd=root)
        for package in sorted(root.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(package), str(root)])
        [first] = root.glob(f"{packages[0]}_*.deb")
        (root / "version").write_text(run(["dpkg-deb", "--field", str(first), "Version"]).strip())
    return root, (root / "version").read_text()


def unpacked_environment(root: Path) -> dict[str, str]:
    """The environment in which programs that `by_apt` unpacked find each other and their libraries."""
    return {
        "PATH": f"{root}/usr/bin:{root}/usr/sbin:" + os.environ.get("PATH", os.defpath),
        "LD_LIBRARY_PATH": f"{root}/usr/lib/{_TRIPLET}",
    }


def by_npm(cache: Path, package: str) -> tuple[Path, str]:
    """``package`` below a directory of its own. Returns that directory and the version."""
    root = cache / package
    manifest = root / "node_modules" / package / "package.json"
    if not manifest.exists():
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise Unavailable("no npm and node")
        root.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(root), package])
    return root, str(json.loads(manifest.read_text())["version"])
