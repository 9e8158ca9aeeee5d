"""Every rule of our own: a file that breaks it, and the files that do not."""

import re
from pathlib import Path

import pytest

from runbook_runner.cli.author.check import HERE
from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction import PATTERNS
from runbook_runner.runbook.check.engine import findings_of, job, refusal
from runbook_runner.runbook.check.rules import Selection, every_rule

AGENTS = HERE._replace(snapshots=None, providers=lambda _: ())
KEY = "sk-ant-api03-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8"


def check(text, *, select=(), profile="auto", folder=None, name="RUNBOOK.md"):
    raw = text.encode() if isinstance(text, str) else text
    try:
        return findings_of([job(raw, name, folder, Selection(profile=profile, select=select), AGENTS)])[0]
    except InputError as error:
        return (refusal(error, name),)


def found(text, **options):
    return [(finding.rule, finding.line) for finding in check(text, **options)]


def test_runbooks_with_nothing_wrong_have_no_findings(v1, v2):
    assert found(v1) == []
    assert found(v2) == []


def test_examples_of_the_project_have_no_findings():
    examples = Path(__file__).parents[3] / "examples"
    findings = {file.parent.name: found(file.read_text(), folder=file.parent) for file in examples.glob("*/RUNBOOK.md")}
    assert findings == {"hello": [], "limerick": [], "page-shot": [], "sales-report": []}


