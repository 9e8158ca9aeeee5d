"""Command line: `runbook check`."""

import typer

_WHAT, _OUTPUT = "What to check", "Output and fixes"


def check(
    paths: list[str] = typer.Argument(
        None, metavar="[PATH]...", help="Files, folders (every RUNBOOK.md below), globs, or '-' for stdin; else here."
    ),
    select: list[str] = typer.Option(
        [], metavar="CODES", rich_help_panel=_WHAT, help="Only these rules: RB301, or RB3 for all of a hundred."
    ),
    ignore: list[str] = typer.Option([], metavar="CODES", rich_help_panel=_WHAT, help="Not these rules."),
    profile: str | None = typer.Option(
        None,
        rich_help_panel=_WHAT,
        help="auto (all our rules, and the published validator that fits), or v1 or v2: just that validator.",
    ),
    rules: bool = typer.Option(False, "--rules", rich_help_panel=_WHAT, help="List the rules and leave."),
    format_: str = typer.Option(
        "text", "--format", rich_help_panel=_OUTPUT, help="text, json, github, sarif or junit."
    ),
    fix: bool = typer.Option(False, "--fix", rich_help_panel=_OUTPUT, help="Mend what can be mended safely."),
    diff: bool = typer.Option(
        False, "--diff", rich_help_panel=_OUTPUT, help="Show what --fix would do, change nothing."
    ),
) -> None:
    r"""Check runbooks, offline and at once.

    A finding can be silenced by `<!-- noqa: RB301 -->` on its line or the line above. Settings: \[tool.runbook.check]
    in pyproject.toml, or \[check] in .runbook/config.toml.

    Exit codes: 0 clean, 1 findings (warnings too), 2 wrong arguments or settings, 3 the checker itself failed.
    """
    from runbook_runner.cli.checking import Arguments, execute

    arguments = Arguments(
        paths=tuple(paths or ()),
        select=tuple(select),
        ignore=tuple(ignore),
        profile=profile,
        format=format_,
        fix=fix,
        diff=diff,
        rules=rules,
    )
    raise typer.Exit(execute(arguments))
