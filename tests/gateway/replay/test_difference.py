"""How the differences of two requests are found."""

from datetime import date

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.difference import MAX_SHOWN, compare
from runbook_runner.gateway.replay.volatile import normaliser

NORMALISE = normaliser([date(2026, 11, 29)])


def request(*texts: str) -> tuple[str, Json]:
    return "m", {"messages": [{"role": "user", "content": text} for text in texts]}


def test_what_was_left_out_is_aligned() -> None:
    (found,) = compare(request("a", "b", "c", "d"), request("a", "c", "d"), NORMALISE).differences
    assert (found.path, found.after) == ("messages[1]", "")


def test_any_number_of_messages_and_lines_is_compared_without_cubic_time() -> None:
    one, two = ([str(n * factor % k) for n in range(5_000)] for factor, k in ((1, 3), (7, 5)))
    assert len(compare(request(*one), request(*two, "more"), NORMALISE).differences) == MAX_SHOWN
    texts = ["\n".join(part) for part in (one[:900], two[:900])]
    assert compare(request(*[texts[0]] * 50), request(*[texts[1]] * 50), NORMALISE).severity == "major"
