"""A backfill of a market with everything around it in process: exchange, archive, clocks, a disk. All of it works."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.market.selection import Selection
from barfeed.exchange.archive import Files
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Rest
from barfeed.history.market.asking import Asking
from barfeed.history.market.fill import MarketBackfill, MarketTools
from barfeed.history.market.jobs import Filled, MarketFill
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Request
from barfeed.replay.tapes.tape import Tape
from barfeed.store.port.embedded import Embedded
from history.backfill.backfill_world import hourly
from in_turn import EachInTurn
from storage import opened
from world import SteppingClock, ms

BTC, ETH, YOUNG = "BTCUSDT", "ETHUSDT", "币安人生USDT"
HOURS = hourly(ms(2023, 12, 28), ms(2024, 2, 10, 20))
# The last one began trading in February, at an odd hour.
TAPES: Mapping[str, Sequence[Bar]] = {BTC: HOURS, ETH: HOURS, YOUNG: hourly(ms(2024, 2, 1, 7), ms(2024, 2, 10, 20))}
# The same with a whole December before.
WINTER = hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20))
WHOLE_WINTER: Mapping[str, Sequence[Bar]] = {**TAPES, BTC: WINTER, ETH: WINTER}


class FilledMarket:
    """Three symbols as exchange and archive have them, seen at 2024-02-10 14:00:30."""

    def __init__(
        self,
        folder: Path,
        tapes: Mapping[str, Sequence[Bar]] = TAPES,
        archived: Mapping[str, Sequence[Bar]] | None = None,
        weight_limit: int = 2400,
    ) -> None:
        self.tapes = tapes
        self.now_ms = ms(2024, 2, 10, 14) + 30_000
        self.clock = SteppingClock(self.now_ms)
        self.exchange = ReplayExchange(_taped(tapes), self.clock.exchange_ms, (), weight_limit)
        self.archive = ReplayArchive(_taped(tapes if archived is None else archived), self.clock.exchange_ms)
        self.duckdb = folder / "ohlcv.duckdb"
        self.asked: list[str] = []
        self.refused = 0
        # What the exchange has counted of each of its minutes, at most.
        self.weights: dict[int, int] = {}

    def run(self, source: Any = "rest", fault: str = "", archive_fault: str = "", **order: Any) -> MarketBackfill:
        """One backfill to its end, with faults given as TOML."""
        work = self.backfill(source, fault, archive_fault, **order)
        work.run()
        return work

    def backfill(
        self, source: Any = "rest", fault: str = "", archive_fault: str = "", symbols: str = "all", **order: Any
    ) -> MarketBackfill:
        self.exchange.faults = parse_faults(fault, "the test")
        self.archive.faults = parse_archive_faults(archive_fault, "the test")
        rest = Rest("http://replay", self._transport, self.clock, jitter=lambda: 0.5)
        talk, archive = rest.conversation(100), rest.conversation(100)
        asking = Asking(talk, archive, Files(lambda: talk.now_ms), 100)
        ask = EachInTurn(self._transport, self.clock)
        tools = MarketTools(Embedded(self.duckdb, self.clock, 0.0), asking, ask, self.clock, 4)
        asked = MarketFill(
            Selection.of(symbols), Interval("1h"), source, None, None, None,
            lambda symbol: f"barfeed repair --symbol {symbol}", lambda symbol: f"barfeed backfill --symbol {symbol}",
        )  # fmt: skip
        return MarketBackfill(asked._replace(**order), tools)

    def closed(self) -> dict[str, list[Bar]]:
        """Every bar that a store may hold."""
        return {
            symbol: [bar for bar in bars if bar.open_time_ms + 3_600_000 <= self.now_ms]
            for symbol, bars in self.tapes.items()
        }

    def held(self) -> dict[str, list[Bar]]:
        """What the store holds, read by DuckDB alone."""
        query = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_1h ORDER BY ALL"
        found: dict[str, list[Bar]] = {}
        with opened(self.duckdb, read_only=True) as connection:
            for symbol, *bar in connection.execute(query).fetchall():
                found.setdefault(symbol, []).append(Bar(*bar))
        return found

    def execute(self, *statements: str) -> None:
        """Change the store behind everybody's back."""
        with opened(self.duckdb) as connection:
            for statement in statements:
                connection.execute(statement)

    def klines(self) -> list[tuple[str, int, int]]:
        """What was asked for since the last time: symbol, startTime, limit; then it is forgotten."""
        asked = [parse_qs(urlsplit(url).query) for url in self.asked if "klines" in url and "startTime" in url]
        self.asked.clear()
        return [(each["symbol"][0], int(each["startTime"][0]), int(each["limit"][0])) for each in asked]

    def _transport(self, url: str, _left_sec: float) -> Answer:
        self.asked.append(url)
        parts = urlsplit(url)
        reply = WithArchive(self.exchange, self.archive).handle(Request("GET", parts.path, parts.query, {}))
        self.refused += reply.status in {418, 429}
        if reply.effect is not None:
            raise TryAgain("connection", type(reply.effect).__name__)
        answer = Answer(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)
        if used := answer.headers.get("x-mbx-used-weight-1m"):
            self.weights[self.clock.now_ms // 60_000] = int(used)
        return answer


def _taped(tapes: Mapping[str, Sequence[Bar]]) -> list[Tape]:
    return [Tape.of(Series.of(symbol, "1h"), bars) for symbol, bars in tapes.items()]


def of(work: MarketBackfill, symbol: str) -> Filled:
    """What was done of one symbol."""
    return next(each for each in work.report.series if each.symbol == symbol)


def notes(work: MarketBackfill, symbol: str) -> list[str]:
    return [str(note) for note in of(work, symbol).report.notes]
