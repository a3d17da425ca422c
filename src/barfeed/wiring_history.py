"""What backfill and verify work with, put together from settings."""

from pathlib import Path

from barfeed.backfill import Tools
from barfeed.binance.archive import Archive
from barfeed.binance.paging import RestHistory
from barfeed.binance.rest import Rest
from barfeed.binance.transport import open_transport
from barfeed.clock import SystemClock
from barfeed.config import Settings
from barfeed.store import Store


def history_tools(settings: Settings, connections: int, archive_url: str, cache_dir: Path | None) -> Tools:
    """The store, the exchange and the archive of one series; nothing is asked or opened yet."""
    series, clock = settings.series(), SystemClock()

    def open_rest(url: str) -> Rest:
        return Rest(url, open_transport(url, clock), clock)

    rest = RestHistory(series, lambda: open_rest(settings.base_url), settings.max_wait_sec, connections)
    archive = Archive(
        series,
        lambda: open_rest(archive_url),
        settings.max_wait_sec,
        lambda: rest.now_ms,
        cache_dir=cache_dir,
        connections=connections,
    )
    return Tools(Store(settings.duckdb, clock, settings.lock_timeout_sec), rest, archive, clock)
