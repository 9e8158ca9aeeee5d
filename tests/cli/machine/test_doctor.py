"""`runbook doctor`: what this machine has, what it lacks, and what fixes it."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NOWHERE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def bare_path(tmp_path):
    """A PATH on which there is no bwrap, no node and no agent."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/sh")
    return f"{Path(sys.executable).parent}:{folder}"


def finding(ran, check):
    (found,) = [item for item in ran.json["findings"] if item["check"] == check]
    return found


@pytest.mark.needs("docker")
def test_a_machine_with_an_engine_is_found_ready(runbook):
    ran = runbook("doctor", "--json")
    assert ran.code == 0, ran.out
    assert ran.json["ok"] is True
    engine = finding(ran, "engine")
    assert engine["status"] == "ok"
    assert engine["facts"]["cpus"] > 0
    assert engine["facts"]["rootless"] in (True, False)
    assert "model-only" in finding(ran, "networks")["facts"]["docker"]
    assert finding(ran, "disk.trajectories")["facts"]["free_bytes"] > 0


@pytest.mark.needs("docker")
def test_people_get_a_line_for_each_with_the_command_that_fixes_it(runbook):
    ran = runbook("doctor")
    assert ran.code == 0
    assert "✓ engine: " in ran.out
    assert "! keys: " in ran.out
    assert "export ANTHROPIC_API_KEY=" in ran.out


@pytest.mark.needs("bubblewrap")
def test_without_an_engine_bubblewrap_is_enough(runbook):
    ran = runbook("doctor", "--json", env=NOWHERE)
    assert ran.code == 0
    assert finding(ran, "sandboxes")["facts"]["ready"] == ["bubblewrap", "host"]
    assert finding(ran, "engine")["status"] == "warn"
    assert "unix:///nowhere/docker.sock (from DOCKER_HOST)" in finding(ran, "engine")["message"]


def test_a_home_that_is_not_a_folder_is_reported_by_every_command_that_uses_it(runbook):
    file = runbook.cwd / "file"
    file.touch()
    for home in (file, file / "below"):
        env = {**NOWHERE, "RUNBOOK_HOME": str(home)}
        ran = runbook("doctor", "--json", "--offline", env=env)
        assert (ran.code, finding(ran, "home")["status"]) == (3, "fail")
        for command in (["cost"], ["run", EXAMPLES / "hello", "--sandbox", "host"], ["replay", "0badcafe"]):
            ran = runbook(*command, env=env)
            assert (ran.code, ran.out) == (3, ""), command
            assert ran.err.startswith(f"error: {home}: No run can be recorded here: {file} is not a folder.")
            assert "Set RUNBOOK_HOME" in ran.err


def test_a_data_folder_that_others_may_write_to_is_reported(runbook):
    runbook.data.mkdir()
    runbook.data.chmod(0o777)
    ran = runbook("doctor", "--json", "--offline", env=NOWHERE)
    assert (ran.code, finding(ran, "data")["status"]) == (3, "fail")
    assert "chmod go-w" in str(finding(ran, "data"))


def test_without_any_sandbox_it_fails_and_says_what_fixes_it(runbook, bare_path):
    ran = runbook("doctor", "--json", env={**NOWHERE, "PATH": bare_path})
    assert ran.code == 3
    assert ran.json["ok"] is False
    assert finding(ran, "sandboxes")["status"] == "fail"
    assert "apt-get install bubblewrap" in finding(ran, "bubblewrap")["fix"]
    assert "DOCKER_HOST" in finding(ran, "engine")["fix"]


def test_an_engine_that_takes_connections_and_says_nothing_is_not_waited_for(runbook, tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "engine.sock"))
        silent.listen()
        ran = runbook("doctor", "--json", env={"DOCKER_HOST": f"unix://{tmp_path}/engine.sock"}, timeout=60)
    assert finding(ran, "engine")["status"] == "warn"
    assert "No Docker engine answers" in finding(ran, "engine")["message"]


