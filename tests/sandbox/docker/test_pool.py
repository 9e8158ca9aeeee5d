"""Containers kept ready: each is used once, their number and age are bounded, none outlives its owner."""

import subprocess
import sys
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest

from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import FOLDERS, PutFile, SandboxSpec
from runbook_runner.sandbox.docker.backend import DockerBackend
from runbook_runner.sandbox.docker.pool import Pool

pytestmark = pytest.mark.needs("docker")


@dataclass(frozen=True)
class Owner:
    """Nobody's on this machine, so that no other test's start takes its containers for a dead run's."""

    engine: object
    host: str

    @property
    def labels(self):
        return {"runbook.trajectory": "pool", "runbook.host": self.host}

    def containers(self):
        return {item.sandbox_id for item in DockerBackend(self.engine).leftovers(self.host)}


@pytest.fixture
def owner(engine):
    return Owner(engine, f"pool-{uuid4().hex}")


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
        received = sandbox.get("/app/results", tmp_path, max_bytes=99, max_files=9)
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

home, image, name = sys.argv[1:]
with Claim(Path(home), Entry(name, home + "/none", "docker", home)) as claim:
    pool = Pool(connect(), claim.labels(), size=2)
    spec = SandboxSpec(run_id=name, image=image, lifetime_s=600)
    pool.refill(spec)
    pool.refill(spec)
    pool.settle()
    print("ready", flush=True)
    time.sleep(600)
"""


def test_the_next_start_removes_the_pool_of_an_owner_that_was_killed(engine, image, tmp_path):
    from runbook_runner.runner.recovery.recover import recover_dead

    name, engines = f"pool-{uuid4().hex}", {"docker": DockerBackend(engine)}

    def left():
        return engine.api.containers(all=True, filters={"label": f"runbook.trajectory={name}"})

    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path), image, name], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout.readline() == "ready\n"
        recover_dead(tmp_path, engines)
        assert len(left()) == 2, "its owner lives"
        owner.kill()
    recover_dead(tmp_path, engines)
    assert left() == []


_TAKER = """
import sys, time
from pathlib import Path
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.docker.pool import Pool

home, image, name = sys.argv[1:]
spec = SandboxSpec(run_id=f"{name}-run", image=image, lifetime_s=600)
with (
    Claim(Path(home), Entry(name, home + "/none", "docker", home)) as claim,
    Pool(connect(), claim.labels(), size=1) as pool,
    Claim(Path(home), Entry(spec.run_id, home + "/record", "docker", home)),
):
    pool.refill(spec)
    pool.settle()
    with pool.take(spec) as sandbox:
        print(sandbox.sandbox_id, flush=True)
        time.sleep(600)
"""


def test_container_that_a_run_has_taken_is_known_to_be_that_runs(engine, image, tmp_path):
    from runbook_runner.runner.recovery.leftovers import find_leftovers
    from runbook_runner.runner.recovery.recover import recover_dead

    name, engines = f"pool-{uuid4().hex}", {"docker": DockerBackend(engine)}
    with subprocess.Popen(
        [sys.executable, "-c", _TAKER, str(tmp_path), image, name], stdout=subprocess.PIPE, text=True
    ) as owner:
        container = owner.stdout.readline().strip()
        # Any home's start finds it so, by the claim that lies beside its maker's.
        for home in (tmp_path, tmp_path / "elsewhere"):
            (run,) = (run for run in find_leftovers(home, engines) if container in run.containers)
            assert (run.run_id, run.trajectory) == (f"{name}-run", tmp_path / "record")
        owner.kill()
    recover_dead(tmp_path, engines)
    assert engine.api.containers(all=True, filters={"label": f"runbook.trajectory={name}"}) == []
    assert list((tmp_path / "active").iterdir()) == []
