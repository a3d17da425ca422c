"""The predictions store: two tables in a DuckDB file, one prediction for each model and bar.

The file is opened late, for one transaction, and let go at once.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from lgbm_inference import files
from lgbm_inference.bars import timestamp
from lgbm_inference.errors import LocalError

LOCK_TIMEOUT_SEC = 30.0

# A new file can be read by DuckDB 1.1 and later; the version of an existing one cannot be lowered.
_NEW_FILE = "STORAGE_VERSION 'v1.0.0'"
_EXISTING_FILE = "READ_WRITE"
_LOCK_PAUSE_SEC = 0.1
_CREATE = """
CREATE TABLE IF NOT EXISTS predictions (
  ts TIMESTAMP NOT NULL, y_pred DOUBLE NOT NULL, model_path VARCHAR NOT NULL, feature_key VARCHAR NOT NULL,
  dataset VARCHAR NOT NULL, input_sha256 VARCHAR NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (model_path, dataset, ts)
);
CREATE TABLE IF NOT EXISTS features (
  feature_key VARCHAR PRIMARY KEY, ts TIMESTAMP NOT NULL, features JSON NOT NULL,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
"""
_FIND = """
SELECT y_pred, feature_key, created_at FROM predictions WHERE model_path = ? AND dataset = ? AND ts = ?::TIMESTAMP
"""
_ADD_FEATURES = """
INSERT INTO features (feature_key, ts, features)
SELECT ?, ?::TIMESTAMP, ? WHERE NOT EXISTS (FROM features WHERE feature_key = ?)
"""
_ADD_PREDICTION = """
INSERT INTO predictions (ts, y_pred, model_path, feature_key, dataset, input_sha256)
VALUES (?::TIMESTAMP, ?, ?, ?, ?, ?)
"""


class Prediction(NamedTuple):
    """One model's word on one bar.

    `hour`: the bar's label, whole hours since 1970-01-01 UTC. `features`: JSON of name and value.
    `feature_key`: sha256 of the bar's time and `features`. `input_sha256`: of the CSV's bytes.
    """

    hour: int
    y_pred: float
    model_path: str
    feature_key: str
    dataset: str
    input_sha256: str
    features: str


class Stored(NamedTuple):
    """What the store already holds for a model and a bar; `created_at` is UTC."""

    y_pred: float
    feature_key: str
    created_at: datetime


class Predictions:
    """The two tables, inside one transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute(_CREATE)

    def find(self, asked: Prediction) -> Stored | None:
        """What was predicted before by this model for this dataset's bar."""
        row = self._connection.execute(_FIND, [asked.model_path, asked.dataset, timestamp(asked.hour)]).fetchone()
        return None if row is None else Stored(*row)

    def add(self, new: Prediction) -> None:
        """Store a prediction, and its features unless another model used the very same."""
        at, key = timestamp(new.hour), new.feature_key
        self._connection.execute(_ADD_FEATURES, [key, at, new.features, key])
        self._connection.execute(_ADD_PREDICTION, [at, new.y_pred, new.model_path, key, new.dataset, new.input_sha256])


@contextmanager
def transaction(path: Path, lock_timeout_sec: float = LOCK_TIMEOUT_SEC) -> Iterator[Predictions]:
    """The tables of a file, made where absent: committed at the end, rolled back by any exception.

    Raises `LocalError` for whatever is wrong with the file; one that another process holds is waited for
    `lock_timeout_sec` seconds.
    """
    with _translated(path), _attached(path.absolute(), lock_timeout_sec) as connection:
        connection.execute("BEGIN")
        try:
            yield Predictions(connection)
            connection.execute("COMMIT")
        except BaseException:
            # After a failed COMMIT there is nothing left to roll back.
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise


@contextmanager
def _attached(path: Path, lock_timeout_sec: float) -> Iterator[duckdb.DuckDBPyConnection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        # CURRENT_TIMESTAMP becomes a TIMESTAMP in the session's zone, which is the machine's unless told.
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        if not path.exists():
            _make(connection, path)
        files.sweep(path.parent, path.stat().st_mtime)
        _patiently(connection, _attach(path, "store", _EXISTING_FILE), lock_timeout_sec)
        connection.execute("USE store.main")
        yield connection


def _make(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    # Beside its place: killed while DuckDB makes the file, a process would leave one that is no database.
    with files.staged(path.parent) as working:
        made = working / path.name
        connection.execute(_attach(made, "made", _NEW_FILE))
        connection.execute("DETACH made")
        _link(made, path)
        files.flush_entries(path.parent)


def _link(made: Path, path: Path) -> None:
    try:
        os.link(made, path)
    except FileExistsError:
        # Another process was quicker; its file is as good.
        pass
    except OSError:
        # A file system without such links; there, two first starts in one moment may meet.
        made.rename(path)


def _attach(path: Path, name: str, options: str) -> str:
    quoted = str(path).replace("'", "''")
    return f"ATTACH '{quoted}' AS {name} (TYPE duckdb, {options})"


def _patiently(connection: duckdb.DuckDBPyConnection, statement: str, timeout_sec: float) -> None:
    end_sec = time.monotonic() + timeout_sec
    while True:
        try:
            connection.execute(statement)
        except duckdb.IOException as problem:
            if not _is_locked(problem) or time.monotonic() >= end_sec:
                raise
            time.sleep(_LOCK_PAUSE_SEC)
        else:
            return


def _is_locked(problem: BaseException) -> bool:
    return "Conflicting lock is held" in str(problem)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as problem:
        raise _unusable(path, problem) from problem


def _unusable(path: Path, problem: BaseException) -> LocalError:
    said = str(problem).splitlines()[0][:400]
    if _is_locked(problem):
        holder = said.partition("Conflicting lock is held in ")[2].partition(". See also")[0]
        # The system numbers a process that it cannot see 0.
        holder = "a process of another container or host" if holder == "PID 0" else holder
        return LocalError(f"{path} is held by {holder}", hint="end that process or let it finish, then run this again")
    if "Could not set lock on file" in said:
        return LocalError(
            f"{path} is on a disk that cannot lock files", hint="put it on another, of this machine: --duckdb"
        )
    if isinstance(problem, duckdb.BinderException | duckdb.CatalogException):
        return LocalError(
            f"{path}: its tables predictions and features have another shape: {said!r}",
            hint="point --duckdb at another file, or rename those tables",
        )
    return LocalError(
        f"{path} cannot be used: {said!r}",
        hint="check that it is a whole DuckDB file that you may write to, and that its disk is not full",
    )