# Rule, what is replaced in V1, by what, the line of the finding (0: any).
BROKEN = [
    ("RB101", "---\nversion", "version", 1),
    ("RB101", "version: 1.0.0", "version: [", 0),
    ("RB101", "evaluation: programmatic", "evaluation: [a, b]", 3),
    ("RB102", "---\nversion", "\n\n---\nversion", 3),
    ("RB103", "---\nversion", "\ufeff---\nversion", 1),
    ("RB104", "model: ", "modle: ", 5),
    ("RB104", "    description: Reads", "    descripton: Reads", 12),
    ("RB105", "agent: claude-code\n", "agent: claude-code\nagent: claude-code\n", 5),
    ("RB106", "version: 1.0.0", "version: 1.0", 2),
    ("RB107", "evaluation: programmatic", "evaluation: visual", 3),
    ("RB107", "evaluation: programmatic", "evaluation: Programmatic", 3),
    ("RB108", "agent: claude-code", "agent: claude", 4),
    ("RB108", "agent: claude-code", "agent: Claude-Code", 4),
    ("RB109", "snapshot: python312-uv", "model_provider: replicate", 6),
    ("RB109", "snapshot: python312-uv", "model_provider: openai", 6),
    ("RB110", "model: claude-sonnet-4-6", "model: gpt-5.5", 5),
    ("RB110", "model: claude-sonnet-4-6", "model: some-model\nmodel_provider: openrouter", 5),
    ("RB110", "model: claude-sonnet-4-6", "model: claude-sonnet-4-6\nmodel_provider: openrouter", 5),
    ("RB111", "snapshot: python312-uv", "snapshot: python312-uv\nimage: a/b", 6),
    ("RB112", "  - report.md", "  - /app/results/report.md", 8),
    ("RB112", "  - report.md", "  - summary.md", 8),
    ("RB112", "  - report.md", "  - /etc/passwd", 8),
    ("RB113", "agent: claude-code", "agent: shell", None),
    ("RB114", "snapshot: python312-uv", "snapshot: python313", None),
    ("RB115", "snapshot: python312-uv", "runbook_runner:\n  max_cots: 3", 7),
    ("RB115", "snapshot: python312-uv", "runbook_runner: [1]", 6),
    ("RB115", "snapshot: python312-uv", "runbook_runner: {timeout: .inf}", 6),
    ("RB115", "snapshot: python312-uv", "runbook_runner: {max_cost: .nan}", 6),
    ("RB116", "agent: claude-code", "agent: claude-code", None),
    ("RB117", "snapshot: python312-uv", "runbook_runner: {inputs: [no.csv]}", 6),
    ("RB201", "# Orders — Agent Runbook\n", "", 0),
    ("RB202", "## REQUIRED OUTPUT FILES (MANDATORY)", "## Files", 0),
    ("RB203", "`/app/results/report.md` | The", "`/app/work/report.md` | The", 24),
    ("RB203", "| Which shop |", "| Which shop |\n| Results | `{{results_dir}}` | `/tmp/out` | Where |", 33),
    ("RB204", "| `/app/results/summary.md` | T", "| `report.md` | Again |\n| `/app/results/summary.md` | T", 25),
    ("RB205", "| `/app/results/summary.md` | T", "| `chart.png` | Never made |\n| `/app/results/summary.md` | T", 25),
    ("RB206", "  - report.md", "  - other.md", 7),
    ("RB207", "| Which shop |", "| Which shop | or `a|b` |", 32),
    ("RB208", "### Checklist", "### Verification Script", 0),
    ("RB209", "## Step 3: Evaluate", "## Step 7: Evaluate", 0),
    ("RB209", "## Step 2: Count", "## Step 1: Count", 0),
    ("RB210", "Count the orders", "See [notes](notes.md). Count the orders", 18),
    ("RB211", "Count the orders", "Count\n\n" + "---\n\n# x\n" * 30_000 + "\nthe orders", 0),
    ("RB301", "Count the orders of {{shop}}", "Count {{shop}} and {{shopp}}", 18),
    ("RB302", "orders of {{shop}}", "orders", 32),
    ("RB303", "| Which shop |", "| |", 32),
    ("RB304", "| Which shop |", "| Which shop |\n| Shop | `{{shop}}` | `a` | Again |", 33),
    ("RB305", "$SHOP_TOKEN", "{{secrets.OTHER}}", 44),
    ("RB306", "$SHOP_TOKEN", "none", 10),
    ("RB307", "$SHOP_TOKEN", "$SHOP_TOKEN $GITHUB_PAT", 44),
    ("RB401", "wc -l", "if wc -l", 50),
    ("RB402", '"overall_passed": true}', '"overall_passed": True}', 67),
    ("RB403", "- The shop is slow at night.", "```\nThe shop", 0),
    ("RB403", "orders.json\n```\n", "orders.json\n", 42),
    ("RB404", "wc -l /app/work/orders.json", "wc -l /app/work/order.json", 50),
    ("RB405", "Mend what Step 3 found.\n", "", 60),
    ("RB406", "wc -l", "# " + "long " * 50_000 + "\nwc -l", 49),
    ("RB407", "agent: claude-code", "agent: shell", None),
    ("RB501", "evaluation: programmatic", "evaluation: programmatic", None),
    ("RB502", "(max 3 rounds)", "", 60),
    ("RB503", "evaluation: programmatic", "evaluation: rubric", 3),
    ("RB504", ', "overall_passed": true', "", 0),
    ("RB505", "- [ ] `report.md`", "- [] `report.md`", 0),
    ("RB506", "evaluation: programmatic", "evaluation: programmatic", None),
    ("RB507", "evaluation: programmatic", "evaluation: programmatic", None),
    ("RB601", "The shop is slow at night.", KEY, 0),
    ("RB602", "The shop is slow at night.", "It is in /home/ada/orders.", 0),
    ("RB602", "The shop is slow at night.", "It is in /Users/ada/orders.", 0),
    ("RB603", "env: SHOP_TOKEN", "env: PATH", 10),
    ("RB701", "curl -H", "wget -H", 44),
    ("RB702", "$SHOP_TOKEN", "$SHOP_TOKEN $SHOP_URL", 44),
    ("RB703", "wc -l", "cat beside.csv", 50),
    ("RB602", "The shop is slow at night.", "It is in C:\\\\Users\\\\ada.", 0),
]


@pytest.mark.parametrize(("rule", "old", "new", "line"), [row for row in BROKEN if row[3] is not None])
def test_broken_file_is_found_at_its_line(rule, old, new, line, v1, tmp_path):
    assert old in v1
    (tmp_path / "beside.csv").touch()
    hits = [place for code, place in found(v1.replace(old, new, 1), folder=tmp_path) if code == rule]
    assert len(hits) == 1
    assert line in (0, hits[0])


