"""What a user's own table asks of a bar beside its key. What it refuses, DuckDB says here: it is given the bar by hand.

`would_take` is asked of a read-only file, as a dry run does it; `append` stores; `refusal` is what a look can know.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.domain import grid
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.sources import Rows
from barfeed.machine.clock import SystemClock
from barfeed.store import revisions
from barfeed.store.duckdb import Store
from barfeed.store.incoming.staging import Staging
from barfeed.store.place import own
from barfeed.store.revisions import Why
from storage import opened

HOUR = 3_600_000
# 2024-01-15 13:00 UTC.
ONE_PM = 1_705_323_600_000
SERIES = Series.of("BTCUSDT", "1h")
TABLE = "ohlcv_btcusdt_1h"
VALUES = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"
INTO = f"INSERT INTO {TABLE} (timestamp, open, high, low, close, volume) VALUES"
BARS = [Bar(ONE_PM, 100.0, 110.0, 90.0, 105.0, 7.5), Bar(ONE_PM + HOUR, 105.0, 111.0, 91.0, 106.0, 8.5)]
NEXT = Bar(ONE_PM + 2 * HOUR, 106.0, 110.0, 90.0, 107.0, 9.5)
HOURS = "SELECT range FROM range(TIMESTAMP '2024-01-15', TIMESTAMP '2024-01-15 15:00', INTERVAL 1 HOUR)"
SYMBOLS = "CREATE TABLE symbols (name VARCHAR PRIMARY KEY)"


def made(more: str = "", key: str = "PRIMARY KEY") -> str:
    """A user's own table, with more to it than a bar and its key."""
    return f"CREATE TABLE {TABLE} (timestamp TIMESTAMP {key}, {VALUES}{', ' * bool(more)}{more})"


def row(bar: Bar) -> str:
    return f"(make_timestamp_ms({bar.open_time_ms}), {', '.join(map(str, bar.values))})"


