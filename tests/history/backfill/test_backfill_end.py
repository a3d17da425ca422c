"""Where a backfill ends: at a symbol's settlement, though the exchange goes on showing bars without a trade."""

from pathlib import Path

import pytest

from barfeed.cli.commands.history.backfill import backfill
from barfeed.domain.bars import Bar
from barfeed.domain.errors import ExchangeUnavailable
from barfeed.replay.faults.script import parse_faults
from commands import call
from history.backfill.backfill_world import History, hourly
from history.backfill.own_files_world import HEADER, lines, refusal, taken, written
from process import ROOT, machine
from world import hours, ms

SETTLED = '[[fault]]\nkind = "settle"\nat = 2024-02-10T10:30:00\n'
SILENT = f"{SETTLED}until_bar = 2024-02-10T10:00:00\n"
NO_LIST = '[[fault]]\nkind = "status"\nstatus = 503\npath = "exchangeInfo"\n'
END = "BTCUSDT 1h: settled since 2024-02-10 10:30 (SETTLING): its last bar is 2024-02-10 10:00"
LEFT_OUT = f"{END}; what comes after it was not traded and is left out, 3 bars"


def flat(first: str, last: str) -> str:
    return f'[[fault]]\nkind = "flat"\nbar = {first}\nuntil_bar = {last}\n'


def no_trade(runs: str) -> str:
    return f"nothing was traded in {runs}: an outage, or a market after its end"


def lists(history: History) -> int:
    """How often the exchange was asked for its list since the last time."""
    asked = [url for url in history.asked if url.endswith("/exchangeInfo")]
    history.asked.clear()
    return len(asked)


def traded(history: History) -> list[Bar]:
    """Every bar up to the settlement."""
    return [bar for bar in history.closed() if bar.open_time_ms <= ms(2024, 2, 10, 10)]


def still(bar: Bar, close: float) -> Bar:
    """The bar as it would be without a trade since that close."""
    return Bar(bar.open_time_ms, close, close, close, close, 0.0)


@pytest.mark.parametrize("source", ["rest", "archive", "auto"])
def test_what_the_exchange_shows_after_a_settlement_is_not_stored(tmp_path: Path, source: str) -> None:
    history = History(tmp_path)
    report = history.run(source, SETTLED, from_ms=ms(2024, 2, 9)).report
    assert history.held() == traded(history)[-35:]
    assert (report.exit_code, report.holes) == (0, [])
    assert [str(note) for note in report.notes if note.rule == "end"] == [LEFT_OUT]
    # One is of the weight that is allowed.
    assert lists(history) == 2


def test_a_good_backfill_asks_for_no_list_whatever_was_not_traded_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each page is stored by itself; the first one ends with 2023-12-10 18:00.
    monkeypatch.setattr("barfeed.history.backfill.KEEP_AFTER_SEC", 0.0)
    history = History(tmp_path)
    report = history.run(fault=flat("2023-12-10T14:00:00", "2023-12-10T18:00:00")).report
    before = history.bars[493].close
    assert history.held() == [
        still(bar, before) if ms(2023, 12, 10, 14) <= bar.open_time_ms <= ms(2023, 12, 10, 18) else bar
        for bar in history.closed()
    ]
    assert [str(note) for note in report.notes] == [
        f"BTCUSDT 1h: {no_trade('2023-12-10 14:00..2023-12-10 18:00 (5 bars)')}"
    ]
    assert lists(history) == 1
    history.run(weight_budget=1000)
    assert lists(history) == 0


def test_what_was_filled_without_a_trade_is_told_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    fault = "".join(flat(f"2024-01-{day:02d}T05:00:00", f"2024-01-{day:02d}T08:00:00") for day in range(1, 6))
    (note,) = history.run(fault=fault).report.notes
    named = ", ".join(f"2024-01-{day:02d} 05:00..2024-01-{day:02d} 08:00 (4 bars)" for day in (1, 2, 3))
    assert note.message == no_trade(f"{named} and 2 more spans")
    held = history.held()
    history.duckdb.unlink()
    history.fill([bar for bar in held if bar.open_time_ms != ms(2024, 1, 1, 12)])
    assert history.run(fault=fault).report.notes == []


def test_a_single_bar_without_a_trade_is_nothing_to_tell(tmp_path: Path) -> None:
    history = History(tmp_path)
    report = history.run(fault=flat("2024-01-01T05:00:00", "2024-01-01T05:00:00")).report
    assert report.notes == []


def test_an_outage_that_lasts_is_stored_and_told_and_the_list_asked_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    report = history.run(fault=flat("2024-02-10T11:00:00", "2024-02-10T13:00:00")).report
    expected = [*traded(history), *(still(bar, traded(history)[-1].close) for bar in history.closed()[-3:])]
    assert history.held() == expected
    assert [note.message for note in report.notes] == [no_trade("2024-02-10 11:00..2024-02-10 13:00 (3 bars)")]
    assert lists(history) == 2


