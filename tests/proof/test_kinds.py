"""Every kind of many symbols as processes, through hours in which all goes wrong: in the end the store is the tape.

Passes are killed, answers are broken, rows come late, and in the middle nobody feeds for twenty-nine days.
"""

import json
import random
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fork_server
from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import DATA_REQUESTS, KINDS
from barfeed.exchange.kinds.wire import read_rows
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.faults.script import OF_SYMBOLS, parse_faults
from barfeed.replay.rest.routes import limiters
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from market_world import MarketMachine
from process import BARFEED, Ran
from storage import opened

DAY_MS = 24 * HOUR_MS
HOLE_MS = 29 * DAY_MS
ONE_HOUR = Interval.ONE_HOUR
KILLED = str(Path(__file__).parents[1] / "killed.py")
# What is wrong with the answers of a kind: told at once, so that no pass waits for its end.
BROKEN = ('kind = "object"', 'kind = "status"\nstatus = 400', 'kind = "empty"')
# What a pass may end with: well, with what was late, with what broke its contract.
TOLD = {0, 3, 5}
LATE = 'kind = "late"\nsec = {}'
KIND_PATHS = [path for path in OF_SYMBOLS if path != "klines"]
LATE_PATHS = [kind.path.rpartition("/")[2] for kind in KINDS.values() if kind.limit is DATA_REQUESTS]


