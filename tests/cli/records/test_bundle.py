"""`runbook runs bundle`, and what takes a bundle: replay, diff and import, on another machine and from a stranger."""

import hashlib
import json
import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHELL_RUNBOOK

Write = Callable[[str], Path]
BUBBLEWRAP = pytest.mark.needs("bubblewrap")
CANARY = "wJalr-canary-of-aws-4711"


@pytest.fixture
def elsewhere(make_runbook: Callable[[], Any]) -> Any:
    """Another machine."""
    return make_runbook()


@pytest.fixture
def bundle(runbook: Any, shell_runbook: Write) -> Callable[..., Path]:
    """Runs the code, and makes a bundle of that."""

    def make(code: str = "echo hi > /app/results/out.txt", *options: str | Path, more: str = "") -> Path:
        file = shell_runbook(code) / "RUNBOOK.md"
        file.write_text(file.read_text().replace("agent: shell\n", f"agent: shell\n{more}"))
        ran = runbook("run", file, *(options or ("--sandbox", "bubblewrap")), "--json")
        assert ran.code == 0, ran.err
        made = runbook("runs", "bundle", "@last", "-o", "run.zip", "--force")
        assert made.code == 0, made.err
        return Path(runbook.cwd / "run.zip")

    return make


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path: Path, files: dict[str, bytes], mode: int = 0o600) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


def change(path: Path, **changed: bytes) -> None:
    """As who makes a bundle to do harm: the manifest fits. changed: `spec` for `run/spec.json`."""
    files = members(path)
    manifest = json.loads(files["manifest.json"])
    names = {"spec": "spec.json", "events": "events.jsonl", "out": "results/out.txt"}
    for name, content in changed.items():
        files[f"run/{names[name]}"] = content
        for file in manifest["files"]:
            if file["path"] == names[name]:
                file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files["manifest.json"] = json.dumps(manifest).encode()
    write(path, files)


def change_spec(path: Path, **fields: Any) -> None:
    change(path, spec=json.dumps(json.loads(members(path)["run/spec.json"]) | fields).encode())


def left_of(machine: Any) -> list[Path]:
    return [*machine.data.glob("bundles/*")]


# --- the same run, elsewhere ---------------------------------------------------------------------------------------


@BUBBLEWRAP
def test_another_machine_replays_compares_and_imports_it(runbook: Any, elsewhere: Any, bundle: Any) -> None:
    (runbook.cwd / "data.csv").write_text("4711\n")
    code = "cat /app/assets/data.csv > /app/results/out.txt; : > '/app/results/a\\b'; : > $'/app/results/n\\nl\\xff'"
    path = bundle(code, "--sandbox", "bubblewrap", "-f", "data.csv", "--label", "team=blue")
    assert runbook("runs", "label", "@last", "quality=high", "--status", "archived").code == 0
    assert runbook("runs", "bundle", "@last", "-o", path, "--force").code == 0
    (runbook.cwd / "data.csv").unlink()

    ran = elsewhere("replay", path)
    assert ran.code == 0, ran.err
    assert "✓ results: 3 files, all the same" in ran.out
    assert "! A bundle is replayed with the network none; the run had full" in ran.out
    assert left_of(elsewhere) == []
    again = elsewhere("replay", path, "--json")
    assert (again.code, again.json["mode"], again.json["results"]["identical"]) == (0, "replay", True)
    assert json.loads((again.folder / "spec.json").read_text())["network"]["policy"] == "none"

    compared = elsewhere("diff", path, path, "--json")
    assert (compared.code, compared.err) == (0, "")
    (elsewhere.cwd / "expected").mkdir()
    (elsewhere.cwd / "expected/out.txt").write_text("4711\n")
    assert elsewhere("diff", path, "expected").code == 0
    assert runbook("diff", "@last", path).code == 0
    assert left_of(elsewhere) == []

    taken = elsewhere("import", path, "--json")
    assert (taken.code, taken.json["form"]) == (0, "a bundle"), taken.err
    shown = [machine("runs", "show", "@last", "--json").json for machine in (runbook,)]
    shown.append(elsewhere("runs", "show", taken.json["trajectory_id"], "--json").json)
    origins = [body.pop("origin", None) for body in shown]
    assert origins == [None, f"a bundle, {path.name}"]
    assert shown[0] == shown[1]
    listed = elsewhere("runs", "list", "--label", "quality=high", "--label", "team=blue", "--json")
    assert [(run["status"], run["total_tokens"]) for run in json.loads(listed.out)["runs"]] == [("archived", 0)]
    once_more = elsewhere("replay", taken.json["trajectory_id"])
    assert once_more.code == 0, once_more.err
    assert "! A run that this machine has not made is replayed with the network none; the run had full" in once_more.out
    typed = elsewhere("replay", taken.json["trajectory_id"], "--network", "full")
    assert (typed.code, "is replayed with the network" in typed.out) == (0, False)
    live = elsewhere("rerun", taken.json["trajectory_id"], "--dry-run")
    assert (
        "This machine has not made this run: it gets the network full; --network sets another." in live.out + live.err
    )
    own = runbook("replay", "@last")
    assert (own.code, "is replayed with the network" in own.out) == (0, False), (
        "one of this machine has the network that it had"
    )


