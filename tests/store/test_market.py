"""The tables of a market in a real DuckDB file: bars of every symbol, what was listed when, what the exchange lacks."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing
from barfeed.domain.market.membership import Seen
from barfeed.machine.clock import SystemClock
from barfeed.store import market
from barfeed.store.duckdb import Store
from barfeed.store.market import MarketTable, Window
from storage import opened
from world import hours, made_up_bars, ms

END_MS = ms(2026, 3, 10, 13)
BTC, ETH = made_up_bars(END_MS, 10), made_up_bars(END_MS, 4, "ETHUSDT")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "market.duckdb", SystemClock(), 5.0)


def writing(store: Store) -> AbstractContextManager[MarketTable]:
    return market.writing(store, Interval.ONE_HOUR)


def reading(store: Store) -> AbstractContextManager[MarketTable]:
    return market.reading(store, Interval.ONE_HOUR)


@pytest.fixture
def filled(store: Store) -> Store:
    with writing(store) as table:
        assert table.append({"BTCUSDT": BTC, "ETHUSDT": ETH}) == {"BTCUSDT": 10, "ETHUSDT": 4}
    return store


def rows(store: Store, query: str) -> list[tuple[object, ...]]:
    with opened(store.path, read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_table_is_as_the_contract_has_it(filled: Store) -> None:
    columns = rows(filled, "SELECT column_name, column_type, key FROM (DESCRIBE ohlcv_1h)")
    assert columns == [
        ("symbol", "VARCHAR", "PRI"),
        ("timestamp", "TIMESTAMP", "PRI"),
        *((name, "DOUBLE", None) for name in ("open", "high", "low", "close", "volume")),
        ("created_at", "TIMESTAMP", None),
    ]
    # UTC, whatever the machine's zone.
    assert rows(
        filled, "SELECT count(*) FROM ohlcv_1h WHERE abs(epoch(now() AT TIME ZONE 'UTC' - created_at)) < 600"
    ) == [(14,)]


def test_what_is_appended_reads_back_to_the_bit_and_never_twice(filled: Store) -> None:
    changed = [bar._replace(close=1.0) for bar in ETH]
    more = made_up_bars(END_MS + hours(1), 1, "ETHUSDT")
    with writing(filled) as table:
        assert table.append({"ETHUSDT": [*changed, *more], "BTCUSDT": []}) == {"ETHUSDT": 1, "BTCUSDT": 0}
    with reading(filled) as table:
        assert table.bars({"BTCUSDT": 0, "ETHUSDT": 0}) == {"BTCUSDT": list(BTC), "ETHUSDT": [*ETH, *more]}


def test_of_a_pass_that_breaks_off_nothing_is_kept(filled: Store) -> None:
    more = made_up_bars(END_MS + hours(1), 1, "ETHUSDT")

    def break_off() -> None:
        with writing(filled) as table:
            assert table.append({"ETHUSDT": more}) == {"ETHUSDT": 1}
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    with reading(filled) as table:
        assert table.bars({"ETHUSDT": 0}) == {"ETHUSDT": list(ETH)}


def test_each_symbol_is_read_from_its_own_moment_on(filled: Store) -> None:
    with reading(filled) as table:
        read = table.bars({"BTCUSDT": END_MS - hours(1), "ETHUSDT": END_MS - hours(99), "NEVERUSDT": 0})
        assert read == {"BTCUSDT": list(BTC[-2:]), "ETHUSDT": list(ETH)}
        assert table.bars({}) == {}


def test_the_newest_of_each_is_found_near_and_far(filled: Store) -> None:
    with writing(filled) as table:
        table.append({"OLDUSDT": made_up_bars(END_MS - hours(5000), 3, "OLDUSDT")})
    with reading(filled) as table:
        assert table.newest(END_MS - hours(100)) == {"BTCUSDT": END_MS, "ETHUSDT": END_MS}
        assert table.newest_of(["OLDUSDT", "NEVERUSDT"]) == {"OLDUSDT": END_MS - hours(5000)}
        assert table.newest_of([]) == {}


def test_a_null_is_read_as_no_number(filled: Store) -> None:
    with filled.session(write=True) as connection:
        connection.execute("UPDATE store.main.ohlcv_1h SET close = NULL WHERE symbol = 'ETHUSDT'")
    with reading(filled) as table:
        [*_, last] = table.bars({"ETHUSDT": 0})["ETHUSDT"]
        assert last.close != last.close
        assert table.windows(0, END_MS)["ETHUSDT"] == Window(4, is_sound=False)


@pytest.mark.parametrize(
    ("change", "window"),
    [
        ("SELECT 1", Window(10, is_sound=True)),
        ("DELETE FROM {} WHERE timestamp = '2026-03-10 09:00:00'", Window(9, is_sound=True)),
        (
            "UPDATE {} SET timestamp = timestamp + INTERVAL 1 MINUTE WHERE timestamp = '2026-03-10 09:00:00'",
            Window(9, is_sound=True),
        ),
        ("UPDATE {} SET volume = 'Infinity' WHERE timestamp = '2026-03-10 09:00:00'", Window(10, is_sound=False)),
        ("UPDATE {} SET low = 0 WHERE timestamp = '2026-03-10 09:00:00'", Window(10, is_sound=False)),
        ("UPDATE {} SET open = -1 WHERE timestamp = '2026-03-10 09:00:00'", Window(10, is_sound=False)),
    ],
)
def test_what_makes_a_window_whole_is_counted(filled: Store, change: str, window: Window) -> None:
    with filled.session(write=True) as connection:
        connection.execute(change.format("store.main.ohlcv_1h"))
    with reading(filled) as table:
        assert table.windows(BTC[0].open_time_ms, END_MS)["BTCUSDT"] == window


def test_the_windows_are_one_sorted_file_that_anybody_reads(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    with reading(filled) as table:
        assert (
            table.write_windows(
                path, {"ETHUSDT": ETH[1].open_time_ms, "BTCUSDT": BTC[8].open_time_ms}, END_MS - hours(1)
            )
            == 3
        )
        assert table.end_of(path) == END_MS - hours(1)
        assert table.end_of(tmp_path / "none.parquet") is None
    read = duckdb.execute(
        "SELECT symbol, epoch_ms(timestamp), * EXCLUDE (symbol, timestamp) FROM read_parquet(?)", [str(path)]
    ).fetchall()
    assert read == [("BTCUSDT", *BTC[8]), ("ETHUSDT", *ETH[1]), ("ETHUSDT", *ETH[2])]


LISTED = Listing("币安人生USDT", "TRADING", "PERPETUAL", ms(2026, 1, 1), 4_133_404_800_000, "USDT", 0.00001)
NEVER_TOLD = Listing("AUSDT", "", "", None, None)


def test_membership_is_noted_and_read_back(store: Store) -> None:
    settling = LISTED._replace(status="SETTLING", delivery_ms=END_MS)
    with writing(store) as table:
        assert table.membership() == []
        table.note_membership([], 1)
        table.note_membership([LISTED, NEVER_TOLD], END_MS)
        table.note_membership([settling], END_MS + hours(1))
    with reading(store) as table:
        assert table.membership() == [Seen(LISTED, END_MS), Seen(NEVER_TOLD, END_MS), Seen(settling, END_MS + hours(1))]
    assert rows(store, "SELECT symbol, status, contract_type, quote, tick FROM symbols LIMIT 1") == [
        ("币安人生USDT", "TRADING", "PERPETUAL", "USDT", 0.00001)
    ]


def test_what_the_exchange_lacks_is_remembered_by_interval(store: Store) -> None:
    hole = Gap(END_MS - hours(3), END_MS - hours(2), 2)
    with writing(store) as table:
        assert table.exchange_gaps(["BTCUSDT"]) == {}
        table.note_exchange_gaps([], END_MS)
        table.note_exchange_gaps([("BTCUSDT", hole), ("ETHUSDT", hole)], END_MS)
    with reading(store) as table:
        assert table.exchange_gaps(["BTCUSDT", "NEVERUSDT"]) == {"BTCUSDT": [hole]}
    with market.reading(store, Interval.FOUR_HOURS) as other:
        assert other.exchange_gaps(["BTCUSDT"]) == {}


def test_where_there_is_no_file_there_is_nothing_and_none_is_made(store: Store) -> None:
    with reading(store) as table:
        assert (table.exists, table.newest(0), table.membership(), table.exchange_gaps(["A"])) == (False, {}, [], {})
        assert table.windows(0, END_MS) == {}
    assert not store.path.exists()


def test_what_waits_for_a_file_that_is_not_there_yet_is_seen_all_the_same(store: Store) -> None:
    with market.reading(store, Interval.ONE_HOUR, {"BTCUSDT": BTC}) as table:
        assert table.bars({"BTCUSDT": 0}) == {"BTCUSDT": list(BTC)}
        assert table.windows(0, END_MS) == {"BTCUSDT": Window(10, is_sound=True)}
    assert not store.path.exists()


VALUES = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE ohlcv_1h (symbol VARCHAR, timestamp TIMESTAMP)", "open is missing"),
        (
            f"CREATE TABLE ohlcv_1h (symbol VARCHAR, timestamp TIMESTAMP, {VALUES})",
            "it has no primary key (symbol, timestamp)",
        ),
        (
            f"CREATE TABLE ohlcv_1h (symbol VARCHAR, timestamp TIMESTAMPTZ, {VALUES}, PRIMARY KEY (symbol, timestamp))",
            "timestamp is TIMESTAMP WITH TIME ZONE",
        ),
    ],
)
def test_a_table_of_that_name_that_is_anothers_is_told(store: Store, statement: str, said: str) -> None:
    with opened(store.path) as connection:
        connection.execute(statement)
    with pytest.raises(StoreUnusable, match="table ohlcv_1h is none of barfeed's") as told, reading(store):
        pass
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("name", "ask"),
    [("symbols", MarketTable.membership), ("exchange_gaps", lambda table: table.exchange_gaps(["BTCUSDT"]))],
)
def test_a_users_own_table_under_another_name_of_ours_is_told(
    filled: Store, name: str, ask: Callable[[MarketTable], object]
) -> None:
    with opened(filled.path) as connection:
        connection.execute(f"CREATE TABLE {name} (mine INTEGER)")
    with reading(filled) as table, pytest.raises(StoreUnusable, match=f"table {name} is none of barfeed's"):
        ask(table)
