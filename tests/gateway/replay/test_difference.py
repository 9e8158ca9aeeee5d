"""How the differences of two requests are found."""

import time
from datetime import date, timedelta

import pytest

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
        normalise.text("2000-01-02T10:00Z, Sunday, January 2, 2000" + " 2000 1 January 3 Sun" * 50_000)[:17]
        == "<today>, <today> "
    )
    assert normalise.text("Monday, January 2, 2000, 1/3/2000 or 12/24/1999") == "Monday, <today>, <today> or 12/24/1999"
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("host", "is_volatile"), [
    ("127.0.0.1", True), ("localhost", True), ("host.docker.internal", True), ("[::1]", True), ("10.1.2.3", True),
    ("169.254.1.2", True), ("172.16.0.1", True), ("172.31.255.254", True), ("192.168.65.2", True),
    ("172.15.0.1", False), ("172.32.0.1", False), ("172.217.1.1", False), ("192.0.2.1", False), ("100.1.2.3", False),
    ("169.253.1.1", False), ("example.com", False),
])  # fmt: skip
def test_only_an_address_of_this_machine_or_its_neighbours_is_volatile(host: str, is_volatile: bool) -> None:
    text = f"See http://{host}:8080/x."
    assert NORMALISE.text(text) == ("See http://<address>/x." if is_volatile else text)


def test_any_number_of_messages_and_lines_is_compared_without_cubic_time() -> None:
    one, two = ([str(n * factor % k) for n in range(5_000)] for factor, k in ((1, 3), (7, 5)))
    assert len(compare(request(*one), request(*two, "more"), NORMALISE).differences) == MAX_SHOWN
    texts = ["\n".join(part) for part in (one[:900], two[:900])]
    assert compare(request(*[texts[0]] * 50), request(*[texts[1]] * 50), NORMALISE).severity == "major"
