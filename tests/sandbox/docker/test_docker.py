"""What only the docker sandbox promises: powers, limits, secrets, lifetime, leftovers, and which engine is used."""

import gc
import json
import os
import resource
import time
from pathlib import Path
from uuid import uuid4

import pytest
from docker.errors import APIError

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import PutFile, SandboxSpec, Wanted
from runbook_runner.sandbox.docker.backend import DockerBackend
from runbook_runner.sandbox.docker.engine import connect, engine_errors
from runbook_runner.sandbox.docker.exec_socket import first_output

pytestmark = pytest.mark.needs("docker")


@pytest.fixture
def sandbox(make_docker):
    started = make_docker()
    started.start()
    return started


def inspect(engine, sandbox):
    return engine.api.inspect_container(sandbox.sandbox_id)


def test_container_has_no_privileges_and_its_limits(engine, make_docker):
    sandbox = make_docker(cpus=64, memory_bytes=300 << 20, pids=99, labels={"runbook.trajectory": "0badcafe"})
    sandbox.start()
    seen = inspect(engine, sandbox)
    host = seen["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == {
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID",
    }  # fmt: skip
    assert host["SecurityOpt"][0] == "no-new-privileges"
    assert [option.partition("=")[0] for option in host["SecurityOpt"][1:]] == ["seccomp"]
    assert (host["PidsLimit"], host["Memory"], host["MemorySwap"]) == (99, 300 << 20, 300 << 20)
    assert host["NanoCpus"] == engine.cpus * 10**9
    assert host["AutoRemove"] is True
    assert not host["Binds"]
    assert seen["Mounts"] == []
    assert seen["Config"]["Healthcheck"] == {"Test": ["NONE"]}, "the engine's work for one has no limit"
    assert seen["Config"]["Labels"]["runbook.trajectory"] == "0badcafe"


def test_questions_one_after_the_other_take_one_connection():
    def connections():
        found = (Path(entry.path) for entry in os.scandir("/proc/self/fd"))
        return sum(path.is_symlink() and str(path.readlink()).startswith("socket:") for path in found)

    engine = connect()
    engine.api.ping()
    gc.collect()
    before = connections()
    for number in range(9):
        assert engine.image_id(f"nobody/has:{number}") is None
    assert connections() <= before


def test_processes_really_lack_the_powers(sandbox, shell):
    assert b"NoNewPrivs:\t1" in shell(sandbox, "cat /proc/self/status").stdout
    assert shell(sandbox, "mount -t tmpfs none /mnt").exit.code != 0
    assert shell(sandbox, "mknod /tmp/sda b 8 0").exit.code != 0


@pytest.mark.parametrize("end", ["pkill sleep", "pkill -9 sleep", "kill 1; kill -INT 1; kill -9 1", "kill -9 -1"])
def test_nothing_inside_ends_the_container_and_what_was_made_comes_home(sandbox, shell, tmp_path, end):
    shell(sandbox, f"echo made >/app/results/out.txt; {end}; sleep 0.2")
    process = shell.start(sandbox, "(setsid sleep 321 &); echo up; sleep 321")
    assert next(iter(process)).data == b"up\n"
    process.kill()
    assert process.wait().ended_by == "killed"
    assert b"321" not in shell(sandbox, "ps -e -o args=").stdout
    received = sandbox.get("/app/results", tmp_path / "home", Wanted(max_bytes=1 << 20, max_files=10))
    assert [file.path for file in received.files] == ["out.txt"]


def test_orphans_are_taken_in_and_leave_no_zombies(sandbox, shell):
    ran = shell(sandbox, "for i in 1 2 3; do (setsid sleep 0.1 &); done; sleep 1; ps -e -o stat= | grep -c Z")
    assert ran.stdout == b"0\n"


def test_last_words_of_a_command_reach_a_slow_reader(engine, sandbox, shell, eventually):
    """What the engine and we hold back for it is more than one queue takes."""
    process = shell.start(sandbox, "seq 200000")
    eventually(lambda: not engine.api.exec_inspect(process._exec)["Running"])
    said = bytearray()
    for chunk in process:
        said += chunk.data
        time.sleep(0.01)
    assert said.split()[-1] == b"200000"
    assert len(said) == 1_288_895


