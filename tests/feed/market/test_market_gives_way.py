"""A market's store that is read for as long as somebody likes: every window is given all the same, and nothing lost."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.feed.market.record import MarketRecord
from barfeed.replay.tapes.tape import Tape
from holding import held
from market_world import MarketWorld
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT", "币安人生USDT")
HOURS = 30
# Of the thirty, those that are lived: in each, all that have passed since the first are pending.
LIVED = (1, 2, 24, HOURS)


def taped(symbol: str) -> tuple[Bar, ...]:
    return made_up_bars(TARGET_MS + hours(40), 200, "BTCUSDT" if not symbol.isascii() else symbol)


def fed(folder: Path, template: Path) -> MarketWorld:
    """A market that has lived its first hour."""
    folder.mkdir()
    tapes = [Tape.of(Series.of(symbol, "1h"), taped(symbol)) for symbol in SYMBOLS]
    market = MarketWorld(folder, tapes, TARGET_MS + hours(1) + 30_000)
    market.live_first_hour(template)
    return market


def lived(market: MarketWorld, hour: int, **how: Any) -> MarketRecord:
    market.clock.go_to(TARGET_MS + hours(1 + hour) + 30_000)
    return market.run_pass(**({"catch_up": True} | how))


def manifest(record: MarketRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text())
    return told


@pytest.fixture
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "market_gives_way"


@pytest.fixture
def market(tmp_path: Path, template: Path) -> MarketWorld:
    return fed(tmp_path / "held", template)


@pytest.mark.long
def test_thirty_hours_beside_a_reader_publish_what_the_store_would_have_given(tmp_path: Path, template: Path) -> None:
    market, free = fed(tmp_path / "held", template), fed(tmp_path / "free", template)
    with held(market.duckdb):
        for hour in LIVED:
            record = lived(market, hour, csv_for=("BTCUSDT",))
            lived(free, hour, csv_for=("BTCUSDT",))
            assert (record.status, record.exit_code) == ("pending", 0)
            assert [(each.appended, each.pending) for each in record.outcomes.values()] == [(0, hour)] * 5
            assert market.windows() == free.windows()
            latest = "latest_for_inference_BTCUSDT.csv"
            assert (market.feed.folder / latest).read_bytes() == (free.feed.folder / latest).read_bytes()
    record = lived(market, HOURS + 1)
    lived(free, HOURS + 1)
    assert [each.appended for each in record.outcomes.values()] == [HOURS + 1] * 5
    assert (market.windows(), market.stored()) == (free.windows(), free.stored())


def test_it_is_told_in_the_line_the_warnings_and_the_manifest(market: MarketWorld) -> None:
    with held(market.duckdb) as holder:
        record = lived(market, 2)
    (warning,) = record.warnings
    assert f"(PID {holder}): 10 bars are in the window and not stored yet" in warning
    assert " appended=0 bars=0 pending=5 " in record.line()
    told = manifest(record)
    assert (told["status"], told["inference_from"], told["warnings"]) == ("pending", "db,api", [warning])
    assert [(each["status"], each["pending"]) for each in told["outcomes"]] == [("pending", 2)] * 5


def test_without_catch_up_the_pass_is_refused_with_what_helps(market: MarketWorld) -> None:
    with held(market.duckdb):
        record = lived(market, 1, catch_up=False)
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert record.failure
    assert record.failure.hint.endswith("their windows meanwhile: barfeed run --symbols all --catch-up")


def test_one_symbols_mismatch_is_its_own_and_the_others_are_given_theirs(market: MarketWorld) -> None:
    with duckdb.connect(market.duckdb) as connection:
        connection.execute(
            "UPDATE ohlcv_1h SET close = close + 1 WHERE symbol = 'ETHUSDT' AND timestamp = '2026-03-10 12:00'"
        )
    with held(market.duckdb):
        record = lived(market, 1)
    assert (record.status, record.exit_code) == ("mismatch", 1)
    assert sorted(market.windows()) == [symbol for symbol in SYMBOLS if symbol != "ETHUSDT"]
    assert record.outcomes["BTCUSDT"].status == "pending"


def test_what_is_listed_anew_meanwhile_is_noted_by_the_pass_that_gets_the_file(market: MarketWorld) -> None:
    new = Tape.of(Series.of("XRPUSDT", "1h"), taped("XRPUSDT"))
    market.tapes.append(new)
    again = MarketWorld(market.duckdb.parent, market.tapes, TARGET_MS + hours(2) + 30_000)
    with held(again.duckdb):
        record = again.run_pass(catch_up=True)
        assert (record.exit_code, record.events) == (0, ())
        assert again.windows()["XRPUSDT"][-1].open_time_ms == TARGET_MS + hours(1)
    record = lived(again, 2)
    assert [str(event) for event in record.events] == ["XRPUSDT: newly listed (TRADING, PERPETUAL)"]
    assert len(again.stored()["XRPUSDT"]) >= 48


def test_two_feeds_of_one_held_store_give_the_same_windows_and_append_once(market: MarketWorld) -> None:
    with held(market.duckdb):
        windows = []
        for _ in range(2):
            lived(market, 1)
            windows.append(market.windows())
    assert windows[0] == windows[1]
    appended = [sum(each.appended for each in lived(market, 1).outcomes.values()) for _ in range(2)]
    assert appended == [5, 0]


def test_beside_a_writer_the_last_windows_stand_in(tmp_path: Path, template: Path) -> None:
    market, free = fed(tmp_path / "held", template), fed(tmp_path / "free", template)
    with held(market.duckdb, to="write"):
        for hour in (1, 3):
            record = lived(market, hour)
            assert (record.status, record.exit_code, "is held by" in record.warnings[0]) == ("pending", 0, True)
            assert lived(free, hour).exit_code == 0
            assert market.windows() == free.windows()
        for refused in (lived(market, 4, catch_up=False), lived(market, 4, catch_up=False, dry_run=True)):
            assert refused.status == "store_unusable"
            assert refused.failure
            assert refused.failure.hint.count("or let the models have their windows meanwhile") == 1
    assert lived(market, 4).exit_code == lived(free, 4).exit_code == 0
    assert market.stored() == free.stored()


LATE = """
[[fault]]
kind = "late"
symbol = "ETHUSDT"
sec = 14
rows = 2
from = 2026-03-10T15:00:00
"""


@pytest.mark.long
def test_a_watch_that_asks_for_a_late_series_again_gives_all_windows_once_more(market: MarketWorld) -> None:
    market.clock.go_to(TARGET_MS + hours(2) + 500)
    with held(market.duckdb):
        first, second = market.watch(2, LATE)
        assert (first.exit_code, first.outcomes["ETHUSDT"].status) == (3, "bar_late")
        assert second.exit_code == 0
        assert [each.pending for each in second.outcomes.values()] == [1] * 5
        assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS + hours(1)}
        assert sorted(market.windows()) == sorted(SYMBOLS)
    lived(market, 2)
    assert {len(bars) for bars in market.stored().values()} == {50}


NO_WINDOWS = {
    "nothing": "",
    "no row": "SELECT * FROM read_parquet('{whole}') LIMIT 0",
    "a table of another": "SELECT 'BTCUSDT' AS symbol, 1.5 AS price",
    "words for numbers": "SELECT * REPLACE ('much' AS volume) FROM read_parquet('{whole}')",
}


@pytest.mark.parametrize("made", [*NO_WINDOWS.values(), "cut"], ids=[*NO_WINDOWS, "cut"])
def test_last_windows_that_are_cut_or_anothers_stand_in_for_nothing(market: MarketWorld, made: str) -> None:
    latest = market.feed.folder / "latest_for_inference.parquet"
    content = latest.read_bytes()
    if made.startswith("SELECT"):
        duckdb.execute(f"COPY ({made.format(whole=latest)}) TO '{latest}.made' (FORMAT parquet)")
        content = Path(f"{latest}.made").read_bytes()
    else:
        content = content[: len(content) // 2 * (made == "cut")]
    latest.write_bytes(content)
    with held(market.duckdb, to="write") as holder:
        record = lived(market, 1)
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert record.failure
    said = f"(PID {holder}), and {latest}, which would stand in for it, is cut or none of barfeed's"
    assert record.failure.message.endswith(said)
    again = lived(market, 2)
    assert [each.appended for each in again.outcomes.values()] == [2] * 5
    assert sorted(market.windows()) == sorted(SYMBOLS)


def test_last_windows_that_are_behind_the_store_are_caught_up_from_the_exchange(tmp_path: Path, template: Path) -> None:
    market, free = fed(tmp_path / "held", template), fed(tmp_path / "free", template)
    latest = market.feed.folder / "latest_for_inference.parquet"
    old = latest.read_bytes()
    for hour in (1, 2):
        lived(market, hour), lived(free, hour)
    latest.write_bytes(old)
    with held(market.duckdb, to="write"):
        record = lived(market, 3)
        lived(free, 3)
        assert (record.status, [each.pending for each in record.outcomes.values()]) == ("pending", [3] * 5)
        assert market.windows() == free.windows()
    assert [each.appended for each in lived(market, 3).outcomes.values()] == [1] * 5
    assert market.stored() == free.stored()
