"""Each recipe of docs/recipes.md runs as it stands, with the library that it is for, and comes to what is stored."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from commands import BARS, make_store
from process import ROOT

pytestmark = pytest.mark.peers

PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^## (\S+)\n.*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
# What each is imported by, and what it prints.
LIBRARIES = {
    "vectorbt": ("vectorbt", r"-?[\d.]+% in 800 hours"),
    "backtesting.py": ("backtesting", r"-?[\d.]+ % in 800 hours"),
    "freqtrade": ("freqtrade", r""),
    "nautilus_trader": ("nautilus_trader", r"800 bars"),
    "LightGBM": ("lightgbm", r"after 2024-02-10 13:00:00: up with [\d.]+%"),
}


def run(folder: Path, *command: str) -> str:
    # Wide enough for tables; and a library that compiles itself at its first use may take minutes.
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cooked(recipe: str, folder: Path) -> str:
    """What a recipe prints, beside a store."""
    library, _ = LIBRARIES[recipe]
    if find_spec(library) is None:
        # The one wants pandas 2, the others pandas 3.
        extra = "nautilus" if library == "nautilus_trader" else "recipes"
        pytest.skip(f"extra `{extra}`: {library} is not installed")
    make_store(folder / "data" / "ohlcv.duckdb")
    return run(folder, sys.executable, "-W", "ignore", "-c", RECIPES[recipe])


def test_every_recipe_has_a_test_here() -> None:
    assert set(RECIPES) == set(LIBRARIES)


@pytest.mark.parametrize("recipe", LIBRARIES)
def test_a_recipe_runs_as_it_stands(recipe: str, tmp_path: Path) -> None:
    assert re.fullmatch(LIBRARIES[recipe][1], cooked(recipe, tmp_path).strip().rpartition("\n")[2])


def test_freqtrade_itself_sees_the_bars(tmp_path: Path) -> None:
    cooked("freqtrade", tmp_path)
    [command] = re.findall(r"^\$ (freqtrade .*)$", PAGE, re.MULTILINE)
    program, *words = command.split()
    told = run(tmp_path, str(Path(sys.executable).with_name(program)), *words)
    [row] = [line for line in told.splitlines() if "BTC/USDT" in line]
    assert re.findall(r"2024[- :\d]*\d", row) == ["2024-01-08 06:00:00", "2024-02-10 13:00:00"]
    assert re.search(r"\b800\b", row)


def test_what_nautilus_reads_back_is_what_is_stored_timed_by_the_close(tmp_path: Path) -> None:
    cooked("nautilus_trader", tmp_path)
    look = (
        "from nautilus_trader.persistence.catalog import ParquetDataCatalog\n"
        "bars = ParquetDataCatalog('catalog').bars()\n"
        "print(len(bars), bars[0].ts_event, bars[-1].ts_event)"
    )
    told = run(tmp_path, sys.executable, "-W", "ignore", "-c", look).split()
    closes = [bar.open_time_ms + 3_600_000 for bar in (BARS[0], BARS[-1])]
    assert told == ["800", *(f"{each}000000" for each in closes)]
