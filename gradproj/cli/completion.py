"""Print a script that completes what is typed after gradproj: ``eval "$(gradproj completion bash)"``, or ``zsh``.

The verbs, and after run, plan, fetch, doctor and verify the keys of the configuration and the choices of its groups, as
Hydra finds them for what the line has so far (about a second for each TAB). Elsewhere files are completed.
"""

import argparse

from gradproj.cli import VERBS

COMPOSE = ("run", "plan", "fetch", "doctor", "verify")  # verbs whose arguments Hydra composes
BASH = """\
_gradproj()
{
    local word=${COMP_LINE:0:COMP_POINT} line first
    read -ra line <<< "$word"
    first=${line[0]##*/}
    COMPREPLY=()
    if [ "$first" = gradproj-run ]; then line=(gradproj run "${line[@]:1}"); fi
    case $word in *" ") line+=("") ;; esac
    word=${line[${#line[@]} - 1]}
    local choices=
    if [ ${#line[@]} -le 2 ]; then
        choices="@VERBS@"
    else
        case " @COMPOSE@ " in
            *" ${line[1]} "*)
                local option known=
                for option in "${line[@]:2:${#line[@]} - 3}"; do
                    case $option in -*) ;; *) known+="$option " ;; esac
                done
                choices=$(COMP_LINE="gradproj-run $known$word" command "${COMP_WORDS[0]%-run}" run -sc query=bash \\
                    2> /dev/null) ;;
        esac
    fi
    local choice kept=
    case $COMP_WORDBREAKS in *=*) case $word in *=*) kept=${word%=*}= ;; esac ;; esac
    for choice in $choices; do
        case $choice in "$word"*) COMPREPLY+=("${choice#"$kept"}") ;; esac
    done
}
complete -o nospace -o default -F _gradproj gradproj gradproj-run
"""
FISH = """\
function __gradproj_keys
    set -l typed (commandline -opc)
    test (basename $typed[1]) = gradproj; and set -e typed[1]
    set -l known (string match -v -- '-*' $typed[2..])
    env COMP_LINE="gradproj-run $known "(commandline -ct) gradproj run -sc query=bash 2>/dev/null | string split ' '
end
complete -c gradproj -n __fish_use_subcommand -f -a '@VERBS@'
complete -c gradproj -n '__fish_seen_subcommand_from @COMPOSE@' -f -a '(__gradproj_keys)'
complete -c gradproj-run -f -a '(__gradproj_keys)'
"""
ZSH = """\
_gradproj()
{
    local option known=
    local -a line
    line=("${(@)words[1,CURRENT]}")
    if [[ ${line[1]:t} = gradproj-run ]]; then line=(gradproj run "${(@)line[2,-1]}"); fi
    if (( $#line <= 2 )); then
        compadd -- @VERBS@
    elif [[ " @COMPOSE@ " = *" ${line[2]} "* ]]; then
        for option in "${(@)line[3,-2]}"; do
            [[ $option = -* ]] || known+="$option "
        done
        compadd -S '' -- ${=$(COMP_LINE="gradproj-run $known$PREFIX" command "${words[1]%-run}" run -sc query=bash \\
            2> /dev/null)}
    else
        _files
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _gradproj gradproj gradproj-run
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(arguments: list[str]) -> int:
    """Print the script of one shell; returns 0."""
    parser = argparse.ArgumentParser(
        prog="gradproj completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SCRIPTS, help="fish: gradproj completion fish | source")
    shell = parser.parse_args(arguments).shell
    print(SCRIPTS[shell].replace("@VERBS@", " ".join(VERBS)).replace("@COMPOSE@", " ".join(COMPOSE)), end="")
    return 0
