"""A database read from Python is what a file with the same rows is; and copied there and back, each is the other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

import barfeed
import pg_server
from barfeed import Reader
from barfeed.cli.commands.history.copy import copy
from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreEmpty, StoreUnusable, UsageError
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds.tables import Late, writing
from commands import Ended, call
from market_store import BARS, CREATE_REVISIONS, LAST_MS, list_symbols, make_market
from pg_server import looked_at, new_market, shared_server
from world import hours

pytestmark = pytest.mark.long

# Whatever a row can hold: a value that is none, one that is not the same though SQL says so, one without created_at.
ODD = f"""
UPDATE ohlcv_1h SET open = NULL, volume = '-0.0'::DOUBLE WHERE symbol = 'ADAUSDT' AND timestamp = '2026-03-01 00:00';
UPDATE ohlcv_1h SET close = 'NaN' WHERE symbol = 'ADAUSDT' AND timestamp = '2026-03-01 01:00';
UPDATE ohlcv_1h SET created_at = NULL WHERE symbol = 'ETHUSDT' AND timestamp < '2026-02-20';
DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDC' AND timestamp BETWEEN '2026-03-02 03:00' AND '2026-03-02 05:00';
{CREATE_REVISIONS}INSERT INTO ohlcv_revisions
SELECT 'BTCUSDT 1h', timestamp, open - 1, high, low, close, volume, open, high, low, close, volume,
       '2026-03-09', '2026-03-09 12:00:00.123456', 'because', 'a run'
FROM ohlcv_1h WHERE symbol = 'BTCUSDT' AND timestamp = '2026-03-08 05:00';
CREATE TABLE ohlcv_solusdt_4h AS SELECT '2026-03-08'::TIMESTAMP AS timestamp, 1.0::DOUBLE AS open, 2.0::DOUBLE AS high,
       0.5::DOUBLE AS low, 1.5::DOUBLE AS close, 10.0::DOUBLE AS volume, '2026-03-08 04:00'::TIMESTAMP AS created_at;
