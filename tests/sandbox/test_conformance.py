"""What every sandbox does. One suite, run against each backend."""

import os
import re
import socket
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from runbook_runner.core.errors import CancelledError, InputError, SandboxError
from runbook_runner.core.network.unix_sockets import listen_unix
from runbook_runner.sandbox.base import FOLDERS, PutFile, Wanted

ROOMY = Wanted(max_bytes=1 << 30, max_files=1000)


def files(received):
    return sorted(file.path for file in received.files)


def odd_sleep():
    """A `sleep` no other test or program runs, as its argument."""
    return f"1{uuid4().int % 10**9:09}"


# --- start and exec ------------------------------------------------------------------------------------------------


def test_started_sandbox_has_the_folders_open_to_everybody(sandbox, shell):
    for folder in FOLDERS[1:]:
        modes = shell(sandbox, f"ls -ld {folder}").stdout
        assert modes.startswith(b"drwxrwxrwx"), folder


def test_output_arrives_while_the_command_runs(sandbox, shell):
    process = shell.start(sandbox, "echo first; until [ -e seen ]; do sleep 0.05; done; echo second")
    chunks = iter(process)
    assert next(chunks).data == b"first\n"
    sandbox.put([PutFile("/app/work/seen", b"")])
    assert b"".join(chunk.data for chunk in chunks) == b"second\n"
    assert process.wait().code == 0


def test_stdout_and_stderr_are_kept_apart_each_in_order(sandbox, shell):
    ran = shell(sandbox, "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    assert ran.stdout == b"out1\nout2\nout3\n"
    assert ran.stderr == b"err1\nerr2\nerr3\n"


def test_much_binary_output_arrives_whole(sandbox, shell):
    ran = shell(sandbox, "head -c 20000000 /dev/zero | tr '\\0' '\\377'")
    assert len(ran.stdout) == 20_000_000
    assert set(ran.stdout) == {255}


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("exit 124", 124), ("kill -9 $$", 137)])
def test_exit_code_is_the_commands(sandbox, shell, script, code):
    ran = shell(sandbox, script)
    assert (ran.exit.code, ran.exit.ended_by) == (code, "exit")


def test_files_that_come_with_a_command_are_there_when_it_starts(sandbox, shell):
    files = [PutFile("/app/assets/a/b.txt", b"of the file\n")]
    ran = shell(sandbox, "cat /app/assets/a/b.txt -", stdin=b"of stdin\n", files=files)
    assert (ran.stdout, ran.exit.code) == (b"of the file\nof stdin\n", 0)


def test_missing_program_exits_127_and_says_so(sandbox, shell):
    process = sandbox.exec(["no-such-program-here"], deadline_s=10)
    said = b"".join(chunk.data for chunk in process if chunk.stream == "stderr")
    assert process.wait().code == 127
    assert b"no-such-program-here" in said


def test_missing_working_folder_exits_126_and_says_so(sandbox):
    process = sandbox.exec(["true"], cwd="/app/nowhere", deadline_s=10)
    said = b"".join(chunk.data for chunk in process if chunk.stream == "stderr")
    assert process.wait().code == 126
    assert b"nowhere" in said


def test_arguments_arrive_as_they_are(sandbox):
    odd = ["", " ", "$HOME", "a'b\"c", "-n", "ü\n!"]
    process = sandbox.exec(["python3", "-c", "import sys; print(sys.argv[1:])", *odd], deadline_s=10)
    assert b"".join(chunk.data for chunk in process).decode().strip() == repr(odd)


def test_environment_is_what_was_given_and_nothing_of_the_users(sandbox, shell, monkeypatch):
    monkeypatch.setenv("MY_PRIVATE_KEY", "canary")
    ran = shell(sandbox, "env", env={"GIVEN": "a b=c\nd"})
    assert b"GIVEN=a b=c\nd" in ran.stdout
    assert b"canary" not in ran.stdout


def test_commands_run_in_the_work_folder_or_where_asked(sandbox, shell):
    assert shell(sandbox, "pwd -P").stdout.decode().strip() == sandbox.localise("/app/work")
    assert shell(sandbox, "pwd -P", cwd="/app/results").stdout.decode().strip() == sandbox.localise("/app/results")


