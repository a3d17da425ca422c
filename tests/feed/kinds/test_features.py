"""The wide table that each pass leaves for its models: what was known of every kind beside each bar, for good."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import pytest

import barfeed
from barfeed.artifacts.retention import Keep, prune
from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds import wide
from barfeed.domain.kinds.table import KINDS
from barfeed.feed.market.record import MarketRecord
from barfeed.history.verification import check_runs
from feed.kinds.kinds_world import LATER_MS, NOW_MS, SYMBOLS, WINDOW, FirstPass, KindsWorld
from feed.kinds.test_kinds_of_series import SeriesWorld
from storage import opened

LATE = '[[fault]]\nkind = "empty"\npath = "openInterestHist"\n'
FED = ("klines", "premium_index", "funding", "open_interest")
COLUMNS = ["symbol", "timestamp", *wide.columns([KINDS[name] for name in FED])]
LATEST = "latest_features_input"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> FirstPass:
    """A first pass, with a CSV of a symbol and of one that nobody lists; to look at."""
    world = KindsWorld(tmp_path_factory.mktemp("first"), NOW_MS, *FED)
    return FirstPass(world, world.run_pass(catch_up=True, csv_for=("ETHUSDT", "NEVERUSDT")))


@pytest.fixture
def world(first: FirstPass, tmp_path: Path) -> KindsWorld:
    """A market that has lived its first pass."""
    return first.copy(tmp_path, *FED)


def pass_on(world: KindsWorld, fault: str = "", **changes: Any) -> MarketRecord:
    """One pass an hour later."""
    world.clock.go_to(world.clock.now_ms + HOUR_MS)
    return world.run_pass(fault, catch_up=True, **changes)


def read(path: Path, what: str = "*") -> list[tuple[Any, ...]]:
    return duckdb.execute(f"SELECT {what} FROM '{path}'").fetchall()


def files(record: MarketRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text("utf-8"))["files"]
    return {name: each for name, each in told.items() if name.startswith("features_input")}


def table(world: KindsWorld, record: MarketRecord) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The rows of the pass's own file, by symbol and timestamp."""
    rows = read(world.feed.folder / files(record)["features_input"]["file"])
    return {row[:2]: row[2:] for row in rows}


def test_a_pass_leaves_the_wide_table_of_its_windows(first: FirstPass) -> None:
    world, record = first
    told = files(record)["features_input"]
    assert (told["file"], told["rows"]) == (f"{record.run_time}_features_input.parquet", len(SYMBOLS) * WINDOW)
    assert record.line().split(" inference=")[0].endswith(f" features={told['file']}")
    own, latest = (world.feed.folder / name for name in (told["file"], f"{LATEST}.parquet"))
    assert own.read_bytes() == latest.read_bytes()
    assert [name for name, *_ in duckdb.execute(f"DESCRIBE FROM '{own}'").fetchall()] == COLUMNS
    # as it is read back from history, for training
    columns = ", ".join(COLUMNS[2:])
    start = f"{read(own, 'min(timestamp)')[0][0]:%Y-%m-%d %H:%M}"
    assert read(own, f"symbol, timestamp, {columns}") == [
        tuple(row) for row in barfeed.open(world.duckdb).wide(list(SYMBOLS), start=start, kinds=FED)
    ]
    newest = dict(zip(COLUMNS, read(own)[-1], strict=True))
    # The premium of this very hour, the open interest of the one before: it is published five minutes after it.
    assert (newest["premium_index_age_sec"], newest["open_interest_age_sec"]) == (0.0, 3600.0)
    assert newest["quote_volume"] is not None


@pytest.mark.long
def test_a_late_kind_is_told_with_its_last_value_and_its_age_and_no_row_is_changed_later(
    first: FirstPass, world: KindsWorld
) -> None:
    before = table(*first)
    late = pass_on(world, LATE)
    assert late.status == "kind_late"
    second = table(world, late)
    third = table(world, pass_on(world))
    ages = [COLUMNS.index("open_interest_age_sec") - 2, COLUMNS.index("open_interest") - 2]
    newest = [max(each) for each in (before, second, third)]
    told = [[row[column] for column in ages] for row in (before[newest[0]], second[newest[1]], third[newest[2]])]
    # The last pass has two rows at once: the late one is overtaken, and stands beside no bar.
    assert [age for age, _ in told] == [3600.0, 7200.0, 3600.0]
    assert told[0][1] == told[1][1] != told[2][1]
    # What came since changed nothing of what the models were given before, nor does it for who trains.
    history = {tuple(row)[:2]: tuple(row)[2:] for row in barfeed.open(world.duckdb).wide(list(SYMBOLS), kinds=FED)}
    for rows in (before, second, third):
        assert rows == {key: history[key] for key in rows}


def test_a_later_look_at_the_same_bar_has_nothing_to_add(first: FirstPass, world: KindsWorld) -> None:
    before = (world.feed.folder / f"{LATEST}.parquet").read_bytes()
    world.clock.go_to(NOW_MS + LATER_MS)
    again = world.run_pass(catch_up=True)
    # A pass by itself publishes its windows again; what it has learned since is of a later moment.
    assert (world.feed.folder / f"{LATEST}.parquet").read_bytes() == before
    assert table(world, again) == table(*first)


