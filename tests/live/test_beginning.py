"""A beginning that fails in a way that nobody thought of is loud, and costs no process."""

from __future__ import annotations

import pytest

from tests.live.driver import SLEEP, Colony, alive

pytestmark = pytest.mark.live

SURPRISE = """
import colony.runtime.adopt
def surprise(*arguments):
    raise RuntimeError("a surprise")
colony.runtime.adopt.survivors = surprise
"""


def test_a_surprise_at_the_beginning_ends_it_at_once_and_what_runs_goes_on(place: Colony) -> None:
    place.start()
    place.write("web", *SLEEP)
    web = place.runs("web")
    assert place.supervisor is not None
    place.supervisor.kill()
    place.supervisor.wait()
    (place.folder / "sitecustomize.py").write_text(SURPRISE)

    begun = place.begin("python", "-m", "twisted", "colony", *place.places, env={"PYTHONPATH": str(place.folder)})

    assert begun.wait(15) == 1
    assert place.said("cannot begin")
    assert alive(web)
    place.log.write_bytes(b"")  # the traceback of a fault of ours is wanted here
    place.start()
    assert place.runs("web") == web
