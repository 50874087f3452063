"""Our own small programs: the child that is supervised, and the loops that are the limit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def source(name: str) -> Path:
    """The file ``name`` beside this one."""
    return Path(__file__).with_name(name)


def compiled(name: str, cache: Path) -> Path | None:
    """``NAME.c`` as a program below ``cache``, static where the system can; None without a C compiler."""
    text, program = source(name + ".c"), cache / name
    if program.exists() and program.stat().st_mtime >= text.stat().st_mtime:
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    # A static program starts in half the time of an ordinary one, and so shows more of the supervisor.
    for options in (["-O2", "-static"], ["-O2"]):
        command = [compiler, *options, "-o", str(program), str(text)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return program
    return None


def child(cache: Path) -> tuple[Path, str]:
    """The supervised child, as an executable, and what it is made of: C, or Python where no compiler is."""
    program = compiled("child", cache)
    if program is not None:
        return program, "child in C"
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / "child.py"
    program.write_text(f"#!{sys.executable} -IS\n" + source("child.py").read_text())
    program.chmod(0o755)
    return program, "child in PYTHON, for want of a C compiler: every start costs some 10 ms of its own"
