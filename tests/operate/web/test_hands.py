"""The page worked by whatever a person has: a mouse, fingers, keys alone."""

import json
from datetime import datetime
from typing import Any

import pytest

from barfeed.domain.bars import HOUR_MS
from operate.web.browser import LOOKS, Tab, tab
from operate.web.serving import Page
from waiting import until
from world import hours

pytestmark = pytest.mark.long

CHART = "chart?symbol=BTCUSDT"
# As many hours as are shown first, on a screen and on a phone.
SHOWN_FIRST = (*range(85, 110), *range(280, 300))


def chart(at: Tab) -> Tab:
    """The chart as it is seen first."""
    at.go(CHART)
    until(lambda: _hours(at) in SHOWN_FIRST)
    return at


def _hours(at: Tab) -> int:
    first_ms, last_ms = at.in_sight()
    return (last_ms - first_ms) // HOUR_MS


def test_the_chart_is_worked_by_keys_alone(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        chart(at)
        at.page.focus(".chart")
        newest = at.text(".legend time")
        at.page.keyboard.press(",")
        assert at.text(".legend time") < newest
        at.page.keyboard.press(".")
        assert at.text(".legend time") == newest
        _, last_ms = at.in_sight()
        at.page.keyboard.press("PageUp")
        until(lambda: at.in_sight()[1] < last_ms - hours(200))
        for _ in range(12):
            at.page.keyboard.press("-")
        at.page.wait_for_selector(".chart:not([data-step='3600000'])")
        at.page.keyboard.press("End")
        at.page.wait_for_selector(".chart[data-step='3600000']")


def test_the_chart_is_worked_by_hand_and_tells_each_bar_to_its_last_digit(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        chart(at)
        assert "TradingView" in at.text(".attribution")
        newest = at.text(".legend time")
        at.page.mouse.move(600, 300)
        until(lambda: at.text(".legend time") < newest)
        pointed = at.text(".legend time")
        asked = {"symbol": "BTCUSDT", "first_ms": _ms(pointed), "last_ms": _ms(pointed)}
        bar = shown.ask("candles", **asked)
        told = [json.dumps(bar[name][0]).removesuffix(".0") for name in ("open", "high", "low", "close", "volume")]
        assert at.text(".values").split()[1::2] == told
        _, last_ms = at.in_sight()
        at.drag(500, 800)
        at.page.mouse.move(599, 300)
        until(lambda: at.text(".legend time") < pointed)
        # What is in sight is told a little later than it is seen.
        until(lambda: at.in_sight()[1] < last_ms)
        seen = _hours(at)
        at.page.mouse.wheel(0, -300)
        until(lambda: _hours(at) < seen - 20)


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time.replace(" UTC", "+00:00")).timestamp() * 1000)


def test_a_finger_pans_the_chart_and_two_zoom_it(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown, **LOOKS["phone"]) as at:
        chart(at)
        first_ms, last_ms = at.in_sight()
        at.fingers([(0.2 + step / 20, 0.4) for step in range(10)])
        until(lambda: at.in_sight()[0] < first_ms - hours(30) and at.in_sight()[1] < last_ms - hours(30))
        seen = _hours(at)
        at.fingers([(0.4 - step / 40, 0.4) for step in range(10)], [(0.5 + step / 40, 0.4) for step in range(10)])
        until(lambda: _hours(at) < seen / 2)


def test_a_finger_that_goes_up_scrolls_the_page(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown, **LOOKS["phone"]) as at:
        chart(at)
        before = at.in_sight()
        at.fingers([(0.5, 0.8 - step / 20) for step in range(12)])
        until(lambda: at.page.evaluate("scrollY") > 50)
        assert at.in_sight() == before


def test_the_chart_stands_still_once_it_is_let_go_for_those_who_want_nothing_to_move(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown, **LOOKS["phone"]) as at:
        chart(at)
        first_ms, _ = at.in_sight()
        # Fast enough to glide on.
        at.fingers([(0.2 + step / 10, 0.4) for step in range(6)])
        until(lambda: at.in_sight()[0] < first_ms)
        # No further than the finger went: over half of what takes a quarter of its width for the prices.
        assert first_ms - at.in_sight()[0] < hours(75)
        assert at.page.evaluate("document.getAnimations().length") == 0


def test_every_view_is_reached_and_worked_by_keys_alone(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        at.go(CHART)
        for view in ("Calendar", "Runs", "Market"):
            at.tab_to(view)
            at.page.keyboard.press("Enter")
            at.page.wait_for_selector(f"nav [aria-current]:text('{view}')")
            at.settled()
        at.tab_to("Symbol")
        at.page.keyboard.press("Enter")
        assert at.page.get_attribute("th:has-text('Symbol')", "aria-sort") == "ascending"
        at.tab_to("ADAUSDT")
        at.page.keyboard.press("Enter")
        at.until_text("ADAUSDT", ".legend")
        # The view begins with what chooses its series, and the chart is no trap.
        at.tab_to("Symbol")
        at.tab_to(str(at.page.get_attribute(".chart", "aria-label")))
        at.tab_to("TradingView, Inc.")


def test_who_skips_the_links_is_in_the_view(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        at.go("market")
        at.tab_to("To the view")
        at.page.keyboard.press("Enter")
        assert at.page.evaluate("document.activeElement.id") == "main"
        at.tab_to("Find")
        assert "10 series" in at.text()


def test_a_command_is_copied_or_where_that_may_not_be_marked(chrome: Any, shown: Page) -> None:
    with tab(chrome, shown) as at:
        at.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        at.go(f"{CHART}&at=1703923200000")
        command = at.text(".gap code")
        at.page.click(".gap .copy")
        at.until_text("copied", ".gap")
        assert at.page.evaluate("navigator.clipboard.readText()") == command
        # As for a page that another machine shows without TLS.
        at.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        at.page.click(".gap .copy")
        until(lambda: at.page.evaluate("getSelection().toString()") == command)
