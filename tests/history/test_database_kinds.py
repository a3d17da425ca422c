"""The commands about kinds on a database: each says and does what it says and does on a file with the same rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

import barfeed
from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.operate.doctor.database import Database, kinds_of
from barfeed.store.kinds.revisions import make_table
from commands import execute
from feed.kinds.kinds_hosts import host, rows, rows_of_file
from feed.kinds.kinds_world import LATER_MS, NOW_MS, ONE_HOUR, SYMBOLS, TARGET_MS, KindsWorld
from market_world import MarketMachine
from pg_server import copied, looked_at, new_market, user_of
from process import BARFEED, Ran

pytestmark = pytest.mark.long

FED = ("klines", "mark_price", "open_interest", "funding")
ALL = ",".join(FED)
# What is of the moment.
_RUNS = re.compile(r"""rate=\S+ \S+ s|requests=\d+|accepted=\S+ \S+|seen=\S+ \S+|run='[^']*'""")


class Pair(NamedTuple):
    """A file and a database that were fed the same, and the exchange that has all of it."""

    world: KindsWorld
    address: str
    machine: MarketMachine

    def asked(self, *words: object, user: str = "barfeed_feeder", **environment: str) -> tuple[Ran, Ran]:
        """A command on the one and on the other, told apart by nothing any more."""
        stores = (["--duckdb", str(self.world.duckdb)], ["--store", user_of(self.address, user)])
        told = []
        for store in stores:
            given = {"BARFEED_SPOT_URL": self.machine.url} | environment
            ran = self.machine.call([str(BARFEED), *map(str, words), *store], **given)
            told.append(Ran(ran.code, *(_RUNS.sub("", _unnamed(text, store)) for text in (ran.out, ran.err))))
        return told[0], told[1]

    def execute(self, statement: str) -> None:
        """Change both behind everybody's back."""
        execute(self.world.duckdb, statement.format(schema="", at="make_timestamp_ms"))
        with looked_at(self.address) as superuser:
            at = "timestamp 'epoch' + interval '1 millisecond' * "
            superuser.execute(statement.format(schema="barfeed.", at=at))

    def are_alike(self) -> bool:
        return all(repr(rows(self.address, KINDS[name])) == repr(rows_of_file(self.world, KINDS[name])) for name in FED)


