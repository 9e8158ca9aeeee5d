"""Room `runbook`, `check`: RB1xx, the frontmatter."""

import re
from collections.abc import Iterable, Iterator

from runbook_runner.core.facts.agents import AgentFacts, choose_provider
from runbook_runner.core.facts.providers import PROVIDERS, only_other_maker, spell_model
from runbook_runner.core.facts.spelling import FAMILIES
from runbook_runner.core.files import is_file
from runbook_runner.core.formats.yaml_text import YamlText
from runbook_runner.core.text import nearest
from runbook_runner.runbook.check.rules.findings import Edit, Hit
from runbook_runner.runbook.check.rules.subject import Rule, Subject
from runbook_runner.runbook.parts.frontmatter import KNOWN_KEYS, OWN_KEY, cut, problems
from runbook_runner.runbook.parts.outputs import in_results
from runbook_runner.runbook.parts.steps import LANGUAGES

SNAPSHOTS = ("python312-uv", "prism-playwright")
"""The contract's own (§3.2)."""

_SECRET_KEYS = ["env", "description", "required", "expose_to_agent", "expose_to_checks"]
_PATTERNS = ["programmatic", "rubric"]
_KEYS = "Write it like `version: 1.0.0`."
_LONG_MODEL = 100  # characters
_MOST = 100  # primary outputs that are looked at
_REPORTS = ("summary.md", "validation_report.json")
_HEAD = 10_000  # characters in which a frontmatter that begins late must end
_WHOLE_HEAD = re.compile(r"---[ \t]*\r?\n[\s\S]*?^---[ \t]*\r?$", re.MULTILINE)


def unreadable(subject: Subject) -> Iterator[Hit]:
    if subject.problem is None or _starts_late(subject):
        return
    for problem in problems(cut(subject.text), subject.name) or [subject.problem]:
        line = re.search(r":(\d+)$", problem.where or "")
        yield Hit(int(line[1]) if line else 1, 1, problem.message, problem.hint or "")


def late_frontmatter(subject: Subject) -> Iterator[Hit]:
    if _starts_late(subject):
        start = subject.text.startswith("\ufeff")
        end = subject.text.index("---")
        message = "The frontmatter does not begin on the first line, so it is not read."
        hit = subject.at(end, message, "Remove the lines above it.")
        yield hit._replace(edits=(Edit(int(start), end, ""),))


def _starts_late(subject: Subject) -> bool:
    """Blank lines above a frontmatter that is fine otherwise."""
    text = subject.text.removeprefix("\ufeff")
    return text[:1].isspace() and bool(_WHOLE_HEAD.match(text.lstrip()[:_HEAD]))


def byte_order_mark(subject: Subject) -> Iterator[Hit]:
    if subject.text.startswith("\ufeff"):
        message = "The file begins with a byte order mark, which hides the `---` from line-based readers."
        yield Hit(1, 1, message, "Save it as UTF-8 without a mark.", (Edit(0, 1, ""),))


