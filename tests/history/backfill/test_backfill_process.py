"""The command as a process of its own, on real sockets, with real data, and killed."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

import fork_server
from barfeed.domain.bars import Bar
from barfeed.replay.archive.service import Far, ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from history.backfill.backfill_world import stored_bars
from process import BARFEED, Ran
from waiting import until
from world import BTCUSDT_1H, hours, made_up_bars, ms, shared

PROGRAM = (
    "from barfeed.cli.main import main; from barfeed.cli.commands.history.backfill import backfill; main(backfill)"
)
END_MS = ms(2025, 1, 1)
SOURCES = ("rest", "archive", "csv", "auto")
KILLS = 20
HEADER = "timestamp,open,high,low,close,volume\n"
# What the archive has otherwise, by the data's own README; the flat bar of 20:00 is taken from REST.
OTHERWISE = {
    ms(2024, 3, 27, 12): 6892.046,
    ms(2024, 3, 28, 10): 9639.887,
    ms(2024, 3, 28, 11): 9650.567,
    ms(2024, 3, 28, 12): 9942.337,
    ms(2024, 10, 28, 21): 3992.34,
}


class Shop:
    """A machine that can reach one exchange with an archive."""

    def __init__(self, folder: Path, url: str, exchange: ReplayExchange) -> None:
        self.exchange = exchange
        self.folder = folder
        self.url = url
        self.duckdb = folder / "ohlcv.duckdb"

    def start(self, *flags: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self._words(*flags)],
            env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *flags: str) -> Ran:
        done = fork_server.run([BARFEED, "backfill", *self._words(*flags)], _environment(), timeout_sec=120)
        return Ran(done.returncode, done.stdout, done.stderr)

    def _words(self, *flags: str) -> list[str]:
        return ["--duckdb", str(self.duckdb), "--base-url", self.url, "--archive-url", self.url, *flags]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BARFEED_")}


@contextmanager
def shop(folder: Path, tapes: list[Tape], archived: list[Tape], now_ms: int, latency_sec: float = 0) -> Iterator[Shop]:
    clock = HandClock(now_ms)
    exchange = ReplayExchange(tapes, clock.now_ms, (), 100_000)
    served = WithArchive(exchange, ReplayArchive(archived, clock.now_ms))
    with ReplayServer(Far(served, latency_sec) if latency_sec else served) as server:
        yield Shop(folder, server.url, exchange)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Shop]:
    """Seventy days of made-up hours."""
    tapes = [Tape.of(BTCUSDT_1H, made_up_bars(ms(2024, 2, 10, 20), 1700))]
    with shop(tmp_path, tapes, tapes, ms(2024, 2, 10, 14) + 30_000) as each:
        yield each


def published() -> list[Bar]:
    query = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?) ORDER BY timestamp"
    return [Bar(*row) for row in duckdb.execute(query, [str(shared("rest/BTCUSDT-1h.parquet"))]).fetchall()]


@contextmanager
def six_years(folder: Path, latency_sec: float = 0) -> Iterator[Shop]:
    """All hours from 2019 to 2024 by REST, and in the archive those of 2024 as it has them."""
    rest, archive = shared("rest/BTCUSDT-1h.parquet"), shared("archive/BTCUSDT-1h-2024.parquet")
    both = folder / "archived.parquet"
    columns = "timestamp, open, high, low, close, volume"
    duckdb.execute(
        f"COPY (SELECT {columns} FROM '{rest}' WHERE timestamp < '2024-01-01' UNION ALL"
        f" SELECT {columns} FROM '{archive}') TO '{both}'"
    )
    archived = Tape.load([f"BTCUSDT-1h={both}"])
    with shop(folder, Tape.load([str(rest)]), archived, END_MS + hours(72), latency_sec) as each:
        yield each


def users_files(folder: Path) -> list[str]:
    """The six years as three files of three kinds."""
    rest = shared("rest/BTCUSDT-1h.parquet")
    values = "open, high, low, close, volume"
    beside = "volume * (low + high) / 2, (volume > 0)::INTEGER, 0, 0, 0"
    twelve = f"epoch_ms(timestamp) AS open_time, {values}, epoch_ms(timestamp) + 3599999 AS close_time, {beside}"
    for name, columns, where, header in (
        ("one.csv", twelve, "timestamp < '2021-01-01'", "false"),
        ("two.csv", f"timestamp, {values}", "timestamp BETWEEN '2021-01-01' AND '2022-12-31 23:00:00'", "true"),
        ("three.csv", twelve, "timestamp >= '2023-01-01'", "true"),
    ):
        select = f"SELECT {columns} FROM '{rest}' WHERE {where} ORDER BY timestamp"
        duckdb.execute(f"COPY ({select}) TO '{folder / name}' (FORMAT csv, HEADER {header})")
    (folder / "two.csv.gz").write_bytes(gzip.compress((folder / "two.csv").read_bytes(), 1))
    with zipfile.ZipFile(folder / "three.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(folder / "three.csv", "three.csv")
    return [str(folder / name) for name in ("one.csv", "two.csv.gz", "three.zip")]


def expected(source: str) -> list[Bar]:
    """The very table of the file; from the archive but for the bars that it has otherwise."""
    bars = published()
    if source != "archive":
        return bars
    query = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?)"
    theirs = {
        row[0]: Bar(*row) for row in duckdb.execute(query, [str(shared("archive/BTCUSDT-1h-2024.parquet"))]).fetchall()
    }
    assert {at: theirs[at].volume for at in OTHERWISE} == OTHERWISE
    return [theirs[bar.open_time_ms] if bar.open_time_ms in OTHERWISE else bar for bar in bars]


def flags_of(source: str, folder: Path) -> list[str]:
    files = users_files(folder) if source == "csv" else []
    return ["--to", "2025-01-01", "--source", source, "--weight-budget", "50000", *files]


def filled(folder: Path, source: str, *more: str) -> dict[str, Any]:
    """What a backfill of the real hours told; of the archive's flat hour, it has to."""
    with six_years(folder) as machine:
        ran = machine.run("--json", *flags_of(source, folder), *more)
        assert ran.code == 0, ran.err
    report: dict[str, Any] = json.loads(ran.out)
    assert (report["mismatches"], report["holes"]) == ([], [])
    told = [note["message"] for note in report["notes"] if note["rule"] == "flat"]
    assert [("2024-10-28 20:00" in each) for each in told] == ([True] if source == "archive" else [])
    return report


