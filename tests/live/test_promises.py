"""Promises that nothing else here holds: what befalls a supervisor that its operator did not think of."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, alive, stays

pytestmark = pytest.mark.live

DEAF = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")


def test_a_folder_that_is_deleted_under_it_stops_no_start_and_no_upgrade(place: Colony) -> None:
    release = place.folder / "release"
    release.mkdir()
    place.start(cwd=release)
    place.write("web", *SLEEP, cwd="/")
    web = place.runs("web")
    shutil.rmtree(release)

    place.write("new", *SLEEP, cwd="/")
    place.runs("new")
    place.ask("RESTART", name="web")
    web = place.runs("web", instead_of=web)
    place.obeys_at_once()
    refused = place.ctl("upgrade")
    assert refused.returncode == 1
    assert str(release) in refused.stderr
    place.obeys_at_once()
    place.stop(signal.SIGKILL)
    place.start()
    assert place.runs("web") == web


def test_hup_before_the_first_look_starts_nothing_beside_what_is_left(place: Colony) -> None:
    place.state.touch()  # without STATE, what a killed one has left is stopped first, which takes the killtime
    place.start()
    place.write("web", *DEAF)
    web = place.runs("web")
    place.wait_for(lambda: place.said("[web] deaf"))
    place.stop(signal.SIGKILL)
    supervisor = place.begin("python", "-m", "twisted", "colony", *place.places, "-k", "1")
    place.wait_for(lambda: place.said("was left running"))

    supervisor.send_signal(signal.SIGHUP)

    assert stays(lambda: place.running("web") == [web], 0.6)
    place.runs("web", instead_of=web)
    place.remove("web")
    place.is_gone("web")


def test_a_disk_that_is_full_at_the_start_costs_no_process_and_no_stop(place: Colony) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    place.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(place.state)], check=True)
    try:
        place.start()
        place.write("web", *SLEEP)
        place.write("stopped", *SLEEP)
        web = place.runs("web")
        place.runs("stopped")
        assert place.answer(place.ask("STOP", name="stopped"))["ok"]
        place.is_gone("stopped")
        place.stop(signal.SIGKILL)
        filler = place.state / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

        place.start()
        assert stays(lambda: place.running() == [web])

        filler.unlink()
        place.wait_for(lambda: place.status("web").get("pid") == web)
        supervisor = place.supervisor
        assert supervisor is not None
        place.wait_for(lambda: f'"pid": {supervisor.pid}' in (place.state / "lock").read_text())
        assert place.stop() == -signal.SIGTERM
    finally:
        subprocess.run(["umount", "--lazy", str(place.state)], check=True)


def test_an_upgrade_that_would_cost_processes_is_refused(place: Colony) -> None:
    place.state.touch()
    place.start()
    place.write("web", *SLEEP)
    web = place.runs("web")
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGUSR2)
    place.says("no upgrade: without STATE")
    assert place.running("web") == [web]
    place.obeys_at_once()


def test_signals_during_an_upgrade_end_nobody(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    web = colony.runs("web")
    started = colony.told()["started"]
    supervisor = colony.supervisor
    assert supervisor is not None
    supervisor.send_signal(signal.SIGUSR2)
    bound = time.monotonic() + 15
    while colony.told()["started"] == started:
        assert time.monotonic() < bound, colony.said("")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGALRM, signal.SIGCHLD):
            supervisor.send_signal(number)
        time.sleep(0.001)
    assert colony.running("web") == [web]
    colony.obeys_at_once()


@pytest.mark.parametrize("moment", ["upgrade: trying the new code", "upgrade: becoming it"])
def test_term_during_an_upgrade_stops_everything(colony: Colony, moment: str) -> None:
    colony.write("web", *SLEEP)
    web = colony.runs("web")
    assert colony.supervisor is not None
    colony.supervisor.send_signal(signal.SIGUSR2)
    colony.says(moment)
    assert colony.stop() == -signal.SIGTERM
    assert not alive(web)


def test_a_log_that_nobody_reads_stops_no_supervision(place: Colony) -> None:
    reader, writer = os.pipe()
    try:
        place.begin("python", "-m", "twisted", "colony", *place.places, stdout=writer, stderr=writer)
        place.wait_for(lambda: place.told())
        flood = "import os\nwhile True: os.write(1, b'y' * 999 + b'\\n')"
        place.write("flood", sys.executable, "-c", flood)
        place.runs("flood")
        place.obeys_at_once()
        place.wait_for(lambda: place.told()["log_dropped"] > 0 or _moved(place))
        place.obeys_at_once()
        place.remove("flood")
        place.is_gone("flood")
        assert place.stop() == -signal.SIGTERM
    finally:
        os.close(reader)
        os.close(writer)


def _moved(place: Colony) -> bool:
    """Something is told again, and with it how much was dropped."""
    place.write("tick", *SLEEP, env={"N": str(time.monotonic_ns())})
    return False


def test_without_pidfds_exits_are_noticed_all_the_same_and_it_is_said(place: Colony) -> None:
    folder = place.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os\ndel os.pidfd_open\n")
    env = {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")}
    place.start(env=env)
    place.write("web", *SLEEP, restart={"threshold": 0})
    web = place.runs("web")
    os.kill(web, signal.SIGKILL)
    web = place.runs("web", instead_of=web, seconds=AT_ONCE)
    assert place.told()["capabilities"]["pidfd"] is False
    place.wait_for(lambda: len(place.said("by pidfd, looking instead")) == 1)
    place.stop(signal.SIGKILL)
    place.start(env=env)
    assert stays(lambda: place.running("web") == [web], 0.3)
    os.kill(web, signal.SIGKILL)
    place.runs("web", instead_of=web, seconds=AT_ONCE)


def test_usr1_is_twistds_who_rotates_its_log(place: Colony) -> None:
    place.begin("twistd", "-n", "--pidfile=", "--logfile", str(place.log), "colony", *place.places)
    place.wait_until_it_keeps()
    assert place.supervisor is not None
    place.supervisor.send_signal(signal.SIGUSR1)
    place.wait_for(lambda: Path(f"{place.log}.1").exists())
    place.obeys_at_once()
