"""A database as the feed uses it: one series or a market, in the same tables."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Session, in_memory
from barfeed.store.place import NO_BARS, SymbolBars
from barfeed.store.port.last_windows import LastWindows
from barfeed.store.postgres.link import fence
from barfeed.store.postgres.link.connection import Connection, Sessions
from barfeed.store.postgres.tables import feeders, schema
from barfeed.store.postgres.tables.market import MarketTable
from barfeed.store.postgres.tables.series import SeriesTable
from barfeed.store.postgres.tables.words import ms_of
from barfeed.store.revisions import Why, overtaken

if TYPE_CHECKING:
    from barfeed.store.lake.contents.database import OfDatabase
    from barfeed.store.postgres.kinds.kept import ServerKinds

# Who listens hears of each pass that appended something, when it can be read: LISTEN barfeed.
_LAG = """
SELECT date_part('epoch', now() - pg_last_xact_replay_timestamp()) WHERE pg_is_in_recovery() UNION ALL SELECT NULL
"""
_HELD = f"""
SELECT count(*), count(DISTINCT symbol), {ms_of("min(timestamp)")}, {ms_of("max(timestamp)")}
FROM {schema.SCHEMA}.ohlcv_{{interval}}
"""  # noqa: S608 - of our own names only
_TELL = "SELECT pg_notify('barfeed', %s)"


def lag_of(connection: Connection) -> float | None:
    """How old what a standby shows is, in seconds; None of a primary."""
    lag: float | None = connection.execute(_LAG).fetchall()[0][0]
    return lag


class Migrated(NamedTuple):
    """From which version of the tables, 0 where there were none, to which."""

    since: int
    to: int


def migrate(address: str, clock: Clock, wait_sec: float, *, dry_run: bool = False) -> Migrated:
    """Make the tables what this barfeed expects, in one transaction. Raises `StoreUnusable`."""
    sessions = Sessions(address, clock, wait_sec)
    with closing(sessions), sessions.session(write=True) as connection:
        since = schema.version(connection) if dry_run else schema.migrate(connection)
    return Migrated(since, schema.VERSION)


class Held(NamedTuple):
    """How many bars of how many symbols there are, and when the first and the newest open (ms)."""

    bars: int
    symbols: int
    first_ms: int
    newest_ms: int


class Server(Sessions):
    """A database that many hosts may feed."""

    file = None

    def __init__(self, address: str, clock: Clock, wait_sec: float, remembered: Path | None = None) -> None:
        """`wait_sec`: how long one that is away is waited for. `remembered`: which server it was, if it is to be kept.

        Without it, one that can only be read will do.
        """
        super().__init__(address, clock, wait_sec, writes=remembered is not None)
        self._fence = fence.Fence(remembered, address) if remembered else None
        self._memory: Session | None = None

    def greet(self, connection: Connection) -> None:
        """Only tables of this version, on the server of before. Raises `StoreUnusable`."""
        if self._fence:
            self._fence.expect(fence.asked(connection))
        schema.expect(connection, self.name)

    @property
    def origin(self) -> "OfDatabase":
        """What a lake is made of."""
        # Imported here: most feeds have none.
        from barfeed.store.lake.contents.database import OfDatabase  # noqa: PLC0415

        return OfDatabase(self)

    @property
    def kinds(self) -> "ServerKinds":
        """The kinds beside its bars."""
        # Imported here: few feeds have any.
        from barfeed.store.postgres.kinds.kept import ServerKinds  # noqa: PLC0415

        return ServerKinds(self)

    def stand_in(self, folder: Path, away: StoreUnusable) -> LastWindows:
        """The windows that were last given to the models. Raises `away` where there are none."""
        return LastWindows(folder, self.name, self.beside(), away)

    def beside(self) -> Session:
        """A DuckDB in memory: what is staged there outlasts every use of the store."""
        if self._memory is None:
            self._memory = in_memory()
        return self._memory

    @contextmanager
    def reading(self, series: Series) -> Iterator[SeriesTable]:
        """One series, to look at."""
        with self.session(write=False) as connection:
            yield self._series(connection, series)

    @contextmanager
    def appending(self, series: Series, *, create: bool) -> Iterator[SeriesTable]:  # noqa: ARG002 - it is there
        """One series in one transaction."""
        with self._writing(series.interval) as table:
            yield SeriesTable(table, series)

    @contextmanager
    def revising(self, series: Series, changes: Sequence[Change], why: Why, *, dry_run: bool) -> Iterator[SeriesTable]:
        """One series in a transaction in which `changes` are made and audited; `Unrepaired` where one is overtaken."""
        if dry_run:
            with self.reading(series) as looked_at:
                yield looked_at
            return
        with self._writing(series.interval) as table:
            if table.revise(series.symbol, changes, why) != len(changes):
                raise overtaken(series)
            yield SeriesTable(table, series)

    def let_pass(self, series: Series) -> list[Bar]:
        """The bars of the series that somebody let pass."""
        with self.session(write=False) as connection:
            return self.market(connection, series.interval).let_pass(series.symbol)

    @contextmanager
    def reading_market(self, interval: Interval, pending: SymbolBars = NO_BARS) -> Iterator[MarketTable]:
        """A market, to look at, as of one moment."""
        # What could not be appended stands beside the last windows, which are no database.
        assert not pending
        with self.session(write=False) as connection:
            yield self.market(connection, interval)

    @contextmanager
    def writing_market(self, interval: Interval) -> Iterator[MarketTable]:
        """A market in one transaction: committed at the end, rolled back by any exception."""
        with self._writing(interval) as table:
            yield table

    def note_feeder(self, feeder: feeders.Feeder) -> None:
        """Note how a feed's last pass ended."""
        with self.session(write=True) as connection:
            feeders.note(connection, feeder)

    def news(self) -> feeders.News:
        """What tells whether anything changed."""
        with self.session(write=False) as connection:
            return feeders.news(connection)

    def feeders(self) -> list[feeders.Feeder]:
        """Every feed that ever had a pass, the last one first."""
        with self.session(write=False) as connection:
            return feeders.seen(connection)

    def held(self) -> dict[Interval, Held]:
        """What there is of each interval that has any bar."""
        with self.session(write=False) as connection:
            told = {each: connection.execute(_HELD.format(interval=each)).fetchall()[0] for each in Interval}
        return {interval: Held(*row) for interval, row in told.items() if row[0]}

    @contextmanager
    def _writing(self, interval: Interval) -> Iterator[MarketTable]:
        with self.session(write=True) as connection:
            table = self.market(connection, interval)
            yield table
            if table.appended:
                table.connection.execute(_TELL, [f'{{"interval": "{interval}", "bars": {table.appended}}}'])

    def market(self, connection: Connection, interval: Interval) -> MarketTable:
        """The bars of an interval, in a session."""
        return MarketTable(connection, interval, self.beside())

    def _series(self, connection: Connection, series: Series) -> SeriesTable:
        return SeriesTable(self.market(connection, series.interval), series)
