"""`--comment`: one comment on the pull request, against a local server that speaks the three calls of GitHub's API."""

import json
import shutil
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
COMMENTS = "/repos/owner/repo/issues/7/comments"


class GitHub(ThreadingHTTPServer):
    """The comments of pull request 7; ids count from 1."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.refuses: tuple[int, Any] | None = None

    def add(self, body: str, kind: str = "User") -> None:
        self.comments.append({"id": len(self.comments) + 1, "body": body, "user": {"login": "x", "type": kind}})


class _Handler(BaseHTTPRequestHandler):
    server: GitHub

    def _answer(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(content)

    def _handle(self) -> None:
        url = urlsplit(self.path)
        self.server.calls.append(f"{self.command} {url.path}")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"message": "Bad credentials"})
        if self.server.refuses:
            return self._answer(*self.server.refuses)
        if self.command == "GET" and url.path == COMMENTS:
            query = parse_qs(url.query)
            first = (int(query["page"][0]) - 1) * int(query["per_page"][0])
            return self._answer(200, self.server.comments[first : first + int(query["per_page"][0])])
        if self.command == "POST" and url.path == COMMENTS:
            self.server.add(body["body"], "Bot")
            return self._answer(201, self.server.comments[-1])
        found = [one for one in self.server.comments if url.path == f"/repos/owner/repo/issues/comments/{one['id']}"]
        if self.command == "PATCH" and found:
            found[0]["body"] = body["body"]
            return self._answer(200, found[0])
        return self._answer(404, {"message": "Not Found"})

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def commented(runbook: Any, shell_runbook: Any, github: GitHub) -> Any:
    def run(code: str, command: str = "run", *options: str, path: str = "", **environ: str) -> Any:
        job = {
            "GITHUB_API_URL": f"http://127.0.0.1:{github.server_port}",
            "GITHUB_REPOSITORY": "owner/repo",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_TOKEN": TOKEN,
            **environ,
        }
        return runbook(command, path or shell_runbook(code), "--sandbox", "host", "--comment", *options, env=job)

    return run


def mark(runbook: Any, command: str) -> str:
    name = f"{command} {runbook.cwd}/shell-runbook"
    return f"<!-- runbook-runner: {name} {sha256(name.encode()).hexdigest()[:16]} -->"


def test_the_first_run_writes_a_comment_and_later_ones_update_it(runbook: Any, github: GitHub, commented: Any) -> None:
    for number in range(150):
        github.add(f"talk {number}")
    assert commented("true").code == 1
    (first,) = [one for one in github.comments if one["user"]["type"] == "Bot"]
    assert first["body"].startswith(mark(runbook, "run") + "\n### ❌ ` test `: FAIL · ")
    assert "` out.txt is missing. `" in first["body"]
    assert commented("echo 1 > /app/results/out.txt").code == 0
    assert len(github.comments) == 151
    assert first["body"].startswith(mark(runbook, "run") + "\n### ✅ ` test `: PASS · ")
    assert github.calls == [
        *[f"GET {COMMENTS}"] * 2,
        f"POST {COMMENTS}",
        *[f"GET {COMMENTS}"] * 2,
        "PATCH /repos/owner/repo/issues/comments/151",
    ]


def test_run_and_eval_have_a_comment_each(runbook: Any, github: GitHub, commented: Any) -> None:
    commented("echo 1 > /app/results/out.txt")
    commented("echo 1 > /app/results/out.txt", "eval")
    heads = [one["body"].splitlines()[0] for one in github.comments]
    assert heads == [mark(runbook, "run"), mark(runbook, "eval")]


def test_each_runbook_has_its_own_comment(runbook: Any, shell_runbook: Any, github: GitHub, commented: Any) -> None:
    """Also where names differ in a character that no mark holds, or behind what a mark holds of them."""
    paths = ["pay@1", "pay_1", "x" * 220 + "1", "x" * 220 + "2"]
    for path in paths * 2:
        shutil.copytree(shell_runbook("true"), runbook.cwd / path, dirs_exist_ok=True)
        commented("true", path=path)
    assert len(github.comments) == len(paths)


def test_one_path_in_two_folders_of_a_job_has_two_comments(
    runbook: Any, shell_runbook: Any, github: GitHub, commented: Any
) -> None:
    workspace = runbook.cwd
    for name in ("pay", "ship"):
        runbook.cwd = shutil.copytree(shell_runbook("true"), workspace / name)
        commented("true", path=".", GITHUB_WORKSPACE=str(workspace))
    assert len(github.comments) == 2
    commented("true", path=f"{workspace}/pay", GITHUB_WORKSPACE=str(workspace))
    assert len(github.comments) == 2


def test_a_mark_that_somebody_else_has_written_is_not_taken_for_ours(
    runbook: Any, github: GitHub, commented: Any
) -> None:
    """Who has written the comment could change what is reported in it."""
    github.add(mark(runbook, "run") + "\nPASS, believe me")
    commented("true")
    assert [one["user"]["type"] for one in github.comments] == ["User", "Bot"]
    assert github.comments[0]["body"].endswith("believe me")


@pytest.mark.parametrize("command", ["run", "eval"])
def test_what_is_wrong_before_a_run_takes_the_place_of_an_earlier_pass(
    runbook: Any, github: GitHub, commented: Any, command: str
) -> None:
    assert commented("echo 1 > /app/results/out.txt", command).code == 0
    assert commented("echo 1 > /app/results/out.txt", command, "-p", "nobody=1").code == 2
    (own,) = [one["body"] for one in github.comments]
    assert own.startswith(mark(runbook, command) + f"\n### ❌ ` {runbook.cwd}/shell-runbook `: error\n"), own
    assert "nobody" in own


def test_a_comment_that_is_cut_is_no_markdown_of_the_agents(github: GitHub, commented: Any) -> None:
    """A code span that has lost its end keeps nothing apart from the rest."""
    entry = {"kind": "code_check", "status": "fail", "message": "|" * 300}
    checks = [{**entry, "id": f"<b>{number}</b>" + "|" * 300} for number in range(60)]
    report = json.dumps({"version": 2, "checks": checks})
    commented(f"echo 1 > /app/results/out.txt; echo '{report}' > /app/results/validation_report.json")
    (body,) = [one["body"] for one in github.comments]
    assert 59_000 < len(body) < 61_000
    assert body.endswith(" more lines.\n")
    rows = [line for line in body.splitlines() if "<b>" in line]
    assert all(line.endswith(" |") and line.count("`") % 2 == 0 for line in rows)


def test_the_number_may_come_from_the_event(runbook: Any, github: GitHub, commented: Any) -> None:
    event = runbook.cwd / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    commented("true", GITHUB_REF="refs/heads/main", GITHUB_EVENT_PATH=str(event))
    assert len(github.comments) == 1


@pytest.mark.parametrize(
    ("environ", "refuses", "message"),
    [
        ({"GITHUB_TOKEN": ""}, None, "There is no GITHUB_TOKEN."),
        ({"GITHUB_REF": "refs/heads/main"}, None, "This job is about no pull request."),
        ({"GITHUB_TOKEN": "wrong"}, None, "GitHub answers 401: Bad credentials."),
        ({}, (403, {"message": "Resource not accessible by integration"}), "pull-requests: write"),
        ({}, (200, {"message": "?"}), "GitHub's answer is no list of comments."),
        ({}, (200, b"<html>"), "GitHub's answer is no list of comments."),
        ({}, (302, {}), "GitHub answers 302."),
        ({"GITHUB_API_URL": "http://127.0.0.1:9"}, None, "GitHub can't be reached: ConnectionError."),
    ],
)
def test_what_goes_wrong_is_a_warning_and_the_verdict_counts(
    github: GitHub, commented: Any, environ: dict[str, str], refuses: tuple[int, Any] | None, message: str
) -> None:
    github.refuses = refuses
    ran = commented("echo 1 > /app/results/out.txt", **environ)
    assert ran.code == 0
    assert "warning: No comment on the pull request: " in ran.err
    assert message in ran.err


def test_the_token_is_in_no_file_of_the_run(runbook: Any, github: GitHub, commented: Any) -> None:
    commented("env > /app/results/out.txt")
    assert github.comments
    files = [file for file in Path(runbook.cwd).rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]