def test_every_key_of_the_wrong_type_is_told(v1):
    wrong = v1.replace("1.0.0", "[1]", 1).replace("agent: claude-code", "agent: 3").replace("env: SHOP_TOKEN", "env: 5")
    assert found(wrong, profile="auto", select=("RB1",)) == [("RB101", 2), ("RB101", 4), ("RB101", 11)]


def test_what_follows_from_a_block_that_is_never_closed_is_not_told(v1):
    unclosed = v1.replace("> /app/results/report.md\n```", "> /app/results/report.md; if")
    assert [code for code, _ in found(unclosed, select=("RB1", "RB2", "RB3", "RB4", "RB5"))] == ["RB403"]


def test_what_a_step_gets_itself_is_not_missing(v1, tmp_path):
    (tmp_path / "made.py").touch()
    (tmp_path / "taken.py").touch()
    code = """\
apt-get install --yes jq wget && jq . a && wget x
command -v rg && rg x
export SHOP=1; echo $SHOP ${HOME} ${OTHER:-x} $shop
read -r FIRST REST; echo $FIRST
cat > made.py
python made.py taken.py /app/assets/taken.py
echo 'az login'"""
    text = v1.replace("wc -l", f"{code}\nwc -l").replace(
        "agent:", "runbook_runner: {inputs: [lib/taken.py]}\nagent:", 1
    )
    assert found(text, folder=tmp_path, select=("RB7",)) == []
    assert found(v1.replace("snapshot: python312-uv", "image: a/b").replace("wc -l", "jq ."), select=("RB7",)) == []


def test_every_rule_of_our_own_has_a_file_that_breaks_it():
    own = {rule.id for rule in every_rule() if rule.id < "RB8"}
    assert own == {row[0] for row in BROKEN}


SHORT = "---\nagent: {}\n---\n# T\n## REQUIRED OUTPUT FILES\n\n| File |\n|---|\n| `a.md` |\n\n## Step 1: Work\n\na.md\n"


@pytest.mark.parametrize("front", ["- agent: shell", "just words"])
def test_a_frontmatter_without_keys_is_found(front):
    assert ("RB116", 2) in found(SHORT.replace("agent: {}", front))
    assert "RB116" not in [rule for rule, _ in found(SHORT.replace("agent: {}", "# nothing yet"))]


@pytest.mark.parametrize("use", ["secret: crm", "env: {T: '${CRM_TOKEN}'}", "args: ['{{secrets.crm}}']"])
def test_a_secret_of_an_mcp_server_is_used(use):
    front = "claude-code\nsecrets: {crm: {env: CRM_TOKEN, description: Opens it}}\nmcp_servers: {s: {command: x, USE}}"
    assert "RB306" in [rule for rule, _ in found(SHORT.format(front.replace("USE", "args: []")))]
    assert "RB306" not in [rule for rule, _ in found(SHORT.format(front.replace("USE", use)))]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("{name: b}", 5, "`code_checks.sources` must be a list of mappings with `name` and `url`"),
        ("{name: ../x, url: x.git}", 7, "'../x' can't be the name of a check source"),
        ("{name: b, url: 'https://h.example/x', secret: NONE}", 7, "names the secret NONE, which the runbook does not"),
        ("{name: b, url: 'git@h.example:x.git'}", 7, "has an address that is not fetched"),
        ("{name: b, url: 'ssh://git@h.example/x.git'}", 7, "has an address with a user"),
        ("{name: b, url: x.git, ref: a..b}", 7, "has a `ref` that is no name"),
        ("{name: A, url: x.git}", 7, "is declared twice"),
    ],
)
def test_a_check_source_that_a_run_would_refuse_is_found(v2, source, line, message):
    front = f"code_checks:\n  sources:\n  - {{name: a, url: a.git}}\n  - {source}\n"
    (finding,) = check(v2.replace("agent: claude-code\n", front + "agent: claude-code\n", 1))
    assert (finding.rule, finding.severity, finding.line) == ("RB506", "error", line)
    assert message in finding.message


