"""Kinds beside the bars of a market in a database that many hosts feed: each row once, whoever is first."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from barfeed.store.postgres.server import Server, migrate
from feed.kinds.kinds_hosts import FED, features, host, late, rows, rows_of_file
from feed.kinds.kinds_world import LATER_MS, NOW_MS, ONE_HOUR, SYMBOLS, TARGET_MS, KindsWorld
from feed.kinds.test_kinds_pass import LATE, left, pass_on
from pg_server import PostgresServer, looked_at, new_market, own_server, user_of
from process import BARFEED, Machine
from waiting import LONGEST_SEC, until

pytestmark = pytest.mark.long


@pytest.fixture
def address() -> str:
    """With no more rights than a feeder has."""
    return user_of(new_market(), "barfeed_feeder")


def test_hours_leave_in_a_database_what_they_leave_in_a_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    file = KindsWorld(tmp_path / "file", NOW_MS)
    with host(tmp_path / "database", address) as market:
        for hour, fault in enumerate(("", LATE, "", "")):
            for each in (market, file):
                each.clock.go_to(NOW_MS + hour * HOUR_MS + (LATER_MS if hour == 3 else 0))
            ours, theirs = (each.run_pass(fault, catch_up=True, csv_for=("BTCUSDT",)) for each in (market, file))
            assert (ours.exit_code, left(ours)) == (theirs.exit_code, left(theirs))
            assert ours.kinds
            assert theirs.kinds
            assert [each.told() for each in ours.kinds.kinds] == [each.told() for each in theirs.kinds.kinds]
            for kind in KINDS.values():
                assert repr(rows(address, kind)) == repr(rows_of_file(file, kind)), kind.name
            assert repr(features(market)) == repr(features(file))
            csv = "latest_features_input_BTCUSDT.csv"
            assert (market.feed.folder / csv).read_bytes() == (file.feed.folder / csv).read_bytes()


def test_who_comes_second_compares_and_publishes_all_the_same(address: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", address, *FED) as first, host(tmp_path / "b", address, *FED) as second:
        for hour in (0, 1):
            for each in (first, second):
                each.clock.go_to(NOW_MS + hour * HOUR_MS + LATER_MS)
            told = [each.run_pass(catch_up=True) for each in (first, second)]
            assert [record.exit_code for record in told] == [0, 0]
            assert [bool(record.kinds and record.kinds.appended) for record in told] == [True, False]
            assert features(first) == features(second)
    assert late(address) == []


def test_hosts_that_race_leave_each_row_once_and_note_nothing_as_late(address: str, tmp_path: Path) -> None:
    def feed(number: int) -> int:
        appended = 0
        with host(tmp_path / str(number), address, *FED) as market:
            for hour in (0, 1):
                market.clock.go_to(NOW_MS + hour * HOUR_MS + LATER_MS)
                record = market.run_pass(catch_up=True)
                assert record.exit_code == 0, record.complaints
                appended += record.kinds.appended if record.kinds else 0
        return appended

    with ThreadPoolExecutor(4) as hosts:
        appended = sum(hosts.map(feed, range(4)))
    held = [(kind, symbol, at_ms) for kind in FED for symbol, at_ms, *_ in rows(address, KINDS[kind])]
    assert (len(held), len(set(held))) == (appended, appended)
    assert late(address) == []


def test_what_one_host_was_without_is_known_from_when_another_has_it(address: str, tmp_path: Path) -> None:
    interest = KINDS["open_interest"]
    a, b = (host(tmp_path / each, address, "open_interest") for each in "ab")
    with a as first, b as second:
        assert pass_on(first).exit_code == 0
        record = pass_on(first, LATE)
        assert (record.status, len(late(address))) == ("kind_late", len(SYMBOLS))
        second.clock.go_to(first.clock.now_ms + MINUTE_MS)
        assert second.run_pass(catch_up=True).exit_code == 0
    known = {(symbol, at_ms): known_ms for symbol, at_ms, known_ms, *_ in rows(address, interest)}
    assert known["BTCUSDT", TARGET_MS + HOUR_MS] == second.clock.now_ms
    assert known["BTCUSDT", TARGET_MS] == TARGET_MS + HOUR_MS + 5 * MINUTE_MS


def test_what_another_host_has_stored_meanwhile_is_not_late(address: str, tmp_path: Path) -> None:
    a, b = (host(tmp_path / each, address, "open_interest") for each in "ab")
    with a as first, b as second:
        pass_on(first)

        class Quicker(Server):
            """The other host has lived its pass while this one asked for a kind: the bars are written first."""

            written = 0

            @contextmanager
            def session(self, *, write: bool) -> Iterator[Any]:
                self.written += write
                if write and self.written == 2:
                    assert second.run_pass(catch_up=True).exit_code == 0
                with super().session(write=write) as connection:
                    yield connection

        second.clock.go_to(first.clock.now_ms + HOUR_MS)
        with closing(Quicker(address, SystemClock(), 0.0, tmp_path / "a.json")) as store:
            first.lives_with(store, "open_interest")
            record = pass_on(first, LATE)
        assert (record.status, store.written) == ("kind_late", 2)
    assert late(address) == []
    assert rows(address, KINDS["open_interest"])[-1][1] == TARGET_MS + HOUR_MS


def test_a_contradiction_within_the_terms_is_taken_and_both_versions_are_kept(address: str, tmp_path: Path) -> None:
    kind = KINDS["mark_price"]
    with host(tmp_path / "a", address, "mark_price") as market:
        pass_on(market)
        newest_ms = rows(address, kind)[-1][1]
        with looked_at(address.replace("barfeed_feeder@", "postgres@")) as connection:
            connection.execute(
                "UPDATE barfeed.mark_price_1h SET high = high * 1.0005 WHERE symbol = 'BTCUSDT'"
                " AND timestamp = (SELECT max(timestamp) FROM barfeed.mark_price_1h)"
            )
        record = pass_on(market)
        assert (record.exit_code, left(record)) == (1, {"mark_price": "mismatch"})
        market.with_kinds("mark_price", accept=Terms(0.001, 0.2, 5.0), dry_run=True)
        record = pass_on(market)
        assert record.kinds
        assert (record.exit_code, record.kinds.kinds[0].revised) == (0, 1)
        market.with_kinds("mark_price", accept=Terms(0.001, 0.2, 5.0))
        record = pass_on(market)
        assert record.kinds
        assert (record.exit_code, record.kinds.kinds[0].revised) == (0, 1)
        [told] = market.feed.store.kinds.revisions(ONE_HOUR)
        assert (told.kind, told.symbol, told.timestamp_ms, told.name) == ("mark_price", "BTCUSDT", newest_ms, "high")
        for symbol in SYMBOLS:
            held = [(at_ms, *values) for each, at_ms, _, *values in rows(address, kind) if each == symbol]
            assert held == market.told(kind, symbol, held[0][0], held[-1][0])


class Dying(Server):
    """Each nth COMMIT is made, and the answer does not come."""

    nth = 0

    def _commit(self, connection: Any) -> None:
        super()._commit(connection)
        self.nth -= 1
        if self.nth == 0:
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")


class Terminated(Server):
    """Somebody ends the connection before its nth COMMIT."""

    nth = 0

    def _commit(self, connection: Any) -> None:
        self.nth -= 1
        if self.nth == 0:
            with looked_at(self.name) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        super()._commit(connection)


class Lost(Server):
    """The connection is lost in the middle of the nth look."""

    nth = 0

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Any]:
        with super().session(write=write) as connection:
            self.nth -= 1
            if self.nth == 0:
                connection.close()
            yield connection


@pytest.mark.parametrize("of", [Dying, Terminated, Lost])
def test_a_connection_that_breaks_anywhere_loses_and_doubles_nothing(address: str, tmp_path: Path, of: Any) -> None:
    (tmp_path / "free").mkdir()
    free = KindsWorld(tmp_path / "free", NOW_MS, *FED)
    with host(tmp_path / "a", address, *FED, of=of) as market:
        store = market.feed.store
        assert isinstance(store, of)
        for each in (market, free):
            each.run_pass(catch_up=True)
        broken = 0
        # All there are, the last ones first: at midnight there is one more.
        for nth in reversed(range(1, 12)):
            store.nth = nth
            for each in (market, free):
                each.clock.go_to(each.clock.now_ms + HOUR_MS)
            told = [each.run_pass(catch_up=True) for each in (market, free)]
            broken += store.nth <= 0
            assert [record.exit_code for record in told] == [0, 0], (nth, told[0].complaints)
            assert "pending" not in left(told[0]).values()
            assert features(market) == features(free)
        for name in FED:
            assert rows(address, KINDS[name]) == rows_of_file(free, KINDS[name])
        assert len(FED) < broken < 11


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server of its own, to be killed."""
    with own_server() as server:
        yield server


