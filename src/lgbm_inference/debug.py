"""Debug artifacts: what the model was given and what it said, as two CSVs for a person to open."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from lgbm_inference import files
from lgbm_inference.bars import timestamp
from lgbm_inference.predictions import Prediction

STAMP = "%Y%m%d_%H%M%SZ"


class Artifacts:
    """The two files, written down but not yet under their names; `published` are those that are."""

    def __init__(self, folder: Path, staged: Sequence[Path]) -> None:
        self._folder = folder
        self._staged = staged
        self.published: list[Path] = []

    def publish(self) -> None:
        """Give the files their names: all that is left to do once the prediction is as good as stored."""
        for path in self._staged:
            self.published.append(files.publish(path, self._folder, path.name))


def artifacts(folder: Path | None, prediction: Prediction, now: datetime) -> AbstractContextManager[Artifacts]:
    """The artifacts of a prediction made at `now` (UTC); none at all without a folder.

    An exception takes back what was published.
    """
    return nullcontext(Artifacts(Path(), ())) if folder is None else _staged(folder, prediction, now)


def slug(dataset: str) -> str:
    """A label as part of a file name: `BINANCE_BTCUSDT.P, 60` is `BINANCE_BTCUSDT.P_60`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", dataset.replace(",", ""))
    return re.sub(r"^\.{0,2}$", "_", name)


@contextmanager
def _staged(folder: Path, prediction: Prediction, now: datetime) -> Iterator[Artifacts]:
    name = f"{slug(prediction.dataset)}_{_compact(timestamp(prediction.hour))}_{now.strftime(STAMP)}.csv"
    features = json.loads(prediction.features)
    record = prediction._asdict() | {"ts": timestamp(prediction.hour)}
    columns = ("ts", "y_pred", "model_path", "feature_key", "dataset", "input_sha256")
    with files.staged(folder) as working:
        paths = working / f"features_{name}", working / f"prediction_{name}"
        files.write(paths[0], _csv([("feature", "value"), *features.items()]))
        files.write(paths[1], _csv([columns, [record[column] for column in columns]]))
        written = Artifacts(folder, paths)
        try:
            yield written
        except BaseException:
            files.withdraw(written.published)
            raise


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _compact(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime(STAMP)
