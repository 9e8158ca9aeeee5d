"""`runbook completion`: a script that the shell takes, and that completes."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RUNBOOK

COMPLETE = """
source ./runbook.bash
COMP_WORDS=(runbook {words}) COMP_CWORD={last} COMP_LINE='runbook {line}'
_runbook
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
SHELLS = {
    "bash": (("--norc", "--noprofile", "-i"), "source ./runbook.bash; runbook() {{ {told}; }}\n"),
    "zsh": (
        ("-f", "-i"),
        "fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D; runbook() {{ {told}; }}\n",
    ),
    "fish": (("--no-config", "-i"), "source ./runbook.fish; function runbook; {told}; end\n"),
}
"""Arguments of each shell, and how it gets the script and another `runbook`, which prints its arguments."""
HOSTILE = "evil$(touch pwned)`touch pwned`;touch pwned&<(touch pwned)"


@pytest.fixture
def complete(runbook: Any) -> Any:
    script = runbook("completion", "bash")
    assert script.code == 0, script.err
    (runbook.cwd / "runbook.bash").write_text(script.out)

    def completions(words: str) -> list[str]:
        line = words.replace("'", "")
        code = COMPLETE.format(words=words, last=len(words.split(" ")), line=line)
        env = {**runbook.env, "PATH": f"{RUNBOOK.parent}:{runbook.env['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", code], cwd=runbook.cwd, env=env, capture_output=True, text=True, check=True
        )
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


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script(runbook: Any, shell: str) -> None:
    script = runbook("completion", shell)
    assert script.code == 0, script.err
    assert "snapshots" in script.out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script.out, text=True, check=True)


def test_an_unknown_shell_lists_the_known_ones(runbook: Any) -> None:
    ran = runbook("completion", "powershell")
    assert ran.code == 2
    assert "Known: bash, zsh, fish, tcsh." in ran.err


# --- values, in real shells ----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(runbook: Any, shell_runbook: Any) -> list[str]:
    """The ids of two runs, the latest first."""
    ids = []
    for label in ("team=blue", f"{HOSTILE}=1"):
        ran = runbook(
            "run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--label", label, "--json"
        )
        assert ran.code == 0, ran.err
        ids.insert(0, ran.json["trajectory_id"])
    return ids


@pytest.fixture(params=[pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in SHELLS])
def typed(runbook: Any, request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """Types a line on the terminal of a shell; returns the arguments with which that calls `runbook`."""
    shell = request.param
    script = runbook("completion", shell)
    assert script.code == 0, script.err
    (runbook.cwd / "functions").mkdir()
    name = {"bash": "runbook.bash", "zsh": "functions/_runbook", "fish": "runbook.fish"}[shell]
    (runbook.cwd / name).write_text(script.out)

    def type_(line: str) -> list[str]:
        options, setup = SHELLS[shell]
        told = f'{sys.executable} -c \'import json, sys; json.dump(sys.argv[1:], open("told.json", "w"))\' '
        told += "$argv" if shell == "fish" else '"$@"'
        # The first end of a line chooses where fish shows several, the second one runs it.
        text = f"{setup.format(told=told)}{line}\n\necho all-''done\n"
        shown = on_terminal([shell, *options], runbook, text, b"all-done")
        told_file = runbook.cwd / "told.json"
        assert told_file.exists(), shown
        arguments = json.loads(told_file.read_text())
        told_file.unlink()
        return list(arguments)

    return type_


def on_terminal(argv: list[str], runbook: Any, text: str, until: bytes, locale: str = "C.UTF-8") -> bytes:
    home = runbook.cwd / "home"
    home.mkdir(exist_ok=True)
    path = f"{RUNBOOK.parent}:{runbook.env['PATH']}"
    env = {**runbook.env, "PATH": path, "TERM": "dumb", "HOME": str(home), "PS1": "> ", "LC_ALL": locale}
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(runbook.cwd)
        os.execvpe(argv[0], argv, env)
    os.write(terminal, text.encode())
    shown, end = b"", time.monotonic() + 60
    try:
        while until not in shown and time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 1 << 16)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    assert until in shown, shown
    return shown


