"""A whole cold cycle against the same hour as a bare script, and as people write it with ccxt."""

from importlib.util import find_spec
from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.ground import make_store
from benchmarks.measure import alternate, barfeed, newest_window, script
from benchmarks.report import Bound, Ratio, Section, Timing

BARE = "benchmarks/bare.py"
CCXT = "benchmarks/ccxt_hour.py"
BARE_BOUND = Bound("at most", 1.5)
CCXT_BOUND = Bound("at least", 3)


def measure(work: Path, rounds: int) -> Section:
    rivals = [BARE, CCXT] if _has_ccxt() else [BARE]
    with Exchange() as exchange:
        ours = barfeed("barfeed", make_store(work / "ours.duckdb"), work / "ours")
        theirs = [
            script(path, exchange.url, make_store(work / f"{Path(path).stem}.duckdb"), work / Path(path).stem)
            for path in rivals
        ]
        contenders = [ours, *theirs]
        seconds = alternate(exchange, contenders, rounds)
    _check_windows(work, rivals)
    timings = [Timing(contender.name, each) for contender, each in zip(contenders, seconds, strict=True)]
    ratios = [Ratio(timings[0], timings[1], BARE_BOUND)]
    ratios += [Ratio(rival, timings[0], CCXT_BOUND) for rival in timings[2:]]
    note = "" if _has_ccxt() else f"{CCXT} was left out: ccxt or pandas is not installed (extra `bench`)."
    return Section(f"A cold cycle, 31 days in the store, {rounds} rounds", timings, ratios, note)


def _has_ccxt() -> bool:
    return all(find_spec(name) for name in ("ccxt", "pandas"))


def _check_windows(work: Path, rivals: list[str]) -> None:
    """All have given the model the same window, or they did not do the same work."""
    ours = newest_window(work / "ours")
    for rival in rivals:
        if newest_window(work / Path(rival).stem) != ours:
            raise RuntimeError(f"{rival}'s inference CSV differs from barfeed's")
