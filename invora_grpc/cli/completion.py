"""`invora completion`: the scripts by which bash, zsh and fish ask `invora __complete` what could be typed.

The scripts hold no list of anything: what they offer is what the installed version answers. `python -m
invora_grpc.cli.completion` writes the table of commands and options that it answers from, cli/offered.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

__all__ = ["completion", "table"]

_BASH: Final = r"""# invora: completion for bash. Use: eval "$(invora completion bash)"
_invora() {
    local line="${COMP_LINE:0:COMP_POINT}" words=() cur="" quote="" whole="" begun="" char word mark i
    # the words as the command gets them; bash's own are parted at = and :, and have their quotes
    for (( i = 0; i < ${#line}; i++ )); do
        char="${line:i:1}"
        if [[ -n "$quote" && "$char" == "$quote" ]]; then
            quote=""
        elif [[ "$char" == \\ && "$quote" != \' ]]; then
            i=$((i + 1))
            cur+="${line:i:1}"
        elif [[ -z "$quote" && "$char" == [\'\"] ]]; then
            quote="$char" whole="${cur:+no}"
        elif [[ -z "$quote" && "$char" == [[:space:]] ]]; then
            [[ -n "$begun" ]] && words+=("$cur")
            cur="" begun=""
            continue
        else
            cur+="$char"
        fi
        begun=yes
    done
    local IFS=$'\n'
    COMPREPLY=()
    for word in $("${words[0]/#\~\//$HOME/}" __complete -- "${words[@]:1}" "$cur" 2>/dev/null); do
        COMPREPLY+=("${word%%$'\t'*}")
    done
    if [[ ${#COMPREPLY[@]} -gt 0 && "${COMPREPLY[0]}" == *[.=] ]]; then
        compopt -o nospace
    fi
    [[ -n "$quote" && -z "$whole" ]] && return
    # bash replaces only what stands after the last of its word breaks, unless all of the word is within quotes
    for mark in = :; do
        if [[ "$COMP_WORDBREAKS" == *"$mark"* && "$cur" == *"$mark"* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${cur%"$mark"*}$mark"}")
        fi
    done
}
complete -o bashdefault -o default -F _invora invora
"""
_ZSH: Final = r"""#compdef invora
# invora: completion for zsh. Use: eval "$(invora completion zsh)", after compinit
_invora() {
    local word what command="${words[1]/#\~\//$HOME/}"
    local -a plain open
    while IFS=$'\t' read -r word what; do
        [[ -z $word ]] && continue
        if [[ $word == *[.=] ]]; then
            open+=("$word")
        else
            plain+=("${word//:/\\:}${what:+:$what}")
        fi
    done < <("$command" __complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)
    (( ${#open} )) && compadd -S '' -- "${open[@]}"
    (( ${#plain} )) && _describe invora plain
    (( ${#open} + ${#plain} )) || _files
}
compdef _invora invora
"""
_FISH: Final = r"""# invora: completion for fish. Use: invora completion fish | source
function __invora_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l command (string replace -r '^~/' "$HOME/" -- $words[1])
    command -q -- $command; or return
    # without its quotes, of which the last may be missing
    set -l plain (string unescape -- $typed; or string unescape -- $typed"'"; or string unescape -- $typed'"')
    set -l found ($command __complete -- $words[2..-1] "$plain" 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path $typed
    end
end
complete -c invora -f -a '(__invora_complete)'
"""
_SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command()
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script that completes commands, RPCs and fields in SHELL.

    For good, write `eval "$(invora completion bash)"` into ~/.bashrc; the same with zsh into ~/.zshrc, after compinit;
    and `invora completion fish | source` into ~/.config/fish/config.fish.

    \b
    Examples:
      eval "$(invora completion bash)"
      invora completion fish
    """
    click.echo(_SCRIPTS[shell], nl=False)


# --- the table ----------------------------------------------------------------------------------------------------


def table() -> str:
    """The source of cli/offered.py: every command, what it is, and its options with their values."""
    from invora_grpc.cli.app import main

    lines = [
        '"""Commands and their options, for completion. Written by `python -m invora_grpc.cli.completion`."""',
        "",
        "from __future__ import annotations",
        "",
        "OFFERED: dict[str, tuple[str, dict[str, str]]] = {",
        '    # command: (what it is, {option: "" without a value, "*" with any, "a|b" with one of these})',
    ]
    for name, command in _commands(main, click.Context(main), ""):
        options = "".join(f"            {_text(option)}: {_text(value)},\n" for option, value in _options(command))
        inside = f"{{\n{options}        }}" if options else "{}"
        lines.append(f"    {_text(name)}: (\n        {_text(_about(name, command))},\n        {inside},\n    ),")
    return "\n".join([*lines, "}", ""])


def _about(name: str, command: click.Command) -> str:
    from invora_grpc.cli.app import COMMANDS

    return COMMANDS[name].help if name in COMMANDS else command.get_short_help_str(80)


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _commands(group: click.Group, context: click.Context, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{path}{name} ")


def _options(command: click.Command) -> Iterator[tuple[str, str]]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            choices = "|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else "*"
            for name in (*option.opts, *option.secondary_opts):
                yield name, "" if option.is_flag or option.count else choices


if __name__ == "__main__":
    Path(__file__).with_name("offered.py").write_text(table(), "utf-8")
