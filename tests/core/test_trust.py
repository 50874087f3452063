"""Whose files root obeys: the rule, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core import trust
from tests.strategies import steady

TRUSTED = frozenset({0, 1000})

MAY_WRITE = "may be written by everybody: chmod o-w /c/web"
SOMEBODYS = "belongs to uid 1001: chown root /c/web, or trust its owner (--trust-user)"


@pytest.mark.parametrize(
    ("owner", "mode", "read_only", "problem"),
    [
        (0, 0o100644, False, None),
        (0, 0o100600, False, None),
        (0, 0o100664, False, None),  # its group may, which is noted and no more
        (1000, 0o100644, False, None),
        (1001, 0o100644, False, f"/c/web (mode 0644) {SOMEBODYS}"),
        (1001, 0o100400, False, f"/c/web (mode 0400) {SOMEBODYS}"),
        (0, 0o100646, False, f"/c/web (mode 0646) {MAY_WRITE}"),
        (0, 0o100602, False, f"/c/web (mode 0602) {MAY_WRITE}"),
        (1000, 0o100666, False, f"/c/web (mode 0666) {MAY_WRITE}"),
        (0, 0o040777, False, f"/c/web (mode 0777) {MAY_WRITE}"),
        (0, 0o041777, False, f"/c/web (mode 1777) {MAY_WRITE}"),  # anybody could add to it
        (0, 0o042755, False, None),
        (0, 0o100666, True, None),
        (0, 0o040777, True, None),
        (1001, 0o100644, True, f"/c/web (mode 0644) {SOMEBODYS}"),
    ],
)
def test_a_file_is_obeyed_by_its_owner_and_its_mode(
    owner: int, mode: int, read_only: bool, problem: str | None
) -> None:
    assert trust.objection("/c/web", owner, mode, TRUSTED, read_only=read_only) == problem


@pytest.mark.parametrize(
    ("owner", "mode", "read_only", "problem"),
    [
        (0, 0o040755, False, None),
        (0, 0o041777, False, None),
        (0, 0o040777, False, "/c (mode 0777) may be written by everybody: chmod o-w /c, or chmod +t"),
        (0, 0o040777, True, None),
        (1000, 0o041777, False, None),
        (1001, 0o041777, False, "/c (mode 1777) belongs to uid 1001: chown root /c, or trust its owner (--trust-user)"),
        (1001, 0o040755, False, "/c (mode 0755) belongs to uid 1001: chown root /c, or trust its owner (--trust-user)"),
        (1001, 0o040755, True, "/c (mode 0755) belongs to uid 1001: chown root /c, or trust its owner (--trust-user)"),
    ],
)
def test_what_is_above_may_be_sticky(owner: int, mode: int, read_only: bool, problem: str | None) -> None:
    assert trust.objection_above("/c", owner, mode, TRUSTED, read_only=read_only) == problem


@steady
@given(st.integers(0, 2**32 - 2), st.integers(0, 0o7777), st.booleans())
def test_nobody_who_is_not_trusted_is_ever_obeyed(owner: int, mode: int, read_only: bool) -> None:
    for rule in (trust.objection, trust.objection_above):
        problem = rule("/c", owner, mode, TRUSTED, read_only=read_only)
        if owner not in TRUSTED:
            assert problem is not None
        if problem is not None:
            assert problem.startswith(f"/c (mode {mode:04o})")
            assert "\n" not in problem


@pytest.mark.parametrize(
    ("mode", "others", "group"), [(0o700, False, False), (0o770, False, True), (0o1777, True, True)]
)
def test_who_may_write_is_told_by_the_mode(mode: int, others: bool, group: bool) -> None:
    assert (trust.others_may_write(mode), trust.group_may_write(mode)) == (others, group)
