"""What can be wrong with a database, on a real server: each with its message, what helps, and whether it may pass."""

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store.postgres.link import connection
from barfeed.store.postgres.server import Server, migrate
from barfeed.store.postgres.tables import schema
from pg_server import PostgresServer, looked_at, new_folder, new_market, own_server, shared_server
from waiting import until
from world import made_up_bars, ms

H1 = Interval.ONE_HOUR
LAST_MS = ms(2026, 3, 10, 13)
BARS = {"BTCUSDT": made_up_bars(LAST_MS, 3)}
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "postgres"


@pytest.fixture
def address() -> str:
    return new_market()


def opened(address: str, folder: Path, wait_sec: float = 0.0) -> "closing[Server]":
    return closing(Server(address, SystemClock(), wait_sec, folder / "servers.json"))


def write(address: str, folder: Path) -> None:
    with opened(address, folder) as store, store.writing_market(H1) as table:
        table.append(BARS)


def trouble(address: str, folder: Path) -> StoreUnusable:
    with pytest.raises(StoreUnusable) as told:
        write(address, folder)
    return told.value


def with_role(name: str, how: str) -> str:
    with shared_server().connected() as superuser:
        superuser.execute(f"DROP ROLE IF EXISTS {name}")
        superuser.execute(f"CREATE ROLE {name} {how}")
    return name


def name_of(address: str) -> str:
    return address.partition("?")[0].rpartition("/")[2]


