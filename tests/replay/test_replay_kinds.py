"""What a symbol has beside its klines, as the exchange tells it: each endpoint's rows, limits, memory and lateness."""

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import Interval, Series
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.rest.kinds.data import PUBLISHED_SEC, published_ms
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.kinds import files
from barfeed.replay.tapes.kinds.positions import Held
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import DATA, HOUR, KLINES, MINUTE, NOW, SEC, World, at, header, needs_data

DAY = 24 * HOUR
FUNDING = "/fapi/v1/fundingRate"
OPEN_INTEREST = "/futures/data/openInterestHist"
# Two months and a half of made-up hours, half a day of them to come.
FIRST = at(0) - 75 * DAY


@lru_cache
def _tapes() -> list[Tape]:
    symbols = ("BTCUSDT", "ETHUSDT", "ADAUSDT", "1000PEPEUSDT")
    return [generate(symbol, "1h", FIRST, 76 * 24, seed=5) for symbol in symbols]


@pytest.fixture
def world() -> World:
    return World(*_tapes())


def _asked(world: World, path: str, query: str) -> Any:
    answer = world.get(path, query)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def _refusal(world: World, path: str, query: str) -> tuple[int, int, str]:
    answer = world.get(path, query)
    said = json.loads(answer.body)
    return answer.status, said["code"], said["msg"]


def _prices(row: list[Any]) -> tuple[float, ...]:
    return tuple(map(float, row[1:5]))


# Rows like klines


@pytest.mark.parametrize("name", ["markPriceKlines", "premiumIndexKlines", "indexPriceKlines"])
def test_their_rows_open_and_close_with_the_klines_and_trade_nothing(world: World, name: str) -> None:
    whose = "pair" if name == "indexPriceKlines" else "symbol"
    rows = _asked(world, f"/fapi/v1/{name}", f"{whose}=BTCUSDT&interval=1h&limit=50")
    traded = _asked(world, KLINES, "symbol=BTCUSDT&interval=1h&limit=50")
    assert [(row[0], row[6], len(row)) for row in rows] == [(row[0], row[6], 12) for row in traded]
    for row in rows:
        opened, high, low, closed = _prices(row)
        assert low <= min(opened, closed) <= max(opened, closed) <= high
        assert row[5] == row[7] == row[9] == row[10] == "0"
        assert all(len(price.partition(".")[2]) == 8 for price in row[1:5])


def test_mark_lies_between_index_and_contract_and_the_premium_is_what_parts_them(world: World) -> None:
    asked = "interval=1h&limit=300"
    traded, marked, premiums = (
        _asked(world, f"/fapi/v1/{name}", f"symbol=ETHUSDT&{asked}")
        for name in ("klines", "markPriceKlines", "premiumIndexKlines")
    )
    indexed = _asked(world, "/fapi/v1/indexPriceKlines", f"pair=ETHUSDT&{asked}")
    for kline, mark, premium, index in zip(traded, marked, premiums, indexed, strict=True):
        # The last one is forming: its premium is on its way.
        if kline[6] < NOW:
            contract = float(kline[4])
            assert float(index[4]) == pytest.approx(contract * (1 - float(premium[4])), abs=2e-8 * contract)
            assert min(float(index[4]), contract) <= float(mark[4]) <= max(float(index[4]), contract)


def test_a_forming_row_grows_into_the_closed_one(world: World) -> None:
    def last() -> list[Any]:
        return list(_asked(world, "/fapi/v1/markPriceKlines", f"symbol=BTCUSDT&interval=1h&startTime={at(14)}")[0])

    forming = last()
    world.clock.set(at(15, 0, 1))
    closed = last()
    assert forming[:2] == closed[:2]
    assert float(closed[3]) <= float(forming[3]) <= float(forming[2]) <= float(closed[2])
    assert forming[4] != closed[4]


def test_index_goes_by_pair(world: World) -> None:
    said = "Mandatory parameter 'pair' was not sent, was empty/null, or malformed."
    assert _refusal(world, "/fapi/v1/indexPriceKlines", "symbol=BTCUSDT&interval=1h") == (400, -1102, said)


def test_they_weigh_what_klines_weigh_of_the_same_limit(world: World) -> None:
    world.get("/fapi/v1/markPriceKlines", "symbol=BTCUSDT&interval=1h&limit=1000")
    assert header(world.klines("limit=1"), "X-MBX-USED-WEIGHT-1M") == "6"
    assert {name: limiter.most for name, limiter in world.exchange.limits.items()} == {
        "weight": 6, "funding": 0, "data": 0, "spot_weight": 0,
    }  # fmt: skip


