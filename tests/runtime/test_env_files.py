"""Reading what ``env_file`` names: bounded, never waiting, and of owners who may rule."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.runtime.env_files import EnvFiles
from colony.runtime.launch import CannotStart
from colony.runtime.ownership import Ownership
from tests.runtime.loop import descriptors, said

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")

NOBODY = 65534
ANYBODY = EnvFiles(Ownership(None))
ROOT_ALONE = EnvFiles(Ownership(frozenset({0})))


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def refusal(path: Path, files: EnvFiles = ANYBODY) -> str:
    with pytest.raises(CannotStart) as caught:
        files.read([str(path)])
    return str(caught.value)


def test_files_are_read_in_their_order_and_each_time_anew(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"A=1")
    other.write_bytes(b"")
    assert ANYBODY.read([str(other), str(one)]) == (b"", b"A=1")
    one.write_bytes(b"A=2")
    assert ANYBODY.read([str(one)]) == (b"A=2",)
    assert ANYBODY.read([]) == ()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "web.env"
    assert refusal(path) == f"env_file: {path}: No such file or directory (ENOENT)"
    path.symlink_to("nowhere")
    assert "ENOENT" in refusal(path)
    assert refusal(tmp_path / "no" / "web.env").endswith("(ENOENT)")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo") == f"env_file: {tmp_path}/fifo: a FIFO, not a file"
    assert refusal(tmp_path) == f"env_file: {tmp_path}: a directory, not a file"
    assert refusal(Path("/dev/zero")).endswith("not a file")


def test_a_file_is_read_up_to_a_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "web.env"
    path.write_bytes(b"#" * 2**20)
    assert len(ANYBODY.read([str(path)])[0]) == 2**20
    path.write_bytes(b"#" * (2**20 + 1))
    assert refusal(path) == f"env_file: {path}: larger than 1048576 bytes"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "web.env").write_bytes(b"A=1")
    (tmp_path / "web.env").symlink_to("..data/web.env")
    assert ANYBODY.read([str(tmp_path / "web.env")]) == (b"A=1",)


def put(path: Path, *, owner: int = 0, mode: int = 0o600) -> Path:
    path.write_bytes(b"A=1")
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


@root
def test_root_takes_variables_from_no_file_of_somebody_else(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", owner=NOBODY)
    open_to_all = put(tmp_path / "open", mode=0o666)
    assert f"{theirs} (mode 0600) belongs to uid {NOBODY}" in refusal(theirs, ROOT_ALONE)
    assert f"{open_to_all} (mode 0666) may be written by everybody" in refusal(open_to_all, ROOT_ALONE)
    assert ANYBODY.read([str(theirs), str(open_to_all)]) == (b"A=1", b"A=1")
    assert EnvFiles(Ownership(frozenset({0, NOBODY}))).read([str(theirs)]) == (b"A=1",)
    assert ROOT_ALONE.read([str(put(tmp_path / "ours"))]) == (b"A=1",)


@root
def test_root_hands_no_secret_to_who_has_put_a_link_to_it_where_his_own_file_was(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret")
    home = tmp_path / "home"
    home.mkdir()
    (home / "web.env").symlink_to(secret)
    assert ROOT_ALONE.read([str(home / "web.env")]) == (b"A=1",)
    os.chown(home, NOBODY, NOBODY)
    assert f"{home} (mode 0755) belongs to uid {NOBODY}" in refusal(home / "web.env", ROOT_ALONE)
    # Nor by a link of root's own, to where somebody else decides what is there.
    (home / "web.env").unlink()
    put(home / "web.env")
    (tmp_path / "web.env").symlink_to(home / "web.env")
    assert f"{home} (mode 0755) belongs to uid {NOBODY}" in refusal(tmp_path / "web.env", ROOT_ALONE)


@root
def test_a_place_where_everybody_may_put_files_is_no_place_for_variables(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    path = put(tmp_path / "web.env")
    assert re.search(r"\(mode 1777\) may be written by everybody", refusal(path, ROOT_ALONE))


@root
def test_that_a_group_may_write_it_is_noted_once(tmp_path: Path) -> None:
    path = put(tmp_path / "web.env", mode=0o660)
    files = EnvFiles(Ownership(frozenset({0})))
    with said() as lines:
        files.read([str(path)])
        files.read([str(path)])
    assert len([line for line in lines if str(path) in line]) == 1
