"""An exchange, and the disks that the proofs begin with: made by the real commands, then copied for each attack."""

import csv
import gzip
import math
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.bars import COLUMNS, Bar
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import add_run
from process import ROOT, Ran
from storage import opened
from world import BTCUSDT_1H, hours, made_up_bars, ms

# The newest closed bar while a proof goes on, unless it moves the clock; the store it begins with ends one before.
TARGET_MS = ms(2024, 2, 10, 15)
WINDOW_BARS = 726
BACKFILLED_BARS = 5000
CSV_BARS = 700

_BARS = made_up_bars(TARGET_MS + hours(400), BACKFILLED_BARS + 1000)
TAPE = {bar.open_time_ms: bar for bar in _BARS}
# What the broken disk's store says of two bars, and a third that it lacks.
BROKEN_VOLUMES = {TARGET_MS - hours(6): 77.125, TARGET_MS - hours(4): 78.125}
MISSING_MS = TARGET_MS - hours(12)
SLUG = "BINANCE_BTCUSDT.P_60"
DAY_MS = hours(24)
# In a database.
AT_MS = "(extract(epoch FROM timestamp) * 1000)::bigint"
BARS_IN_DATABASE = f"{AT_MS}, open, high, low, close, volume FROM barfeed.ohlcv_1h"
# The file of a disk that names the database, where the store is one.
DATABASE_NOTE = "database"


class Exchange(NamedTuple):
    """A replay exchange on a real socket, and its clock."""

    clock: HandClock
    url: str
    exchange: ReplayExchange

    def environment(self, root: Path) -> dict[str, str]:
        """For a process that lives on the disk `root`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BARFEED_")}
        store = {"BARFEED_STORE": database_of(root)} if database_of(root) else {"BARFEED_DUCKDB": str(file_of(root))}
        feed = {"BARFEED_BASE_URL": self.url, **store}
        feed |= {"BARFEED_PERSIST_DIR": str(root / "feed"), "BARFEED_MAX_SKEW_SEC": "1e10"}
        # Nothing waits for a lock that nobody holds.
        return (
            kept | feed | {"BARFEED_LOCK_TIMEOUT_SEC": "0", "TMPDIR": str(root / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        )

    def set_minute(self, number: int) -> None:
        """A minute of the hour after the target: the exchange counts weight by the minute."""
        self.clock.set(TARGET_MS + hours(1) + 30_000 + number % 55 * 60_000)

    def run(self, root: Path, *words: object, **environment: str) -> Ran:
        """A command on the disk `root`, to its end."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment(root) | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def exchange(others: Sequence[Tape] = ()) -> Iterator[Exchange]:
    """Half a minute after the target closed; with `others`, the exchange has these symbols, too."""
    clock = HandClock(TARGET_MS + hours(1) + 30_000)
    replay = ReplayExchange([Tape.of(BTCUSDT_1H, _BARS), *others], clock.now_ms)
    with ReplayServer(replay) as server:
        yield Exchange(clock, server.url, replay)


def file_of(root: Path) -> Path:
    """The store of a disk that has none elsewhere."""
    return root / "store" / "ohlcv.duckdb"


def database_of(root: Path) -> str:
    """The address of the database that a disk's feed has for a store; empty where it is a file."""
    note = root / DATABASE_NOTE
    return note.read_text() if note.exists() else ""


def feed_words(*flags: str) -> list[str]:
    """The hourly command as cron starts it."""
    return [sys.executable, str(ROOT / "run" / "ohlcv_feed_binance.py"), *flags]


def barfeed_words(*words: str) -> list[str]:
    """Any other command."""
    return [sys.executable, "-m", "barfeed", *words]


def make_disk(world: Exchange, root: Path, words: Sequence[str] = (), lived: Sequence[int] = (2, 1)) -> Path:
    """A disk with a store of 727 bars and the files of two runs of the feed, or of `words`, that is one hour behind.

    Or that `lived` so many hours before.
    """
    for folder in ("tmp", "store"):
        (root / folder).mkdir(parents=True)
    for before in lived:
        world.clock.set(TARGET_MS + hours(1 - before) + 30_000)
        done = world.run(root, *(words or feed_words("--catch-up")))
        assert done.code == 0, done.err
    world.set_minute(0)
    return root


def make_empty_disk(root: Path) -> Path:
    """A disk on which nothing ever ran."""
    (root / "tmp").mkdir(parents=True)
    return root


