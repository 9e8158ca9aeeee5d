"""Command line: the one comment on the pull request of a GitHub Actions job: the first run makes it, later ones update
it."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.text import whole_lines

_API: Final = "https://api.github.com"
_TIMEOUT_S: Final = 30
_PAGE, _MOST_PAGES = 100, 30
_LONGEST: Final = 60_000
"""GitHub takes 65,536 characters."""
_MOST_ANSWER: Final = 50 << 20
_REF: Final = re.compile(r"refs/pull/(\d{1,12})/(?:merge|head)")


class CommentError(NotReadyError):
    """The comment can't be written."""


class PullRequest:
    """The pull request that a job is about."""

    def __init__(self, environ: Mapping[str, str]):
        """environ: the job's. Raises CommentError where it is about none, or has no token."""
        self._token = environ.get("GITHUB_TOKEN") or ""
        repository, number = environ.get("GITHUB_REPOSITORY") or "", _number(environ)
        if not self._token:
            hint = "Give the step `env: GITHUB_TOKEN: ${{ github.token }}` and the job `pull-requests: write`."
            raise CommentError("There is no GITHUB_TOKEN.", hint=hint)
        if not repository or number is None:
            raise CommentError("This job is about no pull request.")
        self._repository = f"{(environ.get('GITHUB_API_URL') or _API).rstrip('/')}/repos/{repository}"
        self._comments = f"{self._repository}/issues/{number}/comments"

    def comment(self, name: str, text: str) -> None:
        """name: what tells this comment from others of ours. Raises CommentError."""
        shown, digest = re.sub(r"[^A-Za-z0-9._/ -]", "_", name)[:200], sha256(os.fsencode(name)).hexdigest()[:16]
        mark = f"<!-- runbook-runner: {shown} {digest} -->"
        body = f"{mark}\n{whole_lines(text, _LONGEST)}"
        found = next((one["id"] for one in self._listed() if _is_own(one, mark)), None)
        if found is None:
            self._ask("POST", self._comments, {"body": body})
        else:
            self._ask("PATCH", f"{self._repository}/issues/comments/{int(found)}", {"body": body})

    def _listed(self) -> Iterator[dict[str, Any]]:
        for page in range(1, _MOST_PAGES + 1):
            comments = self._ask("GET", f"{self._comments}?per_page={_PAGE}&page={page}")
            if not isinstance(comments, list):
                raise CommentError("GitHub's answer is no list of comments.", where=self._comments)
            yield from (comment for comment in comments if isinstance(comment, dict))
            if len(comments) < _PAGE:
                return

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        """The token goes to the API's own host: nothing is followed elsewhere."""
        import requests  # slow to import

        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        try:
            with requests.request(
                method, url, json=body, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False, stream=True
            ) as answer:
                content = answer.raw.read(_MOST_ANSWER, decode_content=True)
                status = answer.status_code
        except (requests.RequestException, OSError) as error:
            raise CommentError(f"GitHub can't be reached: {type(error).__name__}.", where=url) from error
        try:
            parsed = json.loads(content or b"null")
        except (ValueError, RecursionError):
            parsed = None
        if status not in (200, 201):
            said = parsed.get("message") if isinstance(parsed, dict) else None
            hint = "Give the job `permissions: pull-requests: write`; one from a fork may only read." * (status == 403)
            message = f"GitHub answers {status}{f': {said}' if said else ''}."
            raise CommentError(message, where=f"{method} {url}", hint=hint or None)
        return parsed


def _is_own(comment: Mapping[str, Any], mark: str) -> bool:
    """Of a bot, as the token of a job is one: anybody can write the mark, and could then change what is reported."""
    user = comment.get("user")
    is_bot = isinstance(user, dict) and user.get("type") == "Bot"
    return is_bot and isinstance(comment.get("id"), int) and str(comment.get("body")).startswith(mark)


def _number(environ: Mapping[str, str]) -> int | None:
    if match := _REF.fullmatch(environ.get("GITHUB_REF") or ""):
        return int(match[1])
    try:
        event = json.loads(Path(os.fspath(environ["GITHUB_EVENT_PATH"])).read_bytes())
        return int((event.get("pull_request") or event["issue"])["number"])
    except (KeyError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
