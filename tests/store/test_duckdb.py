import ctypes
import hashlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store import duckdb as store_module
from barfeed.store import place
from barfeed.store.duckdb import Coverage, Store
from storage import of_the_future
from storage import opened as by_duckdb
from world import SteppingClock

HOUR = 3_600_000
# 2024-01-15 13:00 UTC.
ONE_PM = 1_705_323_600_000
SERIES = Series.of("BTCUSDT", "1h")
COLUMNS = (
    "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP"
)
WITH_KEY = f"CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, {COLUMNS})"
WITHOUT_KEY = f"CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP, {COLUMNS})"
UNIQUE_INDEX = "CREATE UNIQUE INDEX one_each ON ohlcv_btcusdt_1h (timestamp)"
ONE_ROW = "INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-01-15 13:00:00', 100, 110, 90, 105, 7.5, '2024-01-15 14:00:10')"


def bar(at: int) -> Bar:
    return Bar(ONE_PM + at * HOUR, 100.0, 110.0, 90.0, 105.0, 7.5)


def bars(*at: int) -> list[Bar]:
    return [bar(each) for each in at]


def opened(path: Path, lock_timeout_sec: float = 0.0) -> Store:
    return Store(path, SystemClock(), lock_timeout_sec)


@lru_cache(maxsize=1)
def kept(path: Path) -> Store:
    """One for all of a test's uses: between two it holds no file, and a DuckDB takes as long as all they do."""
    assert path.is_absolute()
    return opened(path)


def append(path: Path, *at: int, series: Series = SERIES) -> int:
    with kept(path).appending(series, create=True) as table:
        return table.append(bars(*at))


def read(path: Path, from_ms: int = 0, series: Series = SERIES) -> list[Bar]:
    with kept(path).reading(series) as table:
        return table.bars(from_ms)


def by_hand(path: Path, *statements: str, storage: str = "v1.0.0") -> Path:
    """What a user does with DuckDB alone."""
    with by_duckdb(path, storage_version=storage) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def rows(path: Path, query: str = "SELECT * FROM ohlcv_btcusdt_1h ORDER BY 1") -> list[tuple[object, ...]]:
    with by_duckdb(path, read_only=True) as connection:
        return connection.execute(query).fetchall()


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ohlcv.duckdb"


def test_what_was_appended_is_read_back_ascending(path: Path) -> None:
    assert append(path, 2, 0, 1) == 3
    assert read(path) == bars(0, 1, 2)
    assert read(path, from_ms=ONE_PM + 1) == bars(1, 2)
    assert read(path, from_ms=ONE_PM + HOUR) == bars(1, 2)


def test_a_bar_that_is_there_is_never_rewritten(path: Path) -> None:
    append(path, 0)
    with opened(path).appending(SERIES, create=True) as table:
        assert table.append([bar(0)._replace(close=1.0), bar(1)]) == 1
        assert table.append([]) == 0
    assert read(path) == bars(0, 1)


def test_coverage_tells_rows_and_ends(path: Path) -> None:
    append(path, 0, 1, 5)
    with opened(path).reading(SERIES) as table:
        assert table.coverage() == Coverage(3, ONE_PM, ONE_PM + 5 * HOUR)


def test_each_series_has_a_table_of_its_own(path: Path) -> None:
    append(path, 0)
    append(path, 1, series=Series.of("ETHUSDT", "15m"))
    assert read(path) == bars(0)
    assert rows(path, "SELECT table_name FROM duckdb_tables() ORDER BY 1") == [
        ("ohlcv_btcusdt_1h",),
        ("ohlcv_ethusdt_15m",),
    ]


def test_the_table_is_exactly_the_documented_one(path: Path, tmp_path: Path) -> None:
    append(path, 0)
    documented = by_hand(tmp_path / "documented.duckdb", WITH_KEY)
    shape = "SELECT column_name, data_type, column_default, is_nullable FROM duckdb_columns() ORDER BY column_index"
    keys = "SELECT constraint_type, constraint_column_names FROM duckdb_constraints()"
    assert rows(path, shape) == rows(documented, shape)
    assert rows(path, keys) == rows(documented, keys)


