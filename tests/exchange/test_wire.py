import csv
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import Bar, Pull, Turnover
from barfeed.domain.errors import ContractBroken
from barfeed.domain.life import Listing
from barfeed.domain.sources import Lines
from barfeed.exchange import wire
from world import hours, ms, shared

# As captured: fapi.binance.com, 2026-10-07, limit=2; the second row was still forming.
CAPTURED = (
    b'[[1791382920000,"83137.90","83155.70","83082.90","83084.90","102.437",1791382979999,"8514292.61220",4409,'
    b'"49.832","4141805.93340","0"],'
    b'[1791382980000,"83084.90","83086.20","83051.20","83078.00","10.541",1791383039999,"875630.54300",801,'
    b'"4.063","337524.14620","0"]]'
)
CAPTURED_TURNOVERS = (
    Turnover(8_514_292.6122, 4409, 49.832, 4_141_805.9334),
    Turnover(875_630.543, 801, 4.063, 337_524.1462),
)
# As quoted by Binance for a delisted symbol.
WITHOUT_TRADES = b'[[1671148800000,"1.678","1.678","1.678","1.678","0.0",1671235199999,"0.0000",0,"0.0","0.0000","0"]]'
ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "archive" / "FILUSDT-1m-2024-10-01.csv"


def kline(**changed: Any) -> list[Any]:
    """A row that is all well, with fields changed by their position: `f3="x"`."""
    row: list[Any] = [1_705_323_600_000, "100.0", "110.0", "90.0", "105.0", "7.5", 1_705_327_199_999]
    row += ["790.50", 12, "3.5", "360.10", "0"]
    for field, value in changed.items():
        row[int(field[1:])] = value
    return row


def read(*rows: Any) -> Pull:
    return wire.read_klines(json.dumps(rows).encode())


def test_captured_rows_are_read_as_they_are() -> None:
    assert wire.read_klines(CAPTURED) == Pull(
        (
            Bar(1_791_382_920_000, 83137.9, 83155.7, 83082.9, 83084.9, 102.437),
            Bar(1_791_382_980_000, 83084.9, 83086.2, 83051.2, 83078.0, 10.541),
        ),
        (1_791_382_979_999, 1_791_383_039_999),
        CAPTURED_TURNOVERS,
    )


def test_a_bar_without_trades_is_a_bar() -> None:
    assert wire.read_klines(WITHOUT_TRADES).bars == (Bar(1_671_148_800_000, 1.678, 1.678, 1.678, 1.678, 0.0),)


def test_no_klines_are_an_empty_pull() -> None:
    assert wire.read_klines(b"[]") == Pull((), (), ())


def test_more_rows_than_can_be_asked_for_are_no_answer_and_none_of_them_is_read() -> None:
    with pytest.raises(ContractBroken, match="answered 1501 rows, expected at most 1500") as told:
        read(*[1] * (wire.KLINES_LIMIT_MAX + 1))
    assert told.value.findings == ()


def test_broken_prices_are_still_read_so_that_the_rules_can_name_them() -> None:
    assert read(kline(f3="-5", f5="-1e-3")).bars == (Bar(1_705_323_600_000, 100.0, 110.0, -5.0, 105.0, -0.001),)


@pytest.mark.parametrize(
    "row",
    [
        [],
        kline()[:11],
        [*kline(), "0"],
        {"0": 1},
        "1705323600000",
        1_705_323_600_000,
        None,
    ],
)
def test_a_row_that_has_not_twelve_fields_is_found(row: Any) -> None:
    with pytest.raises(ContractBroken) as told:
        read(row)
    assert [found.rule for found in told.value.findings] == ["twelve_fields"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product((0, 6, 8), ("1705323600000", None, 1.5, 1.0, True, -1, [])),
        *product((1, 2, 3, 4, 5, 7, 9, 10, 11), (1, 1.5, None, False, ["1"])),
        (0, 253_402_300_800_000),
        (6, 2**64),
    ],
)
def test_a_field_of_another_type_is_found(field: int, value: Any) -> None:
    with pytest.raises(ContractBroken) as told:
        read(kline(**{f"f{field}": value}))
    (found,) = told.value.findings
    assert found.rule == "field_types"
    assert found.message.startswith("row 0: ")
    assert found.message.endswith(f"`$[{field}]`")


