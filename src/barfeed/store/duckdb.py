"""The append-only bar store: one table per series in whatever DuckDB can attach.

The file is attached late and let go early, so that a reader is never kept waiting for the
exchange. Between two uses only an empty in-memory DuckDB stays open, which makes the next use cheap.
"""

import logging
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.machine import signals
from barfeed.machine.atomic import new_file, sweep
from barfeed.machine.clock import Clock
from barfeed.store.own import catalog, shape
from barfeed.store.place import Place, in_market, own
from barfeed.store.troubles import disk
from barfeed.store.troubles.file import unusable

# A file made so can be read by DuckDB 1.1: users' own tools may be older. Only for a new file: the
# version of an existing one cannot be lowered, and asking for it is an error.
NEW_FILE = "STORAGE_VERSION 'v1.0.0'"
EXISTING_FILE = "READ_WRITE"

# Of each file that was attached and detached DuckDB keeps some hundred bytes, until all of it is let go.
_ATTACHED_TIMES_MAX = 200
_FIRST_LOCK_PAUSE_SEC = 0.01
_LONGEST_LOCK_PAUSE_SEC = 0.25

# A NULL would not be a float: as NaN it is one that the rules refuse.
_SELECT = """
SELECT epoch_ms(timestamp), coalesce(open, 'NaN'), coalesce(high, 'NaN'), coalesce(low, 'NaN'),
       coalesce(close, 'NaN'), coalesce(volume, 'NaN')
FROM {table} WHERE timestamp >= make_timestamp_ms(?) ORDER BY timestamp
"""
# One statement with one list a column: a statement a row takes a thousand times as long.
_BARS = """
SELECT make_timestamp_ms(open_time_ms) AS timestamp, open, high, low, close, volume
FROM (SELECT unnest(?::BIGINT[]) AS open_time_ms, unnest(?::DOUBLE[]) AS open, unnest(?::DOUBLE[]) AS high,
             unnest(?::DOUBLE[]) AS low, unnest(?::DOUBLE[]) AS close, unnest(?::DOUBLE[]) AS volume)
"""
_NEW = f"SELECT * FROM ({_BARS}) ANTI JOIN {{table}} USING (timestamp)"  # noqa: S608 - of our own names only
_ONCE = " ON CONFLICT ({key}) DO NOTHING RETURNING epoch_ms(timestamp)"
_COVERAGE = "SELECT count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {table}"

# Where the defaults and CHECKs of a user's own table find its sequences, types and macros; none is taken for ours.
_NAMES = "SET search_path = 'memory.main,system.main,store.main'"

# A connection with the file attached as `store`, as others name it.
Session = duckdb.DuckDBPyConnection

_log = logging.getLogger(__name__)


class Coverage(NamedTuple):
    """What a table holds: how many rows, and its first and last open_time in ms; None where empty."""

    rows: int
    first_ms: int | None
    last_ms: int | None

    def grown_by(self, appended: Sequence[Bar]) -> "Coverage":
        """What it holds with these bars, ascending, at its end."""
        if not appended:
            return self
        first_ms = appended[0].open_time_ms if self.first_ms is None else self.first_ms
        return Coverage(self.rows + len(appended), first_ms, appended[-1].open_time_ms)


class Table:
    """One series' bars while the store is open: a table of their own, or those of its symbol in a market's."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, series: Series, *, exists: bool, place: Place | None = None
    ) -> None:
        self._connection = connection
        self._series = series
        self.place = place or own(series)
        self.exists = exists
        self._may_refuse = exists and catalog.may_refuse(connection, series.table)

    def coverage(self) -> Coverage:
        """From the table's own statistics: costs the same however large it is."""
        if not self.exists:
            return Coverage(0, None, None)
        coverage = Coverage(*self._query(_COVERAGE)[0])
        if coverage.rows and (coverage.first_ms is None or coverage.last_ms is None):
            raise StoreUnusable(
                f"{self.place.table} holds a timestamp that is no moment: NULL or infinity",
                hint="take that row out: it is no bar of any exchange",
            )
        return coverage

    def bars(self, from_ms: int) -> list[Bar]:
        """The bars that open at `from_ms` (ms) or later, ascending; a stored NULL comes as NaN."""
        if not self.exists:
            return []
        return [Bar(*row) for row in self._query(_SELECT, [from_ms])]

    def append(self, bars: Sequence[Bar]) -> int:
        """Insert those of `bars` whose open_time is not there yet; how many were."""
        if not self.exists:
            self._connection.execute(self.place.creating())
            self.exists = True
        self._expect(_NEW.format(table=self.place.rows), bars)
        insert = self.place.inserting(_BARS) + _ONCE.format(key=self.place.key)
        return len(self._query(insert, [list(column) for column in zip(*bars, strict=True)])) if bars else 0

    def would_take(self, bars: Sequence[Bar]) -> int:
        """How many of `bars` can be stored: all; `StoreUnusable` where a constraint of the table's own refuses one."""
        self._expect(_BARS, bars)
        return len(bars)

    def _expect(self, select: str, bars: Sequence[Bar]) -> None:
        if bars and self._may_refuse:
            lists = [list(column) for column in zip(*bars, strict=True)]
            shape.refuse(self._connection, self._series.table, select, lists)

    def would_take_opens(self, spans: Sequence[Gap]) -> None:
        """Return where nothing is known that keeps bars in `spans` from being stored; raises `StoreUnusable`."""
        if spans and self._may_refuse:
            shape.refuse_opens(self._connection, self._series.table, spans, self._series.interval.ms)

    def refusal_of_next(self) -> shape.BarRefused | None:
        """Why the table will not take the bar after its newest, as far as that is known before it is there."""
        if not self._may_refuse:
            return None
        return shape.refusal_of_next(self._connection, self._series.table, self._series.interval.ms)

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.format(table=self.place.rows), list(values)).fetchall()


