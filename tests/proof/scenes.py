"""The commands that are attacked: the disk each begins with, what must hold at any moment, and what when it is done."""

import csv
import hashlib
import json
import os
import re
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from barfeed.domain.bars import Bar
from process import ROOT, Ran
from proof import proof_world
from proof.proof_world import (
    BACKFILLED_BARS,
    BROKEN_VOLUMES,
    CSV_BARS,
    MISSING_MS,
    SLUG,
    TAPE,
    TARGET_MS,
    Exchange,
    audited,
    barfeed_words,
    feed_words,
    read_csv,
    stored,
    window,
)
from world import hours

_OLD_SEC = 48 * 3600


class Scene:
    """A command on a disk. `start` is copied for each attack; the checks raise `AssertionError`."""

    name = "feed"
    slug = SLUG

    def __init__(self, world: Exchange, folder: Path) -> None:
        self.world = world
        self.start = self.make(folder)
        self._held = stored(self.start)

    def folder(self, root: Path) -> Path:
        """Where the feed's files are."""
        return root / "feed" / self.slug

    def make(self, folder: Path) -> Path:
        """The disk to begin with."""
        return proof_world.make_disk(self.world, folder)

    @property
    def server(self) -> str:
        """The folder of the socket by which its store is reached, where that is a server."""
        return ""

    def lay(self, root: Path) -> Path:
        """A disk of one's own, as `start` is."""
        return proof_world.copy(self.start, root)

    def names(self, root: Path) -> tuple[str, ...]:
        """What a message about its disk, or its store, has to name one of."""
        return (str(root),)

    def words(self, root: Path) -> list[str]:  # noqa: ARG002 - others name files of the disk
        """The command."""
        return feed_words()

    def run(self, root: Path, *tracing: str) -> Ran:
        """The command to its end, as `tracing` starts it."""
        return self.world.run(root, *tracing, *self.words(root))

    def hour(self) -> list[str]:
        """What runs every hour."""
        return feed_words()

    def healing(self, root: Path) -> list[str]:
        """The documented command that goes on."""
        return self.words(root)

    def heal(self, root: Path) -> Ran:
        """Run it."""
        return self.world.run(root, *self.healing(root))

    def begin(self) -> None:
        """Note where the exchange stands: the command is about to start."""
        self._asked_before = self.world.exchange.requests.total()

    def is_at_work(self, root: Path) -> bool:  # noqa: ARG002 - others show it on the disk
        """Whether the command has come as far as its first question to the exchange."""
        return self.world.exchange.requests.total() > self._asked_before

    def check(self, root: Path, said: str) -> None:
        """What must hold whenever the command is ended, having `said` so much."""
        held = stored(root)
        self.check_bars(held, root)
        # What waits for a file that could not be had is given all the same.
        waiting = {bar.open_time_ms: bar for bar in window(self._target_ms)} if " pending=" in said else {}
        self.check_files(root, held | waiting)
        for rows in re.findall(r"rows=(\d+)", said):
            assert len(held) >= int(rows), "a bar is lost that the exit line told of"

    def check_bars(self, held: dict[int, Bar], root: Path) -> None:  # noqa: ARG002 - a repair looks at more
        """Nothing that was there is lost, nothing is there but what the exchange says of closed bars."""
        assert held.keys() >= self._held.keys(), "a stored bar is lost"
        assert all(TAPE[at] == bar for at, bar in held.items()), "a stored bar is not the exchange's"
        assert max(held, default=0) + hours(1) <= self.world.clock.now_ms(), "a forming bar is stored"

    def check_files(self, root: Path, held: dict[int, Bar]) -> None:
        """Each file under its final name is whole, is what its manifest says, and is what the store has."""
        for path in _finals(root / "feed" / SLUG, "_for_inference.csv"):
            bars = read_csv(path)
            assert bars == window(bars[-1].open_time_ms), path
            assert bars[-1].open_time_ms in held, f"{path} was published, but its target is not stored"
        for path in _finals(root / "feed" / SLUG, "_api_pull.csv"):
            assert all(TAPE[bar.open_time_ms] == bar for bar in read_csv(path)), path
        for path in _finals(root / "feed" / SLUG, "_run.json"):
            _check_manifest(path, held)

    def check_done(self, root: Path, done: Ran) -> None:
        """What must hold after the command has gone on to its end."""
        assert done.code == 0, done
        assert "Traceback" not in done.err
        self.check(root, done.out)
        self.check_result(root)
        self.check_log(root)
        self.check_swept(root)

    def check_result(self, root: Path) -> None:
        """Everything is as though nothing had happened: the same bars, and the newest CSV is the target's."""
        self.check_stored(root)
        self.check_given(root)

    def check_stored(self, root: Path) -> None:
        """Every bar from the first to the target's."""
        held = stored(root)
        first_ms = min(self._held, default=self._target_ms - hours(WINDOW - 1))
        assert sorted(held) == list(range(first_ms, self._target_ms + 1, hours(1)))

    def check_given(self, root: Path) -> None:
        """The newest CSV is the target's."""
        assert read_csv(root / "feed" / SLUG / "latest_for_inference.csv") == window(self._target_ms)

    def check_log(self, root: Path) -> None:
        """A log beside the store is folded into it by the next hour, where the command had nothing left to write."""
        log = root / "store" / "ohlcv.duckdb.wal"
        if log.exists():
            hour = self.world.run(root, *self.hour())
            assert hour.code == 0, hour.err
        assert not log.exists(), "a log is left beside the store"

    def check_swept(self, root: Path) -> None:
        """What a kill left over is gone once it is old, after the next run."""
        left = leftovers(root, self.slug)
        if not left:
            return
        for path in left:
            os.utime(path, (time.time() - _OLD_SEC,) * 2)
        self.heal(root)
        assert leftovers(root, self.slug) == [], f"never cleaned away: {leftovers(root, self.slug)}"

    def phase(self, root: Path) -> str:
        """How far the command was, by what it left on the disk."""
        new = _new(self.start, root)
        if any(name.endswith("_run.json") for name in new):
            return "8 manifest written"
        if (root / "feed" / SLUG / "latest_for_inference.csv").stat().st_mtime_ns != _latest_ns(self.start):
            return "7 latest replaced"
        if any(name.endswith("_for_inference.csv") for name in new):
            return "6 published"
        return self.phase_of_store(root) or self.phase_of_pull(root, new)

    def phase_of_store(self, root: Path) -> str:
        """How far the store was; empty where it is as it was."""
        wal = root / "store" / "ohlcv.duckdb.wal"
        grown = len(stored(root)) > len(self._held)
        if wal.exists():
            return "4 committed, its log still beside" if grown else "3 in the transaction"
        return "5 appended" if grown else ""

    def phase_of_pull(self, root: Path, new: set[str]) -> str:
        """How far it was before the store."""
        if any(name.endswith("_api_pull.csv") for name in new):
            return "2 evidence saved"
        return "1 run begun" if leftovers(root, self.slug) else "0 nothing on the disk"

    @property
    def _target_ms(self) -> int:
        return self.world.clock.now_ms() // hours(1) * hours(1) - hours(1)


