"""Scripted faults: what can go wrong, and the small TOML file that says when."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import UsageError
from barfeed.replay.refusals import BY_STATUS, REFUSING

# Which of a market's symbols are struck.
CHOICE = ("symbol", "share", "seed")
# The paths that have rows of a symbol, of the futures host by their last word.
OF_SYMBOLS = (
    "klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "fundingRate", "openInterestHist",
    "globalLongShortAccountRatio", "topLongShortAccountRatio", "topLongShortPositionRatio", "takerlongshortRatio",
    "spot/klines",
)  # fmt: skip
PATHS = (
    *OF_SYMBOLS, "time", "ping", "exchangeInfo", "fundingInfo", "spot/time", "spot/ping", "spot/exchangeInfo", "*",
)  # fmt: skip
# No path of REST's: what is struck there is a connection.
STREAM = "stream"
HINT = "docs/replay.md has an example of every fault"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: for some requests of a path, for some time of the exchange's, or always."""

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)
    path: str = "klines"
    requests: range | None = None
    from_ms: int | None = None
    until_ms: int | None = None
    series: Series | None = None
    symbols: tuple[str, ...] = ()
    share: float = 1.0
    seed: int = 0

    @property
    def chooses(self) -> bool:
        """Whether it is about some symbols only, and not of one series."""
        return bool(self.symbols) or self.share < 1

    def is_about(self, symbol: str, now_ms: int) -> bool:
        """Whether a symbol is among those it chooses; a share are others each hour, its bar's or else the clock's."""
        if self.symbols and not any(fnmatchcase(symbol, each) for each in self.symbols):
            return False
        at_ms = self.args.get("bar", self.args.get("at", now_ms))
        return self.share >= 1 or _drawn(f"{self.seed} {symbol} {at_ms // HOUR_MS}") < self.share

    def hits(self, now_ms: int, numbers: Mapping[str, int]) -> bool:
        """Whether it strikes the request that is, by path, number `numbers[path]`."""
        return (
            self.path in numbers
            and (self.requests is None or numbers[self.path] in self.requests)
            and (self.from_ms is None or self.from_ms <= now_ms)
            and (self.until_ms is None or now_ms < self.until_ms)
        )


def _drawn(lot: str) -> float:
    """A number from 0 to below 1, the same for the same text."""
    return int.from_bytes(blake2b(lot.encode(), digest_size=6).digest()) / (1 << 48)


class Key(NamedTuple):
    """A key of a fault: how its value is read (an error if it is not usable), and what is allowed."""

    read: Callable[[Any], Any]
    allowed: str


