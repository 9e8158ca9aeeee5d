"""When a sandbox is measured: as soon as it may be over its limit, and not before."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runbook_runner.sandbox.disk_use import DiskUse, RestlessError

LIMIT = 100


class Disk:
    """What all have on a disk, what the sandbox has of that, and how often that was measured."""

    def __init__(self) -> None:
        self.taken: int | None = 1000
        self.used = 0
        self.measured = 0
        self.restless = False
        self.is_still = False
        self.use = DiskUse(LIMIT, lambda: self.taken, self.still, self.measure)
        self.use.begin()

    @contextmanager
    def still(self) -> Iterator[None]:
        if self.restless:
            raise RestlessError("It runs on.")
        self.is_still = True
        yield
        self.is_still = False

    def measure(self) -> int:
        assert self.is_still
        self.measured += 1
        return self.used

    def grows(self, own: int, others: int = 0) -> int:
        assert self.taken is not None
        self.used += own
        self.taken += own + others
        return self.use()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("runbook_runner.sandbox.disk_use._SHARE", 0)
    return disk


def test_nothing_is_measured_while_the_limit_can_not_be_reached(disk: Disk) -> None:
    assert [disk.grows(33) for _ in range(3)] == [0, 0, 0]
    assert disk.measured == 0
    assert disk.grows(1) == 100
    assert disk.grows(1) == 101
    assert disk.measured == 2


def test_what_others_write_is_found_to_be_theirs(disk: Disk) -> None:
    assert disk.grows(0, others=500) == 0
    assert disk.grows(60) == 0
    assert disk.measured == 1
    assert disk.grows(41) == 101


def test_what_others_remove_hides_nothing(disk: Disk) -> None:
    assert disk.grows(0, others=-800) == 0
    assert disk.grows(101) == 101


def test_what_the_sandbox_has_removed_is_free_again(disk: Disk) -> None:
    assert disk.grows(90) == 0
    assert disk.grows(10) == 100
    assert disk.grows(-90) == 10
    assert disk.grows(20) == 10
    assert disk.measured == 2


def test_measuring_that_takes_long_is_not_done_again_at_once_but_for_twice_the_limit(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook_runner.sandbox.disk_use._SHARE", 10**9)
    assert disk.grows(50, others=50) == 50
    assert disk.grows(50) == 50
    assert disk.measured == 1
    assert disk.grows(100) == 200


def test_a_disk_that_can_not_be_seen_is_measured_again_and_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.taken, disk.used = None, 101
    assert disk.use() == 0, "seconds are between"
    monkeypatch.setattr("runbook_runner.sandbox.disk_use._UNSEEN_S", 0.0)
    assert disk.use() == 101


def test_what_others_hid_is_found_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.grows(101, others=-101) == 0
    assert disk.grows(0) == 0
    monkeypatch.setattr("runbook_runner.sandbox.disk_use._ANYWAY_S", 0.0)
    assert disk.use() == 101


def test_what_never_stands_still_is_over_the_limit_at_the_third_time(disk: Disk) -> None:
    disk.restless = True
    assert [disk.grows(100), disk.grows(0)] == [0, 0]
    disk.restless = False
    assert disk.grows(0) == 100
    disk.restless = True
    assert [disk.grows(1) for _ in range(3)] == [100, 100, 101]
    assert disk.measured == 1
