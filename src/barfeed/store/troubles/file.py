"""What DuckDB and the disk say of a store, told in words of our own: what is so, and what helps."""

import codecs
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from barfeed.domain.errors import LakeUnusable, StoreUnusable
from barfeed.store.troubles import disk

_BACKUP = "restore it from a backup; without one, move it aside and fetch the history anew: barfeed backfill"
_OTHER_FILE = "point --duckdb at the store, or move that file away"
_TEXT_FILE = f"is it a wrong path? {_OTHER_FILE}; bars in a CSV come in by barfeed backfill --source csv"
_EMPTY_FILE = "take it away and start a store in its place, barfeed run --catch-up; or point --duckdb at the store"

# A DuckDB file has its magic behind a checksum, then the version of its storage.
_MAGIC, _VERSION, _HEAD_BYTES = slice(8, 12), slice(12, 20), 512
_LINE_MAX = 40
# What other files begin with.
_OTHERS = {
    b"SQLite format 3\0": "a SQLite database",
    b"PAR1": "a Parquet file",
    b"PARE": "an encrypted Parquet file",
    b"ARROW1": "an Arrow or Feather file",
    b"FEA1": "a Feather file",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip",
    b"\x1f\x8b": "a gzip file",
}
# The oldest storage that a DuckDB 1 or newer reads.
_STORAGE_MIN = 64
_WRITER = r"created with DuckDB version v([0-9.]*[0-9])"

# Words of DuckDB's, ours, and what helps; where the file is as good as ever, nobody must be sent to a backup.
_TOLD = (
    (
        "Out of Memory Error",
        "there is too little memory for it",
        "the file is as it was; give the process more memory (ulimit -v, the container's limit)",
    ),
    (
        "without a key",
        "it is encrypted, and barfeed knows no key",
        "copy it into a file without encryption: ATTACH both in DuckDB, COPY FROM DATABASE",
    ),
    (
        "WAL does not match database file",
        "the log beside it, .wal, is of another database: WAL does not match database file",
        "put back the log that belongs to it, or move the log away: what it holds is not in this file",
    ),
    (
        "Constraint Error",
        "a CHECK, a unique index or a foreign key of the table's own refuses a bar",
        "see which, with DuckDB: FROM duckdb_constraints(), FROM duckdb_indexes(); and make the table anew without it",
    ),
    (
        "Sequence Error",
        "a sequence from which a default takes numbers has none left",
        "take the default away in DuckDB, ALTER TABLE ... ALTER ... DROP DEFAULT, or give it a sequence that goes on",
    ),
    ("checksum", "a block of it is broken: its checksum is wrong", _BACKUP),
    ("Could not read enough bytes", "it ends too early, something has cut it", _BACKUP),
    ("Serialization Error", "what is in it makes no sense", _BACKUP),
    (
        "not a valid DuckDB database file",
        "it is not a valid DuckDB database",
        "point --duckdb at the store; if this was it, restore it from a backup",
    ),
)
_SYSTEM_HINTS = {
    errno.EMFILE: "the file is as it was; let the process open more (ulimit -n)",
    errno.ENFILE: "the file is as it was; let the machine open more files",
    errno.ENOTDIR: "what should be its folder is a file: point --duckdb elsewhere, or move that file away",
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room on its disk, or have the quota raised",
    errno.EROFS: "its disk is mounted read-only: mount it for writing, or point --duckdb elsewhere",
    errno.EACCES: "check the owner and mode of it and of its folder",
    errno.EPERM: "check the owner and mode of it and of its folder",
}
_SYSTEM_HINT = "see to the disk that it is on; point --duckdb elsewhere if it is the wrong one"
_UNKNOWN_HINT = "run it again with --debug, which tells what DuckDB says, and report it if it stays"


def unusable(path: Path, problem: BaseException) -> StoreUnusable:
    """The error for what DuckDB or the system said of a store; its own words go to the debug log alone."""
    said = str(problem)
    if trouble := disk.trouble(path, problem):
        return trouble
    if os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.W_OK):
        return StoreUnusable(f"{path} may not be read and written by this user", hint="check its owner and mode")
    # A name may hold any words.
    said = said.replace(str(path), "")
    return _not_of_this_duckdb(path, said) or _refused_by_the_system(path, said) or _failed(path, problem, said)


