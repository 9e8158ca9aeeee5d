"""`tests/rerun.sh`: a test that failed by chance passes with a loud line, a test that fails twice fails CI. And:
tests of a group stay together, or their fixtures are made once for each worker."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("rerun.sh")
PROJECT = tomllib.loads((SCRIPT.parents[1] / "pyproject.toml").read_text())
OPTIONS = PROJECT["tool"]["pytest"]["ini_options"]["addopts"]
GOOD = "def test_good(): pass\n"
FLAKY = """
import pathlib, pytest
@pytest.mark.xdist_group("some-group")
@pytest.mark.parametrize("name", ["a@b", "c d"])
def test_flaky(name):
    mark = pathlib.Path(__file__).with_name(name)
    seen = mark.exists()
    mark.touch()
    assert seen
"""
FAILING = "def test_failing(): assert False\n"


@pytest.fixture
def run(tmp_path):
    """Runs the script on one module of tests, with the options of this project's; returns exit code and output."""

    def run(text, command="pytest -n 2"):
        (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {OPTIONS}\n")
        (tmp_path / "test_it.py").write_text(text)
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}  # others only cost time
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run([SCRIPT, command], cwd=tmp_path, env=env, **streams, timeout=120)
        return done.returncode, done.stdout

    return run


def test_tests_that_pass_run_once(run):
    code, out = run(GOOD)
    assert code == 0
    assert "flaky" not in out
    assert "once more" not in out


def test_test_that_passes_alone_is_named_and_passes(run):
    code, out = run(GOOD + FLAKY, "true && pytest -n 2")
    assert code == 0, out
    assert "2 failed, 1 passed" in out
    assert "2 passed in" in out
    assert out.endswith("flaky: test_it.py::test_flaky[a@b]\nflaky: test_it.py::test_flaky[c d]\n")


def test_test_that_fails_twice_fails(run):
    code, out = run(GOOD + FLAKY + FAILING)
    assert code == 1
    assert "1 failed, 2 passed in" in out, "the closing line is that of the second run"
    assert "flaky: " not in out


def test_many_failures_are_not_chance(run):
    code, out = run(FLAKY.replace('["a@b", "c d"]', "map(str, range(11))"))
    assert (code, "once more" in out) == (1, False)


@pytest.mark.parametrize(
    ("text", "command", "expected"),
    [
        ("import os\ndef test_crash(): os._exit(3)\n", "pytest -n 0", 3),
        ("import os\ndef test_crash(): os.kill(os.getpid(), 9)\n" + FLAKY, "pytest -n 2", 1),
        ("import nonesuch\n", "pytest -n 0", 2),
        (GOOD, "pytest -n 0 --no-such-option", 4),
        (GOOD, "false && pytest -n 0", 1),
        ("", "pytest -n 0", 5),
    ],
    ids=["process", "worker", "collection", "usage", "command", "no tests"],
)
def test_all_but_failed_tests_fails_at_once(run, text, command, expected):
    code, out = run(text, command)
    assert code == expected, out
    assert "once more" not in out


def test_tests_of_a_group_run_in_one_worker(run):
    group = '@pytest.mark.xdist_group("{0}")\n@pytest.mark.parametrize("n", range(5))\ndef test_{0}(n): pass\n'
    code, out = run("import pytest\n" + group.format("a") + group.format("b"), "pytest -n 2 -v")
    ran = re.findall(r"\[(gw\d)\].* PASSED .*::test_(\w)\[", out)
    assert (code, len(ran)) == (0, 10), out
    assert len(set(ran)) == 2, out
