"""The real command, as a process: its exit codes, its streams, its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.standin import StandIn

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **more}


def ctl(*argv: str | bytes, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "colony", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**more), timeout=30)


def test_the_quickstart_as_it_is_written(dead: StandIn) -> None:
    directories = ["--messages", str(dead.messages), "--config", str(dead.config)]
    web = ["--name=web", "--cmd=python", "--arg=-m", "--arg=twisted", "--arg=web"]
    echo = ["--name=echo", "--cmd=python", "--arg=-m", "--arg=twisted", "--arg=colony-scheduler", "--arg=--arg=echo"]
    echo += ["--arg=--arg=hello", "--arg=--frequency=10", "--arg=--timeout=5", "--arg=--grace=10"]

    for definition in (web, echo):
        done = ctl("ctl", *directories, "add", *definition)
        assert (done.returncode, done.stdout.split()[0]) == (0, "added")

    assert json.loads((dead.config / "web").read_bytes()) == {"args": ["python", "-m", "twisted", "web"]}
    assert json.loads((dead.config / "echo").read_bytes())["args"][3:] == [
        "colony-scheduler",
        "--arg=echo",
        "--arg=hello",
        "--frequency=10",
        "--timeout=5",
        "--grace=10",
    ]
    assert ctl("ctl", *directories, "restart", "--name=echo").returncode == 0
    assert ctl("ctl", *directories, "restart-all").returncode == 0
    assert dead.asked() == [{"type": "RESTART", "name": "echo"}, {"type": "RESTART-ALL"}]


def test_values_that_argparse_would_lose_arrive(dead: StandIn) -> None:
    argv = ["--arg=--", "--arg=", "--arg", "-x", "--arg", "--", "--arg", "--wait"]
    assert ctl("ctl", "add", "web", "--cmd=x", *argv, "--config", str(dead.config)).returncode == 0
    assert json.loads((dead.config / "web").read_bytes())["args"] == ["x", "--", "", "-x", "--", "--wait"]


def test_bytes_that_are_no_text_are_refused_in_one_line(dead: StandIn) -> None:
    done = ctl("ctl", "add", "web", "--cmd=x", b"--arg=\xff", "--config", str(dead.config))
    assert done.returncode == 2
    assert done.stderr == "colony: cannot add web: has text that is not UTF-8\n"
    assert not list(dead.config.iterdir())


def test_an_interrupt_is_130_in_one_line(dead: StandIn) -> None:
    dead.live()
    dead.tell("web", "starting")
    ready, told = os.pipe()
    # It tells when it has begun to wait: an interrupt before that would be Python's own affair.
    code = (
        "import os, sys; from colony import ctllib; from colony.cli import main\n"
        "sleep = ctllib.time.sleep\n"
        f"ctllib.time.sleep = lambda seconds: (os.write({told}, b'.'), sleep(seconds))\n"
        "sys.exit(main())"
    )
    argv = ["wait", "web", "--messages", str(dead.messages), "--config", str(dead.config)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stderr=subprocess.PIPE, text=True, env=environment(), pass_fds=[told]
    ) as process:
        os.close(told)
        assert os.read(ready, 1) == b"."
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == "colony: interrupted\n"
        assert process.wait(10) == 130
    os.close(ready)
    dead.die()


@pytest.mark.parametrize("lines", [3, 3000])
def test_a_reader_who_goes_away_is_no_error(dead: StandIn, lines: int) -> None:
    dead.live()
    for number in range(lines // 10):
        dead.tell(f"web{number}", why="x" * 50)
    command = [sys.executable, "-m", "colony", "status", "--config", str(dead.config), "--messages", str(dead.messages)]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, env=environment())
    os.close(writer)
    dead.die()
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_stdout_is_one_line(dead: StandIn) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "colony", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment())
    assert (done.returncode, done.stderr) == (1, "colony: cannot write to stdout: no space left on device\n")


def test_closed_streams_are_no_error(dead: StandIn) -> None:
    command = f'exec "{sys.executable}" -m colony add web --cmd=x --config "{dead.config}" <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", command], check=False, env=environment())
    assert done.returncode == 0
    assert (dead.config / "web").exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_name_that_the_terminal_has_no_letters_for_is_escaped(dead: StandIn, encoding: str) -> None:
    dead.live()
    dead.tell("web", why="größe \U0001f600")
    where = {"COLONY_CONFIG": str(dead.config), "COLONY_MESSAGES": str(dead.messages)}
    done = ctl("status", PYTHONIOENCODING=encoding, PYTHONUTF8="0", **where)
    dead.die()
    assert done.returncode == 0
    assert ("gr\\xf6\\xdfe \\U0001f600" if encoding == "ascii" else "größe \U0001f600") in done.stdout


def test_a_fault_of_ours_is_one_line_and_the_whole_story_in_dev_mode(dead: StandIn) -> None:
    code = "import sys; from colony import cli, ctllib; ctllib.put = None; sys.exit(cli.main())"
    argv = ["add", "web", "--cmd=x", "--config", str(dead.config)]
    for flags, whole in ([], False), (["-X", "dev"], True):
        command = [sys.executable, *flags, "-c", code, *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 1
        assert "TypeError" in done.stderr
        assert (done.stderr.count("\n") > 1) == whole


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_alone(dead: StandIn, more: dict[str, str], coloured: bool) -> None:
    dead.live()
    dead.tell("web")
    command = [sys.executable, "-m", "colony", "status", "--config", str(dead.config), "--messages", str(dead.messages)]
    ours, theirs = os.openpty()
    done = subprocess.run(command, stdout=theirs, check=False, env=environment(**more), timeout=30)
    os.close(theirs)
    out = os.read(ours, 4096)
    os.close(ours)
    dead.die()
    assert done.returncode == 0
    assert (b"\x1b[32mrunning" in out) == coloured
    assert (b"\x1b" in out) == coloured


def test_add_loads_nothing_that_costs(dead: StandIn) -> None:
    """What importing these would cost is more than all the rest of ctl."""
    code = "import sys; from colony.cli import main; main(); print(*sys.modules)"
    argv = ["add", "web", "--cmd=x", "--config", str(dead.config)]
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    loaded = set(done.stdout.split())
    assert "colony.ctllib" in loaded
    dear = (
        "typing dataclasses inspect difflib hashlib subprocess signal datetime shutil tempfile pathlib socket selectors"
    )
    assert not loaded & set(f"{dear} attr attrs pyrsistent twisted zope threading asyncio logging".split())
