"""The audit table, and the store as it stood before."""

from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar
from barfeed.machine.clock import SystemClock
from barfeed.store import revisions
from barfeed.store.duckdb import Store, transaction
from barfeed.store.revisions import Why
from storage import opened
from world import BTCUSDT_1H, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
BARS = made_up_bars(TARGET_MS, 5)
WHY = Why(TARGET_MS, "it said so twice", "run 7")
CLOCK = SystemClock()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    filled = Store(tmp_path / "ohlcv.duckdb", CLOCK, 0.0)
    with filled.appending(BTCUSDT_1H, create=True) as table:
        table.append(BARS)
    return filled


def revise(store: Store, *changes: Change, why: Why = WHY) -> int:
    with store.session(write=True) as connection, transaction(connection):
        return revisions.revise(connection, BTCUSDT_1H, changes, why)


def volume(number: int, value: float) -> Change:
    return Change(BARS[number], BARS[number]._replace(volume=value))


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with opened(store.path, read_only=True) as connection:
        return connection.execute(query).fetchall()


def as_of(store: Store, moment_ms: int) -> list[tuple[Any, ...]]:
    with store.session(write=False) as connection:
        query = revisions.as_of_query(connection, ["BTCUSDT"], BTCUSDT_1H.interval, moment_ms)
        columns = "epoch_ms(timestamp), open, high, low, close, volume"
        return connection.execute(f"SELECT {columns} FROM ({query}) ORDER BY timestamp").fetchall()


def tables(store: Store) -> set[str]:
    return {name for (name,) in rows(store, "SELECT table_name FROM information_schema.tables")}


def test_a_note_that_is_there_already_is_given_back_and_not_written_twice(store: Store) -> None:
    with store.session(write=True) as connection:
        notes = []
        for number, bar in enumerate((BARS[0], BARS[0], BARS[1], BARS[0])):
            with transaction(connection):
                why = Why(TARGET_MS, "it stays", f"let pass {number}")
                notes.append(revisions.note_let_pass(connection, BTCUSDT_1H, bar, why))
        listed = revisions.listed(connection, BTCUSDT_1H)
    assert [(each.change.new, each.run) for each in listed] == [(BARS[0], "let pass 0"), (BARS[1], "let pass 2")]
    assert [note and note.run for note in notes] == [None, "let pass 0", None, "let pass 0"]


def test_a_copied_table_that_has_lost_its_default_still_tells_when_a_bar_was_changed(store: Store) -> None:
    copied = "CREATE OR REPLACE TABLE store.main.ohlcv_revisions AS FROM store.main.ohlcv_revisions"
    before_ms = CLOCK.utc_ms()
    assert revise(store, volume(0, 8.0)) == 1
    with store.session(write=True) as connection:
        connection.execute(copied)
    assert revise(store, volume(1, 9.0)) == 1
    with store.session(write=True) as connection:
        assert all(before_ms <= each.accepted_at_ms for each in revisions.listed(connection, BTCUSDT_1H))
        # As an older barfeed left it in such a table.
        connection.execute("UPDATE store.main.ohlcv_revisions SET accepted_at = NULL")
        assert {each.accepted_at_ms for each in revisions.listed(connection, BTCUSDT_1H)} == {WHY.seen_at_ms}


def test_the_table_is_there_only_once_something_was_changed(store: Store) -> None:
    assert revise(store) == 0
    assert tables(store) == {"ohlcv_btcusdt_1h"}
    with store.session(write=False) as connection:
        assert revisions.listed(connection, BTCUSDT_1H) == []
    assert revise(store, volume(3, 9.5)) == 1
    assert tables(store) == {"ohlcv_btcusdt_1h", "ohlcv_revisions"}


def test_a_revision_keeps_both_versions_and_why(store: Store) -> None:
    before_ms = CLOCK.utc_ms()
    change = Change(BARS[2], BARS[2]._replace(low=1.5, volume=9.5))
    assert revise(store, change) == 1
    with store.session(write=False) as connection:
        (told,) = revisions.listed(connection, BTCUSDT_1H)
    assert told.change == change
    assert (told.seen_at_ms, told.reason, told.run) == (TARGET_MS, "it said so twice", "run 7")
    assert before_ms <= told.accepted_at_ms <= CLOCK.utc_ms()
    stored = rows(store, "SELECT low, volume FROM ohlcv_btcusdt_1h ORDER BY timestamp")
    assert stored == [(bar.low, bar.volume) if bar != BARS[2] else (1.5, 9.5) for bar in BARS]


def test_the_columns_of_the_table_are_the_documented_ones(store: Store) -> None:
    revise(store, volume(1, 9.5))
    described = rows(store, "SELECT column_name, column_type FROM (DESCRIBE ohlcv_revisions)")
    assert dict(described) == {
        "series": "VARCHAR",
        "timestamp": "TIMESTAMP",
        **{f"old_{name}": "DOUBLE" for name in ("open", "high", "low", "close", "volume")},
        **{f"new_{name}": "DOUBLE" for name in ("open", "high", "low", "close", "volume")},
        "seen_at": "TIMESTAMP",
        "accepted_at": "TIMESTAMP",
        "reason": "VARCHAR",
        "run": "VARCHAR",
    }
    assert rows(store, "SELECT series, seen_at::VARCHAR FROM ohlcv_revisions") == [
        ("BTCUSDT 1h", "2024-02-10 13:00:00")
    ]


