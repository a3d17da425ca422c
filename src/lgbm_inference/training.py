"""Training: history, dataset, parts, booster, metrics, run folder. Readable top to bottom."""

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from lgbm_inference import source
from lgbm_inference.bars import Bars, Beside, Floats, text
from lgbm_inference.dataset import Dataset, Parts, dataset, split
from lgbm_inference.metrics import Metrics, measure
from lgbm_inference.model import prepare_lightgbm
from lgbm_inference.run_folder import Contents, save

if TYPE_CHECKING:
    from lightgbm import Booster
    from lightgbm.callback import CallbackEnv

PATIENCE_ROUNDS = 100
# Neighbouring hours share nearly all of their target: a leaf of fewer rows has seen too few separate weeks.
LEAF_HORIZONS = 9
PARAMETERS: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.01,
    "num_leaves": 8,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "extra_trees": True,
    "lambda_l2": 100.0,
    # The same seed gives the same bytes on any number of cores.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}


class Order(NamedTuple):
    """What to train on and how; `rounds` is the most trees."""

    source: Path
    table: str
    model_root: Path
    horizon_hours: int
    seed: int
    rounds: int
    timeframes: tuple[str, ...]
    # Columns of the wide table that are features as they are.
    beside: tuple[str, ...] = ()


class Run(NamedTuple):
    """A finished training: its folder, and the figures of each part by name."""

    folder: Path
    horizon_hours: int
    trees: int
    parts: Parts
    metrics: dict[str, Metrics]

    def text(self) -> str:
        """The figures as they are, and the line at the end."""
        return "\n".join([*(self._part(name) for name in self.metrics), self._verdict(), f"OK: {self.folder}"])

    def report(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": str(self.folder), "trees": self.trees, "metrics": as_json(self.metrics)}

    def _part(self, name: str) -> str:
        part, found = getattr(self.parts, name), self.metrics[name]
        return (
            f"{name:5}  {text(part.hours[0])} .. {text(part.hours[-1])}  {found.rows:,} hours\n"
            f"       rmse model {found.model.rmse:.5f}, zero {found.zero.rmse:.5f}, mean {found.mean.rmse:.5f};"
            f" mae model {found.model.mae:.5f}, zero {found.zero.mae:.5f}, mean {found.mean.mae:.5f}\n"
            f"       skill {found.skill_vs_zero:+.1%} against zero, {found.skill_vs_mean:+.1%} against the mean;"
            f" correlation {found.correlation:+.3f}; direction right {found.direction:.1%}, up {found.up:.1%}"
        )

    def _verdict(self) -> str:
        test = self.metrics["test"]
        says = "beats both baselines" if test.has_skill else "has no skill: a baseline is at least as good"
        separate = max(1, test.rows // self.horizon_hours)
        return f"On the test part the model (trees: {self.trees}) {says}; it saw about {separate} separate outcomes."


def train(order: Order, now: datetime) -> Run:
    """Train a model and keep it in a run folder named after `now` (UTC).

    Raises an `InferenceError`, and then there is no run folder.
    """
    bars, beside = source.read_history(order.source, order.table, order.beside)
    parts = split(dataset(bars, order.timeframes, order.horizon_hours, beside), order.horizon_hours)
    parameters = _parameters(order, len(parts.train.hours))
    booster = _fit(parts, parameters, order.rounds)
    predicted = {name: _predict(booster, part) for name, part in parts._asdict().items()}
    metrics = _measure(parts, predicted)
    contents = Contents(
        model_text=booster.model_to_string(),
        metrics=as_json(metrics),
        metadata=_metadata(order, bars, parts, parameters) | _metadata_beside(beside),
        importance=_importance(booster),
        test=(parts.test, predicted["test"]),
        horizon_hours=order.horizon_hours,
    )
    return Run(save(order.model_root, contents, now), order.horizon_hours, booster.num_trees(), parts, metrics)


def as_json(metrics: dict[str, Metrics]) -> dict[str, Any]:
    """The figures as plain dictionaries."""
    return {
        name: {key: value._asdict() if hasattr(value, "_asdict") else value for key, value in found._asdict().items()}
        for name, found in metrics.items()
    }


def _parameters(order: Order, rows: int) -> dict[str, Any]:
    leaf_rows = max(1, min(LEAF_HORIZONS * order.horizon_hours, rows // 10))
    return PARAMETERS | {"seed": order.seed, "min_data_in_leaf": leaf_rows}


def _fit(parts: Parts, parameters: dict[str, Any], rounds: int) -> "Booster":
    prepare_lightgbm()
    import lightgbm  # noqa: PLC0415 - takes longer than all that can go wrong before it

    train, valid = (
        lightgbm.Dataset(part.features, part.target, feature_name=list(part.names))
        for part in (parts.train, parts.valid)
    )
    with _progress(rounds) as bar:
        booster = lightgbm.train(
            parameters,
            train,
            rounds,
            valid_sets=[valid.set_reference(train)],
            callbacks=[lightgbm.early_stopping(PATIENCE_ROUNDS, verbose=False), _moving(bar)],
        )
    # Without the trees after the best, whoever reads the file gets the model that was measured.
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def _progress(rounds: int) -> "AbstractContextManager[Any]":
    return click.progressbar(
        length=rounds, label="trees (stops early)", file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
    )


def _moving(bar: Any) -> Any:
    def move(_env: "CallbackEnv") -> None:
        bar.update(1)

    return move


def _predict(booster: "Booster", part: Dataset) -> Floats:
    return np.asarray(booster.predict(part.features), dtype=np.float64)


def _measure(parts: Parts, predicted: dict[str, Floats]) -> dict[str, Metrics]:
    mean = float(parts.train.target.mean())
    return {name: measure(part.target, predicted[name], mean) for name, part in parts._asdict().items()}


def _importance(booster: "Booster") -> dict[str, float]:
    """The gain of each feature as a share of all."""
    gains = booster.feature_importance("gain")
    return dict(zip(booster.feature_name(), (gains / (gains.sum() or 1)).tolist(), strict=True))


def _metadata(order: Order, bars: Bars, parts: Parts, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {
            "source": str(order.source.resolve()),
            "bars_sha256": source.sha256(bars),
            "bars": bars.rows,
            "first": text(bars.hours[0]),
            "last": text(bars.hours[-1]),
        },
        "parts": {name: _span(part) for name, part in parts._asdict().items()},
        "horizon_hours": order.horizon_hours,
        "timeframes": order.timeframes,
        "features": parts.train.names,
        "seed": order.seed,
        "rounds": order.rounds,
        "parameters": parameters,
        "versions": {"python": platform.python_version()} | _versions(("lightgbm", "numpy", "duckdb", "matplotlib")),
        "platform": platform.platform(),
    }


def _metadata_beside(beside: Beside) -> dict[str, Any]:
    if not beside.names:
        return {}
    return {"beside": beside.names, "beside_sha256": source.sha256_beside(beside)}


def _span(part: Dataset) -> dict[str, Any]:
    return {"hours": len(part.hours), "first": text(part.hours[0]), "last": text(part.hours[-1])}


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}