def test_waiting_for_output_costs_nothing_in_a_process_with_a_thousand_open_files(sandbox, shell):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        began = time.process_time()
        assert shell(sandbox, "sleep 3; echo said").stdout == b"said\n"
        assert time.process_time() - began < 1.5
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_file_that_becomes_shorter_while_it_is_fetched_costs_no_other(sandbox, shell, tmp_path):
    again = "while :; do truncate -s 9 log; head -c 300000000 /dev/zero >log; done"
    shell(
        sandbox, f"cd /app/results; touch a z; head -c 300000000 /dev/zero >log; (setsid sh -c '{again}' &) >/dev/null"
    )
    received = sandbox.get("/app/results", tmp_path / "home", Wanted(max_bytes=1 << 30, max_files=10))
    assert sorted(file.path for file in received.files) == ["a", "log", "z"]


def test_secret_given_to_a_command_is_in_no_description_of_the_container(engine, sandbox, shell):
    process = shell.start(sandbox, 'echo "$KEY"; sleep 5', env={"KEY": "canary-value"})
    assert next(iter(process)).data == b"canary-value\n"
    described = json.dumps([inspect(engine, sandbox), engine.api.top(sandbox.sandbox_id)])
    assert "canary-value" not in described
    process.kill()
    process.wait()


def test_container_ends_by_itself_after_its_lifetime(make_docker, is_gone, eventually):
    sandbox = make_docker(lifetime_s=1)
    sandbox.start()
    eventually(lambda: is_gone(sandbox))


def test_command_whose_container_vanishes_is_an_error_not_an_exit(engine, sandbox, shell):
    process = shell.start(sandbox, "echo ready; sleep 60")
    chunks = iter(process)
    next(chunks)
    engine.api.remove_container(sandbox.sandbox_id, force=True)
    with pytest.raises(SandboxError, match="container"):
        process.wait()


def test_what_forks_without_end_is_ended_at_the_deadline(make_docker, shell):
    sandbox = make_docker(pids=150)
    sandbox.start()
    process = sandbox.exec(["bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 60"], deadline_s=1)
    assert process.wait().ended_by == "deadline"
    assert shell(sandbox, "ps -e -o comm=").stdout.split() == [b"sh", b"sleep", b"timeout", b"sh", b"ps"]


@pytest.mark.parametrize(
    ("said", "after_s", "then"),
    [
        ("", 0, "rm /bin/sh; sleep 100"),
        ("left", 2, "sleep 100"),
        ("ended", 0, "kill -STOP $PPID; while sleep 0.3; do echo more; done"),
    ],
    ids=["taken away", "never done", "lies"],
)
def test_command_that_took_the_shell_is_frozen_and_its_files_come_home(
    make_docker, shell, replaced_shell, tmp_path, said, after_s, then
):
    sandbox = make_docker(lifetime_s=90)
    sandbox.start()
    script = f"echo half >/app/results/out; {replaced_shell(said, after_s=after_s)} {then}"
    ran = shell(sandbox, script, deadline_s=2)
    assert ran.exit.ended_by == "deadline"
    received = sandbox.get("/app/results", tmp_path / "home", Wanted(max_bytes=1 << 20, max_files=10))
    assert [file.path for file in received.files] == ["out"]


@pytest.fixture
def on_top(engine, image):
    """Builds an image from lines of a Dockerfile, on top of the tests' own; removed afterwards."""
    from runbook_runner.sandbox.images.snapshots import context_archive

    def build(lines):
        archive = context_archive({"Dockerfile": f"FROM {image}\n{lines}\n".encode()})
        said = [*engine.api.build(fileobj=archive, custom_context=True, tag=tag, rm=True, decode=True)]
        assert "Successfully built" in json.dumps(said)
        return tag

    tag = f"runbook-test/on-top:{uuid4().hex}"
    yield build
    engine.api.remove_image(tag, force=True)


def test_image_that_runs_as_an_ordinary_user_can_write_everywhere_below_app(on_top, make_docker, shell):
    sandbox = make_docker(image=on_top("RUN useradd --create-home worker\nUSER worker"))
    sandbox.start()
    sandbox.put([PutFile("/app/assets/in/x", b"x")])
    ran = shell(sandbox, "id -un; touch /app/results/r /app/assets/in/y; cat; sleep 60", stdin=b"fed\n", deadline_s=1)
    assert ran.stdout == b"worker\nfed\n"
    assert ran.stderr == b""
    assert ran.exit.ended_by == "deadline"
    sandbox.stop()


