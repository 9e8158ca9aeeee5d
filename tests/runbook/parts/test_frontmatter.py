"""The YAML at the top: types, secrets, and complaints that point at the line."""

import pytest

from runbook_runner.core.declared import Secret
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import parse


def frontmatter(yaml: str):
    return parse(f"---\n{yaml}\n---\n# T\n").frontmatter


def complaint(yaml: str) -> str:
    with pytest.raises(InputError) as caught:
        frontmatter(yaml)
    return str(caught.value)


def test_known_keys_are_typed_and_unknown_ones_kept(corpus):
    front = parse(corpus("classic")).frontmatter
    assert front.version == "1.0"
    assert (front.agent, front.model) == ("claude-code", "anthropic/claude-sonnet-4.6")
    assert (front.model_provider, front.snapshot, front.image) == ("openrouter", "python312-uv", None)
    assert front.strict_evaluation is False
    assert front.origin["imported_at"] == "2026-03-01"
    assert front.extra == {"team": "logistics"}
    assert front.lines["secrets"] == 11


@pytest.mark.parametrize(("written", "read"), [("1.0", "1.0"), ("1.10", "1.10"), ("2", "2"), ("'1.0.0'", "1.0.0")])
def test_version_is_text_as_it_is_written(written, read):
    assert frontmatter(f"version: {written}").version == read


@pytest.mark.parametrize("yaml", ["", "- a\n- b", "just text", "# a comment"])
def test_yaml_that_is_no_mapping_counts_as_empty(yaml):
    assert frontmatter(yaml).raw == {}


def test_empty_known_keys_count_as_absent():
    front = frontmatter("agent:\nprimary_outputs:\norigin:\nstrict_evaluation:\nversion:")
    assert (front.agent, front.primary_outputs, front.origin, front.strict_evaluation) == (None, (), {}, False)


@pytest.mark.parametrize("yaml", ["secrets:", "secrets: {}", "secrets: ~", "version: 1.0.0"])
def test_every_way_to_have_no_secrets(yaml):
    assert frontmatter(yaml).secrets == ()


def test_secret_defaults_to_its_own_name_and_to_required(corpus):
    first, second = parse(corpus("classic")).frontmatter.secrets
    assert first == Secret(name="SHOP_TOKEN", env="SHOP_API_TOKEN", description="Reads the shop's orders")
    assert second == Secret(name="BACKUP_TOKEN", env="BACKUP_TOKEN", required=False)
    assert frontmatter("secrets:\n  PLAIN:").secrets == (Secret(name="PLAIN", env="PLAIN", required=True),)


def test_secret_says_whether_the_agent_may_have_it():
    (secret,) = frontmatter("secrets:\n  A:\n    expose_to_agent: false\n    expose_to_checks: true").secrets
    assert secret.expose_to_agent is False


def test_secret_named_like_a_yaml_word_keeps_its_name():
    assert frontmatter("secrets:\n  ON:\n  NO: {}").secrets[1].name == "NO"


def test_value_in_place_of_a_secret_is_refused_and_never_repeated():
    message = complaint("version: 1.0.0\nsecrets:\n  API_KEY: hunter2-hunter2")
    assert message.startswith("RUNBOOK.md:4: `secrets.API_KEY` must be a mapping or empty, not text.")
    assert "hunter2" not in message


def test_secret_without_a_usable_variable_is_refused():
    assert complaint("secrets:\n  my-key:\n    required: true").startswith("RUNBOOK.md:3: `secrets.my-key` needs")
    assert frontmatter("secrets:\n  my-key:\n    env: MY_KEY").secrets[0].env == "MY_KEY"


@pytest.mark.parametrize(
    ("yaml", "line", "message"),
    [
        ("agent: [a]", 2, "`agent` must be text, not a list."),
        ("version: 1.0.0\nmodel: 5", 3, "`model` must be text, not a number."),
        ("snapshot: true", 2, "`snapshot` must be text, not true or false."),
        ("version: {a: b}", 2, "`version` must be text, not a mapping."),
        ("strict_evaluation: 'yes'", 2, "`strict_evaluation` must be true or false, not text."),
        ("primary_outputs: 3", 2, "`primary_outputs` must be a list of file names, not a number."),
        ("primary_outputs: [a.md, 3]", 2, "`primary_outputs` must be a list of file names, not a list."),
        ("secrets: [A, B]", 2, "`secrets` must be a mapping, not a list."),
        ("code_checks: 1", 2, "`code_checks` must be a mapping, not a number."),
        ("mcp_servers: x", 2, "`mcp_servers` must be a mapping, not text."),
        ("origin: x", 2, "`origin` must be a mapping, not text."),
        ("secrets:\n  A:\n    env: A\n    required: maybe", 5, "`secrets.A.required` must be true or false, not text."),
        ("secrets:\n  A:\n    env: [A]", 4, "`secrets.A.env` must be text, not a list."),
    ],
)
def test_wrong_type_names_the_key_and_its_line(yaml, line, message):
    assert complaint(yaml).startswith(f"RUNBOOK.md:{line}: {message}")


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("version: 1.0.0\nagent: : x", 3),
        ("version: 1.0.0\nmodel: a\n\tb: c", 4),
        ("a: [1, 2", 2),
        ("a: 'open", 2),
        ("a: *nowhere", 2),
        ("a: 1\nb: é\x01", 3),
        ("? [a]\n: b", 2),
        ("a: 日本語日本語\nb: 日本語\nc: \x01\nd: 1", 4),
        ("a: 'b\u2028 c'\rd: 1\ne: *nowhere", 3),
        ("a: 'b\x85 c'\r\nsecrets: [x]", 3),
    ],
)
def test_broken_yaml_points_at_its_line_in_the_file(yaml, line):
    assert complaint(yaml).startswith(f"RUNBOOK.md:{line}: ")


def test_broken_yaml_shows_the_place_and_a_remedy():
    message = complaint("version: 1.0.0\ndescription: see: this")
    assert "  description: see: this\n                  ^" in message
    assert "quote values" in message


def test_alias_bomb_is_refused_at_once():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "explodes" in complaint("\n".join(rows))


def test_merge_bomb_is_refused_at_once():
    rows = ["a0: &a0 {k: v}"]
    rows += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: v}}" for i in range(1, 40)]
    assert "explodes" in complaint("\n".join(rows))


def test_harmless_aliases_and_merges_work():
    front = frontmatter("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\nagain: [*b, *b]")
    assert front.extra["more"] == {"x": 1, "y": 3}
    assert front.extra["again"] == [{"x": 1, "y": 2}] * 2


@pytest.mark.parametrize("yaml", ["a: &a [*a]", "a: &a {b: *a}"])
def test_alias_to_itself_is_refused(yaml):
    assert "refers to itself" in complaint(yaml)


@pytest.mark.parametrize("yaml", ["a: " + "[" * 100_000, "\n".join(" " * i + "a:" for i in range(200))])
def test_deep_nesting_is_refused(yaml):
    assert "nested deeper than 64" in complaint(yaml)


def test_huge_frontmatter_is_refused():
    assert "longer than 256 KiB" in complaint("a: " + "x" * 300_000)


@pytest.mark.parametrize("yaml", ["a: !!python/object/apply:os.system [id]", "a: !mine x", "a: !!binary aGk="])
def test_yaml_tags_are_refused(yaml):
    assert "`a` has the YAML tag !" in complaint(yaml)


@pytest.mark.parametrize("value", ["9" * 6000, "1" + ":59" * 500 + ".5", "0b_", "!!bool maybe"])
def test_unreadable_numbers_are_refused(value):
    assert "can't be read" in complaint(f"a: {value}")