WINDOW = proof_world.WINDOW_BARS


class FirstStart(Scene):
    """No store, no folder: the table is made."""

    name = "feed, first start"

    def make(self, folder: Path) -> Path:
        return proof_world.make_empty_disk(folder)

    def words(self, root: Path) -> list[str]:  # noqa: ARG002
        return feed_words("--catch-up")

    def phase(self, root: Path) -> str:
        folder = root / "feed" / SLUG
        if (folder / "latest_for_inference.csv").exists():
            return super().phase(root) if _finals(folder, "_run.json") else "7 latest replaced"
        if _finals(folder, "_for_inference.csv"):
            return "6 published"
        return self.phase_of_store(root) or self.phase_of_pull(root, _new(self.start, root))


class Watch(Scene):
    """A feed for ever; the attack lets hours pass."""

    name = "feed, --watch"

    def words(self, root: Path) -> list[str]:  # noqa: ARG002
        return feed_words("--watch", "--catch-up", "--sleep-sec", "0.05", "--settle-sec", "0")

    def healing(self, root: Path) -> list[str]:  # noqa: ARG002
        return feed_words("--catch-up")


class BackfillRest(Scene):
    """Years of history from REST into a store that has its end."""

    name = "backfill, rest"
    first_ms = TARGET_MS - hours(BACKFILLED_BARS - 1)

    def words(self, root: Path) -> list[str]:  # noqa: ARG002
        begin = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.first_ms / 1000))
        return barfeed_words("backfill", "--source", "rest", "--from", begin, "--connections", "1")

    def check_result(self, root: Path) -> None:
        assert sorted(stored(root)) == list(range(self.first_ms, TARGET_MS + 1, hours(1)))

    def phase(self, root: Path) -> str:
        return self.phase_of_store(root) or "0 nothing on the disk"


