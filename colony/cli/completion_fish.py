"""A script with which fish completes colony's words."""

from __future__ import annotations

from colony.cli import grammar

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from colony.cli.grammar import Grammar, Option

_SCRIPT = """\
# Completion of colony for fish, as `colony completion fish` prints it: made of its options, not to be edited.

function __colony_names  # the processes that have a file in CONFIG: what --config says, else COLONY_CONFIG
    set -l directory $COLONY_CONFIG
    set -l words (commandline -opc)
    for i in (seq (count $words))
        if string match -q -- '--config=*' $words[$i]
            set directory (string replace -- '--config=' '' $words[$i])
        else if test $words[$i] = --config -a $i -lt (count $words)
            set directory $words[(math $i + 1)]
        end
    end
    test -n "$directory"; or return
    for file in $directory/*
        set -l name (string replace -r -- '\\.json$' '' (string replace -r -- '.*/' '' $file))
        test -f $file; or continue
        string match -qr -- '^[A-Za-z0-9_][A-Za-z0-9._@+-]*$' $name; or continue
        string match -qr -- '@LITTER@' $name; and continue
        echo $name
    end
end

function __colony_at  # is that the verb and, if a number follows, the word to be completed its positional?
    set -l option ''
    set -l verb ''
    set -l position 0
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            set option ''
        else if string match -q -- '-*=*' $word
        else if string match -q -- '-*' $word
            contains -- $word @FLAGS@; or set option $word
        else if test -n "$verb"
            set position (math $position + 1)
        else if test $word != ctl
            set verb $word
        end
    end
    test "$verb" = "$argv[1]"; or return 1
    test (count $argv) -eq 1 -o "$argv[2]" = '*' -o "$argv[2]" = $position
end

complete -c colony -f
@LINES@
"""

_KINDS = {
    "name": "-f -a '(__colony_names)'",
    "file": "-F",
    "directory": "-f -a '(__fish_complete_directories)'",
    "": "-f",
}


def script(every: list[Grammar]) -> str:
    """A script for fish's directory of completions."""
    first = "complete -c colony -n '__colony_at \"\"'"
    lines = [f"{first} -a {each.verb} -d {_quoted(each.summary)}" for each in every]
    lines += [f"{first} {_option(option)}" for option in grammar.common(every)]
    for each in every:
        lines += [f"complete -c colony -n '__colony_at {each.verb}' {_option(option)}" for option in each.options]
        for at, kind in enumerate(each.positionals):
            if kind:
                where = '"*"' if each.repeats and at == len(each.positionals) - 1 else at
                lines.append(f"complete -c colony -n '__colony_at {each.verb} {where}' {_kind(kind)}")
    endings = "|".join(ending.replace("*", ".*") for ending in grammar.LITTER)
    return grammar.filled(_SCRIPT, LITTER=rf"\.({endings})$", FLAGS=grammar.flags(every), LINES="\n".join(lines))


def _option(option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    value = "" if option.value is None else f" -r {_kind(option.kind)}"
    return f"{names}{value} -d {_quoted(option.help)}"


def _kind(kind: str) -> str:
    if kind.startswith("words ") or kind == "signal":
        return f"-f -a {_quoted(grammar.signals() if kind == 'signal' else kind.removeprefix('words '))}"
    return _KINDS[kind]


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
