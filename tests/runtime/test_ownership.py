"""Real files of real owners: what root obeys, what it does not, and what it makes of a change."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.core.desired import Readable, Unreadable
from colony.core.model import Answer, Message
from colony.runtime.inbox import PATIENCE_BROKEN, Inbox
from colony.runtime.ownership import Ownership, Untrusted
from colony.runtime.watch import Unseen, Watch
from tests.runtime.loop import descriptors, said

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")

DAEMON, NOBODY = 1, 65534
ROOT_ALONE = frozenset({0})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir(mode=0o755)
    return tmp_path / "config"


def watch(config: Path, trusted: frozenset[int] | None = ROOT_ALONE) -> Watch:
    return Watch(str(config), 1000, time.monotonic, lambda: time.time() + 3600, ownership=Ownership(trusted))


def put(path: Path, data: bytes = b"{}", *, owner: int = 0, mode: int = 0o644) -> Path:
    path.write_bytes(data)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def judge(path: Path, trusted: frozenset[int] | None = ROOT_ALONE) -> str | None:
    """What is said of a directory."""
    before = descriptors()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        Ownership(trusted).require_directory(str(path), descriptor)
    except Untrusted as untrusted:
        return str(untrusted)
    finally:
        os.close(descriptor)
        assert descriptors() == before
    return None


# -- directories ----------------------------------------------------------------------------------------------


def test_a_directory_of_ours_is_obeyed_also_below_a_sticky_one(tmp_path: Path, config: Path) -> None:
    tmp_path.chmod(0o1777)
    assert judge(config) is None


def test_a_directory_that_everybody_may_write_is_not(config: Path) -> None:
    config.chmod(0o1777)
    assert judge(config) == f"{config} (mode 1777) may be written by everybody: chmod o-w {config}"
    assert judge(config, None) is None


def test_a_directory_of_somebody_else_is_not_unless_he_is_trusted(config: Path) -> None:
    os.chown(config, DAEMON, 0)
    found = judge(config)
    assert found is not None
    assert found.startswith(f"{config} (mode 0755) belongs to uid 1")
    assert judge(config, frozenset({0, DAEMON})) is None


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (NOBODY, 0o755), (NOBODY, 0o1777)])
def test_who_may_put_another_directory_in_its_place_spoils_it_however_far_above(
    tmp_path: Path, owner: int, mode: int
) -> None:
    above = tmp_path / "above"
    config = above / "between" / "config"
    config.mkdir(parents=True)
    os.chown(above, owner, 0)
    above.chmod(mode)
    found = judge(config)
    assert found is not None
    assert found.startswith(f"{above} (mode {mode:04o})")


@pytest.mark.parametrize("spoilt", ["here", "there"])
def test_a_link_is_judged_by_where_it_is_and_by_where_it_leads(tmp_path: Path, spoilt: str) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "there" / "config").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there" / "config")
    assert judge(tmp_path / "here" / "link") is None
    (tmp_path / spoilt).chmod(0o777)
    found = judge(tmp_path / "here" / "link")
    assert found is not None
    assert found.startswith(f"{tmp_path / spoilt} (mode 0777)")


def test_a_directory_that_is_spoilt_while_we_run_is_not_looked_into_until_it_is_mended(config: Path) -> None:
    put(config / "web")
    looking = watch(config)
    looking.look()
    config.chmod(0o777)
    put(config / "evil")
    (config / "web").unlink()
    for names in (None, ["evil"], ["web"]):
        with pytest.raises(Unseen, match=r"\(mode 0777\) may be written by everybody: chmod o-w"):
            looking.look(names)
    put(config / "web")
    (config / "evil").unlink()
    config.chmod(0o755)
    assert looking.look().gone == frozenset()


# -- files ----------------------------------------------------------------------------------------------------


def test_a_file_of_somebody_else_is_bad_and_disturbs_no_other(config: Path) -> None:
    put(config / "web")
    put(config / "evil", owner=NOBODY)
    put(config / "open", mode=0o666)
    assert dict(watch(config).look().changed) == {
        "web": Readable(b"{}"),
        "evil": Unreadable(
            f"{config}/evil (mode 0644) belongs to uid {NOBODY}:"
            f" chown root {config}/evil, or trust its owner (--trust-user)"
        ),
        "open": Unreadable(f"{config}/open (mode 0666) may be written by everybody: chmod o-w {config}/open"),
    }


def test_everybodys_files_are_read_by_who_does_not_judge(config: Path) -> None:
    put(config / "evil", owner=NOBODY, mode=0o666)
    assert dict(watch(config, None).look().changed) == {"evil": Readable(b"{}")}


def test_a_trusted_users_file_is_read(config: Path) -> None:
    put(config / "web", owner=DAEMON)
    assert dict(watch(config, frozenset({0, DAEMON})).look().changed) == {"web": Readable(b"{}")}


def test_a_change_of_owner_or_mode_alone_is_noticed_both_ways(config: Path) -> None:
    web = put(config / "web")
    looking = watch(config)
    looking.look()
    for owner, mode in ((0, 0o646), (NOBODY, 0o644)):
        os.chown(web, owner, 0)
        web.chmod(mode)
        assert isinstance(looking.look().changed["web"], Unreadable)
        os.chown(web, 0, 0)
        web.chmod(0o644)
        assert dict(looking.look().changed) == {"web": Readable(b"{}")}


def test_a_link_is_obeyed_by_what_it_leads_to(config: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", owner=NOBODY)
    (config / "web").symlink_to(tmp_path / "elsewhere")
    assert isinstance(watch(config).look().changed["web"], Unreadable)
    os.chown(tmp_path / "elsewhere", 0, 0)
    os.chown(config / "web", NOBODY, 0, follow_symlinks=False)
    assert isinstance(watch(config).look().changed["web"], Readable)


def test_what_a_group_may_write_is_obeyed_and_noted_once(config: Path) -> None:
    config.chmod(0o775)
    os.chown(config, 0, 4)
    put(config / "a", mode=0o664)
    put(config / "b", mode=0o664)
    looking = watch(config)
    with said() as lines:
        assert sorted(looking.look().changed) == ["a", "b"]
        put(config / "a", b"[]", mode=0o664)
        assert sorted(looking.look().changed) == ["a"]
    assert len(lines) == 2
    assert lines[0] == (
        f"the directory {config} (mode 0775) may be written by its group, gid 4: who is in it may run anything as root"
    )
    assert lines[1].startswith(f"the file {config}/")


def test_a_group_is_no_news_where_nobody_judges(config: Path) -> None:
    config.chmod(0o775)
    with said() as lines:
        watch(config, None).look()
    assert lines == []


@pytest.fixture
def read_only(config: Path) -> Iterator[Path]:
    """CONFIG as a volume that is mounted read-only, with the modes that such volumes have."""
    put(config / "open", mode=0o666)
    put(config / "foreign", owner=NOBODY)
    config.chmod(0o777)
    place = str(config)
    mounts = [["mount", "--bind", place, place], ["mount", "-o", "remount,bind,ro", place]]
    if any(subprocess.run(mount, check=False, capture_output=True).returncode for mount in mounts):
        subprocess.run(["umount", config], check=False, capture_output=True)
        pytest.skip("may not mount")
    yield config
    subprocess.run(["umount", config], check=True)


def test_on_a_read_only_mount_no_mode_matters_but_the_owner_does(read_only: Path) -> None:
    changed = watch(read_only).look().changed
    assert changed["open"] == Readable(b"{}")
    assert isinstance(changed["foreign"], Unreadable)


# -- messages -------------------------------------------------------------------------------------------------


class Messages:
    """MESSAGES, whom it obeys and what it answers."""

    def __init__(self, path: Path, mode: int, trusted: frozenset[int] | None = ROOT_ALONE) -> None:
        self.path = path
        path.mkdir()
        path.chmod(mode)
        self.now = 0.0
        self.obeyed: list[str | None] = []
        self.errors: dict[str, str | None] = {}
        self.inbox = Inbox(str(path), self._obey, self._answer, lambda: self.now, Ownership(trusted))

    def _obey(self, message: Message) -> Answer:
        self.obeyed.append(message.by)
        return Answer()

    def _answer(self, filename: str, kind: str | None, by: str | None, answer: Answer) -> None:
        self.errors[filename] = answer.error

    def ask(self, filename: str, *, owner: int = 0, mode: int = 0o644) -> None:
        put(self.path / filename, json.dumps({"type": "SCAN", "by": filename}).encode(), owner=owner, mode=mode)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o1733])
def test_where_everybody_may_write_only_messages_of_trusted_owners_are_obeyed(tmp_path: Path, mode: int) -> None:
    messages = Messages(tmp_path / "messages", mode, frozenset({0, DAEMON}))
    messages.ask("1-root")
    messages.ask("2-nobody", owner=NOBODY)
    messages.ask("3-daemon", owner=DAEMON)
    messages.ask("4-linked", mode=0o666)  # somebody may have made this link, and written into it
    messages.inbox.look()
    assert messages.obeyed == ["1-root", "3-daemon"]
    assert messages.errors["2-nobody"] == (
        f"{messages.path}/2-nobody (mode 0644) belongs to uid {NOBODY}:"
        f" chown root {messages.path}/2-nobody, or trust its owner (--trust-user)"
    )
    assert "may be written by everybody" in (messages.errors["4-linked"] or "")
    assert list(messages.path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o2770])
def test_elsewhere_the_directorys_mode_says_who_may_ask(tmp_path: Path, mode: int) -> None:
    messages = Messages(tmp_path / "messages", mode)
    messages.ask("1", owner=NOBODY)
    messages.ask("2", owner=DAEMON, mode=0o666)
    messages.inbox.look()
    assert messages.obeyed == ["1", "2"]


def test_who_does_not_judge_obeys_everybody(tmp_path: Path) -> None:
    messages = Messages(tmp_path / "messages", 0o777, None)
    messages.ask("1", owner=NOBODY)
    messages.inbox.look()
    assert messages.obeyed == ["1"]


def test_what_is_set_aside_is_never_moved_by_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number in range(150):
        put(elsewhere / str(number))
    messages = Messages(tmp_path / "messages", 0o775)
    (messages.path / ".bad").symlink_to(elsewhere)
    put(messages.path / "broken", b"{", owner=NOBODY)
    messages.inbox.look()
    messages.now += PATIENCE_BROKEN + 1
    with said() as lines:
        messages.inbox.look()
        messages.inbox.look()
    assert len(list(elsewhere.iterdir())) == 150
    assert len(lines) == 1
    messages.ask("next", owner=NOBODY)
    messages.inbox.look()
    assert messages.obeyed == ["next"]
