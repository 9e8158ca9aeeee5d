"""Every runbook of the corpus has its expected parse beside it: `corpus/NAME.md`, `corpus/NAME.json`.

After a change that is meant: `RUNBOOK_WRITE_CORPUS=1 pytest tests/runbook/test_corpus.py`, then read the diff.
"""

import json
import os
from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import text_of
from runbook_runner.runbook.authoring.fmt import formatted
from runbook_runner.runbook.describe import describe
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import migrate

FILES = sorted((Path(__file__).parent / "corpus").glob("*.md"))
UNCLOSED = "odd_html_and_code"
IDS = [file.stem for file in FILES]


def text(file):
    return text_of(file.read_bytes(), file.name)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_runbook_is_understood_as_written_beside_it(file):
    found = describe(parse(text(file), file.name))
    expected = file.with_suffix(".json")
    if os.environ.get("RUNBOOK_WRITE_CORPUS"):
        expected.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(expected.read_text())


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_normal_form_is_stable(file):
    normal = formatted(text(file))
    assert formatted(normal) == normal


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != UNCLOSED], ids=str)
def test_every_one_becomes_v2_or_is_told_why_not(file):
    before = parse(text(file), file.name)
    migration = migrate(before)
    if migration is None:
        assert before.generation == 2
    else:
        new = parse(migration.text)
        assert new.generation == 2 or any("a v1 mark" in why for _, why in migration.left)
        assert (new.title, new.parameters and new.parameters[0].name) == (
            before.title,
            before.parameters and before.parameters[0].name,
        )


def test_block_that_is_never_closed_cannot_be_migrated():
    file = next(file for file in FILES if file.stem == UNCLOSED)
    with pytest.raises(InputError, match=rf"{UNCLOSED}.md:\d+: The new sections would not be read"):
        migrate(parse(text(file), file.name))


def test_there_are_enough_of_them():
    assert len(FILES) >= 60
