"""Kline <-> bar: the wire's own layout, checked to the type. Pure: bytes in, bars out.

A kline is an array of twelve fields (source: the reference's "Row layout"):
open_time, open, high, low, close, volume, close_time, quote volume, trades, taker base volume,
taker quote volume, unused. Times are ms since 1970-01-01 UTC, prices and volumes decimal text.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from barfeed.domain.bars import Bar, Pull, Turnover
from barfeed.domain.errors import ContractBroken
from barfeed.domain.rules import Finding

if TYPE_CHECKING:
    from barfeed.domain.life import Listing
    from barfeed.domain.sources import Lines

# To the end of the year 9999: what a timestamp can be written as.
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_KLINE_FIELDS = 12
# More in one request is an error on futures, not a silent cap: more in one answer is none of its answers.
KLINES_LIMIT_MAX = 1500
Kline = tuple[_Milliseconds, str, str, str, str, str, _Milliseconds, str, _Count, str, str, str]

# The values that a bar keeps may be negative here, so that the rules can say so and the evidence
# shows it; the columns that no bar keeps are only ever checked here.
DECIMAL = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOT_AS_TYPED = (msgspec.ValidationError, *_NOT_JSON)
# What else can be read, the careful reader reads. So many digits are a finite number.
_PLAIN_DECIMALS = re.compile(r"(?:[0-9]{1,99}(?:\.[0-9]+)?,)*", re.ASCII)
_KLINES = msgspec.json.Decoder(list[Kline])
# A whole answer without a blank, or the rows of a file, as text in which nothing is odd: what is, is read row by row.
_TIME, _WHOLE, _NUMBER = (rb"[1-9][0-9]{12}", rb"(?:0|[1-9][0-9]{0,17})", rb"[0-9]{1,99}(?:\.[0-9]+)?")
_TIME_DIGITS = 13
_CELLS = (_TIME, *[_NUMBER] * 5, _TIME, _NUMBER, _WHOLE, _NUMBER, _NUMBER, _NUMBER)
_TEXTS = [cell if cell in {_TIME, _WHOLE} else b'"' + cell + b'"' for cell in _CELLS]
# Compiled where they are first used: the hour goes by without them.
_PLAIN_ANSWER = rb"\[\[%b(?:\],\[%b)*+\]\]" % (b",".join(_TEXTS), b",".join(_TEXTS))
_PLAIN_FILE = rb"(?:%b\n)++" % b",".join(_CELLS)
# As files of the archive have it since 2022, if they have one.
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    b"\n"
)
_BAR_FIELDS = {1: "open", 2: "high", 3: "low", 4: "close", 5: "volume"}
_OTHER_FIELDS = {7: "quote volume", 9: "taker base volume", 10: "taker quote volume"}
_TEXT_FIELDS = _BAR_FIELDS | _OTHER_FIELDS


class NotJson(ValueError):
    """The body is no JSON at all: broken on its way, or not from the exchange."""


def read_json(body: bytes) -> Any:
    """The body's JSON value; `NotJson` quotes how it begins."""
    try:
        return msgspec.json.decode(body)
    except _NOT_JSON:
        raise NotJson(f"not JSON: {quote(body)}") from None


def quote(body: bytes) -> str:
    """The beginning of a foreign body, safe to print."""
    return ascii(body[:120].decode("utf-8", "replace"))


class _Time(msgspec.Struct):
    serverTime: _Milliseconds  # noqa: N815 - the wire's own name


def read_server_time(body: bytes) -> int:
    """The exchange's clock in ms since 1970-01-01 UTC, from an answer of `/fapi/v1/time`."""
    answer = read_json(body)
    try:
        return msgspec.convert(answer, _Time).serverTime
    except msgspec.ValidationError:
        raise ContractBroken(f"/fapi/v1/time answered {quote(body)}, expected serverTime in ms") from None


def read_klines(body: bytes) -> Pull:
    """The answer of `/fapi/v1/klines` as bars; `ContractBroken` with a finding for each unreadable row."""
    klines = _read_plainly(body)
    return _read_carefully(body) if klines is None else pull_of(klines)


