"""What happened is what the metrics say, hour by hour."""

import pytest

from barfeed.domain.acceptance import Terms
from barfeed.operate.metrics import definitions
from operate.metrics.metering_world import Metered
from world import hours

REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T{}:00:00\nvolume = 1.0\n'
LATE = '[[fault]]\nkind = "late"\nrows = 2\nsec = 300\n'
BANNED = '[[fault]]\nkind = "status"\nstatus = 418\n'
DOWN = '[[fault]]\nkind = "status"\nstatus = 503\npath = "time"\n'


def told(says: dict[str, float], name: str) -> dict[str, float]:
    """The samples of a metric that are not zero, by label."""
    return {
        key.removeprefix(name).strip("{}").rpartition("=")[2]: value
        for key, value in says.items()
        if key.partition("{")[0] == name and value
    }


def test_before_the_first_cycle_everything_that_can_be_counted_stands_at_zero(metered: Metered) -> None:
    says = metered.says()
    assert says["barfeed_bars_appended_total"] == says["barfeed_last_success_timestamp_seconds"] == 0
    assert says["barfeed_refusals_total{reason=exchange_blocked}"] == says["barfeed_mismatches_total"] == 0
    assert "barfeed_lag_seconds" not in says
    assert {name for name, value in says.items() if value} == {"barfeed_info{version=0.1.0}"}


def test_a_good_hour_is_told_in_every_metric(metered: Metered) -> None:
    assert metered.live(13, 0, 30, catch_up=True).status == "appended"
    says = metered.says()
    assert says["barfeed_bars_appended_total"] == says["barfeed_stored_bars"] == 726
    assert says["barfeed_newest_bar_timestamp_seconds"] == 1707566400
    assert says["barfeed_last_success_timestamp_seconds"] == 1707570030
    assert says["barfeed_lag_seconds"] == 30 - 3600
    assert told(says, "barfeed_cycles_total") == {"appended": 1}
    assert told(says, "barfeed_refusals_total") == told(says, "barfeed_retries_total") == {}
    assert says["barfeed_requests_total"] == 2
    # /time weighs 1, /klines with 726 rows 5.
    assert says["barfeed_request_weight"] == 6
    assert says["barfeed_clock_skew_seconds"] == 0
    assert says["barfeed_store_size_bytes"] == metered.world.duckdb.stat().st_size


