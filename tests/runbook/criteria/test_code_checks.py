"""Code Checks and Checklist of v2 (contract §3.10, §3.11), and the checklist of v1 (§3.16)."""

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.criteria.code_checks import read_builtin
from runbook_runner.runbook.document import parse


def checks(body, front=""):
    return parse(f"---\nversion: 1.0.0\n{front}---\n{body}").code_checks


def one(fence, front=""):
    (check,) = checks(f"## Code Checks\n\n### a — A check\n\n{fence}\n", front)
    return check


def test_check_is_read_whole_with_its_lines():
    text = (
        "## Step 4: Code Checks\n\nFree text.\n\n### outputs-exist — Every file is there\n\n```bash\ntest -s a\n```\n"
    )
    (check,) = checks(text)
    assert (check.id, check.name) == ("outputs-exist", "Every file is there")
    assert (check.kind, check.executor, check.code, check.problem) == ("command", "jetty", "test -s a\n", "")
    assert (check.line, check.code_line) == (8, 10)
    assert check.counts


@pytest.mark.parametrize("separator", ["—", "–", "-"])
def test_every_dash_separates_id_and_name(separator):
    (check,) = checks(f"## Code Checks\n\n### a.b_c-1 {separator} Name - with a dash\n\n```\nx\n```\n")
    assert (check.id, check.name) == ("a.b_c-1", "Name - with a dash")


@pytest.mark.parametrize("heading", ["A check", "a—b", "-a — b", "a b — c", "— c", "ä — b"])
def test_heading_of_another_form_does_not_count(heading):
    (check,) = checks(f"## Code Checks\n\n### {heading}\n\n```\nx\n```\n")
    assert (check.id, check.name, check.counts) == ("", heading, False)


@pytest.mark.parametrize(
    ("info", "kind", "executor"),
    [
        ("", "command", "jetty"),
        ("bash", "command", "jetty"),
        ("SH", "command", "jetty"),
        ("shell executor=agent", "command", "agent"),
        ("bash title=x executor=jetty", "command", "jetty"),
        ("yaml", "builtin", "jetty"),
        ("check executor=agent", "builtin", "agent"),
        ("agent", "agent", "agent"),
        ("agent executor=agent", "agent", "agent"),
    ],
)
def test_fence_line_says_kind_and_executor(info, kind, executor):
    check = one(f"```{info}\nx\n```")
    assert (check.kind, check.executor, check.problem) == (kind, executor, "")


@pytest.mark.parametrize(
    ("fence", "says"),
    [
        ("Only words.", "no code block"),
        ("```python\nx\n```", "'python' is not a check"),
        ("```bash executor=me\nx\n```", "'executor=me' must be"),
        ("```bash executors\nx\n```", "'executors' must be"),
        ("```agent executor=jetty\nx\n```", "can't have executor=jetty"),
    ],
)
def test_unusable_check_says_why(fence, says):
    check = one(fence)
    assert says in check.problem
    assert check.executor is None
    assert check.counts


def test_a_check_with_an_endless_id_can_not_be_run():
    first, second = checks("## Code Checks\n" + 2 * f"\n### {'x' * 300} — A name\n\n```bash\ntrue\n```\n")
    assert (first.id, first.executor, first.counts) == ("x" * 200, None, True)
    assert first.problem == "Its id is longer than 200 characters."
    assert second.is_repeat


def test_only_the_first_fence_counts():
    assert one("```bash\nfirst\n```\n\n```bash\nsecond\n```").code == "first\n"


def test_tilde_fences_and_indented_fences_count():
    assert one("   ~~~sh\n   x\n   ~~~").code == "x\n"


def test_of_two_checks_with_one_id_the_first_counts():
    found = checks("## Code Checks\n\n### a — One\n\n```\nx\n```\n\n### a — Two\n\n```\ny\n```\n")
    assert [(check.name, check.counts) for check in found] == [("One", True), ("Two", False)]


def test_old_file_wide_executor_is_the_default_of_commands():
    front = "code_checks:\n  executor: agent\n"
    assert one("```bash\nx\n```", front).executor == "agent"
    assert one("```bash executor=jetty\nx\n```", front).executor == "jetty"
    assert one("```yaml\nx\n```", front).executor == "jetty"


@pytest.mark.parametrize(
    "heading", ["### Code Checks", "## Code Checks (all)", "# Code Checks", "## Step 1 - Code Checks"]
)
def test_other_headings_hold_no_checks(heading):
    assert checks(f"{heading}\n\n### a — A\n\n```\nx\n```\n") == ()


