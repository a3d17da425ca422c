"""The folder of a training run, `run_20240210_140000`: whole under its name, or absent."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lgbm_inference import files, plots
from lgbm_inference.bars import Floats
from lgbm_inference.dataset import Dataset
from lgbm_inference.model import METADATA_NAME, MODEL_NAME


class Contents(NamedTuple):
    """What a run leaves; `importance` are shares, `test` the part to be judged on and what was predicted for it."""

    model_text: str
    metrics: dict[str, Any]
    metadata: dict[str, Any]
    importance: dict[str, float]
    test: tuple[Dataset, Floats]
    horizon_hours: int


def save(model_root: Path, run: Contents, now: datetime) -> Path:
    """Write the folder of a run that was made at `now` (UTC); where it is."""
    with files.staged(model_root) as working:
        folder = working / "run"
        with files.translated(folder):
            folder.mkdir()
        for name, content in _contents(run, now).items():
            files.write(folder / name, content)
        return files.publish(folder, model_root, f"run_{now:%Y%m%d_%H%M%S}")


def _contents(run: Contents, now: datetime) -> dict[str, bytes]:
    hours, predicted = run.test[0].hours, run.test[1]
    model = run.model_text.encode()
    record = {"created_at": f"{now:%Y-%m-%d %H:%M:%S}", "model_sha256": hashlib.sha256(model).hexdigest()}
    return {
        MODEL_NAME: model,
        "metrics.json": _json(run.metrics | {"importance": run.importance}),
        METADATA_NAME: _json(record | run.metadata),
        "importance.png": plots.importance(run.importance),
        "predicted_against_actual.png": plots.predicted(hours, predicted, run.test[0].target, run.horizon_hours),
    }


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
