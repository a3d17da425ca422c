"""The commands of history on a database: each says and does what it says and does on a file of the same rows."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import click
import duckdb
import pytest

from barfeed.cli.commands.history.backfill import backfill
from barfeed.cli.commands.history.copy import copy
from barfeed.cli.commands.history.export import export
from barfeed.cli.commands.history.repair import repair
from barfeed.cli.commands.history.revisions import revisions
from barfeed.cli.commands.history.verify import verify
from barfeed.domain.bars import Bar, Series
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import Ended, call, execute
from market_store import BARS, CREATE_REVISIONS, LAST_MS, list_symbols, make_market
from pg_server import copied, looked_at, new_market, user_of
from storage import opened
from world import hours, ms

pytestmark = pytest.mark.long

# What a proof finds, a repair mends, and an export as of a moment tells apart.
ODD = f"""
UPDATE ohlcv_1h SET open = NULL WHERE symbol = 'ADAUSDT' AND timestamp = '2026-03-01 00:00';
UPDATE ohlcv_1h SET low = high + 1 WHERE symbol = 'BTCUSDT' AND timestamp = '2026-02-20 00:00';
UPDATE ohlcv_1h SET volume = 1.5 WHERE symbol = 'BTCUSDT' AND timestamp = '2026-03-10 12:00';
UPDATE ohlcv_1h SET created_at = NULL WHERE symbol = 'ETHUSDT' AND timestamp < '2026-02-20';
DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDC' AND timestamp BETWEEN '2026-03-02 03:00' AND '2026-03-02 05:00';
DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDT' AND timestamp = '2026-03-09 10:00';
{CREATE_REVISIONS}INSERT INTO ohlcv_revisions
SELECT symbol || ' 1h', timestamp, open - 1, high, low, close, volume, open, high, low, close, volume,
       '2026-03-09', '2026-03-09 12:00:00.123456', 'because', 'a run'
FROM ohlcv_1h WHERE symbol IN ('BTCUSDT', 'ETHUSDT') AND timestamp = '2026-03-08 05:00';
"""
# What is of the moment, or of all that the exchange was asked in its minute.
_RUNS = re.compile(
    r"""rate=\S+ \S+ s|weight=\d+|"(duration_sec|used_weight)": \S+|accepted=\S+ \S+|seen=\S+ \S+"""
    r"""|"(accepted_at|seen_at)": "[^"]*"|run='[^']*'"""
)


class Pair(NamedTuple):
    """A file, a database with the same rows, and the exchange that both are compared with."""

    file: Path
    address: str
    url: str
    folder: Path

    def asked(self, command: click.Command, *words: object, user: str = "") -> tuple[Ended, Ended]:
        """A command on the one and on the other, told apart by nothing any more."""
        address = user_of(self.address, user) if user else self.address
        file, database = ["--duckdb", str(self.file)], ["--store", address]
        return _alike(call(command, *words, *file), file), _alike(call(command, *words, *database), database)


def _alike(ended: Ended, store: list[str]) -> Ended:
    def alike(text: str) -> str:
        named = text.replace(f"{store[0]} '{store[1]}'", "STORE").replace(" ".join(store), "STORE")
        return _RUNS.sub("", named.replace(store[1], "NAME"))

    return Ended(ended.code, *map(alike, ended[1:]))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    tapes = [Tape.of(Series.of(each, "1h"), bars) for each, bars in BARS.items()]
    now_ms = HandClock(LAST_MS + hours(1) + 40_000).now_ms
    with ReplayServer(WithArchive(ReplayExchange(tapes, now_ms), ReplayArchive(tapes, now_ms))) as server:
        yield server.url


def empty_pair(folder: Path, url: str) -> Pair:
    """An empty database, and no file yet."""
    return Pair(folder / "new.duckdb", new_market(), url, folder)