@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "NaN", "nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "9" * 400, "1,5", "1_0", " 1", "1 ",
     "1\n", "0x10", ".", ".5", "5.", "+1", "--1", "1e", "٣", "1.2.3"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("field", "name"),
    [
        (1, "open"),
        (2, "high"),
        (3, "low"),
        (4, "close"),
        (5, "volume"),
        (7, "quote volume"),
        (9, "taker base volume"),
        (10, "taker quote volume"),
    ],
)
def test_text_that_is_no_finite_decimal_is_found(field: int, name: str, text: str) -> None:
    with pytest.raises(ContractBroken) as told:
        read(kline(**{f"f{field}": text}))
    (found,) = told.value.findings
    assert found.rule == "decimal_text"
    assert found.open_time_ms == 1_705_323_600_000
    assert found.message.startswith(f"{name} is ")


@pytest.mark.parametrize("field", [7, 9, 10])
def test_a_negative_total_that_no_bar_keeps_is_found(field: int) -> None:
    with pytest.raises(ContractBroken, match="expected none below zero"):
        read(kline(**{f"f{field}": "-0.001"}))


def test_every_unreadable_row_is_told_and_counted() -> None:
    with pytest.raises(ContractBroken, match="2 of 3 klines cannot be read; first: row 0 has 0 fields") as told:
        read([], kline(), kline(f1="x"))
    assert [found.rule for found in told.value.findings] == ["twelve_fields", "decimal_text"]


@pytest.mark.parametrize("body", [b"{}", b"null", b"1", b'"[]"', b'{"code":-1121,"msg":"Invalid symbol."}'])
def test_an_answer_that_is_no_array_breaks_the_contract(body: bytes) -> None:
    with pytest.raises(ContractBroken, match="expected an array of klines"):
        wire.read_klines(body)


NO_JSON = [b"", b"<html>502</html>", CAPTURED[:-1], CAPTURED[:100], b"[NaN]", b"[" * 100_000, b"\x1f\x8b\x08", b"[1,]"]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_a_body_that_is_no_json_is_told_apart(body: bytes) -> None:
    with pytest.raises(wire.NotJson, match="not JSON: '"):
        wire.read_klines(body)
    with pytest.raises(wire.NotJson):
        wire.read_server_time(body)
    assert wire.read_error(body) is None


@pytest.mark.parametrize("read_body", [wire.read_klines, wire.read_server_time])
def test_a_body_with_broken_utf8_is_no_json(read_body: Any) -> None:
    with pytest.raises(wire.NotJson):
        read_body(b'["\xff"]')


def test_an_error_with_broken_utf8_is_something_else() -> None:
    assert wire.read_error(b'{"code":-1,"msg":"\xff"}') is None


def test_a_foreign_body_is_quoted_short_and_safe_to_print() -> None:
    assert wire.quote(b"\x1b[31mred\n\xff" + b"x" * 1000) == "'\\x1b[31mred\\n\\ufffd" + "x" * 110 + "'"


def test_the_servers_time_is_read() -> None:
    assert wire.read_server_time(b'{"serverTime":1705323600123}') == 1_705_323_600_123


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"null", b'{"serverTime":null}', b'{"serverTime":"1705323600123"}', b'{"serverTime":1.5}',
     b'{"serverTime":-1}', b'{"serverTime":true}', b'{"serverTime":253402300800000}', b'{"time":1705323600123}'],
)  # fmt: skip
def test_a_time_of_another_shape_breaks_the_contract(body: bytes) -> None:
    with pytest.raises(ContractBroken, match="expected serverTime in ms"):
        wire.read_server_time(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"code":-1121,"msg":"Invalid symbol."}', (-1121, "Invalid symbol.")),
        (b'{"msg":"x","code":0,"more":1}', (0, "x")),
        (b"<html></html>", None),
        (b"", None),
        (b"[]", None),
        (b'{"code":"-1121"}', None),
    ],
)
def test_the_exchanges_own_error_is_read(body: bytes, error: tuple[int, str] | None) -> None:
    seen = wire.read_error(body)
    assert (seen and (seen.code, seen.msg)) == error


