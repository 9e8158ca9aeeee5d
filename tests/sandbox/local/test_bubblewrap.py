"""What only the bubblewrap sandbox promises: nothing of it reaches the programs around it, and of this machine's files
it sees no more than a program needs."""

import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.sandbox.local import machine_files
from runbook_runner.sandbox.local.programs import find_tools

pytestmark = pytest.mark.needs("bubblewrap")


@pytest.fixture
def sandbox(make_bubblewrap):
    started = make_bubblewrap()
    started.start()
    return started


# --- variables -----------------------------------------------------------------------------------------------------


def test_variables_steer_no_program_outside(sandbox, shell, tmp_path, monkeypatch):
    """A dynamic linker that is told to writes a log, a PATH chooses programs, Python reads what its variables name."""
    monkeypatch.chdir(tmp_path)
    bwrap = tmp_path / "bin/bwrap"
    bwrap.parent.mkdir()
    bwrap.write_text(f'#!/bin/sh\n: >{tmp_path}/log.path\nexec /usr/bin/bwrap "$@"\n')
    bwrap.chmod(0o755)
    hostile = {
        "LD_DEBUG": "libs",
        "LD_DEBUG_OUTPUT": f"{tmp_path}/log.ld",
        "PATH": f"{bwrap.parent}:.:/usr/bin:/bin",
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": str(tmp_path),
        "BASH_ENV": f"{tmp_path}/log.bash",
    }
    ran = shell(sandbox, "echo done; echo $PATH $PYTHONHOME", env=hostile)
    assert f"done\n{hostile['PATH']} /nowhere\n" in ran.stdout.decode(), ran.stderr
    assert list(tmp_path.glob("log.*")) == []


@pytest.mark.parametrize("value", ["a\0--bind\0/\0/mnt", "\0"])
def test_a_value_can_not_become_an_argument_of_bwrap(sandbox, shell, value):
    with pytest.raises(SandboxError, match="GIVEN"):
        shell(sandbox, "ls /mnt", env={"GIVEN": value})
    with pytest.raises(SandboxError, match="can't be a variable"):
        shell(sandbox, "ls /mnt", env={"A=--bind": "x"})


def test_values_are_in_no_command_line_and_in_no_environment_outside(sandbox, shell):
    canary = f"canary-{secrets.token_hex(8)}"
    stays = "echo ready; sleep 60; true"  # no exec: in that moment it has no environment
    process = shell.start(sandbox, stays, env={"GIVEN": canary})
    assert next(iter(process)).data == b"ready\n"
    outside = Path("/proc/self/ns/pid").readlink()
    seen = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = (entry / "ns/pid").readlink() != outside
            assert canary.encode() not in (entry / "cmdline").read_bytes()
            seen += [inside] if canary.encode() in (entry / "environ").read_bytes() else []
        except OSError:
            continue
    process.kill()
    process.wait()
    assert set(seen) == {True}


@pytest.mark.parametrize("kind", ["secret", "agent", "path"])
def test_what_a_repository_says_about_variables_runs_nothing_here(runbook, shell_runbook, tmp_path, kind):
    """Through a value of a declared secret, and through the variables of a declared agent."""
    marks = f"{tmp_path}/pwned"
    folder = shell_runbook("echo hi >/app/results/out.txt")
    document = folder / "RUNBOOK.md"
    (folder / "bin").mkdir()
    (folder / "bin/bwrap").write_text(f'#!/bin/sh\n: >{marks}.bwrap\nexec /usr/bin/bwrap "$@"\n')
    (folder / "bin/bwrap").chmod(0o755)
    if kind == "secret":
        names = "secrets:\n  LD_DEBUG_OUTPUT: {}\n  LD_DEBUG: {}"
        text = document.read_text().replace("agent: shell", f"agent: shell\n{names}")
        document.write_text(text)
        (folder / ".env").write_text(f"LD_DEBUG=libs\nLD_DEBUG_OUTPUT={marks}\n")
    else:
        document.write_text(document.read_text().replace("agent: shell", "agent: nice"))
        env = (
            f'LD_DEBUG = "libs", LD_DEBUG_OUTPUT = "{marks}"'
            if kind == "agent"
            else f'PATH = "{folder}/bin:/usr/bin:/bin"'
        )
        declared = folder / ".runbook/agents/nice.toml"
        declared.parent.mkdir(parents=True)
        declared.write_text(f'argv = ["sh", "-c", "echo hi >/app/results/out.txt"]\nenv = {{ {env} }}\n')
    runbook("run", folder, "--sandbox", "bubblewrap", "--network", "none", "--json")
    assert list(tmp_path.glob("pwned*")) == []


