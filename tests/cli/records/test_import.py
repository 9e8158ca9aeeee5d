"""`runbook export` and `runbook import`: the same run, on the way through every format."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import pytest

from runbook_runner.core.events import AgentMessage, ToolCalled, ToolReturned
from runbook_runner.trajectory.store import read_events


@pytest.fixture
def ran(runbook, shell_runbook):
    made = runbook(
        "run",
        shell_runbook("mkdir -p /app/results; echo done | tee /app/results/out.txt"),
        "--sandbox",
        "host",
        "--json",
    )
    assert made.code == 0, made.err
    return made.json


def said(folder):
    kinds = AgentMessage | ToolCalled | ToolReturned
    return [recorded.event for recorded in read_events(folder) if isinstance(recorded.event, kinds)]


def moved(runbook, ran, name, form, *options):
    """The folder of the run after its way through a file."""
    file = runbook.cwd / name
    done = runbook("export", ran["trajectory_id"], "--format", form, "-o", file)
    assert done.code == 0, done.err
    done = runbook("import", file, "--id", "0123abcd", "--json", *options)
    assert done.code == 0, done.err
    return runbook.cwd / done.json["path"]


def test_a_run_that_went_through_atif_says_the_same(runbook, ran):
    folder = moved(runbook, ran, "run.json", "atif")
    before, after = said(runbook.cwd / ran["path"]), said(folder)
    assert [event.model_dump(exclude={"role"}) for event in after] == [
        event.model_dump(exclude={"role"}) for event in before
    ]
    body = json.loads((folder / "trajectory.json").read_text())
    assert body["steps"]["run"]["outputs"]["verdict"] == "pass"
    assert (body["trajectory_id"], body["status"]) == ("0123abcd", "completed")


def test_a_run_that_went_through_the_platforms_json_has_the_same_outcome(runbook, ran):
    folder = moved(runbook, ran, "run.json", "jetty")
    outputs = [
        json.loads((place / "trajectory.json").read_text())["steps"]["run"]["outputs"]
        for place in (runbook.cwd / ran["path"], folder)
    ]
    assert all(outputs[0][key] == outputs[1][key] for key in ("text", "verdict", "success", "exit_code"))


def test_a_run_that_went_through_a_zip_has_the_same_results(runbook, ran):
    folder = moved(runbook, ran, "run.zip", "zip", "--task", "other/place")
    assert (folder / "results" / "out.txt").read_text() == "done\n"
    assert folder.parent.name == "place"
    with zipfile.ZipFile(runbook.cwd / "run.zip") as archive:
        assert f"{ran['trajectory_id']}.run.0000.app--results--out.txt" in archive.namelist()


def test_a_zip_of_a_trajectory_folder_is_the_whole_run(runbook, ran):
    source, file = runbook.cwd / ran["path"], runbook.cwd / "folder.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in source.rglob("*"):
            archive.write(path, path.relative_to(source.parent))
    done = runbook("import", file)
    assert done.code == 2
    assert "There is a trajectory" in done.err
    done = runbook("import", file, "--id", "0123abcd")
    assert done.code == 0, done.err
    assert "Next: runbook runs show 0123abcd" in done.out
    folder = source.parent / "0123abcd"
    assert said(folder) == said(source)
    assert (folder / "results" / "out.txt").read_text() == "done\n"
    assert (folder / "RUNBOOK.md").read_text() == (source / "RUNBOOK.md").read_text()


def test_a_file_is_not_half_written_and_a_zip_is_not_for_a_terminal(runbook, ran):
    done = runbook("export", "0" * 8, "--format", "atif", "-o", runbook.cwd / "x")
    assert done.code == 2
    assert not (runbook.cwd / "x").exists()
    file = runbook.cwd / "run.html"
    (runbook.cwd / "there").mkdir()
    done = runbook("export", ran["trajectory_id"], "--format", "html", "-o", "there/../run.html")
    assert (done.code, done.out.startswith(f"Wrote html of run {ran['trajectory_id']}: {file} (")) == (0, True)
    file.write_text("mine")
    done = runbook("export", ran["trajectory_id"], "--format", "html", "-o", file)
    assert (done.code, file.read_text(), "--force" in done.err) == (2, "mine", True)
    assert runbook("export", ran["trajectory_id"], "--format", "html", "-o", file, "--force").code == 0
    done = runbook("export", ran["trajectory_id"], "--format", "html", "-o", file.parent)
    assert "the export is a file" in done.err
    done = runbook("export", ran["trajectory_id"], "--format", "atif")
    assert json.loads(done.out)["trajectory_id"] == ran["trajectory_id"]
    done = runbook("import", runbook.cwd / "missing")
    assert (done.code, "no such file" in done.err) == (2, True)


def test_spans_go_to_a_file_and_only_to_an_address_that_is_one(runbook, ran):
    pytest.importorskip("opentelemetry.sdk")
    done = runbook("export", ran["trajectory_id"], "--format", "otel")
    assert "invoke_workflow local/test" in done.out
    assert "out.txt" not in done.out, "what was asked is left out"
    for address in ("localhost:4318", "http://[::1", "ftp://x", "http://u:p@x"):
        done = runbook("export", ran["trajectory_id"], "--format", "otel", "--endpoint", address)
        assert (done.code, "not an http" in done.err) == (2, True)
    done = runbook("export", ran["trajectory_id"], "--format", "otel", "--endpoint", "http://127.0.0.1:9")
    assert (done.code, "No collector can be reached: Connection refused." in done.err) == (3, True)


FOREIGN = {
    "schema_version": "ATIF-v1.6",
    "session_id": "abc",
    "agent": {"name": "other", "version": "1"},
    "steps": [{"step_id": 1, "source": "user", "message": "do"}, {"step_id": 2, "source": "agent", "message": "done"}],
}


@pytest.fixture
def foreign(runbook):
    """An ATIF file of another program, which says neither how the run ended nor when it was."""
    file = runbook.cwd / "foreign.json"
    file.write_text(json.dumps(FOREIGN))
    os.utime(file, (1_790_000_000, 1_790_000_000))
    return file


def test_an_end_that_is_not_known_is_said_to_be_unknown_everywhere(runbook, foreign):
    assert runbook("import", foreign).code == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert (row["outcome"], row["status"], row["verdict"], row["cost_usd"]) == ("unknown", "unknown", None, None)
    assert (row["kind"], row["of"], row["total_tokens"]) == ("import", "ATIF-v1.6 file foreign.json", None)
    assert "UNKNOWN" in runbook("runs", "list").out
    assert runbook("runs", "list", "--status", "completed", "--json").json["runs"] == []
    shown = runbook("runs", "show", "abc")
    assert shown.out.splitlines()[1].startswith("UNKNOWN · ")
    assert runbook("runs", "show", "abc", "--json").json["outcome"] == "unknown"
    (task,) = runbook("runs", "stats", "--json").json["tasks"]
    assert (task["success_rate"], task["total_cost_usd"], task["by_outcome"]["unknown"]) == (None, None, 1)
    runbook("export", "abc", "--format", "html", "-o", runbook.cwd / "run.html")
    assert ">UNKNOWN</span></h1>" in (runbook.cwd / "run.html").read_text()
    for form in ("atif", "jetty"):
        runbook("export", "abc", "--format", form, "-o", runbook.cwd / f"again.{form}")
        done = runbook("import", runbook.cwd / f"again.{form}", "--id", f"again-{form}")
        assert done.code == 0, done.err
        assert runbook("runs", "show", f"again-{form}", "--json").json["status"] == "unknown"
    assert runbook("runs", "label", "abc", "--status", "completed").code == 0
    assert runbook("runs", "show", "abc", "--json").json["status"] == "completed", "that is what the user says"


def test_a_run_without_a_date_has_that_of_its_file(runbook, foreign):
    assert runbook("import", foreign).code == 0
    (row,) = runbook("runs", "list", "--json").json["runs"]
    assert row["created"] == "2026-09-21T14:13:20.000000Z"


def test_a_hosted_run_without_a_date_has_that_of_its_first_step(runbook, ran):
    file = runbook.cwd / "hosted.json"
    runbook("export", ran["trajectory_id"], "--format", "jetty", "-o", file)
    body = json.loads(file.read_text())
    del body["created"]
    file.write_text(json.dumps({**body, "status": "running"}))
    done = runbook("import", file, "--id", "0123abcd", "--json")
    folder = runbook.cwd / done.json["path"]
    made = json.loads((folder / "trajectory.json").read_text())
    assert made["created"] == body["steps"]["run"]["created"]
    assert runbook("runs", "show", "0123abcd", "--json").json["status"] == "unknown", "it goes on elsewhere, not here"


def test_an_import_replaces_only_an_import_that_has_no_more(runbook, ran, foreign):
    assert runbook("import", foreign).code == 0
    again = runbook("import", foreign, "--replace")
    assert (again.code, "the run abc that was here is replaced: ATIF-v1.6 file" in again.err) == (0, True)
    foreign.write_text(json.dumps({**FOREIGN, "steps": FOREIGN["steps"][:1]}))
    less = runbook("import", foreign, "--replace")
    assert less.code == 2
    assert "has more: 5 events" in less.err
    own = runbook("import", foreign, "--replace", "--task", "local/test", "--id", ran["trajectory_id"])
    assert (own.code, "recorded here: no import can replace it" in own.err) == (2, True)
    assert runbook("runs", "show", ran["trajectory_id"], "--json").json["outcome"] == "pass"


def test_what_was_added_to_an_import_stays_when_it_is_replaced(runbook, ran):
    assert runbook("runs", "label", ran["trajectory_id"], "team=theirs", "at=bundling").code == 0
    assert runbook("runs", "bundle", ran["trajectory_id"], "-o", "run.zip").code == 0
    bring = ("import", "run.zip", "--id", "0123abcd", "--replace", "--json")
    folder = runbook.cwd / runbook(*bring).json["path"]
    assert runbook("runs", "label", "0123abcd", "team=mine", "good=yes").code == 0
    assert runbook("runs", "label", "0123abcd", "--remove", "at").code == 0
    assert runbook("runs", "label", "0123abcd", "--status", "archived").code == 0
    verdicts = {1: b"first", 3: b"third"}
    for number, said in verdicts.items():
        (folder / f"judge/{number}/blobs").mkdir(parents=True)
        (folder / f"judge/{number}/judged.json").write_bytes(said)
        (folder / f"judge/{number}/blobs/x.zst").write_bytes(said)
    for _ in range(2):
        again = runbook(*bring)
        assert again.code == 0, again.err
    shown = runbook("runs", "show", "0123abcd", "--json").json
    assert (shown["labels"], shown["status"]) == ({"team": "mine", "good": "yes"}, "archived")
    assert sorted(path.read_bytes() for path in folder.glob("judge/*/judged.json")) == [b"first", b"third"]
    assert sorted(path.read_bytes() for path in folder.glob("judge/*/blobs/x.zst")) == [b"first", b"third"]


def test_an_import_with_a_recording_is_not_replaced_by_one_without(runbook, ran):
    assert runbook("runs", "bundle", ran["trajectory_id"], "-o", "run.zip").code == 0
    assert runbook("import", "run.zip", "--id", "0123abcd").code == 0
    with zipfile.ZipFile(runbook.cwd / "run.zip") as whole, zipfile.ZipFile(runbook.cwd / "less.zip", "w") as less:
        for name in whole.namelist():
            if not name.endswith(("manifest.json", "spec.json")):
                less.writestr(name, whole.read(name))
    refused = runbook("import", "less.zip", "--id", "0123abcd", "--replace")
    assert refused.code == 2
    assert "The run that is there has more: spec.json, which the new one does not have." in refused.err


@pytest.mark.parametrize("command", ["rerun", "replay"])
def test_a_run_without_a_spec_says_that_it_was_imported(runbook, foreign, command):
    assert runbook("import", foreign).code == 0
    said = runbook(command, "abc")
    assert said.code == 2
    assert "imported (ATIF-v1.6 file foreign.json)" in said.err
    assert "spec.json" not in said.err


def test_a_zip_brings_no_repository_whose_programs_git_would_start(runbook, ran, tmp_path):
    started, made = tmp_path / "started", tmp_path / "made"
    for command in (["init", "-q", made], ["-C", made, "config", "core.fsmonitor", f"touch {started}; false"]):
        subprocess.run(["git", *command], check=True)
    (made / "a.txt").touch()
    subprocess.run(["git", "-C", made, "add", "a.txt"], check=True, capture_output=True)
    started.unlink(missing_ok=True)
    bare = (made / ".git/config").read_text().replace("bare = false", "bare = false\n\tworktree = .")
    with zipfile.ZipFile(runbook.cwd / "evil.zip", "w") as archive:
        archive.write(runbook.cwd / ran["path"] / "events.jsonl", "events.jsonl")
        for path in (made / ".git").rglob("*"):
            if path.is_file():
                name, content = path.relative_to(made / ".git"), path.read_bytes()
                archive.writestr(f"results/.git/{name}", content)
                for top in ("", "results/bare/"):
                    archive.writestr(f"{top}{name}", bare if path.name == "config" else content)
    done = runbook("import", "evil.zip", "--id", "0badcafe", "--json")
    assert done.code == 0, done.err
    assert "Not imported: results/.git: its configuration could name programs of this machine" in done.err
    assert "Not imported: results/bare/HEAD: with it the folder could be a repository" in done.err
    assert "Not imported: HEAD: a run of this version has nothing of this name." in done.err
    assert "Not imported: results/.git" in "".join(done.json["notes"])
    for place in ("", "results", "results/bare"):
        subprocess.run(["git", "status"], cwd=done.folder / place, capture_output=True, check=False)
    assert not started.exists()
    assert "Not imported: results/.git" in runbook("runs", "logs", "0badcafe").out


def hosted(path, text, events=1):
    run = {"activity": "runbook", "outputs": {"text": text}}
    body = {"trajectory_id": "0badcafe", "name": "acme/t", "status": "completed", "created": "2026-11-30T00:00:00Z"}
    path.write_text(json.dumps({**body, "steps": {"run": run}, "events": [{"message": "m" * 50}] * events}))
    return path


def text_of(folder):
    return json.loads((folder / "trajectory.json").read_text())["steps"]["run"]["outputs"]["text"]


def test_of_two_imports_of_one_id_at_once_one_is_recorded_and_the_other_told(runbook):
    files = [hosted(runbook.cwd / f"{name}.json", name, events=2000) for name in ("one", "two")]
    started = [runbook.start("import", file) for file in files]
    for process in started:
        process.communicate(timeout=120)
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, 2]
    (folder,) = (runbook.cwd / ".runbook/trajectories/acme/t").iterdir()
    assert text_of(folder) == ("one", "two")[codes.index(0)]


def test_an_import_never_replaces_a_live_run(runbook, shell_runbook, eventually):
    code = "echo > /app/results/begun; until [ -e /app/work/go ]; do sleep 0.1; done; echo x > /app/results/out.txt"
    process = runbook.start("run", shell_runbook(code), "--sandbox", "host")
    (log,) = eventually(lambda: [*runbook.cwd.glob(".runbook/trajectories/*/*/*/events.jsonl")])
    folder = log.parent
    file = hosted(runbook.cwd / "one.json", "one")
    task = f"{folder.parent.parent.name}/{folder.parent.name}"
    done = runbook("import", file, "--task", task, "--id", folder.name, "--replace")
    assert (done.code, "no import can replace it" in done.err) == (2, True), done.err
    attached = runbook("attach", folder.name, "--", "sh", "-c", "touch $RESULTS_DIR/../work/go")
    assert attached.code == 0, attached.err
    process.communicate(timeout=120)
    assert (process.returncode, (folder / "results/out.txt").read_text()) == (0, "x\n")


KILLED = """\
import os, pathlib, sys
rename = pathlib.Path.rename
def killed(self, to):
    if self.name.endswith(".part"):
        os.kill(os.getpid(), 9)
    return rename(self, to)
