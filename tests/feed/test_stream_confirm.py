"""--confirm-reads 2: a bar is appended once the exchange has said it twice."""

import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest

from world import World, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
CLOSE_MS = TARGET_MS + hours(1)


def revised(until: str, volume: float = 1.5) -> str:
    return f'[[fault]]\nkind = "revise"\nbar = 2024-02-10T13:00:00\nvolume = {volume}\nuntil = 2024-02-10T{until}'


def test_two_answers_that_agree_are_appended_after_the_pause(started: World) -> None:
    record = started.run(confirm_sec=10.0)
    assert (record.status, started.clock.now_ms - CLOSE_MS) == ("appended", 40_000)
    assert record.durations_sec["confirm"] == pytest.approx(10.0)
    assert started.bars()[-1] == started.taped()[TARGET_MS]


def test_with_one_read_nothing_is_asked_twice(started: World) -> None:
    started.exchange.requests.clear()
    record = started.run()
    assert started.exchange.requests["/fapi/v1/klines"] == 1
    assert "confirm" not in record.durations_sec


def test_a_bar_that_is_revised_in_between_is_appended_as_it_was_said_twice(started: World) -> None:
    record = started.run(revised("14:00:35"), confirm_sec=10.0)
    # Once wrong, and then twice right.
    assert (record.status, started.clock.now_ms - CLOSE_MS) == ("appended", 50_000)
    assert started.bars()[-1] == started.taped()[TARGET_MS]


def test_the_evidence_is_what_was_confirmed(started: World) -> None:
    record = started.run(revised("14:00:35"), confirm_sec=10.0)
    assert record.pull
    last = (started.feed.folder / record.pull.file).read_text().splitlines()[-1]
    assert float(last.split(",")[5]) == started.taped()[TARGET_MS].volume


def restless(seconds: int) -> str:
    """Another volume every second."""
    seen = [(f"2024-02-10T14:{sec // 60:02}:{sec % 60:02}", sec) for sec in range(30, 31 + seconds)]
    return "\n".join(
        f'[[fault]]\nkind = "revise"\nbar = 2024-02-10T13:00:00\nvolume = {sec}.5\nfrom = {begin}\nuntil = {end}'
        for (begin, sec), (end, _) in pairwise(seen)
    )


def test_two_answers_that_differ_beside_the_bars_are_no_confirmation(
    started: World, caplog: pytest.LogCaptureFixture
) -> None:
    trades = (
        '[[fault]]\nkind = "text"\nbar = 2024-02-10T13:00:00\ncolumn = 8\nvalue = "77"\nuntil = 2024-02-10T14:00:35'
    )
    with caplog.at_level(logging.INFO):
        record = started.run(trades, confirm_sec=10.0)
    assert record.status == "appended"
    assert (
        "BTCUSDT 1h: the exchange has not said 2024-02-10 13:00 twice yet; its two answers differ in what they tell"
        " beside the bars: close time, quote volume, trades or takers' share; asking again in 10 s"
    ) in caplog.messages


def test_an_exchange_that_never_says_the_same_is_late_and_nothing_is_appended(started: World) -> None:
    before = started.bars()
    record = started.run(restless(300), confirm_sec=10.0, max_wait_sec=60.0)
    assert (record.status, record.exit_code, record.appended) == ("bar_late", 3, 0)
    assert record.failure
    assert "2024-02-10 13:00 volume first " in record.failure.message
    assert {found.rule for found in record.failure.findings} == {"confirmed"}
    assert started.bars() == before
    assert record.inference is None
    # The last answer is evidence.
    assert record.pull
    assert record.pull.rows == 6


def test_each_time_that_it_is_asked_again_is_logged_and_counted(
    started: World, caplog: pytest.LogCaptureFixture
) -> None:
    started.exchange.requests.clear()
    with caplog.at_level(logging.INFO):
        record = started.run(restless(300), confirm_sec=10.0, max_wait_sec=60.0)
    # The first answer, the one after the planned pause, and five more: each 10 s of the 60 but for the last.
    assert started.exchange.requests["/fapi/v1/klines"] == 7
    assert record.manifest_path
    assert json.loads(Path(record.manifest_path).read_text())["exchange"]["retries"] == {"unsettled": 5}
    asked_again = [each for each in caplog.messages if "asking again" in each]
    assert len(asked_again) == 5
    assert asked_again[0] == (
        "BTCUSDT 1h: the exchange has not said 2024-02-10 13:00 twice yet; 2024-02-10 13:00 volume first 30.5,"
        " then 40.5; asking again in 10 s"
    )


def test_two_answers_of_other_bars_are_no_confirmation(started: World, caplog: pytest.LogCaptureFixture) -> None:
    hidden = '[[fault]]\nkind = "hide"\nbar = 2024-02-10T10:00:00\nuntil = 2024-02-10T14:00:35'
    with caplog.at_level(logging.INFO):
        record = started.run(hidden, confirm_sec=10.0)
    assert record.status == "appended"
    assert (
        "BTCUSDT 1h: the exchange has not said 2024-02-10 13:00 twice yet; its two answers are not of the same bars;"
        " asking again in 10 s"
    ) in caplog.messages


def test_an_exchange_that_never_says_the_same_is_not_asked_without_a_pause(started: World) -> None:
    started.exchange.requests.clear()
    started.run(restless(300), confirm_sec=0.0, max_wait_sec=60.0)
    assert 30 <= started.exchange.requests["/fapi/v1/klines"] <= 62


def test_nothing_that_is_not_confirmed_is_published_from_the_api_either(started: World) -> None:
    record = started.run(restless(300), confirm_sec=10.0, max_wait_sec=60.0, inference_source="api")
    assert (record.status, record.inference) == ("bar_late", None)


def test_when_the_second_answer_does_not_come_the_first_is_kept_as_evidence_only(started: World) -> None:
    before = started.bars()
    started.exchange.requests.clear()
    gone = '[[fault]]\nkind = "reset"\nrequests = "2-"'
    record = started.run(gone, confirm_sec=10.0, max_wait_sec=30.0)
    assert (record.status, record.pull and record.pull.rows) == ("exchange_unavailable", 6)
    assert started.bars() == before


def test_a_late_bar_is_not_asked_for_twice(started: World) -> None:
    late = '[[fault]]\nkind = "late"\nrows = 2\nsec = 3000'
    record = started.run(late, confirm_sec=10.0, max_wait_sec=5.0)
    assert record.status == "bar_late"
    assert "confirm" not in record.durations_sec
