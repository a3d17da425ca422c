"""A real browser at the page: Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from operate.web.serving import Page
from waiting import LONGEST_SEC

AXE = Path(__file__).resolve().parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
_CEILING_MS = LONGEST_SEC * 1000
_KEYS_MAX = 80
_MINUTE = r"\d{4}-\d\d-\d\d \d\d:\d\d"

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}

# A place on the chart, as shares of its width and of its height.
Point = tuple[float, float]


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
    """One tab, as a person uses it: what it complained of, and what it loaded from elsewhere, is kept."""

    def __init__(self, made: Any, url: str, **how: Any) -> None:
        self.page = made.new_page(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"} | how)
        self.page.set_default_timeout(_CEILING_MS)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        self.page.on("request", lambda asked: None if _is_own(asked.url, url) else self.complaints.append(asked.url))
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

    def gaps(self) -> list[float]:
        """The runs of the gaps' colour on the chart's uppermost line of pixels, each as a share of the line."""
        return list(self.page.evaluate(f"({_RUNS})('--gap', 2, 1)"))

    def is_drawn(self, colour: str) -> bool:
        """Whether the chart of the bars has a pixel of one of the page's colours."""
        return len(self.page.evaluate(f"({_RUNS})('{colour}', 0, Infinity)")) > 0

    def in_sight(self) -> tuple[int, int]:
        """The first and the last bar that the chart shows, in ms, as it tells those who do not see it."""
        label = str(self.page.get_attribute(".chart", "aria-label"))
        found = re.search(f"({_MINUTE})(?: to ({_MINUTE}))? in sight", label)
        assert found, label
        return _ms(found[1]), _ms(found[2] or found[1])

    def drag(self, from_px: int, to_px: int) -> None:
        """Across the chart, as a hand does."""
        self.page.mouse.move(from_px, 300)
        self.page.mouse.down()
        self.page.mouse.move(to_px, 300, steps=10)
        self.page.mouse.up()

    def fingers(self, *paths: Sequence[Point]) -> None:
        """Put one finger a path down on the chart, move all together, and lift them."""
        box = self.page.locator(".chart").bounding_box()
        client = self.page.context.new_cdp_session(self.page)
        for step, places in enumerate(zip(*paths, strict=True)):
            points = [
                {"x": box["x"] + box["width"] * right, "y": box["y"] + box["height"] * down, "id": finger}
                for finger, (right, down) in enumerate(places)
            ]
            what = "touchMove" if step else "touchStart"
            client.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": points})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def tab_to(self, name: str) -> None:
        """By that key alone, to what is called so; whatever has the focus on the way is told from the rest."""
        seen: list[str] = []
        while name not in seen[-1:]:
            assert len(seen) < _KEYS_MAX, seen
            self.page.keyboard.press("Tab")
            called, outline = self.page.evaluate(_FOCUSED)
            seen.append(called)
            assert outline != "none", called

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


@contextmanager
def tab(made: Any, page: Page, **how: Any) -> Iterator[Tab]:
    """A tab that has nothing to complain of at its end."""
    one = Tab(made, page.url, **how)
    try:
        yield one
    finally:
        one.page.close()
    assert one.complaints == []


def _is_own(asked: str, url: str) -> bool:
    return asked.startswith((f"{url}/", "data:", "blob:"))


def _ms(minute: str) -> int:
    return round(datetime.fromisoformat(f"{minute}+00:00").timestamp() * 1000)


_FOCUSED = """() => {
  const at = document.activeElement;
  // Of a date, each part that has the focus is marked by the browser itself.
  const outline = at.type === 'date' ? 'its own' : getComputedStyle(at).outlineStyle;
  return [at.getAttribute('aria-label') || at.textContent, outline];
}"""
_TYPE_SIZES = """() => [...document.querySelectorAll('body *')]
  .filter((each) => each.checkVisibility() && !each.closest('.unseen, .skip'))
  .filter((each) => [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  .map((each) => getComputedStyle(each).fontSize)"""
# The canvases of the main pane stand on one another; the bands are in the lowest.
_RUNS = """(colour, top, lines) => {
  const size = (each) => each.width * each.height;
  const canvas = [...document.querySelectorAll('.chart canvas')].sort((a, b) => size(b) - size(a))[0];
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(colour).trim();
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const seen = canvas.getContext('2d').getImageData(0, top, canvas.width, Math.min(lines, canvas.height)).data;
  const runs = [];
  let inside = false;
  for (let x = 0; x < seen.length; x += 4) {
    const is = seen[x] === r && seen[x + 1] === g && seen[x + 2] === b;
    if (is && !inside) runs.push(0);
    if (is) runs[runs.length - 1] += 1 / canvas.width;
    inside = is;
  }
  return runs;
}"""