class Kind(NamedTuple):
    """A kind of fault: what it does, the keys it needs and may have.

    `scope` are the keys that narrow what it strikes besides its time: `series` where it is about
    rows, else any answer of a `path` can be struck; symbols can be chosen for both. `path` is the one
    it strikes unless told.
    """

    does: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    scope: tuple[str, ...] = ("path", "series", *CHOICE)
    path: str = "klines"

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key an entry of this kind can have, `kind` aside."""
        return (*self.needs, *self.may, *self.scope, *WHEN)


ENDLESS = 1 << 62


def _a(kind: type | tuple[type, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        # TOML's true is an int to Python.
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError
        return value

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _positive(kind: type | tuple[type, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not _a(kind)(value) > 0:
            raise ValueError
        return value

    return read


def _one_of(*allowed: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or value not in allowed:
            raise ValueError
        return value

    return read


def _moment(value: Any) -> int:
    """A TOML datetime as ms; one without an offset is UTC."""
    moment: datetime = _a(datetime)(value)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _requests(value: Any) -> range:
    first, dash, last = str(_a((str, int))(value)).partition("-")
    numbers = range(int(first), (int(last) if last else ENDLESS if dash else int(first)) + 1)
    if not numbers or numbers[0] < 1:
        raise ValueError
    return numbers


def _close_code(value: Any) -> int:
    code = int(_a(int)(value))
    # RFC 6455: what may stand in a close frame.
    if not 1000 <= code < 5000 or code in {1004, 1005, 1006, 1015}:  # noqa: PLR2004 - the RFC's own numbers
        raise ValueError
    return code


def _series(value: Any) -> Series:
    symbol, _, interval = _a(str)(value).partition("-")
    try:
        return Series.of(symbol, interval)
    except UsageError as error:
        raise ValueError from error


def _symbols(value: Any) -> tuple[str, ...]:
    texts = [_a(str)(each).upper() for each in (value if isinstance(value, list) else [value])]
    if not texts or not all(texts):
        raise ValueError
    return tuple(texts)


def _share(value: Any) -> float:
    share = float(_positive(NUMBER)(value))
    if share > 1:
        raise ValueError
    return share


def _json_text(value: Any) -> str:
    json.loads(_a(str)(value))
    return str(value)


NUMBER = (int, float)
A_MOMENT = "a UTC datetime like 2024-01-15T13:00:00"

# What exchangeInfo can call a symbol's status.
STATUSES = (
    "TRADING", "PENDING_TRADING", "PRE_SETTLE", "SETTLING", "PRE_DELIVERING", "DELIVERING", "DELIVERED", "CLOSE",
    "HALT", "BREAK",
)  # fmt: skip

# When a fault strikes; every kind takes these.
WHEN = ("requests", "from", "until")

KEYS = {
    "requests": Key(_requests, '"3", "3-5" or "3-", counting the requests of the path from 1'),
    "from": Key(_moment, A_MOMENT),
    "until": Key(_moment, A_MOMENT),
    "path": Key(_one_of(*PATHS), "one of " + ", ".join(f'"{path}"' for path in PATHS)),
    "series": Key(_series, 'a series like "BTCUSDT-1h"'),
    "symbol": Key(_symbols, 'a symbol, a pattern like "*USDC", or a list of them'),
    "share": Key(_share, "a number above 0, at most 1"),
    "seed": Key(_a(int), "a whole number"),
    "bar": Key(_moment, A_MOMENT),
    "until_bar": Key(_moment, A_MOMENT),
    "at": Key(_moment, A_MOMENT),
    "resume": Key(_moment, A_MOMENT),
    "listed": Key(_one_of(*STATUSES), "one of " + ", ".join(f'"{status}"' for status in STATUSES)),
    "refusal": Key(_one_of(*REFUSING), "one of " + ", ".join(map(str, REFUSING))),
    "open": Key(_a(NUMBER), "a number"),
    "high": Key(_a(NUMBER), "a number"),
    "low": Key(_a(NUMBER), "a number"),
    "close": Key(_a(NUMBER), "a number"),
    "volume": Key(_a(NUMBER), "a number"),
    "sec": Key(_positive(NUMBER), "a number of seconds above 0"),
    "rows": Key(_positive(int), "a whole number above 0"),
    "ms": Key(_a(int), "a whole number of milliseconds"),
    "upto_ms": Key(_positive(int), "a whole number of milliseconds above 0"),
    "bytes_per_sec": Key(_positive(int), "a whole number above 0"),
    "column": Key(_one_of(*range(12)), "a kline's column, 0 to 11"),
    "value": Key(_json_text, "JSON in a string, like '\"NaN\"' or 'null'"),
    "status": Key(_one_of(*BY_STATUS), "one of " + ", ".join(map(str, BY_STATUS))),
    "retry_after": Key(_positive(int), "a whole number of seconds above 0"),
    "code": Key(_a(int), "a whole number"),
    "msg": Key(_a(str), "a text"),
    "case": Key(_one_of("lower", "upper"), '"lower" or "upper"'),
    "to": Key(_a(str), "a URL"),
    "text": Key(_a(str), "a text"),
    "times": Key(_positive(int), "a whole number above 0"),
    "binary": Key(_flag, "true or false"),
    "close_code": Key(_close_code, "a code that may close a websocket, like 1008"),
}

ANYWHERE = ("path", *CHOICE)
# All of a symbol's series live and end together.
LIFE = ("series", *CHOICE)
VALUES = ("open", "high", "low", "close", "volume")

KINDS = {
    # What the exchange believes its bars to be.
    "late": Kind("for `sec` seconds after each boundary the newest `rows` (1) are not shown", ("sec",), ("rows",)),
    "revise": Kind("`bar` has other values", ("bar",), VALUES),
    "hide": Kind("`bar` does not exist", ("bar",)),
    "flat": Kind("no trade from `bar` to `until_bar`: flat at the last close, volume 0", ("bar", "until_bar")),
    # What becomes of a symbol, by the exchange's clock: its bars, and what exchangeInfo lists it as.
    "pending": Kind(
        "not trading before `at`: no bar, and refused with `refusal` (-1122)", ("at",), ("refusal",), LIFE, "*"
    ),
    "halt": Kind("no bar opens from `at` to before `resume` (never)", ("at",), ("resume", "listed"), LIFE, "*"),
    "settle": Kind(
        "settled `at`: from then on flat, and after `until_bar` nothing", ("at",), ("until_bar", "listed"), LIFE, "*"
    ),
    "delist": Kind("not listed from `at` on, and refused with `refusal` (-1121)", ("at",), ("refusal",), LIFE, "*"),
    # What happens to the rows of an answer; where no `bar` is said, to the last one.
    "duplicate": Kind("a row comes twice", may=("bar",)),
    "disorder": Kind("a row changes places with the one before it", may=("bar",)),
    "off_grid": Kind("a row opens and closes `ms` later than it should", ("ms",), ("bar",)),
    "forming": Kind("endTime is ignored: the forming row is the last of as many rows"),
    "text": Kind("a row's cell `column` is `value` instead", ("column", "value"), ("bar",)),
    "missing_field": Kind("a row lacks its cell `column`", ("column",), ("bar",)),
    # What the answer is instead.
    "empty": Kind("200 and `[]`", scope=ANYWHERE),
    "object": Kind("200 and a JSON object", scope=ANYWHERE),
    "html": Kind("200 and an HTML page", scope=ANYWHERE),
    "cut_json": Kind("200, whole by its Content-Length, but the JSON ends in the middle", scope=ANYWHERE),
    "status": Kind("`status` in the exchange's own words", ("status",), ("retry_after", "code", "msg"), ANYWHERE),
    "redirect": Kind("302 and a Location", ("to",), scope=ANYWHERE),
    # What the wire does.
    "header_case": Kind("all header names in lower or upper `case`", ("case",), scope=ANYWHERE),
    "truncate": Kind("the connection closes in the middle of the body", scope=ANYWHERE),
    "reset": Kind("the connection is reset instead of an answer", scope=ANYWHERE),
    "hang": Kind("silence for `sec` seconds, then the answer", ("sec",), scope=ANYWHERE),
    "drip": Kind("the body comes at `bytes_per_sec`", ("bytes_per_sec",), scope=ANYWHERE),
    # What the exchange takes for the time.
    "skew": Kind("/time is off by `ms`", ("ms",), scope=(), path="time"),
    "stale_time": Kind("/time stands still for `sec` seconds at a time", ("sec",), scope=(), path="time"),
    # What happens on the stream; `requests` counts its connections.
    "no_close": Kind("a bar's closing frame does not come", scope=CHOICE, path=STREAM),
    "late_close": Kind(
        "a bar's closing frame comes `ms` later, or somewhere up to `upto_ms`", ("ms",), ("upto_ms",), CHOICE, STREAM
    ),
    "double_close": Kind("a bar's closing frame comes twice", scope=CHOICE, path=STREAM),
    "garbage": Kind("each frame is `text` instead, `times` over", ("text",), ("times", "binary"), CHOICE, STREAM),
    "silence": Kind("the connection stays, and nothing comes", scope=CHOICE, path=STREAM),
    "disconnect": Kind("every connection ends: cut, or with `close_code`", (), ("close_code",), (), STREAM),
    "refuse": Kind("a connection is refused with `status`", ("status",), ("retry_after",), (), STREAM),
}


def load_faults(path: str | Path) -> tuple[Fault, ...]:
    """The faults of a file; `UsageError` says what is wrong with it."""
    try:
        # With a byte order mark or without.
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: {reason}; expected a TOML file of faults", hint=HINT) from error
    return parse_faults(text, str(path))


def parse_faults(text: str, name: str) -> tuple[Fault, ...]:
    """The faults of a TOML text; `name` is what messages call it."""
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: {error}; expected TOML", hint=HINT) from error
    entries = file.get("fault", [])
    others = sorted(set(file) - {"fault"})
    if others or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{name}: {others[:1] or 'fault'} is not a list of faults; expected [[fault]]", hint=HINT)
    return tuple(_fault(entry, f"{name}: fault {number}") for number, entry in enumerate(entries, start=1))


def _fault(entry: dict[str, Any], where: str) -> Fault:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise _wrong(where, "kind", kind, "one of " + ", ".join(KINDS))
    where = f"{where} ({kind})"
    spec = KINDS[kind]
    given = {name: _read(where, spec.keys, name, value) for name, value in entry.items() if name != "kind"}
    for name in spec.needs:
        if name not in given:
            raise _wrong(where, name, None, KEYS[name].allowed)
    chosen = next((name for name in CHOICE if name in given), None)
    if (chosen or "series" in spec.scope) and given.get("path", "klines") not in OF_SYMBOLS:
        why = f"{chosen} is chosen" if chosen else "it is about rows"
        raise _wrong(where, "path", given["path"], f"where {why}, one of {', '.join(OF_SYMBOLS)}")
    return Fault(
        kind,
        {name: value for name, value in given.items() if name in (*spec.needs, *spec.may)},
        given.get("path", spec.path),
        given.get("requests"),
        given.get("from"),
        given.get("until"),
        given.get("series"),
        *(given.get(name, otherwise) for name, otherwise in zip(CHOICE, ((), 1.0, 0), strict=True)),
    )


def _read(where: str, allowed: tuple[str, ...], name: str, value: Any) -> Any:
    if name not in allowed:
        raise UsageError(f"{where}: no key {name!r}; allowed: {', '.join(('kind', *allowed))}", hint=HINT)
    try:
        return KEYS[name].read(value)
    except (TypeError, ValueError) as error:
        raise _wrong(where, name, value, KEYS[name].allowed) from error


def _wrong(where: str, key: str, seen: Any, allowed: str) -> UsageError:
    said = f"{key} is missing" if seen is None else f"{key} = {seen!r}"
    return UsageError(f"{where}: {said}; allowed: {allowed}", hint=HINT)
