"""Every line that a process says is in its log files: once, in order and whole, whatever happens to the supervisor."""

from __future__ import annotations

import gzip
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.live.driver import Colony, stays

# Any is a process file's ``log``.

pytestmark = pytest.mark.live

LINE = 100
"""Bytes of each line of a flood."""

FLOOD = f"""
import os, sys, time
count = int(sys.argv[1])
for first in range(0, count, 1000):
    data = b"".join(b"%0{LINE - 1}d\\n" % n for n in range(first, min(first + 1000, count)))
    while data:
        data = data[os.write(1, data):]
open(sys.argv[2], "w").close()
time.sleep(1000)
"""

STEADY = f"""
import os, sys, time
count, written, outputs = int(sys.argv[1]), 0, [1, 2] if sys.argv[3:] else [1]
began = time.monotonic()
while written < count:
    while written < min(count, (time.monotonic() - began) * 1000):
        for output in outputs:
            os.write(output, b"%0{LINE - 1}d\\n" % written)
        written += 1
    time.sleep(0.01)
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


def run(colony: Colony, name: str, script: str, count: int, **log: Any) -> Callable[[], bool]:
    """Have that many lines said; returns what tells whether they have been."""
    done = colony.folder / f"{name}.done"
    keys = {"log": log} if log else {}
    both = ["both"] if log.get("split") else []
    colony.write(name, sys.executable, "-ISc", script, str(count), str(done), *both, **keys)
    return done.exists


def files(colony: Colony, name: str, ending: str = ".log") -> list[Path]:
    """Its log files, the oldest first."""
    numbers = {}
    for path in (colony.state / "logs").glob(f"{name}{ending}*"):
        if found := re.fullmatch(r"(?:\.([0-9]+)(?:\.gz)?)?", path.name.removeprefix(f"{name}{ending}")):
            numbers[path] = int(found[1] or 0)
    return sorted(numbers, key=lambda path: -numbers[path])


def kept(colony: Colony, name: str, ending: str = ".log") -> bytes:
    """All that is in them."""
    return b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files(colony, name, ending)
    )


def flooded(count: int) -> bytes:
    return b"".join(b"%0*d\n" % (LINE - 1, number) for number in range(count))


# -- nothing is lost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relay", [False, True])
@pytest.mark.parametrize(
    "count", [150_000, pytest.param(2_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_a_flood_that_is_rotated_and_killed_under_is_kept_line_by_line(place: Colony, count: int, relay: bool) -> None:
    place.start()
    done = run(place, "flood", FLOOD, count, max_bytes=199_999, backups=1000, relay=relay)
    flood = place.runs("flood")
    for part in (1, 2, 3):
        enough = part * count * LINE / 200_000 / 5
        place.wait_for(partial(lambda enough: done() or len(files(place, "flood")) > enough, enough), 60)
        place.stop(signal.SIGKILL)
        place.start()

    place.wait_for(done, 200)
    assert place.running("flood") == [flood]
    place.stop()

    found = [path.read_bytes() for path in files(place, "flood")]
    assert b"".join(found) == flooded(count)
    assert max(map(len, found)) < 199_999 + LINE  # a line that has begun in a file ends in it
    assert all(data.endswith(b"\n") for data in found)


@pytest.mark.parametrize(
    ("count", "seconds"), [(8, 4), pytest.param(100, 20, marks=[pytest.mark.slow, pytest.mark.timeout(150)])]
)
def test_many_that_say_a_thousand_lines_a_second_are_kept_while_supervisors_come_and_go(
    place: Colony, count: int, seconds: int
) -> None:
    ways: list[dict[str, Any]] = [{"relay": True}, {"compress": True}, {"split": True}, {}]
    logs = {f"p{number}": {"relay": False, **ways[number % len(ways)]} for number in range(count)}
    lines = 1000 * seconds
    size = min(200_000, lines * LINE // 6)
    place.start()
    done = [run(place, name, STEADY, lines, max_bytes=size, backups=100, **log) for name, log in logs.items()]

    def killed() -> None:
        place.stop(signal.SIGKILL)
        place.start()

    def asked() -> None:
        assert place.supervisor is not None
        place.supervisor.send_signal(signal.SIGUSR1)
        place.done("rotate")

    acts: list[Callable[[], object]] = [killed, partial(place.done, "upgrade"), asked, killed, asked]
    for part, act in enumerate(acts, 1):
        enough = part * lines * LINE // size // (len(acts) + 1)
        place.wait_for(partial(lambda enough: len(files(place, "p0")) > enough, enough), 60)
        act()
    for each in done:
        place.wait_for(each, 60)
    place.stop()

    said = flooded(lines)
    for name, log in logs.items():
        assert kept(place, name) == said, name
        assert kept(place, name, ".log.err") == (said if log.get("split") else b"")
        assert max(path.stat().st_size for path in files(place, name)) <= size
        plain = [path.read_bytes() for path in files(place, name) if path.suffix != ".gz"]
        assert all(data.endswith(b"\n") for data in plain if data), name


def test_a_relayed_line_is_whole_though_a_supervisor_was_killed_in_its_midst(place: Colony) -> None:
    place.start()
    place.write("web", "sh", "-c", "printf 'first '; while [ ! -e go ]; do sleep 0.01; done; echo second; sleep 1000",
                cwd=str(place.folder))  # fmt: skip
    place.wait_for(lambda: kept(place, "web") == b"first ")
    place.stop(signal.SIGKILL)
    place.start()
    (place.folder / "go").touch()
    assert place.says("[web] ")[0].endswith("[web] first second")
    assert kept(place, "web") == b"first second\n"


def test_last_words_are_in_the_file_when_the_supervisor_has_ended(colony: Colony) -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(chr(10).join(map(str, range(20_000)))))\n"
        "print('here', flush=True)\n"
        "time.sleep(1000)\n"
    )
    colony.write("web", sys.executable, "-c", script, log={"relay": False, "max_bytes": 0})
    colony.wait_for(lambda: kept(colony, "web") == b"here\n")
    colony.stop()
    assert kept(colony, "web") == b"here\n" + b"".join(b"%d\n" % number for number in range(20_000))


# -- the files --------------------------------------------------------------------------------------------------


def test_they_are_for_the_supervisor_alone(place: Colony) -> None:
    before = os.umask(0)
    try:
        place.start()
    finally:
        os.umask(before)
    place.write("web", "sh", "-c", "echo one; echo two; sleep 1000")
    place.wait_for(lambda: kept(place, "web") == b"one\ntwo\n")
    assert stat.S_IMODE((place.state / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((place.state / "logs" / "web.log").stat().st_mode) == 0o600
    assert len(place.says("[web] one")) == 1


def test_errors_have_a_file_of_their_own_if_asked_for_also_in_the_next_supervisor(place: Colony) -> None:
    place.start()
    script = "echo out; echo err >&2; while [ ! -e go ]; do sleep 0.01; done; echo out2; echo err2 >&2; sleep 1000"
    place.write("web", "sh", "-c", script, cwd=str(place.folder), log={"split": True})
    logs = place.state / "logs"
    place.wait_for(lambda: (logs / "web.log.err").exists() and (logs / "web.log.err").read_bytes() == b"err\n")
    place.stop(signal.SIGKILL)
    place.start()
    (place.folder / "go").touch()
    place.wait_for(lambda: (logs / "web.log.err").read_bytes() == b"err\nerr2\n")
    place.wait_for(lambda: (logs / "web.log").read_bytes() == b"out\nout2\n")
    assert place.stop() == -signal.SIGTERM
    assert list((place.state / "pipes").iterdir()) == []


def test_nothing_is_lost_of_one_that_nobody_knows_how_to_keep_any_more(place: Colony) -> None:
    """Its file had changed, and the supervisor was killed while it was being stopped."""
    place.start("--killtime", "60")
    logs = place.state / "logs"
    for number in range(1, 5):
        (logs / f"web.log.{number}").write_text(f"{number}\n")
    script = "trap '' TERM; echo err >&2; while [ ! -e go ]; do sleep 0.01; done; echo out; echo err2 >&2"
    script += "; while [ ! -e end ]; do sleep 0.01; done"
    web = ["sh", "-c", script]
    keys = {"cwd": str(place.folder), "stop": [["TERM", 1000]], "log": {"split": True, "backups": 5}}
    place.write("web", *web, **keys)
    place.wait_for(lambda: kept(place, "web", ".log.err") == b"err\n")
    place.write("web", *web, **keys, env={"ANOTHER": "1"})
    place.wait_for(lambda: b"ANOTHER" in (place.state / "specs" / "web").read_bytes())
    place.stop(signal.SIGKILL)
    place.start("--killtime", "60")
    (place.folder / "go").touch()
    place.wait_for(lambda: kept(place, "web").endswith(b"out\n"))
    place.wait_for(lambda: kept(place, "web", ".log.err") == b"err\nerr2\n")
    place.done("rotate")
    place.wait_for((logs / "web.log.err.1").exists)
    assert kept(place, "web") == b"4\n3\n2\n1\nout\n"
    (place.folder / "end").touch()


def test_there_is_none_where_none_is_wanted(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "echo hello; sleep 1000", log=False)
    colony.says("[web] hello")
    assert list((colony.state / "logs").iterdir()) == []


def test_without_relay_only_the_file_has_it_and_a_line_is_waited_for_all_the_same(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "sleep 0.2; echo it is up; sleep 1000", log={"relay": False}, ready={"log": "up$"})
    colony.wait_for(lambda: colony.status("web").get("ready"))
    assert kept(colony, "web") == b"it is up\n"
    assert not colony.said("[web]")


def test_old_ones_are_compressed_if_asked_for(colony: Colony) -> None:
    done = run(colony, "web", FLOOD, 20_000, max_bytes=500_000, backups=10, relay=False, compress=True)
    colony.wait_for(done)
    colony.wait_for(lambda: [path.name for path in files(colony, "web")] == [
        "web.log.3.gz", "web.log.2.gz", "web.log.1.gz", "web.log"])  # fmt: skip
    colony.wait_for(lambda: kept(colony, "web") == flooded(20_000))  # the last of it may be still on its way


@pytest.mark.parametrize("how", ["message", "USR1"])
def test_they_are_begun_anew_when_asked(colony: Colony, how: str) -> None:
    colony.write("web", "sh", "-c", "echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; sleep 1000",
                 cwd=str(colony.folder))  # fmt: skip
    colony.wait_for(lambda: kept(colony, "web") == b"one\n")
    if how == "message":
        assert colony.done("rotate") == ""
    else:
        assert colony.supervisor is not None
        colony.supervisor.send_signal(signal.SIGUSR1)
    old = colony.state / "logs" / "web.log.1"
    colony.wait_for(old.exists)
    (colony.folder / "go").touch()
    colony.wait_for(lambda: kept(colony, "web") == b"one\ntwo\n")
    assert old.read_bytes() == b"one\n"


def test_without_state_there_are_none_and_all_is_relayed(place: Colony) -> None:
    place.state.touch()
    place.start()
    place.write("web", "sh", "-c", "echo hello; sleep 1000")
    place.says("[web] hello")
    assert place.state.is_file()


# -- the disk ---------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_lines_that_are_counted_and_said_and_nothing_else(place: Colony) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    place.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place.state)], check=True)
    try:
        place.start()
        script = f"import time\n{FLOOD.replace('time.sleep(1000)', 'time.sleep(0.2)')}\nopen(sys.argv[2], 'w')\n"
        script += "while True:\n    os.write(1, b'still here\\n')\n    time.sleep(0.05)\n"
        done = run(place, "flood", script, 40_000, max_bytes=0, relay=False)
        place.wait_for(done)
        place.says("what it says is dropped until that is over: No space left on device")
        place.write("other", "sleep", "1000")
        place.runs("other")
        for path in files(place, "flood"):
            os.truncate(path, 0)
        [over] = place.says("the log of flood is written again")
        dropped = int(over.partition("again; ")[2].partition(" ")[0])
        assert 1_500_000 < dropped < 4_010_000
        place.wait_for(lambda: place.told().get("log_dropped") == dropped)
        place.wait_for(lambda: kept(place, "flood").startswith(b"still here\n"))
        assert len(place.said("is dropped until")) == 1
        assert place.stop() == -signal.SIGTERM
    finally:
        subprocess.run(["umount", "--lazy", str(place.state)], check=True)


def test_files_that_vanish_with_their_directory_come_back(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "while :; do echo tick; sleep 0.02; done", log={"relay": False})
    colony.wait_for(lambda: kept(colony, "web"))
    away = colony.folder / "away"
    (colony.state / "logs").rename(away)
    colony.says("had vanished: it is made anew")
    colony.wait_for(lambda: kept(colony, "web"))
    assert stays(lambda: len(colony.running("web")) == 1, 0.1)
