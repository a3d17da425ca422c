"""Kinds out of a store of another layout: a table a kind, each with a `snapshot_time`, as its owner filled it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from history.kinds.kinds_world import DAY_MS, NOW_MS, Held, tapes, told
from process import BARFEED, Machine, Ran
from storage import opened

FIRST_MS = NOW_MS - NOW_MS % DAY_MS - 3 * DAY_MS
LAST_MS = FIRST_MS + 48 * HOUR_MS
NAMES = "open_interest,long_short_ratio,premium_index"
# Its own names of the columns, kind by kind.
LAYOUT = {
    "open_interest": ("sum_open_interest", "sum_open_interest_value"),
    "long_short_ratio": ("long_short_ratio", "long_account", "short_account"),
    "premium_index": ("open", "high", "low", "close"),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of each kind, and of whole klines."""
    path = tmp_path_factory.mktemp("theirs") / "perp.duckdb"
    with duckdb.connect(str(path)) as connection:
        for name, columns in LAYOUT.items():
            _fill(connection, f"{name}_btcusdt_1h", columns, told(name, "BTCUSDT", FIRST_MS, LAST_MS))
        _fill(connection, "ohlcv_btcusdt_1h_full", *_klines())
    return path


def _klines() -> tuple[tuple[str, ...], Held]:
    further = told("klines", "BTCUSDT", FIRST_MS, LAST_MS)
    bars = {bar.open_time_ms: bar for bar in tapes()[0].bars}
    columns = (
        "open", "high", "low", "close", "volume", "quote_asset_volume", "num_trades", "taker_buy_base_volume",
        "taker_buy_quote_volume",
    )  # fmt: skip
    return columns, [(symbol, at_ms, (*bars[at_ms][1:], *values)) for symbol, at_ms, values in further]


def _fill(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], rows: Held) -> None:
    named = ", ".join(f"{name} DOUBLE" for name in columns)
    connection.execute(
        f"CREATE TABLE {table} (timestamp TIMESTAMP, snapshot_time TIMESTAMP, {named}, "
        "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
    )
    marks = ", ".join("?" for _ in columns)
    connection.executemany(
        f"INSERT INTO {table} (timestamp, snapshot_time, {', '.join(columns)}) "
        f"VALUES (make_timestamp_ms(?), make_timestamp_ms(?), {marks})",
        [(at_ms, at_ms + HOUR_MS, *values) for _, at_ms, values in rows],
    )


def take(market: Machine, path: Path, names: str = NAMES, *flags: str) -> Ran:
    words = ["--symbol", "BTCUSDT", "--duckdb", str(market.duckdb), "--source", "table", str(path), "--kinds", names]
    return market.call([str(BARFEED), "backfill", *words, *flags])


def held(market: Machine, name: str) -> list[Any]:
    kind = KINDS[name]
    with opened(market.duckdb, read_only=True) as connection:
        return connection.execute(
            f"SELECT symbol, epoch_ms(timestamp), {', '.join(kind.names)} FROM {name}_1h ORDER BY ALL"
        ).fetchall()


def changed(theirs: Path, folder: Path, *statements: str) -> Path:
    """A copy in which something is otherwise."""
    copy = folder / "changed.duckdb"
    copy.write_bytes(theirs.read_bytes())
    with duckdb.connect(str(copy)) as connection:
        for statement in statements:
            connection.execute(statement)
    return copy


def test_its_kinds_come_in_by_their_names(market: Machine, theirs: Path) -> None:
    done = take(market, theirs, f"klines,{NAMES}")
    assert done.code == 0, done
    for name in ("klines", *LAYOUT):
        rest = told(name, "BTCUSDT", FIRST_MS, LAST_MS)
        assert held(market, name) == [(symbol, at_ms, *values) for symbol, at_ms, values in rest]
        assert f"{name}: series=1 missing=0 appended=49 compared=0 mismatches=0 holes=0 failed=0" in done.out
    # They are what the exchange says, and the same once more.
    words = ["--symbol", "BTCUSDT", "--duckdb", str(market.duckdb), "--kinds", NAMES, "--against", "rest"]
    proven = market.call([str(BARFEED), "verify", *words])
    assert (proven.code, proven.err) == (0, ""), proven
    assert "appended=0 compared=49 mismatches=0" in take(market, theirs).out


