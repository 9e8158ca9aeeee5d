"""Room `runbook`, `check`: RB3xx, parameters, `{{variables}}` and secrets."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from runbook_runner.core.declared import placed_secrets
from runbook_runner.core.facts.providers import PROVIDER_KEYS
from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.frontmatter import secret_line
from runbook_runner.runbook.check.rules.subject import MOST_PLACEHOLDERS, SHELLS, Rule, Subject
from runbook_runner.runbook.parts.parameters import parameter_rows, parameter_tables
from runbook_runner.runbook.parts.substitution import BUILT_IN, Placeholder, each_placeholder

# In these a doubled brace has a meaning of its own: JSX, f-strings, other template languages.
_BRACES = frozenset(
    {"jsx", "tsx", "js", "ts", "javascript", "typescript", "vue", "svelte", "html", "python", "python3"}
) | {
    *(
        "py",
        "jinja",
        "jinja2",
        "j2",
        "liquid",
        "handlebars",
        "hbs",
        "mustache",
        "go",
        "gotemplate",
        "helm",
        "yaml",
        "yml",
    ),
    *("css", "latex", "tex", "rust", "mermaid"),
}
# Forwarded to every agent without a declaration (contract §4.6), and the providers' own keys (§4.4).
_FORWARDED = PROVIDER_KEYS | {"REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}

_MOST = 100  # of what costs a look through the whole text
_TEMPLATE_WORDS = frozenset({"else", "end", "break", "continue"})
_MARKS = (("<!--", "-->"), ("{% raw %}", "{% endraw %}"))
_MOST_VARIABLES = 20
_SET = (
    *("{}=", "{} =", "for {} in", "environ['{}'] =", 'environ["{}"] ='),
    *("environ['{}']=", 'environ["{}"]=', "setdefault('{}'", 'setdefault("{}"'),
)
KEY_NAME = r"[A-Z][A-Z0-9]*_(?:[A-Z0-9]+_)*(?:KEY|TOKEN|SECRET|PASSWORD|PAT)"
_SECRET_VARIABLE = (  # text, compiled when code names one
    rf"\$(?P<a>{KEY_NAME})\b|\$\{{(?P<b>{KEY_NAME})\}}"
    rf"|environ(?:\.get\(|\[)['\"](?P<c>{KEY_NAME})['\"][)\]]"
)
_READERS = SHELLS | {"python", "python3"}


def undeclared_variable(subject: Subject) -> Iterator[Hit]:
    runbook = subject.runbook
    declared = {parameter.name for parameter in runbook.parameters} | set(BUILT_IN)
    known = sorted(declared)
    for used in _shown(subject):
        if used.is_secret or used.name in declared or subject.language_at(used.line) in _BRACES:
            continue
        if _is_code(subject.line(used.line), used.name) or _is_template(subject, used):
            continue
        hint = subject.did_you_mean(used.name, known) or "Add a row for it to the Parameters table."
        yield subject.on(used.line, f"`{{{{{used.name}}}}}` is not declared: it stays as it is.", hint, at=used.name)


def _is_code(line: str, name: str) -> bool:
    """An attribute of JSX or an f-string, shown in the text: `<div style={{x}}>`, `f"{{x}}"`."""
    before = line.partition("{{")[0] if line.count("{{") == 1 else line[: max(line.find("{{" + name), 0)]
    return (before.endswith("=") and "<" in before) or re.search(r"\bf[\"'][^\"']*$", before) is not None


def _is_template(subject: Subject, used: Placeholder) -> bool:
    """Of Jinja: `{% for x in y %}{{ x }}`; of Go or Handlebars: `{{if .A}}a{{else}}b{{end}}`."""
    if used.name in _TEMPLATE_WORDS:
        return subject.has_template_blocks
    return "{%" in subject.line(used.line)


def _shown(subject: Subject) -> Iterable[Placeholder]:
    """Without those that the author has taken out: in HTML comments, or between `{% raw %}` and `{% endraw %}`."""
    body = subject.runbook.body
    if "<!--" not in body and "{% raw %}" not in body:
        return subject.placeholders
    below = subject.runbook.body_line - 1
    parts, position = [], 0
    for start, end in _taken_out(body):
        if body[start] == "<" and subject.language_at(body.count("\n", 0, start) + 1 + below) is not None:
            continue  # code that writes a comment
        parts += [body[position:start], "\n" * body.count("\n", start, end)]
        position = end
    found = islice(each_placeholder("".join([*parts, body[position:]])), MOST_PLACEHOLDERS)
    return [used._replace(line=used.line + below) for used in found]


def _taken_out(body: str) -> Iterator[tuple[int, int]]:
    """Offsets of what lies between such marks, in order, the first of them; with `str.find`, which is linear."""
    end = 0
    for _ in range(_MOST):
        starts = {body.find(opening, end): (opening, closing) for opening, closing in _MARKS}
        start = min((at for at in starts if at >= 0), default=-1)
        closing = body.find(starts[start][1], start) if start >= 0 else -1
        if closing < 0:
            return
        end = closing + len(starts[start][1])
        yield start, end


def unused_variable(subject: Subject) -> Iterator[Hit]:
    """Only parameters that name their variable as `{{name}}`: most real runbooks name their variables in prose."""
    if len(subject.placeholders) == MOST_PLACEHOLDERS:
        return  # some uses were not seen
    lines: dict[str, set[int]] = {}
    for used in subject.placeholders:
        lines.setdefault(used.name, set()).add(used.line)
    for parameter in subject.runbook.parameters:
        name, line = parameter.name, parameter.line
        if name not in BUILT_IN and lines.get(name) == {line}:
            hint = f"Use `{{{{{name}}}}}` where the value belongs, or remove the row."
            yield subject.on(line, f"`{{{{{name}}}}}` is declared and never used.", hint, at=name)


def undescribed_parameter(subject: Subject) -> Iterator[Hit]:
    for parameter in subject.runbook.parameters:
        if parameter.description.strip(" -–—") == "" and parameter.name not in BUILT_IN:
            yield subject.on(parameter.line, f"The parameter {parameter.label!r} has no description.")


def repeated_parameter(subject: Subject) -> Iterator[Hit]:
    if sum(len(table.rows) for table in parameter_tables(subject.runbook.outline)) == len(subject.runbook.parameters):
        return
    seen: dict[str, int] = {}
    for name, line in parameter_rows(subject.runbook.outline, subject.runbook.body):
        first = seen.setdefault(name, line)
        if first != line:
            yield subject.on(line, f"The parameter `{name}` is already on line {first}.", "The first row counts.")


def undeclared_secret(subject: Subject) -> Iterator[Hit]:
    declared = {secret.name for secret in subject.runbook.frontmatter.secrets}
    known = sorted(declared)
    for used in _shown(subject):
        if used.is_secret and used.name not in declared and not _is_workflow(subject, used):
            hint = subject.did_you_mean(used.name, known) or f"Add `{used.name}:` below `secrets:` in the frontmatter."
            yield subject.on(used.line, f"The secret `{used.name}` is not declared.", hint, at=used.name)


def _is_workflow(subject: Subject, used: Placeholder) -> bool:
    """A workflow of GitHub's, shown: `${{ secrets.GITHUB_TOKEN }}` in YAML."""
    if subject.language_at(used.line) not in ("yaml", "yml"):
        return False
    line = subject.line(used.line)
    return f"${{{{ secrets.{used.name}" in line or f"${{{{secrets.{used.name}" in line


