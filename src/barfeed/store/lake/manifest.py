"""What a lake says of itself: `_manifest.json`, from which the next pass sees what is to be written. Pure.

A lake's table is `kind=ohlcv/interval=1h/`; below it stands one file a part, a UTC day of bars:
`date=2026-11-26/bars.parquet`.
"""

import msgspec

from barfeed import __version__
from barfeed.domain.errors import LakeUnusable
from barfeed.store.lake.table import AnyTable

NAME = "_manifest.json"
# Raised when a key changes its meaning, when a column of the files does.
MANIFEST_VERSION = 1
SCHEMA_VERSION = 1


class Stamp(msgspec.Struct, frozen=True):
    """What tells one version of a part from the next: it is written again where the store's is another.

    `created_at` is the newest of its rows, NULL where none has any; `revisions` how often one of them was changed.
    """

    rows: int
    created_at: str | None
    revisions: int


class File(msgspec.Struct, frozen=True):
    """A part's file: its bytes, the first and the last timestamp in it, and of which version of the part it is."""

    rows: int
    first: str
    last: str
    bytes: int
    sha256: str
    created_at: str | None
    revisions: int
    schema_version: int = SCHEMA_VERSION

    @property
    def stamp(self) -> Stamp:
        """Of which version of the part it is."""
        return Stamp(self.rows, self.created_at, self.revisions)


class Mark(msgspec.Struct, frozen=True):
    """How far a table of the store was written: its rows, and the newest of them, with DuckDB's own number of it."""

    rows: int
    rowid: int
    symbol: str
    timestamp: str
    created_at: str | None


class Manifest(msgspec.Struct, frozen=True):
    """A lake's table: its files by part, up to where the store was looked through, and the parts that are still due."""

    kind: str
    interval: str
    files: dict[str, File] = {}
    marks: dict[str, Mark] = {}
    due: list[str] = []
    columns: dict[str, str] = {}
    barfeed: str = __version__
    manifest_version: int = MANIFEST_VERSION

    def revisions_of(self, date: str) -> int:
        """How often rows of a day had been changed when it was written."""
        return self.files[date].revisions if date in self.files else 0

    @property
    def rows(self) -> int:
        """How many rows its files hold."""
        return sum(file.rows for file in self.files.values())


def empty(table: AnyTable) -> Manifest:
    """That of a table of which nothing is written yet."""
    return Manifest(table.kind_name, table.interval_name, columns=table.columns)


def encoded(manifest: Manifest, table: AnyTable) -> bytes:
    """The manifest as JSON, a line a file: people look at it, too. Each stands under its path."""
    told = msgspec.to_builtins(manifest)
    told["files"] = {table.file_name(part): told["files"][part] for part in sorted(manifest.files)}
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


def decoded(content: bytes, where: str, table: AnyTable) -> Manifest:
    """The manifest of a lake's table; `LakeUnusable`, with `where` it stands, for what is none of this table's."""
    try:
        told = msgspec.json.decode(content, type=_Written)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise LakeUnusable(f"{where} is no manifest of a lake: {_begins(content)}", hint=_anew(where)) from None
    if told.manifest_version > MANIFEST_VERSION:
        raise LakeUnusable(
            f"{where} was written by a newer barfeed, {told.barfeed}: manifest version {told.manifest_version}",
            hint="upgrade barfeed: pip install --upgrade barfeed",
        )
    wanted = (table.kind_name, table.interval_name)
    if (told.kind, told.interval) != wanted:
        raise LakeUnusable(
            f"{where} is of kind {told.kind!r}, interval {told.interval!r}, expected {wanted[0]!r}, {wanted[1]!r}",
            hint="the folder was moved or copied: put it back, or point --lake at an empty one",
        )
    files = {_part(name, where, table): file for name, file in told.files.items()}
    due = [part for part in told.due if table.part_of(table.partition(part))]
    return Manifest(*wanted, files, told.marks, due, table.columns)


class _Written(msgspec.Struct):
    """As it stands in the file: each by its path."""

    manifest_version: int
    kind: str
    interval: str
    files: dict[str, File]
    marks: dict[str, Mark]
    due: list[str]
    barfeed: str = ""


def _part(name: str, where: str, table: AnyTable) -> str:
    part = table.part_of(name.partition("/")[0])
    if part is None or name != table.file_name(part):
        raise LakeUnusable(f"{where} names a file that is none of a lake's: {name[:80]!r}", hint=_anew(where))
    return part


def _begins(content: bytes) -> str:
    return f"it begins {content[:40]!r}" if content else "it is empty"


def _anew(where: str) -> str:
    folder = where.rpartition("/")[0]
    return f"if the lake is this store's, take {folder} away: the next pass writes it anew; else point --lake elsewhere"