def break_store(root: Path) -> None:
    """Let two stored bars differ from the exchange's, and take one out."""
    if address := database_of(root):
        volumes = [[volume, at_ms] for at_ms, volume in BROKEN_VOLUMES.items()]
        _change(address, f"UPDATE barfeed.ohlcv_1h SET volume = %s WHERE {AT_MS} = %s", volumes)
        _change(address, f"DELETE FROM barfeed.ohlcv_1h WHERE {AT_MS} = %s", [[MISSING_MS]])
        return
    with opened(file_of(root)) as connection:
        for at_ms, volume in BROKEN_VOLUMES.items():
            connection.execute(
                "UPDATE ohlcv_btcusdt_1h SET volume = ? WHERE timestamp = make_timestamp_ms(?)", [volume, at_ms]
            )
        connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = make_timestamp_ms(?)", [MISSING_MS])


def add_old_runs(root: Path) -> None:
    """Files of runs of two months that a prune folds away."""
    for days in (140, 139, 101, 100):
        add_run(root / "feed" / SLUG, TARGET_MS - days * DAY_MS)


def write_csvs(root: Path) -> list[Path]:
    """Four of the user's own files, one after another in time, packed in each way that is known."""
    folder = root / "csv"
    folder.mkdir()
    times = sorted(TAPE)[: 4 * CSV_BARS]
    texts = [_csv_text([TAPE[at] for at in times[i : i + CSV_BARS]]) for i in range(0, len(times), CSV_BARS)]
    (folder / "a.csv").write_bytes(texts[0])
    (folder / "b.csv.gz").write_bytes(gzip.compress(texts[1]))
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("c.csv", texts[2])
    (folder / "d.csv").write_bytes(texts[3])
    return [folder / name for name in ("a.csv", "b.csv.gz", "c.zip", "d.csv")]


def stored(root: Path) -> dict[int, Bar]:
    """Every stored bar; each is there once. Read by nobody's code but the database's own."""
    if address := database_of(root):
        return _once(asked(address, f"SELECT {BARS_IN_DATABASE} WHERE symbol = 'BTCUSDT'"))
    path = file_of(root)
    if not path.exists() or not path.stat().st_size:
        return {}
    with opened(path, read_only=True) as connection:
        if not has_table(connection, "ohlcv_btcusdt_1h"):
            return {}
        rows = connection.execute(
            "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_btcusdt_1h"
        ).fetchall()
    return _once(rows)


def audited(root: Path) -> dict[int, float]:
    """The volume that each revised bar had before."""
    if address := database_of(root):
        return _once_audited(asked(address, f"SELECT {AT_MS}, old_volume FROM barfeed.ohlcv_revisions"))
    with opened(file_of(root), read_only=True) as connection:
        if not has_table(connection, "ohlcv_revisions"):
            return {}
        rows = connection.execute("SELECT epoch_ms(timestamp), old_volume FROM ohlcv_revisions").fetchall()
    return _once_audited(rows)


def asked(address: str, query: str) -> list[tuple[Any, ...]]:
    """What a database says."""
    from pg_server import looked_at  # noqa: PLC0415 - most disks have a file

    with looked_at(address) as connection:
        return connection.execute(query).fetchall()


def _change(address: str, statement: str, values: Sequence[Sequence[object]]) -> None:
    from pg_server import looked_at  # noqa: PLC0415 - as above

    with looked_at(address) as connection:
        connection.cursor().executemany(statement, values)


def _once(rows: list[tuple[Any, ...]]) -> dict[int, Bar]:
    assert len(rows) == len({row[0] for row in rows}), "a bar is stored twice"
    return {row[0]: Bar(*row) for row in rows}


def _once_audited(rows: list[tuple[Any, ...]]) -> dict[int, float]:
    assert len(rows) == len({row[0] for row in rows}), "a bar is audited twice"
    return dict(rows)


def window(target_ms: int) -> list[Bar]:
    """What an inference CSV that ends at `target_ms` has to hold, by the tape."""
    return [TAPE[target_ms - hours(back)] for back in range(WINDOW_BARS - 1, -1, -1)]


def read_csv(path: Path) -> list[Bar]:
    """A CSV of bars, read by the standard library."""
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert tuple(header) == COLUMNS
    return [Bar(_ms(moment), *map(float, values)) for moment, *values in rows]


def copy(start: Path, root: Path) -> Path:
    """A disk of one's own, as `start` is."""
    shutil.rmtree(root, ignore_errors=True)
    return Path(shutil.copytree(start, root, symlinks=True))


def has_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether there is a table of that name."""
    found = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table]).fetchone()
    return found != (0,)


def _ms(moment: str) -> int:
    day, clock = moment.split(" ")
    return ms(*map(int, day.split("-")), *map(int, clock.split(":")))


def _csv_text(bars: Sequence[Bar]) -> bytes:
    rows = [",".join([str(bar.open_time_ms), *map(repr, bar.values)]) for bar in bars]
    assert all(math.isfinite(value) for bar in bars for value in bar.values)
    return "\n".join(["timestamp,open,high,low,close,volume", *rows, ""]).encode()
