"""Check sources: git repositories with files for the checks, which the agent does not see before it has ended."""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import CancelledError, NotReadyError
from runbook_runner.core.redaction import Redactor
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.checks.clones import _Commit, _Entry, _parts, _Room
from runbook_runner.runner.checks.git import open_git
from runbook_runner.runner.checks.sources import GitSource

RUNBOOK = """\
---
version: "1.0.0"
agent: shell
{front}
---
# Checked — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | x |

## Step 1: Work

```bash
{code}
```

## Code Checks

{rest}
"""
GOOD = """\
cd /app/results
echo '{"version": 2, "checks": [{"kind": "step", "id": "work", "status": "pass"}]}' > validation_report.json
echo one > /app/results/out.txt"""
CHECK = "### golden — X\n\n```bash\ndiff {{checks_dir}}/golden/expected.txt $RESULTS_DIR/out.txt\n```\n"
ALLOWED = ("--network", "allowlist", "--allow-host", "localhost", "--allow-host", "127.0.0.1")


def source(url: str, **more: str) -> str:
    keys = "".join(f", {key}: '{value}'" for key, value in more.items())
    return f"code_checks:\n  sources:\n    - {{name: golden, type: git, url: '{url}'{keys}}}"


def run(
    runbook: Any, front: str, *args: str, code: str = GOOD, rest: str = CHECK, env: dict[str, str] | None = None
) -> Any:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(front=front, code=code, rest=rest))
    return runbook("run", "RUNBOOK.md", "--json", *(args or ("--sandbox", "host")), env=env)


def statuses(ran: Any) -> dict[str, str]:
    return {event["id"]: event["status"] for event in ran.events("check.finished")}


def logs(ran: Any) -> list[str]:
    return [event["message"] for event in ran.events("log")]


# --- what works ----------------------------------------------------------------------------------------------------


def test_files_are_there_for_the_checks_and_not_for_the_agent(runbook: Any, backend: str, repository: Any) -> None:
    made = repository("checks.git")
    commit = made.files(expected_txt="one\n", deep__er__data_csv="1,2\n")
    code = f"{GOOD}\nls -R /app/checks > /app/results/seen.txt 2>&1 || true"
    rest = CHECK + "\n### deep — X\n\n```bash\ntest -f $CHECKS_DIR/golden/deep/er/data.csv\n```\n"
    ran = run(runbook, source("checks.git"), "--sandbox", backend, code=code, rest=rest)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass", "deep": "pass"}), ran.err
    assert "expected.txt" not in (ran.folder / "results" / "seen.txt").read_text()
    (said,) = [line for line in logs(ran) if "check source" in line]
    assert said.startswith(f"The check source golden is the commit {commit} of ")
    assert not runbook.left()


def test_branches_tags_and_commits_can_be_named(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    wanted = made.files(expected_txt="one\n")
    made("tag", "-a", "-m", "x", "v1", wanted)
    made("tag", "light", wanted)
    made.files(branch="side/branch", expected_txt="one\n")
    made.files(expected_txt="another\n")
    for ref in ("v1", "light", "side/branch", "refs/tags/v1", wanted):
        ran = run(runbook, source("checks.git", ref=ref))
        assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), (ref, ran.err)
    assert run(runbook, source("checks.git")).json["verdict"] == "fail"


def test_what_was_probed_is_what_is_put(runbook: Any, repository: Any) -> None:
    """A branch that moves while the agent works changes nothing."""
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    later = made.files(branch="later", expected_txt="later\n")
    code = f"{GOOD}\ncp {made.path}/refs/heads/later {made.path}/refs/heads/main"
    ran = run(runbook, source("checks.git"), code=code)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err
    assert made("rev-parse", "main") == later


def test_an_agent_that_has_checks_of_its_own_gets_the_files_and_changes_them_for_itself_alone(
    runbook: Any, backend: str, repository: Any
) -> None:
    repository("checks.git").files(expected_txt="one\n")
    code = f"""\
cat /app/checks/golden/expected.txt > /app/results/seen.txt
echo two > /app/results/out.txt
echo two > /app/checks/golden/expected.txt; echo more > /app/checks/golden/more.txt
{GOOD.rpartition("echo one")[0]}"""
    rest = CHECK + "\n### clean — X\n\n```bash\ntest ! -e $CHECKS_DIR/golden/more.txt\n```\n"
    rest += "\n### look — X\n\n```agent\nLook at it.\n```\n"
    ran = run(runbook, source("checks.git"), "--sandbox", backend, code=code, rest=rest)
    assert statuses(ran) == {"golden": "fail", "clean": "pass"}, ran.err
    assert (ran.folder / "results" / "seen.txt").read_text() == "one\n"


