"""What is wrong with a store's file, in words of our own; a backup only for one that is broken."""

import errno
import os
import re
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.troubles.file import unusable
from storage import of_version, opened

SERIES = Series.of("BTCUSDT", "1h")
BAR = Bar(1_705_323_600_000, 100.0, 110.0, 90.0, 105.0, 7.5)
# What DuckDB calls its errors, and its advice.
FOREIGN = re.compile(r"\b\w+ Error:|\bexists, but\b|https?://|STORAGE_VERSION|migration|Exception\b(?!\))")


def a_store(path: Path) -> None:
    with Store(path, SystemClock(), 0.0).appending(SERIES, create=True) as table:
        table.append([BAR])


def encrypted(path: Path) -> None:
    with duckdb.connect() as connection:
        # Without this it asks for another library's cipher, which is downloaded.
        connection.execute("SET force_mbedtls_unsafe = true")
        connection.execute(f"ATTACH '{path}' AS mine (ENCRYPTION_KEY 'secret')")
        connection.execute("CREATE TABLE mine.t AS SELECT 1")


def sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    connection.close()


def parquet(path: Path) -> None:
    duckdb.execute(f"COPY (SELECT 1 AS a) TO '{path}' (FORMAT parquet)")


def text(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(content), None)[1]


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        a_store(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def with_check(path: Path) -> None:
    with opened(path) as connection:
        connection.execute(
            "CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE CHECK (high < 9),"
            " low DOUBLE, close DOUBLE, volume DOUBLE)"
        )


# A file, what is said of it, what helps, and whether a backup is named.
FILES: dict[str, tuple[Callable[[Path], None], str, str, bool]] = {
    "encrypted": (encrypted, "cannot be used: it is encrypted, and barfeed knows no key", "COPY FROM DATABASE", False),
    "SQLite": (sqlite, "is a SQLite database, expected a DuckDB file", "point --duckdb at the store", False),
    "Parquet": (parquet, "is a Parquet file, expected a DuckDB file", "point --duckdb at the store", False),
    "gzip": (text(b"\x1f\x8b\x08" + bytes(500)), "is a gzip file, expected", "point --duckdb at the store", False),
    "zip": (text(b"PK\x03\x04" + bytes(500)), "is a zip, expected", "point --duckdb at the store", False),
    "feather": (text(b"ARROW1\0\0" + bytes(500)), "is an Arrow or Feather file", "point --duckdb", False),
    "a CSV": (
        text(b"timestamp,open\n" * 99), "is a text file, expected a DuckDB file; it begins 'timestamp,open'",
        "is it a wrong path? point --duckdb at the store, or move that file away; bars in a CSV come in by", False,
    ),
    "JSON": (text(b'{"a": 1}'), "is a text file, expected a DuckDB file; it begins '{\"a\": 1}'", "wrong path?", False),
    "two bytes a letter": (text("timestamp;öffnen\r\n1".encode("utf-16")), "begins 'timestamp;", "wrong path?", False),
    "text with a mark": (text(b"\xef\xbb\xbftime\nopen"), "is a text file, expected a DuckDB file; it begins 'time'",
                         "a wrong path?", False),
    "a letter cut in two": (text(b"a" * 511 + "ö".encode()), "is a text file", "a wrong path?", False),
    "blanks": (text(b" \n\n"), "is a text file, expected a DuckDB file; it begins ''", "a wrong path?", False),
    "empty": (
        text(b""), "is empty, 0 bytes: nothing is in it",
        "take it away and start a store in its place, barfeed run --catch-up", False,
    ),
    "zeros": (text(bytes(20_000)), "it is not a valid DuckDB database", "point --duckdb at the store", True),
    "noise": (text(bytes(range(256)) * 9), "it is not a valid DuckDB database", "point --duckdb at the store", True),
    "DuckDB 0.8": (changed(of_version(51)), "was written by a DuckDB so old that", "EXPORT DATABASE", False),
    "DuckDB of the future": (changed(of_version(200)), "was written by a newer DuckDB", "--upgrade duckdb", False),
    "cut": (changed(lambda whole: whole[:5000]), "it ends too early", "restore it from a backup", True),
    "a flipped bit": (
        changed(lambda whole: whole[:4100] + bytes([whole[4100] ^ 1]) + whole[4101:]),
        "its checksum is wrong", "restore it from a backup", True,
    ),
    "a CHECK": (with_check, "refuses the bar 2024-01-15 13:00: ", "take the constraint away in DuckDB", False),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says", "helps", "is_broken"), FILES.values(), ids=FILES)
def test_a_file_is_told_as_what_it_is_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], says: str, helps: str, is_broken: bool
) -> None:
    path = tmp_path / "ohlcv.duckdb"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable) as told:
        a_store(path)
    assert str(path) in str(told.value)
    assert says in str(told.value)
    assert helps in told.value.hint
    assert ("backup" in told.value.hint) is is_broken
    assert not FOREIGN.search(f"{told.value} {told.value.hint}")
    assert path.read_bytes() == before


def test_what_the_system_refuses_is_said_in_its_words_and_of_no_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "ohlcv.duckdb"
    a_store(path)
    for number in errno.errorcode:
        raw = f'IO Error: Could not write file "{path}": {os.strerror(number)}'
        told = unusable(path, duckdb.IOException(raw))
        assert str(told) == f"{path} cannot be used: {os.strerror(number)}"
        assert told.hint
        assert "backup" not in told.hint
        log = unusable(path, duckdb.IOException(raw.replace(str(path), f"{path}.wal")))
        assert str(log) == f"{path}.wal, its log, cannot be used: {os.strerror(number)}"


@pytest.mark.parametrize("name", ["checksum.duckdb", "version number.duckdb", "Permission denied.duckdb", "a.wal"])
def test_the_name_of_a_file_is_not_taken_for_what_is_wrong_with_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    told = unusable(path, duckdb.IOException(f'IO Error: something is odd about "{path}"'))
    assert str(told) == f"{path} cannot be used: DuckDB failed (IOException)"
    assert "--debug" in told.hint


def test_the_header_of_duckdb_0_8_is_the_one_that_is_told_as_old(tmp_path: Path) -> None:
    # What `duckdb==0.8.1` wrote: eight bytes of checksum, the magic, the version 51.
    path = tmp_path / "ohlcv.duckdb"
    changed(of_version(51))(path)
    assert path.read_bytes()[8:20] == b"DUCK" + struct.pack("<Q", 51)
    with pytest.raises(StoreUnusable) as told:
        a_store(path)
    assert re.search(rf"so old that {re.escape(duckdb.__version__)} cannot read it: 0\.8", str(told.value))
    assert "pip install duckdb==0.8" in told.value.hint
