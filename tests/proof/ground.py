"""The ground that the model is played on: an exchange, a clock, a disk, and barfeed's commands on them by name.

Every call is made of new objects, as a new process is; `interlope` lets another feed live in the middle of a call.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from barfeed.artifacts import retention

# What a command imports when it is called stands here, so that no child of victim.py has to load it.
from barfeed.domain import acceptance  # noqa: F401
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError
from barfeed.exchange.archive import Archive
from barfeed.exchange.paging import RestHistory
from barfeed.feed import cycle  # noqa: F401
from barfeed.feed.cycle import run_cycle
from barfeed.feed.market.one_pass import run_pass
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.order import Feed
from barfeed.feed.record import Record
from barfeed.history import backfill
from barfeed.history.mending.repair import Repair, Wanted
from barfeed.machine.clock import SystemClock
from barfeed.replay.faults.script import Fault, parse_faults
from barfeed.replay.tapes.tape import Tape
from barfeed.store import revisions  # noqa: F401
from barfeed.store.port.embedded import Embedded
from barfeed.store.port.whole import WholeHistory
from barfeed.store.postgres.whole import WholeServer
from in_turn import InTurn
from market_world import MarketWorld
from world import BTCUSDT_1H, SteppingClock, World, hours, made_up_bars, ms

ERA_MS = ms(2024, 2, 10, 13)
TAPE = Tape.of(BTCUSDT_1H, made_up_bars(ERA_MS + hours(3000), 3700))
MARKET_TAPES = {
    each: Tape.of(Series.of(each, "1h"), made_up_bars(ERA_MS + hours(3000), 3700, each))
    for each in ("BTCUSDT", "ETHUSDT", "龙虾USDT")
}
WINDOW_BARS = 30
ANYTHING = Terms(price=1e9, volume=1e9, pause_sec=5.0)
LOCK_TIMEOUT_SEC = 30.0


# Of which symbol which bar has which volume.
Revised = tuple[str, str, float]


class Ended(NamedTuple):
    """How a command ended; `record` is a cycle's."""

    exit_code: int
    status: str
    record: Record | MarketRecord | None = None


