"""A feed of a database is metered, healthy and alarming as one of a file: also while the database is away."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from barfeed.cli.market.feeders import FeederRow
from barfeed.domain.bars import Interval
from barfeed.feed.cycle import run_cycle
from barfeed.feed.order import Feed
from barfeed.feed.record import Record
from barfeed.machine.clock import SystemClock
from barfeed.operate.alerts.hearing import heard
from barfeed.operate.metrics.collector import Collector
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder
from operate.metrics.metering_world import TARGET_MS, samples
from pg_server import new_market, shared_server
from world import BTCUSDT_1H, World, hours, made_up_tape

pytestmark = pytest.mark.long

SKEW_SEC = 1e10
MATTERS = ("cycle", "store")
WELL = {"cycle": "", "store": ""}


class Told(NamedTuple):
    """What a cycle left to whoever looks: the metrics, the alerts' words by their matter, and /healthz."""

    record: Record
    says: dict[str, float]
    alarms: dict[str, str]
    health: dict[str, Any]


class Metered:
    """A feed of a database, to which a way leads, or none."""

    def __init__(self, folder: Path) -> None:
        server, name = shared_server(), new_market().partition("?")[0].rpartition("/")[2]
        self._socket, self._way = server.folder / f".s.PGSQL.{server.port}", folder / f".s.PGSQL.{server.port}"
        address = f"postgresql://postgres@/{name}?host={folder}&port={server.port}"
        self.world = World(folder, [made_up_tape(TARGET_MS + hours(20), 900)], TARGET_MS)
        self.store = Server(address, SystemClock(), 0.0, folder / "servers.json")
        self.feed = Feed(self.store, folder / "feed", self.world.clock)
        self.meter = Collector([BTCUSDT_1H], self.world.clock, None, folder / "feed.prom")
        self.row = FeederRow(self.feed, Interval.ONE_HOUR)

    def live(self, hour: int, *, is_away: bool = False, **changes: Any) -> Told:
        """An hour of the feed, half a minute after the close."""
        self._way.unlink(missing_ok=True)
        self.store.close()
        if not is_away:
            self._way.symlink_to(self._socket)
        self.world.clock.go_to(TARGET_MS + hours(hour) + 30_000)
        talk = self.world.rest.conversation(10.0)
        record = run_cycle(self.feed, self.world.order._replace(**{"catch_up": True} | changes), talk)
        self.meter.hear(record, talk)
        self.row(record, talk)
        says = samples(self.meter.exposition().decode())
        alarms = {each.matter: each.status for each in heard(record, talk, SKEW_SEC) if each.matter in MATTERS}
        return Told(record, says, alarms, self.meter.healths()[0].told())

    def feeders(self) -> list[Feeder]:
        """Who feeds, as the database has it."""
        return self.store.feeders()


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    made = Metered(tmp_path)
    with closing(made.store):
        yield made


def newest(told: Told) -> float:
    return (told.says["barfeed_newest_bar_timestamp_seconds"] * 1000 - TARGET_MS) / hours(1)


def test_hours_of_a_database_are_metered_and_those_without_it_lag(metered: Metered) -> None:
    first = metered.live(1)
    assert (first.record.status, first.alarms, first.health["healthy"], newest(first)) == ("appended", WELL, True, 0)
    assert first.says["barfeed_cycles_total{status=appended}"] == 1
    assert first.says["barfeed_lag_seconds"] == -3570
    # Nobody has a file whose size there would be to tell.
    assert "barfeed_store_bytes" not in first.says
    [row] = metered.feeders()
    assert (row.status, row.newest_ms, row.lag_sec) == ("appended", TARGET_MS, 30.0)

    for hour in (2, 3):
        away = metered.live(hour, is_away=True)
        # The model has its window, and is not told of it by a lag that goes on.
        assert (away.record.status, away.record.exit_code, newest(away)) == ("pending", 0, 0)
        assert away.alarms == {"cycle": "", "store": "store_unusable"}
        assert away.says["barfeed_lag_seconds"] == hours(hour - 2) / 1000 + 30
        assert "nobody listens there" in away.health["last_failure"]
    assert (away.health["healthy"], away.health["reason"]) == (False, "the store is 2 bars behind 2024-02-10 15:00")
    # It has been given out already, and is no less behind for that.
    again = metered.live(3, is_away=True)
    assert (newest(again), again.alarms["store"]) == (0, "store_unusable")

    gone = metered.live(3, is_away=True, catch_up=False)
    # Whether the store is there again, a cycle that never came to it does not know.
    assert (gone.record.status, gone.alarms) == ("store_unusable", {"cycle": "store_unusable"})
    assert gone.says["barfeed_refusals_total{reason=store_unusable}"] == 1
    assert (gone.health["healthy"], "nobody listens there" in gone.health["last_failure"]) == (False, True)

    back = metered.live(4)
    assert (back.record.status, back.alarms, back.health["healthy"], newest(back)) == ("appended", WELL, True, 3)
    assert back.says["barfeed_bars_appended_total"] == 729
    [row] = metered.feeders()
    assert (row.status, row.newest_ms) == ("appended", TARGET_MS + hours(3))


def test_a_feed_that_begins_without_its_database_says_so(metered: Metered) -> None:
    metered.live(1)
    metered.meter = Collector([BTCUSDT_1H], metered.world.clock, None)
    told = metered.live(2, is_away=True).health
    assert (told["healthy"], "nobody listens there" in told["reason"], told["newest"]) == (False, True, None)