class Life(MarketMachine):
    """A market whose feed has every kind, and what becomes of it by its own dice."""

    def __init__(self, folder: Path, exchange: ReplayExchange, clock: HandClock, url: str, seed: int) -> None:
        super().__init__(folder, exchange, clock, url)
        self.random = random.Random(seed)
        self.kills = self.broken = 0
        self.symbols: list[str] = []

    def command(self, *flags: str, symbols: str = "all") -> list[str]:
        kinds = ("--kinds", ",".join(KINDS), "--spot-url", self.url)
        window = ("--catch-up", "--window-hours", "48", "--max-wait-sec", "20")
        return super().command(*kinds, *window, *flags, symbols=symbols)

    def fill(self, first_ms: int) -> Ran:
        """What the passes of an hour's reach do not bring back."""
        urls = ("--spot-url", self.url, "--archive-url", self.url)
        words = ["--symbols", "all", "--kinds", ",".join(KINDS), "--from", grid.text(first_ms), *urls]
        return self.call([str(BARFEED), "backfill", *words, "--duckdb", str(self.duckdb)])

    def prove(self) -> dict[str, Any]:
        """What `barfeed verify` says against the exchange."""
        urls = ("--spot-url", self.url, "--archive-url", self.url)
        words = ["--symbols", "all", "--kinds", ",".join(KINDS), "--against", "rest", *urls, "--json"]
        done = self.call([str(BARFEED), "verify", *words, "--duckdb", str(self.duckdb)])
        assert done.code == 0, done
        return dict(json.loads(done.out))

    def troubles(self) -> str:
        """None, or up to three, of an hour."""
        script = ""
        for _ in range(self.random.choice((0, 0, 1, 2, 3))):
            if self.random.random() < 0.2:
                fault, path = LATE.format(self.random.choice((600, 3000, 6000))), self.random.choice(LATE_PATHS)
            else:
                fault, path = self.random.choice(BROKEN), self.random.choice(KIND_PATHS)
            share, seed = self.random.choice((0.3, 1.0)), self.random.randrange(1000)
            script += f'[[fault]]\n{fault}\npath = "{path}"\nshare = {share}\nseed = {seed}\n'
        return script

    def pass_(self, *, effects: int) -> None:
        """One pass, which may be killed at any of its effects."""
        if self.random.random() < 0.2:
            step = self.random.randrange(1, effects)
            words = [sys.executable, KILLED, "run", str(step), *self.command()[2:]]
            killed = fork_server.run(words, self.environment())
            # It may have been over before.
            assert killed.returncode in {-signal.SIGKILL, *TOLD}, killed.stderr
            self.kills += killed.returncode == -signal.SIGKILL
            return
        done = self.feed()
        # Its bars are stored and published whatever becomes of the other kinds.
        assert done.code in TOLD, done
        assert f"windows={len(self.symbols)} " in done.out, done
        self.broken += done.code != 0

    def effects(self) -> int:
        """How many a pass has."""
        whole = fork_server.run([sys.executable, KILLED, "run", "0", *self.command()[2:]], self.environment())
        assert whole.returncode == 0, whole.stderr
        return int(re.findall(r"effects=(\d+)", whole.stderr)[0])

    def live(self, hours: int, effects: int) -> None:
        """So many hours, each with a pass or two, some while soon after its close."""
        for _ in range(hours):
            close_ms = self.clock.now_ms() // HOUR_MS * HOUR_MS + HOUR_MS
            for late_ms in sorted(
                self.random.sample((30_000, 7 * MINUTE_MS, 40 * MINUTE_MS), self.random.choice((1, 2)))
            ):
                self.clock.set(close_ms + late_ms)
                self.exchange.faults = parse_faults(self.troubles(), "the proof")
                self.pass_(effects=effects)
        self.exchange.faults = ()

    def heal(self) -> None:
        """What is due when nothing is wrong any more."""
        self.clock.set(self.clock.now_ms() // HOUR_MS * HOUR_MS + HOUR_MS + 20 * MINUTE_MS)
        done = self.feed()
        assert done.code == 0, done

    def told(self, kind: Kind, symbol: str, first_ms: int, last_ms: int) -> list[tuple[Any, ...]]:
        """What the exchange had of it, asked while it remembered each row: by ten days, soon after them."""
        found: list[tuple[Any, ...]] = []
        for begin_ms in range(first_ms, last_ms + 1, 10 * DAY_MS):
            end_ms = min(last_ms, begin_ms + 10 * DAY_MS - 1)
            clock = HandClock(min(self.clock.now_ms(), end_ms + DAY_MS))
            self._witness.limits = limiters(2400)
            self._moment = clock
            query = kind.query(symbol, ONE_HOUR, begin_ms, end_ms, min(500, kind.rows_max))
            text = "&".join(f"{name}={value}" for name, value in query.items())
            answer = self._witness.handle(Request("GET", kind.path, text, {}))
            rows = read_rows(kind, answer.body) if answer.status == 200 else []
            found += [(kind.stamp.start_ms(row.stamp_ms, HOUR_MS), *row.values) for row in rows]
        return found

    def watch_with(self, witness: ReplayExchange) -> None:
        """The exchange that is asked what there was."""
        self._witness = witness
        self._moment = HandClock(0)

    def moment_ms(self) -> int:
        """The witness's clock."""
        return self._moment.now_ms()

    def kept(self, kind: Kind, symbol: str, first_ms: int) -> list[tuple[Any, ...]]:
        """What the store has, read by nobody's code but DuckDB's."""
        query = (
            f"SELECT epoch_ms(timestamp), {', '.join(kind.names)} FROM {kind.table(ONE_HOUR)} "
            "WHERE symbol = ? AND timestamp >= make_timestamp_ms(?) ORDER BY timestamp"
        )
        with opened(self.duckdb, read_only=True) as connection:
            return connection.execute(query, [symbol, first_ms]).fetchall()


@contextmanager
def living(folder: Path, symbols: int, hours: int, seed: int) -> Iterator[Life]:
    """An exchange and its archive at a moment before the archive's changed label, and a machine that has no store."""
    begin_ms = 1_780_272_000_000  # 2026-06-01
    names = ["BTCUSDT", "ETHUSDT", *(f"S{number}USDT" for number in range(symbols - 2))]
    bars = 14 * 24 + hours + HOLE_MS // HOUR_MS + 48
    tapes = [generate(name, "1h", begin_ms - 14 * DAY_MS, bars, seed=seed) for name in names]
    clock = HandClock(begin_ms + 7 * MINUTE_MS)
    exchange = ReplayExchange(tapes, clock.now_ms)
    served = WithArchive(exchange, ReplayArchive(tapes, clock.now_ms))
    with ReplayServer(served, streams=exchange) as server:
        life = Life(folder, exchange, clock, server.url, seed)
        life.watch_with(ReplayExchange(tapes, life.moment_ms))
        life.symbols = names
        yield life


@pytest.mark.parametrize(
    ("symbols", "hours"),
    [
        pytest.param(3, 4, marks=pytest.mark.long),
        pytest.param(20, 200, marks=pytest.mark.proof),
    ],
)
def test_whatever_happens_in_the_end_every_kind_is_the_tape(tmp_path: Path, symbols: int, hours: int) -> None:
    with living(tmp_path, symbols, hours, seed=11) as life:
        assert life.feed().code == 0
        first_ms = life.clock.now_ms() // HOUR_MS * HOUR_MS
        life.clock.advance(HOUR_MS)
        effects = life.effects()
        life.live(hours // 2, effects)
        life.clock.advance(HOLE_MS)
        life.heal()
        life.live(hours - hours // 2, effects)
        life.heal()
        filled = life.fill(first_ms)
        assert filled.code == 0, filled
        now_ms = life.clock.now_ms()
        for kind in KINDS.values():
            last_ms = kind.newest_due_ms(now_ms, ONE_HOUR)
            for symbol in life.symbols:
                kept = life.kept(kind, symbol, first_ms)
                assert kept == life.told(kind, symbol, first_ms, last_ms), (kind.name, symbol)
        proven = life.prove()
        assert sum(len(each["findings"]) for each in proven["series"]) == 0
        assert all(limit.refused == 0 for limit in life.exchange.limits.values())
        assert life.kills > hours // 20
        assert life.broken > hours // 20