def test_consent_to_a_secret_ends_when_a_check_source_of_the_project_has_other_commits(
    runbook: Any, repository: Any
) -> None:
    checks = repository("checks.git")
    checks.files(expected_txt="one\n")
    front = source("checks.git") + "\nsecrets:\n  mine: {env: MY_SECRET}"
    env = {"MY_SECRET": "canary-source-4711-4711"}
    refused = run(runbook, front, env=env)
    assert (refused.code, "MY_SECRET" in refused.err) == (3, True), refused.err
    assert runbook("trust", ".").code == 0
    ran = run(runbook, front, env=env)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err
    checks.files(expected_txt="one\n", more_txt="2\n")
    assert run(runbook, front, env=env).code == 3


@pytest.mark.needs("bubblewrap")
def test_https_with_a_secret_that_nobody_sees(runbook: Any, server: Any) -> None:
    server.repository("private/checks").files(expected_txt="one\n")
    token = "canary-source-0815-0815"
    (runbook.cwd / "secrets.env").write_text(f"GIT_PAT={token}\n")
    front = source(server.url("private/checks"), secret="pat") + "\nsecrets:\n  pat: {env: GIT_PAT}"
    code = f"{GOOD}\nenv > /app/results/env.txt"
    rest = CHECK + '\n### none — X\n\n```bash\ntest -z "${GIT_PAT:-}"; ! env | grep source-0815\n```\n'
    args = ("--sandbox", "bubblewrap", "--env-file", "secrets.env", *ALLOWED)
    ran = run(runbook, front, *args, code=code, rest=rest, env={"RUNBOOK_CA_BUNDLE": str(server.bundle)})
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass", "none": "pass"}), ran.err
    assert f"GIT_PAT is for the check source golden ({server.url('private/checks')}) only" in ran.err
    assert server.credentials
    kept = [path for path in ran.folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"canary-source" in path.read_bytes() or b"Y2FuYXJ5" in path.read_bytes()]
    header = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    assert "***REDACTED:GIT_PAT***" in Redactor({"GIT_PAT": token}).clean(f"Authorization: Basic {header}")


