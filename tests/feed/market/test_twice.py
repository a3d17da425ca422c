"""--confirm-reads and --on-mismatch over a market: what the exchange must say twice, series by series."""

import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.acceptance import Terms
from barfeed.feed.market.record import MarketRecord
from market_world import SMALL_MARKET, MarketWorld, small_market
from storage import opened
from world import hours, ms

# It is 14:00:30 on the exchange: the target is the bar of 13:00.
TARGET_MS = ms(2026, 3, 10, 13)
TERMS = Terms(price=0.001, volume=1e9, pause_sec=5.0)


@pytest.fixture
def market(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MarketWorld:
    """A store of 48 hours up to 12:00; it is an hour later."""
    world = MarketWorld(tmp_path, small_market(TARGET_MS + hours(40), 200), TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "market_twice")
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    world.exchange.requests.clear()
    return world


def revise(symbol: str, volume: float = 1.5, bar: str = "13:00:00", until: str = "", column: str = "volume") -> str:
    end = f"until = 2026-03-10T{until}\n" if until else ""
    head = f'[[fault]]\nkind = "revise"\nbar = 2026-03-10T{bar}\nsymbol = "{symbol}"\n'
    return f"{head}{column} = {volume}\n{end}"


def statuses(record: MarketRecord) -> dict[str, str]:
    return {symbol: each.status for symbol, each in record.outcomes.items()}


def newest(market: MarketWorld, symbol: str) -> Any:
    return market.stored()[symbol][-1]


def manifest(record: MarketRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text())
    return told


def test_what_is_said_twice_is_appended_after_one_pause_for_all(market: MarketWorld) -> None:
    record = market.run_pass(confirm_sec=10.0)
    assert set(statuses(record).values()) == {"appended"}
    assert market.exchange.requests["/fapi/v1/klines"] == 10
    assert record.durations_sec["confirm"] == pytest.approx(10.0, abs=0.1)
    assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS}


