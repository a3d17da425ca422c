"""The user's own CSV files: plain and `.gz` as they are, the one CSV of a `.zip` unpacked beside."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barfeed.exchange.archive import BROKEN_ZIP
from barfeed.store.staging import SourceUnreadable

# Text of bars packs about five times; far more than that is no CSV of bars.
_PACKED_AT_MOST = 100
_ALWAYS_FINE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Where DuckDB can read the file's CSV. Raises `SourceUnreadable`."""
    if path.suffix.lower() != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="barfeed-") as folder:
        plain = Path(folder) / "users.csv"
        _unpack(path, plain)
        yield plain


def _unpack(path: Path, plain: Path) -> None:
    try:
        bytes_max = max(_ALWAYS_FINE_BYTES, path.stat().st_size * _PACKED_AT_MOST)
        with zipfile.ZipFile(path) as file:
            names = [name for name in file.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise SourceUnreadable(f"it holds {names[:3]!a}, expected one CSV")
            with file.open(names[0]) as packed, plain.open("wb") as out:
                left = bytes_max
                while chunk := packed.read(_CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise SourceUnreadable(f"it unpacks to over {bytes_max} bytes, far more than a CSV of bars")
                    out.write(chunk)
    except BROKEN_ZIP as problem:
        raise SourceUnreadable(f"it is no whole zip: {problem}") from None