def by_hand(path: Path, *statements: str) -> Path:
    """What a user does with DuckDB alone."""
    with opened(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def hold(store: Store, statements: Sequence[str], bars: Sequence[Bar] = BARS) -> None:
    """Give a store a user's own table, that holds bars."""
    by_hand(store.path, *statements, *(f"{INTO} {row(bar)}" for bar in bars))


def duckdb_takes(path: Path, bar: Bar) -> bool:
    """Whether DuckDB, alone and with a copy of the file, stores a bar."""
    copy = path.with_name("copy.duckdb")
    shutil.copyfile(path, copy)
    try:
        by_hand(copy, f"{INTO} {row(bar)}")
    except duckdb.ConstraintException:
        return False
    finally:
        copy.unlink()
    return True


def refusal(store: Store, bar: Bar = NEXT) -> StoreUnusable | None:
    """Why a bar cannot be stored: told before, from a file that is only looked at, as by the attempt."""
    before = store.path.read_bytes()
    said: list[StoreUnusable | None] = []
    for is_real in (False, True):
        try:
            with store.session(write=is_real) as connection:
                table = store.table(connection, SERIES)
                assert (table.append([bar]) if is_real else table.would_take([bar])) == 1
        except StoreUnusable as problem:
            said.append(problem)
        else:
            said.append(None)
        if not is_real or said[-1]:
            assert store.path.read_bytes() == before
    looked, tried = said
    assert str(looked) == str(tried)
    return looked


def looked_at(store: Store) -> StoreUnusable | None:
    """What is known of the next bar before it is there."""
    with store.reading(SERIES) as table:
        return store.refusal(table)


def told_of_opens(store: Store, *spans: Gap) -> StoreUnusable | None:
    """What a backfill is told before it asks for the bars of some spans."""
    try:
        with store.reading(SERIES) as table:
            table.would_take_opens(spans)
    except StoreUnusable as problem:
        return problem
    return None


def append(store: Store, *bars: Bar) -> int:
    with store.appending(SERIES, create=False) as table:
        return table.append(bars)


def stage(store: Store, *bars: Bar) -> None:
    """What a backfill does with bars."""
    with store.session(write=True) as connection:
        staging = Staging(connection)
        staging.put_rows(Rows(bars))
        staging.append_new(own(SERIES))


def revise(store: Store, change: Change, *, dry_run: bool = False) -> None:
    """What a repair does with a bar that is stored."""
    with revisions.revised(store, SERIES, [change], Why(ONE_PM, "", ""), dry_run=dry_run):
        pass


def stored(store: Store) -> list[Bar]:
    with store.session(write=False) as connection:
        return store.table(connection, SERIES).bars(0)


# A user's own table, how many of BARS it holds, the constraint that refuses the next bar, as DuckDB's catalog has it,
# and whether that is known before the bar is there: it is of what every next bar has.
REFUSING: dict[str, tuple[list[str], int, str, bool]] = {
    "a CHECK of a value": ([made("CHECK (close < 107)")], 2, f'{TABLE}_close_check, CHECK(("close" < 107))', False),
    "a CHECK of two values": (
        [made("CHECK (volume < low - 81)")], 2,
        f'{TABLE}_volume_low_check, CHECK((volume < (low - 81)))', False,
    ),
    "a CHECK of the time": (
        [made("CHECK (timestamp < '2024-01-15 15:00:00')")], 2,
        f"{TABLE}_timestamp_check, CHECK((\"timestamp\" < '2024-01-15 15:00:00'))", True,
    ),
    "a CHECK of the time and a default": (
        [made("origin VARCHAR DEFAULT 'x', CHECK (origin = 'y' OR timestamp < '2024-01-15 15:00:00')")], 2,
        f"{TABLE}_origin_timestamp_check, CHECK(((origin = 'y') OR (\"timestamp\" < '2024-01-15 15:00:00')))", True,
    ),
    "a key on a value": ([made("UNIQUE (low)")], 2, f"{TABLE}_low_key, UNIQUE(low)", False),
    "a key on what each bar has": (
        [made("day DATE UNIQUE DEFAULT '2024-01-15'")], 1, f'{TABLE}_day_key, UNIQUE("day")', True
    ),
    "a key on that and a value": (
        [made("day DATE DEFAULT '2024-01-15', UNIQUE (day, high)")], 2,
        f'{TABLE}_day_high_key, UNIQUE("day", high)', False,
    ),
    "a unique index": (
        [made(), f"CREATE UNIQUE INDEX odd ON {TABLE} (high, low)"], 2,
        f"odd, CREATE UNIQUE INDEX odd ON {TABLE}(high, low)", False,
    ),
    "a unique index of the day": (
        [made(key="UNIQUE"), f"CREATE UNIQUE INDEX daily ON {TABLE} (date_trunc('day', timestamp))"], 1,
        f"daily, CREATE UNIQUE INDEX daily ON {TABLE}((date_trunc('day', \"timestamp\")))", True,
    ),
    "a calendar that ends": (
        ["CREATE TABLE calendar (moment TIMESTAMP PRIMARY KEY)", f"INSERT INTO calendar {HOURS}",
         made("FOREIGN KEY (timestamp) REFERENCES calendar (moment)")], 2,
        f'{TABLE}_timestamp_moment_fkey, FOREIGN KEY ("timestamp") REFERENCES calendar(moment)', True,
    ),
    "a list of closes": (
        ["CREATE TABLE closes (price DOUBLE PRIMARY KEY)", "INSERT INTO closes VALUES (105), (106)",
         made("FOREIGN KEY (close) REFERENCES closes (price)")], 2,
        f'{TABLE}_close_price_fkey, FOREIGN KEY ("close") REFERENCES closes(price)', False,
    ),
    "a macro": (
        ["CREATE MACRO twice(x) AS 2 * x", made("n DOUBLE DEFAULT (twice(3)), CHECK (twice(close) < 213 + n - 6)")], 2,
        f'{TABLE}_close_n_check, CHECK((twice("close") < ((213 + n) - 6)))', False,
    ),
}  # fmt: skip
# Such a table refuses every bar, be it empty.
NEVER: dict[str, tuple[list[str], str]] = {
    "a CHECK of what no bar brings": (
        [made("symbol VARCHAR CHECK (symbol IS NOT NULL)")],
        f"{TABLE}_symbol_check, CHECK((symbol IS NOT NULL))",
    ),
    "a CHECK of a type of the user's own": (
        ["CREATE TYPE mood AS ENUM ('good', 'bad')", made("mood mood DEFAULT 'bad' CHECK (mood = 'good')")],
        f"{TABLE}_mood_check, CHECK((mood = 'good'))",
    ),
    "a list that lacks the default": (
        [SYMBOLS, made("symbol VARCHAR DEFAULT 'BTC' REFERENCES symbols (name)")],
        f'{TABLE}_symbol_name_fkey, FOREIGN KEY (symbol) REFERENCES symbols("name")',
    ),
}
# All of these store the next bar.
TAKING: dict[str, list[str]] = {
    "a CHECK that holds": [made("CHECK (high >= low), CHECK (timestamp > '2020-01-01')")],
    "a CHECK that a NULL does not break": [made("note VARCHAR CHECK (note <> 'x')")],
    "a CHECK of a default": [made("origin VARCHAR DEFAULT 'x' CHECK (origin IS NOT NULL)")],
    "a CHECK of NULLs": [made("CHECK (close IS NOT NULL AND isfinite(volume))")],
    "a key with the time": [made("UNIQUE (timestamp, low)")],
    "an index with the time": [made(), f"CREATE UNIQUE INDEX more ON {TABLE} (timestamp, low)"],
    "an index that is not unique": [made(), f"CREATE INDEX quick ON {TABLE} (low)"],
    "a key on a value that is new": [made("UNIQUE (close)")],
    "a key on what no bar brings": [made("note VARCHAR UNIQUE")],
    "a list that has the default": [
        SYMBOLS, "INSERT INTO symbols VALUES ('BTC')", made("symbol VARCHAR DEFAULT 'BTC' REFERENCES symbols (name)")
    ],
    "a list of what no bar brings": [SYMBOLS, made("symbol VARCHAR REFERENCES symbols (name)")],
    "a list of pairs, of which no bar brings one": [
        "CREATE TABLE pairs (a VARCHAR, b VARCHAR, PRIMARY KEY (a, b))",
        made("a VARCHAR DEFAULT 'x', b VARCHAR, FOREIGN KEY (a, b) REFERENCES pairs (a, b)"),
    ],
    "a number of its own": ["CREATE SEQUENCE ids", made("id BIGINT DEFAULT nextval('ids')")],
    "a number by a macro": [
        "CREATE SEQUENCE ids", "CREATE MACRO next_id() AS nextval('ids')",
        made("id BIGINT UNIQUE DEFAULT (next_id()) CHECK (id > 0)"),
    ],
    "a number for a key": ["CREATE SEQUENCE ids", made("id BIGINT PRIMARY KEY DEFAULT nextval('ids')", key="UNIQUE")],
    "a number that is checked": ["CREATE SEQUENCE ids", made("id BIGINT DEFAULT nextval('ids') CHECK (id > 0)")],
    "a name of its own": [made("id UUID UNIQUE DEFAULT uuid()")],
    "a macro": ["CREATE MACRO twice(x) AS 2 * x", made("n DOUBLE DEFAULT (twice(2)), CHECK (twice(close) > n)")],
    "a macro by a name of DuckDB's": ["CREATE MACRO epoch_ms(x) AS 7", made("n DOUBLE DEFAULT (7)")],
    "a type of its own": ["CREATE TYPE mood AS ENUM ('good')", made("mood mood DEFAULT 'good' CHECK (mood = 'good')")],
    "a computed column": [made("mean DOUBLE GENERATED ALWAYS AS ((high + low) / 2), CHECK (low > 0)")],
    "another that refers to it": [
        made(), f"CREATE TABLE signals (moment TIMESTAMP REFERENCES {TABLE} (timestamp), side VARCHAR)",
        "INSERT INTO signals BY NAME SELECT 'buy' AS side",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("statements", "held", "constraint", "is_known"), REFUSING.values(), ids=REFUSING)
def test_a_bar_that_is_refused_is_told_with_the_constraint_and_its_text(
    store: Store, statements: list[str], held: int, constraint: str, is_known: bool
) -> None:
    hold(store, statements, BARS[:held])
    coming = NEXT._replace(open_time_ms=ONE_PM + held * HOUR)
    assert not duckdb_takes(store.path, coming)
    told = refusal(store, coming)
    assert str(told) == f"{store.path}: table {TABLE} refuses the bar {grid.text(coming.open_time_ms)}: {constraint}"
    assert str(looked_at(store)) == (str(told) if is_known else "None")
    assert str(told_of_opens(store, Gap(coming.open_time_ms, coming.open_time_ms, 1))) == str(looked_at(store))


@pytest.mark.parametrize("name", REFUSING)
def test_the_sql_of_the_hint_lets_the_bar_in_and_loses_none(store: Store, name: str) -> None:
    statements, held, constraint, _ = REFUSING[name]
    hold(store, statements, BARS[:held])
    coming = NEXT._replace(open_time_ms=ONE_PM + held * HOUR)
    columns = f'SELECT column_name, column_type, "default" FROM (DESCRIBE {TABLE})'
    with opened(store.path) as connection:
        described = connection.execute(columns).fetchall()
    told = refusal(store, coming)
    assert told
    assert told.hint.startswith(
        "put what is referred to into " if "FOREIGN" in constraint else "take the constraint away"
    )
    by_hand(store.path, *told.hint.partition(": ")[2].split("; "))
    assert refusal(store, coming) is None
    assert stored(store) == [*BARS[:held], coming]
    with opened(store.path) as connection:
        assert connection.execute(columns).fetchall() == described
        with pytest.raises(duckdb.ConstraintException):
            connection.execute(f"{INTO} {row(coming)}")


@pytest.mark.parametrize(("statements", "constraint"), NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("at", [0, 1])
def test_a_table_that_takes_no_bar_at_all_is_told_while_it_is_empty(
    store: Store, statements: list[str], constraint: str, at: int
) -> None:
    hold(store, statements, [])
    coming = BARS[at]
    assert not duckdb_takes(store.path, coming)
    assert str(looked_at(store)) == f"{store.path}: table {TABLE} refuses every bar: {constraint}"
    assert str(refusal(store, coming)).endswith(f" refuses the bar {grid.text(coming.open_time_ms)}: {constraint}")


@pytest.mark.parametrize("statements", TAKING.values(), ids=TAKING)
def test_a_table_that_takes_the_bar_is_used_as_it_is(store: Store, statements: list[str]) -> None:
    hold(store, statements)
    assert duckdb_takes(store.path, NEXT)
    assert looked_at(store) is None
    assert refusal(store) is None
    assert stored(store) == [*BARS, NEXT]


def test_what_is_missing_from_a_list_may_be_put_into_it(store: Store) -> None:
    hold(store, REFUSING["a calendar that ends"][0])
    told = looked_at(store)
    assert told
    assert told.hint.startswith("put what is referred to into calendar, or take the constraint away")
    by_hand(store.path, "INSERT INTO calendar VALUES ('2024-01-15 15:00')")
    assert looked_at(store) is None
    assert refusal(store) is None


def test_of_an_empty_table_nothing_is_said_of_values_that_nobody_knows(store: Store) -> None:
    hold(store, [made("CHECK (close IS NOT NULL AND close > 1000)")], [])
    assert looked_at(store) is None
    assert refusal(store) is not None


def test_a_backfill_is_told_of_the_bars_that_it_is_for_and_of_no_others(store: Store) -> None:
    hold(store, REFUSING["a calendar that ends"][0])
    day = Gap(ONE_PM - 13 * HOUR, ONE_PM - HOUR, 13)
    assert looked_at(store)
    assert told_of_opens(store, day) is None
    assert told_of_opens(store) is None
    before, after = day._replace(first_ms=day.first_ms - 2 * HOUR), Gap(NEXT.open_time_ms, NEXT.open_time_ms + HOUR, 2)
    said = str(told_of_opens(store, before, after))
    assert f"table {TABLE} refuses the bar 2024-01-14 22:00 and 3 more: {TABLE}_timestamp_moment_fkey, " in said


def test_a_backfill_of_an_empty_table_is_told_what_its_times_alone_break(store: Store) -> None:
    span = Gap(ONE_PM, NEXT.open_time_ms, 3)
    hold(store, [made("CHECK (timestamp >= '2024-01-15 14:00')")], [])
    assert "refuses the bar 2024-01-15 13:00: " in str(told_of_opens(store, span))
    of_both = made("CHECK (timestamp >= '2024-01-15 14:00' AND close > 0)")
    hold(store, [f"DROP TABLE {TABLE}", of_both], [])
    assert told_of_opens(store, span) is None


def test_the_first_of_many_is_named_and_the_others_counted(store: Store) -> None:
    hold(store, [made("CHECK (close < 106)")], BARS[:1])
    later = [BARS[1], NEXT._replace(close=100.0), NEXT._replace(open_time_ms=ONE_PM + 3 * HOUR)]
    with pytest.raises(StoreUnusable, match=r"refuses the bar 2024-01-15 14:00 and 1 more: "):
        append(store, *later)
    assert stored(store) == BARS[:1]


def test_two_bars_that_one_key_does_not_take_together_are_refused(store: Store) -> None:
    hold(store, [made("moment TIMESTAMP UNIQUE DEFAULT CURRENT_TIMESTAMP")], [])
    with pytest.raises(StoreUnusable, match=r'UNIQUE\("?moment"?\)'):
        append(store, *BARS)
    assert append(store, BARS[0]) == 1


def test_an_import_and_a_repair_name_the_constraint_too(store: Store) -> None:
    hold(store, [made("CHECK (close < 107)")])
    says = rf"refuses the bar 2024-01-15 15:00: {TABLE}_close_check, CHECK\(\(\"close\" < 107\)\)"
    with pytest.raises(StoreUnusable, match=says):
        stage(store, *BARS, NEXT)
    for dry_run in (True, False):
        with pytest.raises(StoreUnusable, match="refuses the bar 2024-01-15 13:00: "):
            revise(store, Change(BARS[0], BARS[0]._replace(close=108.0)), dry_run=dry_run)
    assert stored(store) == BARS


def test_a_change_of_a_stored_bar_is_not_held_against_the_bar_itself(store: Store) -> None:
    hold(store, [made("UNIQUE (low)")])
    change = Change(BARS[0], BARS[0]._replace(close=107.0))
    revise(store, change)
    assert stored(store) == [change.new, BARS[1]]


def test_numbers_go_on_counting_and_none_is_spent_on_a_look(store: Store) -> None:
    hold(store, TAKING["a number that is checked"])
    for _ in range(3):
        assert looked_at(store) is None
    assert refusal(store) is None
    with opened(store.path) as connection:
        assert connection.execute(f"SELECT id FROM {TABLE} ORDER BY timestamp").fetchall() == [(1,), (2,), (3,)]


def test_numbers_that_have_come_to_their_end_are_told_as_that(store: Store) -> None:
    numbers = "CREATE SEQUENCE ids MAXVALUE 2"
    hold(store, [numbers, made("id BIGINT DEFAULT nextval('ids')")])
    with pytest.raises(StoreUnusable, match="a sequence from which a default takes numbers has none left"):
        append(store, NEXT)


def test_a_refusal_that_could_not_be_foreseen_is_told_in_our_words(store: Store) -> None:
    numbers = "CREATE SEQUENCE ids MINVALUE 1 MAXVALUE 2 CYCLE"
    hold(store, [numbers, made("id BIGINT UNIQUE DEFAULT nextval('ids')")])
    assert looked_at(store) is None
    with pytest.raises(StoreUnusable, match="a unique index or a foreign key of the table's own refuses a bar") as told:
        append(store, NEXT)
    assert "Duplicate" not in str(told.value)
    assert stored(store) == BARS


PRICES = st.sampled_from([89.0, 90.0, 91.0, 105.0, 106.0, 107.0])
ASKED = (
    "CHECK (close < 107)", "CHECK (low > 89 OR volume > 8)", "CHECK (note IS NULL OR close < high)", "UNIQUE (low)",
    "UNIQUE (low, high)", "UNIQUE (note, close)", "UNIQUE (day, close)", "FOREIGN KEY (low) REFERENCES lows (price)",
    "CHECK (timestamp::DATE = day)", "FOREIGN KEY (note, low) REFERENCES pairs (a, b)",
)  # fmt: skip


@pytest.mark.long
@given(
    asked=st.lists(st.sampled_from(ASKED), max_size=4, unique=True), low=PRICES, close=PRICES, hour=st.integers(2, 12)
)
@settings(max_examples=40)
def test_whatever_a_table_asks_duckdb_and_the_look_before_agree(
    tmp_path_factory: pytest.TempPathFactory, asked: list[str], low: float, close: float, hour: int
) -> None:
    more = ", ".join(["note VARCHAR", "day DATE DEFAULT '2024-01-15'", *asked])
    beside = [
        "CREATE TABLE lows (price DOUBLE PRIMARY KEY)", "INSERT INTO lows VALUES (90), (91), (105)",
        "CREATE TABLE pairs (a VARCHAR, b DOUBLE, PRIMARY KEY (a, b))",
    ]  # fmt: skip
    store = Store(tmp_path_factory.mktemp("asked") / "ohlcv.duckdb", SystemClock(), 0.0)
    hold(store, [*beside, made(more)])
    bar = Bar(ONE_PM + hour * HOUR, 106.0, 110.0, low, close, 8.0)
    is_taken = duckdb_takes(store.path, bar)
    assert (refusal(store, bar) is None) == is_taken
