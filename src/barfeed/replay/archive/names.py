"""What a path of the archive names: whose file it is, of which kind, and of which month or day. Pure."""

import re
from calendar import monthrange, timegm
from typing import NamedTuple
from urllib.parse import unquote

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS

PREFIX = "/data/"
DAY_MS = 24 * HOUR_MS
_FOLDERS = "|".join(sorted({kind.archived.folder for kind in KINDS.values()}))
_NAME = re.compile(
    rf"(?P<market>futures/um|spot)/(?P<each>daily|monthly)/(?P<folder>{_FOLDERS})/(?P<symbol>[^/]+)/"
    r"(?P<stem>(?:(?P<interval>[^/-]+)/(?P=symbol)-(?P=interval)|(?P=symbol)-(?P=folder))"
    r"-(?P<date>\d{4}-\d{2}(?P<day>-\d{2})?))\.zip(?P<checksum>\.CHECKSUM)?"
)


class File(NamedTuple):
    """One zip of the archive: what it is of, its stem, and its first instant and end in ms.

    `interval` is empty where its folder has none.
    """

    market: str
    folder: str
    symbol: str
    interval: str
    stem: str
    from_ms: int
    to_ms: int

    @property
    def is_spot(self) -> bool:
        """Whether it is of the spot market."""
        return self.market == "spot"


def read(path: str) -> tuple[File, bool] | None:
    """The file that a request's path names, and whether its checksum is meant; None for any other path."""
    name = _NAME.fullmatch(unquote(path).removeprefix(PREFIX))
    span = _span(name) if name else None
    if not name or not span:
        return None
    # Only what has an interval has a folder for it.
    if (name["interval"] is None) == name["folder"].endswith("lines"):
        return None
    whose = (name["market"], name["folder"], name["symbol"], name["interval"] or "")
    return File(*whose, name["stem"].rpartition("/")[2], *span), bool(name["checksum"])


def _span(name: re.Match[str]) -> tuple[int, int] | None:
    """None for a date that is none, or that does not fit its folder."""
    year, month, day = (*map(int, name["date"].split("-")), 1)[:3]
    if (name["day"] is None) != (name["each"] == "monthly"):
        return None
    if not (1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):  # noqa: PLR2004 - months
        return None
    begin_ms = timegm((year, month, day, 0, 0, 0)) * 1000
    return begin_ms, begin_ms + (1 if name["day"] else monthrange(year, month)[1]) * DAY_MS