class BackfillCsv(BackfillRest):
    """Four files of the user's, a transaction each."""

    name = "backfill, csv"

    def make(self, folder: Path) -> Path:
        root = super().make(folder)
        self._names = [path.name for path in proof_world.write_csvs(root)]
        return root

    def words(self, root: Path) -> list[str]:
        return barfeed_words("backfill", "--source", "csv", *(str(root / "csv" / name) for name in self._names))

    def check_result(self, root: Path) -> None:
        assert stored(root).keys() == {*self._held, *sorted(TAPE)[: 4 * CSV_BARS]}

    def phase_of_store(self, root: Path) -> str:
        said = super().phase_of_store(root)
        files = (len(stored(root)) - len(self._held)) // CSV_BARS
        return f"{said} ({files} of 4 files)" if said else ""


class Repair(Scene):
    """A gap and two mismatches, mended."""

    name = "repair"

    def make(self, folder: Path) -> Path:
        root = super().make(folder)
        proof_world.break_store(root)
        return root

    def words(self, root: Path) -> list[str]:  # noqa: ARG002
        return barfeed_words("repair", "--yes", "--pause-sec", "0")

    def check_bars(self, held: dict[int, Bar], root: Path) -> None:
        changed = {at: self._held[at].volume for at in BROKEN_VOLUMES if held[at] != self._held[at]}
        assert audited(root) == changed, "a bar is changed without its audit row"
        assert len(changed) in {0, len(BROKEN_VOLUMES)}
        assert (MISSING_MS in held) == bool(changed), "a repair is half made"
        others = held.keys() - (BROKEN_VOLUMES.keys() - changed.keys())
        super().check_bars({at: held[at] for at in others} | {at: TAPE[at] for at in held.keys() - others}, root)

    def check_files(self, root: Path, held: dict[int, Bar]) -> None:
        # The files are from before somebody took a bar out.
        super().check_files(root, held | {MISSING_MS: TAPE[MISSING_MS]})

    def check_result(self, root: Path) -> None:
        assert sorted(stored(root)) == list(range(min(self._held), max(self._held) + 1, hours(1)))
        assert audited(root) == BROKEN_VOLUMES

    def phase_of_store(self, root: Path) -> str:
        wal = root / "store" / "ohlcv.duckdb.wal"
        mended = MISSING_MS in stored(root)
        if wal.exists():
            return "4 committed, its log still beside" if mended else "3 in the transaction"
        return "5 mended" if mended else ""

    def phase(self, root: Path) -> str:
        return self.phase_of_store(root) or "0 nothing on the disk"


class Prune(Scene):
    """Four old runs of two months, folded away."""

    name = "prune"

    def make(self, folder: Path) -> Path:
        root = super().make(folder)
        proof_world.add_old_runs(root)
        self._before = _everything(root)
        return root

    def words(self, root: Path) -> list[str]:  # noqa: ARG002
        return barfeed_words("prune", "--keep-days", "30")

    def is_at_work(self, root: Path) -> bool:
        return (root / "feed" / SLUG / ".prune.lock").exists()

    def check_files(self, root: Path, held: dict[int, Bar]) -> None:  # noqa: ARG002 - old runs are small
        assert _everything(root) == self._before, "a file of a run is lost, or another"

    def check_result(self, root: Path) -> None:
        zips = {path.name for path in (root / "feed" / SLUG).glob("*.zip")}
        assert zips == {"2023-09_runs.zip", "2023-11_runs.zip"}
        assert len(_finals(root / "feed" / SLUG, "_run.json")) == len(self._held) - WINDOW + 1

    def phase(self, root: Path) -> str:
        zips = len(list((root / "feed" / SLUG).glob("*.zip")))
        left = [path.name for path in leftovers(root)]
        state = "1 zip begun" if any(".zip." in name for name in left) else "2 runs being let go" if zips else "0"
        return f"{state} ({zips} of 2 zips)" if zips or state != "0" else "0 nothing on the disk"


