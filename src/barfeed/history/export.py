"""A span of the store as one CSV or Parquet file: whole or absent, written by DuckDB itself."""

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from barfeed.artifacts.writing import plain
from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.errors import ArtifactsUnusable, StoreEmpty, StoreUnusable, UsageError
from barfeed.history.reading.span import relation
from barfeed.history.reading.wide import Beside, table_of
from barfeed.machine.atomic import Unflushed, whole_file
from barfeed.store.duckdb import Session
from barfeed.store.place import Span
from barfeed.store.port.whole import WholeHistory
from barfeed.store.troubles.file import refusal

# How DuckDB is to write each; no second temporary file of its own beside ours.
FORMATS = {
    ".csv": "FORMAT csv, HEADER, DELIMITER ',', USE_TMP_FILE false",
    ".csv.gz": "FORMAT csv, HEADER, DELIMITER ',', COMPRESSION gzip, USE_TMP_FILE false",
    ".parquet": "FORMAT parquet, USE_TMP_FILE false",
}
_ROWS_AT_ONCE = 10_000

_Value = TypeVar("_Value")

_COUNT = """
SELECT count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)), count(*) FILTER (apart > {step_ms}),
       count(*) FILTER (NOT is_known)
FROM (SELECT timestamp, epoch_ms(timestamp) - epoch_ms(lag(timestamp) OVER (ORDER BY timestamp)) AS apart, is_known
      FROM {span})
"""


class Wanted(NamedTuple):
    """What to export: bars that open in `[from_ms, to_ms)`, as the table stood at the moment `as_of_ms`.

    In ms since 1970-01-01 UTC; None is without bound, or now. With `plain_decimals` no number of a CSV has an exponent.
    `kinds` stand beside the bars, as the wide table has them; None where the bars are meant alone.
    """

    series: Series
    from_ms: int | None = None
    to_ms: int | None = None
    as_of_ms: int | None = None
    plain_decimals: bool = False
    kinds: Beside = None


class Exported(NamedTuple):
    """What was exported: its bars, first and last open_time in ms, and in how many places bars are missing between.

    `unknown` is of how many it is not stored when they were appended: told only of an export as of a moment. `absent`
    are the kinds that were asked for, and nothing is stored of.
    """

    file: Path
    bars: int
    first_ms: int
    last_ms: int
    gaps: int
    unknown: int | None = None
    absent: tuple[str, ...] = ()


def export(store: WholeHistory, wanted: Wanted, path: Path) -> Exported:
    """Write the bars to `path`, ascending; a file that is there is replaced in one step.

    Raises `UsageError` for a name or a span that cannot be one, `StoreEmpty` where there is no such bar,
    `StoreUnusable`, and `ArtifactsUnusable` where `path` cannot be written. Then `path` is what it was, but where the
    message says that it stands whole.
    """
    check_name(path, plain_decimals=wanted.plain_decimals)
    check_span(wanted.from_ms, wanted.to_ms)
    store.expect_there()
    return written(path, lambda target: _copied(store, wanted, target), plain_decimals=wanted.plain_decimals)


class Target(NamedTuple):
    """A file that is to be written: its name, the one it has until it is whole, and whether numbers are plain in it."""

    path: Path
    unfinished: Path
    plain_decimals: bool

    def write(self, connection: Session, rows: str, columns: Sequence[str]) -> None:
        """Write a relation's `columns`, sorted by those up to `timestamp`."""
        key = columns[: columns.index("timestamp") + 1]
        ordered = f"FROM {rows} ORDER BY {', '.join(key)}"
        if self.plain_decimals:
            _write_plainly(connection, ordered, columns, self)
        else:
            told = f"SELECT {', '.join(columns)} {ordered}"
            connection.execute(f"COPY ({told}) TO {_quoted(self.unfinished)} ({_format(self.path)})")


def written(path: Path, write: Callable[[Target], _Value], *, plain_decimals: bool) -> _Value:
    """What `write` makes of a target that becomes `path` once it is whole; raises as `export` does."""
    try:
        with whole_file(path) as unfinished, _told_of(path, unfinished):
            return write(Target(path, unfinished, plain_decimals))
    except Unflushed as problem:
        said = f"{path} stands whole, but its folder cannot be flushed to the disk: {problem.strerror}"
        raise ArtifactsUnusable(said, hint="the file is good; see to the disk: a power cut may take it") from problem
    except OSError as problem:
        raise _unwritable(path, problem.strerror or str(problem)) from problem


