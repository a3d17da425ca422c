"""The way in from Python: what a store holds, as lazy tables, without ever keeping the feed from it for long."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

import os
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from barfeed.domain import grid, rules, verdict
from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.errors import BarfeedError, UsageError
from barfeed.domain.kinds import table, wide
from barfeed.history.reading import questions
from barfeed.history.reading.lake import FolderDays, LakeSource
from barfeed.history.reading.mirror import Mirror
from barfeed.history.reading.moments import Moment, ms_of
from barfeed.history.reading.rows import BarRow, CandleRow, CoverageRow, GapRow, ListingRow, RevisionRow, SymbolBarRow
from barfeed.history.reading.source import Source, StoreFile
from barfeed.history.reading.span import SYMBOL_COLUMNS
from barfeed.history.reading.table import Asked, Row, Table, looked
from barfeed.store.duckdb import Session
from barfeed.store.lake import address as lakes
from barfeed.store.place import Span
from barfeed.store.postgres.link.address import checked, is_address

LOCK_TIMEOUT_SEC = 30.0
BUFFER_HOURS = 6

# What a flag is here.
_FLAGS = {"--lock-timeout-sec": "lock_timeout_sec=", "point --duckdb at": "open"}


def open_reader(
    path: str | os.PathLike[str], *, lock_timeout_sec: float = LOCK_TIMEOUT_SEC, read_from: str = ""
) -> "Reader":
    """Open a store, the DuckDB file at `path`, or a lake, the folder or `s3://` address, to read what it holds.

    Or a database, `postgresql://`. `read_from` is a standby of it, which is read in its place: bars that it has not got
    yet are refused, and its lag is told.

    The file itself is opened late and closed early, within each call that reads: the feed is never kept from it for
    longer than that, and a call waits up to `lock_timeout_sec` seconds for the feed. Raises `StoreUnusable`;
    `LakeUnusable` where a bucket does not answer.
    """
    with _told_in_python():
        return Reader(_source(os.fspath(path), lock_timeout_sec, read_from))


class Reader:
    """What is stored, to read. Each method answers with a lazy table; whatever reads of one looks at the store anew.

    A moment is a text like `2024-01-15` or `2024-01-15 13:00`, a date, or a datetime; UTC where it has no zone.
    `UsageError` names a symbol, an interval or a moment that is none.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"barfeed.open({str(self._source)!r})"

    @overload
    def bars(
        self,
        symbol: str,
        interval: str = "1h",
        start: Moment | None = None,
        end: Moment | None = None,
        as_of: Moment | None = None,
    ) -> Table[BarRow]: ...
    @overload
    def bars(
        self,
        symbol: list[str] | tuple[str, ...],
        interval: str = "1h",
        start: Moment | None = None,
        end: Moment | None = None,
        as_of: Moment | None = None,
    ) -> Table[SymbolBarRow]: ...
    def bars(
        self,
        symbol: str | list[str] | tuple[str, ...],
        interval: str = "1h",
        start: Moment | None = None,
        end: Moment | None = None,
        as_of: Moment | None = None,
    ) -> Table[BarRow] | Table[SymbolBarRow]:
        """The bars that open from `start` on and before `end`, ascending; as the store stood at the moment `as_of`.

        Columns: timestamp (UTC), open, high, low, close (in the quote asset), volume (in the base asset). Of a list of
        symbols there is a first column `symbol`, and they come one symbol after another. What reads of it raises
        `StoreEmpty` where nothing is stored of a symbol; a span without a bar is an empty table.
        """
        with _told_in_python():
            symbols = (symbol,) if isinstance(symbol, str) else tuple(symbol)
            span = Span(*_series(symbols, interval), *_bounds(start, end, as_of))
        return self._bars_of(span) if isinstance(symbol, str) else self._bars_of_all(span)

    def candles(
        self,
        symbol: str,
        interval: str = "1h",
        *,
        every_ms: int,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Table[CandleRow]:
        """Those bars summed up in steps of `every_ms`, whole bars each; weeks begin on Mondays, as the exchange's do.

        A step without a bar has no row, and one that lacks some tells so in `bars`.
        """
        with _told_in_python():
            span = Span(*_series((symbol,), interval), *_bounds(start, end, None))
            _expect_step(every_ms, span.interval)

        name = f"{span.symbols[0]} {span.interval}"
        return self._table(lambda connection: self._source.candles(connection, span, every_ms), CandleRow, name)

    def wide(
        self,
        symbol: str | list[str] | tuple[str, ...],
        interval: str = "1h",
        start: Moment | None = None,
        end: Moment | None = None,
        as_of: Moment | None = None,
        *,
        kinds: str | Sequence[str] = (),
        every_ms: int | None = None,
    ) -> Table[Any]:
        """Those bars, and beside each what was known of other kinds of series when it closed: of all that are stored.

        Columns: those of `bars`, then of each kind its values and how old they were then, `open_interest_age_sec`; all
        doubles, empty where nothing was known. A row's names are those of the columns. `kinds` may be the name of one.
        With `every_ms` there is of each step of so many ms, as in `candles`, the newest bar alone.
        """
        with _told_in_python():
            span = Span(*_series((symbol,) if isinstance(symbol, str) else tuple(symbol), interval),
                        *_bounds(start, end, as_of))  # fmt: skip
            if every_ms is not None:
                _expect_step(every_ms, span.interval)
            given = kinds if isinstance(kinds, str) else ",".join(kinds)
            named = table.kinds(given, (span.interval,), "kinds") if kinds else ()
        with self._session() as connection:
            beside = named or self._source.kinds(connection, span.interval)
        key = ["timestamp"] if isinstance(symbol, str) else ["symbol", "timestamp"]
        columns = [*key, *wide.columns(beside)]

        def query(connection: Session) -> str:
            rows = self._source.wide(connection, span, beside)
            relation = rows if every_ms is None else questions.newest_of_steps(rows, every_ms)
            return f"SELECT {', '.join(columns)} FROM {relation} ORDER BY {', '.join(key)}"

        row = namedtuple("WideRow", columns)  # type: ignore[misc]
        return self._table(query, row, f"{', '.join(span.symbols)} {span.interval}")

    def window(self, symbol: str, interval: str = "1h", *, buffer_hours: int = BUFFER_HOURS) -> Table[BarRow]:
        """What a model would be given now: the 720 hours and `buffer_hours` that end at the newest stored bar.

        Looked at at once: raises `WindowGap` where it is not whole, as the feed would, and `StoreEmpty`.
        """
        with _told_in_python():
            series = Series.of(symbol, interval)
            bars = grid.inference_bars(buffer_hours, series.interval.ms)
            held = self._newest(series, bars)
            end_ms = held[-1].open_time_ms
            start_ms = grid.window_start(end_ms, bars, series.interval.ms)
            findings = rules.check_window(held, start_ms, end_ms, series.interval.ms)
            if findings:
                raise verdict.window_gap(series, start_ms, findings, self._source.remedies(series))
        return self._bars_of(Span((series.symbol,), series.interval, start_ms, end_ms + 1))

    def coverage(self) -> Table[CoverageRow]:
        """Every series that is stored: symbol, interval, bars, first and last open time."""
        return self._table(self._source.coverage, CoverageRow, "coverage")

    def gaps(self, symbol: str | None = None, interval: str | None = None) -> Table[GapRow]:
        """Where bars are missing between two that are stored: symbol, interval, first, last, bars."""
        with _told_in_python():
            about = _about(symbol, interval)
        return self._table(lambda connection: self._source.gaps(connection, *about), GapRow, "gaps")

    def revisions(self, symbol: str | None = None, interval: str | None = None) -> Table[RevisionRow]:
        """Every stored bar that was ever changed, both versions, when, why and by which run; oldest change first."""
        with _told_in_python():
            about = _about(symbol, interval)

        def query(connection: Session) -> str:
            table = self._source.revisions(connection)
            return questions.only(questions.revisions(table), *about) if table else questions.nothing(RevisionRow)

        return self._table(query, RevisionRow, "revisions")

    def symbols(self, as_of: Moment | None = None) -> Table[ListingRow]:
        """How each symbol of a market was listed when it was last seen, or by `as_of`; empty where no market is fed."""
        with _told_in_python():
            as_of_ms = None if as_of is None else ms_of(as_of)

        def query(connection: Session) -> str:
            table = self._source.membership(connection)
            return questions.listed(table, as_of_ms) if table else questions.nothing(ListingRow)

        return self._table(query, ListingRow, "symbols")

    def _bars_of(self, span: Span) -> Table[BarRow]:
        def query(connection: Session) -> str:
            return f"SELECT {', '.join(COLUMNS)} FROM {self._source.bars(connection, span)} ORDER BY timestamp"

        return self._table(query, BarRow, f"{span.symbols[0]} {span.interval}")

    def _bars_of_all(self, span: Span) -> Table[SymbolBarRow]:
        def query(connection: Session) -> str:
            bars = self._source.bars(connection, span)
            return f"SELECT {', '.join(SYMBOL_COLUMNS)} FROM {bars} ORDER BY symbol, timestamp"

        return self._table(query, SymbolBarRow, f"{len(span.symbols)} symbols {span.interval}")

    def _newest(self, series: Series, bars: int) -> list[Bar]:
        """The bars of the window that ends at the newest one; a stored NULL comes as NaN."""

        def read(connection: Session) -> list[Bar]:
            held = self._source.bars(connection, Span((series.symbol,), series.interval))
            values = ", ".join(f"coalesce({name}, 'NaN')" for name in VALUE_COLUMNS)
            start = f"(SELECT max(timestamp) FROM {held}) - INTERVAL {(bars - 1) * series.interval.ms} MILLISECOND"
            query = f"SELECT epoch_ms(timestamp), {values} FROM {held} WHERE timestamp >= {start} ORDER BY timestamp"
            return [Bar(*row) for row in connection.sql(query).fetchall()]

        return looked(self._session, read)

    def _table(self, query: Callable[[Session], str], row: type[Row], name: str) -> Table[Row]:
        return Table(Asked(self._session, query, name), row)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with _told_in_python(), self._source.session() as connection:
            yield connection


def _source(address: str, lock_timeout_sec: float, read_from: str) -> Source:
    if is_address(address):
        return _database(address, lock_timeout_sec, read_from)
    if read_from:
        raise UsageError("read_from is a standby of a database, and what is opened is none")
    if lakes.is_bucket(address):
        return LakeSource(Mirror(lakes.checked(address)))
    scheme, sign, _ = address.partition("://")
    if sign and scheme.isalnum():
        raise UsageError(
            f"{scheme}:// is nothing that barfeed.open reads",
            hint="a path, a lake at s3://bucket/prefix, or a database at postgresql://",
        )
    path = Path(address)
    return LakeSource(FolderDays(path)) if path.is_dir() else StoreFile(path, lock_timeout_sec)


def _database(address: str, wait_sec: float, read_from: str) -> Source:
    try:
        # Only here: most stores are files.
        from barfeed.history.reading.database import DatabaseSource  # noqa: PLC0415
    except ImportError as missing:
        raise UsageError(
            f"a database needs a library that is not installed: {missing.name}", hint="pip install 'barfeed[postgres]'"
        ) from None
    standby = checked("read_from", read_from) if read_from else ""
    return DatabaseSource(checked("the address", address), wait_sec, standby)


def _series(symbols: tuple[str, ...], interval: str) -> tuple[tuple[str, ...], Interval]:
    """Both as they are stored; `UsageError` for what is none."""
    if not symbols:
        raise UsageError("no symbol was named", hint="a symbol like 'BTCUSDT', or a list of them")
    named = [Series.of(each, interval) for each in symbols]
    return tuple(dict.fromkeys(each.symbol for each in named)), named[0].interval


def _expect_step(every_ms: int, interval: Interval) -> None:
    if every_ms <= 0 or every_ms % interval.ms:
        raise UsageError(f"every_ms {every_ms} is not a multiple of {interval}, {interval.ms}")


def _about(symbol: str | None, interval: str | None) -> tuple[str | None, str | None]:
    """What rows are kept for, either as it is stored."""
    series = Series.of(symbol or "ANY", interval or "1h")
    return symbol and series.symbol, interval and str(series.interval)


def _bounds(start: Moment | None, end: Moment | None, as_of: Moment | None) -> list[int | None]:
    start_ms, end_ms, as_of_ms = (None if each is None else ms_of(each) for each in (start, end, as_of))
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise UsageError(
            f"start {grid.text(start_ms)} must be before end {grid.text(end_ms)}",
            hint="the first is included, the second not",
        )
    return [start_ms, end_ms, as_of_ms]


@contextmanager
def _told_in_python() -> Iterator[None]:
    """An error's hint stands below its traceback, and names what is a flag on the command line as it is called here."""
    try:
        yield
    except BarfeedError as problem:
        if problem.hint != problem.default_hint:
            for flag, here in _FLAGS.items():
                problem.hint = problem.hint.replace(flag, here)
            note = f"hint: {problem.hint}"
            # One call of ours may go through another.
            if note not in getattr(problem, "__notes__", ()):
                problem.add_note(note)
        raise