def test_a_wrong_password_and_none_at_all(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = with_role("feeder_p", "LOGIN PASSWORD 'right'")
    by_port = shared_server().port_address(name_of(address), user)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    for password in ("wrong-and-secret", ""):
        monkeypatch.setenv("PGPASSWORD", password)
        told = trouble(by_port, tmp_path)
        assert str(told) == f"{by_port} cannot be used: the user or the password is wrong"
        assert (told.is_away, "~/.pgpass" in told.hint) == (False, True)


@pytest.mark.long
def test_a_password_comes_from_the_environment_or_a_file(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = with_role("feeder_q", "LOGIN SUPERUSER PASSWORD 'right'")
    by_port = shared_server().port_address(name_of(address), user)
    monkeypatch.setenv("PGPASSWORD", "right")
    write(by_port, tmp_path)
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text("*:*:*:feeder_q:right\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    write(by_port, tmp_path)


@pytest.mark.parametrize(
    ("mended", "said"),
    [
        (lambda address: address.replace("/market_", "/nomarket_"), "there is no such database"),
        (lambda address: address.replace("postgres@", "nobody_at_all@"), "there is no such user"),
        (lambda address: address.replace("postgresql://postgres@/", "postgresql://x@no.invalid/").partition("?")[0],
         "its host has no address"),
        (lambda address: address + "&service=none", "there is no such service"),
        (lambda address: address + "&nonsense=1", "the address cannot be read"),
        (lambda address: address + "&sslmode=verify-full&sslrootcert=/none", None),
    ],
)  # fmt: skip
def test_an_address_that_leads_nowhere(
    address: str, tmp_path: Path, mended: Callable[[str], str], said: str | None
) -> None:
    if said:
        assert f"cannot be used: {said}" in str(trouble(mended(address), tmp_path))
    else:
        # By a socket there is no TLS to prove.
        write(mended(address), tmp_path)


def test_tls_that_the_server_has_not(address: str, tmp_path: Path) -> None:
    by_port = shared_server().port_address(name_of(address), "postgres") + "?sslmode=require"
    assert "the connection cannot be made secure" in str(trouble(by_port, tmp_path))


def test_nobody_listens(tmp_path: Path, deaf: str) -> None:
    told = trouble(f"postgresql://feeder@{deaf}/market", tmp_path)
    assert (str(told), told.is_away) == (
        f"postgresql://feeder@{deaf}/market cannot be used: nobody listens there",
        True,
    )
    assert "--catch-up" in told.hint


@contextmanager
def listening() -> Iterator[int]:
    """The port of a server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.long
def test_who_takes_the_connection_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SEC", 1)
    with listening() as port:
        told = trouble(f"postgresql://feeder@127.0.0.1:{port}/market", tmp_path)
    assert ("the server does not answer" in str(told), told.is_away) == (True, True)


@pytest.mark.long
def test_a_server_that_hears_and_does_not_answer(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(address, tmp_path) as store:
        with store.writing_market(H1) as table:
            table.append(BARS)
        monkeypatch.setattr(connection.Connection, "answer_sec", 0.2)
        monkeypatch.setattr(connection, "CONNECT_SEC", 1)
        shared_server().signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnusable) as told, store.reading_market(H1) as table:
                table.newest(0)
        finally:
            shared_server().signal(signal.SIGCONT)
        assert ("does not answer" in str(told.value), told.value.is_away) == (True, True)
        monkeypatch.undo()
        with store.reading_market(H1) as table:
            assert table.newest(0) == {"BTCUSDT": LAST_MS}


@pytest.mark.long
def test_tables_that_are_not_there_or_newer(tmp_path: Path) -> None:
    server = shared_server()
    empty = server.address(server.new_database())
    told = trouble(empty, tmp_path)
    assert str(told) == f"{empty} has no tables of barfeed's"
    assert told.hint == f"make them: barfeed migrate --store {shlex.quote(empty)}"
    assert (migrate(empty, SystemClock(), 0.0).since, migrate(empty, SystemClock(), 0.0).since) == (0, schema.VERSION)
    write(empty, tmp_path)
    with looked_at(empty) as superuser:
        superuser.execute("INSERT INTO barfeed.schema_version (version) VALUES (99)")
    told = trouble(empty, tmp_path)
    assert "is of a newer barfeed: version 99 of its tables" in str(told)
    assert told.hint.startswith("upgrade this barfeed")
    with pytest.raises(StoreUnusable, match="newer barfeed: version 99"):
        migrate(empty, SystemClock(), 0.0)


@pytest.mark.long
def test_an_older_schema_is_told_with_the_command_that_mends_it(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, "CREATE TABLE barfeed.new (x integer)"))
    told = trouble(address, tmp_path)
    assert f"is of an older barfeed: version {schema.VERSION - 1}, expected {schema.VERSION}" in str(told)
    migrate(address, SystemClock(), 0.0)
    write(address, tmp_path)


@pytest.mark.long
def test_tables_of_before_kinds_are_migrated_with_all_that_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = shared_server()
    address = server.address(server.new_database())
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", 1)
        before.setattr(schema, "_STEPS", schema._STEPS[:1])
        migrate(address, SystemClock(), 0.0)
        write(address, tmp_path)
    assert "is of an older barfeed: version 1, expected 2" in str(trouble(address, tmp_path))
    assert migrate(address, SystemClock(), 0.0) == (1, 2)
    with opened(address, tmp_path) as store, store.reading_market(H1) as table:
        assert table.newest(0) == {"BTCUSDT": LAST_MS}
    with looked_at(address) as connection:
        # A table a kind comes with its first row, by whoever may feed, and for no kind that there is not.
        made = "SELECT count(*) FROM pg_tables WHERE tablename ~ '^(klines|funding|open_interest)'"
        assert connection.execute(made).fetchall() == [(0,)]
        for kind, period in (("prices", "1h"), ("klines", "7h"), ("klines'; --", "1h")):
            with pytest.raises(psycopg.errors.RaiseException, match="there is no kind"):
                connection.execute("SELECT barfeed.make_kind(%s, %s)", [kind, period])


@pytest.mark.long
def test_a_bar_that_opens_at_no_moment(address: str, tmp_path: Path) -> None:
    write(address, tmp_path)
    with looked_at(address) as connection:
        connection.execute("INSERT INTO barfeed.ohlcv_1h VALUES ('BTCUSDT', 'infinity', 1, 1, 1, 1, 1)")
    with (
        opened(address, tmp_path) as server,
        pytest.raises(StoreUnusable, match="a timestamp in it is no moment") as told,
    ):
        server.held()
    assert (told.value.is_away, "NOT isfinite(timestamp)" in told.value.hint) == (False, True)


def test_a_server_that_is_read_only(address: str, tmp_path: Path) -> None:
    with looked_at(address) as superuser:
        superuser.execute(f"ALTER DATABASE {name_of(address)} SET default_transaction_read_only = on")
    told = trouble(address, tmp_path)
    assert "the server is read-only" in str(told)
    assert "name the primary" in told.hint


def granted(address: str, role: str, user: str) -> str:
    with looked_at(address) as superuser:
        superuser.execute((DEPLOY / f"{role}.sql").read_bytes())
        superuser.execute((DEPLOY / f"{role}.sql").read_bytes())
        superuser.execute(f"GRANT barfeed_{role} TO {user}")
    return address.replace("postgres@", f"{user}@")


@pytest.mark.long
def test_a_feeder_needs_no_more_rights_than_it_is_given_and_has_no_others(address: str, tmp_path: Path) -> None:
    mine = granted(address, "feeder", with_role("feeder_a", "LOGIN"))
    write(mine, tmp_path)
    with psycopg.connect(mine, autocommit=True) as feeder:
        for forbidden in (
            "DELETE FROM barfeed.ohlcv_1h", "UPDATE barfeed.ohlcv_1h SET created_at = NULL",
            "INSERT INTO barfeed.ohlcv_1h VALUES ('X', now(), 1, 1, 1, 1, 1, now())", "TRUNCATE barfeed.symbols",
            "CREATE TABLE barfeed.mine (x integer)", "UPDATE barfeed.ohlcv_revisions SET reason = ''",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                feeder.execute(forbidden)


@pytest.mark.long
def test_a_reader_reads_and_is_told_that_it_may_not_write(address: str, tmp_path: Path) -> None:
    write(address, tmp_path)
    mine = granted(address, "reader", with_role("reader_a", "LOGIN"))
    with closing(Server(mine, SystemClock(), 0.0)) as store:
        with store.reading_market(H1) as table:
            assert table.newest(0) == {"BTCUSDT": LAST_MS}
        told = trouble(mine, tmp_path)
        assert ("this user may not do that" in str(told), "deploy/postgres" in told.hint) == (True, True)


@pytest.mark.long
def test_rows_that_another_session_holds_are_not_waited_for_without_end(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LIMITS", connection._LIMITS.replace("'15s'", "'50ms'"))
    with opened(address, tmp_path) as store:
        with looked_at(address) as other, other.transaction():
            other.execute("LOCK TABLE barfeed.ohlcv_1h IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnusable) as told, store.writing_market(H1) as table:
                table.append(BARS)
        assert ("another session holds" in str(told.value), told.value.is_away) == (True, True)


@pytest.fixture
def cramped() -> Iterator[Path]:
    """A disk of a megabyte, where the machine lets us have one."""
    folder = new_folder()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700,uid=65534", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.long
def test_a_server_whose_disk_is_full(address: str, tmp_path: Path, cramped: Path) -> None:
    with looked_at(address) as superuser:
        superuser.execute(f"CREATE TABLESPACE cramped LOCATION '{cramped}'")
        superuser.execute("ALTER TABLE barfeed.ohlcv_1h SET TABLESPACE cramped")
    many = {f"S{number}USDT": made_up_bars(LAST_MS, 1000) for number in range(20)}
    with opened(address, tmp_path) as store:
        with pytest.raises(StoreUnusable) as told, store.writing_market(H1) as table:
            table.append(many)
        assert ("the server's disk is full" in str(told.value), told.value.is_away) == (True, False)
        assert told.value.hint == "make room on the server's disk: nothing was written"
        with store.reading_market(H1) as table:
            assert table.newest(0) == {}
    with looked_at(address) as superuser:
        superuser.execute("ALTER TABLE barfeed.ohlcv_1h SET TABLESPACE pg_default")
        superuser.execute("DROP TABLESPACE cramped")


@pytest.fixture(scope="module")
def small() -> Iterator[PostgresServer]:
    """A server of its own, to be killed."""
    with own_server() as server:
        yield server


@pytest.mark.long
def test_a_server_killed_between_two_uses_is_asked_anew_and_what_was_acknowledged_is_there(
    small: PostgresServer, tmp_path: Path
) -> None:
    address = small.address(small.new_database())
    migrate(address, SystemClock(), 0.0)
    with opened(address, tmp_path, 30.0) as store:
        with store.writing_market(H1) as table:
            table.append(BARS)
        small.stop(signal.SIGKILL)
        with pytest.raises(StoreUnusable) as told:
            write(address, tmp_path)
        assert told.value.is_away
        starting = Thread(target=small.start)
        starting.start()
        with store.reading_market(H1) as table:
            assert table.newest(0) == {"BTCUSDT": LAST_MS}
        starting.join()


@pytest.mark.long
def test_a_cancelled_wait_for_a_synchronous_standby_is_a_failure_though_the_server_says_success(
    small: PostgresServer, tmp_path: Path
) -> None:
    address = small.address(small.new_database())
    migrate(address, SystemClock(), 0.0)
    with opened(address, tmp_path) as store:
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        with small.connected() as superuser:
            superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'none_such'")
            superuser.execute("SELECT pg_reload_conf()")
            cancelling = Thread(target=lambda: until(lambda: superuser.execute(waiting).fetchall()))
            cancelling.start()
            with pytest.raises(StoreUnusable) as told, store.writing_market(H1) as table:
                table.append(BARS)
            cancelling.join()
            superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
            superuser.execute("SELECT pg_reload_conf()")
        assert "a synchronous standby did not confirm, and the wait was cancelled" in str(told.value)
        assert told.value.is_away
        # It stands there all the same: who inserts it again finds it, and compares.
        with store.writing_market(H1) as table:
            assert table.append(BARS) == {"BTCUSDT": 0}


@pytest.mark.long
def test_another_server_and_an_old_primary_are_not_written_to(address: str, tmp_path: Path) -> None:
    write(address, tmp_path)
    kept = (tmp_path / "servers.json").read_text()
    (tmp_path / "servers.json").write_text(kept.replace('"timeline": 1', '"timeline": 2'))
    told = trouble(address, tmp_path)
    assert "is an old primary that came back: its timeline is 1, expected 2 or later" in str(told)
    assert str(tmp_path / "servers.json") in told.hint
    system = kept.partition('"system": "')[2].partition('"')[0]
    (tmp_path / "servers.json").write_text(kept.replace(system, "7"))
    assert f"is another server than before: its system identifier is {system}, expected 7" in str(
        trouble(address, tmp_path)
    )


@pytest.mark.long
def test_what_a_killed_feed_began_to_note_is_taken_away_by_the_next_one(address: str, tmp_path: Path) -> None:
    (tmp_path / ".servers.json.4711.unfinished").write_text("{")
    write(address, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["servers.json"]
