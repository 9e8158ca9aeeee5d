"""Command line: `runbook judge`."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from runbook_runner.cli.options import add_env_file, add_json, add_quiet, given_fields
from runbook_runner.cli.runs.run_options import add_judge
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.events import Usage
from runbook_runner.core.text import counted, printable_output

DESCRIPTION = """\
With one run, its results are scored by its runbook's rubric, or by the items of its short form. With two, both results
are compared, in both orders, for each criterion and overall: what is better in one order only is a tie. A run's record
and verdict stay as they are: the judge's calls, and what it said, are kept in the first run's folder, in judge/1,
judge/2, ….

Exit codes: 0 all passes, or the two were compared, 1 something is below what it must reach, or has no usable answer,
2 bad input, 3 there is no key, 5 a bug, 130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    what = "The id of a run that is over, or its beginning, or its folder."
    parser.add_argument("name", metavar="RUN", help=what)
    parser.add_argument("other", metavar="OTHER", nargs="?", help="Another run, to be compared with it.")
    add_judge(parser)
    cost = "Refuse further calls of the judge once they have cost so much."
    parser.add_argument("--max-cost", dest="max_cost_usd", type=float, metavar="USD", help=cost)
    add_env_file(parser, "Take provider keys, and secrets that the runs had, from this file first.")
    add_quiet(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises RunbookError for what is wrong before the judge is asked, and for what can't be recorded."""
    from runbook_runner.runner.judge.again import JudgeRequest, judge_again  # imports the gateway

    def tell(line: str) -> None:
        if not arguments.quiet:
            sys.stderr.write(f"{printable_output(line)}\n")

    judged = judge_again(JudgeRequest(**given_fields(JudgeRequest, arguments)), tell)
    found = judged.found
    if arguments.json:
        ids = {"trajectory_id": judged.run.trajectory_id, "other": judged.other and judged.other.trajectory_id}
        put_json({**ids, **found})
    elif not arguments.quiet:
        names = {"first": judged.run.trajectory_id, "second": judged.other.trajectory_id} if judged.other else {}
        lines = _comparison(found, names) if names else _scores(found)
        sys.stdout.write(printable_output("\n".join([*lines, _used(found), f"  {found['path']}"])) + "\n")
    return ExitCode.VERDICT_FAIL if _is_bad(found) else ExitCode.PASS


def _is_bad(found: Mapping[str, Any]) -> bool:
    return bool(found["errors"]) or any(check["status"] != "pass" for check in found.get("checks", ()))


def _scores(found: Mapping[str, Any]) -> Iterator[str]:
    for check in found["checks"]:
        mark = "✓" if check["status"] == "pass" else "✗"
        scored = f"{check['score']:g} of {check['max_score']:g}. " if "score" in check else ""
        spread = (check.get("details") or {}).get("spread")
        yield f"{mark} {check['id']}: {scored}{check['message']}" + (f" (spread {spread:g})" if spread else "")


def _comparison(found: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """names: `first` and `second` → the id of that run."""
    for one in found["criteria"]:
        winner = names.get(one["winner"], one["winner"] or "✗ no answer")
        yield f"{one['id']}: {winner}. {one['message'] or ' / '.join(filter(None, one['reasons']))}".rstrip()


def _used(found: Mapping[str, Any]) -> str:
    from runbook_runner.cli.ui.display import not_shown

    usage, left_out = Usage.model_validate(found["usage"]), found.get("left_out") or []
    if isinstance(left_out, dict):  # of two runs
        left_out = [*left_out["first"], *left_out["second"]]
    parts = [f"judged by {found['model']}" + (f": {found['score']:g}" if found.get("score") is not None else "")]
    parts += [not_shown([*dict.fromkeys(left_out)])] if left_out else []
    parts.append(f"{counted(usage.total_tokens, 'token')} in {counted(usage.api_calls, 'call')}")
    parts += [f"${usage.cost_usd:.4f}"] if usage.cost_usd is not None and "provider" in found["model_calls"] else []
    return " · ".join(parts)