def test_a_check_source_that_a_run_would_look_for_is_not_found(v2):
    front = "secrets: {pat: {env: GIT_PAT}}\ncode_checks:\n  sources:\n"
    front += "  - {name: a, url: ../a.git, ref: v1}\n  - {name: b, url: 'https://h.example/x', secret: pat}\n"
    assert found(v2.replace("agent: claude-code\n", front + "agent: claude-code\n", 1)) == []


@pytest.mark.parametrize(
    ("block", "line", "message"),
    [
        ("use: file_exist\npath: a", 1, "`use: file_exist` is not a built-in check"),
        ("use: min_size\npath: a", 1, "`min_size` needs `bytes:`"),
        ("use: file_exists", 1, "needs a `path:` or a `glob:`"),
        ("use: regex_present\npath: a", 1, "`regex_present` needs a `pattern:`"),
        ("use: regex_present\npath: a\npattern: 'a('", 4, "not a regular expression: missing )"),
        ("use: json_valid\npath: [", 3, ""),
        ("use: regex_absent\nglob: 'part[0-9].md'\npattern: TODO", 1, "has `[`, which stands for nothing here"),
    ],
)
def test_a_built_in_check_that_can_only_be_an_error_is_found(v2, block, line, message):
    text = v2.replace("## Step 4: Code Checks\n", f"## Step 4: Code Checks\n\n### a — A\n\n```yaml\n{block}\n```\n", 1)
    first = text.split("\n").index("```yaml") + 1
    (finding,) = check(text)
    assert (finding.rule, finding.severity, finding.line) == ("RB507", "error", first + line - 1)
    assert message in finding.message
    right = text.replace(block, "use: regex_absent\nglob: '*.md'\npattern: '{{shop}}('")
    assert check(right) == ()


def test_shell_agent_without_a_block_is_found():
    assert found(SHORT.format("shell")) == [("RB113", 2)]


@pytest.mark.parametrize(
    ("twice", "line"),
    [
        ('agent: shell\n"agent": shell', 3),
        ("agent: shell\nsecrets:\n  A: {}\n  B: {}\n  A: {required: false}", 6),
        ("agent: shell\nmcp_servers:\n  s: {command: x}\n  's': {command: y}", 5),
        ("agent: shell\nmore:\n- a: 1\n  b: 2\n  a: 3", 6),
    ],
)
def test_a_key_that_is_given_twice_is_found_wherever_and_however_it_is_written(twice, line):
    text = SHORT.format("shell").replace("agent: shell", twice)
    hits = [finding for finding in check(text) if finding.rule == "RB105"]
    assert [(hit.line, hit.severity) for hit in hits] == [(line, "error")]
    assert f"and {line}." in hits[0].message


@pytest.mark.parametrize(
    ("language", "code", "default", "is_found"),
    [
        ("bash", "echo '{{x}}' {{x}}", "a b", False),
        ("bash", "for i in {{x}}; do echo $i; done", "a b", True),
        ("bash", "{{x}} --all", "make all", True),
        ("bash", "{{x}} --all", "make", False),
        ("bash", "echo $(({{x}}))", "", True),
        ("bash", "echo $(({{x}}))", "3", False),
        ("python", "n = {{x}}", "3", False),
        ("python", "n = {{x}}", "a b", True),
        ("text", "{{x}}", "a b", False),
    ],
)
def test_placeholders_whose_values_would_not_survive_quotes_are_found(language, code, default, is_found):
    given = f"`{default}`" if default else "*(required)*"
    table = f"\n## Parameters\n\n| Parameter | Default | Description |\n|---|---|---|\n| `x` | {given} | Any |\n"
    text = SHORT.format("shell").replace("a.md\n", f"```{language}\n{code}\n```\n\n```bash\necho a.md\n```\n" + table)
    assert [line for rule, line in found(text) if rule == "RB407"] == ([14] if is_found else [])
    assert [rule for rule, _ in found(text.replace("agent: shell", "agent: codex")) if rule == "RB407"] == []