def _copied(store: WholeHistory, wanted: Wanted, target: Target) -> Exported:
    span = Span((wanted.series.symbol,), wanted.series.interval, wanted.from_ms, wanted.to_ms, wanted.as_of_ms)
    with store.looking_at_one(span, wanted.kinds) as connection:
        if not store.table(connection, wanted.series).exists:
            raise _empty(store, wanted)
        count = _COUNT.format(span=relation(connection, span), step_ms=wanted.series.interval.ms)
        exported = Exported(target.path, *(connection.execute(count).fetchone() or (0, 0, 0, 0)))
        if not exported.bars:
            raise _empty(store, wanted)
        table = table_of(connection, span, wanted.kinds, store.name)
        target.write(connection, table.relation, ("timestamp", *table.values))
        unknown = exported.unknown if wanted.as_of_ms is not None else None
        return exported._replace(unknown=unknown, absent=table.absent)


@contextmanager
def _told_of(path: Path, unfinished: Path) -> Iterator[None]:
    try:
        yield
    except StoreUnusable as problem:
        # DuckDB tells of the disk that it reads and of the one that it writes in the same words.
        if unfinished.name in str(problem.__cause__):
            raise _unwritable(
                path, refusal(problem.__cause__) or f"DuckDB failed ({type(problem.__cause__).__name__})"
            ) from problem
        raise


def _write_plainly(connection: Session, ordered: str, columns: Sequence[str], target: Target) -> None:
    # DuckDB writes every double as it likes to.
    texts = columns.index("timestamp") + 1
    told = [f"{name}::VARCHAR" for name in columns[:texts]] + list(columns[texts:])
    rows = connection.execute(f"SELECT {', '.join(told)} {ordered}")
    opened = gzip.open if target.path.name.lower().endswith(".gz") else open
    with opened(target.unfinished, "wt", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        while some := rows.fetchmany(_ROWS_AT_ONCE):
            lines.writerows(
                (*row[:texts], *(None if each is None else plain(each) for each in row[texts:])) for row in some
            )


def check_name(path: Path, *, plain_decimals: bool) -> None:
    """Return for a name that tells a format; `UsageError` for another, and where plain decimals mean nothing in it."""
    _format(path)
    if plain_decimals and path.name.lower().endswith(".parquet"):
        raise UsageError(f"--plain-decimals is of no use for {path}: Parquet holds the doubles themselves")


def _format(path: Path) -> str:
    suffix = next((each for each in FORMATS if path.name.lower().endswith(each) and path.name.lower() != each), None)
    if suffix is None:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    return FORMATS[suffix]


def check_span(from_ms: int | None, to_ms: int | None) -> None:
    """Return for a span that can hold a bar; `UsageError` for one that ends before it begins."""
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise UsageError(
            f"--from {grid.text(from_ms)} must be before --to {grid.text(to_ms)}: the first is included, the second not"
        )


def _empty(store: WholeHistory, wanted: Wanted) -> StoreEmpty:
    return no_bar(store, str(wanted.series), wanted.from_ms, wanted.to_ms, wanted.as_of_ms)


def no_bar(store: WholeHistory, whose: str, from_ms: int | None, to_ms: int | None, as_of_ms: int | None) -> StoreEmpty:
    """What there is to say where nothing is to be written."""
    from_, to = (None if ms is None else grid.text(ms) for ms in (from_ms, to_ms))
    span = "" if from_ is None and to is None else f" from {from_ or 'its beginning'} to before {to or 'its end'}"
    as_of = "" if as_of_ms is None else f" as of {grid.text(as_of_ms)}"
    return StoreEmpty(f"{whose}: {store.name} holds no bar{span}{as_of}; nothing was written")


def _unwritable(path: Path, said: str) -> ArtifactsUnusable:
    return ArtifactsUnusable(
        f"{path} cannot be written: {said}",
        hint="check that its folder is there and yours to write to, and that the disk is not full",
    )


def _quoted(path: Path) -> str:
    return "'" + str(path.absolute()).replace("'", "''") + "'"