class Killed(Server):
    """The server is killed before its nth COMMIT."""

    nth = 0
    of: PostgresServer

    def _commit(self, connection: Any) -> None:
        self.nth -= 1
        if self.nth == 0:
            self.of.stop(signal.SIGKILL)
        super()._commit(connection)


def test_a_server_that_is_killed_in_the_middle_of_a_kind_leaves_it_to_the_next_pass(
    mortal: PostgresServer, tmp_path: Path
) -> None:
    address = mortal.address(mortal.new_database())
    migrate(address, SystemClock(), 0.0)
    (tmp_path / "free").mkdir()
    free = KindsWorld(tmp_path / "free", NOW_MS, *FED)
    with host(tmp_path / "a", address, *FED, of=Killed) as market:
        store = market.feed.store
        assert isinstance(store, Killed)
        store.of = mortal
        for each in (market, free):
            each.run_pass(catch_up=True)
        # The bars' own COMMIT, then one a kind.
        store.nth = 3
        told = [pass_on(each) for each in (market, free)]
        assert (told[0].status, told[0].exit_code, told[0].counts) == (told[1].status, 0, told[1].counts)
        assert sorted(left(told[0]).values()) == ["appended", *["pending"] * 3]
        mortal.start()
        told = [pass_on(each) for each in (market, free)]
        assert [record.exit_code for record in told] == [0, 0]
        for name in FED:
            assert rows(address, KINDS[name]) == rows_of_file(free, KINDS[name])
        assert features(market) == features(free)


