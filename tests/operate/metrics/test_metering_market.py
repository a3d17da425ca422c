"""What is counted of a market, and how it is: the same metrics, and of its series only what lags."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="extra `metrics`")

from prometheus_client.parser import text_string_to_metric_families

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Interval, Series
from barfeed.exchange.rest import Conversation
from barfeed.feed.market.one_pass import run_pass
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.record import Newest
from barfeed.operate import health
from barfeed.operate.metrics import lagging
from barfeed.operate.metrics.collector import Collector
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.tape import Tape
from in_turn import InTurn
from market_world import SMALL_MARKET, MarketMachine, MarketWorld, market_machine, small_market
from operate.metrics.metering_world import get, watching
from process import ROOT
from waiting import until
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
ALL = Series("all", Interval.ONE_HOUR)
MONITORING = (ROOT / "docs" / "monitoring.md").read_text()
REVISED = '[[fault]]\nkind = "revise"\nbar = 2026-03-10T12:00:00\nvolume = 1.5\nsymbol = "ETHUSDT"\n'
LATE = '[[fault]]\nkind = "late"\nsec = 3000\nrows = 2\nsymbol = ["ADAUSDT", "BTCUSDT"]\n'
DOWN = '[[fault]]\nkind = "status"\nstatus = 503\npath = "*"\n'


class Metered:
    """A market whose passes are heard."""

    def __init__(self, world: MarketWorld, file: Path | None = None, feeds: tuple[Series, ...] = (ALL,)) -> None:
        self.world = world
        self.meter = Collector(feeds, world.clock, world.duckdb, file, of_many=True)

    def live(self, hour: int, fault: str = "", **changes: Any) -> MarketRecord:
        world = self.world
        world.clock.go_to(TARGET_MS + hours(1 + hour) + 30_000)
        world.exchange.faults = parse_faults(fault, "the test")
        order = world.market._replace(reach=world.market.reach._replace(catch_up=True), **changes)
        talk = world.rest.conversation(60.0)
        record = run_pass(world.feed, order, talk, InTurn(world._transport, world.clock))
        self.meter.hear(record, talk)
        return record

    def says(self) -> dict[str, float]:
        return samples(self.meter.exposition().decode())


def samples(text: str) -> dict[str, float]:
    """`{"barfeed_series_lag_seconds{series=ETHUSDT}": 30.0}`, of the one interval that there is."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("symbol"), labels.pop("interval")) == ("all", "1h")
            inner = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
            found[f"{sample.name}{{{inner}}}" if inner else sample.name] = sample.value
    return found


@pytest.fixture
def metered(tmp_path: Path) -> Metered:
    return Metered(MarketWorld(tmp_path, small_market(TARGET_MS + hours(40), 200), TARGET_MS + hours(1) + 30_000))


def test_a_good_pass_is_counted_and_no_series_has_a_lag(metered: Metered) -> None:
    assert metered.live(0).exit_code == 0
    says = metered.says()
    assert says["barfeed_cycles_total{status=appended}"] == 1
    assert (says["barfeed_bars_appended_total"], says["barfeed_windows"]) == (5 * 48, 5)
    assert (says["barfeed_series{status=appended}"], says["barfeed_series{status=mismatch}"]) == (5, 0)
    assert (says["barfeed_series_behind"], says["barfeed_lag_seconds"]) == (0, 30 - 3600)
    assert says["barfeed_newest_bar_timestamp_seconds"] == TARGET_MS / 1000
    assert not [name for name in says if name.startswith("barfeed_series_lag_seconds")]


def test_of_its_series_only_what_lags_has_a_lag(metered: Metered) -> None:
    metered.live(0)
    metered.live(1, LATE + REVISED)
    says = metered.says()
    assert (says["barfeed_series_behind"], says["barfeed_series{status=appended}"]) == (3, 2)
    assert says["barfeed_refusals_total{reason=bar_late}"] == says["barfeed_refusals_total{reason=mismatch}"] == 1
    assert says["barfeed_mismatches_total"] == 1
    lags = {name: sec for name, sec in says.items() if name.startswith("barfeed_series_lag_seconds")}
    assert set(lags) == {f"barfeed_series_lag_seconds{{series={each}}}" for each in ("ADAUSDT", "BTCUSDT", "ETHUSDT")}
    lag_sec = (metered.world.clock.now_ms - TARGET_MS - hours(2)) / 1000
    assert list(lags.values()) == pytest.approx([lag_sec] * 3, abs=0.01)
    # The market itself is where it should be.
    assert says["barfeed_lag_seconds"] < 0
    metered.live(2)
    assert metered.says()["barfeed_series_behind"] == 0


def test_a_way_to_end_that_is_over_is_told_as_none(metered: Metered) -> None:
    metered.live(0)
    accept = Terms(0.001, 1e9, 5.0)
    assert metered.live(0, REVISED, accept=accept).status == "revised"
    says = metered.says()
    assert (says["barfeed_series{status=revised}"], says["barfeed_revisions_total"]) == (1, 1)
    metered.live(1, REVISED)
    says = metered.says()
    assert (says["barfeed_series{status=revised}"], says["barfeed_series{status=appended}"]) == (0, 5)


def test_a_pass_that_came_to_no_series_leaves_what_was_known_of_them(metered: Metered) -> None:
    metered.live(0)
    assert metered.live(1, DOWN).status == "exchange_unavailable"
    says = metered.says()
    # Five minutes after the close, and only then, everything lags.
    assert (says["barfeed_series_behind"], says["barfeed_series{status=appended}"]) == (0, 5)
    metered.world.clock.go_to(TARGET_MS + hours(2) + 301_000)
    assert metered.says()["barfeed_series_behind"] == 5


