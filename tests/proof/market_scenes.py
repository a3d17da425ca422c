"""A pass over a market under attack: the same questions as to one series, of every symbol at once."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from barfeed.domain.bars import Bar
from market_world import SMALL_MARKET, small_market
from process import Ran
from proof.proof_world import (
    BARS_IN_DATABASE,
    TAPE,
    TARGET_MS,
    WINDOW_BARS,
    Exchange,
    asked,
    barfeed_words,
    database_of,
    file_of,
    has_table,
    make_disk,
)
from proof.scenes import FirstStart, Scene, leftovers
from storage import opened
from world import hours

Held = dict[str, dict[int, Bar]]

# As long as the store may reach back, and as far as a proof moves the clock.
_BARS = 1400
OTHERS = tuple(tape for tape in small_market(TARGET_MS + hours(400), _BARS) if tape.series.symbol != "BTCUSDT")


@cache
def taped() -> Held:
    """What the exchange has of each symbol."""
    others = {tape.series.symbol: {bar.open_time_ms: bar for bar in tape.bars} for tape in OTHERS}
    return others | {"BTCUSDT": TAPE}


class Pass(Scene):
    """An hour of five symbols."""

    name = "feed, a market"
    slug = "BINANCE.P_1h"

    def __init__(self, world: Exchange, folder: Path) -> None:
        super().__init__(world, folder)
        self._had = stored(self.start)

    def make(self, folder: Path) -> Path:
        return make_disk(self.world, folder, [*self.hour(), "--catch-up"])

    def words(self, root: Path) -> list[str]:  # noqa: ARG002 - as of every scene
        return self.hour()

    def hour(self) -> list[str]:
        return barfeed_words("run", "--symbols", "all")

    def check(self, root: Path, said: str) -> None:
        held = stored(root)
        for symbol, bars in held.items():
            self._check_symbol(symbol, bars)
        assert all(len(held.get(each, ())) >= len(bars) for each, bars in self._had.items()), "a symbol is lost"
        if " appended=5 " in said and "failed=" not in said:
            assert {max(bars) for bars in held.values()} == {self._target_ms}, "what was told as appended is not there"
        # What waits for a file that could not be had is given all the same.
        first_ms = self._begins_ms if " pending=" in said else self._target_ms + 1
        waiting = {symbol: _span(symbol, first_ms, self._target_ms) for symbol in SMALL_MARKET}
        self.check_windows(root, {symbol: held.get(symbol, {}) | bars for symbol, bars in waiting.items()})
        for path in _named(self.folder(root), "_api_pull.parquet"):
            assert all(taped()[symbol][at] == bar for symbol, bars in read(path).items() for at, bar in bars.items())
        for path in _named(self.folder(root), "_run.json"):
            _check_manifest(path, held)

    def check_result(self, root: Path) -> None:
        """As though nothing had happened: every bar of every symbol, and each window is the target's."""
        self.check_stored(root)
        self.check_given(root)

    def check_stored(self, root: Path) -> None:
        """Every bar of every symbol."""
        first_ms = min((min(bars) for bars in self._had.values()), default=self._begins_ms)
        assert stored(root) == {symbol: _span(symbol, first_ms, self._target_ms) for symbol in SMALL_MARKET}

    def check_given(self, root: Path) -> None:
        """Each window is the target's."""
        latest = {symbol: _span(symbol, self._begins_ms, self._target_ms) for symbol in SMALL_MARKET}
        assert read(self.folder(root) / "latest_for_inference.parquet") == latest

    def check_windows(self, root: Path, held: Held) -> None:
        """Each window is whole, is the exchange's, and ends with what is stored."""
        path = self.folder(root) / "latest_for_inference.parquet"
        if not path.exists():
            return
        for symbol, bars in read(path).items():
            end_ms = max(bars)
            assert bars == _span(symbol, end_ms - hours(WINDOW_BARS - 1), end_ms), symbol
            assert end_ms in held[symbol], f"{symbol}: published, but its target is not stored"

    def phase(self, root: Path) -> str:
        folder = self.folder(root)
        new = {path.name for path in folder.glob("*")} - {path.name for path in self.folder(self.start).glob("*")}
        if any(name.endswith("_run.json") for name in new):
            return "8 manifest written"
        if _changed_ns(folder) != _changed_ns(self.folder(self.start)):
            return "7 latest replaced"
        return self.phase_of_store(root) or self.phase_of_pull(root, new)

    def phase_of_store(self, root: Path) -> str:
        wal = (root / "store" / "ohlcv.duckdb.wal").exists()
        grown = {symbol for symbol, bars in stored(root).items() if len(bars) > len(self._had.get(symbol, ()))}
        assert grown in (set(), set(SMALL_MARKET)), f"half a pass is stored: {grown}"
        if wal:
            return "4 committed, its log still beside" if grown else "3 in the transaction"
        return "5 appended" if grown else ""

    def phase_of_pull(self, root: Path, new: set[str]) -> str:
        if any(name.endswith("_api_pull.parquet") for name in new):
            return "2 evidence saved"
        return "1 run begun" if leftovers(root, self.slug) else "0 nothing on the disk"

    @property
    def _begins_ms(self) -> int:
        return self._target_ms - hours(WINDOW_BARS - 1)

    def _check_symbol(self, symbol: str, bars: dict[int, Bar]) -> None:
        assert bars.keys() >= self._had.get(symbol, {}).keys(), f"{symbol}: a stored bar is lost"
        assert all(taped()[symbol][at] == bar for at, bar in bars.items()), f"{symbol}: a bar is not the exchange's"
        assert max(bars) <= self._target_ms, f"{symbol}: a forming bar is stored"


