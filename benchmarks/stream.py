"""A close that is heard: from the exchange's close to the CSV on disk, with the exchange's stream.

`--watch --stream --settle-sec 0` beside `benchmarks/ccxt_stream.py`, one after the other, each with a store of its
own. Close by close as in `benchmarks/watch.py`, but the clock is turned shortly before each: nobody has to find that
out by looking, for the frames tell it.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

from barfeed.replay.stream.channel import FRAME_MS
from benchmarks.exchange import Exchange
from benchmarks.ground import close_ms, make_store
from benchmarks.report import Bound, Ratio, Section, Timing
from benchmarks.watch import await_csv, barfeed, one_close, running

LEAD_MS = 300
# What ccxt hears only by the next bar's first frame takes a quarter of a second more by the exchange's own pace.
BOUND = Bound("at least", 2)


def measure(work: Path, rounds: int) -> Section:
    ours = _heard(work / "stream", rounds)
    theirs = _with_ccxt(work / "ccxt", rounds)
    note = (
        f"99 of 100 closes within: barfeed {_p99_ms(ours):.0f} ms, ccxt.pro {_p99_ms(theirs):.0f} ms. ccxt.pro waits"
        f" for the next bar's first frame: here {FRAME_MS} ms after the close, half of that on average."
    )
    timings = [Timing("barfeed --stream", ours), Timing("benchmarks/ccxt_stream.py", theirs)]
    return Section(
        f"A close heard on the stream, settle 0, {rounds} closes",
        timings,
        [Ratio(timings[1], timings[0], BOUND)],
        note=f"- {note}",
    )


def _heard(folder: Path, rounds: int) -> list[float]:
    with Exchange() as exchange:
        exchange.stand(close_ms(0))
        program = barfeed(
            make_store(folder.with_suffix(".duckdb")),
            folder,
            "--stream",
            "--stream-url",
            f"{exchange.stream_root}/market",
        )
        with running(program, exchange, folder):
            await_csv(folder, 1)
            # The first heard close is a warm-up: it is heard on a connection that has told nothing yet.
            return [one_close(exchange, folder, hour, LEAD_MS) for hour in range(1, rounds + 2)][1:]


def _with_ccxt(folder: Path, rounds: int) -> list[float]:
    store = make_store(folder.with_suffix(".duckdb"))
    with Exchange() as exchange:
        program = ("benchmarks/ccxt_stream.py", exchange.url, exchange.stream_root, str(store), str(folder / "csv"))
        with running(program, exchange, folder):
            # It has to start, load the markets and subscribe before the first close.
            exchange.run(close_ms(0) - 5_000)
            await_csv(folder, 1)
            return [one_close(exchange, folder, hour, LEAD_MS) for hour in range(1, rounds + 2)][1:]


def _p99_ms(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100, method="inclusive")[98] * 1000