def read_lines(body: bytes) -> "Lines | Pull":
    """The answer of `/fapi/v1/klines` as text where all of it is plain, else as `read_klines` has it, or refuses it."""
    if not re.fullmatch(_PLAIN_ANSWER, body):
        return read_klines(body)
    lines = _lines(body[2:-2].replace(b"],[", b"\n"))
    return lines if len(lines.opens_ms) <= KLINES_LIMIT_MAX else read_klines(body)


def file_lines(content: bytes) -> "Lines | None":
    """The rows of a file of the archive, None where one of them is not plain."""
    rows = content.removeprefix(_HEADER)
    return _lines(rows[:-1]) if re.fullmatch(_PLAIN_FILE, rows) else None


def _lines(text: bytes) -> "Lines":
    # Imported only here: the hour goes by without it.
    from barfeed.domain.sources import Lines  # noqa: PLC0415

    return Lines(text, [int(line[:_TIME_DIGITS]) for line in text.split(b"\n")])


def _read_plainly(body: bytes) -> list[Kline] | None:
    """All rows at once, several times as fast; None where one of them is not as it should be."""
    try:
        klines = _KLINES.decode(body)
    except _NOT_AS_TYPED:
        return None
    columns: list[Any] = list(zip(*klines, strict=True))
    is_plain = all(_are_plain(columns[field]) for field in _TEXT_FIELDS if columns)
    return klines if is_plain and len(klines) <= KLINES_LIMIT_MAX else None


def _are_plain(texts: Sequence[str]) -> bool:
    joined = ",".join(texts) + ","
    # A text may have a comma of its own.
    return bool(_PLAIN_DECIMALS.fullmatch(joined)) and joined.count(",") == len(texts)


def _read_carefully(body: bytes) -> Pull:
    rows = read_json(body)
    if not isinstance(rows, list):
        raise ContractBroken(f"/fapi/v1/klines answered {quote(body)}, expected an array of klines")
    if len(rows) > KLINES_LIMIT_MAX:
        raise ContractBroken(f"/fapi/v1/klines answered {len(rows)} rows, expected at most {KLINES_LIMIT_MAX}")
    readings = [_read_kline(row, number) for number, row in enumerate(rows)]
    findings = [reading for reading in readings if isinstance(reading, Finding)]
    if findings:
        raise ContractBroken(
            f"{len(findings)} of {len(rows)} klines cannot be read; first: {findings[0]}", findings=findings
        )
    return pull_of([reading for reading in readings if not isinstance(reading, Finding)])


def pull_of(klines: Iterable[Kline]) -> Pull:
    """Klines of decimal texts that can be read, as bars and what stands beside them."""
    columns = list(zip(*klines, strict=True))
    if not columns:
        return Pull((), (), ())
    values = [map(float, columns[index]) for index in _BAR_FIELDS]
    quote, taker, taker_quote = (map(float, columns[index]) for index in _OTHER_FIELDS)
    bars = tuple(map(Bar, columns[0], *values))
    return Pull(bars, columns[6], tuple(map(Turnover, quote, columns[8], taker, taker_quote)))


def _read_kline(row: Any, number: int) -> Kline | Finding:
    if not isinstance(row, list) or len(row) != _KLINE_FIELDS:
        seen = f"{len(row)} fields" if isinstance(row, list) else type(row).__name__
        return Finding("twelve_fields", None, f"row {number} has {seen}, expected an array of 12 fields")
    try:
        kline: Kline = msgspec.convert(row, Kline)
    except msgspec.ValidationError as problem:
        return Finding("field_types", None, f"row {number}: {problem}")
    unreadable = _not_decimal(kline)
    if unreadable:
        return Finding("decimal_text", kline[0], unreadable)
    return kline


def _not_decimal(kline: Kline) -> str | None:
    for index, name in _TEXT_FIELDS.items():
        text = str(kline[index])
        if not re.fullmatch(DECIMAL, text) or not math.isfinite(float(text)):
            return f"{name} is {text[:40]!r}, expected a finite decimal number"
        if index in _OTHER_FIELDS and float(text) < 0:
            return f"{name} is {text[:40]!r}, expected none below zero"
    return None


