import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

from disks import lacking
from lgbm_inference import cli, predictions
from lgbm_inference.bars import Bars
from lgbm_inference.debug import Artifacts
from lgbm_inference.errors import LocalError
from storage import opened
from waiting import in_time

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "run" / "run_inference_lgbm.py"

Command = Callable[..., Any]
Write = Callable[[Bars], Path]


class Bench:
    """A CSV, a model, a place for the store: everything `infer` needs."""

    def __init__(self, folder: Path, run: Command, input_csv: Path, model_root: Path) -> None:
        self.folder = folder
        self.input_csv = input_csv
        self.model = model_root / "run_20240210_140000"
        self.duckdb = folder / "predictions.duckdb"
        self.debug = folder / "debug"
        self._run = run

    def flags(self, **changes: Any) -> list[str]:
        given = {"input_csv": self.input_csv, "model_path": self.model, "duckdb": self.duckdb, "debug_dir": self.debug}
        pairs = (given | changes).items()
        return [
            str(word) for name, value in pairs if value is not None for word in (f"--{name.replace('_', '-')}", value)
        ]

    def infer(self, *more: str, **changes: Any) -> Any:
        return self._run("infer", *self.flags(**changes), *more)

    def edit(self, line: int, old: str, new: str) -> None:
        lines = self.input_csv.read_text().splitlines(keepends=True)
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new, 1)
        self.input_csv.write_text("".join(lines))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with opened(self.duckdb, read_only=True) as connection:
            return connection.execute(query).fetchall()

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def bench(tmp_path: Path, command: Command, history: Bars, write: Write, model_root: Path) -> Bench:
    return Bench(tmp_path, command, write(history[-726:]), model_root)


@pytest.mark.parametrize(
    "errors",
    [
        {"link": "EPERM"},
        pytest.param({"link": "EOPNOTSUPP"}, marks=pytest.mark.long),
        pytest.param({"flush_folder": "EINVAL"}, marks=pytest.mark.long),
    ],
)
def test_a_prediction_is_kept_on_a_disk_that_lacks_something(bench: Bench, errors: dict[str, str]) -> None:
    words = [sys.executable, str(SCRIPT), *bench.flags()]
    environment = os.environ | lacking(**errors)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bench.rows("SELECT count(*) FROM predictions") == [(1,)]


