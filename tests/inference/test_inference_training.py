import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

import numpy as np

from lgbm_inference import source
from lgbm_inference.bars import Bars
from lgbm_inference.dataset import Dataset, dataset, split
from lgbm_inference.errors import DataError, UsageError
from lgbm_inference.metrics import measure
from world import shared

ALL = ("1H", "4H", "12H", "1D")
# 2024-02-10 13:00 in whole hours since 1970.
TARGET_HOUR = 474_325
FILES = ["importance.png", "metrics.json", "model.txt", "predicted_against_actual.png", "run_metadata.json"]

Command = Callable[..., Any]
Write = Callable[[Bars], Path]


def run_of(root: Path) -> Path:
    (run,) = root.iterdir()
    return run


def test_the_target_is_the_log_return_over_the_horizon(history: Bars) -> None:
    found = dataset(history[:800], ("1D",), 24)
    # 800 bars; the first 719 have no base window, the last 24 no future.
    assert len(found.hours) == 800 - 719 - 24
    assert found.hours[0] == history.hours[719]
    assert found.target[0] == pytest.approx(math.log(history.close[743] / history.close[719]), rel=1e-12)
    assert found.target[-1] == pytest.approx(math.log(history.close[799] / history.close[775]), rel=1e-12)


def hours_only(rows: int) -> Dataset:
    return Dataset(("a",), np.arange(rows), np.zeros((rows, 1)), np.zeros(rows))


def test_parts_are_in_order_of_time_and_a_horizon_apart() -> None:
    train, valid, test = split(hours_only(2000 + 2 * 168), 168)
    assert (train.hours[0], train.hours[-1]) == (0, 1399)
    # The last target of the part before reaches to 1399 + 168: the next part starts behind it.
    assert (valid.hours[0], valid.hours[-1]) == (1568, 1867)
    assert (test.hours[0], test.hours[-1]) == (2036, 2335)


def test_parts_too_small_to_mean_anything_are_refused() -> None:
    with pytest.raises(
        DataError, match="400 hours with features and a target are too few for three parts 168 hours"
    ) as refused:
        split(hours_only(400), 168)
    assert refused.value.hint == "give at least 1357 bars: a longer history of the series, or a shorter --horizon-hours"
    split(hours_only(1357 - 719 - 168), 168)


def test_metrics_by_hand() -> None:
    found = measure(np.array([0.1, -0.1, 0.3]), np.array([0.1, 0.1, 0.1]), training_mean=0.1)
    assert found.rows == 3
    assert found.model.rmse == pytest.approx(math.sqrt(0.08 / 3))
    assert found.model.mae == pytest.approx(0.4 / 3)
    assert found.zero.rmse == pytest.approx(math.sqrt(0.11 / 3))
    assert found.skill_vs_zero == pytest.approx(1 - 0.08 / 0.11)
    assert found.skill_vs_mean == pytest.approx(0)
    assert [found.direction, found.up, found.correlation] == pytest.approx([2 / 3, 2 / 3, 0])


@pytest.mark.parametrize(
    ("predicted", "skilled"),
    [([0.1, -0.1, 0.3], True), ([0.0, 0.0, 0.0], False), ([0.1, 0.1, 0.1], False), ([-0.1, 0.1, -0.3], False)],
    ids=["right", "zero", "mean", "wrong"],
)
def test_skill_is_to_beat_both_baselines(predicted: list[float], skilled: bool) -> None:
    assert measure(np.array([0.1, -0.1, 0.3]), np.array(predicted), training_mean=0.1).has_skill is skilled


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    command: Command, history: Bars, write: Write, tmp_path: Path
) -> None:
    path = write(history[-1300:])
    texts = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        flags = ("--source", path, "--model-root", tmp_path / name, "--horizon-hours", 12, "--rounds", 10)
        assert command("train", *flags, "--seed", seed).code == 0
        texts.append((run_of(tmp_path / name) / "model.txt").read_bytes())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_run_folder_tells_everything(model_root: Path, history: Bars) -> None:
    run = model_root / "run_20240210_140000"
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert [path.name for path in model_root.iterdir()] == ["run_20240210_140000"]
    record = json.loads((run / "run_metadata.json").read_text())
    assert record["created_at"] == "2024-02-10 14:00:00"
    assert record["data"]["bars"] == 3000
    assert record["data"]["bars_sha256"] == source.sha256(history)
    assert (record["data"]["first"], record["data"]["last"]) == ("2023-10-08 14:00", "2024-02-10 13:00")
    assert (record["seed"], record["horizon_hours"], len(record["features"])) == (1, 12, 144)
    assert set(record["versions"]) == {"python", "lightgbm", "numpy", "duckdb", "matplotlib"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics) == {"train", "valid", "test", "importance"}
    assert set(metrics["test"]) >= {"model", "zero", "mean", "skill_vs_zero", "skill_vs_mean"}
    assert sum(metrics["importance"].values()) == pytest.approx(1)
    for name in ("importance.png", "predicted_against_actual.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.long
def test_skill_is_printed_as_it_is(command: Command, history: Bars, write: Write, tmp_path: Path) -> None:
    flags = ("--model-root", tmp_path / "models", "--horizon-hours", 12, "--rounds", 60)
    ran = command("train", "--source", write(history[-2000:]), *flags)
    metrics = json.loads((run_of(tmp_path / "models") / "metrics.json").read_text())["test"]
    assert (
        f"skill {metrics['skill_vs_zero']:+.1%} against zero, {metrics['skill_vs_mean']:+.1%} against the mean"
        in ran.out
    )
    # A random walk cannot be predicted.
    assert "has no skill: a baseline is at least as good" in ran.out
    assert ran.out.splitlines()[-1] == f"OK: {run_of(tmp_path / 'models')}"
    assert ran.err == ""


@pytest.mark.long
def test_what_can_be_learned_is_learned(command: Command, history: Bars, write: Write, tmp_path: Path) -> None:
    # The close swings once a day, so that the next 6 hours follow from the hour.
    swing = 40_000 * np.exp(0.02 * np.sin(2 * np.pi * history.hours / 24))
    values = np.column_stack([swing, swing * 1.001, swing * 0.999, swing, history.values[:, 4]])
    source = write(Bars(history.hours, values)[-2000:])
    flags = ("--source", source, "--model-root", tmp_path / "models", "--horizon-hours", 6, "--rounds", 250)
    ran = command("train", *flags, "--json")
    test = json.loads(ran.out)["metrics"]["test"]
    assert test["skill_vs_zero"] > 0.8
    assert test["correlation"] > 0.95


def store_of(path: Path, table: str, csv: Path, columns: str = "*") -> Path:
    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} AS SELECT {columns} FROM read_csv('{csv}')")
    return path


