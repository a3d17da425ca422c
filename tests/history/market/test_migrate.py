"""`barfeed migrate`: one series' tables into the market's and back, all or none, to the bit."""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

import fork_server
from barfeed.cli.commands.history.migrate import migrate
from barfeed.cli.commands.history.verify import verify
from commands import BARS, Ended, call, execute, make_store
from storage import opened

KILLED_COMMAND = str(Path(__file__).parents[2] / "killed.py")
TABLES = {"BTCUSDT": "ohlcv_btcusdt_1h", "ETHUSDT": "ohlcv_ethusdt_1h", "币安人生USDT": "ohlcv_币安人生usdt_1h"}
MARKET = "ohlcv_1h"
COLUMNS = "timestamp, open::BIT, high::BIT, low::BIT, close::BIT, volume::BIT, created_at"
CREATE = (
    "CREATE TABLE {} (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,"
    " volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
)


def alone(folder: Path) -> Path:
    """A store of three series with a table each, with gaps, odd values and moments of their own; one has a revision."""
    store = make_store(folder / "ohlcv.duckdb", BARS[:3], "spare")
    for number, table in enumerate(TABLES.values()):
        execute(
            store,
            CREATE.format(f'"{table}"'),
            f'INSERT INTO "{table}" SELECT make_timestamp_ms(1704067200000 + i * 3600000), 100 + i, 110 + i, 90, 100,'
            f" i * 0.1, TIMESTAMP '2024-03-01 00:00:00' + INTERVAL (i) SECOND FROM range({number}, 300) t(i)"
            " WHERE i % 97 != 5",
        )
    execute(
        store,
        "UPDATE ohlcv_ethusdt_1h SET open = '-0.0', high = 'NaN', low = NULL, created_at = NULL"
        " WHERE timestamp = '2024-01-02 00:00:00'",
        "CREATE TABLE ohlcv_revisions AS SELECT 'ETHUSDT 1h' AS series, 'as it was' AS reason",
        "DROP TABLE spare",
    )
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def rows(store: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every series' rows wherever they stand; fails where one is kept twice, or a table is there without a bar."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with opened(store, read_only=True) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        for symbol, table in TABLES.items():
            if table in tables:
                found[symbol] = connection.execute(f'SELECT {COLUMNS} FROM "{table}" ORDER BY ALL').fetchall()
            if MARKET in tables:
                query = f"SELECT {COLUMNS} FROM {MARKET} WHERE symbol = ? ORDER BY ALL"
                held = connection.execute(query, [symbol]).fetchall()
                assert not (held and symbol in found)
                found |= {symbol: held} if held else {}
        assert connection.execute("SELECT * FROM ohlcv_revisions").fetchall() == [("ETHUSDT 1h", "as it was")]
    return found


def tables(store: Path) -> set[str]:
    with opened(store, read_only=True) as connection:
        found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'ohlcv%'").fetchall()
    return {name for (name,) in found} - {"ohlcv_revisions"}


def run(store: Path, *words: str) -> Ended:
    return call(migrate, "--duckdb", store, *words)


@pytest.mark.long
def test_series_go_into_the_market_and_back_to_the_bit(store: Path) -> None:
    before = rows(store)
    done = run(store)
    assert (done.code, done.out) == (0, "migrated=3 bars=885 to=market misfits=0\n")
    assert (rows(store), tables(store)) == (before, {MARKET})
    again = run(store, "--json")
    assert (again.code, again.told["migrated"]) == (0, 0)
    back = run(store, "--apart")
    assert (back.code, back.out) == (0, "migrated=3 bars=885 to=own misfits=0\n")
    assert (rows(store), tables(store)) == (before, {MARKET, *TABLES.values()})
    assert run(store).code == 0
    assert rows(store) == before


def test_some_go_by_name_and_interval(store: Path) -> None:
    before = rows(store)
    assert run(store, "--intervals", "4h").out.startswith("migrated=0 ")
    assert run(store, "--symbols", "*USDT,!ETH*", "--intervals", "1h").out.startswith("migrated=2 ")
    assert (rows(store), tables(store)) == (before, {MARKET, "ohlcv_ethusdt_1h"})


def test_a_dry_run_leaves_every_byte(store: Path) -> None:
    before = store.read_bytes()
    assert run(store, "--dry-run").out == "would_migrate=3 bars=885 to=market misfits=0\n"
    assert store.read_bytes() == before


@pytest.mark.long
def test_what_was_moved_is_read_by_one_series_commands_and_by_the_macro(store: Path, tmp_path: Path) -> None:
    assert run(store).code == 0
    assert "verified=296" in call(verify, "--duckdb", store, "--persist-dir", tmp_path).out
    with opened(store, read_only=True) as connection:
        held = connection.execute("SELECT count(*), min(timestamp)::VARCHAR FROM ohlcv_1h_of('ethusdt')").fetchall()
    assert held == [(295, "2024-01-01 01:00:00")]
    # Who wants the old name makes a view of it: it is no table of its own.
    execute(store, "CREATE VIEW ohlcv_btcusdt_1h AS FROM ohlcv_1h_of('BTCUSDT')")
    assert "verified=296" in call(verify, "--duckdb", store, "--persist-dir", tmp_path).out


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER TABLE ohlcv_ethusdt_1h ADD COLUMN note VARCHAR", "it has columns that no bar has: note"),
        ("CREATE INDEX mine ON ohlcv_ethusdt_1h (close)", "it has a constraint or an index of its own"),
        ("ALTER TABLE ohlcv_ethusdt_1h ALTER created_at SET DEFAULT TIMESTAMP '2020-01-01'", "a column has a default"),
        ("CREATE VIEW mine AS SELECT * FROM ohlcv_ethusdt_1h", "the view mine reads it"),
        ("CREATE OR REPLACE TABLE ohlcv_ethusdt_1h AS SELECT * REPLACE (open::FLOAT AS open) FROM ohlcv_ethusdt_1h",
         "open is FLOAT: in the market's table it would be another"),
        ("CREATE OR REPLACE TABLE ohlcv_ethusdt_1h AS FROM ohlcv_ethusdt_1h UNION ALL FROM ohlcv_ethusdt_1h",
         "a timestamp is there twice, or is none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_and_nothing_is_moved(store: Path, statement: str, why: str) -> None:
    execute(store, statement)
    before = tables(store)
    done = run(store)
    assert done.code == 4
    assert f"ETHUSDT 1h: ohlcv_ethusdt_1h does not fit into the market's table: {why}" in done.err
    assert done.out.splitlines()[0].startswith("does not fit: ohlcv_ethusdt_1h: ")
    assert done.hint == "nothing was moved; leave it where it is: --symbols 'all,!ETHUSDT'"
    assert tables(store) == before
    assert run(store, "--symbols", "all,!ETHUSDT").out.startswith("migrated=2 ")


def test_a_series_that_stands_in_both_is_refused(store: Path) -> None:
    assert run(store, "--symbols", "ETHUSDT").code == 0
    execute(store, CREATE.format("ohlcv_ethusdt_1h"))
    assert "ohlcv_1h has bars of it, too" in run(store).err


def live_killed_migrations(tmp_path: Path, every: int, *words: str) -> int:
    store = alone(tmp_path / "untouched")
    if words:
        assert run(store).code == 0
    before, was = rows(store), tables(store)
    shutil.copytree(tmp_path / "untouched", tmp_path / "whole")
    command = [sys.executable, KILLED_COMMAND, "migrate"]
    flags = ("--duckdb", str(tmp_path / "whole" / "ohlcv.duckdb"), *words)
    whole = fork_server.run([*command, "0", *flags], os.environ)
    effects = int(re.findall(r"effects=(\d+)", whole.stderr)[0])
    becomes = tables(tmp_path / "whole" / "ohlcv.duckdb")
    kills = 0
    for step in range(1, effects, every):
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        shutil.copytree(tmp_path / "untouched", tmp_path / "one")
        one = tmp_path / "one" / "ohlcv.duckdb"
        killed = fork_server.run([*command, str(step), "--duckdb", str(one), *words], os.environ)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert rows(one) == before
        assert tables(one) in (was, becomes)
        assert run(one, *words).code == 0
        assert (rows(one), tables(one)) == (before, becomes)
        kills += 1
    return kills


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("--apart",)])
def test_a_killed_migration_leaves_the_one_or_the_other(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert live_killed_migrations(tmp_path, 9, *words) >= 3


@pytest.mark.proof
@pytest.mark.parametrize("words", [(), ("--apart",)])
def test_a_migration_killed_at_any_step_leaves_the_one_or_the_other(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert live_killed_migrations(tmp_path, 1, *words) > 20
