"""What files say becomes what is wanted; a broken file's last good spec stays in force, a removed one's does not."""

from __future__ import annotations

import json

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pyrsistent import pmap

from colony.core.desired import Content, Desired, Listing, Readable, Unreadable, Wanted, fold
from colony.core.lifecycle import Unwanted, changes
from colony.core.lifecycle import Wanted as Asked
from colony.core.model import Defaults, Name
from colony.core.wire import parse_spec
from tests.strategies import spec_bytes, steady

DEFAULTS = Defaults()
WEB, ECHO = Name("web"), Name("echo")
BAD = Readable(b"{")
ONE, TWO = Readable(spec_bytes(1)), Readable(spec_bytes(2))


def listing(*, missing: str = "", gone: str = "", **changed: Content) -> Listing:
    """A look; ``web_json`` stands for ``web.json``."""
    found = {name.replace("_", "."): content for name, content in changed.items()}
    return Listing(found, frozenset(missing.split()), frozenset(gone.split()))


def after(*looks: Listing, before: Desired | None = None) -> Desired:
    desired = before or Desired()
    for look in looks:
        desired, _ = fold(desired, look, DEFAULTS)
    return desired


def numbers(desired: Desired) -> dict[str, str]:
    """Which of the good files each name's spec in force is."""
    return {name: wanted.spec.args[1] for name, wanted in desired.specs.items()}


def test_a_good_file_is_wanted() -> None:
    desired, names = fold(Desired(), listing(web=ONE), DEFAULTS)

    assert desired.specs == pmap({WEB: Wanted(parse_spec(ONE.data, DEFAULTS), ONE.data)})
    assert desired.problems == pmap()
    assert names == {WEB}


def file(*needs: str) -> Readable:
    return Readable(json.dumps({"args": ["run"], "after": needs}).encode())


def tangles(desired: Desired) -> dict[str, str]:
    return {name: "; ".join(map(str, problems)) for name, problems in desired.tangles.items()}


def test_whom_nobody_knows_is_told_until_a_file_comes_and_again_when_it_goes() -> None:
    desired, names = fold(Desired(), listing(web=file("echo")), DEFAULTS)
    assert tangles(desired) == {"web": "after[0]: no such process: echo"}
    assert names == {WEB}

    desired, names = fold(desired, listing(echo=BAD), DEFAULTS)
    assert tangles(desired) == {}, "a bad file is somebody too"
    assert names == {WEB, ECHO}, "of both there is something new to tell"

    desired, names = fold(desired, listing(echo=ONE), DEFAULTS)
    assert names == {ECHO}

    assert tangles(after(listing(gone="echo"), before=desired)) == {"web": "after[0]: no such process: echo"}
    assert after(listing(gone="web"), before=desired).needs == pmap()


def test_a_circle_is_told_of_all_in_it_and_ends_with_an_edit() -> None:
    desired = after(listing(web=file("echo"), echo=file("web")))
    assert tangles(desired) == {
        "echo": "after: waits for itself: echo -> web -> echo",
        "web": "after: waits for itself: web -> echo -> web",
    }

    desired, names = fold(desired, listing(echo=ONE), DEFAULTS)
    assert tangles(desired) == {}
    assert names == {WEB, ECHO}


def test_a_file_may_be_called_json() -> None:
    assert numbers(after(listing(web_json=ONE))) == {"web": "1"}


def test_a_bad_file_is_not_wanted_and_its_problems_are_known() -> None:
    desired = after(listing(web=BAD))

    assert numbers(desired) == {}
    assert [problem.message for problem in desired.problems[WEB]] == [
        "not JSON: Expecting property name enclosed in double quotes at line 1 column 2"
    ]
    assert desired.has(WEB)
    assert desired.names() == {WEB}


def test_a_broken_edit_leaves_the_last_good_spec_in_force() -> None:
    desired = after(listing(web=ONE), listing(web=BAD))

    assert numbers(desired) == {"web": "1"}
    assert desired.problems[WEB]
    assert desired.names() == {WEB}


def test_a_file_that_cannot_be_read_leaves_the_last_good_spec_in_force_and_says_why() -> None:
    desired = after(listing(web=ONE), listing(web=Unreadable("a directory, not a file")))

    assert numbers(desired) == {"web": "1"}
    assert str(desired.problems[WEB][0]) == "a directory, not a file"


def test_a_mended_file_has_no_problems() -> None:
    desired = after(listing(web=ONE), listing(web=BAD), listing(web=TWO))

    assert numbers(desired) == {"web": "2"}
    assert desired.problems == pmap()


