"""The user's own files as ones that DuckDB reads: told by their first bytes, unpacked beside where they are packed."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from barfeed.domain.errors import UsageError
from barfeed.exchange.archive import BROKEN_ZIP
from barfeed.store.incoming.foreign import SourceUnreadable

Kind = Literal["csv", "parquet", "feather", "zip"]

# Text of bars packs about five times; far more than that is no CSV of bars.
_PACKED_AT_MOST = 100
_ALWAYS_FINE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20

_KINDS: dict[bytes, Kind] = {b"PK\3\4": "zip", b"PAR1": "parquet", b"ARROW1": "feather", b"FEA1": "feather"}
_OTHERS = {
    b"SQLite format 3": "a SQLite file; export its table as CSV",
    b"\x89HDF": "an HDF5 file; save it as Parquet",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV",
    b"BZh": "packed by bzip2; unpack it, or pack it by gzip",
    b"\xfd7zXZ": "packed by xz; unpack it, or pack it by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it, or pack it by gzip",
    b"7z\xbc\xaf": "packed by 7-Zip; unpack it, or pack it as zip",
    b"Rar!": "packed by RAR; unpack it, or pack it as zip",
    b"%PDF": "a PDF",
}
_DUCKDB, _DUCKDB_AT = b"DUCK", 8
_HEAD_BYTES = 16
# What of a zip with more than one file is read; a zip in it is told, and not left out in silence.
_OF_BARS = (".csv", ".gz", ".tsv", ".txt", ".parquet", ".feather", ".zip")
_WORKBOOK = "[Content_Types].xml"


class OwnFile(NamedTuple):
    """A file that the user names; with a `table`, one of a DuckDB file, "" for the series' own."""

    path: Path
    table: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.table}" if self.table else str(self.path)


class Member(NamedTuple):
    """A file that DuckDB reads: where it is, of which kind, and the name that it came under."""

    name: str
    path: Path
    kind: Kind


class MemberUnreadable(SourceUnreadable):
    """A file in another one that holds no bars; says why, and has its name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


@contextmanager
def within(name: str) -> Iterator[None]:
    """What is wrong here is wrong with this file of a zip."""
    try:
        yield
    except SourceUnreadable as problem:
        raise MemberUnreadable(name, str(problem)) from None


@contextmanager
def opened(path: Path) -> Iterator[list[Member]]:
    """The files of bars behind one: itself, or those of a zip. Raises `SourceUnreadable`."""
    with tempfile.TemporaryDirectory(prefix="barfeed-") as name:
        folder = Path(name)
        yield [_readable(each, folder) for each in _members(path, folder)]


def kind_of(path: Path) -> Kind:
    """What a file is, by its first bytes; text where they tell nothing. Raises `SourceUnreadable`."""
    head = _head(path)
    if _is_duckdb(head):
        raise SourceUnreadable("it is a DuckDB file; --source table reads its tables")
    if said := next((said for mark, said in _OTHERS.items() if head.startswith(mark)), ""):
        raise SourceUnreadable(f"it is {said}")
    told: Kind = "zip" if path.suffix.lower() == ".zip" else "csv"
    return next((kind for mark, kind in _KINDS.items() if head.startswith(mark)), told)


def expect_duckdb(path: Path) -> None:
    """Return where a file is one of DuckDB's; raises `SourceUnreadable`."""
    if not _is_duckdb(_head(path)):
        raise SourceUnreadable("it is no DuckDB file; --source csv reads CSV, Parquet and .feather")


def _is_duckdb(head: bytes) -> bool:
    return head[_DUCKDB_AT : _DUCKDB_AT + len(_DUCKDB)] == _DUCKDB


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as problem:
        raise SourceUnreadable(problem.strerror or str(problem)) from None


def _members(path: Path, folder: Path) -> list[Member]:
    kind = kind_of(path)
    if kind != "zip":
        return [Member(path.name, path, kind)]
    unpacked = []
    for name, plain in _unpack(path, folder).items():
        with within(name):
            unpacked.append(Member(name, plain, kind_of(plain)))
    if packed := [member.name for member in unpacked if member.kind == "zip"]:
        raise SourceUnreadable(f"it holds another zip, {packed[0]!a}; unpack that")
    return unpacked


def _readable(member: Member, folder: Path) -> Member:
    if member.kind != "feather":
        return member
    parquet = folder / f"{member.path.name}.parquet"
    _as_parquet(member, parquet)
    return Member(member.name, parquet, "parquet")


def _as_parquet(member: Member, parquet: Path) -> None:
    try:
        # Imported only here: it is as large as all the rest, and few have such files.
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import feather  # noqa: PLC0415
        from pyarrow.parquet import write_table  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"{member.name}: a .feather file needs a library that is not installed: {missing.name}",
            hint="pip install 'barfeed[feather]'",
        ) from None
    try:
        write_table(feather.read_table(member.path), parquet)
    except (pa.ArrowException, OSError):
        raise SourceUnreadable("it is no whole .feather file") from None


def _unpack(path: Path, folder: Path) -> dict[str, Path]:
    """The files of bars in a zip, by their names, each under a name of ours in `folder`."""
    try:
        left = max(_ALWAYS_FINE_BYTES, path.stat().st_size * _PACKED_AT_MOST)
        with zipfile.ZipFile(path) as file:
            unpacked = {}
            for number, name in enumerate(_wanted(file.namelist())):
                unpacked[name] = folder / f"{number}{PurePosixPath(name).suffix}"
                left -= _copy(file, name, unpacked[name], left)
            return unpacked
    except BROKEN_ZIP as problem:
        raise SourceUnreadable(_why_not_unpacked(problem)) from None


def _why_not_unpacked(problem: Exception) -> str:
    if isinstance(problem, NotImplementedError):
        return "it is packed in a way that is not read here; unpack it, or pack it anew"
    if isinstance(problem, RuntimeError):
        return "it is encrypted; unpack it"
    said = problem.strerror if isinstance(problem, OSError) else None
    return f"it cannot be unpacked: {said}" if said else "it is no whole zip: it is cut, broken, or none"


def _wanted(names: list[str]) -> list[str]:
    """Those of a zip's names that are files of bars: not what macOS and Windows put beside."""
    if _WORKBOOK in names:
        raise SourceUnreadable("it is an Excel workbook; save it as CSV")
    if outside := [
        name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")
    ]:
        raise SourceUnreadable(f"it holds {outside[0]!a}, which leads out of it")
    paths = [PurePosixPath(name) for name in names if not name.endswith("/")]
    own = [each for each in paths if each.parts[:1] != ("__MACOSX",) and not each.name.startswith(".")]
    found = own if len(own) == 1 else [each for each in own if each.name.lower().endswith(_OF_BARS)]
    if not found:
        there = ", ".join(str(each) for each in own[:3]) + ", ..." * (len(own) > 3)  # noqa: PLR2004
        raise SourceUnreadable(f"it holds no file of bars{f', only {there!a}' if own else ''}; expected CSVs")
    return [str(each) for each in found]


def _copy(file: zipfile.ZipFile, name: str, plain: Path, bytes_max: int) -> int:
    """Unpack one, never more than `bytes_max`; how many bytes it has."""
    with file.open(name) as packed, plain.open("wb") as out:
        size = 0
        while chunk := packed.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > bytes_max:
                raise SourceUnreadable(f"it unpacks to over {bytes_max} bytes, far more than a CSV of bars")
            out.write(chunk)
    return size
