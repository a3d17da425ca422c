"""What there is to say of a kind of series: where it comes from, what its rows hold, how their times are read. Pure.

Times are ms since 1970-01-01 UTC, a step is a period's length in ms.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Interval

# A delivery has its day in its name; what it stands on, its pair, has none.
_DELIVERY = re.compile(r"(?P<pair>.+)_\d{6}", re.ASCII)

# A row's values by the names of their columns; None where the source does not tell one.
Values = Mapping[str, float | None]
Rule = Callable[[Values], str | None]


class Host(Enum):
    """Whose REST interface it is."""

    FUTURES = "https://fapi.binance.com"
    SPOT = "https://api.binance.com"


class Stamp(Enum):
    """Which moment of its period a row's time is."""

    START = "start"
    END = "end"
    # There is no period: the moment itself, beside the grid by some ms.
    MOMENT = "moment"

    def start_ms(self, stamp_ms: int, step_ms: int) -> int:
        """A row's `timestamp` by what it is labelled with: the start of its period, or the moment."""
        return stamp_ms - step_ms if self is Stamp.END else stamp_ms

    def stamp_ms(self, start_ms: int, step_ms: int) -> int:
        """The label of the row with this `timestamp`."""
        return start_ms + step_ms if self is Stamp.END else start_ms


class Limit(NamedTuple):
    """What an address may ask of a host: so much in `span_ms`. What counts is weight, or else each request as one."""

    name: str
    most: int
    span_ms: int
    is_weight: bool


class Column(NamedTuple):
    """One value of a row: its name in the store, its field on the wire, its unit, its header in the archive.

    The field is a key, or a place in a kline's array. `archived` is empty where the archive has none; then what comes
    from there is NULL. `may_lack`: REST has rows without it, too. `decimals`: REST tells so many, the archive more.
    """

    name: str
    field: str | int
    unit: str
    archived: str = ""
    is_count: bool = False
    may_lack: bool = False
    decimals: int | None = None

    @property
    def type(self) -> str:
        """Its type in the store."""
        return "BIGINT" if self.is_count else "DOUBLE"


class Archived(NamedTuple):
    """How the public archive keeps it: `{market}/{monthly|daily}/{folder}/…`, a file a month, and a day, or only one.

    `time` is the header of a row's time, `stamp` what that was up to the day `changed_ms`, `stamp_since` what it is in
    the files of that day and later. Where `period` is given, all files are of that one.
    """

    market: str
    folder: str
    time: str
    stamp: Stamp
    has_months: bool = True
    has_days: bool = True
    period: Interval | None = None
    changed_ms: int | None = None
    stamp_since: Stamp = Stamp.START

    def stamp_of(self, file_ms: int) -> Stamp:
        """What the labels are in the file that begins at `file_ms`: a label alone does not tell.

        Around the change both days' files hold the label 00:00, and mean moments a period apart.
        """
        return self.stamp if self.changed_ms is None or file_ms < self.changed_ms else self.stamp_since

    def path(self, symbol: str, interval: Interval, each: str, name: str) -> str:
        """A file's path below `/data/`: `each` is `monthly` or `daily`, `name` its month or day."""
        if self.folder.endswith("lines"):
            return f"{self.market}/{each}/{self.folder}/{symbol}/{interval}/{symbol}-{interval}-{name}.zip"
        return f"{self.market}/{each}/{self.folder}/{symbol}/{symbol}-{self.folder}-{name}.zip"


class Row(NamedTuple):
    """One row: `timestamp_ms` is the start of its period, its values are in the order of its kind's columns.

    `known_at_ms` is the first moment at which a feed could have had it.
    """

    timestamp_ms: int
    known_at_ms: int
    values: tuple[float | None, ...]


