"""How often what a sandbox uses is measured."""

import threading
import time

from runbook_runner.sandbox import usage_watch
from runbook_runner.sandbox.base import LimitHit
from runbook_runner.sandbox.usage_watch import UsageWatch

HIT = LimitHit("memory", "It was too much.")


def test_slow_measuring_gives_what_runs_no_time(monkeypatch):
    monkeypatch.setattr(usage_watch, "_SHARE", 10**9)  # as slow as if one look took longer than any run
    looks = iter([None, HIT])

    def measure():
        used, began = next(looks), time.monotonic()
        while time.monotonic() == began:
            pass
        return used

    ended = threading.Event()
    watch = UsageWatch(measure, end=ended.set)
    watch.start()
    assert ended.wait(60)
    ended.clear()
    assert ended.wait(60), "what was started meanwhile is ended, too"
    watch.stop()
    assert watch.hits() == (HIT,)