class HookedClock(SteppingClock):
    """Calls somebody in the middle of whoever asks it: after so many questions."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.questions_left = -1
        self.then: Callable[[], object] = lambda: None

    def steady_sec(self) -> float:
        self.questions_left -= 1
        if self.questions_left == 0:
            self.then()
        return super().steady_sec()


class Ground:
    """One machine with a feed on it at `now_ms`; its store is a file, or a `database`."""

    def __init__(self, folder: Path, now_ms: int, database: str = "") -> None:
        self.database = database
        self._world = self._made(folder, now_ms)
        self.clock = HookedClock(now_ms)
        self._world.clock = self.clock
        self._world.exchange._now_ms = self.clock.exchange_ms
        self._world.rest.clock = self.clock
        self.duckdb = self._world.duckdb
        self.folder = self._world.feed.folder
        self._revised: list[Fault] = []
        # Whether nobody hears where the database was, or another process has the file and will not let go.
        self.is_away = False

    def _made(self, folder: Path, now_ms: int) -> World:
        return World(folder, [TAPE], now_ms)

    def revise(self, revised: Sequence[Revised]) -> None:
        """From now on the exchange has other volumes."""
        text = "".join(
            f'[[fault]]\nkind = "revise"\nsymbol = "{symbol}"\nbar = {bar}\nvolume = {volume}\n'
            for symbol, bar, volume in revised
        )
        self._revised = list(parse_faults(text, "the model"))

    def call(self, command: str, faults: str = "", **flags: Any) -> Ended:
        """Live a command to its end, in weather given as TOML."""
        exchange = self._world.exchange
        before = exchange.faults, exchange.requests
        exchange.faults = (*self._revised, *parse_faults(faults, "the model"))
        exchange.requests = Counter()
        try:
            ended: Ended = getattr(self, f"_{command}")(**flags)
        except BarfeedError as error:
            ended = Ended(error.exit_code, error.status)
        finally:
            exchange.faults, exchange.requests = before
        return ended

    def interlope(self, questions: int, jump_ms: int) -> None:
        """After so many questions to the clock of the next call, time jumps on and another feed catches up."""

        def meanwhile() -> None:
            self.clock.go_to(self.clock.now_ms + jump_ms)
            self.call("feed", catch_up=True)

        self.clock.questions_left, self.clock.then = questions, meanwhile

    def fair(self) -> None:
        """Nobody interlopes any more."""
        self.clock.questions_left = -1

    def _feed(
        self, *, catch_up: bool = False, accept: bool = False, source: Any = "db", dry_run: bool = False
    ) -> Ended:
        order = self._world.order._replace(
            window_bars=WINDOW_BARS, catch_up=catch_up, accept=ANYTHING if accept else None, inference_source=source,
            dry_run=dry_run,
        )  # fmt: skip
        with self._opened() as store:
            record = run_cycle(Feed(store, self.folder, self.clock), order, self._world.rest.conversation(120.0))
        return Ended(record.exit_code, record.status, record)

    def _repair(self, *, symbol: str = "BTCUSDT") -> Ended:
        with self._opened() as store:
            work = Repair(store, self._world.rest, Series.of(symbol, "1h"), 120.0)
            survey = work.survey(Wanted(0, None, 1))
            left = work.apply(survey, work.confirmed(survey, 5.0), "the model").left
        return Ended(1, "unrepaired") if left else Ended(0, "repaired")

    def _backfill(self, *, from_ms: int, to_ms: int, symbol: str = "BTCUSDT") -> Ended:
        series = Series.of(symbol, "1h")
        rest = RestHistory(series, lambda: self._world.rest, 120.0, 1)
        archive = Archive(series, lambda: self._world.rest, 120.0, lambda: rest.now_ms)
        order = backfill.Order(series, "rest", from_ms, to_ms)
        with self._opened() as store:
            work = backfill.Backfill(order, backfill.Tools(store, rest, archive, self.clock))
            work.run()
        return Ended(work.report.exit_code, "backfilled")

    def _prune(self, *, days: int, discard: bool) -> Ended:
        if self.folder.exists():
            retention.prune(self.folder, self.clock.utc_ms(), retention.Keep(days, discard))
        return Ended(0, "pruned")

    @contextmanager
    def _opened(self) -> Iterator[WholeHistory]:
        """The store, as a new process has it."""
        # Another process that holds the store does so in real time.
        if not self.database:
            yield Embedded(self.duckdb, SystemClock(), 0.0 if self.is_away else LOCK_TIMEOUT_SEC)
            return
        wait_sec = 0.0 if self.is_away else LOCK_TIMEOUT_SEC
        address = self.database.rpartition("=")[0] + "=1" if self.is_away else self.database
        with closing(WholeServer(address, SystemClock(), wait_sec, self.duckdb.with_name("servers.json"))) as server:
            yield server


class MarketGround(Ground):
    """One machine with a feed of three symbols on it; what mends one symbol is told which."""

    def _made(self, folder: Path, now_ms: int) -> MarketWorld:
        return MarketWorld(folder, list(MARKET_TAPES.values()), now_ms)

    def _feed(
        self,
        *,
        catch_up: bool = False,
        accept: bool = False,  # noqa: ARG002 - a pass accepts no mismatch
        source: Any = "db",  # noqa: ARG002 - and has its windows from the store
        dry_run: bool = False,
    ) -> Ended:
        world = self._world
        assert isinstance(world, MarketWorld)
        reach = world.market.reach._replace(window_bars=WINDOW_BARS, catch_up=catch_up)
        order = world.market._replace(reach=reach, dry_run=dry_run, csv_for=tuple(MARKET_TAPES))
        ask, talk = InTurn(world._transport, self.clock), world.rest.conversation(120.0)
        with self._opened() as store:
            record = run_pass(Feed(store, self.folder, self.clock), order, talk, ask)
        return Ended(record.exit_code, record.status, record)


GROUNDS = {each.__name__: each for each in (Ground, MarketGround)}


def order(ground: Ground, revised: Sequence[Revised], command: str, faults: str, **flags: Any) -> dict[str, Any]:
    """The same call for a process of its own: see victim.py."""
    return {
        "ground": type(ground).__name__, "folder": str(ground.duckdb.parent), "now_ms": ground.clock.now_ms,
        "database": ground.database, "command": command, "faults": faults, "revised": revised, "flags": flags,
        "die_at": 0,
    }  # fmt: skip