def test_an_afternoon_of_trouble_shows_exactly_what_happened(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.live(14, 0, 30)
    assert metered.live(15, 0, 30, fault=REVISED.format(12) + REVISED.format(11)).status == "mismatch"
    assert metered.live(15, 5, 30, fault=REVISED.format(12)).status == "mismatch"
    metered.live(15, 10, 30)
    held = "SELECT * FROM ohlcv_btcusdt_1h WHERE hour(timestamp) IN (10, 11, 13) AND timestamp >= '2024-02-10'"
    metered.world.execute(f"CREATE TABLE aside AS {held}")
    metered.world.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp IN (SELECT timestamp FROM aside)")
    assert metered.live(16, 0, 30).status == "window_gap"
    metered.world.execute("INSERT INTO ohlcv_btcusdt_1h SELECT * FROM aside")
    metered.live(16, 5, 30)
    assert metered.live(17, 0, 30, fault=LATE).status == "bar_late"
    assert metered.live(17, 10, 30, fault=BANNED).status == "exchange_blocked"
    assert metered.live(18, 0, 30, fault=DOWN).status == "exchange_unavailable"
    assert metered.live(18, 10, 30).status == "missed_bars"
    metered.live(18, 20, 30, catch_up=True)
    says = metered.says()
    failed = {
        "mismatch": 2, "window_gap": 1, "bar_late": 1, "exchange_blocked": 1, "exchange_unavailable": 1,
        "missed_bars": 1,
    }  # fmt: skip
    assert told(says, "barfeed_refusals_total") == failed
    assert told(says, "barfeed_cycles_total") == failed | {"appended": 5}
    # Two bars, then one of them again.
    assert says["barfeed_mismatches_total"] == 3
    # 10:00..11:00 and 13:00; the bars that were only missed are no gap.
    assert says["barfeed_gaps_total"] == 2
    assert says["barfeed_bars_appended_total"] == 726 + 1 + 1 + 1 + 2
    assert says["barfeed_stored_bars"] == 731
    retries = told(says, "barfeed_retries_total")
    assert set(retries) == {"late", "http_503"}
    # A good cycle asks twice; the one without an answer to its first question asked nothing else, the late one for the
    # list of symbols too.
    assert says["barfeed_requests_total"] == 11 * 2 + 1 + sum(retries.values())
    assert says["barfeed_requests_total"] == sum(metered.world.exchange.requests.values())


def test_the_lag_grows_between_cycles_and_through_failed_ones(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.world.clock.go_to(metered.world.clock.now_ms + hours(1))
    assert metered.says()["barfeed_lag_seconds"] == 30
    assert metered.live(15, 0, 30, fault=DOWN).failure is not None
    assert metered.says()["barfeed_lag_seconds"] == pytest.approx(3630, abs=20)
    metered.world.clock.go_to(metered.world.clock.now_ms + hours(24))
    assert metered.says()["barfeed_lag_seconds"] == pytest.approx(25 * 3600 + 30, abs=20)


def test_the_lag_goes_by_the_exchanges_clock_and_the_skew_tells_the_machines(metered: Metered) -> None:
    metered.world.clock.off_sec = 7200.0
    metered.live(13, 0, 30, catch_up=True)
    assert metered.says()["barfeed_lag_seconds"] == -3570
    assert metered.says()["barfeed_clock_skew_seconds"] == 7200


def test_a_failed_or_dry_cycle_is_no_success(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.live(14, 0, 30, dry_run=True)
    metered.live(14, 10, 30, fault=BANNED)
    says = metered.says()
    assert says["barfeed_last_success_timestamp_seconds"] == 1707570030
    assert told(says, "barfeed_cycles_total") == {"appended": 1, "dry_run": 1, "exchange_blocked": 1}
    assert says["barfeed_bars_appended_total"] == 726


def test_an_accepted_mismatch_is_a_revision_and_no_mismatch(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    accept = Terms(0.001, 100.0, 5.0)
    assert metered.live(14, 0, 30, fault=REVISED.format("09"), accept=accept).status == "appended"
    says = metered.says()
    assert says["barfeed_revisions_total"] == 1
    assert says["barfeed_mismatches_total"] == 0


def test_a_dry_run_revises_nothing(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    accept = Terms(0.001, 100.0, 5.0)
    record = metered.live(14, 0, 30, fault=REVISED.format("09"), accept=accept, dry_run=True)
    assert (record.status, len(record.revised)) == ("dry_run", 1)
    assert metered.says()["barfeed_revisions_total"] == 0


def test_a_mismatch_and_a_gap_in_one_cycle_are_one_of_each(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.world.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-10 10:00'")
    assert metered.live(14, 0, 30, fault=REVISED.format(11)).status == "mismatch"
    says = metered.says()
    assert says["barfeed_mismatches_total"] == says["barfeed_gaps_total"] == 1


def test_a_step_as_long_as_an_edge_is_within_it(metered: Metered) -> None:
    # On the very close: it waits ten seconds for it to settle.
    metered.live(13, 0, 0, catch_up=True)
    assert metered.says()["barfeed_step_duration_seconds_bucket{le=10.0,step=time}"] == 1


def test_each_step_is_filed_under_how_long_it_took(metered: Metered) -> None:
    # Three seconds past the close: it waits seven for the close to settle.
    metered.live(13, 0, 3, catch_up=True)
    says = metered.says()
    step = "barfeed_step_duration_seconds"
    assert says[step + "_bucket{le=5.0,step=time}"] == 0
    assert says[step + "_bucket{le=10.0,step=time}"] == says[step + "_bucket{le=+Inf,step=time}"] == 1
    assert says[step + "_sum{step=time}"] == 7
    assert says[step + "_count{step=time}"] == says[step + "_count{step=publish}"] == 1
    metered.live(14, 0, 30)
    assert metered.says()[step + "_bucket{le=5.0,step=time}"] == 1
    assert metered.says()[step + "_count{step=time}"] == 2


def test_a_table_without_doubles_and_with_base_units() -> None:
    names = [metric.name for metric in definitions.METRICS]
    assert len(set(names)) == len(names)
    for metric in definitions.METRICS:
        assert metric.name.startswith("barfeed_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.says.endswith(".")
