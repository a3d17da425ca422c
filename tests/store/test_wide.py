"""The wide table: nothing in a row was known later than its bar closed, by an answer that no SQL has made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.kinds import wide
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS, KLINES
from barfeed.store.duckdb import Session
from barfeed.store.kinds.revisions import Change, Why, revise
from barfeed.store.kinds.tables import KindTable
from barfeed.store.kinds.wide import WideTable, stored, wide_table
from barfeed.store.place import Span
from world import ms

ONE_HOUR = Interval.ONE_HOUR
T0_MS = ms(2026, 3, 10)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FUNDING = KINDS["funding"]
INTEREST = KINDS["open_interest"]
# One of each way in which a row's time is read, and the bar's own.
FED = (KLINES, FUNDING, INTEREST)
HOURS = 9

Values = tuple[float | None, ...]
Table = dict[tuple[str, int], Values]


class History(NamedTuple):
    """What is stored: when each symbol's bars open, and the rows of every kind."""

    opens_ms: Mapping[str, Sequence[int]]
    rows: Mapping[str, Mapping[str, Sequence[Row]]]

    def known(self, at_ms: int) -> "History":
        """What of it could be had at a moment."""
        return History(
            {
                symbol: [each for each in opens_ms if each + HOUR_MS <= at_ms]
                for symbol, opens_ms in self.opens_ms.items()
            },
            {
                kind: {symbol: [row for row in each if row.known_at_ms <= at_ms] for symbol, each in rows.items()}
                for kind, rows in self.rows.items()
            },
        )

    def later(self, at_ms: int) -> "History":
        """What of it could not be had then."""
        return History(
            {
                symbol: [each for each in opens_ms if each + HOUR_MS > at_ms]
                for symbol, opens_ms in self.opens_ms.items()
            },
            {
                kind: {symbol: [row for row in each if row.known_at_ms > at_ms] for symbol, each in rows.items()}
                for kind, rows in self.rows.items()
            },
        )

    def beside(self, other: "History") -> "History":
        """This one, and what of the other is about another moment."""
        rows = {}
        for kind, ours in self.rows.items():
            rows[kind] = {
                symbol: [*each, *_others(other.rows[kind][symbol], {row.timestamp_ms for row in each})]
                for symbol, each in ours.items()
            }
        opens_ms = {symbol: sorted({*each, *other.opens_ms[symbol]}) for symbol, each in self.opens_ms.items()}
        return History(opens_ms, rows)


def _others(rows: Sequence[Row], held: set[int]) -> list[Row]:
    return [row for row in rows if row.timestamp_ms not in held]


def bar(opens_ms: int) -> tuple[float, ...]:
    return tuple(opens_ms / HOUR_MS + place for place in range(5))


@pytest.fixture(scope="module")
def memory() -> Iterator[Session]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1; ATTACH ':memory:' AS store; SET search_path = 'memory.main,store.main'")
        yield connection


def filled(memory: Session, held: History) -> str:
    """A store of this history; its bars as a relation."""
    for kind, rows in held.rows.items():
        table = KindTable(memory, KINDS[kind], ONE_HOUR)
        if table.exists:
            memory.execute(f"DELETE FROM {table.relation}")
        table.append(rows)
    values = [(symbol, each, *bar(each)) for symbol, opens_ms in held.opens_ms.items() for each in opens_ms]
    columns = [list(each) for each in zip(*values, strict=True)] or [[]] * 7
    memory.execute(
        "CREATE OR REPLACE TEMP TABLE bars AS SELECT unnest(?::VARCHAR[]) AS symbol,"
        " make_timestamp_ms(unnest(?::BIGINT[])) AS timestamp, unnest(?::DOUBLE[]) AS open,"
        " unnest(?::DOUBLE[]) AS high, unnest(?::DOUBLE[]) AS low, unnest(?::DOUBLE[]) AS close,"
        " unnest(?::DOUBLE[]) AS volume",
        columns,
    )
    return "temp.main.bars"


def asked(memory: Session, held: History, from_ms: int | None = None, to_ms: int | None = None) -> Table:
    """The wide table of what is held, of the bars that open in a span."""
    within = f"epoch_ms(timestamp) >= {from_ms or 0} AND epoch_ms(timestamp) < {to_ms or 10**14}"
    bars = f"(FROM {filled(memory, held)} WHERE {within})"
    return answer(memory, wide_table(memory, bars, FED, Span(SYMBOLS, ONE_HOUR, from_ms, to_ms)), FED)


def answer(memory: Session, table: WideTable, kinds: Sequence[Kind]) -> Table:
    told = memory.sql(f"SELECT symbol, epoch_ms(timestamp) AS ms, * EXCLUDE (symbol, timestamp) FROM {table.relation}")
    assert told.columns == ["symbol", "ms", *table.values]
    assert table.values == wide.columns(kinds)
    rows = told.fetchall()
    table_of = {(symbol, at_ms): tuple(values) for symbol, at_ms, *values in rows}
    assert len(table_of) == len(rows)
    return table_of