def _not_of_this_duckdb(path: Path, said: str) -> StoreUnusable | None:
    """What the first bytes tell, where DuckDB has refused the file for its kind or its version."""
    if "not a valid DuckDB" in said:
        return _other_file(path)
    if "version number" not in said and "Unsupported Storage Version" not in said:
        return None
    version = _storage_version(path)
    if version is not None and version < _STORAGE_MIN:
        writer = re.search(_WRITER, said)
        told = f"{path} was written by a DuckDB so old that {duckdb.__version__} cannot read it"
        return StoreUnusable(f"{told}: {writer[1] if writer else f'storage version {version}'}", hint=_older(writer))
    told = f"{path} was written by a newer DuckDB than {duckdb.__version__}"
    told += "" if version is None else f": storage version number {version}"
    return StoreUnusable(told, hint="upgrade DuckDB: pip install --upgrade duckdb")


def _other_file(path: Path) -> StoreUnusable | None:
    head = _head(path)
    if kind := next((kind for magic, kind in _OTHERS.items() if head.startswith(magic)), ""):
        return StoreUnusable(f"{path} is {kind}, expected a DuckDB file", hint=_OTHER_FILE)
    if text := _text(head):
        begins = "".join(text.strip().splitlines()[:1])[:_LINE_MAX]
        return StoreUnusable(f"{path} is a text file, expected a DuckDB file; it begins {begins!a}", hint=_TEXT_FILE)
    with suppress(OSError):
        if path.stat().st_size == 0:
            return StoreUnusable(f"{path} is empty, 0 bytes: nothing is in it", hint=_EMPTY_FILE)
    return None


def _text(head: bytes) -> str:
    """The beginning of a file as text; empty where it is none."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    # The last character may be cut.
    with suppress(UnicodeDecodeError):
        text = codecs.getincrementaldecoder(encoding)().decode(head)
        if all(char.isprintable() or char.isspace() for char in text):
            return text
    return ""


def _older(writer: "re.Match[str] | None") -> str:
    install = f"pip install duckdb=={writer[1]}" if writer else "the one that wrote it"
    return f"bring it over: EXPORT DATABASE with that DuckDB ({install}), IMPORT DATABASE into a new file with this one"


PROVE_LAKE_HINT = "prove it against the store, which tells the file: barfeed verify --lake"

# A file of the lake, wherever the lake, or a copy of it, stands.
_LAKE_FILE = r"""(?:kind|table)=\w+/[^'"]+\.parquet"""


@contextmanager
def reading_lake(address: str) -> Iterator[None]:
    """What DuckDB says of a lake's Parquet, told in words of our own."""
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as problem:
        raise LakeUnusable(
            f"{address} cannot be read as a lake: {_of_lake(problem)}",
            is_torn=True,
            hint=PROVE_LAKE_HINT,
        ) from problem


def _of_lake(problem: duckdb.Error) -> str:
    if reason := refusal(problem):
        return reason
    if named := re.search(_LAKE_FILE, str(problem)):
        return f"{named[0]} is cut, or no Parquet file"
    return f"DuckDB failed ({type(problem).__name__})"


def refusal(problem: object) -> str:
    """The system's reason in what DuckDB said, `No space left on device`; empty where there is none."""
    reasons = map(os.strerror, errno.errorcode)
    # One may begin with another: the longer one was said.
    return max((reason for reason in reasons if reason in str(problem)), key=len, default="")


def _refused_by_the_system(path: Path, said: str) -> StoreUnusable | None:
    reason = refusal(said)
    if not reason:
        return None
    what = f"{path}.wal, its log," if ".wal" in said else f"{path}"
    hint = next((hint for number, hint in _SYSTEM_HINTS.items() if os.strerror(number) == reason), _SYSTEM_HINT)
    return StoreUnusable(f"{what} cannot be used: {reason}", hint=hint)


def _failed(path: Path, problem: BaseException, said: str) -> StoreUnusable:
    for words, told, hint in _TOLD:
        if words in said:
            return StoreUnusable(f"{path} cannot be used: {told}", hint=hint)
    what = f"{path}.wal, its log," if ".wal" in said else f"{path}"
    return StoreUnusable(f"{what} cannot be used: DuckDB failed ({type(problem).__name__})", hint=_UNKNOWN_HINT)


def _head(path: Path) -> bytes:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_HEAD_BYTES)
    return b""


def _storage_version(path: Path) -> int | None:
    head = _head(path)
    return int.from_bytes(head[_VERSION], "little") if head[_MAGIC] == b"DUCK" else None