@pytest.mark.long
@pytest.mark.parametrize("source", SOURCES)
def test_real_hours_end_in_the_very_table_of_the_file(source: str, tmp_path: Path) -> None:
    # Each of a user's files has to have bars of what is filled.
    first_year = 2019 if source == "csv" else 2024
    report = filled(tmp_path, source, "--from", f"{first_year}-01-01")
    bars = [bar for bar in expected(source) if bar.open_time_ms >= ms(first_year, 1, 1)]
    assert report["appended"] == len(bars) >= 8_784
    assert stored_bars(tmp_path / "ohlcv.duckdb") == bars


@pytest.mark.proof
@pytest.mark.parametrize("source", SOURCES)
def test_six_years_end_in_the_very_table_of_the_file(source: str, tmp_path: Path) -> None:
    report = filled(tmp_path, source)
    assert report["appended"] == 46_591
    (two_hours,) = [note["message"] for note in report["notes"] if note["rule"] == "not_traded"]
    assert two_hours.startswith("nothing was traded in 2019-09-09 00:00..2019-09-09 01:00 (2 bars): ")
    assert stored_bars(tmp_path / "ohlcv.duckdb") == expected(source)


@pytest.mark.proof
@pytest.mark.parametrize("source", SOURCES)
def test_six_years_killed_at_twenty_random_moments_end_in_the_same_table(source: str, tmp_path: Path) -> None:
    dice = random.Random(20)
    bars = expected(source)
    # Pages take their time, so that many a kill comes when some are stored and others are not.
    with six_years(tmp_path, latency_sec=0.15 if source in {"rest", "auto"} else 0.02) as machine:
        flags = flags_of(source, tmp_path)
        kills, moved, before = 0, 0, 0
        # On a busy machine it takes more of them, and later ones, until some came in between.
        while kills < KILLS or moved <= 3:
            process = machine.start(*flags)
            try:
                process.communicate(timeout=dice.uniform(0.25, 3.0 + kills / 10))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            if process.returncode == -signal.SIGKILL:
                kills += 1
            else:
                assert process.returncode == 0
                assert stored_bars(machine.duckdb) == bars
                machine.duckdb.unlink()
                before = 0
                continue
            held = held_after_a_kill(machine.duckdb)
            assert set(held) <= set(bars)
            assert len(held) >= before
            moved += len(held) > before
            before = len(held)
        assert machine.run(*flags).code == 0
    assert stored_bars(machine.duckdb) == bars


