"""`--generate ALL-1h`: a market that nobody traded on, but could have."""

import json
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

import pytest

from barfeed.domain.bars import Bar, Interval, Pull, Series, Turnover
from barfeed.domain.rules import Asked, check_pull
from barfeed.replay.tapes.klines import TRADITIONAL
from barfeed.replay.tapes.made_up import market, symbols
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import HOUR, KLINES, World, at
from waiting import LONGEST_SEC

START = at(14)
DAY = 24 * HOUR
# Every 41st, which are of both types and in both languages, and the delivery's two.
SOME = slice(4, None, 41)


def _tapes(interval: str = "1h", start_ms: int = START, seed: int = 1) -> list[Tape]:
    return market(interval, start_ms, seed)


def _bars(tape: Tape, first_ms: int, count: int) -> list[Bar]:
    first = tape.first_from(first_ms)
    return [Bar(*tape.kline(index)[:6]) for index in range(first, first + count)]


def _listed(world: World) -> dict[str, dict[str, Any]]:
    return {each["symbol"]: each for each in json.loads(world.get("/fapi/v1/exchangeInfo").body)["symbols"]}


def test_it_has_800_perpetuals_a_quarter_of_them_traditional_and_five_in_chinese() -> None:
    listed = _listed(World(*_tapes(), now_ms=START + 30 * DAY))
    types = [each["contractType"] for each in listed.values()]
    assert {kind: types.count(kind) for kind in types} == {"PERPETUAL": 600, TRADITIONAL: 200, "CURRENT_QUARTER": 2}
    assert sum(not name.isascii() for name in listed) == 5
    assert {each["status"] for each in listed.values()} == {"TRADING"}


def test_newcomers_are_listed_as_time_goes_on() -> None:
    world, seen = World(*_tapes(), now_ms=START), []
    for moment in (START, START + HOUR, START + 6 * HOUR - 1, START + 6 * HOUR, START + 30 * DAY):
        world.clock.set(moment)
        seen.append(sum(each["status"] == "TRADING" for each in _listed(world).values()))
    assert seen == [782, 783, 783, 784, 802]


def test_its_quarterlies_end_on_the_last_friday_of_the_quarter() -> None:
    assert [tape.series.symbol for tape in _tapes()[800:]] == ["BTCUSDT_240329", "ETHUSDT_240329"]
    tape = _tapes()[-1]
    # 2024-03-29 08:00.
    assert tape.open_times[-1] + HOUR == 1_711_699_200_000


def test_names_are_told_apart() -> None:
    assert len(set(symbols())) == 800
    assert all(Series.of(name, "1h").symbol == name for name in symbols())


def test_the_same_seed_makes_the_same_bars_whatever_the_start() -> None:
    one, same, later, other = _tapes(), _tapes(), _tapes(start_ms=START + 90 * DAY), _tapes(seed=2)
    for index in range(4, 780, 41):
        bars = _bars(one[index], START, 5)
        assert bars == _bars(same[index], START, 5)
        assert bars == _bars(later[index], START, 5)
        assert bars != _bars(other[index], START, 5)


@pytest.mark.long
@pytest.mark.parametrize("interval", list(Interval))
def test_a_longer_bar_is_the_sum_of_the_shorter_ones(interval: Interval) -> None:
    finer = "1m" if interval.ms <= HOUR else "1h"
    for tape, parts in zip(_tapes(str(interval))[SOME], _tapes(finer)[SOME], strict=True):
        first = max(tape.first_from(START) - 1, 0)
        whole = tape.kline(first)
        begin, end = (parts.first_from(whole.open_time_ms + shift) for shift in (0, interval.ms))
        bars = [parts.kline(index) for index in range(begin, end)]
        assert (whole.open, whole.close) == (bars[0].open, bars[-1].close)
        assert (whole.high, whole.low) == (max(each.high for each in bars), min(each.low for each in bars))
        assert whole.volume == pytest.approx(sum(each.volume for each in bars), rel=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("interval", ["1m", "1h", "4h"])
def test_what_is_served_keeps_every_rule_that_a_pull_must_keep(interval: str) -> None:
    now_ms = START + 40 * DAY
    tapes = _tapes(interval)[SOME]
    world = World(*tapes, now_ms=now_ms)
    for tape in tapes:
        series = tape.series
        answer = world.get(KLINES, f"symbol={series.symbol}&interval={interval}&endTime={now_ms - 1}&limit=200")
        rows = [row for row in json.loads(answer.body) if row[6] < now_ms]
        pull = Pull(
            tuple(Bar(row[0], *map(float, row[1:6])) for row in rows),
            tuple(row[6] for row in rows),
            tuple(Turnover(float(row[7]), row[8], float(row[9]), float(row[10])) for row in rows),
        )
        assert check_pull(pull, Asked(series, len(rows), now_ms)) == []
        assert len(rows) >= 199
        assert all(bar.volume > 0 for bar in pull.bars)


def test_an_hour_opens_near_where_the_last_one_closed() -> None:
    for tape in _tapes()[SOME]:
        for earlier, later in pairwise(_bars(tape, START, 100)):
            assert later.open == pytest.approx(earlier.close, rel=0.01)


def test_years_of_it_cost_nothing_until_they_are_asked_for() -> None:
    tape = _tapes("1m")[0]
    assert len(tape) > 2_000_000
    assert tape._klines._worth.hour.cache_info().currsize == 0  # type: ignore[attr-defined]


@pytest.mark.long
def test_the_command_serves_it_and_says_so_in_a_line() -> None:
    flags = ["--generate", "ALL-1h", "--start", "2024-01-15T14:00:20", "--speed", "0", "--port", "0", "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-m", "barfeed", "replay", *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            said = [process.stdout.readline() for _ in range(4)]
            assert said[0].startswith("ALL 1h: 802 symbols, ")
            line = HTTPConnection(re.findall(r"127\.0\.0\.1:\d+", "".join(said))[0], timeout=LONGEST_SEC)
            line.request("GET", "/fapi/v1/exchangeInfo")
            assert len(json.loads(line.getresponse().read())["symbols"]) == 787
            line.close()
        finally:
            process.send_signal(signal.SIGTERM)
