"""What the gateway adds to a model call: the same upstream asked directly, through us with recording on, and, with
`--litellm`, through the LiteLLM proxy from PyPI, which is installed into a virtual environment of its own.

    python tests/bench/gateway.py [--calls 1000] [--memory-calls 10000] [--litellm VENV]

Upstream, gateway, proxy and load are processes of their own. Ways are timed in turn, A B C A B C …, so that a slow
moment of the machine hits all of them; added latency is the difference of the percentiles. `p50` and `p99` are of one
call after the other; requests per second are with 16 at once. `processor` is the processor time of that process for a
call: other work on the machine changes it less than the latency. The conversation grows by a turn with each call of the
`growing` rows, up to 100 turns, as an agent's does. Memory is the gateway's resident size.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from load import Target, ask, at_once, one_by_one  # a sibling: run as a script, this folder is on the path

HERE = Path(__file__).parent
BATCH = 200
AT_ONCE = 16
ROUNDS = 5
LIMITS = {
    "added p50 ms": 5.0,
    "times litellm": 5.0,
    "cassette MB": 10.0,
    "memory growth MB": 20.0,
    "stream memory MB": 20.0,
}


# --- processes -----------------------------------------------------------------------------------------------------


@contextmanager
def started(*command: str, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that says on its first line where it is."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()
    finally:
        process.terminate()
        process.wait()


def serve_gateway(upstream: str, folder: str) -> None:
    """Runs in a process of its own; see `started`."""
    from runbook_runner.core.redaction import Redactor
    from runbook_runner.gateway import Cassette, listen, provider_from

    environ = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "canary-key-1234567890"}
    with listen() as listener:
        cassette = Cassette(Path(folder) / "model", Redactor({"KEY": "canary-key-1234567890", "OTHER": "hunter22"}))
        session = listener.open(upstream=provider_from("openai", environ), cassette=cassette, emit=lambda _: None)
        sys.stdout.write(f"{listener.address[1]} {session.token}\n")
        sys.stdout.flush()
        time.sleep(3600)


@contextmanager
def litellm_proxy(venv: Path, upstream: str, folder: str) -> Iterator[Target]:
    if not (venv / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "litellm[proxy]>=1.100"], check=True)
    config = Path(folder) / "litellm.yaml"
    entry = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": f"{upstream}/v1", "api_key": "k"}}
    key = "sk-" + "0123456789abcdef" * 4  # it refuses to start without one
    config.write_text(json.dumps({"model_list": [entry], "general_settings": {"master_key": key}}))
    port = 20_000 + os.getpid() % 10_000
    command = [str(venv / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1"]  # we are one process, too
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DISABLE_ADMIN_UI": "True"}
    with (Path(folder) / "litellm.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    target = Target("litellm", port, key, process.pid)
    try:
        wait_for(target)
        yield target
    finally:
        process.terminate()
        process.wait()


def wait_for(target: Target) -> None:
    for _ in range(600):
        try:
            if asyncio.run(ask(target, request(1))):
                return
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"{target.name} does not answer")


def processor_s(pid: int) -> float:
    """User and system time of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


# --- what is asked -------------------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "function": {"name": f"tool{n}", "description": f"describes {n} " * 100}}
         for n in range(12)]  # fmt: skip


def request(turns: int, *, stream: bool = False, nonce: str = "") -> bytes:
    """The history of an agent after so many turns, each with a tool result of about 1.2 kB."""
    messages = [{"role": "system", "content": "You are an agent. " * 400}]
    for turn in range(turns):
        noise = "".join(f"{(turn * 7919 + n * 104729) ** 3 % 10**9:09d}\n" for n in range(120))
        messages.append({"role": "user", "content": f"{turn} {noise}"})
        messages.append({"role": "assistant", "content": f"turn {turn}"})
    body = {"model": "m", "stream": stream, "messages": messages, "tools": TOOLS, "user": nonce}
    return json.dumps(body).encode()


# --- measures ------------------------------------------------------------------------------------------------------


def latency(targets: list[Target], bodies: list[bytes], what: str) -> dict[str, float]:
    """Milliseconds added to the first target, p50 of each other one."""
    times: dict[str, list[float]] = {target.name: [] for target in targets}
    used = {target.name: -processor_s(target.pid) for target in targets}
    for begin in range(0, len(bodies), BATCH):
        for target in targets:
            times[target.name] += asyncio.run(one_by_one(target, bodies[begin : begin + BATCH]))
    used = {target.name: used[target.name] + processor_s(target.pid) for target in targets}
    direct = times[targets[0].name]
    added = {}
    for name, taken in times.items():
        cuts, base = (statistics.quantiles(each, n=100) for each in (taken, direct))
        added[name] = cuts[49] - base[49]
        print(f"  {what}, {name}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms;"
              f" added p50 {cuts[49] - base[49]:.2f}, p99 {cuts[98] - base[98]:.2f};"
              f" processor {used[name] / len(bodies) * 1000:.2f} ms")  # fmt: skip
    return added


