"""`runbook snapshots`: lists, builds, describes, removes, exports and imports images, on a real engine.

Every test has snapshots of its own, with names of its own: others use the same engine at the same time.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runbook_runner.cli.machine.snapshots.list import built_at
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.images.snapshots import context_archive

docker = pytest.mark.needs("docker")

SMALL = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nENV FLAVOUR="
AGENT = 'version = "1.0"\nargv = ["mine"]\ninstall = ["printf \'#!/bin/sh\\\\necho mine 4.5.6\\\\n\' > /usr/bin/mine",'
AGENT += ' "chmod 755 /usr/bin/mine"]\n'


@pytest.fixture
def write(runbook: Any) -> Iterator[Callable[[str], str]]:
    """Writes a snapshot in the current folder, under a new name; removes its images afterwards."""
    names = []

    def make(dockerfile: str) -> str:
        names.append(f"t-{uuid4().hex[:8]}")
        folder = runbook.cwd / ".runbook" / "snapshots" / names[-1]
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(dockerfile)
        return names[-1]

    yield make
    for name in names:
        for tag in tags(name):
            subprocess.run(["docker", "rmi", "--force", tag], capture_output=True)


def tags(name: str) -> list[str]:
    """Of the engine's images of a snapshot, with and without layers."""
    command = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"runbook-runner/{name}*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def forget(*names: str) -> None:
    for tag in (tag for name in names for tag in tags(name)):
        subprocess.run(["docker", "rmi", tag], capture_output=True, check=True)


def labelled(name: str) -> list[str]:
    """The ids of the engine's images that say they are of this snapshot, whatever they are called."""
    found = connect().api.images(filters={"label": f"runbook.snapshot={name}"})
    return sorted({item["Id"] for item in found})


def changed(file: Path, *, layer: bytes | None = None, tag: str | None = None, **said: Any) -> None:
    """Writes the export of one image anew. layer: one more. tag: its name. said: of it in its configuration."""
    with tarfile.open(file) as old:
        files = {member.name: content.read() for member in old if (content := old.extractfile(member))}
    (image,) = json.loads(files["manifest.json"])
    config = json.loads(files[image["Config"]])
    if layer:
        files["stranger.tar"] = layer
        image["Layers"].append("stranger.tar")
        config["rootfs"]["diff_ids"].append(digest(layer))
        config["history"].append({"created_by": "stranger"})
    config["config"] |= said.pop("config", {})
    written = {"manifest.json": json.dumps([{**image, "RepoTags": [tag or image["RepoTags"][0]]}]).encode()}
    written[image["Config"]] = json.dumps(config | said).encode()
    file.write_bytes(context_archive(files | written).getvalue())


def one_file(name: str) -> bytes:
    """A layer."""
    return tarfile.TarInfo(name).tobuf() + bytes(1024)


def declare_agent(folder: Path) -> None:
    (folder / ".runbook" / "agents").mkdir(parents=True, exist_ok=True)
    (folder / ".runbook" / "agents" / "mine.toml").write_text(AGENT)


def listed(runbook: Any, name: str) -> dict[str, Any]:
    (found,) = (item for item in runbook("snapshots", "list", "--json").json["snapshots"] if item["name"] == name)
    assert isinstance(found, dict)
    return found


def refused(ran: Any, code: int, *parts: str) -> None:
    assert (ran.code, ran.err[:7]) == (code, "error: "), ran.err
    for part in parts:
        assert part in ran.err


# --- list and inspect ----------------------------------------------------------------------------------------------


