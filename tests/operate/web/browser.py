"""A real browser at the page: Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from waiting import LONGEST_SEC

AXE = Path(__file__).resolve().parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
_CEILING_MS = LONGEST_SEC * 1000


def chromium() -> str:
    """The browser's path; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A browser without a window."""
    path = chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as driver:
        # There is no other user to be kept out of the sandbox on a machine of tests, which runs as root; nor is there
        # a GPU, and one that is emulated draws half as fast as none.
        made = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield made
        finally:
            made.close()


class Tab:
    """One tab, as a person uses it: what it complained of is kept."""

    def __init__(self, made: Any, url: str, **how: Any) -> None:
        self.page = made.new_page(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"} | how)
        self.page.set_default_timeout(_CEILING_MS)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        self._url = url

    def go(self, address: str) -> "Tab":
        """To a view, which is waited for."""
        self.page.goto(f"{self._url}/#/{address}")
        return self.settled()

    def settled(self) -> "Tab":
        """Once the view stands."""
        self.page.wait_for_selector("main:not([aria-busy]) > :not(.unseen)")
        return self

    def text(self, selector: str = "main") -> str:
        """What is read there, in one line."""
        return re.sub(r"\s+", " ", str(self.page.inner_text(selector)))

    def until_text(self, text: str, selector: str = "main") -> None:
        """Wait until it can be read there."""
        self.page.locator(selector).get_by_text(text).first.wait_for()

    def gap_columns(self) -> int:
        """How many runs of the gaps' colour stand beside each other on the chart's bottom line of pixels."""
        return int(self.page.evaluate(_GAPS))

    def drag(self, from_px: int, to_px: int) -> None:
        """Across the chart, as a hand does."""
        self.page.mouse.move(from_px, 300)
        self.page.mouse.down()
        self.page.mouse.move(to_px, 300, steps=10)
        self.page.mouse.up()

    def type_sizes(self) -> set[str]:
        """Of all that can be read."""
        return set(self.page.evaluate(_TYPE_SIZES))

    def violations(self) -> list[str]:
        """What axe-core has to say."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed: npm ci in web/")
        # By the protocol of the browser's own tools: the page's own policy lets no such script in.
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("axe.run({resultTypes: ['violations']}).then((it) => it.violations)")
        return [f"{each['id']}: {[node['target'] for node in each['nodes']][:3]}" for each in found]


_TYPE_SIZES = """() => [...document.querySelectorAll('body *')]
  .filter((each) => each.checkVisibility() && !each.closest('.unseen, .skip'))
  .filter((each) => [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  .map((each) => getComputedStyle(each).fontSize)"""
# The canvases of the main pane stand on one another; the bands are in the lowest.
_GAPS = """() => {
  const size = (each) => each.width * each.height;
  const canvas = [...document.querySelectorAll('.chart canvas')].sort((a, b) => size(b) - size(a))[0];
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--gap').trim();
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const line = canvas.getContext('2d').getImageData(0, 2, canvas.width, 1).data;
  let runs = 0, inside = false;
  for (let x = 0; x < canvas.width; x++) {
    const is = line[4 * x] === r && line[4 * x + 1] === g && line[4 * x + 2] === b;
    if (is && !inside) runs += 1;
    inside = is;
  }
  return runs;
}"""
