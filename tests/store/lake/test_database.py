"""The lake of a database: as of a file, by the same exporter, told apart by days and copied a part at a time."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

import barfeed
from barfeed.cli.commands.history.copy import copy
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Row
from barfeed.domain.life import Listing
from barfeed.machine.clock import SystemClock
from barfeed.store import revisions
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds.tables import Late
from barfeed.store.lake.contents import database
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.proof import Proven, prove
from barfeed.store.lake.table import NOTED, AnyTable, Table
from barfeed.store.postgres.server import Server
from commands import call
from pg_server import looked_at, new_market
from store.lake.lakes import END_MS, SYMBOLS, StoreAndLake
from store.lake.noting import FUNDING, INTEREST, note_others, revise
from waiting import until
from world import hours, made_up_bars

pytestmark = pytest.mark.long

ONE_HOUR = Interval.ONE_HOUR


class DatabaseAndLake:
    """A database, fed as feeders do, and a lake beside it."""

    def __init__(self, folder: Path) -> None:
        self.address = new_market()
        self.server = Server(self.address, SystemClock(), 5.0, folder / "servers.json")
        self.folder = folder / "lake"
        self.lake = Lake(str(self.folder), SystemClock())

    def append(self, bars: int, end_ms: int = END_MS, symbols: Sequence[str] = SYMBOLS) -> None:
        with self.server.writing_market(ONE_HOUR) as table:
            table.append({each: made_up_bars(end_ms, bars, each) for each in symbols})

    def append_kinds(self, rows: int, end_ms: int = END_MS) -> None:
        at_ms = [end_ms - hours(before) for before in reversed(range(rows))]
        for kind in (FUNDING, INTEREST):
            made = [Row(at, at + hours(1), tuple(float(at + n) for n in range(len(kind.columns)))) for at in at_ms]
            with self.server.kinds.writing(kind, ONE_HOUR) as table:
                table.append(dict.fromkeys(SYMBOLS, made))

    def revise(self, symbol: str, hours_ago: int, by: float = 1.0) -> None:
        at_ms = END_MS - hours(hours_ago)
        with self.server.writing_market(ONE_HOUR) as table:
            bar = table.bars({symbol: at_ms})[symbol][0]
            change = Change(bar, bar._replace(volume=bar.volume + by))
            assert table.revise(symbol, [change], revisions.Why(at_ms, "the exchange", "repair 1")) == 1

    def revise_kind(self, symbol: str, hours_ago: int) -> None:
        at_ms = END_MS - hours(hours_ago)
        with self.server.kinds.writing(INTEREST, ONE_HOUR) as table:
            [old] = table.between(symbol, at_ms, at_ms)
            change = kind_revisions.Change(symbol, old, old._replace(values=(1.0, *old.values[1:])))
            assert table.revise([change], kind_revisions.Why(at_ms, "the exchange", "repair 1")) == [change]

    def note_others(self) -> None:
        listing = Listing("BTCUSDT", "TRADING", "PERPETUAL", END_MS - hours(9000), None, "USDT", 0.1)
        with self.server.writing_market(ONE_HOUR) as table:
            table.note_membership([listing], END_MS)
            table.note_membership([listing._replace(status="SETTLING", tick=None)], END_MS + hours(24 * 30))
            table.note_exchange_gaps([("ETHUSDT", Gap(END_MS - hours(90), END_MS - hours(89), 2))], END_MS)
        with self.server.kinds.writing(INTEREST, ONE_HOUR) as rows:
            rows.note_late([Late("BTCUSDT", END_MS - hours(1), END_MS)], END_MS)

    def export(self) -> Exported:
        return self.lake.export(self.server.origin, ONE_HOUR)

    def proven(self) -> Proven:
        return prove(self.server.origin, self.lake, ONE_HOUR)

    def found(self) -> list[str]:
        return [str(each) for each in self.proven().findings]

    def asked(self, statement: str) -> list[tuple[Any, ...]]:
        with looked_at(self.address) as connection:
            return connection.execute(statement).fetchall()

    def versions(self) -> dict[str, int]:
        return {path.relative_to(self.folder).as_posix(): path.stat().st_mtime_ns for path in self.folder.rglob("*.p*")}

    def written_since(self, before: dict[str, int]) -> list[str]:
        return sorted(name for name, at in self.versions().items() if before.get(name) != at)

    def expect_as_stored(self) -> None:
        """By nobody's code but psycopg's and DuckDB's."""
        own: tuple[AnyTable, ...] = (
            Table(ONE_HOUR),
            Table(ONE_HOUR, FUNDING),
            Table(ONE_HOUR, INTEREST),
            *NOTED.values(),
        )
        for table, name in zip(own, ("ohlcv_1h", "funding", "open_interest_1h", *NOTED), strict=True):
            columns = ", ".join(table.types)
            glob = f"{self.folder}/{table.folder}/**/*.parquet"
            read = duckdb.execute(f"SELECT {columns} FROM read_parquet(?)", [glob]).fetchall()
            assert sorted(read, key=repr) == sorted(self.asked(f"SELECT {columns} FROM barfeed.{name}"), key=repr), name
        assert self.found() == []