@pytest.mark.long
def test_a_predictions_store_on_a_disk_without_locks_is_told_as_that(bench: Bench) -> None:
    words = [sys.executable, str(SCRIPT), *bench.flags()]
    environment = os.environ | lacking(fcntl="ENOLCK")
    done = in_time(lambda: subprocess.run(words, env=environment, capture_output=True, text=True, check=False))
    assert done.returncode == 4
    assert "predictions.duckdb is on a disk that cannot lock files" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_prediction_is_kept_with_a_stream_closed(bench: Bench, closed: str) -> None:
    shell = shlex.join([sys.executable, str(SCRIPT), *bench.flags()])
    done = subprocess.run(["sh", "-c", f"{shell} {closed}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bench.rows("SELECT count(*) FROM predictions") == [(1,)]


def test_a_prediction_ends_with_one_line_two_tables_and_two_files(bench: Bench) -> None:
    ran = bench.infer()
    ((y_pred, *_),) = bench.rows("SELECT y_pred FROM predictions")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"OK: BINANCE_BTCUSDT.P, 60 @ 2024-02-10 13:00 -> y_pred={y_pred:.6f}\n"
    ((ts, model_path, key, dataset, sha256, created_at),) = bench.rows(
        "SELECT ts, model_path, feature_key, dataset, input_sha256, created_at FROM predictions"
    )
    assert (ts, dataset) == (datetime(2024, 2, 10, 13), "BINANCE_BTCUSDT.P, 60")  # noqa: DTZ001 - as the column has it
    assert model_path == str((bench.model / "model.txt").resolve())
    assert sha256 == hashlib.sha256(bench.input_csv.read_bytes()).hexdigest()
    assert abs(created_at.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=5)
    ((stored_key, features),) = bench.rows("SELECT feature_key, features FROM features")
    assert stored_key == key
    assert len(json.loads(features)) == 144
    given, said = sorted(bench.debug.iterdir())
    assert given.name.startswith("features_BINANCE_BTCUSDT.P_60_20240210_130000Z_")
    assert said.name == given.name.replace("features", "prediction")
    with given.open() as file:
        assert {name: float(value) for name, value in list(csv.reader(file))[1:]} == json.loads(features)
    with said.open() as file:
        assert float(next(csv.DictReader(file))["y_pred"]) == y_pred


def test_the_tables_have_the_columns_that_are_promised(bench: Bench) -> None:
    bench.infer()
    columns = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{}' ORDER BY column_index"
    assert bench.rows(columns.format("predictions")) == [
        ("ts", "TIMESTAMP"),
        ("y_pred", "DOUBLE"),
        ("model_path", "VARCHAR"),
        ("feature_key", "VARCHAR"),
        ("dataset", "VARCHAR"),
        ("input_sha256", "VARCHAR"),
        ("created_at", "TIMESTAMP"),
    ]
    assert bench.rows(columns.format("features")) == [
        ("feature_key", "VARCHAR"),
        ("ts", "TIMESTAMP"),
        ("features", "JSON"),
        ("created_at", "TIMESTAMP"),
    ]


def test_a_new_store_can_be_read_by_duckdb_1(bench: Bench) -> None:
    bench.infer()
    tags = bench.rows("SELECT tags['storage_version'] FROM duckdb_databases() WHERE path LIKE '%predictions.duckdb'")
    assert tags == [("v1.0.0+",)]


def test_a_second_run_on_the_same_bar_says_so_and_changes_nothing(bench: Bench) -> None:
    first = bench.infer()
    stored, files = bench.rows("FROM predictions"), bench.files()
    second = bench.infer()
    assert second.code == 0
    assert second.out.startswith(first.out.strip() + " (already predicted at 20")
    assert second.out.endswith(", nothing changed)\n")
    assert (bench.rows("FROM predictions"), bench.files()) == (stored, files)


def test_the_first_word_on_a_bar_stands_though_the_input_changed(bench: Bench, history: Bars, write: Write) -> None:
    first = bench.infer()
    write(Bars(history.hours[-726:], history.values[-1726:-1000]))
    second = bench.infer()
    assert second.out.startswith(first.out.strip())
    assert "warning: the input has changed since: it would be " in second.err
    assert len(bench.rows("FROM predictions")) == 1


def test_the_first_word_on_a_bar_stands_though_the_model_was_overwritten(bench: Bench) -> None:
    bench.model = shutil.copytree(bench.model, bench.folder / "run")
    (bench.model / "run_metadata.json").unlink()
    first = bench.infer()
    text = (bench.model / "model.txt").read_text()
    tree = text[text.index("leaf_value=") : text.index("leaf_weight=")]
    # As long as before: a digit for a digit.
    (bench.model / "model.txt").write_text(text.replace(tree, re.sub(r"0\.\d", "9.9", tree), 1))
    second = bench.infer()
    assert second.out.startswith(first.out.strip())
    assert "warning: the model's file has changed since: it would be " in second.err


def test_another_model_says_its_own_and_shares_the_features(bench: Bench) -> None:
    bench.infer()
    other = shutil.copytree(bench.model, bench.folder / "other")
    assert bench.infer(model_path=other).code == 0
    assert len(bench.rows("FROM predictions")) == 2
    assert len(bench.rows("FROM features")) == 1


def test_another_dataset_is_another_bar(bench: Bench) -> None:
    bench.infer()
    ran = bench.infer(dataset="BINANCE_ETHUSDT.P, 60")
    assert ran.out.startswith("OK: BINANCE_ETHUSDT.P, 60 @ 2024-02-10 13:00 -> y_pred=")
    assert len(bench.rows("FROM predictions")) == 2


def test_json_tells_the_same(bench: Bench) -> None:
    said = json.loads(bench.infer("--json").out)
    assert (said["dataset"], said["ts"], said["already_predicted"]) == (
        "BINANCE_BTCUSDT.P, 60",
        "2024-02-10 13:00:00",
        False,
    )
    assert [(said["y_pred"], said["feature_key"])] == bench.rows("SELECT y_pred, feature_key FROM predictions")
    assert len(said["debug_files"]) == 2
    assert json.loads(bench.infer("--json").out)["already_predicted"] is True


def test_the_newest_run_of_a_root_predicts(bench: Bench) -> None:
    ran = bench.infer(model_path=None, model_root=bench.model.parent)
    assert ran.code == 0
    assert bench.rows("SELECT model_path FROM predictions") == [(str((bench.model / "model.txt").resolve()),)]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--timeframes", "1H", "4H", "--json"], ["--timeframes", "1H", "--timeframes", "4H", "--json"]),
        (["--timeframes", "1D"], ["--timeframes", "1D"]),
        (["--json", "--buffer-hours", "6"], ["--json", "--buffer-hours", "6"]),
    ],
)
def test_timeframes_are_separated_by_spaces(words: list[str], meant: list[str]) -> None:
    assert cli._spread(words) == meant


