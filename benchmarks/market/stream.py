"""The closes of a whole market heard on the stream: from the exchange's close to the table of windows that has each.

`--symbols all --watch --stream` follows a made-up market, on a replay exchange in another process whose closing frames
are spread over 1.4 s, as they were seen to be. Close by close as in `benchmarks/stream.py`; each table of windows that
the watch publishes is kept by a link, with when it was seen, and read once no more come.
"""

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import median, quantiles

import duckdb

from barfeed.domain.bars import HOUR_MS
from barfeed.machine.clock import SystemClock
from benchmarks.exchange import Exchange
from benchmarks.market.ground import GROUNDS
from benchmarks.report import Section, Timing
from benchmarks.watch import POLL_SEC, running

GROUND = GROUNDS["made-up"]
GIVE_UP_SEC = 60.0
QUIET_SEC = 1.0
LEAD_MS = 1_500
# By then the rest has come by the clock.
SETTLE_SEC = 4
SPREAD = "[[fault]]\nkind = 'late_close'\nms = 0\nupto_ms = 1400\n"
LATEST = "BINANCE.P_1h/latest_for_inference.parquet"


def measure(work: Path, rounds: int) -> Section:
    store, folder = GROUND.make_store(work / "market.duckdb"), work / "market"
    with Exchange("made-up", faults=SPREAD) as exchange:
        exchange.run(GROUND.close_ms(0))
        with running(_watch(store, folder, f"{exchange.stream_root}/market"), exchange, folder):
            seen = _Seen(folder / LATEST, work)
            # The first pass is by the clock, and has them all.
            fed = seen.published(GROUND.close_ms(0) - HOUR_MS, ())
            # The first heard close is a warm-up: it is heard on connections that have told nothing yet.
            closes = [_one_close(exchange, seen, hour, fed) for hour in range(1, rounds + 2)][1:]
    every = [sec for close in closes for sec in close]
    timings = [
        Timing("its first series", [min(close) for close in closes]),
        Timing("its median series", [median(close) for close in closes]),
        Timing("its last series", [max(close) for close in closes]),
    ]
    told = f"{len(every)} closes of {len(fed)} series: median {median(every) * 1000:.0f} ms"
    p99_ms = quantiles(every, n=100)[98] * 1000
    note = f"- {told}, 99 of 100 within {p99_ms:.0f} ms; the last closing frame comes 1,405 ms after the close."
    title = f"A market of {len(fed)} heard on the stream, close to published window, {rounds} hours"
    return Section(title, timings, note=note)


def _one_close(exchange: Exchange, seen: "_Seen", hour: int, fed: Collection[str]) -> list[float]:
    """Seconds from the close of `hour` to the published window, of every series."""
    closed_sec = exchange.run(GROUND.close_ms(hour) - LEAD_MS) + LEAD_MS / 1000
    published = [each - closed_sec for each in seen.published(GROUND.close_ms(hour) - HOUR_MS, fed).values()]
    if min(published) < 0:
        raise RuntimeError("a window appeared before its bar had closed")
    return published


class _Seen:
    """The tables of windows, one after the other, each with when it was seen."""

    def __init__(self, latest: Path, work: Path) -> None:
        self._latest = latest
        self._work = work
        self._number = self._inode = 0

    def published(self, bar_ms: int, fed: Collection[str]) -> dict[str, float]:
        """When each symbol's window was first seen to end at this bar, by the steady clock; once all that are fed."""
        found: dict[str, float] = {}
        for seen_sec, table in self._tables():
            query = "SELECT symbol FROM read_parquet(?) GROUP BY symbol HAVING epoch_ms(max(timestamp)) = ?"
            ends = duckdb.execute(query, [str(table), bar_ms]).fetchall()
            table.unlink()
            found = {symbol: seen_sec for (symbol,) in ends} | found
            if found and found.keys() >= set(fed):
                return found
        raise RuntimeError(f"{len(found)} of {len(fed)} windows came within {GIVE_UP_SEC:g} s")

    def _tables(self) -> Iterator[tuple[float, Path]]:
        """Each as it comes; told where none has come for a while, for reading one takes longer than a look."""
        clock = SystemClock()
        kept: list[tuple[float, Path]] = []
        newest_sec = begin_sec = clock.steady_sec()
        while (now_sec := clock.steady_sec()) < begin_sec + GIVE_UP_SEC:
            if table := self._new_one():
                newest_sec = clock.steady_sec()
                kept.append((newest_sec, table))
            elif kept and now_sec > newest_sec + QUIET_SEC:
                yield from kept
                kept = []
            time.sleep(POLL_SEC)

    def _new_one(self) -> Path | None:
        try:
            inode = self._latest.stat().st_ino
        except FileNotFoundError:
            return None
        if inode == self._inode:
            return None
        self._inode, self._number = inode, self._number + 1
        table = self._work / f"windows-{self._number}.parquet"
        os.link(self._latest, table)
        return table


def _watch(store: Path, folder: Path, stream_url: str) -> tuple[str, ...]:
    flags = ("--watch", "--stream", "--stream-url", stream_url, "--settle-sec", str(SETTLE_SEC), "--sleep-sec", "1")
    paths = ("--duckdb", str(store), "--persist-dir", str(folder), "--buffer-hours", "0", "--max-skew-sec", "1e10")
    return ("run/ohlcv_feed_binance.py", "--symbols", "all", *flags, *paths)