def test_its_bars_come_in_by_their_table(market: Machine, theirs: Path) -> None:
    words = ["--symbol", "BTCUSDT", "--duckdb", str(market.duckdb), "--source", "table"]
    done = market.call([str(BARFEED), "backfill", *words, f"{theirs}:ohlcv_btcusdt_1h_full"])
    assert done.code == 0, done
    with opened(market.duckdb, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM ohlcv_btcusdt_1h").fetchall() == [(49,)]


def test_what_was_filled_in_where_there_were_no_shares_is_not_taken_for_shares(
    market: Machine, theirs: Path, tmp_path: Path
) -> None:
    odd = changed(
        theirs, tmp_path,
        "UPDATE long_short_ratio_btcusdt_1h SET long_account = 1.43877, short_account = 1.176558, "
        f"long_short_ratio = 1.87355612 WHERE timestamp = make_timestamp_ms({FIRST_MS})",
        f"UPDATE long_short_ratio_btcusdt_1h SET long_short_ratio = 0 WHERE timestamp = make_timestamp_ms({LAST_MS})",
    )  # fmt: skip
    done = take(market, odd, "long_short_ratio")
    assert done.code == 0, done
    rows = held(market, "long_short_ratio")
    assert rows[0] == ("BTCUSDT", FIRST_MS, 1.8736, None, None)
    assert len(rows) == 48
    assert "1 rows have shares that are not 1 together: the ratio was taken, and no shares" in done.out
    assert "1 rows break a rule; first: " in done.out


def test_a_row_that_ends_at_another_time_than_it_says_is_left_out(
    market: Machine, theirs: Path, tmp_path: Path
) -> None:
    odd = changed(
        theirs, tmp_path,
        f"UPDATE open_interest_btcusdt_1h SET snapshot_time = timestamp WHERE epoch_ms(timestamp) = {FIRST_MS}",
    )  # fmt: skip
    done = take(market, odd, "open_interest")
    assert "1 rows say in snapshot_time that they end at another time than they do" in done.out
    assert len(held(market, "open_interest")) == 48


@pytest.mark.long
def test_a_stored_row_that_differs_stays_and_is_told(market: Machine, theirs: Path, tmp_path: Path) -> None:
    assert take(market, theirs, "open_interest").code == 0
    before = held(market, "open_interest")
    one = f"UPDATE open_interest_btcusdt_1h SET sum_open_interest = 5 WHERE timestamp = make_timestamp_ms({FIRST_MS})"
    done = take(market, changed(theirs, tmp_path, one), "open_interest")
    assert done.code == 1, done
    assert "mismatch: BTCUSDT 1h open_interest: " in done.err
    assert "sum" not in done.err.partition("mismatch: ")[2].splitlines()[0]
    every = "UPDATE open_interest_btcusdt_1h SET sum_open_interest = 5"
    refused = take(market, changed(theirs, tmp_path, every), "open_interest")
    assert refused.code == 2, refused
    assert "49 of its 49 rows that are stored too differ there; first: " in refused.err
    assert held(market, "open_interest") == before


@pytest.mark.parametrize(
    ("names", "flags", "said"),
    [
        ("funding", [], "there is no table funding_btcusdt"),
        ("open_interest", ["--symbol", "ETHUSDT"], "there is no table open_interest_ethusdt_1h"),
    ],
)
def test_what_is_not_there_is_told(market: Machine, theirs: Path, names: str, flags: list[str], said: str) -> None:
    done = take(market, theirs, names, *flags)
    assert (done.code, done.out) == (2, ""), done
    assert said in done.err
    assert not market.duckdb.exists()


@pytest.mark.long
def test_a_table_is_of_one_series_and_needs_a_file(market: Machine, theirs: Path) -> None:
    many = ["backfill", "--symbols", "all", "--source", "table", "--kinds", "funding"]
    assert "a table is of one series" in market.call([str(BARFEED), *many, str(theirs)]).err
    one = ["backfill", "--symbol", "BTCUSDT", "--source", "table", "--kinds", "funding"]
    assert "--source table needs a FILE" in market.call([str(BARFEED), *one]).err
    (market.folder / "text.duckdb").write_text("no store")
    broken = market.call([str(BARFEED), *one, str(market.folder / "text.duckdb")])
    assert broken.code == 2, broken
    assert "it is no DuckDB file, or a broken one" in broken.err
