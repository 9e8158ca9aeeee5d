"""Patterns: those of files can't take for ever, and neither can our own, whatever text they meet."""

import importlib.util
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_runner.core.patterns import check_pattern, finds, fits

ATTACK = Path(__file__).parents[1] / "fuzz" / "patterns.py"


def test_a_pattern_that_backtracks_for_ever_elsewhere() -> None:
    assert not finds(r"(a+)+$", "a" * 1_000_000 + "!")
    assert not fits(r"(a|a)*b", "a" * 1_000_000)


@pytest.mark.parametrize("pattern", ["(", "(?=x)", r"(a)\1", "a{1000}{1000}", "(x{1,500}y){500}", "x" * 5000])
def test_what_it_does_not_take_is_said(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^This (is not a )?regular expression"):
        check_pattern(pattern)


def test_text_of_any_kind_is_searched() -> None:
    assert finds("(?m)^É?x$", "\ud83d\nx\n", ignore_case=True)
    assert fits("gpt-.*", "gpt-5")
    assert not fits("gpt-.*", "my gpt-5")


def test_no_pattern_of_the_package_takes_quadratic_time() -> None:
    """In a process of its own, with a limit of CPU time: it reports the patterns whose work grows faster than the
    text, made of repeats of their own parts."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (240, 240))  # noqa: E731
    done = subprocess.run([sys.executable, ATTACK], capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


def test_the_attack_finds_what_is_quadratic() -> None:
    spec = importlib.util.spec_from_file_location("patterns", ATTACK)
    assert spec
    assert spec.loader
    attack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(attack)
    import re

    assert attack.worst(re.compile(r"\s+$"), "search")
    assert attack.worst(re.compile(r"(a+)+b"), "search")
    assert attack.worst(re.compile(r"(?<!\s)\s++$"), "search") is None
