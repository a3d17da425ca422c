"""What models said of a series' bars, out of the predictions store of whoever keeps one, and what came of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.operate.web import answers, levels
from barfeed.operate.web.views.sources import Sources, ms
from barfeed.store.duckdb import Store

_WAIT_SEC = 1.0
_SAID = """
SELECT epoch_ms(ts), y_pred, model_path FROM store.main.predictions
WHERE dataset = ? AND ts BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?) ORDER BY ts, created_at
"""


class Said(NamedTuple):
    """A model's word on the bar that opened at `at_ms`; `model` is its path."""

    at_ms: int
    y_pred: float
    model: str


class _Metadata(msgspec.Struct):
    horizon_hours: int


def predictions(sources: Sources, series: Series, span: Gap) -> list[answers.Prediction]:
    """What was predicted of the bars of a span; nothing where no such store is named, or it cannot be read."""
    said = _said(sources, series, span)
    horizons = {each.model: horizon_hours(Path(each.model)) for each in said}
    closes = _closes(sources, series, [each.at_ms for each in said], max(horizons.values(), default=None, key=_known))
    return [
        answers.Prediction(each.at_ms, each.y_pred, each.model, horizons[each.model],
                           came(closes, each.at_ms, horizons[each.model]))
        for each in said
    ]  # fmt: skip


def _known(hours: int | None) -> int:
    return hours or 0


def _said(sources: Sources, series: Series, span: Gap) -> Sequence[Said]:
    if sources.predictions is None or not sources.predictions.is_file():
        return ()
    try:
        with Store(sources.predictions, sources.clock, _WAIT_SEC).looking() as connection:
            rows = connection.execute(_SAID, [series.dataset, span.first_ms, span.last_ms]).fetchall()
    except StoreUnusable:
        # Somebody else's file: what of it can be shown is shown, and a chart is a chart without.
        return ()
    return [Said(*row) for row in rows]


def _closes(sources: Sources, series: Series, at_ms: Sequence[int], hours: int | None) -> dict[int, float]:
    if not at_ms or not hours:
        return {}
    span = levels.whole_steps(min(at_ms), max(at_ms) + hours * HOUR_MS, series.interval.ms)
    return {ms(each.timestamp): each.close for each in sources.candles(series, span, series.interval.ms)}


def horizon_hours(model: Path) -> int | None:
    """How far ahead a model looks, by the word beside it."""
    try:
        return msgspec.json.decode((model.parent / "run_metadata.json").read_bytes(), type=_Metadata).horizon_hours
    except (OSError, msgspec.MsgspecError):
        return None


def came(closes: Mapping[int, float], at_ms: int, hours: int | None) -> float | None:
    """The log return from a bar's close to the one `hours` later; None where that is not over, or unknown."""
    begin, end = closes.get(at_ms), closes.get(at_ms + (hours or 0) * HOUR_MS)
    return math.log(end / begin) if hours and begin and end and begin > 0 and end > 0 else None
