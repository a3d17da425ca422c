"""The proof of a lake: what was cut, changed, put there or never came is found, and nothing else."""

from pathlib import Path

import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.store.lake.proof import Proven, prove
from store.lake.lakes import StoreAndLake


@pytest.fixture
def filled(tmp_path: Path) -> StoreAndLake:
    both = StoreAndLake(tmp_path)
    both.append(62)
    both.export()
    return both


def proven(both: StoreAndLake) -> Proven:
    return prove(both.store, both.lake, Interval.ONE_HOUR)


def found(both: StoreAndLake) -> list[str]:
    return [str(each) for each in proven(both).findings]


def test_a_lake_that_is_the_store_has_no_findings(filled: StoreAndLake) -> None:
    assert proven(filled) == Proven(files=3, rows=186, findings=[])


@pytest.mark.long
def test_a_day_that_never_came_is_found(filled: StoreAndLake) -> None:
    filled.grow(11)
    assert found(filled) == [
        "2026-03-11: the store has bars of it, the lake has none",
        "date=2026-03-10/bars.parquet: 30 bars differ from the store's; first: BTCUSDT 2026-03-10 14:00:00",
    ]


def test_a_value_that_was_changed_in_the_store_by_hand_is_found_to_the_bit(filled: StoreAndLake) -> None:
    filled.sql("UPDATE ohlcv_1h SET close = nextafter(close, 1e9) WHERE timestamp = '2026-03-09 05:00:00'")
    assert found(filled) == [
        "date=2026-03-09/bars.parquet: 3 bars differ from the store's; first: BTCUSDT 2026-03-09 05:00:00"
    ]


def test_a_file_that_was_cut_is_found(filled: StoreAndLake) -> None:
    path = filled.table / "date=2026-03-09" / "bars.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert found(filled) == ["date=2026-03-09/bars.parquet is another file than the manifest tells of: cut, or changed"]


def test_a_file_that_is_gone_is_found_and_comes_again_once_its_folder_is_taken_away(filled: StoreAndLake) -> None:
    (filled.table / "date=2026-03-09" / "bars.parquet").unlink()
    assert found(filled) == ["date=2026-03-09/bars.parquet is not there"]
    (filled.table / "date=2026-03-09").rmdir()
    filled.export()
    assert found(filled) == []


def test_a_file_that_somebody_put_there_is_found(filled: StoreAndLake) -> None:
    (filled.table / "date=2026-03-09" / "copy.parquet").write_bytes(b"PAR1")
    assert found(filled) == [
        "date=2026-03-09/copy.parquet is not in the manifest: whoever reads the lake reads that, too"
    ]


def test_a_lake_that_was_never_written_is_told_so(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    with pytest.raises(LakeUnusable, match=r"is no lake: it holds no _manifest.json"):
        proven(both)
