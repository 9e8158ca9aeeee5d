"""A run that meets a limit or is refused a network says which, in its error, its record and its exit code."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ISOLATED = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("docker", "bubblewrap")]


@pytest.mark.needs("root")
@pytest.mark.parametrize("sandbox", ISOLATED)
@pytest.mark.parametrize(
    ("code", "options", "named"),
    [
        (
            "head -c 1000000000 /dev/zero | tail -n 1 >/dev/null",
            ["--memory", "128M"],
            "It ran out of memory (128 MB): the kernel killed a process.",
        ),
        (
            "for i in $(seq 200); do sleep 8 & done; wait",
            ["--pids", "50"],
            "It ran out of processes (50): no more could be started.",
        ),
        (
            "while sleep 0.1; do head -c 10000000 /dev/zero >>/app/work/big; done",
            ["--disk", "40M"],
            "It wrote more than 40 MB to disk.",
        ),
        (
            "python3 -c 'f = [open(\"/dev/null\") for _ in range(70000)]'",
            [],
            "A process ran out of open files (65536 each).",
        ),
        ("sleep 100", ["--idle", "2"], "The agent produced no output and made no model call for 2 s."),
        ("echo begun; sleep 100", ["--timeout", "2"], "Agent exceeded timeout_sec (2)."),
    ],
    ids=["memory", "processes", "disk", "open-files", "idle", "wall"],
)
def test_run_that_meets_a_limit_names_it(
    runbook: Any,
    shell_runbook: Callable[[str], Path],
    sandbox: str,
    code: str,
    options: list[str],
    named: str,
) -> None:
    ran = runbook("run", shell_runbook(code), "--sandbox", sandbox, "--json", *options)
    assert ran.code == 4, ran.err
    assert ran.json["status"] == "failed"
    assert named in ran.json["error"]
    assert named in ran.trajectory["error"]
    assert named in (ran.folder / "sandbox.log").read_text()
    assert (
        named in "\n".join(event["message"] for event in ran.events("log")) + ran.events("agent.finished")[0]["error"]
    )


TICKING = """\
for tick in $(seq 1000); do
  echo tick; echo $tick > /app/work/ticks
  if [ -e /app/work/enough ]; then break; fi
  sleep 0.1