def test_stdin_is_empty_unless_given(sandbox, shell):
    assert shell(sandbox, "cat; echo end").stdout == b"end\n"
    content = b"mission\n\0\xff" * 100_000
    assert shell(sandbox, "cat", stdin=content).stdout == content
    assert shell(sandbox, "cat", stdin=b"").stdout == b""


def test_given_stdin_leaves_no_file(sandbox, shell):
    shell(sandbox, "cat", stdin=b"the mission")
    assert shell(sandbox, "find /app -type f").stdout == b""


# --- the end of a command ------------------------------------------------------------------------------------------


def test_deadline_ends_the_command_and_a_child_that_called_setsid(sandbox, shell, running):
    mark = odd_sleep()
    ran = shell(sandbox, f"echo before; setsid sleep {mark} & sleep {mark}", deadline_s=1)
    assert ran.stdout == b"before\n"
    assert (ran.exit.code, ran.exit.ended_by) == (None, "deadline")
    assert running(f"sleep {mark}") == []


def test_deadline_ends_a_command_that_ignores_sigterm(sandbox, shell, running):
    mark = odd_sleep()
    ran = shell(sandbox, f"trap '' TERM; setsid sh -c \"trap '' TERM; sleep {mark}; sleep {mark}\"", deadline_s=1)
    assert ran.exit.ended_by == "deadline"
    assert running(mark) == []


def test_deadline_holds_when_nobody_reads(sandbox, shell, running, eventually):
    mark = odd_sleep()
    shell.start(sandbox, f"touch begun; yes {mark} | head -c 50000000; sleep {mark}", deadline_s=1)
    eventually(lambda: shell(sandbox, "ls").stdout == b"begun\n")
    eventually(lambda: running(mark) == [])


def test_kill_from_another_thread_ends_everything_the_command_started(sandbox, shell, running, in_thread):
    mark = odd_sleep()
    process = shell.start(sandbox, f"setsid sleep {mark} & echo ready; sleep {mark}")
    for chunk in process:
        assert chunk.data == b"ready\n"
        in_thread(process.kill)
    assert process.wait().ended_by == "killed"
    assert running(f"sleep {mark}") == []


def test_kill_gives_the_reason_it_was_given_first(sandbox, shell):
    process = shell.start(sandbox, "sleep 60")
    process.kill("deadline")
    process.kill("killed")
    assert process.wait().ended_by == "deadline"


def test_kill_after_the_end_changes_nothing(sandbox, shell):
    process = shell.start(sandbox, "exit 4")
    assert process.wait().code == 4
    process.kill()
    assert process.wait().code == 4


def test_background_child_that_holds_the_output_does_not_hold_up_the_end(sandbox, shell):
    ran = shell(sandbox, f"sleep {odd_sleep()} & echo done; exit 5")
    assert ran.stdout == b"done\n"
    assert (ran.exit.code, ran.exit.ended_by) == (5, "exit"), "not at the deadline"


def test_next_command_works_after_a_deadline(sandbox, shell):
    shell(sandbox, "sleep 60", deadline_s=0.5)
    assert shell(sandbox, "echo again").stdout == b"again\n"


def test_process_over_the_memory_limit_does_not_take_it(make_sandbox, shell):
    small = make_sandbox(memory_bytes=256 << 20)
    small.start()
    ran = shell(small, "python3 -c 'x = bytearray(1 << 30); print(len(x))'")
    assert ran.exit.code != 0
    assert ran.stdout == b""


@pytest.mark.needs("linux")
def test_removed_file_that_a_later_thread_alone_has_mapped_counts_as_disk(make_sandbox, shell):
    small = make_sandbox(disk_bytes=50 << 20, lifetime_s=240)
    small.start()
    ran = shell(small, MAPPED, deadline_s=200)
    assert ran.exit.ended_by == "killed", ran.stderr
    assert [hit.limit for hit in small.limits_hit()] == ["disk"]


MAPPED = """python3 -c '
import ctypes, os, threading, time
def hold():
    file = os.open("/app/work/big", os.O_RDWR | os.O_CREAT)
    os.unlink("/app/work/big")
    os.truncate(file, size)
    memory = libc.mmap(None, size, 3, 1, file, 0)
    os.close(file)
    ctypes.memset(memory, 1, size)
    time.sleep(1000)
libc, size = ctypes.CDLL(None), 100 << 20
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
threading.Thread(target=hold).start()
libc.pthread_exit(None)
'"""


