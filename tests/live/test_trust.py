"""A supervisor that is root obeys no file of somebody else: at its start, while it runs, and in what is asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.live.driver import AT_ONCE, NOBODY, PATIENCE, SLEEP, Colony, python_for, stays

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has others to distrust, and can make files theirs"),
]

DAEMON = 1


def refusal(place: Colony, *options: str) -> str:
    """The one line with which it refuses to start."""
    assert place.begin("python", "-m", "twisted", "colony", *place.places, *options).wait(PATIENCE) == 1
    [line] = [line for line in place.said("") if line]
    return line


def give(path: Path, owner: int, mode: int) -> None:
    os.chown(path, owner, owner, follow_symlinks=False)
    path.chmod(mode)


def problem(colony: Colony, name: str) -> str:
    """What status says is wrong with a file, waited for."""
    found = colony.wait_for(lambda: colony.status(name).get("problems"), AT_ONCE)
    assert found
    return str(found[0]["message"])


# -- at its start ---------------------------------------------------------------------------------------------


def test_a_config_that_everybody_may_write_is_refused_in_one_line_that_says_what_to_do(place: Colony) -> None:
    place.write("web", *SLEEP)
    place.config.chmod(0o777)
    line = refusal(place)
    assert f"{place.config} (mode 0777)" in line
    assert f"chmod o-w {place.config}" in line
    subprocess.run(["chmod", "o-w", str(place.config)], check=True)
    place.start()
    place.runs("web")


@pytest.mark.parametrize("which", ["config", "state"])
def test_a_directory_of_somebody_else_is_refused_unless_he_is_trusted(place: Colony, which: str) -> None:
    place.state.mkdir()
    theirs = place.config if which == "config" else place.state
    os.chown(theirs, DAEMON, DAEMON)
    line = refusal(place)
    assert f"{theirs} (mode 0755) belongs to uid {DAEMON}" in line
    assert "--trust-user" in line
    place.start("--trust-user", "nobody", "--trust-user", "daemon")
    place.obeys_at_once()


def test_a_place_from_which_config_could_be_taken_is_refused_and_a_sticky_one_is_not(place: Colony) -> None:
    place.folder.chmod(0o777)
    assert f"{place.folder} (mode 0777)" in refusal(place)
    place.folder.chmod(0o1777)
    place.start()
    place.obeys_at_once()


def test_a_trusted_user_that_does_not_exist_is_refused(place: Colony) -> None:
    assert refusal(place, "--trust-user", "no-such") == "colony: --trust-user no-such: no such user"


def test_without_strict_modes_everybody_is_obeyed_and_it_is_said_aloud(place: Colony) -> None:
    place.write("web", *SLEEP)
    give(place.config / "web", NOBODY, 0o666)
    give(place.config, NOBODY, 0o777)
    place.start("--no-strict-modes")
    place.runs("web")
    place.wait_for(lambda: len(place.said("strict modes are off")) == 1)


def test_a_group_that_may_write_is_noted_once(place: Colony) -> None:
    place.config.chmod(0o775)
    place.write("web", *SLEEP)
    (place.config / "web").chmod(0o664)
    place.start()
    place.runs("web")
    place.write("web", *SLEEP, env={"A": "1"})
    place.obeys_at_once()
    place.wait_for(
        lambda: len(place.said(f"the directory {place.config} (mode 0775) may be written by its group")) == 1
    )
    assert len(place.said("the file ")) <= 1


def test_who_is_not_root_judges_nobodys_files() -> None:
    python, path = python_for(NOBODY)
    with tempfile.TemporaryDirectory() as folder:  # which others may enter, unlike pytest's
        colony = Colony(Path(folder))
        for directory in (colony.folder, colony.config, colony.messages):
            give(directory, NOBODY, 0o777)
        colony.write("web", *SLEEP)
        give(colony.config / "web", DAEMON, 0o666)
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        try:
            colony.begin(
                *python, "-m", "twisted", "colony", *colony.places, env={"PYTHONPATH": path}, cwd=folder, **identity
            )
            colony.runs("web")
            colony.stop()
        finally:
            assert colony.clean() == []


# -- while it runs --------------------------------------------------------------------------------------------


def test_a_file_that_becomes_somebody_elses_is_bad_and_what_runs_goes_on(colony: Colony) -> None:
    colony.write("web", *SLEEP)
    pid = colony.runs("web")
    for owner, mode in ((NOBODY, 0o644), (0, 0o646)):
        new = colony.config / ".web.new"
        new.write_text(json.dumps({"args": ["sleep", "2000"]}))
        give(new, owner, mode)
        new.rename(colony.config / "web")
        message = problem(colony, "web")
        assert message.startswith(f"{colony.config}/web (mode {mode:04o})")
        colony.obeys_at_once()
        assert colony.running("web") == [pid]
        colony.write("web", *SLEEP)
        colony.wait_for(lambda: not colony.status("web")["problems"], AT_ONCE)
        assert colony.running("web") == [pid]


def test_a_bad_owner_at_the_start_leaves_the_last_good_definition_in_force(colony: Colony) -> None:
    colony.write("web", *SLEEP, env={"A": "good"})
    colony.write("other", *SLEEP)
    colony.runs("web")
    colony.wait_for(lambda: (colony.state / "specs" / "web").exists())
    colony.stop()
    (colony.config / "web").write_text(json.dumps({"args": [*SLEEP], "env": {"A": "evil"}}))
    give(colony.config / "web", NOBODY, 0o644)
    colony.start()
    colony.runs("web")
    colony.runs("other")
    [main] = colony.family("web")
    assert main.environ["A"] == "good"
    assert "belongs to uid 65534" in problem(colony, "web")


def test_a_new_file_of_somebody_else_never_runs(colony: Colony) -> None:
    new = colony.config / ".web.new"
    new.write_text(json.dumps({"args": [*SLEEP]}))
    give(new, NOBODY, 0o644)
    new.rename(colony.config / "web")
    assert "belongs to uid 65534" in problem(colony, "web")
    assert stays(lambda: not colony.running("web"))
    os.chown(colony.config / "web", 0, 0)
    colony.runs("web", seconds=AT_ONCE)


def test_a_config_that_is_opened_to_everybody_is_not_looked_into_until_it_is_closed(place: Colony) -> None:
    place.start("--frequency", "0.2")
    place.write("web", *SLEEP)
    pid = place.runs("web")
    place.config.chmod(0o777)
    place.wait_for(lambda: place.said("(mode 0777) may be written by everybody"))
    place.write("evil", *SLEEP)
    place.remove("web")
    assert stays(lambda: place.running() == [pid], 1.0)
    (place.config / "evil").unlink()
    place.write("web", *SLEEP)
    place.config.chmod(0o755)
    place.obeys_at_once()
    assert place.running("web") == [pid]


# -- what is asked --------------------------------------------------------------------------------------------


def ask_as(colony: Colony, uid: int, filename: str, **message: str) -> str:
    """Leave a message as somebody else would; returns its file's name."""
    new = colony.messages / f".{filename}.new"
    new.write_text(json.dumps(message))
    give(new, uid, 0o644)
    new.rename(colony.messages / filename)
    return filename


