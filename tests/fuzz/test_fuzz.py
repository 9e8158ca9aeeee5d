"""A few seconds of coverage-guided fuzzing; for hours of it see `fuzz_document.py` and `fuzz_images.py`."""

import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[1] / "runbook" / "corpus"
SECONDS = os.environ.get("RUNBOOK_FUZZ_SECONDS", "5")


def documents() -> list[bytes]:
    return [file.read_bytes() for file in CORPUS.glob("*.md")]


def archives() -> list[bytes]:
    """With every kind of entry, in each format, also with files that are sparse as far as their headers go."""
    sparse = ({"realsize": "4"}, {"size": "4", "map": "0,4"}, {"size": "4", "offset": "0", "numbytes": "4"})
    records = [{f"GNU.sparse.{key}": value for key, value in some.items()} for some in sparse]
    plain = [archive(tarfile.GNU_FORMAT, {}), *(archive(tarfile.PAX_FORMAT, some) for some in records)]
    return [*plain, *map(gzip.compress, plain[:1])]


def archive(kind: int, records: dict[str, str]) -> bytes:
    manifest = json.dumps([{"Config": "c", "RepoTags": ["runbook-runner/a:1"], "Layers": ["l" * 150]}]).encode()
    entries = [(b"0", "manifest.json", "", manifest), (b"0", "l" * 150, "", b"data"), (b"2", "b/link", "../c", b"")]
    entries += [(b"5", "b/", "", b""), (b"1", "c", "l" * 150, b""), (b"0", "./index.json", "", b'{"manifests": []}')]
    made = b""
    for type_, name, target, data in entries:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = type_, target, len(data)
        member.pax_headers = records if data == b"data" else {}
        made += member.tobuf(kind) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    return made + bytes(2 * tarfile.BLOCKSIZE)


@pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not installed (extra: test; Linux, CPython ≤ 3.13)"
)
@pytest.mark.parametrize(("target", "inputs"), [("fuzz_document.py", documents), ("fuzz_images.py", archives)])
def test_fuzzing_finds_nothing_but_our_own_errors(
    target: str, inputs: Callable[[], list[bytes]], tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, content in enumerate(inputs()):
        (seeds / str(number)).write_bytes(content)
    found = tmp_path / "found"
    found.mkdir()
    options = [f"-max_total_time={SECONDS}", "-timeout=60", "-max_len=20000"]  # a minute for one input counts as a find
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(target), *options, found, seeds],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    ran = re.search(r"stat::number_of_executed_units: (\d+)|Done (\d+) runs", done.stderr)
    assert ran
    assert int(ran[1] or ran[2]) > 50