ASKING = """\
argv = ["sh", "-c", '''echo done > $RESULTS_DIR/out.txt
curl -sS -o /dev/null -d '{"model": "m", "messages": [{"role": "user", "content": "work"}]}' -H "authorization: Bearer \
$MODEL_TOKEN" $MODEL_URL/v1/chat/completions''']
dialect = "openai-chat"
[env]
MODEL_URL = "{gateway_url}"
MODEL_TOKEN = "{token}"
"""


@pytest.fixture
def asking(runbook: Any, elsewhere: Any) -> None:
    """An agent that calls a model; a bundle brings no agents."""
    for machine in (runbook, elsewhere):
        file = machine.cwd / ".runbook/agents/asking.toml"
        file.parent.mkdir(parents=True)
        file.write_text(ASKING)
    (runbook.cwd / "model.yaml").write_text("- say: done\n")


@BUBBLEWRAP
@pytest.mark.usefixtures("asking")
@pytest.mark.parametrize("mode", ["full", "metadata"])
def test_its_model_calls_are_answered_from_it_or_it_is_for_looking_only(
    runbook: Any, elsewhere: Any, shell_runbook: Write, mode: str
) -> None:
    options = ("--agent", "asking", "--model-script", "model.yaml", "--record-mode", mode, "--sandbox", "bubblewrap")
    ran = runbook("run", shell_runbook("true"), *options, "--json")
    assert ran.code == 0, ran.err
    made = runbook("runs", "bundle", "@last", "-o", elsewhere.cwd / "x.zip", "--json")
    assert made.code == 0, made.err
    replayed = elsewhere("replay", "x.zip", "--json")
    if mode == "full":
        assert (made.json["not_replayable"], made.err) == (None, "")
        assert (replayed.code, replayed.json["model_calls"]) == (0, {"replay": 1}), replayed.err
        assert json.loads((replayed.folder / "spec.json").read_text())["network"]["policy"] == "model-only"
    else:
        assert made.json["not_replayable"] in made.err
        assert replayed.code == 2
        assert "bundles/" not in replayed.err
        assert elsewhere("diff", "x.zip", "x.zip").code == 0
        assert elsewhere("import", "x.zip").code == 0