# Funding


def _hours(rows: list[dict[str, Any]]) -> list[int]:
    return [row["fundingTime"] // HOUR for row in rows]


def test_payments_come_every_eight_four_or_one_hours_some_ms_late(world: World) -> None:
    steps, late = set(), set()
    for tape in _tapes():
        rows = _asked(world, FUNDING, f"symbol={tape.series.symbol}&startTime={FIRST}&limit=1000")
        steps |= {later - hour for hour, later in pairwise(_hours(rows))}
        late |= {row["fundingTime"] % HOUR for row in rows}
        assert all(abs(float(row["fundingRate"])) < 0.002 and float(row["markPrice"]) > 0 for row in rows)
    assert steps <= {1, 4, 8}
    assert 0 in late
    assert len(late) > 5
    assert max(late) < 20


def test_payments_end_with_the_newest_without_a_start_and_begin_with_the_oldest_with_one(world: World) -> None:
    newest = _asked(world, FUNDING, "symbol=BTCUSDT&limit=5")
    assert _asked(world, FUNDING, "symbol=BTCUSDT&limit=5&startTime=0") == newest
    assert newest[-1]["fundingTime"] <= NOW < newest[-1]["fundingTime"] + 8 * HOUR
    oldest = _asked(world, FUNDING, f"symbol=BTCUSDT&limit=5&startTime={newest[0]['fundingTime']}")
    assert oldest == newest
    assert len(_asked(world, FUNDING, f"symbol=BTCUSDT&startTime={FIRST}")) == 100


def test_without_a_symbol_payments_are_of_all_by_time(world: World) -> None:
    rows = _asked(world, FUNDING, f"startTime={at(0) - DAY}&limit=1000")
    moments = [row["fundingTime"] for row in rows]
    assert moments == sorted(moments)
    assert {row["symbol"] for row in rows} == {tape.series.symbol for tape in _tapes()}


def test_the_interval_of_now_is_told_by_funding_info(world: World) -> None:
    told = {row["symbol"]: row["fundingIntervalHours"] for row in _asked(world, "/fapi/v1/fundingInfo", "")}
    for symbol, hours in told.items():
        before, last = _hours(_asked(world, FUNDING, f"symbol={symbol}&limit=2"))
        assert last - before == hours


@pytest.mark.long
def test_a_symbol_can_change_its_interval() -> None:
    symbols = [f"{first}{second}USDT" for first in "ABCDEFGH" for second in "ABCDE"]
    world = World(*(generate(symbol, "4h", FIRST, 76 * 6, seed=5) for symbol in symbols))
    changed = 0
    for symbol in symbols:
        rows = _asked(world, FUNDING, f"symbol={symbol}&startTime={FIRST}&limit=1000")
        changed += len({later - hour for hour, later in pairwise(_hours(rows)[10:])}) > 1
    assert 0 < changed < len(symbols) / 4


def test_before_october_2023_a_payment_tells_no_mark_price() -> None:
    first = 1_640_995_200_000  # 2022-01-01
    world = World(generate("BTCUSDT", "1h", first, 100, seed=5), now_ms=first + 90 * HOUR)
    assert {row["markPrice"] for row in _asked(world, FUNDING, "symbol=BTCUSDT")} == {""}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NOPE", -1121),
        ("symbol=BTCUSDT&limit=1001", -1130),
        ("startTime=5&endTime=4", -1023),
        ("limit=x", -1100),
    ],
)
def test_wrong_requests_for_payments_are_refused(world: World, query: str, code: int) -> None:
    assert _refusal(world, FUNDING, query)[:2] == (400, code)


# Open interest, ratios, takers' volumes


def _data(world: World, name: str, more: str = "limit=500") -> list[dict[str, Any]]:
    return list(_asked(world, f"/futures/data/{name}", f"symbol=BTCUSDT&period=1h&{more}"))


def test_open_interest_is_valued_at_the_price_of_its_moment(world: World) -> None:
    opens = {row[0]: float(row[1]) for row in _asked(world, KLINES, "symbol=BTCUSDT&interval=1h&limit=500")}
    rows = _data(world, "openInterestHist")
    assert len(rows) == 500
    for row in rows[1:]:
        contracts, value = float(row["sumOpenInterest"]), float(row["sumOpenInterestValue"])
        # A bar may open a tick or two beside the last close.
        assert value / contracts == pytest.approx(opens[row["timestamp"]], rel=1e-3)
        assert len(row["sumOpenInterest"].partition(".")[2]) == 8