@pytest.mark.parametrize("heading", ["## code checks", "## Step 12. CODE CHECKS", "## Step 3:Code Checks"])
def test_section_is_found_in_any_case_with_or_without_its_number(heading):
    assert len(checks(f"{heading}\n\n### a — A\n\n```\nx\n```\n")) == 1


def test_headings_inside_fences_are_no_checks():
    assert len(checks("## Code Checks\n\n### a — A\n\n````bash\n### b — B\n```\n````\n")) == 1


# --- built-ins -----------------------------------------------------------------------------------------------------


def builtin(yaml):
    return read_builtin(one(f"```yaml\n{yaml}\n```"), "RUNBOOK.md")


@pytest.mark.parametrize("key", ["bytes", "min_bytes", "size"])
def test_minimum_size_has_three_spellings(key):
    found = builtin(f"use: min_size\npath: a.md\n{key}: 10")
    assert (found.use, found.files, found.is_glob, found.bytes) == ("min_size", "a.md", False, 10)


def test_a_path_may_have_brackets_and_a_glob_placeholders():
    assert builtin("use: file_exists\npath: 'app/[id]/{a,b}.md'").files == "app/[id]/{a,b}.md"
    assert builtin("use: file_exists\nglob: '{{date}}/*{shop}.md'").files == "{{date}}/*{shop}.md"


@pytest.mark.parametrize("key", ["pattern", "regex"])
def test_pattern_has_two_spellings(key):
    found = builtin(f"use: regex_present\nglob: '*.md'\n{key}: '^# '")
    assert (found.files, found.is_glob, found.pattern) == ("*.md", True, "^# ")


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("- a", "RUNBOOK.md:8: A built-in check holds"),
        ("use: magic\npath: a", "`use: magic` is not a built-in"),
        ("use: json_valid", "needs a `path:`"),
        ("use: min_size\npath: a", "`min_size` needs"),
        ("use: min_size\npath: a\nbytes: many", "`min_size` needs"),
        ("use: regex_absent\npath: a", "needs a `pattern:`"),
        ("use: file_exists\nglob: 'part[0-9].md'", "`glob: part[0-9].md` has `[`, which stands for nothing here."),
        ("use: file_exists\nglob: '*.{md,txt}'", "`glob: *.{md,txt}` has `{md,txt}`, which stands for nothing here."),
        ("use: ]", "RUNBOOK.md:9: The YAML is broken"),
    ],
)
def test_malformed_builtin_is_refused_with_its_line(yaml, says):
    with pytest.raises(InputError) as caught:
        builtin(yaml)
    assert says in str(caught.value)


# --- checklist -----------------------------------------------------------------------------------------------------


def checklist(body):
    return parse(f"---\nversion: 1.0.0\n---\n{body}").checklist


def test_item_has_the_id_its_report_uses():
    (item,) = checklist("## Checklist\n\n- [ ] Overall rubric average is at least 4.0\n")
    assert (item.id, item.line, item.checked) == ("overall-rubric-average-is-at-least-4-0", 6, False)


def test_items_keep_their_words_and_marks():
    items = checklist(
        "## Checklist\n\n* [ ] `a.md` has\n  **all** parts\n+ [x] Done\n  - [ ] Nested\n- no box\n- [ ]\n"
    )
    assert [item.text for item in items] == ["`a.md` has **all** parts", "Done", "Nested"]
    assert [item.line for item in items] == [6, 8, 9]
    assert [item.checked for item in items] == [False, True, False]


def test_items_in_fences_do_not_count():
    assert checklist("## Checklist\n\n```\n- [ ] no\n```\n") == ()


@pytest.mark.parametrize("inner", ["### Checklist\n\n", ""])
@pytest.mark.parametrize("step", ["Step 9: ", "Step 9 — ", "✅ "])
def test_v1_items_stand_in_the_final_checklist(inner, step):
    final = f"## {step}Final Checklist (MANDATORY — do not skip)\n\n{inner}- [ ] One\n- [ ] Two\n"
    body = final + "\n## Tips\n\n- [ ] Three\n"
    assert [item.text for item in checklist(body)] == ["One", "Two"]


def test_code_checks_make_a_file_v2_and_a_final_checklist_makes_it_v1():
    checks_section = "## Code Checks\n\n### a — A\n\n```\nx\n```\n"
    assert parse(f"---\na: 1\n---\n{checks_section}").generation == 2
    assert parse(f"---\na: 1\n---\n{checks_section}\n## Final Checklist\n").generation == 1
    assert parse("---\na: 1\n---\n## Checklist\n").generation == 1
