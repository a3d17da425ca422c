"""What must hold of a store and its files, whatever happens: plain dicts, read back with plain SQL and csv.

It shares nothing with barfeed but the bars of the tape. `check` is called after every step.
"""

import csv
import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proof.holdings import READER, Change, Holdings, Kept, Values

HOUR_MS = 3_600_000
SECONDS = "%Y-%m-%d %H:%M:%S"


class Broken(AssertionError):
    """A promise that does not hold."""


class Model:
    """What the exchange may have said, what was seen of the store, and what has been published."""

    def __init__(self, tape: Mapping[int, Values], window_bars: int, kept: Kept) -> None:
        self.truth = dict(tape)
        self.versions = {at: {values} for at, values in tape.items()}
        self.stored: dict[int, Values] = {}
        self.revised: dict[int, float] = {}
        self._window_bars = window_bars
        self._kept = kept
        self._changes: list[Change] = []
        self._seen: dict[str, str] = {}
        self._latest = ""
        self._window_ms = 0
        # By the hash of a published window: whether it may be the exchange's own, rather than the store's.
        self._pulled: dict[str, bool] = {}

    def may_say(self, at_ms: int, values: Values) -> None:
        """The exchange may show the bar so, for a while."""
        self.versions[at_ms].add(values)

    def revise(self, at_ms: int, volume: float) -> None:
        """From now on the exchange shows another volume."""
        self.revised[at_ms] = volume
        self.truth[at_ms] = (*self.truth[at_ms][:4], volume)
        self.may_say(at_ms, self.truth[at_ms])

    def flat(self, at_ms: int) -> Values:
        """The bar as if nothing had been traded in it."""
        last = self.truth[at_ms - HOUR_MS][3]
        return (last, last, last, last, 0.0)

    def take_out(self, holdings: Holdings, gone: Iterable[int]) -> None:
        """A person takes bars out of the store."""
        for at in gone:
            holdings.take_out(self._kept, at)
            del self.stored[at]

    def check(
        self, held: Holdings, folder: Path, moments: tuple[int, int], *, discards: bool = False, killed: bool = False
    ) -> None:
        """Raise `Broken` where anything that happened between two `moments` (ms) broke a promise."""
        bars, changes = self._held_by(held)
        self._check_bars(bars, changes, moments[1])
        ends = self._check_files(folder, bars, moments, discards=discards)
        _hold(killed or not ends or self._latest == max(ends), f"the latest ends at {self._latest}, published {ends}")
        self.stored, self._changes = bars, changes

    def check_span(self, symbol: str, times: list[int]) -> None:
        """Whether these make a window: whole, and of what is stored."""
        first_ms = times[-1] - (self._window_bars - 1) * HOUR_MS
        _hold(
            times == list(range(first_ms, times[-1] + 1, HOUR_MS)), f"{symbol}: the window is short or gapped: {times}"
        )

    def check_agreement(self, target_ms: int) -> None:
        """After an hour that ended well the newest bars are the exchange's own, however they were before."""
        for at in range(target_ms - 5 * HOUR_MS, target_ms + HOUR_MS, HOUR_MS):
            _hold(
                self.stored.get(at) == self.truth[at], f"{_text(at)} is stored as {self.stored.get(at)}: told as well"
            )

    def _held_by(self, held: Holdings) -> tuple[dict[int, Values], list[Change]]:
        rows, changes = held.read(self._kept)
        bars = dict(rows)
        _hold(len(bars) == len(rows), "a bar is stored twice")
        return bars, changes

    def _check_bars(self, bars: Mapping[int, Values], changes: list[Change], now_ms: int) -> None:
        _hold(changes[: len(self._changes)] == self._changes, "the audit table is not append-only")
        known = dict(self.stored)
        for at, old, new in changes[len(self._changes) :]:
            # A bar that was appended and revised in one step is not known before.
            _hold(known.setdefault(at, old) == old, f"{_text(at)}: the audit keeps {old}, stored was {known[at]}")
            known[at] = new
        for at, values in known.items():
            _hold(at in bars, f"{_text(at)} is gone")
            _hold(bars[at] == values, f"{_text(at)} changed without a revision row: {values} to {bars[at]}")
        for at, values in bars.items():
            _hold(at + HOUR_MS <= now_ms, f"{_text(at)} is stored and still forming at {_text(now_ms)}")
            _hold(values in self.versions.get(at, ()), f"{_text(at)}: the exchange never said {values}")

    def _check_files(
        self, folder: Path, bars: Mapping[int, Values], moments: tuple[int, int], *, discards: bool
    ) -> list[str]:
        """Look at what is new; where the windows end that were published."""
        now = {path.name: _sha256(path) for path in folder.glob("*") if path.is_file() and path.name[0] != "."}
        # Sorted, so that the latest comes behind the run that it is of.
        changed = sorted(name for name, sha256 in now.items() if self._seen.get(name) != sha256)
        ends = []
        for name in changed:
            _hold(name.startswith("latest") or name.endswith(".zip") or name not in self._seen, f"{name} was changed")
            if name.endswith(f"_{self._kept.windows}"):
                is_pulled = self._pulled.setdefault(now[name], _is_pulled(folder / name, self._kept.windows))
                ends.append(self._check_window(folder / name, bars, moments, is_pulled=is_pulled))
            elif name.endswith("_run.json"):
                _check_manifest(folder, json.loads((folder / name).read_text()))
        if not discards:
            folded = _folded(folder)
            for name in self._seen.keys() - now.keys():
                _hold(folded.get(name) == self._seen[name], f"{name} is gone and in no zip")
        self._seen = now
        return ends

    def _check_window(
        self, path: Path, bars: Mapping[int, Values], moments: tuple[int, int], *, is_pulled: bool
    ) -> str:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        _hold(header == ["timestamp", "open", "high", "low", "close", "volume"], f"{path.name}: {header}")
        times = [_ms(row[0]) for row in rows]
        first_ms = times[-1] - (self._window_bars - 1) * HOUR_MS
        _hold(times == list(range(first_ms, times[-1] + 1, HOUR_MS)), f"{path.name} is short or gapped: {times}")
        earliest, newest = (moment - moment % HOUR_MS - HOUR_MS for moment in moments)
        _hold(earliest <= times[-1] <= newest, f"{path.name} ends at {rows[-1][0]}, the target is {_text(newest)}")
        for at, row in zip(times, rows, strict=True):
            values = tuple(map(float, row[1:]))
            # What was stored and revised in one step may have been published in between.
            is_known = at in self.stored and not is_pulled
            may_be = {self.stored[at], bars.get(at)} if is_known else self.versions[at]
            _hold(values in may_be, f"{path.name} {row} is unlike {'the exchange' if is_pulled else 'the store'}'s")
        if path.name.startswith("latest"):
            _hold(rows[-1][0] >= self._latest, f"the latest went back from {self._latest} to {rows[-1][0]}")
            self._latest = rows[-1][0]
        return rows[-1][0]