@pytest.mark.parametrize(
    "name", ["globalLongShortAccountRatio", "topLongShortAccountRatio", "topLongShortPositionRatio"]
)
def test_long_and_short_are_one_and_their_ratio_is_theirs(world: World, name: str) -> None:
    rows = _data(world, name)
    for row in rows:
        long, short = float(row["longAccount"]), float(row["shortAccount"])
        assert long + short == pytest.approx(1, abs=1e-9)
        assert float(row["longShortRatio"]) == pytest.approx(long / short, abs=5e-4)
    assert len({row["longShortRatio"] for row in rows}) > 100


def test_takers_volumes_are_the_klines(world: World) -> None:
    klines = {row[6] + 1: row for row in _asked(world, KLINES, "symbol=BTCUSDT&interval=1h&limit=100")}
    for row in _data(world, "takerlongshortRatio", "limit=90"):
        kline = klines[row["timestamp"]]
        assert float(row["buyVol"]) == float(kline[9])
        assert float(row["buyVol"]) + float(row["sellVol"]) == pytest.approx(float(kline[5]))
        assert float(row["buySellRatio"]) == pytest.approx(float(row["buyVol"]) / float(row["sellVol"]), abs=5e-5)


def test_longer_periods_are_the_shorter_ones_at_their_ends(world: World) -> None:
    def held(period: str) -> dict[int, Any]:
        rows = _asked(world, OPEN_INTEREST, f"symbol=BTCUSDT&period={period}&limit=500")
        return {row["timestamp"]: row for row in rows}

    fine, hourly, longer = map(held, ("5m", "1h", "4h"))
    assert [end for end in longer if end in hourly and longer[end] != hourly[end]] == []
    assert [end for end in hourly if end in fine and hourly[end] != fine[end]] == []
    assert len(set(hourly) & set(fine)) > 35


def test_a_row_comes_some_minutes_after_its_period(world: World) -> None:
    published = published_ms("BTCUSDT", at(15))
    assert PUBLISHED_SEC[0] * SEC <= published <= PUBLISHED_SEC[1] * SEC
    for after, newest in ((published - 1, at(14)), (published, at(15))):
        world.clock.set(at(15) + after)
        assert _data(world, "openInterestHist", "limit=1")[-1]["timestamp"] == newest


def test_nothing_is_known_from_thirty_days_ago(world: World) -> None:
    month = NOW - 30 * DAY
    first = _data(world, "openInterestHist", f"startTime={month}&endTime={month + 5 * HOUR}")[0]["timestamp"]
    assert month <= first < month + HOUR
    said = (400, -1130, "parameter 'startTime' is invalid.")
    assert _refusal(world, OPEN_INTEREST, f"symbol=BTCUSDT&period=1h&startTime={month - 1}") == said
    assert _data(world, "openInterestHist", f"endTime={month - 1}") == []


def test_what_does_not_fit_is_left_out_at_the_beginning(world: World) -> None:
    rows = _data(world, "openInterestHist", f"startTime={NOW - 20 * DAY}&endTime={at(10)}&limit=3")
    assert [row["timestamp"] for row in rows] == [at(8), at(9), at(10)]


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("symbol=NOPE&period=1h", -1121, "symbol"),
        ("symbol=BTCUSDT", -1102, "period"),
        ("symbol=BTCUSDT&period=8h", -1130, "period"),
        ("symbol=BTCUSDT&period=1h&limit=501", -1130, "limit"),
        ("symbol=BTCUSDT&period=1h&endTime=x", -1130, "endTime"),
        (f"symbol=BTCUSDT&period=1h&startTime={NOW}&endTime={NOW - 1}", -1130, "endTime"),
    ],
)
def test_wrong_requests_for_statistics_are_refused(world: World, query: str, code: int, named: str) -> None:
    status, seen, said = _refusal(world, OPEN_INTEREST, query)
    assert (status, seen) == (400, code)
    assert named in said


# Limits of their own