@pytest.mark.needs("bubblewrap")
def test_a_secret_that_is_typed_opens_the_source_and_stays_hidden(runbook: Any, server: Any) -> None:
    server.repository("private/checks").files(expected_txt="one\n")
    env = {"RUNBOOK_CA_BUNDLE": str(server.bundle), "GIT_PAT": "canary-source-0815-0815"}
    front = source(server.url("private/checks"), secret="GIT_PAT") + "\nsecrets:\n  GIT_PAT: {}"
    code = f'{GOOD}\ntest -z "${{GIT_PAT:-}}"'
    refused = run(runbook, front, "--sandbox", "bubblewrap", *ALLOWED, code=code, env=env)
    assert (refused.code, "--secret NAME" in refused.err) == (3, True), refused.err
    assert server.asked == []
    ran = run(runbook, front, "--sandbox", "bubblewrap", "--secret", "GIT_PAT", *ALLOWED, code=code, env=env)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("ext::sh -c 'touch pwned'".replace("'", '"'), {}, "has an address that is not fetched"),
        ("ssh://git@example.com/x", {}, "a user or a password in it"),
        ("git@example.com:x/y", {}, "has an address that is not fetched"),
        ("http://example.com/x", {}, "has an address that is not fetched"),
        ("--upload-pack=touch pwned", {}, "has an address that is not fetched"),
        ("-utouch pwned", {}, "has an address that is not fetched"),
        ("https://me:pw@example.com/x", {}, "a user or a password in it"),
        ("https://example.com/x?token=1", {}, "has an address that is not fetched"),
        ("https://127.0.0.1/x", {}, "127.0.0.1 is a private address"),
        ("https://[::ffff:169.254.169.254]/x", {}, "is a private address"),
        ("https://2130706433/x", {}, "names no host"),
        ("https://example.com/x", {"ref": "--upload-pack=touch pwned"}, "a `ref` that is no name"),
        ("https://example.com/x", {"ref": "a..b"}, "a `ref` that is no name"),
        ("https://example.com/x", {"ref": "+main:main"}, "a `ref` that is no name"),
        ("https://example.com/x", {"secret": "NONE"}, "which the runbook does not declare"),
        ("file:///etc", {}, "is outside of the runbook"),
        ("../elsewhere", {}, "is outside of the runbook"),
        ("link", {}, "is outside of the runbook"),
        (".", {}, "is the runbook"),
        (".hidden", {}, "is a hidden folder"),
    ],
)
def test_an_address_that_a_runbook_may_not_choose_is_bad_input(
    runbook: Any, tmp_path_factory: pytest.TempPathFactory, url: str, more: dict[str, str], said: str
) -> None:
    (runbook.cwd / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    ran = run(runbook, source(url, **more))
    assert (ran.code, "RUNBOOK.md:4: The check source golden" in ran.err, said in ran.err) == (2, True, True), ran.err
    assert not list(runbook.cwd.rglob("pwned"))
    assert not list(runbook.cwd.rglob("events.jsonl"))


def test_what_lies_beside_an_unpacked_archive_is_not_of_its_project(runbook: Any, repository: Any) -> None:
    """Also where earlier runs have left a `.runbook` above both."""
    repository("private.git").files(expected_txt="mine\n")
    (runbook.cwd / ".runbook").mkdir()
    (runbook.cwd / "archive").mkdir()
    text = RUNBOOK.format(front=source("../private.git"), code=GOOD, rest=CHECK)
    (runbook.cwd / "archive/RUNBOOK.md").write_text(text)
    ran = runbook("run", "archive", "--sandbox", "host")
    assert (ran.code, "is outside of the runbook's project" in ran.err) == (2, True), ran.err


def test_a_provider_s_key_opens_no_repository(runbook: Any) -> None:
    front = source("https://example.com/x", secret="OPENAI_API_KEY") + "\nsecrets:\n  OPENAI_API_KEY: {}"
    ran = run(
        runbook, front, "--sandbox", "host", "--secret", "OPENAI_API_KEY", env={"OPENAI_API_KEY": "sk-1234567890"}
    )
    assert (ran.code, "opens no repository" in ran.err) == (2, True), ran.err


def test_names_are_folders_and_each_is_one(runbook: Any) -> None:
    for name in ("..", "a/b", "", "-x"):
        front = f"code_checks:\n  sources:\n    - {{name: '{name}', url: checks.git}}"
        assert "can't be the name of a check source" in run(runbook, front).err
    front = "code_checks:\n  sources:\n    - {name: a, url: x.git}\n    - {name: A, url: y.git}"
    ran = run(runbook, front)
    assert (ran.code, "is declared twice" in ran.err) == (2, True)
    front = "code_checks:\n  sources:\n" + "".join(f"    - {{name: n{n}, url: x.git}}\n" for n in range(21))
    assert "more than 20 check sources" in run(runbook, front).err


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("policy", ["none", "model-only", "allowlist"])
def test_the_network_policy_bounds_what_is_fetched_too(runbook: Any, policy: str) -> None:
    front = source("https://sources.example/x") + f"\nrunbook_runner: {{network: {policy}}}"
    ran = run(runbook, front, "--sandbox", "bubblewrap")
    assert (ran.code, f"which the network policy {policy} does not allow" in ran.err) == (2, True), ran.err
    assert "--allow-host sources.example" in ran.err


def failed(runbook: Any, *args: Any, **more: Any) -> Any:
    """A run that ends at the probe: no sandbox was started."""
    ran = run(runbook, *args, **more)
    events = [json.loads(line)["type"] for log in runbook.cwd.rglob("events.jsonl") for line in log.open()]
    assert "run.finished" in events
    assert "sandbox.started" not in events
    assert not runbook.left()
    return ran


def test_a_source_that_is_not_there_ends_the_run_before_it_costs_anything(runbook: Any, repository: Any) -> None:
    ran = failed(runbook, source("gone.git"))
    assert (ran.code, "RUNBOOK.md:4: The check source golden is no git repository" in ran.err) == (2, True), ran.err
    made = repository("checks.git")
    assert "has no commit yet" in failed(runbook, source("checks.git")).err
    made.files(expected_txt="one\n")
    ran = failed(runbook, source("checks.git", ref="nothing"))
    assert (ran.code, "has no branch or tag 'nothing'" in ran.err) == (2, True), ran.err
    ran = failed(runbook, source("checks.git", ref="71f018f"))
    assert "A commit is named by all of its 40 digits." in ran.err
    ran = failed(runbook, source("checks.git", ref="0" * 39 + "1"))
    assert (ran.code, "lacks what was asked for" in ran.err) == (2, True), ran.err


def test_a_dry_run_tells_of_local_sources_that_are_not_there(runbook: Any, repository: Any) -> None:
    repository("checks.git").files(expected_txt="one\n")

    def dry(*args: str, **more: str) -> Any:
        return run(runbook, source(*args, **more), "--sandbox", "host", "--dry-run")

    assert dry("checks.git").code == 0
    for ran, told in (
        (dry("gone.git"), "RUNBOOK.md:4: The check source golden is no git repository"),
        (dry("checks.git", ref="nothing"), "RUNBOOK.md:4: The check source golden has no branch or tag 'nothing'"),
    ):
        assert (ran.code, told in ran.err) == (2, True), ran.err
        (missing,) = ran.json["missing"]
        assert told in missing
    runbook_file = source("https://sources.example/x", ref="v1")
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(front=runbook_file, code=GOOD, rest=CHECK))
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--dry-run")
    told = "  Check sources  golden: https://sources.example/x at v1, which is looked for by a run only\n"
    assert (ran.code, told in ran.out) == (0, True), ran.out


