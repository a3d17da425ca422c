"""Takes the pictures of docs/web.md with a real browser, of a feed with a past: `make pictures`."""

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests")]

from barfeed import __version__  # noqa: E402 - after the line above, as those that it finds
from barfeed.domain import grid  # noqa: E402 - likewise
from barfeed.operate.web.stores.file import HeldFile  # noqa: E402 - likewise
from barfeed.operate.web.stores.looks import Looks  # noqa: E402 - likewise
from barfeed.store.postgres.tables.feeders import Feeder  # noqa: E402 - likewise
from operate.web.browser import Tab, browser  # noqa: E402 - found by the line above
from operate.web.serving import Page  # noqa: E402 - likewise
from page_world import HOURS, NOW_MS, PageWorld  # noqa: E402 - likewise
from world import hours  # noqa: E402 - likewise

SERIES = "symbol=BTCUSDT&interval=1h"
# When the pictures are taken, but the last: that is an hour later.
SHOWN_MS = NOW_MS + hours(HOURS - 1)
# Two that do their work, and one that has not been heard of for a night.
HOSTS = (("db-a", 0), ("db-b", 0), ("db-c", 7))


class Shared(HeldFile):
    """The store, told as a database is: with the hosts that feed it."""

    def feeders(self) -> list[Feeder]:  # type: ignore[override]  # a file is fed by nobody else
        """As their passes left them."""
        return [_feeder(host, SHOWN_MS + hours(1 - back)) for host, back in HOSTS]


def _feeder(host: str, at_ms: int) -> Feeder:
    newest_ms = at_ms - at_ms % hours(1) - hours(1)
    lag_ms = at_ms - newest_ms - hours(1)
    return Feeder(host, "/srv/feed/BINANCE.P_1h", __version__, at_ms, "appended", newest_ms, lag_ms / 1000)


def pictures(page: Page) -> None:
    """Each view once."""
    refused = next(run for run in page.ask("runs", count=100)["runs"] if run["status"] == "mismatch")
    views = {
        "chart": f"chart?{SERIES}",
        "calendar": f"calendar?{SERIES}&year=2023",
        "run": f"run?folder={refused['folder']}&run={refused['run']}",
        "market": "market",
    }
    with browser() as made:
        for name, address in views.items():
            _take(Tab(made, page.url, color_scheme="dark" if name == "market" else "light").go(address), name)
        years = Tab(made, page.url).go(views["chart"])
        years.page.click("text=All")
        years.page.wait_for_selector(".chart[data-step='604800000']")
        _take(years, "years")
        # The last second of the hour.
        page.world.one.clock.go_to(SHOWN_MS + hours(1) - 31_000)
        now = Tab(made, page.url).go("now")
        _live(page)
        now.until_text("the run ended: appended")
        _take(now, "now")


def _live(page: Page) -> None:
    """One more hour, whose line is in the log, as cron leaves it there."""
    page.world.live_hour()
    run = page.ask("runs", count=1)["runs"][0]
    told = " ".join(f"{name}={run[name]}" for name in ("pulled", "validated", "appended"))
    (page.world.folder / "feed.log").write_text(f"{told} target={grid.text(run['target_ms'])}\n", "utf-8")


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
        world.one.clock.go_to(SHOWN_MS)
        page = Page(world)
        page.sources = page.sources._replace(looks=Looks(Shared(world.duckdb, 5.0)))
        with page.served():
            pictures(page)


if __name__ == "__main__":
    main()
