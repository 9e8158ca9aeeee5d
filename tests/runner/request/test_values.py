"""Values from callers of the Python API: answers to questions, and parameters."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.runner import PreparedRun, RunOptions, RunRequest, prepare
from runbook_runner.runner.environment.images import check_image

DOCUMENT = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
secrets:
  TOKEN: {}
---
# T

## Parameters

| Parameter | Template Variable | Default      | Description |
|-----------|-------------------|--------------|-------------|
| Name      | `{{name}}`        | *(required)* | Who         |

## Step 1: Work

```bash
echo '{{name}}'
```
"""
Prepare = Callable[..., PreparedRun]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares a run that asks for a parameter, `name`, and a secret, `TOKEN`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKEN", raising=False)
    Path("RUNBOOK.md").write_text(DOCUMENT)

    def run(name: Any = "Ada", token: Any = "t-1234", **parameters: Any) -> PreparedRun:
        request = RunRequest("RUNBOOK.md", parameters=parameters, options=RunOptions(sandbox="host"))
        return prepare(request, lambda question: token if question.is_secret else name)

    return run


def test_answers_become_values(prepared: Prepare) -> None:
    run = prepared()
    assert (run.spec.parameters, run.secrets.values["TOKEN"]) == ({"name": "Ada"}, "t-1234")


@pytest.mark.parametrize("asked", ["name", "token"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "is of the type int, not a text."),
        (None, "is of the type NoneType, not a text."),
        (b"x", "is of the type bytes, not a text."),
        (object(), "is of the type object, not a text."),
        ("a\0b", "holds a NUL character."),
        ("\ud800", "holds half of a surrogate pair"),
    ],
)
def test_an_answer_that_can_not_be_used_is_refused(prepared: Prepare, asked: str, given: Any, says: str) -> None:
    label = "name" if asked == "name" else "TOKEN"
    with pytest.raises(InputError, match=f"The answer for {label} {says}"):
        prepared(**{asked: given})
    assert not Path(".runbook").exists()


@pytest.mark.parametrize("value", [object(), b"x", {1}, "a\0b", {"x": ["\ud800"]}, {"a\0": 1}])
def test_a_parameter_that_can_not_be_used_is_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "RUNBOOK.md").write_text(DOCUMENT)
    with pytest.raises(InputError, match="The parameter 'name' holds "):
        prepare(RunRequest(str(tmp_path), parameters={"name": value}, options=RunOptions(sandbox="host")))


@pytest.mark.parametrize("value", ["/tmp/out", "out", "/app/results/../work", "/app/results2", "", None, "~/results"])
def test_results_directory_that_is_not_collected_is_refused(prepared: Prepare, value: Any) -> None:
    with pytest.raises(InputError, match="must be /app/results or a folder in it: only what is there") as refused:
        prepared(results_dir=value)
    assert "--out DIR" in str(refused.value)


@pytest.mark.parametrize("value", ["/app/results", "./results/", "results", "/app/work/../results"])
def test_results_directory_has_one_spelling(prepared: Prepare, value: str) -> None:
    assert prepared(results_dir=value).spec.parameters["results_dir"] == "/app/results"
    assert prepared(results_dir=f"{value}/a").spec.parameters["results_dir"] == "/app/results/a"


@pytest.mark.parametrize("option", ["fixture", "parameter_file"])
def test_results_directory_of_a_file_is_refused_with_the_files_name(tmp_path: Path, option: str) -> None:
    (tmp_path / "RUNBOOK.md").write_text(DOCUMENT)
    file = tmp_path / "input.json"
    file.write_text(
        '{"params": {"vars": {"results_dir": "/tmp/out"}}}' if option == "fixture" else '{"results_dir": "/tmp/out"}'
    )
    request = RunRequest(str(tmp_path), options=RunOptions(sandbox="host"))
    with pytest.raises(InputError, match=f"{file}: The parameter 'results_dir' must be"):
        prepare(replace(request, **{option: file}))


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "groq_api_key", "RUNBOOK_HOME"])
def test_nobody_is_asked_for_a_providers_key_as_a_parameter(prepared: Prepare, name: str) -> None:
    file = Path("RUNBOOK.md")
    file.write_text(DOCUMENT.replace("{{name}}", f"{{{{{name}}}}}"))
    with pytest.raises(InputError, match="1 required parameter has no value"):
        prepared()
    assert prepared(**{name: "typed"}).spec.parameters == {name: "typed"}


def test_a_fixtures_file_has_the_name_that_the_fixture_gives_it(tmp_path: Path) -> None:
    (tmp_path / "RUNBOOK.md").write_text(
        DOCUMENT.replace("*(required)*", "`Ada`").replace("secrets:\n  TOKEN: {}\n", "")
    )
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "b.txt").write_text("y")
    (tmp_path / "input.json").write_text(
        '{"files": [{"path": "a.txt", "filename": "renamed.csv"}, {"path": "link.txt"}]}'
    )
    request = RunRequest(
        str(tmp_path / "RUNBOOK.md"),
        fixture=tmp_path / "input.json",
        files=(tmp_path / "b.txt",),
        options=RunOptions(sandbox="host"),
    )
    assert [item.name for item in prepare(request).spec.inputs] == ["renamed.csv", "link.txt", "b.txt"]


def test_a_secret_that_is_too_long_for_a_variable_is_named(prepared: Prepare) -> None:
    with pytest.raises(InputError, match=r"The secret TOKEN has 131,072 bytes; a variable can have 131,071\."):
        prepared(token="t" * (131_072 - len("TOKEN=")))


@pytest.mark.parametrize(
    "image",
    [
        "BAD IMAGE",
        "Debian:12",
        "debian:",
        "-d",
        "debian@sha256:12",
        "a//b",
        "../etc",
        "https://ghcr.io/acme/tools",
        "docker-archive:2048/game",
        "oci:5000/a/b:1",
        "ü",
    ],
)
def test_what_no_image_can_be_called_is_refused_before_the_run(prepared: Prepare, tmp_path: Path, image: str) -> None:
    with pytest.raises(InputError, match="is not the name of an image"):
        prepare(RunRequest("RUNBOOK.md", parameters={"name": "x"}, image=image, options=RunOptions(sandbox="docker")))
    (tmp_path / "RUNBOOK.md").write_text(DOCUMENT.replace("agent: shell", f"agent: shell\nimage: '{image}'"))
    with pytest.raises(InputError) as refused:
        prepared()
    assert refused.value.where == "RUNBOOK.md:5"


@pytest.mark.parametrize(
    "image",
    [
        "debian:12", "ghcr.io/acme/tools_x:1.4", "localhost:5000/a/b__c-d", "[::1]:5000/a", "Registry.example/x",
        f"sha256:{'0' * 64}", f"debian:12@sha256:{'0' * 64}", "runbook-runner/base:python312", "f96ea1bd1a3c",
    ],
)  # fmt: skip
def test_an_image_may_be_called_all_that_engines_take(image: str) -> None:
    assert check_image(image) == image
