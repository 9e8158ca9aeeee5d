"""The prism-playwright snapshot and its example: a real browser renders a real page, as whoever the image runs as."""

import struct
from pathlib import Path
from typing import Any

import pytest

PAGE_SHOT = Path(__file__).parents[2] / "examples" / "page-shot"

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("docker-live"), pytest.mark.timeout(900)]

NODE = """
const { chromium } = require("playwright");
(async () => {
  const browser = await chromium.launch();
  const page = await browser.newPage();
  await page.setContent("<h1>read by Node</h1>");
  require("fs").writeFileSync("/app/results/out.txt", await page.innerText("h1"));
  await browser.close();
})();
"""


def test_page_is_rendered_shot_and_read_without_any_network(runbook: Any) -> None:
    ran = runbook("run", PAGE_SHOT, "--sandbox", "docker", "--json", timeout=800)
    assert ran.code == 0, ran.err
    picture = (ran.folder / "results/page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (800, 600)
    assert len(picture) > 10_000, "text makes a larger file than an empty page"
    text = (ran.folder / "results/page.md").read_text()
    assert "| Kettle | 24.90 |" in text
    assert text.endswith("Together 353.40 EUR\n")


def test_playwright_of_node_finds_the_same_browser_as_an_ordinary_user(
    runbook: Any, shell_runbook: Any, tmp_path: Path
) -> None:
    snapshot = tmp_path / ".runbook/snapshots/plain-user"
    snapshot.mkdir(parents=True)
    (snapshot / "Dockerfile").write_text(
        "ARG BASE_IMAGE=snapshot:prism-playwright\nFROM ${BASE_IMAGE}\n"
        "RUN useradd --create-home somebody\nUSER somebody\n"
    )
    path = shell_runbook(f"id -un\ncat > /tmp/shot.js <<'JS'\n{NODE}\nJS\nnode /tmp/shot.js")
    ran = runbook("run", path, "--sandbox", "docker", "--snapshot", "plain-user", "--json", timeout=800)
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "read by Node"
    assert "somebody" in ran.events("tool.returned")[0]["output"]