WRITABLE = """
import os
for process in set(filter(str.isdigit, os.listdir("/proc"))) - {str(os.getpid()), str(os.getppid())}:
    try:
        os.close(os.open(f"/proc/{process}/mem", os.O_RDWR))
        print(process, open(f"/proc/{process}/cmdline").read())
    except OSError:
        pass
"""


@pytest.mark.parametrize("user", ["worker", "1000:44", "worker:video"])
def test_agent_that_is_not_root_reaches_no_process_that_outlives_the_end_of_all(on_top, make_docker, shell, user):
    sandbox = make_docker(image=on_top(f"RUN useradd --create-home worker\nUSER {user}"))
    sandbox.start()
    ran = sandbox.exec(["python3", "-c", WRITABLE], deadline_s=20)
    assert b"".join(chunk.data for chunk in ran) == b""
    left = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 321; done' >/dev/null 2>&1 &)"
    assert shell(sandbox, f"{left}; pkill -9 -o sleep; sleep 321", deadline_s=1).exit.ended_by == "deadline"
    assert b"sleep" not in shell(sandbox, "ps -u worker -o comm=").stdout
    sandbox.stop()


@pytest.mark.parametrize("more", ["", "RUN rm $(which sleep)"], ids=["", "only that one"])
def test_shell_that_has_sleep_built_in_keeps_no_process_of_the_agent(on_top, make_docker, shell, more):
    built_in = 'ENV BASH_FUNC_sleep%%="() { read -r -t $1 <>/never; true; }"'.replace("$", "\\$")
    lines = f"RUN useradd worker && mkfifo -m 666 /never && ln -sf bash /bin/sh\n{more}\n{built_in}\nUSER worker"
    sandbox = make_docker(image=on_top(lines))
    sandbox.start()
    left = "(setsid bash -c 'trap \"\" TERM; exec tail -f /dev/null' >/dev/null 2>&1 &)"
    assert shell(sandbox, f"type sleep; {left}").stdout.startswith(b"sleep is a function")
    sandbox.end_processes()
    assert b"tail -f" not in shell(sandbox, "ps -e -o args=").stdout
    sandbox.stop()


def test_program_that_an_agent_puts_on_path_runs_as_no_other_user(engine, on_top, make_docker, shell):
    image = on_top("RUN useradd --create-home worker\nENV PATH=/home/worker:$PATH\nUSER worker")
    sandbox = make_docker(image=image, network=Network(policy="model-only"))
    sandbox.start()
    fake = '#!/bin/bash\\nid -un >>/app/results/ran\\nPATH=${PATH#*:} exec "${0##*/}" "$@"'
    shell(sandbox, f"cd; printf '{fake}' >sh; chmod +x sh; cp sh sleep; cp sh python3")
    assert shell(sandbox, "sleep 321", deadline_s=1).exit.ended_by == "deadline"
    sandbox.limits_hit()
    first_output(engine, sandbox.sandbox_id, ["pkill", "-9", "-o", "sleep"])
    assert shell(sandbox, "sort -u results/ran", cwd="/app").stdout == b"worker\n"
    sandbox.stop()


def test_agent_that_writes_passwd_becomes_no_other_user(engine, on_top, make_docker, shell):
    lines = "RUN useradd --create-home --groups video,audio worker && chmod a+w /etc/passwd /etc/group\nUSER worker"
    sandbox = make_docker(image=on_top(lines))
    sandbox.start()
    asks = "id -u; id -g; id -G; echo $HOME; sleep 0"
    before = shell(sandbox, asks).stdout
    assert before.split()[2:-1] != []
    ids = "sed 's/^worker:x:[0-9]*:[0-9]*:/worker:x:0:0:/' /etc/passwd >/tmp/new; cat /tmp/new >/etc/passwd"
    shell(sandbox, f"{ids}; echo root:x:0:worker >>/etc/group")
    assert shell(sandbox, asks).stdout == before
    again = DockerBackend(engine).reopen(sandbox.sandbox_id, SandboxSpec(run_id="test", lifetime_s=60))
    assert shell(again, asks).stdout == before
    assert sorted(before.split()[2:-1]) == sorted([before.split()[1], b"29", b"44"])
    sandbox.stop()


