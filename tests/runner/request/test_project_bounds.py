"""What a project's own files say bounds its runs: whose word counts, and what is refused."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from runbook_runner.core import settings
from runbook_runner.core.formats import json_toml
from runbook_runner.runner.request.project_bounds import bounds_near

DOCUMENT = "---\nversion: 1\nagent: shell\n{own}---\n# T\n\n## Step 1\n\n```bash\ntrue\n```\n"


@pytest.fixture
def network(runbook: Any) -> Any:
    """The policy and the hosts of a run, as a dry run tells them."""

    def told(own: dict[str, Any], *args: str) -> tuple[str, list[str]]:
        front = f"runbook_runner: {json.dumps(own)}\n" if own else ""
        (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own=front))
        ran = runbook("run", "RUNBOOK.md", "--sandbox", "auto", "--dry-run", "--json", *args)
        assert ran.code == 0, ran.err
        spec = json.loads(ran.out)["spec"]["network"]
        return spec["policy"], spec["allow_hosts"]

    return told


def config(runbook: Any, text: str, place: str = ".runbook/config.toml") -> None:
    file = runbook.cwd / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.needs("docker")
@pytest.mark.parametrize(
    ("project", "own", "args", "expected"),
    [
        ('network = "model-only"', {}, (), ("model-only", [])),
        ('network = "model-only"', {"network": "full"}, (), ("model-only", [])),
        ('network = "model-only"', {"network": "none"}, (), ("none", [])),
        ('network = "model-only"', {}, ("--network", "full"), ("full", [])),
        ('network = "full"', {"network": "model-only"}, (), ("model-only", [])),
        ('allow_hosts = ["pypi.org"]', {}, (), ("allowlist", ["pypi.org"])),
        ('allow_hosts = ["pypi.org"]', {}, ("--allow-host", "b.org"), ("allowlist", ["b.org", "pypi.org"])),
        ('allow_hosts = ["pypi.org"]', {"network": "allowlist"}, (), ("allowlist", [])),
        ('allow_hosts = ["*.a.org"]', {"allow_hosts": ["x.a.org", "evil.org"]}, (), ("allowlist", ["x.a.org"])),
        ('network = "none"', {"allow_hosts": ["a.org"]}, (), ("none", [])),
        ('network = "none"', {"allow_hosts": ["a.org"]}, ("--network", "full"), ("full", [])),
    ],
)
def test_a_project_narrows_its_runs_and_only_the_command_line_widens_them(
    runbook: Any, network: Any, project: str, own: Any, args: tuple[str, ...], expected: tuple[str, list[str]]
) -> None:
    config(runbook, f"[run]\n{project}\n")
    assert network(own, *args) == expected


@pytest.mark.parametrize(
    ("project", "own", "args", "expected"),
    [
        ("timeout = 60", {}, (), {"timeout_s": 60}),
        ("timeout = 60", {"timeout": 5}, (), {"timeout_s": 5}),
        ("timeout = 60", {"timeout": 5000}, (), {"timeout_s": 60}),
        ("timeout = 60", {"timeout": 5000}, ("--timeout", "300"), {"timeout_s": 300}),
        ("timeout = 999999", {}, (), {"timeout_s": settings.DEFAULT_TIMEOUT_S}),
        ("max-cost = 0.5", {}, (), {"max_cost_usd": 0.5}),
        ("max_cost = 0.5", {"max_cost": 9}, (), {"max_cost_usd": 0.5}),
        ('memory = "512M"\npids = 100\ncpus = 0.5', {}, (), {"memory_bytes": 512 << 20, "pids": 100, "cpus": 0.5}),
        (
            "max_tokens = 7\nmax_calls = 3\nidle = 9",
            {"max_calls": 2},
            (),
            {"max_tokens": 7, "max_calls": 2, "idle_s": 9},
        ),
    ],
)
def test_a_project_lowers_limits_and_only_the_command_line_raises_them(
    runbook: Any, project: str, own: Any, args: tuple[str, ...], expected: dict[str, Any]
) -> None:
    front = f"runbook_runner: {json.dumps(own)}\n" if own else ""
    (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own=front))
    config(runbook, f"[run]\n{project}\n")
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--dry-run", "--json", *args)
    assert ran.code == 0, ran.err
    limits = json.loads(ran.out)["spec"]["limits"]
    assert {name: limits[name] for name in expected} == expected


def test_a_recording_is_replayed_within_the_limits_of_the_project(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own="").replace("true", "sleep 100"))
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--timeout", "1", "--json")
    spec = ran.folder / "spec.json"
    spec.write_text(spec.read_text().replace('"timeout_s": 1.0', '"timeout_s": 3000.0'))
    assert '"timeout_s": 3000.0' in spec.read_text()
    config(runbook, "[run]\ntimeout = 2\n")
    again = runbook("replay", ran.folder, "--sandbox", "host")
    assert "Agent exceeded timeout_sec (2)." in again.out


@pytest.mark.needs("docker")
def test_a_table_beside_the_runbook_can_not_widen_one_above_it(runbook: Any) -> None:
    config(runbook, '[tool.runbook.run]\nnetwork = "model-only"\n', "pyproject.toml")
    config(runbook, '[run]\nnetwork = "allowlist"\nallow_hosts = ["a.org"]\n', "sub/.runbook/config.toml")
    (runbook.cwd / "sub/RUNBOOK.md").write_text(DOCUMENT.format(own=""))
    ran = runbook("run", "sub", "--sandbox", "docker", "--dry-run", "--json")
    assert json.loads(ran.out)["spec"]["network"] == {"policy": "model-only", "allow_hosts": []}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[run]\nnetwrk = "none"\n', "Did you mean 'network'?"),
        ('[run]\nnetwork = "some"\n', "`network` must be one of full, allowlist, model-only, none."),
        ("[run]\nnetwork = []\n", "`network` must be one of"),
        ('[run]\nallow_hosts = "a.org"\n', "`allow_hosts` must be a list of hosts"),
        ('[run]\nallow_hosts = ["a b"]\n', "'a b' is not a host"),
        ("[run]\ntimeout = 0\n", "The limit timeout must be more than 0."),
        ("[run]\ntimeout = true\n", "The limit timeout must be a number."),
        ('[run]\nmemory = "much"\n', "'much' is not an amount of memory"),
        ("[run]\nmemory = 5\n", "The limit memory must be at least 64M."),
        ("[run]\nmax_cost = nan\n", "The limit max_cost must be"),
        ("[run]\ntimout = 5\n", "Did you mean 'timeout'?"),
        ("[run]\nstrict_snapshots = 1\n", "`strict_snapshots` must be true or false"),
        ("run = 3\n", "`run` must be a table"),
        ('[rnu]\nnetwork = "none"\n', "Did you mean 'run'?"),
        ("[run\n", "config.toml:1: This is not TOML"),
    ],
)
def test_a_setting_that_can_not_be_is_bad_input_with_its_file(runbook: Any, text: str, says: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own=""))
    config(runbook, text)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host")
    assert ran.code == 2
    assert says in ran.err
    assert ".runbook/config.toml" in ran.err
    assert not (runbook.cwd / ".runbook/trajectories").exists()


@pytest.mark.parametrize(
    "text", ["[tool.runbook.run]", "[tool]\nrunbook.run", "[\"tool\".'runbook'.run]", "[tool]\n[tool.runbook]\nrun"]
)
def test_pyproject_is_read_however_its_table_is_written(runbook: Any, text: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own=""))
    table = "\nnetwork = 1\n" if text.endswith("]") else " = {network = 1}\n"
    config(runbook, text + table, "pyproject.toml")
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host")
    assert ran.code == 2
    assert "`network` must be one of" in ran.err


@pytest.mark.needs("docker")
def test_with_strict_snapshots_a_runbook_of_an_unknown_one_does_not_run(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(DOCUMENT.format(own="snapshot: nowhere\n"))
    assert runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--dry-run").code == 0
    config(runbook, "[run]\nstrict_snapshots = true\n")
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--dry-run")
    assert ran.code == 2
    assert "nowhere" in ran.err


def test_settings_are_parsed_once_however_many_links_of_a_clone_lead_to_them(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.runbook.run]\npids = 70\n")
    deep = tmp_path
    for _ in range(20):
        deep = deep / "a"
        deep.mkdir()
        (deep / "pyproject.toml").symlink_to(tmp_path / "pyproject.toml")
    parsed = Mock(wraps=json_toml.read_toml)
    monkeypatch.setattr(json_toml, "read_toml", parsed)
    assert [bounds.limits.pids for bounds in bounds_near([deep])] == [70] * 21
    parsed.assert_called_once()