def _is_pulled(window: Path, ending: str) -> bool:
    """Whether the exchange vouches for a window: so says its manifest. A run that was killed says nothing."""
    manifest = window.with_name(window.name.replace(ending, "run.json"))
    # With a store that is away, what it said last vouches for some of it.
    return not manifest.exists() or json.loads(manifest.read_text()).get("inference_from") in {"api", "db,api"}


def check_evidence(record: Any) -> None:
    """A cycle that was not killed leaves its manifest, and its pull where there was one to decide about."""
    _hold(record.manifest_path is not None, f"{record.status}: no manifest")
    told = json.loads(Path(record.manifest_path).read_text())
    _hold((told["status"], told["exit_code"]) == (record.status, record.exit_code), f"the manifest says {told}")
    decided = {"appended", "up_to_date", "revised", "dry_run", "mismatch", "missed_bars", "window_gap", "bar_late"}
    _hold(told["status"] not in decided or bool(told["files"]["api_pull"]), f"{told['status']} without its pull")


def _check_manifest(folder: Path, told: Any) -> None:
    for kind, file in told["files"].items():
        if file:
            path = folder / file["file"]
            _hold(path.exists(), f"{told['run_time']}: {kind} is not there")
            _hold(_sha256(path) == file["sha256"], f"{path.name} is not what its manifest says")
            _hold(_row_count(path) == file["rows"], f"{path.name} has other rows than its manifest")


def _row_count(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(READER.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchall()[0][0])
    return path.read_bytes().count(b"\n") - 1


def check_windows(folder: Path, models: Mapping[str, Model]) -> None:
    """Raise `Broken` unless the table of every window is sorted, whole, said so by the exchange, and up to one bar."""
    path = folder / "latest_for_inference.parquet"
    if not path.exists():
        return
    query = f"SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet('{path}')"
    rows = READER.execute(query).fetchall()
    _hold(rows == sorted(rows), "the windows are not sorted by symbol, then time")
    times: dict[str, list[int]] = {}
    for symbol, at, *values in rows:
        times.setdefault(symbol, []).append(at)
        _hold(tuple(values) in models[symbol].versions.get(at, ()), f"{symbol} {_text(at)}: never said: {values}")
    ends = {each[-1] for each in times.values()}
    _hold(len(ends) == 1, f"the windows end at {sorted(map(_text, ends))}")
    for symbol, each in times.items():
        models[symbol].check_span(symbol, each)


def _folded(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as file:
            found |= {name: hashlib.sha256(file.read(name)).hexdigest() for name in file.namelist()}
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ms(text: str) -> int:
    return int(datetime.strptime(text, SECONDS).replace(tzinfo=UTC).timestamp()) * 1000


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(SECONDS)


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
