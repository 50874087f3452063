"""An executable on a file system that never answers: nobody else waits for it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.driver import SLEEP, Colony

pytestmark = pytest.mark.live

MNT_DETACH = 2


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system that never answers; whoever waits for it is let go when its descriptor is closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    point = tmp_path / "deaf"
    point.mkdir()
    try:
        server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no FUSE: {error.strerror}")
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"deaf", os.fsencode(point), b"fuse", 0, options) != 0:
        why = os.strerror(ctypes.get_errno())
        os.close(server)
        pytest.skip(f"may not mount: {why}")
    try:
        yield point
    finally:
        os.close(server)  # ends every request with ENOTCONN
        libc.umount2(os.fsencode(point), MNT_DETACH)


@pytest.mark.parametrize("found", ["by its path", "through PATH", "in its cwd"])
def test_an_executable_that_hangs_hurts_nobody_else(deaf: Path, place: Colony, found: str) -> None:
    match found:
        case "by its path":
            place.write("hung", str(deaf / "program"))
        case "through PATH":
            place.write("hung", "program", env={"PATH": f"{deaf}:/usr/bin:/bin"})
        case _:
            place.write("hung", *SLEEP, cwd=str(deaf / "folder"))
    place.start("--killtime", "0.5")
    place.wait_for(lambda: place.said("started hung as"))

    place.obeys_at_once()

    assert place.status("hung")["state"] == "running"
    place.remove("hung")
    place.wait_for(lambda: not place.status("hung"))