def test_list_names_ours_and_the_users_even_without_an_engine(runbook: Any, write: Any) -> None:
    name = write(SMALL + "plain\n")
    ran = runbook("snapshots", "list", "--json", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert ran.code == 0
    assert ran.err.startswith("warning: Which images are here is not known. No Docker engine answers")
    shown = runbook("snapshots", "list", env={"DOCKER_HOST": "unix:///nowhere.sock"}).out
    assert re.search(r"^ *python312-uv +not known *$", shown, re.MULTILINE)
    assert "not here" not in shown
    found = {item["name"]: item for item in ran.json["snapshots"]}
    assert found["python312-uv"]["aliases"] == ["python312-uv-node"]
    assert (found["python312-uv"]["origin"], found[name]["origin"]) == ("built-in", "user")
    assert found["prism-playwright"]["base"] == "snapshot:python312-uv"
    assert (ran.json["engine"], found[name]["images"]) == (None, [])


@docker
def test_what_is_built_is_listed_with_size_and_digest_and_described_with_versions(runbook: Any, write: Any) -> None:
    name = write(SMALL + "described\nRUN useradd worker\nUSER worker\n")
    refused(runbook("snapshots", "inspect", name), 3, "not built", f"runbook snapshots build {name}")
    declare_agent(runbook.cwd)
    built = runbook("snapshots", "build", "--trust", name, "--agent", "mine")
    assert built.code == 0, built.err
    assert "Building runbook-runner/" in built.out
    assert "Step" not in built.out, "a tool's own output is not for people"
    assert built.out.count("✓ ") == 2
    images = sorted(listed(runbook, name)["images"], key=lambda image: len(image["layers"]), reverse=True)
    assert [image["layers"] for image in images] == [["mine"], []]
    assert all(image["size_bytes"] > 10_000_000 and not image["old"] for image in images)
    shown = runbook("snapshots", "inspect", name, "--agent", "mine", "--json").json
    assert shown["image"]["digest"] == images[0]["digest"]
    assert (shown["image"]["user"], shown["image"]["layers"]) == ("worker", ["mine"])
    assert shown["programs"]["python3"].startswith("3.12.")
    assert shown["programs"]["mine"] == "4.5.6"
    assert f"Image     {images[0]['tag']}" in runbook("snapshots", "inspect", name, "--agent", "mine").out
    again = runbook("snapshots", "build", "--trust", name, "--quiet")
    assert (again.code, again.out) == (0, "")


@docker
def test_mistakes_are_named(runbook: Any, write: Any) -> None:
    refused(runbook("snapshots", "inspect", "prism"), 2, "Unknown snapshot 'prism'", "prism-playwright, python312-uv")
    refused(runbook("snapshots", "prune", "prism"), 2, "Unknown snapshot 'prism'")
    refused(runbook("snapshots", "build", "--trust", "python312-uv", "--agent", "clippy"), 2, "Unknown agent 'clippy'")
    refused(
        runbook("snapshots", "build", "--trust", "python312-uv", "--apt", "a;b"),
        2,
        "--apt",
        "'a;b' is not a Debian package",
    )
    refused(runbook("snapshots", "export", "--trust", "python312-uv", "-o", "no/where.tar"), 2, "no such folder")
    refused(runbook("snapshots", "import", "nothing.tar"), 2, "nothing.tar", "No such file")


@docker
def test_file_that_holds_no_snapshot_is_refused(runbook: Any) -> None:
    (runbook.cwd / "noise.tar").write_bytes(b"noise" * 1000)
    refused(runbook("snapshots", "import", "noise.tar"), 2, "noise.tar")


OURS = [{"Config": "c", "RepoTags": ["runbook-runner/mine:1"], "Layers": []}]
OTHER = [OURS[0], {**OURS[0], "RepoTags": ["python:3.12-slim"]}]
DIGEST = [{**OURS[0], "RepoTags": [f"runbook-runner/base:python312@sha256:{'0' * 64}"]}]
BOTH = [{**OURS[0], "repoTag\u017f": ["python:3.12-slim"]}]
REF = "org.opencontainers.image.ref.name"
MINE = {"manifests": [{"annotations": {REF: "runbook-runner/mine:1"}}]}


@docker
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([("manifest.json", OTHER)], "python:3.12-slim"),
        ([("./manifest.json", OTHER)], "python:3.12-slim"),
        ([("manifest.json", DIGEST)], "runbook-runner/base:python312@sha256:0"),
        ([("manifest.json", OURS), ("./manifest.json", OTHER)], "no export of images"),
        ([("manifest.json", OURS), ("x/..//manifest.json", OTHER)], "no export of images"),
        ([("manifest.json", OURS), ("../manifest.json", OTHER)], "no export of images"),
        ([("manifest.json", OURS), ("x", "."), ("x/manifest.json", OTHER)], "no export of images"),
        ([("manifest.json", BOTH)], "no export of images"),
        ([("index.json", MINE)], "without manifest.json"),
        ([("index.json", MINE), ("repositories", {"python": {"3.12-slim": "0" * 64}})], "without manifest.json"),
        ([("manifest.json", None), ("repositories", {"python": {"3.12-slim": "0" * 64}})], "without manifest.json"),
        ([("manifest.json", [])], "no image of a snapshot"),
        ([("manifest.json", {"RepoTags": 3})], "no export of images"),
    ],
)
def test_an_import_takes_over_no_other_image_of_the_machine(runbook: Any, files: Any, says: str) -> None:
    with tarfile.open(runbook.cwd / "images.tar", "w") as made:
        for name, content in (*files, ("c", {"rootfs": {"diff_ids": []}})):
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname, data = tarfile.SYMTYPE, content, b""
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    refused(runbook("snapshots", "import", "images.tar"), 2, "images.tar", says)


