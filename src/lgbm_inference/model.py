"""The model: found, proven whole, asked only for features that are its own."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lgbm_inference.errors import ModelUnusable, UsageError
from lgbm_inference.features import Row
from lgbm_inference.tree_text import damage

if TYPE_CHECKING:
    from lightgbm import Booster

MODEL_NAME = "model.txt"
METADATA_NAME = "run_metadata.json"
RUN_PATTERN = "run_*"

_NAMED_MOST = 5


class Model(NamedTuple):
    """A booster and the file it comes from, with every symbolic link resolved: that path is its identity."""

    path: Path
    booster: "Booster"

    def predict(self, row: Row) -> float:
        """The target for one bar; `ModelUnusable` where the features are not exactly the model's."""
        check_names(self.booster.feature_name(), row.names)
        (y_pred,) = self.booster.predict(row.values.reshape(1, -1), num_threads=1)
        return float(y_pred)


def model_file(model_path: Path | None, model_root: Path | None) -> Path:
    """The `model.txt` that is meant by a run folder, by itself, or by a folder of runs: the newest of them.

    The newest is the last by name, which is a time; copying runs about does not change it.
    """
    if (model_path is None) == (model_root is None):
        raise UsageError("expected one of --model-path and --model-root")
    if model_root is not None:
        return _newest(model_root)
    assert model_path is not None
    path = model_path / MODEL_NAME if model_path.is_dir() else model_path
    if not path.is_file():
        raise UsageError(f"--model-path: {path} does not exist, expected a run folder or a {MODEL_NAME}")
    return path.resolve()


def load(path: Path) -> Model:
    """Read a model; `ModelUnusable` where the file is damaged, or gives more than one value a row."""
    content = _content(path)
    if problem := damage(content) or _changed_since_training(path, content):
        raise ModelUnusable(f"{path} is not a whole LightGBM model: {problem}")
    booster = _booster(path, content.decode("utf-8"))
    if booster.num_model_per_iteration() != 1:
        raise ModelUnusable(f"{path} gives {booster.num_model_per_iteration()} values a bar, expected 1")
    return Model(path, booster)


def check_names(expected: Sequence[str], given: Sequence[str]) -> None:
    """Raise `ModelUnusable`, naming what is missing, extra or reordered, unless both are the same."""
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_NAMED_MOST])}{' ...' if len(names) > _NAMED_MOST else ''}"
        for what, names in (
            ("missing", [name for name in expected if name not in given]),
            ("extra", [name for name in given if name not in expected]),
        )
        if names
    ]
    if not problems and list(expected) != list(given):
        first = next(place for place, pair in enumerate(zip(expected, given, strict=True)) if len(set(pair)) > 1)
        problems = [f"reordered from column {first} on: {given[first]}, where the model expects {expected[first]}"]
    if problems:
        raise ModelUnusable(f"the features are not the model's {len(expected)}: {'; '.join(problems)}")


def _newest(root: Path) -> Path:
    found = sorted(root.glob(f"{RUN_PATTERN}/{MODEL_NAME}"))
    if not found:
        raise UsageError(
            f"--model-root: {root} holds no {RUN_PATTERN}/{MODEL_NAME}", hint="train one with run/train_lgbm.py"
        )
    return found[-1].resolve()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ModelUnusable(f"{path} cannot be read: {problem.strerror}") from None


def _changed_since_training(path: Path, content: bytes) -> str:
    """What the run's own record says against the file; a model without a record is believed."""
    try:
        recorded = json.loads(path.with_name(METADATA_NAME).read_bytes())["model_sha256"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return f"{METADATA_NAME} beside it cannot be read"
    found = hashlib.sha256(content).hexdigest()
    return "" if found == recorded else f"its sha256 is {found[:12]}, {METADATA_NAME} says {str(recorded)[:12]}"


def _booster(path: Path, text: str) -> "Booster":
    prepare_lightgbm()
    import lightgbm  # noqa: PLC0415 - takes longer than everything else, and a bad CSV is told without it

    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as problem:
        raise ModelUnusable(f"{path}: LightGBM says {str(problem)[:200]!r}") from None


def prepare_lightgbm() -> None:
    """Import LightGBM, and send what it would print to the log: standard output belongs to the one line at the end."""
    try:
        import lightgbm  # noqa: PLC0415
    except (ImportError, OSError) as problem:
        raise UsageError(
            f"LightGBM cannot be imported: {problem}",
            hint="install the extra `inference`, and libgomp1 on a slim Linux",
        ) from None
    lightgbm.register_logger(logging.getLogger("lightgbm"), info_method_name="debug")
