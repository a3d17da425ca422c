"""Rows of every kind as the exchange tells them, and what is none of its answers."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.errors import ContractBroken
from barfeed.domain.kinds.table import KINDS
from barfeed.exchange.kinds.wire import Told, read_rows
from barfeed.exchange.wire import NotJson

KLINE = [
    1691603820000,
    "-0.00042931",
    "-0.00023641",
    "-0.00059406",
    "-0.00043659",
    "0",
    1691603879999,
    "0",
    12,
    "0",
    "0",
    "0",
]
# As they were captured, or stand in the exchange's own documents.
ANSWERS: dict[str, tuple[list[Any], list[Told]]] = {
    "premium_index": ([KLINE], [Told("", 1691603820000, (-0.00042931, -0.00023641, -0.00059406, -0.00043659))]),
    "klines": (
        [[1499040000000, "1", "8", "1", "2", "148976.1", 1499644799999, "2434.19", 308, "1756.87", "28.46", "0"]],
        [Told("", 1499040000000, (2434.19, 308, 1756.87, 28.46))],
    ),
    "funding": (
        [
            {"symbol": "BTCUSDT", "fundingRate": "-0.03750000", "fundingTime": 1570608000000, "markPrice": "34287.54"},
            {"symbol": "ETHUSDT", "fundingRate": "0.00010000", "fundingTime": 1570636800007, "markPrice": ""},
        ],
        [Told("BTCUSDT", 1570608000000, (-0.0375, 34287.54)), Told("ETHUSDT", 1570636800007, (0.0001, None))],
    ),
    "open_interest": (
        [
            {
                "symbol": "BTCUSDT", "sumOpenInterest": "109115.83500000", "sumOpenInterestValue": "8785524572.892076",
                "CMCCirculatingSupply": "20086328.00000000", "timestamp": 1789912200000,
            }
        ],
        [Told("BTCUSDT", 1789912200000, (109115.835, 8785524572.892076))],
    ),
    "long_short_ratio": (
        [{"symbol": "BTCUSDT", "longShortRatio": "1.9559", "longAccount": "0.6617", "shortAccount": "0.3382",
          "timestamp": "1583139900000"}],
        [Told("BTCUSDT", 1583139900000, (1.9559, 0.6617, 0.3382))],
    ),
    "taker_volume": (
        [{"buySellRatio": "1.5586", "buyVol": "387.3300", "sellVol": "248.5030", "timestamp": 1585614900000}],
        [Told("", 1585614900000, (1.5586, 387.33, 248.503))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_to_its_rows(name: str) -> None:
    answer, told = ANSWERS[name]
    assert read_rows(KINDS[name], json.dumps(answer).encode()) == told


@pytest.mark.parametrize("name", KINDS)
def test_no_rows_are_an_answer(name: str) -> None:
    assert read_rows(KINDS[name], b"[]") == []


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("open_interest", '{"code": 0}', "openInterestHist answered .* expected an array of rows"),
        ("open_interest", '[{"symbol": "BTCUSDT", "timestamp": 5}]', "has sumOpenInterest None, expected a finite"),
        ("open_interest", '[["x"]]', "row 0 is list, expected an object"),
        ("open_interest", '[{"symbol": 5, "timestamp": 5}]', "is of symbol 5"),
        ("funding", '[{"symbol": "B", "fundingRate": "nan", "fundingTime": 5}]', "has fundingRate 'nan'"),
        ("funding", '[{"symbol": "B", "fundingRate": true, "fundingTime": 5}]', "has fundingRate True"),
        ("funding", '[{"symbol": "B", "fundingRate": "1", "fundingTime": -5}]', "has fundingTime -5, expected ms"),
        ("funding", '[{"symbol": "B", "fundingRate": "1", "fundingTime": true}]', "has fundingTime True, expected ms"),
        ("premium_index", '[[1, "2"]]', "row 0 has 2 fields, expected an array of 12 fields"),
        ("premium_index", '[{}]', "row 0 has dict, expected an array of 12 fields"),
        ("premium_index", json.dumps([[*KLINE[:1], "1e999", *KLINE[2:]]]), "has 1 '1e999', expected a finite"),
        ("funding", json.dumps([{"symbol": "B", "fundingTime": "9" * 5000}]), "fundingTime .*expected ms since"),
        ("funding", '[{"symbol": "B", "fundingRate": "1", "fundingTime": 5, "markPrice": [[]]}]', "has markPrice"),
        ("spot_klines", json.dumps([KLINE] * 1001), "answered 1001 rows, expected at most 1000"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_told_with_what_was_expected(name: str, body: str, told: str) -> None:
    with pytest.raises(ContractBroken, match=told):
        read_rows(KINDS[name], body.encode())


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each, max_size=12) | st.dictionaries(st.text(), each),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(ANSWERS)), place=st.integers(min_value=0, max_value=11), odd=ODD)
def test_whatever_stands_in_a_row_is_read_or_refused_in_our_own_words(name: str, place: int, odd: object) -> None:
    answer, _ = ANSWERS[name]
    row: Any = answer[0].copy()
    if isinstance(row, dict):
        row[sorted(row)[place % len(row)]] = odd
    else:
        row[place] = odd
    for rows in ([row], [odd], odd):
        # What is no JSON number at all is asked for again.
        with suppress(ContractBroken, NotJson):
            for told in read_rows(KINDS[name], json.dumps(rows).encode()):
                assert told.stamp_ms >= 0
                assert all(value is None or math.isfinite(value) for value in told.values)