done
echo made > /app/results/out.txt
"""


def test_time_in_which_the_runner_stood_still_is_no_silence_of_the_agent(
    runbook: Any, shell_runbook: Callable[[str], Path], eventually: Any
) -> None:
    """As on a laptop that slept; what the agent has said meanwhile waits in a pipe."""
    process = runbook.start("run", shell_runbook(TICKING), "--sandbox", "host", "--idle", "1.5", "--json")
    data = Path(runbook.env["RUNBOOK_DATA"])

    def ticks() -> int:
        return max((int(file.read_text() or 0) for file in data.glob("work/*/work/ticks")), default=0)

    eventually(lambda: ticks() >= 1)
    process.send_signal(signal.SIGSTOP)
    begun = ticks()
    eventually(lambda: ticks() > begun + 30)
    process.send_signal(signal.SIGCONT)
    (work,) = data.glob("work/*/work")
    (work / "enough").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "completed"


@pytest.mark.needs("root")
@pytest.mark.parametrize("sandbox", ISOLATED)
def test_run_that_wanted_more_processor_than_it_may_have_is_told_so(
    runbook: Any, shell_runbook: Callable[[str], Path], sandbox: str
) -> None:
    path = shell_runbook("while :; do :; done")
    # Less than a busy machine gives it anyway.
    ran = runbook("run", path, "--sandbox", sandbox, "--cpus", "0.05", "--timeout", "5", "--json")
    assert ran.trajectory["error"] == "Agent exceeded timeout_sec (5).", "it is no cause, but it explains"
    assert "It was held to at most 0.05 cores: its processes waited" in (ran.folder / "sandbox.log").read_text()


@pytest.mark.needs("root")
@pytest.mark.parametrize("sandbox", ISOLATED)
def test_trajectory_says_how_each_limit_holds(runbook: Any, shell_runbook: Callable[[str], Path], sandbox: str) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", sandbox, "--json")
    holds = {
        "cpus": "together",
        "memory": "together",
        "processes": "together",
        "open_files": "each",
        "disk": "watched",
    }
    assert ran.trajectory["attributes"]["params"]["sandbox"]["limits"] == holds
    assert "limits: cpus together, memory together" in (ran.folder / "sandbox.log").read_text()


@pytest.mark.needs("bubblewrap", "root")
def test_without_a_control_group_each_process_has_its_limit_and_the_user_is_told(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    """In a mount namespace of its own, where there are no control groups to be seen."""
    path = shell_runbook("python3 -c 'b = bytearray(1 << 30)'")
    inner = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    program = str(Path(sys.executable).with_name("runbook"))
    command = [program, "run", str(path), "--sandbox", "bubblewrap", "--memory", "256M", "--json"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inner, "sh", *command],
        capture_output=True,
        text=True,
        cwd=runbook.cwd,
        env=runbook.env,
    )
    assert done.returncode == 4, done.stderr
    told = json.loads(done.stdout)
    assert "A process ran out of memory (256 MB each)." in told["error"]
    trajectory = json.loads((Path(told["path"]) / "trajectory.json").read_text())
    holds = trajectory["attributes"]["params"]["sandbox"]["limits"]
    assert (holds["memory"], holds["cpus"], holds["processes"]) == ("each", "none", "none")
    assert "Not limited here, for no control group can be made: cpus, processes." in done.stderr
    assert "The memory limit holds here for each process by itself" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sandbox", "host", "--network", "none"], "host sandbox can't keep the network policy none"),
        (["--sandbox", "host", "--network", "sometimes"], "full, allowlist, model-only, none"),
        (["--sandbox", "host", "--allow-host", "http://x"], "is not a host"),
        (["--network", "none", "--allow-host", "example.com"], "--network allowlist"),
    ],
)
def test_network_that_can_not_be_kept_is_refused_before_anything_starts(
    runbook: Any, shell_runbook: Callable[[str], Path], options: list[str], said: str
) -> None:
    ran = runbook("run", shell_runbook("true"), *options)
    assert ran.code == 2
    assert said in ran.err
    assert not list(runbook.cwd.glob(".runbook/trajectories/*/*/*"))


def test_agent_with_a_model_is_not_started_without_a_way_to_it(runbook: Any, tmp_path: Path) -> None:
    script = tmp_path / "model.yaml"
    script.write_text("- say: hello\n")
    sales = Path(__file__).parents[2] / "examples" / "sales-report"
    ran = runbook("run", sales, "--model-script", script, "--network", "none")
    assert ran.code == 2
    assert "Use --network model-only" in ran.err


@pytest.mark.parametrize("sandbox", ISOLATED)
def test_policy_of_the_runbook_holds_and_what_it_refused_is_in_the_record(
    runbook: Any, shell_runbook: Callable[[str], Path], sandbox: str
) -> None:
    ask = "import os, urllib.request as r\nopen('/app/results/out.txt', 'w').write('tried')\n"
    ask += "try: r.urlopen('http://not-listed.example/')\nexcept OSError as error: print(error)"
    path = shell_runbook(f"python3 - <<'PYTHON'\n{ask}\nPYTHON")
    text = (path / "RUNBOOK.md").read_text()
    own = "runbook_runner: {network: allowlist, allow_hosts: [example.org]}"
    (path / "RUNBOOK.md").write_text(text.replace("agent: shell", f"agent: shell\n{own}"))
    ran = runbook("run", path, "--sandbox", sandbox, "--json")
    assert ran.code == 0, ran.err
    (event,) = ran.events("network.connection")
    assert (event["host"], event["allowed"], event["reason"]) == ("not-listed.example", False, "not on the allow-list")
    assert "refused not-listed.example:80: not on the allow-list" in (ran.folder / "sandbox.log").read_text()


@pytest.mark.needs("bubblewrap", "root")
def test_disabled_user_namespaces_are_named_with_the_command_that_mends_them(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    """Inside a user namespace of its own, where the limit can be set without touching the machine's."""
    inner = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" run "$1" --sandbox bubblewrap'
    program = str(Path(sys.executable).with_name("runbook"))
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", inner, program, str(shell_runbook("true"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=runbook.cwd, env=runbook.env)
    assert done.returncode == 3
    assert "sudo sysctl user.max_user_namespaces=15000" in done.stderr


