"""What `barfeed doctor --store` looks at: the server, its tables, what this user may do there, and who feeds them."""

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.market import membership
from barfeed.machine.clock import Clock
from barfeed.operate import feeders
from barfeed.operate.doctor.checks import Check
from barfeed.operate.doctor.market import Asked, Market, lacking, of_stock
from barfeed.operate.market import Stock
from barfeed.operate.status import Bars
from barfeed.store.duckdb import Coverage
from barfeed.store.postgres import rights
from barfeed.store.postgres.link import about, fence
from barfeed.store.postgres.link.about import Standbys
from barfeed.store.postgres.link.connection import Connection, Sessions
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import schema
from barfeed.store.postgres.tables.feeders import seen
from barfeed.store.postgres.tables.lacking import Lacking

_READ_ONLY = "name the primary, or all hosts of it with commas between them: libpq takes the one that can be written"
_READER = "give it the rights of a reader: deploy/postgres/reader.sql"
_FEEDER = "give it the rights of a feeder: deploy/postgres/feeder.sql; who only reads needs no more"
_NAMED = 3


class Database(NamedTuple):
    """The database that is looked at, and the folder in which this host's feeds keep what they remember of it."""

    address: str
    persist_dir: Path
    catch_up: str
    max_skew_sec: float
    clock: Clock


def look_at(asked_of: Database, now_ms: Callable[[], int]) -> list[Check]:
    """Everything about the server and the tables. Raises `StoreUnusable` where it cannot be reached."""
    # As a feed takes it, one that can be written; where there is none, one that can be read.
    for writes in (True, False):
        sessions = Sessions(asked_of.address, asked_of.clock, 0.0, writes=writes)
        begin_sec = asked_of.clock.steady_sec()
        try:
            with closing(sessions), sessions.free() as connection:
                return list(_checks(asked_of, connection, asked_of.clock.steady_sec() - begin_sec, now_ms))
        except StoreUnusable as problem:
            if problem.is_away or not writes:
                raise
    raise AssertionError


def _checks(asked_of: Database, connection: Connection, took_sec: float, now_ms: Callable[[], int]) -> Iterator[Check]:
    told = about.about(connection)
    skew_sec = told.now_sec - now_ms() / 1000
    seen_as = f"{asked_of.address} answered in {took_sec:.2f} s: PostgreSQL {told.version.split()[0]}"
    if told.is_standby or told.is_read_only:
        why = "a standby" if told.is_standby else "default_transaction_read_only is on"
        yield Check("database", "bad", f"{seen_as}, {why}: it can be read, not fed", _READ_ONLY)
    else:
        yield Check("database", "good", f"{seen_as}, a primary")
    yield clock_of_server(skew_sec, asked_of.max_skew_sec)
    if not told.is_standby:
        yield from _server(asked_of, connection)
        yield from [] if (found := about.standbys(connection)) is None else [standbys(found)]
    yield from _tables(asked_of, connection, now_ms)


def clock_of_server(skew_sec: float, max_skew_sec: float) -> Check:
    """The server's clock beside the exchange's; positive where the server is fast."""
    told = f"{abs(skew_sec):.2f} s {'ahead of' if skew_sec > 0 else 'behind'} the exchange's"
    if abs(skew_sec) <= max_skew_sec:
        return Check("server clock", "good", told)
    fix = "set that machine's clock: when a bar was stored, created_at, is told by it"
    return Check("server clock", "bad", f"{told}, more than --max-skew-sec {max_skew_sec:g}", fix)


def _server(asked_of: Database, connection: Connection) -> Iterator[Check]:
    """Whether it is the one that this host's feeds remember; nothing where it has no number to tell."""
    found = fence.asked(connection)
    if found is None:
        return
    path = asked_of.persist_dir / "servers.json"
    told = f"system {found.system}, timeline {found.timeline}"
    try:
        is_news = fence.Fence(path, asked_of.address).is_news(found)
    except StoreUnusable as problem:
        yield Check("server", "bad", str(problem), problem.hint)
        return
    if is_news:
        yield Check("server", "note", f"{told}: not in {path}", "nothing: the next pass remembers it there")
    else:
        yield Check("server", "good", f"{told}, as in {path}")


def standbys(found: Standbys) -> Check:
    """Whether a commit waits for a standby, and whether there is one to confirm it."""
    if not found.named or found.commit in {"off", "local"}:
        what = f"synchronous_commit is {found.commit}" if found.named else "no synchronous_standby_names"
        fix = "only if it is wanted: without, a primary that is lost may take what it acknowledged with it"
        return Check("standby", "note", f"{what}: no commit waits for a standby; {found.connected} connected", fix)
    told = f"synchronous_standby_names {found.named!r}, {found.connected} connected"
    if found.confirming:
        return Check("standby", "good", f"{told}, {found.confirming} confirming")
    if found.connected and not found.is_seen:
        fix = "GRANT pg_read_all_stats TO this user, if it is to be told here"
        return Check("standby", "note", f"{told}: which of them confirm, this user may not see", fix)
    told += ", none confirms: a commit waits without end"
    return Check("standby", "bad", told, "start the standby, or have others confirm: synchronous_standby_names")