positive = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 10**13), *[positive] * 7), max_size=5))
def test_a_kline_survives_the_wire_to_the_last_bit(values: list[Any]) -> None:
    rows = [
        [at, *map(repr, numbers), at + 1, repr(quote), 7, repr(taker), "1", "0"]
        for at, *numbers, quote, taker in values
    ]
    body = json.dumps(rows).encode()
    bars = tuple(Bar(*each[:6]) for each in values)
    turnovers = tuple(Turnover(quote, 7, taker, 1.0) for *_, quote, taker in values)
    assert wire.read_klines(body) == Pull(bars, tuple(at + 1 for at, *_ in values), turnovers)


@given(st.binary(max_size=40).filter(lambda body: body.isascii()))
def test_no_bytes_bring_anything_but_a_named_error(body: bytes) -> None:
    for reads in (wire.read_klines, wire.read_server_time):
        try:
            reads(body)
        except (wire.NotJson, ContractBroken):
            continue


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"real data is absent: {ARCHIVE}")
def test_a_real_day_of_published_text_is_read_bar_for_bar() -> None:
    with ARCHIVE.open() as lines:
        _header, *published = csv.reader(lines)
    rows = [[int(row[0]), *row[1:6], int(row[6]), row[7], int(row[8]), *row[9:]] for row in published]
    pull = read(*rows)
    assert len(pull.bars) == 1440
    assert pull.bars[0] == Bar(1_727_740_800_000, 3.809, 3.825, 3.809, 3.822, 162058.7)
    assert [list(map(float, row[1:6])) for row in published] == [list(bar.values) for bar in pull.bars]


TEXTS = st.one_of(
    st.sampled_from(["1", "0.10", "-1", "1e3", "1,5", "1\n", ",", "", "9" * 400, "nan", "٣", "1.", ".5", "+1", " 1"]),
    st.decimals(0, 10**6, places=4).map(str),
)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 7, 9, 10]), TEXTS), max_size=4))
def test_klines_are_read_at_once_as_they_are_one_by_one(changes: list[tuple[int, str]]) -> None:
    rows = [kline(), *(kline(**{f"f{field}": text}) for field, text in changes)]
    body = json.dumps(rows).encode()
    try:
        carefully: Pull | str = wire._read_carefully(body)
    except ContractBroken as broken:
        carefully = str(broken)
    try:
        read: Pull | str = wire.read_klines(body)
    except ContractBroken as broken:
        read = str(broken)
    assert read == carefully


def symbol(**changed: Any) -> dict[str, Any]:
    """A symbol as `exchangeInfo` lists it: captured, and shortened."""
    filters: list[Any] = [
        {"filterType": "PRICE_FILTER", "maxPrice": "809484", "minPrice": "261.10", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "maxQty": "1000", "minQty": "0.0001", "stepSize": "0.0001"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
    ]
    known = {
        "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
        "pricePrecision": 2, "orderTypes": ["LIMIT", "MARKET"], "filters": filters,
    }  # fmt: skip
    return {name: value for name, value in (known | changed).items() if value is not ...}


LISTED = Listing("BTCUSDT", "TRADING", "PERPETUAL", 1569398400000, 4133404800000)


def listed(*symbols: dict[str, Any]) -> dict[str, Listing]:
    return wire.read_listings(json.dumps({"timezone": "UTC", "symbols": symbols}).encode())


def test_a_listing_tells_what_prices_are_in_and_their_least_step() -> None:
    assert listed(symbol()) == {"BTCUSDT": LISTED._replace(quote="USDT", tick=0.1)}


@pytest.mark.parametrize(
    ("changed", "quote", "tick"),
    [
        ({"quoteAsset": ...}, "", 0.1),
        ({"filters": ...}, "USDT", None),
        ({"filters": []}, "USDT", None),
        ({"filters": [{"filterType": "PRICE_FILTER"}]}, "USDT", None),
        ({"filters": [{"filterType": "LOT_SIZE", "tickSize": "1"}]}, "USDT", None),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "\u001b[2J"}]}, "USDT", None),
        # What has another form tells nothing, and is no reason to refuse a list that no feed of one series needs it of.
        ({"filters": None}, "", None),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": 0.1}]}, "", None),
        ({"quoteAsset": 5}, "", None),
    ],
)
def test_what_a_listing_does_not_tell_is_empty(changed: dict[str, Any], quote: str, tick: float | None) -> None:
    assert listed(symbol(**changed)) == {"BTCUSDT": LISTED._replace(quote=quote, tick=tick)}


