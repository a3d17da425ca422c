"""What stands in for a store that is out of reach: the windows last given to the models, which it had proven."""

# ruff: noqa: ARG002 - the port's

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.atomic import open_regular
from barfeed.store.duckdb import Session, Table, heard, in_memory
from barfeed.store.market import MarketTable
from barfeed.store.place import NO_BARS, Place, SymbolBars, as_if_stored
from barfeed.store.revisions import Why

if TYPE_CHECKING:
    from barfeed.store.lake.contents.origin import Origin
    from barfeed.store.port.kinds import KeptKinds

_OF_MARKET, _OF_SERIES = "latest_for_inference.parquet", "latest_for_inference.csv"
_READ_PARQUET = f"""
SELECT symbol, timestamp::TIMESTAMP AS timestamp, {", ".join(f"{name}::DOUBLE AS {name}" for name in VALUE_COLUMNS)}
FROM read_parquet('{{path}}')
"""  # noqa: S608 - of our own names only
_READ_CSV = f"""
FROM read_csv('{{path}}', header = true, auto_detect = false,
              columns = {{{{'timestamp': 'TIMESTAMP', {", ".join(f"'{name}': 'DOUBLE'" for name in VALUE_COLUMNS)}}}}})
"""
_COPY = "memory.main.last_windows"


class LastWindows:
    """The last windows in a feed's folder, to look at: nothing is appended to them."""

    file = None

    def __init__(self, folder: Path, name: str, beside: Session, away: StoreUnusable) -> None:
        """`away` is why the store is not asked; raised where nothing stands in for it."""
        self.name = name
        self._folder = folder
        self._beside = beside
        self._away = away

    @property
    def origin(self) -> "Origin":
        """Not now."""
        raise self._away

    @property
    def kinds(self) -> "KeptKinds":
        """Not now."""
        raise self._away

    def stand_in(self, folder: Path, away: StoreUnusable) -> "LastWindows":
        """Nothing else does."""
        raise away

    def beside(self) -> Session:
        """That of the store."""
        return self._beside

    @contextmanager
    def reading(self, series: Series) -> Iterator[Table]:
        """One series, as it was last given."""
        yield Table(self._of_series, series, exists=True, place=Place(_COPY))

    @contextmanager
    def appending(self, series: Series, *, create: bool) -> Iterator[Table]:
        """Not now."""
        raise self._away
        yield

    @contextmanager
    def revising(
        self,
        series: Series,
        changes: Sequence[Change],
        why: Why,
        *,
        dry_run: bool,
    ) -> Iterator[Table]:
        """Not now."""
        raise self._away
        yield

    def let_pass(self, series: Series) -> list[Bar]:
        """Whether anything was, only the store knows."""
        return []

    @contextmanager
    def reading_market(self, interval: Interval, pending: SymbolBars = NO_BARS) -> Iterator[MarketTable]:
        """A market, as it was last given, and what is `pending`."""
        table = MarketTable(self._of_market, interval, is_new=True)
        table.relation, table.exists = _COPY, True
        if not pending:
            yield table
            return
        with as_if_stored(table.connection, _COPY, pending) as table.relation:
            yield table

    @contextmanager
    def writing_market(self, interval: Interval) -> Iterator[MarketTable]:
        """Not now."""
        raise self._away
        yield

    @cached_property
    def _of_series(self) -> Session:
        return self._copied(_OF_SERIES, _READ_CSV)

    @cached_property
    def _of_market(self) -> Session:
        return self._copied(_OF_MARKET, _READ_PARQUET)

    def _copied(self, name: str, read: str) -> Session:
        """A DuckDB that has the rows of that file as they are now: another feed may replace it between two looks."""
        path = self._folder / name
        try:
            _expect_whole(path)
            connection = in_memory()
            with heard():
                quoted = str(path.absolute()).replace("'", "''")
                connection.execute(f"CREATE TABLE {_COPY} AS {read.format(path=quoted)}")
                has_rows = connection.execute(f"FROM {_COPY} LIMIT 1").fetchone() is not None
        except FileNotFoundError:
            raise self._away from None
        except (duckdb.Error, OSError, UnicodeError) as problem:
            raise self._unfit(path) from problem
        if not has_rows:
            raise self._unfit(path)
        return connection

    def _unfit(self, path: Path) -> StoreUnusable:
        said = f"{self._away}, and {path}, which would stand in for it, is cut or none of barfeed's"
        return StoreUnusable(said, hint=self._away.hint, is_held=self._away.is_held, is_away=True)


def _expect_whole(path: Path) -> None:
    """Return for a file whose last row is whole; `OSError` where there is none to look at."""
    with open_regular(path) as file:
        is_cut = path.suffix == ".csv" and not file.read().endswith(b"\n")
    if is_cut:
        raise OSError(f"{path} ends in the middle of a row")
