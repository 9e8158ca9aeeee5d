import subprocess
import time

import pytest

from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.quoting.fill import fill_block, places
from runbook_runner.runbook.quoting.languages import language_read, language_taken

VALUES = (
    "O'Brien",
    'say "hi" $(echo ran) `echo ran` $HOME ${x}',
    "'; echo ran; '",
    '"; echo ran; "',
    "a  b\nc\\",
    "x\\",
    "*",
    "~ # no comment",
    "",
    "-n {a,b} !! é",
    "\ttab",
)
SHELL = (
    "printf %s {{x}}",
    "printf %s '{{x}}'",
    'printf %s "{{x}}"',
    'X={{x}} # {{x}}\nprintf %s "$X"',
    "cat <<'EOF'\n{{x}}\nEOF\n",
    "cat <<EOF\n{{x}}\nEOF\n",
    "cat <<EOF\n$(printf %s {{x}})\nEOF\n",
    ": <<'A'; cat <<\"B C\"\n-\nA\n{{x}}\nB C\n",
    'printf %s "$(printf %s {{x}})"',
    'printf %s "$(case a in a) printf %s "{{x}}" ;; esac)"',
    "bash -c 'printf %s {{x}}'",
    'bash -ec "printf %s {{x}}"',
    "bash -s -- a <<'EOF'\nprintf %s \"{{x}}\"\nEOF\n",
    'python3 -c \'print("{{x}}", end="")\'',
    "python3 -c \"print('{{x}}', end='')\"",
    'bash <<< "printf %s {{x}}"',
    "bash -euo pipefail -c 'printf %s {{x}}'",
    "bash -O extglob \\\n  -c -- 'printf %s {{x}}'",
    "trap 'printf %s {{x}}' EXIT",
    "python3 - <<'EOF'\nprint('''{{x}}''', end='')\nEOF\n",
    "cd \"$(mktemp -d)\"\ncat > run.py <<EOF\nprint('{{x}}', end='')\nEOF\npython3 run.py",
)
PYTHON = (
    "import sys; sys.stdout.write('{{x}}')  # {{x}}",
    'import sys; sys.stdout.write("""{{x}}""")',
    "import sys\nn = {'a': ''}\nsys.stdout.write(f\"{{x}}{n['a']}\")",
)


def run(language: str, code: str, value: str) -> str:
    filled = fill_block(Block("", language, code, 1), {"x": value}, {}, "RUNBOOK.md").code
    return subprocess.run([language, "-c", filled], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("language", "code"), [*(("bash", code) for code in SHELL), *(("python3", code) for code in PYTHON)]
)
def test_a_value_reaches_a_program_as_it_is_and_runs_nothing(language, code):
    for value in VALUES:
        assert run(language, code, value).removesuffix("\n") == value.removesuffix("\n")


@pytest.mark.parametrize(
    ("language", "code", "where"),
    [
        ("bash", "echo $(( {{x}} + 1 ))", "in arithmetic"),
        ("bash", "(( {{x}} > 1 ))", "in arithmetic"),
        ("bash", '[[ 1 -lt 2 && 0 -eq "{{x}}" ]]', "in arithmetic"),
        ("bash", "if [[ '{{x}}' -gt 3 ]]; then echo; fi", "in arithmetic"),
        ("bash", "true && let 'n = {{x}}'", "in arithmetic"),
        ("bash", "declare -i n={{x}}", "in arithmetic"),
        ("bash", "if true; then n[{{x}}]=1; fi", "in arithmetic"),
        ("bash", "echo 'print(\"{{x}}\")' | python3 -W ignore", "in code for another program"),
        ("bash", 'printf "echo {{x}}" > run.sh', "in code for another program"),
        ("bash", "awk -F , '$1 == \"{{x}}\"' list.csv", "in code for another program"),
        ("bash", 'echo "${y:-{{x}}}"', "in ${…}"),
        ("bash", "echo `date {{x}}`", "in back-ticks"),
        ("bash", "echo $'{{x}}'", "in $'…'"),
        ("bash", "echo ${{x}}", "behind $"),
        ("bash", "echo \\{{x}}", "behind \\"),
        ("bash", "perl -e 'print \"{{x}}\"'", "in code for another program"),
        ("bash", 'bash -c "echo $HOME {{x}}"', "in code for another program"),
        ("bash", "node <<'EOF'\n{{x}}\nEOF\n", "in code for another program"),
        ("bash", "echo 'open {{x}}", "in shell code whose quotes do not match"),
        ("bash", "cat <<{{x}}\n", "in shell code whose quotes do not match"),
        ("bash", "echo " + '"$(' * 30 + "{{x}}" + ')"' * 30, "in shell code whose quotes do not match"),
        ("python", "n = {{x}}", "outside of quotes"),
        ("python", 'n = r"{{x}}"', "in a raw string"),
        ("python", "n = f'{ {{x}} }'", "in the code of an f-string"),
        ("python", "n = 'a\\{{x}}'", "in a string"),
        ("python", "n = 'open {{x}}\n", "in Python code whose quotes do not match"),
    ],
)
def test_where_nothing_can_be_quoted_a_plain_value_goes_and_any_other_is_refused(language, code, where):
    block = Block("Step 1", language, f"# first\n{code}", 7)
    plain = fill_block(block, {"x": "a-1.5"}, {}, "RUNBOOK.md").code
    assert "a-1.5" in plain
    assert "{{" not in plain
    with pytest.raises(InputError) as caught:
        fill_block(block, {"x": "a 'b\""}, {}, "RUNBOOK.md")
    assert caught.value.where == f"RUNBOOK.md:{9 + code.count(chr(10), 0, code.index('{{x}}'))}"
    assert caught.value.message == f"The value of {{{{x}}}} can't be quoted: the placeholder stands {where}."
    assert "{{x}}" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "written"), [("5", "5"), ("1.10", "1.10"), ("true", "True"), ('["a", null]', "['a', None]")]
)
def test_json_outside_of_quotes_is_written_as_python_writes_it(value, written):
    block = Block("", "python", "n = {{x}}", 1)
    assert fill_block(block, {"x": value}, {}, "RUNBOOK.md").code == f"n = {written}"


