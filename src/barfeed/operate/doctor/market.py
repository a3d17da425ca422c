"""What `barfeed doctor --symbols` looks at: a market's table, its bars by what the exchange lists, its last pass."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.errors import BarfeedError
from barfeed.domain.life import Listing
from barfeed.domain.market.membership import Seen
from barfeed.domain.market.selection import Selection
from barfeed.domain.market.telling import Word, said_once
from barfeed.operate import market, status
from barfeed.operate.doctor.checks import Check, after
from barfeed.operate.market import Condition, Stock
from barfeed.store.duckdb import Store
from barfeed.store.kinds.kept import FileKinds
from barfeed.store.own.readers import read_every
from barfeed.store.port.kinds import KeptKinds

# More take longer to read than a doctor may.
_READ_WHOLE_MAX = 5_000_000


class Market(NamedTuple):
    """The market that is looked at: which symbols, at which intervals, with how many hours beyond a window's 720."""

    selection: Selection
    intervals: tuple[Interval, ...]
    buffer_hours: int
    catch_up: str
    fill: str


class Asked(NamedTuple):
    """What a look asks: the time in ms, and what the exchange lists."""

    now_ms: Callable[[], int]
    listings: Callable[[], Mapping[str, Listing]]


def look_at(store: Store, root: Path, asked_of: Market, interval: Interval, asked: Asked) -> list[Check]:
    """The checks of one interval. Raises `StoreUnusable`, `ArtifactsUnusable`."""
    name = f"market {interval}"
    if not store.exists():
        return [Check(name, "bad", f"{store.path} does not exist", f"start it: {asked_of.catch_up}")]
    stock = market.look(store, interval, asked_of.selection)
    condition = _judged(stock, root, asked_of, interval, asked)
    return [
        _table(store, stock, interval),
        *_bars(name, condition, asked_of),
        *kinds(store, interval, condition.symbols.keys(), asked.now_ms()),
        _last_pass(name, condition, asked_of),
    ]


def of_stock(stock: Stock, root: Path, asked_of: Market, interval: Interval, asked: Asked) -> list[Check]:
    """The bars of one interval, wherever they are stored, by what the exchange lists, and the last pass."""
    name, condition = f"market {interval}", _judged(stock, root, asked_of, interval, asked)
    return [*_bars(name, condition, asked_of), _last_pass(name, condition, asked_of)]


def _judged(stock: Stock, root: Path, asked_of: Market, interval: Interval, asked: Asked) -> Condition:
    now_ms = asked.now_ms()
    return market.judge(
        interval,
        asked_of.selection,
        _as_listed(stock, asked, now_ms),
        market.runs_of_market(root, interval),
        now_ms=now_ms,
        window_bars=grid.inference_bars(asked_of.buffer_hours, interval.ms),
    )


def kinds(store: Store, interval: Interval, symbols: Collection[str], now_ms: int) -> list[Check]:
    """What a file lacks of kinds that the exchange forgets, and how long it can still be had."""
    return lacking(FileKinds(store), interval, symbols, now_ms)


def lacking(kept: KeptKinds, interval: Interval, symbols: Collection[str], now_ms: int) -> list[Check]:
    """The same of any store."""
    found = [each.of(symbols) for each in kept.holes(interval, now_ms)]
    return [Check(f"{each.kind.name} {interval}", "bad", each.told(now_ms), each.hint) for each in found if each.holes]


def _as_listed(stock: Stock, asked: Asked, now_ms: int) -> Stock:
    """With what the exchange lists now behind what was noted; what was noted, where it does not tell."""
    try:
        listings = asked.listings()
    except BarfeedError:
        return stock
    symbols = {*stock.listed, *listings}
    seen = {symbol: [Seen(listings[symbol], now_ms)] if symbol in listings else [] for symbol in symbols}
    return stock._replace(listed={symbol: [*stock.listed.get(symbol, ()), *seen[symbol]] for symbol in symbols})


def _table(store: Store, stock: Stock, interval: Interval) -> Check:
    rows = sum(each.coverage.rows for each in stock.bars.values())
    name = f"table {interval}"
    if rows > _READ_WHOLE_MAX:
        return Check(name, "note", f"{rows} bars: too many to read them whole here", "barfeed verify reads every one")
    with store.session(write=False) as connection:
        read_every(connection, interval)
    return Check(name, "good", f"{len(stock.bars)} series, {rows} bars, whole")


def _bars(name: str, condition: Condition, asked_of: Market) -> list[Check]:
    words = [Word(symbol, each) for symbol, own in condition.symbols.items() for each in own.troubles]
    told = [Check(name, "bad", said, _fix(said, asked_of)) for said, _ in said_once(words)]
    told += [Check(name, "bad", each, _fix(each, asked_of)) for each in condition.troubles]
    newest = market.newest_ms(condition)
    quiet = sum(each.now is not None and each.now.stage != "trading" for each in condition.symbols.values())
    seen = f"{len(condition.symbols)} series, {quiet} of which no bar is due; newest {grid.text(newest or 0)}"
    return told or [Check(name, "good", seen)]


def _fix(trouble: str, asked_of: Market) -> str:
    if "bars have a gap" in trouble:
        return f"see the plan to fill it: {asked_of.fill}"
    is_behind = "the store is " in trouble or "holds no bar" in trouble
    return f"catch up: {asked_of.catch_up}" if is_behind else ""


def _last_pass(name: str, condition: Condition, asked_of: Market) -> Check:
    last = condition.runs.last
    if last is None:
        return Check(f"{name} pass", "note", "none yet", f"run one: {asked_of.catch_up}")
    if trouble := status.failed(last) if last.message else "":
        return Check(f"{name} pass", "bad", trouble, after(last.hint, last.status))
    return Check(f"{name} pass", "good" if not last.exit_code else "note", f"{last.run_time} {last.status}")
