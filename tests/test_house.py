"""How the house is built: what holds for all rooms of the package, read off its sources; and for all tests."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "runbook_runner"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_MODULES = 15
CLOCKS = {"datetime.now", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.time", "time.time_ns"}


# --- the package ---------------------------------------------------------------------------------------------------


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions count, imports for type checkers do not."""
    graph = grimp.build_graph("runbook_runner", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circles = []
    while circle := first_circle(imports):
        circles.append(" imported by ".join(circle))
        imports[circle[1]].discard(circle[0])
    assert not circles, "\n".join(circles)


def first_circle(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_rooms_import_downwards_only():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_folder_has_more_modules_than_one_can_look_over():
    sizes = Counter(str(path.parent.relative_to(REPOSITORY)) for path in MODULES)
    assert {folder: size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_every_module_begins_with_a_sentence_that_says_what_it_is_for():
    """The sentence may go on in the next line."""
    found = {}
    for path in MODULES:
        paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
        if not paragraph.endswith((".", ":")) or not (paragraph[0].isupper() or paragraph[0] == "`"):
            found[str(path.relative_to(REPOSITORY))] = paragraph
    assert found == {}


def test_messages_say_recording_as_the_help_does_and_not_cassette():
    found = []
    for path in MODULES:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        messages = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in documentation)
        found += [f"{path}:{node.lineno}: {node.value}" for node in messages if " cassette" in str(node.value)]
    assert not found, "\n".join(found)


def test_containers_are_created_in_one_place():
    """What is held against an image there is held against all of them."""
    found = [path for path in MODULES if "api.create_container(" in path.read_text()]
    assert found == [PACKAGE / "sandbox/docker/creation.py"]


NOUNS = "block|byte|certificate|check|connection|core|difference|file|line|model call|process|provider|token|turn"


def test_messages_count_with_the_right_number():
    """`counted` says "1 line"; a constant may be more than one."""
    pattern = re.compile(rf" (more )?({NOUNS})(s|es)\b")
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            for value, text in pairwise(node.values) if isinstance(node, ast.JoinedStr) else ():
                constant = isinstance(value, ast.FormattedValue) and ast.unparse(value.value).strip("_")[:1].isupper()
                if isinstance(text, ast.Constant) and not constant and pattern.match(str(text.value)):
                    found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


# --- the tests -----------------------------------------------------------------------------------------------------


def test_no_test_outside_the_benches_judges_by_the_clock():
    """On a busy machine it would fail. The processor time of the test's own process may be judged, generously."""
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node.test)}"
        for path, node in nodes_of_tests()
        if isinstance(node, ast.Assert) and any(is_clock(part) for part in compared(node.test))
    ]
    assert not found, "\n".join(found)


def test_no_test_waits_without_a_bound():
    """For a thread and for a process; `eventually` waits for everything else."""
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, node in nodes_of_tests()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("communicate", "join")
        and not node.args
        and not node.keywords
    ]
    assert not found, "\n".join(found)


def nodes_of_tests():
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        name = path.relative_to(REPOSITORY)
        if "bench" not in name.parts:
            yield from ((name, node) for node in ast.walk(ast.parse(path.read_text())))


def compared(condition):
    comparisons = (node for node in ast.walk(condition) if isinstance(node, ast.Compare))
    ordered = (node for node in comparisons if not isinstance(node.ops[0], ast.Eq | ast.NotEq))
    return (part for node in ordered for part in ast.walk(node))


def is_clock(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCKS


def test_no_id_of_a_test_is_long(request):
    """See `pytest_make_parametrize_id` in conftest.py."""
    assert [item.nodeid[:200] for item in request.session.items if len(item.nodeid) > 600] == []


# --- the versions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["dependencies", "eval", "litellm", "test", "dev"])
def test_every_dependency_has_a_version_in_the_constraints(group):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] if group == "dependencies" else project["optional-dependencies"][group]
    lines = (REPOSITORY / "tests" / "constraints.txt").read_text().splitlines()
    fixed = {normal(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    names = {normal(requirement) for requirement in wanted} - {"runbook-runner"}
    assert names - fixed == set(), "run tools/renew_constraints.sh"


def normal(requirement):
    name = "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]
    return name.lower().replace("_", "-").replace(".", "-")
