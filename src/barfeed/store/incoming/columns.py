"""Foreign columns as the bar's own: by their names, whatever their order and type. Pure: names in, SQL out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain.bars import VALUE_COLUMNS

# What others call a bar's columns, in lower case, without blanks, dots and underscores; the first that is there counts.
# Numbers before texts: a date beside one is often in somebody's own time.
OPEN_TIMES = ("opentime", "timestamp", "unix", "unixtimestamp", "time", "datetime", "date", "starttime")
CLOSE_TIMES = ("closetime", "closetimestamp", "endtime")
VOLUMES = ("volume", "basevolume", "vol")
# What proves a bar's values, as the archive and the exchange's own clients call it.
FURTHER = {
    "quote_volume": ("quotevolume", "quoteassetvolume"),
    "trades": ("count", "numberoftrades"),
    "taker_buy_volume": ("takerbuyvolume", "takerbuybaseassetvolume"),
    "taker_buy_quote_volume": ("takerbuyquotevolume", "takerbuyquoteassetvolume"),
}
TIMES = ("open_time", "close_time")
# How a table that was saved with its index calls it.
_INDEXES = ("", "unnamed0", "index", "indexlevel0")
# Columns that tell of which series a row is.
_LABELS = {"symbol": ("symbol", "pair", "ticker", "tic", "instrument"), "interval": ("interval", "timeframe", "period")}

# What a file without a header holds, by its number of columns.
HEADERLESS = {
    12: (
        "open_time", *VALUE_COLUMNS, "close_time", "quote_volume", "count",
        "taker_buy_volume", "taker_buy_quote_volume", "ignore",
    ),
    6: ("open_time", *VALUE_COLUMNS),
}  # fmt: skip

# The moments that can be: between 2001 and 2286, s, ms, µs and ns each have their own number of digits.
_FIRST_US, _LAST_US = 10**15, 10**16
_EXPECTED = f"expected a time, then {', '.join(VALUE_COLUMNS)}"
# What 32 bits are too few for, where that is not "a close".
_A = {"open": "an open", "trades": "a number of trades"}
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


class ColumnsUnknown(Exception):
    """Columns that make no bar; says why."""


class Column(NamedTuple):
    """One column of a relation: what its maker calls it, DuckDB's type of it, and how SQL names it."""

    name: str
    kind: str
    sql: str


class Label(NamedTuple):
    """A column that tells a symbol or an interval, and how SQL names it."""

    name: str
    tells: str
    sql: str


class Layout(NamedTuple):
    """How one relation is read: the SQL of each of the bar's columns, and what nobody needs.

    `open_time` and `close_time` are moments, the others doubles, NULL where a cell is none. One of the two times is
    there at least. `raw` is the SQL of each as it stands. `labels` are columns that tell a symbol or an interval.
    """

    relation: str
    typed: Mapping[str, str]
    raw: Mapping[str, str]
    labels: tuple[Label, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, str]:
        """The columns that are no times."""
        return {role: sql for role, sql in self.typed.items() if role not in TIMES}

    @property
    def bad(self) -> dict[str, str]:
        """True where a cell is none of its column's; of the further ones each may be empty."""
        return {
            role: f"{sql} IS NULL"
            + (f" AND trim(coalesce({self.raw[role]}::VARCHAR, '')) != ''" if role in FURTHER else "")
            for role, sql in self.typed.items()
        }

    @property
    def no_bar(self) -> str:
        """True for a row with such a cell."""
        return " OR ".join(f"({sql})" for sql in self.bad.values())


def layout(relation: str, columns: Sequence[Column], symbol: str = "") -> Layout:
    """How to read a relation by its columns' names. `symbol` tells what a `Volume BTC` is of.

    Raises `ColumnsUnknown`.
    """
    names = [column.name for column in columns]
    found = _found(names, symbol)
    lacking = [role for role in VALUE_COLUMNS if role not in found]
    if "open_time" not in found and "close_time" not in found:
        lacking.insert(0, "timestamp")
    if len(names) == 1:
        raise ColumnsUnknown(f"it is no table of bars: its only column is {_cut(names)}, {_EXPECTED}")
    if lacking:
        raise ColumnsUnknown(f"it has no column {', '.join(lacking)}: its columns are {_cut(names)}, {_EXPECTED}")
    others = [column for at, column in enumerate(columns) if at not in found.values()]
    return Layout(
        relation,
        typed={role: _typed(role, columns[at]) for role, at in found.items()},
        raw={role: columns[at].sql for role, at in found.items()},
        labels=tuple(
            Label(column.name, tells, column.sql)
            for tells, names in _LABELS.items()
            for column in others
            if _key(column.name) in names
        ),
        ignored=tuple(column.name for column in others),
    )