def unknown_key(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    for key in front.extra:
        if key != OWN_KEY:
            hint = subject.did_you_mean(key, [*KNOWN_KEYS, OWN_KEY]) or "The key is kept and ignored."
            yield subject.on(front.lines[key], f"`{key}` is not a key of a runbook's frontmatter.", hint, at=key)
    secrets = front.raw.get("secrets") or {}
    for name, entry in secrets.items():
        for key in entry or {}:
            if key not in _SECRET_KEYS:
                line = _line_of(subject, key, _line_of(subject, name, front.lines["secrets"]))
                yield subject.on(
                    line, f"`{key}` is not a key of a secret.", subject.did_you_mean(key, _SECRET_KEYS), at=key
                )


def _line_of(subject: Subject, key: str, after: int) -> int:
    """The line of a nested key, at or below a line; `after` when it is spelled in some way we do not look for."""
    head = subject.text[subject.start_of(after) : subject.body_start]
    match = re.search(rf"""^[ \t]*+['"]?{re.escape(key)}['"]?[ \t]*+:""", head, re.MULTILINE)
    return after + head.count("\n", 0, match.end()) if match else after


def secret_line(subject: Subject, name: str) -> int:
    line = subject.runbook.frontmatter.lines["secrets"]
    return _line_of(subject, name, line)


def repeated_key(subject: Subject) -> Iterator[Hit]:
    for one in subject.runbook.frontmatter.repeated:
        yield subject.on(one.line, str(one), "Keep one of them.", at=one.key)


def version(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    if front.version is not None and not re.fullmatch(r"\d+\.\d+\.\d+(?:[-+][\w.+-]+)?", front.version):
        message = f"The version {front.version!r} is not of the form MAJOR.MINOR.PATCH."
        hint = "Write it like `version: 1.0.0`, and raise it when the runbook changes."
        yield subject.on(front.lines["version"], message, hint)


def evaluation(subject: Subject) -> Iterator[Hit]:
    value = subject.runbook.frontmatter.evaluation
    if value is not None and value not in _PATTERNS:
        yield from _misspelled(subject, "evaluation", value, _PATTERNS, "evaluation pattern")


def agent(subject: Subject) -> Iterator[Hit]:
    value, built_in = subject.runbook.frontmatter.agent, subject.surroundings.built_in_agents
    if value is None or value in built_in or not built_in:
        return
    known, lower = subject.surroundings.agents(subject.folder), value.strip().lower()
    if lower not in known or lower in built_in:
        yield from _misspelled(subject, "agent", value, [*dict.fromkeys((*built_in, *known))], "agent")


def _misspelled(subject: Subject, key: str, value: str, known: list[str], what: str) -> Iterator[Hit]:
    line = subject.runbook.frontmatter.lines[key]
    lower = value.strip().lower()
    if lower in known:
        hit = subject.on(line, f"The {what} is spelled `{lower}`.", "Line-based readers mind the case.", at=value)
        yield hit._replace(edits=_respell(subject, line, value, lower))
    else:
        hint = subject.did_you_mean(lower, known) or f"There are {', '.join(known)}."
        yield subject.on(line, f"There is no {what} `{value}`.", hint, at=value)


def _respell(subject: Subject, line: int, old: str, new: str) -> tuple[Edit, ...]:
    """Replaces a value on its key's own line; nothing when it is written in another way (quoted, folded)."""
    text = subject.line(line)
    match = re.fullmatch(rf"(\w+:[ \t]*['\"]?){re.escape(old)}(['\"]?[ \t]*(?:#.*)?)", text)
    if match is None:
        return ()
    start = subject.start_of(line) + len(match[1])
    return (Edit(start, start + len(old), new),)


def routing_works(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    who = subject.agent
    provider = (front.model_provider or "").strip().lower()
    if who is None or not who.providers or provider in who.providers:
        return
    if not provider:
        yield from _meant_by_model(subject, who)
        return
    line, usable = front.lines["model_provider"], ", ".join(who.providers)
    if provider in PROVIDERS and not PROVIDERS[provider].is_local:
        yield subject.on(line, f"{who.name} can't use the provider {provider}.", f"It can use {usable}.")
    elif provider not in (known := subject.surroundings.providers(subject.folder)):
        hint = subject.did_you_mean(provider, [*known]) or f"{who.name} can use {usable}, and what litellm knows."
        yield subject.on(line, f"There is no model provider `{front.model_provider}`.", hint)


def _meant_by_model(subject: Subject, who: AgentFacts) -> Iterator[Hit]:
    """`ollama/qwen3` names its provider itself."""
    front = subject.runbook.frontmatter
    meant, _ = choose_provider(who, front.model, ())
    if meant is None or meant in who.providers or meant in PROVIDERS:
        return
    known = subject.surroundings.providers(subject.folder)
    if meant not in known:
        hint = subject.did_you_mean(meant, [*known]) or "Say whose it is with `model_provider`."
        yield subject.on(front.lines["model"], f"There is no model provider `{meant}`.", hint, at=front.model or "")


def model_fits(subject: Subject) -> Iterator[Hit]:
    """Contract §4.5: a name no spelling of which the provider knows ends the run in seconds with nothing done."""
    front = subject.runbook.frontmatter
    who = subject.agent
    if not front.model or who is None or not who.providers:
        return
    provider = (front.model_provider or "").strip().lower() or who.providers[0]
    if provider not in who.providers:
        return
    line = front.lines["model"]
    if maker := only_other_maker(front.model, provider):
        hint = f"Choose a model of {provider}'s, or another `agent` and `model_provider`."
        yield subject.on(line, f"{front.model} is a model of {maker}'s, but it is asked of {provider}.", hint)
    elif (spelled := spell_model(front.model, provider)) is None:
        hint = PROVIDERS[provider].spelling_hint
        yield subject.on(line, f"{provider} knows no model `{front.model}`.", hint, at=front.model)
    elif front.model_provider and spelled != front.model:
        hit = subject.on(line, f"{provider} spells this model `{spelled}`.", at=front.model)
        yield hit._replace(edits=_respell(subject, line, front.model, spelled))
    else:
        yield from _misspelt_family(subject, line, front.model, provider)


def _misspelt_family(subject: Subject, line: int, model: str, provider: str) -> Iterator[Hit]:
    """`claude-sonet-4-6`: which models there are is the provider's to know, how their families are written is not."""
    makers = PROVIDERS[provider].makers if provider in PROVIDERS else ()
    for word in re.findall(r"[a-z]{4,}", model) if makers and len(model) < _LONG_MODEL else ():
        if word not in FAMILIES and (near := nearest(word, FAMILIES, cutoff=0.8)):
            hint = f"Did you mean `{model.replace(word, near)}`?"
            yield subject.on(line, f"{provider} has no models called {word}.", hint, at=word)
            return


def snapshot(subject: Subject) -> Iterator[Hit]:
    """A name of the author's own is legal (contract §3.2), but a run here needs to find it."""
    front = subject.runbook.frontmatter
    look = subject.surroundings.snapshots
    if front.image or not front.snapshot or front.snapshot in SNAPSHOTS or look is None:
        return
    known = look(subject.folder)
    if front.snapshot not in known:
        hint = (
            subject.did_you_mean(front.snapshot, [*known]) or f"Yours go into .runbook/snapshots/{front.snapshot[:40]}."
        )
        yield subject.on(front.lines["snapshot"], f"There is no snapshot `{front.snapshot}` here.", hint)


def own_settings(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    if OWN_KEY not in front.extra:
        return
    from runbook_runner.runbook import run_settings  # pydantic is slow to import

    for problem in run_settings.problems(front):
        line = _line_of(subject, problem.key, front.lines[OWN_KEY]) if problem.key else front.lines[OWN_KEY]
        hint = subject.did_you_mean(problem.key, [*problem.known])
        if problem.known and not hint:
            hint = f"It knows {', '.join(problem.known)}."
        yield subject.on(line, problem.message, hint, at=problem.key or OWN_KEY)


def snapshot_and_image(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    if front.snapshot and front.image:
        message = "Both `snapshot` and `image` are given: only the image is used."
        yield subject.on(front.lines["snapshot"], message, "Remove one of them.")


def primary_outputs(subject: Subject) -> Iterator[Hit]:
    """Contract §3.2: relative to the results directory, and never one of the reports."""
    front = subject.runbook.frontmatter
    spelled = front.raw.get("primary_outputs")
    if not spelled:
        return
    line = front.lines["primary_outputs"]
    for path in ([spelled] if isinstance(spelled, str) else spelled)[:_MOST]:
        relative = in_results(path)
        if relative == path and relative not in _REPORTS:
            continue
        place = _item_line(subject, path, line)
        if relative is None:
            yield subject.on(place, f"`{path}` is not in the results directory.", at=path)
        elif relative in _REPORTS:
            yield subject.on(place, f"`{relative}` is a report, not what the run is for.", at=path)
        else:
            hit = subject.on(place, f"Primary outputs are relative to the results directory: `{relative}`.", at=path)
            yield hit._replace(edits=_shorten(subject, place, path, relative))


def _item_line(subject: Subject, path: str, after: int) -> int:
    head = subject.text[subject.start_of(after) : subject.body_start]
    found = head.find(path)
    return after + head.count("\n", 0, found) if found >= 0 else after


def _shorten(subject: Subject, line: int, old: str, new: str) -> tuple[Edit, ...]:
    text = subject.line(line)
    if text.count(old) != 1 or re.search(r"[{}]", old):  # a `{{…}}` needs its quotes, even when it is shortened
        return ()
    start = subject.start_of(line) + text.index(old)
    return (Edit(start, start + len(old), new),)


def shell_has_blocks(subject: Subject) -> Iterable[Hit]:
    who = subject.agent
    if who is None or not who.runs_blocks or not subject.runbook.frontmatter.agent:
        return
    for language, fence in subject.languages:
        if language in LANGUAGES and any(step.line <= fence.line <= step.end_line for step in subject.steps):
            return
    line = subject.runbook.frontmatter.lines["agent"]
    hint = "Put ```bash blocks under `## Step 1: …`, or choose another agent."
    yield subject.on(line, f"The {who.name} agent runs the code blocks of the steps, and there are none.", hint)


def not_a_mapping(subject: Subject) -> Iterator[Hit]:
    """Which counts as empty (contract §3.1)."""
    yaml = cut(subject.runbook.text).yaml
    if subject.runbook.frontmatter.lines or not yaml:
        return
    if YamlText(yaml, subject.name).root() is not None:
        yield subject.on(2, "The frontmatter does not hold `key: value` lines, so nothing of it is read.", _KEYS)


def sample_inputs(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    settings = front.extra.get(OWN_KEY)
    names = settings.get("inputs") if isinstance(settings, dict) else None
    if subject.folder is None or not isinstance(names, list):
        return
    for name in names[:_MOST]:
        if isinstance(name, str) and not is_file(subject.folder / name):
            line = _item_line(subject, name, front.lines[OWN_KEY])
            yield subject.on(
                line, f"The sample input `{name}` is not there.", "It is below the runbook's folder.", at=name
            )


RULES = (
    Rule(
        "RB101", "unreadable", "error", "The file is a runbook: text with a frontmatter of the right types", unreadable
    ),
    Rule("RB102", "late-frontmatter", "error", "The frontmatter begins on the first line", late_frontmatter, True),
    Rule("RB103", "byte-order-mark", "warning", "The file has no byte order mark", byte_order_mark, True),
    Rule("RB104", "unknown-key", "warning", "Every frontmatter key is a known one", unknown_key),
    Rule("RB105", "repeated-key", "error", "No frontmatter key is given twice", repeated_key),
    Rule("RB106", "version", "warning", "`version` is a semantic version", version),
    Rule("RB107", "evaluation", "error", "`evaluation` is programmatic or rubric", evaluation, True),
    Rule("RB108", "agent", "error", "`agent` is a known runtime", agent, True),
    Rule("RB109", "routing", "error", "The agent can use the model provider (contract §4.4)", routing_works),
    Rule("RB110", "model", "warning", "The provider can be asked for the model (contract §4.5)", model_fits, True),
    Rule("RB111", "snapshot-and-image", "warning", "Only one of `snapshot` and `image` is given", snapshot_and_image),
    Rule("RB112", "primary-outputs", "warning", "`primary_outputs` names results, relative", primary_outputs, True),
    Rule("RB113", "nothing-to-run", "error", "With `agent: shell` the steps have code blocks", shell_has_blocks),
    Rule("RB114", "snapshot", "warning", "A run here would find the snapshot", snapshot),
    Rule("RB115", "own-settings", "error", "`runbook_runner` holds settings this program knows", own_settings),
    Rule("RB116", "not-a-mapping", "error", "The frontmatter holds keys and values", not_a_mapping),
    Rule("RB117", "sample-inputs", "error", "The files of `runbook_runner.inputs` are there", sample_inputs),
)