def test_where_everybody_may_ask_only_trusted_users_are_obeyed(place: Colony) -> None:
    place.messages.chmod(0o1777)
    place.start("--trust-user", "daemon")
    place.write("web", *SLEEP)
    pid = place.runs("web")
    answer = place.answer(ask_as(place, NOBODY, "1", type="RESTART", name="web"))
    assert (answer["ok"], answer["code"]) == (False, 1)
    assert f"belongs to uid {NOBODY}" in answer["error"]
    assert place.running("web") == [pid]
    ask_as(place, DAEMON, "2", type="RESTART", name="web")
    pid = place.runs("web", instead_of=pid, seconds=AT_ONCE)
    place.done("restart", "web", "--wait")
    assert place.running("web") != [pid]


def test_where_a_group_may_ask_its_members_are_obeyed(place: Colony) -> None:
    os.chown(place.messages, 0, NOBODY)
    place.messages.chmod(0o2770)
    place.start()
    place.write("web", *SLEEP)
    pid = place.runs("web")
    ask_as(place, NOBODY, "1", type="RESTART", name="web")
    place.runs("web", instead_of=pid, seconds=AT_ONCE)


def test_nothing_listens(colony: Colony) -> None:
    colony.obeys_at_once()
    assert colony.supervisor is not None
    folder = Path(f"/proc/{colony.supervisor.pid}")
    links = [os.readlink(entry) for entry in (folder / "fd").iterdir()]
    own = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    there = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
        if (folder / "net" / table).exists():
            there |= {line.split()[9] for line in (folder / "net" / table).read_text().splitlines()[1:]}
    # Of a socket in the file system: flags with __SO_ACCEPTCON, then type, state and inode.
    lines = [line.split() for line in (folder / "net" / "unix").read_text().splitlines()[1:]]
    there |= {fields[6] for fields in lines if int(fields[3], 16) & 0x10000}
    assert own & there == set()


def test_who_may_ask_cannot_make_colony_hang_or_write_where_he_may_not(place: Colony) -> None:
    os.mkfifo(place.messages / ".state")
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    (place.messages / ".bad").symlink_to(elsewhere)
    place.messages.chmod(0o1777)
    place.start()
    place.obeys_at_once()
    place.wait_for(lambda: (place.messages / ".state").is_file())
    assert list(elsewhere.iterdir()) == []
