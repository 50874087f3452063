"""``logs``: what was written, and what is."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colony.cli.logs import harmless
from tests.cli.conftest import Ctl
from tests.cli.standin import StandIn

NOON = 1_800_000_000


@pytest.fixture
def folder(dead: StandIn) -> Path:
    folder = dead.state / "logs"
    folder.mkdir(0o700)
    return folder


def write(folder: Path, entry: str, data: str | bytes, second: float = 0, *, mark: bool = False) -> None:
    """Have these bytes added to that file, at that second."""
    path = folder / entry
    with path.open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    moment = round((NOON + second) * 1e9)
    os.utime(path, ns=(moment, moment))
    if mark:
        with (folder / f".{entry}.times").open("a") as file:
            print(moment, path.stat().st_size, file=file)


def numbered(first: int, end: int) -> str:
    return "".join(f"{number}\n" for number in range(first, end))


# -- what was written -----------------------------------------------------------------------------------------


def test_of_one_it_is_the_very_bytes(dead: StandIn, folder: Path) -> None:
    write(folder, "web.log", b"\x1b[31mred\xff\r\n\0\n")
    command = [sys.executable, "-m", "colony", "logs", "web", "--state", str(dead.state)]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b"\x1b[31mred\xff\r\n\0\n"


def test_of_several_each_line_has_a_name_and_they_come_by_time(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", "one\n", 1, mark=True)
    write(folder, "mail.log", "two\n", 2, mark=True)
    write(folder, "web.log", "three\nfour\n", 3, mark=True)
    write(folder, "mail.log", "five\n", 4, mark=True)
    expected = "web | one\nmail | two\nweb | three\nweb | four\nmail | five\n"
    assert ctl("logs").out == ctl("logs", "web", "mail").out == ctl("logs", "--name=web", "--name=mail").out == expected


def test_the_last_ten_of_each_unless_it_is_said_how_many(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log.1", numbered(0, 20), 1)
    write(folder, "web.log", numbered(20, 25), 2)
    done = ctl("logs", "web")
    assert done.out == numbered(15, 25)
    assert done.err == "colony: the last 10 lines of each; -n all prints all, -n N so many\n"
    assert ctl("logs", "web", "-n", "12") == (0, numbered(13, 25), "")
    assert ctl("logs", "web", "-n", "all") == (0, numbered(0, 25), "")
    assert ctl("logs", "web", "-n0") == (0, "", "")
    assert ctl("logs", "web", "-n", "-1").code == 2


def test_where_that_is_all_nothing_is_said_about_it(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", numbered(0, 10))
    assert ctl("logs", "web") == (0, numbered(0, 10), "")


def test_all_since_a_moment_and_the_last_of_those(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", "", 0, mark=True)
    for second in range(1, 30):
        write(folder, "web.log", f"{second}\n", second, mark=True)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOON + 12))
    assert ctl("logs", "web", "--since", moment) == (0, numbered(12, 30), "")
    assert ctl("logs", "web", "--since", moment, "-n", "4") == (0, numbered(26, 30), "")
    assert ctl("logs", "web", "--since", "soon").code == 2


def test_where_the_time_of_lines_is_not_known_that_is_said(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log.1", "0\n", 1)
    write(folder, "web.log", "1\n2\n", 3)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOON + 2))
    done = ctl("logs", "web", "--since", moment)
    assert done.out == "1\n2\n"
    assert done.err.startswith("colony: when web wrote its lines is not known")


def test_a_line_that_has_not_ended_is_one(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", "one\nthe la")
    assert ctl("logs", "web").out == "one\nthe la\n"
    assert ctl("logs", "web", "-n", "1").out == "the la\n"


def test_programs_get_a_document_a_line(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", "", 0, mark=True)
    write(folder, "web.log", b"one \xff\ntwo", 1.5, mark=True)
    write(folder, "mail.log.err", "three\n", 2)
    told = [json.loads(line) for line in ctl("logs", "--json").out.splitlines()]
    at = time.strftime("%Y-%m-%dT%H:%M:%S.500000Z", time.gmtime(NOON + 1))
    assert told == [
        {"name": "web", "stream": "out", "line": "one \\xff", "at": at},
        {"name": "web", "stream": "out", "line": "two", "at": at},
        {"name": "mail", "stream": "err", "line": "three", "at": None},
    ]


def test_an_error_is_a_document_too(ctl: Ctl) -> None:
    done = ctl("logs", "nope", "--json")
    assert done.code == 4
    assert done.json["error"] == "no such process: nope"


# -- what there is not ----------------------------------------------------------------------------------------


def test_who_has_written_nothing_is_no_error_and_who_is_nobody_is(ctl: Ctl, dead: StandIn) -> None:
    (dead.config / "new").write_text('{"args": ["x"]}')
    (dead.config / "quiet").write_text('{"args": ["x"], "log": false}')
    dead.tell("gone")
    assert ctl("logs", "new") == (0, "", "colony: new has no log yet\n")
    assert ctl("logs", "gone") == (0, "", "colony: gone has no log yet\n")
    assert ctl("logs", "quiet").err == (
        'colony: quiet has no log file ("log": false): what it says is in the log of the supervisor\n'
    )
    assert ctl("logs", "nope") == (4, "", "colony: no such process: nope\n")
    assert ctl("logs", "no/pe").code == 2
    assert ctl("logs") == (0, "", "")
    assert ctl("logs", "--json") == (0, "", "")


def test_a_log_outlasts_the_file_of_its_process_and_the_supervisor(ctl: Ctl, folder: Path) -> None:
    write(folder, "web.log", "one\n")
    assert ctl("logs", "web") == (0, "one\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_logs_that_may_not_be_read_are_one_line(folder: Path, dead: StandIn, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    script = (
        "import os, sys; from colony.cli import main; main([*sys.argv[1:], '-n', '0'])\n"  # all is imported then
        "os.setgid(65534); os.setuid(65534); sys.exit(main())"
    )
    write(folder, "web.log", "secret\n")
    done = subprocess.run(
        [sys.executable, "-c", script, "logs", "web", "--state", str(dead.state), "--config", str(dead.config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"colony: cannot read the logs: permission denied: {folder}\n"


# -- as it goes on --------------------------------------------------------------------------------------------


class Follower:
    """``logs -f`` as a process of its own."""

    def __init__(self, colony: StandIn, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "colony", "logs", "-f", "--state", str(colony.state),
             "--config", str(colony.config), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.out = self.process.stdout

    def line(self) -> str:
        return self.out.readline()

    def interrupt(self) -> str:
        """Ctrl-C; the rest of what it prints."""
        self.process.send_signal(signal.SIGINT)
        rest, self.err = self.process.communicate(timeout=10)
        assert self.process.returncode == 130
        return rest


Follow = Callable[..., Follower]


@pytest.fixture
def follow(dead: StandIn) -> Iterator[Follow]:
    begun: list[Follower] = []

    def begin(*words: str) -> Follower:
        begun.append(Follower(dead, *words))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stdout, one.process.stderr):
            assert stream is not None
            stream.close()


def test_it_goes_on_through_rotations_until_it_is_interrupted(follow: Follow, folder: Path) -> None:
    write(folder, "web.log", numbered(0, 20))
    one = follow("web", "-n", "2")
    assert [one.line(), one.line()] == ["18\n", "19\n"]
    for number in range(20, 30):
        write(folder, "web.log", f"{number}\n")
        (folder / "web.log").rename(folder / f"web.log.{1 if number % 2 else 2}")
    write(folder, "web.log", "the end")
    assert one.line().strip().isdecimal()
    one.interrupt()


def test_the_line_that_nobody_ended_is_printed_at_the_interrupt(follow: Follow, folder: Path) -> None:
    write(folder, "web.log", "one\n")
    one = follow("web")
    assert one.line() == "one\n"
    write(folder, "web.log", "two\nthe end")
    assert one.line() == "two\n"
    assert one.interrupt() == "the end\n"
    assert one.err == ""


def test_who_begins_to_write_later_is_followed_too(follow: Follow, folder: Path) -> None:
    write(folder, "web.log", "one\n")
    one = follow()
    assert one.line() == "web | one\n"
    write(folder, "mail.log", "two\n")
    assert one.line() == "mail | two\n"
    write(folder, "web.log", "three\n")
    assert one.line() == "web | three\n"


def test_one_that_has_no_log_yet_is_waited_for(follow: Follow, folder: Path, dead: StandIn) -> None:
    (dead.config / "new").write_text('{"args": ["x"]}')
    one = follow("new")
    write(folder, "new.log", "one\n")
    assert one.line() == "one\n"
    one.interrupt()
    assert one.err == ""


def test_it_ends_when_nobody_reads_on(follow: Follow, folder: Path) -> None:
    write(folder, "web.log", "one\n")
    one = follow()
    assert one.line() == "web | one\n"
    one.out.close()
    assert one.process.wait(10) == 0
    assert one.process.stderr is not None
    assert one.process.stderr.read() == ""


def test_a_reader_who_wants_only_the_first_lines_is_no_error(folder: Path, dead: StandIn) -> None:
    write(folder, "web.log", numbered(0, 200_000))
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m colony logs web mail -n all --state {dead.state} | head -n 1"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "COLONY_CONFIG": str(dead.config)},
    )  # fmt: skip
    assert done.stderr == "colony: no such process: mail\n"
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m colony logs -n all --state {dead.state} | head -n 1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("web | 0\n", "")


# -- on a terminal --------------------------------------------------------------------------------------------


def shown(dead: StandIn, *words: str, **environment: str) -> str:
    """What a terminal gets."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "colony", "logs", "--state", str(dead.state), *words],
            stdout=theirs,
            check=True,
            env={key: value for key, value in os.environ.items() if key != "NO_COLOR"} | environment,
        )
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_names_are_padded_and_each_has_its_colour(dead: StandIn, folder: Path) -> None:
    write(folder, "web.log", "one\ntwo\n", 1)
    write(folder, "mailer.log", "three\n", 2)
    plain = "web    | one\r\nweb    | two\r\nmailer | three\r\n"
    assert shown(dead, NO_COLOR="1") == plain
    coloured = shown(dead)
    assert coloured != plain
    marks = [line.partition("\x1b[m")[0] for line in coloured.splitlines()]
    assert marks[0] == marks[1] != marks[2]
    assert shown(dead, "web") == "one\r\ntwo\r\n"


def test_nothing_that_was_written_steers_the_terminal_but_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colony.cli.logs.coloured", lambda: True)
    assert harmless("plain\r") == "plain"
    assert harmless("\x1b[1;31mred\x1b[0m\t\x1b[2J\a") == "\x1b[1;31mred\x1b[0m\t\\x1b[2J\\x07\x1b[m"
    assert harmless("over\rwritten \x9b2J") == "over\\x0dwritten \\x9b2J"
    monkeypatch.setattr("colony.cli.logs.coloured", lambda: False)
    assert harmless("\x1b[1;31mred\x1b[0m") == "red"


def test_what_is_no_utf8_is_escaped_on_a_terminal(dead: StandIn, folder: Path) -> None:
    write(folder, "web.log", b"caf\xc3\xa9 \xff\n")
    assert shown(dead, "web") == "café \\xff\r\n"
