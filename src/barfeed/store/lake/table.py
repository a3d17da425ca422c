"""A table of the lake, by which all else is found: the bars of an interval, or a kind of series beside them. Pure."""

from typing import NamedTuple

from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.store.kinds import tables

BARS = "ohlcv"

_BAR_TYPES = {"symbol": "VARCHAR", "timestamp": "TIMESTAMP", **dict.fromkeys(VALUE_COLUMNS, "DOUBLE")}
_UTC = "UTC without a zone"
_STORED = f", when it was stored, {_UTC}"


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

    def file_name(self, date: str) -> str:
        """A day's file below its folder, `date=2026-11-26/bars.parquet`."""
        return f"{partition(date)}/{self.rows}.parquet"

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


def partition(date: str) -> str:
    """The folder of a day, `date=2026-11-26`."""
    return f"date={date}"
