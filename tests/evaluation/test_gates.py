"""Gates: which of them a run holds, and what is said of the others."""

from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.evaluation.gates import Facts, parse_gate, reached


def facts(**changed: Any) -> Facts:
    metrics = {"score": 3.5, "cost": 1.5, "seconds": 10.0, "tokens": 1000, "calls": 7}
    values = {"verdict": "pass", "reasons": (), "missing": (), "error": None, "metrics": metrics}
    return Facts(**{**values, **changed})


@pytest.mark.parametrize(("gate", "changed", "why"), [
    ("verdict", {}, ""),
    ("verdict", {"verdict": "fail", "reasons": ("a is missing.", "b: failed")}, "a is missing.; b: failed"),
    ("verdict", {"verdict": None, "error": "No key."}, "No key."),
    ("outputs", {"verdict": "fail"}, ""),
    ("outputs", {"missing": ("a", "b")}, "not there: a, b"),
    ("no-error", {"verdict": "fail"}, ""),
    ("no-error", {"error": "No key."}, "No key."),
    ("score>=3.5", {}, ""),
    ("score>3.5", {}, "it is 3.5"),
    ("score >= 4", {}, "it is 3.5"),
    ("cost<=1.5", {}, ""),
    ("cost<1.5", {}, "it is 1.5"),
    ("cost<=1.5", {"metrics": {"cost": None}}, "US dollars of the model calls: not known"),
    ("seconds<20", {}, ""),
    ("tokens<=999", {}, "it is 1000"),
    ("CALLS==7", {}, ""),
])  # fmt: skip
def test_each_gate(gate: str, changed: dict[str, Any], why: str) -> None:
    (found,) = reached([parse_gate(gate)], facts(**changed))
    assert (found.holds, found.why) == (not why, why)


@pytest.mark.parametrize(("gate", "said"), [
    ("verdit", "Did you mean 'verdict'?"),
    ("", "Known: verdict, outputs"),
    ("score", "Write it like score>=4."),
    ("verdict>=1", "Write it like verdict."),
    ("cost<=much", "has no number"),
    ("cost<=nan", "has no number"),
    ("cost<=inf", "has no number"),
    ("cost=1", "Did you mean 'cost==1'?"),
    ("score=>4", "Did you mean 'score>=4'?"),
    ("Cost =< 1.5", "Did you mean 'cost<=1.5'?"),
    ("much=>4", "score>=N, cost<=N, seconds<=N"),
])  # fmt: skip
def test_what_is_no_gate_says_what_one_is(gate: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_gate(gate)
    assert said in f"{raised.value} {raised.value.hint}"