def held_after_a_kill(path: Path) -> list[Bar]:
    try:
        return stored_bars(path)
    except (duckdb.CatalogException, duckdb.IOException):
        # It died before there was a table, or a file.
        return []


def start_and_hang(machine: Shop, page: int) -> "subprocess.Popen[str]":
    """A backfill that asks for page after page, and has asked for one that does not come."""
    hang = f'[[fault]]\nkind = "hang"\nsec = 600\nrequests = "{page}-"'
    machine.exchange.faults = parse_faults(hang, "the test")
    process = machine.start("--source", "rest", "--connections", "1")
    until(lambda: machine.exchange.requests["/fapi/v1/klines"] >= page or process.poll() is not None)
    return process


@pytest.mark.long
def test_a_kill_loses_no_stored_bar_and_the_next_call_goes_on(tmp_path: Path) -> None:
    tapes = [Tape.of(BTCUSDT_1H, made_up_bars(ms(2024, 2, 10, 20), 20_000))]
    with shop(tmp_path, tapes, tapes, ms(2024, 2, 10, 14) + 30_000, latency_sec=0.2) as machine:
        # Of forty; what came in the first second is stored by now.
        process = start_and_hang(machine, 20)
        process.kill()
        process.communicate()
        machine.exchange.faults = ()
        held = stored_bars(machine.duckdb)
        assert 499 <= len(held) < 19_990
        ran = machine.run("--source", "rest", "--json")
        assert (ran.code, json.loads(ran.out)["appended"]) == (0, 19_993 - len(held))
        # Nothing that is there is fetched again: its first bars are not asked for.
        assert json.loads(ran.out)["requests"] <= 3 + -(-(19_993 - len(held)) // 499)
    assert stored_bars(machine.duckdb) == [bar for bar in tapes[0].bars if bar.open_time_ms <= ms(2024, 2, 10, 13)]


@pytest.mark.long
def test_ctrl_c_keeps_what_came_and_says_so(tmp_path: Path) -> None:
    tapes = [Tape.of(BTCUSDT_1H, made_up_bars(ms(2024, 2, 10, 20), 20_000))]
    with shop(tmp_path, tapes, tapes, ms(2024, 2, 10, 14) + 30_000, latency_sec=0.3) as machine:
        # Of forty.
        process = start_and_hang(machine, 10)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on where it ended" in err
    assert "Traceback" not in err
    assert len(stored_bars(machine.duckdb)) >= 499


def test_the_summary_says_what_was_done(small: Shop) -> None:
    ran = small.run("--source", "rest")
    assert ran.code == 0, ran.err
    assert ran.out.startswith(
        "source=rest span=2023-12-02 01:00..2024-02-10 13:00 (1693 bars) appended=1693 compared=0"
    )
    assert ran.err == f"INFO {small.duckdb} is a new store\n"


@pytest.mark.long
def test_a_mismatch_is_exit_1_with_both_values(small: Shop) -> None:
    assert small.run("--source", "rest").code == 0
    with duckdb.connect(small.duckdb) as connection:
        connection.execute("UPDATE ohlcv_btcusdt_1h SET volume = 7.25 WHERE timestamp = '2024-01-01 12:00:00'")
        connection.execute(
            "DELETE FROM ohlcv_btcusdt_1h WHERE timestamp IN ('2024-01-01 11:00:00', '2024-01-01 13:00:00')"
        )
    ran = small.run("--source", "rest")
    assert ran.code == 1
    assert "mismatch: 2024-01-01 12:00 volume stored 7.25, exchange " in ran.err
    assert "hint:" in ran.err


def test_a_hole_is_told_on_a_line_of_its_own(tmp_path: Path) -> None:
    bars = made_up_bars(ms(2024, 2, 10, 20), 1700)
    tapes = [Tape.of(BTCUSDT_1H, [*bars[:100], *bars[102:]])]
    with shop(tmp_path, tapes, tapes, ms(2024, 2, 10, 14) + 30_000) as machine:
        ran = machine.run()
    assert ran.code == 0
    assert ran.out.startswith("hole: 2023-12-06 05:00..2023-12-06 06:00 (2 bars): the source has no such bar")


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--from", "2024-01-02", "--to", "2024-01-02"], "is not before --to"),
        (["--source", "csv"], "--source csv needs a FILE"),
        (["--archive-url", "nonsense"], "--archive-url 'nonsense' is not an address"),
        (["--from", "yesterday"], "'yesterday' is no moment"),
        (["--weight-budget", "3"], "10<=x<=100000"),
        (["--interval", "7h"], "interval '7h'"),
        (["nothing.csv", "--source", "csv"], "does not exist"),
    ],
)
def test_wrong_usage_is_exit_2(small: Shop, flags: list[str], says: str) -> None:
    ran = small.run(*flags)
    assert ran.code == 2
    assert says in ran.err
    assert not small.duckdb.exists()