def test_shells_complete_what_is_recorded(runbook: Any, recorded: list[str], typed: Any) -> None:
    latest, first = recorded
    assert typed(f"runbook runs show {first[:5]}\t") == ["runs", "show", first]
    assert typed(f"runbook diff @last-f\t {latest[:5]}\t") == ["diff", "@last-failed", latest]
    line = "runbook runs list --task te\t --agent sh\t --label te\t\t --status comp\t"
    chosen = ["--task", "test", "--agent", "shell", "--label", "team=blue", "--status", "completed"]
    assert typed(line) == ["runs", "list", *chosen]
    for command in ("list", "stats", "prune"):
        without = ["runs", command, "--without-label", "team=blue"]
        assert typed(f"runbook runs {command} --without-label te\t\t") == without
    assert typed("runbook runs list --label=te\t\t") == ["runs", "list", "--label=team=blue"]
    assert typed("runbook runs list --outcome faile\t") == ["runs", "list", "--outcome", "failed"]
    assert typed(f"runbook runs label {first} --status rec\t") == ["runs", "label", first, "--status", "recorded"]
    assert typed(f"runbook runs open {first} results/o\t") == ["runs", "open", first, "results/out.txt"]
    (runbook.cwd / "run.bundle.zip").touch()
    assert typed("runbook replay run.b\t") == ["replay", "run.bundle.zip"]


PARAMETERS = """\
## Parameters

| Parameter | Default | Description |
|---|---|---|
| `city` | `Rome` | Where to look $(touch pwned) |
| `country` | `Italy` | What for |

## REQUIRED"""


def test_shells_complete_the_parameters_of_the_runbook_in_the_line(
    runbook: Any, shell_runbook: Any, typed: Any
) -> None:
    file = shell_runbook("true").rename(runbook.cwd / "my book") / "RUNBOOK.md"
    file.write_text(file.read_text().replace("## REQUIRED", PARAMETERS))
    assert typed("runbook run my\\ book -p cou\t") == ["run", "my book", "-p", "country="]
    assert typed("runbook run my\\ book --param=ci\t") == ["run", "my book", "--param=city="]
    assert not (runbook.cwd / "pwned").exists()


def test_no_name_of_a_stranger_is_evaluated(runbook: Any, recorded: list[str], typed: Any) -> None:
    (run,) = runbook.cwd.glob(f".runbook/trajectories/*/*/{recorded[0]}/trajectory.json")
    body = json.loads(run.read_text())
    body["init_params"]["model"] = HOSTILE
    run.write_text(json.dumps(body))
    (runbook.cwd / "folder").mkdir()
    (runbook.cwd / "folder" / "$(touch pwned).md").touch()
    (runbook.cwd / ".runbook/snapshots/$(touch pwned)").mkdir(parents=True)
    (runbook.cwd / ".runbook/snapshots/$(touch pwned)/Dockerfile").touch()
    (runbook.cwd / ".runbook/agents").mkdir()
    (runbook.cwd / ".runbook/agents/$(touch pwned).toml").touch()
    label = typed("runbook runs list --label ev\t\t")
    assert label == ["runs", "list", "--label", f"{HOSTILE}=1"]
    assert typed("runbook runs list --model ev\t") == ["runs", "list", "--model", HOSTILE]
    assert typed("runbook check folder/\t") == ["check", "folder/$(touch pwned).md"]
    assert typed("runbook replay folder/\t") == ["replay", "folder/$(touch pwned).md"]
    for line in ("runbook run x --snapshot \t\t", "runbook run x --agent \t\t", 'runbook runs list --label "ev\t"'):
        typed(line)
    assert not (runbook.cwd / "pwned").exists()