@BUBBLEWRAP
def test_the_same_run_gives_the_same_bytes(runbook: Any, bundle: Any) -> None:
    path = bundle()
    assert runbook("runs", "bundle", "@last").out.startswith("Wrote run ")
    assert "--force" in runbook("runs", "bundle", "@last").err
    (other,) = runbook.cwd.glob("*.bundle.zip")
    assert other.read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names == [*sorted(names[:-1]), "manifest.json"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    manifest = json.loads(members(path)["manifest.json"])
    assert (manifest["format"], manifest["version"], manifest["verdict"]) == ("runbook-bundle", 1, "pass")


@BUBBLEWRAP
def test_results_that_are_not_the_expected_ones_are_told(elsewhere: Any, bundle: Any) -> None:
    path = bundle()
    change(path, out=b"other\n")
    ran = elsewhere("replay", path)
    assert ran.code == 1
    assert "✗ results/out.txt differs" in ran.out
    assert f"Next: runbook diff {path} " in ran.out


def test_what_was_not_searched_for_secrets_is_told(runbook: Any, shell_runbook: Write) -> None:
    folder = shell_runbook("echo x | tee /app/results/out.txt | gzip > /app/results/packed.gz")
    env = {"CRM_TOKEN": CANARY}
    ran = runbook("run", folder, "--sandbox", "host", "--secret", "CRM_TOKEN", "--json", env=env)
    assert ran.code == 0, ran.err
    assert runbook("runs", "label", "@last", "note=sk-ant-api03-" + "a1" * 40).code == 0
    made = runbook("runs", "bundle", "@last", "-o", "x.zip")
    told = "Packed or encrypted, so not searched for secrets: results/packed.gz."
    assert f"warning: {told} Look at them" in made.err
    files = members(runbook.cwd / "x.zip")
    assert json.loads(files["manifest.json"])["unsearched"] == [told]
    assert not any(b"sk-ant-api03" in content or CANARY.encode() in content for content in files.values())


KEY = "sk-ant-api03-" + "a1" * 40


def test_inputs_are_told_and_searched_for_secrets_and_keys(runbook: Any, bundle: Any) -> None:
    (runbook.cwd / "data.csv").write_text(f"a,{KEY}\n")
    write(runbook.cwd / "more.zip", {"in/it.txt": f"x {KEY}\n".encode(), "plain.txt": b"x"})
    path = bundle("echo x > /app/results/out.txt", "--sandbox", "host", "-f", "data.csv", "-f", "more.zip")
    made = runbook("runs", "bundle", "@last", "-o", path, "--force")
    assert made.code == 0, made.err
    assert (
        "This looks like a key: inputs/data.csv (anthropic-key), inputs/more.zip: in/it.txt (anthropic-key)."
        in made.err
    )
    assert "In it: the runbook, the spec, the events, " in made.out
    assert "results (1 file)" in made.out
    assert "inputs (data.csv, more.zip)" in made.out

    refused = runbook("runs", "bundle", "@last", "-o", "no.zip", env={"SOME_TOKEN": KEY})
    assert (refused.code, (runbook.cwd / "no.zip").exists()) == (2, False)
    assert "2 files of this run hold secrets of yours" in refused.err
    assert "  inputs/more.zip: in/it.txt: SOME_TOKEN" in refused.err
    assert "`--without inputs` makes" in refused.err
    (runbook.cwd / "own.env").write_text(f"SOME_TOKEN={KEY}\n")
    assert runbook("runs", "bundle", "@last", "-o", "no.zip", "--env-file", "own.env").code == 2
    without = runbook("runs", "bundle", "@last", "-o", "no.zip", "--without", "inputs", env={"SOME_TOKEN": KEY})
    assert without.code == 0, without.err


@pytest.mark.parametrize("place", ["name", "comment", "folder", "member's comment", "extra field"])
def test_a_secret_in_what_a_zip_says_of_its_files_is_found(runbook: Any, bundle: Any, place: str) -> None:
    with zipfile.ZipFile(runbook.cwd / "in.zip", "w") as archive:
        info = zipfile.ZipInfo(f"a/{CANARY}/b.txt" if place == "name" else "a/b.txt")
        info.comment = CANARY.encode() if place == "member's comment" else b""
        said = CANARY.encode()
        info.extra = b"\xfe\xca" + len(said).to_bytes(2, "little") + said if place == "extra field" else b""
        archive.writestr(info, "x")
        if place == "folder":
            archive.writestr(zipfile.ZipInfo(f"{CANARY}/"), "")
        archive.comment = CANARY.encode() if place == "comment" else b""
    path = bundle("echo x > /app/results/out.txt", "--sandbox", "host", "-f", "in.zip")
    refused = runbook("runs", "bundle", "@last", "-o", path, "--force", env={"CRM_TOKEN": CANARY})
    assert refused.code == 2
    assert "  inputs/in.zip: CRM_TOKEN" in refused.err
    assert CANARY not in refused.err


def test_a_secret_in_the_name_of_a_file_is_found(runbook: Any, bundle: Any) -> None:
    path = bundle(f"echo x > /app/results/{CANARY}.txt; echo x > /app/results/out.txt", "--sandbox", "host")
    refused = runbook("runs", "bundle", "@last", "-o", path, "--force", env={"CRM_TOKEN": CANARY})
    assert refused.code == 2
    assert "  the names of its files: CRM_TOKEN" in refused.err


def test_results_and_model_calls_with_a_secret_are_refused(runbook: Any, bundle: Any) -> None:
    path = bundle(f"echo {CANARY} > /app/results/out.txt", "--sandbox", "host")
    refused = runbook("runs", "bundle", "@last", "-o", path, "--force", env={"CRM_TOKEN": CANARY})
    assert refused.code == 2
    assert "  results/out.txt: CRM_TOKEN" in refused.err
    assert "`env -u CRM_TOKEN runbook runs bundle …`" in refused.err


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("MY_DATABASE=blue-horse-77", "blue-horse-77"),
        ("DATABASE_URL=postgres://ada:p%40ss-4711@db.example/x", "p@ss-4711"),
        ("DATABASE_URL=postgres://ada:p%40ss-4711@db.example/x", "p%40ss-4711"),
    ],
)
def test_a_file_named_by_hand_is_searched_for_whole(runbook: Any, bundle: Any, line: str, printed: str) -> None:
    path = bundle(f"echo {printed} > /app/results/out.txt", "--sandbox", "host")
    (runbook.cwd / "own.env").write_text(f"PORT=5432\nWHERE=results\nMODE=programmatic\n{line}\n")
    refused = runbook("runs", "bundle", "@last", "-o", path, "--force", "--env-file", "own.env")
    assert refused.code == 2
    name, _, value = line.partition("=")
    assert f"  results/out.txt: {name}" in refused.err
    assert "PORT" not in refused.err
    assert "MODE" not in refused.err
    assert f"take {name} out of --env-file." in refused.err
    in_environment = runbook("runs", "bundle", "@last", "-o", path, "--force", env={name: value})
    assert in_environment.code == (2 if "://" in value else 0)