# Of the first each is refused for what it lacks, which costs as much.
@pytest.mark.parametrize(("path", "most", "status"), [(OPEN_INTEREST, 1000, 400), ("/fapi/v1/fundingInfo", 500, 200)])
def test_each_limit_is_of_any_five_minutes_and_tells_no_weight(world: World, path: str, most: int, status: int) -> None:
    def statuses(times: int) -> set[int]:
        return {world.get(path).status for _ in range(times)}

    assert statuses(most // 2) == {status}
    world.clock.advance(4 * MINUTE)
    assert statuses(most // 2) == {status}
    refused = world.get(path)
    assert (refused.status, header(refused, "X-MBX-USED-WEIGHT-1M")) == (429, None)
    assert f"{most} requests per 5 minutes" in json.loads(refused.body)["msg"]
    # The first half is forgotten; the weight of other paths is another matter.
    world.clock.advance(MINUTE + 1)
    assert statuses(most // 2 - 1) == {status}
    assert world.klines("limit=1").status == 200
    assert [statuses(1), statuses(1), statuses(1)] == [{429}, {418}, {418}]
    spent = world.exchange.limits["data" if path == OPEN_INTEREST else "funding"]
    assert spent.refused == 4


# Spot


def test_spot_is_another_host_with_weights_and_words_of_its_own(world: World) -> None:
    rows = _asked(world, "/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=5000")
    assert len(rows) == 1000
    for row, kline in zip(rows[-9:], world.rows("limit=9"), strict=True):
        assert (row[0], row[6]) == (kline[0], kline[6])
        assert float(row[4]) == pytest.approx(float(kline[4]), rel=2e-3)
        assert 0 < float(row[9]) < float(row[5]) < float(kline[5])
        assert len(row[1].partition(".")[2]) == 8
    assert _asked(world, "/api/v3/klines", "symbol=BTCUSDT&interval=1h&startTime=5&endTime=4") == []
    assert _refusal(world, "/api/v3/klines", "symbol=1000PEPEUSDT&interval=1h")[:2] == (400, -1121)
    assert _refusal(world, "/api/v3/klines", "symbol=BTCUSDT&interval=1h&x=1")[:2] == (400, -1104)
    told = _asked(world, "/api/v3/exchangeInfo", "")
    assert [each["symbol"] for each in told["symbols"]] == ["BTCUSDT", "ETHUSDT", "ADAUSDT"]
    used = world.get("/api/v3/time")
    assert header(used, "X-MBX-USED-WEIGHT-1M") == str(4 * 2 + 20 + 1)
    assert world.exchange.limits["weight"].most == 1


# Faults


def test_a_late_kind_is_late_by_the_exchanges_clock() -> None:
    world = World(*_tapes(), faults="[[fault]]\nkind='late'\nsec=5400\npath='openInterestHist'\nsymbol='BTCUSDT'")
    assert _data(world, "openInterestHist", "limit=1")[0]["timestamp"] == at(12)
    assert _data(world, "globalLongShortAccountRatio", "limit=1")[0]["timestamp"] == at(14)
    assert _asked(world, OPEN_INTEREST, "symbol=ETHUSDT&period=1h&limit=1")[0]["timestamp"] == at(14)


# `bar` is the beginning of a period, of funding the hour; a row of statistics tells the period's end.
BENT = {
    "hide": "", "duplicate": "", "disorder": "", "off_grid": "ms = 7\n", "missing_field": "column = 1\n",
    "text": "column = 1\nvalue = '\"-1\"'\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", BENT)
def test_rows_of_statistics_can_be_bent_like_klines(kind: str) -> None:
    script = f"[[fault]]\nkind='{kind}'\npath='openInterestHist'\nbar=2024-01-15T12:00:00\n{BENT[kind]}"
    rows = _data(World(*_tapes(), faults=script), "openInterestHist", "limit=3")
    times = [(row["timestamp"] - at(0)) / HOUR for row in rows]
    expected = {"hide": [11, 12, 14], "duplicate": [12, 13, 13, 14], "disorder": [13, 12, 14]}
    assert times == expected.get(kind, [12, 13 + (7 / HOUR if kind == "off_grid" else 0), 14])
    assert ("sumOpenInterest" in rows[1]) == (kind != "missing_field")
    assert (rows[1].get("sumOpenInterest") == "-1") == (kind == "text")


def test_a_payment_can_be_late_and_bent() -> None:
    paid = _hours(_asked(World(*_tapes()), FUNDING, "symbol=BTCUSDT&limit=3"))
    world = World(*_tapes(), faults="[[fault]]\nkind='late'\nsec=86400\npath='fundingRate'")
    assert _asked(world, FUNDING, "symbol=BTCUSDT&limit=3")[-1]["fundingTime"] <= NOW - DAY
    moment = f"{paid[1] * HOUR // 1000}"
    world = World(
        *_tapes(),
        faults=f"[[fault]]\nkind='duplicate'\npath='fundingRate'\nbar={_toml(int(moment))}",
    )
    assert _hours(_asked(world, FUNDING, "symbol=BTCUSDT&limit=3")) == [paid[0], paid[1], paid[1], paid[2]]


def _toml(at_sec: int) -> str:
    (text,) = duckdb.execute("SELECT strftime(make_timestamp_ms(?), '%Y-%m-%dT%H:%M:%S')", [at_sec * 1000]).fetchone()  # type: ignore[misc]  # one row
    return str(text)


@pytest.mark.parametrize("kind", ["status", "reset"])
def test_a_whole_answer_is_struck_by_its_own_count(kind: str) -> None:
    more = "status=503\n" if kind == "status" else ""
    world = World(*_tapes(), faults=f"[[fault]]\nkind='{kind}'\npath='fundingRate'\nrequests='2'\n{more}")
    answers = [world.get(FUNDING, "symbol=BTCUSDT&limit=1") for _ in range(3)]
    assert [answer.status == 200 and answer.effect is None for answer in answers] == [True, False, True]
    assert world.klines().status == 200


def test_what_is_halted_has_no_rows_of_the_pause() -> None:
    script = "[[fault]]\nkind='halt'\nat=2024-01-15T11:00:00\nresume=2024-01-15T13:00:00\n"
    rows = _data(World(*_tapes(), faults=script), "openInterestHist", "limit=2")
    assert [row["timestamp"] for row in rows] == [at(11), at(14)]


# What was found


def test_recorded_open_interest_is_told_as_it_was_and_made_up_around_it() -> None:
    held = [Held(at(4), 1000.0, 5e6), Held(at(8), 2000.0, 9e6)]
    clock = HandClock(NOW)
    exchange = ReplayExchange(_tapes(), clock.now_ms, recorded=files.Recorded({}, {"BTCUSDT": held}))
    answer = exchange.handle(Request("GET", OPEN_INTEREST, "symbol=BTCUSDT&period=1h&limit=14", {}))
    told = {row["timestamp"]: float(row["sumOpenInterest"]) for row in json.loads(answer.body)}
    assert [told[at(hour)] for hour in (4, 5, 6, 7, 8)] == [1000, 1250, 1500, 1750, 2000]
    assert 1500 < told[at(9)] < 2500
    assert 700 < told[at(3)] < 1300


@pytest.mark.long
@needs_data
def test_what_was_found_of_a_market_is_served_row_for_row() -> None:
    market = DATA / "market"
    paths = [str(market / f"{name}-2026q1.parquet") for name in ("funding", "open-interest-4h")]
    bars, further = files.parted([str(market / "klines-1h-2026q1.parquet"), *paths])
    assert (bars, further) == ([str(market / "klines-1h-2026q1.parquet")], paths)
    recorded = files.load(further)
    hours = Tape.of(Series("FLOWUSDT", Interval.ONE_HOUR), generate("FLOWUSDT", "1h", 1_767_225_600_000, 1870, 1).bars)
    now = 1_773_662_400_000 + 40 * HOUR  # 2026-03-18 04:00
    exchange = ReplayExchange([hours], HandClock(now).now_ms, recorded=recorded)

    def asked(path: str, query: str) -> list[dict[str, Any]]:
        return list(json.loads(exchange.handle(Request("GET", path, query, {})).body))

    paid = asked(FUNDING, f"symbol=FLOWUSDT&startTime={now - 30 * DAY}&limit=1000")
    expected = [pair for pair in recorded.funding["FLOWUSDT"] if now - 30 * DAY <= pair[0] <= now]
    assert [(row["fundingTime"], float(row["fundingRate"])) for row in paid] == expected
    held = asked(OPEN_INTEREST, "symbol=FLOWUSDT&period=4h&limit=500")
    known = {each.at_ms: each.contracts for each in recorded.held["FLOWUSDT"]}
    both = [row for row in held if row["timestamp"] in known]
    assert len(both) > 150
    assert [float(row["sumOpenInterest"]) for row in both] == [known[row["timestamp"]] for row in both]


def test_a_file_that_is_neither_is_left_to_the_reader_of_bars(tmp_path: Path) -> None:
    nothing = tmp_path / "x.parquet"
    nothing.write_bytes(b"PAR1")
    assert files.parted([str(nothing), "none.csv"]) == ([str(nothing), "none.csv"], [])
