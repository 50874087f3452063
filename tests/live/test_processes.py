"""What a process gets from its supervisor, and what becomes of it when it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.live.driver import (
    AT_ONCE,
    NOBODY,
    SLEEP,
    Colony,
    alive,
    ignored_signals,
    process,
    python_for,
    signal_set,
)

pytestmark = pytest.mark.live

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes as somebody else")
LONG_LIVED = {"threshold": 0}
"""A restart policy under which no death is early."""


def uids(pid: int) -> list[int]:
    """Real, effective, saved and file system uid."""
    return _ids(pid, "Uid:")


def _ids(pid: int, which: str) -> list[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [found] = [line.split()[1:] for line in lines if line.startswith(which)]
    return [int(number) for number in found]


# -- how it starts


def test_it_has_its_own_session_clean_signals_and_only_standard_descriptors(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    main = process(pid)
    assert main is not None
    assert (main.group, main.session) == (pid, pid)
    assert colony.supervisor is not None
    assert main.parent == colony.supervisor.pid
    assert ignored_signals(pid) == set()
    assert signal_set(pid, "SigBlk") == set()
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_it_starts_clean_though_the_supervisor_did_not(place: Colony) -> None:
    """As under nohup, in a shell's background, with a descriptor left open, signals blocked and few descriptors."""
    block = "import os, signal, sys; signal.pthread_sigmask(0, [10, 15, 17]); os.execvp(sys.argv[1], sys.argv[1:])"
    command = ["python", "-m", "twisted", "colony", *place.places]
    shell = "trap '' HUP INT QUIT TERM PIPE USR1; ulimit -Sn 300; exec 9<>/dev/null; exec \"$@\""
    place.begin("sh", "-c", shell, "sh", "python", "-c", block, *command)
    place.wait_until_it_keeps()
    place.write("web", *SLEEP)
    pid = place.runs("web")
    assert ignored_signals(pid) == set()
    assert signal_set(pid, "SigBlk") == set()
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 300
    supervisor = place.supervisor
    assert supervisor is not None
    # Its own is back as soon as the start is over.
    place.wait_for(lambda: resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)[0] > 300)
    assert place.stop() == -signal.SIGTERM


def test_its_environment_is_only_what_is_given(place: Colony) -> None:
    place.start(env={"SECRET": "x", "APP_ONE": "1", "APP_TWO": "2", "LANG": "C.UTF-8"})
    place.write(
        "web",
        *SLEEP,
        env={"GREETING": "hello ${env:APP_ONE} $HOME ${X} $$", "LITERAL": "$${env:APP_ONE}"},
        env_inherit=["APP_*", "LANG", "NOT_THERE"],
    )
    place.runs("web")
    [main] = place.family("web")
    token = main.environ["COLONY_TOKEN"]
    spec = (place.config / "web").read_text()
    assert {key: value for key, value in main.environ.items() if key} == {
        "PATH": place.environment["PATH"],
        "APP_ONE": "1",
        "APP_TWO": "2",
        "LANG": "C.UTF-8",
        "GREETING": "hello 1 $HOME ${X} $$",
        "LITERAL": "${env:APP_ONE}",
        "NCOLONY_CONFIG": spec,
        "NCOLONY_NAME": "web",
        "COLONY_NAME": "web",
        "COLONY_TOKEN": token,
    }


def test_files_of_variables_are_read_at_each_start_and_expanded_wherever_that_is_done(colony: Colony) -> None:
    more, last = colony.folder / "more.env", colony.folder / "last.env"
    more.write_text("# of web\nexport PLACE='/usr'\nSECOND=2\nWORD=one\n")
    last.write_text('WORD="two \\"$WORD\\""\n')
    keys = {
        "env_file": [str(more), str(last)],
        "env": {"SECOND": "of ${env:WORD}", "KEPT": "$${env:WORD}"},
        "cwd": "${env:PLACE}/bin",
    }
    colony.write("web", "sh", "-c", "sleep 1000; exit", "${env:WORD}", "$${env:WORD}", **keys)
    colony.write("shell", shell="echo '${env:WORD}'; exec sleep 1000 # $${env:WORD}", **keys)
    pid = colony.runs("web")
    [main] = [process for process in colony.family("web") if process.pid == pid]
    assert main.environ["WORD"] == 'two "$WORD"'
    assert (main.environ["SECOND"], main.environ["KEPT"]) == ('of two "$WORD"', "${env:WORD}")
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[3:5] == [b'two "$WORD"', b"${env:WORD}"]
    assert os.readlink(f"/proc/{pid}/cwd") == os.path.realpath("/usr/bin")
    colony.says('[shell] two "$WORD"')

    last.write_text("WORD=three\n")
    colony.ask("RESTART", name="web")
    pid = colony.runs("web", instead_of=pid)
    [main] = [process for process in colony.family("web") if process.pid == pid]
    assert main.environ["SECOND"] == "of three"


