import gzip
import json

import pytest

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.replay.exchange import Request
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, HOURLY, NOW, World, at, header

WINDOWS = [
    # what is asked, the hours that answer it
    ("limit=3", [12, 13, 14]),
    ("", list(range(15))),
    (f"startTime={at(10)}&endTime={at(12)}", [10, 11, 12]),
    (f"startTime={at(10) + 1}&endTime={at(12) - 1}", [11]),
    (f"startTime={at(10)}&endTime={at(11) - 1}", [10]),
    (f"startTime={at(10)}&endTime={at(10)}", [10]),
    (f"startTime={at(10) + 1}&endTime={at(10) + 2}", []),
    (f"startTime={at(3)}&limit=2", [3, 4]),
    (f"startTime={at(3)}&endTime={at(9)}&limit=2", [3, 4]),
    (f"endTime={at(9)}&limit=2", [8, 9]),
    (f"endTime={at(9) - 1}&limit=2", [7, 8]),
    (f"endTime={NOW}&limit=2", [13, 14]),
    (f"endTime={at(14) - 1}&limit=2", [12, 13]),
    ("startTime=0&limit=1", [0]),
    (f"endTime={at(-1)}&limit=5", []),
    (f"startTime={at(15)}", []),
    (f"startTime={at(40)}&endTime={at(50)}", []),
    (f"startTime={at(13)}&endTime={at(50)}", [13, 14]),
]

