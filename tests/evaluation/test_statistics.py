"""What a number of runs says of a rate, held against published figures and simulations."""

import random
import time
from fractions import Fraction
from itertools import count
from math import comb

import pytest

from runbook_runner.evaluation.statistics import ERROR, NEAREST, SequentialTest, p_of_difference, wilson


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


def test_p_of_difference_is_exact_also_of_many_runs() -> None:
    random_ = random.Random(3)
    for most in (10, 300, 1000) * 10:
        total, other = random_.randint(1, most), random_.randint(1, most)
        table = (random_.randint(0, total), total, random_.randint(0, other), other)
        assert p_of_difference(*table) == pytest.approx(exact_p(*table), rel=1e-6)


def exact_p(passed: int, total: int, other_passed: int, other: int) -> Fraction:
    both = passed + other_passed
    ways = [comb(total, first) * comb(other, both - first) for first in range(both + 1)]
    return Fraction(sum(way for way in ways if way <= ways[passed]), sum(ways))


def test_p_of_difference_takes_no_time_for_a_million_runs() -> None:
    assert p_of_difference(1000, 1000, 500_000, 1_000_000) < 1e-200
    began = time.process_time()
    assert p_of_difference(500, 1000, 500_000, 1_000_000) == pytest.approx(1, rel=1e-3)
    assert time.process_time() - began < 1


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


@pytest.mark.parametrize("gate", [NEAREST, 0.01, 0.5, 0.99, 1 - NEAREST])
def test_a_gate_near_the_end_has_a_smaller_margin(gate: float) -> None:
    test = SequentialTest.of(gate, 0.2)
    assert 0 < gate - test.margin < gate + test.margin < 1
    assert next(total for total in count(1) if test.side(total, total)) > 0