def test_an_input_that_was_not_kept_is_named(runbook: Any, bundle: Any) -> None:
    (runbook.cwd / "data.csv").write_text(f"{CANARY}\n")
    runbook.env |= {"CRM_TOKEN": CANARY}
    bundle("echo x > /app/results/out.txt", "--sandbox", "host", "-f", "data.csv")
    made = runbook("runs", "bundle", "@last", "-o", "x.zip")
    assert made.code == 0, made.err
    assert "Elsewhere it can be looked at and compared, but not replayed:" in made.err
    assert "Inputs were not kept with the run (data.csv): only its project has them." in made.err


@BUBBLEWRAP
@pytest.mark.usefixtures("asking")
def test_recorded_model_calls_are_searched(runbook: Any, shell_runbook: Write) -> None:
    (runbook.cwd / "model.yaml").write_text(f"- say: the word {CANARY}\n")
    options = ("--agent", "asking", "--model-script", "model.yaml", "--sandbox", "bubblewrap")
    ran = runbook("run", shell_runbook("true"), *options, "--json")
    assert ran.code == 0, ran.err
    refused = runbook("runs", "bundle", "@last", "-o", "x.zip", env={"CRM_TOKEN": CANARY})
    assert (refused.code, "  model/" in refused.err) == (2, True), refused.err


def test_a_bundle_without_inputs_says_so_where_it_is_replayed(runbook: Any, elsewhere: Any, bundle: Any) -> None:
    (runbook.cwd / "data.csv").write_text("4711\n")
    bundle("cat /app/assets/data.csv > /app/results/out.txt", "--sandbox", "bubblewrap", "-f", "data.csv")
    path = elsewhere.cwd / "x.zip"
    made = runbook("runs", "bundle", "@last", "-o", path, "--without", "inputs", "--json")
    assert (made.code, made.json["without"], made.json["kept"]) == (
        0,
        ["inputs"],
        {"inputs": ["data.csv"], "checks": []},
    )
    assert "The inputs (data.csv) are not in it; a replay needs them." in made.err
    assert not [name for name in members(path) if "inputs" in name]
    ran = elsewhere("replay", path)
    assert ran.code == 2
    assert "This bundle was made without inputs: 1 input is neither with the recording" in ran.err
    assert "data.csv (sha256 " in ran.err
    assert "Ask for a bundle with them." in ran.err
    assert "inputs/SHA256" not in ran.err
    assert runbook("replay", path).code == 0, "the project has it"
    assert "The bundle was made without inputs." in elsewhere("import", path).err


def test_a_run_with_more_folders_than_are_unpacked_is_not_bundled(runbook: Any, bundle: Any) -> None:
    path = bundle("echo x > /app/results/out.txt", "--sandbox", "host")
    (results,) = runbook.cwd.glob(".runbook/trajectories/*/*/*/results")
    for n in range(510):
        folder = results / str(n) / "/".join("d" * 197)
        folder.mkdir(parents=True)
        (folder / "x").touch()
    made = runbook("runs", "bundle", "@last", "-o", path, "--force")
    assert (made.code, "a zip of a run can have 100,000" in made.err) == (2, True), made.err


def test_a_run_of_10000_results_and_one_of_zeros_go_through(
    runbook: Any, elsewhere: Any, bundle: Any, shell_runbook: Write
) -> None:
    many = 'cd /app/results; for n in $(seq 9999); do echo "$n" > "$n"; done; echo x > out.txt'
    path = bundle(many, "--sandbox", "host")
    done = elsewhere("import", path)
    assert done.code == 0, done.err
    path = bundle("truncate -s 100M /app/results/zeros; echo x > /app/results/out.txt", "--sandbox", "host")
    assert path.stat().st_size > 100 << 20, "stored, so that nobody takes it for a bomb"
    assert elsewhere("import", path).code == 0
    assert elsewhere("diff", path, "@last").code == 0