class Store:
    """A DuckDB file that holds one append-only table per series.

    Everything raises `StoreUnusable`, and nothing else, for what is wrong with the file.
    """

    def __init__(self, path: Path, clock: Clock, lock_timeout_sec: float) -> None:
        # Absolute, so that no name is taken for another database's address ("postgres:...").
        with _translated(path):
            self.path = path.absolute()
        self._clock = clock
        self._lock_timeout_sec = lock_timeout_sec
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._attached_times = 0

    @contextmanager
    def reading(self, series: Series) -> Iterator[Table]:
        """The table, read-only: not a byte of the file changes, and a missing file stays missing."""
        if not self.exists():
            yield Table(self._memory(), series, exists=False)
            return
        with self.looking() as connection:
            yield self.table(connection, series)

    @contextmanager
    def appending(self, series: Series, *, create: bool) -> Iterator[Table]:
        """The table in one transaction: committed at the end, rolled back by any exception.

        A missing file is made only with `create`; without, there is an empty table to look at.
        """
        self._let_go_if_worn()
        if not (create or self.exists()):
            yield Table(self._memory(), series, exists=False)
            return
        with self.session(write=True) as connection:
            table = self.table(connection, series)
            with transaction(connection):
                yield table

    @contextmanager
    def session(self, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """The file attached as `store`, for work on whole tables; with `write` it is made if it is missing."""
        if not write:
            with self._attached("READ_ONLY") as connection:
                yield connection
            return
        with _translated(self.path):
            while not self.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._make()
                _log.info("%s is a new store", self.path)
            if self.path.stat().st_nlink > 1:
                # Who made it was killed before it let go of the other name.
                sweep(self.path)
        with self._attached(EXISTING_FILE) as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session to read in, for whoever keeps nothing beside it."""
        self._let_go_if_worn()
        with self.session(write=False) as connection:
            yield connection

    def beside(self) -> duckdb.DuckDBPyConnection:
        """The connection of every session, while no file is attached to it: what is staged there outlasts them."""
        return self._memory()

    def another(self) -> "Store":
        """The same file, by a DuckDB of its own."""
        return Store(self.path, self._clock, self._lock_timeout_sec)

    def exists(self) -> bool:
        """Whether there is a file; `StoreUnusable` where its name is another thing's, or leads nowhere."""
        with _translated(self.path):
            try:
                mode = self.path.stat().st_mode
            except FileNotFoundError:
                _refuse_lost_link(self.path)
                return False
        # A pipe would be waited at for ever, a device be written to.
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise StoreUnusable(f"{self.path} is {what}, expected a DuckDB file", hint="point --duckdb at a file")
        return True

    def expect_file(self) -> None:
        """Return where there is a file; `StoreUnusable` where there is none, for those who only look."""
        if not self.exists():
            raise StoreUnusable(f"{self.path} does not exist", hint="point --duckdb at the store")

    def _make(self) -> None:
        """A new file under its name; killed before it is whole, there is none that later calls would stumble over."""
        with new_file(self.path) as unfinished:
            self._detach(self._attach(unfinished, NEW_FILE))

    def table(self, connection: duckdb.DuckDBPyConnection, series: Series) -> Table:
        """The series' table in a session; `StoreUnusable` where it has another shape."""
        table, trouble = self.readable(connection, series)
        if trouble:
            raise trouble
        return table

    def refusal(self, table: Table) -> StoreUnusable | None:
        """Why a table of the right shape will not take the next bar, as far as that is known before it is there."""
        refused = table.refusal_of_next()
        return _refused(self.path, refused) if refused else None

    def readable(self, connection: duckdb.DuckDBPyConnection, series: Series) -> tuple[Table, StoreUnusable | None]:
        """The series' table to look at, though no bar can be appended: then with the reason.

        Raises `StoreUnusable` where its rows cannot even be read as bars.
        """
        seen = shape.look(connection, series.table)
        # A view is no table of its own: what it shows may well be what the market's table has.
        place = in_market(connection, series) if seen is None or seen.is_view else None
        table = Table(connection, series, exists=seen is not None or place is not None, place=place)
        if seen is None or place or not seen.wrong:
            return table, None
        said = f"{self.path}: table {seen.table} has another shape: {seen.wrong}"
        trouble = StoreUnusable(said, hint=seen.remedy)
        if seen.mistyped:
            raise trouble
        return table, trouble

    @contextmanager
    def _attached(self, options: str) -> Iterator[duckdb.DuckDBPyConnection]:
        with _translated(self.path):
            connection = self._attach(self.path, options)
            try:
                yield connection
            finally:
                self._detach(connection)

    def _attach(self, path: Path, options: str) -> duckdb.DuckDBPyConnection:
        statement = _attach_statement(path, options)
        connection = self._memory()
        end_sec = self._clock.steady_sec() + self._lock_timeout_sec
        pause_sec = _FIRST_LOCK_PAUSE_SEC
        while True:
            try:
                connection.execute(statement)
            except duckdb.IOException as problem:
                if not disk.is_held(problem) or self._clock.steady_sec() >= end_sec:
                    raise
                _log.debug("%s is locked by another process; waiting", self.path)
                self._clock.sleep(pause_sec)
                pause_sec = min(2 * pause_sec, _LONGEST_LOCK_PAUSE_SEC)
            except RuntimeError as problem:
                if _is_interrupted(problem):
                    raise
                # How a file name that is no UTF-8 comes back from DuckDB.
                raise unusable(self.path, problem) from problem
            else:
                connection.execute(_NAMES)
                return connection

    def _memory(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = in_memory()
        return self._connection

    def _detach(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._attached_times += 1
        try:
            # Named by it, a store that is let go would be missed by every function.
            connection.execute("RESET search_path")
            connection.execute("DETACH store")
        except duckdb.Error:
            # A database that broke while open cannot be let go by itself: let go of all of it.
            self._let_go()

    def _let_go_if_worn(self) -> None:
        # Not after each session: a backfill keeps what it has staged in the memory of its connection.
        if self._attached_times >= _ATTACHED_TIMES_MAX:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._attached_times = None, 0


def _attach_statement(path: Path, options: str) -> str:
    quoted = str(path).replace("'", "''")
    return f"ATTACH '{quoted}' AS store (TYPE duckdb, {options})"


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end; roll back for any exception.

    Look for tables before: asking for one that is not there breaks a transaction.
    """
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After a failed COMMIT there is nothing left to roll back.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def in_memory() -> duckdb.DuckDBPyConnection:
    """A DuckDB with no file."""
    # With more threads than one the main thread may wait inside DuckDB for the others, where no signal reaches it.
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"})
    # CURRENT_TIMESTAMP becomes a TIMESTAMP in the session's zone, which is the machine's unless told.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    # It would be drawn into a command's own output; a notebook without ipywidgets has none, not even to switch off.
    with suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def heard() -> Iterator[None]:
    """A signal while DuckDB works is what its handler raised, not what DuckDB made of that."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as problem:
        if _is_interrupted(problem):
            raise signals.asked() from None
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with heard():
            yield
    except shape.BarRefused as problem:
        raise _refused(path, problem) from problem
    except (duckdb.Error, OSError) as problem:
        raise unusable(path, problem) from problem


def _refused(path: Path, refused: shape.BarRefused) -> StoreUnusable:
    return StoreUnusable(f"{path}: {refused}", hint=refused.hint)


def _refuse_lost_link(path: Path) -> None:
    # To start anew would be to forget the history that the link was made for.
    if path.is_symlink():
        raise StoreUnusable(
            f"{path} is a link to {str(path.readlink())!r}, which is not there",
            hint="mount the disk that it is on, or take the link away",
        )


def _is_interrupted(problem: BaseException) -> bool:
    # What DuckDB makes of whatever a signal's handler raises while it works.
    return isinstance(problem, duckdb.InterruptException) or str(problem) == "Query interrupted"
