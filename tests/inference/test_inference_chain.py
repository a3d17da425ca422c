"""The whole chain: a replay exchange, the feed, inference, hour after hour."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

import numpy as np

from barfeed.domain.bars import Bar
from barfeed.replay.tapes.tape import Tape
from lgbm_inference import model
from lgbm_inference.bars import Bars
from lgbm_inference.dataset import feature_rows
from lgbm_inference.inference import Order, Outcome, infer
from world import BTCUSDT_1H, World, hours, made_up_bars, ms, shared

ALL = ("1H", "4H", "12H", "1D")
HOUR_MS = 3_600_000


def as_bars(bars: Sequence[Bar]) -> Bars:
    return Bars(np.array([bar.open_time_ms // HOUR_MS for bar in bars]), np.array([bar.values for bar in bars]))


def order_for(world: World, folder: Path, model_root: Path) -> Order:
    latest = world.feed.folder / "latest_for_inference.csv"
    model_file = model.model_file(None, model_root)
    return Order(latest, "BINANCE_BTCUSDT.P, 60", model_file, folder / "predictions.duckdb", None, 6, ALL)


def live(world: World, order: Order, first_ms: int, count: int) -> list[Outcome]:
    """Feed and predict for `count` hours, the first of which is the bar that opens at `first_ms`."""
    outcomes = []
    for hour in range(count):
        world.clock.go_to(first_ms + hours(hour + 1) + 60_000)
        record = world.run(catch_up=hour == 0)
        assert record.exit_code == 0, record.failure
        outcomes.append(infer(order, datetime(2024, 1, 1, tzinfo=UTC)))
    return outcomes


def said_directly(order: Order, history: Bars, count: int) -> list[float]:
    """What the model says of the last `count` hours of a history, without feed, CSV or lookbacks."""
    rows = feature_rows(history, order.timeframes)[-count:]
    return [float(value) for value in np.asarray(model.load(order.model_file).booster.predict(rows))]


def stored(order: Order) -> list[tuple[int, float]]:
    with duckdb.connect(order.duckdb, read_only=True) as connection:
        return connection.execute("SELECT epoch_ms(ts) // 3600000, y_pred FROM predictions ORDER BY ts").fetchall()


@pytest.mark.proof
def test_a_simulated_week_gives_168_predictions_each_from_what_was_known(tmp_path: Path, model_root: Path) -> None:
    first_ms = ms(2024, 2, 10, 13)
    # The exchange knows ten more hours than the week: none of them may be seen.
    tape = made_up_bars(first_ms + hours(167 + 10), 1200)
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, tape)], first_ms)
    order = order_for(world, tmp_path, model_root)
    outcomes = live(world, order, first_ms, 168)
    known = as_bars(tape[:-10])
    expected = said_directly(order, known, 168)
    assert len(set(expected)) > 20
    assert [outcome.y_pred for outcome in outcomes] == expected
    assert stored(order) == list(zip(known.hours[-168:].tolist(), expected, strict=True))


@pytest.mark.long
def test_a_few_hours_of_the_chain_are_each_predicted_from_what_was_known(tmp_path: Path, model_root: Path) -> None:
    first_ms = ms(2024, 2, 10, 13)
    tape = made_up_bars(first_ms + hours(4 + 10), 800)
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, tape)], first_ms)
    order = order_for(world, tmp_path, model_root)
    outcomes = live(world, order, first_ms, 5)
    assert [outcome.y_pred for outcome in outcomes] == said_directly(order, as_bars(tape[:-10]), 5)
    assert all(outcome.before is None for outcome in outcomes)


@pytest.mark.proof
def test_january_2024_is_744_predictions_from_real_bars(tmp_path: Path, model_root: Path) -> None:
    (tape,) = Tape.load([str(shared("rest/BTCUSDT-1h.parquet"))])
    first_ms = ms(2024, 1, 1)
    world = World(tmp_path, [tape], first_ms)
    order = order_for(world, tmp_path, model_root)
    outcomes = live(world, order, first_ms, 744)
    history = as_bars([bar for bar in tape.bars if bar.open_time_ms < ms(2024, 2, 1)])
    assert [outcome.y_pred for outcome in outcomes] == said_directly(order, history, 744)
    assert len(stored(order)) == 744
