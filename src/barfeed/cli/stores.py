"""The store that the settings name, to feed, to look at or to change, and its lake; nothing is asked or opened yet.

It stands by itself: what only reads what is stored puts no feed together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from barfeed.cli.settings import Settings
from barfeed.cli.values.stores import meant_database
from barfeed.domain.errors import UsageError
from barfeed.machine.clock import Clock
from barfeed.store.port.embedded import Embedded

if TYPE_CHECKING:
    from barfeed.store.lake.lake import Lake
    from barfeed.store.port.history import History
    from barfeed.store.port.whole import WholeHistory
    from barfeed.store.postgres.server import Server


def open_history(settings: Settings, clock: Clock) -> "History":
    """The store that the settings name, to feed; nothing is asked or opened yet."""
    address = meant_database(settings.store)
    return open_database(settings, address, clock) if address else open_store(settings, clock)


def open_whole(settings: Settings, clock: Clock, *, writes: bool = False) -> "WholeHistory":
    """The store that the settings name, all of it: to look at, or with `writes` to change; nothing is opened yet."""
    address = meant_database(settings.store)
    if not address:
        return open_store(settings, clock)
    with needs_postgres():
        # Imported here: most stores are a file.
        from barfeed.store.postgres.whole import WholeServer  # noqa: PLC0415
    remembered = settings.persist_dir / "servers.json" if writes else None
    server = WholeServer(address, clock, settings.lock_timeout_sec, remembered)
    click.get_current_context().call_on_close(server.close)
    return server


def open_store(settings: Settings, clock: Clock) -> Embedded:
    """The DuckDB file that the settings name."""
    return Embedded(settings.duckdb, clock, settings.lock_timeout_sec)


def open_database(settings: Settings, address: str, clock: Clock) -> "Server":
    """The database at an address, to write to; nothing is asked or opened yet."""
    with needs_postgres():
        # Imported here: most feeds have a file.
        from barfeed.store.postgres.server import Server  # noqa: PLC0415
    return Server(address, clock, settings.lock_timeout_sec, settings.persist_dir / "servers.json")


@contextmanager
def needs_postgres() -> Iterator[None]:
    """`UsageError` where the library that speaks to a database is not installed."""
    try:
        yield
    except ImportError as missing:
        raise UsageError(
            f"--store needs a library that is not installed: {missing.name or 'libpq'}",
            hint="pip install 'barfeed[postgres]'",
        ) from None


def open_lake(settings: Settings, clock: Clock) -> "Lake | None":
    """The lake that the settings name, if any; nothing is asked or opened yet."""
    if not settings.lake:
        return None
    # Imported here: most feeds have none.
    from barfeed.store.lake.lake import Lake  # noqa: PLC0415

    return Lake(settings.lake, clock)