def made(folder: Path, url: str) -> Pair:
    """With what is odd in it."""
    file = make_market(folder / "market.duckdb")
    list_symbols(file, "2026-03-01", ("BTCUSDT", "TRADING"), ("币安人生USDT", "TRADING"))
    execute(file, ODD)
    address = new_market()
    assert call(copy, file, address).code == 0
    return Pair(file, address, url, folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, url: str) -> Pair:
    """One to look at."""
    return made(tmp_path_factory.mktemp("pair"), url)


@pytest.fixture
def own_pair(pair: Pair, tmp_path: Path) -> Pair:
    """One to change."""
    return Pair(Path(shutil.copy(pair.file, tmp_path)), copied(pair.address), pair.url, tmp_path)


@pytest.mark.parametrize(
    ("symbols", "code", "said"),
    [
        (["--symbols", "all"], 1, "findings=4"),
        (["--symbols", "BTCUSDT,NONEUSDT"], 1, "NONEUSDT 1h: NAME holds no bar to verify"),
        (["--symbols", "all", "--interval", "4h"], 1, "market 4h: NAME holds no bar"),
        (["--symbols", "*USDT", "--json"], 1, ""),
        (["--symbol", "BTCUSDT"], 1, "gap: 2026-03-09 10:00 is missing"),
        (["--symbol", "ETHUSDT"], 0, "findings=0"),
        (["--symbol", "NONEUSDT"], 1, "NONEUSDT 1h: NAME holds no bar to verify"),
        (["--symbol", "ADAUSDT", "--json"], 1, ""),
    ],
)
def test_a_proof_finds_the_same(pair: Pair, symbols: list[str], code: int, said: str) -> None:
    file, database = pair.asked(verify, *symbols, "--persist-dir", pair.folder / "feed", user="barfeed_reader")
    assert database == file
    assert (file.code, said in file.out + file.err) == (code, True)


@pytest.mark.parametrize("symbols", [["--symbols", "*USDT", "--from", "2026-03-01"], ["--symbol", "BTCUSDT"]])
def test_a_proof_against_the_exchange_finds_the_same(pair: Pair, symbols: list[str]) -> None:
    against = ("--against", "rest", "--base-url", pair.url, "--persist-dir", pair.folder / "feed")
    file, database = pair.asked(verify, *symbols, *against, user="barfeed_reader")
    assert database == file
    assert "mismatch: " in file.out
    assert "barfeed repair STORE" in file.hint + file.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--symbol", "BTCUSDT"], 0),
        (["--symbol", "ethusdt", "--as-of", "2026-02-19"], 0),
        (["--symbol", "BTCUSDT", "--as-of", "2026-03-09", "--from", "2026-03-08", "--plain-decimals"], 0),
        (["--symbol", "BTCUSDT", "--from", "2027-01-01"], 1),
        (["--symbol", "NONEUSDT"], 1),
        (["--symbols", "all", "--from", "2026-03-01"], 0),
        (["--symbols", "*", "--as-of", "2026-03-05", "--json"], 0),
        (["--symbols", "all", "--as-of", "2026-01-05"], 1),
        (["--symbols", "NONEUSDT"], 1),
    ],
)
def test_a_file_of_either_is_the_same(pair: Pair, words: list[str], code: int) -> None:
    target, told = pair.folder / "exported.csv", []
    for store in (["--duckdb", str(pair.file)], ["--store", user_of(pair.address, "barfeed_reader")]):
        ended = _alike(call(export, target, *words, *store), store)
        told.append((ended, target.read_bytes() if target.exists() else b""))
        target.unlink(missing_ok=True)
    assert told[0] == told[1]
    assert (told[0][0].code, bool(told[0][1])) == (code, code == 0)


def test_a_parquet_of_the_market_holds_what_is_stored(pair: Pair) -> None:
    target = pair.folder / "market.parquet"
    assert call(export, target, "--symbols", "all", "--store", user_of(pair.address, "barfeed_reader")).code == 0
    query = "SELECT symbol, timestamp, open, high, low, close, volume FROM {} ORDER BY ALL"
    exported = duckdb.execute(query.format(f"'{target}'")).fetchall()
    with opened(pair.file, read_only=True) as connection:
        assert repr(exported) == repr(connection.execute(query.format("ohlcv_1h")).fetchall())


