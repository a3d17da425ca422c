"""Takes the pictures of docs/web.md with a real browser, of a feed with a past: `make pictures`."""

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests")]

from operate.web.browser import Tab, browser  # noqa: E402 - found by the line above
from operate.web.serving import Page  # noqa: E402 - likewise
from page_world import HOURS, NOW_MS, PageWorld  # noqa: E402 - likewise
from world import hours  # noqa: E402 - likewise

SERIES = "symbol=BTCUSDT&interval=1h"


def pictures(page: Page) -> None:
    """Each view once."""
    refused = next(run for run in page.ask("runs", count=100)["runs"] if run["status"] == "mismatch")
    views = {
        "chart": f"chart?{SERIES}",
        "calendar": f"calendar?{SERIES}&year=2023",
        "run": f"run?folder={refused['folder']}&run={refused['run']}",
        "market": "market",
        "now": "now",
    }
    with browser() as made:
        for name, address in views.items():
            _take(Tab(made, page.url, color_scheme="dark" if name == "market" else "light").go(address), name)
        years = Tab(made, page.url).go(views["chart"])
        years.page.click("text=All")
        years.page.wait_for_selector(".chart[data-step='604800000']")
        _take(years, "years")


def _take(tab: Tab, name: str) -> None:
    tab.page.wait_for_timeout(700)
    assert not tab.complaints, tab.complaints
    tab.page.screenshot(path=DOCS / f"web-{name}.png")
    tab.page.close()


def main() -> None:
    """A past, its page, six pictures."""
    with tempfile.TemporaryDirectory() as folder:
        world = PageWorld(Path(folder))
        world.live()
        world.one.clock.go_to(NOW_MS + hours(HOURS - 1))
        with Page(world).served() as page:
            pictures(page)


if __name__ == "__main__":
    main()
