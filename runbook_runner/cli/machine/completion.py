"""Command line: `runbook completion`."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from runbook_runner.agents.registry import known_agents
from runbook_runner.cli.app import COMPLETE, root_parser
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.facts.providers import PROVIDERS
from runbook_runner.core.settings import RecordMode
from runbook_runner.core.spec import Policy
from runbook_runner.runbook.authoring.scaffold import EVALUATIONS
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.images.snapshots import known_snapshots
from runbook_runner.trajectory.outcome import OUTCOMES, STATUSES
from runbook_runner.trajectory.overlay import OVERRIDES, RECORDED

DESCRIPTION = """\
For bash: `runbook completion bash > ~/.local/share/bash-completion/completions/runbook`.

For zsh: write it to a file `_runbook` in a folder of `$fpath`.

For fish: `runbook completion fish > ~/.config/fish/completions/runbook.fish`.

For tcsh: write it to a file that ~/.tcshrc sources.

Completes commands, options and what they take: in bash, zsh and fish also runs (the latest first), tasks, agents,
models, snapshots, labels, and the parameters of the runbook that is named in the line.
"""

SHELLS = ("bash", "zsh", "fish", "tcsh")
_WORDS: Final = {
    "--evaluation": EVALUATIONS,
    "--network": get_args(Policy),
    "--outcome": ("failed", *OUTCOMES),
    "--provider": tuple(PROVIDERS),
    "--record-mode": get_args(RecordMode),
    "--sandbox": ("auto", *BACKENDS),
    "--status": STATUSES,
    "NEW-STATUS": (*OVERRIDES, RECORDED),
    "--verdict": ("pass", "fail", "none"),
}
"""By option: what this program brings with it. The parser takes other words, too."""
_OFFERED: Final = {
    "--agent": known_agents(),
    "--snapshot": known_snapshots(),
    "SNAPSHOT": known_snapshots(),
    "SNAPSHOT|TRAJECTORY": known_snapshots(),
}
"""The same for a shell that is not asked for values, by option or by what the help calls an argument. What a folder has
besides is not known when the script is written."""
_KINDS: Final = {
    **dict.fromkeys(("A", "B", "ID", "OTHER", "RECORDING", "RUN", "TRAJECTORY"), "runs"),
    **dict.fromkeys(("--snapshot", "SNAPSHOT", "SNAPSHOT|TRAJECTORY"), "snapshots"),
    **dict.fromkeys(("--label", "--without-label", "KEY=VALUE"), "labels"),
    **dict.fromkeys(("--model", "--judge-model"), "models"),
    "--agent": "agents",
    "RESULT": "results",
    "--param": "parameters",
    "--remove": "label-keys",
    "--task": "tasks",
}
"""The same for the others: the kind that they ask for, see `complete`."""

_BASH: Final = """
# What a name of a run, a task or a parameter is, others may have chosen: it is never evaluated, and quoted when it is
# put into the line. What the locale can't print, bash quotes as $'…', which is no quoting within quotes.
_runbook_values() {
  local value about
  while IFS=$'\\t' read -r value about; do
    printf -v value '%q' "$value"
    [[ $value == "\\$'"* ]] || printf '%s\\n' "$value"
  done < <(command runbook COMPLETE "$1" "$2" "${COMP_WORDS[@]}" 2>/dev/null </dev/null)
}
KINDS
# bash parts words at = and :, and the line is read here without that.
_runbook() {
  local line=$COMP_LINE word i
  local -a joined=()
  for (( i = 0; i <= COMP_CWORD; i++ )); do
    word=${COMP_WORDS[i]}
    if (( i == 0 )) || [[ $line == [[:space:]]* ]]; then
      joined+=("$word")
    else
      joined[${#joined[@]}-1]+=$word
    fi
    line=${line#"${line%%[![:space:]]*}"}
    line=${line#"$word"}
  done
  local typed=${joined[${#joined[@]}-1]}
  local -a COMP_WORDS=()
  for word in "${joined[@]}"; do
    if [[ $word == --[a-z]*=* ]]; then
      COMP_WORDS+=("${word%%=*}" "${word#*=}")
    else
      COMP_WORDS+=("$word")
    fi
  done
  local COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
  compopt -o nosort 2>/dev/null
  _shtab_runbook
  local shown=${COMP_WORDS[COMP_CWORD]} before
  before=${shown%"${shown##*[=:]}"}
  [[ -n $before && $COMP_WORDBREAKS == *[=:]* ]] && COMPREPLY=("${COMPREPLY[@]#"$before"}")
  [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
"""
_ZSH: Final = """
_runbook_values() {
  local -a whole open about_whole about_open
  local value about
  while IFS=$'\\t' read -r value about; do
    if [[ $value == *= ]]; then
      open+=("$value")
      about_open+=("$value${about:+  -- $about}")
    else
      whole+=("$value")
      about_whole+=("$value${about:+  -- $about}")
    fi
  done < <(command runbook COMPLETE "$1" "$PREFIX" "${(@)words}" 2>/dev/null </dev/null)
  (( $#whole + $#open )) || return 1
  (( $#whole )) && compadd -V runbook -l -d about_whole -a whole
  (( $#open )) && compadd -S '' -V runbook -l -d about_open -a open
  return 0
}
KINDS
"""
_FISH: Final = """
function _runbook_values
    set -l word (commandline -ct)
    set word (string replace -r '^--[a-z-]+=' '' -- "$word[1]")
    set -l found (command runbook COMPLETE $argv[1] "$word[1]" (commandline -opc) 2>/dev/null </dev/null)
    test (count $found) -gt 0; or return 1
    printf '%s\\n' $found
end
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh, fish or tcsh.")


def execute(arguments: argparse.Namespace) -> int:
    import shtab  # only this command needs it

    root = root_parser(complete=True)
    asks = arguments.shell != "tcsh"
    for action in _actions(root):
        _set_words(action, _WORDS if asks else {**_WORDS, **_OFFERED})
        if action.choices or action.nargs == 0:
            continue
        kind = _of(action, _KINDS) if asks else None
        if kind:
            action.complete = _asking(kind)  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar == "PATH":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    if arguments.shell == "zsh":
        _let_values_follow_an_equals_sign(root)
    script = shtab.complete(root, arguments.shell, preamble=_preamble(arguments.shell))
    if arguments.shell == "bash":
        script = script.replace("-F _shtab_runbook runbook", "-o default -F _runbook runbook")
    sys.stdout.write(script + "\n")
    return ExitCode.PASS


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of the parser and of all below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action


def _let_values_follow_an_equals_sign(root: argparse.ArgumentParser) -> None:
    """As `_arguments` of zsh is told it."""
    for action in _actions(root):
        if action.nargs != 0:
            names = (f"{name}=" if name.startswith("--") else name for name in action.option_strings)
            action.option_strings = [*names]


def _of(action: argparse.Action, table: Mapping[str, Any]) -> Any:
    """By what the help calls it, else by its options; `None` when the table does not have it."""
    names = (str(action.metavar), *action.option_strings)
    return next((table[name] for name in names if name in table), None)


def _set_words(action: argparse.Action, table: Mapping[str, Any]) -> None:
    action.choices = action.choices or _of(action, table)


def _asking(kind: str) -> dict[str, str]:
    """How each shell asks for values. A run may be given by its folder or file, too."""
    name = kind.replace("-", "_")
    files = kind == "runs"
    return {
        "bash": f"_runbook_values_{name}",
        "zsh": f" _runbook_values_{name}",
        "fish": f"(_runbook_values {kind}{'; or __fish_complete_path (commandline -ct)' if files else ''})",
    }


def _preamble(shell: str) -> str:
    text = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}.get(shell, "").replace("COMPLETE", COMPLETE)
    kinds = sorted(set(_KINDS.values()))
    if shell == "bash":
        functions = [f'_runbook_values_{kind.replace("-", "_")}() {{ _runbook_values {kind} "$1"; }}' for kind in kinds]
    else:
        or_files = {"runs": " || _files"}
        functions = [
            f"_runbook_values_{kind.replace('-', '_')}() {{ _runbook_values {kind}{or_files.get(kind, '')} }}"
            for kind in kinds
        ]
    return text.replace("KINDS", "\n".join(functions))
