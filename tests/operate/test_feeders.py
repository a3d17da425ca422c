"""Who feeds a database, as `barfeed status --all` tells it: worst first, and exit 1 where one of them is behind."""

from contextlib import closing
from pathlib import Path

import pytest

from barfeed.cli.commands.operate.status import status
from barfeed.machine.clock import SystemClock
from barfeed.operate.feeders import conditions
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder
from commands import call, make_store
from pg_server import looked_at, new_market
from world import hours, made_up_bars, ms

NOW_MS = ms(2026, 3, 10, 14) + 30_000


def feeder(host: str, newest_ms: int | None, status: str = "appended", pass_ms: int = NOW_MS) -> Feeder:
    """A feed of hours whose last pass was at `pass_ms`."""
    lag_sec = None if newest_ms is None else (pass_ms - newest_ms - hours(1)) / 1000
    return Feeder(host, "/srv/feed/BINANCE.P_1h", "1.0", pass_ms, status, newest_ms, lag_sec)


@pytest.mark.parametrize(
    ("one", "trouble"),
    [
        (feeder("a", ms(2026, 3, 10, 13)), ""),
        # The bar that closed half a minute ago may come yet.
        (feeder("a", ms(2026, 3, 10, 12), pass_ms=NOW_MS - hours(1)), ""),
        (feeder("a", ms(2026, 3, 10, 11), pass_ms=NOW_MS - hours(2)), "2 bars behind: its newest is 2026-03-10 11:00"),
        (feeder("a", ms(2026, 3, 10, 11)), "2 bars behind: its newest is 2026-03-10 11:00"),
        (feeder("a", ms(2026, 3, 10, 13), "bar_late"), "its last pass failed: bar_late"),
        (feeder("a", None, "store_empty"), "its last pass failed: store_empty"),
        (feeder("a", None, "up_to_date"), ""),
    ],
)
def test_a_feed_is_behind_by_the_bars_that_it_should_have_seen_stored(one: Feeder, trouble: str) -> None:
    [told] = conditions([one], NOW_MS)
    assert (told.trouble, bool(told.hint)) == (trouble, bool(trouble))


def test_the_worst_comes_first_and_how_it_is_forgotten_is_sql() -> None:
    names = ("well", "it's behind", "failed", "long gone")
    at = (ms(2026, 3, 10, 13), ms(2026, 3, 10, 9), ms(2026, 3, 10, 13), ms(2026, 2, 1))
    told = conditions(map(feeder, names, at, ("appended", "appended", "mismatch", "appended")), NOW_MS)
    assert [each.feeder.host for each in told] == ["long gone", "it's behind", "failed", "well"]
    assert "host = 'it''s behind'" in told[1].hint
    assert told[-1].lag_ms == 30_000


@pytest.mark.long
def test_all_is_not_well_where_one_of_those_who_feed_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barfeed.cli.commands.operate.status._WAIT_SEC", 0.1)
    address, now_ms = new_market(), SystemClock().utc_ms()
    newest_ms = now_ms - now_ms % hours(1) - hours(1)
    with looked_at(address) as connection:
        insert = "INSERT INTO barfeed.ohlcv_1h (symbol, timestamp, open, high, low, close, volume)"
        connection.execute(f"{insert} SELECT 'BTCUSDT', to_timestamp(%s) AT TIME ZONE 'UTC', 1, 1, 1, 1, 1",
                           [newest_ms / 1000])  # fmt: skip
    with closing(Server(address, SystemClock(), 0.0, tmp_path / "servers.json")) as server:
        server.note_feeder(feeder("db-a", newest_ms, pass_ms=now_ms))
        server.note_feeder(feeder("db-b", newest_ms - hours(8), pass_ms=now_ms - hours(8)))
    nobody_asked = ("--store", address, "--base-url", "http://127.0.0.1:1")
    some, every, told = (call(status, *nobody_asked, *more) for more in ((), ("--all",), ("--all", "--json")))
    assert (some.code, every.code, told.code) == (0, 1, 1)
    assert some.out.splitlines()[-1] == "healthy"
    held, behind, trouble, well, *_, health = every.out.splitlines()
    assert held.startswith("1h: 1 bars of 1 symbols")
    assert (behind.split()[1], well.split()[1], health) == ("db-b", "db-a", "not healthy")
    assert trouble.startswith("  trouble     8 bars behind: its newest is ")
    assert "DELETE FROM barfeed.feeders WHERE host = 'db-b'" in trouble
    assert [each["host"] for each in told.told["feeders"] if each["trouble"]] == ["db-b"]


def test_all_of_a_file_is_every_series_whichever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barfeed.cli.commands.operate.status._WAIT_SEC", 0.1)
    store = make_store(tmp_path / "ohlcv.duckdb", made_up_bars(ms(2026, 3, 10, 13), 5))
    monkeypatch.setenv("BARFEED_SYMBOL", "ETHUSDT")
    nobody_asked = ("--duckdb", store, "--persist-dir", tmp_path, "--base-url", "http://127.0.0.1:1")
    one, every = (call(status, *nobody_asked, *more) for more in ((), ("--all",)))
    assert (one.out.splitlines()[0], every.out.splitlines()[0]) == ("ETHUSDT 1h", "BTCUSDT 1h")
    refused = call(status, *nobody_asked, "--all", "--symbol", "ETHUSDT")
    assert (refused.code, refused.err) == (2, "--symbol does not go with --all")