class FirstPass(Pass):
    """No store, no folder."""

    name = "feed, a market's first pass"
    make = FirstStart.make

    def words(self, root: Path) -> list[str]:  # noqa: ARG002 - as of every scene
        return [*self.hour(), "--catch-up"]


class LakePass(Pass):
    """The same, with a lake: what anybody's glob finds there is always whole, and behind the store."""

    name = "feed, a market with its lake"

    def make(self, folder: Path) -> Path:
        return make_disk(self.world, folder, [*self.words(folder), "--catch-up"])

    def words(self, root: Path) -> list[str]:
        return [*self.hour(), "--lake", str(root / "lake")]

    def check(self, root: Path, said: str) -> None:
        super().check(root, said)
        held = stored(root)
        for symbol, bars in in_lake(root).items():
            assert bars.items() <= held[symbol].items(), f"{symbol}: the lake has what the store has not"

    def check_done(self, root: Path, done: Ran) -> None:
        """A lake that fails fails no hour; what it lacks, the next one writes."""
        super().check_done(root, done)
        assert in_lake(root) == stored(root)


MARKET_SCENES = (Pass, FirstPass, LakePass)


def stored(root: Path) -> Held:
    """Every stored bar by symbol; each is there once. Read by nobody's code but the database's own."""
    if address := database_of(root):
        return _by_symbol(asked(address, f"SELECT symbol, {BARS_IN_DATABASE}"))
    path = file_of(root)
    if not path.exists() or not path.stat().st_size:
        return {}
    with opened(path, read_only=True) as connection:
        if not has_table(connection, "ohlcv_1h"):
            return {}
        return _by_symbol(connection.execute(_BARS_OF.format("ohlcv_1h")).fetchall())


def in_lake(root: Path) -> Held:
    """Every bar that a glob finds; each is there once, by one reader of all files."""
    return read(root / "lake" / "kind=ohlcv" / "**" / "*.parquet")


def read(path: Path) -> Held:
    """The bars of a Parquet file, by symbol."""
    return _by_symbol(duckdb.execute(_BARS_OF.format("read_parquet(?)"), [str(path)]).fetchall())


_BARS_OF = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM {}"


def _by_symbol(rows: list[Any]) -> Held:
    bars: Held = {}
    for symbol, *values in rows:
        bar = Bar(*values)
        assert bars.setdefault(symbol, {}).setdefault(bar.open_time_ms, bar) is bar, "a bar is there twice"
    return bars


def _span(symbol: str, first_ms: int, last_ms: int) -> dict[int, Bar]:
    return {at: bar for at, bar in taped()[symbol].items() if first_ms <= at <= last_ms}


def _named(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".")]


def _changed_ns(folder: Path) -> int:
    path = folder / "latest_for_inference.parquet"
    return path.stat().st_mtime_ns if path.exists() else 0


def _check_manifest(path: Path, held: Held) -> None:
    told = json.loads(path.read_bytes())
    for each in told["outcomes"]:
        assert not each["appended"] or len(held[each["symbol"]]) >= each["appended"], f"{path} tells of a lost bar"
    for each in filter(None, told["files"].values()):
        content = (path.parent / each["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"], path
        assert sum(map(len, read(path.parent / each["file"]).values())) == each["rows"], path
