"""Every kind of 540 symbols, hour by hour, beside the bars alone: a processor's seconds, the exchange's counters.

In one process with the exchange and a clock that moves when it is slept on: what waits for a limit takes no time here,
and how long it would is told by that clock. What the exchange itself needs to answer is in none of the seconds. One
refusal, or more than a limit allows, ends the benchmark.
"""

import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.kinds.plan import Reach as KindsReach
from barfeed.domain.kinds.table import DATA_REQUESTS, FUNDING_REQUESTS, KINDS, SPOT_WEIGHT, WEIGHT
from barfeed.domain.market.members import Reach
from barfeed.domain.market.selection import Selection
from barfeed.domain.verdict import Remedies
from barfeed.exchange.kinds.asking import Limits
from barfeed.exchange.refusals import Answer
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import OneByOne
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.order import KindsOrder
from barfeed.feed.market.one_pass import run_pass
from barfeed.feed.market.order import MarketOrder
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.order import Feed
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.messages import Request
from barfeed.replay.tapes.generator import generate
from barfeed.store.port.embedded import Embedded
from benchmarks.report import Bound, Ratio, Section, Timing

SYMBOLS = 540
# 2026-03-10 13:00, and so many seconds after each close: what is published late of the hour before is due.
FIRST_MS = 1_773_147_600_000
AFTER_CLOSE_MS = 12_000
WINDOW = 48
# Eleven kinds of a series cost no more than eleven times its bars.
BOUND = Bound("at most", len(KINDS))
LIMITS = (WEIGHT, SPOT_WEIGHT, FUNDING_REQUESTS, DATA_REQUESTS)


class Moving:
    """A clock that moves only when it is slept on, and to where it is put."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def steady_sec(self) -> float:
        return self.now_ms / 1000

    def utc_ms(self) -> int:
        return self.now_ms

    def exchange_ms(self) -> int:
        return self.now_ms

    def sleep(self, sec: float) -> None:
        self.now_ms += max(1, round(sec * 1000)) if sec > 0 else 0


class Lived(NamedTuple):
    """What a pass took: seconds of a processor, and of the exchange's clock."""

    cpu_sec: float
    exchange_sec: float


class Living:
    """One feed of the market, with all kinds or with none, and the exchange that it asks."""

    def __init__(self, work: Path, *, with_kinds: bool) -> None:
        tapes = [
            generate(f"S{number}USDT", "1h", FIRST_MS - 40 * 24 * HOUR_MS, 45 * 24, seed=5) for number in range(SYMBOLS)
        ]
        self.clock = Moving(FIRST_MS + HOUR_MS + AFTER_CLOSE_MS)
        self.exchange = ReplayExchange(tapes, self.clock.exchange_ms)
        self._answering_sec = 0.0
        self._rest = Rest("http://replay", self._transport, self.clock, jitter=lambda: 0.5)
        store = Embedded(work / "store.duckdb", self.clock, 0.0)
        order = KindsOrder(tuple(KINDS.values()), KindsReach(6, WINDOW), 15.0)
        kinds = Kinds(order, store.kinds, self._rest, Limits(self.clock)) if with_kinds else None
        self._feed = Feed(store, work / "feed", self.clock, kinds=kinds)

    def live(self) -> Lived:
        """The pass of an hour, a moment after its close."""
        begin_ms, begin_sec, answering_sec = self.clock.now_ms, time.process_time(), self._answering_sec
        talk = self._rest.conversation(60.0)
        record = run_pass(self._feed, _ORDER, talk, OneByOne(self._transport, self.clock))
        cpu_sec = time.process_time() - begin_sec - (self._answering_sec - answering_sec)
        self._expect(record)
        lived = Lived(cpu_sec, (self.clock.now_ms - begin_ms) / 1000)
        self.clock.now_ms = (self.clock.now_ms // HOUR_MS + 1) * HOUR_MS + AFTER_CLOSE_MS
        return lived

    def _expect(self, record: MarketRecord) -> None:
        if record.exit_code or not record.inference:
            raise RuntimeError(record.line())
        for name, limiter in self.exchange.limits.items():
            if limiter.refused or limiter.most > limiter.limit:
                raise RuntimeError(f"{name}: {limiter.most} of {limiter.limit}, refused {limiter.refused}")

    def _transport(self, url: str, _left_sec: float) -> Answer:
        begin_sec = time.process_time()
        parts = urlsplit(url)
        reply = self.exchange.handle(Request("GET", parts.path, parts.query, {}))
        self._answering_sec += time.process_time() - begin_sec
        return Answer(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)


_ORDER = MarketOrder(
    selection=Selection.of("all"),
    reach=Reach(Interval.ONE_HOUR, 6, WINDOW, catch_up=True),
    window_bars_min=0,
    dataset="BINANCE.P, 1h",
    dry_run=False,
    settle_sec=10.0,
    max_skew_sec=5.0,
    csv_for=(),
    weight_budget=0,
    plain_decimals=False,
    then="",
    then_timeout_sec=600.0,
    remedies=lambda _symbol: Remedies("barfeed run --catch-up"),
)


def measure(work: Path, rounds: int) -> Section:
    """Bars alone and with every kind, an hour a round; the first, which starts the store, is not counted."""
    feeds = [Living(_made(work / name), with_kinds=name == "kinds") for name in ("bars", "kinds")]
    started = [each.live() for each in feeds]
    lived = [[each.live() for each in feeds] for _ in range(rounds)]
    bars, kinds = (list(each) for each in zip(*lived, strict=True))
    ours = Timing(f"every kind of {SYMBOLS} symbols, CPU", [each.cpu_sec for each in kinds])
    alone = Timing("their bars alone, CPU", [each.cpu_sec for each in bars])
    waited = sorted(each.exchange_sec for each in kinds)[len(kinds) // 2]
    limiters = feeds[1].exchange.limits
    most = ", ".join(f"{limiters[each.name].most} of {limiters[each.name].limit} {each.name}" for each in LIMITS)
    note = (
        f"By the exchange's counters the most within any limit's span was {most}; nothing was refused. With what its"
        f" limits make it wait, an hour's pass takes {waited:.0f} s of the exchange's time, the first one"
        f" {started[1].exchange_sec:.0f} s."
    )
    return Section(f"Every kind of a market, {rounds} rounds", [ours, alone], [Ratio(ours, alone, BOUND)], note)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
