"""A lazy table: what is stored is read anew by each call that needs it, and held no longer than that."""

# ruff: noqa: S608 - made around a query of ours

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from barfeed.domain.errors import BarfeedError, LakeUnusable, UsageError
from barfeed.store.duckdb import Session

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars
    import pyarrow

Row = TypeVar("Row", bound=tuple[Any, ...])
Answer = TypeVar("Answer")

_SHOWN = 5
# A lake's newest day is replaced with each pass: hardly ever twice while one asks.
_LOOKS = 3
_NUMPY_TYPES = {"VARCHAR": "O", "TIMESTAMP": "datetime64[us]", "DOUBLE": "f8", "BIGINT": "i8"}


class Asked(NamedTuple):
    """How what is stored is opened, the query to put once it is, and what messages call the answer."""

    session: Callable[[], AbstractContextManager[Session]]
    query: Callable[[Session], str]
    name: str


class Table(Generic[Row]):
    """Rows of what is stored, read by whichever call needs them, in one look at the store.

    `timestamp` and every other moment is UTC without a zone, to the microsecond; a number is the very double that is
    stored. Every call may raise `StoreUnusable`, as where another process has the file for longer than was to be
    waited, `StoreEmpty` where nothing is stored of what was asked for, and `LakeUnusable` where a lake cannot be read.
    """

    def __init__(self, asked: Asked, row: type[Row]) -> None:
        self._asked = asked
        self._row = row

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in their order."""
        names: Sequence[str] = self._row._fields  # type: ignore[attr-defined]  # of a NamedTuple, which is no type
        return list(names)

    def to_polars(self) -> "polars.DataFrame":
        """As a Polars DataFrame, without a copy where Arrow allows; moments as `Datetime("us")`."""
        made: polars.DataFrame = self._made("polars", lambda polars, relation: polars.DataFrame(relation))
        return made

    def to_pandas(self) -> "pandas.DataFrame":
        """As a pandas DataFrame with a plain index; moments as `datetime64[us]`."""
        return self._made("pandas", lambda _, relation: relation.df())

    def to_arrow(self) -> "pyarrow.Table":
        """As a pyarrow Table; moments as `timestamp[us]`."""
        return self._made("pyarrow", lambda _, relation: relation.to_arrow_table())

    def to_numpy(self) -> "numpy.ndarray[Any, Any]":
        """As a structured array of shape `(rows,)`, a field a column: moments as `datetime64[us]`, texts as objects."""
        made: numpy.ndarray[Any, Any] = self._made("numpy", _structured)
        return made

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For every library that takes Arrow as it is: needs pyarrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[Row]:
        rows = self._look(lambda connection: connection.sql(self._asked.query(connection)).fetchall())
        return map(self._row._make, rows)  # type: ignore[attr-defined]  # as above

    def __len__(self) -> int:
        return self._look(lambda connection: _length(connection, self._asked.query(connection)))

    def __repr__(self) -> str:
        try:
            return self._look(self._shown)
        except BarfeedError as problem:
            return f"{self._asked.name}: {problem}"

    def _made(self, library: str, make: Callable[[Any, Any], Any]) -> Any:
        module = _imported(library)
        return self._look(lambda connection: make(module, connection.sql(self._asked.query(connection))))

    def _look(self, read: Callable[[Session], Answer]) -> Answer:
        return looked(self._asked.session, read)

    def _shown(self, connection: Session) -> str:
        query = self._asked.query(connection)
        rows = _length(connection, query)
        head = connection.sql(f"FROM ({query}) LIMIT {_SHOWN}").fetchall()
        tail = connection.sql(f"FROM ({query}) LIMIT {_SHOWN} OFFSET {max(_SHOWN, rows - _SHOWN)}").fetchall()
        cells = [[_text(each) for each in row] for row in (*head, *tail)]
        if rows > len(cells):
            cells.insert(_SHOWN, ["..."] * len(self.columns))
        return "\n".join([f"{self._asked.name}: {rows:,} rows", *_aligned([self.columns, *cells])])


def looked(session: Callable[[], AbstractContextManager[Session]], read: Callable[[Session], Answer]) -> Answer:
    """What `read` makes of one look at what is stored; of another one where a lake's day was replaced meanwhile."""
    for _ in range(_LOOKS - 1):
        try:
            with session() as connection:
                return read(connection)
        except LakeUnusable as problem:
            if not problem.is_torn:
                raise
    with session() as connection:
        return read(connection)


def _length(connection: Session, query: str) -> int:
    [(rows,)] = connection.sql(f"SELECT count(*) FROM ({query})").fetchall()
    return int(rows)


def _structured(numpy: Any, relation: Any) -> Any:
    columns = relation.fetchnumpy()
    types = [(name, _NUMPY_TYPES[str(kind)]) for name, kind in zip(relation.columns, relation.types, strict=True)]
    made = numpy.empty(len(columns[relation.columns[0]]), dtype=types)
    for name, values in columns.items():
        # NULLs come under a mask.
        made[name] = values.filled(_nothing(values)) if hasattr(values, "mask") else values
    return made


def _nothing(values: Any) -> object:
    return {"f": float("nan"), "M": "NaT"}.get(values.dtype.kind)


def _imported(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"this needs a library that is not installed: {missing.name}", hint=f"pip install {library}"
        ) from None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(each.rjust(width) for each, width in zip(row, widths, strict=True)) for row in cells]
