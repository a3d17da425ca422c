"""800 symbols at 1m, every minute for an hour: whether one is late, and what it weighs.

The exchange's clock runs while a pass does, from the moment at which the minute's bar has settled; between two passes
it is turned to the next minute, so that an hour takes as long as its sixty passes. The windows are of twelve hours,
`--window-hours 12`: 720 bars of each symbol, about as many as an hourly one has.
"""

from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.market.ground import GROUNDS
from benchmarks.market.warm import Contender, Lived, living, program
from benchmarks.report import Figure, Section, Timing

MARKET = "minutes"
# Past the ten seconds that a bar is left to settle.
SETTLED_MS = 10_500
LEFT_SEC = 60.0 - SETTLED_MS / 1000
LIMIT, SHARE = 2400, 0.4
WEIGHT_MAX = 1.1


def measure(work: Path, rounds: int) -> Section:
    ground = GROUNDS[MARKET]
    store = ground.make_store(work / "minutes.duckdb")
    before = ground.rows_in(store)
    with Exchange(MARKET) as exchange, living(program("barfeed", ground, exchange, store, work / "feed")) as process:
        lived = _lived(exchange, Contender("barfeed", process), rounds)
    series = (ground.rows_in(store) - before) // rounds
    walls, cpus = [each.wall_sec for each in lived], [each.cpu_sec for each in lived]
    weight = max(each.weight for each in lived)
    figures = [
        Figure("the slowest minute", max(walls), LEFT_SEC, "s"),
        Figure("the weight of a minute", weight, SHARE * LIMIT, f"of the exchange's {LIMIT}"),
        Figure("the weight of a series", weight / series, WEIGHT_MAX, f"of {series}"),
    ]
    timings = [Timing("barfeed", walls), Timing("barfeed, CPU", cpus)]
    return Section(f"A market at 1m, {rounds} minutes", timings, figures)


def _lived(exchange: Exchange, contender: Contender, rounds: int) -> list[Lived]:
    lived = []
    for minute in range(rounds):
        exchange.run(GROUNDS[MARKET].close_ms(minute) + SETTLED_MS)
        lived.append(contender.live())
    return lived
