"""The command line and the supervisor, end to end: what a verb returns is so."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.live.driver import AT_ONCE, SLEEP, Colony, alive

pytestmark = pytest.mark.live

DEAF = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done")


def end(colony: Colony, name: str) -> None:
    """End what hears nothing of TERM, by hand, so that nobody has to wait for the end of a long ladder."""
    for one in colony.family(name):
        with suppress(ProcessLookupError):  # with its main its family is ended
            os.kill(one.pid, signal.SIGKILL)
    colony.is_gone(name)


def code(colony: Colony, *words: str) -> int:
    """The exit code of a verb that has one line to say about it."""
    result = colony.ctl(*words)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.returncode


@pytest.mark.slow
def test_with_wait_a_verb_returns_when_it_is_so(colony: Colony) -> None:
    colony.done("add", "web", "--wait", "--", *SLEEP)
    [first] = colony.running("web")

    colony.done("restart", "web", "--wait")
    [second] = colony.running("web")
    assert second != first
    assert not alive(first)

    colony.done("stop", "web", "--wait")
    assert colony.family("web") == []
    colony.done("start", "web", "--wait")
    [third] = colony.running("web")

    colony.done("remove", "web", "--wait")
    assert not alive(third)
    assert colony.status("web") == {}


def test_reload_reaches_the_main_process_alone_by_the_signal_of_its_file(colony: Colony) -> None:
    worker = "trap 'echo worker was told' USR1; echo working; while :; do sleep 0.05; done"
    main = f"trap 'echo read again' USR1; (trap - USR1; {worker}) & while :; do wait; done"
    colony.done("add", "web", "--wait", "--reload", "sigusr1", "--", "sh", "-c", main)
    colony.done("add", "plain", "--wait", "--", *SLEEP)
    colony.says("[web] working")
    [pid] = colony.running("web")

    colony.done("reload", "web")

    colony.says("[web] read again")
    assert colony.running("web") == [pid]
    assert not colony.said("worker was told")
    assert code(colony, "reload", "plain") == 1
    assert code(colony, "reload", "typo") == 4
    colony.done("stop", "web", "--wait")
    assert code(colony, "reload", "web") == 1


def test_add_and_restart_in_one_breath_are_both_done(colony: Colony) -> None:
    for number in range(5):
        name = f"web{number}"
        colony.done("add", name, "--", *SLEEP)
        colony.done("restart", name)
        colony.runs(name, seconds=AT_ONCE)
    assert not colony.said("no such process")


def test_an_edit_and_a_restart_in_one_breath_run_the_edit(colony: Colony) -> None:
    colony.done("add", "web", "--wait", "--", *SLEEP)
    for edition in "123":
        colony.write("web", *SLEEP, env={"EDITION": edition})
        colony.done("restart", "web", "--wait")
        [main] = colony.family("web")
        assert main.environ["EDITION"] == edition


def test_a_wait_that_takes_too_long_is_124_and_the_request_stands(place: Colony) -> None:
    place.start("-k", "30")
    place.write("deaf", *DEAF)
    place.says("[deaf] deaf")
    assert code(place, "stop", "deaf", "--wait", "--wait-timeout=0.3") == 124
    assert code(place, "wait", "deaf", "--for=stopped", "--timeout=0.1") == 124
    assert place.running("deaf")
    end(place, "deaf")
    place.done("wait", "deaf", "--for=stopped")


POLITE = ("sh", "-c", "trap 'exit 0' TERM; echo polite; while :; do sleep 0.05; done")


def test_stop_and_wait_tells_how_each_ended_those_last_that_others_need(place: Colony) -> None:
    place.start("-k", "0.5")
    place.write("queue", *POLITE, group=["g"])
    place.write("worker", *DEAF, group=["g"], after=["queue"])
    place.says("[queue] polite")
    place.says("[worker] deaf")
    told = place.done("stop", "--group", "g", "--wait").splitlines()
    assert [re.sub(r" after [\d.]+ s", "", line) for line in told] == [
        "worker killed: sent KILL",
        "queue stopped: sent TERM, exited with code 0",
    ]
    assert place.family() == []
    assert place.done("stop", "queue", "--wait") == "queue stopped: it did not run"

    place.done("start", "--group", "g", "--wait")
    place.says_often("[queue] polite", 2)
    place.says_often("[worker] deaf", 2)
    [worker, queue] = json.loads(place.done("stop", "worker", "queue", "--wait", "--json"))["stopped"]
    assert [worker["name"], worker["signal"], worker["killed"]] == ["worker", "KILL", True]
    assert [queue["name"], queue["code"], queue["killed"]] == ["queue", 0, False]
    assert queue["seconds"] >= worker["seconds"] >= 0.5


def test_a_stop_that_takes_too_long_says_who_waits_for_whom(place: Colony) -> None:
    place.start("-k", "30")
    place.write("queue", *SLEEP, group=["g"])
    place.write("worker", *DEAF, group=["g"], after=["queue"])
    place.says("[worker] deaf")
    result = place.ctl("stop", "--group=g", "--wait", "--wait-timeout=0.5")
    assert result.returncode == 124
    assert "worker is stopping: a STOP is in force; sent TERM" in result.stderr
    assert "queue is stopping: a STOP is in force; waits until worker has gone" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    end(place, "worker")
    place.is_gone("queue")


def test_a_rolling_restart_has_one_away_at_a_time_and_ends_at_the_first_that_fails(colony: Colony) -> None:
    """Each says that it runs, and looks whether the others do, before it becomes ready."""
    folder = colony.folder / "there"
    folder.mkdir()
    serve = (
        'rm -f $COLONY_NAME.ready; trap "rm -f $COLONY_NAME.ready; exit 0" TERM; sleep 0.2;'
        " echo beside $(ls *.ready | wc -l); test ! -e $COLONY_NAME.bad || exit 1; touch $COLONY_NAME.ready;"
        " while :; do sleep 0.05; done"
    )
    for name, after in (("clock", ["queue"]), ("other", []), ("queue", []), ("web", ["clock"])):
        ready = {"exec": ["sh", "-c", "test -e $COLONY_NAME.ready"]}
        colony.write(name, "sh", "-c", serve, cwd=str(folder), group=["g"], after=after, ready=ready)
    colony.wait_for(lambda: colony.status("web"))
    colony.done("wait", "clock", "other", "queue", "web")
    first = {name: colony.running(name) for name in ("clock", "other", "queue", "web")}

    assert colony.done("restart-group", "g", "--rolling").splitlines() == [
        f"{name} restarted" for name in ("queue", "clock", "other", "web")
    ]
    assert [line[-8:] for line in colony.said("] beside")[4:]] == ["beside 3"] * 4
    second = {name: colony.running(name) for name in first}
    assert all(len(second[name]) == 1 and second[name] != first[name] for name in first)

    (folder / "clock.bad").touch()
    result = colony.ctl("restart-group", "g", "--rolling")
    assert (result.returncode, result.stdout) == (1, "queue restarted\n")
    assert "clock failed: exited with code 1" in result.stderr
    assert "restarted: queue; not touched: other, web" in result.stderr
    assert [colony.running(name) for name in ("other", "web")] == [second["other"], second["web"]]

    (folder / "clock.bad").unlink()
    colony.done("restart", "clock", "--wait")
    third = colony.running("clock")
    colony.done("stop", "queue", "--wait")
    result = colony.ctl("restart-group", "g", "--rolling")
    assert (result.returncode, result.stdout) == (1, "queue skipped: it is stopped\n")
    assert "clock needs queue, which is not ready; restarted: none; not touched: clock, other, web" in result.stderr
    assert colony.running("clock") == third


def test_health_follows_what_becomes_of_the_processes(colony: Colony) -> None:
    assert colony.done("health") == "all is well"
    colony.done("add", "web", "--ready", json.dumps({"exec": ["test", "-e", str(colony.folder / "up")]}), "--", *SLEEP)
    colony.wait_for(lambda: colony.status("web").get("state") == "starting")
    colony.done("wait", "web", "--for=running")
    assert code(colony, "health") == 1
    assert code(colony, "health", "web") == 1
    (colony.folder / "up").touch()
    colony.done("wait", "web")
    colony.done("health")

    colony.done("add", "once", "--restart", '{"when": "never"}', "--", "true")
    colony.done("wait", "once", "--for=done")
    colony.done("health")
    colony.done("add", "crash", "--restart", '{"when": "never"}', "--", "false")
    colony.done("wait", "crash", "--for=done")
    assert colony.ctl("health").stderr.startswith("colony: crash is stopped: exited with code 1")
    colony.done("health", "web", "once")
    colony.done("remove", "crash", "--wait")
    colony.done("stop", "web", "--wait")
    assert colony.done("health", "web") == "all is well"
    assert code(colony, "health", "typo") == 1
    colony.stop()
    assert code(colony, "health") == 1


def test_status_says_by_its_exit_code_whether_all_is_well(colony: Colony) -> None:
    colony.done("status")
    colony.done("add", "web", "--wait", "--", *SLEEP)
    colony.done("status")
    colony.done("add", "crash", "--", "false")
    colony.wait_for(lambda: colony.status("crash").get("state") == "backoff")
    assert colony.ctl("status").returncode == 3
    assert colony.ctl("status", "web").returncode == 0
    assert code(colony, "status", "typo") == 4
    colony.done("stop", "crash", "--wait")
    colony.done("status")


def test_wait_ends_when_what_is_waited_for_comes_about(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    colony.done("wait", "web", "--for=running", "--timeout=10")
    colony.write("job", "sh", "-c", "exit 0", restart={"when": "never"})
    colony.wait_for(lambda: colony.status("job"))
    colony.done("wait", "job", "--for=done", "--timeout=10")
    colony.write("crash", "false", restart={"initial": 0.01, "attempts": 2})
    colony.wait_for(lambda: colony.status("crash").get("state") == "failed")
    assert code(colony, "wait", "crash", "--timeout=10") == 1


def test_diff_shows_what_differs_from_what_runs(colony: Colony) -> None:
    colony.done("add", "same", "--wait", "--", *SLEEP)
    colony.done("add", "other", "--wait", "--", *SLEEP)
    assert colony.done("diff") == ""
    assert colony.supervisor is not None
    colony.supervisor.send_signal(signal.SIGSTOP)
    try:
        colony.done("add", "other", "--env=A=B", "--", *SLEEP)
        colony.write("new", *SLEEP)
        colony.remove("same")
        result = colony.ctl("diff")
    finally:
        colony.supervisor.send_signal(signal.SIGCONT)
    assert result.returncode == 1
    assert sorted(result.stdout.splitlines()) == ["added new", "changed other", "removed same"]
    colony.runs("new", seconds=AT_ONCE)
    colony.is_gone("same")
    colony.wait_for(lambda: colony.ctl("diff").returncode == 0)


def test_without_a_supervisor_files_and_messages_wait_for_the_next(place: Colony) -> None:
    place.done("add", "web", "--", *SLEEP)
    place.done("add", "idle", "--", *SLEEP)
    result = place.ctl("stop", "idle")
    assert result.returncode == 0
    assert "no supervisor is alive" in result.stderr
    for words in (["status"], ["wait", "web"], ["restart", "web", "--wait"], ["add", "web", "--wait", "--", *SLEEP]):
        assert code(place, *words) == 5, words

    place.start()
    place.runs("web")
    place.wait_for(lambda: place.status("idle").get("state") == "stopped")
    assert place.running("idle") == []


@pytest.mark.slow
def test_after_kill_9_of_the_supervisor_ctl_knows_that_nobody_is_there(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    colony.runs("web")
    colony.stop(signal.SIGKILL)
    assert code(colony, "status") == 5
    assert code(colony, "restart", "web", "--wait") == 5


@pytest.mark.slow
def test_state_is_found_wherever_the_supervisor_has_it(place: Colony) -> None:
    place.state = place.folder / "elsewhere"
    place.start("--state", str(place.state))
    place.done("add", "web", "--wait", "--", *SLEEP)
    assert place.done("status", "-o", "name,state,pid") == f"web\trunning\t{place.running('web')[0]}"


@pytest.mark.slow
def test_in_json_everything_is_one_document_errors_too(colony: Colony) -> None:
    colony.done("add", "web", "--wait", "--", *SLEEP)
    told = json.loads(colony.done("status", "--json"))
    assert [one["state"] for one in told["processes"]] == ["running"]
    result = colony.ctl("--json", "restart", "typo")
    assert result.returncode == 4
    error = json.loads(result.stdout or result.stderr)
    assert error["code"] == 4
    assert "typo" in error["error"]


@pytest.mark.slow
def test_a_definition_that_would_not_run_is_refused_and_nothing_is_written(colony: Colony) -> None:
    for words in (
        ["add", "web", "--uid=minus", "--", "sleep"],
        ["add", "web", "--extras", '{"restart": {"initail": 1}}', "--", "sleep"],
        ["add", "web", "--extras", '{"schedule": {"every": 10}}', "--", "sleep"],
        ["add", "a/b", "--", "sleep"],
        ["add", "web.new", "--", "sleep"],
        ["add", "web"],
    ):
        assert colony.ctl(*words).returncode == 2, words
    assert list(colony.config.iterdir()) == []


@pytest.mark.slow
def test_arguments_arrive_unchanged(colony: Colony) -> None:
    words = ["", " ", "--", "-x", "--json", "a=b", "ü", "'\"\\$HOME ${X} $$", "*", "two\nlines"]
    script = "import sys, time; print(ascii(sys.argv[1:]), flush=True); time.sleep(1000)"
    colony.done("add", "web", "--", "python3", "-c", script, *words)
    colony.says(f"[web] {words!a}")
    colony.done("add", "other", "--cmd=python3", "--arg=-c", f"--arg={script}", *(f"--arg={word}" for word in words))
    colony.says(f"[other] {words!a}")


def test_ctrl_c_on_a_waiting_ctl_is_130(place: Colony) -> None:
    place.start("-k", "30")
    place.write("deaf", *DEAF)
    place.says("[deaf] deaf")
    command = ["python", "-m", "colony", "ctl", *place.places, "stop", "deaf", "--wait"]
    waiting = subprocess.Popen(command, env=place.environment, stderr=subprocess.PIPE)
    with waiting:
        place.says("stopping deaf")
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(10) == 130
        assert waiting.stderr is not None
        assert b"Traceback" not in waiting.stderr.read()
    end(place, "deaf")
