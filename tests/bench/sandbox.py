"""What a sandbox costs: starting, running a command, files in and out, going away, many at once; each backend, and the
bare `docker` commands beside them.

    python tests/bench/sandbox.py [--runs 7] [--backends docker,bubblewrap,host]

Every row is timed in turn, ours and docker's, so that a slow moment of the machine hits both; figures are medians in
milliseconds, `×` is the median of the pairs' ratios. A start is timed until a command's first output and stands beside
the first output of a `docker run`, in the second row beside a whole one. Backends that this machine lacks are left out,
and say so. The image is built first if need be.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.core.settings import RESULTS, Settings
from runbook_runner.sandbox.base import PutFile, Sandbox, SandboxSpec, Wanted

AT_ONCE = (1, 4, 16)
BIG, MANY = 100 << 20, 10_000
FILES = {"100 MB": "big", "10,000 files": "many"}
LABELS = {"runbook.trajectory": "bench"}
ECHO = ("echo", "here")
Job = Callable[[], float]
"""Does it once; seconds of the part that counts."""


@dataclass(frozen=True)
class Backend:
    name: str
    make: Callable[[], Sandbox]
    warm: Job | None = None
    """A start from a pool."""


# --- ways to run something -----------------------------------------------------------------------------------------


def first_output(make: Callable[[], Sandbox], ready: Callable[[], None] = lambda: None) -> Job:
    """ready: waits until the pool is; that is not part of the start."""

    def job() -> float:
        ready()
        began = time.perf_counter()
        sandbox = make()
        with sandbox:
            process = sandbox.exec(ECHO, deadline_s=60)
            next(iter(process))
            seconds = time.perf_counter() - began
            process.wait()
        return seconds

    return job


def docker_first_output(image: str) -> Job:
    def job() -> float:
        began = time.perf_counter()
        with subprocess.Popen(["docker", "run", "--rm", image, *ECHO], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            return time.perf_counter() - began

    return job


def timed(action: Callable[[], object]) -> Job:
    def job() -> float:
        began = time.perf_counter()
        action()
        return time.perf_counter() - began

    return job


def command(*argv: str) -> Job:
    return timed(lambda: subprocess.run(argv, check=True, capture_output=True))


def teardown(make: Callable[[], Sandbox]) -> Job:
    def job() -> float:
        sandbox = make()
        sandbox.start()
        return timed(sandbox.stop)()

    return job


def docker_teardown(image: str) -> Job:
    def job() -> float:
        with bare_container(image) as container:
            return command("docker", "rm", "-f", container)()

    return job


def at_once(one: Callable[[], object], number: int) -> Job:
    def job() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(number) as threads:
            for done in [threads.submit(one) for _ in range(number)]:
                done.result()
        return time.perf_counter() - began

    return job


def whole_life(make: Callable[[], Sandbox]) -> Callable[[], None]:
    def one() -> None:
        with make() as sandbox:
            ended = sandbox.exec(ECHO, deadline_s=300).wait()
            assert ended.code == 0, ended

    return one


def put(sandbox: Sandbox, source: Path) -> Job:
    files = [path for path in source.rglob("*") if path.is_file()]
    given = [PutFile(f"{RESULTS}/{source.name}/{path.relative_to(source)}", path) for path in files]
    return timed(lambda: sandbox.put(given))


def get(sandbox: Sandbox, name: str) -> Job:
    def job() -> float:
        with tempfile.TemporaryDirectory() as into:
            fetch = timed(
                lambda: sandbox.get(f"{RESULTS}/{name}", Path(into), Wanted(max_bytes=2 * BIG, max_files=2 * MANY))
            )
            return fetch()

    return job


def docker_get(container: str, name: str) -> Job:
    def job() -> float:
        with tempfile.TemporaryDirectory() as into:
            return command("docker", "cp", f"{container}:{RESULTS}/{name}", into)()

    return job


@contextmanager
def bare_container(image: str) -> Iterator[str]:
    started = subprocess.run(
        ["docker", "run", "-d", "--rm", image, "sh", "-c", f"mkdir -p {RESULTS}; sleep 600"],
        check=True,
        capture_output=True,
        text=True,
    )
    container = started.stdout.strip()
    try:
        yield container
    finally:
        subprocess.run(["docker", "rm", "-f", container], capture_output=True)


# --- measuring -----------------------------------------------------------------------------------------------------


def show(
    what: str, ours: Job, bare: Job | None, runs: int, *, times: float | None = None, ms: float | None = None
) -> None:
    """times, ms: the target, as a ratio to the bare command or in milliseconds."""
    pairs = [(ours() * 1000, bare() * 1000 if bare else 0.0) for _ in range(runs)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs) if bare else 0.0
    beside = f"{other:8.0f}  × {ratio:5.2f}" if bare else ""
    target = ""
    if times is not None:
        target = f"  target × {times:g}: {'met' if ratio <= times else 'MISSED'}"
    elif ms is not None:
        target = f"  target {ms:g} ms: {'met' if mine <= ms else 'MISSED'}"
    print(f"  {what:22}{mine:8.0f}  {beside:18}{target}", flush=True)


def measure(backend: Backend, image: str, sources: Path, runs: int) -> None:
    docker = backend.name == "docker"
    print(f"{backend.name}{'':{24 - len(backend.name)}}    ours" + ("    docker" if docker else ""))
    cold = {"times": 1.3} if docker else {"ms": 150.0} if backend.name == "bubblewrap" else {}
    whole = command("docker", "run", "--rm", image, *ECHO)
    show("cold start", first_output(backend.make), docker_first_output(image) if docker else None, runs, **cold)
    if docker:
        show("… and a whole run", first_output(backend.make), whole, runs)
    if backend.warm:
        show("warm start", backend.warm, docker_first_output(image), runs, ms=150)
    with backend.make() as sandbox, bare_container(image) if docker else nothing() as bare:
        run = timed(lambda: sandbox.exec(("true",), deadline_s=60).wait())
        show("exec", run, command("docker", "exec", bare, "true") if bare else None, runs)
        for what, name in FILES.items():
            copy = command("docker", "cp", str(sources / name), f"{bare}:{RESULTS}/") if bare else None
            show(f"put {what}", put(sandbox, sources / name), copy, 3)
            show(f"get {what}", get(sandbox, name), docker_get(bare, name) if bare else None, 3)
    show("teardown", teardown(backend.make), docker_teardown(image) if docker else None, runs)
    for number in AT_ONCE:
        both = at_once(whole, number) if docker else None
        show(f"{number} at once", at_once(whole_life(backend.make), number), both, 1 if number > 4 else 3)


@contextmanager
def nothing() -> Iterator[None]:
    yield None


@contextmanager
def docker_backend() -> Iterator[Backend]:
    from runbook_runner.sandbox.docker.engine import connect
    from runbook_runner.sandbox.docker.pool import Pool
    from runbook_runner.sandbox.docker.sandbox import DockerSandbox

    engine = connect()
    spec = SandboxSpec(
        run_id="bench", image=default_image(), unpacks=True, memory_bytes=1 << 30, labels=LABELS, lifetime_s=600
    )
    with Pool(engine, LABELS, size=1) as pool:
        pool.refill(spec)
        warm = first_output(lambda: pool.take(spec), ready=pool.settle)
        yield Backend("docker", lambda: DockerSandbox(engine, spec), warm)


@contextmanager
def bubblewrap_backend() -> Iterator[Backend]:
    from runbook_runner.sandbox.local.bubblewrap import BubblewrapSandbox, require_bubblewrap

    require_bubblewrap()
    yield Backend("bubblewrap", lambda: BubblewrapSandbox(SandboxSpec(run_id="bench", memory_bytes=1 << 30)))


@contextmanager
def host_backend() -> Iterator[Backend]:
    from runbook_runner.sandbox.local.host import HostSandbox

    yield Backend("host", lambda: HostSandbox(SandboxSpec(run_id="bench")))


BACKENDS = {"docker": docker_backend, "bubblewrap": bubblewrap_backend, "host": host_backend}


def default_image() -> str:
    from runbook_runner.sandbox.docker.engine import connect
    from runbook_runner.sandbox.images.provide import ensure
    from runbook_runner.sandbox.images.snapshots import find_snapshot

    return ensure(connect(), find_snapshot("python312-uv"), [], Settings.load(), print).tag


def make_sources(folder: Path) -> None:
    (folder / "big").mkdir()
    (folder / "big" / "data.bin").write_bytes(bytes(range(256)) * (BIG >> 8))
    for number in range(MANY):
        part = folder / "many" / str(number // 100)
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}.txt").write_text(f"{number}\n" * 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as sources:
        make_sources(Path(sources))
        for name in asked.backends.split(","):
            try:
                with BACKENDS[name]() as backend:
                    measure(backend, default_image() if name == "docker" else "", Path(sources), asked.runs)
            except RunbookError as error:
                print(f"{name}: left out. {error}")


if __name__ == "__main__":
    main()
