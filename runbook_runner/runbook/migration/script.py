"""Room `runbook`, `migration`: the Code Checks that take the place of a v1 verification script (contract §3.16)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

REPORT: Final = "validation_report.json"
_ID, _NAME = "former-script", "What the script of v1 tested"
_MANIFEST: Final = "### outputs-exist — Every required output file exists and is non-empty"
# A v1 script prints FAIL and exits with 0 all the same. A count of 0 at the end of a line is not a failure.
_HEAD: Final = ("output=$(", "exec 2>&1", "set +e +o pipefail")
_FOOT: Final = (
    ":",
    ")",
    "printf '%s\\n' \"$output\"",
    "! grep FAIL <<< \"$output\" | grep -qvE '(FAIL[A-Z]*[^0-9A-Za-z]{1,3}0|(^|[^0-9])0 FAIL[A-Z]*)[^0-9A-Za-z]*$'",
)
_OWN_FOLDER = re.compile(r"\s*(?:export\s+)?RESULTS_DIR=[\"']?(?:\$\{RESULTS_DIR:-)?[^\"'\s]*[\"'}]*\s*")
_FILE_LIST = re.compile(rf"\s*for\s.*\sin\s|.*=\(|[^\s]*{re.escape(REPORT)}[\"']?\s*[\\)]?\s*\Z")
_REPORT_WORD = re.compile(rf"(?<![^\s(])[^\s(]*{re.escape(REPORT)}[\"']?(?=[\s;)]|\Z)")


def manifest_check(outputs: Iterable[str]) -> list[str]:
    """`outputs-exist`; of a pattern at least one file must exist."""
    tests = [_exists(path) for path in outputs if path != REPORT]
    return [_MANIFEST, "", "```bash", *(tests or ["true"]), "```"]


def _exists(path: str) -> str:
    glob = re.sub(r"<[^<>]*>|(?<!\{)\{[^{}]*\}(?!\})", "*", path)
    if "*" not in glob:
        return f'test -s "{{{{results_dir}}}}/{path}"'
    pattern = re.sub(r"[^\w*./{}-]", lambda odd: "\\" + odd[0], glob)
    return f'test -n "$(find "{{{{results_dir}}}}" -path "*/{pattern}" -type f -size +0c -print -quit)"'


def script_check(above: Sequence[str], fence: Sequence[str], below: Sequence[str]) -> list[str]:
    """The script, whole, as one check that fails when it prints FAIL or exits with an error.

    fence: its lines, both marks included. above, below: the words around it, which stay.
    """
    mark = re.match(r"\s*(`{3,}|~{3,})", fence[0])
    assert mark
    code = [*_HEAD, *map(_line, fence[1:-1]), *_FOOT]
    return [f"### {_ID} — {_NAME}", "", *above, f"{mark[1]}bash", *code, mark[1], *below]


def _line(text: str) -> str:
    """Without a results directory of its own, and the test of a report that is not there yet."""
    if _OWN_FOLDER.fullmatch(text):
        return ""
    if _FILE_LIST.match(text):
        return _REPORT_WORD.sub("", text)
    return text


def doubtful(fence: Sequence[str], first_line: int) -> Iterator[tuple[int, str]]:
    """Lines of the script that look into the report: it has another shape in v2."""
    for number, text in enumerate(fence, first_line):
        if REPORT in _line(text):
            yield number, f"the script looks into {REPORT}, which has another shape in v2: {text.strip()}"