@pytest.mark.parametrize(
    "words", [["--symbol", "BTCUSDT"], ["--symbol", "ADAUSDT"], ["--symbols", "all"], ["--symbols", "ETH*", "--json"]]
)
def test_the_revisions_of_either_are_the_same(pair: Pair, words: list[str]) -> None:
    file, database = pair.asked(revisions, *words, user="barfeed_reader")
    assert (file.code, database) == (0, file)


def rows_of(pair: Pair) -> tuple[list[Any], list[Any]]:
    """All that a repair may change, of both."""
    bars = "SELECT symbol, timestamp, open, high, low, close, volume FROM {}ohlcv_1h ORDER BY symbol, timestamp"
    audit = (
        "SELECT series, timestamp, old_open, old_low, old_volume, new_open, new_low, new_volume, reason"
        " FROM {}ohlcv_revisions ORDER BY series, timestamp, reason"
    )
    with opened(pair.file, read_only=True) as connection:
        file = [connection.execute(each.format("")).fetchall() for each in (bars, audit)]
    with looked_at(pair.address) as database:
        return file, [database.execute(each.format("barfeed.")).fetchall() for each in (bars, audit)]


def test_a_market_is_mended_the_same_and_both_versions_are_kept(own_pair: Pair) -> None:
    pair, url, tmp_path = own_pair, own_pair.url, own_pair.folder
    words = ("--symbols", "A*,B*", "--base-url", url, "--pause-sec", "0", "--from", "2026-02-19", "--reason", "odd")
    before = rows_of(pair)
    file, database = pair.asked(repair, *words, "--dry-run", user="barfeed_reader")
    assert (file.code, database, rows_of(pair)) == (1, file, before)
    file, database = pair.asked(repair, *words, "--yes", "--persist-dir", tmp_path, user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    after = rows_of(pair)
    assert repr(after[0]) == repr(after[1])
    assert len(after[1][0]) == len(before[1][0]) + 4
    assert [row[-1] for row in after[1][1]].count("odd") == 3


def test_one_series_is_mended_the_same(own_pair: Pair) -> None:
    pair, url, tmp_path = own_pair, own_pair.url, own_pair.folder
    words = ("--symbol", "BTCUSDT", "--base-url", url, "--pause-sec", "0", "--persist-dir", tmp_path, "--yes")
    file, database = pair.asked(repair, *words, "--only", "gaps", user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    file, database = pair.asked(repair, *words, user="barfeed_feeder")
    assert (file.code, database, file.out.splitlines()[-1]) == (0, file, "filled=0 revised=2 left=0 ")
    after = rows_of(pair)
    assert repr(after[0]) == repr(after[1])


def bars_of(pair: Pair) -> dict[str, list[Bar]]:
    """What the database holds."""
    found: dict[str, list[Bar]] = {}
    query = "SELECT symbol, timestamp, open, high, low, close, volume FROM barfeed.ohlcv_1h ORDER BY symbol, timestamp"
    with looked_at(pair.address) as connection:
        for symbol, at, *values in connection.execute(query).fetchall():
            found.setdefault(symbol, []).append(Bar(int(at.replace(tzinfo=UTC).timestamp()) * 1000, *values))
    return found


@pytest.mark.parametrize("source", ["rest", "archive"])
def test_a_market_is_filled_the_same(tmp_path: Path, url: str, source: str) -> None:
    pair = empty_pair(tmp_path, url)
    words = ("--symbols", "all", "--source", source, "--base-url", url, "--archive-url", url, "--persist-dir", tmp_path)
    file, database = pair.asked(backfill, *words, "--from", "2026-03-01", "--to", "2026-03-05", user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    file, database = pair.asked(backfill, *words, "--from", "2026-02-25", user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    assert bars_of(pair) == {
        symbol: [bar for bar in bars if bar.open_time_ms >= ms(2026, 2, 25)] for symbol, bars in BARS.items()
    }
    again, database = pair.asked(backfill, *words, "--from", "2026-02-25", "--json", user="barfeed_feeder")
    assert (again.code, database) == (0, again)


def test_what_is_missing_of_a_market_is_filled_and_what_is_stored_stays(own_pair: Pair) -> None:
    pair, url, tmp_path = own_pair, own_pair.url, own_pair.folder
    words = ("--base-url", url, "--archive-url", url, "--persist-dir", tmp_path)
    file, database = pair.asked(backfill, "--symbols", "*", "--source", "rest", *words, user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    after = rows_of(pair)
    assert repr(after[0]) == repr(after[1])
    assert len(after[1][0]) == sum(map(len, BARS.values()))


def test_one_series_is_filled_the_same_from_each_source(tmp_path: Path, url: str) -> None:
    pair = empty_pair(tmp_path, url)
    words = ("--symbol", "BTCUSDT", "--base-url", url, "--archive-url", url, "--persist-dir", tmp_path)
    file, database = pair.asked(backfill, *words, "--source", "rest", "--to", "2026-02-12", user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    file, database = pair.asked(backfill, *words, "--source", "archive", "--to", "2026-03-01", user="barfeed_feeder")
    assert (file.code, database) == (0, file)
    own = tmp_path / "BTCUSDT_1h.csv"
    dearer = [bar._replace(close=bar.high) if nth == 5 else bar for nth, bar in enumerate(BARS["BTCUSDT"])]
    own.write_text("\n".join(["timestamp,open,high,low,close,volume", *(",".join(map(repr, bar)) for bar in dearer)]))
    file, database = pair.asked(backfill, own, *words, "--source", "csv", user="barfeed_feeder")
    assert (file.code, database) == (1, file)
    assert "compared=" in file.out
    assert bars_of(pair) == {"BTCUSDT": list(BARS["BTCUSDT"])}
    later = [bar._replace(open_time_ms=bar.open_time_ms + hours(2)) for bar in BARS["BTCUSDT"][:-2]]
    own.write_text("\n".join(["timestamp,open,high,low,close,volume", *(",".join(map(repr, bar)) for bar in later)]))
    with looked_at(pair.address) as connection:
        connection.execute("DELETE FROM barfeed.ohlcv_1h WHERE timestamp = '2026-03-05'")
    execute(pair.file, "DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2026-03-05'")
    file, database = pair.asked(backfill, own, *words, "--source", "csv", user="barfeed_feeder")
    assert (file.code, database) == (2, file)
    assert "its times are not UTC" in file.hint


def test_a_reader_may_not_repair_and_is_told_so(pair: Pair) -> None:
    words = ("--symbol", "BTCUSDT", "--base-url", pair.url, "--pause-sec", "0", "--yes")
    ran = call(repair, *words, "--persist-dir", pair.folder, "--store", user_of(pair.address, "barfeed_reader"))
    assert (ran.code, "this user may not do that" in ran.err, "deploy/postgres" in ran.hint) == (4, True, True)


@pytest.mark.parametrize(
    ("command", "words"), [(verify, []), (export, ["x.csv"]), (revisions, []), (repair, ["--dry-run"]), (backfill, [])]
)
def test_a_database_that_is_away_or_empty_is_told(
    tmp_path: Path, url: str, command: click.Command, words: list[str]
) -> None:
    more = ["--base-url", url] if command in (repair, backfill) else []
    away = f"postgresql://nobody@/market?host={tmp_path}"
    ran = call(command, *words, *more, "--lock-timeout-sec", "0", "--store", away)
    assert (ran.code, ran.err) == (4, f"{away} cannot be used: nobody listens there")
