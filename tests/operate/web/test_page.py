"""The page in a real browser, by the paths that a person goes."""

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.store import market
from barfeed.store.duckdb import Store
from operate.web.browser import LOOKS, Tab, tab
from operate.web.serving import Page, held
from page_world import GAPS, NOW_MS, PageWorld
from waiting import until
from world import hours, made_up_bars, ms

pytestmark = pytest.mark.long

VIEWS = ("chart", "calendar", "runs", "market", "now")


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_stands_and_is_for_everyone(chrome: Any, page: Page, look: str) -> None:
    told = {run["status"]: run for run in page.ask("runs")["runs"]}
    runs = (told["appended"], told["mismatch"], told["bar_late"])
    with tab(chrome, page, **LOOKS[look]) as at:
        for view in (*VIEWS, *(f"run?folder={run['folder']}&run={run['run']}" for run in runs)):
            at.go(view)
            assert at.violations() == [], view
            assert len(at.type_sizes()) <= 2, view
            # Nothing is cut off: what is wider than the screen scrolls in a place of its own.
            width = at.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] <= width[1], view


@pytest.mark.parametrize("look", LOOKS)
def test_what_can_be_asked_is_a_page_for_everyone_too(chrome: Any, page: Page, look: str) -> None:
    with tab(chrome, page, **LOOKS[look]) as at:
        at.page.goto(f"{page.url}/api/")
        assert "/api/candles" in at.text()
        assert at.violations() == []
        width = at.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]


