"""The words every room shares: specs and their digest, redaction, names."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runbook_runner.core import ids
from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction import PATTERNS, Redactor, looks_secret
from runbook_runner.core.redaction.strength import is_searched
from runbook_runner.core.spec import InputFile, RunSpec, Secret, parse_memory

SPEC: dict[str, Any] = {"title": "T", "collection": "c", "task": "t", "agent": "shell", "mission": "do"}


def spec(**more: Any) -> RunSpec:
    return RunSpec(**{**SPEC, **more})


def test_a_spec_survives_json() -> None:
    one = spec(parameters={"a": [1, {"b": None}]}, secrets=(Secret(name="K", env="K"),), labels={"x": "y"})
    assert RunSpec.model_validate_json(one.model_dump_json()) == one
    assert RunSpec.model_validate_json(one.model_dump_json()).digest() == one.digest()


def test_the_digest_ignores_order_and_machine_paths() -> None:
    files = [InputFile(name=n, sha256="0" * 64, size=1, source=f"/home/me/{n}") for n in "ab"]
    moved = [f.model_copy(update={"source": f"/other/{f.name}"}) for f in reversed(files)]
    secrets = (Secret(name="A", env="A"), Secret(name="B", env="B"))
    one = spec(parameters={"x": 1, "y": 2}, inputs=tuple(files), secrets=secrets, labels={"a": "1", "b": "2"})
    other = spec(parameters={"y": 2, "x": 1}, inputs=tuple(moved), secrets=secrets[::-1], labels={"b": "2", "a": "1"})
    assert one.digest() == other.digest()


@pytest.mark.parametrize("change", [{"mission": "else"}, {"parameters": {"a": 1}}, {"model": "m"}, {"agent": "x"}])
def test_the_digest_sees_every_real_change(change: dict[str, Any]) -> None:
    assert spec(**change).digest() != spec().digest()


@pytest.mark.parametrize(("text", "size"), [("8G", 8 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("1024", 1024)])
def test_memory_is_written_as_people_write_it(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_memory_that_is_none_is_refused() -> None:
    with pytest.raises(InputError):
        parse_memory("lots")


LIKE_ESCAPES = st.sampled_from("0a +\\\r\n\t%&;'\"/bnr<>{}$u\b\xa0à")


@pytest.mark.parametrize("letters", [st.characters(exclude_categories=["Cs"]), LIKE_ESCAPES])
def test_no_form_of_a_known_value_survives(letters: st.SearchStrategy[str]) -> None:
    @given(st.text(letters, min_size=4, max_size=40), st.text(letters, max_size=30), st.text(letters, max_size=30))
    def survives_not(value: str, before: str, after: str) -> None:
        assume(is_searched(value))
        redactor = Redactor({"NAME": value})
        for form in (value, quote(value, safe=""), json.dumps(value)[1:-1]):
            assert form not in redactor.clean(f"{before}\n{form}\n{after}").replace("***REDACTED:NAME***", "\x00")

    survives_not()


@pytest.mark.parametrize("value", ["00 +", "ab +cdefghijk", "x\r+1234567890", "0000\r\\b1", "00\r\b"])
def test_a_space_before_what_looks_like_an_escape_hides_nothing(value: str) -> None:
    redactor = Redactor({"NAME": value})
    assert redactor.clean(f"à\n{value}\nb") == "à\n***REDACTED:NAME***\nb"
    assert redactor.clean(json.dumps({"a": value})) == '{"a": "***REDACTED:NAME***"}'


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
def test_base64_of_a_text_around_a_secret_does_not_show_it(before: str) -> None:
    secret = "correct-horse-battery"
    encoded = base64.b64encode(f"{before}{secret}tail".encode()).decode()
    clean = Redactor({"S": secret}).clean(encoded)
    assert "***REDACTED:S***" in clean
    shown = clean.split("***REDACTED:S***")[0]
    assert secret[:6] not in base64.b64decode(
        shown + "=" * (-len(shown) % 4) if len(shown) % 4 != 1 else shown[:-1]
    ).decode("latin1")


def test_every_line_of_a_multi_line_secret_goes() -> None:
    key = "-----BEGIN X-----\nabcdefghijklmnopqrstuvwxyz\n0123456789abcdef0123\n-----END X-----"
    assert "abcdefghijklmnop" not in Redactor({"PEM": key}).clean("line: abcdefghijklmnopqrstuvwxyz\n")


EXAMPLES = {
    "anthropic-key": "sk-ant-api03-" + "a1B2" * 10,
    "openrouter-key": "sk-or-v1-" + "0a" * 32,
    "openai-key": "sk-proj-" + "aB3_" * 10,
    "google-key": "AIza" + "b" * 35,
    "aws-access-key": "AKIA" + "A1B2C3D4E5F6G7H8",
    "aws-session-key": "ASIA" + "A1B2C3D4E5F6G7H8",
    "github-token": "ghp_" + "a" * 36,
    "github-pat": "github_pat_" + "a" * 60,
    "gitlab-token": "glpat-" + "a" * 20,
    "slack-token": "xoxb-" + "1" * 12,
    "stripe-key": "sk_live_" + "a" * 20,
    "stripe-restricted-key": "rk_test_" + "a" * 20,
    "huggingface-token": "hf_" + "a" * 34,
    "replicate-token": "r8_" + "a" * 37,
    "npm-token": "npm_" + "a" * 36,
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + "a" * 60,
    "jetty-key": "mlc_" + "a1" * 16,
    "datadog-token": "dtn_" + "a" * 24,
    "jwt": "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJlLWhlcmU",
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
}


def test_every_pattern_has_an_example() -> None:
    assert set(EXAMPLES) == set(PATTERNS)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_well_known_keys_are_found_without_being_told(rule: str) -> None:
    text, hits = Redactor({}).text(f'{{"key": "{EXAMPLES[rule]}"}}')
    assert text == f'{{"key": "***REDACTED:{rule}***"}}'
    assert hits == {rule: 1}


@pytest.mark.parametrize("text", [
    "toolu_01A09q90qw90lq917835lq9", "msg_013Zva2CMHLNnXjNJJKqJ2EF", "the task-list and risk-free desk-work",
    "sha256:" + "0a" * 32, "https://example.com/ghp/eyJ", "sk-learn", "AKIA", "call_" + "a" * 24,
])  # fmt: skip
def test_ids_and_ordinary_words_are_left_alone(text: str) -> None:
    assert Redactor({}).clean(text) == text


def test_short_values_and_values_that_are_not_utf_8_do_no_harm() -> None:
    assert Redactor({"X": "abc"}).clean("abcdef") == "abcdef"
    assert Redactor({"X": "\udcfflonger"}).clean("plain") == "plain"


@pytest.mark.parametrize(("name", "value", "secret"), [
    ("CRM_TOKEN", "abcdefgh", True), ("MY_API_KEY", "abcdefgh", True), ("DB_PASSWORD", "hunter2hunter2", True),
    ("SSH_AUTH_SOCK", "/tmp/agent.1", False), ("TOKENIZERS", "parallel", False), ("KEY", "short", False),
    ("HOME", "/root/abcdef", False),
])  # fmt: skip
def test_variables_are_secret_by_their_name(name: str, value: str, secret: bool) -> None:
    assert looks_secret(name, value) is secret


@pytest.mark.parametrize(("title", "task"), [
    ("Sales Report — Agent Runbook", "sales-report"), ("Hello - Agent Runbook", "hello"),
    ("Ünïcode & Co", "unicode-co"), ("日本語", ""), ("第3章", "3"),
])  # fmt: skip
def test_task_names_come_from_titles(title: str, task: str) -> None:
    assert ids.task_from_title(title) == task


@pytest.mark.parametrize(("name", "good"), [
    ("sales-report", True), ("_chat", True), ("My Task", True), ("a/b", False), ("..", False), (".hidden", False),
    ("", False), ("a\nb", False),
])  # fmt: skip
def test_names_are_one_safe_path_segment(name: str, good: bool) -> None:
    assert ids.is_name(name) is good


def test_ids_have_the_contracts_form() -> None:
    assert len(ids.new_trajectory_id()) == 8
