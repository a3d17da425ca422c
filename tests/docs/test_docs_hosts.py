"""docs/hosts.md, lived on a server of its own: every command in the page's order, and what it says to Python."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fork_server
from docs.claims import why_not_run
from docs.pages import BLOCKS
from market_world import MarketMachine, market_machine, small_market
from pg_server import BIN, PostgresServer, looked_at, own_server
from process import BARFEED, ROOT
from world import hours, ms

MINE = [block for block in BLOCKS if block.page == "docs/hosts.md"]
TARGET_MS = ms(2026, 3, 10, 13)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with own_server() as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MarketMachine]:
    with market_machine(tmp_path, small_market(TARGET_MS + hours(5), 900), TARGET_MS + hours(1) + 30_000) as machine:
        yield machine


def here(text: str, server: PostgresServer) -> str:
    """The page's addresses as they are here: both hosts are this server, which trusts who comes by its socket."""
    host = f"?host={server.folder}&port={server.port}"
    return re.sub(r"(postgresql://\w+@)db-a\.example\.org(?:,db-b\.example\.org)?/(\w*)", rf"\1/\2{host}", text)


def quoted(command: str) -> str:
    """For a shell, which would take a part of an address for itself."""
    return re.sub(r"(postgresql://\S+)", r"'\1'", command)


def run(command: str, machine: MarketMachine) -> "subprocess.CompletedProcess[str]":
    path = f"{BARFEED.parent}:{BIN}:/usr/bin:/bin"
    given = machine.environment(PATH=path, BARFEED_MAX_SKEW_SEC="1e10", BARFEED_WINDOW_HOURS="48")
    if command.startswith("barfeed "):
        return fork_server.run([BARFEED, *shlex.split(command)[1:]], given, cwd=machine.folder)
    return subprocess.run(
        command, shell=True, cwd=machine.folder, capture_output=True, text=True, check=False, env=given
    )


@pytest.mark.long
def test_the_page_is_lived_from_its_top_to_its_end(server: PostgresServer, machine: MarketMachine) -> None:
    commands = [line[2:] for block in MINE if block.kind == "console" for line in block.text.splitlines()]
    (machine.folder / "deploy").symlink_to(ROOT / "deploy")
    (machine.folder / "data").mkdir()
    for command in (each for each in commands if not why_not_run(each)):
        if "barfeed migrate" in command and "/history" in command:
            machine.feed("--catch-up", "--window-hours", "48")
            (machine.folder / "data" / "ohlcv.duckdb").symlink_to(machine.duckdb)
            with server.connected() as superuser:
                superuser.execute("CREATE DATABASE history OWNER owner")
        done = run(quoted(here(command, server)), machine)
        # By the machine's clock a bar of that year is behind, or ahead.
        expected = {0, 1} if " status " in command else {0}
        assert done.returncode in expected, (command, done.stdout, done.stderr)
    with looked_at(server.address("market")) as connection:
        assert connection.execute("SELECT count(*) FROM barfeed.ohlcv_1h").fetchall() == [(5 * 48,)]
    (snippet,) = (block.text for block in MINE if block.kind == "python")
    local = here(snippet.replace("db-b", "db-a"), server).replace('window("BTCUSDT").to_polars()', 'bars("BTCUSDT")')
    done = subprocess.run([sys.executable, "-c", local], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines()[0], done.stderr) == ("BTCUSDT 1h: 48 rows", "")


@pytest.mark.long
def test_the_roles_of_the_compose_file_are_made_and_made_again(server: PostgresServer) -> None:
    subprocess.run([BIN / "psql", server.address("postgres"), "-c", "CREATE DATABASE market"], check=True)
    address = server.address("market")
    subprocess.run([BARFEED, "migrate", "--store", address], check=True, capture_output=True)
    rights = ROOT / "deploy" / "postgres"
    for _ in range(2):
        files = [word for name in ("feeder", "reader", "roles") for word in ("-f", rights / f"{name}.sql")]
        passwords = ["-v", "feeder=a'b", "-v", "replicator=c"]
        subprocess.run(
            [BIN / "psql", address, "-v", "ON_ERROR_STOP=1", *passwords, *files], check=True, capture_output=True
        )
    with looked_at(address) as connection:
        roles = connection.execute(
            "SELECT rolname, rolreplication FROM pg_roles WHERE rolname IN ('feeder', 'replicator') ORDER BY 1"
        ).fetchall()
    assert roles == [("feeder", False), ("replicator", True)]
