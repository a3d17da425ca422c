"""What `barfeed verify` finds, and that it finds nothing else."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.cli.commands.history.verify import verify
from barfeed.domain.bars import Bar
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import BARS, Ended, add_run, call, execute, make_store
from world import BTCUSDT_1H, World, ms, shared

LAST_MS = ms(2024, 2, 10, 13)
TABLE = "ohlcv_btcusdt_1h"
AT_NOON = "WHERE timestamp = '2024-02-10 12:00'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made") / "ohlcv.duckdb")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def verified(store: Path, *words: object) -> Ended:
    return call(verify, "--duckdb", store, "--persist-dir", store.parent / "feed", *words)


def findings(done: Ended) -> list[str]:
    return [line for line in done.out.splitlines()[:-1] if not line.startswith("note: ")]


def test_a_good_table_has_no_finding_and_ends_with_0(store: Path) -> None:
    done = verified(store)
    assert (done.code, done.out) == (
        0,
        "verified=800 span=2024-01-08 06:00..2024-02-10 13:00 manifests=0 files=0 findings=0\n",
    )


BROKEN = [
    (f"UPDATE {TABLE} SET high = 1 {AT_NOON}", "high_low: 2024-02-10 12:00 low and high do not enclose open and close"),
    (f"UPDATE {TABLE} SET low = 0 {AT_NOON}", "above_zero: 2024-02-10 12:00 holds a price of zero: open "),
    (f"UPDATE {TABLE} SET volume = -1 {AT_NOON}", "not_negative: 2024-02-10 12:00 holds a negative value: open "),
    (f"UPDATE {TABLE} SET close = NULL {AT_NOON}", "finite: 2024-02-10 12:00 holds NULL, NaN or infinity: open "),
    (f"UPDATE {TABLE} SET volume = 'NaN' {AT_NOON}", "finite: 2024-02-10 12:00 holds NULL, NaN or infinity: open "),
    (f"UPDATE {TABLE} SET volume = 'inf' {AT_NOON}", "finite: 2024-02-10 12:00 holds NULL, NaN or infinity: open "),
    (
        (
            f"INSERT INTO {TABLE} SELECT * REPLACE (timestamp + INTERVAL 1 MICROSECOND AS timestamp)"
            f" FROM {TABLE} {AT_NOON}"
        ),
        "on_grid: 2024-02-10 12:00 is not on the grid",
    ),
    (
        f"INSERT INTO {TABLE} SELECT * REPLACE (timestamp + INTERVAL 30 MINUTE AS timestamp) FROM {TABLE} {AT_NOON}",
        "on_grid: 2024-02-10 12:30 is not on the grid",
    ),
    (
        f"INSERT INTO {TABLE} SELECT * REPLACE (NULL AS timestamp) FROM {TABLE} {AT_NOON}",
        "on_grid: is not on the grid",
    ),
    (
        f"INSERT INTO {TABLE} SELECT * REPLACE ('infinity'::TIMESTAMP AS timestamp) FROM {TABLE} {AT_NOON}",
        "on_grid: is not on the grid",
    ),
    (f"DELETE FROM {TABLE} {AT_NOON}", "gap: 2024-02-10 12:00 is missing"),
    (
        f"DELETE FROM {TABLE} WHERE timestamp BETWEEN '2024-02-09 22:00' AND '2024-02-10 12:00'",
        "gap: 2024-02-09 22:00 to 2024-02-10 12:00 are missing, 15 bars",
    ),
]


@pytest.mark.parametrize(("statement", "line"), BROKEN, ids=[line.split(":")[0] for _, line in BROKEN])
def test_one_broken_rule_gives_exactly_that_finding(store: Path, statement: str, line: str) -> None:
    execute(store, statement)
    done = verified(store, "--json")
    (found,) = done.told["findings"]
    assert (done.code, found["rule"], found["bar"], found["values"]) == (1, line.partition(":")[0], _bar(line), None)
    assert " ".join(filter(None, [f"{found['rule']}:", found["bar"], found["message"]])).startswith(line)


@pytest.mark.parametrize(("statement", "line"), [BROKEN[0], BROKEN[8]])
def test_a_finding_is_told_on_a_line_with_its_bar_where_it_has_one(store: Path, statement: str, line: str) -> None:
    execute(store, statement)
    done = verified(store)
    (found,) = findings(done)
    assert found.startswith(line)
    assert done.code == 1
    assert done.out.endswith(" findings=1\n")
    (told,) = verified(store, "--json").told["findings"]
    assert told["message"] == found.partition(_bar(line) or ": ")[2].strip()


def _bar(line: str) -> str | None:
    said = line.partition(": ")[2]
    return said[:16] if said.startswith("20") else None


def test_what_a_table_without_a_key_lets_in_is_named_with_the_table_itself(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", with_key=False)
    execute(store, f"INSERT INTO {TABLE} SELECT * FROM {TABLE} {AT_NOON}")
    done = verified(store)
    shape, twice = findings(done)
    assert done.code == 1
    assert "it has no primary key and no unique index on timestamp alone" in shape
    assert twice == "unique: 2024-02-10 12:00 is stored 2 times"


def test_findings_come_in_the_order_of_time(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", with_key=False)
    execute(
        store,
        f"UPDATE {TABLE} SET high = 1 WHERE timestamp = '2024-02-01'",
        f"DELETE FROM {TABLE} WHERE timestamp = '2024-01-20'",
        f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE timestamp = '2024-02-05'",
    )
    assert [line.split()[:2] for line in findings(verified(store))[1:]] == [
        ["gap:", "2024-01-20"],
        ["high_low:", "2024-02-01"],
        ["unique:", "2024-02-05"],
    ]


def test_a_gap_names_the_command_that_shows_how_to_fill_it(store: Path) -> None:
    execute(store, f"DELETE FROM {TABLE} {AT_NOON}")
    plan = f"barfeed repair --duckdb {store} --from '2024-02-10 12:00' --to '2024-02-10 14:00' --dry-run --only gaps"
    assert f"hint: see the plan to fill what is missing: {plan}" in verified(store).err


def test_nothing_of_the_store_changes(store: Path) -> None:
    before = (store.read_bytes(), store.stat().st_mtime_ns)
    verified(store)
    assert (store.read_bytes(), store.stat().st_mtime_ns) == before


@pytest.mark.parametrize("words", [(), ("--symbol", "ETHUSDT")])
def test_a_store_without_a_bar_is_told_with_what_fills_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", BARS[:0])
    done = verified(store, *words)
    assert done.code == 1
    assert "holds no bar to verify" in done.err
    assert done.hint == " ".join(["fill it: barfeed backfill --duckdb", str(store), *words])


def test_a_store_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    done = verified(tmp_path / "typo.duckdb")
    assert (done.code, done.err) == (4, f"{tmp_path / 'typo.duckdb'} does not exist")
    assert done.hint == "point --duckdb at the store"


@pytest.mark.long
def test_real_history_has_no_finding(tmp_path: Path) -> None:
    store = real_store(tmp_path, shared("rest/BTCUSDT-1h.parquet"))
    assert verified(store).out.startswith("verified=46591 span=2019-09-08 17:00..2024-12-31 23:00 ")
    assert verified(store).code == 0


@pytest.mark.long
def test_of_a_million_bars_the_one_that_is_missing_is_found(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", BARS[:2], "ohlcv_btcusdt_1m")
    execute(
        store,
        "DELETE FROM ohlcv_btcusdt_1m",
        """INSERT INTO ohlcv_btcusdt_1m SELECT make_timestamp_ms(i * 60000), 1.5, 3, 1, 2, random(), now()
           FROM range(1000000) t(i) WHERE i <> 700000""",
    )
    done = verified(store, "--interval", "1m")
    assert (done.code, done.out.split()[-1], findings(done)) == (1, "findings=1", ["gap: 1971-05-02 02:40 is missing"])


# The files of runs.


@pytest.fixture
def folder(store: Path) -> Path:
    return store.parent / "feed" / "BINANCE_BTCUSDT.P_60"


@pytest.mark.long
def test_what_a_feed_wrote_is_proven(started: World) -> None:
    started.run()
    done = call(verify, "--duckdb", started.duckdb, "--persist-dir", started.feed.folder.parent, "--dataset", "feed")
    assert done.out == "verified=727 span=2024-01-11 07:00..2024-02-10 13:00 manifests=2 files=4 findings=0\n"


def test_a_changed_file_is_found(store: Path, folder: Path) -> None:
    run = add_run(folder, LAST_MS)
    path = folder / f"{run}_api_pull.csv"
    path.write_text(path.read_text().replace("2024-02-10 13:00:00", "2024-02-10 14:00:00"))
    (found,) = findings(verified(store))
    assert found.startswith(f"file: {path} was changed: its sha256 is ")


def test_a_file_that_is_gone_is_found(store: Path, folder: Path) -> None:
    run = add_run(folder, LAST_MS)
    (folder / f"{run}_api_pull.csv").unlink()
    (found,) = findings(verified(store))
    assert found == f"file: {folder}/{run}_api_pull.csv is gone, though its manifest tells of it"


def test_a_manifest_that_is_none_is_found(store: Path, folder: Path) -> None:
    run = add_run(folder, LAST_MS)
    path = folder / f"{run}_run.json"
    path.write_text(path.read_text()[:-20])
    (found,) = findings(verified(store))
    assert found.startswith(f"manifest: {path} cannot be read: ")


def test_a_latest_that_no_run_published_is_found(store: Path, folder: Path) -> None:
    add_run(folder, LAST_MS)
    (folder / "latest_for_inference.csv").write_text("timestamp\n")
    done = verified(store)
    assert findings(done) == [f"file: {folder}/latest_for_inference.csv is not what any run published"]
    mends = "hint: the next good hour writes latest_for_inference.csv anew: barfeed run --duckdb"
    assert (mends in done.err, "backup" in done.err) == (True, False)


def test_a_zip_that_is_none_is_found(store: Path, folder: Path) -> None:
    add_run(folder, LAST_MS)
    (folder / "2023-10_runs.zip").write_text("no zip")
    (found,) = findings(verified(store))
    assert found.startswith(f"zip: {folder}/2023-10_runs.zip cannot be read: ")


def test_a_zip_that_was_damaged_is_found(store: Path, folder: Path) -> None:
    run = add_run(folder, LAST_MS)
    path = folder / "2024-02_runs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind in ("run.json", "api_pull.csv", "for_inference.csv"):
            archive.write(folder / f"{run}_{kind}", f"{run}_{kind}")
            (folder / f"{run}_{kind}").unlink()
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(f"{run}_for_inference.csv").header_offset + 80
    content[at] ^= 0xFF
    path.write_bytes(content)
    (folder / "latest_for_inference.csv").unlink()
    (found,) = findings(verified(store))
    assert found.startswith(f"file: {path}/{run}_for_inference.csv cannot be read: ")


# Against a source.


class Served:
    """An exchange and an archive on one loopback address."""

    def __init__(self, bars: tuple[Bar, ...], archived: tuple[Bar, ...], now_ms: int) -> None:
        clock = HandClock(now_ms)
        self.exchange = ReplayExchange([Tape.of(BTCUSDT_1H, bars)], clock.now_ms)
        self.archive = ReplayArchive([Tape.of(BTCUSDT_1H, archived)], clock.now_ms)
        self.server = ReplayServer(WithArchive(self.exchange, self.archive))

    def against(self, store: Path, source: str, *words: object) -> Ended:
        urls = ("--base-url", self.server.url, "--archive-url", self.server.url, "--max-wait-sec", "60")
        return verified(store, "--against", source, *urls, *words)


@pytest.fixture
def served() -> Iterator[Served]:
    each = Served(BARS, BARS, ms(2024, 2, 20))
    with each.server:
        yield each


def test_a_store_that_is_what_the_exchange_says_has_no_finding(store: Path, served: Served) -> None:
    done = served.against(store, "rest")
    assert (done.code, findings(done)) == (0, [])
    assert "compared=800 " in done.out


def test_a_bar_that_the_exchange_revised_is_shown_with_both_values(store: Path, served: Served) -> None:
    execute(store, f"UPDATE {TABLE} SET volume = 7.5, close = low WHERE timestamp = '2024-02-01 05:00'")
    bar = next(each for each in BARS if each.open_time_ms == ms(2024, 2, 1, 5))
    done = served.against(store, "rest", "--json")
    assert done.code == 1
    (found,) = done.told["findings"]
    assert (found["rule"], found["bar"]) == ("mismatch", "2024-02-01 05:00")
    assert found["values"] == {
        "stored": {"close": bar.low, "volume": 7.5},
        "exchange": {"close": bar.close, "volume": bar.volume},
    }
    assert found["message"] == f"close stored {bar.low}, exchange {bar.close}; volume stored 7.5, exchange {bar.volume}"
    where = f"--duckdb {store} --base-url {served.server.url}"
    assert f"barfeed repair {where} --from '2024-02-01 05:00' --to '2024-02-01 06:00' --dry-run" in done.err


def test_a_stored_nan_differs_and_is_null_in_json(store: Path, served: Served) -> None:
    execute(store, f"UPDATE {TABLE} SET volume = 'NaN' {AT_NOON}")
    done = served.against(store, "rest", "--json")
    assert "NaN," not in done.out.replace("volume stored NaN,", "").replace("volume NaN", "")
    rules = {each["rule"]: each["values"] for each in done.told["findings"]}
    assert rules["mismatch"]["stored"] == {"volume": None}


def test_the_smallest_difference_there_is_is_found(store: Path, served: Served) -> None:
    execute(store, f"UPDATE {TABLE} SET volume = volume * (1 + 2.3e-16) WHERE timestamp = '2024-02-01 05:00'")
    assert len(findings(served.against(store, "rest"))) == 1


def test_a_bar_that_the_exchange_does_not_have_is_found(store: Path) -> None:
    each = Served(BARS[:400] + BARS[401:], BARS, ms(2024, 2, 20))
    with each.server:
        done = each.against(store, "rest")
    assert findings(done) == ["unknown: 2024-01-24 22:00 exchange has no such bar"]


def test_only_the_span_that_was_asked_for_is_compared(store: Path, served: Served) -> None:
    execute(store, f"UPDATE {TABLE} SET volume = 7.5 WHERE timestamp = '2024-02-01 05:00'")
    before = served.against(store, "rest", "--to", "2024-02-01 05:00")
    after = served.against(store, "rest", "--from", "2024-02-01 06:00")
    there = served.against(store, "rest", "--from", "2024-02-01 05:00", "--to", "2024-02-01 06:00")
    assert [done.code for done in (before, after, there)] == [0, 0, 1]
    assert "compared=1 " in there.out
    assert "nothing was compared" in served.against(store, "rest", "--from", "2030-01-01").out


NOTHING_MADE_UP = "hint: what the exchange has not got cannot be filled: nothing is made up\n"


def hidden(*hours: int) -> str:
    """The exchange has no bar of these hours of 2024-02-10."""
    return "".join(f'[[fault]]\nkind = "hide"\nbar = 2024-02-10T{hour:02d}:00:00\n' for hour in hours)


@pytest.mark.parametrize("source", ["rest", "archive"])
def test_a_hole_that_the_exchange_has_too_is_told_as_its_own(store: Path, served: Served, source: str) -> None:
    execute(store, f"DELETE FROM {TABLE} WHERE timestamp IN ('2024-02-01', '2024-02-10 08:00', '2024-02-10 09:00')")
    served.exchange.faults = parse_faults(hidden(8, 9), "the test")
    done = served.against(store, source, "--from", "2024-02-10")
    assert findings(done) == [
        "gap: 2024-02-01 00:00 is missing",
        "gap: 2024-02-10 08:00 to 2024-02-10 09:00 are missing, 2 bars; the exchange has no such bars either",
    ]
    # The first may be filled, as far as anybody was asked; the other is not for a repair.
    assert done.err.count("see the plan to fill what is missing: barfeed repair ") == 1
    execute(store, f"INSERT INTO {TABLE} SELECT * REPLACE (TIMESTAMP '2024-02-01' AS timestamp) FROM {TABLE} LIMIT 1")
    alone = served.against(store, source, "--from", "2024-02-10")
    assert (alone.code, alone.err.endswith(NOTHING_MADE_UP)) == (1, True), alone.err


@pytest.mark.parametrize("source", ["rest", "archive"])
def test_a_hole_that_the_exchange_can_fill_keeps_its_hint(store: Path, served: Served, source: str) -> None:
    execute(store, f"DELETE FROM {TABLE} WHERE timestamp BETWEEN '2024-02-10 06:00' AND '2024-02-10 09:00'")
    served.exchange.faults = parse_faults(hidden(7), "the test")
    done = served.against(store, source)
    (gap,) = findings(done)
    assert gap == (
        "gap: 2024-02-10 06:00 to 2024-02-10 09:00 are missing, 4 bars; the exchange itself has no bar of"
        " 2024-02-10 07:00"
    )
    where = f"--duckdb {store} --base-url {served.server.url}"
    plan = f"barfeed repair {where} --from '2024-02-10 06:00' --to '2024-02-10 14:00' --dry-run --only gaps"
    assert f"hint: see the plan to fill what is missing: {plan}" in done.err


def test_a_hole_of_more_than_a_page_is_one(store: Path, served: Served) -> None:
    # A page is 499 bars.
    rows = f"SELECT * REPLACE (timestamp - INTERVAL 600 HOUR AS timestamp) FROM {TABLE} LIMIT 1"
    execute(store, f"DELETE FROM {TABLE} WHERE timestamp > '2024-01-08 06:00'", f"INSERT INTO {TABLE} {rows}")
    (gap,) = [line for line in findings(served.against(store, "rest")) if line.startswith("gap")]
    assert gap == (
        "gap: 2023-12-14 07:00 to 2024-01-08 05:00 are missing, 599 bars; the exchange has no such bars either"
    )


def test_without_the_exchange_nobody_says_whose_hole_it_is(store: Path, served: Served) -> None:
    execute(store, f"DELETE FROM {TABLE} {AT_NOON}")
    done = verified(
        store, "--against", "archive", "--archive-url", served.server.url, "--base-url", "http://127.0.0.1:1",
        "--max-wait-sec", "1",
    )  # fmt: skip
    assert findings(done) == ["gap: 2024-02-10 12:00 is missing"]
    assert "hint: see the plan to fill what is missing: barfeed repair" in done.err


@pytest.mark.long
def test_where_the_archive_differs_the_exchange_is_asked_too(store: Path, served: Served) -> None:
    served.archive.faults = parse_archive_faults(
        '[[archive]]\nkind = "revise"\nfile = "BTCUSDT-1h-2024-*"\nbar = 2024-02-01T05:00:00Z\nvolume = 7.5', "the test"
    )
    volume = next(each for each in BARS if each.open_time_ms == ms(2024, 2, 1, 5)).volume
    done = served.against(store, "archive")
    assert findings(done) == [f"mismatch: 2024-02-01 05:00 volume stored {volume}, archive 7.5, exchange {volume}"]
    assert "the exchange says what is stored, the archive is odd" in done.err


@pytest.mark.long
def test_what_the_archive_lacks_says_nothing_against_a_bar(store: Path, served: Served) -> None:
    served.archive.faults = parse_archive_faults(
        '[[archive]]\nkind = "missing"\nfile = "BTCUSDT-1h-2024-02-03"', "the test"
    )
    done = served.against(store, "archive")
    assert (done.code, findings(done)) == (0, [])
    assert (
        "note: 2024-02-03 00:00..2024-02-03 23:00 (24 bars): the archive has no such bars; they were not compared"
        in (done.out)
    )
    assert "compared=776 " in done.out


def test_an_exchange_that_cannot_be_asked_does_not_keep_the_archives_word_back(store: Path, served: Served) -> None:
    execute(store, f"UPDATE {TABLE} SET volume = 7.5 WHERE timestamp = '2024-01-20 05:00'")
    done = verified(
        store, "--against", "archive", "--archive-url", served.server.url, "--base-url", "http://127.0.0.1:1",
        "--max-wait-sec", "1",
    )  # fmt: skip
    assert done.code == 1
    assert len(findings(done)) == 1
    assert "exchange" not in findings(done)[0]
    assert "note: the exchange was not asked: http://127.0.0.1:1 did not answer" in done.out


def test_an_exchange_that_cannot_be_asked_is_told_where_it_is_the_source(store: Path) -> None:
    done = verified(store, "--against", "rest", "--base-url", "http://127.0.0.1:1", "--max-wait-sec", "1")
    assert done.code == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "2024-01-01"), "--from and --to need --against"),
        (("--against", "rest", "--from", "2024-01-02", "--to", "2024-01-02"), "--from must be before --to"),
        (("--against", "archive", "--archive-url", "nowhere"), "--archive-url 'nowhere' is not an address"),
        (("--against", "csv"), "'csv' is not one of"),
    ],
)
def test_wrong_usage_is_told(store: Path, words: tuple[str, ...], says: str) -> None:
    done = verified(store, *words)
    assert (done.code, says in done.err) == (2, True), done.err


def real_store(folder: Path, parquet: Path) -> Path:
    store = make_store(folder / "ohlcv.duckdb", BARS[:0])
    execute(
        store,
        f"""INSERT INTO {TABLE} SELECT timestamp, open, high, low, close, volume, now()
            FROM '{parquet}' WHERE timestamp < '2025-01-01'""",
    )
    return store


@pytest.mark.long
def test_the_real_archive_of_2024_differs_in_exactly_the_six_known_bars(tmp_path: Path) -> None:
    rest, archived = shared("rest/BTCUSDT-1h.parquet"), shared("archive/BTCUSDT-1h-2024.parquet")
    store = real_store(tmp_path, rest)
    clock = HandClock(ms(2025, 2, 20))
    exchange = ReplayExchange([*Tape.load([str(rest)])], clock.now_ms)
    archive = ReplayArchive([*Tape.load([f"BTCUSDT-1h={archived}"])], clock.now_ms)
    with ReplayServer(WithArchive(exchange, archive)) as server:
        done = verified(
            store, "--against", "archive", "--from", "2024-01-01", "--to", "2025-01-01",
            "--base-url", server.url, "--archive-url", server.url, "--json",
        )  # fmt: skip
    assert done.code == 1
    assert done.told["compared"] == 8784
    values = {each["bar"]: each["values"] for each in done.told["findings"]}
    assert {bar: (each["stored"]["volume"], each["archive"]["volume"]) for bar, each in values.items()} == {
        "2024-03-27 12:00": (6420.832, 6892.046),
        "2024-03-28 10:00": (9639.75, 9639.887),
        "2024-03-28 11:00": (9422.384, 9650.567),
        "2024-03-28 12:00": (9942.254, 9942.337),
        "2024-10-28 20:00": (5536.706, 0.0),
        "2024-10-28 21:00": (1395.29, 3992.34),
    }
    assert values["2024-10-28 20:00"]["archive"] == {
        "open": 69566.1, "high": 69566.1, "low": 69566.1, "close": 69566.1, "volume": 0.0,
    }  # fmt: skip
    assert values["2024-10-28 21:00"]["archive"] == {
        "open": 69650.0, "high": 69776.8, "low": 69480.3, "close": 69770.2, "volume": 3992.34,
    }  # fmt: skip
    # REST itself still says what the store got from it.
    assert all(each["exchange"] == each["stored"] for each in values.values())