def unused_secret(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    if not front.secrets:
        return
    named = _named_secrets(front.code_checks) | _named_secrets(front.mcp_servers)
    for secret in front.secrets[:_MOST]:
        names = {secret.name, secret.env}
        if named & names or any(name in subject.runbook.body for name in names):
            continue
        hint = "Say which step needs it, or take it away: what is declared is handed to the agent."
        yield subject.on(
            secret_line(subject, secret.name), f"The secret `{secret.name}` is never used.", hint, at=secret.name
        )


def _named_secrets(value: Any) -> set[str]:
    """Every `secret: NAME` and `${NAME}` in there; the frontmatter's depth is bounded when it is read."""
    if isinstance(value, str):
        return placed_secrets(value)
    if isinstance(value, Mapping):
        own = {value["secret"]} if isinstance(value.get("secret"), str) else set()
        return own.union(*map(_named_secrets, value.values()))
    return set().union(*map(_named_secrets, value)) if isinstance(value, list) else set()


def undeclared_variable_of_host(subject: Subject) -> Iterator[Hit]:
    """`$GITHUB_PAT` in a step's code: only declared secrets reach the agent (contract §4.6)."""
    known = {secret.env for secret in subject.runbook.frontmatter.secrets} | _FORWARDED
    seen: dict[str, int] = {}
    for name, line in _read_variables(subject):
        if name not in known and len(seen) < _MOST_VARIABLES:
            seen.setdefault(name, line)
    for name, line in seen.items():
        if not is_set(subject, name):
            hint = f"Declare it below `secrets:`, or it will be empty: `{name}: {{}}`."
            yield subject.on(line, f"The code reads `{name}`, which `secrets` does not declare.", hint, at=name)


def is_set(subject: Subject, name: str) -> bool:
    """Whether some code or sentence gives the variable a value."""
    return any(form.format(name) in subject.text for form in _SET) or name in subject.read_by_shell


def _read_variables(subject: Subject) -> Iterator[tuple[str, int]]:
    for language, fence in subject.languages:
        if language in _READERS and _may_read_secrets(fence.code):
            line, counted = fence.line + 1, 0
            for match in re.finditer(_SECRET_VARIABLE, fence.code):
                line += fence.code.count("\n", counted, match.start())
                counted = match.start()
                yield match["a"] or match["b"] or match["c"], line


def _may_read_secrets(code: str) -> bool:
    return any(word in code for word in ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_PAT"))


RULES = (
    Rule("RB301", "undeclared-variable", "error", "Every `{{variable}}` is a parameter", undeclared_variable),
    Rule("RB302", "unused-variable", "warning", "Every parameter with a `{{variable}}` is used", unused_variable),
    Rule("RB303", "undescribed-parameter", "warning", "Every parameter has a description", undescribed_parameter),
    Rule("RB304", "repeated-parameter", "warning", "No parameter is declared twice", repeated_parameter),
    Rule("RB305", "undeclared-secret", "error", "Every `{{secrets.NAME}}` is declared", undeclared_secret),
    Rule("RB306", "unused-secret", "warning", "Every declared secret is used", unused_secret),
    Rule(
        "RB307",
        "undeclared-key",
        "warning",
        "Key variables the code reads are declared secrets",
        undeclared_variable_of_host,
    ),
)
