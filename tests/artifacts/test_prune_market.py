"""`barfeed prune --symbols`: the folders of a market, one an interval."""

from pathlib import Path

import pytest

from barfeed.cli.commands.operate.prune import prune
from commands import Ended, add_run, call, names
from world import hours, ms

OLD_MS = ms(2023, 11, 1, 12)


def pruned(root: Path, *words: object) -> Ended:
    return call(prune, "--persist-dir", root, "--keep-days", 1, *words)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("BINANCE.P_1h", "BINANCE.P_4h", "BINANCE_BTCUSDT.P_60"):
        for run_time_ms in (OLD_MS, OLD_MS + hours(720)):
            add_run(tmp_path / folder, run_time_ms)
    return tmp_path


def test_the_folder_of_each_interval_is_folded_and_no_other(root: Path) -> None:
    done = pruned(root, "--symbols", "all", "--intervals", "1h,4h")
    assert done.code == 0
    told = [line.split() for line in done.out.splitlines()]
    assert [(each[0], each[-1]) for each in told] == [("pruned=1", "interval=1h"), ("pruned=1", "interval=4h")]
    for folder in ("BINANCE.P_1h", "BINANCE.P_4h"):
        assert "2023-11_runs.zip" in names(root / folder)
    assert "2023-11_runs.zip" not in names(root / "BINANCE_BTCUSDT.P_60")


def test_which_symbols_are_named_is_all_the_same_for_a_file_holds_every_one(root: Path) -> None:
    done = pruned(root, "--symbols", "*USDC", "--dry-run", "--json")
    assert (done.told["would_prune"], done.told["interval"]) == (1, "1h")


def test_one_series_that_is_typed_outweighs_the_many_of_the_file(root: Path) -> None:
    (root / "feed.toml").write_text('symbols = "all"\nintervals = "1h,4h"\n')
    done = pruned(root, "--config", root / "feed.toml", "--symbol", "BTCUSDT", "--interval", "1h")
    assert (done.code, "interval=" in done.out) == (0, False)
    assert "2023-11_runs.zip" in names(root / "BINANCE_BTCUSDT.P_60")
    assert "2023-11_runs.zip" not in names(root / "BINANCE.P_1h")


def test_one_and_many_at_once_are_wrong_usage(root: Path) -> None:
    done = pruned(root, "--symbols", "all", "--symbol", "BTCUSDT")
    assert (done.code, done.err, done.hint) == (
        2, "--symbol does not go with --symbols", "leave one of the two out",
    )  # fmt: skip