def test_a_live_run_is_not_bundled_and_one_that_was_imported_is_for_looking(
    runbook: Any, shell_runbook: Write, eventually: Any, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    process = runbook.start("run", shell_runbook(f"touch {begun}; sleep 120"), "--sandbox", "host", "--json")
    eventually(begun.exists)
    made = runbook("runs", "bundle", "@last")
    assert (made.code, "is live" in made.err) == (2, True)
    assert [*runbook.cwd.glob("*.zip")] == []
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    made = runbook("runs", "bundle", "@last", "-o", "x.zip")
    assert made.code == 0, made.err
    assert runbook("export", "@last", "--format", "atif", "-o", "x.json").code == 0
    assert runbook("import", "x.json", "--id", "0123abcd").code == 0
    made = runbook("runs", "bundle", "0123abcd", "-o", "y.zip")
    assert made.code == 0
    assert "not replayed: It has no spec: it was imported" in made.err


@pytest.mark.needs("docker")
@pytest.mark.parametrize("image", [None, "debian:12"])
def test_an_image_that_is_not_here_is_named_with_its_digest(
    runbook: Any, elsewhere: Any, bundle: Any, image: str | None
) -> None:
    path = bundle("echo x > /app/results/out.txt", "--sandbox", "host")
    digest = "sha256:" + "ab12" * 16
    events = members(path)["run/events.jsonl"].splitlines()
    started = next(number for number, line in enumerate(events) if b'"sandbox.started"' in line)
    pinned = f"localhost:1/none@{digest}" if image else None
    fields = {"backend": "docker", "image": image or "runbook-runner/x:1", "image_digest": digest}
    events[started] = json.dumps(json.loads(events[started]) | fields | {"image_pinned": pinned}).encode()
    change(path, events=b"\n".join(events) + b"\n")
    if not image:
        change_spec(path, snapshot="python312-uv", apt_packages=["jq"])
    # Nothing of this program is on an engine that builds on a base image of its own.
    ran = elsewhere("replay", path, env={"RUNBOOK_BASE_IMAGE": f"localhost:1/none@{digest}"})
    assert ran.code == 3
    assert f"does not have the image of this run: {fields['image']} ({digest})." in ran.err
    how = f"docker pull {pinned}" if image else "runbook snapshots build python312-uv --apt jq"
    assert f"`{how}`" in ran.err
    assert left_of(elsewhere) == []
    assert not (elsewhere.cwd / ".runbook/trajectories").exists(), "nothing was recorded"


@BUBBLEWRAP
@pytest.mark.usefixtures("asking")
def test_the_cli_that_a_replay_needs_is_told_and_no_registry_is_asked_for_it(
    runbook: Any, elsewhere: Any, bundle: Any, tmp_path: Path
) -> None:
    path = bundle("true", "--agent", "asking", "--model-script", "model.yaml", "--sandbox", "bubblewrap")
    events = members(path)["run/events.jsonl"].splitlines()
    started = next(number for number, line in enumerate(events) if b'"agent.started"' in line)
    fields = {"agent": "claude-code", "version": "2.1.99"}
    events[started] = json.dumps(json.loads(events[started]) | fields).encode()
    change(path, events=b"\n".join(events) + b"\n")
    change_spec(path, agent="claude-code")
    assert runbook("import", path, "--id", "0123abcd").code == 0
    made = runbook("runs", "bundle", "0123abcd", "-o", "again.zip")
    assert "It needs the CLI of claude-code 2.1.99 (`npm install --global @anthropic-ai/claude-code@" in made.out

    asked, npm = tmp_path / "asked", elsewhere.programs / "npm"
    npm.write_text(f"#!/bin/sh\ntouch {asked}\nexit 7\n")
    npm.chmod(0o755)
    env = {"PATH": f"{elsewhere.programs}:{os.environ['PATH']}"}
    refused = elsewhere("replay", path, env=env)
    assert (refused.code, asked.exists()) == (3, False), refused.err
    assert "This machine does not have the CLI of this run: claude-code 2.1.99." in refused.err
    assert "`npm install --global @anthropic-ai/claude-code@" in refused.err
    assert "could not be installed (exit code 7)" in elsewhere("replay", path, "--network", "full", env=env).out
    assert asked.exists()


# --- a stranger's --------------------------------------------------------------------------------------------------


@BUBBLEWRAP
def test_it_never_runs_without_a_sandbox_unless_that_is_typed(elsewhere: Any, bundle: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran-on-the-host"
    path = bundle(f"echo hi > /app/results/out.txt; echo x > {mark} || true", "--sandbox", "host")
    mark.unlink()
    again = elsewhere("replay", path, "--json")
    assert not mark.exists()
    assert "used only when you type --sandbox host" in again.err
    typed = elsewhere("replay", path, "--sandbox", "host", "--network", "full", "--json")
    assert (typed.code, mark.exists()) == (0, True), typed.err


@BUBBLEWRAP
def test_it_gets_no_network_unless_that_is_typed_and_the_projects_bounds_hold(elsewhere: Any, bundle: Any) -> None:
    path = bundle("grep -c . /proc/net/route > /app/results/out.txt || true")

    def policy(*options: str) -> Any:
        ran = elsewhere("replay", path, *options, "--json")
        return json.loads((ran.folder / "spec.json").read_text())["network"]["policy"]

    assert policy() == "none"
    assert policy("--network", "full") == "full"
    (elsewhere.cwd / ".runbook").mkdir(exist_ok=True)
    (elsewhere.cwd / ".runbook" / "config.toml").write_text("[run]\ntimeout = 7\n")
    narrowed = elsewhere("replay", path, "--json")
    assert json.loads((narrowed.folder / "spec.json").read_text())["limits"]["timeout_s"] == 7


@BUBBLEWRAP
def test_it_gets_stand_ins_for_the_secrets_that_it_had(runbook: Any, elsewhere: Any, bundle: Any) -> None:
    more = "secrets:\n  AWS_SECRET_ACCESS_KEY: {required: false}\n"
    prints = "{ echo x; printenv AWS_SECRET_ACCESS_KEY | rev || true; } > /app/results/out.txt"
    env = {"AWS_SECRET_ACCESS_KEY": CANARY}
    runbook.env |= env
    path = bundle(prints, "--sandbox", "bubblewrap", "--trust", more=more)
    again = elsewhere("replay", path, "--json", env=env)
    assert [event["message"] for event in again.events("log") if "secrets" in event["message"]] == [
        "The agent gets stand-ins for the secrets AWS_SECRET_ACCESS_KEY, not their values."
    ]
    mark = "***REDACTED:AWS_SECRET_ACCESS_KEY***"
    assert (again.folder / "results" / "out.txt").read_text() == f"x\n{mark[::-1]}\n"


@BUBBLEWRAP
def test_an_input_of_it_is_no_file_of_this_machine(elsewhere: Any, bundle: Any) -> None:
    path = bundle()
    secret = elsewhere.cwd.with_name("secret.txt")
    secret.write_text(CANARY)
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    change_spec(path, inputs=[{"name": "x", "sha256": digest, "size": len(CANARY), "source": str(secret)}])
    ran = elsewhere("replay", path)
    assert ran.code == 2
    assert "1 input is neither with the recording" in ran.err
    assert f"{path}/inputs/SHA256" in ran.err


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:-40]),
             "run.zip: This zip is incomplete: its end is missing.\nCopy or download it again"),
    "large manifest": (lambda path: manifest_of(path, x=" " * (17 << 20)), "has more than 16 MB"),
    "many values": (lambda path: manifest_of(path, x=[[]] * 1_100_000), "manifest.json of this bundle is too large"),
    "many files": (lambda path: manifest_of(path, files=many_files()), "is damaged: files"),
    "many folders": (lambda path: deep(path), "a zip of a run can have 100,000"),
    "empty": (lambda path: write(path, {}), "it has no manifest.json"),
    "no manifest": (lambda path: write(path, {"run/events.jsonl": b""}), "it has no manifest.json"),
    "another manifest": (lambda path: write(path, {"manifest.json": b"{}"}), "another program's"),
    "broken manifest": (lambda path: write(path, {"manifest.json": b"{"}), "JSON is broken"),
    "newer": (lambda path: manifest_of(path, version=2), "has the format version 2; this version of Runbook Runner"),
    "wrong type": (lambda path: manifest_of(path, version=[]), "is damaged: version"),
    "checksum": (lambda path: write(path, members(path) | {"run/results/out.txt": b"ho\n"}), "out.txt' in this bundle"),
    "size": (lambda path: write(path, members(path) | {"run/results/out.txt": b"long\n"}), "is not in this bundle as"),
    "extra": (lambda path: write(path, members(path) | {"run/extra": b""}), "'run/extra' is not in the manifest"),
    "missing": (lambda path: write(path, without(path, "run/spec.json")), "'spec.json' is not in this bundle as"),
    "above": (lambda path: place(path, "../x"), "A file in a bundle can't be '../x'"),
    "absolute": (lambda path: place(path, "/tmp/x"), "can't be '/tmp/x'"),
    "hidden": (lambda path: place(path, ".git/config"), "can't be '.git/config'"),
    "repository": (lambda path: place(path, "results/.Git/config"), "can't be 'results/.Git/config'"),
    "nul": (lambda path: place(path, "a\0b"), "can't be 'a\\x00b'"),
    "long": (lambda path: place(path, "x" * 300), "can't be"),
    "surrogate": (lambda path: place(path, "\ud800"), "can't be"),
    "twice": (lambda path: place(path, "events.jsonl"), "'events.jsonl' is not in this bundle as"),
    "file as folder": (lambda path: place(path, "results/out.txt/x"), "can't "),
    "link": (lambda path: write(path, members(path), mode=0o120777), "is a link or a device"),
    "100,000 entries": (lambda path: write(path, {str(n): b"" for n in range(100_000)}), "and folders; 40,000 is"),
    "bomb": (lambda path: write(path, members(path) | {"run/x": bytes(200 << 20)}), "times its size"),
    "long list": (lambda path: long_list(path), "its list of files is too long"),
}  # fmt: skip


