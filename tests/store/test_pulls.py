"""What was pulled of a market, in DuckDB's memory: it comes back as it came, and is saved whole."""

from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Pull
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.incoming.pulls import pulls
from klines import fitting_pull
from world import made_up_bars, ms

BTC, OTHER = made_up_bars(ms(2026, 3, 10, 13), 10), made_up_bars(ms(2026, 3, 10, 13), 4, "ETHUSDT")
PULLS = {"BTCUSDT": fitting_pull(list(BTC)), "币安人生USDT": fitting_pull(list(OTHER[:1]))}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "market.duckdb", SystemClock(), 5.0)


def test_what_was_pulled_is_saved_whole(store: Store, tmp_path: Path) -> None:
    with pulls(store.beside()) as pulled:
        assert pulled.save(tmp_path / "none.parquet") == 0
        pulled.put(PULLS)
        assert pulled.save(tmp_path / "it's.parquet") == 11
    [*_, last] = duckdb.execute("SELECT * FROM read_parquet(?)", [str(tmp_path / "it's.parquet")]).fetchall()
    assert last[0] == "币安人生USDT"
    assert (*last[2:7], *last[7:11]) == (*OTHER[0].values, *PULLS["币安人生USDT"].turnovers[0])
    assert not store.path.exists()


def test_what_was_pulled_comes_back_as_it_came(store: Store) -> None:
    # In whatever order its rows were, and one twice: that is for the rules to see.
    disordered = fitting_pull([BTC[3], BTC[1], BTC[1], BTC[2]])
    with pulls(store.beside()) as pulled:
        pulled.put(PULLS)
        pulled.put({"ETHUSDT": disordered, "XRPUSDT": Pull((), (), ())})
        assert pulled.of(["ETHUSDT", "BTCUSDT"]) == {"ETHUSDT": disordered, "BTCUSDT": PULLS["BTCUSDT"]}
        assert pulled.of(["XRPUSDT"]) == {"XRPUSDT": Pull((), (), ())}
        assert pulled.of([]) == {}


def test_what_one_pass_pulled_is_not_the_next_ones(store: Store) -> None:
    for _ in range(2):
        with pulls(store.beside()) as pulled:
            assert pulled.of(["BTCUSDT"]) == {"BTCUSDT": Pull((), (), ())}
            pulled.put(PULLS)


def test_a_disk_that_has_no_room_for_it_is_told_in_the_systems_words(store: Store) -> None:
    with pulls(store.beside()) as pulled:
        pulled.put(PULLS)
        with pytest.raises(OSError, match="No space left on device"):
            pulled.save(Path("/dev/full"))


def test_where_duckdbs_instance_is_gone_there_is_nothing_to_let_go_of(store: Store) -> None:
    connection = store.beside()
    with pulls(connection) as pulled:
        pulled.put(PULLS)
        connection.close()