def test_timeframes_in_any_order_mean_the_same(bench: Bench) -> None:
    assert bench.infer("--timeframes", "1D", "4H", "12H", "1H").code == 0


@pytest.mark.long
def test_a_longer_csv_gives_the_same_word(bench: Bench, history: Bars, write: Write) -> None:
    bench.infer()
    write(history)
    bench.infer(duckdb=bench.folder / "longer.duckdb")
    with opened(bench.folder / "longer.duckdb") as connection:
        assert connection.execute("SELECT y_pred, feature_key FROM predictions").fetchall() == bench.rows(
            "SELECT y_pred, feature_key FROM predictions"
        )


# Line 500 of the CSV is the bar of 2024-02-01 02:00.
BAD_LINES = [
    (1, "timestamp", "Timestamp", 2, "line 1: the columns are 'Timestamp,open,high,low,close,volume', expected"),
    (1, "close,", "", 2, "line 1: the columns are 'timestamp,open,high,low,volume', expected"),
    (500, "02:00:00,", "02:00:00+00:00,", 1, "line 500: timestamp '2024-02-01 02:00:00+00:00' carries a time zone"),
    (500, "02:00:00,", "02:30:00,", 1, "line 500: timestamp '2024-02-01 02:30:00' is not on the hour"),
    (500, "02:00:00,", "02:00:00.5,", 1, "line 500: timestamp '2024-02-01 02:00:00.5' is not on the hour"),
    (500, "2024-02-01", "yesterday", 1, "line 500: timestamp is 'yesterday 02:00:00', expected like"),
    (500, "02:00:00,", "02:00:00,x", 1, "line 500: open is 'x"),
    (500, "02:00:00,", "02:00:00,,", 1, "line 500: 7 fields, expected 6"),
    (500, "02:00:00,", "02:00:00,-", 1, "line 500: bar 2024-02-01 02:00 has a price that is not above zero"),
    (500, "2024-02-01 02", "2024-02-01 01", 1, "line 500: bar 2024-02-01 01:00 stands there twice"),
    (500, "2024-02-01 02", "2024-02-01 00", 1, "line 500: bar 2024-02-01 00:00 is earlier than the one before it"),
    (500, "2024-02-01 02:00:00", '"', 2, "is not a CSV"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "old", "new", "code", "says"), BAD_LINES, ids=[case[-1][:40] for case in BAD_LINES])
