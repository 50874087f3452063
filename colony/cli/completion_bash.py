"""A script with which bash completes colony's words."""

from __future__ import annotations

from shlex import quote

from colony.cli import grammar

TYPE_CHECKING = False  # not typing's: importing typing would cost 4 ms
if TYPE_CHECKING:
    from colony.cli.grammar import Grammar

_SCRIPT = """\
# Completion of colony for bash, as `colony completion bash` prints it: made of its options, not to be edited.

_colony_names() {  # the processes that have a file in CONFIG: what --config says, else COLONY_CONFIG
    local directory=${COLONY_CONFIG-} i file name
    for ((i = 1; i < $#; i++)); do
        case ${@:i:1} in
            --config) directory=${@:i+1:1} ;;
            --config=*) directory=${@:i:1} directory=${directory#--config=} ;;
        esac
    done
    directory=${directory/#\\~\\//$HOME/}
    [[ $directory ]] || return
    for file in "$directory"/*; do
        name=${file##*/} name=${name%.json}
        [[ -f $file && $name =~ ^[A-Za-z0-9_][A-Za-z0-9._@+-]*$ ]] || continue
        case $name in @LITTER@) continue ;; esac
        printf '%s\\n' "$name"
    done
}

_colony() {
    local line=${COMP_LINE:0:COMP_POINT} words word verb= option= after= position=0 last i
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=$((${#words[@]} - 1))
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $option ]]; then option=
        elif [[ $word == -- ]]; then after=1; break
        elif [[ $word == -*=* ]]; then :
        elif [[ $word == -* ]]; then [[ ' @FLAGS@ ' == *" $word "* ]] || option=$word
        elif [[ $verb ]]; then ((position++))
        elif [[ $word != ctl ]]; then verb=$word
        fi
    done
    local current=${words[last]} prefix= kind=
    local value=$current
    if [[ $after ]]; then kind=file
    elif [[ $option || $current == --*=* ]]; then
        [[ $option ]] || { option=${current%%=*}; prefix=$option= value=${current#*=}; }
        case "$verb $option" in
@VALUES@
        esac
    elif [[ $current == -* ]]; then
        case $verb in
@OPTIONS@
            *) kind='words @EVERYWHERE@' ;;
        esac
    elif [[ ! $verb ]]; then kind='words @VERBS@'
    else
        case "$verb $position" in
@POSITIONALS@
        esac
    fi
    local found=()
    case $kind in
        'words '*) mapfile -t found < <(compgen -W "${kind#words }" -- "$value") ;;
        name) mapfile -t found < <(compgen -W "$(_colony_names "${words[@]}")" -- "$value") ;;
        signal) mapfile -t found < <(compgen -W '@SIGNALS@' -- "$value") ;;
        file) mapfile -t found < <(compgen -f -- "$value"); compopt -o filenames 2> /dev/null ;;
        directory) mapfile -t found < <(compgen -d -- "$value"); compopt -o filenames 2> /dev/null ;;
    esac
    # What bash replaces is less than a word where = or @ or : is in it.
    local part=${COMP_WORDS[COMP_CWORD]}
    [[ $part == [=:@] ]] && part=
    local head=${current%"$part"}
    COMPREPLY=()
    for word in "${found[@]}"; do
        word=$prefix$word
        COMPREPLY+=("${word#"$head"}")
    done
}

complete -F _colony colony
"""


def script(every: list[Grammar]) -> str:
    """A script for bash to source."""
    values, offered, positionals = [], [], []
    common = grammar.common(every)
    for each in every:
        for option in each.options:
            if option.kind and option not in common:
                patterns = "|".join(f"'{each.verb} {name}'" for name in option.names)
                values.append(f"            {patterns}) kind={quote(option.kind)} ;;")
        offered.append(f"            {each.verb}) kind={quote(f'words {grammar.names(each.options)}')} ;;")
        for at, kind in enumerate(each.positionals):
            if kind:
                many = each.repeats and at == len(each.positionals) - 1
                positionals.append(f"            '{each.verb} '{'*' if many else at}) kind={quote(kind)} ;;")
    values += [f"            *' {each.names[0]}') kind={quote(each.kind)} ;;" for each in common if each.kind]
    return grammar.filled(
        _SCRIPT,
        LITTER=" | ".join(f"*.{ending}" for ending in grammar.LITTER),
        FLAGS=grammar.flags(every),
        VALUES="\n".join(values),
        OPTIONS="\n".join(offered),
        EVERYWHERE=grammar.names(common) + " --version",
        VERBS=" ".join(each.verb for each in every),
        POSITIONALS="\n".join(positionals),
        SIGNALS=grammar.signals(),
    )