def _tables(asked_of: Database, connection: Connection, now_ms: Callable[[], int]) -> Iterator[Check]:
    if not rights.may_enter(connection):
        yield Check("rights", "bad", f"this user may not use the schema {schema.SCHEMA}", _READER)
        return
    lacking = rights.lacking(connection)
    if "schema_version" not in lacking.get("SELECT", ()):
        try:
            schema.expect(connection, asked_of.address)
        except StoreUnusable as problem:
            yield Check("schema", "bad", str(problem), problem.hint)
            return
        yield Check("schema", "good", f"version {schema.VERSION} of the tables")
    yield may(lacking)
    if "feeders" not in lacking.get("SELECT", []):
        yield from fed(feeders.conditions(seen(connection), now_ms()), asked_of)


def may(lacking: dict[str, list[str]]) -> Check:
    """What the user may do with the tables, by what it lacks for a feeder."""
    if not lacking:
        return Check("rights", "good", "this user may read and feed")
    told = "; ".join(f"no {right} on {_first(tables)}" for right, tables in lacking.items())
    if "SELECT" in lacking:
        return Check("rights", "bad", f"this user may not read it all: {told}", _READER)
    return Check("rights", "bad", f"this user may read, not feed: {told}", _FEEDER)


def _first(tables: Sequence[str]) -> str:
    return ", ".join(tables[:_NAMED]) + (", ..." if len(tables) > _NAMED else "")


def fed(found: Sequence[feeders.Condition], asked_of: Database) -> list[Check]:
    """Who feeds it, worst first: this host's own trouble is a fault, that of others a note."""
    if not found:
        return [Check("feeders", "note", "nobody has fed it yet", f"run a pass: {asked_of.catch_up}")]
    bad = [each for each in found if each.trouble]
    newest = min(found, key=lambda each: each.ago_ms)
    well = f"{len(found) - len(bad)} of {len(found)} feeds are well"
    told = f"{well}; the last pass, of {newest.feeder.host}, {newest.ago_ms // 1000} s ago"
    return [Check("feeders", "good", told), *(_feeder(each, asked_of.persist_dir) for each in bad)]


def _feeder(condition: feeders.Condition, persist_dir: Path) -> Check:
    host, feed = condition.feeder.host, condition.feeder.feed
    is_own = host == platform.node() and Path(feed).is_relative_to(persist_dir.absolute())
    return Check("feeders", "bad" if is_own else "note", f"{host} {feed}: {condition.trouble}", condition.hint)


def can_be_read(told: Sequence[Check]) -> bool:
    """Whether the tables are those of this barfeed, and this user may read them."""
    return any(each.name == "feeders" for each in told)


def market_of(asked_of: Database, many: Market, asked: Asked) -> list[Check]:
    """The checks of each interval of a market."""
    return [check for each in many.intervals for check in _of_interval(asked_of, many, each, asked)]


def _of_interval(asked_of: Database, many: Market, interval: Interval, asked: Asked) -> list[Check]:
    now_ms = asked.now_ms()
    stock = _stock(asked_of, many, interval, now_ms)
    told = of_stock(stock, asked_of.persist_dir, many, interval, asked)
    return [*told, *kinds_of(asked_of, interval, stock.bars.keys(), now_ms)]


def kinds_of(asked_of: Database, interval: Interval, symbols: Collection[str], now_ms: int) -> list[Check]:
    """What is missing of kinds that the exchange forgets."""
    with closing(Server(asked_of.address, asked_of.clock, 0.0)) as server:
        return lacking(server.kinds, interval, symbols, now_ms)


def _stock(asked_of: Database, many: Market, interval: Interval, now_ms: int) -> Stock:
    """What there is of the symbols that are meant in the newest window: years are not counted within seconds."""
    window_bars = grid.inference_bars(many.buffer_hours, interval.ms)
    from_ms = grid.window_start(grid.last_closed(now_ms, interval.ms), window_bars, interval.ms)
    with closing(Server(asked_of.address, asked_of.clock, 0.0)) as server, server.session(write=False) as connection:
        table = server.market(connection, interval)
        listed = membership.by_symbol(table.membership())
        held = table.coverage(from_ms)
        # Of what has no bar as new as that, the newest is known.
        older = table.newest_of([each for each in listed if each not in held])
        held |= {symbol: Coverage(1, at_ms, at_ms) for symbol, at_ms in older.items()}
        held = {symbol: each for symbol, each in sorted(held.items()) if many.selection.includes(symbol)}
        missing = Lacking(connection, interval).between(held, from_ms)
        bars = {symbol: Bars(each, tuple(missing.get(symbol, ())), 0) for symbol, each in held.items()}
        return Stock(bars, listed, table.exchange_gaps(list(held)))


def bars_of(asked_of: Database, series: Series, window_bars: int) -> Bars:
    """What there is of a series; where bars are missing, in its newest window alone."""
    with closing(Server(asked_of.address, asked_of.clock, 0.0)) as server, server.session(write=False) as connection:
        held = server.market(connection, series.interval).coverage_of(series.symbol)
        if held.last_ms is None or held.first_ms is None:
            return Bars(held, (), 0)
        from_ms = max(held.first_ms, grid.window_start(held.last_ms, window_bars, series.interval.ms))
        missing = Lacking(connection, series.interval).between({series.symbol: held}, from_ms)
        return Bars(held, tuple(missing.get(series.symbol, ())), 0)
