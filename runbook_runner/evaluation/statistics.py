"""Evaluation: what a number of runs says: the interval of a pass rate, whether two rates differ, and when enough runs
are known."""

import math
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

CONFIDENCE: Final = 0.95
ERROR: Final = 0.05
"""How often a sequential test may be wrong, on each side of its gate."""
NEAREST: Final = 0.001
"""The least distance of a gate from 0 and 1, and the least margin: nearer ones would take thousands of runs."""
_SAME: Final = 1e-7
"""Logarithms that differ by less are equal, but for rounding."""


class Interval(NamedTuple):
    low: float
    high: float


def wilson(passed: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a rate; of no runs it is everything."""
    if total == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, share = passed / total, z * z / total
    middle = (rate + share / 2) / (1 + share)
    reach = z / (1 + share) * math.sqrt(rate * (1 - rate) / total + share / (4 * total))
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def p_of_difference(passed: int, total: int, other_passed: int, other_total: int) -> float:
    """Fisher's exact test, two-sided: how likely two equal rates differ at least so much. Of logarithms: the numbers of
    ways have as many digits as there are runs."""
    both = passed + other_passed
    ways = [
        _log_ways(total, first) + _log_ways(other_total, both - first)
        for first in range(max(0, both - other_total), min(total, both) + 1)
    ]
    seen, all_ways = (
        _log_ways(total, passed) + _log_ways(other_total, other_passed),
        _log_ways(total + other_total, both),
    )
    return min(1.0, math.fsum(math.exp(way - all_ways) for way in ways if way <= seen + _SAME))


def _log_ways(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


class SequentialTest(NamedTuple):
    """Wald's test of a rate against a gate: whether it is at most `gate - margin` or at least `gate + margin`. A rate
    that is so far from the gate is put on the wrong side of it with a probability of at most `error`, at whichever
    number of runs one looks; nearer to it, either answer is right."""

    gate: float
    margin: float
    error: float = ERROR

    @classmethod
    def of(cls, gate: float, margin: float) -> "SequentialTest":
        """With a margin that leaves room on both sides of the gate."""
        return cls(gate, min(margin, gate / 2, (1 - gate) / 2))

    def side(self, passed: int, total: int) -> Literal["above", "below"] | None:
        """`None`: more runs are needed."""
        low, high = self.gate - self.margin, self.gate + self.margin
        weight = passed * math.log(high / low) + (total - passed) * math.log((1 - high) / (1 - low))
        if weight >= -math.log(self.error):
            return "above"
        return "below" if weight <= math.log(self.error) else None