def test_a_file_of_variables_that_is_bad_or_missing_is_a_failed_start_until_it_is_mended(colony: Colony) -> None:
    path = colony.folder / "web.env"
    colony.write("web", *SLEEP, env_file=str(path), restart={"initial": 0.1, "limit": 0.1})
    colony.says(f"cannot start web: env_file: {path}: No such file or directory (ENOENT)")
    path.write_text("A=1\ntop secret\n")
    colony.says(f"cannot start web: env_file: {path} line 2: is not KEY=VALUE")
    colony.wait_for(lambda: "line 2: is not KEY=VALUE" in colony.status("web").get("why", ""))
    assert colony.status("web")["problems"] == []
    assert not colony.said("top secret")
    path.write_text("A=1\n")
    colony.runs("web")
    assert colony.family("web")[0].environ["A"] == "1"


def test_it_starts_where_it_is_told_to(colony: Colony) -> None:
    folder = colony.folder / "a place"
    folder.mkdir()
    (folder / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
    (folder / "run").chmod(0o755)
    colony.write("web", "./run", cwd="${env:PLACE}", env={"PLACE": str(folder)})
    colony.write("shell", shell="cd / && exec sleep 1000")
    assert os.readlink(f"/proc/{colony.runs('web')}/cwd") == str(folder)
    shell = colony.runs("shell")
    colony.wait_for(lambda: os.readlink(f"/proc/{shell}/cwd") == "/")


@as_root
def test_a_uid_is_that_user_wholly(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "echo out > /dev/stdout; exec sleep 1000", uid=NOBODY)
    colony.write("other", *SLEEP, uid=12345, gid=23456)
    pid, other = colony.runs("web"), colony.runs("other")
    group = _ids(pid, "Gid:")[0]
    assert uids(pid) == [NOBODY] * 4
    assert _ids(pid, "Gid:") == [group] * 4
    assert set(_ids(pid, "Groups:")) == set(os.getgrouplist("nobody", group))
    assert uids(other) == [12345] * 4
    assert _ids(other, "Gid:") == [23456] * 4
    assert _ids(other, "Groups:") == [23456]
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert ignored_signals(pid) == signal_set(pid, "SigBlk") == set()
    colony.wait_for(lambda: colony.said("[web] out"))


@as_root
def test_a_uid_that_cannot_be_had_is_said_and_nothing_runs_as_root(colony: Colony) -> None:
    colony.write("web", *SLEEP, uid=54321)  # no passwd entry, and no gid given
    colony.wait_for(lambda: colony.said("cannot start web: user: uid 54321"))
    assert colony.running() == []
    assert colony.status("web").get("state") in (None, "backoff", "starting")


@as_root
def test_a_supervisor_that_is_not_root_refuses_any_other_uid() -> None:
    python, path = python_for(NOBODY)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        colony = Colony(Path(folder))
        try:
            for directory in (colony.folder, colony.config, colony.messages):
                os.chown(directory, NOBODY, NOBODY)
            identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            colony.begin(
                *python, "-m", "twisted", "colony", *colony.places, env={"PYTHONPATH": path}, cwd=folder, **identity
            )
            colony.wait_until_it_keeps()
            colony.write("root", *SLEEP, uid=0)
            colony.write("other", *SLEEP, uid=12345, gid=12345)
            colony.write("own", *SLEEP, uid=NOBODY, gid=NOBODY)
            assert uids(colony.runs("own")) == [NOBODY] * 4
            for name in ("root", "other"):
                colony.says(f"cannot start {name}: user: only root may")
                assert colony.running(name) == []
            assert colony.stop() == -signal.SIGTERM
        finally:
            colony.clean()


# -- how it ends


def test_what_is_killed_is_back_at_once(colony: Colony) -> None:
    colony.write("web", *SLEEP, restart=LONG_LIVED)
    pid = colony.runs("web")
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    colony.runs("web", instead_of=pid, seconds=AT_ONCE)
    assert time.monotonic() - began < 0.5
    colony.wait_for(lambda: colony.status("web").get("starts") == 2, AT_ONCE)
    assert colony.status("web")["last_exit"]["signal"] == "KILL"
    assert colony.status("web")["last_exit"]["code"] is None


def test_early_deaths_wait_longer_each_time_and_disturb_nobody(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    web = colony.runs("web")
    colony.write("crash", "sh", "-c", "exit 3", restart={"initial": 0.1, "factor": 2, "jitter": 0})
    colony.wait_for(lambda: colony.status("crash").get("streak", 0) >= 4)
    colony.obeys_at_once()

    text = "crash is started again in "
    delays = [float(line.partition(text)[2].split()[0]) for line in colony.said(text)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert colony.running("web") == [web]
    status = colony.status("crash")
    assert status["last_exit"]["code"] == 3
    assert status["state"] in ("backoff", "starting", "running", "stopping")
    assert status["next_start"] is None or datetime.fromisoformat(status["next_start"]).tzinfo is not None


def test_one_that_flaps_without_delay_leaves_time_for_the_others(colony: Colony) -> None:
    for number in range(3):
        colony.write(f"flap{number}", "true", restart={"threshold": 0})
    colony.wait_for(lambda: colony.status("flap0").get("starts", 0) > 20)
    colony.obeys_at_once()


@pytest.mark.slow
def test_it_is_given_up_after_so_many_attempts_until_somebody_asks(colony: Colony) -> None:
    colony.write("crash", "sh", "-c", "echo here; exit 1", restart={"initial": 0.01, "attempts": 3})
    colony.wait_for(lambda: colony.status("crash").get("state") == "failed")
    colony.wait_for(lambda: len(colony.said("[crash] here")) == 3)
    colony.ask("RESTART", name="crash")
    colony.wait_for(lambda: len(colony.said("[crash] here")) == 6)


def test_its_policy_says_whether_it_runs_again(colony: Colony) -> None:
    ends = {"never": ("never", 1), "not-failed": ("failure", 0), "failed": ("failure", 1), "always": ("always", 0)}
    for name, (when, code) in ends.items():
        policy = {"when": when, "initial": 0.01, "limit": 0.05}
        colony.write(name, "sh", "-c", f"echo here; exit {code}", restart=policy)
    for name in ("failed", "always"):
        colony.says_often(f"[{name}] here", 3)
    stopped = "never", "not-failed"
    colony.wait_for(lambda: all(colony.status(name).get("state") == "stopped" for name in stopped))
    for name in stopped:
        colony.wait_for(lambda name=name: len(colony.said(f"[{name}] here")) == 1)  # type: ignore[misc]
        assert colony.status(name)["last_exit"]["code"] == ends[name][1]


CANNOT = {
    "missing": (["/nowhere/run"], "exec: /nowhere/run: No such file or directory (ENOENT)"),
    "not-in-path": (["nowhere-at-all"], "exec: nowhere-at-all in PATH "),
    "not-executable": (["{folder}/plain"], "(EACCES)"),
    "directory": (["/tmp"], "exec: /tmp is not a file: Permission denied (EACCES)"),
    "no-first-line": (["{folder}/script"], "script has no #! line and is no program: Exec format error (ENOEXEC)"),
    "no-interpreter": (["{folder}/lost"], "lost: the interpreter in its first line: No such file or directory"),
    "unset": (["sleep", "${env:NOT_SET_ANYWHERE}"], "environment: ${env:NOT_SET_ANYWHERE} is not set"),
}


def test_what_cannot_start_is_tried_again_and_says_why_in_one_line(colony: Colony) -> None:
    (colony.folder / "plain").write_text("#!/bin/sh\n")
    for name, text in (("script", "exec sleep 1000\n"), ("lost", "#!/nowhere/sh\n")):
        (colony.folder / name).write_text(text)
        (colony.folder / name).chmod(0o755)
    for name, (args, _) in CANNOT.items():
        words = [arg.replace("{folder}", str(colony.folder)) for arg in args]
        colony.write(name, *words, restart={"initial": 0.2, "factor": 1000})
    for name, (_, why) in CANNOT.items():
        lines = colony.says_often(f"cannot start {name}:", 2)
        assert len(lines) == 2
        assert why in lines[0]
    colony.wait_for(lambda: all(colony.status(name).get("streak") == 2 for name in CANNOT), AT_ONCE)
    for name, (_, why) in CANNOT.items():
        assert why in colony.status(name)["why"]
        assert colony.status(name)["state"] == "backoff"
    assert colony.running() == []
    colony.obeys_at_once()


@pytest.mark.slow
def test_a_missing_directory_is_said_and_waited_for(colony: Colony) -> None:
    folder = colony.folder / "later"
    colony.write("web", *SLEEP, cwd=str(folder), restart={"initial": 0.1, "limit": 0.1})
    colony.wait_for(lambda: colony.said(f"cannot start web: cwd: {folder}: No such file or directory (ENOENT)"))
    folder.mkdir()
    assert os.readlink(f"/proc/{colony.runs('web')}/cwd") == str(folder)


# -- its family


def test_what_a_crashed_one_leaves_behind_is_stopped_before_it_runs_again(colony: Colony) -> None:
    colony.write("web", "sh", "-c", "sleep 1001 & sleep 1002 & echo up; wait", restart=LONG_LIVED)
    pid = colony.runs("web")
    colony.wait_for(lambda: len(colony.family("web")) == 3)
    before = {one.pid for one in colony.family("web")}

    os.kill(pid, signal.SIGKILL)

    new = colony.runs("web", instead_of=pid)
    assert not before & {one.pid for one in colony.family("web")}
    colony.wait_for(lambda: len(colony.family("web")) == 3)
    assert colony.running("web") == [new]


def test_a_deaf_family_is_killed_after_the_killtime(place: Colony) -> None:
    place.start("-k", "0.5")
    place.write(
        "web", "sh", "-c", "trap '' TERM; sh -c 'sleep 1001 & sleep 1002 & wait' & echo up; while :; do wait; done"
    )
    place.wait_for(lambda: len(place.family("web")) == 4)
    began = time.monotonic()
    place.ask("STOP", name="web")
    place.is_gone("web")
    assert 0.4 < time.monotonic() - began < 3
    place.wait_for(lambda: place.status("web").get("state") == "stopped", AT_ONCE)


def test_a_process_is_stopped_by_its_own_ladder_and_killed_only_at_its_end(colony: Colony) -> None:
    says = "trap '' TERM; trap 'echo INT' INT; trap 'echo USR1; exit 3' USR1; echo up; while :; do sleep 0.05; done"
    colony.write("web", "sh", "-c", says, stop=[["int", 0.3], ["SIGUSR1", 30]])
    colony.write("deaf", "sh", "-c", "trap '' TERM INT; echo up; while :; do sleep 0.05; done", stop=[["INT", 0.2]])
    for name in ("web", "deaf"):
        colony.says(f"[{name}] up")
        colony.ask("STOP", name=name)
        colony.is_gone(name)
    colony.wait_for(lambda: all(colony.status(name).get("state") == "stopped" for name in ("web", "deaf")), AT_ONCE)
    said = [line.rpartition("] ")[2] for line in colony.said("[web] ")]
    assert [word for word in said if word in ("up", "INT", "USR1")] == ["up", "INT", "USR1"]
    exits = [colony.status(name)["last_exit"] for name in ("web", "deaf")]
    assert [(exit["code"], exit["signal"]) for exit in exits] == [(3, None), (None, "KILL")]


def test_a_stopped_one_is_continued_so_that_it_can_end(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    colony.remove("web")
    colony.is_gone("web")
    assert time.monotonic() - began < 2, "less than the killtime"


# -- what it says


def test_output_of_any_shape_arrives_readable(colony: Colony) -> None:
    script = r"""
import os, sys, time
for data in (
    b"plain\n", b"\x00nul\x1b[31mred\x07\n", b"bad \xff utf\xc3\xa9-8\n", b"tab\there\r\n",
    b"half ", b"line\n", b"no end",
):
    os.write(1, data)
    time.sleep(0.02)
os.write(2, b"\n" + b"x" * 100_000 + b"\nlast\n")
time.sleep(1000)
"""
    colony.write("web", sys.executable, "-c", script)
    colony.wait_for(lambda: colony.said("[web] last"))
    lines = [line.partition("[web] ")[2] for line in colony.said("[web] ")]
    assert lines == [
        "plain",
        r"\x00nul\x1b[31mred\x07",
        r"bad \xff utfé-8",
        "tab\there",
        "half line",
        "no end",
        "x" * 100_000,
        "last",
    ]


def test_twenty_megabytes_without_a_newline_hurt_nobody(colony: Colony) -> None:
    colony.write(
        "flood",
        sys.executable,
        "-c",
        "import os\nfor _ in range(320): os.write(1, b'y' * 65536)\nos.write(1, b'\\nend\\n')",
    )
    colony.obeys_at_once()
    colony.wait_for(lambda: b"[flood] end\n" in _tail(colony))
    assert colony.log.read_bytes().count(b"y") >= 320 * 65536
    assert colony.supervisor is not None
    peak = Path(f"/proc/{colony.supervisor.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) < 150_000, "KiB"


def _tail(colony: Colony) -> bytes:
    with colony.log.open("rb") as file:
        file.seek(max(0, colony.log.stat().st_size - 100_000))
        return file.read()


def test_the_last_words_of_what_ends_are_kept(colony: Colony) -> None:
    colony.write("short", "sh", "-c", "echo first; echo second; printf third", restart={"when": "never"})
    colony.wait_for(lambda: colony.said("[short] third"))
    assert [line.partition("] ")[2] for line in colony.said("[short]")] == ["first", "second", "third"]


def test_in_json_every_line_of_the_log_is_one_object(place: Colony) -> None:
    place.begin("python", "-m", "twisted", "--log-format=json", "colony", *place.places)
    place.write("web", "sh", "-c", "printf 'one\\ntwo \\033 \"quoted\"\\n\\377\\n'; exec sleep 1000")
    place.write("crash", "sh", "-c", "exit 1")
    place.write_bytes("bad", b"{")
    place.wait_for(lambda: place.said("quoted"))
    place.wait_for(lambda: place.status("crash").get("state") == "backoff")
    assert place.stop() == -signal.SIGTERM
    lines = place.log.read_text().splitlines()
    objects = [json.loads(line) for line in lines]
    assert all(isinstance(one, dict) for one in objects)
    said = [one for one in objects if one.get("name") == "web" and "line" in one]
    assert [one["line"] for one in said] == ["one", 'two \x1b "quoted"', "\\xff"]
    assert {one["stream"] for one in said} == {"stdout"}
    assert all(datetime.fromisoformat(one["time"]) for one in said)


@pytest.mark.slow
def own_memory(pid: int) -> int:
    """Bytes that only this process holds (private pages, written or not)."""
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return 1024 * sum(int(field[1]) for field in fields if field[0] in ("Private_Clean:", "Private_Dirty:"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundreds_of_restarts_keep_no_memory_descriptor_zombie_or_file(colony: Colony) -> None:
    assert colony.supervisor is not None
    supervisor = colony.supervisor.pid
    names = [f"web{number}" for number in range(10)]
    for name in names:
        colony.write(name, *SLEEP)
    starts = 1

    def all_started() -> bool:
        told = [colony.status(name) for name in names]
        return all((one.get("starts"), one.get("state")) == (starts, "running") for one in told)

    def kept() -> dict[str, int]:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        files = [path for path in colony.state.rglob("*") if path.parent.name != "answers"]
        return {
            "descriptors": len(os.listdir(f"/proc/{supervisor}/fd")),
            "children": len(children),
            "files": len(files),
        }

    memory, others = [], []
    colony.wait_for(all_started)
    for _ in range(5):  # a thousand restarts: the first hundreds fill what is kept for good, such as pools
        for _ in range(20):
            colony.ask("RESTART-ALL")
            starts += 1
            colony.wait_for(all_started)
        memory.append(own_memory(supervisor))
        others.append(kept())
    assert others == [others[0]] * len(others)
    assert others[0]["children"] == len(names)
    assert (memory[4] - memory[2]) / 400 < 400, f"bytes a restart, of {memory}"


def test_restarts_leak_nothing(colony: Colony) -> None:
    assert colony.supervisor is not None
    descriptors = Path(f"/proc/{colony.supervisor.pid}/fd")
    colony.write("web", *SLEEP)
    colony.write("crash", "false", restart={"initial": 0.01, "limit": 0.01})
    colony.wait_for(lambda: colony.status("crash").get("starts", 0) > 3)
    before = len(list(descriptors.iterdir()))
    pid = colony.runs("web")
    for _ in range(20):
        colony.ask("RESTART", name="web")
        pid = colony.runs("web", instead_of=pid)
    colony.remove("crash")
    colony.is_gone("crash")
    colony.wait_for(lambda: len(list(descriptors.iterdir())) <= before)
    colony.wait_for(lambda: len(list((colony.state / "pipes").iterdir())) == 1)
    children = Path(f"/proc/{colony.supervisor.pid}/task/{colony.supervisor.pid}/children").read_text().split()
    assert children == [str(pid)]
    assert alive(pid)