def test_a_bar_that_is_no_longer_its_old_version_is_left_alone(store: Store) -> None:
    stale = Change(BARS[2]._replace(volume=1.25), BARS[2]._replace(volume=9.5))
    assert revise(store, stale, volume(3, 9.5)) == 1
    assert rows(store, "SELECT volume FROM ohlcv_btcusdt_1h ORDER BY timestamp") == [
        (bar.volume if bar != BARS[3] else 9.5,) for bar in BARS
    ]
    assert rows(store, "SELECT count(*) FROM ohlcv_revisions") == [(1,)]


def test_a_stored_null_is_mended_and_kept_as_it_was(store: Store) -> None:
    with opened(store.path) as connection:
        connection.execute("UPDATE ohlcv_btcusdt_1h SET open = NULL WHERE epoch_ms(timestamp) = ?", [TARGET_MS])
    assert revise(store, Change(BARS[4]._replace(open=float("nan")), BARS[4])) == 1
    assert rows(store, "SELECT old_open, new_open FROM ohlcv_revisions") == [(None, BARS[4].open)]
    assert rows(store, "SELECT count(*) FROM ohlcv_btcusdt_1h WHERE open IS NULL") == [(0,)]


def test_what_rolls_back_leaves_neither_a_change_nor_an_audit_row(store: Store) -> None:
    def interrupted() -> None:
        with store.session(write=True) as connection, transaction(connection):
            revisions.revise(connection, BTCUSDT_1H, [volume(2, 9.5)], WHY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tables(store) == {"ohlcv_btcusdt_1h"}
    assert as_of(store, CLOCK.utc_ms()) == list(BARS)


def test_as_of_any_moment_the_store_is_what_it_was(store: Store) -> None:
    def now_ms() -> int:
        CLOCK.sleep(0.002)
        moment_ms = CLOCK.utc_ms()
        CLOCK.sleep(0.002)
        return moment_ms

    before_all = now_ms() - 1_000_000
    first = now_ms()
    revise(store, volume(2, 9.5))
    second = now_ms()
    revise(store, Change(BARS[2]._replace(volume=9.5), BARS[2]._replace(volume=9.75)), volume(0, 3.5))
    with store.appending(BTCUSDT_1H, create=False) as table:
        table.append(made_up_bars(TARGET_MS + 3_600_000, 6)[-1:])
    third = now_ms()
    assert as_of(store, before_all) == []
    assert as_of(store, first) == list(BARS)
    assert [row[5] for row in as_of(store, second)] == [
        BARS[0].volume, BARS[1].volume, 9.5, BARS[3].volume, BARS[4].volume
    ]  # fmt: skip
    assert [row[5] for row in as_of(store, third)][:4] == [3.5, BARS[1].volume, 9.75, BARS[3].volume]
    assert len(as_of(store, third)) == 6


def test_as_of_the_millisecond_that_is_listed_tells_the_new_version_and_one_before_the_old(store: Store) -> None:
    CLOCK.sleep(0.005)
    revise(store, volume(2, 9.5))
    # In the last microseconds of a millisecond, which must not be told as the next.
    late = "SET accepted_at = date_trunc('milliseconds', accepted_at) + INTERVAL 900 MICROSECOND"
    with opened(store.path) as connection:
        connection.execute(f"UPDATE ohlcv_revisions {late}")
    with store.session(write=False) as connection:
        (told,) = revisions.listed(connection, BTCUSDT_1H)
    assert as_of(store, told.accepted_at_ms)[2][5] == 9.5
    assert as_of(store, told.accepted_at_ms - 1)[2][5] == BARS[2].volume


def test_another_series_of_the_same_file_is_not_mixed_in(store: Store) -> None:
    other = BTCUSDT_1H._replace(symbol="ETHUSDT")
    with store.appending(other, create=True) as table:
        table.append(BARS)
    CLOCK.sleep(0.005)
    before_ms = CLOCK.utc_ms()
    CLOCK.sleep(0.005)
    revise(store, volume(2, 9.5))
    with store.session(write=False) as connection:
        assert revisions.listed(connection, other) == []
        query = revisions.as_of_query(connection, ["ETHUSDT"], other.interval, before_ms)
        assert connection.execute(f"SELECT sum(volume) FROM ({query})").fetchall() == [
            (pytest.approx(sum(bar.volume for bar in BARS)),)
        ]


def test_a_bar_without_created_at_counts_as_there_since_it_closed_and_never_before(tmp_path: Path) -> None:
    with opened(tmp_path / "mine.duckdb") as connection:
        connection.execute(
            "CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP UNIQUE, open DOUBLE, high DOUBLE, low DOUBLE,"
            " close DOUBLE, volume DOUBLE)"
        )
        connection.execute("INSERT INTO ohlcv_btcusdt_1h VALUES (make_timestamp_ms(0), 1, 2, 0.5, 1, 3)")
    mine = Store(tmp_path / "mine.duckdb", CLOCK, 0.0)
    old = Bar(0, 1.0, 2.0, 0.5, 1.0, 3.0)
    closed_ms = 3_600_000
    assert as_of(mine, closed_ms - 1) == []
    assert as_of(mine, closed_ms) == [old]
    assert revise(mine, Change(old, old._replace(volume=4.0))) == 1
    assert as_of(mine, closed_ms) == [old]
    assert as_of(mine, CLOCK.utc_ms() + 1)[0][5] == 4.0