def test_a_bad_line_is_named_and_nothing_is_written(
    bench: Bench, *, line: int, old: str, new: str, code: int, says: str
) -> None:
    bench.edit(line, old, new)
    before = bench.files()
    ran = bench.infer()
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert "hint: " in ran.err
    assert bench.files() == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("nan,2,1,1,5", "has a value that is not a finite number"),
        ("1,inf,1,1,5", "has a value that is not a finite number"),
        ("1,2,0,1,5", "has a price that is not above zero"),
        ("1,2,1,1,-5", "has a volume below zero"),
        ("3,2,1,1,5", "has a high below another of its prices"),
        ("2,3,2.5,3,5", "has a low above another of its prices"),
        ("1_0,20,1,1,5", "open is '1_0', expected a number"),
        ("1,2,1,,5", "close is '', expected a number"),
    ],
)
def test_a_bad_value_is_named_with_its_line(bench: Bench, values: str, says: str) -> None:
    lines = bench.input_csv.read_text().splitlines()
    lines[499] = f"2024-02-01 02:00:00,{values}"
    bench.input_csv.write_text("\n".join([*lines, ""]))
    before = bench.files()
    ran = bench.infer()
    assert (ran.code, ran.out) == (1, "")
    assert "line 500: " in ran.err
    assert says in ran.err
    assert bench.files() == before


@pytest.mark.parametrize(
    ("first", "cut", "count", "runs"),
    [
        (300, (), "300", "2024-01-11 08:00 .. 2024-01-23 19:00 (300 bars)\n"),
        (0, (500,), "1", "2024-02-01 04:00 (1 bar)\n"),
        (0, (3, 4, 500), "3", "2024-01-11 11:00 .. 2024-01-11 12:00 (2 bars), 2024-02-01 04:00 (1 bar)\n"),
    ],
    ids=["short", "gap", "gaps"],
)  # fmt: skip
def test_missing_bars_are_named(bench: Bench, first: int, cut: tuple[int, ...], count: str, runs: str) -> None:
    header, *rows = bench.input_csv.read_text().splitlines()
    kept = [row for number, row in enumerate(rows) if number >= first and number not in cut]
    bench.input_csv.write_text("\n".join([header, *kept, ""]))
    before = bench.files()
    ran = bench.infer()
    assert (ran.code, ran.out) == (1, "")
    assert f": {count} of the 726 bars that end at 2024-02-10 13:00 are missing: {runs}" in ran.err
    assert bench.files() == before


def test_a_csv_without_a_bar_is_told(bench: Bench) -> None:
    bench.input_csv.write_text("timestamp,open,high,low,close,volume\n")
    ran = bench.infer()
    assert ran.code == 1
    assert "has no bar, expected the last 726" in ran.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory, expected a CSV of hourly bars"),
        (b"", "the columns are '', expected"),
        (b"\xff\xfe\x00", "is not a CSV"),
        (b"PAR1\x00\x00", "the columns are"),
    ],
    ids=["absent", "empty", "binary", "parquet"],
)
def test_what_is_no_csv_is_told(bench: Bench, content: bytes | None, says: str) -> None:
    if content is None:
        bench.input_csv.unlink()
    else:
        bench.input_csv.write_bytes(content)
    before = bench.files()
    ran = bench.infer()
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert bench.files() == before