@pytest.mark.long
def test_a_watch_publishes_it_once_a_bar(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "premium_index", "funding", "open_interest")
    # Funding is looked for a minute after the close, what the exchange publishes last five minutes after it.
    records = world.watch(4)
    assert [bool(record.kinds and record.kinds.features.table) for record in records] == [True, False, False, True]


def test_csv_for_writes_it_of_some_series_too(first: FirstPass) -> None:
    world, record = first
    told = files(record)
    assert set(told) == {"features_input", "features_input_ETHUSDT"}
    own = world.feed.folder / told["features_input_ETHUSDT"]["file"]
    assert own.name == f"{record.run_time}_features_input_ETHUSDT.csv"
    assert own.read_bytes() == (world.feed.folder / f"{LATEST}_ETHUSDT.csv").read_bytes()
    header, *lines = own.read_text().splitlines()
    assert (header.split(","), len(lines)) == (COLUMNS[1:], WINDOW)
    parquet = read(world.feed.folder / f"{LATEST}.parquet", "* EXCLUDE (symbol, timestamp)")
    of_eth = parquet[2 * WINDOW :]
    assert [[float(each) if each else None for each in line.split(",")[1:]] for line in lines] == [
        list(row) for row in of_eth
    ]


@pytest.mark.long
def test_verify_proves_it_and_prune_folds_it_away(first: FirstPass, world: KindsWorld) -> None:
    assert check_runs(world.feed.folder).findings == []
    for name in (f"{LATEST}.parquet", f"{LATEST}_ETHUSDT.csv"):
        path = world.feed.folder / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + b"x")
        assert [str(each) for each in check_runs(world.feed.folder).findings] == [
            f"{path} is not what any run published"
        ]
        path.write_bytes(good)
    own = world.feed.folder / files(first.record)["features_input"]["file"]
    good = own.read_bytes()
    own.write_bytes(good[:-1] + b"x")
    assert "was changed: its sha256" in str(check_runs(world.feed.folder).findings[0])
    own.write_bytes(good)
    pass_on(world)
    pruned = prune(world.feed.folder, world.clock.now_ms, Keep(0))
    assert (pruned.runs, pruned.left, own.exists()) == (1, (), False)
    assert own.name in ZipFile(world.feed.folder / pruned.zips[0]).namelist()
    assert check_runs(world.feed.folder).findings == []


def test_what_keeps_it_from_being_written_is_told_and_the_windows_are_out(world: KindsWorld) -> None:
    with opened(world.duckdb) as connection:
        connection.execute("DROP TABLE premium_index_1h")
        connection.execute("CREATE TABLE premium_index_1h (mine INTEGER)")
    record = pass_on(world)
    assert (record.exit_code, len(record.fresh)) == (4, 3)
    assert record.complaints[0][0].startswith("no wide table was written: table premium_index_1h has another shape")
    assert " features=none " in record.line()


def test_a_disk_that_lacks_something_takes_nobody_s_windows(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "premium_index")
    (world.feed.folder / f"{LATEST}.parquet").mkdir(parents=True)
    record = world.run_pass(catch_up=True, then=f'echo "$BARFEED_FRESH" > {tmp_path}/told')
    assert (record.exit_code, len(record.fresh)) == (4, 3)
    assert record.complaints[0][0].startswith("no wide table was written: ")
    assert (tmp_path / "told").read_text() == ",".join(SYMBOLS) + "\n"
    # What is there under the run's own name is told, and proven.
    assert files(record)["features_input"]["rows"] == len(SYMBOLS) * WINDOW


@pytest.mark.long
def test_of_one_series_it_is_a_csv_too_and_names_no_symbol(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, *FED)
    world.order = world.order._replace(
        then=f'cp "$BARFEED_FEATURES_PARQUET" {tmp_path}/then.parquet && cp "$BARFEED_FEATURES_CSV" {tmp_path}/then.csv'
    )
    record = world.run()
    folder = world.feed.folder
    told = json.loads(Path(record.manifest_path or "").read_text())["files"]
    names = {each["file"] for name, each in told.items() if name.startswith("features_input")}
    assert names == {f"{record.run_time}_features_input.parquet", f"{record.run_time}_features_input.csv"}
    assert (tmp_path / "then.parquet").read_bytes() == (folder / f"{LATEST}.parquet").read_bytes()
    assert (tmp_path / "then.csv").read_bytes() == (folder / f"{LATEST}.csv").read_bytes()
    assert read(folder / f"{LATEST}.csv") == read(folder / f"{LATEST}.parquet")
    rows = read(folder / f"{LATEST}.parquet")
    assert rows == [tuple(row) for row in barfeed.open(world.duckdb).wide("BTCUSDT", kinds=FED)]
    assert len(rows) == WINDOW
    assert check_runs(folder).findings == []
