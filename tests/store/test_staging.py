import gzip
import math
from itertools import pairwise
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.domain import rules
from barfeed.domain.bars import HOUR_MS, Bar, Pull, Series, Turnover
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Asked
from barfeed.domain.sources import Csv, Lines, Rows
from barfeed.exchange import wire
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.lacking import gaps_in
from barfeed.store.incoming.sql_rules import STORED_RULES, broken
from barfeed.store.incoming.staging import Staging

SERIES = Series.of("BTCUSDT", "1h")
NOON = 1_705_320_000_000  # 2024-01-15 12:00
NOW = NOON + 100 * HOUR_MS
BAR = Bar(NOON, 42000.5, 42100.0, 41900.25, 42050.75, 1203.9)
TWELVE = "1705320000000,42000.5,42100,41900.25,42050.75,1203.9,1705323599999,50570000.5,7,1.5,63000.75,0"
SIX = "1705320000000,42000.5,42100,41900.25,42050.75,1203.9"
ARCHIVE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@pytest.fixture
def staging() -> Staging:
    return Staging(connected())


def connected() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def everything(staging: Staging) -> list[Bar]:
    return staging.bars([Gap(0, 253_402_300_799_000, 0)])


decimals = st.decimals(0, 10**12, allow_nan=False, places=8).map("{:f}".format)
wholes = st.integers(0, 10**15)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(decimals, decimals, decimals, decimals, decimals, decimals, wholes, decimals, decimals),
             min_size=1, max_size=20)
)  # fmt: skip
def test_klines_as_text_are_staged_as_the_same_bars_in_memory_are(klines: list[tuple[str | int, ...]]) -> None:
    opens_ms = [NOON + at * HOUR_MS for at in range(len(klines))]
    rows = [
        [at_ms, *each[:5], at_ms + HOUR_MS - 1, *each[5:], "0"] for at_ms, each in zip(opens_ms, klines, strict=True)
    ]
    body = msgspec.json.encode(rows)
    as_text, in_memory = wire.read_lines(body), Rows(*wire.read_klines(body))
    assert isinstance(as_text, Lines)
    half = [Gap(opens_ms[0], opens_ms[len(rows) // 2], 1)]
    for data, same in (
        (as_text, in_memory),
        (as_text.within(half), in_memory.within(half)),
        (as_text.within([]), Rows([])),
    ):
        assert list(data.opens_ms) == same.opens_ms
        assert _staged(data) == _staged(same)


def _staged(data: Lines | Rows) -> list[tuple[object, ...]]:
    Staging(TABLES).put(data)
    return TABLES.execute("SELECT * FROM temp.incoming").fetchall()


@pytest.mark.parametrize(
    "text",
    [
        TWELVE,
        f"{ARCHIVE_HEADER}\n{TWELVE}\n",
        f"{TWELVE}\r\n",
        TWELVE.replace("1705320000000", "1705320000000000").replace("1705323599999", "1705323599999999"),
        SIX,
        f"timestamp,open,high,low,close,volume\n{SIX}\n",
        f"\ufefftimestamp,open,high,low,close,volume\n{SIX}\n",
        SIX.replace("1705320000000", "2024-01-15 12:00:00"),
        SIX.replace("1705320000000", "2024-01-15T12:00:00Z"),
        SIX.replace("1705320000000", "2024-01-15 13:00:00+01:00"),
        SIX.replace("42100,", "42100.000,").replace("1203.9", "1.2039e3"),
    ],
)
def test_one_bar_is_read_from_every_layout(staging: Staging, text: str) -> None:
    staging.put(Csv(text.encode()))
    assert everything(staging) == [BAR]
    assert staging.findings(HOUR_MS, NOW) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("a,b,c\n", "no column timestamp, open, high, low, close, volume: its columns are 'a, b, c'"),
        ("open_time,open,high,low,Close,close,volume\n", "two columns 'Close' and 'close'"),
        (f"{SIX},x\n", "7 columns"),
        (f"{SIX}\n1705323600000,1,1,1,,1\n", "a row is no bar"),
        (f"{SIX}\nyesterday,1,1,1,1,1\n", "yesterday"),
        (f"{SIX}\n1705323600000,1,1,1\n", "line 2 has 4 cells, expected 6"),
        (f"{SIX}\n1705323600000,1,1,1,1,1,1\n", "line 2 has more than 6 cells"),
        ("\x00\x01", "no text"),
        ("<html></html>", "it is HTML, no CSV"),
        ('[{"time": 1}]', "it is JSON, no CSV"),
        (f'{SIX}\n"1705323600000,1,1,1,1,1\n', "line 2 has a quote that does not end"),
    ],
)
def test_what_is_no_csv_of_bars_is_refused(staging: Staging, text: str, says: str) -> None:
    with pytest.raises(SourceUnreadable, match=says):
        staging.put(Csv(text.encode()))


def test_a_packed_file_is_read_and_a_broken_one_refused(staging: Staging, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(gzip.compress(SIX.encode()))
    staging.put_csv(path)
    assert everything(staging) == [BAR]
    path.write_bytes(gzip.compress(SIX.encode())[:-12])
    with pytest.raises(SourceUnreadable):
        staging.put_csv(path)


def test_the_values_are_the_very_doubles(staging: Staging) -> None:
    texts = ["0.1", "0.30000000000000004", "1e-7", "123456789.123456789", "5e-324"]
    staging.put(Csv(f"1705320000000,{','.join(texts)}".encode()))
    assert everything(staging) == [Bar(NOON, *map(float, texts))]


def test_a_bar_that_comes_twice_is_found(staging: Staging) -> None:
    staging.put(Rows([BAR, BAR._replace(volume=1.0)]))
    assert [(found.rule, found.open_time_ms) for found in staging.findings(HOUR_MS, NOW)] == [("unique", NOON)]


def odd(hour: int) -> tuple[Bar, Turnover]:
    """A bar of which takers bought more than was traded."""
    return BAR._replace(open_time_ms=NOON - hour * HOUR_MS), Turnover(BAR.volume * BAR.close, 3, BAR.volume * 2, 1.0)


def test_all_that_is_broken_is_counted_though_the_first_of_it_is_listed(staging: Staging) -> None:
    bars, turnovers = zip(*map(odd, range(250)), strict=True)
    staging.put(Rows(bars, (), turnovers))
    assert (len(staging.findings(HOUR_MS, NOW)), staging.broken_rules(HOUR_MS, NOW)) == (100, 250)
    assert len(staging.findings(HOUR_MS, NOW, limit=None)) == 250


def test_what_was_let_pass_hides_nothing_else() -> None:
    bars, turnovers = zip(*map(odd, range(250)), strict=True)
    # The oldest comes first, and the newest was let pass with another value.
    staging = Staging(connected(), [bars[0]._replace(volume=1.0), *bars[1:]])
    staging.put(Rows(bars, (), turnovers))
    assert [(found.rule, found.open_time_ms) for found in staging.findings(HOUR_MS, NOW)] == [("taker_share", NOON)]
    assert staging.broken_rules(HOUR_MS, NOW) == 1
    staging.put(Rows([bars[9]._replace(high=0.5)]))
    assert {found.rule for found in staging.findings(HOUR_MS, NOW)} == {"taker_share", "unique", "high_low"}


prices = st.sampled_from([0.0, 1.0, 1.5, 2.0, -1.0, 1e300, 5e-324]) | st.floats(
    allow_nan=False, allow_infinity=False, width=64
)
opens = st.sampled_from([NOON, NOON + 1, NOON + 60_000, NOW, NOW - HOUR_MS, NOW - HOUR_MS + 1, NOW + HOUR_MS])


SHARED = Staging(connected())
TABLES = connected()


traded = st.sampled_from([0.0, 1.0, 1.5, 3.0, 1e300]) | st.floats(0, 1e300)
turnovers = st.builds(Turnover, traded, st.integers(0, 3), traded, traded)


@pytest.mark.long
@settings(max_examples=100)
@given(
    rows=st.lists(
        st.tuples(
            st.builds(Bar, opens, prices, prices, prices, prices, prices),
            st.sampled_from([-1, 0, 1, HOUR_MS]),
            turnovers,
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[0].open_time_ms,
    )
)
def test_the_rules_in_bulk_find_what_the_rules_find(rows: list[tuple[Bar, int, Turnover]]) -> None:
    bars = tuple(bar for bar, _, _ in rows)
    closes = tuple(bar.open_time_ms + HOUR_MS - 1 + off for bar, off, _ in rows)
    pull = Pull(bars, closes, tuple(turnover for _, _, turnover in rows))
    SHARED.clear()
    SHARED.put(Rows(*pull))
    found = {(each.open_time_ms, each.rule) for each in SHARED.findings(HOUR_MS, NOW)}
    asked = Asked(SERIES, len(bars), NOW)
    expected = {
        (each.open_time_ms, each.rule)
        for each in rules.check_pull(pull, asked)
        if each.rule in {*rules.BAR_RULES, *rules.TURNOVER_RULES}
    }
    assert found == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_found(staging: Staging, value: float) -> None:
    staging.put(Rows([BAR._replace(volume=value)]))
    assert "finite" in {each.rule for each in staging.findings(HOUR_MS, NOW)}


def test_a_stored_null_or_a_time_that_is_none_is_found() -> None:
    connection = connected()
    connection.execute(
        "CREATE TABLE t AS SELECT * FROM (VALUES (NULL::TIMESTAMP, 1.0::DOUBLE, 1.0::DOUBLE, 1.0::DOUBLE, 1.0::DOUBLE,"
        " NULL::DOUBLE), ('infinity'::TIMESTAMP, 1, 1, 1, 1, 1)) AS v(timestamp, open, high, low, close, volume)"
    )
    found = connection.execute(f"SELECT {broken(STORED_RULES, HOUR_MS, NOW)} FROM t").fetchall()
    assert found == [(["on_grid", "finite"],), (["on_grid"],)]


@settings(max_examples=100)
@given(held=st.sets(st.integers(-3, 23)), first=st.integers(0, 10), length=st.integers(1, 10))
def test_gaps_are_what_is_not_held(held: set[int], first: int, length: int) -> None:
    at_ms = [NOON + n * HOUR_MS for n in held]
    TABLES.execute("CREATE OR REPLACE TABLE t AS SELECT make_timestamp_ms(unnest(?::BIGINT[])) AS timestamp", [at_ms])
    span = Gap(NOON + first * HOUR_MS, NOON + (first + length - 1) * HOUR_MS, length)
    found = gaps_in(TABLES, "t", span, HOUR_MS)
    missing = [at for each in found for at in range(each.first_ms, each.last_ms + 1, HOUR_MS)]
    assert missing == [NOON + n * HOUR_MS for n in range(first, first + length) if n not in held]
    assert sum(each.bars for each in found) == len(missing)
    assert all(later.first_ms > earlier.last_ms + HOUR_MS for earlier, later in pairwise(found))