def test_what_is_revised_in_between_is_appended_as_it_was_said_twice_and_only_that_is_asked_again(
    market: MarketWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        record = market.run_pass(revise("ETHUSDT", until="14:00:35"), confirm_sec=10.0)
    assert set(statuses(record).values()) == {"appended"}
    assert newest(market, "ETHUSDT").volume != 1.5
    assert market.exchange.requests["/fapi/v1/klines"] == 11
    (asked,) = [each for each in caplog.messages if "asking again" in each]
    assert asked.startswith(
        "1 series (ETHUSDT); first: ETHUSDT 1h: the exchange has not said 2026-03-10 13:00 twice yet;"
    )
    assert manifest(record)["exchange"]["retries"] == {"unsettled": 1}


def test_what_is_never_said_twice_is_late_and_the_others_go_on(market: MarketWorld) -> None:
    record = market.run_pass(restless(), confirm_sec=10.0)
    assert statuses(record) == {each: "bar_late" if each == "ETHUSDT" else "appended" for each in SMALL_MARKET}
    failure = record.outcomes["ETHUSDT"].failure
    assert failure
    assert {found.rule for found in failure.findings} == {"confirmed"}
    assert newest(market, "ETHUSDT").open_time_ms == TARGET_MS - hours(1)


def restless() -> str:
    """Another volume every five seconds."""
    moments = [f"14:{sec // 60:02}:{sec % 60:02}" for sec in range(30, 130, 5)]
    head = '[[fault]]\nkind = "revise"\nbar = 2026-03-10T13:00:00\nsymbol = "ETHUSDT"\n'
    return "".join(
        f"{head}volume = {number}.5\nfrom = 2026-03-10T{begin}\nuntil = 2026-03-10T{end}\n"
        for number, (begin, end) in enumerate(pairwise(moments))
    )


def test_what_is_late_is_not_asked_twice(market: MarketWorld) -> None:
    late = '[[fault]]\nkind = "late"\nsec = 600\nrows = 2\nsymbol = "ETHUSDT"\n'
    record = market.run_pass(late, confirm_sec=10.0)
    assert statuses(record)["ETHUSDT"] == "bar_late"
    assert "does not show" in (record.outcomes["ETHUSDT"].failure or record).message  # type: ignore[union-attr] # it failed


def test_the_exchanges_word_is_taken_where_it_says_so_twice(
    market: MarketWorld, caplog: pytest.LogCaptureFixture
) -> None:
    before = {bar.open_time_ms: bar for bar in market.stored()["ETHUSDT"]}[TARGET_MS - hours(2)]
    record = market.run_pass(revise("ETHUSDT", bar="11:00:00"), accept=TERMS)
    assert (record.exit_code, set(statuses(record).values())) == (0, {"appended"})
    assert record.durations_sec["ask_again"] == pytest.approx(5.0, abs=0.1)
    stored = {bar.open_time_ms: bar for bar in market.stored()["ETHUSDT"]}
    assert stored[TARGET_MS - hours(2)] == before._replace(volume=1.5)
    assert max(stored) == TARGET_MS
    with opened(market.duckdb, read_only=True) as connection:
        rows = connection.execute("SELECT series, old_volume, new_volume, reason, run FROM ohlcv_revisions").fetchall()
    assert rows == [("ETHUSDT 1h", before.volume, 1.5, "--on-mismatch accept", record.run_time)]
    (told,) = [each for each in manifest(record)["outcomes"] if each["symbol"] == "ETHUSDT"]
    assert [each["bar"] for each in told["revisions"]] == ["2026-03-10 11:00"]
    assert record.measured.revised == 1
    # Its window, too, is given to the models.
    assert {bar.open_time_ms: bar for bar in market.windows()["ETHUSDT"]}[TARGET_MS - hours(2)].volume == 1.5
    differs = f"volume stored {before.volume}, exchange 1.5"
    assert [each for each in caplog.messages if "--on-mismatch" in each] == [
        "1 series (ETHUSDT) differ from the exchange; asking again in 5 s, as --on-mismatch says",
        f"ETHUSDT 1h: accepted the exchange's word, as --on-mismatch says: 2026-03-10 11:00 {differs}",
    ]


def test_without_the_terms_nothing_is_asked_again(market: MarketWorld) -> None:
    record = market.run_pass(revise("ETHUSDT", bar="11:00:00"))
    assert statuses(record)["ETHUSDT"] == "mismatch"
    assert market.exchange.requests["/fapi/v1/klines"] == 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (revise("ETHUSDT", 1.0, "11:00:00", column="low"), "not accepted: 2026-03-10 11:00 low is off by"),
        (revise("ETHUSDT", bar="11:00:00", until="14:00:32"), "not accepted: asked again, the exchange said something"),
    ],
)
def test_what_is_beyond_the_terms_or_said_once_is_not_taken_and_the_others_are_appended(
    market: MarketWorld, fault: str, said: str
) -> None:
    before = market.stored()["ETHUSDT"]
    record = market.run_pass(fault + revise("ADAUSDT", bar="11:00:00"), accept=TERMS)
    assert statuses(record) == {each: "mismatch" if each == "ETHUSDT" else "appended" for each in SMALL_MARKET}
    assert said in (record.outcomes["ETHUSDT"].failure or record).message  # type: ignore[union-attr] # it failed
    assert market.stored()["ETHUSDT"] == before
    # Its volumes are whole numbers.
    assert market.stored()["ADAUSDT"][-3].volume == 2.0


def test_a_dry_run_takes_nothing(market: MarketWorld) -> None:
    before = market.stored()
    record = market.run_pass(revise("ETHUSDT", bar="11:00:00"), accept=TERMS, dry_run=True)
    assert (record.status, record.measured.revised) == ("dry_run", 0)
    assert [len(each.revised) for each in record.outcomes.values() if each.symbol == "ETHUSDT"] == [1]
    assert market.stored() == before


def test_where_the_audit_table_is_anothers_only_what_needs_it_fails(market: MarketWorld) -> None:
    with opened(market.duckdb) as connection:
        connection.execute("CREATE TABLE ohlcv_revisions (mine VARCHAR)")
    record = market.run_pass(revise("ETHUSDT", bar="11:00:00"), accept=TERMS)
    assert statuses(record) == {each: "store_unusable" if each == "ETHUSDT" else "appended" for each in SMALL_MARKET}


def test_what_is_only_revised_is_told_as_that(market: MarketWorld) -> None:
    assert market.run_pass().exit_code == 0
    record = market.run_pass(revise("ETHUSDT", bar="11:00:00"), accept=TERMS)
    assert (record.status, statuses(record)["ETHUSDT"]) == ("revised", "revised")
    assert " revised=1 " in record.line()