def test_a_csv_a_parquet_and_a_store_are_the_same_history(history: Bars, write: Write, tmp_path: Path) -> None:
    csv = write(history)
    duckdb.execute(f"COPY (FROM read_csv('{csv}')) TO '{tmp_path / 'bars.parquet'}'")
    store = store_of(tmp_path / "ohlcv.duckdb", "ohlcv_btcusdt_1h", csv, "*, now() AS created_at")
    hashes = {
        source.sha256(source.read_history(path, "ohlcv_btcusdt_1h")[0])
        for path in (csv, tmp_path / "bars.parquet", store)
    }
    assert hashes == {source.sha256(history)}


def test_a_store_is_opened_read_only(history: Bars, write: Write, tmp_path: Path) -> None:
    store = store_of(tmp_path / "ohlcv.duckdb", "bars", write(history))
    before = store.read_bytes()
    with duckdb.connect(store, read_only=True):
        source.read_history(store, "bars")
    assert store.read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ("* EXCLUDE (close)", UsageError, "column close is missing, expected"),
        ("* REPLACE (close::VARCHAR AS close)", UsageError, "column close is VARCHAR, expected"),
        ("* REPLACE (timestamp::TIMESTAMPTZ AS timestamp)", UsageError, "column timestamp is TIMESTAMP WITH TIME ZONE"),
        ("* REPLACE (timestamp + INTERVAL 1 MINUTE AS timestamp)", DataError, "2000 timestamps are absent or not"),
        ("* REPLACE (NULL::TIMESTAMP AS timestamp)", DataError, "2000 timestamps are absent or not"),
        ("* REPLACE (NULL::DOUBLE AS close)", DataError, "row 1 by time: bar 2023-11-19 06:00 has a value that"),
        ("* REPLACE (-low AS low)", DataError, "has a price that is not above zero"),
    ],
)  # fmt: skip
def test_a_store_of_another_shape_is_told(
    history: Bars, write: Write, tmp_path: Path, *, columns: str, error: type[Exception], says: str
) -> None:
    store = store_of(tmp_path / "ohlcv.duckdb", "bars", write(history[-2000:]), columns)
    with pytest.raises(error) as refused:
        source.read_history(store, "bars")
    assert says in str(refused.value)


def test_a_gap_in_the_history_is_named(history: Bars, write: Write) -> None:
    kept = np.r_[0:1000, 1003:3000]
    with pytest.raises(DataError, match=r"bars are missing: 2023-11-19 06:00 .. 2023-11-19 08:00 \(3 bars\)"):
        source.read_history(write(Bars(history.hours[kept], history.values[kept])), "")


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("absent.duckdb", None, 2, "is not a file, expected a CSV, a parquet file or a DuckDB store"),
        ("garbage.duckdb", b"no database" * 500, 2, "cannot be read"),
        ("garbage.parquet", b"no parquet" * 500, 2, "cannot be read"),
        ("empty.csv", b"timestamp,open,high,low,close,volume\n", 1, "0 bars are too few, expected more than 887"),
    ],
)
def test_what_cannot_be_trained_on_is_told_and_leaves_no_run(
    command: Command, tmp_path: Path, *, name: str, content: bytes | None, code: int, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = command("train", "--source", tmp_path / name, "--model-root", tmp_path / "models")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "models").exists()


def test_a_model_root_that_cannot_be_written_is_told(
    command: Command, history: Bars, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("a file")
    flags = (
        "--source",
        write(history[-2000:]),
        "--model-root",
        tmp_path / "models",
        "--horizon-hours",
        12,
        "--rounds",
        2,
    )
    ran = command("train", *flags)
    assert ran.code == 4
    assert "models cannot be written: File exists" in ran.err


@pytest.mark.proof
def test_six_years_of_hours_are_trained_on(command: Command, tmp_path: Path) -> None:
    path = shared("rest/BTCUSDT-1h.parquet")
    ran = command("train", "--source", path, "--model-root", tmp_path)
    assert ran.code == 0
    assert "31,757 hours" in ran.out
