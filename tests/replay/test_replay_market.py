"""A market's file behind the exchange: each symbol as a tape is served, and listed as of the exchange's clock."""

import json
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import duckdb
import pytest

from barfeed.domain.errors import UsageError
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import DATA, HOUR, KLINES, World, at, needs_data

MARKET = DATA / "market" / "klines-1h-2026q1.parquet"
CHINESE = "币安人生USDT"
DAY = 24 * HOUR
# What listed[name] is.
TOLD = ("status", "contractType", "underlyingType", "quoteAsset", "onboardDate", "deliveryDate", "pricePrecision")

# symbol, contract_type, hours from midnight; a price is 100 and the hour, with as many decimals as it is written.
Spans = Sequence[tuple[str, str, range, str]]
SPANS: Spans = (
    ("BTCUSDT", "PERPETUAL", range(48), "0.25"),
    ("TSLAUSDT", "TRADIFI_PERPETUAL", range(48), "0.5"),
    (CHINESE, "PERPETUAL", range(30, 48), "0.125"),
    ("ETHUSDC", "PERPETUAL", range(48), "0.5"),
    ("BTCUSDT_240117", "", range(48), "0.5"),
)


def _rows(symbol: str, kind: str, hours: range, fraction: str) -> str:
    price = f"(100 + hour + {fraction})::DOUBLE"
    return (
        f"SELECT '{symbol}' AS symbol, make_timestamp_ms({at(0)} + hour * {HOUR}) AS timestamp, {price} AS open, "
        f"{price} + 3 AS high, {price} - 2 AS low, {price} + 1 AS close, 10.5 AS volume, '{kind}' AS contract_type "
        f"FROM range({hours.start}, {hours.stop}) AS t(hour)"
    )


def _file(folder: Path, spans: Spans = SPANS, name: str = "klines-1h-2024.parquet", columns: str = "*") -> str:
    rows = " UNION ALL ".join(_rows(*span) for span in spans)
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT {columns} FROM ({rows}) ORDER BY timestamp, symbol) TO '{folder / name}'")
    return str(folder / name)


def _market(folder: Path, now_ms: int, faults: str = "") -> World:
    return World(*Tape.load([_file(folder)]), faults=faults, now_ms=now_ms)


def _listed(world: World) -> dict[str, dict[str, Any]]:
    return {each["symbol"]: each for each in json.loads(world.get("/fapi/v1/exchangeInfo").body)["symbols"]}


def _asked(world: World, symbol: str, more: str = "limit=1") -> Any:
    return json.loads(world.get(KLINES, f"symbol={quote(symbol)}&interval=1h&{more}").body)


def test_each_symbol_of_a_market_is_served_as_a_tape_of_its_own(tmp_path: Path) -> None:
    world = _market(tmp_path, at(40, 30))
    said = f"startTime={at(39)}&limit=1"
    assert [_asked(world, name, said)[0][:6] for name in ("BTCUSDT", "TSLAUSDT", CHINESE)] == [
        [at(39), "139.25", "142.25", "137.25", "140.25", "10.5"],
        [at(39), "139.5", "142.5", "137.5", "140.5", "10.5"],
        [at(39), "139.125", "142.125", "137.125", "140.125", "10.5"],
    ]


def test_a_symbol_in_chinese_is_asked_for_percent_encoded_over_a_socket(tmp_path: Path) -> None:
    with ReplayServer(_market(tmp_path, at(40, 30)).exchange) as server:
        line = HTTPConnection(urlsplit(server.url).netloc)
        line.request("GET", f"{KLINES}?symbol={quote(CHINESE)}&interval=1h&limit=3")
        assert [row[0] for row in json.loads(line.getresponse().read())] == [at(38), at(39), at(40)]
        line.close()


@pytest.mark.parametrize(
    ("now_ms", "listed", "answer"),
    [
        (at(5, 59), None, {"code": -1121, "msg": "Invalid symbol."}),
        (at(6), "PENDING_TRADING", []),
        (at(29, 59), "PENDING_TRADING", []),
    ],
)
def test_a_symbol_is_unknown_then_announced_for_a_day(
    now_ms: int, listed: str | None, answer: object, tmp_path: Path
) -> None:
    world = _market(tmp_path, now_ms)
    assert _listed(world).get(CHINESE, {}).get("status") == listed
    assert _asked(world, CHINESE) == answer


def test_a_symbol_trades_from_its_first_bar_on(tmp_path: Path) -> None:
    world = _market(tmp_path, at(30))
    assert (_listed(world)[CHINESE]["status"], _listed(world)[CHINESE]["onboardDate"]) == ("TRADING", at(30))
    assert [row[0] for row in _asked(world, CHINESE)] == [at(30)]


def test_the_listing_says_what_each_symbol_is(tmp_path: Path) -> None:
    listed = _listed(_market(tmp_path, at(47)))
    never = 4_133_404_800_000
    assert {name: tuple(each[told] for told in TOLD) for name, each in listed.items()} == {
        "BTCUSDT": ("TRADING", "PERPETUAL", "COIN", "USDT", at(0), never, 2),
        "TSLAUSDT": ("TRADING", "TRADIFI_PERPETUAL", "EQUITY", "USDT", at(0), never, 1),
        CHINESE: ("TRADING", "PERPETUAL", "COIN", "USDT", at(30), never, 3),
        "ETHUSDC": ("TRADING", "PERPETUAL", "COIN", "USDC", at(0), never, 1),
        "BTCUSDT_240117": ("TRADING", "CURRENT_QUARTER", "COIN", "USDT", at(0), at(56), 1),
    }


