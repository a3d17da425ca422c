"""How good the predictions are, beside two that anybody can make: zero, and the mean of the training part."""

from typing import NamedTuple

import numpy as np

from lgbm_inference.bars import Floats


class Error(NamedTuple):
    """How far predictions are off, as log returns: root of the mean square, and mean of the absolute."""

    rmse: float
    mae: float


class Metrics(NamedTuple):
    """One part's figures.

    `skill_vs_*` is the share of the rival's squared error that the model saves: 1 is perfect, 0 is the
    rival's, below 0 is worse. `correlation` is Pearson's, 0 where the predictions are all the same.
    `direction` is the share of hours whose sign was right, `up` the share that went up.
    """

    rows: int
    model: Error
    zero: Error
    mean: Error
    skill_vs_zero: float
    skill_vs_mean: float
    correlation: float
    direction: float
    up: float

    @property
    def has_skill(self) -> bool:
        """Whether the model beats both rivals."""
        return self.skill_vs_zero > 0 and self.skill_vs_mean > 0


def measure(actual: Floats, predicted: Floats, training_mean: float) -> Metrics:
    """The figures of one part; all arrays of shape (m,)."""
    model, zero, mean = (_error(actual - rival) for rival in (predicted, 0.0, training_mean))
    return Metrics(
        rows=len(actual),
        model=model,
        zero=zero,
        mean=mean,
        skill_vs_zero=_skill(model, zero),
        skill_vs_mean=_skill(model, mean),
        correlation=_correlation(actual, predicted),
        direction=float((np.sign(actual) == np.sign(predicted)).mean()),
        up=float((actual > 0).mean()),
    )


def _error(residual: Floats) -> Error:
    return Error(float(np.sqrt((residual**2).mean())), float(np.abs(residual).mean()))


def _skill(model: Error, rival: Error) -> float:
    return 1 - (model.rmse / rival.rmse) ** 2 if rival.rmse else 0.0


def _correlation(actual: Floats, predicted: Floats) -> float:
    if np.ptp(predicted) == 0 or np.ptp(actual) == 0:
        return 0.0
    return float(np.corrcoef(actual, predicted)[0, 1])