REFUSALS = [
    ("interval=1h", -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
    ("symbol=BTCUSDT", -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."),
    ("symbol=&interval=1h", -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
    ("symbol=NOPE&interval=1h", -1121, "Invalid symbol."),
    ("symbol=BTCUSDT&interval=1s", -1120, "Invalid interval."),
    ("symbol=BTCUSDT&interval=1D", -1120, "Invalid interval."),
    ("symbol=BTCUSDT&interval=1mo", -1120, "Invalid interval."),
    ("symbol=BTCUSDT&interval=1h&limit=1501", -1130, "Data sent for parameter 'limit' is not valid."),
    ("symbol=BTCUSDT&interval=1h&limit=0", -1130, "Data sent for parameter 'limit' is not valid."),
    ("symbol=BTCUSDT&interval=1h&startTime=2&endTime=1", -1023, "Start time is greater than end time."),
    (
        "symbol=BTCUSDT&interval=1h&startTime=now",
        -1100,
        "Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'.",
    ),
    (
        "symbol=BTC/USDT&interval=1h",
        -1100,
        "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
    ),
]


@pytest.mark.parametrize(("asked", "hours"), WINDOWS)
def test_a_window_holds_the_bars_that_open_in_it_with_both_ends_included(asked: str, hours: list[int]) -> None:
    assert World().hours(asked) == hours


def test_a_row_has_twelve_cells_of_the_wires_own_types() -> None:
    row = World().rows(f"startTime={at(13)}&limit=1")[0]
    assert row[:7] == [1705323600000, "113.0", "116.5", "111.0", "114.0", "23.125", 1705327199999]
    assert [type(cell) for cell in row] == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert row[11] == "0"


def test_all_rows_of_a_symbol_have_the_decimals_that_its_bars_need_and_zeros_keep_theirs() -> None:
    minutes = Series("BTCUSDT", Interval.ONE_MINUTE)
    fine = Bar(at(0), 100.25, 100.25, 100.25, 100.25, 0.0)
    world = World(Tape.of(HOURLY, BARS), Tape.of(minutes, [fine]))
    assert world.rows("startTime=0&limit=1")[0][1:6] == ["100.00", "103.50", "98.00", "101.00", "10.125"]
    [row] = json.loads(world.get(query="symbol=BTCUSDT&interval=1m&limit=1").body)
    assert row[1:6] == ["100.25", "100.25", "100.25", "100.25", "0.000"]
    assert row[7:] == ["0.00000", 0, "0.000", "0.00000", "0"]


@pytest.mark.parametrize(("query", "code", "message"), REFUSALS)
def test_a_wrong_request_is_refused_in_the_exchanges_words(query: str, code: int, message: str) -> None:
    answer = World().get(query=query)
    assert (answer.status, json.loads(answer.body)) == (400, {"code": code, "msg": message})
    assert header(answer, "content-type") == "application/json"


def test_a_refusal_is_spelt_as_the_exchange_spells_it() -> None:
    assert World().get(query="symbol=NOPE&interval=1h").body == b'{"code":-1121,"msg":"Invalid symbol."}'


def test_the_symbol_may_be_lower_case() -> None:
    assert len(json.loads(World().get(query="symbol=btcusdt&interval=1h&limit=3").body)) == 3


def test_a_chinese_symbol_is_percent_encoded() -> None:
    world = World(Tape.of(Series("币安人生USDT", Interval.ONE_HOUR), BARS))
    answer = world.get(query="symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&interval=1h&limit=3")
    assert len(json.loads(answer.body)) == 3


@pytest.mark.parametrize("interval", ["5m", "1d", "3d", "1w", "1M"])
def test_an_interval_that_is_not_on_tape_is_empty(interval: str) -> None:
    answer = World().get(query=f"symbol=BTCUSDT&interval={interval}")
    assert (answer.status, answer.body) == (200, b"[]")


def test_parameters_that_the_exchange_does_not_know_are_ignored() -> None:
    assert World().hours("limit=2&colour=red") == [13, 14]


def test_time_moves_the_newest_bar() -> None:
    world = World(now_ms=at(14) - 1)
    assert world.hours("limit=1") == [13]
    world.clock.advance(1)
    assert world.hours("limit=1") == [14]


def test_after_the_tape_ends_its_last_bar_stays_the_newest() -> None:
    world = World(now_ms=at(48))
    assert world.hours("limit=2") == [22, 23]


@pytest.mark.parametrize("path", ["/", "/fapi/v1/depth", "/fapi/v2/klines", "/klines"])
def test_a_path_that_is_not_there_is_a_404_page(path: str) -> None:
    answer = World().get(path)
    assert (answer.status, header(answer, "content-type")) == (404, "text/html")


def test_a_method_other_than_get_is_not_there() -> None:
    assert World().exchange.handle(Request("POST", "/fapi/v1/ping", "", {})).status == 404


def test_ping_and_time() -> None:
    assert World().get("/fapi/v1/ping").body == b"{}"
    assert World().get("/fapi/v1/time").body == b'{"serverTime":1705328625000}'


def test_a_client_that_accepts_gzip_gets_gzip() -> None:
    world = World()
    plain = world.klines()
    query = "symbol=BTCUSDT&interval=1h&limit=5"
    packed = world.get(query=query, headers={"accept-encoding": "gzip, deflate"})
    assert header(packed, "content-encoding") == "gzip"
    assert header(packed, "content-length") == str(len(packed.body))
    assert gzip.decompress(packed.body) == plain.body
    assert header(plain, "content-encoding") is None


def test_an_answer_has_the_headers_of_the_real_one_and_the_exchanges_own_date() -> None:
    answer = World().get("/fapi/v1/ping")
    assert header(answer, "Date") == "Mon, 15 Jan 2024 14:23:45 GMT"
    assert header(answer, "Cache-Control") == "no-cache, no-store, must-revalidate"
    assert header(answer, "X-Cache") == "Miss from cloudfront"


def test_requests_are_counted_by_path() -> None:
    world = World()
    for path in ("/fapi/v1/ping", "/fapi/v1/klines", "/fapi/v1/klines"):
        world.get(path)
    assert world.exchange.requests == {"/fapi/v1/ping": 1, "/fapi/v1/klines": 2}


def test_two_tapes_of_one_series_are_refused() -> None:
    with pytest.raises(UsageError, match="BTCUSDT 1h: two tapes"):
        World(Tape.of(HOURLY, BARS), Tape.of(HOURLY, BARS[:2]))


def test_a_tape_of_unordered_bars_is_refused() -> None:
    with pytest.raises(ValueError, match="must ascend"):
        Tape.of(HOURLY, [BARS[1], BARS[0]])


def test_each_request_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="barfeed.replay"):
        World().klines("limit=1501")
    assert caplog.messages == ["GET /fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1501 400 weight 10"]