def test_a_quarterly_is_settling_from_its_delivery_on(tmp_path: Path) -> None:
    assert _listed(_market(tmp_path, at(56)))["BTCUSDT_240117"]["status"] == "SETTLING"


def test_without_a_column_for_it_every_symbol_is_a_perpetual(tmp_path: Path) -> None:
    path = _file(tmp_path, SPANS[:2], columns="* EXCLUDE (contract_type)")
    listed = _listed(World(*Tape.load([path]), now_ms=at(47)))
    assert {each["contractType"] for each in listed.values()} == {"PERPETUAL"}


def _tick(world: World) -> str:
    return str(_listed(world)["BTCUSDT"]["filters"][0]["tickSize"])


def test_the_tick_is_that_of_the_prices_around_the_clock(tmp_path: Path) -> None:
    spans: Spans = [
        ("BTCUSDT", "PERPETUAL", range(200), "0.25"),
        ("BTCUSDT", "PERPETUAL", range(200, 600), "0.5"),
        ("BTCUSDT", "PERPETUAL", range(600, 612), "0.125"),
        ("ETHUSDT", "PERPETUAL", range(2), "0.5"),
    ]
    world = World(*Tape.load([_file(tmp_path, spans)]), now_ms=at(0))
    ticks = []
    for moment in (at(0), at(200) - 1, at(200), at(600) - 1, at(600), at(611)):
        world.clock.set(moment)
        ticks.append(_tick(world))
    # Written with the decimals that its prices ever have.
    assert ticks == ["0.010", "0.010", "0.100", "0.100", "0.001", "0.001"]


def test_the_name_of_a_symbol_picks_it_out_of_a_market(tmp_path: Path) -> None:
    [tape] = Tape.load([f"ETHUSDC-1h={_file(tmp_path)}"])
    assert (tape.series.symbol, len(tape)) == ("ETHUSDC", 48)


def test_the_months_of_a_market_are_joined(tmp_path: Path) -> None:
    first = _file(
        tmp_path, [("BTCUSDT", "PERPETUAL", range(10), "0.5"), ("AUSDT", "", range(9), "0.5")], "market-1h-1.parquet"
    )
    second = _file(tmp_path, [("BTCUSDT", "PERPETUAL", range(8, 20), "0.5")], "2.parquet")
    tapes = Tape.load([first, f"ALL-1h={second}"])
    assert {tape.series.symbol: len(tape) for tape in tapes} == {"AUSDT": 9, "BTCUSDT": 20}


@pytest.mark.parametrize(
    ("spans", "named"),
    [
        ([("BTCUSDT", "", range(2), "0.5"), ("BTC/USDT", "", range(2), "0.5")], ["symbol 'BTC/USDT' cannot be one"]),
        ([("A", "", range(2), "0.5"), ("B", "", range(1), "0.5"), ("B", "", range(1), "0.25")], ["B 1h: two versions"]),
        ([("A", "", range(2), "0.5"), ("B", "", range(1), "'inf'::DOUBLE")], ["2024-01-15 00:00", "finite"]),
    ],
)
def test_a_market_that_cannot_be_used_is_refused_naming_it(spans: Spans, named: list[str], tmp_path: Path) -> None:
    path = _file(tmp_path, spans)
    with pytest.raises(UsageError) as caught:
        Tape.load([path])
    assert [part for part in [path, *named] if part not in str(caught.value)] == []


def test_a_symbol_in_a_market_and_in_a_file_of_its_own_is_refused(tmp_path: Path) -> None:
    market = _file(tmp_path)
    with pytest.raises(UsageError, match="BTCUSDT 1h: two tapes"):
        World(*Tape.load([market, f"BTCUSDT-1h={market}"]))


@needs_data
@pytest.mark.long
def test_the_real_market_is_served_to_the_digit_and_its_listings_and_ticks_follow_the_clock() -> None:
    tapes = Tape.load([str(MARKET)])
    _assert_served_to_the_digit(World(*tapes, now_ms=1_773_943_200_000, weight_limit=10**9))
    _assert_listed_as_of_the_clock(World(*tapes, now_ms=1_767_225_600_000))


def _assert_served_to_the_digit(world: World) -> None:
    assert len(_listed(world)) == 539
    values = "epoch_ms(timestamp), open, high, low, close, volume, quote_volume, trades"
    with duckdb.connect() as database:
        expected = database.execute(
            f"SELECT symbol, list(({values}) ORDER BY timestamp) FROM read_parquet('{MARKET}') "
            "WHERE hash(symbol) % 20 = 0 GROUP BY symbol"
        ).fetchall()
    assert len(expected) > 10
    for symbol, bars in expected:
        served = [tuple(map(float, (*row[:6], *row[7:9]))) for row in _all(world, symbol)]
        assert served == [tuple(map(float, bar)) for bar in bars]


def _all(world: World, symbol: str) -> list[list[Any]]:
    rows: list[list[Any]] = []
    while page := _asked(world, symbol, f"startTime={rows[-1][0] + 1 if rows else 0}&limit=1500"):
        rows += page
    return rows


def _assert_listed_as_of_the_clock(world: World) -> None:
    assert len(_listed(world)) == 517
    seen = []
    for moment in (1_769_590_799_999, 1_769_590_800_000):
        world.clock.set(moment)
        seen.append(_listed(world)["FLOWUSDT"]["filters"][0]["tickSize"])
    # 2026-01-28 09:00 was its first price with five decimals.
    assert seen == ["0.00100", "0.00001"]