@docker
def test_no_import_is_a_step_of_other_builds(runbook: Any, write: Any) -> None:
    """A manifest may say that an image was built on another one, by the very step that a user's Dockerfile has."""
    below = write("FROM scratch\nCOPY Dockerfile /\n")
    above = write(f"ARG BASE_IMAGE=snapshot:{below}\nFROM ${{BASE_IMAGE}}\nCOPY Dockerfile /above\n")
    assert runbook("snapshots", "export", "--trust", below, above, "-o", "images.tar").code == 0
    (tag,), api = tags(above), connect().api
    assert api.inspect_image(tag)["Parent"]
    forget(below, above)
    ran = runbook("snapshots", "import", "images.tar")
    assert (ran.code, api.inspect_image(tag)["Parent"]) == (0, ""), ran.err


# --- the user's own ------------------------------------------------------------------------------------------------


@docker
def test_run_uses_the_snapshot_in_a_folder_above_and_builds_what_it_stands_on(runbook: Any, write: Any) -> None:
    below = write(SMALL + "below\n")
    above = write(f"ARG BASE_IMAGE=snapshot:{below}\nFROM ${{BASE_IMAGE}}\nCOPY tool /usr/bin/\n")
    tool = runbook.cwd / ".runbook/snapshots" / above / "tool"
    tool.write_text('#!/bin/sh\necho "tool of $FLAVOUR"\n')
    folder = runbook.cwd / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "RUNBOOK.md").write_text(RUNBOOK.format(snapshot=above, code="tool > /app/results/out.txt"))
    ran = runbook("run", folder, "--sandbox", "docker", "--trust", "--json")
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "tool of below\n"
    assert "Step" not in ran.err
    assert re.search(r"Step \d+/\d+: COPY tool", (ran.folder / "sandbox.log").read_text())
    built = [event["message"] for event in ran.events("log") if event["message"].startswith("Building")]
    assert [message.partition(":")[0] for message in built] == [
        f"Building runbook-runner/{below}",
        f"Building runbook-runner/{above}",
    ]
    tool.write_text("#!/bin/sh\necho changed\n")
    assert runbook("run", folder, "--sandbox", "docker", "--trust", "--json").code == 0
    assert len(tags(above)) == 2, "other files make another image"


RUNBOOK = """\
---
agent: shell
snapshot: {snapshot}
---
# Own snapshot — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

```bash
{code}
```
"""


