"""`--store`: which commands take a database, and what is never said of one."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import barfeed
from market_world import MarketMachine, market_machine, small_market
from pg_server import looked_at, new_market, shared_server, user_of
from process import BARFEED, Ran
from world import hours, ms

TARGET_MS = ms(2026, 3, 10, 13)
SECRET = "hunter2"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketMachine]:
    folder = tmp_path_factory.mktemp("machine")
    with market_machine(folder, small_market(TARGET_MS + hours(5), 800), TARGET_MS + hours(1) + 30_000) as machine:
        yield machine


def fed(machine: MarketMachine, *flags: str, **environment: str) -> Ran:
    places = ("--persist-dir", str(machine.folder / "feed"), "--max-skew-sec", "1e10", "--window-hours", "48")
    return machine.call([str(BARFEED), "run", "--symbols", "all", *places, *flags], **environment)


@pytest.mark.parametrize(
    ("address", "by"),
    [
        (f"postgresql://feeder:{SECRET}@db/market", "flag"),
        (f"postgresql://feeder:{SECRET}@db/market", "variable"),
        (f"postgresql://feeder:{SECRET}@db/market", "file"),
        (f"postgresql://db/market?password={SECRET}", "flag"),
        (f"postgres://db/market?sslpassword={SECRET}", "flag"),
        (f"postgresql://[::1/{SECRET}", "flag"),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(
    machine: MarketMachine, tmp_path: Path, address: str, by: str
) -> None:
    (tmp_path / "barfeed.toml").write_text(f"store = '{address}'\n")
    flags = {"flag": ["--store", address], "file": ["--config", str(tmp_path / "barfeed.toml")]}.get(by, [])
    ran = fed(machine, *flags, "--debug", **({"BARFEED_STORE": address} if by == "variable" else {}))
    assert ran.code == 2
    assert "holds a password" in ran.err
    assert "~/.pgpass" in ran.err
    assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize("address", ["market.duckdb", "mysql://db/market", "postgresql://db/mar ket"])
def test_what_is_no_address_is_wrong_usage(machine: MarketMachine, address: str) -> None:
    ran = fed(machine, "--store", address)
    assert (ran.code, "is not an address like postgresql://" in ran.err) == (2, True)


def test_a_file_does_not_go_with_a_database(machine: MarketMachine) -> None:
    ran = fed(machine, "--store", "postgresql://db/market", "--duckdb", "x.duckdb")
    assert (ran.code, "--store does not go with --duckdb" in ran.err) == (2, True)


@pytest.mark.long
def test_a_pass_over_a_database_keeps_its_lake_and_it_is_proven(machine: MarketMachine) -> None:
    address, lake = new_market(), machine.folder / "lake"
    ran = fed(machine, "--catch-up", "--store", address, "--lake", str(lake))
    assert (ran.code, ran.err) == (0, "")
    assert len(barfeed.open(lake).coverage()) == 5
    assert list(barfeed.open(lake).symbols()) == list(barfeed.open(address).symbols())
    proves = [str(BARFEED), "verify", "--symbols", "all", "--lake", str(lake)]
    proven = machine.call(proves, BARFEED_STORE=user_of(address, "barfeed_reader"))
    assert (proven.code, "lake_rows=245" in proven.out) == (0, True)
    [day, *_] = sorted(lake.glob("kind=ohlcv/interval=1h/*/*.parquet"))
    day.write_bytes(day.read_bytes()[:-100])
    found = machine.call(proves, BARFEED_STORE=address)
    assert (found.code, "is another file than the manifest tells of: cut, or changed" in found.out) == (1, True)


def test_a_file_that_is_typed_is_meant_whatever_the_environment_names(machine: MarketMachine, tmp_path: Path) -> None:
    ran = machine.call(
        [str(BARFEED), "revisions", "--duckdb", str(tmp_path / "none.duckdb")], BARFEED_STORE="postgresql://db/market"
    )
    assert (ran.code, "none.duckdb does not exist" in ran.err) == (4, True)


@pytest.mark.long
def test_tables_are_made_and_a_pass_fills_them(machine: MarketMachine) -> None:
    server = shared_server()
    address = server.address(server.new_database())
    made, again, told = (
        machine.call([str(BARFEED), "migrate", *flags], BARFEED_STORE=address) for flags in ([], [], ["--dry-run"])
    )
    assert (made.code, made.out) == (0, "migrated=2 since=0 to=2\n")
    assert (again.out, told.out) == ("migrated=0 since=2 to=2\n", "would_migrate=0 since=2 to=2\n")
    wrong = machine.call([str(BARFEED), "migrate", "--apart"], BARFEED_STORE=address)
    assert (wrong.code, "there all series are in one table" in wrong.err) == (2, True)
    ran = fed(machine, "--catch-up", "--store", address)
    assert (ran.code, ran.err) == (0, "")
    with looked_at(address) as connection:
        assert connection.execute("SELECT count(*) FROM barfeed.ohlcv_1h").fetchall() == [(5 * 48,)]
    status = machine.call([str(BARFEED), "status"], BARFEED_STORE=address)
    held, feeder, where, time, health = status.out.splitlines()
    assert held.startswith("1h: 240 bars of 5 symbols, newest 2026-03-10 13:00")
    assert feeder.startswith(
        f"feeder {platform.node()} {machine.folder / 'feed' / 'BINANCE.P_1h'}: appended 2026-03-10"
    )
    assert (where, health, status.code) == (f"store {address}", "healthy", 0)
    assert time == "time 2026-03-10 14:00:30 by the exchange's clock"
    told = json.loads(machine.call([str(BARFEED), "status", "--json"], BARFEED_STORE=address).out)
    assert (told["held"][0]["symbols"], told["feeders"][0]["trouble"]) == (5, "")


def test_an_hour_in_a_file_imports_no_library_of_a_database() -> None:
    code = (
        "import sys, barfeed.cli.commands.feed.run, barfeed.cli.wiring, barfeed.cli.market.wiring, barfeed.feed.cycle\n"
        "import barfeed.feed.market.one_pass; print(sorted({'psycopg', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