"""


# Of the kinds as well: a moment beside the grid, a count, what the source does not tell.
FED = {
    "funding": [
        Row(LAST_MS - hours(8 * n) + n % 3, LAST_MS - hours(8 * n) + 40_000, (1e-4 / n, None)) for n in range(1, 90)
    ],
    "klines": [Row(LAST_MS - hours(n), LAST_MS, (1.5 * n, n * 2**40, 0.1, 1 / n)) for n in range(1, 800)],
    "open_interest": [Row(LAST_MS - hours(n), LAST_MS - hours(n - 1), (n / 7, None)) for n in range(1, 40)],
}
ODD_KINDS = """
UPDATE klines_1h SET trades = NULL, taker_buy_volume = '-0.0'::DOUBLE
WHERE symbol = 'ETHUSDT' AND timestamp < '2026-03-01';
UPDATE klines_1h SET quote_volume = 'NaN' WHERE symbol = 'ETHUSDT' AND timestamp >= '2026-03-09';
UPDATE funding SET created_at = NULL WHERE symbol = 'BTCUSDT';
"""


# Of each content by its months, and of each of five tables beside them.
PROVEN = 13


def feed_kinds(path: Path) -> None:
    """Rows of three kinds, one of which was changed, and one late."""
    store, why = Store(path, SystemClock(), 5.0), kind_revisions.Why(LAST_MS, "because", "a run")
    for name, rows in FED.items():
        with writing(store, KINDS[name], Interval.ONE_HOUR) as table:
            table.append({"ETHUSDT": rows, "币安人生USDT": rows[::5], "BTCUSDT": rows[3:]})
            table.note_late([Late("BTCUSDT", LAST_MS - hours(2), LAST_MS)], LAST_MS)
            old = rows[-1]
            table.revise([kind_revisions.Change("BTCUSDT", old, old._replace(values=(2.5, *old.values[1:])))], why)
    with duckdb.connect(path) as connection:
        connection.execute(ODD_KINDS)


def copied(*words: str) -> Ended:
    return call(copy, *words)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_market(tmp_path_factory.mktemp("file") / "market.duckdb")
    list_symbols(path, "2026-03-01", ("BTCUSDT", "TRADING"), ("币安人生USDT", "TRADING"))
    list_symbols(path, "2026-03-05", ("BTCUSDT", "SETTLING"))
    with duckdb.connect(path) as connection:
        connection.execute(ODD)
    feed_kinds(path)
    return path


@pytest.fixture(scope="module")
def address(file: Path) -> str:
    made = new_market()
    assert copied(str(file), made).code == 0
    return made


@pytest.fixture(scope="module")
def readers(file: Path, address: str) -> tuple[Reader, Reader]:
    """One of the database, and one of the file."""
    return barfeed.open(address), barfeed.open(file)


def told(rows: list[Any]) -> str:
    return repr(rows)


QUESTIONS: dict[str, Callable[[Reader], Any]] = {
    "one series": lambda db: db.bars("BTCUSDT"),
    "a span of it": lambda db: db.bars("btcusdt", start="2026-03-02", end="2026-03-03"),
    "nothing of a span": lambda db: db.bars("BTCUSDT", start="2027-01-01"),
    "all symbols": lambda db: db.bars(sorted(BARS), start="2026-03-01"),
    "as of a moment": lambda db: db.bars("BTCUSDT", start="2026-03-07", as_of="2026-03-09"),
    "where it is not known when": lambda db: db.bars("ETHUSDT", end="2026-02-22", as_of="2026-02-19"),
    "candles": lambda db: db.candles("BTCUSDC", every_ms=hours(4), start="2026-03-01"),
    "candles of odd values": lambda db: db.candles("ADAUSDT", every_ms=hours(24)),
    "candles of weeks": lambda db: db.candles("ETHUSDT", every_ms=hours(7 * 24), end="2026-03-01"),
    "a window": lambda db: db.window("BTCUSDT"),
    "gaps": lambda db: db.gaps(),
    "gaps of one": lambda db: db.gaps("BTCUSDC", "1h"),
    "no gaps": lambda db: db.gaps("ETHUSDT"),
    "revisions": lambda db: db.revisions(),
    "no revisions": lambda db: db.revisions("ETHUSDT"),
    "symbols": lambda db: db.symbols(),
    "symbols as of a moment": lambda db: db.symbols(as_of="2026-03-02"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_gives_what_a_file_gives(readers: tuple[Reader, Reader], question: str) -> None:
    ours, theirs = map(QUESTIONS[question], readers)
    assert told(list(ours)) == told(list(theirs))


def test_coverage_is_that_of_the_file(readers: tuple[Reader, Reader]) -> None:
    ours, theirs = (each.coverage() for each in readers)
    assert list(ours) == list(theirs)


def test_what_is_not_there_and_what_is_no_address(address: str, tmp_path: Path) -> None:
    with pytest.raises(StoreEmpty, match="holds no bar of XRPUSDT 1h"):
        list(barfeed.open(address).bars("XRPUSDT"))
    with pytest.raises(UsageError, match="holds a password"):
        barfeed.open("postgresql://u:secret@db/market")
    with pytest.raises(UsageError, match="read_from is a standby of a database"):
        barfeed.open(tmp_path, read_from=address)
    assert repr(barfeed.open(address)) == f"barfeed.open({address!r})"


def test_a_standby_that_is_behind_is_refused_with_its_lag(address: str) -> None:
    server = shared_server()
    behind = server.address(server.new_database(address.partition("?")[0].rpartition("/")[2]))
    with looked_at(behind) as connection:
        connection.execute("DELETE FROM barfeed.ohlcv_1h WHERE timestamp = '2026-03-10 13:00'")
    with pytest.raises(StoreUnusable) as told:
        list(barfeed.open(address, read_from=behind).window("BTCUSDT"))
    said = "its newest bar of BTCUSDT 1h is 2026-03-10 12:00, not 2026-03-10 13:00"
    assert (said in str(told.value), told.value.is_away) == (True, True)
    past = barfeed.open(address, read_from=behind).bars("BTCUSDT", end="2026-03-10 12:00")
    assert list(past)[-1].timestamp.hour == 11
    with looked_at(behind) as connection:
        connection.execute("DELETE FROM barfeed.ohlcv_1h WHERE symbol = 'ETHUSDT'")
    with pytest.raises(StoreUnusable, match="its newest bar of ETHUSDT 1h is none, not 2026-03-10 13:00"):
        list(barfeed.open(address, read_from=behind).window("ETHUSDT"))


def rows_of(path: Path, query: str) -> str:
    with duckdb.connect(path, read_only=True) as connection:
        return repr(connection.execute(query).fetchall())


def held(path: Path) -> int:
    """How many rows there are in all of its tables."""
    with duckdb.connect(path, read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return sum(connection.execute(f'SELECT count(*) FROM "{each}"').fetchall()[0][0] for each in tables)


def test_copied_there_and_back_every_row_is_what_it_was(file: Path, address: str, tmp_path: Path) -> None:
    back = tmp_path / "back.duckdb"
    ended = copied(address, str(back))
    rows = held(file)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, f"rows={rows} copied={rows} proven={PROVEN}")
    for query in (
        "SELECT * FROM ohlcv_1h ORDER BY symbol, timestamp", "SELECT * FROM ohlcv_revisions",
        "SELECT * FROM symbols ORDER BY seen_at, symbol", "SELECT * FROM funding ORDER BY symbol, timestamp",
        "SELECT * FROM klines_1h ORDER BY symbol, timestamp",
        "SELECT * FROM open_interest_1h ORDER BY symbol, timestamp",
        "SELECT * FROM kinds_revisions ORDER BY ALL", "SELECT * FROM kinds_late ORDER BY ALL",
    ):  # fmt: skip
        assert rows_of(back, query) == rows_of(file, query)
    assert rows_of(back, "SELECT * EXCLUDE (symbol) FROM ohlcv_4h") == rows_of(file, "SELECT * FROM ohlcv_solusdt_4h")
    again = copied(address, str(back))
    assert again.out.splitlines()[-1] == f"rows={rows} copied=0 proven={PROVEN}"
    assert "ohlcv_1h 2026-02: 3" not in again.err


def test_what_is_copied_of_kinds_is_fed_and_read_as_it_was(file: Path, address: str) -> None:
    for as_of in (None, "2026-03-05"):
        ours, theirs = (
            barfeed.open(each).wide(["ETHUSDT", "BTCUSDT"], kinds=list(FED), start="2026-02-20", as_of=as_of)
            for each in (address, file)
        )
        assert told(list(ours)) == told(list(theirs)) != "[]"


def test_a_table_of_ones_own_by_the_name_of_a_kind_is_left_where_it_is(file: Path, tmp_path: Path) -> None:
    mine, back = tmp_path / "mine.duckdb", tmp_path / "back.duckdb"
    shutil.copy(file, mine)
    with duckdb.connect(mine) as connection:
        connection.execute("DROP TABLE funding; CREATE TABLE funding (who VARCHAR, how_much DOUBLE)")
    ended = copied(str(mine), str(back))
    assert ended.code == 0
    with duckdb.connect(back, read_only=True) as connection:
        names = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert ("funding" in names, "klines_1h" in names) == (False, True)


def test_a_copy_goes_on_where_it_was_and_tells_each_month(file: Path, address: str) -> None:
    half = pg_server.copied(address)
    with looked_at(half) as connection:
        connection.execute("DELETE FROM barfeed.ohlcv_1h WHERE timestamp >= '2026-03-01' AND symbol > 'B'")
        connection.execute("DELETE FROM barfeed.klines_1h WHERE timestamp >= '2026-03-01' AND symbol > 'B'")
        connection.execute("DELETE FROM barfeed.kinds_late")
    lines = [": ".join(line.split(", ")[:2]) for line in copied(str(file), half).out.splitlines()]
    assert [line for line in lines if "0 rows" not in line and line.endswith("copied")] == [
        "ohlcv_1h 2026-03: 1147 rows: copied", "klines_1h 2026-03: 501 rows: copied", "kinds_late: 3 rows: copied"
    ]  # fmt: skip
    assert lines[0] == "ohlcv_1h 2026-02: 2850 rows: there already"


def test_a_target_that_holds_something_else_is_refused(file: Path, address: str) -> None:
    other = pg_server.copied(address)
    with looked_at(other) as connection:
        connection.execute("UPDATE barfeed.ohlcv_1h SET volume = 0.0 WHERE volume = -0.0 AND symbol = 'ADAUSDT'")
    ended = copied(str(file), other)
    assert (ended.code, f"{other} holds something else than {file}: ohlcv_1h in 2026-03" in ended.err) == (1, True)
    known = pg_server.copied(address)
    with looked_at(known) as connection:
        connection.execute("UPDATE barfeed.funding SET known_at = known_at + interval '1 ms' WHERE symbol = 'ETHUSDT'")
    ended = copied(str(file), known)
    assert (ended.code, f"{known} holds something else than {file}: funding in 2026-02" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("a.duckdb", "a.duckdb"), 2, "FROM and TO are the same store"),
        (("postgresql://u:pw@db/x", "a.duckdb"), 2, "holds a password"),
        (("none.duckdb", "a.duckdb"), 1, "holds no bar"),
    ],
)
def test_what_cannot_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = copied(*words)
    assert (ended.code, said in ended.err) == (code, True)
    assert not (tmp_path / "a.duckdb").exists()
