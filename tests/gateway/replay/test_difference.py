"""How the differences of two requests are found."""

import time
from datetime import date, timedelta

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.difference import MAX_SHOWN, compare
from runbook_runner.gateway.replay.volatile import normaliser

NORMALISE = normaliser([date(2026, 11, 29)])


def request(*texts: str) -> tuple[str, Json]:
    return "m", {"messages": [{"role": "user", "content": text} for text in texts]}


def test_what_was_left_out_is_aligned() -> None:
    (found,) = compare(request("a", "b", "c", "d"), request("a", "c", "d"), NORMALISE).differences
    assert (found.path, found.after) == ("messages[1]", "")


def test_any_number_of_days_is_found_in_one_pass() -> None:
    normalise = normaliser(date(2000, 1, 1) + timedelta(3 * n) for n in range(1_000))
    started = time.process_time()
    assert (
        normalise("2000-01-02T10:00Z, Sunday, January 2, 2000" + " 2000 1 January 3 Sun" * 50_000)[:17]
        == "<today>, <today> "
    )
    assert normalise("Monday, January 2, 2000, 1/3/2000 or 12/24/1999") == "Monday, <today>, <today> or 12/24/1999"
    assert time.process_time() - started < 10


def test_any_number_of_messages_and_lines_is_compared_without_cubic_time() -> None:
    one, two = ([str(n * factor % k) for n in range(5_000)] for factor, k in ((1, 3), (7, 5)))
    assert len(compare(request(*one), request(*two, "more"), NORMALISE).differences) == MAX_SHOWN
    texts = ["\n".join(part) for part in (one[:900], two[:900])]
    assert compare(request(*[texts[0]] * 50), request(*[texts[1]] * 50), NORMALISE).severity == "major"
