"""Where peers come from: pip, apt, npm, each unpacked below the harness's own cache and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import Unavailable


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
