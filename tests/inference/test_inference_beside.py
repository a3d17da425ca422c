"""Columns of a wide table as features: learned from its history, and asked of the one of the hour."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

from lgbm_inference.bars import Bars, timestamp
from lgbm_inference.dataset import dataset
from lgbm_inference.history import read_csv
from lgbm_inference.source import read_history

pytestmark = pytest.mark.long

BESIDE = ("open_interest_age_sec", "funding_rate")
HEADER = "timestamp,open,high,low,close,volume,funding_rate,open_interest,open_interest_age_sec"


@pytest.fixture
def wide(history: Bars, tmp_path: Path) -> Path:
    """A history with what moves the next hours beside each bar, and nothing beside the oldest fifty."""
    lead = np.concatenate([np.diff(np.log(history.close), n=1)[11:], np.zeros(12)])
    rows = [HEADER]
    for number, (hour, values) in enumerate(zip(history.hours.tolist(), history.values.tolist(), strict=True)):
        beside = [repr(float(lead[number])), "17.5", "3600.0"] if number >= 50 else ["", "", ""]
        rows.append(",".join([timestamp(hour), *map(repr, values), *beside]))
    path = tmp_path / "latest_features_input.csv"
    path.write_text("\n".join([*rows, ""]))
    return path


def test_a_csv_and_a_parquet_file_say_the_same(wide: Path, history: Bars, tmp_path: Path) -> None:
    duckdb.execute(f"COPY (FROM '{wide}') TO '{tmp_path}/wide.parquet'")
    told = read_csv(wide, BESIDE)
    bars, beside = read_history(tmp_path / "wide.parquet", "", BESIDE)
    assert np.array_equal(bars.values, history.values)
    assert np.array_equal(told.bars.values, history.values)
    assert (told.beside.names, beside.names) == (BESIDE, BESIDE)
    assert np.array_equal(told.beside.values, beside.values, equal_nan=True)
    assert np.isnan(beside.values[:50]).all()
    assert (beside.values[50:, 0] == 3600).all()


def test_they_are_features_of_their_own_bar_behind_those_of_the_bars(wide: Path) -> None:
    bars, beside = read_history(wide, "", BESIDE)
    whole = dataset(bars, ("1H",), 12, beside)
    alone = dataset(bars, ("1H",), 12)
    assert whole.names == (*alone.names, *BESIDE)
    assert np.array_equal(whole.features[:, :-2], alone.features)
    row = {int(hour): beside.values[place, 1] for place, hour in enumerate(bars.hours)}
    assert [row[int(hour)] for hour in whole.hours] == whole.features[:, -1].tolist()


def test_a_model_learns_from_it_and_predicts_from_the_file_of_the_hour(
    wide: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    beside = ("--beside", ",".join(BESIDE))
    models = ("--model-root", tmp_path / "models")
    trained = command("train", "--source", wide, *models, "--horizon-hours", 12, "--rounds", 20, *beside)
    assert trained.code == 0, trained.err
    [run] = (tmp_path / "models").iterdir()
    told = json.loads((run / "run_metadata.json").read_text())
    assert (told["beside"], told["features"][-2:]) == (list(BESIDE), list(BESIDE))
    flags = ("--input-csv", wide, *models, "--duckdb", tmp_path / "predictions.duckdb")
    said = command("infer", *flags, *beside)
    assert (said.code, said.out[:4]) == (0, "OK: ")
    with duckdb.connect(tmp_path / "predictions.duckdb", read_only=True) as connection:
        [(features,)] = connection.execute("SELECT features FROM features").fetchall()
    assert json.loads(features)["open_interest_age_sec"] == 3600
    # What was not known is no number, and no reason to refuse.
    wide.write_text(wide.read_text().rstrip("\n").rpartition(",")[0] + ",\n")
    assert command("infer", *flags[:-1], tmp_path / "other.duckdb", *beside).code == 0
    with duckdb.connect(tmp_path / "other.duckdb", read_only=True) as connection:
        [(features,)] = connection.execute("SELECT features FROM features").fetchall()
    assert json.loads(features)["open_interest_age_sec"] is None
    other = command("infer", *flags, "--beside", "funding_rate")
    assert other.code == 2
    assert "1 missing: open_interest_age_sec" in other.err


def test_what_is_no_column_is_named(wide: Path, model_root: Path, command: Callable[..., Any], tmp_path: Path) -> None:
    words = ("--input-csv", wide, "--model-root", model_root, "--duckdb", tmp_path / "predictions.duckdb")
    for flags, message in (
        ((), "the columns are"), (("--beside", "vibes,funding_rate"), "line 1: there is no column vibes"),
    ):  # fmt: skip
        refused = command("infer", *words, *flags)
        assert refused.code == 2
        assert message in refused.err