@pytest.mark.parametrize(
    ("more", "changes", "says"),
    [
        (["--timeframes", "1H", "2H"], {}, "'2H' is not one of"),
        (["--timeframes", "1H", "4H"], {}, "the features are not the model's 144: 72 missing: return_1_12H"),
        (["--buffer-hours", "-1"], {}, "--buffer-hours"),
        (["--colour"], {}, "No such option"),
        ([], {"model_path": None}, "expected one of --model-path and --model-root"),
        ([], {"model_path": "/absent"}, "/absent does not exist, expected a run folder or a model.txt"),
        ([], {"dataset": ""}, "--dataset ''"),
        ([], {"dataset": "a\nb"}, "expected 1 to 100 printable characters"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    bench: Bench, more: list[str], changes: dict[str, Any], says: str
) -> None:
    before = bench.files()
    ran = bench.infer(*more, **changes)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert bench.files() == before


def test_a_cut_model_is_told_and_nothing_is_written(bench: Bench) -> None:
    cut = bench.folder / "model.txt"
    cut.write_bytes((bench.model / "model.txt").read_bytes()[:-400])
    before = bench.files()
    ran = bench.infer(model_path=cut)
    assert ran.code == 2
    assert "is not a whole LightGBM model: it ends too early: the file is cut" in ran.err
    assert bench.files() == before


@pytest.mark.parametrize("kind", ["garbage", "folder", "in a file"])
def test_a_store_that_cannot_be_used_is_told_and_nothing_is_written(bench: Bench, kind: str) -> None:
    if kind == "garbage":
        bench.duckdb.write_bytes(b"no database" * 1000)
    elif kind == "folder":
        bench.duckdb.mkdir()
    else:
        bench.duckdb = bench.input_csv / "predictions.duckdb"
    before = bench.files()
    ran = bench.infer()
    assert (ran.code, ran.out) == (4, "")
    assert "predictions.duckdb cannot be used: " in ran.err
    assert "Traceback" not in ran.err
    assert bench.files() == before


def test_tables_of_another_shape_are_left_alone(bench: Bench) -> None:
    with opened(bench.duckdb) as connection:
        connection.execute("CREATE TABLE predictions (a INTEGER)")
    ran = bench.infer()
    assert ran.code == 4
    assert "its tables predictions and features have another shape" in ran.err
    assert bench.rows("SELECT table_name FROM duckdb_tables()") == [("predictions",)]


def test_a_debug_folder_that_cannot_be_written_is_told_and_nothing_is_stored(bench: Bench) -> None:
    bench.debug.write_text("a file")
    ran = bench.infer()
    assert (ran.code, ran.out) == (4, "")
    assert f"{bench.debug} cannot be written: File exists" in ran.err
    assert not bench.duckdb.exists()


def test_a_commit_that_fails_takes_the_debug_files_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_values: object) -> None:
        raise duckdb.IOException("No space left on device")

    bench.infer(duckdb=bench.folder / "other.duckdb", debug_dir=None)
    monkeypatch.setattr("lgbm_inference.debug.Artifacts.publish", published_then(full))
    ran = bench.infer()
    assert ran.code == 4
    assert "No space left on device" in ran.err
    assert not bench.debug.exists()
    assert bench.rows("SELECT table_name FROM duckdb_tables()") == []


def published_then(then: Callable[..., None]) -> Callable[..., None]:
    publish = Artifacts.publish

    def both(self: Artifacts) -> None:
        publish(self)
        then()

    return both


def test_a_first_prediction_killed_while_it_makes_its_store_leaves_none(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lgbm_inference import predictions\n"
        "os.link = lambda *_: os._exit(9)\n"
        "with predictions.transaction(Path(sys.argv[1])): pass"
    )
    path = tmp_path / "predictions.duckdb"
    assert subprocess.run([sys.executable, "-c", code, path], check=False, timeout=60).returncode == 9
    assert not path.exists()
    with predictions.transaction(path):
        pass
    assert path.exists()


HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_store_that_another_process_holds_is_waited_for_and_then_its_holder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, slept = tmp_path / "predictions.duckdb", list[float]()
    stepping = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(predictions, "time", stepping)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LocalError, match=rf"is held by .*PID {holder.pid}"), predictions.transaction(path, 0.55):
            pass
        assert sum(slept) == pytest.approx(0.6)
    finally:
        holder.communicate(timeout=60)
    with predictions.transaction(path, 0.0):
        pass


def environment(**more: str) -> dict[str, str]:
    return os.environ | more


@pytest.mark.long
def test_the_script_runs_cold_far_from_utc(bench: Bench) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *bench.flags()],
        env=environment(TZ="America/New_York"),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK: BINANCE_BTCUSDT.P, 60 @ 2024-02-10 13:00 -> y_pred=")
    ((created_at,),) = bench.rows("SELECT created_at FROM predictions")
    assert abs(created_at.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=5)
