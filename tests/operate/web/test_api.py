import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import barfeed
from barfeed.domain.bars import HOUR_MS
from barfeed.operate.web.api import VIEWS
from operate.web.serving import Page, held
from page_world import GAPS, HOURS, MARKET, NOW_MS, PREDICTED, REVISED_MS, PageWorld
from storage import opened
from world import ms

LAST_MS = ms(2024, 2, 10, 13 + HOURS - 1)


def stored(page: Page, query: str) -> Any:
    """What the store holds, read by nobody's code but DuckDB's."""
    with opened(page.world.duckdb, read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_each_bar_is_given_to_the_last_bit(shown: Page) -> None:
    told = shown.ask("candles", symbol="BTCUSDT", first_ms=NOW_MS - 500 * HOUR_MS, last_ms=LAST_MS)
    assert (told["step_ms"], told["bars_of_step"]) == (HOUR_MS, 1)
    rows = [
        (told["first_ms"] + step * HOUR_MS, *(told[name][step] for name in ("open", "high", "low", "close", "volume")))
        for step in range(len(told["bars"]))
    ]
    assert rows == stored(
        shown,
        "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_btcusdt_1h"
        f" WHERE epoch_ms(timestamp) BETWEEN {told['first_ms']} AND {LAST_MS} ORDER BY timestamp",
    )


def test_a_gap_is_white_space_bar_by_bar(shown: Page) -> None:
    first_ms, bars = GAPS[-1]
    told = shown.ask("candles", symbol="BTCUSDT", first_ms=first_ms - HOUR_MS, last_ms=first_ms + bars * HOUR_MS)
    assert told["bars"] == [1] + bars * [0] + [1]
    assert [value is None for value in told["close"]] == [False] + bars * [True] + [False]


def test_years_are_given_in_weeks_and_lose_no_trade(shown: Page) -> None:
    told = shown.ask("candles", symbol="BTCUSDT", points=400)
    assert told["step_ms"] == 7 * 24 * HOUR_MS
    ((rows, low, high, volume),) = stored(
        shown, "SELECT count(*), min(low), max(high), sum(volume) FROM ohlcv_btcusdt_1h"
    )
    assert sum(told["bars"]) == rows
    assert min(filter(None, told["low"])) == low
    assert max(filter(None, told["high"])) == high
    assert sum(filter(None, told["volume"])) == pytest.approx(volume)


@pytest.mark.long
def test_what_is_fed_beside_the_bars_is_told_as_it_was_known_at_the_end_of_each_step(shown: Page) -> None:
    whole = {"symbol": "BTCUSDT", "first_ms": LAST_MS - 99 * HOUR_MS, "last_ms": LAST_MS}
    told, candles = shown.ask("beside", **whole), shown.ask("candles", **whole)
    assert (told["first_ms"], told["step_ms"]) == (candles["first_ms"], candles["step_ms"])
    wide = barfeed.open(shown.world.duckdb).wide("BTCUSDT", start="2024-02-01", kinds=["funding", "open_interest"])
    rows = list(wide)[-100:]
    panes = {pane["name"]: pane["values"] for pane in told["panes"]}
    assert panes == {name: [getattr(row, name) for row in rows] for name in ("funding_rate", "open_interest")}
    coarse = shown.ask("beside", **whole, points=30)
    assert coarse["step_ms"] == 4 * HOUR_MS
    # The last step but one ends with the bar of 19:00.
    assert {pane["name"]: pane["values"][-2:] for pane in coarse["panes"]} == {
        name: [values[-4], values[-1]] for name, values in panes.items()
    }
    assert shown.ask("beside", symbol="ETHUSDT")["panes"] == []


def test_what_stands_out_is_told_of_its_span_only(shown: Page) -> None:
    told = shown.ask("marks", symbol="BTCUSDT")
    assert [(each["first_ms"], each["bars"]) for each in told["gaps"]] == list(GAPS)
    (revised,) = told["revisions"]
    assert revised["at_ms"] == REVISED_MS
    assert (revised["new"][4], len(revised["old"])) == (1234.567, 5)
    assert [each["status"] for each in told["refusals"]] == ["bar_late", "mismatch"]
    later = shown.ask("marks", symbol="BTCUSDT", first_ms=REVISED_MS + HOUR_MS)
    assert later["gaps"] == later["revisions"] == []
    assert [each["status"] for each in later["refusals"]] == ["mismatch"]


def test_a_prediction_is_told_with_what_came_of_it(shown: Page) -> None:
    told = shown.ask("marks", symbol="BTCUSDT")["predictions"]
    assert len(told) == PREDICTED
    over = [each for each in told if each["came"] is not None]
    assert over
    assert len(over) < len(told)
    each = over[0]
    ((came,),) = stored(
        shown,
        "SELECT ln(later.close / bar.close) FROM ohlcv_btcusdt_1h bar JOIN ohlcv_btcusdt_1h later"
        " ON later.timestamp = bar.timestamp + INTERVAL 48 HOUR"
        f" WHERE epoch_ms(bar.timestamp) = {each['at_ms']}",
    )
    assert each["came"] == pytest.approx(came)
    assert each["horizon_hours"] == 48


def test_a_day_is_what_is_true_of_it(shown: Page) -> None:
    of = {each["day_ms"]: each for each in shown.ask("calendar", symbol="BTCUSDT")["days"]}
    assert of[ms(2023, 12, 30)]["state"] == "gap"
    assert of[ms(2024, 2, 9)]["state"] == "whole"
    today = of[ms(2024, 2, 10)]
    assert (today["state"], today["revised"], today["refused"], today["late"]) == ("revised", 1, 1, 1)


def test_every_series_has_a_row_and_the_worst_stands_first(shown: Page) -> None:
    rows = shown.ask("market")["rows"]
    assert {row["symbol"] for row in rows} == {"BTCUSDT", *MARKET}
    assert (rows[0]["symbol"], rows[0]["state"]) == ("SOLUSDT", "trouble")
    assert "does not show" in rows[0]["trouble"]
    assert {row["state"] for row in rows[1:]} == {"well"}
    (btc,) = (row for row in rows if row["symbol"] == "BTCUSDT")
    assert (btc["missing"], btc["revisions"]) == (sum(bars for _, bars in GAPS), 1)


def test_the_runs_of_an_hour_are_two_questions_away(shown: Page) -> None:
    runs = shown.ask("runs", day_ms=ms(2024, 2, 10), symbol="BTCUSDT")["runs"]
    assert [run["target_ms"] for run in runs] == sorted((run["target_ms"] for run in runs), reverse=True)
    (run,) = (run for run in runs if run["target_ms"] == ms(2024, 2, 10, 15) and not run["is_market"])
    detail = shown.ask("run", folder=run["folder"], run=run["run"])
    assert detail["manifest"]["status"] == "appended"
    given = detail["files"][1]
    content = shown.get("/api/file", {"folder": run["folder"], "run": run["run"], "file": given["name"]}).body
    assert hashlib.sha256(content).hexdigest() == given["sha256"]
    assert given["bytes"] == len(content)


def test_a_file_that_was_changed_is_told(page: Page) -> None:
    run = page.ask("runs", count=1)["runs"][0]
    file = run["files"][0]["file"]
    asked = {"folder": run["folder"], "run": run["run"], "file": file}
    assert page.ask("check", **asked)["is_same"]
    with (page.world.root / run["folder"] / file).open("ab") as changed:
        changed.write(b"\n")
    assert not page.ask("check", **asked)["is_same"]


def test_runs_go_back_page_by_page(shown: Page) -> None:
    seen: list[str] = []
    before: dict[str, object] = {}
    while runs := shown.ask("runs", count=7, **before)["runs"]:
        seen += [f"{run['folder']} {run['run']}" for run in runs]
        before = {"before_ms": runs[-1]["at_ms"]}
    assert len(seen) == len(set(seen)) > 7


@pytest.mark.parametrize(
    ("view", "query", "said"),
    [
        ("candles", {}, "needs 'symbol'"),
        ("candles", {"symbol": "BTCUSDT", "points": "many"}, "points is 'many'"),
        ("candles", {"symbol": "<b>", "interval": "1h"}, "symbol or interval"),
        ("candles", {"symbol": "BTCUSDT", "interval": "1w"}, "symbol or interval"),
        ("runs", {"nothing": "1"}, "knows no 'nothing'"),
        ("now", {"x": "1"}, "expected nothing"),
    ],
)
def test_a_question_that_is_none_is_told_as_that(shown: Page, view: str, query: dict[str, str], said: str) -> None:
    answer = shown.get(f"/api/{view}", query)
    assert answer.status == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("view", "query"),
    [
        ("candles", {"symbol": "ETCUSDT"}),
        ("run", {"folder": "../..", "run": "20240210_140030Z"}),
        ("run", {"folder": "BINANCE_BTCUSDT.P_60", "run": "../../etc/passwd"}),
        ("check", {"folder": "BINANCE_BTCUSDT.P_60", "run": "20240210_150030Z", "file": "../ohlcv.duckdb"}),
        ("file", {"folder": "BINANCE_BTCUSDT.P_60", "run": "20240210_150030Z", "file": "../../ohlcv.duckdb"}),
        ("file", {}),
        ("nothing", {}),
    ],
)
def test_what_is_not_there_is_not_found(shown: Page, view: str, query: dict[str, str]) -> None:
    assert shown.get(f"/api/{view}", query).status == 404