# --- put -----------------------------------------------------------------------------------------------------------


def test_put_writes_bytes_and_files_with_their_modes(sandbox, shell, tmp_path):
    source = tmp_path / "data.csv"
    source.write_bytes(b"a,b\n1,2\n")
    sandbox.put(
        [
            PutFile("/app/assets/deep/er/data.csv", source),
            PutFile("/app/.runbook/run.sh", b"#!/bin/sh\necho ran\n", mode=0o755),
            PutFile("/app/work/empty", b""),
        ]
    )
    assert shell(sandbox, "cat /app/assets/deep/er/data.csv").stdout == b"a,b\n1,2\n"
    assert shell(sandbox, "/app/.runbook/run.sh").stdout == b"ran\n"
    listed = shell(sandbox, "cd /app; ls -ld assets/deep/er .runbook/run.sh work/empty | cut -c1-10").stdout
    assert listed.split() == [b"-rwxr-xr-x", b"drwxrwxrwx", b"-rw-rw-rw-"]


def test_put_replaces_what_is_there(sandbox, shell):
    sandbox.put([PutFile("/app/work/note", b"a longer first version")])
    sandbox.put([PutFile("/app/work/note", b"second")])
    assert shell(sandbox, "cat note").stdout == b"second"


def test_hundred_megabytes_go_in_and_come_out_whole(sandbox, shell, tmp_path):
    source = tmp_path / "big"
    block = os.urandom(1 << 20)
    with source.open("wb") as out:
        for _ in range(100):
            out.write(block)
    sandbox.put([PutFile("/app/results/big", source)])
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert [file.size for file in received.files] == [100 << 20]
    assert (tmp_path / "out/big").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("path", ["/etc/passwd", "/app/../etc/passwd", "app/x", "/application/x", "/app", "/app/a/./b"])
def test_put_elsewhere_is_refused(sandbox, path):
    with pytest.raises(InputError, match="not a path where a sandbox takes files"):
        sandbox.put([PutFile(path, b"")])


def test_put_of_a_missing_source_names_it(sandbox, tmp_path):
    with pytest.raises(InputError, match="not-there"):
        sandbox.put([PutFile("/app/work/x", tmp_path / "not-there")])


def test_put_of_a_link_is_refused(sandbox, shell, tmp_path):
    (tmp_path / "key").write_text("private")
    (tmp_path / "link").symlink_to("key")
    with pytest.raises(InputError, match="link: it is a link"):
        sandbox.put([PutFile("/app/work/x", tmp_path / "link")])
    assert b"private" not in shell(sandbox, "cat /app/work/x").stdout


class Stopped:
    """A source that ends what it is read for."""

    size = 1

    def open(self, mode):
        raise CancelledError("The run was cancelled.")


def test_a_source_that_is_stopped_ends_the_put(sandbox, shell):
    with pytest.raises(CancelledError, match=r"The run was cancelled\."):
        sandbox.put([PutFile("/app/work/x", Stopped()), PutFile("/app/work/y", b"y")])
    assert shell(sandbox, "test ! -e /app/work/y && echo none").stdout.strip() == b"none"


# --- get -----------------------------------------------------------------------------------------------------------