def throughput(targets: list[Target], calls: int) -> dict[str, list[float]]:
    """Requests a second of every round."""
    body = request(3)
    rounds: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            rounds[target.name].append(asyncio.run(at_once(target, body, calls // ROUNDS, AT_ONCE)))
    for name, rates in rounds.items():
        print(f"  {AT_ONCE} at once, {name}: {statistics.median(rates):.0f} requests/s")
    return rounds


def cassette(target: Target, folder: Path) -> None:
    before = size_of(folder)
    sent = 0
    for turn in range(100):
        body = request(turn + 1, stream=True, nonce="cassette")
        sent += len(body)
        asyncio.run(ask(target, body))
    grown = size_of(folder) - before
    whole = f"{grown / 2**20:.2f} MB for 100 turns ({sent / 2**20:.0f} MB sent)"
    print(f"  cassette: {grown / 100 / 1024:.1f} kB a turn, {whole}")
    judge("cassette MB", grown / 2**20, met=grown <= LIMITS["cassette MB"] * 2**20)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def memory(pid: int, target: Target, calls: int) -> None:
    body = request(20, stream=True, nonce="memory")
    asyncio.run(one_by_one(target, [body] * 500))
    start = resident_mb(pid)
    for _ in range(calls // 500):
        asyncio.run(one_by_one(target, [body] * 500))
    end = resident_mb(pid)
    print(f"  memory: {start:.0f} MB after 500 calls, {end:.0f} MB after {calls + 500}")
    judge("memory growth MB", end - start, met=end - start <= LIMITS["memory growth MB"])
    large = json.dumps({"model": "large", "stream": True, "messages": []}).encode()
    before = resident_mb(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
    after = []
    for _ in range(3):
        asyncio.run(ask(target, large))
        after.append(resident_mb(pid))
    peak = peak_mb(pid)
    print(f"  memory after streams of 50 MB: {', '.join(f'{each:.0f}' for each in after)} MB, peak {peak:.0f} MB")
    judge("stream memory MB", peak - before, met=peak - before <= LIMITS["stream memory MB"])


def peak_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--memory-calls", type=int, default=10_000)
    parser.add_argument("--litellm", type=Path, metavar="VENV", help="compare with the LiteLLM proxy in this venv")
    parser.add_argument("--serve-gateway", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_gateway:
        return serve_gateway(*options.serve_gateway)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        load, (port,) = stack.enter_context(started(sys.executable, str(HERE / "load.py")))
        upstream = f"http://127.0.0.1:{port}"
        ours, (ours_port, token) = stack.enter_context(
            started(sys.executable, __file__, "--serve-gateway", upstream, folder)
        )
        gateway = Target("runbook", int(ours_port), token, ours.pid)
        targets = [Target("direct", int(port), "none", load.pid), gateway]
        if options.litellm:
            targets.append(stack.enter_context(litellm_proxy(options.litellm, upstream, folder)))
        report(targets, options.calls)
        cassette(gateway, Path(folder) / "model")
        if options.memory_calls:
            memory(ours.pid, gateway, options.memory_calls)
    return None


def report(targets: list[Target], calls: int) -> None:
    for target in targets:  # what is imported with the first call is no part of the others
        asyncio.run(one_by_one(target, [request(2, nonce="first"), request(2, stream=True, nonce="first")] * 5))
    small = [request(3, nonce=str(n)) for n in range(calls)]
    streamed = [request(3, stream=True, nonce=str(n)) for n in range(calls)]
    growing = [request(n % 100 + 1, stream=True, nonce=str(n // 100)) for n in range(max(300, calls // 3))]
    added = [
        latency(targets, small, "plain"),
        latency(targets, streamed, "streamed"),
        latency(targets, growing, "growing"),
    ]
    worst = max(each["runbook"] for each in added)
    judge("added p50 ms", worst, met=worst <= LIMITS["added p50 ms"])
    rates = throughput(targets, calls)
    if "litellm" in rates:
        times = statistics.median(a / b for a, b in zip(rates["runbook"], rates["litellm"], strict=True))
        judge("times litellm", times, met=times >= LIMITS["times litellm"])


def judge(what: str, value: float, *, met: bool) -> None:
    print(f"{what}: {value:.2f} (target {LIMITS[what]:g}: {'met' if met else 'MISSED'})")


if __name__ == "__main__":
    main()
