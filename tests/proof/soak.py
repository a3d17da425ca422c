"""Eleven years of hours in bad weather: `python -m proof.soak [--cycles N] [--seed N] [--write]`.

One feed, in process and at full speed, lives hour after hour of made-up bars. The weather is drawn by a
seed: months of realistic faults take turns with months of absurd ones. Now and then the exchange revises a
bar for good. An operator who knows only the documents reads how an hour ended and sets the flags of the next.
Each hour is judged as it ends; in the end the store must be the tape.
"""

import argparse
import gc
import logging
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import duckdb

from barfeed.artifacts.retention import retain
from barfeed.artifacts.writing import LATEST_NAME
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import HOUR_MS, Bar, Series
from barfeed.domain.errors import BarfeedError
from barfeed.exchange.rest import Conversation
from barfeed.feed.cycle import run_cycle
from barfeed.feed.market.one_pass import run_pass
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.record import Record
from barfeed.history.mending.repair import Repair, Wanted
from barfeed.replay.faults.script import Fault, parse_faults
from barfeed.replay.rest import venue
from barfeed.replay.tapes.tape import Tape
from in_turn import InTurn
from market_world import MarketWorld, stored, windows
from proof.soak_report import Report, put
from proof.storm import ABSURD, EXITS, REALISTIC, Climate, Storm, draw
from world import World, made_up_bars, ms, written

FIRST_TARGET_MS = ms(2013, 1, 1)
HOURS_BEFORE = 800
RETAIN_DAYS = 2
# Each retention writes the month's zip anew: every hour, it would be a quarter of all the work.
HOURS_A_DAY = 24
# What a bar may be revised by without anybody being asked; the operator takes the exchange's word.
ANYTHING = Terms(price=1e9, volume=1e9, pause_sec=5.0)
# The flags that the documents name for what an hour ended with.
ANSWERS: dict[str, dict[str, Any]] = {
    "missed_bars": {"catch_up": True},
    "mismatch": {"accept": ANYTHING, "catch_up": True},
}
PERMANENT_RATE = 0.002
TRIES_MAX = 12
WINDOW_BARS = 48
# A symbol that is settled or halted is quiet; where it traded on, its window has a hole that the exchange can fill.
_OF_A_MARKET = frozenset({"quiet", "window_gap"})


