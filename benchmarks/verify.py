"""A million stored bars proven by the rules, as whole processes."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.ground import ROOT, environment, make_store
from benchmarks.measure import turns
from benchmarks.report import Bound, Ratio, Section, Timing

BARS = 1_000_000
NAMES = ("barfeed verify", "benchmarks/pandas_verify.py")
# Both read the same bytes; one counts them where they are, the other makes a table of them first.
NO_SLOWER = Bound("at most", 1.0)


def measure(work: Path, rounds: int) -> Section:
    store = make_store(work / "million.duckdb", BARS)
    command = (sys.executable, "-m", "barfeed", "verify", "--duckdb", str(store), "--persist-dir", str(work / "none"))
    commands = (command, (sys.executable, "benchmarks/pandas_verify.py", str(store)))
    seconds = turns([partial(_timed, each) for each in commands], rounds)
    ours, rival = (Timing(name, each) for name, each in zip(NAMES, seconds, strict=True))
    title = f"{BARS:,} stored bars proven by the rules, {rounds} rounds"
    return Section(title, [ours, rival], [Ratio(ours, rival, NO_SLOWER)])


def _timed(command: tuple[str, ...]) -> float:
    begin = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, env=environment(""), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if run.returncode or "findings=0" not in run.stdout:
        raise RuntimeError(f"{command}: {run.returncode}\n{run.stdout}{run.stderr}")
    return seconds
