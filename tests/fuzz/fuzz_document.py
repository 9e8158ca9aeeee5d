"""Atheris target: any bytes through everything that reads a runbook. Only our own errors may come out.

By hand, for as long as you like: `python tests/fuzz/fuzz_document.py CORPUS_FOLDER tests/runbook/corpus`.
"""

import sys

import atheris

with atheris.instrument_imports(include=["runbook_runner", "frontmatter", "yaml"]):
    from runbook_runner.core.errors import InputError
    from runbook_runner.core.files import text_of
    from runbook_runner.runbook.authoring.fmt import formatted
    from runbook_runner.runbook.describe import describe
    from runbook_runner.runbook.document import parse
    from runbook_runner.runbook.migration import migrate
    from runbook_runner.runbook.mission import render


def one_input(data: bytes) -> None:
    try:
        text = text_of(data, "fuzz.md")
        runbook = parse(text, "fuzz.md")
        render(runbook, {"a": "{{b}}"})
        normal = formatted(text)
        assert formatted(normal) == normal, "fmt is not idempotent"
        describe(runbook)
        migrate(runbook)
    except InputError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