class Soak:
    """The feed, its exchange, its operator, and what came of it."""

    symbols: tuple[str, ...] = ("BTCUSDT",)
    # What the end has to find nothing of.
    never_left: tuple[str, ...] = ("missing", "absent", "unknown")

    def __init__(self, folder: Path, cycles: int, seed: int, month_hours: int) -> None:
        # The exchange's own memory of finished rows would look like the feed's growing.
        venue.CACHED_ROWS = 1000
        self.tapes = {
            each: Tape.of(
                Series.of(each, "1h"), made_up_bars(FIRST_TARGET_MS + cycles * HOUR_MS, cycles + HOURS_BEFORE, each)
            )
            for each in self.symbols
        }
        self.world = self.made(folder)
        self.report = Report(cycles, seed)
        self._random = Random(seed)
        self._flags: dict[str, Any] = {"catch_up": True}
        self._is_stuck = False
        self._stuck: set[str] = set()
        self._month_hours = month_hours
        self._revised: dict[tuple[str, int], tuple[float, Fault]] = {}

    def made(self, folder: Path) -> World:
        """What it lives in."""
        return World(folder, list(self.tapes.values()), FIRST_TARGET_MS + HOUR_MS + 30_000)

    def live(self) -> None:
        """All the hours, then fair weather until the feed stands at the target, then a look at everything."""
        for hour in range(self.report.cycles):
            self._hour(hour, REALISTIC if hour // self._month_hours % 2 == 0 else ABSURD)
        self._recover()
        self._compare()

    def _hour(self, hour: int, climate: Climate) -> None:
        target_ms = FIRST_TARGET_MS + hour * HOUR_MS
        storm = self._drawn(climate, target_ms) if hour else Storm((), "")
        self._revise_for_good(target_ms)
        self.world.clock.go_to(target_ms + HOUR_MS + self._random.choice((11_000, 30_000, 600_000)))
        begin_sec = process_time()
        record = self._run(storm.toml)
        took_sec = process_time() - begin_sec
        self._judge(record, storm)
        self.report.count(storm.kinds, record.status, took_sec)
        if hour % HOURS_A_DAY == 0:
            self._tidy()
        self._sample(hour)

    def _drawn(self, climate: Climate, target_ms: int) -> Storm:
        return draw(self._random, climate, target_ms)

    def _run(self, toml: str) -> Record | MarketRecord:
        world, flags = self.world, {"accept": None, "catch_up": False} | self._flags
        world.exchange.faults = (*self._newest_revised(), *parse_faults(toml, "the soak"))
        if self._is_stuck:
            self._repair("BTCUSDT")
        world.exchange.requests.clear()
        record = run_cycle(world.feed, world.order._replace(**flags), world.rest.conversation(120.0))
        # What is too far apart to be accepted unseen is what the hint names `barfeed repair` for.
        self._is_stuck = record.status == "mismatch" and bool(flags["accept"])
        self._flags = ANSWERS.get(record.status, self._flags if record.exit_code else {})
        return record

    def _repair(self, symbol: str) -> None:
        world = self.world
        world.exchange.requests.clear()
        repair = Repair(world.store, world.rest, Series.of(symbol, "1h"), 120.0)
        try:
            survey = repair.survey(Wanted(None, None, world.order.window_bars))
            mended = repair.apply(survey, repair.confirmed(survey, 5.0), "the operator")
        except BarfeedError as error:
            self.report.repairs[error.status] += 1
        else:
            self.report.repairs["left" if mended.left else "mended"] += 1

    def _revise_for_good(self, target_ms: int) -> None:
        if self._random.random() < PERMANENT_RATE:
            bar = target_ms - self._random.randint(1, 3) * HOUR_MS
            symbol = (
                self.symbols[self._random.randrange(len(self.symbols))] if len(self.symbols) > 1 else self.symbols[0]
            )
            volume = round(self._random.uniform(1, 1000), min(3, self.tapes[symbol].decimals.volume))
            toml = f'[[fault]]\nkind = "revise"\nsymbol = "{symbol}"\nbar = {written(bar)}\nvolume = {volume}'
            (fault,) = parse_faults(toml, "the soak")
            self._revised[symbol, bar] = (volume, fault)

    def _newest_revised(self) -> Sequence[Fault]:
        # What is far behind every pull costs time and changes nothing.
        return [fault for _, fault in list(self._revised.values())[-20:]]

    def _judge(self, record: Record | MarketRecord, storm: Storm) -> None:
        assert record.status in storm.may_end, self._wrong(record, storm)
        assert record.exit_code == EXITS[record.status], self._wrong(record, storm)
        assert Path(record.manifest_path or "no manifest").exists(), self._wrong(record, storm)
        if record.inference:
            self._judge_published(record, storm)

    def _judge_published(self, record: Record | MarketRecord, storm: Storm) -> None:
        lines = (self.world.feed.folder / LATEST_NAME).read_text().splitlines()
        now_ms = self.world.clock.now_ms
        newest = written(now_ms - now_ms % HOUR_MS - HOUR_MS).replace("T", " ")
        assert len(lines) == 727, self._wrong(record, storm)
        assert lines[-1].startswith(newest), self._wrong(record, storm)

    def _wrong(self, record: Record | MarketRecord, storm: Storm) -> str:
        return f"hour {written(self.world.clock.now_ms)}: {record.line()}; {record.failure}; {storm}"

    def _tidy(self) -> None:
        """As a user does every night: the feed's own retention, and old zips thrown away."""
        world = self.world
        if retain(world.feed.folder, world.clock.now_ms, RETAIN_DAYS):
            for old in sorted(world.feed.folder.glob("*_runs.zip"))[:-1]:
                old.unlink()

    def _sample(self, hour: int) -> None:
        if hour % max(10, self.report.cycles // 200) == 0:
            gc.collect()
            self.report.sample(_resident_mb(), len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        if self.report.cycles > 5000 and hour % (self.report.cycles // 100) == 0:
            print(f"{hour} of {self.report.cycles} hours, {self.report.samples[-1]}", flush=True)  # noqa: T201 - it takes an hour

    def _recover(self) -> None:
        for tries in range(1, TRIES_MAX):
            self.world.clock.go_to(self.world.clock.now_ms + 600_000)
            record = self._run("")
            if record.exit_code == 0:
                self.report.tries_to_recover = tries
                return
        raise AssertionError(f"the feed did not return to its target: {self._wrong(record, Storm((), ''))}")

    def _compare(self) -> None:
        """One repair of everything, as a user would end such years; then the store is the exchange's to the digit."""
        self.world.exchange.faults = [fault for _, fault in self._revised.values()]
        for symbol in self.symbols:
            self._compare_symbol(symbol)

    def _compare_symbol(self, symbol: str) -> None:
        world = self.world
        repair = Repair(world.store, world.rest, Series.of(symbol, "1h"), 120.0)
        survey = repair.survey(Wanted(0, None, 1))
        assert not survey.of_kind(*self.never_left), survey.differences[:3]
        self.report.repaired += len(repair.apply(survey, repair.confirmed(survey, 5.0), "the soak's end").revised)
        stored = {bar.open_time_ms: bar for bar in self._stored(symbol)}
        first_ms, closed_ms = min(stored), world.clock.now_ms - HOUR_MS
        expected = {
            bar.open_time_ms: self._now_said(symbol, bar)
            for bar in self.tapes[symbol].bars
            if first_ms <= bar.open_time_ms <= closed_ms
        }
        assert stored == expected, symbol
        self.report.rows += len(stored)
        self.report.revisions += self._check_audit(symbol, stored)

    def _stored(self, _symbol: str) -> list[Bar]:
        return self.world.bars()

    def _now_said(self, symbol: str, bar: Bar) -> Bar:
        revised = self._revised.get((symbol, bar.open_time_ms))
        return bar._replace(volume=revised[0]) if revised else bar

    def _check_audit(self, symbol: str, stored: dict[int, Bar]) -> int:
        """Each bar's revisions hang together: what one put in, the next took out, and the last one's is stored."""
        query = (
            "SELECT epoch_ms(timestamp), (old_open, old_high, old_low, old_close, old_volume),"
            " (new_open, new_high, new_low, new_close, new_volume)"
            " FROM ohlcv_revisions WHERE series = ? ORDER BY accepted_at"
        )
        with duckdb.connect(self.world.duckdb, read_only=True) as connection:
            # Short weather may pass without a single revision.
            is_there = connection.execute("FROM duckdb_tables() WHERE table_name = 'ohlcv_revisions'").fetchall()
            rows = connection.execute(query, [f"{symbol} 1h"]).fetchall() if is_there else []
        chains: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
        for at, old, new in rows:
            chains[at].append((old, new))
        for at, chain in chains.items():
            assert all(before[1] == after[0] for before, after in pairwise(chain)), chain
            assert tuple(chain[-1][1]) == stored[at].values, chain
        return len(rows)


class MarketSoak(Soak):
    """The same of three symbols that are fed together: each is judged by what struck it."""

    # A bar that is revised to a low of 1 has to be one that may be: these cost more.
    symbols = ("BTCUSDT", "ETHUSDT", "龙虾USDT")
    # A hole that was seen to be one without trade stays until somebody repairs it.
    never_left = ("absent", "unknown")

    def made(self, folder: Path) -> World:
        return MarketWorld(folder, list(self.tapes.values()), FIRST_TARGET_MS + HOUR_MS + 30_000)

    def _drawn(self, climate: Climate, target_ms: int) -> Storm:
        return draw(self._random, climate, target_ms, self.symbols)

    def _run(self, toml: str) -> Record | MarketRecord:
        world = self.world
        assert isinstance(world, MarketWorld)
        for symbol in self._stuck:
            world.exchange.faults = self._newest_revised()
            self._repair(symbol)
        world.exchange.requests.clear()
        world.exchange.faults = (*self._newest_revised(), *parse_faults(toml, "the soak"))
        reach = world.market.reach._replace(catch_up=bool(self._flags))
        record = run_pass(world.feed, world.market._replace(reach=reach), *self._talking(world))
        self._stuck = {each.symbol for each in record.troubles if each.status in {"mismatch", "window_gap"}}
        self._flags = {"catch_up": True} if record.exit_code else {}
        return record

    def _talking(self, world: MarketWorld) -> tuple[Conversation, InTurn]:
        return world.rest.conversation(120.0), InTurn(world._transport, world.clock)

    def _judge(self, record: Record | MarketRecord, storm: Storm) -> None:
        assert isinstance(record, MarketRecord)
        assert Path(record.manifest_path or "no manifest").exists(), self._wrong(record, storm)
        if record.failure:
            assert record.failure.status in storm.may_end, self._wrong(record, storm)
        for symbol, each in record.outcomes.items():
            assert each.status in storm.may_end_of(symbol) | _OF_A_MARKET, (symbol, self._wrong(record, storm))
        if record.inference:
            self._judge_published(record, storm)

    def _judge_published(self, record: Record | MarketRecord, storm: Storm) -> None:
        now_ms = self.world.clock.now_ms
        for symbol, bars in windows(self.world.feed.folder).items():
            assert bars[-1].open_time_ms == now_ms - now_ms % HOUR_MS - HOUR_MS, (symbol, self._wrong(record, storm))
            assert len(bars) == WINDOW_BARS, (symbol, self._wrong(record, storm))

    def _stored(self, symbol: str) -> list[Bar]:
        return stored(self.world.duckdb)[symbol]


def soak(folder: Path, cycles: int, seed: int, month_hours: int = 30 * 24, *, of: type[Soak] = Soak) -> Report:
    """Live it; `AssertionError` tells the first hour that ended otherwise than documented."""
    begin_sec = perf_counter()
    work = of(folder, cycles, seed, month_hours)
    work.live()
    work.report.took_sec = perf_counter() - begin_sec
    return work.report


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proof.soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the store and the files stand; default: a temporary folder")
    parser.add_argument("--write", action="store_true", help="put the report into docs/proof.md")
    said = parser.parse_args()
    # A hundred thousand hours of warnings help nobody: how each hour ended is counted.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=said.folder) as folder:
        report = soak(Path(folder), said.cycles, said.seed)
    print(report.markdown())  # noqa: T201 - a command's output
    if said.write:
        put(report.markdown())
    return 0 if report.is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