class Inference(Scene):
    """A prediction from the newest CSV, kept, with its debug files."""

    name = "inference"

    def make(self, folder: Path) -> Path:
        root = super().make(folder)
        train = [sys.executable, str(ROOT / "run" / "train_lgbm.py"), "--horizon-hours", "12", "--rounds", "40"]
        backfill = barfeed_words("backfill", "--source", "rest", "--from", "2023-11-01")
        for words in (backfill, [*train, "--source", f"{root}/store/ohlcv.duckdb", "--model-root", f"{root}/models"]):
            done = self.world.run(root, *words)
            assert done.code == 0, done.err
        return root

    def words(self, root: Path) -> list[str]:
        script, latest = ROOT / "run" / "run_inference_lgbm.py", root / "feed" / SLUG / "latest_for_inference.csv"
        flags = {"--input-csv": latest, "--model-root": root / "models", "--debug-dir": root / "debug"}
        flags["--duckdb"] = root / "predictions.duckdb"
        return [sys.executable, str(script), *(str(word) for each in flags.items() for word in each)]

    def is_at_work(self, root: Path) -> bool:
        return (root / "debug").exists()

    def check(self, root: Path, said: str) -> None:
        rows = _predictions(root)
        assert len(rows) <= 1, "a bar is predicted twice"
        assert rows or "y_pred" not in said, "a prediction is lost that was told"
        for path in (root / "debug").glob("*.csv"):
            with path.open(newline="") as file:
                table = list(csv.DictReader(file))
            if path.name.startswith("features_"):
                assert len(table) > 100, path
                assert all(math_row["value"] for math_row in table), path
            else:
                assert len(table) == 1, path
                assert not rows or float(table[0]["y_pred"]) == rows[0], path

    def check_result(self, root: Path) -> None:
        assert len(_predictions(root)) == 1

    def phase(self, root: Path) -> str:
        published = len(list((root / "debug").glob("*.csv")))
        if _predictions(root):
            return "4 stored"
        if published:
            return f"3 {published} of 2 debug files published"
        if (root / "predictions.duckdb").exists():
            return "2 predictions store made"
        return "1 debug files staged" if (root / "debug").exists() else "0 nothing on the disk"


SCENES = (Scene, FirstStart, Watch, BackfillRest, BackfillCsv, Repair, Prune, Inference)


def leftovers(root: Path, slug: str = SLUG) -> list[Path]:
    """Temporary files and folders; a lock's file stays for ever, an empty working folder and a folder's mark too."""
    keep = {".unfinished", ".leaving", ".prune.lock", ".series", "latest.lock", ".lock"}
    hidden = list(root.rglob(".*"))
    working = [path for name in (".unfinished", ".leaving") for path in (root / "feed" / slug / name).glob("*")]
    # The system's temporary folder, where zips are unpacked and Python tries whether it can write, is its own to clean.
    return sorted(path for path in [*hidden, *working] if path.name not in keep and root / "tmp" not in path.parents)


def _finals(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".")]


def _new(start: Path, root: Path) -> set[str]:
    here, before = root / "feed" / SLUG, start / "feed" / SLUG
    return {path.name for path in here.glob("*")} - {path.name for path in before.glob("*")}


def _latest_ns(root: Path) -> int:
    path = root / "feed" / SLUG / "latest_for_inference.csv"
    return path.stat().st_mtime_ns if path.exists() else 0


def _check_manifest(path: Path, held: dict[int, Bar]) -> None:
    told = json.loads(path.read_bytes())
    if told["coverage"] and told["status"] == "appended":
        assert len(held) >= told["coverage"]["rows"], f"a bar is lost that {path} tells of"
    for each in filter(None, told["files"].values()):
        content = (path.parent / each["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"], path
        assert len(content.splitlines()) == each["rows"] + 1, path


def _everything(root: Path) -> dict[str, str]:
    """The sha256 of each run's file, there or in a zip; where it is in both, both are the same."""
    found: dict[str, str] = {}
    for name, content in _contents(root / "feed" / SLUG):
        digest = hashlib.sha256(content).hexdigest()
        assert found.setdefault(name, digest) == digest
    return found


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("[!.]*")):
        if path.suffix != ".zip":
            yield path.name, path.read_bytes()
            continue
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            yield from ((name, archive.read(name)) for name in archive.namelist())
    # A run that is on its way out is in the zip, or its manifest is here.
    yield from ((path.name, path.read_bytes()) for path in folder.glob(".leaving/*"))


def _predictions(root: Path) -> list[float]:
    path = root / "predictions.duckdb"
    if not path.exists() or not path.stat().st_size:
        return []
    with duckdb.connect(path, read_only=True) as connection:
        if not proof_world.has_table(connection, "predictions"):
            return []
        found = connection.execute("SELECT y_pred, feature_key IN (SELECT feature_key FROM features) FROM predictions")
        rows = found.fetchall()
    assert all(has_features for _, has_features in rows), "a prediction has lost its features"
    return [row[0] for row in rows]
