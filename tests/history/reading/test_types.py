"""A user's program as `mypy --strict` sees it (`make types` reads this file): every answer has its type."""

from datetime import datetime
from pathlib import Path
from typing import assert_type

import numpy
import pandas
import polars
import pytest

import barfeed
from barfeed.history.reading.rows import BarRow, CoverageRow, GapRow, ListingRow, RevisionRow, SymbolBarRow
from commands import make_store


def test_a_program_of_a_user_is_typed_throughout(tmp_path: Path) -> None:
    feed = barfeed.open(make_store(tmp_path / "ohlcv.duckdb"), lock_timeout_sec=1)
    assert_type(feed, barfeed.Reader)
    bars = feed.bars("BTCUSDT", "1h", start="2024-02-01")
    assert_type(bars, barfeed.Table[BarRow])
    assert_type(feed.bars(["BTCUSDT"]), barfeed.Table[SymbolBarRow])
    assert_type(bars.to_polars(), polars.DataFrame)
    assert isinstance(bars.to_pandas(), pandas.DataFrame)
    assert isinstance(bars.to_numpy(), numpy.ndarray)
    for bar in feed.window("BTCUSDT"):
        assert_type(bar.timestamp, datetime)
        assert_type(bar.close, float)
    assert_type(list(feed.coverage()), list[CoverageRow])
    assert_type(list(feed.gaps()), list[GapRow])
    assert_type(list(feed.revisions()), list[RevisionRow])
    assert_type(list(feed.symbols()), list[ListingRow])


def test_what_is_misspelt_is_no_name_of_barfeed() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        barfeed.opne  # type: ignore[attr-defined]  # noqa: B018 - to be refused
    assert all(hasattr(barfeed, name) for name in barfeed.__all__)
