"""When a sandbox is measured: as soon as it may be over its limit, and not before."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox import disk_use
from runbook_runner.sandbox.disk_use import DiskUse

LIMIT = 100


class Disk:
    """What all have on a disk, what the sandbox has of that, and how often that was measured."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.taken: int | None = 1000
        self.used = 0
        self.measured = 0
        self.restless = False
        self.is_still = False
        self.tried = 0
        self.seen_beside = 0
        self.use = DiskUse(limit, lambda: self.taken, self.still, self.measure, lambda: self.seen_beside)
        self.use.begin()

    @contextmanager
    def still(self) -> Iterator[None]:
        self.tried += 1
        if self.restless:
            raise SandboxError("It runs on.")
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
        return self.now()

    def now(self) -> int:
        """What is said is the limit, where that is exceeded."""
        hit = self.use()
        assert (hit is not None) == (self.use.used > LIMIT)
        return self.use.used

    def says(self, own: int = 0, others: int = 0) -> str:
        assert self.taken is not None
        self.used += own
        self.taken += own + others
        hit = self.use()
        return hit.message if hit else ""


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_use, "_SHARE", 0)


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
    monkeypatch.setattr(disk_use, "_SHARE", 10**9)
    assert disk.grows(50, others=50) == 50
    assert disk.grows(50) == 50
    assert disk.measured == 1
    assert disk.grows(100) == 200


def test_a_disk_that_can_not_be_seen_is_measured_again_and_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.taken, disk.used = None, 101
    assert disk.now() == 0, "seconds are between"
    monkeypatch.setattr(disk_use, "_UNSEEN_S", 0.0)
    assert disk.now() == 101


def test_what_others_hid_is_found_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.grows(101, others=-101) == 0
    assert disk.grows(0) == 0
    monkeypatch.setattr(disk_use, "_ANYWAY_S", 0.0)
    assert disk.now() == 101


MB = 1 << 20


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Of 100 MB, which may become 150 while it can't be measured."""
    monkeypatch.setattr(disk_use, "_UNMEASURED", (50 * MB, 50 * MB))
    disk = Disk(100 * MB)
    disk.restless = True
    return disk


def test_what_can_not_be_measured_goes_on_while_the_disk_has_not_lost_much(restless: Disk) -> None:
    assert [restless.says(100 * MB), *(restless.says(4 * MB) for _ in range(10))] == [""] * 11
    restless.restless = False
    assert restless.says() == "It wrote more than 100 MB to disk."


def test_what_can_not_be_measured_is_ended_when_the_disk_has_lost_much_more_than_the_limit(restless: Disk) -> None:
    assert [restless.says(100 * MB), restless.says(50 * MB)] == ["", ""]
    assert restless.says(1 * MB) == "The disk lost 151 MB while what it wrote could not be measured."


def test_what_others_write_ends_nothing_when_it_is_measured_at_the_second_time(restless: Disk) -> None:
    assert restless.says(others=1000 * MB) == ""
    restless.restless = False
    assert restless.says() == ""
    restless.restless = True
    assert [restless.says(others=100 * MB), restless.says(others=10 * MB)] == ["", ""]


def test_what_is_seen_beside_what_runs_counts_when_it_is_more_than_the_limit(restless: Disk) -> None:
    restless.seen_beside = 100 * MB
    assert restless.says(100 * MB) == ""
    restless.seen_beside += 1
    assert restless.says() == "It wrote more than 100 MB to disk."


def test_a_disk_that_can_not_be_seen_and_is_not_measured_three_times_ends_what_runs(
    restless: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_use, "_UNSEEN_S", 0.0)
    restless.taken = None
    said = [hit.message if (hit := restless.use()) else "" for _ in range(3)]
    assert said == ["", "", "What it wrote to disk could not be measured 3 times in a row."]


def test_the_more_often_it_fails_the_longer_is_the_rest(restless: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [restless.says(100 * MB), restless.says()] == ["", ""]
    tries = restless.tried
    monkeypatch.setattr(disk_use, "_SHARE", 10**9)
    assert [restless.says() for _ in range(5)] == [""] * 5
    assert restless.tried == tries