def quoted(name: str) -> str:
    """A foreign name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _found(names: Sequence[str], symbol: str) -> dict[str, int]:
    """Where each of the bar's columns is."""
    keys = [_key(name) for name in names]
    roles = {
        "open_time": OPEN_TIMES,
        **{name: (name,) for name in VALUE_COLUMNS},
        "volume": (*VOLUMES, *_volumes_of(symbol)),
        "close_time": CLOSE_TIMES,
        **FURTHER,
    }
    found = {role: _place(keys, names, aliases) for role, aliases in roles.items()}
    if found["open_time"] is None and found["close_time"] is None:
        found["open_time"] = next((at for at, key in enumerate(keys) if key in _INDEXES), None)
    return {role: at for role, at in found.items() if at is not None}


def _place(keys: Sequence[str], names: Sequence[str], aliases: Sequence[str]) -> int | None:
    for alias in aliases:
        places = [at for at, key in enumerate(keys) if key == alias]
        if len(places) > 1:
            raise ColumnsUnknown(f"it has two columns {names[places[0]]!a} and {names[places[1]]!a}")
        if places:
            return places[0]
    return None


def _volumes_of(symbol: str) -> Iterator[str]:
    """CryptoDataDownload's `Volume BTC`: all that BTCUSDT begins with may be its base."""
    bare = _key(symbol)
    return (f"volume{bare[:end]}" for end in range(len(bare) - 1, 0, -1))


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _typed(role: str, column: Column) -> str:
    return _moment(column) if role in TIMES else _number(role, column)


def _moment(column: Column) -> str:
    """A TIMESTAMP in UTC, from a moment, a text in UTC (`2024-01-15 13:00:00`, also with an offset), or a number."""
    name, kind, sql = column
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return _bounded(f"{sql}::TIMESTAMP")
    if kind == "VARCHAR":
        return f"coalesce({_counted(sql)}, {_bounded(f'TRY_CAST({sql} AS TIMESTAMPTZ)::TIMESTAMP')})"
    if kind in {*_WHOLE, "DOUBLE"} or kind.startswith("DECIMAL"):
        return _counted(sql)
    raise ColumnsUnknown(f"its column {name!a} is {kind}, expected a time")


def _bounded(moment: str) -> str:
    return f"CASE WHEN {moment} BETWEEN make_timestamp({_FIRST_US}) AND make_timestamp({_LAST_US}) THEN {moment} END"


def _counted(sql: str) -> str:
    """A moment from a number of seconds, ms, µs or ns since 1970, told apart by its size."""
    number = f"TRY_CAST({sql} AS DOUBLE)"
    # A double holds no ns of our time: 13:59:59.999999999 would be 14:00.
    units = {9: f"{number} * 1000000", 12: f"{number} * 1000", 15: number, 18: f"TRY_CAST({sql} AS BIGINT) // 1000"}
    cases = " ".join(
        f"WHEN {number} >= 1e{digits} AND {number} < 1e{digits + 1} THEN ({in_us})::BIGINT"
        for digits, in_us in units.items()
    )
    return f"make_timestamp(CASE {cases} END)"


def _number(role: str, column: Column) -> str:
    name, kind, sql = column
    if kind in {*_WHOLE, "DOUBLE", "VARCHAR"}:
        return f"TRY_CAST({sql} AS {'BIGINT' if role == 'trades' else 'DOUBLE'})"
    if kind.startswith("DECIMAL"):
        # By its text, the nearest double; straight, it may be the one beside it.
        return f"{sql}::VARCHAR::DOUBLE"
    if kind == "FLOAT":
        raise ColumnsUnknown(
            f"its column {name!a} is FLOAT: 32 bits hold seven digits, too few for {_A.get(role, f'a {role}')}"
        )
    raise ColumnsUnknown(f"its column {name!a} is {kind}, expected a number")


def _cut(names: Sequence[str]) -> str:
    return ascii(", ".join(names)[:120])