@pytest.mark.parametrize(
    "statements",
    [(WITH_KEY, ONE_ROW), (WITHOUT_KEY, UNIQUE_INDEX, ONE_ROW), (WITHOUT_KEY, ONE_ROW, UNIQUE_INDEX)],
)
def test_a_users_own_table_is_used_as_it_is(path: Path, statements: tuple[str, ...]) -> None:
    by_hand(path, "CREATE TABLE notes AS SELECT 'mine' AS note", *statements)
    assert append(path, 0, 1) == 1
    assert read(path) == bars(0, 1)
    assert rows(path, "FROM notes") == [("mine",)]
    assert str(rows(path)[0][6]) == "2024-01-15 14:00:10"


@pytest.mark.parametrize("storage", ["v1.0.0", "v1.2.0", "v1.4.0", "latest"])
def test_a_users_own_file_of_any_storage_version_is_used_as_it_is(path: Path, storage: str) -> None:
    by_hand(path, WITH_KEY, ONE_ROW, storage=storage)
    assert append(path, 0, 1) == 1
    assert read(path) == bars(0, 1)


@pytest.mark.parametrize("storage", ["v1.0.0", "v1.2.0", "latest"])
def test_a_users_own_file_of_any_storage_version_is_read(path: Path, storage: str) -> None:
    by_hand(path, WITH_KEY, ONE_ROW, storage=storage)
    assert read(path) == bars(0)


def test_a_table_without_any_key_is_refused_before_a_bar_can_come_twice(path: Path) -> None:
    by_hand(path, WITHOUT_KEY, ONE_ROW)
    for use in (append, read):
        with pytest.raises(StoreUnusable, match="no primary key and no unique index on timestamp"):
            use(path, 0)
    assert len(rows(path)) == 1


@pytest.mark.parametrize("more", ["CREATE UNIQUE INDEX odd ON ohlcv_btcusdt_1h (close)", ""])
def test_another_unique_column_keeps_no_bar_out_in_silence(path: Path, more: str) -> None:
    table = WITH_KEY if more else WITH_KEY.replace("close DOUBLE", "close DOUBLE UNIQUE")
    by_hand(path, table, ONE_ROW, *[more] if more else [])
    constraint = "odd, CREATE UNIQUE INDEX" if more else "ohlcv_btcusdt_1h_close_key, UNIQUE"
    with pytest.raises(StoreUnusable, match=f"table ohlcv_btcusdt_1h refuses the bar 2024-01-15 14:00: {constraint}"):
        append(path, 0, 1)
    assert len(rows(path)) == 1


def test_a_users_own_table_in_capitals_is_seen(path: Path) -> None:
    by_hand(path, WITH_KEY.replace("ohlcv_btcusdt_1h", "OHLCV_BTCUSDT_1H"), ONE_ROW)
    assert read(path) == bars(0)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (WITH_KEY.replace("timestamp TIMESTAMP ", "timestamp TIMESTAMPTZ "), "timestamp is TIMESTAMP WITH TIME ZONE"),
        (WITH_KEY.replace("close DOUBLE, ", ""), "close is missing, expected DOUBLE"),
        (WITH_KEY.replace("open DOUBLE", "open FLOAT"), "open is FLOAT, expected DOUBLE"),
        (WITH_KEY.replace("volume DOUBLE", "volume DECIMAL(18,3)"), r"volume is DECIMAL\(18,3\), expected DOUBLE"),
    ],
)
def test_a_table_of_another_shape_is_refused_by_its_columns(path: Path, statement: str, says: str) -> None:
    by_hand(path, statement)
    for use in (append, read):
        with pytest.raises(StoreUnusable, match=says):
            use(path, 0)


def test_a_view_is_no_table_to_append_to(path: Path) -> None:
    by_hand(path, f"CREATE TABLE t (timestamp TIMESTAMP, {COLUMNS})", "CREATE VIEW ohlcv_btcusdt_1h AS FROM t")
    with pytest.raises(StoreUnusable):
        append(path, 0)