def test_steps_without_any_judgement_are_found():
    assert found(SHORT.format("codex")) == [("RB501", 11)]
    assert found(SHORT.format("shell").replace("a.md\n", "```bash\necho a.md\n```\n")) == []


def test_hint_names_the_key_that_was_meant(v1):
    (finding,) = check(v1.replace("snapshot:", "snapshoot:"))
    assert (finding.rule, finding.line, finding.column, finding.severity) == ("RB104", 6, 1, "warning")
    assert finding.message == "`snapshoot` is not a key of a runbook's frontmatter."
    assert finding.hint == "Did you mean `snapshot`?"


def test_our_own_frontmatter_key_is_known(v1):
    assert found(v1.replace("snapshot: python312-uv", "runbook_runner:\n  inputs: [a.csv]")) == []


@pytest.mark.parametrize(
    ("agent", "provider", "model"),
    [
        ("claude-code", "openrouter", "anthropic/claude-sonnet-4.6"),
        ("claude-code", "bedrock", "us.anthropic.claude-sonnet-4-6"),
        ("claude-code", "bedrock", "arn:aws:bedrock:eu-west-1:1:inference-profile/x"),
        ("codex", "openrouter", "openai/gpt-5.6-terra"),
        ("codex", "openai", "gpt-5.5"),
        ("codex", "openai", "gpt-5.5-terra-mini"),
        ("claude-code", "anthropic", "claude-fabliau-6"),
        ("gemini-cli", "google", "gemini-2.5-pro"),
        ("opencode", "openrouter", "z-ai/glm-5"),
        ("hermes", "nous", "hermes-4"),
    ],
)
def test_combinations_that_work_are_not_complained_about(agent, provider, model, v1):
    new = f"agent: {agent}\nmodel_provider: {provider}\nmodel: {model}\n"
    assert found(v1.replace("agent: claude-code\nmodel: claude-sonnet-4-6\n", new)) == []


@pytest.mark.parametrize(
    ("agent", "provider", "model", "rule"),
    [
        ("codex", "anthropic", "claude-sonnet-4-6", "RB109"),
        ("gemini-cli", "bedrock", "gemini-2.5-pro", "RB109"),
        ("codex", "openai", "claude-sonnet-4-6", "RB110"),
        ("claude-code", "bedrock", "gpt-5.5", "RB110"),
        ("claude-code", "bedrock", "zai.glm-5", "RB110"),
        ("opencode", "openrouter", "glm-5", "RB110"),
        ("claude-code", "anthropic", "claude-sonet-4-6", "RB110"),
        ("gemini-cli", "google", "gemeni-2.5-pro", "RB110"),
    ],
)
def test_combinations_that_cannot_work_are_found(agent, provider, model, rule, v1):
    new = f"agent: {agent}\nmodel_provider: {provider}\nmodel: {model}\n"
    rules = {code for code, _ in found(v1.replace("agent: claude-code\nmodel: claude-sonnet-4-6\n", new))}
    assert rules == {rule}


@pytest.mark.parametrize(
    "text",
    [
        "<div style={{shopp}}>",
        'f"{{shopp}}"',
        "${{ github.ref }}",
        "```jsx\n<a b={{c}}>{{d}}</a>\n```",
        "```python\nprint(f'{{x}}')\n```",
        "{{results_dir}} {{assets_dir}} {{checks_dir}}",
        "```bash\ndocker inspect -f '{{range .A}}{{.B}}{{else}}-{{end}}' x\n```",
        "{% for a in b %}{{ a }}{% endfor %}",
        "{% raw %}\n\n{{shopp}}\n\n{% endraw %}",
        "<!-- later:\n{{shopp}} {{secrets.SHOP}} -->",
        "```mermaid\ngraph LR\na{{shopp}} --> b\n```",
        "```yaml\ntoken: ${{ secrets.GITHUB_TOKEN }}\n```",
    ],
)
def test_braces_that_are_not_ours_are_no_variables(text, v1):
    assert found(v1.replace("- The shop is slow at night.", text)) == []


