"""What an agent with a shell might try to get out of its sandbox, tried in real ones. Each attempt must fail, and what
it was after must be untouched."""

import json
import os
import resource
import secrets
import socket
import subprocess
import textwrap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_runner.core.errors import SandboxError
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import DEFAULT_RESULTS_FILES
from runbook_runner.core.spec import Network
from runbook_runner.gateway import Cassette, listen, load_script
from runbook_runner.sandbox.base import Wanted

pytestmark = [pytest.mark.needs("linux"), pytest.mark.xdist_group("docker-live")]

ALL = Wanted(max_bytes=1 << 30, max_files=DEFAULT_RESULTS_FILES)

# The C library's way to a system call: its result, and what was wrong.
CALL = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    number = {"x86_64": X86, "aarch64": ARM}[os.uname().machine][name]
    done = libc.syscall(number, *arguments)
    print(name, "done" if done >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
X86 = {"keyctl": 250, "add_key": 248, "mount": 165, "unshare": 272, "setns": 308, "bpf": 321, "ptrace": 101,
       "init_module": 175, "pivot_root": 155, "open_by_handle_at": 304, "settimeofday": 164, "reboot": 169,
       "io_uring_setup": 425}
ARM = {"keyctl": 219, "add_key": 217, "mount": 40, "unshare": 97, "setns": 268, "bpf": 280, "ptrace": 117,
       "init_module": 105, "pivot_root": 41, "open_by_handle_at": 265, "settimeofday": 170, "reboot": 142,
       "io_uring_setup": 425}
"""


@pytest.fixture
def make(isolating_backend, make_backend):
    make_one = make_backend(isolating_backend)

    def start(policy="full", **asked):
        sandbox = make_one(network=Network(policy=policy), **asked)
        sandbox.start()
        return sandbox

    return start


@pytest.fixture
def python(shell):
    """Runs a program in a sandbox; what it printed, line by line."""

    def run(sandbox, program):
        ran = shell(sandbox, f"exec python3 - <<'PYTHON'\n{textwrap.dedent(program)}\nPYTHON")
        assert ran.exit.code == 0, ran.stderr.decode()
        return ran.stdout.decode().splitlines()

    return run


@pytest.fixture
def treasure(tmp_path):
    """A file of this machine that everybody may read and write."""
    tmp_path.chmod(0o755)
    file = tmp_path / "treasure"
    file.write_text("treasure-" + secrets.token_hex(8))
    file.chmod(0o666)
    return file


# --- files of this machine -----------------------------------------------------------------------------------------


def test_no_file_of_this_machine_can_be_read_by_whatever_way(make, shell, treasure):
    sandbox = make()
    for way in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/$PPID/root", "/host", "/mnt", "/.."):
        ran = shell(sandbox, f"cat '{way}{treasure}' /proc/*/root'{treasure}' 2>/dev/null; cat /etc/shadow /etc/passwd")
        assert treasure.read_bytes() not in ran.stdout
    assert shell(sandbox, "ls /root /home/* 2>/dev/null | cat; exit 0").exit.code == 0
    seen = shell(
        sandbox, f"find / -xdev -name '{treasure.name}' 2>/dev/null; ls -d {Path(__file__).parent} 2>/dev/null"
    )
    assert seen.stdout == b""


@pytest.mark.needs("root")
def test_shadow_file_of_this_machine_is_not_the_sandboxes(make, shell):
    shadow = Path("/etc/shadow").read_bytes()
    assert shadow not in shell(make(), "cat /etc/shadow").stdout


def test_nothing_outside_its_own_folders_can_be_written(make, shell, treasure):
    """A container has a copy of everything; what it writes there is nobody else's."""
    sandbox = make()
    mark = f"runbook-escape-{secrets.token_hex(6)}"
    targets = ("/usr/bin", "/usr/lib", "/etc", "/opt", "", "/var", "/run", "/lib", "/opt/runbook/forward", "/dev")
    tries = "\n".join(f"(echo x >'{target}/{mark}') 2>/dev/null && echo wrote '{target}'" for target in targets)
    ran = shell(sandbox, f"{tries}\n(echo x >>'{treasure}') 2>/dev/null; (echo x >>/etc/passwd) 2>/dev/null; exit 0")
    wrote = set(ran.stdout.decode().replace("wrote", "").split())
    if sandbox.backend == "bubblewrap":
        assert wrote <= {"/dev"}, "a file system of its own, gone with it"
        assert shell(sandbox, "tail -n 1 /etc/passwd").stdout.strip() != b"x"
    for target in targets:
        assert not Path(f"{target}/{mark}").exists()
    assert "\nx" not in treasure.read_text() + Path("/etc/passwd").read_text()
    sandbox.stop()
    assert shell(make(), f"ls {' '.join(f'{target}/{mark}' for target in targets)} 2>/dev/null; exit 0").stdout == b""


def test_settings_of_the_kernel_can_not_be_written(make, shell, python):
    """The way from root without powers to root on the machine: which program the kernel starts for a core file."""
    files = ("kernel/core_pattern", "kernel/modprobe", "vm/swappiness", "kernel/sysrq", "fs/binfmt_misc/register")
    script = "\n".join(
        f'f=/proc/sys/{file}; if v=$(cat $f 2>/dev/null); then (echo "$v" >$f) 2>/dev/null && echo wrote $f; fi'
        for file in files
    )
    sandbox = make()
    assert shell(sandbox, f"{script}\nexit 0").stdout == b""
    if sandbox.backend == "docker":  # its root may open what has no way to write
        mounts = shell(sandbox, "cat /proc/self/mounts").stdout.decode().splitlines()
        read_only = {line.split()[1] for line in mounts if line.split()[3].startswith("ro")}
        assert {"/proc/sys", "/proc/bus", "/proc/irq", "/sys"} <= read_only
        return
    writable = """
        import os, stat
        for folder, below, files in os.walk("/proc"):
            below[:] = [name for name in below if not name.isdigit() and name not in ("self", "thread-self")]
            for file in (os.path.join(folder, name) for name in files):
                if stat.S_ISREG(os.lstat(file).st_mode) and os.access(file, os.W_OK):
                    print(file)
        """
    assert python(sandbox, writable) == []
    mounts = shell(sandbox, "cat /proc/self/mounts").stdout.decode().splitlines()
    read_only = {line.split()[1] for line in mounts if line.split()[3].startswith("ro")}
    drivers = ("/proc/scsi", "/proc/acpi", "/proc/driver")  # what can be written there depends on the machine
    assert set(filter(os.path.isdir, drivers)) <= read_only


# --- the engine and the kernel -------------------------------------------------------------------------------------


def test_no_docker_socket_is_there_nor_another_engine(make, python):
    found = python(
        make(),
        """
        import glob, os, socket, stat
        for path in [*glob.glob("/run/**", recursive=True), *glob.glob("/var/run/**", recursive=True), "/docker.sock"]:
            if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
                print(path)
        """,
    )
    assert found == []


def test_only_powers_that_stay_inside_are_held(make, shell):
    sandbox = make()
    status = shell(sandbox, "grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status").stdout.decode()
    held = dict(line.split(":\t") for line in status.splitlines())
    # CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID of a container whose root is its own; nothing in bubblewrap.
    allowed = 0b11101011 if sandbox.backend == "docker" else 0
    assert all(int(held[name], 16) & ~allowed == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")), held
    assert (held["NoNewPrivs"].strip(), held["Seccomp"].strip()) == ("1", "2")


def test_no_mount_no_namespace_no_module_no_key_and_no_clock(make, python):
    said = python(
        make(),
        CALL
        + """
call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
call("pivot_root", b"/tmp", b"/tmp")
call("unshare", 0x10000000 | 0x00020000)
call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)
call("bpf", 0, None, 0)
call("init_module", None, 0, b"")
call("keyctl", 0, -3, 1)
call("add_key", b"user", b"x", b"y", 1, -2)
call("open_by_handle_at", -100, None, 0)
call("settimeofday", (ctypes.c_long * 2)(0, 0), None)
call("reboot", 0xfee1dead, 672274793, 0x89ABCDEF)
call("io_uring_setup", 1, None)
""".replace("    ", ""),
    )
    assert [line for line in said if line.split()[1] not in ("EPERM", "ENOSYS", "EACCES")] == []
    assert len(said) == 12


def test_set_user_id_programs_give_nothing(make, shell):
    ran = shell(make(), "cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh && /tmp/sh -c 'grep NoNewPrivs /proc/self/status'")
    assert ran.stdout.split() == [b"NoNewPrivs:", b"1"]


def test_processes_of_this_machine_are_neither_seen_nor_traced_nor_signalled(make, python):
    mark = f"6{secrets.randbelow(10**8):08}"
    with subprocess.Popen(["sleep", mark]) as victim:
        said = python(
            make(),
            CALL
            + f"""
import glob
for path in glob.glob("/proc/[0-9]*/cmdline"):
    if b"{mark}" in open(path, "rb").read().partition(b"python3")[0]:
        print("seen", path)
call("ptrace", 16, {victim.pid}, None, None)
try:
    os.kill({victim.pid}, 9)
    print("signalled")
except OSError as error:
    print("kill", error.errno)
""",
        )
        status = Path(f"/proc/{victim.pid}/status").read_text()
        assert victim.poll() is None
        victim.kill()
    assert "TracerPid:\t0" in status
    assert [line for line in said if line.startswith("seen")] == []
    assert "ptrace done" not in said


def test_raw_sockets_and_sockets_that_know_no_namespace_are_refused(make, python):
    said = python(
        make(),
        """
        import socket
        kinds = {"raw": (2, 3, 1), "raw6": (10, 3, 58), "packet": (17, 3, 0), "alg": (38, 5, 0), "vsock": (40, 1, 0)}
        for name, kind in kinds.items():
            try:
                socket.socket(*kind)
                print(name)
            except OSError:
                pass
        """,
    )
    assert said == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only there are two ways to call the kernel")
def test_the_kernel_is_not_called_the_32_bit_way_which_no_filter_of_sockets_sees(make, python):
    said = python(
        make(),
        """
        import ctypes, mmap, os
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, getpid; int 0x80; ret
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        if os.fork() == 0:
            print("done" if call() == os.getpid() else "refused", flush=True)
            os._exit(0)
        os.wait()
        """,
    )
    assert "done" not in said


def test_no_device_can_be_made_or_opened(make, shell):
    ran = shell(
        make(),
        "for n in 'sda b 8 0' 'vda b 254 0' 'kmsg c 1 11' 'mem c 1 1'; do mknod /tmp/${n%% *} ${n#* } 2>/dev/null"
        " && head -c 1 /tmp/${n%% *}; done\n"
        "ls /dev/sd* /dev/vd* /dev/mem /dev/kmsg /dev/kvm /dev/fuse 2>/dev/null; exit 0",
    )
    assert ran.stdout == b""


# --- results -------------------------------------------------------------------------------------------------------


def test_links_in_results_bring_nothing_of_this_machine_home(make, shell, treasure, tmp_path):
    sandbox = make()
    shell(
        sandbox,
        f"""cd /app/results
        ln -s '{treasure}' link; ln -s '{treasure.parent}' folder; ln -s / root; ln -s ../../../../..{treasure} up
        ln -s /proc/self/environ environ; ln -s loop loop
        ln /etc/hostname hard; ln '{treasure}' hard2; mkfifo pipe
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
        echo fine >fine; rm -rf /app/assets; ln -s '{treasure.parent}' /app/assets""",
    )
    received = sandbox.get("/app/results", tmp_path / "home", ALL)
    assert {file.path for file in received.files} <= {"fine", "hard"}
    skipped = {path for path, _ in received.skipped}
    assert skipped >= {"link", "folder", "root", "up", "environ", "loop", "pipe"}
    assert all(treasure.read_text() not in file.read_text() for file in (tmp_path / "home").iterdir())
    assert sandbox.get("/app/assets/treasure", tmp_path / "other", ALL).files == ()


def test_file_that_turns_into_a_link_while_it_is_fetched_gives_nothing_away(make, shell, treasure, tmp_path):
    sandbox = make()
    swap = f"""exec python3 -c '
import os
os.chdir("/app/results")
os.makedirs("d"); open("d/treasure", "w").write("harmless")
os.symlink("{treasure.parent}", "e")
print("on", flush=True)
while True:
    for one, other in (("d", "x"), ("e", "d"), ("x", "e")):
        os.rename(one, other)
    os.rename("d", "y"); os.rename("e", "d"); os.rename("y", "e")
'"""
    process = shell.start(sandbox, swap)
    for _ in process:
        break
    for number in range(12):
        home = tmp_path / f"home{number}"
        with suppress(SandboxError):  # the engine gives up on a tree that changes while it is packed
            sandbox.get("/app/results", home, ALL)
            sandbox.get("/app/results/d/treasure", home / "one", ALL)
        assert all(treasure.read_text() not in file.read_text() for file in home.rglob("*") if file.is_file())
    process.kill()


def test_archive_of_absolute_paths_and_devices_is_a_file_like_any_other(make, python, tmp_path):
    mark = tmp_path / "unpacked"
    sandbox = make()
    python(
        sandbox,
        f"""
        import io, tarfile
        with tarfile.open("/app/results/evil.tar", "w") as tar:
            for name, kind in (("{mark}", b"0"), ("../../../..{mark}", b"0"), ("null", tarfile.CHRTYPE)):
                member = tarfile.TarInfo(name)
                member.type = kind
                tar.addfile(member, io.BytesIO())
        """,
    )
    received = sandbox.get("/app/results", tmp_path / "home", ALL)
    assert [file.path for file in received.files] == ["evil.tar"]
    assert not mark.exists()


def test_a_gigabyte_of_zeros_is_refused_as_a_file_and_bounded_as_output(make, shell, tmp_path):
    sandbox = make()
    assert shell(sandbox, "head -c 1073741825 /dev/zero >/app/results/zeros").exit.code == 0
    skipped = sandbox.get("/app/results", tmp_path / "home", ALL).skipped
    assert [(path, "more than 1,073,741,824 bytes" in reason) for path, reason in skipped] == [("zeros", True)]
    assert [file for file in (tmp_path / "home").rglob("*") if file.is_file()] == []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    process = shell.start(sandbox, "head -c 400000000 /app/results/zeros")
    assert sum(len(chunk.data) for chunk in process) == 400_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_more_files_than_anybody_reads_are_refused_and_removed_all_the_same(make, python, tmp_path, is_gone):
    """A million, tried by hand, takes the same way; this many take seconds to make."""
    sandbox = make()
    python(
        sandbox,
        """
        import os
        for folder in range(30):
            os.makedirs(f"/app/results/{folder}")
            for number in range(800):
                os.close(os.open(f"/app/results/{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        """,
    )
    received = sandbox.get("/app/results", tmp_path / "home", replace(ALL, max_files=2000))
    assert "more than 2000 entries" in received.skipped[-1][1]
    assert len(received.files) < 2000
    sandbox.stop()
    assert is_gone(sandbox)


def test_names_with_newlines_escapes_and_bytes_that_are_no_text_come_home_as_text(make, python, tmp_path):
    sandbox = make()
    python(
        sandbox,
        r"""
        import os
        for name in (b"two\nlines", b"\xff\xfe", b"\x1b[31mred\x1b[0m", b"-rf", b"a\\b", b" ", b"n" * 255, b"..."):
            open(os.path.join(b"/app/results", name), "wb").write(b"x")
        """,
    )
    received = sandbox.get("/app/results", tmp_path / "home", ALL)
    names = {file.path for file in received.files}
    assert names == {"two\nlines", "\\xff\\xfe", "\x1b[31mred\x1b[0m", "-rf", "a\\b", " ", "n" * 255, "..."}
    assert json.loads(json.dumps(sorted(names).__repr__()))
    assert {path.name for path in (tmp_path / "home").iterdir()} == names


# --- network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["full", "model-only"])
def test_what_listens_on_this_machines_loopback_is_not_reached(request, make, python, policy):
    if policy == "full" and "bubblewrap" in request.node.name:
        pytest.skip("bubblewrap shares this machine's network with the policy full, and warns of it")
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = python(
            make(policy),
            f"""
            import socket
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "::1", "172.17.0.1", "host.docker.internal"):
                try:
                    socket.create_connection((host, {server.getsockname()[1]}), 2)
                    print(host)
                except OSError:
                    pass
            """,
        )
    assert said == []


@pytest.mark.needs("root")
def test_metadata_service_is_not_reached_unless_everything_may_be(make, python):
    """A real one, as far as a connection goes: that address on this machine."""
    address = "169.254.169.254"
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=False, capture_output=True)
    try:
        with socket.create_server((address, 0)) as server:
            for policy in ("none", "model-only", "allowlist"):
                said = python(
                    make(policy),
                    f"""
                    import os, socket
                    try:
                        socket.create_connection(("{address}", {server.getsockname()[1]}), 2)
                        print("reached")
                    except OSError:
                        pass
                    if os.environ.get("HTTP_PROXY"):
                        proxy = socket.create_connection(("127.0.0.1", 3128), 5)
                        proxy.sendall(b"CONNECT {address}:{server.getsockname()[1]} HTTP/1.1\\r\\n\\r\\n")
                        print(proxy.recv(12).decode())
                    """,
                )
                assert said == (["HTTP/1.1 403"] if policy == "allowlist" else [])
    finally:
        subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=False, capture_output=True)


