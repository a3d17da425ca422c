"""The tables of kinds in a real DuckDB file: appended once, read back to the bit, and never another's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.kinds.tables import KindTable, Late, reading, writing
from storage import opened
from world import ms

ONE_HOUR = Interval.ONE_HOUR
T0_MS = ms(2026, 3, 10, 13)
INTEREST = KINDS["open_interest"]
BTC = [Row(T0_MS + hour * HOUR_MS, T0_MS + (hour + 1) * HOUR_MS, (0.1 + hour, None)) for hour in range(5)]
ETH = [Row(T0_MS, T0_MS + 7, (1e-17, 123456789.123456789))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kinds.duckdb", SystemClock(), 5.0)


@pytest.fixture
def filled(store: Store) -> Store:
    with writing(store, INTEREST, ONE_HOUR) as table:
        assert table.append({"BTCUSDT": BTC, "ETHUSDT": ETH}) == {"BTCUSDT": 5, "ETHUSDT": 1}
    return store


def test_what_is_appended_reads_back_to_the_bit(filled: Store) -> None:
    with reading(filled, INTEREST, ONE_HOUR) as table:
        assert table.rows({"BTCUSDT": 0, "ETHUSDT": 0, "XRPUSDT": 0}) == {"BTCUSDT": BTC, "ETHUSDT": ETH}
        assert table.rows({"BTCUSDT": BTC[3].timestamp_ms}) == {"BTCUSDT": BTC[3:]}
        assert table.newest(["BTCUSDT", "XRPUSDT"]) == {"BTCUSDT": BTC[-1].timestamp_ms}
        assert table.newest(["ETHUSDT"], T0_MS + 1) == {}


def test_what_is_there_is_never_written_again(filled: Store) -> None:
    changed = [row._replace(values=(9.0, 9.0)) for row in BTC]
    with writing(filled, INTEREST, ONE_HOUR) as table:
        assert table.append({"BTCUSDT": changed}) == {"BTCUSDT": 0}
        assert table.rows({"BTCUSDT": 0}) == {"BTCUSDT": BTC}


def test_what_fails_on_the_way_leaves_nothing(filled: Store) -> None:
    later = [row._replace(timestamp_ms=row.timestamp_ms + 24 * HOUR_MS) for row in BTC]

    def append_and_fail() -> None:
        with writing(filled, INTEREST, ONE_HOUR) as table:
            table.append({"BTCUSDT": later})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append_and_fail()
    with reading(filled, INTEREST, ONE_HOUR) as table:
        assert table.rows({"BTCUSDT": 0}) == {"BTCUSDT": BTC}


def test_looking_makes_no_file_and_no_table(store: Store, filled: Store) -> None:
    before = filled.path.read_bytes()
    with reading(filled, KINDS["premium_index"], ONE_HOUR) as table:
        assert (table.exists, table.rows({"BTCUSDT": 0}), table.was_late(0)) == (False, {}, {})
    assert filled.path.read_bytes() == before
    missing = Store(store.path.with_name("none.duckdb"), SystemClock(), 5.0)
    with reading(missing, INTEREST, ONE_HOUR) as table:
        assert table.rows({"BTCUSDT": 0}) == {}
    assert not missing.path.exists()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_its_table(store: Store, kind: Kind) -> None:
    row = Row(T0_MS, T0_MS, tuple(float(place) for place in range(len(kind.columns))))
    with writing(store, kind, ONE_HOUR) as table:
        table.append({"BTCUSDT": [row]})
        table.make_views(["BTCUSDT"])
        table.make_views(["BTCUSDT"])
    with opened(store.path, read_only=True) as connection:
        # by whatever name the file is opened
        for relation in (kind.view("BTCUSDT", ONE_HOUR), f"{kind.table(ONE_HOUR)}_of('btcusdt')"):
            columns = [name for name, *_ in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
            assert columns == ["timestamp", "known_at", *kind.names, "created_at"]
            assert connection.execute(f"SELECT count(*) FROM {relation}").fetchall() == [(1,)]


def test_funding_keeps_its_milliseconds(store: Store) -> None:
    rows = [Row(T0_MS + 7, T0_MS + 60_007, (0.0001, None))]
    with writing(store, KINDS["funding"], ONE_HOUR) as table:
        table.append({"BTCUSDT": rows})
        assert table.rows({"BTCUSDT": 0}) == {"BTCUSDT": rows}


def test_what_came_late_is_known_to_later_passes(filled: Store) -> None:
    late = Late("BTCUSDT", T0_MS, T0_MS + HOUR_MS)
    with writing(filled, INTEREST, ONE_HOUR) as table:
        table.note_late([], T0_MS)
        table.note_late([late], T0_MS)
    with reading(filled, INTEREST, ONE_HOUR) as table:
        assert table.was_late(late.until_ms) == {"BTCUSDT": [late]}
        assert table.was_late(late.until_ms + 1) == {}
    with reading(filled, INTEREST, Interval.FOUR_HOURS) as table:
        assert table.was_late(0) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE open_interest_1h (symbol VARCHAR, timestamp TIMESTAMP, PRIMARY KEY (symbol, timestamp))",
        # without a key
        """CREATE TABLE open_interest_1h (symbol VARCHAR, timestamp TIMESTAMP, known_at TIMESTAMP, open_interest DOUBLE,
        open_interest_value DOUBLE, created_at TIMESTAMP)""",
    ],
)
def test_another_s_table_is_refused_by_name(store: Store, statement: str) -> None:
    with opened(store.path) as connection:
        connection.execute(statement)
    with (
        pytest.raises(StoreUnusable, match="table open_interest_1h has another shape"),
        store.session(write=False) as c,
    ):
        KindTable(c, INTEREST, ONE_HOUR)


def test_created_at_is_utc_wherever_it_is_written(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys\n"
        "from test_kinds import *\n"
        "with writing(Store(Path(sys.argv[1]), SystemClock(), 5.0), INTEREST, ONE_HOUR) as table:\n"
        "    table.append({'BTCUSDT': BTC})\n"
        "    told = table.connection.execute('SELECT created_at, now()::TIMESTAMP FROM store.main.open_interest_1h')\n"
        "    print(max(abs((made - now).total_seconds()) for made, now in told.fetchall()) < 60)\n"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.duckdb")], capture_output=True, text=True, check=True,
        env=os.environ | {"TZ": "America/New_York", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout == "True\n"