@pytest.fixture
def both(tmp_path: Path) -> Iterator[DatabaseAndLake]:
    made = DatabaseAndLake(tmp_path)
    with closing(made.server):
        made.append(30)
        made.append_kinds(30)
        made.revise("ETHUSDT", 20)
        made.revise_kind("BTCUSDT", 3)
        made.note_others()
        assert made.export() == Exported(written=6, rows=270)
        yield made


def test_everything_stored_stands_there_and_is_proven(both: DatabaseAndLake) -> None:
    both.expect_as_stored()
    assert both.proven() == Proven(files=6 + 6, rows=270 + 6, findings=[])


def test_a_pass_writes_what_it_adds_and_nothing_else(both: DatabaseAndLake) -> None:
    before = both.versions()
    assert both.export() == Exported(rows=270)
    assert both.written_since(before) == []
    both.append(1, END_MS + hours(1))
    assert both.export() == Exported(written=1, rows=273)
    assert both.written_since(before) == ["kind=ohlcv/interval=1h/date=2026-03-10/bars.parquet"]
    both.expect_as_stored()


def test_a_pass_counts_the_newest_days_alone(both: DatabaseAndLake, monkeypatch: pytest.MonkeyPatch) -> None:
    count, counted = database._Rows._count, set[str]()

    def noted(rows: database._Rows, since: str = "") -> dict[str, Any]:
        counted.add(since)
        return count(rows, since)

    def are_alone() -> bool:
        counted.clear()
        both.export()
        return counted == {"2026-03-09"}

    monkeypatch.setattr(database._Rows, "_count", noted)
    # What a server has counted it tells a moment later.
    until(are_alone)


def test_a_revision_and_a_backfill_write_their_days_again(both: DatabaseAndLake) -> None:
    before = both.versions()
    both.revise("DOGEUSDC", 25)
    assert both.export() == Exported(written=1, rows=270)
    both.append(3, END_MS - hours(100))
    # What a server has counted it tells a moment later.
    until(lambda: both.export() == Exported(written=1, rows=279))
    *days, changes = both.written_since(before)
    assert days == [f"kind=ohlcv/interval=1h/date=2026-03-{day}/bars.parquet" for day in ("06", "09")]
    assert changes.startswith("table=ohlcv_revisions/month=")
    both.expect_as_stored()


def test_what_its_owner_took_out_goes_from_the_lake(both: DatabaseAndLake) -> None:
    both.asked("DELETE FROM barfeed.ohlcv_1h WHERE timestamp < '2026-03-10' RETURNING 1")
    until(lambda: both.export() == Exported(rows=270 - 48))
    both.expect_as_stored()


def test_a_change_without_a_moment_is_there(both: DatabaseAndLake) -> None:
    both.asked("UPDATE barfeed.ohlcv_revisions SET accepted_at = NULL, seen_at = NULL RETURNING 1")
    shutil.rmtree(both.folder)
    for _ in range(2):
        both.export()
        assert [path.parent.name for path in both.folder.glob("table=ohlcv_revisions/*/*")] == ["month=1970-01"]
        both.expect_as_stored()