def test_one_writes_a_kind_at_a_time_and_the_next_sees_what_it_wrote(address: str, tmp_path: Path) -> None:
    interest, row = KINDS["open_interest"], Row(TARGET_MS, TARGET_MS, (1.5, 2.5))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    def second() -> dict[str, list[Row]]:
        with host(tmp_path / "b", address) as market, market.feed.store.kinds.writing(interest, ONE_HOUR) as table:
            return table.rows({"BTCUSDT": 0})

    with host(tmp_path / "a", address) as market, looked_at(address) as looking, ThreadPoolExecutor(1) as other:
        with market.feed.store.kinds.writing(interest, ONE_HOUR) as table:
            seen = other.submit(second)
            until(lambda: looking.execute(waiting).fetchall() == [(1,)])
            table.append({"BTCUSDT": [row]})
        assert seen.result(LONGEST_SEC) == {"BTCUSDT": [row]}


class Feeding(Machine):
    """A host whose feed of one series has kinds beside its bars, in a database."""

    address = ""

    def command(self, *flags: str) -> list[str]:
        where = ("--store", self.address, "--persist-dir", str(self.folder / "feed"))
        kinds = ("--kinds", "klines,premium_index,open_interest", "--spot-url", self.url)
        return [
            str(BARFEED),
            "run",
            *where,
            "--max-skew-sec",
            "1e10",
            "--catch-up",
            "--buffer-hours",
            "0",
            *kinds,
            *flags,
        ]


@pytest.fixture
def feeding(address: str, tmp_path: Path) -> Iterator[Feeding]:
    """Seven minutes after a close, when all that is due is there."""
    clock = HandClock(TARGET_MS + HOUR_MS + 7 * MINUTE_MS)
    exchange = ReplayExchange([generate("BTCUSDT", "1h", TARGET_MS - 40 * 24 * HOUR_MS, 60 * 24, seed=5)], clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        machine = Feeding(tmp_path, exchange, clock, server.url)
        machine.address = address
        yield machine


def test_a_process_that_is_killed_while_it_appends_leaves_nothing_of_the_kind_and_the_next_has_it_all(
    feeding: Feeding, address: str
) -> None:
    assert feeding.feed().code == 0
    feeding.clock.advance(HOUR_MS)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    owner = address.replace("barfeed_feeder@", "postgres@")
    row = "('BTCUSDT', '2026-03-10 14:00', '2026-03-10 15:00', 1, 1, 1, 1)"
    with psycopg.connect(owner) as other, looked_at(owner) as looking:
        # It comes to the same key, and waits there for the one who has it.
        other.execute(f"INSERT INTO barfeed.premium_index_1h VALUES {row}")
        killed = feeding.start()
        until(lambda: looking.execute(waiting).fetchall() == [(1,)])
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=LONGEST_SEC)
        other.rollback()
        until(lambda: looking.execute(waiting).fetchall() == [(0,)])
    newest = {name: rows(address, KINDS[name])[-1][1] for name in ("klines", "premium_index", "open_interest")}
    assert newest == {"klines": TARGET_MS + HOUR_MS, "premium_index": TARGET_MS, "open_interest": TARGET_MS}
    feeding.clock.advance(HOUR_MS)
    done = feeding.feed()
    assert (done.code, done.err) == (0, "")
    assert " kinds=3 rows_of_kinds=5 features=" in done.out
    for name in newest:
        opens_ms = [at_ms for _, at_ms, *_ in rows(address, KINDS[name])]
        assert opens_ms == list(range(opens_ms[0], TARGET_MS + 2 * HOUR_MS + 1, HOUR_MS)), name
    table = feeding.artifacts / "latest_features_input.parquet"
    [told] = duckdb.execute("SELECT * FROM read_parquet(?) ORDER BY timestamp DESC LIMIT 1", [str(table)]).fetchall()
    assert None not in told