def expected(held: History) -> Table:
    """By hand, row by row."""
    return {
        (symbol, opens_ms): bar(opens_ms) + tuple(
            each for kind in FED for each in beside(kind, held.rows[kind.name][symbol], opens_ms)
        )
        for symbol, every in held.opens_ms.items()
        for opens_ms in every
    }  # fmt: skip


def beside(kind: Kind, rows: Sequence[Row], opens_ms: int) -> Values:
    closes_ms = opens_ms + HOUR_MS
    known = [row for row in rows if row.known_at_ms <= closes_ms]
    if kind is KLINES:
        own = [row.values for row in known if row.timestamp_ms == opens_ms]
        return own[0] if own else (None,) * 4
    if not known:
        return (None,) * (len(kind.columns) + 1)
    newest = max(known)
    ends_ms = newest.timestamp_ms + (0 if kind is FUNDING else HOUR_MS)
    return (*newest.values, (closes_ms - ends_ms) / 1000)


def bits(table: Table) -> dict[tuple[str, int], list[str | None]]:
    return {key: [None if each is None else each.hex() for each in values] for key, values in table.items()}


def _rows(kind: Kind) -> st.SearchStrategy[list[Row]]:
    late_ms = st.sampled_from([0, 0, 0, 20 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 70 * HOUR_MS])
    count = st.integers(0, 2**52).map(float)
    values = [count if each.is_count else st.floats(allow_nan=False, allow_infinity=False) for each in kind.columns]
    # Some so old that they are found only by who looks for them.
    hours = st.one_of(st.integers(-3, HOURS), st.integers(-80, HOURS))
    told = st.dictionaries(hours, st.tuples(late_ms, st.tuples(*values)), max_size=HOURS)
    return told.map(lambda rows: [_row(kind, hour, *each) for hour, each in sorted(rows.items())])


def _row(kind: Kind, hour: int, late_ms: int, values: tuple[float, ...]) -> Row:
    timestamp_ms = T0_MS + hour * HOUR_MS + (7 if kind is FUNDING else 0)
    return Row(timestamp_ms, kind.known_at_ms(timestamp_ms, ONE_HOUR) + late_ms, values)


opens = st.sets(st.integers(0, HOURS - 1)).map(lambda each: [T0_MS + hour * HOUR_MS for hour in sorted(each)])
histories = st.builds(
    History,
    st.fixed_dictionaries(dict.fromkeys(SYMBOLS, opens)),
    st.fixed_dictionaries({kind.name: st.fixed_dictionaries(dict.fromkeys(SYMBOLS, _rows(kind))) for kind in FED}),
)
moments = st.integers(0, HOURS * 60).map(lambda minute: T0_MS + minute * MINUTE_MS)


@given(histories)
@settings(max_examples=10)
def test_beside_a_bar_stands_the_newest_row_that_was_known_when_it_closed(memory: Session, held: History) -> None:
    assert bits(asked(memory, held)) == bits(expected(held))


@pytest.mark.long
@given(histories, histories, moments)
@settings(max_examples=10)
def test_whatever_became_known_after_a_moment_moves_no_row_up_to_it(
    memory: Session, held: History, other: History, at_ms: int
) -> None:
    before = {key: row for key, row in asked(memory, held).items() if key[1] + HOUR_MS <= at_ms}
    changed = held.known(at_ms).beside(other.later(at_ms))
    after = {key: row for key, row in asked(memory, changed).items() if key[1] + HOUR_MS <= at_ms}
    assert bits(after) == bits(before)


@given(histories, st.integers(1, HOURS), st.integers(1, HOURS))
@settings(max_examples=10)
def test_rows_for_training_are_those_of_the_hour_to_the_bit(
    memory: Session, held: History, hour: int, window: int
) -> None:
    to_ms = T0_MS + hour * HOUR_MS
    from_ms = to_ms - window * HOUR_MS
    training = {key: row for key, row in asked(memory, held).items() if from_ms <= key[1] < to_ms}
    # As the pass of that hour had it: the window alone, from a store that ends there.
    assert bits(asked(memory, held.known(to_ms), from_ms, to_ms)) == bits(training)


def test_what_came_late_is_no_fresher_for_it(memory: Session) -> None:
    late = Row(T0_MS, T0_MS + 5 * HOUR_MS - MINUTE_MS, (7.0, 8.0))
    rows = {"open_interest": {"BTCUSDT": [Row(T0_MS - HOUR_MS, T0_MS + 5 * MINUTE_MS, (5.0, 6.0)), late]}}
    held = History({"BTCUSDT": [T0_MS + hour * HOUR_MS for hour in range(5)]}, rows)
    span = Span(("BTCUSDT",), ONE_HOUR)
    told = answer(memory, wide_table(memory, filled(memory, held), [INTEREST], span), [INTEREST])
    # Hours after the period was over, though it was known for a minute only.
    assert [row[5:] for row in told.values()] == [(5.0, 6.0, 3600.0 * hour) for hour in (1, 2, 3, 4)] + [
        (7.0, 8.0, 14400.0)
    ]


