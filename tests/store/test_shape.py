"""A user's own table: what is wrong with it, said alike by every use, and the SQL in the hint, which mends it.

The statements are run by DuckDB alone, in a session of New York; what must be there afterwards is written down here.
"""

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.store.duckdb import Store
from barfeed.store.own import shape
from storage import opened

HOUR = 3_600_000
# 2024-01-15 13:00 UTC.
ONE_PM = 1_705_323_600_000
SERIES = Series.of("BTCUSDT", "1h")
TABLE = "ohlcv_btcusdt_1h"
VALUES = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"
STAMP = "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP"
KEYED = f"CREATE TABLE {TABLE} (timestamp TIMESTAMP PRIMARY KEY, {VALUES}, {STAMP})"
KEYLESS = KEYED.replace(" PRIMARY KEY", "")
# Two bars; the digits are such that a detour by way of FLOAT, or of a rounded DECIMAL, would lose one.
VOLUMES = ("9085.688", "0.30000000000000004")
ROWS = f"""
INSERT INTO {TABLE} (timestamp, open, high, low, close, volume) VALUES
  ('2024-01-15 13:00:00', 100.1, 110, 90, 105, {VOLUMES[0]}), ('2024-01-15 14:00:00', 105, 110, 90, 100.7, {VOLUMES[1]})
"""
BARS = [
    Bar(ONE_PM, 100.1, 110.0, 90.0, 105.0, float(VOLUMES[0])),
    Bar(ONE_PM + HOUR, 105.0, 110.0, 90.0, 100.7, float(VOLUMES[1])),
]
NEXT = Bar(ONE_PM + 2 * HOUR, 100.7, 100.8, 100.0, 100.5, 1.0)
INDEX = f"CREATE UNIQUE INDEX mine ON {TABLE} (timestamp)"
NO_KEY = "it has no primary key and no unique index on timestamp alone"
NS = "timestamp is TIMESTAMP_NS, expected TIMESTAMP"


def typed(type_: str, statement: str = KEYLESS) -> str:
    return statement.replace("timestamp TIMESTAMP", f"timestamp {type_}")


def with_volume(type_: str, statement: str = KEYED) -> str:
    return statement.replace("volume DOUBLE", f"volume {type_}")


