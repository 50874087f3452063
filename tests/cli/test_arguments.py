"""What is typed is what arrives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.cli import VERBS, arguments
from colony.cli.arguments import FLAGS, Parser, Usage, Words, sort
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn


def written(colony: StandIn, name: str = "web") -> Any:
    return json.loads((colony.config / name).read_bytes())


# -- sorting words


@pytest.mark.parametrize(
    ("argv", "options", "positionals", "tail"),
    [
        ([], [], [], None),
        (["a", "b"], [], ["a", "b"], None),
        (["--arg=x", "a"], ["--arg==x"], ["a"], None),
        (["--arg", "x", "a"], ["--arg==x"], ["a"], None),
        (["--arg", "-x"], ["--arg==-x"], [], None),
        (["--arg", "--wait"], ["--arg==--wait"], [], None),
        (["--arg", "--", "a"], ["--arg==--"], ["a"], None),
        (["--arg=--", "--arg="], ["--arg==--", "--arg=="], [], None),
        (["--arg=a=b"], ["--arg==a=b"], [], None),
        (["-o", "name,pid"], ["-o==name,pid"], [], None),
        (["-oname"], ["-o==name"], [], None),
        (["-o=name"], ["-o==name"], [], None),
        (["--json", "a", "-h"], ["--json", "-h"], ["a"], None),
        (["-", "a"], [], ["-", "a"], None),
        (["a", "--arg"], ["--arg"], ["a"], None),
        (["a", "--", "-x", "--", "y"], [], ["a"], ["-x", "--", "y"]),
        (["--"], [], [], []),
    ],
)
def test_options_and_positionals_are_told_apart(
    argv: list[str], options: list[str], positionals: list[str], tail: list[str] | None
) -> None:
    assert sort(argv) == Words(options, positionals, tail)


@pytest.mark.parametrize("argv", [["--json=yes"], ["--wait="]])
def test_a_value_that_is_too_many_is_told(argv: list[str]) -> None:
    with pytest.raises(Usage, match="value"):
        sort(argv)


@given(st.lists(st.text(max_size=8), max_size=5))
def test_every_value_comes_through_argparse_unchanged(values: list[str]) -> None:
    parser = Parser("add", "NAME", "it")
    parser.value("--arg", action="append")
    separate = parser.parse(sort([word for value in values for word in ("--arg", value)]))
    joined = parser.parse(sort([f"--arg={value}" for value in values]))
    assert separate.arg == joined.arg == (values or None)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_flags_are_known_before_the_verb_is(verb: str) -> None:
    """Else a verb could not be found behind them."""
    from importlib import import_module

    parser = Parser(verb, "", "it")
    import_module(f"colony.cli.{VERBS[verb].module}").options(parser, verb)
    takes_none = {name for action in parser._actions if action.nargs == 0 for name in action.option_strings}
    assert takes_none <= FLAGS


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-1", -1), ("007", 7)])
def test_an_integer_is_digits(text: str, value: int) -> None:
    assert arguments.integer(text) == value


@pytest.mark.parametrize("text", ["", "1.5", "0x10", "1_000", "root", "--1"])
def test_what_is_no_integer_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        arguments.integer(text)


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "1e10"])
def test_what_is_no_number_of_seconds_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of seconds"):
        arguments.seconds(text)


# -- whole command lines


@pytest.mark.parametrize(
    "argv",
    [
        ["ctl", "add", "--name=web", "--cmd=python", "--arg=-m", "--arg=x"],
        ["ctl", "--cmd", "python", "add", "--arg", "-m", "web", "--arg", "x"],
        ["add", "web", "--", "python", "-m", "x"],
        ["--json", "add", "web", "--", "python", "-m", "x"],
        ["--name", "web", "add", "--", "python", "-m", "x"],
        ["--json", "ctl", "add", "web", "--name=web", "--", "python", "-m", "x"],
    ],
)
def test_options_may_stand_anywhere(ctl: Ctl, dead: StandIn, argv: list[str]) -> None:
    assert ctl(*argv).code == 0
    assert written(dead) == {"args": ["python", "-m", "x"]}


def test_directories_may_be_given_before_ctls_verb_and_override_the_environment(
    ctl: Ctl, dead: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONY_CONFIG", "/nowhere")
    monkeypatch.setenv("COLONY_MESSAGES", "")
    places = ["--messages", str(dead.messages), f"--config={dead.config}"]
    assert ctl("ctl", *places, "add", "--name=web", "--cmd=python", "--arg=-m").code == 0
    assert written(dead) == {"args": ["python", "-m"]}
    assert ctl("restart", "web", *places).code == 0
    assert dead.asked() == [{"type": "RESTART", "name": "web"}]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "say what to do"),
        (["ctl"], "say what to do"),
        (["pause"], "unknown verb 'pause'"),
        (["reload"], "needs a NAME"),
        (["add", "web", "--cmd=x", "--essential=true"], "--essential takes no value"),
        (["ctl", "ctl", "status"], "unknown verb 'ctl'"),
        (["statsu"], "unknown verb 'statsu'; did you mean status?"),
        (["add"], "needs a NAME"),
        (["add", "web", "--name=echo", "--cmd=x"], "two different NAMEs: web, and by option echo"),
        (["restart", "--name=a", "b"], "two different NAMEs: b, and by option a"),
        (["add", "web", "sleep", "1"], "one NAME, not also 'sleep'; a command goes after --"),
        (["add", "web", "--arg=x"], "--arg needs --cmd"),
        (["add", "web", "--"], "needs a command after --"),
        (["add", "web", "--cmd=x", "--", "y"], "two commands"),
        (["add", "web", "--comand=x"], "unknown option --comand of colony add"),
        (["add", "web", "--cm=x"], "unknown option --cm of colony add"),
        (["add", "web", "--cmd"], "--cmd needs a value"),
        (["status", "-o"], "-o needs a value"),
        (["status", "--verbose"], "unknown option --verbose of colony status"),
        (["status", "-q"], "unknown option -q of colony status"),
        (["add", "web", "--cmd=x", "--uid=root"], "--uid: 'root' is not a whole number"),
        (["add", "web", "--cmd=x", "--restart={"], "--restart: not JSON"),
        (["add", "web", "--cmd=x", "--extras=[1]"], "--extras: "),
        (["add", "web", "--cmd=x", "--extras=/nowhere"], "--extras: no such file or directory: /nowhere"),
        (["add", "web", "--cmd=x", "--wait", "--wait-timeout=soon"], "is not a number of seconds"),
        (["remove"], "needs a NAME"),
        (["restart"], "needs a NAME"),
        (["restart-all", "web"], "takes no 'web'"),
        (["restart-group"], "needs a GROUP"),
        (["stop"], "needs a NAME"),
        (["signal", "web"], "needs one NAME and one SIGNAL"),
        (["signal", "--name=web"], "needs one NAME and one SIGNAL"),
        (["signal", "web", "99"], "cannot signal web: signal: '99' is no signal's name"),
        (["signal", "web", "echo", "HUP"], "needs one NAME and one SIGNAL"),
        (["scan", "now"], "takes no 'now'"),
        (["show"], "needs a NAME"),
        (["wait"], "needs a NAME"),
        (["status", "--wait"], "unknown option --wait of colony status"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    ctl: Ctl, dead: StandIn, argv: list[str], message: str
) -> None:
    done = ctl(*argv)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert not list(dead.config.iterdir())
    assert dead.asked() == []

    told = ctl("--json", *argv)
    assert told.json["code"] == 2
    assert message in told.json["error"]


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["ctl", "--help"]])
def test_help_lists_every_verb(ctl: Ctl, argv: list[str]) -> None:
    done = ctl(*argv)
    assert done.code == 0
    for verb in VERBS:
        assert f"  {verb} " in done.out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(ctl: Ctl, verb: str) -> None:
    done = ctl("ctl", verb, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: colony {verb} ")
    assert "--config DIR" in done.out


def test_the_version_is_told(ctl: Ctl) -> None:
    done = ctl("--version")
    assert (done.code, done.out.split()[0]) == (0, "colony")


@pytest.mark.parametrize("verb", ["status", "diff", "wait", "show"])
def test_looking_needs_a_supervisor(ctl: Ctl, dead: StandIn, verb: str) -> None:
    done = ctl(verb, *(["web"] if verb in ("wait", "show") else []))
    assert (done.code, done.out) == (5, "")
    assert "no supervisor is alive" in done.err


@pytest.mark.parametrize("verb", ["status", "add web --cmd=x", "restart web"])
def test_a_directory_that_is_not_given_is_asked_for(ctl: Ctl, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.delenv("COLONY_CONFIG")
    monkeypatch.delenv("COLONY_MESSAGES")
    done = ctl(*verb.split())
    assert done.code == 2
    assert "COLONY_" in done.err
