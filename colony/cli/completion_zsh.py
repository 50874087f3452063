"""A script with which zsh completes colony's words."""

from __future__ import annotations

from shlex import quote

from colony.cli import grammar

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from colony.cli.grammar import Grammar, Option

_SCRIPT = """\
#compdef colony
# Completion of colony for zsh, as `colony completion zsh` prints it: made of its options, not to be edited.

_colony_names() {  # the processes that have a file in CONFIG: what --config says, else COLONY_CONFIG
    local directory=${COLONY_CONFIG-} word next=
    local -a names
    for word in $_colony_line; do
        [[ -n $next ]] && directory=$word next=
        [[ $word == --config ]] && next=1
        [[ $word == --config=* ]] && directory=${word#--config=}
    done
    [[ -n $directory ]] || return 1
    names=(${~directory}/*(N.:t))
    names=(${names%.json})
    names=(${(M)names:#[A-Za-z0-9_][A-Za-z0-9._@+-]#})
    names=(${names:#(@LITTER@)})
    compadd -a names
}

_colony() {
    setopt localoptions extendedglob
    local curcontext=$curcontext state
    local -a _colony_line=(${(Q)words}) verbs
    verbs=(
@VERBS@
    )
    _arguments -C -A '-*' @EVERYWHERE@ '--version[say the version]' '1:verb:->verb' '*::word:->word' && return
    if [[ $state == verb ]]; then _describe verb verbs; return; fi
    if [[ $words[1] == ctl ]]; then
        if ((CURRENT == 2)); then _describe verb verbs; return; fi
        shift words; ((CURRENT--))
    fi
    case $words[1] in
@CASES@
    esac
}

_colony "$@"
"""

_KINDS = {"name": "_colony_names", "file": "_files", "directory": "_files -/", "": " "}


def script(every: list[Grammar]) -> str:
    """A function file for a directory of ``fpath``."""
    cases = []
    for each in every:
        words = [_option(option) for option in each.options]
        for at, kind in enumerate(each.positionals, 1):
            many = each.repeats and at == len(each.positionals)
            words.append(quote(f"{'*' if many else at}:{_called(kind)}:{_kind(kind)}"))
        cases.append(f"        {each.verb}) _arguments {' '.join(words)} ;;")
    return grammar.filled(
        _SCRIPT,
        LITTER="|".join(f"*.{ending}" for ending in grammar.LITTER),
        VERBS="\n".join(f"        {quote(f'{each.verb}:{each.summary}')}" for each in every),
        EVERYWHERE=" ".join(map(_option, grammar.common(every))),
        CASES="\n".join(cases),
    )


def _option(option: Option) -> str:
    help = option.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = "" if option.value is None else f":{option.value}:{_kind(option.kind)}"
    equals = "" if option.value is None else ("=" if option.names[-1].startswith("--") else "")
    return " ".join(quote(f"*{name}{equals}[{help}]{value}") for name in option.names)


def _kind(kind: str) -> str:
    if kind.startswith("words ") or kind == "signal":
        return f"({grammar.signals() if kind == 'signal' else kind.removeprefix('words ')})"
    return _KINDS[kind]


def _called(kind: str) -> str:
    return "one of" if kind.startswith("words ") else kind or "value"
