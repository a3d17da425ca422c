"""`barfeed backfill --kinds` as a process: what it prints, how it ends, and that a kill costs nothing."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fork_server
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.machine.clock import SystemClock
from barfeed.replay.faults.script import parse_faults
from barfeed.store.duckdb import Store
from barfeed.store.lake.lake import Lake
from history.kinds.kinds_world import DAY_MS, NOW_MS
from process import BARFEED, Machine, Ran
from storage import opened

KILLED_COMMAND = str(Path(__file__).parents[2] / "killed.py")
FROM = "2026-07-02"
# So many effects before the end, and the first kind is not stored yet.
_STORED_WITHIN = 40
# So many effects, of threads that wait for one another, are there at one time and not at another.
_NOT_EACH_TIME = 3
FIRST_MS = NOW_MS - NOW_MS % DAY_MS - 33 * DAY_MS


def words(market: Machine, store: Path, *flags: str) -> list[str]:
    urls = ["--archive-url", market.url, "--spot-url", market.url]
    return ["--symbol", "BTCUSDT", "--kinds", "open_interest,funding", *urls, "--duckdb", str(store), *flags]


def fill(market: Machine, *flags: str) -> Ran:
    return market.call([str(BARFEED), "backfill", *words(market, market.duckdb, *flags)])


def held(store: Path) -> list[Any]:
    """Every row of the two kinds, as often as it is; nothing where no table is."""
    if not store.exists():
        return []
    found: list[Any] = []
    with opened(store, read_only=True) as connection:
        for table in ("open_interest_1h", "funding"):
            if connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall():
                query = f"SELECT '{table}', * EXCLUDE (created_at) FROM {table} ORDER BY ALL"
                found += connection.execute(query).fetchall()
    return found


def test_kinds_are_filled_by_a_process_and_told(market: Machine) -> None:
    done = fill(market, "--from", FROM)
    assert done.code == 0, done
    first, second, summary = done.out.splitlines()
    hours = (NOW_MS - FIRST_MS) // HOUR_MS
    assert first.startswith("funding: series=1 missing=")
    assert (
        second == f"open_interest: series=1 missing={hours} appended={hours} compared=0 mismatches=0 holes=0 failed=0"
    )
    assert re.fullmatch(r"source=auto requests=\d+ rate=\d+/s \d+\.\d\d s", summary)
    told = json.loads(fill(market, "--json", "--from", FROM).out)
    assert [each["missing"] for own in told["kinds"].values() for each in own] == [0, 0]
    with opened(market.duckdb, read_only=True) as connection:
        rows = connection.execute("SELECT count(*), min(timestamp)::VARCHAR FROM open_interest_btcusdt_1h").fetchall()
    assert rows == [(hours, "2026-07-02 00:00:00")]


def test_without_a_beginning_it_is_what_the_exchange_remembers(market: Machine) -> None:
    done = fill(market, "--kinds", "open_interest")
    assert done.code == 0, done
    assert done.out.startswith(
        "open_interest: series=1 missing=719 appended=719 compared=0 mismatches=0 holes=0 failed=0\n"
    ), done
    assert market.exchange.limits["data"].most == 2


def test_what_is_not_due_yet_is_told_with_the_exchange_s_time(market: Machine) -> None:
    done = fill(market, "--from", "2027-01-01")
    assert done.code == 0, done
    *why, summary = done.out.splitlines()
    said = "nothing is due from 2027-01-01 00:00 on: it is 2026-08-04 00:10 on the exchange"
    assert why == [f"none: {kind}: {said}" for kind in ("funding", "open_interest")]
    assert summary.startswith("source=auto requests=")
    told = json.loads(fill(market, "--json", "--from", "2027-01-01").out)
    assert [(each["rule"], each["message"]) for each in told["notes"]] == [("none", said)] * 2
    before = fill(market, "--from", "2020-01-01", "--to", "2020-02-01")
    assert "none: funding: none of these series has any in this span\n" in before.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "funding needs --from: the exchange keeps it for ever"),
        (["--from", FROM, "--source", "csv", "x.csv"], "--kinds takes no FILE"),
        (["--from", FROM, "--kinds", "prices"], "--kinds: 'prices' is no kind of series"),
        (["--from", FROM, "--kinds", ","], "--kinds names no kind of series"),
        (["--from", FROM, "--interval", "3m"], "--kinds: the exchange has no open_interest of 3m"),
        (["--from", FROM, "--to", "2026-01-01"], "--from 2026-07-02 00:00 is not before --to 2026-01-01 00:00"),
    ],
)
def test_what_cannot_be_meant_is_told(market: Machine, flags: list[str], said: str) -> None:
    (market.folder / "x.csv").write_text("")
    done = market.call([str(BARFEED), "backfill", *words(market, market.duckdb, *flags)])
    assert (done.code, done.out) == (2, "")
    assert f"barfeed: {said}" in done.err


def test_one_kind_that_fails_is_told_with_its_exit_code(market: Machine) -> None:
    market.exchange.faults = parse_faults("[[fault]]\nkind='object'\npath='fundingRate'\n", "the test")
    done = fill(market, "--from", FROM)
    assert done.code == 5, done
    assert "barfeed: BTCUSDT: funding: " in done.err
    assert "open_interest: series=1 missing=" in done.out
    assert {row[0] for row in held(market.duckdb)} == {"open_interest_1h"}


@pytest.mark.long
def test_a_backfill_of_kinds_killed_at_some_steps_is_gone_on_with(market: Machine) -> None:
    live_killed_fills(market, 4)


@pytest.mark.proof
def test_a_backfill_of_kinds_killed_at_many_steps_is_gone_on_with(market: Machine) -> None:
    assert live_killed_fills(market, 60) > 0


def live_killed_fills(market: Machine, steps: int) -> int:
    """How many of so many kills were in the middle."""

    def killed_at(step: int, store: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, KILLED_COMMAND, "backfill", str(step), *words(market, store, "--from", FROM)]
        return fork_server.run(command, market.environment())

    whole = killed_at(0, market.folder / "whole.duckdb")
    effects = int(re.findall(r"effects=(\d+)", whole.stderr)[0])
    all_rows = held(market.folder / "whole.duckdb")
    middle = 0
    for number in range(steps):
        shutil.rmtree(market.folder / "one", ignore_errors=True)
        store = market.folder / "one" / "ohlcv.duckdb"
        # What came is stored among the last effects, kind by kind: most kills are there.
        within = effects if number % 3 == 2 else _STORED_WITHIN
        killed = killed_at(effects - _NOT_EACH_TIME - within * (number + 1) // (steps + 1), store)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        before = held(store)
        assert before == [row for row in all_rows if row in before]
        middle += 0 < len(before) < len(all_rows)
        done = market.call([str(BARFEED), "backfill", *words(market, store, "--from", FROM)])
        assert done.code == 0, done
        assert held(store) == all_rows
    return middle


def test_the_command_that_an_hour_names_for_a_contradicted_kind_mends_it(market: Machine) -> None:
    flags = ["--kinds", "open_interest", "--spot-url", market.url, "--catch-up", "--buffer-hours", "0"]
    assert market.feed(*flags).code == 0
    newest = "(SELECT max(timestamp) FROM open_interest_1h)"
    with opened(market.duckdb) as connection:
        connection.execute(f"UPDATE open_interest_1h SET open_interest = 1 WHERE timestamp = {newest}")
    market.clock.advance(HOUR_MS)
    refused = market.feed(*flags)
    assert refused.code == 1
    command = refused.err.rpartition("take the exchange's if it is right: ")[2].strip()
    assert command.endswith(f"--duckdb {market.duckdb} --symbol BTCUSDT --interval 1h --kinds open_interest")
    assert market.call([str(BARFEED), *shlex.split(command)[1:], "--yes"]).code == 0
    assert market.feed(*flags).code == 0


@pytest.mark.long
def test_verify_tells_findings_and_their_hint(market: Machine) -> None:
    assert fill(market, "--from", FROM).code == 0
    verify = [str(BARFEED), "verify", *words(market, market.duckdb, "--against", "rest")]
    done = market.call(verify)
    assert (done.code, done.err) == (0, ""), done
    assert re.search(r"^verified=\d+ series=2 compared=\d+ findings=0$", done.out, re.MULTILINE)
    with opened(market.duckdb) as connection:
        connection.execute(
            "UPDATE funding SET funding_rate = 0.5 WHERE timestamp = (SELECT max(timestamp) FROM funding)"
        )
    done = market.call(verify)
    assert done.code == 1, done
    assert re.search(r"^mismatch: BTCUSDT 1h funding: .* funding_rate stored 0.5, exchange ", done.out, re.MULTILINE)
    assert "barfeed: 1 findings; first: BTCUSDT 1h funding: mismatch " in done.err
    assert "repair --duckdb" in done.err
    assert "--kinds funding --dry-run" in done.err


def test_verify_proves_the_lakes_tables_of_the_kinds_that_are_named(market: Machine) -> None:
    assert fill(market, "--from", "2026-07-31").code == 0
    lake = market.folder / "lake"
    Lake(str(lake), SystemClock()).export(Store(market.duckdb, SystemClock(), 5.0), Interval.ONE_HOUR)
    verify = [str(BARFEED), "verify", *words(market, market.duckdb, "--lake", str(lake))]
    done = market.call(verify)
    assert (done.code, done.err) == (0, ""), done
    assert re.search(r"^verified=(\d+) series=2 lake_files=\d+ lake_rows=\1 findings=0$", done.out, re.MULTILINE)
    day = min(lake.glob("kind=funding/*/*.parquet"))
    day.write_bytes(day.read_bytes()[:-1])
    done = market.call(verify)
    assert done.code == 1, done
    said = f"kind=funding: {day.parent.name}/rows.parquet is another file than the manifest tells of: cut, or changed"
    assert f"lake: {said}\n" in done.out
    assert f"barfeed: 1 findings in the lake; first: {said}" in done.err


def test_verify_of_nothing_says_how_to_fill_it(market: Machine) -> None:
    done = market.call([str(BARFEED), "verify", *words(market, market.duckdb)])
    assert done.code == 1, done
    assert "barfeed: no row of funding,open_interest at 1h is stored" in done.err