def manifest_of(path: Path, **fields: Any) -> None:
    files = members(path)
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | fields).encode()
    write(path, files)


def without(path: Path, name: str) -> dict[str, bytes]:
    return {member: content for member, content in members(path).items() if member != name}


def place(path: Path, name: str, content: bytes = b"x") -> None:
    """One more file, which the manifest places there."""
    files = json.loads(members(path)["manifest.json"])["files"]
    digest = hashlib.sha256(content).hexdigest()
    manifest_of(path, files=[*files, {"path": name, "member": "other/0", "size": len(content), "sha256": digest}])
    write(path, members(path) | {"other/0": content})


def many_files() -> list[dict[str, Any]]:
    return [{"path": "x", "member": "x", "size": 0, "sha256": "0" * 64}] * 40_001


def deep(path: Path) -> None:
    """510 files, each with 199 folders of its own."""
    listed, content = json.loads(members(path)["manifest.json"])["files"], members(path)
    empty = hashlib.sha256(b"").hexdigest()
    for n in range(510):
        name = f"results/{n}{'/d' * 197}/x"
        listed.append({"path": name, "member": f"run/{name}", "size": 0, "sha256": empty})
        content[f"run/{name}"] = b""
    manifest = json.loads(content["manifest.json"]) | {"files": listed}
    write(path, content | {"manifest.json": json.dumps(manifest).encode()})


