"""Values as a manifest tells them: JSON types only. Pure."""

import math
from typing import Any

from barfeed.artifacts.writing import Written
from barfeed.domain import grid
from barfeed.domain.acceptance import Change, values
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding


def file_told(written: Written | None) -> dict[str, Any] | None:
    """A file as a manifest tells it."""
    return written._asdict() if written else None


def finding_told(finding: Finding) -> dict[str, Any]:
    """A finding as a manifest tells it."""
    bar = None if finding.open_time_ms is None else grid.text(finding.open_time_ms)
    both = {name: _finite(each) for name, each in (("stored", finding.stored), ("exchange", finding.exchange))}
    return {"bar": bar, "rule": finding.rule, "message": finding.message} | both


def revision_told(change: Change) -> dict[str, Any]:
    """A change as a manifest tells it."""
    return {"bar": grid.text(change.open_time_ms), "stored": values(change.old), "exchange": values(change.new)}


def span_told(run: Gap) -> dict[str, Any]:
    """A run of bars as a manifest tells it."""
    return {"first": grid.text(run.first_ms), "last": grid.text(run.last_ms), "bars": run.bars}


def _finite(compared: dict[str, float] | None) -> dict[str, float | None] | None:
    # JSON has no NaN.
    if compared is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in compared.items()}