def test_a_bad_file_disturbs_no_other() -> None:
    assert numbers(after(listing(web=ONE, echo=BAD, cron=TWO))) == {"web": "1", "cron": "2"}


def test_a_missing_file_is_waited_for() -> None:
    desired = after(listing(web=ONE), listing(missing="web"))

    assert numbers(desired) == {"web": "1"}
    assert desired.missing == {"web"}


def test_a_missing_bad_file_keeps_its_problems() -> None:
    before = after(listing(web=ONE), listing(web=BAD))

    desired = after(listing(missing="web"), before=before)

    assert desired.problems == before.problems
    assert desired.specs == before.specs


def test_a_file_that_is_back_is_missed_no_more() -> None:
    desired = after(listing(web=ONE), listing(missing="web"), listing(web=TWO))

    assert numbers(desired) == {"web": "2"}
    assert desired.missing == frozenset()


def test_a_file_that_is_gone_is_wanted_no_more() -> None:
    desired = after(listing(web=ONE), listing(missing="web"), listing(gone="web"))

    assert desired == Desired()
    assert not desired.has(WEB)


def test_a_bad_file_that_is_gone_leaves_nothing_in_force() -> None:
    assert after(listing(web=ONE), listing(web=BAD), listing(gone="web")) == Desired()


def test_a_bad_file_that_comes_after_a_removal_brings_nothing_back() -> None:
    desired = after(listing(web=ONE), listing(gone="web"), listing(web=BAD))

    assert numbers(desired) == {}
    assert desired.problems[WEB]


def test_two_files_of_one_name_are_a_problem_and_what_runs_stays() -> None:
    desired = after(listing(web=ONE), listing(web_json=TWO))

    assert numbers(desired) == {"web": "1"}
    assert str(desired.problems[WEB][0]) == "web and web.json are both there"


def test_two_files_of_one_name_from_the_start_are_not_wanted() -> None:
    desired = after(listing(web=ONE, web_json=TWO))

    assert numbers(desired) == {}
    assert desired.problems[WEB]


def test_when_one_of_two_is_gone_the_other_is_wanted() -> None:
    both = after(listing(web=ONE), listing(web_json=TWO))

    assert numbers(after(listing(gone="web"), before=both)) == {"web": "2"}
    assert numbers(after(listing(gone="web.json"), before=both)) == {"web": "1"}
    assert numbers(after(listing(missing="web"), before=both)) == {"web": "2"}


def test_a_rename_to_the_other_spelling_changes_nothing_at_any_moment() -> None:
    before = after(listing(web_json=ONE))
    renamed = after(listing(missing="web.json", web=ONE), before=before)
    done = after(listing(gone="web.json"), before=renamed)

    assert numbers(before) == numbers(renamed) == numbers(done) == {"web": "1"}
    assert not renamed.problems
    assert not done.problems


def test_a_file_whose_name_is_no_name_is_a_stray_until_it_goes() -> None:
    desired, names = fold(Desired(), Listing({"a b": ONE, "web.json.json": ONE}), DEFAULTS)

    assert names == frozenset()
    assert set(desired.strays) == {"a b", "web.json.json"}
    assert desired.strays["web.json.json"] == "'web.json' is no name: it ends in .json"

    desired = after(listing(missing="web.json.json"), before=desired)
    assert set(desired.strays) == {"a b", "web.json.json"}

    assert set(after(Listing(gone=frozenset({"web.json.json"})), before=desired).strays) == {"a b"}


def test_litter_is_known_from_the_last_look_at_everything() -> None:
    desired = after(Listing(ignored=frozenset({".web.swp"})), listing(web=ONE))
    assert desired.ignored == {".web.swp"}

    assert after(Listing(ignored=frozenset()), before=desired).ignored == frozenset()


def test_groups_are_those_of_the_specs_in_force() -> None:
    grouped = Readable(b'{"args": ["x"], "group": ["diary"]}')

    desired = after(listing(web=grouped, echo=grouped, cron=ONE))

    assert desired.group("diary") == (ECHO, WEB)
    assert desired.group("cron") == ()


# -- what is remembered from a supervisor before ----------------------------------------------------------------


def remembering(data: bytes = ONE.data) -> Desired:
    return Desired(remembered=pmap({WEB: data}))


def test_what_is_remembered_is_in_force_while_its_file_is_bad() -> None:
    desired = after(listing(web=BAD), before=remembering())

    assert numbers(desired) == {"web": "1"}
    assert desired.problems[WEB]


def test_what_is_remembered_without_a_file_is_not_wanted() -> None:
    assert numbers(after(listing(echo=TWO), before=remembering())) == {"echo": "2"}


