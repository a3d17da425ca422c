"""A feed with a past, for the page: six years of bars with gaps, refused hours, a revision, predictions, a market."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import duckdb

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import HOUR_MS, Bar, Interval
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.table import KINDS
from barfeed.feed.order import Feed
from barfeed.operate.web.manifests import Manifests
from barfeed.operate.web.stores.file import HeldFile
from barfeed.operate.web.stores.looks import Looks
from barfeed.operate.web.views.sources import Sources
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from barfeed.store.duckdb import Store
from barfeed.store.kinds.tables import writing
from market_world import MarketWorld
from storage import opened
from world import BTCUSDT_1H, SHARED_DATA, World, made_up_bars, ms

NOW_MS = ms(2024, 2, 10, 14) + 30_000
HOURS = 10
BARS = 36_000
# Gaps of the store: first bar, bars. The last one is in the newest weeks, the others where only years can be seen.
GAPS = ((ms(2020, 3, 19, 4), 30), (ms(2021, 8, 13, 2), 1), (ms(2023, 3, 24, 12), 2), (ms(2023, 12, 30, 8), 6))
REVISED_MS = ms(2024, 2, 10, 18)
MARKET = ("ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "BNBUSDT", "LINKUSDT", "LTCUSDT", "币安人生USDT")
DATASET = "BINANCE_BTCUSDT.P, 60"
PREDICTED = 200
KINDS_HOURS = 600
# What the exchange of one more hour has: more than a window of the bars until then.
HOUR_BARS, LATEST = "hour.json", 1_000


@lru_cache(maxsize=1)
def six_years() -> Tape:
    """Real bars where they are there, and as many made-up ones elsewhere."""
    path, end_ms = SHARED_DATA / "rest" / "BTCUSDT-1h.parquet", NOW_MS + (HOURS + 48) * HOUR_MS
    if not path.exists():
        return Tape.of(BTCUSDT_1H, made_up_bars(end_ms - end_ms % HOUR_MS, BARS))
    (whole,) = Tape.load([str(path)])
    return Tape.of(BTCUSDT_1H, [bar for bar in whole.bars if bar.open_time_ms < end_ms])


class PageWorld:
    """The files that a page is made of."""

    def __init__(self, folder: Path, tape: Tape | None = None) -> None:
        self.folder = folder
        self.tape = tape or six_years()
        self.one = World(folder, [self.tape], NOW_MS)
        self.one.feed = Feed(self.one.feed.store, folder / "feed" / "BINANCE_BTCUSDT.P_60", self.one.clock)
        self.predictions = folder / "predictions.duckdb"

    @property
    def duckdb(self) -> Path:
        """The store."""
        return self.one.duckdb

    @property
    def root(self) -> Path:
        """The root of the feeds' folders."""
        return self.folder / "feed"

    def live(self) -> None:
        """The past: a history with gaps, ten hours of which two were refused and one bar was revised, a market."""
        assert self.one.run(catch_up=True).exit_code == 0
        self._remember()
        self._live_hours()
        self._feed_kinds()
        self._predict()
        self._live_market()

    def live_hour(self) -> str:
        """One more hour, in a process of its own; its status."""
        clock = self.one.clock
        clock.go_to(clock.now_ms + HOUR_MS - clock.now_ms % HOUR_MS + 30_000)
        latest = [bar for bar in self.tape.bars if -LATEST * HOUR_MS < bar.open_time_ms - clock.now_ms < HOUR_MS]
        (self.folder / HOUR_BARS).write_text(json.dumps(latest), "utf-8")
        command = [sys.executable, str(Path(__file__).with_name("page_hour.py")), str(self.folder), str(clock.now_ms)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.strip()

    def sources(self, lock_timeout_sec: float = 5.0) -> Sources:
        """What a page is made of."""
        looks = Looks(HeldFile(self.duckdb, lock_timeout_sec))
        return Sources(looks, Manifests(self.root), self.one.clock, self.predictions, self.folder / "feed.log")

    def _remember(self) -> None:
        missing = {first_ms + hour * HOUR_MS for first_ms, bars in GAPS for hour in range(bars)}
        old = [each for each in self.tape.bars if each.open_time_ms < NOW_MS - 726 * HOUR_MS]
        with opened(self.duckdb) as connection:
            _insert(connection, [each for each in old if each.open_time_ms not in missing])
            connection.execute(
                "DELETE FROM ohlcv_btcusdt_1h WHERE list_contains(?::BIGINT[], epoch_ms(timestamp))", [sorted(missing)]
            )
        (self.folder / "feed.log").write_text("INFO <b>started</b> & well\n", "utf-8")

    def _live_hours(self) -> None:
        for hour in range(1, HOURS):
            at_ms = NOW_MS - 30_000 + hour * HOUR_MS
            self.one.clock.go_to(at_ms + 30_000)
            if hour == 3:
                assert self.one.run('[[fault]]\nkind = "late"\nrows = 2\nsec = 3000\n', max_wait_sec=1.0).exit_code == 3
                self.one.clock.go_to(at_ms + 300_000)
            if hour == 7:
                self._revise()
            assert self.one.run(catch_up=True).exit_code == 0, hour

    def _revise(self) -> None:
        fault = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T18:00:00\nvolume = 1234.567\n'
        assert self.one.run(fault).status == "mismatch"
        self.one.clock.go_to(self.one.clock.now_ms + 300_000)
        accepted = self.one.run(fault, accept=Terms(0.01, 100.0, 5.0), catch_up=True)
        assert accepted.exit_code == 0, accepted.line()
        with opened(self.duckdb) as connection:
            # The exchange goes back to what it said first, as it does not in life: the bars after it stay comparable.
            connection.execute(
                "UPDATE ohlcv_btcusdt_1h SET volume = old_volume FROM ohlcv_revisions"
                " WHERE ohlcv_btcusdt_1h.timestamp = ohlcv_revisions.timestamp"
            )

    def _feed_kinds(self) -> None:
        """Open interest and funding of the newest weeks, as `--kinds` stores them."""
        last_ms = NOW_MS - NOW_MS % HOUR_MS + (HOURS - 2) * HOUR_MS
        made: dict[str, tuple[int, Callable[[int], tuple[float, float]]]] = {
            "open_interest": (1, lambda hour: (80_000 + 900 * math.sin(hour / 40) + hour % 7, 4e9)),
            "funding": (8, lambda hour: (0.0001 + 0.00008 * math.sin(hour / 60), 47_000.0)),
        }
        for name, (every, values) in made.items():
            kind, interval = KINDS[name], BTCUSDT_1H.interval
            rows = [
                Row(at_ms, kind.known_at_ms(at_ms, interval), values(at_ms // HOUR_MS))
                for at_ms in range(last_ms - KINDS_HOURS * HOUR_MS, last_ms + 1, HOUR_MS)
                if at_ms // HOUR_MS % every == 0
            ]
            with writing(Store(self.duckdb, self.one.clock, 5.0), kind, interval) as table:
                table.append({"BTCUSDT": rows})

    def _predict(self) -> None:
        model = self.folder / "models" / "run_20240101_000000"
        model.mkdir(parents=True)
        (model / "run_metadata.json").write_text(json.dumps({"horizon_hours": 48}), "utf-8")
        rows = [(self.tape.bars[-60 - hour].open_time_ms, 0.001 * (hour % 7 - 3)) for hour in range(PREDICTED)]
        with duckdb.connect(str(self.predictions)) as connection:
            connection.execute(
                "CREATE TABLE predictions (ts TIMESTAMP, y_pred DOUBLE, model_path VARCHAR, feature_key VARCHAR,"
                " dataset VARCHAR, input_sha256 VARCHAR, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
            )
            connection.execute(
                "INSERT INTO predictions SELECT make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]), ?, 'k', ?,"
                " 's', CURRENT_TIMESTAMP",
                [*(list(column) for column in zip(*rows, strict=True)), str(model / "model.txt"), DATASET],
            )

    def _live_market(self) -> None:
        end_ms = NOW_MS + 2 * 24 * HOUR_MS
        end_ms -= end_ms % HOUR_MS
        tapes = [generate(each, Interval.ONE_HOUR, end_ms - 200 * HOUR_MS, 200, seed=3) for each in MARKET]
        market = MarketWorld(self.folder, tapes, NOW_MS)
        market.feed = Feed(market.feed.store, self.root / "BINANCE.P_1h", market.clock)
        assert market.run_pass(catch_up=True).exit_code == 0
        for hour in range(1, HOURS):
            market.clock.go_to(NOW_MS + hour * HOUR_MS)
            fault = '[[fault]]\nkind = "late"\nrows = 2\nsec = 3000\nsymbol = "SOLUSDT"\n' if hour >= HOURS - 2 else ""
            market.run_pass(fault, max_wait_sec=20.0)


def _insert(connection: duckdb.DuckDBPyConnection, bars: Sequence[Bar]) -> None:
    columns = [list(column) for column in zip(*bars, strict=True)]
    connection.execute(
        "INSERT OR IGNORE INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume)"
        " SELECT make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]), unnest(?::DOUBLE[]),"
        " unnest(?::DOUBLE[]), unnest(?::DOUBLE[]), unnest(?::DOUBLE[])",
        columns,
    )
