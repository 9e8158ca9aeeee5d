"""Saved inputs: `examples/<id>/input.json`."""

import json

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.sources.fixture import FixtureFile, load_fixture

INPUT = {
    "title": "Two rows",
    "prompt": "Digest these.",
    "params": {"vars": {"shop_name": "Corner", "days": 7}},
    "files": [
        {"path": "data/orders.csv", "role": "input", "note": "two rows"},
        {"path": "./logo.png", "filename": "brand.png"},
    ],
}


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "examples" / "one"
    (home / "data").mkdir(parents=True)
    (home / "data" / "orders.csv").write_text("a,b\n1,2\n")
    (home / "logo.png").write_bytes(b"png")
    (tmp_path / "examples" / "private.txt").write_text("private")
    return home


def write(folder, value):
    file = folder / "input.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def complaint(folder, value) -> str:
    with pytest.raises(InputError) as caught:
        load_fixture(write(folder, value))
    assert "input.json" in str(caught.value)
    return str(caught.value)


def test_fixture_gives_values_and_files_that_exist(folder):
    file = write(folder, INPUT)
    fixture = load_fixture(file)
    assert (fixture.title, fixture.prompt) == ("Two rows", "Digest these.")
    assert fixture.vars == {"shop_name": "Corner", "days": 7}
    assert fixture.files == (
        FixtureFile((folder / "data/orders.csv").resolve(), "input", "two rows", "orders.csv"),
        FixtureFile((folder / "logo.png").resolve(), "", "", "brand.png"),
    )
    assert load_fixture(folder) == fixture


@pytest.mark.parametrize("value", [{}, {"title": None, "prompt": None, "params": None, "files": None}])
def test_everything_may_be_missing(folder, value):
    fixture = load_fixture(write(folder, value))
    assert (fixture.title, fixture.prompt, fixture.vars, fixture.files) == ("", "", {}, ())


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ({"demo": True}, "The key 'demo' is unknown and ignored."),
        ({"parametrs": {}}, "The key 'parametrs' is unknown and ignored. Did you mean 'params'?"),
        (
            {"params": {"nme": "Bob"}},
            "The key 'params.nme' is unknown and ignored. The values of parameters belong in params.vars.",
        ),
        (
            {"files": [{"path": "logo.png", "rle": "x"}]},
            "The key 'files.0.rle' is unknown and ignored. Did you mean 'role'?",
        ),
    ],
)
def test_a_key_that_is_not_known_is_ignored_with_a_warning(folder, value, warning):
    file = write(folder, value)
    assert load_fixture(file).warnings == (f"{file}: {warning}",)


def test_prompt_may_be_among_the_params(folder):
    assert load_fixture(write(folder, {"params": {"prompt": "Hello."}})).prompt == "Hello."


@pytest.mark.parametrize("name", ["../private.txt", "/etc/passwd", "data/../../private.txt", "link"])
def test_files_outside_the_folder_are_refused(folder, name):
    (folder / "link").symlink_to(folder.parent / "private.txt")
    assert f"The file {name} is outside the fixture's folder." in complaint(folder, {"files": [{"path": name}]})


@pytest.mark.parametrize("name", ["absent.csv", "data", ""])
def test_missing_files_are_named(folder, name):
    message = complaint(folder, {"files": [{"path": name}]})
    assert f"The file {name} is missing." in message


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_impossible_file_names_are_refused(folder, name):
    assert "The file" in complaint(folder, {"files": [{"path": name}]})


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\\b"])
def test_name_for_the_agent_must_be_plain(folder, name):
    assert "is not a plain name" in complaint(folder, {"files": [{"path": "logo.png", "filename": name}]})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('{"title": "x",\n "prompt": }', "input.json:2: The JSON is broken"),
        ("[" * 100_000, "nested deeper"),
        ('{"params": {"vars": {"a": 1, "a": 2}}}', "The key 'a' is given twice."),
        ("[]", 'The file must be an object.\nIts form: {"params": {"vars": '),
        ('{"files": ["data.csv"]}', "files.0: must be an object."),
        ('{"params": {"vars": []}}', "params.vars: "),
        ('{"title": 5}', "title: "),
        ('{"files": [{"role": "input"}]}', "files.0.path: is missing"),
        ('{"files": {"path": "x"}}', "files: "),
    ],
)
def test_wrong_json_names_the_place(folder, value, says):
    assert says in complaint(folder, value)


def test_missing_fixture_is_said(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        load_fixture(tmp_path / "absent.json")
