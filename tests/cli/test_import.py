"""``import``: what supervisord, circus and foreman are configured to run, as process files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

DATA = Path(__file__).resolve().parent.parent / "data" / "import"


def written(colony: StandIn) -> dict[str, Any]:
    return {path.name: json.loads(path.read_bytes()) for path in colony.config.iterdir()}


@pytest.fixture
def given(tmp_path: Path, ctl: Ctl, dead: StandIn) -> Any:
    """Import a text; the definitions, and the remarks by section and option."""

    def run(kind: str, text: str, *options: str) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
        path = tmp_path / "given"
        path.write_text(text)
        done = ctl("import", kind, str(path), "--json", *options)
        assert done.code == 0, done.err
        left = {(each["section"], each["option"]): each["why"] for each in done.json["not_carried"]}
        assert sorted(each["name"] for each in done.json["processes"]) == sorted(written(dead))
        return written(dead), left

    return run


def program(given: Any, *lines: str, options: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """The one process of a program with these lines, and its remarks by option."""
    text = "\n".join(
        ["[program:web]", *(["command=serve"] if not any("command" in line for line in lines) else []), *lines]
    )
    definitions, left = given("supervisord", text, *options)
    return definitions["web"], {option: why for (section, option), why in left.items() if section == "[program:web]"}


# -- the command

NO_ORDER = "not carried, as one does not wait for another by a number here (--order makes it after)"


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("supervisord", "command=a\n", "line 1: no [section] before 'command=a'"),
        ("supervisord", "[program:x]\n", "[program:x] command: is missing"),
        ("supervisord", "", "has no section of supervisord's"),
        ("procfile", "web\n", "line 1: not NAME: COMMAND, but 'web'"),
    ],
)
def test_a_file_that_is_none_is_named_once(
    ctl: Ctl, dead: StandIn, tmp_path: Path, kind: str, text: str, why: str
) -> None:
    (tmp_path / "x").write_text(text)
    assert ctl("import", kind, str(tmp_path / "x")) == (2, "", f"colony: cannot import {tmp_path}/x: {why}\n")


def test_who_looks_for_a_log_file_is_told_where_the_output_is(given: Any) -> None:
    definition, left = program(given, "stdout_logfile=/var/log/web.log", "stderr_logfile=/var/log/web.err")
    said = "not carried: its output is in STATE/logs (colony logs)"
    assert left == {"stdout_logfile": said, "stderr_logfile": said}
    assert definition["log"] == {"max_bytes": 52428800, "backups": 10, "relay": False, "split": True}


def test_one_process_is_not_two(ctl: Ctl, colony: StandIn, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[program:a]\ncommand=x\n[supervisorctl]\n")
    assert ctl("import", "supervisord", str(tmp_path / "x")).out == "added a\n1 process, 1 remark\n"


def test_each_process_is_said_and_what_is_left_is_on_stderr(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("[program:a]\ncommand=x\npriority=1\n[program:b]\ncommand=y\n[supervisorctl]\nprompt=x\n")
    done = ctl("import", "supervisord", str(path))
    assert (done.code, done.out) == (0, "added a\nadded b\n2 processes, 2 remarks\n")
    assert done.err.splitlines() == [
        f"colony: [program:a] priority: {NO_ORDER}",
        "colony: [supervisorctl]: not carried: colony is asked by files, there is no server",
        "colony: no supervisor is alive; the next one starts them",
    ]
    assert ctl("ctl", "import", "supervisord", str(path)).out.startswith("unchanged a\nunchanged b\n")


def test_a_dry_run_shows_and_writes_nothing(ctl: Ctl, dead: StandIn) -> None:
    done = ctl("import", "procfile", str(DATA / "procfile" / "Procfile"), "--dry-run")
    assert done.code == 0
    assert '"shell": "php artisan schedule:work | cat"' in done.out
    assert os.listdir(dead.config) == []


def test_they_may_go_to_another_directory(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    there = tmp_path / "a" / "b"
    assert ctl("import", "procfile", str(DATA / "procfile" / "Procfile"), "--output", str(there)).code == 0
    assert sorted(os.listdir(there)) == ["clock", "web", "worker"]
    assert os.listdir(dead.config) == []


@pytest.mark.parametrize(
    "argv", [["import"], ["import", "runit", "x"], ["import", "circus"], ["import", "circus", "x", "--port=1"]]
)
def test_what_is_to_be_imported_must_be_said(ctl: Ctl, dead: StandIn, argv: list[str]) -> None:
    assert ctl(*argv).code == 2


def test_a_file_that_is_not_there_is_one_line(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("import", "circus", "/nowhere") == (
        1,
        "",
        "colony: cannot import /nowhere: no such file or directory\n",
    )


NOT_SUCH = {
    "supervisord": [
        "",
        "no ini",
        "[program:web\n",
        "[watcher:x]\ncmd=x",
        "[program:a]\ncommand=x\n[program:b]\nnumprocs=1",
        "[program:a]\ncommand=x 'y",
        "[program:a]\ncommand=",
        "[program:a]\ncommand=100%",
        "[program:a]\ncommand=%(nothing)s",
        "[program:a]\ncommand=%(process_num)z",
        "[program:a]\ncommand=x\nuser=%(ENV_NOT_SET)s",
        "[program:a]\ncommand=x\nenvironment=A",
        "[program:a]\ncommand=x\nenvironment=A='b",
        "[program:a]\ncommand=x\nnumprocs=2",
        "[program:a]\ncommand=x\nnumprocs=two",
        "[program:a]\ncommand=x\nautorestart=sometimes",
        "[program:a]\ncommand=x\nstopsignal=NONE",
        "[program:a]\ncommand=x\nstopsignal=999",
        "[program:a]\ncommand=x\nstopwaitsecs=-1",
        "[program:a]\ncommand=x\numask=999",
        "[program:a]\ncommand=x\n[group:g]\nprograms=b",
        "[program:a]\ncommand=x\n[include]\nwrong=1",
        "[program:a]\ncommand=x\n[include]\nfiles=%(x)s",
        "[program:a]\ncommand=x\nprocess_name=same\n[program:a ]\ncommand=x\nprocess_name=same",
    ],
    "circus": [
        "",
        "[program:x]\ncommand=x",
        "[watcher:x]\nargs=y",
        "[watcher:x]\ncmd=",
        "[watcher:x]\ncmd='x",
        "[watcher:x]\ncmd=x\nuse_sockets=perhaps",
        "[watcher:x]\ncmd=x\ngid=no such group",
        "[watcher:x]\ncmd=x\nrlimit_nofile=many",
    ],
    "procfile": ["", "# nothing\n", "web: x\nno colon\n", "web: x\nweb: y\n"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in NOT_SUCH.items() for text in texts])
def test_what_cannot_be_read_as_such_is_refused_whole(
    ctl: Ctl, dead: StandIn, tmp_path: Path, kind: str, text: str
) -> None:
    (tmp_path / "file").write_text(text)
    done = ctl("import", kind, str(tmp_path / "file"))
    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1
    assert "by a fault of colony" not in done.err
    assert os.listdir(dead.config) == []


def test_what_is_no_text_is_refused(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"[program:a]\ncommand=\xff")
    assert ctl("import", "supervisord", str(tmp_path / "file")).code == 2


def test_one_that_could_not_be_obeyed_leaves_all_unwritten(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[program:a]\ncommand=x\n[program:b]\ncommand=x\nuser=4294967295\n")
    done = ctl("import", "supervisord", str(tmp_path / "file"))
    assert done.code == 2
    assert "cannot add b: uid" in done.err
    assert os.listdir(dead.config) == []


# -- supervisord


def test_a_program_with_a_command_alone_has_supervisord_s_defaults(given: Any) -> None:
    assert program(given) == (
        {
            "args": ["serve"],
            "env_inherit": ["*"],
            "restart": {"when": "failure", "success": [0], "threshold": 1, "attempts": 4, "limit": 3},
            "stop": [["TERM", 10, "main"]],
            "log": {"max_bytes": 52428800, "backups": 10, "relay": False, "split": True},
        },
        {},
    )


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (["command=a 'b c' \"d\" e\\ f ; no more"], "args", ["a", "b c", "d", "e f"]),
        (["command=a #b"], "args", ["a"]),
        (["command=a", "  --b", "  'c d'"], "args", ["a", "--b", "c d"]),
        (["command=a 5%% ${env:X} $$ $HOME"], "args", ["a", "5%", "$${env:X}", "$$", "$HOME"]),
        (["command=a %(program_name)s %(process_num)02d %(group_name)s"], "args", ["a", "web", "00", "web"]),
        (["command=a %(ENV_A)s '%(ENV_B C)s'"], "args", ["a", "${env:A}", "${env:B C}"]),
        (["command=a %(ENV_K)s", 'environment=K="1 2"'], "args", ["a", "1", "2"]),
        (["directory=/srv/%(ENV_A)s"], "cwd", "/srv/${env:A}"),
        (["environment=A=1,B=\"2,3\", C='four'"], "env", {"A": "1", "B": "2,3", "C": "four"}),
        (["environment=PATH=/x:%(ENV_PATH)s,N=%(process_num)s"], "env", {"PATH": "/x:${env:PATH}", "N": "0"}),
        (["user=1000"], "uid", 1000),
        (["user=www"], "user", "www"),
        (["umask=22"], "umask", "022"),
        (["autorestart=true"], "restart", {"when": "always", "threshold": 1, "attempts": 4, "limit": 3}),
        (["autorestart=false"], "restart", {"when": "never"}),
        (
            ["exitcodes=0, 3", "startsecs=0", "startretries=0"],
            "restart",
            {"when": "failure", "success": [0, 3], "threshold": 0, "attempts": 1, "limit": 1},
        ),
        (["stopsignal=15", "stopwaitsecs=3"], "stop", [["TERM", 3, "main"]]),
        (["stopsignal=SIGINT", "stopasgroup=true"], "stop", [["INT", 10]]),
        (["stopsignal=KILL"], "stop", [["KILL", 10]]),
    ],
)
def test_an_option_is_carried(given: Any, lines: list[str], key: str, value: Any) -> None:
    definition, left = program(given, *lines)
    assert definition[key] == value
    assert set(left) <= {"command"}


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("killasgroup=false", "killasgroup"),
        ("stdout_logfile=/x", "stdout_logfile"),
        ("stdout_syslog=true", "stdout_syslog"),
        ("stderr_capture_maxbytes=1MB", "stderr_capture_maxbytes"),
        ("stdout_mistake=1", "stdout_mistake"),
        ("priority=3", "priority"),
        ("serverurl=http://x", "serverurl"),
        ("mistake=1", "mistake"),
        ("autorestart=false\nstartretries=9", "startretries"),
        ("command=x %(ENV_A)s", "command"),
    ],
)
def test_an_option_that_is_not_carried_is_said(given: Any, line: str, option: str) -> None:
    assert set(program(given, *line.split("\n"))[1]) == {option}


@pytest.mark.parametrize(
    "line",
    [
        "redirect_stderr=true\nstderr_logfile=/x",
        "stdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0",
        "stdout_logfile=AUTO",
        "stdout_events_enabled=false",
        "serverurl=AUTO",
        "autorestart=true\nexitcodes=9",
    ],
)
def test_what_would_mean_nothing_or_is_so_anyway_is_not_said(given: Any, line: str) -> None:
    assert program(given, *line.split("\n"))[1] == {}


def test_variables_can_be_put_in_as_they_are_now(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGS", "-a '-b c'")
    lines = ["command=x %(ENV_FLAGS)s", 'environment=F="%(ENV_FLAGS)s"']
    definition, left = program(given, *lines, options=("--expand-env",))
    assert definition["args"] == ["x", "-a", "-b c"]
    assert definition["env"] == {"F": "-a '-b c"}  # as supervisord has it: quotes at the ends are lost
    assert left == {}


def test_what_is_needed_now_is_what_it_is_now(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "www")
    monkeypatch.setenv("HOW_MANY", "1")
    text = "[supervisord]\nenvironment=ME=%(ENV_WHO)s\n[program:web]\ncommand=x\nuser=%(ENV_ME)s\n"
    definitions, _ = given("supervisord", f"{text}numprocs=%(ENV_HOW_MANY)s\n")
    assert definitions["web"]["user"] == "www"


def test_instances_are_processes_of_one_group(given: Any) -> None:
    text = "[program:web]\ncommand=x --port=80%(process_num)02d\nnumprocs=2\nnumprocs_start=8\n"
    definitions, _ = given("supervisord", f"{text}process_name=%(program_name)s-%(process_num)d\n")
    assert {name: each["args"][1] for name, each in definitions.items()} == {
        "web-8": "--port=8008",
        "web-9": "--port=8009",
    }
    assert all(each["group"] == ["web"] for each in definitions.values())


def test_names_that_collide_or_are_none_are_changed_and_said(given: Any) -> None:
    text = "".join(f"[program:{name}]\ncommand=x\nprocess_name={process}\n" for name, process in PROCESSES)
    definitions, left = given("supervisord", text)
    assert set(definitions) == {"a_main", "b_main", "with_space", "x.new_", "_-x"}
    assert left["[program:a]", ""] == "main is called a_main here"


PROCESSES = [("a", "main"), ("b", "main"), ("c", "with space"), ("d", "x.new"), ("e", "-x")]


def test_a_group_is_a_group_and_priorities_are_an_order_if_asked_for(given: Any) -> None:
    text = "[program:a]\ncommand=x\n[program:b]\ncommand=x\npriority=5\n[program:c]\ncommand=x\n"
    text += "[program:d]\ncommand=x\npriority=7\n[group:g]\nprograms=a, d\npriority=1\n"
    definitions, left = given("supervisord", text, "--order")
    assert {name: (each.get("group"), each.get("after")) for name, each in definitions.items()} == {
        "d": (["g"], None),
        "a": (["g"], ["d"]),
        "b": (None, ["a"]),
        "c": (None, ["b"]),
    }
    assert left == {}


def test_what_is_not_to_start_by_itself_is_not_written_unless_it_is_asked_for(given: Any) -> None:
    text = "[program:a]\ncommand=x\n[program:b]\ncommand=x\nautostart=false\n"
    definitions, left = given("supervisord", text)
    assert (set(definitions), set(left)) == ({"a"}, {("[program:b]", "autostart")})
    definitions, left = given("supervisord", text, "--all")
    assert (set(definitions), left) == ({"a", "b"}, {})


def test_a_program_that_needs_its_supervisor_is_missing(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[program:a]\ncommand=x\n[fcgi-program:f]\nsocket=tcp://localhost:1\ncommand=y\n")
    done = ctl("import", "supervisord", str(tmp_path / "x"), "--json")
    assert done.code == 1
    assert done.json["missing"] == ["f"]
    assert set(written(dead)) == {"a"}


def test_a_daemon_s_own_directory_and_umask_are_its_children_s(given: Any) -> None:
    text = "[supervisord]\ndirectory=/d\numask=077\nuser=u\n{}[program:a]\ncommand=x\n"
    definitions, left = given("supervisord", text.format(""))
    assert [definitions["a"][key] for key in ("cwd", "umask", "user")] == ["/d", "077", "u"]
    assert left == {}
    definitions, left = given("supervisord", text.format("nodaemon=true\n"))
    assert "cwd" not in definitions["a"]
    assert {option for _, option in left} == {"directory", "umask", "nodaemon"}


def test_supervisord_s_sample_and_what_it_includes(ctl: Ctl, dead: StandIn) -> None:
    path = DATA / "supervisord" / "sample.conf"
    done = ctl("import", "supervisord", str(path), "--json")
    assert done.code == 0
    definitions = written(dead)
    here = str(DATA / "supervisord")
    assert set(definitions) == {"theprogramname", "celery", "celerybeat", "laravel-worker_00", "laravel-worker_01"}
    assert definitions["theprogramname"] == {
        "args": ["cat", "-u", "two words", "100%"],
        "cwd": here,
        "env": {"FROM_ABOVE": "yes, from above", "PLACE": "${env:PLACE}", "A": "1", "B": "2, and ${env:PLACE}"},
        "env_inherit": ["*"],
        "umask": "027",
        "user": "nobody",
        "group": ["thegroupname"],
        "restart": {"when": "failure", "success": [0, 2], "threshold": 1, "attempts": 4, "limit": 3},
        "stop": [["QUIT", 7, "main"]],
        "log": {"max_bytes": 1048576, "backups": 10, "relay": False},
    }
    assert definitions["celery"]["stop"] == [["TERM", 600]]
    assert definitions["celery"]["args"][0] == f"{here}/conf.d/../bin/celery"
    assert definitions["celery"]["args"][-1] == "worker@%h"
    # Each option that the file has is carried, or said, or switches off what colony does not have.
    said = {(each["section"], each["option"]) for each in done.json["not_carried"]}
    assert {option for section, option in said if section == "[program:theprogramname]"} == {
        *("stdout_logfile", "stdout_capture_maxbytes", "stderr_syslog", "killasgroup", "priority"),
    }
    assert {section for section, option in said if not option} == {
        *("[unix_http_server]", "[inet_http_server]", "[rpcinterface:supervisor]", "[supervisorctl]"),
        "[eventlistener:thelistener]",
    }
    assert ("[include]", "files") in said
    assert {option for section, option in said if section == "[supervisord]"} == {
        *"logfile logfile_maxbytes logfile_backups loglevel pidfile nodaemon silent minfds minprocs".split(),
        *"identifier nocleanup childlogdir strip_ansi".split(),
    }


def test_log_files_become_the_key_where_there_is_one(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    text = "[program:a]\ncommand=x\nstdout_logfile=/x\nstdout_logfile_maxbytes=2KB\nstdout_logfile_backups=3\n"
    text += "redirect_stderr=true\n[program:b]\ncommand=x\nstdout_logfile=/dev/stdout\n[program:c]\ncommand=x\n"
    (tmp_path / "x").write_text(text)
    assert ctl("import", "supervisord", str(tmp_path / "x")).code == 0
    assert {name: each["log"] for name, each in written(dead).items()} == {
        "a": {"max_bytes": 2048, "backups": 3, "relay": False},
        "b": False,
        "c": {"max_bytes": 52428800, "backups": 10, "relay": False, "split": True},
    }
    text = "[watcher:w]\ncmd=x\nstdout_stream.filename=y\nstdout_stream.max_bytes=9\nstdout_stream.backup_count=4\n"
    (tmp_path / "y").write_text(text)
    assert ctl("import", "circus", str(tmp_path / "y")).code == 0
    assert written(dead)["w"]["log"] == {"relay": False, "split": True, "max_bytes": 9, "backups": 4}


# -- circus


def watcher(given: Any, *lines: str, options: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    text = "\n".join(["[watcher:web]", *(["cmd=serve"] if not any("cmd" in line for line in lines) else []), *lines])
    definitions, left = given("circus", text, *options)
    return definitions["web"], {option: why for (section, option), why in left.items() if section == "[watcher:web]"}


def test_a_watcher_with_a_command_alone_has_circus_s_defaults(given: Any) -> None:
    expected = {"args": ["serve"], "stop": [["TERM", 30, "main"]], "restart": {"when": "always"}}
    assert watcher(given) == (expected, {})


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (
            ["cmd=a 'b c'", 'args=-x "$(circus.wid)" $((2)) ${env:X}'],
            "args",
            ["a", "b c", "-x", "1", "$((2))", "$${env:X}"],
        ),
        (["cmd=a 'b c' '|' d", "shell=1"], "shell", "a 'b c' '|' d"),
        (["cmd=echo x$(circus.env.who)", "shell=1"], "shell", "echo 'x'\"${who}\"''"),
        (["working_dir=/srv"], "cwd", "/srv"),
        (["uid=33"], "uid", 33),
        (["uid=www"], "user", "www"),
        (["gid=33"], "gid", 33),
        (["gid=root"], "gid", 0),
        (["stop_signal=3", "graceful_timeout=2.5"], "stop", [["QUIT", 2.5, "main"]]),
        (["stop_children=true"], "stop", [["TERM", 30]]),
        (["respawn=false"], "restart", {"when": "never"}),
        (["max_retry=3"], "restart", {"when": "always", "attempts": 3}),
        (["max_retry=-1"], "restart", {"when": "always"}),
        (["send_hup=true"], "reload", "HUP"),
        (["copy_env=true"], "env_inherit", ["*"]),
        (["rlimit_NOFILE=500", "rlimit_core="], "limits", {"nofile": 500, "core": "unlimited"}),
        (["stdout_stream.class=StdoutStream"], "args", ["serve"]),
        (["singleton=true", "numprocesses=3"], "args", ["serve"]),
        (
            ["", "[env]", "A=1", "B=x", "[env:w*]", "B=$C:$D:${D}", "[env:other]", "A=2"],
            "env",
            {"A": "1", "B": "${env:C}:${env:D}:${D}"},
        ),
        (["", "[env:web]", "B=$C:$D:${D}"], "env_inherit", ["C", "D"]),
        (["", "[env]", "A=$B", "B=x$(circus.env.a)"], "env", {"A": "x$(circus.env.a)", "B": "x$(circus.env.a)"}),
        (["cmd=sh -c 'a;b' c ; d"], "args", ["sh", "-c", "a;b", "c", ";", "d"]),
        (["cmd=a 100% %(x)s ; b"], "args", ["a", "100%", "%(x)s"]),
        (['working_dir=""'], "args", ["serve"]),
        (["cmd=x $(circus.env.a) $(CIRCUS.ENV.NONE)", "[env]", "A=1"], "args", ["x", "1", "${env:NONE}"]),
        (["", "[circus]", "umask=7"], "umask", "007"),
    ],
)
def test_a_watcher_s_option_is_carried(given: Any, lines: list[str], key: str, value: Any) -> None:
    definition, left = watcher(given, *lines)
    assert definition[key] == value
    assert set(left) <= {"args"}


@pytest.mark.parametrize(
    "line",
    [
        *("warmup_delay=1", "max_age=5", "hooks.before_start=x", "virtualenv=/x", "stderr_stream.filename=x"),
        *(
            "args=$(circus.env.a)",
            "args=$(circus.nothing)",
            "priority=4",
            "mistake=1",
            "rlimit_nothing=1",
            "shell_args=x",
            "stdout_stream.class=my.Stream",
        ),
    ],
)
def test_a_watcher_s_option_that_is_not_carried_is_said(given: Any, line: str) -> None:
    assert set(watcher(given, line)[1]) == {line.partition("=")[0]}


def test_the_higher_number_comes_first_at_circus(given: Any) -> None:
    text = "[watcher:a]\ncmd=x\n[watcher:b]\ncmd=x\npriority=5\n"
    assert given("circus", text, "--order")[0]["a"]["after"] == ["b"]


def test_circus_s_variables_can_be_put_in_as_they_are_now(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "two words")
    assert watcher(given, "args=$(circus.env.who)", options=("--expand-env",))[0]["args"] == ["serve", "two", "words"]


def test_what_circus_s_documentation_shows(ctl: Ctl, dead: StandIn) -> None:
    done = ctl("import", "circus", str(DATA / "circus" / "circus.ini"), "--json")
    assert (done.code, done.json["missing"]) == (1, ["sockets"])
    definitions = written(dead)
    assert set(definitions) == {"webapp-1", "webapp-2", "dbworker", "beat"}
    assert definitions["webapp-2"] == {
        "args": ["gunicorn", "-w", "2", "--name", "2", "proj.wsgi:application", "--place", "${env:PLACE}"],
        "umask": "002",
        "user": "nobody",
        "stop": [["QUIT", 12]],
        "restart": {"when": "always", "attempts": 3},
        "limits": {"nofile": 500, "core": "unlimited"},
        "cwd": "${env:HERE}",
        "group": ["webapp"],
        "env": {"CAKE": "the truth", "PATH": "${env:PATH}:/opt/bin"},
        "env_inherit": ["HERE", "PLACE"],
        "log": {"max_bytes": 1073741824, "backups": 5, "relay": False, "split": True},
    }
    assert definitions["dbworker"]["shell"] == "php worker.php lie"
    said = {(each["section"], each["option"]) for each in done.json["not_carried"]}
    assert {("[socket:web]", ""), ("[plugin:statsd]", ""), ("[watcher:byhand]", "autostart")} <= said
    assert ("[circus]", "check_delay") in said


# -- Procfile


def test_a_procfile_s_lines_are_shell_commands_each_with_a_port(given: Any, tmp_path: Path) -> None:
    definitions, _ = given("procfile", "web: serve -p $PORT | cat\n# a remark\r\n\nwork-er:  x ${env:Y}\n")
    common = {"cwd": str(tmp_path), "env_inherit": ["*"]}
    assert definitions == {
        "web": {"shell": "serve -p $PORT | cat", "env": {"PORT": "5000", "PS": "web.1"}, **common},
        "work-er": {"shell": "x $${env:Y}", "env": {"PORT": "5100", "PS": "work-er.1"}, **common},
    }


def test_the_file_of_variables_beside_a_procfile_is_read_at_each_start(given: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nPORT='7000'\n")
    definitions, _ = given("procfile", "web: x\nworker: y\n")
    assert definitions["web"]["env_file"] == str(tmp_path / ".env")
    assert [definitions[name]["env"]["PORT"] for name in ("web", "worker")] == ["7000", "7100"]
    definitions, _ = given("procfile", "web: x\nworker: y\n", "--port", "80")
    assert [definitions[name]["env"]["PORT"] for name in ("web", "worker")] == ["80", "180"]


@pytest.mark.parametrize("kind", sorted(NOT_SUCH))
def test_every_kind_imports_what_it_has_written_already_as_unchanged(ctl: Ctl, dead: StandIn, kind: str) -> None:
    path = {"supervisord": "sample.conf", "circus": "circus.ini", "procfile": "Procfile"}[kind]
    ctl("import", kind, str(DATA / kind / path))
    before = written(dead)
    words = {line.split()[0] for line in ctl("import", kind, str(DATA / kind / path)).out.splitlines()[:-1]}
    assert words == {"unchanged"}
    assert written(dead) == before
    assert ctl("validate").code == 0
