"""What processes say while nobody reads, and too much of it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, alive, stays

pytestmark = pytest.mark.live

LINES = 4000
"""Of 50 bytes each: 200 kB, three times what a pipe holds."""

WRITER = f"""
import os, signal, time
while not os.path.exists("go"):
    time.sleep(0.01)
for number in range({LINES}):
    os.write(1, b"%08d" % number + b"." * 41 + b"\\n")
open("written", "w").close()
time.sleep(1000)
"""


def test_a_full_pipe_while_nobody_reads_keeps_its_writer_waiting_and_loses_nothing(place: Colony) -> None:
    place.start()
    place.write("web", sys.executable, "-c", WRITER, cwd=str(place.folder))
    web = place.runs("web")
    place.stop(signal.SIGKILL)
    (place.folder / "go").touch()
    assert stays(lambda: not (place.folder / "written").exists(), 0.5)
    assert alive(web)

    place.start()

    place.wait_for(lambda: (place.folder / "written").exists())
    place.wait_for(lambda: len(place.said("[web] ")) == LINES)
    lines = [line.partition("[web] ")[2] for line in place.said("[web] ")]
    assert lines == [f"{number:08}{'.' * 41}" for number in range(LINES)]
    assert place.running("web") == [web]


@pytest.mark.parametrize("closed", ["1>&-", "1>&- 2>&-", "0>&- 1>&- 2>&-"])
def test_who_closes_its_output_goes_on_is_adopted_and_is_stopped(place: Colony, closed: str) -> None:
    place.start()
    place.write("web", "sh", "-c", f"exec {closed}; exec sleep 1000")
    web = place.runs("web")
    place.wait_for(lambda: not (Path(f"/proc/{web}/fd/1")).exists())
    assert stays(lambda: place.running("web") == [web], 0.3)
    place.stop(signal.SIGKILL)
    place.start()
    assert stays(lambda: place.running("web") == [web], 0.3)
    place.remove("web")
    place.is_gone("web")


@pytest.mark.parametrize(
    "block", [pytest.param("b'y' * 65536", id="no newline"), pytest.param("bytes(65536)", id="NUL")]
)
@pytest.mark.slow
def test_fifty_megabytes_in_one_breath_hurt_nobody(colony: Colony, block: str) -> None:
    script = f"import os, time\nfor _ in range(800): os.write(1, {block})\nos.write(1, b'\\nend\\n')\ntime.sleep(1000)"
    colony.write("other", *SLEEP)
    other = colony.runs("other")
    colony.write("flood", sys.executable, "-c", script)
    flood = colony.runs("flood")
    colony.obeys_at_once()
    assert colony.supervisor is not None

    def ended() -> bool:
        with colony.log.open("rb") as file:
            file.seek(max(0, colony.log.stat().st_size - 100_000))
            return b"[flood] end\n" in file.read()

    colony.wait_for(ended, 60)
    peak = Path(f"/proc/{colony.supervisor.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) < 200_000, "KiB"
    assert colony.running("flood") == [flood]
    assert colony.running("other") == [other]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_messages_drain_coalesce_and_let_others_go_first(colony: Colony) -> None:
    colony.write("web", "sh", "-c", 'echo x >>"$LIST"; exec sleep 1000', env={"LIST": str(colony.folder / "starts")})
    colony.write("other", *SLEEP)
    web, other = colony.runs("web"), colony.runs("other")
    began = time.monotonic()
    for number in range(10_000):
        (colony.messages / f"m{number:06}").write_bytes(b'{"type": "RESTART", "name": "web"}')

    colony.write("new", *SLEEP)
    colony.runs("new", seconds=AT_ONCE)

    colony.wait_for(lambda: not any(not path.name.startswith(".") for path in colony.messages.iterdir()), 240)
    colony.runs("web", instead_of=web)
    assert colony.running("other") == [other]
    starts = len((colony.folder / "starts").read_text().splitlines())
    assert starts <= 2 + 8 + (time.monotonic() - began), "eight listings in the first three seconds, then one a second"
