"""Loss of sight of a directory: nothing stops, and when it is back, it is obeyed again."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.live.driver import SLEEP, Colony, stays
from tests.live.faults.test_state import as_root, mounted

pytestmark = [pytest.mark.live, as_root]


@pytest.mark.parametrize("killed", [False, True])
def test_an_empty_file_system_mounted_over_config_stops_nobody(place: Colony, killed: bool) -> None:
    place.start("--frequency", "0.5")
    place.write("web", *SLEEP)
    web = place.runs("web")
    with mounted(place.config, "-o", "mode=0700"):
        place.wait_for(lambda: place.said("another directory than before, and empty"))
        if killed:
            place.stop(signal.SIGKILL)
            place.start("--frequency", "0.5")
            place.wait_for(lambda: place.said("another directory than before, and empty"))
        assert stays(lambda: place.running("web") == [web], 1)
    place.wait_for(lambda: place.said("config can be seen again"))
    place.obeys_at_once()
    assert place.running("web") == [web]


def test_a_volume_that_config_is_on_may_go_and_come_back(place: Colony) -> None:
    with mounted(place.config, "-o", "mode=0700"):
        place.start("--frequency", "0.5")
        place.write("web", *SLEEP)
        web = place.runs("web")
        data = (place.config / "web").read_bytes()
        subprocess.run(["umount", "--lazy", str(place.config)], check=True)
        place.wait_for(lambda: place.said("another directory than before, and empty"))
        assert stays(lambda: place.running("web") == [web], 1)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(place.config)], check=True)
        place.write_bytes("web", data)
        place.wait_for(lambda: place.said("config can be seen again"))
        assert stays(lambda: place.running("web") == [web], 0.5)
        place.obeys_at_once()
        assert place.stop() == -signal.SIGTERM


def test_a_file_system_mounted_over_messages_is_obeyed_like_any_directory(place: Colony) -> None:
    place.start("--frequency", "0.5")
    place.write("web", *SLEEP)
    web = place.runs("web")
    with mounted(place.messages, "-o", "mode=0700"):
        place.ask("RESTART", name="web")
        web = place.runs("web", instead_of=web)
    place.ask("RESTART", name="web")
    place.runs("web", instead_of=web)
