"""Containers kept ready: each is used once, their number and age are bounded, none outlives its owner."""

import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from runbook_runner.core.ids import new_claim_name, new_trajectory_id
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import FOLDERS, PutFile, SandboxSpec, Wanted
from runbook_runner.sandbox.docker.backend import DockerBackend
from runbook_runner.sandbox.docker.pool import Pool

pytestmark = pytest.mark.needs("docker")


@dataclass(frozen=True)
class Owner:
    engine: object
    claim: str

    @property
    def labels(self):
        return {"runbook.claim": self.claim}

    def containers(self):
        return {item.sandbox_id for item in DockerBackend(self.engine).leftovers() if self.claim in item.claims}


@pytest.fixture
def owner(engine):
    return Owner(engine, new_claim_name(new_trajectory_id()))


@pytest.fixture
def spec(image):
    return SandboxSpec(run_id="pooled", image=image, memory_bytes=1 << 30, lifetime_s=120)


@pytest.fixture
def make_pool(engine, owner):
    pools = []

    def make(**asked):
        pools.append(Pool(engine, owner.labels, **asked))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    assert owner.containers() == set()


def test_a_ready_container_is_a_sandbox_like_any_other(make_pool, spec, shell, is_gone, tmp_path):
    pool = make_pool(size=1)
    pool.refill(spec)
    pool.settle()
    with pool.take(spec) as sandbox:
        for folder in FOLDERS[1:]:
            assert shell(sandbox, f"ls -ld {folder}").stdout.startswith(b"drwxrwxrwx"), folder
        sandbox.put([PutFile("/app/assets/given.txt", b"given\n")])
        ran = shell(sandbox, "cat /app/assets/given.txt; cp /app/assets/given.txt /app/results/; exit 3", cwd="/app")
        assert (ran.stdout, ran.exit.code) == (b"given\n", 3)
        received = sandbox.get("/app/results", tmp_path, Wanted(max_bytes=99, max_files=9))
        assert [file.path for file in received.files] == ["given.txt"]
        endless = shell.start(sandbox, "setsid sleep 1000 & sleep 1000", deadline_s=1)
        assert endless.wait().ended_by == "deadline"
    assert is_gone(sandbox)


def test_each_is_used_once_and_another_takes_its_place(make_pool, spec, owner):
    pool = make_pool(size=1)
    pool.refill(spec)
    pool.settle()
    (ready,) = owner.containers()
    with pool.take(spec) as first:
        assert first.sandbox_id == ready
        pool.settle()
        (next_one,) = owner.containers() - {ready}
        with pool.take(spec) as second:
            assert second.sandbox_id == next_one


def test_what_differs_from_a_ready_container_is_made_anew(make_pool, spec, owner):
    pool = make_pool(size=1)
    pool.refill(spec)
    pool.settle()
    ready = owner.containers()
    for other in (replace(spec, memory_bytes=1 << 29), replace(spec, network=Network(policy="model-only"))):
        with pool.take(other) as sandbox:
            assert sandbox.sandbox_id not in ready


def test_a_container_that_ended_in_the_pool_is_not_missed(make_pool, spec, owner, engine, shell):
    pool = make_pool(size=1)
    pool.refill(spec)
    pool.settle()
    (ready,) = owner.containers()
    engine.api.remove_container(ready, force=True)
    with pool.take(spec) as sandbox:
        assert sandbox.sandbox_id != ready
        assert shell(sandbox, "echo works").stdout == b"works\n"


def test_there_are_never_more_than_asked_for_and_none_is_too_old(make_pool, spec, owner):
    pool = make_pool(size=2, max_age_s=20)
    for _ in range(3):
        pool.refill(spec)
    pool.settle()
    assert len(owner.containers()) == 2
    old = make_pool(size=1, max_age_s=0.01)
    old.refill(spec)
    old.settle()
    with old.take(spec) as sandbox:
        assert sandbox.sandbox_id not in owner.containers()


_OWNER = """
import sys, time
from pathlib import Path
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.docker.pool import Pool

data, image, name = sys.argv[1:]
with Claim(Path(data), name, Entry("docker")) as claim:
    pool = Pool(connect(), claim.labels(), size=2)
    spec = SandboxSpec(run_id=claim.name, image=image, lifetime_s=600)
    pool.refill(spec)
    pool.refill(spec)
    pool.settle()
    print("ready", flush=True)
    time.sleep(600)
"""


def test_the_next_start_removes_the_pool_of_an_owner_that_was_killed(engine, image, tmp_path):
    from runbook_runner.runner.recovery.recover import recover_dead

    name, engines = new_trajectory_id(), {"docker": DockerBackend(engine)}

    def left():
        return engine.api.containers(all=True, filters={"label": f"runbook.trajectory={name}"})

    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path / "data"), image, name], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "ready\n"
        recover_dead(tmp_path / "data", engines)
        assert len(left()) == 2, "its owner lives"
        owner.kill()
    recover_dead(tmp_path / "another-user", engines)
    assert len(left()) == 2, "its claim is in another data folder"
    recover_dead(tmp_path / "data", engines)
    assert left() == []


_TAKER = """
import sys, time
from pathlib import Path
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.docker.pool import Pool

data, image, pool_id, run_id = sys.argv[1:]
with (
    Claim(Path(data), pool_id, Entry("docker")) as claim,
    Pool(connect(), claim.labels(), size=1) as pool,
    Claim(Path(data), run_id, Entry("docker")) as taker,
):
    spec = SandboxSpec(run_id=taker.name, image=image, lifetime_s=600)
    pool.refill(spec)
    pool.settle()
    with pool.take(spec) as sandbox:
        print(sandbox.sandbox_id, flush=True)
        time.sleep(600)
"""


def test_container_that_a_run_has_taken_is_known_to_be_that_runs(engine, image, tmp_path):
    from runbook_runner.runner.recovery.leftovers import find_leftovers
    from runbook_runner.runner.recovery.recover import recover_dead

    pool_id, run_id, engines = new_trajectory_id(), new_trajectory_id(), {"docker": DockerBackend(engine)}
    command = [sys.executable, "-c", _TAKER, str(tmp_path), image, pool_id, run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        container = owner.stdout.readline().strip()
        (run,) = (run for run in find_leftovers(tmp_path, engines) if container in run.containers)
        assert run.run_id == run_id
        owner.kill()
    recover_dead(tmp_path, engines)
    assert engine.api.containers(all=True, filters={"label": f"runbook.trajectory={pool_id}"}) == []
    assert list((tmp_path / "runs").iterdir()) == []
