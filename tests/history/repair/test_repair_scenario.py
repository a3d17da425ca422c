"""The revision that the exchange really made to 2025-01-14, lived through by an operator: ../shared/data/README.md, 4.

The two bars' changed values are real; what was published of them no more, and the bars around them, are made up.
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from barfeed.domain import grid
from barfeed.domain.bars import Bar
from barfeed.machine.clock import SystemClock
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import BARFEED, Machine, Ran
from world import BTCUSDT_1H, hours, made_up_bars, ms

TARGET_MS = ms(2025, 1, 14, 18)
OLD_13 = Bar(ms(2025, 1, 14, 13), 96500.1, 97000.0, 96200.2, 96800.0, 19827.845)
OLD_15 = Bar(ms(2025, 1, 14, 15), 96800.0, 97200.4, 96249.0, 96900.9, 11293.454)
NEW_13 = OLD_13._replace(volume=21800.976)
NEW_15 = OLD_15._replace(low=96139.2, volume=11916.819)
REVISION = """
[[fault]]
kind = "revise"
bar = 2025-01-14T13:00:00
volume = 21800.976

[[fault]]
kind = "revise"
bar = 2025-01-14T15:00:00
low = 96139.2
volume = 11916.819
"""

Barfeed = Callable[..., Ran]


def exported(file: Path) -> dict[str, tuple[float, ...]]:
    with file.open(newline="") as rows:
        return {row[0]: tuple(map(float, row[1:])) for row in list(csv.reader(rows))[1:]}


def as_of(feeding: Machine, barfeed: Barfeed, moment: str) -> tuple[tuple[float, ...], ...]:
    file = feeding.folder / f"{re.sub('[^0-9]', '', moment)}.csv"
    assert barfeed(feeding, "export", "--as-of", moment, str(file)).code == 0
    bars = exported(file)
    return bars["2025-01-14 13:00:00"], bars["2025-01-14 15:00:00"]


@pytest.fixture
def tape() -> Tape:
    real = {bar.open_time_ms: bar for bar in (OLD_13, OLD_15)}
    return Tape.of(BTCUSDT_1H, [real.get(bar.open_time_ms, bar) for bar in made_up_bars(TARGET_MS + hours(5), 1000)])


@pytest.mark.long
def test_the_revision_of_2025_01_14_stops_the_feed_and_is_mended(tmp_path: Path, tape: Tape, barfeed: Barfeed) -> None:
    clock = HandClock(TARGET_MS + 30_000)
    exchange = ReplayExchange([tape], clock.now_ms)
    with ReplayServer(exchange) as server:
        live_through_it(Machine(tmp_path, exchange, clock, server.url), barfeed)


def live_through_it(feeding: Machine, barfeed: Barfeed) -> None:
    # Lived up to 17:00; then the exchange says otherwise about 13:00 and 15:00.
    assert feeding.feed("--catch-up").code == 0
    feeding.exchange.faults = parse_faults(REVISION, "the scenario")
    feeding.clock.advance(hours(1))

    # The feed stops, and names what helps.
    stopped = feeding.feed()
    assert stopped.code == 1
    first = "2025-01-14 13:00 volume stored 19827.845, exchange 21800.976"
    complaint, hint = stopped.err.splitlines()
    assert complaint == f"barfeed: BTCUSDT 1h: 2 of 5 stored bars differ from the exchange; first: {first}"
    assert hint.endswith(f": {BARFEED} repair --duckdb {feeding.duckdb}")

    # Verify shows both bars with both values.
    folder = {"BARFEED_PERSIST_DIR": str(feeding.folder / "feed")}
    verified = barfeed(feeding, "verify", "--against", "rest", **folder)
    assert verified.code == 1
    assert first in verified.out
    (second,) = [line for line in verified.out.splitlines() if "2025-01-14 15:00" in line]
    assert "low stored 96249.0, exchange 96139.2" in second
    assert "volume stored 11293.454, exchange 11916.819" in second

    # Repair shows the plan, then mends both.
    before = in_a_moment()
    mended = barfeed(feeding, "repair", "--yes", "--pause-sec", "0", "--reason", "Binance revised the afternoon")
    assert mended.code == 0, mended.err
    assert "  2025-01-14 13:00  mismatch  volume stored 19827.845, exchange 21800.976\n" in mended.out
    assert "filled=0 revised=2 left=0" in mended.out
    after = in_a_moment()

    # Both versions are told.
    listed = json.loads(barfeed(feeding, "revisions", "--json").out)["revisions"]
    assert [(each["bar"], tuple(each["old"].values()), tuple(each["new"].values())) for each in listed] == [
        ("2025-01-14 13:00", OLD_13.values, NEW_13.values),
        ("2025-01-14 15:00", OLD_15.values, NEW_15.values),
    ]
    assert {each["reason"] for each in listed} == {"Binance revised the afternoon"}
    assert as_of(feeding, barfeed, before) == (OLD_13.values, OLD_15.values)
    assert as_of(feeding, barfeed, after) == (NEW_13.values, NEW_15.values)
    assert as_of(feeding, barfeed, listed[0]["accepted_at"]) == (NEW_13.values, NEW_15.values)

    # The feed goes on by itself, and the model is given the new versions.
    went_on = feeding.feed()
    assert went_on.code == 0, went_on.err
    assert " validated=5 appended=1 target=2025-01-14 18:00 " in went_on.out
    given = exported(feeding.artifacts / "latest_for_inference.csv")
    assert (given["2025-01-14 13:00:00"], given["2025-01-14 15:00:00"]) == (NEW_13.values, NEW_15.values)
    assert barfeed(feeding, "verify", "--against", "rest", **folder).code == 0


@pytest.mark.long
def test_at_night_the_feed_mends_it_by_itself(tmp_path: Path, tape: Tape, barfeed: Barfeed) -> None:
    clock = HandClock(TARGET_MS + 30_000)
    exchange = ReplayExchange([tape], clock.now_ms)
    with ReplayServer(exchange) as server:
        feeding = Machine(tmp_path, exchange, clock, server.url)
        assert feeding.feed("--catch-up").code == 0
        exchange.faults = parse_faults(REVISION, "the scenario")
        clock.advance(hours(1))
        # The low went down by 0.114 %: a little more than the feed takes without being asked.
        assert "15:00 low is off by 0.00114, --accept-within is 0.001" in (
            feeding.feed("--on-mismatch", "accept", "--pause-sec", "0").err
        )
        ran = feeding.feed("--on-mismatch", "accept", "--accept-within", "0.002", "--pause-sec", "0")
        assert ran.code == 0, ran.err
        assert " appended=1 revised=2 target=2025-01-14 18:00 " in ran.out
        assert barfeed(feeding, "revisions").out.endswith("BTCUSDT 1h: 2 revisions\n")


def in_a_moment() -> str:
    """A moment of this machine's clock that nothing else happens at, as it is typed."""
    clock = SystemClock()
    clock.sleep(0.01)
    now_ms = clock.utc_ms()
    clock.sleep(0.01)
    return grid.timestamp(now_ms)
