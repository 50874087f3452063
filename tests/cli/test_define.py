"""``add``, ``remove``, ``validate``, ``diff``: what CONFIG says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from colony.core import check
from tests.cli.conftest import Ctl
from tests.cli.standin import Message, StandIn


def written(colony: StandIn, name: str = "web") -> Any:
    return json.loads((colony.config / name).read_bytes())


# -- add


def test_add_says_added_changed_and_unchanged(ctl: Ctl, colony: StandIn) -> None:
    assert ctl("add", "web", "--", "sleep", "1") == (0, "added\n", "")
    assert ctl("add", "web", "--", "sleep", "1") == (0, "unchanged\n", "")
    assert ctl("add", "web", "--", "sleep", "2") == (0, "changed\n", "")


def test_add_with_nobody_there_succeeds_and_says_so(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("add", "web", "--cmd=x") == (
        0,
        "added\n",
        "colony: no supervisor is alive; the next one starts web\n",
    )


def test_every_key_has_an_option(ctl: Ctl, dead: StandIn) -> None:
    argv = (
        "add web --cmd=x --arg=a --env A=1 --env B= --env A=2 --env-inherit=LANG --env-inherit LC_* --config-env=false"
    )
    argv += " --cwd=/srv --uid=1 --gid 2 --group=a --group=b --supplementary-groups 4 --supplementary-groups=www"
    argv += " --umask 027 --nice -5 --no-new-privs true --essential --reload hup --after queue --after=db"
    argv += " --env-file /a --env-file=/b"
    objects = ["--limits", '{"core": 0}', "--restart", '{"attempts": 3}', "--extras", '{"mine": {"x": []}}']
    objects += ["--stop", '[["INT", 5]]', "--ready", '{"tcp": 80}', '--health={"beat": "x"}', "--log", '{"backups": 5}']
    done = ctl(*argv.split(), *objects)
    assert done.code == 0, done.err
    assert written(dead) == {
        "args": ["x", "a"],
        "env": {"A": "2", "B": ""},
        "env_inherit": ["LANG", "LC_*"],
        "config_env": False,
        "cwd": "/srv",
        "uid": 1,
        "gid": 2,
        "group": ["a", "b"],
        "supplementary_groups": [4, "www"],
        "umask": "027",
        "nice": -5,
        "no_new_privs": True,
        "limits": {"core": 0},
        "restart": {"attempts": 3},
        "env_file": ["/a", "/b"],
        "stop": [["INT", 5]],
        "reload": "hup",
        "essential": True,
        "after": ["queue", "db"],
        "ready": {"tcp": 80},
        "health": {"beat": "x"},
        "log": {"backups": 5},
        "mine": {"x": []},
    }
    assert set(written(dead)) | {"shell", "user"} == check.KEYS - check.UNSUPPORTED | {"mine"}
    assert ctl("add", "other", "--shell", "a | b", "--user", "www").code == 0
    assert written(dead, "other") == {"shell": "a | b", "user": "www"}


@pytest.mark.parametrize("key", [*sorted(check.UNSUPPORTED), "every", "cron"])
def test_an_option_whose_key_is_not_there_yet_is_refused_by_the_validator(ctl: Ctl, dead: StandIn, key: str) -> None:
    done = ctl("add", "web", "--cmd=x", f"--{key.replace('_', '-')}", "1", "--json")
    assert done.code == 2
    [problem] = done.json["problems"]
    assert problem["path"] == ("schedule" if key in ("every", "cron") else key)
    assert problem["message"] == "not supported by this version"
    assert os.listdir(dead.config) == []


def test_extras_may_be_a_file(ctl: Ctl, dead: StandIn, tmp_path: Path) -> None:
    (tmp_path / "extras").write_text('{"args": ["x", "é"], "cwd": "/"}')
    assert ctl("add", "web", "--extras", str(tmp_path / "extras")).code == 0
    assert written(dead) == {"args": ["x", "é"], "cwd": "/"}


def test_an_unknown_key_is_kept_and_pointed_out(ctl: Ctl, colony: StandIn) -> None:
    done = ctl("add", "web", "--cmd=x", "--extras", '{"env_inherits": []}')
    assert (done.code, done.out) == (0, "added\n")
    assert done.err == "colony: web: unknown key 'env_inherits'; did you mean 'env_inherit'?\n"


def test_an_invalid_definition_is_told_with_all_its_problems(ctl: Ctl, dead: StandIn) -> None:
    done = ctl("add", "web", "--cmd=x", "--uid=-1", "--gid=-1", "--json")
    assert done.code == 2
    assert [problem["path"] for problem in done.json["problems"]] == ["uid", "gid"]
    both = "uid: must be from 0 to 4294967294; gid: must be from 0 to 4294967294"
    assert done.err == f"colony: cannot add web: {both}\n"
    assert os.listdir(dead.config) == []


def test_a_definition_that_cannot_even_be_put_together_is_told_with_its_name(ctl: Ctl, dead: StandIn) -> None:
    said = "colony: cannot add web: env: 'FOO' is not K=V\n"
    assert ctl("add", "web", "--cmd=x", "--env", "FOO") == (2, "", said)


@pytest.mark.parametrize("name", [".", "..", "a/b", "x.new", "x.json", "", "a\nb", "\udcff"])
def test_a_name_that_is_none_is_refused_in_one_line(ctl: Ctl, dead: StandIn, name: str) -> None:
    for verb in (["add", "--cmd=x"], ["remove"], ["restart"], ["show"], ["status"], ["wait"]):
        dead.live()
        done = ctl(*verb, f"--name={name}")
        dead.die()
        assert (done.code, done.out) == (2, ""), verb
        assert done.err.count("\n") == 1
    assert os.listdir(dead.config) == []
    assert dead.asked() == []


def test_a_dry_run_says_and_does_not(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("add", "web", "--cmd=x", "--dry-run") == (0, "added\n", "")
    assert os.listdir(dead.config) == []
    ctl("add", "web", "--cmd=x")
    assert ctl("add", "web", "--cmd=y", "--dry-run") == (0, "changed\n", "")
    assert written(dead) == {"args": ["x"]}


def test_a_diff_shows_what_would_change_and_does_not(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "web").write_text('{"args":["x","1"]}')
    done = ctl("add", "web", "--cmd=x", "--arg=2", "--diff")
    assert done.code == 0
    first, *diff = done.out.splitlines()
    assert first == "changed"
    assert [line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---")] == ['-    "1"', '+    "2"']
    assert (dead.config / "web").read_text() == '{"args":["x","1"]}'
    assert ctl("add", "web", "--cmd=x", "--arg=1", "--diff") == (0, "unchanged\n", "")
    assert '+    "x"' in ctl("add", "new", "--cmd=x", "--diff").out


def test_a_diff_against_garbage_shows_the_garbage(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "web").write_bytes(b"garbage \xff\n")
    done = ctl("add", "web", "--cmd=x", "--diff", "--json")
    assert done.json["result"] == "changed"
    assert "-garbage \\xff" in done.json["diff"]


def test_add_in_json(ctl: Ctl, dead: StandIn) -> None:
    told = ctl("add", "web", "--cmd=x", "--json").json
    assert told == {"name": "web", "result": "added", "file": str(dead.config / "web")}


def test_what_the_system_refuses_is_one_line(ctl: Ctl, dead: StandIn) -> None:
    done = ctl("add", "web", "--cmd=x", "--config", "/nowhere")
    assert done == (1, "", "colony: cannot add web: no such file or directory: /nowhere\n")
    told = ctl("add", "web", "--cmd=x", "--config", "/nowhere", "--json").json
    assert told["code"] == 1


def test_add_and_wait_returns_when_that_very_definition_runs(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", digest="old")

    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", digest=check.digest(written(colony)))
        return {}

    colony.reply = obey
    assert ctl("add", "web", "--cmd=x", "--wait") == (0, "added\n", "")
    assert [message["type"] for message in colony.heard] == ["SCAN"]


def test_add_and_wait_that_cannot_start_says_why(ctl: Ctl, colony: StandIn) -> None:
    def obey(message: Message) -> dict[str, Any]:
        colony.tell("web", "backoff", why="cannot start: no such file")
        return {}

    colony.reply = obey
    done = ctl("add", "web", "--cmd=x", "--wait")
    assert done == (1, "added\n", "colony: web failed: cannot start: no such file\n")


def test_add_and_wait_is_bounded(ctl: Ctl, colony: StandIn) -> None:
    colony.tell("web", "starting")
    done = ctl("add", "web", "--cmd=x", "--wait", "--wait-timeout=0.1", "--json")
    assert done.code == done.json["code"] == 124
    assert done.json["result"] == "added"
    assert "timed out: web is starting" in done.err


def test_add_and_wait_with_nobody_there_writes_nothing(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("add", "web", "--cmd=x", "--wait").code == 5
    assert os.listdir(dead.config) == []


# -- remove


def test_remove_deletes_and_names_what_was_not_there(ctl: Ctl, colony: StandIn) -> None:
    for name in ("a", "b", "c"):
        ctl("add", name, "--cmd=x")
    assert ctl("remove", "a") == (0, "removed a\n", "")
    done = ctl("remove", "b", "typo", "c")
    assert done == (4, "removed b\nremoved c\n", "colony: cannot remove typo: no such process\n")
    assert os.listdir(colony.config) == []


def test_remove_looks_at_all_names_before_it_removes_one(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--cmd=x")
    assert ctl("remove", "web", ".").code == 2
    assert os.listdir(colony.config) == ["web"]


def test_where_files_cannot_be_looked_for_remove_does_not_say_that_there_is_none(ctl: Ctl, dead: StandIn) -> None:
    dead.config.rmdir()
    dead.config.write_text("")
    assert ctl("remove", "web") == (1, "", f"colony: cannot remove web: not a directory: {dead.config}/web\n")


def test_what_cannot_be_removed_is_told_with_its_whole_path(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "web").mkdir()
    assert ctl("remove", "web") == (1, "", f"colony: cannot remove web: is a directory: {dead.config}/web\n")


def test_where_there_is_no_directory_to_write_into_it_is_the_directory_that_is_told(ctl: Ctl, dead: StandIn) -> None:
    dead.config.rmdir()
    assert ctl("add", "web", "--cmd=x").err == f"colony: cannot add web: no such file or directory: {dead.config}\n"
    (dead.messages / ".state").unlink()
    dead.messages.rmdir()
    said = f"no such file or directory: {dead.messages}\n"
    assert ctl("restart", "web") == (1, "", f"colony: cannot restart web: {said}")
    assert ctl("scan") == (1, "", f"colony: cannot scan: {said}")
    assert ctl("status") == (5, "", f"colony: no supervisor is alive on {dead.messages}: there is no such directory\n")


def test_remove_and_wait_returns_when_nothing_is_left(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--cmd=x")
    colony.tell("web")
    assert ctl("remove", "web", "--wait", "--wait-timeout=0.1").code == 124

    def obey(message: Message) -> dict[str, Any]:
        colony.forget("web")
        return {}

    ctl("add", "web", "--cmd=x")
    colony.reply = obey
    assert ctl("remove", "web", "--wait", "--json").json == {"removed": ["web"]}


# -- validate


def test_validate_tells_each_problem_and_counts(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "web").write_text('{"args": ["x"], "env_inherits": 1}')
    assert ctl("validate").code == 0
    (dead.config / "bad").write_text('{"args": [1], "uid": -1}')
    done = ctl("validate")
    assert done.code == 2
    assert done.out.splitlines() == [
        f"{dead.config}/bad: args[0]: must be a string, not a number",
        f"{dead.config}/bad: uid: must be from 0 to 4294967294",
        f"{dead.config}/web: note: unknown key 'env_inherits'; did you mean 'env_inherit'?",
        "1 good, 1 bad",
    ]
    assert [len(file["problems"]) for file in ctl("validate", "--json").json["files"]] == [2, 0]
    assert ctl("validate", str(dead.config / "web")).code == 0


def test_validate_holds_files_against_each_other(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "web").write_text('{"args": ["x"], "after": ["queue"]}')
    assert ctl("validate") == (2, f"{dead.config}/web: after[0]: no such process: queue\n0 good, 1 bad\n", "")
    (dead.config / "queue").write_text('{"args": ["x"], "after": ["web"]}')
    assert ctl("validate").out.splitlines()[0] == f"{dead.config}/queue: after: waits for itself: queue -> web -> queue"
    assert ctl("validate", str(dead.config / "web")).code == 0


def test_an_essential_process_is_one_by_a_word_alone(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("add", "--essential", "web", "--cmd=x").code == 0
    assert written(dead) == {"args": ["x"], "essential": True}
    assert ctl("add", "web", "--essential", "--cmd=x", "--extras", '{"essential": false}').code == 2


def test_validate_of_a_file_that_is_not_there_is_bad(ctl: Ctl, dead: StandIn) -> None:
    assert ctl("validate", "/nowhere") == (2, "/nowhere: no such file or directory\n0 good, 1 bad\n", "")


# -- diff


def test_diff_is_silent_where_there_is_none(ctl: Ctl, colony: StandIn) -> None:
    ctl("add", "web", "--cmd=x")
    assert ctl("diff") == (1, "added web\n", "")
    colony.tell("web", digest=check.digest(written(colony)))
    assert ctl("diff") == (0, "", "")
    ctl("add", "web", "--cmd=y")
    assert ctl("diff", "web", "--json").json == {"differences": [{"name": "web", "result": "changed"}]}
    assert ctl("diff", "typo").code == 4
