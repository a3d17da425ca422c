"""A prediction by the hourly consumer, as a whole process, beside a process that only imports its libraries."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT, close_ms, environment, make_store
from benchmarks.measure import barfeed, turns
from benchmarks.report import Bound, Ratio, Section, Timing

HISTORY_BARS = 3_000
NAMES = ("run/run_inference_lgbm.py", "import lightgbm, duckdb, pandas")
LIGHT = Bound("at most", 1.6)


def measure(work: Path, rounds: int) -> Section:
    csv, model = _published(work), work / "models"
    number = iter(range(rounds + 1))

    def infer() -> float:
        # A store of its own each time: the second prediction of an hour is none.
        to = ("--duckdb", str(work / f"{next(number)}.duckdb"), "--debug-dir", str(work / "debug"))
        flags = ("--input-csv", str(csv), "--model-root", str(model), *to)
        return _timed((sys.executable, "run/run_inference_lgbm.py", *flags), "OK: ")

    def only_import() -> float:
        return _timed((sys.executable, "-c", "import lightgbm, duckdb, pandas"), "")

    contenders: list[Callable[[], float]] = [infer, only_import]
    ours, rival = (Timing(name, each) for name, each in zip(NAMES, turns(contenders, rounds), strict=True))
    return Section(f"A cold prediction, {rounds} rounds", [ours, rival], [Ratio(ours, rival, LIGHT)])


def _published(work: Path) -> Path:
    """An hour's CSV, and beside it a small model of the history that it ends."""
    store = make_store(work / "history.duckdb", HISTORY_BARS)
    with Exchange() as exchange:
        exchange.stand(close_ms(0) + 30_000)
        barfeed("an hour", store, work / "feed").live(exchange.url)
    # The model's own history ends before: it needs the horizon's hours after each bar that it learns from.
    flags = ("--source", str(store), "--model-root", str(work / "models"), "--horizon-hours", "12", "--rounds", "60")
    _timed((sys.executable, "run/train_lgbm.py", *flags), "")
    (csv,) = (work / "feed").glob("*/latest_for_inference.csv")
    return csv


def _timed(command: tuple[str, ...], says: str) -> float:
    begin = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, env=environment(""), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if run.returncode or says not in run.stdout:
        raise RuntimeError(f"{command}: {run.returncode}\n{run.stdout}{run.stderr}")
    return seconds
