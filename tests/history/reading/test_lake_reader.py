"""A lake is read as the store that it is made of, by the same calls."""

from pathlib import Path

import pytest

import barfeed
from barfeed.history.reading.lake import LakeSource
from barfeed.store.lake.table import Table
from barfeed.store.place import Span
from commands import BARS, make_store
from storage import opened

DAYS = """
COPY (SELECT 'BTCUSDT' AS symbol, timestamp, open, high, low, close, volume, created_at,
             'ohlcv' AS kind, '1h' AS interval, timestamp::DATE AS date
      FROM ohlcv_btcusdt_1h WHERE {where} ORDER BY timestamp)
TO '{lake}' (FORMAT parquet, PARTITION_BY (kind, interval, date), FILENAME_PATTERN 'bars')
"""


def lake_of(store: Path, lake: Path, where: str = "true") -> Path:
    with opened(store, read_only=True) as connection:
        connection.execute(DAYS.format(lake=str(lake).replace("'", "''"), where=where))
    return lake


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "ohlcv.duckdb")


@pytest.fixture
def lake(store: Path, tmp_path: Path) -> Path:
    return lake_of(store, tmp_path / "it's a lake")


@pytest.mark.parametrize(
    "bounds", [{}, {"start": "2024-02-10"}, {"end": "2024-01-09 03:00"}, {"start": "2024-02-01", "end": "2024-02-02"}]
)
def test_its_bars_are_those_of_the_store(store: Path, lake: Path, bounds: dict[str, str]) -> None:
    ours, theirs = (barfeed.open(each).bars("BTCUSDT", **bounds).to_polars() for each in (lake, store))
    assert ours.equals(theirs)
    many = barfeed.open(lake).bars(["BTCUSDT"], **bounds).to_polars()
    assert many.drop("symbol").equals(theirs)


@pytest.mark.long
def test_the_window_the_coverage_and_the_gaps_are_the_stores(store: Path, tmp_path: Path) -> None:
    whole = lake_of(store, tmp_path / "whole")
    torn = lake_of(store, tmp_path / "torn", "timestamp != TIMESTAMP '2024-02-01 05:00'")
    assert list(barfeed.open(whole).window("BTCUSDT")) == list(barfeed.open(store).window("BTCUSDT"))
    assert list(barfeed.open(whole).coverage()) == list(barfeed.open(store).coverage())
    [gap] = barfeed.open(torn).gaps()
    assert (str(gap.first), gap.bars) == ("2024-02-01 05:00:00", 1)
    with pytest.raises(barfeed.WindowGap, match="2024-02-01 05:00"):
        barfeed.open(torn).window("BTCUSDT")


def test_what_a_lake_of_an_older_barfeed_does_not_tell_is_refused(lake: Path) -> None:
    feed = barfeed.open(lake)
    for asked in (feed.bars("BTCUSDT", as_of="2024-02-01"), feed.revisions(), feed.symbols()):
        with pytest.raises(barfeed.UsageError, match="is a lake, which does not tell") as told:
            len(asked)
        assert "the next pass with --lake writes it; until then, open the store that it is made of" in told.value.hint


def test_what_it_does_not_hold_is_named(lake: Path) -> None:
    with pytest.raises(barfeed.StoreEmpty, match="holds no bar of ETHUSDT 1h"):
        len(barfeed.open(lake).bars(["ETHUSDT", "BTCUSDT"]))
    with pytest.raises(barfeed.StoreEmpty, match="holds no bar of BTCUSDT 4h"):
        len(barfeed.open(lake).bars("BTCUSDT", "4h"))


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(barfeed.StoreUnusable, match="is a folder, and no lake"):
        barfeed.open(tmp_path)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://", "'s3://' is not an address like s3://bucket/prefix"),
        ("s3:///lake", "'s3:///lake' is not an address like s3://bucket/prefix"),
        ("s3:bucket", "'s3:bucket' is not an address like s3://bucket/prefix"),
        ("gs://bucket/lake", "gs:// is nothing that barfeed.open reads"),
        ("https://data.example.org/lake", "https:// is nothing that barfeed.open reads"),
    ],
)
def test_an_address_that_is_none_of_a_lake_is_refused_at_once(address: str, said: str) -> None:
    with pytest.raises(barfeed.UsageError, match=f"^{said}"):
        barfeed.open(address)


def test_a_hint_is_told_once(lake: Path) -> None:
    with pytest.raises(barfeed.StoreEmpty) as told:
        barfeed.open(lake).window("ETHUSDT")
    assert len(told.value.__notes__) == 1


def test_a_file_that_is_cut_is_refused_in_words_of_ours(lake: Path) -> None:
    day = next(lake.rglob("date=2024-02-10/*.parquet"))
    day.write_bytes(day.read_bytes()[:100])
    feed = barfeed.open(lake)
    with pytest.raises(barfeed.LakeUnusable, match=f"cannot be read as a lake: {day.relative_to(lake)} is cut") as told:
        feed.bars("BTCUSDT").to_polars()
    assert "barfeed verify --lake" in told.value.__notes__[0]
    day.unlink()
    assert len(feed.bars("BTCUSDT")) == len(BARS) - 14


def test_a_day_that_is_replaced_while_one_reads_is_read_again(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = next(lake.rglob("date=2024-02-10/*.parquet"))
    whole = day.read_bytes()
    tables = iter([whole[:100], whole[:200], whole])

    def replaced(source: LakeSource, table: Table, span: Span | None = None) -> str | None:
        day.write_bytes(next(tables))
        return relation(source, table, span)

    relation = LakeSource._relation
    monkeypatch.setattr(LakeSource, "_relation", replaced)
    assert len(barfeed.open(lake).bars("BTCUSDT")) == len(BARS)
    assert next(tables, None) is None
