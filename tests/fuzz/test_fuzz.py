"""A few seconds of coverage-guided fuzzing; for hours of it see `fuzz_document.py`."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("fuzz_document.py")
CORPUS = Path(__file__).parents[1] / "runbook" / "corpus"
SECONDS = os.environ.get("RUNBOOK_FUZZ_SECONDS", "5")


@pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not installed (extra: test; Linux, CPython ≤ 3.13)"
)
def test_fuzzing_finds_nothing_but_our_own_errors(tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for file in CORPUS.glob("*.md"):
        (seeds / file.name).write_bytes(file.read_bytes())
    found = tmp_path / "found"
    found.mkdir()
    done = subprocess.run(
        # an input that takes longer than a minute counts as a find
        [sys.executable, TARGET, f"-max_total_time={SECONDS}", "-timeout=60", "-max_len=20000", found, seeds],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    ran = re.search(r"stat::number_of_executed_units: (\d+)|Done (\d+) runs", done.stderr)
    assert ran
    assert int(ran[1] or ran[2]) > 50