def test_image_whose_user_does_not_exist_is_refused_with_the_reason(on_top, make_docker):
    sandbox = make_docker(image=on_top("USER stranger"))
    with pytest.raises(NotReadyError, match=r"user 'stranger': .*unable to find user stranger"), sandbox:
        pass


@pytest.mark.parametrize("user", ["1000", "nobody"])
def test_user_of_an_image_without_a_home_gets_one_and_git_takes_its_folders(on_top, make_docker, shell, user):
    sandbox = make_docker(image=on_top(f"USER {user}"))
    sandbox.start()
    sandbox.put([PutFile("/app/assets/repo/a", b"x" * (2 << 20))])
    script = "touch ~/a && git config --global a.b c && cd /app/assets && git init -q && git add ."
    ran = shell(sandbox, script)
    assert (ran.stderr, ran.exit.code) == (b"", 0)
    attached = sandbox.attach(["sh", "-c", "ls ~; git -C assets status --short"], env={}, tty=False)
    assert b"".join(data for _, data in iter(attached.receive, None)) == b"a\nA  repo/a\n"
    assert attached.wait() == 0
    sandbox.stop()


def test_image_without_sleep_is_told_what_it_needs(on_top, make_docker, shell, is_gone, eventually):
    sandbox = make_docker(image=on_top("RUN rm -f /bin/sleep /usr/bin/sleep"))
    sandbox.start()
    eventually(lambda: is_gone(sandbox))
    with pytest.raises(SandboxError, match="at least `sleep`"):
        shell(sandbox, "true")
    with pytest.raises(SandboxError, match="at least `sleep`"):
        sandbox.put([])


def test_shared_memory_is_half_of_the_memory(make_docker, shell):
    sandbox = make_docker(memory_bytes=1 << 30)
    sandbox.start()
    assert shell(sandbox, "df -k --output=size /dev/shm | tail -1").stdout.strip() == b"524288"


def test_packages_install_with_apt_pip_npm_and_uv(sandbox, shell):
    script = """set -e
    apt-get update -qq >/dev/null && apt-get install -qq --yes hello cowsay >/dev/null && hello
    pip install --quiet six && python3 -c 'import six; print("six")'
    npm install --silent --global is-number && ls "$(npm root -g)/is-number/package.json"
    uv venv --quiet env && uv pip install --quiet --python env/bin/python idna && env/bin/python -c 'import idna'
    """
    ran = shell(sandbox, script, deadline_s=240)
    assert ran.exit.code == 0, ran
    assert b"Hello, world!\nsix\n" in ran.stdout


def of_claim(backend, name):
    return [item for item in backend.leftovers() if name in item.claims]


@pytest.fixture
def claim():
    return f"{uuid4().hex[:8]}-{uuid4().hex[:16]}"


def test_leftover_container_is_found_emptied_and_removed(engine, make_docker, shell, tmp_path, is_gone, claim):
    backend = DockerBackend(engine)
    lost = make_docker(labels={"runbook.claim": claim})
    lost.start()
    shell(lost, "echo late >/app/results/late")
    (found,) = of_claim(backend, claim)
    assert (found.sandbox_id, found.running) == (lost.sandbox_id, True)
    leftover = backend.reopen(lost.sandbox_id, SandboxSpec(run_id="feedf00d"))
    assert [file.path for file in leftover.get("/app/results", tmp_path, Wanted(max_bytes=99, max_files=9)).files] == [
        "late"
    ]
    leftover.stop()
    leftover.stop()
    assert is_gone(lost)


def test_container_that_was_never_started_is_a_leftover_too(engine, image, tmp_path, claim):
    backend = DockerBackend(engine)
    engine.api.create_container(image, ["true"], labels={"runbook.claim": claim})
    (found,) = of_claim(backend, claim)
    assert not found.running
    leftover = backend.reopen(found.sandbox_id, SandboxSpec(run_id="0"))
    assert leftover.get("/app/results", tmp_path, Wanted(max_bytes=99, max_files=9)).files == ()
    leftover.stop()
    assert of_claim(backend, claim) == []


