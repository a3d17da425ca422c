"""What every store must do, once for all of them: a DuckDB file, and a database on a real server."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import Unrepaired
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing
from barfeed.domain.market import membership
from barfeed.history.reading.span import relation
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Session
from barfeed.store.market import BEGINNING_MS, MarketTable, Window
from barfeed.store.place import Span
from barfeed.store.port.embedded import Embedded
from barfeed.store.port.whole import WholeHistory
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.whole import WholeServer
from barfeed.store.revisions import Why
from market_world import windows
from pg_server import new_market
from world import hours, made_up_bars, ms

H1 = Interval.ONE_HOUR
LAST_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "币安人生USDT")
BARS = {symbol: made_up_bars(LAST_MS, 30, symbol) for symbol in SYMBOLS}
FIRST_MS = LAST_MS - hours(29)
BTC = Series("BTCUSDT", H1)
WHY = Why(LAST_MS + 1, "because", "a run")
# The doubles at the edges, and what is equal to SQL and is not the same.
ODD = (5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, 2.2250738585072014e-308, 123456789.12345679)


class Kept(NamedTuple):
    store: WholeHistory
    # The same store, as another process has it.
    other: Callable[[], WholeHistory]


@pytest.fixture(params=["duckdb", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    made: list[WholeHistory] = []

    def opened() -> WholeHistory:
        clock = SystemClock()
        is_file = request.param == "duckdb"
        made.append(Embedded(path, clock, 5.0) if is_file else WholeServer(address, clock, 5.0, fence))
        return made[-1]

    path, fence = tmp_path / "market.duckdb", tmp_path / "server.json"
    address = new_market() if request.param == "postgres" else ""
    yield Kept(opened(), opened)
    for each in made:
        if isinstance(each, Server):
            each.close()


def filled(store: WholeHistory) -> WholeHistory:
    with store.writing_market(H1) as table:
        assert table.append(BARS) == dict.fromkeys(SYMBOLS, 30)
    return store


def test_what_was_appended_is_there_for_another_process(kept: Kept) -> None:
    filled(kept.store)
    with kept.other().reading_market(H1) as table:
        assert table.bars(dict.fromkeys(SYMBOLS, FIRST_MS)) == {each: list(BARS[each]) for each in SYMBOLS}
        assert table.bars({"BTCUSDT": LAST_MS, "NONEUSDT": 0}) == {"BTCUSDT": [BARS["BTCUSDT"][-1]]}
        assert table.newest(FIRST_MS) == dict.fromkeys(SYMBOLS, LAST_MS)
        assert table.newest(LAST_MS + 1) == {}
        assert table.newest_of(["BTCUSDT", "NONEUSDT"]) == {"BTCUSDT": LAST_MS}
        assert (table.bars({}), table.newest_of([]), table.elsewhere()) == ({}, {}, set())


def test_nothing_is_there_of_an_empty_store(kept: Kept) -> None:
    with kept.store.reading_market(H1) as table:
        assert (table.newest(0), table.windows(0, LAST_MS), table.membership(), table.first_bars()) == ({}, {}, [], {})
        assert (table.exchange_gaps(["BTCUSDT"]), table.let_pass("BTCUSDT")) == ({}, [])
    with kept.store.reading(BTC) as series:
        assert (series.coverage().rows, series.bars(0)) == (0, [])


def test_every_double_comes_back_to_the_bit(kept: Kept) -> None:
    chance = random.Random(7)
    values = [*ODD, *(chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300) for _ in range(500 - len(ODD)))]
    bars = [Bar(FIRST_MS + hours(n), *values[n * 5 : n * 5 + 5]) for n in range(100)]
    with kept.store.writing_market(H1) as table:
        table.append({"BTCUSDT": bars})
    with kept.store.reading_market(H1) as table:
        assert list(map(repr, table.bars({"BTCUSDT": 0})["BTCUSDT"])) == list(map(repr, bars))


def test_a_value_that_is_none_comes_as_nan(kept: Kept) -> None:
    with kept.store.writing_market(H1) as table:
        table.append({"BTCUSDT": [Bar(LAST_MS, math.nan, math.inf, -math.inf, 1.0, 2.0)]})
    with kept.store.reading_market(H1) as table:
        (bar,) = table.bars({"BTCUSDT": 0})["BTCUSDT"]
        assert list(map(repr, bar.values)) == ["nan", "inf", "-inf", "1.0", "2.0"]
        assert table.windows(LAST_MS, LAST_MS) == {"BTCUSDT": Window(1, is_sound=False)}


def test_what_is_there_already_is_left_as_it_is(kept: Kept) -> None:
    filled(kept.store)
    dearer = {"BTCUSDT": [bar._replace(close=bar.close + 1) for bar in BARS["BTCUSDT"]]}
    with kept.other().writing_market(H1) as table:
        assert table.append(dearer) == {"BTCUSDT": 0}
        assert table.append({}) == {}
        assert table.bars({"BTCUSDT": 0})["BTCUSDT"] == list(BARS["BTCUSDT"])


def test_a_transaction_is_whole_or_nothing(kept: Kept) -> None:
    with suppress(ZeroDivisionError), kept.store.writing_market(H1) as table:
        table.append(BARS)
        table.note_membership([Listing("BTCUSDT", "TRADING", "PERPETUAL", 0, None)], LAST_MS)
        raise ZeroDivisionError
    with kept.store.reading_market(H1) as table:
        assert (table.newest(0), table.membership()) == ({}, [])
    filled(kept.store)


def test_windows_count_what_is_sound_and_on_the_grid(kept: Kept) -> None:
    with filled(kept.store).writing_market(H1) as table:
        table.append({"ADAUSDT": [BARS["ADAUSDT"][-1]._replace(open_time_ms=LAST_MS - 1)]})
        table.append({"ETHUSDT": [BARS["ADAUSDT"][-1]._replace(low=0.0)]})
    with kept.store.reading_market(H1) as table:
        found = table.windows(LAST_MS - hours(4), LAST_MS)
        assert found == dict.fromkeys(SYMBOLS, Window(5, is_sound=True)) | {"ETHUSDT": Window(1, is_sound=False)}


def test_the_models_parquet_has_each_window_from_its_own_beginning(kept: Kept, tmp_path: Path) -> None:
    from_ms = {"币安人生USDT": LAST_MS - hours(2), "BTCUSDT": LAST_MS - hours(9)}
    path = tmp_path / "latest_for_inference.parquet"
    with filled(kept.store).reading_market(H1) as table:
        assert table.write_windows(path, from_ms, LAST_MS - hours(1)) == 11
        assert table.end_of(path) == LAST_MS - hours(1)
        assert table.end_of(tmp_path / "none.parquet") is None
    given = {"BTCUSDT": list(BARS["BTCUSDT"][-10:-1]), "币安人生USDT": list(BARS["币安人生USDT"][-3:-1])}
    assert windows(tmp_path) == given
    with kept.store.reading_market(H1) as table:
        assert table.write_windows(path, {}, LAST_MS) == 0


def test_listings_come_back_oldest_first_with_what_they_do_not_tell(kept: Kept) -> None:
    first = Listing("BTCUSDT", "TRADING", "PERPETUAL", ms(2019, 9, 8), ms(2100, 12, 25), "USDT", 0.1)
    new, gone = Listing("币安人生USDT", "TRADING", "", None, None), first._replace(status="SETTLING")
    for seen_at_ms, listings in ((LAST_MS, [first, new]), (LAST_MS + 1, [gone]), (LAST_MS + 2, [])):
        with kept.store.writing_market(H1) as table:
            table.note_membership(listings, seen_at_ms)
    with kept.other().reading_market(H1) as table:
        rows = table.membership()
        assert [(each.listing, each.seen_at_ms) for each in rows] == [
            (first, LAST_MS), (new, LAST_MS), (gone, LAST_MS + 1),
        ]  # fmt: skip
        assert membership.latest(rows) == {"BTCUSDT": gone, "币安人生USDT": new}


def test_what_the_exchange_has_none_of_is_remembered(kept: Kept) -> None:
    gap = Gap(LAST_MS - hours(3), LAST_MS - hours(2), 2)
    before = Gap(BEGINNING_MS, FIRST_MS - hours(1), FIRST_MS // hours(1))
    with kept.store.writing_market(H1) as table:
        table.note_exchange_gaps([("BTCUSDT", gap), ("ETHUSDT", before)], LAST_MS)
        table.note_exchange_gaps([], LAST_MS)
    with kept.other().reading_market(H1) as table:
        assert table.exchange_gaps(["BTCUSDT", "ADAUSDT"]) == {"BTCUSDT": [gap]}
        assert (table.first_bars(), table.exchange_gaps([])) == ({"ETHUSDT": FIRST_MS}, {})
    with kept.store.reading_market(Interval.FOUR_HOURS) as table:
        assert table.exchange_gaps(["BTCUSDT"]) == {}


def test_a_bar_is_changed_with_both_versions_kept_and_only_where_it_is_the_old_one(kept: Kept) -> None:
    filled(kept.store)
    old = BARS["BTCUSDT"][-1]
    new, other = old._replace(close=old.close + 1), old._replace(volume=old.volume + 1)
    with kept.store.writing_market(H1) as table:
        table.expect_audit()
        assert table.revise("BTCUSDT", [Change(old, new)], WHY) == 1
        assert table.revise("BTCUSDT", [Change(old, other)], WHY) == 0
        assert table.revise("BTCUSDT", [], WHY) == 0
    with kept.other().reading_market(H1) as table:
        assert table.bars(dict.fromkeys(SYMBOLS, LAST_MS)) == {each: [BARS[each][-1]] for each in SYMBOLS} | {
            "BTCUSDT": [new]
        }
        assert table.let_pass("BTCUSDT") == []


def test_one_series_is_read_and_appended_to(kept: Kept) -> None:
    bars = BARS["BTCUSDT"]
    with kept.store.appending(BTC, create=True) as table:
        assert (table.append(bars[:-1]), table.append([])) == (29, 0)
    with kept.other().appending(BTC, create=False) as table:
        assert table.would_take(bars[-1:]) == 1
        assert table.append(bars[-2:]) == 1
    with kept.store.reading(BTC) as table:
        assert tuple(table.coverage()) == (30, FIRST_MS, LAST_MS)
        assert table.bars(LAST_MS - hours(3)) == list(bars[-4:])
    with kept.store.reading(Series("BTCUSDT", Interval.ONE_MINUTE)) as table:
        assert table.coverage().rows == 0


def test_one_series_is_revised_or_nothing_of_it_is_changed(kept: Kept) -> None:
    old = BARS["BTCUSDT"][-1]
    new = old._replace(high=old.high + 1)
    with kept.store.appending(BTC, create=True) as table:
        table.append([old])
    with kept.store.revising(BTC, [Change(old, new)], WHY, dry_run=True) as table:
        assert table.bars(0) == [old]
    with kept.store.revising(BTC, [Change(old, new)], WHY, dry_run=False) as table:
        assert table.bars(0) == [new]
    overtaken = pytest.raises(Unrepaired, match="changed by another process")
    with overtaken, kept.other().revising(BTC, [Change(old, new)], WHY, dry_run=False):
        pass
    assert kept.store.let_pass(BTC) == []


def asked(connection: Session, span: Span) -> list[tuple[str, int]]:
    """Which bars of a span DuckDB finds there."""
    statement = f"SELECT symbol, epoch_ms(timestamp) FROM {relation(connection, span)} ORDER BY ALL"
    return connection.execute(statement).fetchall()


def test_a_span_is_looked_at_by_duckdb(kept: Kept) -> None:
    span = Span(("BTCUSDT", "NONEUSDT", "币安人生USDT"), H1, LAST_MS - hours(2), LAST_MS)
    with filled(kept.store).looking_at(span) as connection:
        found = asked(connection, span)
    assert found == [(each, LAST_MS - hours(ago)) for each in ("BTCUSDT", "币安人生USDT") for ago in (2, 1)]
    # What was staged beside outlasts it.
    kept.store.beside().execute("CREATE TEMP TABLE staged AS SELECT 1 AS one")
    alone = Span(("BTCUSDT",), H1, as_of_ms=LAST_MS)
    with kept.store.looking_at_one(alone) as connection:
        assert asked(connection, alone) == []
        table, trouble = kept.store.readable(connection, BTC)
        assert (table.coverage().rows, table.exists, trouble) == (30, True, None)
    assert kept.store.beside().execute("FROM staged").fetchall() == [(1,)]


def test_symbols_are_told_and_looked_at_in_portions(kept: Kept) -> None:
    with filled(kept.store).reading_market(H1) as table:
        assert table.symbols() == set(SYMBOLS)
        assert {each: tuple(held) for each, held in table.coverage().items()} == dict.fromkeys(
            SYMBOLS, (30, FIRST_MS, LAST_MS)
        )
    named = [*SYMBOLS, "NONEUSDT"]
    assert [each for some in kept.store.portions(H1, named) for each in some] == named
    kept.store.expect_there()
    kept.store.expect_audit()


def test_what_was_changed_or_let_pass_is_listed(kept: Kept) -> None:
    old = BARS["BTCUSDT"][-1]
    change = Change(old, old._replace(high=old.high + 1))
    passed, note = BARS["BTCUSDT"][3], Why(LAST_MS, "odd", "let pass 2026-03-10 14:00:00")
    with filled(kept.store).revising(BTC, [change], WHY, dry_run=False):
        pass
    assert kept.store.noted_let_pass(BTC, passed) is None
    assert kept.store.note_let_pass(BTC, passed, note) is None
    noted = kept.other().note_let_pass(BTC, passed, note._replace(reason="again"))
    assert noted
    assert (noted.change.new, noted.reason, noted.run, noted.is_let_pass) == (passed, "odd", note.run, True)
    listed = kept.store.revisions(BTC)
    assert [(each.change.new, each.reason) for each in listed] == [(change.new, "because"), (passed, "odd")]
    assert repr(kept.store.revisions_of_all(H1)) == repr([("BTCUSDT", each) for each in listed])
    assert kept.store.revisions_of_all(Interval.FOUR_HOURS) == []
    assert (kept.store.let_pass(BTC), repr(kept.store.noted_let_pass(BTC, passed))) == ([passed], repr(noted))


def test_what_is_lacking_is_found(kept: Kept) -> None:
    torn = {"BTCUSDT": [bar for bar in BARS["BTCUSDT"] if bar.open_time_ms not in {FIRST_MS + hours(3), LAST_MS}]}
    untraded = BARS["ADAUSDT"][-1]._replace(volume=0.0)
    with kept.store.writing_market(H1) as table:
        table.append(torn | {"ADAUSDT": [*BARS["ADAUSDT"][:-1], untraded]})
    whole = Gap(FIRST_MS, LAST_MS, 30)
    hole, end = Gap(FIRST_MS + hours(3), FIRST_MS + hours(3), 1), Gap(LAST_MS, LAST_MS, 1)
    wanted = dict.fromkeys((*SYMBOLS, "BTCUSDT"), whole)
    assert kept.store.gaps_of_all(H1, wanted) == {"BTCUSDT": [hole, end], "币安人生USDT": [whole]}
    assert kept.store.gaps_of_all(H1, {}) == {}
    assert kept.store.gaps(BTC, whole) == kept.store.lacking(BTC, whole) == [hole, end]
    assert kept.store.neighbours(BTC, hole) == (hole.first_ms - hours(1), hole.last_ms + hours(1))
    assert kept.store.neighbours(BTC, whole) == (None, None)
    ada = Series("ADAUSDT", H1)
    last = Gap(LAST_MS - hours(1), LAST_MS, 2)
    assert kept.store.traded(ada, [hole, last]) == [hole.first_ms, LAST_MS - hours(1)]
    assert kept.store.last_traded(H1, ["ADAUSDT", "NONEUSDT"]) == {"ADAUSDT": LAST_MS - hours(1)}


def insert(store: WholeHistory, table: str, bars: Sequence[Bar], symbol: str = "") -> None:
    """As who stages bars in DuckDB does."""
    names = f"({'symbol, ' * bool(symbol)}timestamp, open, high, low, close, volume)"
    for bar in bars:
        values = f"{f'{symbol!r}, ' * bool(symbol)}make_timestamp_ms(?), ?, ?, ?, ?, ?"
        store.beside().execute(f"INSERT INTO {table} {names} VALUES ({values}) ON CONFLICT DO NOTHING", list(bar))


def test_what_is_inserted_where_it_is_looked_at_is_appended_whole_or_not_at_all(kept: Kept) -> None:
    bars, gap = BARS["BTCUSDT"], Gap(BEGINNING_MS, FIRST_MS - hours(1), FIRST_MS // hours(1))
    with kept.store.writing_market(H1) as market:
        market.append({"BTCUSDT": bars[:10]})

    def fill(table: MarketTable) -> str:
        insert(kept.store, table.relation, bars, "BTCUSDT")
        table.note_exchange_gaps([("BTCUSDT", gap)], LAST_MS)
        return "done"

    def fail(table: MarketTable) -> None:
        fill(table)
        raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        kept.store.filling(H1, {"BTCUSDT": Gap(FIRST_MS, LAST_MS, 30)}, fail)
    with kept.other().reading_market(H1) as held:
        assert (held.bars({"BTCUSDT": 0}), held.first_bars()) == ({"BTCUSDT": list(bars[:10])}, {})
    assert kept.store.filling(H1, {"BTCUSDT": Gap(FIRST_MS, LAST_MS, 30)}, fill) == "done"
    with kept.other().reading_market(H1) as held:
        assert (held.bars({"BTCUSDT": 0}), held.first_bars()) == ({"BTCUSDT": list(bars)}, {"BTCUSDT": FIRST_MS})
