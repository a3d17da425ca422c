"""One prediction: load, window, lookbacks, features, model, store. Readable top to bottom."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lgbm_inference import bars, debug, features, history, model, predictions
from lgbm_inference.lookbacks import lookbacks
from lgbm_inference.predictions import Prediction, Stored


class Order(NamedTuple):
    """What to predict from, with what, and where to keep it; `model_file` is a resolved `model.txt`."""

    input_csv: Path
    dataset: str
    model_file: Path
    duckdb: Path
    debug_dir: Path | None
    buffer_hours: int
    timeframes: tuple[str, ...]
    # Columns of the wide table that are features as they are.
    beside: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What was predicted now, what the store held before (None for a new bar), and the debug files written."""

    prediction: Prediction
    before: Stored | None
    debug_files: list[Path]

    @property
    def y_pred(self) -> float:
        """What the store says: the first word on a bar stands."""
        return self.prediction.y_pred if self.before is None else self.before.y_pred

    def line(self) -> str:
        """`OK: BINANCE_BTCUSDT.P, 60 @ 2024-02-10 13:00 -> y_pred=0.004213`."""
        said = f"OK: {self.prediction.dataset} @ {bars.text(self.prediction.hour)} -> y_pred={self.y_pred:.6f}"
        if self.before is None:
            return said
        return f"{said} (already predicted at {self.before.created_at:%Y-%m-%d %H:%M:%S}, nothing changed)"

    def difference(self) -> str:
        """Why the stored word is not what would be said now; empty where it is."""
        if self.before is None or self.before.y_pred == self.prediction.y_pred:
            return ""
        same_input = self.before.feature_key == self.prediction.feature_key
        changed = "the model's file" if same_input else "the input"
        return f"{changed} has changed since: it would be {self.prediction.y_pred:.6f} now; what is stored is kept"

    def report(self) -> dict[str, Any]:
        """For `--json`."""
        said = self.prediction._asdict() | {"ts": bars.timestamp(self.prediction.hour), "y_pred": self.y_pred}
        kept = {name: said[name] for name in ("dataset", "ts", "y_pred", "model_path", "feature_key", "input_sha256")}
        return kept | {
            "already_predicted": self.before is not None,
            "debug_files": [str(path) for path in self.debug_files],
        }


def infer(order: Order, now: datetime) -> Outcome:
    """Predict for the last bar of the CSV and store it, once for each model and bar; `now` is UTC.

    Raises an `InferenceError`, and then nothing was written.
    """
    prediction = predict(order)
    with (
        debug.artifacts(order.debug_dir, prediction, now) as artifacts,
        predictions.transaction(order.duckdb) as table,
    ):
        before = table.find(prediction)
        if before is None:
            table.add(prediction)
            artifacts.publish()
    return Outcome(prediction, before, artifacts.published)


def predict(order: Order) -> Prediction:
    """What the model says of the last bar of the CSV; nothing is written."""
    read = history.read_csv(order.input_csv, order.beside)
    window = history.last_window(read.bars, bars.BASE_HOURS + order.buffer_hours, order.input_csv)
    row = features.last_row(lookbacks(window, order.timeframes)).with_beside(read.beside)
    y_pred = model.load(order.model_file).predict(row)
    hour = int(window.hours[-1])
    as_json = json.dumps(row.told())
    key = hashlib.sha256(f"{bars.timestamp(hour)} {as_json}".encode()).hexdigest()
    return Prediction(hour, y_pred, str(order.model_file), key, order.dataset, read.sha256, as_json)
