"""`runbook pull`: a run of a platform becomes a trajectory folder that can be run again. The platform is a server of
recorded answers, or a hostile one."""

import json
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[2] / "client/recorded/count.json"
RUN = "acme/count/37c37963"
PATH = f"/api/v1/trajectory/{RUN}"


@pytest.fixture
def server(platform_server: Any) -> Any:
    platform_server.play(RECORDED)
    return platform_server


def change(server: Any, edit: Any) -> None:
    """Edits the trajectory that the platform answers with."""
    (answer,) = server.answers["GET", PATH]
    body = json.loads(answer.body)
    edit(body)
    answer.body = json.dumps(body).encode()


def pulled(runbook: Any, server: Any, *args: str, code: int = 0) -> Any:
    ran = runbook("pull", RUN, "--json", *args, env=server.env)
    assert ran.code == code, ran.err
    return ran


def test_a_run_comes_with_all_its_files_and_its_own_times(runbook: Any, server: Any) -> None:
    ran = pulled(runbook, server)
    assert (ran.json["files"], ran.json["can_rerun"]) == (4, True)
    assert ran.folder == runbook.cwd / f".runbook/trajectories/{RUN}"
    assert (ran.folder / "results/output.md").read_text() == "north: 2 lines\n"
    assert (ran.folder / "results/outputs/copy.csv").read_text() == "a,b\n1,2\n"
    assert (ran.folder / "agent/logs--agent--session.jsonl").exists()
    assert "{{region}}" in (ran.folder / "imported/RUNBOOK.md").read_text()
    assert '"north: $(wc' in (ran.folder / "RUNBOOK.md").read_text()
    assert json.loads((ran.folder / "imported/logs.json").read_text())["logs"]
    assert ran.trajectory["created"] == "2026-07-17T09:00:00.000000Z"
    assert [label["value"] for label in ran.trajectory["labels"]] == ["high"]
    spec = json.loads((ran.folder / "spec.json").read_text())
    assert (spec["agent"], spec["limits"]["timeout_s"], spec["parameters"]["region"]) == ("shell", 600, "north")
    assert [item["name"] for item in spec["inputs"]] == ["data.csv"]
    assert list(runbook.data.glob("downloads/*/*")) == []
    assert "the runbook has no parameter 'unused'" in ran.err


def test_a_pulled_run_is_run_again_here(runbook: Any, server: Any) -> None:
    pulled(runbook, server)
    again = runbook("rerun", "37c37963", "--sandbox", "host", "--json")
    assert again.code == 0, again.err
    assert (again.folder / "results/output.md").read_text() == "north: 2 lines\n"
    other = runbook("rerun", RUN, "--sandbox", "host", "-p", "region=south", "--json")
    assert other.code == 0, other.err
    assert {"what": "parameter region", "recorded": "north", "now": "south"} in other.json["changes"]
    assert (other.folder / "results/output.md").read_text() == "south: 2 lines\n"


def test_what_is_here_already_is_replaced_only_when_that_is_said(runbook: Any, server: Any) -> None:
    pulled(runbook, server)
    before = len(server.requests)
    ran = pulled(runbook, server, code=2)
    assert "There is a trajectory 37c37963 already." in ran.err
    assert len(server.requests) == before
    pulled(runbook, server, "--replace")


def test_an_interrupted_download_goes_on(runbook: Any, server: Any) -> None:
    key = "/api/v1/file/acme/count/0000/37c37963.run.0001.app--results--outputs--copy.csv"
    whole = server.answers.pop(("GET", key))
    server.on("GET", key, "{}", 403)
    ran = pulled(runbook, server, code=3)
    assert not (runbook.cwd / f".runbook/trajectories/{RUN}").exists()
    server.answers["GET", key] = whole
    server.requests.clear()
    ran = pulled(runbook, server)
    assert ran.json["files"] == 4
    assert not [asked for asked in server.asked() if "output.md" in asked]


def test_clean_removes_the_download_of_a_pull_that_was_given_up(runbook: Any, server: Any) -> None:
    key = "/api/v1/file/acme/count/0000/37c37963.run.0001.app--results--outputs--copy.csv"
    server.answers.pop(("GET", key))
    server.on("GET", key, "{}", 403)
    pulled(runbook, server, code=3)
    (left,) = (path for path in runbook.data.glob("downloads/*") if path.is_dir())
    assert f"would remove the download of an interrupted pull: {left}" in runbook("clean", "--dry-run").out
    assert left.exists()
    assert f"removed the download of an interrupted pull: {left}" in runbook("clean").out
    assert not left.exists()
    assert "nothing to remove" in runbook("clean").out


def test_what_was_downloaded_of_files_that_the_run_no_longer_has_is_removed(runbook: Any, server: Any) -> None:
    key = "/api/v1/file/acme/count/0000/37c37963.run.0001.app--results--outputs--copy.csv"
    server.answers.pop(("GET", key))
    server.on("GET", key, "{}", 403)
    pulled(runbook, server, code=3)
    (folder,) = (path for path in runbook.data.glob("downloads/*") if path.is_dir())
    kept = {path.name for path in folder.iterdir()}
    assert kept
    (folder / "0123456789abcdef0123456789abcdef.part").write_text("of an earlier list")
    pulled(runbook, server, code=3)
    assert {path.name for path in folder.iterdir()} == kept