def test_a_change_is_there_before_the_bar_that_it_changed(
    both: DatabaseAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes while the day is about to be copied."""
    placing = Folder.placing
    seen: list[int] = []

    @contextmanager
    def late(files: Folder, name: str) -> Iterator[Path]:
        is_bars = name.endswith("bars.parquet")
        if is_bars:
            both.revise("ETHUSDT", 1)
        with placing(files, name) as path:
            yield path
            if is_bars:
                glob = f"{both.folder}/table=ohlcv_revisions/**/*.parquet"
                seen.append(duckdb.execute("SELECT count(*) FROM read_parquet(?)", [glob]).fetchall()[0][0])

    monkeypatch.setattr(Folder, "placing", late)
    both.append(1, END_MS + hours(1))
    assert both.export().written == 1
    assert seen == [2]
    both.expect_as_stored()


@pytest.mark.parametrize(
    "ask",
    [
        lambda feed, at: feed.bars(list(SYMBOLS), as_of=at),
        lambda feed, at: feed.wide(list(SYMBOLS), as_of=at),
        lambda feed, _: feed.bars("ETHUSDT"),
        lambda feed, _: feed.revisions(),
        lambda feed, _: feed.symbols("2026-03-20"),
        lambda feed, _: feed.coverage(),
    ],
)
def test_it_is_read_as_the_database_is(both: DatabaseAndLake, ask: Callable[..., "barfeed.Table[Any]"]) -> None:
    accepted = "SELECT accepted_at - interval '1 ms' FROM barfeed.{} UNION ALL SELECT accepted_at FROM barfeed.{}"
    moments = [
        at for name in ("ohlcv_revisions", "kinds_revisions") for (at,) in both.asked(accepted.format(name, name))
    ]
    for at in moments:
        database, lake = (ask(barfeed.open(each), at).to_polars() for each in (both.address, both.folder))
        assert lake.equals(database)
        assert len(lake) > 0


def test_what_is_behind_or_cut_is_found(both: DatabaseAndLake) -> None:
    both.append(1, END_MS + hours(24))
    both.revise_kind("ETHUSDT", 3)
    cut = both.folder / "table=symbols/month=2026-03/rows.parquet"
    cut.write_bytes(cut.read_bytes()[:-100])
    behind, differs, lacks, damaged = both.found()
    assert behind == "2026-03-11: the store has bars of it, the lake has none"
    assert differs.endswith("1 rows differ from the store's; first: ETHUSDT 2026-03-10 10:00:00")
    assert lacks.startswith("table=kinds_revisions: month=")
    assert (
        damaged
        == "table=symbols: month=2026-03/rows.parquet is another file than the manifest tells of: cut, or changed"
    )
    both.export()
    cut.unlink()
    cut.parent.rmdir()
    both.export()
    both.expect_as_stored()


def test_another_databases_lake_is_left_alone(both: DatabaseAndLake, tmp_path: Path) -> None:
    other = DatabaseAndLake(tmp_path)
    with closing(other.server):
        other.append(3, END_MS - hours(50))
        before = both.versions()
        with pytest.raises(LakeUnusable, match=r"is ahead of the store, or another store's: it has \w+ 2026-03-10"):
            other.export()
        other.append(60)
        with pytest.raises(LakeUnusable, match="is another store's"):
            other.export()
        assert both.versions() == before


def test_a_files_lake_goes_on_with_the_database_that_the_file_is_copied_into(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    file, database = StoreAndLake(tmp_path / "file", str(tmp_path / "lake")), DatabaseAndLake(tmp_path)
    with closing(database.server):
        file.append(30)
        revise(file, "ETHUSDT", 20)
        note_others(file)
        file.sql("DROP TABLE kinds_late")
        assert file.export() == Exported(written=2, rows=90)
        assert call(copy, str(file.store.path), database.address).code == 0
        before = database.versions()
        assert database.export() == Exported(rows=90)
        assert database.written_since(before) == []
        assert database.found() == []
