"""A page that is left open: what happens is seen on it by itself, and so is that nothing does."""

from pathlib import Path
from typing import Any

import pytest

from operate.web.browser import Tab, tab
from operate.web.serving import Page
from page_world import PageWorld
from waiting import until
from world import hours

pytestmark = pytest.mark.long

# Whatever a chart is made anew for.
NEWS = ("hello", "stored", "ended")


class Line:
    """What a tab was told by the server, and what it asked it for, one after the other."""

    def __init__(self, at: Tab) -> None:
        self.passed: list[str] = []
        client = at.page.context.new_cdp_session(at.page)
        client.on("Network.eventSourceMessageReceived", lambda it: self.passed.append(it["eventName"]))
        client.on("Network.requestWillBeSent", lambda it: self.passed.append(it["request"]["url"]))
        client.send("Network.enable")

    def asked(self, view: str) -> list[int]:
        """Where in the line it asked for a view."""
        return [which for which, each in enumerate(self.passed) if f"/api/{view}?" in each]

    def told(self) -> list[int]:
        """Where in the line news of the feed came."""
        return [which for which, each in enumerate(self.passed) if each in NEWS]


def test_an_hour_is_asked_for_once_it_is_told_by_a_page_that_is_not_loaded_anew(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        line = Line(at)
        at.go("chart?symbol=BTCUSDT")
        at.page.evaluate("window.isTheSame = true")
        at.page.evaluate(_NOTE_STEPS)
        assert page.world.live_hour() == "appended"
        at.until_text("2024-02-10 23:00", ".legend")
        assert at.page.evaluate("window.isTheSame")
        # The first time it was opened; each time after that it was told of something.
        _, *asked = line.asked("candles")
        told = line.told()
        assert 0 < len(asked) <= len(told)
        assert all(each > news for each, news in zip(asked, told, strict=False))
        # Who looks at hours goes on to look at hours.
        assert set(at.page.evaluate("window.steps")) == {"3600000"}


_NOTE_STEPS = """() => {
  const chart = document.querySelector('.chart');
  window.steps = [chart.dataset.step];
  new MutationObserver(() => steps.push(chart.dataset.step)).observe(chart, {attributeFilter: ['data-step']});
}"""


def test_the_clock_is_the_exchange_s_and_the_next_close_is_counted_down(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("now")
        assert "2024-02-10 23:0" in at.text(".pair")
        left = at.text(".pair .accent")
        until(lambda: at.text(".pair .accent") < left)


def test_a_feed_that_has_stopped_is_seen_by_whoever_only_looks(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.page.clock.install()
        at.go("market")
        assert "10 series: 1 in trouble, 9 well" in at.text()
        assert at.page.get_attribute(".clock .dot", "aria-label") == "The last run was well"
        page.world.one.clock.go_to(page.world.one.clock.now_ms + hours(3))
        at.page.clock.run_for(hours(3))
        at.until_text("10 series: 10 in trouble, 0 well")
        assert "3 bars behind: the newest is 2024-02-10 22:00" in at.text("tr:has-text('BTCUSDT')")
        assert "barfeed run --symbol BTCUSDT --interval 1h --catch-up" in at.text("tr:has-text('BTCUSDT')")
        at.page.wait_for_selector(".clock .dot.trouble")
        assert "The last run was well, and 3:0" in str(at.page.get_attribute(".clock .dot", "aria-label"))


def test_what_somebody_has_the_focus_on_stays_while_the_time_goes_on(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.page.clock.install()
        at.go("market")
        at.page.focus("tbody a:text('SOLUSDT')")
        lag = at.text("tr:has-text('SOLUSDT') [data-head=Lag]")
        page.world.one.clock.go_to(page.world.one.clock.now_ms + 60_000)
        at.page.clock.run_for(60_000)
        until(lambda: at.text("tr:has-text('SOLUSDT') [data-head=Lag]") > lag)
        assert at.page.evaluate("document.activeElement.textContent") == "SOLUSDT"


def test_the_first_run_of_all_is_seen_and_older_ones_stay(chrome: Any, page: Page, tmp_path: Path) -> None:
    with Page(PageWorld(tmp_path)).served() as new, tab(chrome, new) as at:
        at.go("runs")
        assert "No run has left its files here yet" in at.text()
        new.world.live_hour()
        at.page.wait_for_selector("tbody tr")
        assert "No run has left its files here yet" not in at.text()
    with tab(chrome, page) as at:
        at.go("runs")
        rows = at.page.locator("tbody tr")
        before = rows.all_inner_texts()
        assert page.world.live_hour() == "appended"
        until(lambda: rows.count() == len(before) + 1)
        assert rows.all_inner_texts()[1:] == before


def test_what_is_hidden_is_not_laid_out(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        for view in ("now", "runs"):
            at.go(view)
            hidden = at.page.locator("main [hidden]")
            assert hidden.count() > 0, view
            assert [each for each in hidden.all() if each.is_visible()] == [], view
