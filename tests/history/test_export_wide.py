"""`barfeed export --wide` and `feed.wide`: the same rows, of one series and of many, now and as they once were."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest

import barfeed
from barfeed.cli.commands.history.export import export
from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.kinds.tables import writing
from commands import Ended, call, execute, make_store
from market_store import BARS, LAST_MS, SYMBOLS, make_market
from world import hours, made_up_bars

ONE_HOUR = Interval.ONE_HOUR
FIRST_MS = LAST_MS - hours(799)
FED = tuple(KINDS[name] for name in ("klines", "funding", "open_interest"))
NAMES = ["quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume", "funding_rate", "funding_mark_price",
         "funding_age_sec", "open_interest", "open_interest_value", "open_interest_age_sec"]  # fmt: skip


def rows(kind: Kind, symbol: str) -> list[Row]:
    """One a bar; of funding every eighth, some ms late. Each tells its hour."""
    step = 8 if kind.name == "funding" else 1
    opens_ms = [FIRST_MS + hours(hour) for hour in range(0, 800, step)]
    at_ms = [each + (7 if kind.name == "funding" else 0) for each in opens_ms]
    seed = SYMBOLS.index(symbol) / 8
    values = [2 if each.is_count else 0.5 for each in kind.columns[1:]]
    return [Row(each, kind.known_at_ms(each, ONE_HOUR), (seed + each // hours(1), *values)) for each in at_ms]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_market(tmp_path_factory.mktemp("wide") / "ohlcv.duckdb")
    for kind in FED:
        with writing(Store(path, SystemClock(), 5.0), kind, ONE_HOUR) as table:
            # What is not of every symbol is empty beside the others.
            fed = SYMBOLS[:-1] if kind.name == "open_interest" else SYMBOLS
            table.append({symbol: rows(kind, symbol) for symbol in fed})
    execute(path, *(f"UPDATE {kind.table(ONE_HOUR)} SET created_at = known_at + INTERVAL 1 MINUTE" for kind in FED))
    return path


def exported(store: Path, *words: object) -> Ended:
    return call(export, "--duckdb", store, "--wide", *words)


def read(path: Path, what: str = "*") -> list[tuple[Any, ...]]:
    return duckdb.execute(f"SELECT {what} FROM '{path}'").fetchall()


@pytest.mark.parametrize("name", ["wide.parquet", "wide.csv", "wide.csv.gz"])
def test_each_bar_has_what_was_known_when_it_closed_beside_it(made: Path, tmp_path: Path, name: str) -> None:
    done = exported(made, tmp_path / name, "--symbols", "all", "--from", "2026-03-10 06:00")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("exported=40 series=5 interval=1h span=2026-03-10 06:00..2026-03-10 13:00 gaps=0 ")
    told = read(tmp_path / name)
    header = [column for column, *_ in duckdb.execute(f"DESCRIBE FROM '{tmp_path / name}'").fetchall()]
    assert header == ["symbol", "timestamp", "open", "high", "low", "close", "volume", *NAMES]
    table = {(symbol, f"{at:%H:%M}"): row for symbol, at, *row in told}
    # 08:00 closes at 09:00: the open interest of 08:00 is known five minutes later; funded was at 06:00.
    at_eight = table["BTCUSDT", "08:00"]
    hour = (LAST_MS - hours(5)) // hours(1)
    assert at_eight[:5] == list(BARS["BTCUSDT"][-6].values)
    assert at_eight[5:9] == [hour + 0.25, 2, 0.5, 0.5]
    assert at_eight[9:12] == [hour - 2 + 0.25, 0.5, 10799.993]
    assert at_eight[12:] == [hour - 1 + 0.25, 0.5, 3600.0]
    assert table["币安人生USDT", "08:00"][12:] == [None] * 3


@pytest.mark.long
def test_of_one_series_and_in_python_it_is_the_same(made: Path, tmp_path: Path) -> None:
    span = ("--from", "2026-03-01", "--to", "2026-03-05")
    assert exported(made, tmp_path / "all.parquet", "--symbols", "BTC*", *span).code == 0
    assert exported(made, tmp_path / "one.parquet", "--symbol", "BTCUSDT", *span).code == 0
    one = read(tmp_path / "one.parquet")
    assert one == read(tmp_path / "all.parquet", "* EXCLUDE (symbol)")[96:]
    feed = barfeed.open(made)
    table = feed.wide("BTCUSDT", start="2026-03-01", end="2026-03-05")
    assert [tuple(each) for each in table] == one
    assert table.columns == ["timestamp", "open", "high", "low", "close", "volume", *NAMES]
    both = feed.wide(["BTCUSDC", "BTCUSDT"], start="2026-03-01", end="2026-03-05", kinds=["open_interest"])
    assert both.columns[-3:] == NAMES[-3:]
    assert len(both.columns) == 10
    assert both.to_polars()["open_interest_age_sec"].dtype == polars.Float64
    assert both.to_numpy()["open_interest"].tolist() == [each[-3] for each in read(tmp_path / "all.parquet")]
    assert next(iter(both)).open_interest_age_sec == 3600.0


def test_of_each_step_there_is_its_newest_bar(made: Path) -> None:
    newest = {(1, 23), (2, 23), (3, 23), (4, 23), (5, 5)}
    both, feed = ["BTCUSDC", "BTCUSDT"], barfeed.open(made)
    every = list(feed.wide(both, start="2026-03-01", end="2026-03-05 06:00"))
    days = list(feed.wide(both, start="2026-03-01", end="2026-03-05 06:00", every_ms=hours(24)))
    assert days == [each for each in every if (each.timestamp.day, each.timestamp.hour) in newest]
    assert len(days) == 10
    with pytest.raises(barfeed.UsageError, match="every_ms 5400000 is not a multiple of 1h"):
        feed.wide(both, every_ms=hours(1) * 3 // 2)


@pytest.mark.long
def test_as_of_a_moment_there_is_only_what_was_stored_by_then(made: Path, tmp_path: Path) -> None:
    # As who fills in has it: known long before it was there.
    late = Path(shutil.copy(made, tmp_path / "late.duckdb"))
    execute(late, "UPDATE open_interest_1h SET created_at = '2026-03-10 08:03' WHERE timestamp = '2026-03-10 06:00'")
    for moment, age_sec in (("08:02", 7200.0), ("08:04", 3600.0)):
        span = ("--as-of", f"2026-03-10 {moment}", "--from", "2026-03-10")
        assert exported(late, tmp_path / "then.parquet", "--symbol", "ETHUSDT", *span).code == 0
        *_, newest = read(tmp_path / "then.parquet", "strftime(timestamp, '%H:%M'), open_interest_age_sec")
        assert newest == ("07:00", age_sec)
        then = barfeed.open(late).wide("ETHUSDT", as_of=f"2026-03-10 {moment}")
        assert list(then)[-1].open_interest_age_sec == age_sec


def test_kinds_are_those_that_are_named(made: Path, tmp_path: Path) -> None:
    done = exported(made, tmp_path / "x.csv", "--symbol", "BTCUSDT", "--kinds", "taker_volume,funding")
    assert done.code == 0
    assert done.err == "taker_volume: nothing is stored of it at 1h, and its columns are empty\n"
    header = (tmp_path / "x.csv").read_text().splitlines()[0]
    assert header.endswith(
        ",volume,funding_rate,funding_mark_price,funding_age_sec,taker_volume_ratio,taker_volume_buy_volume,"
        "taker_volume_sell_volume,taker_volume_age_sec"
    )
    unknown = exported(made, tmp_path / "y.csv", "--kinds", "vibes")
    assert (unknown.code, unknown.err) == (2, "--kinds: 'vibes' is no kind of series")
    alone = call(export, "--duckdb", made, tmp_path / "y.csv", "--kinds", "funding")
    assert (alone.code, alone.err) == (2, "--kinds goes with --wide")
    with pytest.raises(barfeed.UsageError, match="kinds: 'vibes' is no kind of series"):
        barfeed.open(made).wide("BTCUSDT", kinds=["vibes"])
    one = barfeed.open(made).wide("BTCUSDT", kinds="funding")
    assert one.columns[-3:] == ["funding_rate", "funding_mark_price", "funding_age_sec"]


def test_plain_decimals_leave_what_is_not_known_empty(made: Path, tmp_path: Path) -> None:
    words = ("--symbols", "币安人生USDT", "--plain-decimals", "--from", "2026-03-10 13:00")
    assert exported(made, tmp_path / "plain.csv", *words).code == 0
    assert (tmp_path / "plain.csv").read_text().splitlines()[1].endswith(",,,")


def test_a_store_of_bars_alone_has_no_wide_table(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", made_up_bars(LAST_MS, 5))
    done = exported(store, tmp_path / "wide.csv")
    assert (done.code, done.err) == (1, f"{store} holds no kind of series beside the bars of 1h")
    assert done.hint == "feed them with barfeed run --kinds; which there are: docs/kinds.md"
    assert not (tmp_path / "wide.csv").exists()
    with pytest.raises(barfeed.StoreEmpty, match="holds no kind of series beside"):
        barfeed.open(store).wide("BTCUSDT")