def _unnamed(text: str, store: list[str]) -> str:
    for each in (f"{store[0]} '{store[1]}'", " ".join(store), store[1]):
        text = text.replace(each, "STORE")
    return text


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One to look at."""
    folder, address = tmp_path_factory.mktemp("fed"), new_market()
    (folder / "file").mkdir()
    world = KindsWorld(folder / "file", NOW_MS, *FED)
    with host(folder / "host", address, *FED) as market:
        for each in (market, world):
            each.clock.go_to(NOW_MS + LATER_MS)
            assert each.run_pass(catch_up=True).exit_code == 0
    with world.served() as machine:
        yield Pair(world, address, machine)


@pytest.fixture
def pair(fed: Pair, tmp_path: Path) -> Iterator[Pair]:
    """One to change."""
    (tmp_path / "feed").mkdir()
    (tmp_path / fed.world.duckdb.name).write_bytes(fed.world.duckdb.read_bytes())
    world = KindsWorld(tmp_path, NOW_MS + LATER_MS, *FED)
    with world.served() as machine:
        yield Pair(world, copied(fed.address), machine)


def spoil(pair: Pair) -> None:
    """A mark that differs, and a row of open interest of two symbols, one of funding that are missing."""
    at_ms = TARGET_MS - 2 * HOUR_MS
    pair.execute(
        f"UPDATE {{schema}}mark_price_1h SET close = close + 1 WHERE symbol = 'BTCUSDT' AND timestamp = {{at}}({at_ms})"
    )
    pair.execute(f"DELETE FROM {{schema}}open_interest_1h WHERE symbol <> 'ETHUSDT' AND timestamp = {{at}}({at_ms})")
    pair.execute(
        "DELETE FROM {schema}funding WHERE symbol = 'ETHUSDT'"
        " AND timestamp BETWEEN '2026-03-10 07:00' AND '2026-03-10 09:00'"
    )


def test_a_proof_finds_the_same(pair: Pair) -> None:
    words = ("verify", "--kinds", ALL, "--symbols", "all", "--archive-url", pair.machine.url)
    file, database = pair.asked(*words, user="barfeed_reader")
    assert (file.code, database) == (0, file)
    spoil(pair)
    for more in ((), ("--against", "rest"), ("--against", "rest", "--from", "2026-03-10", "--json")):
        file, database = pair.asked(*words, *more, user="barfeed_reader")
        assert (file.code, database) == (1 if more else 0, file)
    file, database = pair.asked("verify", "--kinds", "taker_volume")
    assert (file.code, database) == (1, file)


def test_what_differs_is_mended_the_same_with_both_versions_kept(pair: Pair) -> None:
    spoil(pair)
    words = ("repair", "--kinds", ALL, "--symbols", "all", "--pause-sec", "0")
    file, database = pair.asked(*words, "--dry-run", user="barfeed_reader")
    assert (file.code, database) == (1, file)
    assert "4 to repair" in file.out
    file, database = pair.asked(*words, "--yes", "--persist-dir", pair.world.feed.folder)
    assert (file.code, database) == (0, file)
    assert "filled=3 revised=1 left=0" in file.out
    assert pair.are_alike()
    file, database = pair.asked("revisions", "--kinds", ALL, "--symbols", "all", user="barfeed_reader")
    assert (file.code, database) == (0, file)
    assert "revisions=1 interval=1h" in file.out
    refused = pair.asked(*words, "--yes", user="barfeed_reader")[1]
    assert refused.code == 0, "nothing is left to do"


def test_years_are_filled_the_same_and_gone_on_with(pair: Pair) -> None:
    url = pair.machine.url
    words = ("backfill", "--kinds", "funding,open_interest,klines", "--archive-url", url, "--symbols", "all")
    more = ("--from", "2026-02-20", "--persist-dir", pair.world.feed.folder)
    file, database = pair.asked(*words, *more)
    assert (file.code, database) == (0, file)
    assert re.search(r"^funding: series=3 missing=\d\d+ appended=\d\d+ ", file.out, re.MULTILINE)
    assert pair.are_alike()
    file, database = pair.asked(*words, *more)
    assert (file.code, database) == (0, file)
    assert re.search(r"^klines: series=3 missing=0 appended=0 ", file.out, re.MULTILINE)


def read(path: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    return duckdb.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


@pytest.mark.parametrize(
    "words",
    [
        ("--wide", "--symbols", "all"),
        ("--wide", "--symbol", "BTCUSDT", "--kinds", "funding,taker_volume,open_interest"),
        ("--wide", "--symbols", "*", "--from", "2026-03-10 05:00", "--to", "2026-03-10 11:00"),
        ("--wide", "--symbols", "BTCUSDT,ETHUSDT", "--as-of", "2026-03-10 10:02"),
        ("--kind", "funding", "--symbols", "all"),
        ("--kind", "open_interest", "--symbol", "ETHUSDT", "--from", "2026-03-10 05:00", "--to", "2026-03-10 11:00"),
    ],
    ids=" ".join,
)
def test_a_file_is_made_the_same(pair: Pair, tmp_path: Path, words: tuple[str, ...]) -> None:
    if "--as-of" in words:
        backdate(pair)
    path = tmp_path / "told.parquet"
    file, database = pair.asked("export", path, *words, user="barfeed_reader")
    assert (file.code, database) == (0, file)
    told = []
    for store in (["--duckdb", pair.world.duckdb], ["--store", pair.address]):
        ran = pair.machine.call([str(BARFEED), "export", *map(str, (path, *words, *store))])
        assert ran.code == 0, ran.err
        told.append(read(path, "* EXCLUDE (created_at)" if "--kind" in words else "*"))
    assert repr(told[0]) == repr(told[1])
    assert len(told[0]) > 5


def backdate(pair: Pair) -> None:
    """As if each row was stored when it was known, and one had another value until noon."""
    pair.execute("UPDATE {schema}ohlcv_1h SET created_at = timestamp + interval '1 hour'")
    for name in FED:
        pair.execute(f"UPDATE {{schema}}{KINDS[name].table(ONE_HOUR)} SET created_at = known_at")
    with pair.world.store.session(write=True) as connection:
        make_table(connection)
    pair.execute(
        "INSERT INTO {schema}kinds_revisions (kind, interval, symbol, timestamp, name, old, new, accepted_at)"
        " SELECT 'funding', '1h', symbol, max(timestamp), 'funding_rate', 0.5, 0.25, timestamp '2026-03-10 12:00'"
        " FROM {schema}funding WHERE symbol = 'BTCUSDT' GROUP BY symbol"
    )


def test_python_reads_the_same(fed: Pair) -> None:
    file, database = barfeed.open(fed.world.duckdb), barfeed.open(user_of(fed.address, "barfeed_reader"))
    both = ["BTCUSDT", "ETHUSDT"]
    given: list[dict[str, Any]] = [{}, {"kinds": "funding"}, {"start": "2026-03-10 05:00", "end": "2026-03-10 11:00"}]
    for how in given:
        ours, theirs = (each.wide(both, **how) for each in (database, file))
        assert (ours.columns, repr(list(ours))) == (theirs.columns, repr(list(theirs)))
    with pytest.raises(barfeed.StoreEmpty, match="holds no kind of series beside the bars of 1h"):
        empty_of_kinds(fed).wide("BTCUSDT")


def empty_of_kinds(fed: Pair) -> barfeed.Reader:
    address = copied(fed.address)
    with looked_at(address) as superuser:
        for name in FED:
            superuser.execute(f"DROP TABLE barfeed.{KINDS[name].table(ONE_HOUR)}")
    return barfeed.open(address)


def test_status_and_doctor_tell_what_is_missing_while_it_can_be_had(pair: Pair) -> None:
    words = ("--persist-dir", pair.world.feed.folder)
    stores = (["--duckdb", pair.world.duckdb, "--symbols", "all"], ["--store", pair.address])
    told = [pair.machine.call([str(BARFEED), "status", *map(str, (*each, *words))]).out for each in stores]
    of_file, of_database = ([line for line in each.splitlines() if line.startswith("  kinds ")] for each in told)
    assert (len(of_file), of_database) == (1, of_file)
    spoil(pair)
    ran = pair.machine.call([str(BARFEED), "status", "--store", pair.address, *map(str, words)])
    said = "open_interest 1h: 2 rows missing of 2 series (1000PEPEUSDT, BTCUSDT), the first 2026-03-10 11:00"
    assert (ran.code, f"  trouble     {said}" in ran.out, "not healthy" in ran.out) == (1, True, True), ran.out
    now_ms = pair.world.clock.now_ms
    at = Database(pair.address, pair.world.feed.folder, "", 5.0, pair.world.clock)
    [check] = kinds_of(at, ONE_HOUR, SYMBOLS, now_ms)
    assert (check.name, check.state, check.seen.startswith(said)) == ("open_interest 1h", "bad", True)
    assert kinds_of(at, ONE_HOUR, {"ETHUSDT"}, now_ms) == []
