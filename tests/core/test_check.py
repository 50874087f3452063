"""The validator: every fault is found, named by its path, and nothing good is refused."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import warnings
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from colony.core import check
from colony.core.check import Malformed, Problem

GOOD: dict[str, Any] = {
    "args": ["web", "", "--port", "80"],
    "env": {"A": "", "B": "x=y"},
    "env_inherit": ["LANG", "LC_*"],
    "config_env": False,
    "cwd": "/srv",
    "uid": 0,
    "gid": 2**32 - 2,
    "supplementary_groups": [4, "www"],
    "umask": "027",
    "nice": -20,
    "limits": {"nofile": 4096, "core": [0, "unlimited"], "as": "unlimited", "cpu": [1, 1]},
    "no_new_privs": True,
    "group": ["diary", "web"],
    "restart": {
        "when": "failure",
        "initial": 0,
        "factor": 1.5,
        "limit": 60,
        "jitter": 0.1,
        "threshold": 1,
        "attempts": None,
        "success": [0, 255],
    },
    "env_file": ["/etc/default/web", "/run/secrets/web.env"],
    "stop": [["TERM", 600, "main"], ["sigint", 0.5], ["KILL", 0]],
    "reload": "hup",
    "essential": True,
    "after": ["queue", "database"],
    "ready": {"tcp": 80, "timeout": 0.5},
    "health": {"http": "http://localhost/", "every": 0.1, "timeout": 1, "failures": 1, "start": 0},
    "log": {"max_bytes": 4096, "backups": 0, "relay": False, "split": True, "compress": True, "buffer": 2**20},
    "description": {"anything": [1, None]},
}
"""Uses every key that this version has, and one that is not ours."""


def said(value: Any) -> list[str]:
    return [str(problem) for problem in check.problems(value)]


# -- names


@pytest.mark.parametrize("name", ["web", "_", "0", "A.b-c@d+e_f", "x" * 200, "a..b", "json", "new", "web.swpx"])
def test_a_name_of_the_documented_form_has_no_problem(name: str) -> None:
    assert check.name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    "|.|..|.hidden|-x|a/b|a b|a\n|é|~|web~|#web#|a*|x.new|x.tmp|x.swp|x.bak|x.rpmsave|x.dpkg-old|x.ucf-dist"
    "|x.json|x.json.json|\udcff|a\0".split("|"),
)
def test_any_other_name_is_refused(name: str) -> None:
    assert check.name_problem(name) is not None


def test_a_long_name_is_refused_and_shown_short() -> None:
    problem = check.name_problem("x" * 201)
    assert problem is not None
    assert "longer than 200 bytes" in problem
    assert len(problem) < 120


@pytest.mark.parametrize("entry", [".web.swp", "web~", "#web#", "web.new", "web.dpkg-dist", "web.ucf-old", ".state"])
def test_litter_is_ignored(entry: str) -> None:
    assert check.is_ignored(entry)


@pytest.mark.parametrize("entry", ["web", "web.json", "new", "swp", "web.newer", "a b", "web#"])
def test_what_may_be_meant_is_not_ignored(entry: str) -> None:
    assert not check.is_ignored(entry)


def test_one_trailing_json_is_no_part_of_the_name() -> None:
    assert [check.name_of(entry) for entry in ("web", "web.json", "web.json.json")] == ["web", "web", "web.json"]


@given(st.text(max_size=30))
def test_a_name_never_leads_out_of_its_directory(name: str) -> None:
    if check.name_problem(name) is None:
        assert "/" not in name
        assert name not in (".", "..")
        assert not check.is_ignored(name)
        assert name.isascii()


# -- bytes to a value


@pytest.mark.parametrize(
    ("data", "message", "whole"),
    [
        (b"", "the file is empty", False),
        (b" \n", "the file is empty", False),
        (b"{", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2", False),
        (b'{"a": 1,\n', "not JSON", False),
        (b"garbage", "not JSON", False),
        (b'{"a": "\xc3', "not UTF-8 at byte 7", False),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7", True),
        ('\ufeff{"a": 1}'.encode(), "starts with a byte order mark", True),
        (b'{"a": 1, "b": 2, "a": 3}', "duplicate key 'a'", True),
        (b'[{"a": {"b": 1, "b": 1}}]', "duplicate key 'b'", True),
        (b'{"a": NaN}', "NaN is not JSON", True),
        (b"[-Infinity]", "-Infinity is not JSON", True),
        (b"[1e999]", "1e999 is too large a number", True),
        (b"[" + b"9" * 5000 + b"]", "4300", True),
        (rb'{"a": "\ud800"}', "has a lone surrogate", True),
        (rb'{"\udc00": 1}', "has a lone surrogate", True),
        (b"[" * 101 + b"]" * 101, "nested too deeply", True),
        (b"[" * 50_000, "nested too deeply", True),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested too deeply", True),
    ],
)
def test_what_is_no_document_is_malformed(data: bytes, message: str, whole: bool) -> None:
    with pytest.raises(Malformed) as caught:
        check.decode(data, check.MAX_SPEC_BYTES)
    assert message in caught.value.message
    assert caught.value.whole is whole


def test_a_document_may_have_exactly_as_many_bytes_as_allowed() -> None:
    assert check.decode(b'"abc"', 5) == "abc"
    with pytest.raises(Malformed, match="larger than 4 bytes") as caught:
        check.decode(b'"abc"', 4)
    assert caught.value.whole


def test_brackets_within_text_are_no_depth() -> None:
    text = "[{" * 200
    assert check.decode(json.dumps([text, [text]]).encode(), check.MAX_SPEC_BYTES) == [text, [text]]


def test_a_hundred_levels_are_allowed() -> None:
    data = b"[" * 100 + b"]" * 100
    assert check.canonical(check.decode(data, 1000)).encode() == data


def test_escaped_text_beyond_the_basic_plane_is_welcome() -> None:
    assert check.decode(rb'"\ud83d\ude00"', 100) == "\U0001f600"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_every_json_value_is_read_as_it_was_written(value: Any) -> None:
    assert check.decode(json.dumps(value).encode(), 10**6) == value
    assert check.decode(json.dumps(value, ensure_ascii=False).encode(), 10**6) == value


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789eE.-+ truefalsn\\u', max_size=60).map(str.encode))
@example(b"\xef\xbb\xbf")
@example(b"[" * 60)
def test_any_bytes_are_a_value_or_malformed(data: bytes) -> None:
    try:
        value = check.decode(data, 1000)
    except Malformed:
        return
    check.digest(value)
    check.problems(value)
    check.message_problems(value)


# -- identity


def test_key_order_and_white_space_are_no_difference() -> None:
    one = check.decode(b'{"args": ["a"], "uid": 1}', 100)
    other = check.decode(b'{\n  "uid": 1,\n  "args": ["a"]\n}\n', 100)
    assert check.digest(one) == check.digest(other)


def test_the_digest_is_sha256_of_the_canonical_text() -> None:
    # By sha256sum(1), of {"args":["\u00e9"],"uid":1}.
    text = '{"args":["\\u00e9"],"uid":1}'
    assert check.canonical({"uid": 1, "args": ["é"]}) == text
    digest = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True).stdout.split()[0]
    assert check.digest({"uid": 1, "args": ["é"]}) == digest.decode()


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ("1", 1), ([], {}), (None, "null")])
def test_values_that_python_confuses_differ(one: Any, other: Any) -> None:
    assert check.digest({"x": one}) != check.digest({"x": other})


# -- process files


def test_a_file_that_uses_everything_is_good() -> None:
    assert said(GOOD) == []
    assert check.unknown(GOOD) == ("description",)


def test_a_shell_text_stands_in_for_args() -> None:
    assert said({"shell": "echo $HOME"}) == []


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ([], ["must be an object, not a list"]),
        (None, ["must be an object, not null"]),
        ({}, ["has neither args nor shell"]),
        ({"args": ["a"], "shell": "a"}, ["shell: args and shell exclude each other"]),
        ({"args": []}, ["args: must have at least one entry, the executable"]),
        ({"args": "web"}, ["args: must be a list, not a string"]),
        ({"args": [""]}, ["args[0]: must not be empty"]),
        ({"args": ["a", 1, "b\0"]}, ["args[1]: must be a string, not a number", "args[2]: must not contain NUL"]),
        ({"shell": ""}, ["shell: must not be empty"]),
        ({"shell": ["a"]}, ["shell: must be a string, not a list"]),
        ({"args": ["a"], "env": ["A=1"]}, ["env: must be an object, not a list"]),
        ({"args": ["a"], "env": {"A": 1}}, ["env.A: must be a string, not a number"]),
        ({"args": ["a"], "env": {"": "x", "B=": "x"}}, ["env.: must not be empty", "env.B=: must not contain ="]),
        ({"args": ["a"], "env_inherit": "PATH"}, ["env_inherit: must be a list, not a string"]),
        ({"args": ["a"], "env_inherit": ["A", "A=B"]}, ["env_inherit[1]: must not contain ="]),
        ({"args": ["a"], "env_inherit": [""]}, ["env_inherit[0]: must not be empty"]),
        ({"args": ["a"], "config_env": 0}, ["config_env: must be true or false, not a number"]),
        ({"args": ["a"], "cwd": ""}, ["cwd: must not be empty"]),
        ({"args": ["a"], "uid": True}, ["uid: must be an integer, not a boolean"]),
        ({"args": ["a"], "uid": 1.0}, ["uid: must be an integer, not a fraction"]),
        ({"args": ["a"], "uid": "root"}, ["uid: must be an integer, not a string"]),
        ({"args": ["a"], "uid": -1}, ["uid: must be from 0 to 4294967294"]),
        ({"args": ["a"], "gid": 2**32 - 1}, ["gid: must be from 0 to 4294967294"]),
        ({"args": ["a"], "group": "web"}, ['group: must be a list: ["web"]']),
        ({"args": ["a"], "group": {"web": 1}}, ["group: must be a list, not an object"]),
        ({"args": ["a"], "group": [1]}, ["group[0]: must be a string, not a number"]),
        ({"args": ["a"], "group": [""]}, ["group[0]: a name is empty"]),
        ({"args": ["a"], "restart": "always"}, ["restart: must be an object, not a string"]),
        ({"args": ["a"], "restart": {"when": "sometimes"}}, ['restart.when: must be "always", "failure" or "never"']),
        ({"args": ["a"], "restart": {"when": ["always"]}}, ['restart.when: must be "always", "failure" or "never"']),
        ({"args": ["a"], "restart": {"initial": -1}}, ["restart.initial: must be at least 0"]),
        ({"args": ["a"], "restart": {"initial": "1"}}, ["restart.initial: must be a number, not a string"]),
        ({"args": ["a"], "restart": {"initial": True}}, ["restart.initial: must be a number, not a boolean"]),
        ({"args": ["a"], "restart": {"limit": 10**10}}, ["restart.limit: must be at most 1000000000 seconds"]),
        ({"args": ["a"], "restart": {"limit": 10**400}}, ["restart.limit: must be at most 1000000000 seconds"]),
        ({"args": ["a"], "restart": {"factor": 0.5}}, ["restart.factor: must be from 1 to 1000"]),
        ({"args": ["a"], "restart": {"jitter": 2}}, ["restart.jitter: must be from 0 to 1"]),
        ({"args": ["a"], "restart": {"attempts": 0}}, ["restart.attempts: must be from 1 to 1000000000"]),
        ({"args": ["a"], "restart": {"success": [0, 256]}}, ["restart.success[1]: must be from 0 to 255"]),
        ({"args": ["a"], "restart": {"success": 0}}, ["restart.success: must be a list, not a number"]),
        ({"args": ["a"], "restart": {"initail": 1}}, ["restart.initail: unknown key; did you mean 'initial'?"]),
        ({"args": ["a"], "restart": {"zzz": 1}}, ["restart.zzz: unknown key"]),
        ({"args": ["a"], "uid": 1, "user": "www"}, ["user: uid and user exclude each other"]),
        ({"args": ["a"], "user": ""}, ["user: must not be empty"]),
        ({"args": ["a"], "user": 33}, ["user: must be a string, not a number"]),
        ({"args": ["a"], "supplementary_groups": "www"}, ["supplementary_groups: must be a list, not a string"]),
        (
            {"args": ["a"], "supplementary_groups": ["", -1, None, True]},
            [
                "supplementary_groups[0]: must not be empty",
                "supplementary_groups[1]: must be from 0 to 4294967294",
                "supplementary_groups[2]: must be an integer, not null",
                "supplementary_groups[3]: must be an integer, not a boolean",
            ],
        ),
        ({"args": ["a"], "umask": 27}, ['umask: must be a string of octal digits such as "027", not a number']),
        ({"args": ["a"], "umask": "028"}, ['umask: must be octal digits from "000" to "777"']),
        ({"args": ["a"], "umask": "1777"}, ['umask: must be octal digits from "000" to "777"']),
        ({"args": ["a"], "umask": "0o22"}, ['umask: must be octal digits from "000" to "777"']),
        ({"args": ["a"], "umask": ""}, ['umask: must be octal digits from "000" to "777"']),
        ({"args": ["a"], "umask": "\u0662"}, ['umask: must be octal digits from "000" to "777"']),
        ({"args": ["a"], "nice": 20}, ["nice: must be from -20 to 19"]),
        ({"args": ["a"], "nice": "3"}, ["nice: must be an integer, not a string"]),
        ({"args": ["a"], "limits": [["nofile", 1]]}, ["limits: must be an object, not a list"]),
        ({"args": ["a"], "limits": {"nofiles": 1}}, ["limits.nofiles: no limit of that name; did you mean 'nofile'?"]),
        ({"args": ["a"], "limits": {"NOFILE": 1}}, ["limits.NOFILE: no limit of that name"]),
        ({"args": ["a"], "limits": {"cpu": -1}}, ["limits.cpu: must be from 0 to 9223372036854775807"]),
        ({"args": ["a"], "limits": {"cpu": 1.5}}, ["limits.cpu: must be an integer, not a fraction"]),
        ({"args": ["a"], "limits": {"cpu": "infinity"}}, ['limits.cpu: must be an integer or "unlimited"']),
        ({"args": ["a"], "limits": {"cpu": [1]}}, ["limits.cpu: must be one limit, or a list of two: soft and hard"]),
        (
            {"args": ["a"], "limits": {"cpu": [1, 2, 3]}},
            ["limits.cpu: must be one limit, or a list of two: soft and hard"],
        ),
        ({"args": ["a"], "limits": {"cpu": [2, 1]}}, ["limits.cpu: the soft limit is above the hard one"]),
        ({"args": ["a"], "limits": {"cpu": ["unlimited", 1]}}, ["limits.cpu: the soft limit is above the hard one"]),
        (
            {"args": ["a"], "limits": {"cpu": [2**63 - 1, 2**63 - 2]}},
            ["limits.cpu: the soft limit is above the hard one"],
        ),
        ({"args": ["a"], "limits": {"cpu": [None, "1"]}}, [
            "limits.cpu[0]: must be an integer, not null", 'limits.cpu[1]: must be an integer or "unlimited"',
        ]),
        ({"args": ["a"], "no_new_privs": 1}, ["no_new_privs: must be true or false, not a number"]),
        ({"args": ["a"], "env_file": 1}, ["env_file: must be a string, not a number"]),
        ({"args": ["a"], "env_file": ""}, ["env_file: must not be empty"]),
        ({"args": ["a"], "env_file": "web.env"}, ["env_file: must be an absolute path"]),
        ({"args": ["a"], "env_file": ["/a", "b", None, "/\0"]}, [
            "env_file[1]: must be an absolute path", "env_file[2]: must be a string, not null",
            "env_file[3]: must not contain NUL",
        ]),
        ({"args": ["a"], "stop": []}, ["stop: must have at least one step, a signal and the seconds to wait after it"]),
        ({"args": ["a"], "stop": "INT"}, ["stop: must be a list, not a string"]),
        ({"args": ["a"], "stop": ["INT", 5]}, [
            'stop[0]: must be a signal and the seconds to wait after it, such as ["TERM", 10]',
            'stop[1]: must be a signal and the seconds to wait after it, such as ["TERM", 10]',
        ]),
        ({"args": ["a"], "stop": [["INT"]]}, [
            'stop[0]: must be a signal and the seconds to wait after it, such as ["TERM", 10]',
        ]),
        ({"args": ["a"], "stop": [["INT", 1], ["9", -1], [2, True]]}, [
            "stop[1][0]: '9' is no signal's name such as TERM", "stop[1][1]: must be at least 0",
            "stop[2][0]: must be a signal's name such as TERM, not a number",
            "stop[2][1]: must be a number, not a boolean",
        ]),
        ({"args": ["a"], "stop": [["INT", 1, "group"]]}, ['stop[0][2]: must be "main", or left out']),
        ({"args": ["a"], "stop": [["INT", 1, "main", 2]]}, [
            'stop[0]: must be a signal and the seconds to wait after it, such as ["TERM", 10]',
        ]),
        ({"args": ["a"], "stop": [["SIGKILL", 1, "main"]]}, ["stop[0][2]: KILL is for everybody"]),
        ({"args": ["a"], "stop": [[7, 1, "main"]]}, ["stop[0][0]: must be a signal's name such as TERM, not a number"]),
        ({"args": ["a"], "stop": [["INT", 10**10]]}, ["stop[0][1]: must be at most 1000000000 seconds"]),
        ({"args": ["a"], "reload": 1}, ["reload: must be a signal's name such as TERM, not a number"]),
        ({"args": ["a"], "reload": "HUB"}, ["reload: 'HUB' is no signal's name such as TERM"]),
        ({"args": ["a"], "essential": "yes"}, ["essential: must be true or false, not a string"]),
        ({"args": ["a"], "after": "queue"}, ['after: must be a list: ["queue"]']),
        ({"args": ["a"], "after": {}}, ["after: must be a list, not an object"]),
        ({"args": ["a"], "after": ["a b", None]}, [
            "after[0]: 'a b' is no name: letters, digits and . _ @ + - only, the first a letter, a digit or _",
            "after[1]: must be a string, not null",
        ]),
        ({"args": ["a"], "ready": "tcp"}, ["ready: must be an object, not a string"]),
        ({"args": ["a"], "ready": {}}, ["ready: must have exactly one of tcp, http, exec, log, notify, seconds"]),
        ({"args": ["a"], "ready": {"timeout": 1}}, [
            "ready: must have exactly one of tcp, http, exec, log, notify, seconds",
        ]),
        ({"args": ["a"], "ready": {"tcp": 80, "notify": True}}, [
            "ready: must have exactly one of tcp, http, exec, log, notify, seconds, not tcp and notify",
        ]),
        ({"args": ["a"], "ready": {"notfy": True}}, [
            "ready.notfy: unknown key; did you mean 'notify'?",
            "ready: must have exactly one of tcp, http, exec, log, notify, seconds",
        ]),
        ({"args": ["a"], "ready": {"tcp": 80, "every": 1}}, ["ready.every: unknown key"]),
        ({"args": ["a"], "ready": {"tcp": 0}}, ["ready.tcp: must be from 1 to 65535"]),
        ({"args": ["a"], "ready": {"tcp": 65536}}, ["ready.tcp: must be from 1 to 65535"]),
        ({"args": ["a"], "ready": {"tcp": "80"}}, ["ready.tcp: must be an integer, not a string"]),
        ({"args": ["a"], "ready": {"exec": []}}, ["ready.exec: must have at least one entry, the executable"]),
        ({"args": ["a"], "ready": {"exec": "true"}}, ["ready.exec: must be a list, not a string"]),
        ({"args": ["a"], "ready": {"log": ""}}, ["ready.log: must not be empty"]),
        ({"args": ["a"], "ready": {"log": ["up"]}}, ["ready.log: must be a string, not a list"]),
        ({"args": ["a"], "ready": {"log": "(up"}}, [
            "ready.log: is no regular expression: missing ), unterminated subpattern at position 0",
        ]),
        ({"args": ["a"], "ready": {"notify": 1}}, ["ready.notify: must be true"]),
        ({"args": ["a"], "ready": {"notify": False}}, ["ready.notify: must be true"]),
        ({"args": ["a"], "ready": {"seconds": -1}}, ["ready.seconds: must be at least 0"]),
        ({"args": ["a"], "ready": {"seconds": 2, "timeout": 2}}, ["ready.timeout: must be more than seconds"]),
        ({"args": ["a"], "ready": {"tcp": 80, "timeout": 0}}, ["ready.timeout: must be more than 0"]),
        ({"args": ["a"], "ready": {"tcp": 80, "timeout": None}}, ["ready.timeout: must be a number, not null"]),
        ({"args": ["a"], "health": []}, ["health: must be an object, not a list"]),
        ({"args": ["a"], "health": {"every": 1}}, ["health: must have exactly one of tcp, http, exec, notify, beat"]),
        ({"args": ["a"], "health": {"log": "x"}}, [
            "health.log: unknown key", "health: must have exactly one of tcp, http, exec, notify, beat",
        ]),
        ({"args": ["a"], "health": {"seconds": 1, "tcp": 1}}, ["health.seconds: unknown key"]),
        ({"args": ["a"], "health": {"beat": ""}}, ["health.beat: must not be empty"]),
        ({"args": ["a"], "health": {"notify": None}}, ["health.notify: must be true"]),
        ({"args": ["a"], "health": {"tcp": 1, "every": 0}}, ["health.every: must be at least 0.1"]),
        ({"args": ["a"], "health": {"tcp": 1, "every": 10**10}}, ["health.every: must be at most 1000000000 seconds"]),
        ({"args": ["a"], "health": {"tcp": 1, "timeout": 0.0}}, ["health.timeout: must be more than 0"]),
        ({"args": ["a"], "health": {"tcp": 1, "failures": 0}}, ["health.failures: must be from 1 to 1000000000"]),
        ({"args": ["a"], "health": {"tcp": 1, "failures": 1.5}}, [
            "health.failures: must be an integer, not a fraction",
        ]),
        ({"args": ["a"], "health": {"tcp": 1, "start": -1}}, ["health.start: must be at least 0"]),
    ],
)  # fmt: skip
def test_every_problem_is_told_with_its_path(value: Any, problems: list[str]) -> None:
    assert said(value) == problems


@pytest.mark.parametrize(
    "probe",
    [
        {"tcp": 1},
        {"tcp": 65535},
        {"http": "https://user.example:8443/health?deep=1"},
        {"http": "HTTP://[::1]:80"},
        {"exec": ["redis-cli", "ping"]},
        {"log": r"^ready in \d+ ms$"},
        {"notify": True},
        {"seconds": 0},
        {"seconds": 90},
        {"seconds": 2, "timeout": 2.5},
    ],
)
def test_readiness_may_be_known_by_any_one_probe(probe: dict[str, Any]) -> None:
    assert said({"args": ["a"], "ready": probe}) == []


@pytest.mark.parametrize(
    "probe", [{"tcp": 80}, {"http": "http://a-b.c_d/"}, {"exec": ["x"]}, {"notify": True}, {"beat": "run/beat"}]
)
def test_health_may_be_known_by_any_one_probe(probe: dict[str, Any]) -> None:
    assert said({"args": ["a"], "health": probe}) == []


@pytest.mark.parametrize(
    "url",
    "|localhost|localhost:80|ftp://localhost/|http://|http:///x|http://:80/|http://a b/|http://a/b c|http://a/\n"
    "|http://é/|http://a/é|http://a:/|http://me@a/|http://a:8x/|//a/|http://[::1/|http://a:123456/".split("|"),
)
def test_what_is_no_url_to_be_asked_is_refused(url: str) -> None:
    [problem] = said({"args": ["a"], "health": {"http": url}})
    assert problem.startswith("health.http: must be a URL such as http://localhost:8000/health")


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_url_with_a_port_that_is_none_is_refused(port: int) -> None:
    assert said({"args": ["a"], "health": {"http": f"http://a:{port}/"}}) == [
        "health.http: the port must be from 1 to 65535"
    ]


@pytest.mark.parametrize("pattern", ["*", "(?P<a>", "a{99999999999}", "(?L)a", "(" * 5000 + ")" * 5000, "[[a]"])
def test_an_expression_that_cannot_be_compiled_is_refused_whatever_compiling_raises(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever is in force
        [problem] = said({"args": ["a"], "ready": {"log": pattern}})
    assert problem.startswith("ready.log: is no regular expression: ")


def test_a_url_is_a_string() -> None:
    assert said({"args": ["a"], "ready": {"http": 80}}) == ["ready.http: must be a string, not a number"]


@pytest.mark.parametrize("address", ["::1::", ":", "1.2.3.4", "f" * 3000])
def test_a_url_with_an_address_in_brackets_that_is_none_is_refused(address: str) -> None:
    [problem] = said({"args": ["a"], "ready": {"http": f"http://[{address}]/"}})
    assert problem.endswith("is no IPv6 address")
    assert len(problem) < 80


@pytest.mark.parametrize(
    "log", [False, {}, {"max_bytes": 0}, {"max_bytes": 1}, {"max_bytes": 10**15, "backups": 1000, "buffer": 4096}]
)
def test_a_log_may_be_small_large_or_none(log: Any) -> None:
    assert said({"args": ["a"], "log": log}) == []


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        (True, "log: must be an object or false, not true"),
        (None, "log: must be an object or false, not null"),
        ("/var/log/web", "log: must be an object or false, not a string"),
        ({"max_bytes": -1}, "log.max_bytes: must be from 0 to 1000000000000000"),
        ({"backups": True}, "log.backups: must be an integer, not a boolean"),
        ({"backups": 1001}, "log.backups: must be from 0 to 1000"),
        ({"relay": 1}, "log.relay: must be true or false, not a number"),
        ({"buffer": 2**20 + 1}, "log.buffer: must be from 4096 to 1048576"),
        ({"maxbytes": 5000}, "log.maxbytes: unknown key; did you mean 'max_bytes'?"),
    ],
)
def test_what_is_wrong_with_a_log_is_said(log: Any, problem: str) -> None:
    assert said({"args": ["a"], "log": log}) == [problem]


def test_nobody_starts_after_itself() -> None:
    value = {"args": ["a"], "after": ["queue", "web"]}
    assert [str(problem) for problem in check.problems(value, "web")] == ["after[1]: web cannot start after itself"]
    assert check.problems(value, "other") == ()
    assert check.problems(value) == ()
    assert check.problems({"args": ["a"], "after": "web"}, "web") == check.problems({"args": ["a"], "after": "web"})


@pytest.mark.parametrize("key", sorted(check.UNSUPPORTED))
def test_a_key_whose_feature_is_not_there_is_a_problem_and_never_ignored(key: str) -> None:
    assert Problem(key, "not supported by this version") in check.problems({"args": ["a"], key: None})


def test_every_limit_that_this_system_has_a_name_for_can_be_set() -> None:
    named = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
    assert named - {"ofile"} == check.LIMITS  # which is nofile's old name


def test_a_user_may_have_another_group_than_its_own() -> None:
    assert said({"args": ["a"], "user": "www", "gid": 4, "supplementary_groups": []}) == []


def test_a_near_miss_is_kept_and_pointed_out() -> None:
    value = {"args": ["a"], "enviroment": {}, "env_inherits": [], "owner": "me"}
    assert said(value) == []
    assert check.unknown(value) == ("enviroment", "env_inherits", "owner")
    assert check.unknown_note("env_inherits") == "unknown key 'env_inherits'; did you mean 'env_inherit'?"
    assert check.unknown_note("owner") == "unknown key 'owner'"


def test_a_file_that_is_wrong_everywhere_is_told_so_a_hundred_times() -> None:
    value = {"args": ["a"], "restart": {f"initia{number}": 1 for number in range(9000)}}
    assert len(check.problems(value)) == check.MAX_PROBLEMS


@given(st.dictionaries(st.sampled_from(sorted(check.KEYS)), json_values, max_size=4))
def test_no_value_whatever_breaks_the_validator(value: dict[str, Any]) -> None:
    for problem in check.problems(value):
        assert problem.message
        assert problem.path == "" or problem.path.split(".")[0].split("[")[0] in check.KEYS


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_one_value_is_judged_by_itself(key: str, value: Any) -> None:
    """What is wrong with one key is told of that key alone."""
    for problem in check.problems({**GOOD, key: value}):
        assert problem.path.startswith(key)


# -- who waits for whom


# -- messages


@pytest.mark.parametrize(
    "message",
    [
        {"type": "RESTART", "name": "web"},
        {"type": "restart", "name": "web", "by": "me", "whatever": 1},
        {"type": "RESTART-ALL"},
        {"type": "RESTART-GROUP", "group": "diary"},
        {"type": "STOP", "name": "web"},
        {"type": "STOP", "group": "web"},
        {"type": "START", "name": "web"},
        {"type": "SIGNAL", "name": "web", "signal": "hup"},
        {"type": "Signal", "name": "web", "signal": "SIGHUP"},
        {"type": "Rotate"},
        {"type": "SCAN"},
    ],
)
def test_a_request_has_no_problem(message: Any) -> None:
    assert check.message_problems(message) == ()


@pytest.mark.parametrize(
    ("message", "problems"),
    [
        ("RESTART web", ["must be an object, not a string"]),
        ({}, ["type: is missing"]),
        ({"type": 3}, ["type: must be a string, not a number"]),
        ({"type": "RESTRAT", "name": "web"}, ["type: unknown type 'RESTRAT'; did you mean 'RESTART'?"]),
        ({"type": "quit"}, ["type: unknown type 'QUIT'"]),
        ({"type": "reload"}, ["RELOAD needs name"]),
        ({"type": "run", "name": "web"}, ["type: RUN is not supported by this version"]),
        ({"type": "RESTART"}, ["RESTART needs name"]),
        ({"type": "RESTART", "group": "web"}, ["RESTART needs name"]),
        ({"type": "RESTART", "name": ""}, ["name: a name is empty"]),
        ({"type": "RESTART", "name": "x.json"}, ["name: 'x.json' is no name: it ends in .json"]),
        ({"type": "RESTART", "name": None}, ["name: must be a string, not null"]),
        ({"type": "STOP"}, ["STOP needs name or group"]),
        ({"type": "STOP", "name": "a", "group": "b"}, ["STOP needs name or group, not both"]),
        ({"type": "SIGNAL", "name": "web"}, ["SIGNAL needs name and signal"]),
        ({"type": "SIGNAL", "name": "a", "signal": 15}, ["signal: must be a signal's name such as TERM, not a number"]),
        ({"type": "SIGNAL", "name": "a", "signal": "15"}, ["signal: '15' is no signal's name such as TERM"]),
        ({"type": "SIGNAL", "name": "a", "signal": "QUT"}, ["signal: 'QUT' is no signal's name such as TERM"]),
        ({"type": "SCAN", "by": 1}, ["by: must be a string, not a number"]),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_why(message: Any, problems: list[str]) -> None:
    assert [str(problem) for problem in check.message_problems(message)] == problems


@pytest.mark.parametrize("member", list(signal.Signals))
def test_every_signal_has_one_spelling(member: signal.Signals) -> None:
    name = member.name.removeprefix("SIG")
    assert check.signal_name(member.name) == check.signal_name(name.lower()) == name


@pytest.mark.parametrize("text", ["", "9", "SIG", "SIG_DFL", "TERM ", "SIGSIGTERM", "²"])
def test_what_is_no_signals_name_is_none(text: str) -> None:
    assert check.signal_name(text) is None


# -- its cost


def test_importing_the_validator_loads_only_what_json_needs() -> None:
    code = (
        "import json, math, fnmatch, sys; b = set(sys.modules); import colony.core.check; print(*set(sys.modules) - b)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"colony", "colony.core", "colony.core.check", "__future__"}


def test_a_problem_is_one_harmless_line_whatever_the_keys_are() -> None:
    [problem] = check.problems({"args": ["a"], "env": {"a\n\x1b[31m\xe9": 1}})
    assert problem.path == "env.a\n\x1b[31m\xe9"
    assert str(problem) == "env.a\\n\\x1b[31m\xe9: must be a string, not a number"
