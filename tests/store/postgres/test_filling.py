"""Bars that two feeders store at once: each once, and who is second compares."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.grid import Gap
from barfeed.domain.sources import Rows
from barfeed.machine.clock import SystemClock
from barfeed.store.incoming.staging import Staging
from barfeed.store.place import Place, Span
from barfeed.store.postgres import whole
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import mirror
from barfeed.store.postgres.whole import WholeServer
from pg_server import new_market
from world import made_up_bars, ms

pytestmark = pytest.mark.long

LAST_MS = ms(2026, 3, 10, 13)
BARS = made_up_bars(LAST_MS, 30)
BTC = Series("BTCUSDT", Interval.ONE_HOUR)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[WholeServer, Server]]:
    address, clock = new_market(), SystemClock()
    with (
        closing(WholeServer(address, clock, 0.0, tmp_path / "servers.json")) as filling,
        closing(Server(address, clock, 0.0, tmp_path / "servers.json")) as feeding,
    ):
        yield filling, feeding


def feed(feeding: Server, bars: list[Bar]) -> None:
    with feeding.appending(BTC, create=False) as table:
        table.append(bars)


def test_who_is_overtaken_compares_with_what_the_other_stored(both: tuple[WholeServer, Server]) -> None:
    filling, feeding = both
    staging = Staging(filling.beside())
    staging.put_rows(Rows(BARS))
    other = BARS[20]._replace(close=BARS[20].close + 1)
    quicker = [list(BARS[:10]), [other]]

    def fill(place: Place) -> tuple[int, int]:
        found = len(staging.mismatches(place)), staging.append_new(place)
        if quicker:
            # Behind the look, and before it is appended.
            feed(feeding, quicker.pop(0))
        return found

    assert filling.filling_one(BTC, Gap(BARS[0].open_time_ms, LAST_MS, 30), fill) == (1, 19)
    with filling.reading(BTC) as table:
        assert table.bars(0) == [*BARS[:20], other, *BARS[21:]]


def test_a_long_history_is_appended_and_looked_at_in_parts(
    both: tuple[WholeServer, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    filling, _ = both
    monkeypatch.setattr(mirror, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(mirror, "_BARS_AT_ONCE", 8)
    monkeypatch.setattr(whole, "_BARS_AT_ONCE", 40)
    staging = Staging(filling.beside())
    staging.put_rows(Rows(BARS))
    span = Gap(BARS[0].open_time_ms, LAST_MS, 30)
    for symbol in ("ADAUSDT", "BTCUSDT"):
        series = Series(symbol, Interval.ONE_HOUR)
        assert filling.filling_one(series, span, staging.append_new) == 30
    with filling.reading(BTC) as table:
        assert table.bars(0) == list(BARS)
    with filling.looking_at(Span(("ADAUSDT", "BTCUSDT"), Interval.ONE_HOUR)) as connection:
        found = connection.execute(
            "SELECT symbol, epoch_ms(timestamp) FROM store.main.ohlcv_1h ORDER BY ALL"
        ).fetchall()
    assert found == [(symbol, bar.open_time_ms) for symbol in ("ADAUSDT", "BTCUSDT") for bar in BARS]
    assert list(filling.portions(Interval.ONE_HOUR, ["ADAUSDT", "BTCUSDT", "X"])) == [["ADAUSDT"], ["BTCUSDT", "X"]]
