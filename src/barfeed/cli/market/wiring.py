"""A market's passes put together from the settings: which series, which folders, who asks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from barfeed.cli.market.choice import folder, intervals, label
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_history, open_lake
from barfeed.cli.wiring import open_kinds, open_rest, terms
from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.market.members import Reach
from barfeed.domain.market.selection import Selection
from barfeed.domain.verdict import Remedies
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import AskAll, AskEach
from barfeed.feed.market.order import SERIES_WAIT_SEC, WATCHED_WAIT_SEC, Market, MarketOrder
from barfeed.feed.order import Feed
from barfeed.machine.clock import Bell, Clock, SystemClock

if TYPE_CHECKING:
    from barfeed.exchange.stream.market import MarketStream
    from barfeed.feed.market.watch import Streams


def wire_market(settings: Settings, remedies: Callable[[str], Remedies]) -> tuple[list[Market], Rest]:
    """Each interval's pass, and whom all of them ask; `UsageError` names a wrong setting."""
    selection = Selection.of(settings.symbols)
    clock = SystemClock()
    store = open_history(settings, clock)
    orders = [_order(settings, selection, each, remedies) for each in intervals(settings)]
    lake = open_lake(settings, clock)
    windows = {each.interval: each.reach.window_bars for each in orders}
    kinds = open_kinds(settings, windows, store, clock, views_of=selection.names)
    if settings.watch and kinds:
        shortest = min(windows, key=lambda each: each.ms)
        orders = [each._replace(kinds_within=shortest) for each in orders]
    markets = [
        Market(Feed(store, folder(settings, each.interval), clock, lake, kinds.get(each.interval)), each)
        for each in orders
    ]
    return markets, open_rest(settings, clock)


def _csv_for(text: str, selection: Selection) -> tuple[str, ...]:
    try:
        symbols = tuple(Series.of(each.strip(), "1h").symbol for each in text.split(",") if each.strip())
    except UsageError as problem:
        raise UsageError(f"--csv-for: {problem}", hint="as BTCUSDT,ETHUSDT") from None
    if unfed := [each for each in symbols if not selection.includes(each)]:
        raise UsageError(f"--csv-for: {unfed[0]} is none of --symbols {selection}", hint="name it there, too")
    return symbols


def _order(
    settings: Settings, selection: Selection, interval: Interval, remedies: Callable[[str], Remedies]
) -> MarketOrder:
    window_bars = -(-settings.window_hours * HOUR_MS // interval.ms)
    return MarketOrder(
        selection=selection,
        reach=Reach(
            interval,
            settings.n_recent,
            window_bars or grid.inference_bars(settings.buffer_hours, interval.ms),
            settings.catch_up,
        ),
        window_bars_min=-(-settings.min_window_hours * HOUR_MS // interval.ms),
        dataset=label(settings, interval),
        dry_run=settings.dry_run,
        settle_sec=settings.settle_sec,
        max_skew_sec=settings.max_skew_sec,
        csv_for=_csv_for(settings.csv_for, selection),
        weight_budget=settings.weight_budget,
        plain_decimals=settings.plain_decimals,
        then=settings.then,
        then_timeout_sec=settings.then_timeout_sec,
        # Of each series a pass asks several times, and they are put together from all that was typed.
        remedies=lru_cache(maxsize=None)(remedies),
        confirm_sec=settings.settle_sec if settings.confirm_reads > 1 else None,
        accept=terms(settings),
        series_wait_sec=WATCHED_WAIT_SEC if settings.watch else SERIES_WAIT_SEC,
    )


def wire_streams(settings: Settings, clock: Clock) -> "tuple[MarketStream, Streams]":
    """A market's streams, followed once it is known of which series, and how its watch listens to them."""
    # Imported here: only a watch follows them, and it takes a tenth of a second.
    from barfeed.exchange.stream.market import MarketStream  # noqa: PLC0415
    from barfeed.feed.market.heard import Heard  # noqa: PLC0415
    from barfeed.feed.market.watch import Streams  # noqa: PLC0415

    bell = Bell(clock)
    heard = Heard(partial(bell.ring, 0))
    stream = MarketStream(settings.stream_url, heard, clock)
    return stream, Streams(heard, stream.follow, bell.wait)


def asking(settings: Settings, rest: Rest) -> AbstractContextManager[AskAll]:
    """What asks the exchange of the settings many questions at once; `UsageError` where its library is missing."""
    with _library():
        # Imported only here: it takes longer than an hour's work of one series.
        from barfeed.exchange.transport.together import asking_together  # noqa: PLC0415
    return asking_together(settings.base_url, rest.clock)


def asking_each(base_urls: Sequence[str], in_flight: int) -> AbstractContextManager[AskEach]:
    """What asks these servers questions whose answers are taken as they come; `UsageError` likewise."""
    with _library():
        from barfeed.exchange.transport import each  # noqa: PLC0415 - as above
    return each.asking_each(base_urls, SystemClock(), in_flight)


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"--symbols needs a library that is not installed: {missing.name}", hint="pip install 'barfeed[market]'"
        ) from None
