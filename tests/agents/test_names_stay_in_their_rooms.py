"""No room but their own names an agent or a provider: what differs is a fact in a table."""

import ast
from collections.abc import Iterator
from pathlib import Path

import runbook_runner
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.core.facts.providers import PROVIDERS
from runbook_runner.gateway.dialects import DIALECTS

PACKAGE = Path(runbook_runner.__file__).parent
ROOMS = ("agents/", "core/facts/providers.py", "core/facts/spelling.py")
SHELL = "shell"  # also a language of code blocks, a command and a tool
NAMES = ({*BUILT_IN_AGENTS, *PROVIDERS} | {name for row in PROVIDERS.values() for name in row.aliases}) - {SHELL}
OF_DIALECTS = {dialect.name for dialect in DIALECTS}
ALLOWED = {("core/settings.py", "claude-code")}  # the default agent


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(ROOMS):
            yield name, ast.parse(path.read_text())


def strings(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def test_no_other_module_holds_the_name_of_an_agent_or_a_provider() -> None:
    found = {
        (module, text)
        for module, tree in modules()
        for text in strings(tree)
        if text in NAMES and not (module.startswith("gateway/") and text in OF_DIALECTS)
    }
    assert found == ALLOWED


def test_no_other_module_compares_an_agent_with_the_name_of_the_shell_agent() -> None:
    comparisons = {
        (module, node.lineno): ast.unparse(node)
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Compare, ast.match_case)) and SHELL in strings(node)
    }
    assert comparisons == {}


def test_no_other_module_names_the_key_of_a_provider() -> None:
    keys = {variable for row in PROVIDERS.values() for variable in row.key_variables}
    texts = {(module, text) for module, tree in modules() for text in strings(without_docstrings(tree))}
    assert {(module, text) for module, text in texts if any(key in text for key in keys)} == set()


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return tree
