"""What stands in for a store that is out of reach: the windows last given to the models, which it had proven."""

# ruff: noqa: ARG002 - the port's

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.store.duckdb import Session, Table
from barfeed.store.market import MarketTable
from barfeed.store.place import NO_BARS, Place, SymbolBars, as_if_stored
from barfeed.store.revisions import Why

if TYPE_CHECKING:
    from barfeed.store.port.kinds import KeptKinds

_OF_MARKET, _OF_SERIES = "latest_for_inference.parquet", "latest_for_inference.csv"
_READ_CSV = "read_csv('{path}', header = true, auto_detect = false, columns = {{'timestamp': 'TIMESTAMP', {values}}})"


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
        values = ", ".join(f"'{name}': 'DOUBLE'" for name in ("open", "high", "low", "close", "volume"))
        relation = _READ_CSV.format(path=self._path(_OF_SERIES), values=values)
        yield Table(self._beside, series, exists=True, place=Place(relation))

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
        table = MarketTable(self._beside, interval, is_new=True)
        table.relation, table.exists = f"read_parquet('{self._path(_OF_MARKET)}')", True
        if not pending:
            yield table
            return
        with as_if_stored(self._beside, table.relation, pending) as table.relation:
            yield table

    @contextmanager
    def writing_market(self, interval: Interval) -> Iterator[MarketTable]:
        """Not now."""
        raise self._away
        yield

    def _path(self, name: str) -> str:
        """As SQL has it."""
        path = self._folder / name
        if not path.exists():
            raise self._away
        return str(path.absolute()).replace("'", "''")