@pytest.mark.parametrize("changed", [{"symbol": ...}, {"symbol": 5}, {"status": None}, {"onboardDate": "1"}])
def test_a_list_of_what_are_no_symbols_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(ContractBroken, match="/fapi/v1/exchangeInfo answered"):
        listed(symbol(), symbol(**changed))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"symbols":[{"symbol":5}]', b'{"symbols":[', b"\xff"])
def test_a_list_that_broke_on_its_way_is_no_json(body: bytes) -> None:
    with pytest.raises(wire.NotJson):
        wire.read_exchange_info(body)


def test_a_real_list_tells_the_tick_of_every_symbol_and_the_weight_of_a_minute() -> None:
    info = wire.read_exchange_info(shared("captures/exchangeInfo-2021-07-22.json").read_bytes())
    assert len(info.listings) == 122
    assert {each.quote for each in info.listings.values()} == {"USDT", "BUSD"}
    assert {name: info.listings[name].tick for name in ("BTCUSDT", "DOGEUSDT")} == {
        "BTCUSDT": 0.01,
        "DOGEUSDT": 0.00001,
    }
    assert None not in {each.tick for each in info.listings.values()}
    assert info.weight_limit == 2400


@pytest.mark.parametrize(
    "limits",
    [
        [],
        [{"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}],
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 5, "limit": 1200}],
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 0}],
    ],
)
def test_a_weight_that_is_not_told_is_none(limits: list[dict[str, Any]]) -> None:
    assert wire.read_weight_limit(json.dumps({"rateLimits": limits, "symbols": []}).encode()) is None


def plain_answer(rows: int) -> bytes:
    return msgspec.json.encode(
        [
            [ms(2024, 1, 15, 13) + hours(each), "1.5", "2", "1", "1.25", "10", ms(2024, 1, 15, 14) + hours(each) - 1,
             "15.5", 7, "4", "6.5", "0"]
            for each in range(rows)
        ]
    )  # fmt: skip


def test_a_plain_answer_is_text_with_the_open_times_that_it_has_as_bars() -> None:
    body = plain_answer(3)
    lines, pull = wire.read_lines(body), wire.read_klines(body)
    assert isinstance(lines, Lines)
    assert lines.opens_ms == pull.opens_ms
    cells = [line.replace(b'"', b"").split(b",") for line in lines.text.split(b"\n")]
    assert [tuple(map(float, each[1:6])) for each in cells] == [bar.values for bar in pull.bars]


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        (b'"1.5"', b'"-1.5"'), (b'"1.5"', b'"1.5e0"'), (b'"1.5"', b'"01.5"'), (b",7,", b", 7,"), (b",7,", b",7e2,"),
        (b",7,", b",-7,"), (b'"1.5"', b'1.5'), (b'"1.5"', b'"1,5"'), (b'"1.5"', b'"NaN"'), (b'"0"]', b'"0",1]'),
        (b'"0"]', b'null]'), (b"[[", b" [["), (b"]]", b"]"), (b"]]", b"],[]]"),
    ],
)  # fmt: skip
def test_what_is_odd_in_an_answer_is_read_as_ever(part: bytes, odd: bytes) -> None:
    body = plain_answer(2).replace(part, odd, 1)
    for text in (body, plain_answer(0)):
        try:
            expected: object = wire.read_klines(text)
        except (ContractBroken, wire.NotJson) as refusal:
            with pytest.raises(type(refusal), match=re.escape(str(refusal))):
                wire.read_lines(text)
        else:
            read = wire.read_lines(text)
            # A zero in front makes no other number of it.
            assert read == expected or (isinstance(read, Lines) and odd == b'"01.5"')


def test_more_rows_than_an_answer_can_have_are_refused_as_ever() -> None:
    with pytest.raises(ContractBroken, match="answered 1501 rows"):
        wire.read_lines(plain_answer(1501))


def test_a_file_is_text_with_and_without_its_header_and_none_where_it_is_odd() -> None:
    lines = wire.read_lines(plain_answer(3))
    assert isinstance(lines, Lines)
    rows = lines.text.replace(b'"', b"") + b"\n"
    for content in (rows, wire._HEADER + rows):
        assert wire.file_lines(content) == Lines(rows[:-1], lines.opens_ms)
    for odd in (b"", wire._HEADER, rows[:-1], b"\n" + rows, rows.replace(b"1.5,", b"n/a,", 1), b"open,high\n" + rows):
        assert wire.file_lines(odd) is None
