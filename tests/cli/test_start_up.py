"""Quick commands import nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

import runbook_runner

HEAVY = ("pydantic", "rich", "shtab", "docker", "yaml", "litellm", "httpx", "starlette", "uvicorn", "jinja2", "asyncio")
_LIST = """
import sys
from runbook_runner.cli.__main__ import run
sys.argv = {argv}
run()
print(*sys.modules)
"""


def modules_of(*argv: str) -> list[str]:
    code = _LIST.format(argv=["runbook", *argv])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_version_is_printed_without_importing_anything_heavy() -> None:
    words = modules_of("--version")
    assert words[:2] == ["runbook", runbook_runner.__version__]
    assert [name for name in HEAVY if name in words] == []


def test_help_imports_only_what_prints_it() -> None:
    words = modules_of("--help")
    assert "rich" in words
    assert [name for name in HEAVY if name in words and name not in ("rich", "asyncio")] == []


@pytest.mark.parametrize("line", ["run nonesuch --quiet", "run --nonesuch", "chekc"])
def test_a_command_line_is_read_without_what_prints_help(line: str) -> None:
    words = modules_of(*line.split())
    assert "runbook_runner.cli.app" in words
    assert [name for name in ("rich", "rich_argparse", "shtab", "docker") if name in words] == []


def test_importing_the_package_is_free() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import runbook_runner, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [name for name in HEAVY if name in done.stdout.split()] == []


def test_check_of_a_file_makes_no_dataclass() -> None:
    """The module alone takes a tenth of what the command may take."""
    words = modules_of("check", str(Path(__file__).parents[2] / "examples" / "hello"))
    assert "runbook_runner.runbook.document" in words
    assert [name for name in ("dataclasses", "pydantic", "rich", "asyncio") if name in words] == []


@pytest.mark.parametrize("kind", ["runs", "tasks", "agents", "models", "snapshots", "labels"])
def test_a_value_is_completed_without_anything_heavy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    words = modules_of("complete", kind, "")
    assert "runbook_runner.cli.machine.complete" in words
    assert [name for name in HEAVY if name in words] == []
