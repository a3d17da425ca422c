"""The feed put together from its settings."""

from typing import TYPE_CHECKING

from barfeed import grid
from barfeed.acceptance import Terms
from barfeed.artifacts import slug
from barfeed.binance.rest import Rest
from barfeed.binance.transport import open_transport
from barfeed.clock import Bell, Clock, SystemClock
from barfeed.config import Settings
from barfeed.cycle import Feed, Order
from barfeed.store import Store
from barfeed.verdict import Remedies

if TYPE_CHECKING:
    from barfeed.binance.stream import Stream
    from barfeed.repair import Repair
    from barfeed.watch import Listen


def wire(settings: Settings, remedies: Remedies) -> tuple[Feed, Order, Rest]:
    """What a cycle works with, what it is asked to do, and whom it asks; `UsageError` names a wrong setting."""
    order = _order(settings, remedies)
    clock = SystemClock()
    feed = Feed(
        Store(settings.duckdb, clock, settings.lock_timeout_sec), settings.persist_dir / slug(order.dataset), clock
    )
    return feed, order, _rest(settings, clock)


def wire_stream(settings: Settings, clock: Clock) -> "tuple[Stream, Listen]":
    """The stream that a watch listens to, not yet followed, and how it listens."""
    # Imported here: only a watch follows it, and it takes a tenth of a second.
    from barfeed.binance.stream import Stream  # noqa: PLC0415

    bell = Bell(clock)
    return Stream(settings.stream_url, settings.series(), bell.ring, clock), bell.wait


def wire_repair(settings: Settings) -> "tuple[Repair, int]":
    """A repair, and how many bars it looks at unless it is told otherwise: all that a cycle looks at."""
    # Imported here: the hour goes by without it.
    from barfeed.repair import Repair  # noqa: PLC0415

    series, clock = settings.series(), SystemClock()
    store = Store(settings.duckdb, clock, settings.lock_timeout_sec)
    window_bars = grid.inference_bars(settings.buffer_hours, series.interval.ms)
    return Repair(store, _rest(settings, clock), series, settings.max_wait_sec), max(window_bars, settings.n_recent)


def _order(settings: Settings, remedies: Remedies) -> Order:
    series = settings.series()
    return Order(
        series=series,
        dataset=settings.dataset or series.dataset,
        n_recent=settings.n_recent,
        window_bars=grid.inference_bars(settings.buffer_hours, series.interval.ms),
        inference_source=settings.inference_source,
        catch_up=settings.catch_up,
        remedies=remedies,
        accept=_terms(settings),
        dry_run=settings.dry_run,
        settle_sec=settings.settle_sec,
        confirm_sec=settings.settle_sec if settings.confirm_reads > 1 else None,
        max_skew_sec=settings.max_skew_sec,
        then=settings.then,
        then_timeout_sec=settings.then_timeout_sec,
    )


def _terms(settings: Settings) -> Terms | None:
    if settings.on_mismatch == "fail":
        return None
    return Terms(settings.accept_within, settings.accept_volume_within, settings.pause_sec)


def _rest(settings: Settings, clock: Clock) -> Rest:
    return Rest(settings.base_url, open_transport(settings.base_url, clock), clock)