@pytest.mark.parametrize(
    "code",
    [
        '{"a": 1,\n "b": …}',
        '{"a": "<name>", "b": <number>}',
        '{"a": 1} // what it is',
        '{"status": "pass" | "fail"}',
        '"a": 1,\n"b": [2]',
        '{"a": 1}\n{"a": 2}',
        '{"n": {{shop}}, "s": "{{shop}}"}',
        '{"a": string}',
        '{"score": 1-5, "passed": true/false}',
        "",
    ],
)
def test_shapes_and_fragments_of_json_are_left_alone(code, v1):
    assert found(v1.replace("- The shop", f"```json\n{code}\n```\n\n- The shop")) == []


@pytest.mark.parametrize("code", ['{"a": 1,}', "{'a': 1}", '{"on": 2026-11-22}', '{"a": None}', '{"a": 1', "[1 2]"])
def test_json_that_is_meant_and_does_not_parse_is_found(code, v1):
    assert [rule for rule, _ in found(v1.replace("- The shop", f"```json\n{code}\n```\n\n- The shop"))] == ["RB402"]


@pytest.mark.parametrize(
    "code",
    [
        "for A_KEY in x y; do echo $A_KEY; done",
        "read -rsp 'Key: ' A_KEY && echo $A_KEY",
        'python3 -c \'import os; os.environ["A_KEY"] = "x"; print(os.environ["A_KEY"])\'',
    ],
)
def test_key_that_the_code_sets_itself_is_no_secret(code, v1):
    assert found(v1.replace("wc -l", f"{code}\nwc -l")) == []
    assert ("RB307", 50) in found(v1.replace("wc -l", "echo $A_KEY\nwc -l"))


@pytest.mark.parametrize("bound", ["MAX_ROUNDS=3", "max_rounds: 3", "**maximum** of **3** times", "up to three times"])
def test_bound_in_any_words_is_one(bound, v1):
    assert "RB502" not in {rule for rule, _ in found(v1.replace("(max 3 rounds)", f"({bound})"))}


@pytest.mark.parametrize(
    "path", ["https://a.example/home/ada/x", "s3://b/Users/ada", "/app/home/x", "~/home/x", "a/home/b", "$HOME/home/x"]
)
def test_paths_that_are_on_nobodys_machine_are_fine(path, v1):
    assert found(v1.replace("The shop is slow", f"See {path}, it")) == []


@pytest.mark.parametrize(
    "words",
    [
        "sk-your-key-here-your-key-here-your-key-here",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAIOSFODNN7EXAMPLE",
        "task-that-has-a-rather-long-name-with-hyphens",
        "disk-usage-of-the-whole-machine-and-of-its-parts-v2",
    ],
)
def test_example_credentials_are_none(words, v1):
    assert found(v1.replace("The shop is slow", words)) == []