pathlib.Path.rename = killed
from runbook_runner.cli.__main__ import main
sys.argv = ["runbook", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("how", ["clean", "import"])
def test_the_run_that_a_killed_import_was_to_replace_is_put_back(runbook, how):
    one, two = (hosted(runbook.cwd / f"{name}.json", name) for name in ("one", "two"))
    folder = runbook.cwd / runbook("import", one, "--json").json["path"]
    command = [sys.executable, "-c", KILLED, "import", two, "--replace"]
    killed = subprocess.run(command, cwd=runbook.cwd, env=runbook.env, check=False)
    assert (killed.returncode, folder.exists(), len(list(folder.parent.iterdir()))) == (-9, False, 2)
    if how == "clean":
        would = runbook("clean", "--dry-run")
        assert f"would put back run 0badcafe, which an interrupted import was to replace: {folder}" in would.out
        assert f"would remove what an interrupted import has left: {folder.parent}" in would.out
        assert not folder.exists()
        done = runbook("clean")
        assert (done.code, "put back run 0badcafe" in done.out) == (0, True), done.err
        assert "nothing to remove" in runbook("clean").out
    else:
        done = runbook("import", two)
        assert (done.code, "There is a trajectory 0badcafe already." in done.err) == (2, True), done.err
    assert (text_of(folder), list(folder.parent.iterdir())) == ("one", [folder])
    assert list(runbook.data.glob("imports/*")) == []


def test_clean_leaves_an_import_alone_that_goes_on(runbook, eventually):
    file = hosted(runbook.cwd / "one.json", "one", events=30_000)
    process = runbook.start("import", file)
    eventually(lambda: [*runbook.cwd.glob(".runbook/trajectories/acme/t/.*.part")])
    os.kill(process.pid, signal.SIGSTOP)
    done = runbook("clean")
    assert (done.code, "nothing to remove" in done.out) == (0, True), done.out
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode == 0