# --- files of this machine -----------------------------------------------------------------------------------------


def test_what_not_every_user_may_read_is_hidden_whoever_runs_it(tmp_path, monkeypatch):
    folder = tmp_path / "ssl"
    for name, mode in (("private/host.key", 0o644), ("certs/own.key", 0o640), ("certs/public.pem", 0o644)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
        (folder / name).chmod(mode)
    (folder / "private").chmod(0o710)
    (folder / "link").symlink_to("private")
    monkeypatch.setattr(machine_files, "_SEARCHED", (str(folder), str(folder / "absent")))
    assert sorted(machine_files.hidden_files()) == [(f"{folder}/certs/own.key", False), (f"{folder}/private", True)]


def test_no_file_that_others_may_not_read_is_seen_below_etc(sandbox, shell):
    """Whoever runs it: also this machine's root."""
    private = "find /etc -mindepth 1 -type f ! -perm -o=r -size +0 2>/dev/null"
    assert shell(sandbox, f"{private}; find /etc/ssl/private -type f; :").stdout == b""


# --- programs outside /usr -----------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with something private in it."""
    folder = tmp_path / "home"
    (folder / "private").mkdir(parents=True)
    (folder / "private/key").write_text("the key")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def _script(file, text="echo it works"):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    "place",
    ["bin/tool", ".nvm/versions/node/v22/bin/tool", ".npm/lib/node_modules/tool/cli", "envs/tool/bin/tool"],
)
def test_a_program_in_the_home_works_and_nothing_beside_it_is_seen(make_bubblewrap, shell, home, place):
    program = _script(home / place)
    if "envs" in place:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "envs/tool"], check=True)
    (home / "link").symlink_to(program)
    sandbox = make_bubblewrap(host_tools=(str(home / "link"),))
    sandbox.start()
    ran = shell(sandbox, f"link; cat {home}/private/key; ls {home}/private")
    assert ran.stdout == b"it works\n", ran.stderr


@pytest.mark.parametrize("name", ["pyvenv.cfg", "venv in the project", "python of the home"])
def test_a_program_never_brings_the_home_or_the_project_with_it(make_bubblewrap, home, tmp_path, monkeypatch, name):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    program = _script(home / "bin/tool")
    if name == "pyvenv.cfg":
        (home / "pyvenv.cfg").touch()
    elif name == "venv in the project":
        (project / "pyvenv.cfg").touch()
        program = _script(project / "bin/tool")
    else:
        program = _script(home / "envs/tool/bin/tool")
        (home / "envs/tool/pyvenv.cfg").touch()
        _script(home / "lib/python3.12/os.py")
        (home / "envs/tool/bin/python").symlink_to(_script(home / "bin/python3.12"))
    with pytest.raises(NotReadyError, match="show the agent all of") as refused:
        make_bubblewrap(host_tools=(str(program),)).start()
    assert "--sandbox docker" in str(refused.value.hint)


def test_an_environment_whose_python_leads_elsewhere_shows_that_file_alone(home):
    program = _script(home / "envs/tool/bin/tool")
    (home / "envs/tool/pyvenv.cfg").touch()
    key = _script(home / "private/sub/key")
    (home / "envs/tool/bin/python").symlink_to(key)
    (tool,) = find_tools([str(program)])
    assert tool.needs == (str(home / "envs/tool"), str(key))


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc/ssl", "/run"])
def test_a_link_to_what_is_no_program_is_not_shown(home, target):
    (home / "tool").symlink_to(target)
    assert find_tools([str(home / "tool")]) == ()


def test_a_socket_is_not_a_program(home):
    with socket.socket(socket.AF_UNIX) as listening, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder, "tool")
        listening.bind(str(place))
        place.chmod(0o777)
        assert find_tools([str(place)]) == ()


def test_a_link_that_an_agent_has_left_in_tmp_leads_bwrap_nowhere(make_bubblewrap, shell, tmp_path):
    """The mounts of the next command go over a folder of this machine that has the same name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        program = _script(Path(folder, "deep/bin/tool"))
        sandbox = make_bubblewrap(host_tools=(str(program),))
        sandbox.start()
        target = tmp_path / "target"
        target.mkdir()
        mine = Path(sandbox.sandbox_id, "tmp", Path(folder).name)
        assert not mine.exists()
        mine.symlink_to(f"/oldroot{target}")
        shell(sandbox, "tool")
        assert list(target.iterdir()) == []
        mine.unlink()
        assert shell(sandbox, "tool; echo x >/tmp/$0/x").stdout == b"it works\n"