def test_however_many_lag_so_many_have_a_sample() -> None:
    newest_of = {f"S{number:03}USDT": Newest(TARGET_MS - hours(number), TARGET_MS) for number in range(540)}
    found = lagging.lagging(newest_of, Interval.ONE_HOUR, TARGET_MS + hours(1))
    assert (len(found), found[0].symbol, found[-1].symbol) == (539, "S539USDT", "S001USDT")
    assert lagging.NAMED_MAX == 50


def test_what_never_had_a_bar_lags_and_what_is_settled_does_not() -> None:
    newest_of = {"NEW": Newest(None, TARGET_MS), "GONE": Newest(TARGET_MS - hours(9), TARGET_MS - hours(9))}
    found = lagging.lagging(newest_of, Interval.ONE_HOUR, TARGET_MS + hours(3))
    assert found == [lagging.Lagging("NEW", None)]


def test_the_counters_go_on_from_the_file_and_the_gauges_of_many_begin_anew(metered: Metered, tmp_path: Path) -> None:
    file = tmp_path / "barfeed.prom"
    Metered(metered.world, file).live(0)
    second = Metered(metered.world, file)
    assert second.says()["barfeed_cycles_total{status=appended}"] == 1
    second.live(1, LATE)
    written = samples(file.read_text())
    assert (written["barfeed_cycles_total{status=appended}"], written["barfeed_cycles_total{status=bar_late}"]) == (
        1,
        1,
    )
    assert written["barfeed_series_lag_seconds{series=ADAUSDT}"] > 0


def test_several_intervals_are_one_text_and_share_no_request(tmp_path: Path) -> None:
    four = [
        Tape.of(Series.of(each, "4h"), made_up_bars(TARGET_MS + hours(39), 99, each, "4h")) for each in SMALL_MARKET
    ]
    world = MarketWorld(tmp_path, [*small_market(TARGET_MS + hours(40), 200), *four], TARGET_MS + hours(1) + 30_000)
    interval = Interval("4h")
    metered = Metered(world, feeds=(ALL, Series("all", interval)))
    talk: Conversation = world.rest.conversation(60.0)
    for reach in (world.market.reach, world.market.reach._replace(interval=interval)):
        order = world.market._replace(reach=reach._replace(catch_up=True))
        feed = world.feed._replace(folder=tmp_path / str(reach.interval))
        metered.meter.hear(run_pass(feed, order, talk, InTurn(world._transport, world.clock)), talk)
    families = list(text_string_to_metric_families(metered.meter.exposition().decode()))
    assert len({each.name for each in families}) == len(families)
    asked = {
        sample.labels["interval"]: sample.value
        for family in families for sample in family.samples if sample.name == "barfeed_requests_total"
    }  # fmt: skip
    assert sum(asked.values()) == talk.requests
    assert asked["1h"] - asked["4h"] == 1


def test_a_market_is_well_while_its_newest_bar_is_where_it_should_be(metered: Metered) -> None:
    assert health.told(metered.meter.healths())["healthy"] is False
    metered.live(0)
    metered.live(1, LATE)
    told = health.told(metered.meter.healths())
    assert told == {
        "healthy": True,
        "intervals": [
            {
                "healthy": True,
                "series": {"symbols": "all", "interval": "1h"},
                "newest": "2026-03-10 14:00",
                "lag_sec": round((metered.world.clock.now_ms - TARGET_MS - hours(3)) / 1000),
                "reason": "",
                "last_failure": "2 of 5 series failed: bar_late=2",
                "hint": "",
                "behind": 2,
                "worst": ["ADAUSDT", "BTCUSDT"],
            }
        ],
    }
    shown = json.loads(re.findall(r"```json\n(.*?)\n```", MONITORING)[1])
    assert (list(shown), list(shown["intervals"][0])) == (list(told), list(metered.meter.healths()[0].told()))
    metered.world.clock.go_to(TARGET_MS + hours(4))
    (told_of_one,) = metered.meter.healths()
    assert (told_of_one.is_well, told_of_one.trouble) == (False, "the store is 1 bar behind 2026-03-10 15:00")
    assert len(told_of_one.behind or ()) == 5


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MarketMachine]:
    with market_machine(tmp_path, small_market(TARGET_MS + hours(40), 900), TARGET_MS + hours(1) + 30_000) as made:
        yield made


@pytest.mark.long
def test_cron_writes_a_file_and_takes_no_address(machine: MarketMachine, tmp_path: Path) -> None:
    file = tmp_path / "barfeed.prom"
    done = machine.call(machine.command("--catch-up", "--metrics-file", str(file)), BARFEED_LISTEN="127.0.0.1:0")
    assert (done.code, samples(file.read_text())["barfeed_windows"]) == (0, 5)
    refused = machine.call(machine.command("--listen", "127.0.0.1:0"))
    assert (refused.code, "--listen is of no use without --watch" in refused.err) == (2, True)


@pytest.mark.long
def test_a_watch_answers_for_all_its_series(machine: MarketMachine) -> None:
    with watching(machine) as (url, _):
        until(lambda: get(f"{url}/healthz").status == 200)
        told = json.loads(get(f"{url}/healthz").body)
        assert (told["healthy"], told["intervals"][0]["behind"]) == (True, 0)
        assert samples(get(f"{url}/metrics").body)["barfeed_windows"] == 5