def test_created_at_is_utc_whatever_the_machines_zone(path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from barfeed.domain.bars import Bar, Series\n"
        "from barfeed.machine.clock import SystemClock\n"
        "from barfeed.store.duckdb import Store\n"
        f"store = Store(Path({str(path)!r}), SystemClock(), 0.0)\n"
        "with store.appending(Series.of('BTCUSDT', '1h'), create=True) as table:\n"
        f"    table.append([Bar({ONE_PM}, 1.0, 1.0, 1.0, 1.0, 1.0)])\n"
    )
    before = int(time.time()) - 1
    subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TZ": "America/New_York", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )
    ((created_sec,),) = rows(path, "SELECT epoch(created_at) FROM ohlcv_btcusdt_1h")
    assert isinstance(created_sec, float)
    assert before <= created_sec <= time.time() + 1
    assert rows(path, "SELECT timestamp::VARCHAR FROM ohlcv_btcusdt_1h") == [("2024-01-15 13:00:00",)]


def test_a_new_file_can_be_read_by_duckdb_1(path: Path) -> None:
    append(path, 0)
    # The first header block's version number: 64 is what DuckDB 0.9 to 1.1 wrote and all since can read.
    assert path.read_bytes()[8:20] == b"DUCK\x40\0\0\0\0\0\0\0"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS mine (READ_ONLY)")
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'mine'").fetchall()
    assert tags == [({"storage_version": "v1.0.0+"},)]


def test_reading_leaves_every_byte_as_it_is(path: Path, tmp_path: Path) -> None:
    append(path, 0, 1)
    before = digests(tmp_path)
    assert read(path) == bars(0, 1)
    assert digests(tmp_path) == before


