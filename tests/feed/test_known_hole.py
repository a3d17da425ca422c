"""An hour that the exchange never had, as after a halt: news once, and no trouble for the hours that come after."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barfeed.feed.record import Record
from process import Machine, lived_machine
from world import World, hours, ms

KLINES = "/fapi/v1/klines"
TARGET_MS = ms(2024, 2, 10, 13)
# The bars of 14:00 to 16:00 do not exist.
HALTED = """
[[fault]]
kind = "halt"
at = 2024-02-10T14:00:00
resume = 2024-02-10T17:00:00
"""


@pytest.fixture
def resumed(tmp_path: Path) -> Iterator[Machine]:
    """A feed that ends at 13:00, whose symbol was halted from 14:00 to 17:00; two hours after that."""
    with lived_machine(tmp_path, TARGET_MS, hours_later=5, faults=HALTED) as ready:
        yield ready


def test_what_the_hint_says_once_followed_keeps_the_feed_going(resumed: Machine) -> None:
    broken = resumed.feed("--catch-up")
    around = broken.err.rpartition("append what there is around it (the window is whole from 2024-03-11 23:00): ")[2]
    assert (broken.code, around.endswith("--from '2024-02-10 06:00'\n")) == (5, True)
    assert resumed.call([*shlex.split(around), "--source", "rest"]).code == 0
    # The window is not whole, for a month: the bars are appended all the same, and who can do with less is served.
    for _ in range(3):
        short = resumed.feed()
        assert (short.code, "whole from 2024-03-11 23:00" in short.err) == (1, True)
        assert "the exchange itself has no bar of 2024-02-10 14:00..2024-02-10 16:00 (3 bars)" in short.err
        resumed.clock.advance(hours(1))
    served = resumed.feed("--min-window-hours", "3")
    assert served.code == 0
    csv = (resumed.artifacts / "latest_for_inference.csv").read_text().splitlines()
    assert [line[11:16] for line in csv[1:]] == ["17:00", "18:00", "19:00", "20:00", "21:00"]


OUTAGE = """
[[fault]]
kind = "halt"
at = 2024-02-10T10:00:00
resume = 2024-02-10T11:00:00
"""


@pytest.fixture
def holed(lived: World) -> World:
    """A store of the hours to 13:00 as an exchange has them that never had that of 10:00; it is 15:00:30 there."""
    lived.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-10 10:00:00'")
    lived.clock.go_to(ms(2024, 2, 10, 15) + 30_000)
    lived.exchange.requests.clear()
    return lived


def ended(record: Record) -> tuple[str, int, int]:
    assert record.failure is None or "whole from 2024-03-11 17:00" in record.failure.message
    return record.status, record.appended, record.validated


@pytest.mark.parametrize("changes", [{}, {"catch_up": True}, {"inference_source": "db,api"}])
def test_a_hole_that_the_store_has_too_is_no_news(holed: World, changes: dict[str, Any]) -> None:
    # The five newest of the store are 08:00, 09:00, 11:00, 12:00 and 13:00: one further back than without a hole.
    assert ended(holed.run(OUTAGE, **changes)) == ("window_gap", 1, 5)
    record = holed.run(OUTAGE, window_bars_min=3, **changes)
    assert (record.exit_code, record.inference and record.inference.rows) == (0, 4)


def test_what_is_asked_for_it_is_asked_once(holed: World) -> None:
    assert holed.run(OUTAGE, window_bars_min=3).exit_code == 0
    # The pull, and whether the exchange has the hole.
    assert holed.exchange.requests == {"/fapi/v1/time": 1, KLINES: 2}


def test_the_exchanges_window_is_as_short_as_the_stores(holed: World) -> None:
    record = holed.run(OUTAGE, inference_source="api")
    assert (record.status, record.failure and record.failure.hint) == (
        "window_gap",
        (
            "no inference CSV was published, and there is nothing to fetch until then;"
            " a model that can do with less: --min-window-hours 4"
        ),
    )
    record = holed.run(OUTAGE, inference_source="api", window_bars_min=3)
    assert (record.exit_code, record.appended, record.inference and record.inference.rows) == (0, 1, 4)
    assert record.inference_from == "api"


OLD_OUTAGE = OUTAGE.replace("2024-02-10", "2024-02-01")


@pytest.mark.parametrize("store", ["none", "another file", "whole of it"])
def test_an_old_hole_in_the_exchanges_window_needs_no_store_to_be_known(started: World, store: str) -> None:
    if store == "another file":
        started.duckdb.write_bytes(b"nothing that DuckDB knows")
    if store == "whole of it":
        assert started.run(catch_up=True).status == "appended"
    record = started.run(OLD_OUTAGE, inference_source="api", window_bars_min=3)
    assert record.inference is not None
    assert (record.inference_from, record.inference.rows) == ("api", 9 * 24 + 3)


def test_a_hole_in_the_answer_alone_is_broken_however_old(holed: World) -> None:
    # The exchange has the bar when asked for it, and so has the store.
    hidden = OUTAGE + '[[fault]]\nkind = "hide"\nbar = 2024-02-01T10:00:00\nrequests = "1"\n'
    record = holed.run(hidden, inference_source="api", window_bars_min=3)
    assert (record.status, record.inference) == ("contract_broken", None)
    assert record.failure is not None
    assert [found.open_time_ms for found in record.failure.findings] == [ms(2024, 2, 1, 11)]


@pytest.mark.parametrize("stored", ["2024-02-10 10:00:00", None])
def test_a_hole_among_the_newest_is_news_where_the_store_has_the_bar_or_does_not_go_on_behind_it(
    lived: World, stored: str | None
) -> None:
    if stored is None:
        lived.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp >= '2024-02-10 10:00:00'")
    assert lived.run(OUTAGE, catch_up=True).status == "contract_broken"