def test_get_brings_the_tree_owned_by_the_caller(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; mkdir -p a/b empty; echo one >a/b/1.txt; echo two >2.txt; chmod 0400 2.txt")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    found = {file.path: (file.size, file.sandbox_path) for file in received.files}
    assert found == {"2.txt": (4, "/app/results/2.txt"), "a/b/1.txt": (4, "/app/results/a/b/1.txt")}
    assert (tmp_path / "out/a/b/1.txt").read_bytes() == b"one\n"
    seen = (tmp_path / "out/2.txt").stat()
    assert (seen.st_mode & 0o777, seen.st_uid) == (0o600, os.getuid())
    assert received.skipped == ()


def test_get_of_one_file_brings_that_file(sandbox, shell, tmp_path):
    shell(sandbox, "echo one >/app/results/1.txt")
    received = sandbox.get("/app/results/1.txt", tmp_path, ROOMY)
    assert [(file.path, file.sandbox_path) for file in received.files] == [("1.txt", "/app/results/1.txt")]
    assert (tmp_path / "1.txt").read_text() == "one\n"


@pytest.mark.parametrize("path", ["/app/nothing", "/app/nothing/below"])
def test_get_of_a_missing_path_is_empty(sandbox, tmp_path, path):
    assert sandbox.get(path, tmp_path, ROOMY).files == ()


def test_link_to_a_file_of_the_system_is_skipped_and_reported(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; ln -s /etc/passwd users; ln -s / top; ln -s ../work up; echo ok >ok")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert [file.path for file in received.files] == ["ok"]
    assert dict(received.skipped) == dict.fromkeys(("users", "top", "up"), "a symbolic link")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ok"]


def test_folder_of_a_repository_is_skipped_and_told_once(sandbox, shell, tmp_path):
    """Its configuration names programs that git starts for who looks at the results."""
    made = (
        "mkdir -p .git/refs a/.Git b/.hg c; touch .git/config .git/refs/x a/.Git/config b/.hg/hgrc c/.git c/.gitignore"
    )
    shell(sandbox, f"cd /app/results; {made}")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert [file.path for file in received.files] == ["c/.gitignore"]
    assert sorted(name for name, _ in received.skipped) == [".git", "a/.Git", "b/.hg", "c/.git"]


def test_file_that_makes_its_folder_a_repository_is_skipped_and_another_of_that_name_is_kept(sandbox, shell, tmp_path):
    """Git looks for HEAD, objects and refs, or for HEAD and a commondir that says where those are."""
    commit = "C" * 40
    made = f"""echo 'ref: refs/heads/main' >HEAD; echo '[core]' >config; mkdir -p a/b c d
        printf 'ref:\n refs/x' >a/Head; ln a/Head a/b/HEAD; printf {commit} >c/head; echo .. >c/commondir
        ln -s refs/heads/main d/HEAD; mkdir e e/HEAD; echo 1 >e/HEAD/HEAD; echo 'the head of it' >a/b/head.txt"""
    shell(sandbox, f"cd /app/results; {made}")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert sorted(files(received)) == ["a/b/head.txt", "c/commondir", "config", "e/HEAD/HEAD"]
    assert sorted(name for name, _ in received.skipped) == ["HEAD", "a/Head", "a/b/HEAD", "c/head", "d/HEAD"]
    assert not (tmp_path / "out/HEAD").exists()


def test_results_folder_that_became_a_link_is_not_followed(sandbox, shell, tmp_path):
    shell(sandbox, "rm -r /app/results; ln -s /etc /app/results")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert received.files == ()
    assert received.skipped == (("results", "a symbolic link"),)


def test_link_above_the_fetched_path_leads_nowhere(sandbox, shell, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("canary")
    shell(sandbox, f"ln -s {tmp_path} /app/results/host")
    assert sandbox.get("/app/results/host/secret", tmp_path / "out", ROOMY).files == ()


def test_pipes_are_skipped_without_waiting_for_them(sandbox, shell, tmp_path):
    shell(sandbox, "mkfifo /app/results/pipe; echo ok >/app/results/ok")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert [file.path for file in received.files] == ["ok"]
    assert received.skipped == (("pipe", "a pipe"),)


def test_hard_links_in_the_tree_are_files_of_their_own(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; echo same >a; ln a b")
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert sorted(file.path for file in received.files) == ["a", "b"]
    assert (tmp_path / "out/a").read_text() == (tmp_path / "out/b").read_text() == "same\n"


@pytest.mark.needs("linux")
def test_odd_names_are_kept_and_bytes_that_are_no_text_are_spelled_out(sandbox, shell, tmp_path):
    long_name = "n" * 200
    script = f"""cd /app/results; for name in 'new
line' 'ünï' ' blank ' "$(printf 'bad\\377')" 'back\\slash' {long_name}; do echo x >"$name"; done"""
    shell(sandbox, script)
    received = sandbox.get("/app/results", tmp_path / "out", ROOMY)
    names = {file.path for file in received.files}
    assert names == {"new\nline", "ünï", " blank ", "bad\\xff", "back\\slash", long_name}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert received.skipped == ()


def test_what_a_limit_leaves_out_is_named_and_the_rest_is_fetched(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; mkdir b; echo 1 >a; head -c 9000 /dev/zero >b/big; echo 1 >c")
    received = sandbox.get("/app/results", tmp_path / "out", Wanted(max_bytes=5000, max_files=100))
    assert (files(received), received.skipped) == (
        ["a", "c"],
        (("b/big", "with it they would have more than 5,000 bytes"),),
    )
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["a", "b", "c"]


def test_executable_files_and_empty_folders_stay_what_they_are(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; mkdir -p empty/inner; echo 1 >run.sh; chmod 755 run.sh; echo 1 >data; ln run.sh z")
    sandbox.get("/app/results", tmp_path / "out", ROOMY)
    assert (tmp_path / "out/empty/inner").is_dir()
    modes = {name: (tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("run.sh", "z", "data")}
    assert modes == {"run.sh": 0o700, "z": 0o700, "data": 0o600}


def test_a_part_of_a_tree_keeps_its_place(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; mkdir -p a/b .git; echo 1 >a/b/c; ln a/b/c a/b/d; echo 1 >.git/config")
    for path in ("a/b/c", "a/b", ".git/config"):
        received = sandbox.get(f"/app/results/{path}", tmp_path / path[-1], replace(ROOMY, below=path))
        stored = {"c": ["a/b/c"], "b": ["a/b/c", "a/b/d"], "g": []}[path[-1]]
        assert files(received) == stored
        assert [file.sandbox_path for file in received.files] == [f"/app/results/{name}" for name in stored]
        assert [file for file in stored if not (tmp_path / path[-1] / file).is_file()] == []


def test_what_was_there_before_is_fetched_when_it_has_changed(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; mkdir d; echo 1 >d/old; echo 1 >changed; touch -d '2001-01-01' changed d/old")
    before = {file.sandbox_path: file.stamp for file in sandbox.get("/app/results", tmp_path / "1", ROOMY).files}
    shell(sandbox, "cd /app/results; echo 2 >changed; echo 1 >new")
    received = sandbox.get("/app/results", tmp_path / "2", replace(ROOMY, before=before))
    assert files(received) == ["changed", "new"]
    assert received.skipped == (("d/old", "it was there before the agent started, and has not changed"),)


class Filter:
    def __init__(self, content, name=str):
        self.name = name
        self.content = content

    def __call__(self, name, content):
        return self.content(name, content)


def test_a_huge_sparse_file_is_refused_at_once(sandbox, shell, tmp_path):
    shell(sandbox, "truncate -s 1T /app/results/sparse || dd if=/dev/zero of=/app/results/sparse bs=1 count=1 seek=1T")
    read = []
    scrub = Filter(lambda name, file: read.append(name) or file)
    received = sandbox.get("/app/results", tmp_path / "out", replace(ROOMY, scrub=scrub))
    assert [path for path, _ in received.skipped] == ["sparse"]
    assert read == [], "its size is enough"
    assert list((tmp_path / "out").iterdir()) == []


def test_too_many_entries_name_the_limit(sandbox, shell, tmp_path):
    shell(sandbox, "cd /app/results; for i in $(seq 30); do ln -s x link$i; done")
    received = sandbox.get("/app/results", tmp_path / "out", Wanted(max_bytes=1000, max_files=20))
    assert received.skipped[-1][1] == "more than 20 entries; what comes after it was not looked at"
    assert len(received.skipped) == 21


def test_scrub_stands_between_the_sandbox_and_the_disk(sandbox, shell, tmp_path):
    class Shout:
        def __init__(self, content):
            self.content = content

        def read(self, size):
            return self.content.read(size).upper()

    shell(sandbox, "mkdir /app/results/d; echo quiet >/app/results/d/word")
    seen = []
    scrub = Filter(lambda name, file: seen.append(name) or Shout(file))
    sandbox.get("/app/results", tmp_path / "out", replace(ROOMY, scrub=scrub))
    assert seen == ["d/word"]
    assert (tmp_path / "out/d/word").read_text() == "QUIET\n"


def test_files_that_get_the_same_name_are_all_kept(sandbox, shell, tmp_path):
    shell(sandbox, "mkdir /app/results/key-1; cd /app/results/key-1; echo a >key-2; echo b >key-3; ln key-2 second")
    scrub = Filter(lambda _, file: file, lambda name: re.sub(r"\d", "X", name))
    received = sandbox.get("/app/results", tmp_path / "out", replace(ROOMY, scrub=scrub))
    assert {file.path for file in received.files} == {"key-X/key-X", "key-X/key-X-2", "key-X/second"}
    assert (tmp_path / "out/key-X/second").read_text() == "a\n"
    assert received.skipped == ()


# --- the end of a sandbox ------------------------------------------------------------------------------------------


LATER_THREAD = """python3 -c '
import ctypes, os, threading, time
def work():
    while True:
        open("/app/work/log", "a").write("x")
        time.sleep(0.01)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
'"""
"""Its first thread has ended, so that it looks like a zombie."""
NAMED = """python3 -c '
import ctypes, time
ctypes.CDLL(None).prctl(15, b"x) Z 1\\n", 0, 0, 0)  # PR_SET_NAME
while True:
    open("/app/work/log", "a").write("x")
    time.sleep(0.01)
'"""
"""The first line of its /proc/PID/stat is that of a zombie."""
LEFT = {
    "shell": "sh -c 'while :; do echo x >>/app/work/log; sleep 0.01; done'",
    "thread": LATER_THREAD,
    "name": NAMED,
}


@pytest.mark.needs("linux")
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_what_commands_have_left_behind_can_be_ended_and_others_follow(sandbox, shell, left):
    shell(sandbox, f"setsid {left} </dev/null >/dev/null 2>&1 & until [ -s /app/work/log ]; do sleep 0.01; done")
    sandbox.end_processes()
    size = "stat -c %s /app/work/log"
    assert len(set(shell(sandbox, f"{size}; sleep 0.3; {size}").stdout.split())) == 1


def test_leaving_the_context_leaves_nothing(make_sandbox, shell, is_gone, running, eventually):
    mark = odd_sleep()
    with make_sandbox() as sandbox:
        shell.start(sandbox, f"touch /app/results/x; mkdir -p no/access; chmod 0 no; setsid sleep {mark}")
        eventually(lambda: running(f"sleep {mark}"))
    assert is_gone(sandbox)
    assert running(f"sleep {mark}") == []


def test_leaving_by_an_error_leaves_nothing(make_sandbox, is_gone):
    with pytest.raises(ZeroDivisionError), make_sandbox() as sandbox:
        raise ZeroDivisionError
    assert is_gone(sandbox)


def test_stop_may_be_called_again_and_before_the_start(make_sandbox, is_gone):
    sandbox = make_sandbox()
    sandbox.stop()
    with pytest.raises(SandboxError, match="stopped"):
        sandbox.start()
    other = make_sandbox()
    other.start()
    other.stop()
    other.stop()
    assert is_gone(other)


def test_stop_from_another_thread_ends_a_running_command(sandbox, shell, is_gone, in_thread):
    process = shell.start(sandbox, "echo ready; sleep 60")
    for _ in process:
        in_thread(sandbox.stop)
    assert process.wait().ended_by == "killed", "not at the deadline"
    sandbox.stop()
    assert is_gone(sandbox)


def test_stopped_sandbox_refuses_work_with_a_clear_error(sandbox, tmp_path):
    sandbox.stop()
    with pytest.raises(SandboxError):
        sandbox.exec(["true"], deadline_s=5)
    with pytest.raises(SandboxError):
        sandbox.put([PutFile("/app/work/x", b"")])
    with pytest.raises(SandboxError):
        sandbox.get("/app/results", tmp_path, ROOMY)


def test_two_sandboxes_do_not_share_files(make_sandbox, shell):
    one, other = make_sandbox(), make_sandbox()
    one.start()
    other.start()
    shell(one, "echo mine >/app/results/x")
    assert shell(other, "ls /app/results").stdout == b""


@pytest.mark.parametrize("after_a_deadline", [False, True])
def test_a_server_on_the_gateway_address_is_reached_from_inside(sandbox, shell, after_a_deadline):
    address = sandbox.gateway_host()
    if after_a_deadline:
        shell(sandbox, "sleep 60", deadline_s=0.5)
    path = address.bind.removeprefix("unix:")
    with listen_unix(Path(path)) if path != address.bind else socket.create_server((address.bind, 0)) as server:
        port = address.port or server.getsockname()[1]
        process = shell.start(
            sandbox,
            f"python3 -c \"import socket; print(socket.create_connection(('{address.reach}', {port})).recv(9))\"",
            deadline_s=60,
        )
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"welcome")
        said = b"".join(chunk.data for chunk in process)
    assert said == b"b'welcome'\n"
