"""What a model learns from: features of every hour, what came of it, and three parts in order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lgbm_inference import features
from lgbm_inference.bars import BASE_HOURS, Bars, Beside, Floats, Ints
from lgbm_inference.errors import DataError
from lgbm_inference.lookbacks import TIMEFRAMES, resampled

TRAIN_SHARE, VALID_SHARE = 0.70, 0.15
PART_ROWS_MIN = 20


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One row an hour, ascending: `hours` (m,), `features` (m, k) under `names`, `target` (m,)."""

    names: tuple[str, ...]
    hours: Ints
    features: Floats
    target: Floats

    def __getitem__(self, rows: slice) -> "Dataset":
        return Dataset(self.names, self.hours[rows], self.features[rows], self.target[rows])


class Parts(NamedTuple):
    """To learn from, to stop learning by, to be judged on: in order of time, one horizon apart."""

    train: Dataset
    valid: Dataset
    test: Dataset


def dataset(bars: Bars, timeframes: Sequence[str], horizon: int, beside: Beside | None = None) -> Dataset:
    """Every hour of a continuous history that has a base window before it and `horizon` hours behind it.

    The target is the log return from the hour's close to the close `horizon` hours later. What is known beside each
    bar are features, too, behind the others.
    """
    target = np.log(bars.close[horizon:] / bars.close[:-horizon])[BASE_HOURS - 1 :]
    rows = len(target)
    if not rows:
        raise DataError(f"{bars.rows} bars are too few, expected more than {BASE_HOURS - 1 + horizon}")
    known = feature_rows(bars, timeframes)[:rows]
    names = features.names(timeframes)
    if beside:
        names, known = (*names, *beside.names), np.hstack([known, beside.values[BASE_HOURS - 1 :][:rows]])
    return Dataset(names, bars.hours[BASE_HOURS - 1 :][:rows], known, target)


def feature_rows(bars: Bars, timeframes: Sequence[str]) -> Floats:
    """The features of every hour that has a base window before it, shape (n - 719, k).

    Each row is, to the bit, what `features.last_row` says of that hour's lookbacks.
    """
    hours = bars.hours[BASE_HOURS - 1 :]
    return np.hstack([_of_newest_finished(resampled(bars, TIMEFRAMES[each]), hours) for each in timeframes])


def split(whole: Dataset, horizon: int) -> Parts:
    """The three parts; `DataError` where they would be too small.

    Between two parts `horizon` rows are left out, so that no target of one reaches into the next.
    """
    usable = len(whole.hours) - 2 * horizon
    train, valid = int(TRAIN_SHARE * usable), int(VALID_SHARE * usable)
    if valid < PART_ROWS_MIN:
        needed = BASE_HOURS - 1 + 3 * horizon + -int(-PART_ROWS_MIN // VALID_SHARE)
        raise DataError(
            f"{len(whole.hours)} hours with features and a target are too few for three parts {horizon} hours apart",
            hint=f"give at least {needed} bars: a longer history of the series, or a shorter --horizon-hours",
        )
    valid_from = train + horizon
    test_from = valid_from + valid + horizon
    return Parts(whole[:train], whole[valid_from : valid_from + valid], whole[test_from:])


def _of_newest_finished(wide: Bars, hours: Ints) -> Floats:
    newest = np.searchsorted(wide.hours, hours, side="right") - 1
    return features.matrix(wide)[newest - (features.WINDOW_BARS - 1)]
