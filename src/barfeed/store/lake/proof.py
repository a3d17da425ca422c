"""The lake proven: each file by its sum, each bar against the store's, and nothing beside that a glob would read."""

# ruff: noqa: S608 - days are of our own making, paths are quoted

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import COLUMNS, Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.rules import Finding
from barfeed.store.duckdb import Store
from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.contents import Contents
from barfeed.store.lake.exporter import sha256_of
from barfeed.store.lake.files import Files
from barfeed.store.lake.manifest import File, Manifest, file_name

# Whoever writes the lake meanwhile has finished by then.
_LOOKS = 3
_COLUMNS = f"symbol, {', '.join(COLUMNS)}, created_at"
_DIFFERENT = f"""
WITH stored AS (SELECT {_COLUMNS} FROM {{stored}}), lake AS (SELECT {_COLUMNS} FROM read_parquet('{{path}}')),
differs AS ((FROM stored EXCEPT ALL FROM lake) UNION (FROM lake EXCEPT ALL FROM stored))
SELECT count(DISTINCT (symbol, timestamp)), min((timestamp, symbol))[1]::VARCHAR, min((timestamp, symbol))[2]
FROM differs
"""


class Proven(NamedTuple):
    """How many files and bars of a lake were looked at, and what was found."""

    files: int
    rows: int
    findings: list[Finding]


def prove(store: Store, files: Files, interval: Interval) -> Proven:
    """Compare the lake's table with the store, which is let go of between two days.

    Raises `LakeUnusable` where there is no lake, `StoreUnusable` where the store cannot be read.
    """
    for _ in range(_LOOKS):
        content = files.read(manifests.NAME)
        if content is None:
            raise LakeUnusable(
                f"{files.address} is no lake: it holds no {manifests.NAME}",
                hint="the next pass makes it: barfeed run --lake; or point --lake at the lake",
            )
        manifest = manifests.decoded(content, f"{files.address}/{manifests.NAME}", str(interval))
        findings = [Finding("lake", None, each) for each in _Proof(store, files, interval, manifest).found()]
        if not findings or files.read(manifests.NAME) == content:
            break
    return Proven(len(manifest.files), manifest.rows, findings)


class _Proof:
    """One look at all of a lake's table."""

    def __init__(self, store: Store, files: Files, interval: Interval, manifest: Manifest) -> None:
        self._store = store
        self._files = files
        self._interval = interval
        self._manifest = manifest

    def found(self) -> Iterator[str]:
        """What is not as it should be, each in words."""
        for day in sorted(self._days() - set(self._manifest.files)):
            yield f"{day}: the store has bars of it, the lake has none"
        for name in sorted(self._files.names() - set(map(file_name, self._manifest.files))):
            yield f"{name} is not in the manifest: whoever reads the lake reads that, too"
        for day, file in sorted(self._manifest.files.items()):
            with self._files.at_hand(file_name(day)) as path:
                if said := f"{file_name(day)} is not there" if path is None else self._said_of(day, file, path):
                    yield said

    def _days(self) -> set[str]:
        with self._store.looking() as connection:
            return Contents(connection, self._interval).days()

    def _said_of(self, day: str, file: File, path: Path) -> str:
        if (path.stat().st_size, sha256_of(path)) != (file.bytes, file.sha256):
            return f"{file_name(day)} is another file than the manifest tells of: cut, or changed"
        with self._store.looking() as connection:
            stored = Contents(connection, self._interval).relation(day)
            quoted = str(path).replace("'", "''")
            bars, timestamp, symbol = connection.execute(_DIFFERENT.format(stored=stored, path=quoted)).fetchall()[0]
        if not bars:
            return ""
        return f"{file_name(day)}: {bars} bars differ from the store's; first: {symbol} {timestamp}"
