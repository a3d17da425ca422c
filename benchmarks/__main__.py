"""`python -m benchmarks`: measure, print, and say whether each bound is met (exit 1 where one is not)."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import backfill, cold, inference, page, plots, python, rows, stream, verify, watch
from benchmarks.ground import ROOT
from benchmarks.market import backfill as market_backfill
from benchmarks.market import cold as market_cold
from benchmarks.market import hosts as market_hosts
from benchmarks.market import kinds as market_kinds
from benchmarks.market import lake as market_lake
from benchmarks.market import minutes as market_minutes
from benchmarks.market import rows as market_rows
from benchmarks.market import stream as market_stream
from benchmarks.market import warm as market_warm
from benchmarks.report import Section, machine, write, write_part

DOCUMENT = ROOT / "docs" / "benchmarks.md"

# How many rounds each takes, and how many where time is short.
PARTS: dict[str, tuple[Callable[[Path, int], Section], int, int]] = {
    "cold": (cold.measure, 25, 5),
    "rows": (rows.measure, 21, 5),
    "watch": (watch.measure, 25, 5),
    "stream": (stream.measure, 200, 20),
    "backfill": (backfill.measure, 5, 2),
    "verify": (verify.measure, 9, 3),
    "inference": (inference.measure, 9, 3),
    "market-warm": (market_warm.measure, 5, 2),
    "market-minutes": (market_minutes.measure, 60, 5),
    "market-hosts": (market_hosts.measure, 9, 2),
    "market-lake": (market_lake.measure, 9, 2),
    "market-kinds": (market_kinds.measure, 5, 2),
    "market-cold": (market_cold.measure, 9, 3),
    "market-stream": (market_stream.measure, 20, 2),
    "market-rows": (market_rows.measure, 9, 3),
    "market-backfill": (market_backfill.measure, 3, 1),
    "python": (python.measure, 15, 3),
    "page": (page.measure, 3, 2),
}


def main() -> int:
    chosen = _arguments()
    where = machine()
    print(f"measured on {where}", flush=True)
    sections = {name: _measured(name, quick=chosen.quick) for name in PARTS if chosen.only in {None, name}}
    if chosen.write:
        if chosen.only:
            write_part(DOCUMENT, where, chosen.only, sections[chosen.only])
        else:
            write(DOCUMENT, where, sections)
        plots.draw(plots.FIGURES, DOCUMENT.parent)
    return 0 if all(section.is_met for section in sections.values()) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, as ratios against named rivals.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md, with pictures")
    chosen = parser.parse_args()
    if chosen.write and chosen.quick:
        parser.error("--write takes a measurement, without --quick")
    return chosen


def _measured(name: str, *, quick: bool) -> Section:
    measure, rounds, quick_rounds = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="barfeed-bench-") as work:
        section = measure(Path(work), quick_rounds if quick else rounds)
    print(f"\n{section.text()}", flush=True)
    return section


if __name__ == "__main__":
    sys.exit(main())
