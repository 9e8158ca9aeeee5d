"""Room `runbook`: the mission: the whole runbook with its values filled in."""

from collections.abc import Mapping

from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown.blocks import BEYOND_BOUNDS
from runbook_runner.runbook.parts.substitution import BUILT_IN, Placeholder, placeholders, substitute


def render(runbook: Runbook, values: Mapping[str, object]) -> str:
    """The whole document: frontmatter untouched, values and secrets' variables filled in below it.

    values win over the built-in `results_dir`, `assets_dir` and `checks_dir`. Output paths may hold placeholders:
    parse the result again to know the files this run must produce.
    """
    head = runbook.text[: len(runbook.text) - len(runbook.body)]
    secret_envs = {secret.name: secret.env for secret in runbook.frontmatter.secrets}
    return head + substitute(runbook.body, {**BUILT_IN, **values}, secret_envs)


def doubts(runbook: Runbook) -> tuple[str, ...]:
    """Warnings for the user; none of them stops a run."""
    line = runbook.outline.cut_line
    return () if line is None else (f"{runbook.source}:{line}: {BEYOND_BOUNDS}",)


def undeclared(runbook: Runbook) -> tuple[Placeholder, ...]:
    """Placeholders with no row in Parameters, no secret of that name and no built-in value; lines of the file."""
    names = {parameter.name for parameter in runbook.parameters} | set(BUILT_IN)
    secrets = {secret.name for secret in runbook.frontmatter.secrets}
    return tuple(
        Placeholder(used.name, used.line + runbook.body_line - 1, used.is_secret)
        for used in placeholders(runbook.body)
        if used.name not in (secrets if used.is_secret else names)
    )
