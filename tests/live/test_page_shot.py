"""The prism-playwright snapshot and its example: a real browser renders a real page, as whoever the image runs as."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

PAGE_SHOT = Path(__file__).parents[2] / "examples" / "page-shot"
AGENTS = ("claude-code", "codex", "gemini-cli", "hermes", "opencode")

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(900)]


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


# --- by every agent ------------------------------------------------------------------------------------------------

MISSION = """\
---
snapshot: prism-playwright
---
# Browse — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | What the page says |

## Step 1: Browse

Open the page and write down its heading.
"""
BROWSE = """\
python3 - <<'PYTHON'
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch()
    page = browser.new_page()
    page.set_content("<h1></h1><script>document.querySelector('h1').textContent = 6 * 7</script>")
    open("/app/results/out.txt", "w").write(page.inner_text("h1"))
    browser.close()
PYTHON
"""


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_opens_a_page_with_only_its_model_in_reach(agent: str, runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(MISSION)
    (runbook.cwd / "model.yaml").write_text(json.dumps([{"shell": BROWSE}, {"say": "Done."}]))
    arguments = ("--agent", agent, "--model-script", "model.yaml", "--network", "model-only", "--sandbox", "docker")
    ran = runbook("run", "RUNBOOK.md", *arguments, "--json", timeout=800)
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "42"
    assert ran.events("sandbox.started")[0]["image"].startswith(f"runbook-runner/prism-playwright-{agent}:")


# --- as an ordinary user -------------------------------------------------------------------------------------------

AS_USER = """\
id -un
cd "$(mktemp -d)"
playwright install chromium
python3 -m playwright --version
cat > common.js <<'JS'
const { chromium } = require("playwright");
chromium.launch({ channel: "chrome" }).then(async (browser) => {
  const page = await browser.newPage();
  await page.setContent("<h1>read by Node</h1>");
  console.log(await page.innerText("h1"));
  await browser.close();
});
JS
node common.js >> /app/results/out.txt
cat > module.mjs <<'JS'
import { chromium } from "playwright";
const browser = await chromium.launch({ headless: false });
console.log((await browser.version()).split(".").length + " parts, with a window");
await browser.close();
JS
xvfb-run --auto-servernum node module.mjs >> /app/results/out.txt
cat > page.spec.js <<'JS'
const { test, expect } = require("@playwright/test");
test("a page says what it should", async ({ page }) => {
  await page.setContent("<h1>tested</h1>");
  await expect(page.locator("h1")).toHaveText("tested");
});
JS
npx playwright test | grep -o "1 passed" >> /app/results/out.txt
cat > video.py <<'PYTHON'
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch()
    context = browser.new_context(record_video_dir="videos")
    context.new_page().set_content("<h1>filmed</h1>")
    context.close()
    browser.close()
print(*(path.read_bytes()[:4].hex() for path in Path("videos").iterdir()))
PYTHON
python3 video.py >> /app/results/out.txt
"""


def test_an_ordinary_user_has_the_browser_in_every_way_and_needs_no_network(runbook: Any, shell_runbook: Any) -> None:
    snapshot = runbook.cwd / ".runbook/snapshots/t-plain-user"
    snapshot.mkdir(parents=True)
    (snapshot / "Dockerfile").write_text(
        "ARG BASE_IMAGE=snapshot:prism-playwright\nFROM ${BASE_IMAGE}\n"
        "RUN useradd --create-home somebody\nUSER somebody\n"
    )
    arguments = ("--trust", "--sandbox", "docker", "--snapshot", "t-plain-user", "--network", "none", "--json")
    ran = runbook("run", shell_runbook(AS_USER), *arguments, timeout=800)
    runbook("snapshots", "prune", "t-plain-user", "--all")
    assert ran.code == 0, ran.err
    assert ran.events("tool.returned")[0]["output"].startswith("somebody\n")
    lines = (ran.folder / "results/out.txt").read_text().splitlines()
    assert lines == ["read by Node", "4 parts, with a window", "1 passed", "1a45dfa3"], "the last is how WebM begins"
