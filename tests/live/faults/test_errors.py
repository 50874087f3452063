"""Two seconds in which the system refuses; then everything that was asked for meanwhile comes about."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, stays
from tests.live.faults.kit import Shim, needs_gcc

pytestmark = [pytest.mark.live, needs_gcc]

SOON = {"initial": 0.1, "limit": 0.5, "jitter": 0}
"""A restart policy whose backoff does not outlast the fault by much."""

OFTEN = ("open", errno.EMFILE), ("spawn fork", errno.EAGAIN)

SELDOM = (
    *(
        ("open", error)
        for error in (errno.EIO, errno.EACCES, errno.ENOMEM, errno.EAGAIN, errno.EROFS, errno.ENOSPC, errno.EPERM)
    ),
    *(("list", error) for error in (errno.EIO, errno.ENOMEM)),
    *(("stat", error) for error in (errno.EIO, errno.EACCES)),
    *(("mkfifo", error) for error in (errno.EACCES, errno.EROFS, errno.ENOSPC)),
    ("mkfifo pipe", errno.EMFILE),
    ("spawn fork", errno.ENOMEM),
    *(("rename unlink", error) for error in (errno.EROFS, errno.EIO)),
    ("open list stat mkfifo pipe spawn fork rename unlink fsync", errno.EIO),
)


@pytest.fixture
def shim(place: Colony) -> Iterator[Shim]:
    """Around a supervisor that keeps an empty colony, and heals at the end whatever becomes of the test."""
    shim = Shim(place.folder)
    place.start("--frequency", "1", env=shim.environment)
    try:
        yield shim
    finally:
        shim.heal()


def is_survived(place: Colony, shim: Shim, calls: str, error: int) -> None:
    """Does nobody suffer for it, and is done afterwards what was asked for meanwhile?"""
    place.write("still", *SLEEP)
    place.write("asked", *SLEEP, restart=SOON)
    place.write("dies", *SLEEP, restart=SOON)
    still, asked, dies = (place.runs(name) for name in ("still", "asked", "dies"))

    shim.fail(calls, error)
    place.ask("RESTART", name="asked")
    place.write("new", *SLEEP, restart=SOON)
    os.kill(dies, signal.SIGKILL)
    assert stays(lambda: place.running("still") == [still], 2.0)
    assert shim.failed(), "nothing was asked of the system"
    shim.heal()

    place.runs("asked", instead_of=asked)
    place.runs("dies", instead_of=dies)
    place.runs("new")
    place.obeys_at_once()
    assert place.running("still") == [still]
    place.wait_for(lambda: place.status("new").get("pid") == place.running("new")[0])
    place.remove("new")
    place.is_gone("new", AT_ONCE)
    place.wait_for(lambda: place.status("new") == {})


@pytest.mark.parametrize(("calls", "error"), OFTEN, ids=lambda value: errno.errorcode.get(value, value))
def test_two_seconds_of(place: Colony, shim: Shim, calls: str, error: int) -> None:
    is_survived(place, shim, calls, error)


@pytest.mark.slow
@pytest.mark.parametrize(("calls", "error"), SELDOM, ids=lambda value: errno.errorcode.get(value, value))
def test_two_rarer_seconds_of(place: Colony, shim: Shim, calls: str, error: int) -> None:
    is_survived(place, shim, calls, error)


def test_a_stop_that_cannot_be_made_lasting_is_refused_and_stops_nobody(place: Colony, shim: Shim) -> None:
    place.write("web", *SLEEP)
    web = place.runs("web")
    shim.fail("fsync", errno.EIO)

    answer = place.answer(place.ask("STOP", name="web"))

    assert (answer["ok"], answer["code"]) == (False, 1)
    assert "cannot remember that web is to stay stopped" in answer["error"]
    assert "fsync" in shim.failed()
    assert place.running("web") == [web]
    shim.heal()
    assert place.answer(place.ask("STOP", name="web"))["ok"]
    place.is_gone("web")


def test_refused_fifos_are_told_of_for_as_long_as_they_are(place: Colony, shim: Shim) -> None:
    assert place.told()["capabilities"]["fifo"] is True
    shim.fail("mkfifo", errno.EACCES)
    place.write("web", *SLEEP)
    web = place.runs("web")
    place.wait_for(lambda: place.told()["capabilities"]["fifo"] is False)
    assert place.said("web writes to a plain pipe, that ends with this supervisor: cannot make a FIFO")
    shim.heal()
    place.ask("RESTART", name="web")
    place.runs("web", instead_of=web)
    place.wait_for(lambda: place.told()["capabilities"]["fifo"] is True)


@pytest.mark.parametrize(
    "calls",
    [
        "open list stat mkfifo rename unlink fsync",
        pytest.param("open", marks=pytest.mark.slow),
        pytest.param("spawn fork mkfifo", marks=pytest.mark.slow),
    ],
)
def test_two_seconds_at_its_start(place: Colony, calls: str) -> None:
    """When it has something to adopt."""
    shim = Shim(place.folder)
    place.start("--frequency", "1")
    place.write("web", *SLEEP, restart=SOON)
    web = place.runs("web")
    place.stop(signal.SIGKILL)
    place.write("new", *SLEEP, restart=SOON)

    shim.fail(calls, errno.EMFILE)
    place.begin("python", "-m", "twisted", "colony", *place.places, "--frequency", "1", env=shim.environment)
    assert stays(lambda: len(place.running("web")) < 2, 2.0)
    assert shim.failed(), "nothing was asked of the system"
    shim.heal()

    place.runs("new")
    place.runs("web")
    place.obeys_at_once()
    assert len(place.running("web")) == 1
    if "open" not in calls:
        assert place.running("web") == [web]