def long_list(path: Path) -> None:
    """The end says that there is a list of 2 GB, and the file is as long."""
    end = path.read_bytes()[-22:]
    with path.open("r+b") as file:
        file.truncate(2 << 30)
        file.seek(0, os.SEEK_END)
        file.write(end[:12] + ((2 << 30) - 100).to_bytes(4, "little") + (50).to_bytes(4, "little") + b"\0\0")


@pytest.fixture(scope="module")
def whole(make_runbook: Callable[[], Any]) -> bytes:
    """A bundle that nobody has changed."""
    machine = make_runbook()
    (machine.cwd / "RUNBOOK.md").write_text(SHELL_RUNBOOK.format(code="echo hi > /app/results/out.txt"))
    assert machine("run", "RUNBOOK.md", "--sandbox", "host", "--quiet").code == 0
    assert machine("runs", "bundle", "@last", "-o", "run.zip").code == 0
    return bytes((machine.cwd / "run.zip").read_bytes())


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_broken_or_could_do_harm_is_refused_and_leaves_nothing(runbook: Any, whole: bytes, what: str) -> None:
    path = runbook.cwd / "run.zip"
    path.write_bytes(whole)
    spoil, told = REFUSED[what]
    spoil(path)
    for command in (("replay", path), ("diff", path, path), ("import", path)):
        ran = runbook(*command)
        is_no_bundle = command[0] == "import" and "no manifest" in told
        assert ran.code == 2, ran.err
        assert is_no_bundle or told in ran.err, ran.err
        assert "bundles/" not in ran.err
        assert left_of(runbook) == []
    assert [*runbook.cwd.glob(".runbook/trajectories/*/*/*")] == []
    assert not (runbook.cwd.parent / "x").exists()


def test_a_manifest_that_is_small_in_the_zip_and_large_in_memory_takes_none(runbook: Any, whole: bytes) -> None:
    path = runbook.cwd / "run.zip"
    path.write_bytes(whole)
    manifest_of(path, x=[[]] * 4_000_000)
    assert path.stat().st_size < 100_000
    runbook.under = ("sh", "-c", 'ulimit -v 600000; exec "$@"', "sh")
    ran = runbook("diff", path, path)
    assert (ran.code, "manifest.json of this bundle is too large" in ran.err) == (2, True), ran.err


def test_what_stands_behind_other_content_is_no_bundle(runbook: Any, whole: bytes) -> None:
    path = runbook.cwd / "run.zip"
    path.write_bytes(b"{}\n" + whole)
    for command in (("replay", path), ("diff", path, path), ("import", path)):
        assert runbook(*command).code == 2
        assert left_of(runbook) == []
    assert [*runbook.cwd.glob(".runbook/trajectories/*/*/*")] == []


