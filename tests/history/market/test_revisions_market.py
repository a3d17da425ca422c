"""`barfeed revisions --symbols`: the changed bars of many series, in the order they were accepted."""

from pathlib import Path

import pytest

from barfeed.cli.commands.history.revisions import revisions
from commands import Ended, call, execute
from market_store import make_market

_COLUMNS = ("open", "high", "low", "close", "volume")
_CREATE = (
    "CREATE TABLE ohlcv_revisions (series VARCHAR, timestamp TIMESTAMP,"
    f" {', '.join(f'{side}_{name} DOUBLE' for side in ('old', 'new') for name in _COLUMNS)},"
    " seen_at TIMESTAMP, accepted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, reason VARCHAR, run VARCHAR)"
)


def revised(series: str, bar: str, accepted: str) -> str:
    return (
        f"INSERT INTO ohlcv_revisions VALUES ('{series}', '{bar}', 1, 2, 0.5, 1.5, 7, 1, 2, 0.5, 1.5, 8, '{accepted}',"
        f" '{accepted}', 'repair', 'repair of {series}')"
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = make_market(tmp_path / "ohlcv.duckdb")
    execute(
        path,
        _CREATE,
        revised("ETHUSDT 1h", "2026-03-01 10:00", "2026-03-03 10:00"),
        revised("BTCUSDT 1h", "2026-03-02 10:00", "2026-03-02 12:00"),
        revised("BTCUSDT 4h", "2026-03-02 08:00", "2026-03-02 14:00"),
    )
    return path


def listed(store: Path, *words: object) -> Ended:
    return call(revisions, "--duckdb", store, *words)


def test_each_is_told_with_its_symbol_oldest_first(store: Path) -> None:
    done = listed(store, "--symbols", "all", "--intervals", "1h,4h")
    assert (done.code, [line.partition(", seen")[0][:60] for line in done.out.splitlines()]) == (
        0,
        [
            "revisions=2 series=2 interval=1h",
            "BTCUSDT  2026-03-02 10:00  volume 7.0 -> 8.0  seen=2026-03-0",
            "ETHUSDT  2026-03-01 10:00  volume 7.0 -> 8.0  seen=2026-03-0",
            "revisions=1 series=1 interval=4h",
            "BTCUSDT  2026-03-02 08:00  volume 7.0 -> 8.0  seen=2026-03-0",
        ],
    )


def test_each_is_what_one_series_tells_of_it(store: Path) -> None:
    together = listed(store, "--symbols", "*USDT", "--json").told
    assert together["series"] == {"symbols": "*USDT", "interval": "1h"}
    for each in together["revisions"]:
        symbol = each.pop("symbol")
        assert listed(store, "--symbol", symbol, "--json").told["revisions"] == [each]


def test_none_is_no_trouble(store: Path) -> None:
    assert listed(store, "--symbols", "*USDC")[:2] == (0, "revisions=0 series=0 interval=1h\n")