def test_a_file_that_the_platform_has_lost_is_named(runbook: Any, server: Any) -> None:
    del server.answers["GET", "/api/v1/file/acme/_sandbox_uploads/1d43f0e20f41/data.csv"]
    ran = pulled(runbook, server)
    assert "does not have acme/_sandbox_uploads/1d43f0e20f41/data.csv" in ran.err
    assert "1 of its inputs could not be fetched" in ran.err


def test_no_key_of_the_platform_leads_out_of_the_folder(runbook: Any, server: Any) -> None:
    keys = [
        "acme/count/0000/37c37963.run.0000.app--results--..--..--..--evil.txt",
        "acme/count/0000/37c37963.run.0001.app--results--.git--config",
        "acme/../other/secret.txt",
        "/etc/passwd",
        "other/t/0000/x.run.0000.app--results--theirs.txt",
        "acme/count/0000/\u001b[2J.txt",
        "http://evil.example.org/x",
    ]

    def edit(body: dict[str, Any]) -> None:
        body["steps"]["run"]["outputs"]["files"] = [{"path": key} for key in keys]
        body["steps"]["run"]["outputs"]["results_files"] = [7, {"path": None}]
        body["steps"]["run"]["outputs"]["primary_files"] = "no list"

    change(server, edit)
    for key in keys[:2]:
        server.on("GET", f"/api/v1/file/{key}", "evil")
    ran = pulled(runbook, server)
    made = {path.relative_to(runbook.cwd) for path in runbook.cwd.rglob("*evil*")}
    assert all(path.parts[:5] == (".runbook", "trajectories", *RUN.split("/")) for path in made)
    assert not any("etc" in asked or "other" in asked or "evil.example" in asked for asked in server.asked())
    assert "were not asked for" in ran.err
    assert not (ran.folder / "results/.git").exists()
    assert "Not imported: results/.git: its configuration could name programs" in ran.err
    assert "\x1b" not in ran.err


def test_a_run_that_would_fill_the_disk_is_refused(runbook: Any, server: Any) -> None:
    key = "/api/v1/file/acme/count/0000/37c37963.run.0000.app--results--output.md"
    server.answers.pop(("GET", key))
    server.on("GET", key, b"x" * 3_000_000)
    ran = pulled(runbook, server, "--max-size", "1M", code=2)
    assert "--max-size" in ran.err
    assert not (runbook.cwd / f".runbook/trajectories/{RUN}").exists()


def test_the_token_that_the_platform_sends_back_is_not_recorded(runbook: Any, server: Any) -> None:
    def edit(body: dict[str, Any]) -> None:
        body["init_params"]["vars"]["region"] = server.token
        body["steps"]["run"]["outputs"]["text"] = f"your token is {server.token}"

    change(server, edit)
    key = "/api/v1/file/acme/count/0000/37c37963.run.0000.app--results--output.md"
    server.answers.pop(("GET", key))
    server.on("GET", key, f"token {server.token}\n")
    ran = pulled(runbook, server)
    assert server.token not in ran.out + ran.err
    for path in runbook.cwd.rglob("*"):
        assert not path.is_file() or server.token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"status": "running"}, "is not over: it is running"),
        ({"trajectory_id": "00000000"}, "another run"),
        ({"steps": []}, "is not a trajectory"),
    ],
)
def test_an_answer_that_is_not_this_run_is_refused(runbook: Any, server: Any, edit: Any, said: str) -> None:
    change(server, lambda body: body.update(edit))
    ran = runbook("pull", RUN, env=server.env)
    assert ran.code in (2, 3)
    assert said in ran.err
    assert not (runbook.cwd / f".runbook/trajectories/{RUN}").exists()


@pytest.mark.parametrize(
    "edit",
    [
        {"init_params": {"instruction": "---\n: [\n---\n# Broken", "file_paths": [1, None, {}]}},
        {"init_params": {"instruction": "# X", "agent": "unknown-agent", "vars": [1]}},
        {"init_params": {"instruction": 7}},
        {"init_params": None, "step_configs": None},
    ],
)
def test_a_run_that_can_not_be_run_again_is_recorded_with_the_reason(runbook: Any, server: Any, edit: Any) -> None:
    change(server, lambda body: body.update(edit))
    ran = pulled(runbook, server)
    assert ran.json["can_rerun"] is False
    assert "It can't be run again" in ran.err


def test_half_a_surrogate_pair_is_replaced(runbook: Any, server: Any) -> None:
    """JSON allows it, and UTF-8 does not."""
    change(server, lambda body: body["init_params"].update(snapshot="\ud800"))
    assert pulled(runbook, server).folder.is_dir()


def test_the_token_is_not_sent_to_the_host_of_an_address(runbook: Any, server: Any) -> None:
    ran = runbook("pull", f"https://evil.example.org/{RUN}", env=server.env)
    assert ran.code == 2
    assert "evil.example.org" in ran.err
    assert server.requests == []


def test_without_a_token_it_says_how_to_give_one(runbook: Any, server: Any, tmp_path: Path) -> None:
    ran = runbook("pull", RUN, "--api", server.api, env={"HOME": str(tmp_path)})
    assert ran.code == 3
    assert "Set JETTY_API_TOKEN" in ran.err