class Kind(NamedTuple):
    """One kind of series, as a row of the table of kinds.

    `parameter` names the symbol in a request, `length` the period; empty where there is none. `rows_max` rows come of a
    request, the oldest first from `startTime` on, both ends included. `weighs` is by the rows asked for, as pairs of at
    most so many rows and weight. `published_ms` after the end of its period a row can be had at the earliest, as far as
    that is known; `remembered_ms` long the exchange keeps it, None for ever. `refused` and `warned` are its own rules,
    by name, beside those that all have.
    """

    name: str
    says: str
    host: Host
    path: str
    parameter: str
    length: str
    limit: Limit
    weighs: tuple[tuple[int, int], ...]
    rows_max: int
    columns: tuple[Column, ...]
    stamp: Stamp
    published_ms: int
    refused: Mapping[str, Rule]
    warned: Mapping[str, Rule]
    archived: Archived
    remembered_ms: int | None = None
    # What is measured at the end of the period, or over all of it.
    is_snapshot: bool = False
    # Whether a request without a symbol is answered with everybody's rows.
    is_of_all: bool = False
    # Whether only perpetuals have it.
    of_perpetuals: bool = False
    intervals: tuple[Interval, ...] = tuple(Interval)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(each.name for each in self.columns)

    def table(self, interval: Interval) -> str:
        """The store's table, `open_interest_1h`; `funding`, which has no period, is one for all."""
        return f"{self.name}_{interval}" if self.length else self.name

    def view(self, symbol: str, interval: Interval) -> str:
        """What readers of one series find: `open_interest_btcusdt_1h`, `funding_btcusdt`."""
        own = f"{self.name}_{symbol.lower()}"
        return f"{own}_{interval}" if self.length else own

    def cost(self, rows: int) -> int:
        """What a request for so many rows counts against its limit."""
        if not self.limit.is_weight:
            return 1
        return next((weight for most, weight in self.weighs if rows <= most), self.weighs[-1][1])

    def query(self, symbol: str, interval: Interval, first_ms: int, last_ms: int, rows: int) -> dict[str, str | int]:
        """The parameters that ask for the rows of the periods that start from `first_ms` to `last_ms`.

        An empty symbol asks for everybody's.
        """
        own: dict[str, str | int] = {}
        if symbol:
            own[self.parameter] = pair(symbol) if self.parameter == "pair" else symbol
        if self.length:
            own[self.length] = str(interval)
        start_ms, end_ms = (self.stamp.stamp_ms(each, interval.ms) for each in (first_ms, last_ms))
        return own | {"startTime": start_ms, "endTime": end_ms, "limit": rows}

    def end_ms(self, timestamp_ms: int, interval: Interval) -> int:
        """When what a row says was over."""
        return timestamp_ms if self.stamp is Stamp.MOMENT else timestamp_ms + interval.ms

    def newest_due_ms(self, now_ms: int, interval: Interval) -> int:
        """The newest `timestamp` that can be had at `now_ms`: a period that is over and published, or the moment."""
        by_then_ms = now_ms - self.published_ms
        return by_then_ms if self.stamp is Stamp.MOMENT else grid.last_closed(by_then_ms, interval.ms)

    def known_at_ms(self, timestamp_ms: int, interval: Interval, late_ms: int | None = None) -> int:
        """The first moment at which a feed could have had a row: the end of its period and what publishing it takes.

        `late_ms` is when a feed had it that had been without it before, though it was due.
        """
        bound_ms = self.end_ms(timestamp_ms, interval) + self.published_ms
        return bound_ms if late_ms is None else max(bound_ms, late_ms)

    def forgotten_ms(self, timestamp_ms: int, interval: Interval) -> int | None:
        """When the exchange forgets a row; None where it never does."""
        return None if self.remembered_ms is None else self.end_ms(timestamp_ms, interval) + self.remembered_ms


def pair(symbol: str) -> str:
    """What an index is kept of: the symbol itself, without the day of a delivery."""
    found = _DELIVERY.fullmatch(symbol)
    return found["pair"] if found else symbol


def by_name(kind: Kind, values: Sequence[float | None]) -> Values:
    """A row's values by the names of their columns."""
    return dict(zip(kind.names, values, strict=True))
