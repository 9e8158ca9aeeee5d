"""What a number of runs says of a rate, held against published figures and simulations."""

import random
from itertools import count

import pytest

from runbook_runner.evaluation.statistics import ERROR, SequentialTest, p_of_difference, wilson


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
    ids=["no run", "none", "all", "Newcombe 1998, a", "Newcombe 1998, b"],
)
def test_wilson(passed: int, total: int, low: float, high: float) -> None:
    assert wilson(passed, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("table", "p"),
    [((3, 4, 1, 4), 0.4857), ((1, 12, 9, 12), 0.00276), ((5, 5, 5, 5), 1.0), ((0, 0, 3, 4), 1.0)],
    ids=["Fisher's tea", "studying", "the same", "nothing to compare"],
)
def test_p_of_difference(table: tuple[int, int, int, int], p: float) -> None:
    assert p_of_difference(*table) == pytest.approx(p, rel=1e-3)


GATE, MARGIN, SIMULATIONS = 0.9, 0.05, 2000


def runs_until_known(test: SequentialTest, rate: float, random_: random.Random) -> tuple[str, int]:
    passed = 0
    for total in count(1):
        passed += random_.random() < rate
        if side := test.side(passed, total):
            return side, total
    raise AssertionError


def fixed_number() -> int:
    """How many runs a test needs that always makes the same number, for the same errors: the smallest with a threshold
    that rates of gate ± margin are both on the right side of."""
    from math import comb

    def tail(total: int, least: int, rate: float) -> float:
        return sum(comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in range(least, total + 1))

    for total in count(1):
        for least in range(total + 1):
            if tail(total, least, GATE - MARGIN) <= ERROR and 1 - tail(total, least, GATE + MARGIN) <= ERROR:
                return total
    raise AssertionError


@pytest.mark.parametrize(("rate", "right"), [(0.5, "below"), (0.85, "below"), (0.95, "above")])
def test_a_sequential_test_errs_no_more_often_than_it_says_and_needs_fewer_runs(rate: float, right: str) -> None:
    test, random_ = SequentialTest.of(GATE, MARGIN), random.Random(11)
    ended = [runs_until_known(test, rate, random_) for _ in range(SIMULATIONS)]
    wrong = sum(side != right for side, _ in ended) / SIMULATIONS
    runs = sum(total for _, total in ended) / SIMULATIONS
    assert wrong <= ERROR
    assert runs < fixed_number()


def test_easy_verdicts_cost_few_runs() -> None:
    test = SequentialTest.of(0.9, 0.05)
    assert next(total for total in count(1) if test.side(0, total)) == 3
    assert next(total for total in count(1) if test.side(total, total)) == 27


@pytest.mark.parametrize("gate", [0.01, 0.5, 0.99])
def test_a_gate_near_the_end_has_a_smaller_margin(gate: float) -> None:
    test = SequentialTest.of(gate, 0.2)
    assert 0 < gate - test.margin < gate + test.margin < 1
    assert next(total for total in count(1) if test.side(total, total)) > 0