def test_start_that_fails_leaves_no_container(engine, make_docker, monkeypatch, claim):
    sandbox = make_docker(image="runbook-test/missing:1")
    with pytest.raises(NotReadyError, match="no image 'runbook-test/missing:1'"), sandbox:
        pass
    # An engine takes the container and refuses only to start it.
    broken = make_docker(labels={"runbook.claim": claim}, memory_bytes=64 << 20, pids=1)
    monkeypatch.setattr(type(broken._sockets), "host_config", {"network_mode": "container:not-there"})
    with pytest.raises(NotReadyError, match="did not start"), broken:
        pass
    assert of_claim(DockerBackend(engine), claim) == []


def test_ca_bundle_reaches_every_tool(make_docker, shell, tmp_path):
    sandbox = make_docker()
    if sandbox._spec.ca_bundle is None:
        pytest.skip("this machine trusts the public roots only")
    sandbox.start()
    ran = shell(sandbox, 'for f in "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS" "$PIP_CERT"; do sha256sum <"$f"; done')
    assert len(set(ran.stdout.splitlines())) == 1
    assert (
        shell(sandbox, 'wc -c <"$SSL_CERT_FILE"').stdout.strip()
        == str(Path(sandbox._spec.ca_bundle).stat().st_size).encode()
    )


def test_a_ca_bundle_may_be_a_link_as_the_one_of_many_systems(make_docker, shell, tmp_path):
    (tmp_path / "bundle").write_text("of this machine")
    (tmp_path / "link").symlink_to("bundle")
    sandbox = make_docker(ca_bundle=tmp_path / "link")
    sandbox.start()
    assert shell(sandbox, 'cat "$SSL_CERT_FILE"').stdout == b"of this machine"


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_no_engine_names_the_address_and_the_ways_on(monkeypatch, url):
    from runbook_runner.sandbox.docker.engine import connect

    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(NotReadyError) as caught:
        connect()
    assert url in str(caught.value)
    assert "--sandbox bubblewrap" in str(caught.value)


def test_current_context_decides_unless_docker_host_is_set(monkeypatch, tmp_path):
    from hashlib import sha256

    from runbook_runner.sandbox.docker.engine import connect

    folder = tmp_path / "contexts/meta" / sha256(b"other").hexdigest()
    folder.mkdir(parents=True)
    endpoint = {"docker": {"Host": "unix:///other/docker.sock", "SkipTLSVerify": False}}
    (folder / "meta.json").write_text(json.dumps({"Name": "other", "Metadata": {}, "Endpoints": endpoint}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    (tmp_path / "config.json").write_text('{"currentContext": "other"}')
    with pytest.raises(NotReadyError, match=r"unix:///other/docker\.sock"):
        connect()
    (tmp_path / "config.json").write_text("{}")
    assert connect().url.endswith("docker.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    with pytest.raises(NotReadyError, match=r"unix:///other/docker\.sock"):
        connect()
    monkeypatch.setenv("DOCKER_CONTEXT", "no-such")
    with pytest.raises(NotReadyError, match="no-such"):
        connect()


def test_a_path_of_a_container_fills_no_message():
    with pytest.raises(SandboxError) as caught, engine_errors("remove the container"):
        raise APIError(f"openfdat /{'d/' * 50_000}: too many open files")
    assert caught.value.message.startswith("Can't remove the container: openfdat /d/d/d/")
    assert len(caught.value.message) < 1100


STOPPER = """python3 -c '
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("/app/results/out.txt", "w").write("made")
known = set(os.listdir("/proc"))
while True:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry not in known:
            os.kill(int(entry), signal.SIGSTOP)
            known.add(entry)
'"""


def test_what_keeps_commands_from_coming_up_is_ended_with_its_container(make_docker, shell, is_gone, tmp_path):
    sandbox = make_docker()
    sandbox.start()
    assert shell(sandbox, STOPPER, deadline_s=3).exit.ended_by == "deadline"
    assert sandbox.limits_hit() == ()
    with pytest.raises(SandboxError):
        sandbox.exec(["true"], deadline_s=10)
    assert [file.path for file in sandbox.get("/app/results", tmp_path / "r", Wanted(1 << 20, 10)).files] == ["out.txt"]
    sandbox.stop()
    assert is_gone(sandbox)