# A user's own table as they made it, and what is wrong with it.
TABLES: dict[str, tuple[list[str], str]] = {
    "no key": ([KEYLESS, ROWS], NO_KEY),
    "another index": ([KEYLESS, ROWS, INDEX.replace("UNIQUE ", "")], NO_KEY),
    "a key of two columns": (
        [KEYED.replace(" PRIMARY KEY", "").replace(STAMP, f"{STAMP}, PRIMARY KEY (timestamp, volume)"), ROWS],
        NO_KEY,
    ),
    "UNIQUE of two columns": ([KEYLESS.replace(STAMP, f"{STAMP}, UNIQUE (timestamp, volume)"), ROWS], NO_KEY),
    "pandas": (
        [typed("TIMESTAMP_NS", f"CREATE TABLE {TABLE} (timestamp TIMESTAMP, {VALUES})"), ROWS],
        f"{NS}; {NO_KEY}",
    ),
    "nanoseconds and a key": ([typed("TIMESTAMP_NS", KEYED), ROWS], NS),
    "nanoseconds and an index": ([typed("TIMESTAMP_NS"), INDEX, ROWS], NS),
    "milliseconds": ([typed("TIMESTAMP_MS"), ROWS], f"timestamp is TIMESTAMP_MS, expected TIMESTAMP; {NO_KEY}"),
    "seconds": ([typed("TIMESTAMP_S"), ROWS], f"timestamp is TIMESTAMP_S, expected TIMESTAMP; {NO_KEY}"),
    "a zone": (
        ["SET TimeZone = 'UTC'", typed("TIMESTAMPTZ", KEYED), ROWS],
        "timestamp is TIMESTAMP WITH TIME ZONE, expected TIMESTAMP",
    ),
    "a zone and no key": (
        ["SET TimeZone = 'UTC'", typed("TIMESTAMPTZ"), ROWS],
        f"timestamp is TIMESTAMP WITH TIME ZONE, expected TIMESTAMP; {NO_KEY}",
    ),
    "text": ([typed("VARCHAR"), ROWS], f"timestamp is VARCHAR, expected TIMESTAMP; {NO_KEY}"),
    "text with a zone": (
        [typed("VARCHAR"), ROWS.replace("13:00:00'", "18:00:00+05:00'").replace("14:00:00'", "14:00:00Z'")],
        f"timestamp is VARCHAR, expected TIMESTAMP; {NO_KEY}",
    ),
    **{
        f"numbers in {unit}": (
            [
                typed(type_, KEYED),
                ROWS.replace("'2024-01-15 13:00:00'", str(ONE_PM * 10**6 // per_ns)).replace(
                    "'2024-01-15 14:00:00'", str((ONE_PM + HOUR) * 10**6 // per_ns)
                ),
            ],
            f"timestamp is {type_}, expected TIMESTAMP",
        )
        for unit, per_ns, type_ in (
            ("s", 10**9, "INTEGER"), ("ms", 10**6, "BIGINT"), ("us", 10**3, "UBIGINT"), ("ns", 1, "HUGEINT"),
            ("ms as pandas has them where one was missing", 10**6, "DOUBLE"),
        )
    },
    "decimals": ([with_volume("DECIMAL(38,17)"), ROWS], "volume is DECIMAL(38,17), expected DOUBLE"),
    "decimals and an index": (
        [with_volume("DECIMAL(38,17)", KEYLESS), INDEX, ROWS], "volume is DECIMAL(38,17), expected DOUBLE"
    ),
    "texts for numbers": ([with_volume("VARCHAR"), ROWS], "volume is VARCHAR, expected DOUBLE"),
    "whole numbers": (
        [KEYED.replace("high DOUBLE, low DOUBLE", "high BIGINT, low UINTEGER"), ROWS],
        "high is BIGINT, expected DOUBLE; low is UINTEGER, expected DOUBLE",
    ),
    "a further column": (
        [KEYED.replace(VALUES, f'"Symbol of mine" VARCHAR NOT NULL, {VALUES}'),
         ROWS.replace("(timestamp", '("Symbol of mine", timestamp').replace("('2024", "('x', '2024")],
        "Symbol of mine is NOT NULL without a default",
    ),
    "a further column and an index": (
        [KEYLESS.replace(VALUES, f"trades INTEGER NOT NULL, {VALUES}"), INDEX,
         ROWS.replace("(timestamp", "(trades, timestamp").replace("('2024", "(7, '2024")],
        "trades is NOT NULL without a default",
    ),
    "a moment that must be brought": (
        [KEYED.replace(STAMP, "created_at TIMESTAMP NOT NULL"),
         ROWS.replace("volume)", "volume, created_at)").replace(VOLUMES[0], f"{VOLUMES[0]}, now()")
         .replace(VOLUMES[1], f"{VOLUMES[1]}, now()")],
        "created_at is NOT NULL without a default",
    ),
    "computed": (
        [KEYED.replace("volume DOUBLE", "v DOUBLE, volume DOUBLE GENERATED ALWAYS AS (v + 0)"),
         ROWS.replace("volume)", "v)")],
        "a column of a bar is computed (GENERATED)",
    ),
    "a view": (
        [KEYED.replace(TABLE, "mine"), ROWS.replace(TABLE, "mine"), f"CREATE VIEW {TABLE} AS FROM mine"],
        "it is a view, expected a table",
    ),
    "a view of another type": (
        [typed("TIMESTAMP_NS", KEYED).replace(TABLE, "mine"), ROWS.replace(TABLE, "mine"),
         f"CREATE VIEW {TABLE} AS FROM mine"],
        f"{NS}; it is a view, expected a table",
    ),
    "a number that nobody brings": (
        [KEYED.replace(VALUES, f"trades INTEGER NOT NULL DEFAULT NULL, {VALUES}"),
         ROWS.replace("(timestamp", "(trades, timestamp").replace("('2024", "(7, '2024")],
        "trades is NOT NULL without a default",
    ),
    "a default that is none": (
        [KEYED.replace(VALUES, f"trades INTEGER NOT NULL DEFAULT (length(NULL)), {VALUES}"),
         ROWS.replace("(timestamp", "(trades, timestamp").replace("('2024", "(7, '2024")],
        "trades is NOT NULL without a default",
    ),
    "a default that fails": (
        [KEYED.replace(VALUES, f"trades TINYINT NOT NULL DEFAULT 1000, {VALUES}"),
         ROWS.replace("(timestamp", "(trades, timestamp").replace("('2024", "(7, '2024")],
        "the default of trades fails: 1000",
    ),
    "a default that fails, and an index": (
        [KEYLESS.replace(VALUES, f"trades TINYINT DEFAULT ('some'), {VALUES}"), INDEX,
         ROWS.replace("(timestamp", "(trades, timestamp").replace("('2024", "(7, '2024")],
        "the default of trades fails: 'some'",
    ),
    "a key that nobody brings": (
        [KEYLESS.replace(f"TIMESTAMP, {VALUES}", f"TIMESTAMP UNIQUE, id INTEGER PRIMARY KEY, {VALUES}"),
         ROWS.replace("(timestamp", "(id, timestamp").replace("('2024-01-15 13", "(1, '2024-01-15 13")
         .replace("('2024-01-15 14", "(2, '2024-01-15 14")],
        "id is NOT NULL without a default",
    ),
    "decimals and a CHECK": (
        [with_volume("DECIMAL(38,17) CHECK (volume > 0)"), ROWS], "volume is DECIMAL(38,17), expected DOUBLE"
    ),
    "no key and a CHECK": ([KEYLESS.replace(STAMP, f"{STAMP}, CHECK (volume > 0)"), ROWS], NO_KEY),
    "no key and another": ([KEYLESS.replace(STAMP, f"{STAMP}, UNIQUE (volume)"), ROWS], NO_KEY),
    "nanoseconds that another table refers to": (
        [typed("TIMESTAMP_NS", KEYED), ROWS,
         f"CREATE TABLE signals (moment TIMESTAMP_NS REFERENCES {TABLE} (timestamp))",
         "INSERT INTO signals VALUES ('2024-01-15 13:00:00')"],
        NS,
    ),
    "decimals that another table refers to": (
        [with_volume("DECIMAL(38,17)"), ROWS,
         f'CREATE TABLE "My signals" (moment TIMESTAMP REFERENCES {TABLE} (timestamp))'],
        "volume is DECIMAL(38,17), expected DOUBLE",
    ),
    "twice the same": ([KEYLESS, ROWS, ROWS], f"{NO_KEY}; 2024-01-15 13:00 is stored 2 times"),
    "twice the same, of another type": (
        [typed("TIMESTAMP_NS"), ROWS, ROWS], f"{NS}; {NO_KEY}; 2024-01-15 13:00 is stored 2 times"
    ),
    "a row without a moment": ([KEYLESS, ROWS, f"INSERT INTO {TABLE} (open) VALUES (1)"],
                               f"{NO_KEY}; a row has no timestamp"),
}  # fmt: skip


def by_hand(path: Path, *statements: str) -> Path:
    """What a user does with DuckDB alone."""
    with opened(path) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        for statement in statements:
            connection.execute(statement)
    return path


def refusal(store: Store) -> StoreUnusable:
    """What both uses say, once they say the same and have left the file as it is."""
    before = store.path.read_bytes()
    said = []
    for use in (store.reading(SERIES), store.appending(SERIES, create=True)):
        with pytest.raises(StoreUnusable) as told, use:
            pass
        said.append(told.value)
    assert (str(said[0]), said[0].hint) == (str(said[1]), said[1].hint)
    assert store.path.read_bytes() == before
    return said[0]


@pytest.mark.parametrize(("made", "wrong"), TABLES.values(), ids=TABLES)
def test_what_is_wrong_is_named_and_the_sql_of_the_hint_mends_it(store: Store, made: list[str], wrong: str) -> None:
    path = by_hand(store.path, *made)
    told = refusal(store)
    assert str(told) == f"{path}: table {TABLE} has another shape: {wrong}"
    intro, _, statements = told.hint.partition(": ")
    assert intro == "mend it in DuckDB 1.2 or newer while no feed runs"
    by_hand(path, *statements.split("; "))
    with store.appending(SERIES, create=False) as table:
        assert table.bars(0) == BARS
        assert table.append([BARS[1], NEXT]) == 1
    with opened(path) as connection:
        moments = connection.execute(f"SELECT timestamp::VARCHAR FROM {TABLE} ORDER BY 1").fetchall()
        assert moments == [(f"2024-01-15 {hour}:00:00",) for hour in (13, 14, 15)]
        with pytest.raises(duckdb.ConstraintException):
            connection.execute(f"INSERT INTO {TABLE} (timestamp) VALUES ('2024-01-15 13:00:00')")


@pytest.mark.parametrize("name", ["no key", "nanoseconds and a key", "decimals", "a further column", "twice the same"])
def test_a_table_that_was_mended_keeps_its_further_columns_and_stamps_what_comes(store: Store, name: str) -> None:
    path = by_hand(store.path, *TABLES[name][0])
    stamps = "SELECT timestamp, min(created_at) FROM ohlcv_btcusdt_1h GROUP BY 1 ORDER BY 1"
    with opened(path) as connection:
        before = connection.execute(stamps).fetchall()
        columns = len(connection.execute(f"DESCRIBE {TABLE}").fetchall())
    by_hand(path, *refusal(store).hint.partition(": ")[2].split("; "))
    with store.appending(SERIES, create=False) as table:
        table.append([NEXT])
    with opened(path) as connection:
        after = connection.execute(stamps).fetchall()
        assert len(connection.execute(f"DESCRIBE {TABLE}").fetchall()) == columns
    assert after[:-1] == before
    assert after[-1][1] is not None


@pytest.mark.parametrize(
    "made",
    [
        [KEYED],
        [KEYLESS.replace("timestamp TIMESTAMP", "timestamp TIMESTAMP UNIQUE")],
        [KEYLESS, INDEX],
        [KEYED.replace(f", {STAMP}", "")],
        [KEYED.replace(STAMP, "note VARCHAR, trades INTEGER NOT NULL DEFAULT 0")],
        [KEYED.replace(TABLE, f'"{TABLE.upper()}"')],
        [KEYLESS.replace(TABLE, f'"{TABLE.upper()}"'), INDEX],
        [KEYED.replace("timestamp TIMESTAMP", '"Timestamp" TIMESTAMP').replace("open DOUBLE", '"Open" DOUBLE')],
        [KEYED.replace(STAMP, "twice DOUBLE GENERATED ALWAYS AS (volume * 2)")],
        [KEYED.replace("high DOUBLE", "high DOUBLE NOT NULL")],
        [KEYED.replace(STAMP, f"{STAMP}, UNIQUE (timestamp, volume)")],
    ],
)
def test_a_table_with_nothing_wrong_is_used_as_it_is(store: Store, made: list[str]) -> None:
    by_hand(store.path, *made, ROWS)
    with store.appending(SERIES, create=False) as table:
        assert table.append([BARS[0], NEXT]) == 1
        assert table.bars(0) == [*BARS, NEXT]


def test_two_values_for_one_bar_are_for_a_person_to_decide(store: Store) -> None:
    path = by_hand(store.path, KEYLESS, ROWS, ROWS.replace(VOLUMES[1], "7"))
    told = refusal(store)
    assert "2024-01-15 14:00 is stored 2 times with 2 different values" in str(told)
    assert "barfeed verify names" in told.hint
    assert "CREATE" not in told.hint
    by_hand(path, f"DELETE FROM {TABLE} WHERE volume = 7")
    assert "2024-01-15 13:00 is stored 2 times" in str(refusal(store))


def test_two_values_for_one_bar_of_another_type_can_be_looked_at_once_it_is_mended(store: Store) -> None:
    path = by_hand(store.path, typed("TIMESTAMP_NS"), ROWS, ROWS.replace(VOLUMES[1], "7"))
    by_hand(path, refusal(store).hint.partition(": ")[2].partition(";")[0])
    told = refusal(store)
    assert "TIMESTAMP_NS" not in str(told)
    assert told.hint.startswith("take out the wrong one of each two rows, which barfeed verify names")


def test_what_has_lost_digits_is_fetched_anew(store: Store) -> None:
    path = by_hand(store.path, with_volume("FLOAT"), ROWS)
    told = refusal(store)
    assert "volume is FLOAT, expected DOUBLE" in str(told)
    assert told.hint.endswith("; then fetch the history anew: barfeed backfill")
    statement = told.hint.partition("move it aside, ")[2].partition(";")[0]
    by_hand(path, statement)
    with store.appending(SERIES, create=True) as table:
        assert table.append(BARS) == 2


def test_a_column_by_another_name_is_asked_to_be_named_so(store: Store) -> None:
    path = by_hand(store.path, KEYED.replace("timestamp TIMESTAMP", "open_time TIMESTAMP"))
    told = refusal(store)
    assert "timestamp is missing, expected TIMESTAMP" in str(told)
    by_hand(path, told.hint.partition("so, ")[2].partition(", or")[0].replace("...", "open_time"))
    with store.appending(SERIES, create=False) as table:
        assert table.append(BARS) == 2


@pytest.mark.parametrize("change", ["DROP TABLE mine", "ALTER TABLE mine RENAME close TO shut"])
def test_a_view_of_what_is_not_there_is_no_missing_table(store: Store, change: str) -> None:
    made = [KEYED.replace(TABLE, "mine"), f"CREATE VIEW {TABLE} AS SELECT timestamp, close FROM mine", change]
    path = by_hand(store.path, *made)
    told = refusal(store)
    assert "it is a view of what is not there, expected a table" in str(told)
    by_hand(path, told.hint.partition(": ")[2].partition(";")[0])
    with store.appending(SERIES, create=False) as table:
        assert table.append(BARS) == 2


def test_decimals_become_the_doubles_nearest_to_their_text(store: Store) -> None:
    texts = ["0.1", "123456789012345678901.12345678901234567", "9007199254740993.5", "0.00000000000000001"]
    path = by_hand(store.path, with_volume("DECIMAL(38,17)"))
    with opened(path) as connection:
        for at, text in enumerate(texts):
            connection.execute(
                f"INSERT INTO {TABLE} (timestamp, volume) VALUES (make_timestamp_ms(?), ?)",
                [at * HOUR, Decimal(text)],
            )
    by_hand(path, *refusal(store).hint.partition(": ")[2].split("; "))
    with store.reading(SERIES) as table:
        assert [bar.volume for bar in table.bars(0)] == [float(text) for text in texts]


def test_a_table_that_was_mended_keeps_the_defaults_of_its_further_columns(store: Store) -> None:
    further = "origin VARCHAR DEFAULT 'x', id BIGINT DEFAULT nextval('ids')"
    made = with_volume("DECIMAL(38,17)", KEYLESS).replace(STAMP, f"{STAMP}, {further}")
    path = by_hand(store.path, "CREATE SEQUENCE ids", made, INDEX, ROWS)
    by_hand(path, *refusal(store).hint.partition(": ")[2].split("; "))
    with store.appending(SERIES, create=False) as table:
        table.append([NEXT])
    with opened(path) as connection:
        found = connection.execute(f"SELECT origin, id FROM {TABLE} ORDER BY timestamp").fetchall()
    assert found == [("x", 1), ("x", 2), ("x", 3)]


def test_a_table_in_another_schema_is_no_missing_table(store: Store) -> None:
    made = ["CREATE SCHEMA crypto", KEYED.replace(TABLE, f"crypto.{TABLE}"), ROWS.replace(TABLE, f"crypto.{TABLE}")]
    path = by_hand(store.path, *made)
    told = refusal(store)
    assert str(told) == f"{path}: table {TABLE} has another shape: it is in the schema crypto, expected in main"
    by_hand(path, told.hint.partition(": ")[2])
    told = refusal(store)
    assert str(told).endswith(NO_KEY)
    by_hand(path, *told.hint.partition(": ")[2].split("; "))
    with store.appending(SERIES, create=False) as table:
        assert table.bars(0) == BARS
        assert table.append([NEXT]) == 1


def test_a_table_in_main_is_the_series_whatever_another_schema_has(store: Store) -> None:
    by_hand(store.path, "CREATE SCHEMA old", f"CREATE TABLE old.{TABLE} AS SELECT 1", KEYED, ROWS)
    with store.reading(SERIES) as table:
        assert table.bars(0) == BARS


def test_no_table_is_no_shape(store: Store) -> None:
    by_hand(store.path, "CREATE TABLE notes AS SELECT 1")
    with store.session(write=False) as connection:
        assert shape.look(connection, TABLE) is None
