from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from barfeed.domain.errors import ContractBroken, ExchangeBlocked, ExchangeUnavailable
from history.backfill.backfill_world import History, hourly
from world import hours, ms


def test_an_empty_store_is_filled_from_the_first_bar_to_the_target(tmp_path: Path) -> None:
    history = History(tmp_path)
    work = history.run()
    assert history.held() == history.closed()
    assert history.held()[-1].open_time_ms == ms(2024, 2, 10, 13)
    assert (work.report.appended, work.report.exit_code, work.report.holes) == (1982, 0, [])


def test_a_second_call_asks_for_no_bar(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run()
    history.asked.clear()
    assert history.run().report.appended == 0
    assert [url for url in history.asked if "klines" in url and "startTime=0" not in url] == []


def test_only_the_span_that_was_asked_for_is_filled(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run(from_ms=ms(2023, 12, 1), to_ms=ms(2023, 12, 2))
    assert history.held() == hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20))[11 * 24 : 12 * 24]


def test_ends_beside_the_grid_take_no_bar_that_opens_outside(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run(from_ms=ms(2023, 12, 1) + 1, to_ms=ms(2023, 12, 1, 3) + 1)
    assert [bar.open_time_ms for bar in history.held()] == [ms(2023, 12, 1, 1), ms(2023, 12, 1, 2), ms(2023, 12, 1, 3)]


def test_an_end_in_the_future_ends_at_the_target(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run(from_ms=ms(2024, 2, 10), to_ms=ms(2030, 1, 1))
    assert history.held()[-1].open_time_ms == ms(2024, 2, 10, 13)


def test_a_span_without_a_closed_bar_asks_and_stores_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    work = history.run(from_ms=ms(2024, 2, 10, 14), to_ms=ms(2024, 2, 10, 15))
    assert (work.report.wanted, work.report.exit_code, history.duckdb.exists()) == (None, 0, False)


def test_a_gap_in_the_middle_is_filled_and_its_neighbours_stay(tmp_path: Path) -> None:
    history = History(tmp_path)
    closed = history.closed()
    history.fill([*closed[:700], *closed[705:]])
    assert history.run().report.appended == 5
    assert history.held() == closed


def test_a_stored_bar_beside_nothing_that_is_missing_is_not_compared(tmp_path: Path) -> None:
    history = History(tmp_path)
    closed = history.closed()
    # A page is 499 bars: from the one that is missing it does not reach the one that differs.
    history.fill([closed[0]._replace(volume=0.125), *closed[1:700], *closed[701:]])
    report = history.run().report
    assert (report.appended, report.mismatches, report.exit_code) == (1, [], 0)


def test_a_stored_bar_that_differs_is_told_and_stays(tmp_path: Path) -> None:
    history = History(tmp_path)
    closed = history.closed()
    wrong = closed[701]._replace(volume=0.125)
    history.fill([*closed[:700], wrong, *closed[703:]])
    report = history.run().report
    # 700 and 702 are missing: one page from the one to the other compares what lies between.
    assert (report.appended, report.compared, report.exit_code) == (2, 1, 1)
    (finding,) = report.mismatches
    assert finding.open_time_ms == wrong.open_time_ms
    assert (finding.stored, finding.exchange) == ({"volume": 0.125}, {"volume": closed[701].volume})
    assert history.held()[701] == wrong


def test_a_hole_of_the_exchange_is_named_and_left(tmp_path: Path) -> None:
    bars = hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20))
    history = History(tmp_path, [*bars[:100], *bars[103:]])
    report = history.run().report
    assert [str(hole) for hole in report.holes] == ["2023-11-24 04:00..2023-11-24 06:00 (3 bars)"]
    assert report.exit_code == 0
    assert history.held() == [bar for bar in bars if bar not in bars[100:103]][: 1982 - 3]


def test_every_request_is_a_page_of_499_that_starts_before_it_ends(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run()
    asked = [parse_qs(urlsplit(url).query) for url in history.asked if "endTime" in url]
    assert len(asked) == 4
    assert {query["limit"][0] for query in asked} == {"499"}
    assert all(int(query["startTime"][0]) <= int(query["endTime"][0]) for query in asked)


@pytest.mark.long
def test_the_weight_stays_under_half_of_what_the_exchange_allows(tmp_path: Path) -> None:
    bars = hourly(ms(2022, 11, 20), ms(2024, 2, 10, 20))
    history = History(tmp_path, bars, weight_limit=20)
    before_ms = history.clock.now_ms
    report = history.run().report
    assert history.held() == history.closed()
    assert report.appended == 10_742
    # 22 pages of weight 2 and two more at 10 a minute, the first half gone: about four minutes, and no refusal.
    # Two threads that sleep at the same time move this clock twice.
    assert 3 <= (history.clock.now_ms - before_ms) / 60_000 <= 9
    assert history.refused == 0


def test_a_given_budget_is_kept(tmp_path: Path) -> None:
    history = History(tmp_path)
    before_ms = history.clock.now_ms
    history.run(weight_budget=10)
    assert not any("exchangeInfo" in url for url in history.asked)
    # time 1, first bar 1, three pages, and one a minute later.
    assert history.clock.now_ms - before_ms < 60_000


@pytest.mark.long
def test_a_fault_on_the_way_is_asked_again(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run(
        fault='[[fault]]\nkind = "status"\nstatus = 503\nrequests = "2-3"\n[[fault]]\nkind = "cut_json"\nrequests = "5"'
    )
    assert history.held() == history.closed()


def test_what_came_before_the_exchange_fell_silent_is_stored_and_the_rest_later(tmp_path: Path) -> None:
    history = History(tmp_path)
    work = history.backfill(fault='[[fault]]\nkind = "status"\nstatus = 503\nrequests = "4-"', max_wait_sec=1)
    with pytest.raises(ExchangeUnavailable):
        work.run()
    held = history.held()
    assert held == history.closed()[: len(held)]
    assert len(held) >= 499
    history.run()
    assert history.held() == history.closed()


def test_a_block_ends_every_request(tmp_path: Path) -> None:
    history = History(tmp_path)
    with pytest.raises(ExchangeBlocked):
        history.run(fault='[[fault]]\nkind = "status"\nstatus = 418\nrequests = "2-"')
    # One in each thread at most.
    assert len([url for url in history.asked if "endTime" in url]) <= 2


def test_a_row_that_breaks_a_rule_is_never_stored(tmp_path: Path) -> None:
    history = History(tmp_path)
    fault = '[[fault]]\nkind = "revise"\nbar = 2023-12-01T00:00:00\nlow = 999999\n'
    with pytest.raises(ContractBroken, match=r"2023-12-01 00:00 .*enclose"):
        history.run(fault=fault)
    assert ms(2023, 12, 1) not in {bar.open_time_ms for bar in history.held()}


def test_a_forming_bar_gets_in_by_no_clock_but_the_exchanges(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.clock.off_sec = 10 * 3600
    history.run()
    assert history.held()[-1].open_time_ms == history.now_ms - 30_000 - hours(1)


def test_a_bar_that_has_not_settled_is_left_to_the_feed(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.clock.go_to(ms(2024, 2, 10, 14) + 9_000)
    history.run()
    assert history.held()[-1].open_time_ms == ms(2024, 2, 10, 12)
    history.clock.go_to(ms(2024, 2, 10, 14) + 11_000)
    history.run()
    assert history.held()[-1].open_time_ms == ms(2024, 2, 10, 13)


def test_a_symbol_without_a_bar_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(ExchangeUnavailable, match="no bar"):
        History(tmp_path, []).run()