SAMPLES = {
    "anthropic-key": KEY,
    "openrouter-key": "sk-or-v1-" + "0123456789abcdef" * 4,
    "openai-key": "sk-proj-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2",
    "google-key": "AIza" + "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v2w",
    "aws-access-key": "AKIA" + "Q3EGRIJ7KLM5NOPT",
    "aws-session-key": "ASIA" + "Q3EGRIJ7KLM5NOPT",
    "github-token": "ghp_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2",
    "github-pat": "github_pat_"
    + "11ABCDEFG0aBcDeFgHiJkL_"
    + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3Ab4Cd5Ef6Gh7Ij8Kl9M",
    "gitlab-token": "glpat-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn",
    "slack-token": "xoxb-" + "123045607890-Ab1Cd2Ef3Gh4",
    "stripe-key": "sk_live_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8",
    "stripe-restricted-key": "rk_live_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8",
    "huggingface-token": "hf_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1",
    "replicate-token": "r8_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Y",
    "npm-token": "npm_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2",
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3Ab4Cd5Ef6Gh7Ij8",
    "jetty-key": "mlc_" + "ab1cd2ef3gh4ij5kl6mn7op8qr9st0uv",
    "datadog-token": "dtn_" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhb",
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", list(PATTERNS))
def test_every_pattern_the_redaction_knows_is_found_and_never_shown(kind, v1):
    (finding,) = check(v1.replace("The shop is slow at night.", SAMPLES[kind]))
    assert (finding.rule, finding.severity) == ("RB601", "error")
    assert kind.replace("-", " ") in finding.message
    assert SAMPLES[kind] not in finding.message + finding.hint


def test_what_stands_beside_a_comment_is_still_read(v1):
    text = "<!-- {{a}} --> {{b}}\n\n```html\n<!--\n```\n\n{{c}}\n\n```html\n-->\n```\n\n<!-- {{d}}"
    hits = check(v1.replace("- The shop is slow at night.", text), select=("RB301",))
    assert [finding.message.split("`")[1] for finding in hits] == ["{{b}}", "{{c}}", "{{d}}"]


def test_parts_of_a_step_are_no_gap_and_no_repeat(v1):
    parts = "## Step 2a: Count\n\nDo.\n\n## Step 2b: Weigh\n\nDo.\n\n## Step 2.3: Sum\n"
    assert found(v1.replace("## Step 2: Count\n", parts)) == []
    again = "## 🔧 Step 2: Count\n\nDo.\n\n# Part two\n\n## Step 1: Begin\n\nDo.\n\n## Step 2: Go on\n"
    assert found(v1.replace("## Step 2: Count\n", again)) == []
    twice = check(v1.replace("## Step 2: Count\n", parts.replace("2b", "2a")), select=("RB209",))
    assert [finding.message for finding in twice] == ["There are two steps 2a."]


@pytest.mark.parametrize("mark", ["````", "~~~"])
def test_block_that_shows_other_blocks_is_closed(mark, v1):
    text = f"{mark}bash\ncat > a.md <<'EOF'\n\n## A\n\n```bash\nls\n```\nEOF\n{mark}\n"
    assert found(v1.replace("- The shop is slow at night.", text)) == []


def test_links_are_looked_up_next_to_the_runbook(v1, tmp_path):
    (tmp_path / "a b.md").write_text("x")
    links = (
        "[a](a%20b.md) [b](./a%20b.md#part) [c](https://x.example/y) [d](#tips) ![e](results/e.png) [f]({{shop}}.md)"
    )
    text = v1.replace("The shop is slow at night.", f"{links} `[g](gone.md)`")
    assert found(text, folder=tmp_path) == []
    assert found(text.replace("a%20b.md#", "gone.md#"), folder=tmp_path) == [("RB210", v1.count("\n"))]


def test_files_made_by_patterns_words_or_folders_are_not_called_unwritten(v1):
    for made in ("Save each as /app/work/*.json.", "Write order.json.", "Fill /app/work/$name."):
        text = v1.replace("orders.json > ", "order.json > ").replace("The shop is slow", made)
        assert found(text) == []


def test_finding_in_a_windows_file_has_the_same_place(v1):
    text = v1.replace("wc -l", "if wc -l")
    assert found(text.replace("\n", "\r\n")) == found(text)


def test_bytes_that_are_no_text_are_one_finding_with_a_line():
    assert found(b"---\nversion: \xff\n---\n") == [("RB101", 2)]
    assert found(b"---\nversion: 1\0\n---\n") == [("RB101", 2)]
    assert found("# Only Markdown\n") == [("RB101", 1)]


def test_one_rule_speaks_at_most_a_hundred_times(v1):
    hits = found(v1 + "\n{{unknown}}" * 500)
    assert len(hits) == 100


def test_every_rule_is_well_formed():
    rules = every_rule()
    assert len({rule.id for rule in rules}) == len({rule.name for rule in rules}) == len(rules)
    assert all(re.fullmatch(r"RB\d{3}", rule.id) and re.fullmatch(r"[a-z0-9-]+", rule.name) for rule in rules)
    assert all(rule.summary and not rule.summary.endswith(".") for rule in rules)