@pytest.mark.parametrize("code", ["cat <<'EOF'\n{{x}}\nEOF\n", "cat <<-EOF\n\t{{x}}\n\tEOF\n"])
def test_a_value_does_not_end_a_here_document(code):
    with pytest.raises(InputError, match="the value would end"):
        run("bash", code, "a\nEOF\necho ran")
    with pytest.raises(InputError, match="the value would end"):
        run("bash", code, "EOF")


def test_unknown_names_and_secrets_stay_apart_from_values():
    block = Block("", "bash", 'echo "{{x}}" {{y}} {{secrets.KEY}} ${{secrets.KEY}}', 1)
    filled = fill_block(block, {"x": "{{secrets.KEY}} {{y}}"}, {"KEY": "THE_KEY"}, "RUNBOOK.md")
    assert filled.code == 'echo "{{secrets.KEY}} {{y}}" {{y}} $THE_KEY ${THE_KEY}'


@pytest.mark.parametrize(
    ("command", "language"),
    [
        ("python3 - ", "python"),
        ("uv run python -u > out", "python"),
        ("cat > a/run.py ", "python"),
        ("cat  | python3.12", "python"),
        ("python3 script.py ", None),
        ("python3 -m json.tool ", None),
        ("cat > python.md ", None),
        ("tee run.sh > /dev/null", "bash"),
        ("ssh host ", "bash"),
        ("ruby", ""),
    ],
)
def test_what_reads_a_here_document_says_what_it_is(command, language):
    assert language_read(command) == language


@pytest.mark.parametrize(
    ("before", "language"),
    [
        ("python3 -uc ", "python"),
        ("find . -exec sh -c ", "bash"),
        ("ssh -i k host ", "bash"),
        ("eval ", "bash"),
        ("su - ada -c ", "bash"),
        ("perl -ne ", ""),
        ("bash -o pipefail -ec ", "bash"),
        ("trap ", "bash"),
        ("python3 <<< ", "python"),
        ("awk -v x=", None),
        ("ssh -i ", None),
        ("grep -c ", None),
        ("python3 tool.py -e ", None),
        ("echo -e ", None),
    ],
)
def test_what_takes_code_as_an_argument_is_known(before, language):
    assert language_taken(before) == language


@pytest.mark.parametrize("piece", ["'", '"', "$(", "`", "${", "(", "<<E\n", "{{x}}", "\\", "#", "f'{", " python  -c '"])
def test_endless_code_is_read_in_no_time(piece):
    code = "{{x}}" + piece * 50_000
    assert len(places(code, "bash", ("x",))) == code.count("{{x}}")
    assert len(places(code, "python", ("x",))) == code.count("{{x}}")


def test_the_lines_of_many_placeholders_are_counted_once():
    code = "'''{{x}}\n" * 200_000
    began = time.process_time()
    with pytest.raises(InputError, match=r"RUNBOOK\.md:"):
        fill_block(Block("Step", "python", code + "{{x", 1), {"x": "'''\\"}, {}, "RUNBOOK.md")
    filled = fill_block(Block("Step", "python", code, 1), {"x": "y"}, {}, "RUNBOOK.md")
    assert filled.code.count("y") == 200_000
    assert time.process_time() - began < 10
