"""Hosts that feed a database with kinds beside the bars of a market, in process, and what it holds then."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.store.postgres.server import Server
from feed.kinds.kinds_world import NOW_MS, ONE_HOUR, KindsWorld
from pg_server import looked_at

# One of each way in which a row's time is read, and what is published late.
FED = ("klines", "premium_index", "funding", "open_interest")
Rows = list[tuple[Any, ...]]


class Host(KindsWorld):
    """A host that feeds a database."""

    def __init__(self, folder: Path, store: Server, *names: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, NOW_MS, *names)
        self.lives_with(store, *names)

    def lives_with(self, store: Server, *names: str) -> None:
        self.feed = self.feed._replace(store=store)
        self.with_kinds(*(names or KINDS))


@contextmanager
def host(folder: Path, address: str, *names: str, of: type[Server] = Server) -> Iterator[Host]:
    with closing(of(address, SystemClock(), 0.0, folder.parent / f"{folder.name}.json")) as store:
        yield Host(folder, store, *names)


def rows(address: str, kind: Kind) -> Rows:
    """What the database holds of a kind and when it was known, read by nobody's code but psycopg's."""
    names, epoch = ", ".join(kind.names), "(extract(epoch FROM {}) * 1000)::bigint"
    told = f"{epoch.format('timestamp')}, {epoch.format('known_at')}, {names}"
    with looked_at(address) as connection:
        query = f'SELECT symbol, {told} FROM barfeed.{kind.table(ONE_HOUR)} ORDER BY symbol COLLATE "C", timestamp'
        return connection.execute(query).fetchall()


def rows_of_file(world: KindsWorld, kind: Kind) -> Rows:
    with closing(duckdb.connect(str(world.duckdb), read_only=True)) as connection:
        told = f"epoch_ms(timestamp), epoch_ms(known_at), {', '.join(kind.names)}"
        query = f"SELECT symbol, {told} FROM {kind.table(ONE_HOUR)} ORDER BY symbol, timestamp"
        return connection.execute(query).fetchall()


def features(world: KindsWorld) -> Rows:
    """The wide table as models find it."""
    path = world.feed.folder / "latest_features_input.parquet"
    return duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()


def late(address: str) -> Rows:
    with looked_at(address) as connection:
        return connection.execute(
            "SELECT kind, symbol, until FROM barfeed.kinds_late ORDER BY kind, symbol, until"
        ).fetchall()
