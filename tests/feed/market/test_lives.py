"""What becomes of a market's symbols: they are listed, halted, settled, come back; each is told once."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.domain.market.selection import Selection
from barfeed.feed.market.record import MarketRecord
from barfeed.replay.tapes.tape import Tape
from market_world import MarketWorld
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "FTMUSDT")


def taped(symbol: str, bars: int = 300, end_ms: int = TARGET_MS + hours(90)) -> tuple[Bar, ...]:
    return made_up_bars(end_ms, bars, symbol)


def market_of(folder: Path, *young: tuple[str, int]) -> MarketWorld:
    """Three old symbols, and young ones whose first bar is so many hours after the first target."""
    tapes = [Tape.of(Series.of(symbol, "1h"), taped(symbol)) for symbol in SYMBOLS]
    tapes += [Tape.of(Series.of(symbol, "1h"), taped(symbol, 91 - first)) for symbol, first in young]
    return MarketWorld(folder, tapes, TARGET_MS + hours(1) + 30_000)


@pytest.fixture
def lived(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MarketWorld:
    """A store of 48 hours up to the first target."""
    market = market_of(tmp_path)
    market.live_first_hour(tmp_path_factory.getbasetemp() / "market_lives")
    return market


def at(market: MarketWorld, hour: int, fault: str = "", **changes: Any) -> MarketRecord:
    """The pass half a minute after the bar that opens so many hours after the first target has closed."""
    market.clock.go_to(TARGET_MS + hours(hour + 1) + 30_000)
    market.exchange.requests.clear()
    return market.run_pass(fault, 20.0, **changes)


def fault(kind: str, *lines: str, symbol: str = "FTMUSDT") -> str:
    return "\n".join(["[[fault]]", f'kind = "{kind}"', f'symbol = "{symbol}"', *lines, ""])


def told(record: MarketRecord) -> list[str]:
    return [str(each) for each in record.events]


def test_a_new_listing_begins_with_its_first_hour(tmp_path: Path) -> None:
    market = market_of(tmp_path, ("NEWUSDT", 3))
    assert at(market, 0, catch_up=True).exit_code == 0
    assert "NEWUSDT" not in market.stored()
    for hour in (1, 2):
        # Listed, but its first bar has not closed.
        assert "NEWUSDT" not in at(market, hour).outcomes
    record = at(market, 3)
    assert (record.exit_code, record.outcomes["NEWUSDT"].appended) == (0, 1)
    assert market.stored()["NEWUSDT"] == list(taped("NEWUSDT", 88))[:1]
    assert record.outcomes["NEWUSDT"].short == (
        "the inference window has 1 of 48 bars, from 2026-03-10 16:00 on; whole from 2026-03-12 16:00"
    )
    # It is no trouble, and there is no window of it yet.
    assert (record.exit_code, "NEWUSDT" in market.windows()) == (0, False)
    for hour in (4, 5):
        assert at(market, hour).exit_code == 0
        # What was seen once is not asked again: a question a series.
        assert market.exchange.requests["/fapi/v1/klines"] == 4
    assert at(market, 49, catch_up=True).exit_code == 0
    assert "NEWUSDT" not in market.windows()
    # At 2026-03-12 16:00, as was told.
    at(market, 50)
    assert market.windows()["NEWUSDT"] == list(taped("NEWUSDT", 88))[:48]


def test_who_can_do_with_less_gets_a_young_window(tmp_path: Path) -> None:
    market = market_of(tmp_path, ("NEWUSDT", -5))
    at(market, 0, catch_up=True, window_bars_min=7)
    assert "NEWUSDT" not in market.windows()
    at(market, 1, window_bars_min=7)
    assert market.windows()["NEWUSDT"] == list(taped("NEWUSDT", 96))[:7]
    assert len(market.windows()["BTCUSDT"]) == 48


SETTLED = fault("settle", "at = 2026-03-10T16:00:00", "from = 2026-03-10T14:30:00")


@pytest.mark.long
def test_a_settlement_is_told_once_and_no_bar_that_opens_after_it_is_kept(lived: MarketWorld) -> None:
    record = at(lived, 1, SETTLED)
    assert told(record) == ["FTMUSDT: is settled at 2026-03-10 16:00"]
    record = at(lived, 2, SETTLED)
    # Its last bar is the one that opened at 15:00.
    assert told(record) == ["FTMUSDT: TRADING became SETTLING"]
    assert (record.exit_code, record.outcomes["FTMUSDT"].appended) == (0, 1)
    for hour in (3, 4, 5):
        record = at(lived, hour, SETTLED)
        assert (told(record), record.exit_code, sorted(record.outcomes)) == ([], 0, ["BTCUSDT", "ETHUSDT"])
        assert lived.exchange.requests["/fapi/v1/klines"] == 2
    # The exchange goes on showing flat bars; none of them is stored.
    assert lived.stored()["FTMUSDT"][-1] == taped("FTMUSDT")[-1 - 88]
    assert "FTMUSDT" not in lived.windows()


@pytest.mark.long
def test_the_last_bar_of_what_was_settled_meanwhile_is_still_fetched(lived: MarketWorld) -> None:
    record = at(lived, 4, SETTLED, catch_up=True)
    assert (record.exit_code, record.outcomes["FTMUSDT"].appended) == (0, 2)
    assert [each.open_time_ms for each in lived.stored()["FTMUSDT"]][-1] == TARGET_MS + hours(2)
    assert "FTMUSDT" not in lived.windows()
    assert "FTMUSDT" not in at(lived, 5, SETTLED).outcomes


HALTED = fault("halt", "at = 2026-03-10T14:00:00", "resume = 2026-03-10T17:00:00")


@pytest.mark.long
def test_a_halt_is_told_and_what_comes_after_it_goes_on_by_itself(lived: MarketWorld) -> None:
    record = at(lived, 1, HALTED)
    assert told(record) == ["FTMUSDT: TRADING became PENDING_TRADING"]
    assert (record.exit_code, record.outcomes["FTMUSDT"].status) == (0, "quiet")
    assert "halted (PENDING_TRADING)" in record.outcomes["FTMUSDT"].quiet
    assert "FTMUSDT" not in lived.windows()
    assert told(at(lived, 2, HALTED)) == []
    # It trades again, but not since the target.
    record = at(lived, 3, HALTED)
    assert told(record) == ["FTMUSDT: PENDING_TRADING became TRADING"]
    assert (record.exit_code, record.outcomes["FTMUSDT"].status) == (0, "quiet")
    record = at(lived, 4, HALTED, catch_up=True)
    # The hours without trade are no news: it was seen not to trade.
    assert (record.exit_code, record.outcomes["FTMUSDT"].appended) == (0, 1)
    assert record.outcomes["FTMUSDT"].short.startswith("the inference window has 1 of 48 bars, from 2026-03-10 17:00")
    assert at(lived, 5, HALTED).exit_code == 0


def test_who_named_it_is_told_of_a_halt_every_hour(lived: MarketWorld) -> None:
    for hour in (1, 2):
        record = at(lived, hour, HALTED, selection=Selection.of("BTCUSDT,FTMUSDT"))
        assert (record.status, record.exit_code) == ("symbol_not_trading", 3)
        assert record.outcomes["BTCUSDT"].appended == 1


def test_a_hole_that_nobody_saw_the_reason_of_is_refused(lived: MarketWorld) -> None:
    record = at(lived, 4, HALTED, catch_up=True)
    assert record.outcomes["FTMUSDT"].status == "contract_broken"
    assert [each.appended for each in record.outcomes.values()] == [4, 4, 0]


def test_what_was_delisted_is_told_once_and_is_no_trouble(lived: MarketWorld) -> None:
    delisted = fault("delist", "at = 2026-03-10T15:30:00")
    record = at(lived, 1, delisted)
    assert record.exit_code == 0
    record = at(lived, 2, delisted)
    assert told(record) == ["FTMUSDT: TRADING became UNLISTED"]
    assert (record.exit_code, record.outcomes["FTMUSDT"].status) == (0, "quiet")
    assert told(at(lived, 3, delisted)) == []


def test_membership_of_any_moment_is_in_the_store(lived: MarketWorld) -> None:
    for hour in (1, 2, 3):
        at(lived, hour, SETTLED)
    query = "SELECT status, hour(seen_at) FROM symbols WHERE symbol = 'FTMUSDT' ORDER BY seen_at"
    with duckdb.connect(lived.duckdb, read_only=True) as connection:
        rows = connection.execute(query).fetchall()
    assert rows == [("TRADING", 14), ("TRADING", 15), ("SETTLING", 16)]