def test_what_came_later_than_a_newer_row_stands_beside_no_bar(memory: Session) -> None:
    newer = Row(T0_MS + 3 * HOUR_MS, T0_MS + 4 * HOUR_MS + 5 * MINUTE_MS, (4.0, 4.0))
    overtaken = Row(T0_MS, newer.known_at_ms + MINUTE_MS, (1.0, 1.0))
    held = History({"BTCUSDT": [T0_MS + 4 * HOUR_MS]}, {"open_interest": {"BTCUSDT": [overtaken, newer]}})
    table = wide_table(memory, filled(memory, held), [INTEREST], Span(("BTCUSDT",), ONE_HOUR))
    [values] = answer(memory, table, [INTEREST]).values()
    assert values[5:] == (4.0, 4.0, 3600.0)


def test_as_of_a_moment_there_is_what_was_stored_by_then(memory: Session) -> None:
    rows = {"open_interest": {"BTCUSDT": [Row(T0_MS + hour * HOUR_MS, T0_MS, (float(hour), 1.0)) for hour in range(3)]}}
    held = History({"BTCUSDT": [T0_MS + 5 * HOUR_MS]}, rows)
    bars = filled(memory, held)
    memory.execute("UPDATE store.main.open_interest_1h SET created_at = timestamp + INTERVAL 3 DAY")
    for as_of_ms, value in ((T0_MS + 73 * HOUR_MS, 1.0), (T0_MS + 73 * HOUR_MS - 1, 0.0), (T0_MS + 71 * HOUR_MS, None)):
        for from_ms in (None, T0_MS + 5 * HOUR_MS, T0_MS + 500 * HOUR_MS):
            span = Span(("BTCUSDT",), ONE_HOUR, from_ms, as_of_ms=as_of_ms)
            [told] = answer(memory, wide_table(memory, bars, [INTEREST], span), [INTEREST]).values()
            assert told[5] == value


def test_as_of_a_moment_a_value_is_what_it_was_before_it_was_mended(memory: Session) -> None:
    row = Row(T0_MS, T0_MS, (1.0, 10.0))
    bars = filled(memory, History({"BTCUSDT": [T0_MS]}, {"open_interest": {"BTCUSDT": [row]}}))
    memory.execute("UPDATE store.main.open_interest_1h SET created_at = timestamp")
    for value in (2.0, 3.0):
        new = row._replace(values=(value, 10.0))
        why = Why(T0_MS, "a test", "repair")
        assert len(revise(memory, INTEREST, ONE_HOUR, [Change("BTCUSDT", row, new)], why)) == 1
        row = new
    # The first an hour later, the second two.
    memory.execute(
        "UPDATE store.main.kinds_revisions SET accepted_at = make_timestamp_ms(?) + to_hours(old::INT)", [T0_MS]
    )
    told = []
    for minutes in (59, 60, 119, 120):
        span = Span(("BTCUSDT",), ONE_HOUR, as_of_ms=T0_MS + minutes * MINUTE_MS)
        [values] = answer(memory, wide_table(memory, bars, [INTEREST], span), [INTEREST]).values()
        told.append(values[5:7])
    assert told == [(1.0, 10.0), (2.0, 10.0), (2.0, 10.0), (3.0, 10.0)]
    memory.execute("DROP TABLE store.main.kinds_revisions")


def test_a_kind_of_which_nothing_is_stored_is_empty(memory: Session) -> None:
    mark, takers = KINDS["mark_price"], KINDS["taker_volume"]
    bars = filled(memory, History({"BTCUSDT": [T0_MS]}, {}))
    table = wide_table(memory, bars, [mark, takers], Span(("BTCUSDT",), ONE_HOUR))
    assert table.absent == ("mark_price", "taker_volume")
    assert answer(memory, table, [mark, takers]) == {("BTCUSDT", T0_MS): (*bar(T0_MS), *[None] * 9)}
    assert mark not in stored(memory, ONE_HOUR)


def test_no_two_columns_have_one_name() -> None:
    names = ("symbol", "timestamp", *wide.columns(list(KINDS.values())))
    assert len(set(names)) == len(names)
    assert set(names) >= {
        "volume", "taker_buy_volume", "premium_index_close", "funding_rate", "funding_mark_price", "mark_price_close",
        "open_interest", "open_interest_value", "open_interest_age_sec", "long_short_ratio",
        "long_short_ratio_long_share", "top_long_short_accounts_ratio", "taker_volume_buy_volume", "spot_klines_volume",
    }  # fmt: skip
    assert "klines_age_sec" not in names
