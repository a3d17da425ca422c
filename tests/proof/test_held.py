"""Feeds that live at once beside another process that has their store: each gives the hour, and nothing is lost.

A kill, and an error, at each system call beside it: see held_scenes.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from barfeed.domain.bars import Bar
from holding import held
from market_world import MarketMachine, stored, windows
from process import Machine
from proof.ground import ERA_MS, MARKET_TAPES, TAPE, WINDOW_BARS, Ground, MarketGround
from proof.proof_world import read_csv
from proof.twenty import of_a_market, of_one_series
from storage import opened
from world import hours

Windows = Mapping[str, Sequence[Bar]]
HOURS = 2
FEEDS = 4
_BARS = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_btcusdt_1h ORDER BY timestamp"


def given(folder: Path) -> Windows:
    """The windows that models find in a feed's folder."""
    of_one = folder / "latest_for_inference.csv"
    return {"BTCUSDT": read_csv(of_one)} if of_one.exists() else windows(folder)


def taped(ground: Ground) -> Windows:
    """What these are by the exchange."""
    tapes = MARKET_TAPES if isinstance(ground, MarketGround) else {"BTCUSDT": TAPE}
    end_ms = ground.clock.now_ms - ground.clock.now_ms % hours(1)
    begins_ms = end_ms - hours(WINDOW_BARS)
    return {
        symbol: [bar for bar in tape.bars if begins_ms <= bar.open_time_ms < end_ms] for symbol, tape in tapes.items()
    }


@pytest.mark.long
@pytest.mark.parametrize("to", ["write", "read"])
@pytest.mark.parametrize(("made", "questions"), [(Ground, 36), (MarketGround, 90)], ids=["series", "market"])
def test_another_feed_that_gives_its_window_in_the_middle_of_an_hour_confuses_none(
    made: type[Ground], questions: int, to: str, tmp_path: Path
) -> None:
    ground = made(tmp_path, ERA_MS + hours(1) + 30_000)
    assert ground.call("feed", catch_up=True).exit_code == 0
    ground.is_away = True
    with held(ground.duckdb, to=to):
        # At whatever question to the clock the other lives.
        for at in range(1, questions):
            ground.clock.go_to(ground.clock.now_ms + hours(1))
            ground.interlope(at, 0)
            ended = ground.call("feed", catch_up=True)
            ground.fair()
            assert (ended.exit_code, ended.status in {"pending", "up_to_date"}) == (0, True), (at, ended)
            assert given(ground.folder) == taped(ground), at
    assert ground.call("feed", catch_up=True).status == "appended"


def at_once(feeding: Machine, feeds: int, lock_timeout_sec: int) -> list[int]:
    """How many bars each of so many feeds has appended that begin in the same moment; all end well."""
    running = [feeding.start("--catch-up", "--lock-timeout-sec", str(lock_timeout_sec)) for _ in range(feeds)]
    appended = []
    for process in running:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, (out, err)
        appended.append(int(out.partition(" appended=")[2].split()[0]))
    return appended


def held_by(feeding: Machine) -> Windows:
    """What the store has."""
    if isinstance(feeding, MarketMachine):
        return stored(feeding.duckdb)
    with opened(feeding.duckdb, read_only=True) as connection:
        return {"BTCUSDT": [Bar(*row) for row in connection.execute(_BARS).fetchall()]}


@pytest.mark.long
@pytest.mark.parametrize("to", ["read", "write"])
@pytest.mark.parametrize("opening", [of_one_series, of_a_market], ids=["series", "market"])
def test_feeds_that_live_at_once_beside_another_lose_no_hour(
    opening: Callable[[Path], AbstractContextManager[Machine]], to: str, tmp_path: Path
) -> None:
    with opening(tmp_path) as feeding:
        at_once(feeding, 1, 0)
        before, told = feeding.duckdb.read_bytes(), []
        with held(feeding.duckdb, to=to):
            for _ in range(HOURS):
                feeding.clock.advance(hours(1))
                assert at_once(feeding, FEEDS, 0) == [0] * FEEDS
                told.append(given(feeding.artifacts))
        assert feeding.duckdb.read_bytes() == before
        at_once(feeding, FEEDS, 600)
        for symbol, bars in held_by(feeding).items():
            assert len(bars) == 726 + HOURS
            # Each is what the store would have given.
            assert [each[symbol] for each in told] == [bars[1:727], bars[2:728]]
        assert given(feeding.artifacts) == told[-1]
