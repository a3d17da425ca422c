"""The lake proven: each file by its sum, each row against the store's, and nothing beside that a glob would read."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.domain.rules import Finding
from barfeed.store.duckdb import Store
from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.contents.origin import Origin
from barfeed.store.lake.exporter import sha256_of
from barfeed.store.lake.files import Files
from barfeed.store.lake.lake import Lake, origin_of
from barfeed.store.lake.manifest import File, Manifest
from barfeed.store.lake.table import BARS, AnyTable, Noted, Table

# Whoever writes the lake meanwhile has finished by then.
_LOOKS = 3
_DIFFERENT = """
WITH stored AS (SELECT {columns} FROM {stored}), lake AS (SELECT {columns} FROM read_parquet('{path}')),
differs AS ((FROM stored EXCEPT ALL FROM lake) UNION (FROM lake EXCEPT ALL FROM stored))
SELECT count(DISTINCT ({whose}, {time})), min(({time}, {whose}))[1]::VARCHAR, min(({time}, {whose}))[2]
FROM differs
"""


class Proven(NamedTuple):
    """How many files and rows of a lake were looked at, and what was found."""

    files: int
    rows: int
    findings: list[Finding]


def prove(store: Store | Origin, lake: Lake, interval: Interval, of: Collection[Kind] = ()) -> Proven:
    """Compare the lake's tables of an interval, or those `of` some kinds, with the store; it is let go of between days.

    What was noted beside them is of every interval.

    Raises `LakeUnusable` where there is no lake, `StoreUnusable` where the store cannot be read.
    """
    origin = origin_of(store)
    meant = [each for each in _tables(origin, lake, interval) if not of or each.is_of(of)]
    proven = [_proven(origin, lake.files(table), table) for table in meant]
    findings = [finding for each in proven for finding in each.findings]
    return Proven(sum(each.files for each in proven), sum(each.rows for each in proven), findings)


def _tables(origin: Origin, lake: Lake, interval: Interval) -> list[AnyTable]:
    """Those of the store, and those of the lake: what the one has lost must not go unseen in the other."""
    there = origin.tables(interval)
    kinds = (Table(interval, kind) for kind in KINDS.values() if interval in kind.intervals)
    lost = [each for each in kinds if each not in there and lake.files(each).read(manifests.NAME) is not None]
    return [*there, *lost, *origin.noted()]


def _proven(origin: Origin, files: Files, table: AnyTable) -> Proven:
    for _ in range(_LOOKS):
        content = files.read(manifests.NAME)
        if content is None and isinstance(table, Noted):
            # Of an older barfeed's lake: whatever the store has of it is missing there.
            content = manifests.encoded(manifests.empty(table), table)
        if content is None:
            raise LakeUnusable(
                f"{files.address} is no lake: it holds no {manifests.NAME}",
                hint="the next pass makes it: barfeed run --lake; or point --lake at the lake",
            )
        manifest = manifests.decoded(content, f"{files.address}/{manifests.NAME}", table)
        whose = f"{table.folder}: " if table.kind_name != BARS else ""
        findings = [Finding("lake", None, whose + each) for each in _Proof(origin, files, table, manifest).found()]
        if not findings or files.read(manifests.NAME) == content:
            break
    return Proven(len(manifest.files), manifest.rows, findings)


class _Proof:
    """One look at all of a lake's table."""

    def __init__(self, origin: Origin, files: Files, table: AnyTable, manifest: Manifest) -> None:
        self._origin = origin
        self._files = files
        self._table = table
        self._manifest = manifest

    def found(self) -> Iterator[str]:
        """What is not as it should be, each in words."""
        for day in sorted(self._days() - set(self._manifest.files)):
            yield f"{day}: the store has {self._table.rows} of it, the lake has none"
        for name in sorted(self._files.names() - set(map(self._table.file_name, self._manifest.files))):
            yield f"{name} is not in the manifest: whoever reads the lake reads that, too"
        for day, file in sorted(self._manifest.files.items()):
            name = self._table.file_name(day)
            with self._files.at_hand(name) as path:
                if said := f"{name} is not there" if path is None else self._said_of(day, file, path):
                    yield said

    def _days(self) -> set[str]:
        with self._origin.whole(self._table) as contents:
            return contents.days()

    def _said_of(self, day: str, file: File, path: Path) -> str:
        name = self._table.file_name(day)
        if (path.stat().st_size, sha256_of(path)) != (file.bytes, file.sha256):
            return f"{name} is another file than the manifest tells of: cut, or changed"
        rows, time, whose = self._different(day, path)
        if not rows:
            return ""
        return f"{name}: {rows} {self._table.rows} differ from the store's; first: {whose} {time}"

    def _different(self, day: str, path: Path) -> tuple[int, str, str]:
        """How many rows are others, and the first of them."""
        columns, quoted = ", ".join(self._table.types), str(path).replace("'", "''")
        key_of, time_of = self._table.key
        with self._origin.part(self._table, day) as held:
            relation = held.relation(day)
            different = _DIFFERENT.format(columns=columns, stored=relation, path=quoted, whose=key_of, time=time_of)
            rows, time, whose = held.connection.execute(different).fetchall()[0]
        return rows, time, whose