def test_missing_bubblewrap_is_named_with_the_command_that_installs_it(
    runbook: Any, shell_runbook: Callable[[str], Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "sh").symlink_to("/bin/sh")
    ran = runbook("run", shell_runbook("true"), "--sandbox", "bubblewrap", env={"PATH": str(bare)})
    assert ran.code == 3
    assert "apt-get install bubblewrap" in ran.err


@pytest.mark.needs("bubblewrap")
def test_auto_takes_bubblewrap_where_no_engine_answers(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    path = shell_runbook("echo x > /app/results/out.txt")
    ran = runbook("run", path, "--json", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert ran.code == 0, ran.err
    assert ran.json["sandbox"] == "bubblewrap"


def test_auto_without_either_offers_the_host(
    runbook: Any, shell_runbook: Callable[[str], Path], tmp_path: Path
) -> None:
    env = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "PATH": str(tmp_path)}
    ran = runbook("run", shell_runbook("true"), env=env)
    assert ran.code == 3
    assert "No Docker engine answers" in ran.err
    assert "--sandbox host" in ran.err
    assert "bubblewrap is not installed" in ran.err


@pytest.mark.parametrize("lines", ["fold -w 1000", "tr y '\\n'"], ids=["long", "empty"])
def test_agent_that_prints_without_end_is_ended_and_does_not_fill_the_disk(
    runbook: Any, shell_runbook: Callable[[str], Path], backend: str, lines: str
) -> None:
    """Neither with its bytes, nor with what is recorded beside each line."""
    path = shell_runbook(f"yes y | tr -d '\\n' | {lines}")
    ran = runbook("run", path, "--sandbox", backend, "--disk", "20M", "--timeout", "200", "--json")
    assert ran.code == 4, ran.err
    named = "The agent printed more than 5 MB, the most that is recorded with this --disk; it was ended."
    assert named in ran.json["error"]
    assert ran.events("agent.finished")[0]["error_kind"] == "disk_limit"
    files = [file for file in ran.folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40 << 20


@pytest.mark.needs("bubblewrap")
def test_a_declared_agents_rules_do_not_multiply_what_is_recorded(runbook: Any, shell_runbook: Any) -> None:
    declared = runbook.cwd / ".runbook" / "agents" / "many.toml"
    declared.parent.mkdir(parents=True)
    rule = '[[events.records]]\nwhen = "a"\nis = "message"\ntext = "t"\n'
    line = "import json; print(json.dumps({'type': 'a', 't': 'x' * 500_000}))"
    head = f'argv = ["python3", "-c", "{line}"]\nprompt = "file"\nenv = {{P = "{{prompt_file}}"}}\n'
    declared.write_text(head + '[events]\nformat = "jsonl"\n' + rule * 200)
    run = ("run", shell_runbook("true"), "--agent", "many", "--sandbox", "bubblewrap", "--disk", "20M", "--json")
    ran = runbook(*run)
    assert ran.code == 4, ran.err
    assert "printed more than 5 MB" in ran.json["error"]
    assert sum(file.stat().st_size for file in ran.folder.rglob("*") if file.is_file()) < 40 << 20
