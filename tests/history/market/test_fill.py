"""A market filled from REST: whole, once, and each series by itself; by the decisions that one series has."""

from pathlib import Path

import pytest

from barfeed.domain.bars import Series
from barfeed.domain.errors import (
    BarfeedError,
    ContractBroken,
    ExchangeBlocked,
    ExchangeRefused,
    ExchangeUnavailable,
    SymbolGone,
    UsageError,
)
from barfeed.history.filling.report import difference_finding
from barfeed.store import revisions
from barfeed.store.duckdb import Store
from barfeed.store.incoming.staging import Difference
from history.backfill.backfill_world import History
from history.market.fill_world import BTC, ETH, HOURS, TAPES, WHOLE_WINTER, WINTER, YOUNG, FilledMarket, notes, of
from world import ms


def test_an_empty_store_is_filled_from_each_first_bar_to_the_target(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    report = market.run().report
    assert market.held() == market.closed()
    assert (report.exit_code, [each.report.holes for each in report.series]) == (0, [[], [], []])
    assert report.line().startswith(
        "series=3 source=rest appended=2363 compared=0 mismatches=0 holes=0 notes=0 interval=1h rows=2363 requests="
    )
    asked = market.klines()
    # The first bar of each, weight 1, then pages of the most bars for their weight.
    assert sorted({limit for _, _, limit in asked}) == [1, 499]
    # The oldest of all come first, as the table is written.
    begins_ms = [start_ms for _, start_ms, limit in asked if limit > 1]
    assert begins_ms == sorted(begins_ms)
    # A second call asks for no bar.
    assert market.run().report.series[0].report.appended == 0
    assert market.klines() == []


def test_a_span_before_a_listing_is_no_hole_and_is_not_asked_for(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    work = market.run(from_ms=ms(2024, 1, 25))
    assert (of(work, YOUNG).report.holes, of(work, YOUNG).report.appended) == ([], len(market.closed()[YOUNG]))
    assert [start_ms for symbol, start_ms, limit in market.klines() if symbol == YOUNG and limit > 1] == [
        ms(2024, 2, 1, 7)
    ]


def test_only_the_span_that_was_asked_for_is_filled(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    market.run(from_ms=ms(2024, 1, 1), to_ms=ms(2024, 1, 2))
    assert market.held() == dict.fromkeys((BTC, ETH), HOURS[4 * 24 : 5 * 24])


@pytest.mark.long
def test_symbols_are_chosen_as_for_a_pass(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    market.run(symbols="*USDT,!BTC*", from_ms=ms(2024, 2, 10))
    assert set(market.held()) == {ETH, YOUNG}
    with pytest.raises(UsageError, match=r"--symbols 'LUNA\*' fits none of the"):
        market.run(symbols="LUNA*")


@pytest.mark.long
def test_a_gap_is_filled_and_what_a_page_has_beside_it_is_compared(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    market.run()
    at = "TIMESTAMP '2024-01-10 {:02d}:00:00'"
    market.execute(
        f"DELETE FROM ohlcv_1h WHERE symbol = 'ETHUSDT' AND timestamp IN ({at.format(3)}, {at.format(6)})",
        f"UPDATE ohlcv_1h SET volume = 7.25 WHERE symbol = 'ETHUSDT' AND timestamp = {at.format(5)}",
    )
    work = market.run()
    report = of(work, ETH).report
    assert (report.appended, report.compared, work.report.exit_code) == (2, 2, 1)
    stored = next(bar for bar in HOURS if bar.open_time_ms == ms(2024, 1, 10, 5))
    assert report.mismatches == [difference_finding(Difference(stored._replace(volume=7.25), stored), "exchange")]
    said = "ETHUSDT 1h: 1 stored bars differ from the source; they stay as they are"
    assert [(each.symbol, each.message) for each in work.report.words] == [(ETH, said)]
    assert of(work, BTC).report.compared == 0


@pytest.mark.long
def test_what_a_symbol_never_had_is_told_as_a_hole_and_not_asked_for_again(tmp_path: Path) -> None:
    holed = [bar for bar in HOURS if not ms(2024, 1, 5, 2) <= bar.open_time_ms <= ms(2024, 1, 5, 4)]
    market = FilledMarket(tmp_path, {**TAPES, ETH: holed})
    assert [str(hole) for hole in of(market.run(), ETH).report.holes] == ["2024-01-05 02:00..2024-01-05 04:00 (3 bars)"]
    market.klines()
    again = of(market.run(), ETH).report
    assert (len(again.holes), again.missing, market.klines()) == (1, 0, [])


def test_a_newest_bar_that_is_late_is_asked_for_again(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    late = '[[fault]]\nkind = "hide"\nbar = 2024-02-10T13:00:00\nsymbol = "ETHUSDT"\n'
    work = market.run(fault=late)
    assert [hole.last_ms for hole in of(work, ETH).report.holes] == [ms(2024, 2, 10, 13)]
    assert of(market.run(), ETH).report.appended == 1
    assert market.held() == market.closed()


REFUSED = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "Illegal characters."\nsymbol = "ETHUSDT"\n'
GARBLED = '[[fault]]\nkind = "revise"\nbar = 2024-01-10T05:00:00\nlow = 999999.0\nsymbol = "ETHUSDT"\n'
SILENT = '[[fault]]\nkind = "reset"\nsymbol = "ETHUSDT"\n'


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (REFUSED, ExchangeRefused, "the exchange refused: HTTP 400 -1100 'Illegal characters.'"),
        (GARBLED, ContractBroken, "ETHUSDT 1h: 1 rule broken by the exchange's answer; first: 2024-01-10 05:00"),
        (SILENT, ExchangeUnavailable, "did not answer /fapi/v1/klines in 100 s"),
    ],
)
def test_one_series_trouble_touches_no_other(tmp_path: Path, fault: str, kind: type[BarfeedError], says: str) -> None:
    market = FilledMarket(tmp_path)
    work = market.run(fault=fault)
    failure = of(work, ETH).failure
    assert isinstance(failure, kind)
    assert says in str(failure)
    assert work.report.exit_code == kind.exit_code
    assert work.report.line().startswith(f"failed={failure.status} exit={failure.exit_code} series=3 ")
    held = market.held()
    assert {symbol: held[symbol] for symbol in (BTC, YOUNG)} == {
        symbol: market.closed()[symbol] for symbol in (BTC, YOUNG)
    }
    # Once it is over, the same command does the rest.
    market.run()
    assert market.held() == market.closed()


@pytest.mark.long
def test_what_breaks_a_rule_is_said_as_of_one_series(tmp_path: Path) -> None:
    fault = GARBLED.replace('symbol = "ETHUSDT"', 'symbol = "BTCUSDT"')
    alone = History(tmp_path / "alone")
    alone.duckdb.parent.mkdir()
    with pytest.raises(ContractBroken) as said:
        alone.run(fault=GARBLED.partition("symbol")[0])
    failure = of(FilledMarket(tmp_path).run(fault=fault), BTC).failure
    assert (str(failure), failure and failure.findings) == (str(said.value), said.value.findings)


@pytest.mark.long
def test_a_block_is_every_seriess_trouble_and_what_came_is_stored(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    blocked = '[[fault]]\nkind = "status"\nstatus = 418\nrequests = "9-"\n'
    work = market.backfill(fault=blocked)
    with pytest.raises(ExchangeBlocked):
        work.run()
    assert 0 < sum(map(len, market.held().values())) < 2363
    assert market.refused == 1
    market.run()
    assert market.held() == market.closed()


def test_an_exchange_that_is_away_is_not_asked_for_each_series_in_turn(tmp_path: Path) -> None:
    symbols = {f"S{number:03d}USDT": HOURS[-40:] for number in range(60)}
    market = FilledMarket(tmp_path, symbols)
    work = market.backfill(fault='[[fault]]\nkind = "reset"\npath = "klines"\n')
    with pytest.raises(ExchangeUnavailable, match="did not answer /fapi/v1/klines"):
        work.run()
    assert len({symbol for symbol, _, _ in market.klines()}) < 40


@pytest.mark.long
@pytest.mark.parametrize("source", ["rest", "archive"])
def test_the_exchange_never_counts_more_than_the_budget(tmp_path: Path, source: str) -> None:
    market = FilledMarket(tmp_path, WHOLE_WINTER, weight_limit=40)
    market.run(source, weight_budget=10)
    assert market.held() == market.closed()
    assert market.refused == 0
    assert max(market.weights.values()) <= 10
    if source == "rest":
        # It had to wait for the next minute, and for some more.
        assert len(market.weights) > 2


def test_half_of_what_the_exchange_allows_is_the_budget(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path, weight_limit=30)
    market.run()
    assert max(market.weights.values()) == 15


SETTLED = '[[fault]]\nkind = "settle"\nat = 2024-02-10T10:30:00\nsymbol = "ETHUSDT"\n'


@pytest.mark.long
@pytest.mark.parametrize("source", ["rest", "archive"])
def test_what_the_exchange_shows_after_a_settlement_is_not_asked_for(tmp_path: Path, source: str) -> None:
    market = FilledMarket(tmp_path)
    work = market.run(source, SETTLED, symbols=f"all,{ETH}")
    assert market.held()[ETH][-1].open_time_ms == ms(2024, 2, 10, 10)
    assert (work.report.exit_code, of(work, ETH).report.holes) == (0, [])
    end = "ETHUSDT 1h: settled since 2024-02-10 10:30 (SETTLING): its last bar is 2024-02-10 10:00"
    assert notes(work, ETH) == [end]


DELISTED = '[[fault]]\nkind = "delist"\nat = 2024-02-01T00:00:00\nsymbol = "ETHUSDT"\n'


@pytest.mark.long
def test_a_delisted_symbol_that_is_named_is_refused_with_what_helps(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    work = market.run(fault=DELISTED, symbols=f"{BTC},{ETH}")
    failure = of(work, ETH).failure
    assert isinstance(failure, SymbolGone)
    assert "ETHUSDT 1h: not in the exchange's list of symbols" in str(failure)
    assert market.held()[BTC] == market.closed()[BTC]


@pytest.mark.long
def test_a_delisted_symbol_that_is_stored_and_not_named_is_nobodys_trouble(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    market.run(to_ms=ms(2024, 1, 20))
    work = market.run(fault=DELISTED)
    assert (work.report.exit_code, of(work, ETH).is_quiet, of(work, ETH).report.holes) == (0, True, [])
    assert "not in the exchange's list of symbols" in notes(work, ETH)[0]


@pytest.mark.long
def test_of_a_symbol_that_ended_nobody_tells_when_the_archive_is_taken_up_to_its_last_trade(tmp_path: Path) -> None:
    last = next(at for at, bar in enumerate(WINTER) if bar.open_time_ms == ms(2024, 1, 28, 9))
    close = WINTER[last].close
    still = [bar._replace(open=close, high=close, low=close, close=close, volume=0.0) for bar in WINTER[last + 1 :]]
    market = FilledMarket(tmp_path, {BTC: WINTER}, {BTC: WINTER, "GONEUSDT": [*WINTER[: last + 1], *still]})
    work = market.run("archive", symbols="BTCUSDT,GONEUSDT", from_ms=ms(2023, 12, 1), to_ms=ms(2024, 2, 1))
    gone = of(work, "GONEUSDT")
    # Its flat hours are asked of REST, which refuses the symbol: what the archive says of its trades is stored.
    assert [bar.open_time_ms for bar in market.held()["GONEUSDT"]][-1] == WINTER[last].open_time_ms
    assert gone.failure is not None


def test_a_series_with_a_table_of_its_own_is_left_to_it(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    market.execute(
        "CREATE TABLE ohlcv_ethusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE,"
        " close DOUBLE, volume DOUBLE, created_at TIMESTAMP)"
    )
    work = market.run()
    assert work.report.exit_code == 4
    assert "the store has a table of its own for it, ohlcv_ethusdt_1h" in str(of(work, ETH).failure)
    assert ETH not in market.held()
    assert ETH not in {symbol for symbol, _, _ in market.klines()}


def test_a_symbol_whose_first_bar_has_not_closed_is_nothing_to_fill(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    pending = '[[fault]]\nkind = "pending"\nat = 2024-02-11T00:00:00\nsymbol = "ETHUSDT"\n'
    work = market.run(fault=pending, symbols=f"all,{ETH}")
    assert (work.report.exit_code, of(work, ETH).report.wanted) == (0, None)
    assert ETH not in market.held()


def test_hours_without_a_trade_are_told_as_of_one_series(tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "flat"\nbar = 2024-01-12T14:00:00\nuntil_bar = 2024-01-12T18:00:00\nsymbol = "ETHUSDT"\n'
    said = "nothing was traded in 2024-01-12 14:00..2024-01-12 18:00 (5 bars): an outage, or a market after its end"
    assert notes(FilledMarket(tmp_path).run(fault=fault), ETH) == [f"ETHUSDT 1h: {said}"]


# What takers bought, in quotes as it stands in the row.
DEARER = '\\"99999999999.5\\"'


@pytest.mark.long
def test_what_was_let_pass_passes(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)
    fault = f'[[fault]]\nkind = "text"\nbar = 2024-01-10T05:00:00\ncolumn = 9\nvalue = "{DEARER}"\nsymbol = "ETHUSDT"\n'
    refused = of(market.run(fault=fault), ETH).failure
    assert "taker_share" in str(refused)
    bar = next(bar for bar in HOURS if bar.open_time_ms == ms(2024, 1, 10, 5))
    series, store = Series.of(ETH, "1h"), Store(market.duckdb, market.clock, 0.0)
    with store.session(write=True) as connection:
        revisions.note_let_pass(connection, series, bar, revisions.Why(market.now_ms, "so it is", "let pass 1"))
    assert of(market.run(fault=fault), ETH).failure is None
    assert market.held()[ETH] == market.closed()[ETH]


@pytest.mark.long
def test_ctrl_c_stores_what_had_come(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path)

    class Impatient:
        bars = 0

        def start(self, bars: int) -> None: ...

        def told(self, note: object) -> None: ...

        def slow(self, symbols: object) -> None: ...

        def reached(self, bars: int, at_ms: int, used_weight: int) -> None:  # noqa: ARG002 - the protocol's
            self.bars += bars
            if self.bars > 1000:
                raise KeyboardInterrupt

    work = market.backfill()
    work.watch(Impatient())
    with pytest.raises(KeyboardInterrupt):
        work.run()
    assert 1000 < sum(map(len, market.held().values())) < 3000
    assert market.held()[BTC][:2] == HOURS[:2]
