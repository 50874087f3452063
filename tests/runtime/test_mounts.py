"""Which paths may hang is told from the mount table alone, whatever its mount points are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony.runtime.mounts import Mounts, parse

TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 / /net rw shared:1 - nfs4 server:/ rw
31 30 0:41 / /net/local rw - tmpfs none rw
32 22 0:42 / /a\\040b rw - fuse.sshfs host: rw
33 22 0:43 / /gr\u00fc\u00dfe rw - cifs //host rw
34 22 0:44 / /\udcff rw - 9p host rw
35 22 0:45 / /back\\134slash rw - ceph host rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    table = tmp_path / "mountinfo"
    table.write_bytes(TABLE.encode("utf-8", "surrogateescape"))
    return Mounts(str(table))


@pytest.mark.parametrize(
    "path",
    [
        "/net",
        "/net/bin/web",
        "/a b/web",
        "/gr\u00fc\u00dfe/web",
        "/\udcff/web",
        "/back\\slash/web",
        "/net/local/../web",
    ],
)
def test_what_lies_behind_a_network_or_another_process_may_hang(mounts: Mounts, path: str) -> None:
    assert mounts.may_hang(path)


@pytest.mark.parametrize("path", ["/", "/bin/sh", "/proc/self", "/net/local/web", "/network", "/a", "/net/../bin/sh"])
def test_what_lies_on_a_disk_of_ours_does_not(mounts: Mounts, path: str) -> None:
    assert not mounts.may_hang(path)


def test_a_later_mount_on_the_same_point_hides_the_earlier_one() -> None:
    lines = "1 1 0:1 / /x rw - nfs host:/ rw\n2 1 0:2 / /x rw - ext4 /dev/vda rw\n"
    assert dict(parse(lines)) == {"/x": False}


def test_without_a_mount_table_nothing_is_known_to_hang(tmp_path: Path) -> None:
    assert not Mounts(str(tmp_path / "nothing")).may_hang("/net")


def test_the_kernels_own_table_is_read() -> None:
    assert parse(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))
    assert not Mounts().may_hang("/proc/self/fd")