@docker
def test_unknown_snapshot_in_a_runbook_is_a_warning_and_in_an_option_an_error(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(
        RUNBOOK.format(snapshot="text-to-cad", code="echo made > /app/results/out.txt")
    )
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--trust", "--json")
    assert ran.code == 0, ran.err
    assert ran.warnings[0] == "Unknown snapshot 'text-to-cad'. python312-uv is used instead."
    assert ran.events("sandbox.started")[0]["image"].startswith("runbook-runner/python312-uv:")
    refused(runbook("run", "RUNBOOK.md", "--snapshot", "text-to-cad"), 2, "Unknown snapshot 'text-to-cad'")


@docker
def test_snapshots_that_stand_on_each_other_in_a_circle_are_refused(runbook: Any, write: Any) -> None:
    one = write("")
    two = write(f"ARG BASE_IMAGE=snapshot:{one}\nFROM ${{BASE_IMAGE}}\n")
    dockerfile = runbook.cwd / ".runbook/snapshots" / one / "Dockerfile"
    dockerfile.write_text(f"ARG BASE_IMAGE=snapshot:{two}\nFROM ${{BASE_IMAGE}}\n")
    refused(runbook("snapshots", "build", "--trust", one), 2, "builds on itself", f"snapshots/{two}/Dockerfile")


@docker
def test_a_very_long_chain_of_snapshots_is_refused(runbook: Any) -> None:
    for number in range(90):
        folder = runbook.cwd / ".runbook" / "snapshots" / f"s{number}"
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(f"ARG BASE_IMAGE=snapshot:s{number + 1}\nFROM ${{BASE_IMAGE}}\n")
    refused(runbook("snapshots", "build", "--trust", "s0"), 2, "snapshots build on each other")


@docker
def test_failed_build_shows_why_and_leaves_no_image(runbook: Any, write: Any) -> None:
    name = write(SMALL + "failing\nRUN echo the reason >&2; exit 3\n")
    ran = runbook("snapshots", "build", "--trust", name, env={"TMPDIR": str(runbook.cwd)})
    refused(ran, 3, "could not be built", "the reason", "build log")
    assert tags(name) == []


@docker
def test_package_brings_a_snapshot(runbook: Any, write: Any) -> None:
    name = write("")
    (runbook.cwd / ".runbook/snapshots" / name).rename(runbook.cwd / "shipped")
    (runbook.cwd / "shipped/Dockerfile").write_text(SMALL + "packaged\n")
    site = runbook.cwd / "site"
    (site / "shipped-1.0.dist-info").mkdir(parents=True)
    (site / "shipped-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    points = f"[runbook_runner.snapshots]\n{name} = shipped:FOLDER\nt-broken-{name} = shipped:NOTHING\n"
    (site / "shipped-1.0.dist-info/entry_points.txt").write_text(points)
    (site / "shipped.py").write_text(f"FOLDER = {str(runbook.cwd / 'shipped')!r}\n")
    runbook.env["PYTHONPATH"] = str(site)
    built = runbook("snapshots", "build", "--trust", name)
    assert built.code == 0, built.err
    assert [tag.partition(":")[0] for tag in tags(name)] == [f"runbook-runner/{name}"]
    refused(runbook("snapshots", "build", "--trust", f"t-broken-{name}"), 2, "can't be loaded", "shipped:NOTHING")


@docker
def test_debian_packages_of_the_runbook_are_there(runbook: Any, write: Any) -> None:
    name = write(SMALL + "apt\n")
    text = RUNBOOK.format(snapshot=name, code="hello > /app/results/out.txt")
    (runbook.cwd / "RUNBOOK.md").write_text(text.replace("---\n#", "runbook_runner: {apt_packages: [hello]}\n---\n#"))
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--trust", "--json")
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "Hello, world!\n"
    assert ["apt"] in [image["layers"] for image in listed(runbook, name)["images"]]
    refused(runbook("run", "RUNBOOK.md", "--sandbox", "host"), 2, "installs no packages")


@docker
def test_fresh_build_takes_the_place_of_the_old_one(runbook: Any, write: Any) -> None:
    name = write(SMALL + "fresh\nRUN date --rfc-3339=ns > /when\n")
    assert runbook("snapshots", "build", "--trust", name).code == 0
    (before,) = listed(runbook, name)["images"]
    assert runbook("snapshots", "build", "--trust", name, "--fresh").code == 0
    (after,) = listed(runbook, name)["images"]
    assert (after["tag"], after["digest"] != before["digest"]) == (before["tag"], True)
    subprocess.run(["docker", "rmi", before["digest"]], capture_output=True, check=True)


# --- prune ---------------------------------------------------------------------------------------------------------


@docker
def test_prune_removes_what_no_run_would_use_and_nothing_a_container_uses(runbook: Any, write: Any) -> None:
    name = write(SMALL + "first\n")
    assert runbook("snapshots", "build", "--trust", name).code == 0
    (first,) = tags(name)
    container = subprocess.run(
        ["docker", "create", first, "sleep", "60"], capture_output=True, text=True
    ).stdout.strip()
    try:
        (runbook.cwd / ".runbook/snapshots" / name / "Dockerfile").write_text(SMALL + "second\n")
        assert runbook("snapshots", "build", "--trust", name).code == 0
        second = next(tag for tag in tags(name) if tag != first)
        assert {image["tag"]: image["old"] for image in listed(runbook, name)["images"]} == {first: True, second: False}
        said = runbook("snapshots", "prune", name, "--dry-run").out
        assert f"would remove {first} (" in said
        assert second not in said
        assert "container" in runbook("snapshots", "prune", name).out.partition(f"kept {first} (")[2]
        assert sorted(tags(name)) == sorted([first, second])
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)
    assert f"removed {first} (" in runbook("snapshots", "prune", name).out
    assert tags(name) == [second]
    assert runbook("snapshots", "prune", name).out == "Nothing to remove.\n"
    assert f"removed {second} (" in runbook("snapshots", "prune", name, "--all").out
    assert tags(name) == []


@docker
def test_prune_leaves_another_project_the_image_that_it_uses(runbook: Any, write: Any) -> None:
    name = write(SMALL + "one\n")
    declare_agent(runbook.cwd)
    build = ("snapshots", "build", "--trust", name, "--agent", "mine")
    assert runbook(*build).code == 0
    of_one = sorted(tags(name))
    one, two = runbook.cwd, runbook.cwd / "two"
    shutil.copytree(one / ".runbook", two / ".runbook")
    runbook.cwd = two
    assert "Building" not in runbook(*build).out, "the same content is the same image"
    (two / ".runbook/snapshots" / name / "Dockerfile").write_text(SMALL + "two\n")
    assert runbook("snapshots", "prune", name).out == "Nothing to remove.\n"  # before its own is built, too
    assert runbook(*build).code == 0
    assert runbook("snapshots", "prune", name).out == "Nothing to remove.\n"
    of_two = sorted({*tags(name)} - {*of_one})
    assert (len(of_one), len(of_two)) == (2, 2)
    runbook.cwd = one
    assert runbook("snapshots", "prune", name).out == "Nothing to remove.\n"
    (one / ".runbook/snapshots" / name / "Dockerfile").write_text(SMALL + "three\n")
    runbook("snapshots", "prune", name)
    assert sorted(tags(name)) == of_two


@docker
def test_agents_image_of_an_older_version_is_old(runbook: Any, write: Any) -> None:
    name = write(SMALL + "agents\n")
    declare_agent(runbook.cwd)
    assert runbook("snapshots", "build", "--trust", name, "--agent", "mine").code == 0
    declared = runbook.cwd / ".runbook/agents/mine.toml"
    declared.write_text(AGENT.replace("4.5.6", "4.5.7"))
    old = {tuple(image["layers"]): image["old"] for image in listed(runbook, name)["images"]}
    assert old == {("mine",): True, (): False}


# --- export and import ---------------------------------------------------------------------------------------------


@docker
def test_exported_images_are_used_by_runs_of_the_machine_that_imports_them(runbook: Any, write: Any) -> None:
    name = write(SMALL + "exported\n")
    declare_agent(runbook.cwd)
    ran = runbook("snapshots", "export", "--trust", name, "--agent", "mine", "-o", "images.tar")
    assert ran.code == 0, ran.err
    before = sorted(tags(name))
    assert len(before) == 2
    for tag in before:
        subprocess.run(["docker", "rmi", tag], capture_output=True, check=True)
    # A machine with another CA bundle looks for these images under other names.
    bundle = runbook.cwd / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    there = {"RUNBOOK_CA_BUNDLE": str(bundle)}
    taken = runbook("snapshots", "import", "images.tar", env=there)
    assert (taken.code, taken.out.count("✓ ")) == (0, 2), taken.out
    shown = runbook("snapshots", "inspect", name, "--agent", "mine", "--json", env=there)
    assert shown.code == 0, shown.err
    assert shown.json["image"]["tag"] not in before
    assert shown.json["programs"]["mine"] == "4.5.6"
    built = runbook("snapshots", "build", "--trust", name, "--agent", "mine", env=there)
    assert "Building" not in built.out
    (runbook.cwd / ".runbook/agents/mine.toml").write_text(AGENT.replace("4.5.6", "4.5.7"))
    built = runbook("snapshots", "build", "--trust", name, "--agent", "mine", env=there)
    assert (built.code, built.out.count("Building")) == (0, 1), built.err
    assert {path.parent.name for path in runbook.data.glob("images/*/*/*")} == {"imported", "foreign"}


@docker
def test_an_export_has_what_its_images_are_built_on(runbook: Any, write: Any) -> None:
    name = write(SMALL + "below\n")
    ran = runbook("snapshots", "export", "--trust", name, "--apt", "hello", "-o", "images.tar")
    assert ran.code == 0, ran.err
    before = sorted(tags(name))
    forget(name)
    taken = runbook("snapshots", "import", "images.tar")
    assert (taken.code, taken.out.count("✓ ")) == (0, 2), taken.out
    assert "Building" not in runbook("snapshots", "build", "--trust", name, "--apt", "hello").out
    assert len(tags(name)) == len(before) == 2


@docker
def test_import_says_which_images_no_run_will_use_and_why(runbook: Any, write: Any) -> None:
    name = write("FROM scratch\nCOPY Dockerfile /\n")
    assert runbook("snapshots", "export", "--trust", name, "-o", "images.tar", "--quiet").out == ""
    folder = runbook.cwd / ".runbook/snapshots" / name
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /other\n")
    taken = runbook("snapshots", "import", "images.tar")
    assert taken.code == 1
    assert "no run here will use it" in taken.out
    assert f"files of the snapshot {name} here are not those" in taken.out
    (folder / "Dockerfile").unlink()
    assert f"Unknown snapshot '{name}'" in runbook("snapshots", "import", "images.tar").out


ODD_CONFIGS = {
    "none": None,
    "surrogates": {"Labels": {"runbook.layers": '[{"name": "apt", "dockerfile": "\\ud800"}]'}},
    "lines": {"Labels": {"runbook.layers": '[{"name": "a\\nb", "dockerfile": ""}]'}},
    "long": {"Labels": {"runbook.layers": json.dumps([{"name": "a" * 300, "dockerfile": ""}])}},
}


@docker
def test_an_image_that_says_anything_of_itself_is_listed_all_the_same(runbook: Any, write: Any) -> None:
    name = write(SMALL + "odd\n")
    layer = one_file("file")
    files, manifest = {"layer": layer}, []
    for kind, config in ODD_CONFIGS.items():
        if config:
            config["Labels"] |= {"runbook.snapshot": name, "runbook.files": kind}
        made = {"os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}
        files[kind] = json.dumps(made).encode()
        manifest.append({"Config": kind, "RepoTags": [f"runbook-runner/{name}:{kind}"], "Layers": ["layer"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    (runbook.cwd / "images.tar").write_bytes(context_archive(files).getvalue())
    taken = runbook("snapshots", "import", "images.tar")
    assert (taken.code, taken.out.count("does not say what it was made of")) == (1, len(ODD_CONFIGS)), taken.err
    assert tags(name) == [], "what no run looks for is not kept"
    subprocess.run(["docker", "load", "--input", runbook.cwd / "images.tar"], capture_output=True, check=True)
    images = listed(runbook, name)["images"]
    assert sorted(image["tag"].partition(":")[2] for image in images) == sorted(ODD_CONFIGS)
    assert {image["layers"] for image in images} == {None}
    assert runbook("snapshots", "list").code == 0
    assert runbook("snapshots", "prune", name, "--dry-run").out.count(f"would remove runbook-runner/{name}:") == 3


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_the_end(hidden: bytes) -> bytes:
    """Go reads a number of which Python says that it is none."""
    return odd(b"0", 0, slice(108, 116), b"\x81".ljust(8, b"\0")) + hidden


def as_content(hidden: bytes) -> bytes:
    """A file to Python, and to Go a folder, which has no content."""
    long = tarfile.TarInfo("x" * 101 + "/").tobuf(tarfile.GNU_FORMAT)[: 2 * tarfile.BLOCKSIZE]
    return long + odd(b"\0", len(hidden), slice(0, 3), b"odd") + hidden


def odd(kind: bytes, size: int, where: slice, what: bytes) -> bytes:
    member = tarfile.TarInfo()
    member.type, member.size = kind, size
    head = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    head[where], head[148:156] = what, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-62167219200, "1970-01-01"), (1 << 60, "9999-12-31"), (946684800, "2000-01-01")],
    ids=["of the year 0", "of no year", "usual"],
)
def test_an_image_may_say_that_it_was_made_at_any_time(seconds: int, shown: str) -> None:
    assert built_at(seconds)[:10] == shown


@docker
@pytest.mark.parametrize("hide", [as_the_end, as_content])
def test_an_engine_gets_of_an_imported_file_what_was_looked_at(runbook: Any, write: Any, hide: Any) -> None:
    name = write("FROM scratch\nCOPY Dockerfile /\n")
    assert runbook("snapshots", "export", "--trust", name, "-o", "images.tar").code == 0
    file = runbook.cwd / "images.tar"
    with tarfile.open(file) as content:
        read = content.extractfile("manifest.json")
        manifest = json.loads(read.read()) if read else None
        content.getmembers()
        end = content.offset
    manifest[0]["RepoTags"].append(f"{name}-other:1")
    data = json.dumps(manifest).encode()
    member = tarfile.TarInfo("manifest.json")
    member.size = len(data)
    hidden = member.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    file.write_bytes(file.read_bytes()[:end] + hide(hidden) + bytes(1024))
    taken = runbook("snapshots", "import", "images.tar", "--replace")
    other = subprocess.run(["docker", "rmi", f"{name}-other:1"], capture_output=True)
    assert (taken.code, taken.out.count("✓ ")) == (0, 1), taken.out + taken.err
    assert other.returncode != 0, "the engine read another manifest"


# --- an export of a stranger's -------------------------------------------------------------------------------------


@pytest.fixture
def exported(runbook: Any, write: Any) -> tuple[str, str, Path]:
    """A snapshot's name, its tag, and the export of its image, which is here."""
    name = write("FROM scratch\nCOPY Dockerfile /\n")
    assert runbook("snapshots", "export", "--trust", name, "-o", "images.tar").code == 0
    (tag,) = tags(name)
    return name, tag, runbook.cwd / "images.tar"


@docker
def test_an_image_with_triggers_of_builds_is_not_imported(runbook: Any, exported: Any) -> None:
    name, _, file = exported
    forget(name)
    changed(file, config={"OnBuild": ["RUN id"]})
    refused(runbook("snapshots", "import", file), 2, "ONBUILD", str(file))
    assert labelled(name) == []


@docker
def test_an_import_takes_no_tag_of_another_image_unless_told_to(runbook: Any, exported: Any) -> None:
    name, tag, file = exported
    before = labelled(name)
    changed(file, layer=one_file("stranger"))
    taken = runbook("snapshots", "import", file)
    assert (taken.code, "is another image, which stays" in taken.out, labelled(name)) == (1, True, before)
    assert "--replace" in taken.out
    assert runbook("snapshots", "import", file, "--replace").code == 0
    assert connect().image_id(tag) not in (None, *before)
    again = runbook("snapshots", "import", file)
    assert (again.code, again.out) == (0, f"✓ {tag}\n"), "it is the same image"


@docker
def test_an_import_takes_no_tag_because_the_file_names_it(runbook: Any, exported: Any) -> None:
    name, tag, file = exported
    before = labelled(name)
    other = f"{name}-none"
    changed(
        file,
        layer=one_file("stranger"),
        tag=tag,
        config={"Labels": {"runbook.files": "0", "runbook.snapshot": other, "runbook.layers": "[]"}},
    )
    taken = runbook("snapshots", "import", file, "--replace")
    assert (taken.code, f"Unknown snapshot '{other}'" in taken.out) == (1, True)
    assert ([connect().image_id(tag)], labelled(other)) == (before, [])


@docker
def test_an_import_that_fails_leaves_nothing(runbook: Any, exported: Any) -> None:
    """The engine loads the first image, and refuses the second: a layer is not the one of its digest."""
    name, _, file = exported
    before = labelled(name)
    changed(file, layer=one_file("stranger"))
    with tarfile.open(file) as old:
        files = {member.name: content.read() for member in old if (content := old.extractfile(member))}
    (image,) = json.loads(files["manifest.json"])
    config = json.loads(files[image["Config"]])
    config["rootfs"]["diff_ids"][-1] = digest(b"other")
    files["second"] = json.dumps(config).encode()
    files["manifest.json"] = json.dumps([image, {**image, "Config": "second"}]).encode()
    file.write_bytes(context_archive(files).getvalue())
    refused(runbook("snapshots", "import", file, "--replace"), 2, "does not accept it")
    assert labelled(name) == before


@docker
def test_prune_removes_what_an_import_that_was_killed_has_left(runbook: Any, exported: Any) -> None:
    name, tag, _ = exported
    left = f"runbook-runner/import/{name}:0"
    subprocess.run(["docker", "tag", tag, left], check=True)
    assert runbook("snapshots", "prune", name).out.startswith(f"removed {left} (")
    assert tags(name) == [tag]
    assert connect().image_id(left) is None


@docker
def test_an_image_that_no_one_built_here_pushes_none_out_that_was(runbook: Any, exported: Any) -> None:
    name, tag, file = exported
    other = f"runbook-runner/{name}:1"
    changed(file, layer=one_file("stranger"), tag=other, created="2099-01-01T00:00:00Z")
    subprocess.run(["docker", "load", "--input", file], capture_output=True, check=True)
    runbook.cwd = runbook.programs  # where nobody knows the snapshot
    assert runbook("snapshots", "prune", name).out == "Nothing to remove.\n"
    assert sorted(tags(name)) == sorted([tag, other])
    noted = [path for path in runbook.data.glob("images/*/*/*") if path.name in labelled(name)[0] + labelled(name)[1]]
    assert [path.parent.name for path in noted] == ["foreign"]
    runbook("snapshots", "prune", name, "--all")
    assert not any(path.exists() for path in noted)


@docker
def test_export_leaves_nothing_half_written(runbook: Any, write: Any) -> None:
    name = write("FROM scratch\nCOPY Dockerfile /\n")
    (runbook.cwd / "taken").mkdir()
    (runbook.cwd / "link").symlink_to("..")
    for file, why in (("taken", "This is not a regular file"), ("link/images.tar", "can't be written")):
        refused(runbook("snapshots", "export", "--trust", name, "-o", file), 2, why)
    assert not (runbook.cwd.parent / "images.tar").exists()
    assert [path.name for path in runbook.cwd.iterdir() if "part" in path.name] == []


@docker
def test_export_says_what_it_wrote(runbook: Any, write: Any) -> None:
    name = write("FROM scratch\nCOPY Dockerfile /\n")
    ran = runbook("snapshots", "export", "--trust", name, "-o", "images.tar")
    assert ran.code == 0, ran.err
    names = subprocess.run(["tar", "-xOf", "images.tar", "manifest.json"], cwd=runbook.cwd, capture_output=True).stdout
    assert json.loads(names)[0]["RepoTags"] == tags(name)
