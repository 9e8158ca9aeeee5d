"""`runbook completion`: a script that the shell takes, and that completes."""

import shutil
import subprocess
from typing import Any

import pytest

COMPLETE = """
source ./runbook.bash
COMP_WORDS=(runbook {words}) COMP_CWORD={last}
_shtab_runbook
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(runbook: Any) -> Any:
    script = runbook("completion", "bash")
    assert script.code == 0, script.err
    (runbook.cwd / "runbook.bash").write_text(script.out)

    def completions(words: str) -> list[str]:
        code = COMPLETE.format(words=words, last=len(words.split(" ")))
        done = subprocess.run(["bash", "-c", code], cwd=runbook.cwd, capture_output=True, text=True, check=True)
        return done.stdout.split()

    return completions


def test_bash_takes_the_script(runbook: Any, complete: Any) -> None:
    subprocess.run(["bash", "-n", "runbook.bash"], cwd=runbook.cwd, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ru", ["run", "runs"]),
        ("s", ["script", "show", "schema", "snapshots", "shell"]),
        ("snapshots in", ["inspect"]),
        ("run --agen", ["--agent"]),
        ("check --format gi", ["github"]),
        ("cost --by ''", ["model", "task", "day"]),
        ("run --sandbox ''", ["auto", "docker", "bubblewrap", "host"]),
        ("replay --sandbox ho", ["host"]),
        ("run --network mo", ["model-only"]),
        ("run --agent cl", ["claude-code"]),
        ("run --snapshot pri", ["prism-playwright"]),
        ("run --record-mode ''", ["full", "metadata", "none"]),
        ("run --provider op", ["openai", "openrouter"]),
        ("new --evaluation pro", ["programmatic"]),
        ("new --agent ge", ["gemini-cli"]),
        ("snapshots build pri", ["prism-playwright"]),
        ("snapshots build --agent co", ["codex"]),
        ("snapshots inspect pri", ["prism-playwright"]),
        ("shell pri", ["prism-playwright"]),
    ],
)
def test_bash_completes(complete: Any, words: str, expected: list[str]) -> None:
    assert complete(words) == expected


def test_bash_completes_files_where_a_command_wants_one(runbook: Any, complete: Any) -> None:
    (runbook.cwd / "orders.runbook.md").touch()
    assert complete("check ord") == ["orders.runbook.md"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script(runbook: Any, shell: str) -> None:
    script = runbook("completion", shell)
    assert script.code == 0, script.err
    assert "snapshots" in script.out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script.out, text=True, check=True)


def test_an_unknown_shell_lists_the_known_ones(runbook: Any) -> None:
    ran = runbook("completion", "elvish")
    assert ran.code == 2
    assert "Known: bash, zsh, tcsh." in ran.err
