"""CSVs as people's programs write them: what stands in front, what stands between cells, a header or none."""

import csv
import glob
import gzip
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from barfeed.store.incoming.columns import HEADERLESS, Column, ColumnsUnknown, Layout, layout

_HEAD_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
# Line breaks and tabs stand in texts, other controls in none.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# CryptoDataDownload's address, Excel's word for its delimiter, somebody's remark.
_FOREWORD = re.compile(r"\s*$|#|https?:|www\.|sep=", re.IGNORECASE)
# A bar's six cells have five of them between.
_DELIMITERS_MIN = 5


class _Beginning(NamedTuple):
    """A CSV's first lines: how many stand in front, and the first that counts."""

    before: int
    first: str

    @property
    def delimiter(self) -> str:
        """A comma unless there are enough of another: with those, commas may stand within numbers."""
        others = {each: self.first.count(each) for each in ";\t|"}
        most = max(others, key=lambda each: others[each])
        return most if others[most] >= _DELIMITERS_MIN else ","

    @property
    def cells(self) -> list[str]:
        """The first line's cells, without quotes and blanks around."""
        return [cell.strip() for cell in next(csv.reader([self.first], delimiter=self.delimiter), [])]

    @property
    def has_header(self) -> bool:
        """As CSV has it, but a first line that begins with a digit is a bar."""
        return not self.cells[0][:1].isdigit()


def csv_layout(path: Path, symbol: str = "") -> tuple[Layout, tuple[str, ...]]:
    """How to read a CSV, plain or packed by gzip; and what stands in front of it. Raises `ColumnsUnknown`."""
    head, is_packed = _head(path)
    begin = _beginning(head)
    names = begin.cells if begin.has_header else _headerless(begin)
    skipped = begin.before + begin.has_header
    # All as text: what a cell is, its column says.
    columns = [Column(name, "VARCHAR", f"c{number}") for number, name in enumerate(names)]
    types = ", ".join(f"'{column.sql}': 'VARCHAR'" for column in columns)
    # As it is: DuckDB takes * and ? and [ of a name for a pattern, and reads every file that fits.
    escaped = glob.escape(str(path)).replace("'", "''")
    options = (
        f"auto_detect = false, delim = '{begin.delimiter}', quote = '\"', header = false, skip = {skipped},"
        f" compression = '{'gzip' if is_packed else 'none'}'"
    )
    found = layout(f"read_csv('{escaped}', {options}, columns = {{{types}}})", columns, symbol)
    return found, tuple(line for line in head.splitlines()[: begin.before] if line.strip())


@contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """DuckDB reads files: the text as one, for as long as that takes."""
    with tempfile.TemporaryDirectory(prefix="barfeed-") as folder:
        path = Path(folder) / "part.csv"
        path.write_bytes(content)
        yield path


def _headerless(begin: _Beginning) -> tuple[str, ...]:
    if len(begin.cells) not in HEADERLESS:
        raise ColumnsUnknown(
            f"{len(begin.cells)} columns in {begin.first[:80]!a} and no header, expected 12 or 6, or a header"
        )
    return HEADERLESS[len(begin.cells)]


def _head(path: Path) -> tuple[str, bool]:
    try:
        with path.open("rb") as plain:
            is_packed = plain.read(2) == _GZIP
        with gzip.open(path) if is_packed else path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as problem:
        why = getattr(problem, "strerror", None) or "it cannot be unpacked: it is cut, or broken"
        raise ColumnsUnknown(why) from None
    if head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        raise ColumnsUnknown("it is a tar archive; unpack it")
    if head[:2] in _UTF_16 or _NO_TEXT.search(head[:100]):
        is_text = head[:2] in _UTF_16 or head[1:2] == b"\0"
        raise ColumnsUnknown("it is UTF-16: save it as UTF-8" if is_text else "it holds bytes that are no text")
    # A mark that some editors put in front of UTF-8.
    return head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"), is_packed


def _beginning(head: str) -> _Beginning:
    lines = head.splitlines()
    before = next((at for at, line in enumerate(lines) if not _FOREWORD.match(line)), len(lines))
    if before == len(lines):
        raise ColumnsUnknown("it holds no bar: it is empty")
    first = lines[before]
    if first.lstrip()[:1] in {"<", "{", "["}:
        what = "JSON" if "<" not in first[:9] else "XML" if "<?xml" in first[:9] else "HTML"
        raise ColumnsUnknown(f"it begins with {first[:80]!a}: it is {what}, no CSV")
    return _Beginning(before, first)
