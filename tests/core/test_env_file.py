"""Files of variables mean what they mean to a shell, a service manager and a container engine; or name their line."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.core.env_file import Misread, parse
from tests.strategies import steady


def read(text: str) -> dict[str, str]:
    return parse("/etc/web.env", text.encode())


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n \t\n# A=1\n  # B=2\n\r\n#", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
        ("export A=1\n  export\tB=2\n\tC=3", {"A": "1", "B": "2", "C": "3"}),
        ("export=1", {"export": "1"}),
        ("A=\nB=''\nC=\"\"\nD=  ", {"A": "", "B": "", "C": "", "D": ""}),
        ("A=  b c\t\n", {"A": "b c"}),
        ("A=1\nA=2", {"A": "2"}),
        ("a_1.b-c=x=y==", {"a_1.b-c": "x=y=="}),
        ("A=b # no comment\nB=#c", {"A": "b # no comment", "B": "#c"}),
        ('A=it\'s "so"', {"A": 'it\'s "so"'}),
        ("A=C:\\new\\\nB=1", {"A": "C:\\new\\", "B": "1"}),
        ("A=$HOME ${B} `c` $(d) ${env:E}", {"A": "$HOME ${B} `c` $(d) ${env:E}"}),
        ("A=' a \"b\" \\n $C # d '", {"A": ' a "b" \\n $C # d '}),
        ("A=\" a 'b' # c \"", {"A": " a 'b' # c "}),
        (r'A="\"\\\$\`\n\x"', {"A": '"\\$`\\n\\x'}),
        ('A="one \\\ntwo"', {"A": "one two"}),
        ("KEY=\"-----BEGIN\nabc=\n-----END\"\nB='1\n2'", {"KEY": "-----BEGIN\nabc=\n-----END", "B": "1\n2"}),
        ("A='b' # comment\nB=\"c\"\t#", {"A": "b", "B": "c"}),
        ("A=1é", {"A": "1é"}),
    ],
)
def test_a_file_is_read_by_its_lines(text: str, variables: dict[str, str]) -> None:
    assert read(text) == variables


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("A", 1, "is not KEY=VALUE"),
        ("A=1\n\n# c\nB C=2", 4, "is not KEY=VALUE"),
        ("A =1", 1, "is not KEY=VALUE"),
        ("=1", 1, "is not KEY=VALUE"),
        ("1A=1", 1, "is not KEY=VALUE"),
        ("é=1", 1, "is not KEY=VALUE"),
        ("\ufeffA=1", 1, "is not KEY=VALUE"),
        ("; A=1", 1, "is not KEY=VALUE"),
        ("export A", 1, "is not KEY=VALUE"),
        ("A=1\nB='x\ny\nz", 2, "has a quote that is not closed"),
        ('A="x\\"\n', 1, "has a quote that is not closed"),
        ("A='x'y", 1, "goes on after the closing quote"),
        ("A='x\n\n'y", 3, "goes on after the closing quote"),
        ("A='x''y'", 1, "goes on after the closing quote"),
        ("A='x'#y", 1, "goes on after the closing quote"),
        ("A=1\nB=\0", 2, "has a NUL"),
    ],
)
def test_what_cannot_be_read_names_file_and_line_and_keeps_what_is_there_to_itself(
    text: str, line: int, why: str
) -> None:
    with pytest.raises(Misread) as caught:
        read(text)

    assert str(caught.value) == f"/etc/web.env line {line}: {why}"
    assert (caught.value.path, caught.value.line, caught.value.why) == ("/etc/web.env", line, why)


def test_bytes_that_are_no_text_name_their_line() -> None:
    with pytest.raises(Misread, match="/a line 2: not UTF-8"):
        parse("/a", b"A=1\nB=\xff\n")


_values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@steady
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), _values, max_size=4), st.booleans())
def test_every_value_can_be_written(variables: dict[str, str], exported: bool) -> None:
    def quoted(value: str) -> str:
        for special in '\\"$`':
            value = value.replace(special, f"\\{special}")
        return f'"{value}"'

    text = "".join(f"{'export ' * exported}{key}={quoted(value)}\n" for key, value in variables.items())

    assert read(text) == variables


_lines = st.lists(
    st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "export ", "  "]),
        st.sampled_from(["A", "B"]),
        st.one_of(
            st.text("abc./:=@%+,-é", max_size=6),
            st.text('abc \t\n"\\$#`=é', max_size=6).map("'{}'".format),
            st.lists(
                st.sampled_from(["a", " ", "'", "#", '\\"', "\\\\", "\\$", "\\`", "\\n", "\\\n", "\n"]), max_size=6
            )
            .map("".join)
            .map('"{}"'.format),
        ),
    )
    | st.sampled_from(["", "# A=3", "   "]),
    max_size=5,
)


@steady
@given(_lines)
def test_a_shell_reads_the_same(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"

    shell = subprocess.run(
        ["/bin/sh", "-c", f'{text}\nprintf "%s\\0" "$A" "$B"'], env={}, stdout=subprocess.PIPE, check=True
    )

    assert shell.stdout.decode().split("\0")[:2] == [read(text).get("A", ""), read(text).get("B", "")]


@steady
@given(st.binary(max_size=40) | st.text("A=1'\"\\ \n#\r$export", max_size=40).map(str.encode))
def test_any_bytes_are_variables_or_misread(data: bytes) -> None:
    try:
        variables = parse("/a", data)
    except Misread as misread:
        line = misread.line
        variables = {}
    else:
        line = 1
    assert 1 <= line <= data.count(b"\n") + 1
    for key, value in variables.items():
        assert key
        assert "=" not in key
        assert "\0" not in key + value


@pytest.mark.parametrize("unit", ["A= ", "=", "'", '"', "\\", "A='\\", "A=\"\\'", " ", "#", "\n", "A=1 \n", "'\n"])
def test_the_largest_file_is_read_in_a_moment_whatever_is_in_it(unit: str) -> None:
    for data in (unit * (2**20 // len(unit)), 'A="' + unit * (2**20 // len(unit)), "A=" + unit * 10**5 + "x"):
        try:
            read(data)
        except Misread:
            pass