@pytest.mark.needs("setpriv")  # root gives its capabilities up
def test_an_engine_that_the_user_may_not_use_is_not_said_to_be_absent(runbook, tmp_path):
    if os.geteuid() == 0:
        runbook.under = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(tmp_path / "engine.sock"))
        closed.listen()
        (tmp_path / "engine.sock").chmod(0)
        ran = runbook("doctor", "--json", env={"DOCKER_HOST": f"unix://{tmp_path}/engine.sock"})
    assert "may not use the Docker engine" in finding(ran, "engine")["message"]
    assert f"usermod -aG {tmp_path.group()} $USER" in finding(ran, "engine")["fix"]


@pytest.mark.parametrize("host", ["gopher://x", "tcp://host:port", "unix://", "tcp://127.0.0.1:1", "ssh://"])
def test_a_broken_docker_host_is_a_finding_not_a_crash(runbook, host):
    ran = runbook("doctor", "--json", env={"DOCKER_HOST": host})
    assert ran.code in (0, 3), ran.err
    assert finding(ran, "engine")["status"] == "warn"
    assert finding(ran, "engine")["fix"]
    assert ran.err == ""


TELLS_IMPORTS = """
import sys, threading
from runbook_runner.cli.__main__ import run

first = threading.main_thread()

def tell(event, arguments):
    if event == "import" and arguments[0].partition(".")[0] == "docker" and threading.current_thread() is not first:
        print("in a thread:", arguments[0], file=sys.stderr)

sys.addaudithook(tell)
sys.argv = ["runbook", "doctor", "--json"]
raise SystemExit(run())
"""


def test_no_two_of_its_threads_import_a_package_with_cycles(runbook):
    """They would wait for each other, now and then."""
    ran = subprocess.run([sys.executable, "-c", TELLS_IMPORTS], env=runbook.env, capture_output=True, text=True)
    assert ran.returncode in (0, 3), ran.stderr
    assert ran.stderr == ""


def test_keys_are_named_and_never_shown(runbook):
    env = {**NOWHERE, "OPENAI_API_KEY": "sk-canary-0123456789"}
    for options in ([], ["--json"]):
        ran = runbook("doctor", *options, env=env)
        assert "OPENAI_API_KEY" in ran.out
        assert "canary" not in ran.out + ran.err


def test_a_ca_bundle_that_holds_no_certificate_fails(runbook, tmp_path):
    (tmp_path / "bundle.pem").write_text("no certificate\n")
    ran = runbook("doctor", "--json", env={**NOWHERE, "RUNBOOK_CA_BUNDLE": str(tmp_path / "bundle.pem")})
    assert ran.code == 3
    assert finding(ran, "certificates")["status"] == "fail"
    assert "RUNBOOK_CA_BUNDLE" in finding(ran, "certificates")["fix"]


@pytest.mark.needs("docker")
def test_offline_fails_when_an_image_would_have_to_be_built(runbook):
    ran = runbook("doctor", "--offline", "--json", env={"RUNBOOK_BASE_IMAGE": "registry.invalid/none:1"})
    assert ran.code == 3
    images = finding(ran, "offline.images")
    assert images["status"] == "fail"
    assert "runbook snapshots build python312-uv --agent claude-code" in images["fix"]
    assert finding(ran, "offline.prices")["status"] == "ok"


def test_settings_of_the_project_that_no_run_can_read_are_a_failure(runbook):
    (runbook.cwd / ".runbook").mkdir()
    (runbook.cwd / ".runbook" / "config.toml").write_text("[run]\nnetwork = [broken\n")
    ran = runbook("doctor", "--json")
    (found,) = (item for item in ran.json["findings"] if item["check"] == "project")
    assert (ran.code, found["status"]) == (3, "fail")
    assert ".runbook/config.toml:2: This is not TOML" in found["message"]


@pytest.mark.parametrize("command", ["doctor", "cost", "run x", "trust --show"])
def test_a_working_folder_that_was_removed_is_told(runbook, command):
    runbook.under = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")
    ran = runbook(*command.split())
    assert (ran.code, ran.err) == (2, "error: The current folder does not exist any more.\nChange to another one.\n")
