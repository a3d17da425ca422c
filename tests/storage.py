"""DuckDB files as others open them, and as other DuckDBs write them."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import duckdb

_HEADER_BYTES = 4096
_BLOCK_BYTES = 262_144
_BLOCKS = "SELECT DISTINCT block_id FROM pragma_storage_info('{table}') WHERE column_name {sign} ? AND block_id >= 0"
_WORD = (1 << 64) - 1
_numbers = count()


@contextmanager
def opened(path: Path, *, read_only: bool = False, storage_version: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
    """A file opened by nobody's code but DuckDB's, as `duckdb.connect` opens it, which takes six times as long.

    A new one is of the `storage_version`, DuckDB's own choice where none is given.
    """
    name, quoted = f"file_{next(_numbers)}", str(path).replace("'", "''")
    with _instance().cursor() as connection:
        options = "READ_ONLY" if read_only else "READ_WRITE"
        if storage_version:
            options += f", STORAGE_VERSION '{storage_version}'"
        connection.execute(f"ATTACH '{quoted}' AS {name} (TYPE duckdb, {options})")
        try:
            connection.execute(f"USE {name}")
            yield connection
        finally:
            connection.close()
            _instance().execute(f"DETACH {name}")


@cache
def _instance() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def of_version(version: int) -> Callable[[bytes], bytes]:
    """What makes of a file the same one with another storage version, its header's checksum made anew."""

    def make(whole: bytes) -> bytes:
        header = whole[8:12] + bytes([version]) + whole[13:_HEADER_BYTES]
        return _checksum(header).to_bytes(8, "little") + header + whole[_HEADER_BYTES:]

    return make


# One that no DuckDB has yet.
of_the_future = of_version(200)


def break_column(path: Path, table: str, column: str) -> None:
    """Turn one bit in the middle of the last block that holds values of this column and of no other."""
    with opened(path, read_only=True) as connection:
        blocks = {
            each: {
                block for (block,) in connection.execute(_BLOCKS.format(table=table, sign=sign), [column]).fetchall()
            }
            for each, sign in (("own", "="), ("others", "<>"))
        }
    at = 3 * _HEADER_BYTES + max(blocks["own"] - blocks["others"]) * _BLOCK_BYTES + _BLOCK_BYTES // 2
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def _checksum(block: bytes) -> int:
    """DuckDB's own: words of a block, each multiplied, all xored."""
    result = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        result ^= (word * 0xBF58476D1CE4E5B9) & _WORD
    return result