def test_a_good_file_wins_over_what_is_remembered() -> None:
    assert numbers(after(listing(web=TWO), before=remembering())) == {"web": "2"}
    assert numbers(after(listing(web=TWO), listing(web=BAD), before=remembering())) == {"web": "2"}


def test_what_another_version_remembered_and_this_one_cannot_read_is_not_wanted() -> None:
    desired = after(listing(web=BAD), before=remembering(b'{"args": ["x"], "cwd": 3}'))

    assert numbers(desired) == {}
    assert "not JSON" in str(desired.problems[WEB][0])


def test_what_is_remembered_is_forgotten_with_its_file() -> None:
    for first in (BAD, TWO):
        desired = after(listing(web=first), listing(gone="web"), listing(web=BAD), before=remembering())

        assert numbers(desired) == {}


# -- the difference ---------------------------------------------------------------------------------------------


def test_only_what_changed_is_told() -> None:
    before = after(listing(web=ONE, echo=ONE, cron=ONE, bad=BAD))
    desired = after(listing(web=TWO, cron=BAD, bad=TWO), listing(gone="echo"), before=before)
    names = sorted(desired.names() | before.names())

    told = dict(changes(before, desired, names))

    assert told == {
        "bad": Asked(parse_spec(TWO.data, DEFAULTS), TWO.data),
        "echo": Unwanted(),
        "web": Asked(parse_spec(TWO.data, DEFAULTS), TWO.data),
    }


def test_a_name_that_never_was_wanted_is_not_told_of() -> None:
    assert list(changes(Desired(), Desired(), [WEB])) == []


# -- against a simple model ---------------------------------------------------------------------------------------


@attrs.define
class File:
    content: Content
    missing: bool = False


class Folder(RuleBasedStateMachine):
    """A directory that is looked at after any number of changes, and in plain dicts what must be in force then."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered = {"web": ONE.data}
        self.desired = Desired(remembered=pmap({WEB: ONE.data}))
        self.there: dict[str, Content] = {}
        self.known: dict[str, File] = {}
        self.good: dict[str, bytes] = {}
        self.bad: set[str] = set()
        self.seen: set[str] = set()

    @rule(filename=st.sampled_from(["web", "web.json", "echo"]), content=st.sampled_from([ONE, TWO, BAD]))
    def write(self, filename: str, content: Content) -> None:
        self.there[filename] = content

    @rule(filename=st.sampled_from(["web", "web.json", "echo"]))
    def block(self, filename: str) -> None:
        self.there[filename] = Unreadable("cannot be read: Input/output error")

    @rule(filename=st.sampled_from(["web", "web.json", "echo"]))
    def remove(self, filename: str) -> None:
        self.there.pop(filename, None)

    @rule()
    def look(self) -> None:
        changed, missing, gone = {}, set(), set()
        for filename, content in self.there.items():
            old = self.known.get(filename)
            if old is None or old.missing or old.content != content:
                changed[filename] = content
                self.known[filename] = File(content)
        for filename in set(self.known) - set(self.there):
            if self.known[filename].missing:
                gone.add(filename)
                del self.known[filename]
            else:
                missing.add(filename)
                self.known[filename].missing = True
        before = self.desired
        self.desired, names = fold(before, Listing(changed, frozenset(missing), frozenset(gone)), DEFAULTS)

        for name in ("web", "echo"):
            self.judge(name)
        untouched = before.names() - names
        assert all(self.desired.specs.get(name) is before.specs.get(name) for name in untouched)

    def judge(self, name: str) -> None:
        """What the model expects of one name after a look."""
        files = [file for filename, file in self.known.items() if filename.removesuffix(".json") == name]
        present = [file.content for file in files if not file.missing]
        if not files:
            self.good.pop(name, None)
            self.bad.discard(name)
            if name in self.seen:
                self.remembered.pop(name, None)
            return
        self.seen.add(name)
        if not present:
            return
        if len(present) == 1 and present[0] in (ONE, TWO):
            assert isinstance(present[0], Readable)
            self.good[name] = present[0].data
            self.bad.discard(name)
            return
        self.bad.add(name)
        if name not in self.good and name in self.remembered:
            self.good[name] = self.remembered[name]

    @invariant()
    def in_force_is_what_the_model_says(self) -> None:
        assert {name: wanted.source for name, wanted in self.desired.specs.items()} == self.good
        assert set(self.desired.problems) == self.bad
        assert self.desired.names() == set(self.good) | self.bad


TestFolder = Folder.TestCase
TestFolder.settings = settings(steady, max_examples=60, stateful_step_count=30)