@pytest.mark.parametrize("policy", ["full", "model-only"])
def test_token_of_another_run_can_not_be_found_and_opens_nothing(make, shell, python, tmp_path, policy):
    one, other = make(policy), make(policy)
    script = tmp_path / "model.yaml"
    script.write_text("- say: one\n- say: two\n")

    def listening(sandbox):
        return listen(sandbox.gateway_host().bind)

    def session(of, name):
        cassette = Cassette(tmp_path / name, Redactor({}))
        return of.open(upstream=load_script(script), cassette=cassette, emit=lambda _: None)

    with listening(one) as first, listening(other) as second:
        mine, theirs = session(first, "one"), session(second, "other")
        held = shell.start(other, f"echo {theirs.token} >/app/.runbook/token; echo up; exec sleep 30",
                           env={"ANTHROPIC_AUTH_TOKEN": theirs.token})  # fmt: skip
        for _ in held:
            break
        look = "cat /proc/*/environ /proc/*/cmdline; find / -xdev -name token -type f -exec cat {} +; ls -R /tmp /run"
        assert theirs.token.encode() not in shell(one, f"({look}) 2>/dev/null; exit 0").stdout
        address = one.gateway_host()
        said = python(
            one,
            f"""
            import http.client, json
            for token in ("{theirs.token}", "{mine.token}"):
                line = http.client.HTTPConnection("{address.reach}", {address.port or first.address[1]}, timeout=10)
                question = {{"model": "m", "messages": [{{"role": "user", "content": "a"}}]}}
                line.request("POST", "/v1/messages", json.dumps(question), {{"x-api-key": token}})
                print(line.getresponse().status)
            """,
        )
        held.kill()
    assert said == ["401", "200"]
    assert (theirs.calls, mine.calls) == (0, 1)