def online(server: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    return ("--sandbox", "bubblewrap", *ALLOWED), {"RUNBOOK_CA_BUNDLE": str(server.bundle)}


@pytest.mark.needs("bubblewrap")
def test_a_server_that_wants_a_password_gets_none_and_waits_for_nobody(runbook: Any, server: Any) -> None:
    server.repository("private/checks").files(expected_txt="one\n")
    args, env = online(server)
    ran = failed(runbook, source(server.url("private/checks")), *args, env=env)
    assert (ran.code, "wants a password" in ran.err, "`secret:`" in ran.err) == (3, True, True), ran.err
    (runbook.cwd / "secrets.env").write_text("GIT_PAT=wrong-wrong-wrong\n")
    front = source(server.url("private/checks"), secret="GIT_PAT") + "\nsecrets:\n  GIT_PAT: {}"
    ran = failed(runbook, front, *args, "--env-file", "secrets.env", env=env)
    assert (ran.code, "does not open with GIT_PAT" in ran.err) == (3, True), ran.err


@pytest.mark.needs("bubblewrap")
def test_no_redirect_is_followed(runbook: Any, server: Any) -> None:
    server.repository("checks").files(expected_txt="one\n")
    args, env = online(server)
    ran = failed(runbook, source(server.url("moved/checks")), *args, env=env)
    assert (ran.code, "leads elsewhere" in ran.err) == (2, True), ran.err
    assert all(path.startswith("/moved/") for path in server.asked)


@pytest.mark.needs("bubblewrap")
def test_a_name_that_stands_for_a_private_address_is_refused(runbook: Any, server: Any) -> None:
    """`localhost` is such a name; nothing is said to what listens there."""
    server.repository("checks").files(expected_txt="one\n")
    env = {"RUNBOOK_CA_BUNDLE": str(server.bundle)}
    ran = failed(runbook, source(server.url("checks")), "--sandbox", "bubblewrap", env=env)
    assert (ran.code, "is a private address that is not listed itself" in ran.err) == (2, True), ran.err
    wish = source(server.url("checks")) + "\nrunbook_runner: {network: allowlist, allow_hosts: [localhost, 127.0.0.1]}"
    ran = failed(runbook, wish, "--sandbox", "bubblewrap", env=env)
    assert (ran.code, "is a private address that is not listed itself" in ran.err) == (2, True), ran.err
    assert server.asked == []


@pytest.mark.needs("bubblewrap")
def test_a_server_that_can_not_be_believed_or_reached(runbook: Any, server: Any) -> None:
    server.repository("checks").files(expected_txt="one\n")
    args, env = online(server)
    ran = failed(runbook, source(server.url("checks")), *args)
    assert (ran.code, "can't be fetched" in ran.err, "certificate" in ran.err) == (3, True, True), ran.err
    ran = failed(runbook, source(server.url("none")), *args, env=env)
    assert (ran.code, "is not at https://localhost" in ran.err) == (2, True), ran.err
    ran = failed(runbook, source("https://localhost:1/none"), *args, env=env)
    assert (ran.code, "localhost: " in ran.err) == (3, True), ran.err


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_run_that_is_ended_while_it_looks_leaves_nothing(
    runbook: Any, server: Any, eventually: Any, number: int, code: int
) -> None:
    args, env = online(server)
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(front=source(server.url("slow/x")), code=GOOD, rest=CHECK))
    process = runbook.start("run", "RUNBOOK.md", *args, env={**runbook.env, **env})
    eventually(lambda: server.asked)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert bool(runbook.left()) == (number == signal.SIGKILL)
    eventually(lambda: runbook("clean").code == 0 and not runbook.left())


def test_a_dry_run_asks_no_server(runbook: Any, server: Any) -> None:
    ran = run(runbook, source(server.url("checks"), ref="v1"), "--sandbox", "host", "--dry-run")
    assert (ran.code, server.asked) == (0, []), ran.err
    plan = ran.json["plan"]
    assert f"look whether the check source golden is there: {server.url('checks')} at v1" in plan
    assert "put the check sources into /app/checks, once the agent has ended" in plan


# --- hostile repositories ------------------------------------------------------------------------------------------


