"""A table of the lake, by which all else is found: bars of an interval, a kind beside them, or what was noted. Pure."""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.store import market, revisions
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds import tables

BARS = "ohlcv"

_BAR_TYPES = {"symbol": "VARCHAR", "timestamp": "TIMESTAMP", **dict.fromkeys(VALUE_COLUMNS, "DOUBLE")}
_UTC = "UTC without a zone"
_STORED = f", when it was stored, {_UTC}"
_DATE = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_MONTH = re.compile(r"month=(\d{4}-\d\d)")


class Table(NamedTuple):
    """Bars where no kind is given; the folder, the file of a day, the columns and the words of messages derive."""

    interval: Interval
    kind: Kind | None = None

    @property
    def kind_name(self) -> str:
        """What `kind=` says of it, `ohlcv` or `open_interest`."""
        return self.kind.name if self.kind else BARS

    @property
    def interval_name(self) -> str:
        """What `interval=` says of it; empty for what has no period, and is one table for all intervals."""
        return "" if self.kind and not self.kind.length else str(self.interval)

    @property
    def folder(self) -> str:
        """Where a lake keeps it: `kind=ohlcv/interval=1h`, `kind=funding`."""
        kind = f"kind={self.kind_name}"
        return f"{kind}/interval={self.interval_name}" if self.interval_name else kind

    @property
    def rows(self) -> str:
        """What its rows are called, and the file of a day by them."""
        return "rows" if self.kind else "bars"

    @property
    def says(self) -> str:
        """What it holds, for people."""
        return f"{self.kind.name}: {self.kind.says}" if self.kind else "closed bars"

    @property
    def audit(self) -> str:
        """The table of what was changed in it."""
        return KIND_REVISIONS.name if self.kind else REVISIONS.name

    @property
    def key(self) -> tuple[str, str]:
        """The columns that say whose a row is, and of which moment."""
        return "symbol", "timestamp"

    def partition(self, date: str) -> str:
        """The folder of a day, `date=2026-11-26`."""
        return f"date={date}"

    def part_of(self, folder: str) -> str | None:
        """The day whose folder has this name; None for any other folder."""
        return _named(_DATE, folder)

    def file_name(self, date: str) -> str:
        """A day's file below its folder, `date=2026-11-26/bars.parquet`."""
        return f"{self.partition(date)}/{self.rows}.parquet"

    def is_of(self, kinds: Collection[Kind]) -> bool:
        """Whether it is about one of these kinds."""
        return self.kind in kinds

    @property
    def types(self) -> dict[str, str]:
        """Its columns and their types, in order: those of the store."""
        return tables.types(self.kind) if self.kind else _BAR_TYPES | {"created_at": "TIMESTAMP"}

    @property
    def columns(self) -> dict[str, str]:
        """The same for people: what each says."""
        return {name: f"{type_}{self._notes.get(name, '')}" for name, type_ in self.types.items()}

    @property
    def _notes(self) -> dict[str, str]:
        if self.kind is None:
            return {"timestamp": f", the bar's open time, {_UTC}", "created_at": _STORED}
        time = "when it was settled" if self.kind.stamp is Stamp.MOMENT else "the start of its period"
        units = {each.name: f", {each.unit}" for each in self.kind.columns}
        known = f", from when on it can have been known, {_UTC}"
        return units | {"timestamp": f", {time}, {_UTC}", "known_at": known, "created_at": _STORED}


class Noted(NamedTuple):
    """An append-only table beside them, of all intervals: a file a month, of what was noted in it.

    `when` a row was noted is an expression of its columns; `key` as that of a `Table`.
    """

    name: str
    says: str
    of_store: Mapping[str, str]
    key: tuple[str, str]
    when: str = "seen_at"

    @property
    def kind_name(self) -> str:
        """What a manifest calls it."""
        return self.name

    @property
    def interval_name(self) -> str:
        """Empty: it is one table for all intervals."""
        return ""

    @property
    def folder(self) -> str:
        """Where a lake keeps it, beside what has a kind: `table=symbols`."""
        return f"table={self.name}"

    @property
    def rows(self) -> str:
        """What its rows are called, and the file of a month by them."""
        return "rows"

    def partition(self, month: str) -> str:
        """The folder of a month, `month=2026-11`."""
        return f"month={month}"

    def part_of(self, folder: str) -> str | None:
        """The month whose folder has this name; None for any other folder."""
        return _named(_MONTH, folder)

    def file_name(self, month: str) -> str:
        """A month's file below its folder, `month=2026-11/rows.parquet`."""
        return f"{self.partition(month)}/{self.rows}.parquet"

    def is_of(self, kinds: Collection[Kind]) -> bool:
        """Whether it is about one of these kinds: about all of them or none."""
        return bool(kinds) and self.name in (KIND_REVISIONS.name, LATE.name)

    @property
    def types(self) -> dict[str, str]:
        """Its columns and their types, in order: those of the store."""
        return dict(self.of_store)

    @property
    def columns(self) -> dict[str, str]:
        """The same for people."""
        return {name: f"{type_}, {_UTC}" if type_ == "TIMESTAMP" else type_ for name, type_ in self.types.items()}


REVISIONS = Noted(
    revisions.TABLE,
    "both versions of every bar that was changed, and what was let pass",
    MappingProxyType(revisions.TYPES),
    ("series", "timestamp"),
    # A table that was copied may have lost its default.
    "coalesce(accepted_at, seen_at)",
)
KIND_REVISIONS = Noted(
    kind_revisions.TABLE,
    "both versions of every value of a kind that was changed",
    MappingProxyType(kind_revisions.TYPES),
    ("symbol", "timestamp"),
    "accepted_at",
)
LATE = Noted(
    tables.LATE,
    "what was due of a kind when a cycle ended without it",
    MappingProxyType(tables.LATE_TYPES),
    ("symbol", "since"),
)
LISTINGS = Noted(
    market.MEMBERSHIP,
    "how each symbol was listed when it was seen otherwise than before",
    MappingProxyType(market.MEMBERSHIP_TYPES),
    ("symbol", "seen_at"),
)
GAPS = Noted(
    market.EXCHANGE_GAPS,
    "where the exchange was seen to have no bar",
    MappingProxyType(market.GAP_TYPES),
    ("symbol", "first"),
)
NOTED = {each.name: each for each in (REVISIONS, KIND_REVISIONS, LATE, LISTINGS, GAPS)}

AnyTable = Table | Noted


def _named(form: "re.Pattern[str]", folder: str) -> str | None:
    found = form.fullmatch(folder)
    return found[1] if found else None