def test_a_bundle_brings_no_repository(runbook: Any, whole: bytes) -> None:
    path = runbook.cwd / "run.zip"
    path.write_bytes(whole)
    place(path, "results/HEAD", b"ref: refs/heads/main")
    ran = runbook("replay", path)
    assert (ran.code, "with it the folder could be a repository" in ran.err) == (2, True), ran.err
    ran = runbook("import", path, "--json")
    assert (ran.code, "Not imported: results/HEAD: " in ran.err) == (0, True), ran.err
    assert not (ran.folder / "results/HEAD").exists()

    path.write_bytes(whole)
    place(path, "objects/x")
    assert runbook("diff", path, path).code == 0, "a newer version may have more in it"
    ran = runbook("import", path, "--id", "0badcafe")
    assert (ran.code, "Not imported: objects: " in ran.err) == (0, True), ran.err
    folder = next(runbook.cwd.glob(".runbook/trajectories/*/*/0badcafe"))
    (folder / "mine.txt").write_text("what its user has put there")
    (folder / "results/.git").mkdir()
    (folder / "results/.git/config").write_text("likewise")
    assert runbook("runs", "bundle", "0badcafe", "-o", path, "--force").code == 0
    assert not [name for name in members(path) if ".git" in name or "mine" in name]
    assert runbook("diff", path, path).code == 0


@BUBBLEWRAP
def test_a_recording_inside_of_a_bundle_is_not_what_is_replayed(elsewhere: Any, bundle: Any) -> None:
    path = bundle()
    inner = {name: content for name, content in members(path).items() if name.startswith("run/")}
    change(path, out=b"other\n")
    files = members(path)
    manifest = json.loads(files["manifest.json"])
    for name, content in inner.items():
        member, digest = name.replace("run/", "run/recording/"), hashlib.sha256(content).hexdigest()
        place = {"path": member.removeprefix("run/"), "member": member, "size": len(content), "sha256": digest}
        manifest["files"].append(place)
        files[member] = content
    write(path, files | {"manifest.json": json.dumps(manifest).encode()})
    ran = elsewhere("replay", path)
    assert ran.code == 1, ran.err
    assert "✗ results/out.txt differs" in ran.out


@BUBBLEWRAP
def test_a_bundle_that_says_pass_of_a_failure_is_found_out(runbook: Any, elsewhere: Any, shell_runbook: Write) -> None:
    assert runbook("run", shell_runbook("true"), "--sandbox", "bubblewrap", "--quiet").code == 1
    path = runbook.cwd / "run.zip"
    assert runbook("runs", "bundle", "@last", "-o", path).code == 0
    assert elsewhere("replay", path).code == 0, "an honest one"
    events = [json.loads(line) for line in members(path)["run/events.jsonl"].splitlines()]
    for event in events:
        if event["type"] == "run.evaluated":
            event |= {"verdict": "pass", "success": True, "missing_outputs": [], "outputs": [], "reasons": []}
    change(path, events="".join(json.dumps(event) + "\n" for event in events).encode())
    ran = elsewhere("replay", path)
    assert (ran.code, "verdict pass then, fail now" in ran.out, "✓ The replay" in ran.out) == (1, True, False), ran.err


def test_what_a_killed_process_has_unpacked_is_removed_by_the_next(
    runbook: Any, elsewhere: Any, bundle: Any, eventually: Any
) -> None:
    begun = elsewhere.cwd / "begun"
    path = bundle(f"if test -e {begun}.go; then touch {begun}; sleep 120; fi; echo x > /app/results/out.txt",
                  "--sandbox", "host")  # fmt: skip
    Path(f"{begun}.go").touch()
    process = elsewhere.start("replay", path, "--sandbox", "host", "--network", "full")
    eventually(begun.exists)
    (used,) = left_of(elsewhere)
    assert used.stat().st_mode & 0o777 == 0o700
    assert elsewhere("diff", path, path).code == 0
    assert left_of(elsewhere) == [used], "it is in use"
    process.kill()
    process.wait()
    assert left_of(elsewhere) == [used]
    assert elsewhere("diff", path, path).code == 0
    assert left_of(elsewhere) == []
    elsewhere("clean")


def test_a_name_of_a_run_that_is_a_file_says_what_takes_it(runbook: Any, bundle: Any) -> None:
    path = bundle("echo hi > /app/results/out.txt", "--sandbox", "host")
    ran = runbook("rerun", path)
    assert (ran.code, "`runbook import FILE` makes a run of it" in ran.err) == (2, True)