def test_a_configuration_that_came_with_a_project_starts_nothing(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    pwned = f"touch {runbook.cwd}/pwned"
    with (made.path / "config").open("a") as config:
        for key in ("core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand", "uploadpack.packObjectsHook"):
            section, name = key.split(".")
            config.write(f'[{section}]\n\t{name} = "{pwned}"\n')
        config.write(f'[remote "o"]\n\turl = "ext::{pwned}"\n\tpromisor = true\n\tuploadpack = "{pwned}"\n')
        config.write('[protocol "ext"]\n\tallow = always\n[extensions]\n\tpartialClone = o\n')
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        hook = made.path / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{pwned}\n")
        hook.chmod(0o755)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err
    assert not (runbook.cwd / "pwned").exists()


def test_the_user_s_own_configuration_and_home_are_not_used(
    runbook: Any, repository: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository("checks.git").files(expected_txt="one\n")
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text('[url "ext::false "]\n\tinsteadOf = file://\n')
    env = {"HOME": str(home), "GIT_DIR": "/nonexistent", "GIT_TRACE": str(tmp_path / "trace"), "GIT_PROXY_COMMAND": "x"}
    ran = run(runbook, source("checks.git"), env=env)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err
    assert not (tmp_path / "trace").exists()


def _linked(made: Any, secret: Path) -> None:
    (made.path / "refs" / "heads" / "other").symlink_to(secret)


def _borrowed(made: Any, secret: Path) -> None:
    (made.path / "objects" / "info").mkdir(exist_ok=True)
    (made.path / "objects" / "info" / "alternates").write_text(f"{secret.parent}\n")


def _shared(made: Any, secret: Path) -> None:
    (made.path / "commondir").write_text(f"{secret.parent}\n")


def _elsewhere(made: Any, secret: Path) -> None:
    (made.path / ".git").write_text(f"gitdir: {secret.parent}\n")


@pytest.mark.parametrize("change", [_linked, _borrowed, _shared, _elsewhere])
def test_a_repository_whose_parts_are_elsewhere_is_refused(
    runbook: Any, repository: Any, tmp_path_factory: pytest.TempPathFactory, change: Callable[[Any, Path], None]
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("0" * 40)
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    change(made, secret)
    ran = failed(runbook, source("checks.git"))
    assert (ran.code, "elsewhere" in ran.err or "has a link in it" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("name", ["HEAD", "packed-refs", "refs/heads/other"])
def test_references_that_say_to_have_gigabytes_are_not_copied(runbook: Any, repository: Any, name: str) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    with (made.path / name).open("ab") as file:
        file.truncate(3 << 30)  # no block of it is on the disk
    ran = failed(runbook, source("checks.git"))
    assert (ran.code, f"has more in '{Path(name).name}' than references" in ran.err) == (2, True), ran.err


def test_references_are_counted_and_their_folders(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    for n in range((64 << 20) // 4096):
        (made.path / "refs" / "heads" / f"{n}").mkdir()
    ran = failed(runbook, source("checks.git"))
    assert (ran.code, "has references of more than 64 MB" in ran.err) == (2, True), ran.err


def test_a_repository_with_very_many_folders_in_each_other_is_refused(
    runbook: Any, repository: Any, nested: Callable[[Path, int], Path]
) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    nested(made.path / "refs", 1000)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, "more than 200 folders in each other" in ran.err) == (2, True), ran.err


def test_a_cancellation_ends_the_reading_of_a_repository(repository: Any, tmp_path: Path) -> None:
    made, cancelled = repository("checks.git"), Cancellation()
    cancelled.request()
    (tmp_path / "work").mkdir(mode=0o700)
    asked = GitSource("golden", str(made.path), None, None, None, folder=made.path)
    with pytest.raises(CancelledError), open_git(asked, tmp_path / "work", None, cancelled.ends_with):
        pass
    assert not [*(tmp_path / "work").iterdir()]


@pytest.mark.parametrize("name", ["objects/info/commit-graph", "objects/pack/multi-pack-index"])
def test_a_repository_with_a_pipe_is_refused_and_one_with_a_socket_is_not(
    runbook: Any, repository: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Git would wait for who writes into the pipe; its fsmonitor leaves a socket."""
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    monkeypatch.chdir(made.path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("fsmonitor--daemon.ipc")
    assert run(runbook, source("checks.git")).code == 0
    os.mkfifo(made.path / name)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, f"has a pipe or a device in it: '{name}'" in " ".join(ran.err.split())) == (2, True), ran.err


def test_a_repository_that_is_the_user_s_own_is_not_read(runbook: Any, repository: Any) -> None:
    """In a working copy what is in its index came with it, and nothing else."""
    made = repository("mine.git")
    made.files(expected_txt="one\n")
    (runbook.cwd / "RUNBOOK.md").write_text("x")
    made("init", "--quiet", cwd=runbook.cwd)
    made("add", "RUNBOOK.md", cwd=runbook.cwd)
    ran = run(runbook, source("mine.git"))
    assert (ran.code, "so it may be yours" in ran.err) == (2, True), ran.err
    made("add", "mine.git", cwd=runbook.cwd)
    assert run(runbook, source("mine.git")).code == 0
    (runbook.cwd / "work").mkdir()
    (runbook.cwd / "work" / "file").write_text("x")
    made("add", "work/file", cwd=runbook.cwd)
    assert "is no git repository" in run(runbook, source("work")).err
    made("clone", "--quiet", "--bare", "mine.git", "work/.git", cwd=runbook.cwd)
    ran = run(runbook, source("work"))
    assert (ran.code, "so it may be yours" in ran.err) == (2, True), ran.err


def test_a_runbook_in_the_home_names_no_repository_there(runbook: Any, repository: Any) -> None:
    repository("mine.git").files(expected_txt="one\n")
    ran = run(runbook, source("mine.git"), env={"HOME": str(runbook.cwd)})
    assert (ran.code, "which is no project" in ran.err) == (2, True), ran.err


def test_a_working_copy_in_a_folder_without_git_is_a_source(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    made("clone", "--quiet", "checks.git", "work", cwd=runbook.cwd)
    for url in ("work", "./work/", f"file://{runbook.cwd}/work", "file:work"):
        ran = run(runbook, source(url))
        assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err


def test_links_submodules_and_attributes_bring_nothing_from_elsewhere(
    runbook: Any, backend: str, repository: Any
) -> None:
    made = repository("checks.git")
    plain, program = made.blob(b"one\n"), made.blob(b"#!/bin/sh\necho ran\n")
    made.commit(
        ("100644", "expected.txt", plain),
        ("100755", "bin/run", program),
        ("120000", "alias.txt", made.blob(b"expected.txt")),
        ("120000", "bin/up", made.blob(b"../alias.txt")),
        ("120000", "out", made.blob(b"../../../etc/passwd")),
        ("120000", "absolute", made.blob(b"/etc/passwd")),
        ("120000", "loop", made.blob(b"loop")),
        ("160000", "sub", "1" * 40),
        ("100644", ".gitmodules", made.blob(b'[submodule "sub"]\n\tpath = sub\n\turl = ext::touch pwned\n')),
        ("100644", ".gitattributes", made.blob(b"* filter=lfs ident export-ignore\nexpected.txt text eol=crlf\n")),
    )
    rest = CHECK + (
        "\n### links — X\n\n```bash\ncd $CHECKS_DIR/golden\ndiff alias.txt expected.txt; diff bin/up expected.txt\n"
        'test ! -e out; test ! -e absolute; test ! -e loop; test ! -e sub\ntest "$(./bin/run)" = ran\n'
        "test ! -x expected.txt\n```\n"
    )
    ran = run(runbook, source("checks.git"), "--sandbox", backend, rest=rest)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass", "links": "pass"}), ran.err
    (said,) = [line for line in logs(ran) if "not put into the sandbox" in line]
    assert sorted(said.rstrip(".").rpartition(": ")[2].split(", ")) == ["absolute", "loop", "out", "sub"]


def _raw_tree(made: Any, *entries: tuple[bytes, bytes, str]) -> str:
    body = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(number) for mode, name, number in entries)
    return str(made("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=body))


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT"])
def test_a_path_that_leads_out_is_an_error_of_the_checks(runbook: Any, repository: Any, name: bytes) -> None:
    made = repository("checks.git")
    inner = _raw_tree(made, (b"100644", b"config", made.blob(b"x")))
    made.commit_tree(_raw_tree(made, (b"40000", name, inner)))
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert "has a path that can't be" in ran.json["reasons"][0]
    assert (ran.folder / "results" / "out.txt").read_text() == "one\n"


def test_a_bomb_of_folders_ends(runbook: Any, repository: Any) -> None:
    """Ten levels of ten names each for the same folder: ten thousand million files in 4 kB."""
    made = repository("checks.git")
    tree = _raw_tree(made, (b"100644", b"file", made.blob(b"x")))
    for _ in range(10):
        tree = _raw_tree(made, *((b"40000", b"%d" % number, tree) for number in range(10)))
    made.commit_tree(tree)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert not runbook.left()


def test_a_large_repository_is_an_error_of_the_checks(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    made.commit(("100644", "zeros", made.blob(bytes(300 << 20))))
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert "has files of more than 256 MB" in ran.json["reasons"][0]
    made.commit(("100644", "noise", made.blob(os.urandom(300 << 20))))
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert "is larger than 256 MB" in ran.json["reasons"][0]


def _linked_zeros(made: Any, megabytes: int, links: int) -> None:
    made.commit(
        ("100644", "expected.txt", made.blob(b"one\n")),
        ("100644", "zeros", made.blob(bytes(megabytes << 20))),
        *(("120000", f"link-{number}", made.blob(b"zeros")) for number in range(links)),
    )


def test_a_link_counts_as_the_file_that_it_leads_to(runbook: Any, repository: Any) -> None:
    _linked_zeros(repository("checks.git"), 90, 2)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert "has files of more than 256 MB, with those that links lead to" in ran.json["reasons"][0]


def test_all_sources_fit_on_the_disk_of_the_sandbox(runbook: Any, repository: Any) -> None:
    _linked_zeros(repository("checks.git"), 5, 1)
    front = source("checks.git") + "\n    - {name: other, type: git, url: checks.git}"
    first = run(runbook, front, "--sandbox", "host", "--disk", "24M")
    assert (first.code, statuses(first)) == (0, {"golden": "pass"}), first.err
    ran = run(runbook, front, "--sandbox", "host", "--disk", "16M")
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    said = "The check sources of this run take 20 MB or more, and its sandbox may use 16."
    assert said in ran.json["reasons"][0]


def test_a_link_leads_by_forty_others_at_most(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    names = ["expected.txt", *(f"link-{number:02}" for number in range(1, 43))]
    links = [("120000", name, made.blob(before.encode())) for before, name in pairwise(names)]
    made.commit(("100644", "expected.txt", made.blob(b"one\n")), *links)
    rest = CHECK + "\n### last — X\n\n```bash\ndiff $CHECKS_DIR/golden/link-40 $RESULTS_DIR/out.txt\n```\n"
    ran = run(runbook, source("checks.git"), rest=rest)
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass", "last": "pass"}), ran.err
    assert "Of the check source golden not put into the sandbox: link-41, link-42." in logs(ran)


def _chain(folder: Path, length: int, room: _Room) -> _Commit:
    """Each link leads to the next one."""
    texts = [f"{number + 1}".encode() for number in range(length)]
    content = folder / "content"
    content.write_bytes(b"".join(b"%d blob %d\n%s\n" % (n, len(text), text) for n, text in enumerate(texts)))
    entries = {f"{n}": _Entry(f"{n}", "120000", f"{n}", len(text)) for n, text in enumerate(texts)}
    return _Commit("0", b"", entries, [], content, _parts(content, room.check))


class _Counted(_Room):
    checks = 0

    def check(self) -> None:
        self.checks += 1
        super().check()


def test_each_link_is_read_once_within_a_time_and_until_the_run_is_cancelled(tmp_path: Path) -> None:
    room = _Counted(1 << 30, 60, Cancellation())
    files, left_out = _chain(tmp_path, 1000, room).files("/app/checks/golden")
    assert (files, len(left_out), room.checks) == ([], 1000, 1000)
    with pytest.raises(NotReadyError, match="The check sources of this run take longer than 0 s"):
        _chain(tmp_path, 1000, _Room(1 << 30, 0, Cancellation())).files("/app/checks/golden")
    cancelled = Cancellation()
    commit = _chain(tmp_path, 1000, _Room(1 << 30, 60, cancelled))
    cancelled.request()
    with pytest.raises(CancelledError):
        commit.files("/app/checks/golden")


def test_deep_folders_are_counted(runbook: Any, repository: Any) -> None:
    """300 paths of 400 folders each are 120,000 folders."""
    made = repository("checks.git")
    plain = made.blob(b"one\n")
    deep = [("100644", f"{number}/{'d/' * 400}f", plain) for number in range(300)]
    made.commit(("100644", "expected.txt", plain), *deep)
    ran = run(runbook, source("checks.git"))
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"}), ran.err
    assert "brings more than 100,000 files and folders" in ran.json["reasons"][0]


def test_each_check_finds_the_files_as_they_were_fetched(runbook: Any, backend: str, repository: Any) -> None:
    """A check may run the agent's own program, which may write where the check may."""
    repository("checks.git").files(expected_txt="one\n")
    code = f"""\
cat > /app/work/tool.sh <<'TOOL'
echo two > /app/checks/golden/expected.txt; touch /app/checks/golden/more.txt
rm -rf /app/checks/golden; mkdir /app/checks/golden; echo two > /app/checks/golden/expected.txt
touch /app/work/kept
TOOL
{GOOD}
echo two > out.txt"""
    rest = "### runs — X\n\n```bash\nbash /app/work/tool.sh; grep two $CHECKS_DIR/golden/expected.txt\n```\n\n" + CHECK
    rest += "\n### clean — X\n\n```bash\ntest ! -e $CHECKS_DIR/golden/more.txt; test -e /app/work/kept\n```\n"
    ran = run(runbook, source("checks.git"), "--sandbox", backend, code=code, rest=rest)
    assert statuses(ran) == {"runs": "pass", "golden": "fail", "clean": "pass"}, ran.err
    assert not runbook.left()


def test_an_agent_that_takes_the_place_of_the_files_escapes_nothing(
    runbook: Any, backend: str, repository: Any
) -> None:
    repository("checks.git").files(expected_txt="one\n")
    code = f"{GOOD}\nmkdir -p /app/checks /app/work/mine\nln -s /app/work/mine /app/checks/golden"
    code += "\necho two > /app/work/mine/expected.txt"
    rest = CHECK + "\n### own — X\n\n```bash\ntest ! -L $CHECKS_DIR/golden; grep two /app/work/mine/expected.txt\n```\n"
    ran = run(runbook, source("checks.git"), "--sandbox", backend, code=code, rest=rest)
    assert statuses(ran) == {"golden": "pass", "own": "pass"}, ran.err


# --- replays -------------------------------------------------------------------------------------------------------


def replayed(runbook: Any, ran: Any) -> Any:
    return runbook("replay", str(ran.folder), "--sandbox", "host", "--json")


def test_a_replay_has_what_was_kept_and_fetches_nothing(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    made.files(expected_txt="one\n")
    made("tag", "-a", "-m", "x", "v1", "main")
    first = run(runbook, source("checks.git", ref="v1"))
    assert first.code == 0
    shutil.rmtree(made.path)
    again = replayed(runbook, first)
    assert (again.code, statuses(again)) == (0, {"golden": "pass"}), again.err
    third = replayed(runbook, again)  # it keeps them, too
    assert (third.code, statuses(third)) == (0, {"golden": "pass"}), third.err


def test_what_holds_a_secret_is_not_kept_and_its_replay_says_so(runbook: Any, repository: Any) -> None:
    repository("checks.git").files(expected_txt="one\n", other_txt="canary-kept-0816-0816\n")
    (runbook.cwd / "secrets.env").write_text("SOME_TOKEN=canary-kept-0816-0816\n")
    front = source("checks.git") + "\nsecrets:\n  SOME_TOKEN: {}"
    first = run(runbook, front, "--sandbox", "host", "--env-file", "secrets.env")
    assert first.code == 0
    assert "The check source golden is not kept with the run, for a replay: it holds SOME_TOKEN." in logs(first)
    assert not list(first.folder.rglob("*.pack"))
    again = replayed(runbook, first)
    assert statuses(again) == {"golden": "error"}
    assert "The check source golden was not kept with the run that is replayed." in again.err + again.out


def test_a_bundle_tells_and_searches_the_sources_or_is_made_without(runbook: Any, repository: Any) -> None:
    made = repository("checks.git")
    key = "sk-ant-api03-" + "a1" * 40
    made.files(expected_txt="one\n", deep__key_txt=f"key: {key}\n")
    assert run(runbook, source("checks.git")).code == 0
    shutil.rmtree(made.path)
    bundled = runbook("runs", "bundle", "@last", "-o", "x.zip")
    assert bundled.code == 0, bundled.err
    assert "check sources (golden)" in bundled.out
    assert ".pack: deep/key.txt (anthropic-key)." in bundled.err
    assert "not searched" not in bundled.err
    refused = runbook("runs", "bundle", "@last", "-o", "y.zip", env={"SOME_TOKEN": key})
    assert (refused.code, "deep/key.txt: SOME_TOKEN" in refused.err) == (2, True), refused.err
    assert "`--without checks` makes" in refused.err
    ran = runbook("replay", "x.zip", "--sandbox", "host", "--network", "full", "--json")
    assert (ran.code, statuses(ran)) == (0, {"golden": "pass"}), ran.err

    without = runbook("runs", "bundle", "@last", "-o", "y.zip", "--without", "checks", env={"SOME_TOKEN": key})
    assert (without.code, without.out.count("check sources")) == (0, 0), without.err
    assert "The check sources (golden) are not in it" in without.err
    ran = runbook("replay", "y.zip", "--sandbox", "host", "--network", "full", "--json")
    assert (ran.code, statuses(ran)) == (1, {"golden": "error"})
    assert "made without check sources: the checks that need golden can't be run" in ran.err


def test_a_source_that_is_damaged_is_told_as_not_searched(runbook: Any, repository: Any) -> None:
    repository("checks.git").files(expected_txt="one\n")
    ran = run(runbook, source("checks.git"))
    (pack,) = ran.folder.glob("checks/*.pack")
    _garbage(pack)
    bundled = runbook("runs", "bundle", "@last", "-o", "x.zip")
    assert bundled.code == 0, bundled.err
    assert f"checks/{pack.name} was not searched for secrets: The check source golden" in bundled.err


def _garbage(pack: Path) -> None:
    pack.write_bytes(b"PACK" + os.urandom(1000))


def _another(pack: Path) -> None:
    pack.rename(pack.with_name(f"golden-{'1' * 40}.pack"))


def _waits(pack: Path) -> None:
    pack.unlink()
    os.mkfifo(pack)


def _object(kind: int, size: int, *content: bytes) -> bytes:
    """As it is in a pack: gitformat-pack of git."""
    head, size = [kind << 4 | size & 15], size >> 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    *before, last = content
    return bytes(head) + b"".join(before) + zlib.compress(last)


def _number(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def _swells(pack: Path) -> None:
    """300 times 16 MB of one object make another: 5 GB in 20 kB."""
    base, times = bytes((1 << 24) - 1), 300
    number = hashlib.sha1(b"blob %d\0" % len(base) + base).digest()
    difference = _number(len(base)) + _number(len(base) * times) + b"\xf0\xff\xff\xff" * times
    body = b"PACK" + struct.pack(">II", 2, 2) + _object(3, len(base), base)
    body += _object(7, len(difference), number, difference)
    pack.write_bytes(body + hashlib.sha1(body).digest())


@pytest.mark.needs("linux")
def test_a_recording_that_becomes_large_in_memory_is_an_error_of_the_checks(runbook: Any, repository: Any) -> None:
    repository("checks.git").files(expected_txt="one\n")
    first = run(runbook, source("checks.git"))
    (pack,) = first.folder.rglob("*.pack")
    _swells(pack)
    again = replayed(runbook, first)
    assert statuses(again) == {"golden": "error"}, again.err
    (said,) = (event["message"] for event in again.events("check.finished"))
    assert "emory" in said


@pytest.mark.parametrize("change", [_garbage, _another, _waits])
def test_a_recording_that_was_changed_is_an_error_of_the_checks(
    runbook: Any, repository: Any, change: Callable[[Path], None]
) -> None:
    repository("checks.git").files(expected_txt="one\n")
    first = run(runbook, source("checks.git"))
    (pack,) = first.folder.rglob("*.pack")
    change(pack)
    again = replayed(runbook, first)
    assert statuses(again) == {"golden": "error"}, again.err
    assert not runbook.left()