def test_reading_leaves_the_log_of_a_killed_writer_as_it_is(path: Path, tmp_path: Path) -> None:
    append(path, 0)
    code = (
        f"import duckdb, os; c = duckdb.connect({str(path)!r}); "
        'c.execute("INSERT INTO ohlcv_btcusdt_1h SELECT timestamp + INTERVAL 1 HOUR, * EXCLUDE (timestamp)'
        ' FROM ohlcv_btcusdt_1h"); os._exit(9)'
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    before = digests(tmp_path)
    assert sorted(before) == ["ohlcv.duckdb", "ohlcv.duckdb.wal"]
    assert read(path) == bars(0, 1)
    assert digests(tmp_path) == before
    assert append(path, 2) == 1
    assert read(path) == bars(0, 1, 2)


def test_a_missing_file_is_an_empty_table_and_stays_missing(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    for look in (store.reading(SERIES), store.appending(SERIES, create=False)):
        with look as table:
            assert (table.exists, table.coverage(), table.bars(0)) == (False, Coverage(0, None, None), [])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_table_is_empty_and_made_by_the_first_append_only(path: Path) -> None:
    by_hand(path, "CREATE TABLE notes AS SELECT 1")
    assert read(path) == []
    with opened(path).appending(SERIES, create=False) as table:
        assert table.coverage() == Coverage(0, None, None)
    assert rows(path, "SELECT table_name FROM duckdb_tables()") == [("notes",)]
    append(path, 0)
    assert read(path) == bars(0)


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    append(tmp_path / "a" / "b" / "ohlcv.duckdb", 0)
    assert read(tmp_path / "a" / "b" / "ohlcv.duckdb") == bars(0)


@pytest.mark.parametrize(
    "name", ["it's.duckdb", "a b;--.duckdb", "%s{table}.duckdb", "postgres:x", "md:x", "x?y=1", "ü"]
)
def test_any_name_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path(name)).appending(SERIES, create=True) as table:
        table.append(bars(0))
    with opened(Path(name)).reading(SERIES) as table:
        assert table.bars(0) == bars(0)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_store_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened(Path("ohlcv.duckdb"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with store.appending(SERIES, create=True) as table:
        table.append(bars(0))
    assert read(tmp_path / "ohlcv.duckdb") == bars(0)


class Stop(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), Stop(), StoreUnusable("x")])
def test_any_exception_rolls_back_and_comes_through(path: Path, error: BaseException) -> None:
    append(path, 0)

    def fail() -> None:
        with opened(path).appending(SERIES, create=True) as table:
            table.append(bars(1, 2))
            raise error

    with pytest.raises(type(error)) as told:
        fail()
    assert told.value is error
    assert read(path) == bars(0)


def test_a_failed_statement_rolls_back_and_the_store_can_be_used_again(path: Path) -> None:
    by_hand(path, WITH_KEY.replace("high DOUBLE", "high DOUBLE CHECK (high < 120)"), ONE_ROW)
    store = opened(path)

    def fail() -> None:
        with store.appending(SERIES, create=True) as table:
            table.append(bars(1))
            table.append([bar(2)._replace(high=130.0)])

    with pytest.raises(StoreUnusable, match=r"refuses the bar 2024-01-15 15:00: .*, CHECK\(\(high < 120\)\)"):
        fail()
    assert read(path) == bars(0)
    with store.appending(SERIES, create=True) as table:
        assert table.append(bars(1)) == 1
    assert read(path) == bars(0, 1)


@pytest.mark.long
def test_between_two_uses_the_file_is_let_go(path: Path) -> None:
    store = opened(path)
    with store.appending(SERIES, create=True) as table:
        table.append(bars(0))
    elsewhere = f"import duckdb; duckdb.connect({str(path)!r}).execute('CREATE TABLE t AS SELECT 1')"
    subprocess.run([sys.executable, "-c", elsewhere], check=True, timeout=60)
    with store.reading(SERIES) as table:
        assert table.bars(0) == bars(0)
    subprocess.run([sys.executable, "-c", elsewhere.replace(" t ", " u ")], check=True, timeout=60)


@contextmanager
def holder(path: Path, hold_sec: float = 600.0) -> Iterator[int]:
    """Another process that holds the file for writing; its id."""
    code = f"import duckdb, time; c = duckdb.connect({str(path)!r}); print(1, flush=True); time.sleep({hold_sec})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.long
def test_a_lock_is_waited_for(path: Path) -> None:
    append(path, 0)
    with holder(path, hold_sec=0.4):
        with opened(path, lock_timeout_sec=600.0).appending(SERIES, create=True) as table:
            table.append(bars(1))
        with opened(path, lock_timeout_sec=600.0).reading(SERIES) as table:
            assert table.bars(0) == bars(0, 1)


@pytest.mark.long
@pytest.mark.parametrize("lock_timeout_sec", [0.0, 0.3])
def test_a_lock_that_stays_is_told_by_its_holder(path: Path, lock_timeout_sec: float) -> None:
    append(path, 0)
    clock = SteppingClock(ONE_PM)
    store = Store(path, clock, lock_timeout_sec)
    with holder(path) as process_id:
        for use in (store.reading(SERIES), store.appending(SERIES, create=True)):
            begin_sec = clock.steady_sec()
            with pytest.raises(StoreUnusable, match=rf"is held by .*python.* \(PID {process_id}\)") as told, use:
                pass
            assert "--lock-timeout-sec" in told.value.hint
            # The last of its pauses may be a quarter of a second.
            assert lock_timeout_sec <= clock.steady_sec() - begin_sec <= lock_timeout_sec + 0.25


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda _whole: b"not a database at all " * 1000,
    "empty": lambda _whole: b"",
    "short": lambda whole: whole[:100],
    "truncated": lambda whole: whole[: len(whole) // 2],
    "newer": of_the_future,
    "overwritten": lambda whole: whole[:20_000] + b"\0" * 1000 + whole[21_000:],
    "html": lambda _whole: b"<html>" + b" " * 20_000,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_is_no_whole_database_is_unusable_and_left_alone(
    path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    append(path, 0)
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    for use in (read, append):
        with pytest.raises(StoreUnusable) as told:
            use(path, 0)
        assert str(path) in str(told.value)
        assert told.value.hint
    assert path.read_bytes() == before


def test_a_file_of_a_newer_duckdb_says_so(path: Path) -> None:
    append(path, 0)
    path.write_bytes(of_the_future(path.read_bytes()))
    with pytest.raises(
        StoreUnusable, match=r"was written by a newer DuckDB than .*: storage version number 200"
    ) as told:
        read(path)
    assert told.value.hint == "upgrade DuckDB: pip install --upgrade duckdb"


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    for use in (read, append):
        with pytest.raises(StoreUnusable, match="is a folder, expected a DuckDB file"):
            use(tmp_path, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
@pytest.mark.parametrize("what", ["a pipe", "a link to a device"])
def test_what_is_no_regular_file_is_refused_before_it_is_opened(path: Path, what: str) -> None:
    os.mkfifo(path) if what == "a pipe" else path.symlink_to("/dev/null")
    with pytest.raises(StoreUnusable, match="is no regular file, expected a DuckDB file"):
        opened(path).exists()


def test_a_path_through_a_file_is_unusable(path: Path) -> None:
    append(path, 0)
    with pytest.raises(StoreUnusable):
        append(path / "below.duckdb", 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_unusable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreUnusable):
        append(tmp_path / "ohlcv.duckdb", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /sys and /proc")
@pytest.mark.parametrize("where", ["/sys/ohlcv.duckdb", "/proc/nowhere/ohlcv.duckdb", "/dev/full"])
def test_a_place_that_cannot_be_written_is_unusable(where: str) -> None:
    with pytest.raises(StoreUnusable, match=where):
        append(Path(where), 0)


def test_a_name_that_is_too_long_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        read(tmp_path / ("x" * 300))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        append(Path(os.fsdecode(bytes(tmp_path) + b"/\xff.duckdb")), 0)


def foreign() -> list[type[Exception]]:
    """Every exception class that DuckDB has, but for the one that is a signal's."""
    classes = {each for each in vars(duckdb).values() if isinstance(each, type) and issubclass(each, duckdb.Error)}
    return [*sorted(classes - {duckdb.InterruptException}, key=lambda each: each.__name__), OSError, PermissionError]


def test_duckdb_has_exceptions_to_translate() -> None:
    assert len(foreign()) > 20


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("shared") / "ohlcv.duckdb"
    append(path, 0)
    return opened(path)


@pytest.mark.parametrize("cls", foreign())
def test_every_exception_of_duckdb_is_told_in_other_words(shared_store: Store, cls: type[Exception]) -> None:
    def fail() -> None:
        with shared_store.appending(SERIES, create=True) as table:
            table.append(bars(1))
            raise cls("something\nlong")

    with pytest.raises(StoreUnusable) as told:
        fail()
    assert isinstance(told.value.__cause__, cls)
    assert "something" not in str(told.value)
    assert told.value.hint
    assert "backup" not in told.value.hint
    with shared_store.reading(SERIES) as table:
        assert table.bars(0) == bars(0)


def test_a_message_of_duckdb_that_is_empty_is_translated_too(path: Path) -> None:
    append(path, 0)

    def fail() -> None:
        with opened(path).reading(SERIES):
            raise duckdb.Error

    with pytest.raises(StoreUnusable):
        fail()


doubles = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.long
@settings(max_examples=10)
@given(st.lists(st.tuples(doubles, doubles, doubles, doubles, doubles), min_size=1, max_size=50))
def test_doubles_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float, float, float, float]]
) -> None:
    path = tmp_path_factory.mktemp("doubles") / "ohlcv.duckdb"
    written = [Bar(ONE_PM + at * HOUR, *each) for at, each in enumerate(values)]
    with opened(path).appending(SERIES, create=True) as table:
        table.append(written)
    assert [tuple(map(float.hex, each.values)) for each in read(path)] == [
        tuple(map(float.hex, each.values)) for each in written
    ]


def test_a_stored_null_comes_as_nan(path: Path) -> None:
    by_hand(path, WITH_KEY, "INSERT INTO ohlcv_btcusdt_1h (timestamp) VALUES ('2024-01-15 13:00:00')")
    (seen,) = read(path)
    assert seen.open_time_ms == ONE_PM
    assert all(math.isnan(value) for value in seen.values)


def test_a_timestamp_of_infinity_does_not_make_a_table_look_empty(path: Path) -> None:
    by_hand(path, WITH_KEY, ONE_ROW, "INSERT INTO ohlcv_btcusdt_1h (timestamp) VALUES ('infinity')")
    try:
        with opened(path).reading(SERIES) as table:
            assert table.coverage().last_ms is not None
    except StoreUnusable:
        pass


def test_only_the_store_has_statements_and_none_rewrites_a_row() -> None:
    lines = [
        line.upper()
        for each in (store_module, place)
        for line in Path(str(each.__file__)).read_text("utf-8").splitlines()
        # What is in memory for a look is no store.
        if "TEMP TABLE" not in line and "temp.main." not in line
    ]
    text = "\n".join(lines)
    assert "INSERT INTO" in text
    assert not [word for word in ("UPDATE ", "DELETE ", "DO UPDATE", "OR REPLACE", "DROP ", "TRUNCATE") if word in text]


def test_a_store_in_a_working_folder_that_is_gone_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(StoreUnusable):
        opened(Path("ohlcv.duckdb"))


@pytest.mark.long
def test_a_first_start_killed_while_it_makes_its_store_leaves_none(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from barfeed.domain.bars import Series\n"
        "from barfeed.machine.clock import SystemClock; from barfeed.store.duckdb import Store\n"
        "Store._detach = lambda *_: os._exit(9)\n"
        "with Store(Path(sys.argv[1]), SystemClock(), 0.0).appending(Series.of('BTCUSDT', '1h'), create=True): pass"
    )
    path = tmp_path / "ohlcv.duckdb"
    assert subprocess.run([sys.executable, "-c", code, path], check=False, timeout=60).returncode == 9
    assert not path.exists()
    assert append(path, 0) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["ohlcv.duckdb"]


def test_all_of_duckdbs_work_is_done_where_a_signal_reaches_it(tmp_path: Path) -> None:
    # Were there other threads, the main one might wait for them inside DuckDB, for as long as a query takes.
    append(tmp_path / "ohlcv.duckdb", 0)
    with opened(tmp_path / "ohlcv.duckdb").session(write=False) as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchone() == (1,)


@pytest.mark.long
def test_a_store_lets_go_of_what_duckdb_keeps_of_each_attached_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ohlcv.duckdb"
    append(path, 0)
    connected: list[duckdb.DuckDBPyConnection] = []
    connect = store_module.in_memory

    def counted() -> duckdb.DuckDBPyConnection:
        connected.append(connect())
        return connected[-1]

    monkeypatch.setattr(store_module, "in_memory", counted)
    monkeypatch.setattr(store_module, "_ATTACHED_TIMES_MAX", 20)
    store = opened(path)
    for _ in range(41):
        with store.reading(SERIES) as table:
            assert table.exists
    assert len(connected) == 3


class MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in (*"123456", "fsmblks", "used_bytes", "free_bytes", "keepcost")]


def used_kb() -> float:
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("this C library does not tell how much memory is in use")
    mallinfo.restype = MallInfo
    return float(mallinfo().used_bytes) / 1000


@pytest.mark.proof
def test_years_of_hours_take_no_more_memory_than_weeks(tmp_path: Path) -> None:
    path = tmp_path / "ohlcv.duckdb"
    append(path, 0)
    store = opened(path)

    def open_and_close(times: int) -> float:
        for _ in range(times):
            with store.reading(SERIES) as table:
                table.coverage()
        return used_kb()

    after_weeks = open_and_close(200)
    assert open_and_close(600) < after_weeks + 100
