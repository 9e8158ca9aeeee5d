"""Shell blocks, asked of the real bash."""

import os

import pytest

from runbook_runner.runbook.check import bash_syntax
from runbook_runner.runbook.check.bash_syntax import Block, Broken, Unchecked

BROKEN = {
    "if true; then\n  echo a": (2, "unexpected end of file"),
    "fi": (1, "near unexpected token `fi'"),
    "{ echo a": (1, "unexpected end of file"),
    "}": (1, "near unexpected token `}'"),
    "( echo a": (1, "unexpected end of file"),
    "echo a\necho 'b": (2, "looking for matching `''"),
    'echo "b': (1, "looking for matching `\"'"),
    "echo `ls": (1, "looking for matching ``'"),
    "x=$(ls": (1, "looking for matching `)'"),
    "case x in a) echo '": (1, "looking for matching `''"),
    "cat <<EOF\nhello": (2, "here-document"),
    "cat <<'EOF'\n  hello\n  EOF": (3, "here-document"),
    "for f in a b\n  echo $f\ndone": (2, "near unexpected token"),
}
GOOD = [
    "",
    "# only a comment",
    "echo a \\",
    "cat <<EOF\nx\nEOF",
    "cat <<-EOF\n\tx\n\tEOF",
    "cat <<< word",
    "echo $((1 << 2))",
    "python <script.py> --in <the input file>",
    "tool --mode=<fast|slow> <in.md|in.txt>",
    "for f in {{files}}; do echo {{ f }}; done",
    "shopt -s extglob\nls !(a|b)",
    "echo 'it'\\''s'",
    "set -euo pipefail\r\necho a\r\n",
    "sudo apt-get install -y jq  # don't",
]


def broken_blocks(codes):
    return bash_syntax.broken_blocks([Block(code) for code in codes])


@pytest.mark.parametrize("code", list(BROKEN))
def test_broken_block_is_found_with_its_line_and_bashs_own_words(code):
    (broken,) = broken_blocks([code])
    line, words = BROKEN[code]
    assert (broken.block, broken.line) == (0, line)
    assert words in broken.message


def test_good_blocks_pass_whatever_stands_next_to_them():
    mixed = [block for pair in zip([*GOOD], [*BROKEN], strict=False) for block in pair]
    assert sorted(broken.block for broken in broken_blocks(GOOD)) == []
    assert sorted(broken.block for broken in broken_blocks(mixed)) == list(range(1, len(mixed), 2))


def test_two_halves_do_not_make_a_whole():
    halves = ["if true; then", "fi", "echo 'a", "b'", "{ echo", "}", "cat <<EOF", "EOF", "case a in", "esac", "$(", ")"]
    found = {broken.block for broken in broken_blocks(halves)}
    assert found == set(range(len(halves))) - {halves.index("EOF")}  # a word that may well be a command


def test_nothing_in_a_block_is_executed(tmp_path):
    mark = tmp_path / "mark"
    blocks = [f"touch {mark}", f"}} )\ntouch {mark}\n( {{ :", f"$(touch {mark})", f"'\ntouch {mark}\n'"]
    list(broken_blocks(blocks))
    assert not mark.exists()


def test_bash_reads_nothing_of_the_users(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    (tmp_path / "env.sh").write_text(f"touch {mark}\n")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "env.sh"))
    assert [broken.block for broken in broken_blocks(["fi"])] == [0]
    assert not mark.exists()


def test_nine_hundred_blocks_cost_a_few_processes(monkeypatch):
    started = []
    spawn = os.posix_spawn
    monkeypatch.setattr(os, "posix_spawn", lambda *args, **more: started.append(args) or spawn(*args, **more))
    blocks = [f"echo {number}\nfor f in a b; do echo $f; done" for number in range(900)]
    blocks[17] = "done"
    assert [broken.block for broken in broken_blocks(blocks)] == [17]
    assert len(started) == 3, "all blocks, block 17 alone, those behind it"


@pytest.mark.parametrize(
    "blocks", [["fi"] * 5000, ["( " * 90_000], ["$(" * 90_000, "`" * 90_001], ["a\n" * 90_000] * 20]
)
def test_hostile_blocks_come_to_an_end(blocks):
    """bash is killed when the time budget is used up."""
    assert len(list(broken_blocks(blocks))) <= len(blocks)


def test_a_hundred_broken_blocks_of_one_file_are_told_and_those_of_its_neighbours_as_well():
    blocks = [Block("fi", 1)] * 300 + [Block("echo a", 2), Block("done", 2)]
    found = list(bash_syntax.broken_blocks(blocks, budget_s=60))
    assert all(isinstance(result, Broken) for result in found)
    assert [result.block for result in found] == [*range(100), 301]


def test_what_bash_could_not_be_asked_about_is_said():
    found = list(bash_syntax.broken_blocks([Block("echo a"), Block("fi"), Block("a\n" * 200_000)], budget_s=-1))
    assert all(isinstance(result, Unchecked) for result in found)
    assert sorted(result.block for result in found) == [0, 1, 2]
    assert any("longer than 200,000" in result.why for result in found)