def test_what_stands_in_the_store_after_the_end_stays_and_is_told(tmp_path: Path) -> None:
    history = History(tmp_path)
    *own, last = traded(history)
    stored = [*own, *(still(bar, last.close) for bar in history.closed()[-3:-1])]
    history.fill(stored)
    (note,) = history.run(fault=SETTLED).report.notes
    assert history.held() == sorted([*stored, last])
    assert str(note) == f"{LEFT_OUT}; what is stored after it, up to 2024-02-10 12:00, was not traded"
    assert f"`{note}`" in (ROOT / "docs" / "operating.md").read_text("utf-8")


def test_a_settled_symbol_of_which_nothing_more_is_shown_has_no_hole(tmp_path: Path) -> None:
    history = History(tmp_path)
    report = history.run(fault=SILENT).report
    assert history.held() == traded(history)
    assert (report.holes, [str(note) for note in report.notes]) == ([], [END])


def test_a_hole_of_the_exchange_before_the_end_is_told_all_the_same(tmp_path: Path) -> None:
    history = History(tmp_path)
    hide = '[[fault]]\nkind = "hide"\nbar = 2024-02-10T08:00:00\n[[fault]]\nkind = "hide"\nbar = 2024-02-10T12:00:00\n'
    report = history.run(fault=SETTLED + hide).report
    assert [str(hole) for hole in report.holes] == ["2024-02-10 08:00"]
    assert LEFT_OUT.replace("3 bars", "2 bars") in map(str, report.notes)


def test_a_halted_symbol_is_told_as_that(tmp_path: Path) -> None:
    history = History(tmp_path)
    report = history.run(fault='[[fault]]\nkind = "halt"\nat = 2024-02-10T11:00:00\n').report
    assert [str(hole) for hole in report.holes] == ["2024-02-10 11:00..2024-02-10 13:00 (3 bars)"]
    assert [str(note) for note in report.notes] == [
        "BTCUSDT 1h: halted (PENDING_TRADING); listed since 2023-11-20 00:00"
    ]


def test_without_the_list_the_end_is_left_to_the_next_call(tmp_path: Path) -> None:
    history = History(tmp_path)
    with pytest.raises(ExchangeUnavailable, match="did not answer /fapi/v1/exchangeInfo"):
        history.run(fault=SETTLED + NO_LIST, max_wait_sec=5, weight_budget=1000)
    assert history.held() == traded(history)
    # With nothing held back, it was only to tell why: what came is stored, and that is well.
    report = history.run(fault=SILENT + NO_LIST, max_wait_sec=5, weight_budget=1000).report
    assert [str(hole) for hole in report.holes] == ["2024-02-10 11:00..2024-02-10 13:00 (3 bars)"]


def test_what_came_before_a_failure_has_no_bar_of_after_the_end(tmp_path: Path) -> None:
    history = History(tmp_path, hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20)))
    history.clock.go_to(ms(2024, 2, 10, 20) + 30_000)
    # The first page that is asked for is one bar, the second begins after the end and the third fails.
    fault = SETTLED.replace("2024-02-10T10:30:00", "2023-12-01T10:30:00")
    down = '[[fault]]\nkind = "status"\nstatus = 503\nrequests = "4-"\n'
    with pytest.raises(ExchangeUnavailable):
        history.run(fault=fault + down, max_wait_sec=1)
    assert history.held()[-1].open_time_ms == ms(2023, 12, 1, 10)


def test_a_file_of_ones_own_ends_there_too(tmp_path: Path) -> None:
    history = History(tmp_path)
    day = [bar for bar in history.closed() if bar.open_time_ms >= ms(2024, 2, 10)]
    after = [still(bar, day[10].close) for bar in day[11:]]
    path = written(tmp_path / "bars.csv", f"{HEADER}\n{lines([*day[:11], *after])}")
    report = taken(history, path, fault=SETTLED).report
    assert history.held() == day[:11]
    assert [str(note) for note in report.notes] == [LEFT_OUT]


def test_a_file_of_nothing_but_that_is_refused(tmp_path: Path) -> None:
    history = History(tmp_path)
    after = [still(bar, 42000.5) for bar in history.closed()[-3:]]
    path = written(tmp_path / "bars.csv", f"{HEADER}\n{lines(after)}")
    problem = refusal(history, path, fault=SETTLED)
    assert str(problem) == f"{path}: every bar of it is left out: {LEFT_OUT.partition(': ')[2]}"
    assert not history.duckdb.exists()


def test_the_command_says_so(tmp_path: Path) -> None:
    with machine(tmp_path, ms(2024, 2, 10, 13)) as ready:
        ready.exchange.faults = parse_faults(SETTLED, "the test")
        ready.clock.advance(hours(1))
        words = ["--from", "2024-02-10", "--duckdb", ready.duckdb, "--base-url", ready.url]
        done = call(backfill, *words)
    assert (done.code, done.err.splitlines()[-1]) == (0, LEFT_OUT.replace("3 bars", "4 bars"))
    assert "appended=11 " in done.out
    assert "hole" not in done.out.replace("holes=0", "")
