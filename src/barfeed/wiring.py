"""The feed put together from its settings."""

from barfeed import grid
from barfeed.artifacts import slug
from barfeed.binance.rest import Rest
from barfeed.binance.transport import open_transport
from barfeed.clock import SystemClock
from barfeed.config import Settings
from barfeed.cycle import Feed, Order
from barfeed.store import Store


def wire(settings: Settings, catch_up_command: str) -> tuple[Feed, Order, Rest]:
    """What a cycle works with, what it is asked to do, and whom it asks; `UsageError` names a wrong setting."""
    order = _order(settings, catch_up_command)
    clock = SystemClock()
    feed = Feed(
        Store(settings.duckdb, clock, settings.lock_timeout_sec), settings.persist_dir / slug(order.dataset), clock
    )
    return feed, order, Rest(settings.base_url, open_transport(settings.base_url, clock), clock)


def _order(settings: Settings, catch_up_command: str) -> Order:
    series = settings.series()
    return Order(
        series=series,
        dataset=settings.dataset or series.dataset,
        n_recent=settings.n_recent,
        window_bars=grid.inference_bars(settings.buffer_hours, series.interval.ms),
        inference_source=settings.inference_source,
        catch_up=settings.catch_up,
        catch_up_command=catch_up_command,
        dry_run=settings.dry_run,
        settle_sec=settings.settle_sec,
        max_skew_sec=settings.max_skew_sec,
        then=settings.then,
        then_timeout_sec=settings.then_timeout_sec,
    )