@pytest.mark.long
def test_a_users_file_that_breaks_a_rule_is_refused_whole(small: Shop, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(f"{HEADER}2024-01-15 13:00:00,1,2,1,1,1\n2024-01-15 14:00:00,1,0.5,1,1,1\n")
    ran = small.run("--source", "csv", str(path))
    assert ran.code == 2
    assert "bars.csv: 1 rule broken; first: 2024-01-15 14:00 low and high do not enclose open and close" in ran.err
    assert not small.duckdb.exists()


@pytest.mark.long
def test_a_users_forming_bar_is_left_out_and_told(small: Shop, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(f"{HEADER}2024-02-10 13:00:00,1,2,1,1,1\n2024-02-10 14:00:00,1,2,1,1,1\n")
    ran = small.run("--source", "csv", str(path))
    assert (ran.code, "left out: 1 bar after 2024-02-10 13:00, the last to be taken" in ran.err) == (0, True)
    assert [bar.open_time_ms for bar in stored_bars(small.duckdb)] == [ms(2024, 2, 10, 13)]


def test_a_zip_with_a_path_out_of_it_is_refused(small: Shop, tmp_path: Path) -> None:
    path = tmp_path / "bars.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.csv", "1")
        packed.writestr("../b.csv", "2")
    ran = small.run("--source", "csv", str(path))
    assert ran.code == 2
    assert "it holds '../b.csv', which leads out of it" in ran.err


def test_an_exchange_that_is_not_there_is_exit_3_and_leaves_no_store(tmp_path: Path, deaf: str) -> None:
    machine = Shop(tmp_path, f"http://{deaf}", ReplayExchange([], lambda: 0))
    ran = machine.run("--max-wait-sec", "1")
    assert ran.code == 3
    assert not machine.duckdb.exists()