def test_every_gap_of_six_years_is_seen(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("chart?symbol=BTCUSDT")
        assert at.gaps() == []
        at.page.click("text=All")
        at.page.wait_for_selector(".chart[data-step='604800000'], .chart[data-step='2419200000']")
        until(lambda: len(at.gaps()) == len(GAPS))
        # What was refused is marked however far away, and nothing else has that colour.
        until(lambda: at.is_drawn("--trouble"))
        assert f"Gaps ({len(GAPS)})" in at.text(".events")


def test_a_gap_is_as_wide_as_its_hours(chrome: Any, page: Page) -> None:
    first_ms, bars = GAPS[-1]
    with tab(chrome, page) as at:
        at.go(f"chart?symbol=BTCUSDT&at={first_ms}")
        until(lambda: at.gaps() == [pytest.approx(bars / _hours(at), rel=0.1)])
        assert "no bar is stored" in at.text(".legend")
        assert f"{bars} missing" in at.text(".events")
        assert "barfeed backfill --symbol BTCUSDT --interval 1h" in at.text(".events")


def _hours(at: Tab) -> int:
    first_ms, last_ms = at.in_sight()
    return (last_ms - first_ms) // HOUR_MS + 1


def test_a_revision_is_found_with_both_versions(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("chart?symbol=BTCUSDT")
        at.page.click(".events a:text('2024-02-10 18:00')")
        at.settled().until_text("revised: volume", ".legend")
        assert "→ 1234.567" in at.text(".legend")
        at.page.mouse.move(300, 300)
        until(lambda: "revised" not in at.text(".legend"))
        # By hand, too, which comes by it in the middle.
        places = itertools.cycle(range(580, 620))

        def is_hovered() -> bool:
            at.page.mouse.move(next(places), 300)
            return "→ 1234.567" in at.text(".legend")

        until(is_hovered)


def test_a_refused_hour_is_found_with_its_reason_and_evidence(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("calendar?symbol=BTCUSDT&interval=1h&year=2024")
        at.page.click("a[title^='2024-02-10']")
        at.settled()
        at.page.click("tr.trouble:has-text('mismatch') a")
        at.until_text("What it left")
        assert "1 of 5 stored bars differ" in at.text()
        assert "Findings (1)" in at.text()
        with at.page.expect_download() as evidence:
            at.page.click("a:text('_api_pull.csv')")
        assert evidence.value.suggested_filename.endswith("_api_pull.csv")


def test_what_a_model_was_given_is_two_clicks_away(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("calendar?symbol=BTCUSDT&interval=1h&year=2024")
        at.page.click("a[title^='2024-02-10']")
        at.settled()
        at.page.click("tr:has-text('BTCUSDT 1h') a:text('2024-02-10 15:00')")
        at.until_text("What it left")
        at.page.click("tr:has-text('_for_inference.csv') button")
        at.until_text("as written")


def test_a_prediction_is_found_with_what_came_of_it(chrome: Any, page: Page) -> None:
    told = [each for each in page.ask("marks", symbol="BTCUSDT")["predictions"] if each["came"] is not None][-1]
    with tab(chrome, page) as at:
        at.go(f"chart?symbol=BTCUSDT&at={told['at_ms']}")
        at.until_text("predicted ", ".legend")
        assert f"{100 * told['y_pred']:+.3f} % in 48 h, came {100 * told['came']:+.3f} %" in at.text(".legend")


def test_funding_and_open_interest_have_panes_where_they_are_fed(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("chart?symbol=BTCUSDT")
        at.page.wait_for_selector(".chart[data-panes='funding_rate open_interest']")
        panes = {pane["name"]: pane["values"] for pane in page.ask("beside", symbol="BTCUSDT")["panes"]}
        at.until_text(f"open interest {round(panes['open_interest'][-1]):,}", ".legend")
        at.go("chart?symbol=ETHUSDT")
        at.page.wait_for_selector(".chart[data-panes='']")


def test_what_is_wrong_is_not_beyond_the_edge_of_a_phone(chrome: Any, page: Page) -> None:
    with tab(chrome, page, **LOOKS["phone"]) as at:
        for view, trouble in (("market", "does not show"), ("runs", "1 of 5 stored bars differ")):
            at.go(view)
            box = at.page.locator(".said").get_by_text(trouble).first.bounding_box()
            assert box["x"] >= 0, view
            assert box["x"] + box["width"] <= LOOKS["phone"]["viewport"]["width"], view


def test_an_hour_that_is_refused_right_now_has_its_reason_where_it_is_due(chrome: Any, page: Page) -> None:
    (late,) = (row for row in page.ask("market")["rows"] if row["symbol"] == "SOLUSDT")
    with tab(chrome, page) as at:
        at.go("chart?symbol=SOLUSDT")
        due = time.strftime("%Y-%m-%d %H:%M", time.gmtime((late["last_ms"] + HOUR_MS) / 1000))
        assert at.text(".legend time") == f"{due} UTC"
        assert "no bar is stored" in at.text(".legend")
        assert f"bar_late: SOLUSDT 1h: the exchange does not show {due}" in at.text(".legend")


def test_the_market_is_found_in_and_sorted(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as at:
        at.go("market")
        rows = at.page.locator("tbody tr")
        assert rows.count() == 10
        assert rows.first.inner_text().startswith("SOLUSDT")
        at.page.fill("input[type=search]", "币安")
        assert rows.count() == 1
        at.page.fill("input[type=search]", "")
        at.page.click("th button:text('Symbol')")
        assert rows.first.inner_text().startswith("ADAUSDT")
        assert at.page.get_attribute("th:has-text('Symbol')", "aria-sort") == "ascending"
        at.page.click("tbody a:text('ETHUSDT')")
        at.settled().until_text("ETHUSDT", ".legend")


def test_a_market_of_540_is_all_there_for_whoever_scrolls_or_looks_for_it(chrome: Any, tmp_path: Path) -> None:
    world = PageWorld(tmp_path)
    with market.writing(Store(world.duckdb, world.one.clock, 5.0), Interval.ONE_HOUR) as table:
        table.append({f"S{number:03d}USDT": made_up_bars(NOW_MS - NOW_MS % HOUR_MS, 2) for number in range(540)})
    with Page(world).served() as page, tab(chrome, page) as at:
        at.go("market")
        rows = at.page.locator("tbody tr")
        # A browser lays out all rows of a table for each that changes.
        assert rows.count() < 540
        assert "540 series" in at.text()
        at.page.fill("input[type=search]", "S537")
        assert rows.count() == 1
        at.page.fill("input[type=search]", "")

        def all_seen() -> bool:
            at.page.mouse.wheel(0, 100_000)
            return int(rows.count()) == 540

        until(all_seen)
        assert rows.last.inner_text().startswith("S539USDT")


def test_an_hour_is_seen_on_every_page_that_is_open(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as now, tab(chrome, page) as chart:
        chart.go("chart?symbol=BTCUSDT")
        now.go("now")
        assert page.world.live_hour() == "appended"
        now.until_text("the run ended: appended")
        chart.until_text("2024-02-10 23:00", ".legend")


@pytest.mark.parametrize("number", [4, pytest.param(40, marks=pytest.mark.proof)])
def test_many_pages_read_the_store_as_often_as_one(chrome: Any, page: Page, number: int) -> None:
    tabs = [Tab(chrome, page.url).go("market") for _ in range(number)]
    reads = page.sources.looks.reads
    assert page.world.live_hour() == "appended"
    for each in tabs:
        each.page.locator("tr:has-text('BTCUSDT')").get_by_text("2024-02-10 23:00").wait_for()
    several = page.sources.looks.reads - reads
    for each in tabs[1:]:
        each.page.close()
    reads = page.sources.looks.reads
    assert page.world.live_hour() == "appended"
    tabs[0].page.locator("tr:has-text('BTCUSDT')").get_by_text("2024-02-11 00:00").wait_for()
    alone = page.sources.looks.reads - reads
    # The store is written once an hour, and once more as its log is folded in: each page asks anew at either.
    assert several <= 3 * max(alone, 4)
    tabs[0].page.close()


def test_the_feed_lives_on_while_pages_are_open(chrome: Any, page: Page) -> None:
    with tab(chrome, page) as chart, tab(chrome, page) as market:
        chart.go("chart?symbol=BTCUSDT")
        market.go("market")
        stop = threading.Event()
        asking = threading.Thread(target=lambda: [page.ask("market") for _ in iter(stop.is_set, True)])
        asking.start()
        try:
            assert {page.world.live_hour() for _ in range(3)} == {"appended"}
        finally:
            stop.set()
            asking.join()


def test_hostile_names_show_as_text(chrome: Any, page: Page) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    folder = page.world.root / hostile
    folder.mkdir()
    source = next((page.world.root / "BINANCE_BTCUSDT.P_60").glob("*_run.json"))
    told = json.loads(source.read_text("utf-8")) | {"message": hostile, "exit_code": 5}
    (folder / source.name).write_text(json.dumps(told), "utf-8")
    (page.world.folder / "feed.log").write_text(f"WARNING {hostile}\n", "utf-8")
    with tab(chrome, page) as at:
        at.page.on("dialog", lambda _: at.complaints.append("a dialog"))
        at.go("now")
        assert hostile in at.text()
        at.go("runs?day=" + str(ms(2024, 2, 10)))
        assert hostile in at.text()
        at.go(f"run?folder={hostile.replace('=', '%3D')}&run={source.name.removesuffix('_run.json')}")
        assert hostile in at.text()
        assert at.page.locator("img").count() == 0
        at.go("chart?symbol=<script>&interval=1h")
        assert "symbol or interval" in at.text()
        at.complaints = [each for each in at.complaints if "400" not in each]


def test_a_page_left_open_comes_back_by_itself(chrome: Any, past: Path) -> None:
    page = Page(PageWorld(past))
    page.world.one.clock.go_to(NOW_MS + hours(9))
    with page.served():
        at = Tab(chrome, page.url).go("market")
    at.until_text("this page comes back by itself", "#notice")
    with page.served():
        until(lambda: at.text("#notice") == "")
        at.until_text("10 series")
    at.page.close()


def test_an_empty_and_a_held_store_are_told_with_what_helps(chrome: Any, past: Path, tmp_path: Path) -> None:
    bare = PageWorld(tmp_path / "bare")
    with Page(bare).served() as page, tab(chrome, page) as at:
        for view in VIEWS[:4]:
            at.go(view)
            assert "barfeed run --catch-up" in at.text(), view
        at.complaints.clear()
    locked = Page(PageWorld(past), lock_timeout_sec=0.0)
    with held(locked.world.duckdb), locked.served() as page, tab(chrome, page) as at:
        at.go("market")
        assert "is held by" in at.text()