class _Filter(msgspec.Struct):
    filterType: str = ""  # noqa: N815 - the wire's own names
    tickSize: str = ""  # noqa: N815


class _Symbol(msgspec.Struct):
    symbol: str
    status: str = ""
    contractType: str = ""  # noqa: N815
    onboardDate: _Milliseconds | None = None  # noqa: N815
    deliveryDate: _Milliseconds | None = None  # noqa: N815


class _WholeSymbol(_Symbol):
    """With what no feed of one series ever needed: an answer may have it in another form, or not at all."""

    quoteAsset: str = ""  # noqa: N815
    filters: list[_Filter] = []


class _RateLimit(msgspec.Struct):
    rateLimitType: str = ""  # noqa: N815
    interval: str = ""
    intervalNum: int = 0  # noqa: N815
    limit: int = 0


class _Limits(msgspec.Struct):
    rateLimits: list[_RateLimit] = []  # noqa: N815 - msgspec copies it


class _Symbols(msgspec.Struct):
    symbols: list[_Symbol]


class _WholeSymbols(msgspec.Struct):
    symbols: list[_WholeSymbol]


class ExchangeInfo(NamedTuple):
    """The exchange's list of symbols, by name, and the weight that it allows in a minute, None where it tells none."""

    listings: "dict[str, Listing]"
    weight_limit: int | None


def read_exchange_info(body: bytes) -> ExchangeInfo:
    """An answer of `/fapi/v1/exchangeInfo`."""
    return ExchangeInfo(read_listings(body), read_weight_limit(body))


def read_listings(body: bytes) -> "dict[str, Listing]":
    """Every symbol that an answer of `/fapi/v1/exchangeInfo` lists, by its name."""
    # Imported only here: a good hour of one series asks for no list.
    from barfeed.domain.life import Listing  # noqa: PLC0415

    try:
        listed: Sequence[_Symbol] = msgspec.json.decode(body, type=_WholeSymbols).symbols
    except _NOT_AS_TYPED:
        listed = _read_symbols(body)
    return {
        each.symbol: Listing(
            each.symbol, each.status, each.contractType, each.onboardDate or None, each.deliveryDate or None,
            *_quote_and_tick(each),
        )
        for each in listed
    }  # fmt: skip


def _read_symbols(body: bytes) -> list[_Symbol]:
    """Carefully, and no more of each than a feed of one series needs."""
    answer = read_json(body)
    try:
        return msgspec.convert(answer, _Symbols).symbols
    except msgspec.ValidationError as problem:
        raise ContractBroken(f"/fapi/v1/exchangeInfo answered {quote(body)}: {problem}") from None


def _quote_and_tick(symbol: _Symbol) -> tuple[str, float | None]:
    if not isinstance(symbol, _WholeSymbol):
        return "", None
    ticks = (each.tickSize for each in symbol.filters if each.filterType == "PRICE_FILTER")
    return symbol.quoteAsset, next((float(tick) for tick in ticks if re.fullmatch(DECIMAL, tick)), None)


def read_weight_limit(body: bytes) -> int | None:
    """The request weight that an answer of `/fapi/v1/exchangeInfo` allows in a minute; None where it tells none."""
    try:
        limits = msgspec.json.decode(body, type=_Limits).rateLimits
    except msgspec.ValidationError:
        read_json(body)
        raise ContractBroken(f"/fapi/v1/exchangeInfo answered {quote(body)}") from None
    except _NOT_JSON:
        raise NotJson(f"not JSON: {quote(body)}") from None
    for each in limits:
        if (each.rateLimitType, each.interval, each.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1) and each.limit > 0:
            return each.limit
    return None


class ErrorBody(msgspec.Struct):
    """The exchange's own error, `{"code": -1121, "msg": "Invalid symbol."}`."""

    code: int = 0
    msg: str = ""


def read_error(body: bytes) -> ErrorBody | None:
    """The exchange's own error, None where the body is something else (an HTML page, nothing)."""
    try:
        return msgspec.json.decode(body, type=ErrorBody)
    except _NOT_JSON:
        return None