def test_nothing_in_the_folder_is_started_to_complete(runbook: Any, typed: Any) -> None:
    program = runbook.cwd / "runbook"
    program.write_text("#!/bin/sh\ntouch pwned\n")
    program.chmod(0o755)
    (runbook.cwd / ".git").mkdir()
    typed("runbook runs show 12\t")
    assert not (runbook.cwd / "pwned").exists()


@pytest.mark.needs("bash")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_no_name_of_a_stranger_ends_the_quotes_of_a_word(
    runbook: Any, recorded: list[str], complete: Any, locale: str
) -> None:
    """In the locale C bash writes what has other letters in quotes of its own."""
    (folder,) = runbook.cwd.glob(f".runbook/trajectories/*/*/{recorded[0]}")
    values = ("'very gööd;touch pwned;'", 'x"é$(touch pwned)', "é$(touch pwned)", "'plain;touch pwned;'", "fine")
    labels = [{"key": f"k{number}", "value": value} for number, value in enumerate(values)]
    (folder / "labels.json").write_text(json.dumps({"labels": labels}))
    os.utime(folder.parent)
    lines = ["k0='\t'", 'k1=x"\t"', 'k1=x\\"\t', "k2=\t", "k3='\t'", "'k3='\"'\"\t\"'\""]
    typed = "".join(f"runbook runs list --label {line}\n" for line in lines)
    told = "printf '%s\\n' \"$*\" >> told"
    text = f"source ./runbook.bash; runbook() {{ {told}; }}\n{typed}runbook --label k4=f\t\necho all-''done\n"
    shown = on_terminal(["bash", "--norc", "--noprofile", "-i"], runbook, text, b"all-done", locale)
    assert not (runbook.cwd / "pwned").exists(), shown
    called = (runbook.cwd / "told").read_text().splitlines()
    assert len(called) == len(lines) + 1, shown
    assert called[3].endswith("k2=" if locale == "C" else "k2=é$(touch pwned)"), called


@pytest.mark.needs("fish")
def test_fish_shows_what_a_run_is(runbook: Any, recorded: list[str]) -> None:
    (runbook.cwd / "runbook.fish").write_text(runbook("completion", "fish").out)
    env = {**runbook.env, "PATH": f"{RUNBOOK.parent}:{runbook.env['PATH']}", "HOME": str(runbook.cwd)}
    code = "source runbook.fish; complete -C 'runbook runs show '"
    done = subprocess.run(["fish", "--no-config", "-c", code], cwd=runbook.cwd, env=env, capture_output=True, text=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == recorded, "the latest first"
    assert lines[0][1].startswith("test PASS 20")


# --- what the scripts ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [(), ("runs",), ("nonsense", ""), ("runs", "\0"), ("runs", "%"), ("parameters", "", "runbook", "run", "pipe.md")],
)
def test_what_can_not_be_answered_is_nothing(runbook: Any, arguments: tuple[str, ...]) -> None:
    os.mkfifo(runbook.cwd / "pipe.md")
    done = subprocess.run(
        [sys.executable, "-c", f"from runbook_runner.cli.machine.complete import complete; complete({arguments!r})"],
        cwd=runbook.cwd,
        env=runbook.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_that_can_not_be_printed_are_left_out(runbook: Any, recorded: list[str]) -> None:
    (folder,) = runbook.cwd.glob(f".runbook/trajectories/*/*/{recorded[0]}")
    labels = [{"key": key, "value": "x"} for key in ("a\tb", "a\nb", "a\x1b[2J", "\u202ea", "~a", "-a", "fine")]
    (folder / "labels.json").write_text(json.dumps({"labels": labels}))
    os.utime(folder.parent)
    shown = runbook("complete", "labels", "")
    assert (shown.code, shown.err) == (0, "")
    assert sorted(shown.out.splitlines()) == [f"{HOSTILE}=\t", "fine=\t", "team=\t"]


def test_a_home_that_leads_elsewhere_gives_nothing(runbook: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (runbook.cwd / ".runbook").symlink_to(tmp_path / "other")
    shown = runbook("complete", "runs", "")
    assert (shown.code, shown.out, shown.err) == (0, "", "")
