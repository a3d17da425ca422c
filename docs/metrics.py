"""Prints docs/metrics.md from the table of metrics itself: `make docs`."""

import sys

from barfeed.operate.metrics.definitions import METRICS, Metric

_INTRO = """\
# The metrics

Written by `make docs` from `src/barfeed/operate/metrics/definitions.py`; `make test` tells when it is out of date.
How to get them, and what to do with them: [monitoring.md](monitoring.md).

Every metric has the labels `symbol` and `interval`, and those of its row. Units are seconds and bytes; timestamps are
seconds since 1970-01-01 UTC. What is not known yet is absent; what can be counted is there from the start, at zero."""


def page() -> str:
    """The whole page."""
    rows = ["| metric | type | label | says |", "|---|---|---|---|", *map(_row, METRICS)]
    return _INTRO + "\n\n" + "\n".join(rows) + "\n"


def _row(metric: Metric) -> str:
    label = f"`{metric.label}`" if metric.label else ""
    return f"| `{metric.name}` | {metric.kind} | {label} | {metric.says} |"


if __name__ == "__main__":
    sys.stdout.write(page())
