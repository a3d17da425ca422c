"""Rows of the store as a file of the lake: sorted by time, then by whose they are."""

# ruff: noqa: S608 - relations are of our own making, paths are quoted

from pathlib import Path

import duckdb

from barfeed.domain.errors import LakeUnusable
from barfeed.store.duckdb import Session, heard
from barfeed.store.lake.manifest import SCHEMA_VERSION
from barfeed.store.lake.table import AnyTable
from barfeed.store.troubles.file import refusal

DISK_HINT = "see to the disk that it is on; the next pass writes what is missing"

# Parquet's first version of pages is what old engines read, too.
_COPY = f"""
COPY (SELECT {{columns}} FROM {{rows}} ORDER BY {{time}}, {{whose}}) TO '{{path}}' (
  FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v1, ROW_GROUP_SIZE 122880, USE_TMP_FILE false, KV_METADATA {{{{
    barfeed: '{{says}}, schema version {SCHEMA_VERSION}; {{times}} are UTC, without a zone'
  }}}}
)
"""


def write(connection: Session, table: AnyTable, rows: str, path: Path) -> None:
    """Write rows, a relation, to a Parquet file. Raises `LakeUnusable` for what its disk says."""
    try:
        with heard():
            connection.execute(_copying(table, rows, path))
    except duckdb.Error as problem:
        # What the disk of the lake says must not be told of the store.
        if reason := refusal(problem):
            raise LakeUnusable(f"{path.parent} cannot be written: {reason}", hint=DISK_HINT) from problem
        raise


def _copying(table: AnyTable, rows: str, path: Path) -> str:
    whose, time = table.key
    times = [name for name, type_ in table.types.items() if type_ == "TIMESTAMP"]
    return _COPY.format(
        columns=", ".join(table.types),
        rows=rows,
        time=time,
        whose=whose,
        path=str(path).replace("'", "''"),
        says=table.says.replace("'", "''"),
        times=" and ".join((", ".join(times[:-1]), times[-1])),
    )