@pytest.mark.long
def test_the_store_is_let_go_after_each_question(page: Page) -> None:
    for view in ("market", "now", "runs"):
        page.ask(view)
    for view in ("candles", "marks", "calendar"):
        page.ask(view, symbol="BTCUSDT")
    # Another process writes to it, as the feed does.
    write = f"import duckdb; duckdb.connect({str(page.world.duckdb)!r}).execute('CREATE TABLE free (x INTEGER)')"
    assert subprocess.run([sys.executable, "-c", write], check=False, timeout=60).returncode == 0


def test_a_store_that_is_held_is_told_with_what_helps(past: Path) -> None:
    world = PageWorld(past)
    with held(world.duckdb), Page(world, lock_timeout_sec=0.0).served() as page:
        for view in ("candles", "marks", "calendar"):
            told = page.get(f"/api/{view}", {"symbol": "BTCUSDT"})
            assert told.status == 503
            assert "is held by" in told.json()["error"]
        market = page.ask("market")
        assert (market["rows"], "is held by" in market["trouble"]) == ([], True)
        # What needs no store goes on.
        assert page.ask("runs")["runs"]


@pytest.mark.long
def test_the_same_bytes_are_not_read_twice(page: Page) -> None:
    first = page.ask("candles", symbol="BTCUSDT")
    reads = page.sources.looks.reads
    for _ in range(40):
        assert page.ask("candles", symbol="BTCUSDT") == first
    assert page.sources.looks.reads == reads
    assert page.world.live_hour() == "appended"
    assert page.ask("candles", symbol="BTCUSDT")["history"][1] == first["history"][1] + HOUR_MS
    assert page.sources.looks.reads > reads


@pytest.mark.long
def test_each_view_answers_what_its_description_says(shown: Page) -> None:
    described = shown.get("/api/openapi.json").json()
    assert set(described["paths"]) == {f"/api/{view.path}" for view in VIEWS}
    run = shown.ask("runs", count=1)["runs"][0]
    named = {"symbol": "BTCUSDT", "folder": run["folder"], "run": run["run"], "file": run["files"][0]["file"]}
    for view in VIEWS:
        needed = {field.name: named[field.name] for field in msgspec.structs.fields(view.question) if field.required}
        assert msgspec.convert(shown.ask(view.path, **needed), view.answer)
        ref = described["paths"][f"/api/{view.path}"]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        assert ref["$ref"].rpartition("/")[2] in described["components"]["schemas"]
