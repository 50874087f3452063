"""What a process finds in its environment, and what becomes of ``${env:NAME}``."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core.env_file import Misread
from colony.core.environment import DEFAULT_PATH, Finished, Unset, expand, finish
from colony.core.model import Health, Name, Notify, ProcessSpec, Readiness, Start, Tcp
from tests.strategies import steady

INHERITED = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "LC_TIME": "de", "SECRET": "x"}


def finished(
    spec: ProcessSpec, inherited: dict[str, str] | None = None, account: dict[str, str] | None = None
) -> Finished:
    start = Start(Name("web"), "c0.5", spec, b'{"args": ["web"]}')
    return finish(start, account or {}, INHERITED if inherited is None else inherited)


def env(
    inherited: dict[str, str] | None = None,
    *,
    env: tuple[tuple[str, str], ...] = (),
    env_inherit: tuple[str, ...] = (),
) -> dict[str, str]:
    """What a process gets beyond what colony itself says."""
    said = {"NCOLONY_CONFIG", "NCOLONY_NAME", "COLONY_NAME", "COLONY_TOKEN"}
    whole = finished(ProcessSpec(("web",), "d", env=env, env_inherit=env_inherit), inherited).env
    return {key: value for key, value in whole.items() if key not in said}


def test_a_process_gets_path_and_what_colony_says_and_nothing_else() -> None:
    assert finished(ProcessSpec(("web",), "d")).env == {
        "PATH": "/bin",
        "NCOLONY_CONFIG": '{"args": ["web"]}',
        "NCOLONY_NAME": "web",
        "COLONY_NAME": "web",
        "COLONY_TOKEN": "c0.5",
    }


def test_a_supervisor_without_a_path_hands_on_the_usual_one() -> None:
    assert env({}) == {"PATH": DEFAULT_PATH}


def test_a_file_may_be_left_out_of_the_environment() -> None:
    assert "NCOLONY_CONFIG" not in finished(ProcessSpec(("web",), "d", config_env=False)).env


def test_names_and_globs_are_inherited_and_an_unset_one_stays_unset() -> None:
    assert env(env_inherit=("HOME", "LC_*", "NOWHERE", "NO_*")) == {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "LC_TIME": "de",
    }


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*", set(INHERITED)),
        ("LC_?LL", {"LC_ALL"}),
        ("LC_[AT]*", {"LC_ALL", "LC_TIME"}),
        ("lc_*", set()),  # case counts
        ("HOM", set()),
    ],
)
def test_a_glob_takes_what_it_matches(pattern: str, taken: set[str]) -> None:
    assert set(env(env_inherit=(pattern,))) == taken | {"PATH"}


def test_a_name_with_a_glob_character_in_it_is_first_of_all_a_name() -> None:
    assert env({"A*": "1", "AB": "2"}, env_inherit=("A*",)) == {"PATH": DEFAULT_PATH, "A*": "1"}


def test_what_a_file_says_wins_over_what_is_inherited() -> None:
    assert env(env_inherit=("HOME",), env=(("HOME", "/srv"), ("PATH", "/opt"))) == {"HOME": "/srv", "PATH": "/opt"}


ACCOUNT = {"HOME": "/home/w", "USER": "w", "LOGNAME": "w", "SHELL": "/bin/sh"}


def test_what_comes_with_a_user_wins_over_what_is_inherited_and_gives_way_to_what_the_file_says() -> None:
    spec = ProcessSpec(("web",), "d", env_inherit=("HOME", "LC_ALL"), env=(("SHELL", "/bin/zsh"),), config_env=False)

    whole = finished(spec, account=ACCOUNT).env

    said = {"NCOLONY_NAME": "web", "COLONY_NAME": "web", "COLONY_TOKEN": "c0.5"}
    assert whole == {"PATH": "/bin", "LC_ALL": "C", **ACCOUNT, "SHELL": "/bin/zsh", **said}


def test_values_expand_against_what_comes_with_a_user() -> None:
    spec = ProcessSpec(("web",), "d", env=(("DATA", "${env:HOME}/data"),), env_inherit=("HOME",))

    assert finished(spec, account=ACCOUNT).env["DATA"] == "/home/w/data"


def with_files(*contents: bytes, spec: ProcessSpec) -> Finished:
    spec = attrs.evolve(spec, env_file=tuple(f"/{number}" for number in range(len(contents))), config_env=False)
    return finish(Start(Name("web"), "c0.5", spec, b""), ACCOUNT, INHERITED, contents)


def test_files_of_variables_win_over_what_is_inherited_and_give_way_to_what_the_file_says() -> None:
    spec = ProcessSpec(("web",), "d", env_inherit=("LC_ALL", "SECRET"), env=(("C", "file"),))

    whole = with_files(b"HOME=/var\nLC_ALL=de\nA=1\nB=1\nC=1\nCOLONY_NAME=x", b"B=2\nPATH=/opt", spec=spec).env

    said = {"NCOLONY_NAME": "web", "COLONY_NAME": "web", "COLONY_TOKEN": "c0.5"}
    given = {**ACCOUNT, "HOME": "/var", "LC_ALL": "de", "SECRET": "x", "A": "1", "B": "2", "C": "file", "PATH": "/opt"}
    assert whole == given | said


def test_everything_that_expands_does_so_with_files_of_variables_too() -> None:
    spec = ProcessSpec(("/bin/sh", "-c", "exec ${env:A} $A"), "d", cwd="/srv/${env:A}", env=(("B", "${env:A}/b"),))

    done = with_files(b"A=${env:PATH}", spec=spec)

    assert done.args == ("/bin/sh", "-c", "exec ${env:PATH} $A")  # what is in such a file expands to nothing
    assert done.cwd == "/srv/${env:PATH}"
    assert done.env["B"] == "${env:PATH}/b"


def test_a_file_of_variables_that_is_none_is_named() -> None:
    with pytest.raises(Misread, match="/1 line 2: is not KEY=VALUE"):
        with_files(b"A=1", b"B=1\nsecret", spec=ProcessSpec(("web",), "d"))


SOCKET = {"NOTIFY_SOCKET": "@colony-c0"}
WATCHDOG = {"WATCHDOG_USEC": "2500000"}


@pytest.mark.parametrize(
    ("ready", "health", "told"),
    [
        (None, None, {}),
        (Readiness(Tcp(1)), Health(Tcp(1)), {}),
        (Readiness(Notify()), None, SOCKET),
        (None, Health(Notify(), every=2.5), SOCKET | WATCHDOG),
        (Readiness(Notify()), Health(Notify(), every=2.5), SOCKET | WATCHDOG),
        (Readiness(Notify()), Health(Tcp(1), every=2.5), SOCKET),
    ],
)
def test_who_is_to_notify_is_told_where_and_how_often_and_nobody_else_is(
    ready: Readiness | None, health: Health | None, told: dict[str, str]
) -> None:
    lies = tuple((key, "x") for key in told)
    spec = ProcessSpec(("web",), "d", ready=ready, health=health, env=lies)
    start = Start(Name("web"), "c0.5", spec, b"")

    found = finish(start, {}, {}, notify="@colony-c0").env

    assert {key: value for key, value in found.items() if key in SOCKET | WATCHDOG} == told


def test_where_there_is_no_socket_nobody_is_told_of_one() -> None:
    spec = ProcessSpec(("web",), "d", ready=Readiness(Notify()), health=Health(Notify()))

    assert not finished(spec).env.keys() & (SOCKET | WATCHDOG).keys()


def test_nothing_overrides_what_colony_says() -> None:
    lies = {"NCOLONY_NAME": "x", "COLONY_NAME": "x", "COLONY_TOKEN": "x", "NCOLONY_CONFIG": "x"}
    spec = ProcessSpec(("web",), "d", env=tuple(lies.items()), env_inherit=("*",))

    whole = finished(spec, INHERITED | lies).env

    assert whole["NCOLONY_NAME"] == whole["COLONY_NAME"] == "web"
    assert whole["COLONY_TOKEN"] == "c0.5"
    assert whole["NCOLONY_CONFIG"] == '{"args": ["web"]}'


def test_values_expand_against_what_is_inherited_and_never_against_each_other() -> None:
    values = (("A", "${env:HOME}/a"), ("HOME", "/srv"))

    assert env(env_inherit=("HOME",), env=values) == {"PATH": "/bin", "HOME": "/srv", "A": "/root/a"}
    with pytest.raises(Unset, match=r"\$\{env:A\} is not set"):
        env(env=(("A", "1"), ("B", "${env:A}")))


def test_what_is_not_inherited_cannot_be_expanded() -> None:
    with pytest.raises(Unset) as caught:
        env(env=(("A", "${env:SECRET}"),))

    assert caught.value.name == "SECRET"


def test_args_and_cwd_expand_against_the_finished_environment() -> None:
    spec = ProcessSpec(
        ("${env:A}", "-n", "${env:COLONY_NAME}.${env:A}"), "d", env=(("A", "${env:PATH}/x"),), cwd="/srv/${env:A}"
    )

    done = finished(spec)

    assert done.args == ("/bin/x", "-n", "web./bin/x")
    assert done.cwd == "/srv//bin/x"


def test_no_cwd_is_no_cwd() -> None:
    assert finished(ProcessSpec(("web",), "d")).cwd is None


@pytest.mark.parametrize("field", ["args", "cwd"])
def test_an_unset_name_is_named(field: str) -> None:
    spec = ProcessSpec(("web",), "d")
    spec = attrs.evolve(spec, args=("${env:X}",)) if field == "args" else attrs.evolve(spec, cwd="${env:X}")

    with pytest.raises(Unset, match=r"\$\{env:X\} is not set"):
        finished(spec)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${env:A}", "1"),
        ("${env:A}${env:B}", "12"),
        ("x${env:A}y", "x1y"),
        ("$${env:A}", "${env:A}"),
        ("$$${env:A}", "$${env:A}"),
        ("${env:A}$${env:B}", "1${env:B}"),
        ("$${env:NOWHERE}", "${env:NOWHERE}"),
        ("$A ${A} $$ $1 $(date) ${A:-b} ${utc:%Y}", "$A ${A} $$ $1 $(date) ${A:-b} ${utc:%Y}"),
        ("${env:}", "${env:}"),
        ("${env:A", "${env:A"),
        ("${ENV:A}", "${ENV:A}"),
        ("${env:D}", "${env:A}"),  # what comes out is not looked at again
        ("", ""),
    ],
)
def test_only_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "D": "${env:A}"}) == expanded


@steady
@given(st.text().filter(lambda text: "${env:" not in text))
def test_text_without_a_reference_stays_as_it_is(text: str) -> None:
    assert expand(text, {}) == text


@steady
@given(st.lists(st.sampled_from(["$", "$$", "${env:A}", "${env:B}", "{", "}", "env:A", "x"]), max_size=12))
def test_with_one_more_dollar_every_reference_is_a_literal_of_itself(parts: list[str]) -> None:
    # A part that ends in $ right before a reference would itself quote it.
    text = " ".join(parts)

    assert expand(text.replace("${env:", "$${env:"), {}) == text
