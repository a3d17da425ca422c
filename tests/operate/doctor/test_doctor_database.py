"""`barfeed doctor --store`: the server, its tables, what this user may do there, and who feeds them."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from barfeed.cli.commands.operate.doctor import doctor
from barfeed.machine.clock import SystemClock
from barfeed.operate.doctor import database
from barfeed.store.postgres.link.about import Standbys
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder
from commands import call
from pg_server import looked_at, new_market, own_server, shared_server
from process import BARFEED, Machine, machine
from world import hours, ms

pytestmark = pytest.mark.long

TARGET_MS = ms(2024, 2, 10, 13)
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "postgres"
Told = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def feeding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, str]]:
    """A host that has fed a database for an hour."""
    address = new_market()
    with machine(tmp_path_factory.mktemp("host"), TARGET_MS) as each:
        flags = ("--store", address, "--persist-dir", str(each.folder / "feed"), "--max-skew-sec", "1e10")
        ran = each.call([str(BARFEED), "run", "--catch-up", *flags])
        assert ran.code == 0, ran.err
        yield each, address


def told(feeding: tuple[Machine, str], *words: object, store: str = "") -> Told:
    """Each check by its name, the worst of those that have one name."""
    host, address = feeding
    flags = ("--store", store or address, "--persist-dir", host.folder / "feed", "--base-url", host.url)
    done = call(doctor, *flags, "--max-skew-sec", "1e10", "--json", *words)
    checks = sorted(done.told["checks"], key=lambda each: ("good", "note", "bad").index(each["state"]))
    assert done.told["healthy"] is (done.code == 0)
    return {each["name"]: (each["state"], f"{each['seen']}; {each['fix']}") for each in checks}


def bad(checks: Told) -> set[str]:
    return {name for name, (state, _) in checks.items() if state == "bad"}


def test_a_database_that_is_well(feeding: tuple[Machine, str]) -> None:
    host, _ = feeding
    checks = told(feeding)
    assert bad(checks) == set()
    assert "a primary" in checks["database"][1]
    assert checks["server"] == ("good", checks["server"][1])
    assert f"as in {host.folder / 'feed' / 'servers.json'}" in checks["server"][1]
    assert checks["schema"] == ("good", "version 2 of the tables; ")
    assert checks["rights"] == ("good", "this user may read and feed; ")
    assert checks["feeders"][1].startswith("1 of 1 feeds are well; the last pass, of ")
    assert checks["newest bar"] == ("good", "BTCUSDT 1h: 2024-02-10 13:00, one of 726; ")
    assert checks["window"][0] == checks["last cycle"][0] == checks["server clock"][0] == "good"
    assert checks["standby"][0] == "note"
    assert not {"store", "locks"} & set(checks)


def test_a_market_in_a_database_is_judged_by_what_it_lists(feeding: tuple[Machine, str]) -> None:
    checks = told(feeding, "--symbols", "all")
    assert checks["market 1h"][0] == "good"
    assert checks["market 1h pass"][0] == "note"


def test_bars_that_are_missing_are_told_with_the_command(feeding: tuple[Machine, str]) -> None:
    address, missing = new_market(), "timestamp '2024-02-01 05:00'"
    hours_of = "generate_series(timestamp '2024-01-01', '2024-02-10 11:00', '1 hour') AS at"
    rows = f"SELECT 'BTCUSDT', at, 1, 1, 1, 1, 1 FROM {hours_of}"
    with looked_at(address) as connection:
        columns = "symbol, timestamp, open, high, low, close, volume"
        connection.execute(f"INSERT INTO barfeed.ohlcv_1h ({columns}) {rows} WHERE at <> {missing}")
    checks = told(feeding, store=address)
    assert {"newest bar", "window"} <= bad(checks)
    assert "2 bars behind 2024-02-10 13:00" in checks["newest bar"][1]
    assert "2024-02-01 05:00" in checks["window"][1]
    assert checks["server"][0] == checks["feeders"][0] == "note"
    market = told(feeding, "--symbols", "BTCUSDT", store=address)
    assert "bars have a gap: 2024-02-01 05:00" in market["market 1h"][1]


def test_who_may_only_read_is_told_what_feeds(feeding: tuple[Machine, str]) -> None:
    _, address = feeding
    with looked_at(address) as superuser:
        superuser.execute((DEPLOY / "reader.sql").read_text())
        superuser.execute("DROP ROLE IF EXISTS doctor_reads")
        superuser.execute("CREATE ROLE doctor_reads LOGIN IN ROLE barfeed_reader")
        superuser.execute("DROP ROLE IF EXISTS doctor_nobody")
        superuser.execute("CREATE ROLE doctor_nobody LOGIN")
    reader, nobody = (
        told(feeding, store=address.replace("postgres@", f"{each}@")) for each in ("doctor_reads", "doctor_nobody")
    )
    assert (bad(reader), reader["newest bar"][0]) == ({"rights"}, "good")
    assert (
        "may read, not feed: no INSERT on exchange_gaps, feeders, ohlcv_12h, ...; no UPDATE on feeders"
        in reader["rights"][1]
    )
    assert "deploy/postgres/feeder.sql" in reader["rights"][1]
    assert (bad(nobody), "newest bar" in nobody) == ({"rights"}, False)
    assert "may not use the schema barfeed" in nobody["rights"][1]


def test_a_server_that_will_not_do(feeding: tuple[Machine, str], tmp_path: Path, deaf: str) -> None:
    _, address = feeding
    read_only = told(feeding, store=f"{address}&options=-cdefault_transaction_read_only%3Don")
    assert ("database" in bad(read_only), "it can be read, not fed" in read_only["database"][1]) == (True, True)
    assert read_only["newest bar"][0] == "good"
    away = told(feeding, store=f"postgresql://feeder@{deaf}/market")
    assert (bad(away), "nobody listens there" in away["database"][1]) == ({"database"}, True)
    server = shared_server()
    empty = told(feeding, store=server.address(server.new_database()))
    assert (bad(empty), "barfeed migrate --store" in empty["schema"][1]) == ({"schema"}, True)
    old = tmp_path / "servers.json"
    old.write_text(json.dumps({address: {"system": "1", "timeline": 1}}))
    other = told(feeding, "--persist-dir", tmp_path)
    assert ("server" in bad(other), "is another server than before" in other["server"][1]) == (True, True)
    assert json.loads(old.read_text())[address]["system"] == "1"


def test_the_trouble_of_others_who_feed_is_a_note(feeding: tuple[Machine, str], tmp_path: Path) -> None:
    _, address = feeding
    then_ms = TARGET_MS - hours(8)
    with closing(Server(address, SystemClock(), 0.0, tmp_path / "servers.json")) as server:
        server.note_feeder(Feeder("db-z", "/srv/feed", "1.0", then_ms + hours(1) + 30_000, "appended", then_ms, 30.0))
    checks = told(feeding)
    assert checks["feeders"][0] == "note"
    assert checks["feeders"][1].startswith("db-z /srv/feed: 8 bars behind")


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (Standbys("", "on", 1, 0, True), "note", "no synchronous_standby_names: no commit waits"),
        (Standbys("*", "local", 1, 1, True), "note", "synchronous_commit is local: no commit waits"),
        (Standbys("*", "on", 2, 1, True), "good", "synchronous_standby_names '*', 2 connected, 1 confirming"),
        (Standbys("*", "on", 1, 0, False), "note", "which of them confirm, this user may not see"),
        (Standbys("b", "on", 1, 0, True), "bad", "none confirms: a commit waits without end"),
        (Standbys("b", "on", 0, 0, True), "bad", "0 connected, none confirms"),
    ],
)  # fmt: skip
def test_a_standby_that_is_waited_for_is_to_be_there(found: Standbys, state: str, said: str) -> None:
    check = database.standbys(found)
    assert (check.state, said in check.seen) == (state, True)


def test_a_server_whose_clock_is_off_is_told() -> None:
    assert database.clock_of_server(-9.31, 5.0).seen == "9.31 s behind the exchange's, more than --max-skew-sec 5"
    assert database.clock_of_server(0.5, 5.0).state == "good"


def test_a_standby_and_a_primary_that_waits_for_it(feeding: tuple[Machine, str]) -> None:
    with own_server() as server:
        name = server.new_database()
        standby = server.standby()
        standby.start()
        try:
            checks = told(feeding, store=standby.address(name))
            assert ("a standby: it can be read, not fed" in checks["database"][1], checks["schema"][0]) == (True, "bad")
        finally:
            standby.stop()
