"""The feed put together from its settings: the hour, the watch, history, repair, and who hears how a cycle ended.

What the hour does not need is imported where it is put together: the hourly command must start fast.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from barfeed.artifacts.writing import slug
from barfeed.cli.hints import sister
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_history, open_lake, open_whole
from barfeed.domain import grid
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import HOUR_MS, Interval, Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused, UsageError
from barfeed.domain.verdict import Remedies
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.transport.single import open_transport
from barfeed.feed.cycle_log import log_cycle
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import Lived, Record
from barfeed.machine.clock import Bell, Clock, SystemClock

if TYPE_CHECKING:
    from barfeed.domain.kinds.kind import Kind
    from barfeed.exchange.stream.follower import Stream
    from barfeed.exchange.stream.market import MarketStream
    from barfeed.feed.kinds.gathering import Kinds
    from barfeed.feed.watch import Listen
    from barfeed.history.backfill import Tools
    from barfeed.history.mending.let_pass import LetPass
    from barfeed.history.mending.repair import Repair
    from barfeed.operate.metrics.collector import Collector
    from barfeed.store.port.history import History


# Cycles are heard of, passes, or both.
_Lived = TypeVar("_Lived", bound=Lived)
Hear = Callable[[_Lived, Conversation], None]

_log = logging.getLogger(__name__)


def wire(settings: Settings, remedies: Remedies) -> tuple[Feed, Order, Rest]:
    """What a cycle works with, what it is asked to do, and whom it asks; `UsageError` names a wrong setting."""
    order = _order(settings, remedies)
    clock = SystemClock()
    folder = settings.persist_dir / slug(order.dataset)
    store = open_history(settings, clock)
    kinds = open_kinds(
        settings, {order.series.interval: order.window_bars}, store, clock, views_of=[order.series.symbol]
    )
    feed = Feed(store, folder, clock, open_lake(settings, clock), kinds.get(order.series.interval))
    return feed, order, open_rest(settings, clock)


def wire_stream(settings: Settings, clock: Clock) -> "tuple[Stream, Listen]":
    """The stream that a watch listens to, not yet followed, and how it listens."""
    # Imported here: only a watch follows it, and it takes a tenth of a second.
    from barfeed.exchange.stream.follower import Stream  # noqa: PLC0415

    bell = Bell(clock)
    return Stream(settings.stream_url, settings.series(), bell.ring, clock), bell.wait


@contextmanager
def told_by_its_life(settings: Settings, backfill: str) -> Iterator[None]:
    """Where the exchange refuses the symbol, it is told what the symbol is; `backfill` fetches what is missing."""
    try:
        yield
    except ExchangeRefused as refusal:
        # Imported here: nobody asks where nothing is refused.
        from barfeed.feed.inquiry import explained  # noqa: PLC0415

        clock = SystemClock()
        talk = open_rest(settings, clock).conversation(settings.max_wait_sec)
        with suppress(BarfeedError):
            talk.ask_time()
        store = open_whole(settings, clock)
        raise explained(refusal, settings.series(), store, talk, backfill) from None


def wire_let_pass(settings: Settings, *, dry_run: bool) -> "LetPass":
    """What lets a bar pass."""
    # Imported here: the hour goes by without it.
    from barfeed.history.mending.let_pass import LetPass  # noqa: PLC0415

    clock = SystemClock()
    store = open_whole(settings, clock, writes=not dry_run)
    return LetPass(store, open_rest(settings, clock), settings.series(), settings.max_wait_sec)


def wire_repair(settings: Settings, *, dry_run: bool) -> "tuple[Repair, int]":
    """A repair, and how many bars it looks at unless it is told otherwise: all that a cycle looks at."""
    # Imported here: the hour goes by without it.
    from barfeed.history.mending.repair import Repair  # noqa: PLC0415

    series, clock = settings.series(), SystemClock()
    store = open_whole(settings, clock, writes=not dry_run)
    window_bars = grid.inference_bars(settings.buffer_hours, series.interval.ms)
    return Repair(store, open_rest(settings, clock), series, settings.max_wait_sec), max(window_bars, settings.n_recent)


def history_tools(
    settings: Settings, connections: int, archive_url: str, cache_dir: Path | None, *, writes: bool
) -> "Tools":
    """The store, the exchange and the archive of one series; nothing is asked or opened yet."""
    # Imported here: the hour goes by without them.
    from barfeed.exchange.archive import Archive  # noqa: PLC0415
    from barfeed.exchange.paging import RestHistory  # noqa: PLC0415
    from barfeed.history.backfill import Tools  # noqa: PLC0415

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
    return Tools(open_whole(settings, clock, writes=writes), rest, archive, clock)


def audience(settings: Settings, feed: Feed, stream: "Stream | None" = None) -> list[Hear[Record]]:
    """Everyone whom the settings ask to tell; nobody is imported who is not asked for. `stream` is metered, too."""
    hearers: list[Hear[Record]] = [log_cycle] if settings.log_format == "json" else []
    if not settings.dry_run:
        # A dry run is somebody's look: it neither alarms others nor vouches for the feed.
        hearers += alerts(settings, feed) + heartbeat(settings, feed)
    if settings.metrics_file or settings.listen:
        hearers.append(meter(settings, feed, [settings.series()], stream).hear)
    return hearers + feeder_row(feed, settings.series().interval)


def feeder_row(feed: Feed, interval: Interval) -> list[Hear[Lived]]:
    """What tells the other hosts that this one feeds a database; of a file everybody on this host knows."""
    if feed.store.file:
        return []
    from barfeed.cli.market.feeders import FeederRow  # noqa: PLC0415 - most feeds have a file

    return [FeederRow(feed, interval)]


def tell(hearers: Sequence[Hear[_Lived]], record: _Lived, talk: Conversation) -> None:
    """Tell everyone; one who cannot hear must not keep it from the next, nor end a watch."""
    for hear in hearers:
        try:
            hear(record, talk)
        except Exception:
            _log.exception("this is a bug in barfeed; report it")


def dismiss(hearers: Sequence[Hear[_Lived]]) -> None:
    """Let everyone end what is begun, within some seconds: the process is about to."""
    for hear in hearers:
        if close := getattr(hear, "close", None):
            close()


def _order(settings: Settings, remedies: Remedies) -> Order:
    series = settings.series()
    return Order(
        series=series,
        dataset=settings.dataset or series.dataset,
        n_recent=settings.n_recent,
        window_bars=grid.inference_bars(settings.buffer_hours, series.interval.ms),
        window_bars_min=-(-settings.min_window_hours * HOUR_MS // series.interval.ms),
        inference_source=settings.inference_source,
        catch_up=settings.catch_up,
        remedies=remedies,
        accept=terms(settings),
        dry_run=settings.dry_run,
        settle_sec=settings.settle_sec,
        confirm_sec=settings.settle_sec if settings.confirm_reads > 1 else None,
        max_skew_sec=settings.max_skew_sec,
        then=settings.then,
        then_timeout_sec=settings.then_timeout_sec,
        plain_decimals=settings.plain_decimals,
    )


def terms(settings: Settings) -> Terms | None:
    """On which terms the exchange's word is taken over the store's; None where never."""
    if settings.on_mismatch == "fail":
        return None
    return Terms(settings.accept_within, settings.accept_volume_within, settings.pause_sec)


def open_kinds(
    settings: Settings, window_bars: Mapping[Interval, int], store: "History", clock: Clock, *, views_of: Sequence[str]
) -> "dict[Interval, Kinds]":
    """The kinds that are fed beside the bars of each interval; `UsageError` for one that there is not."""
    if not settings.kinds:
        return {}
    # Imported here: most feeds have bars alone.
    from barfeed.domain.kinds.plan import Reach  # noqa: PLC0415
    from barfeed.domain.kinds.table import kinds  # noqa: PLC0415
    from barfeed.exchange.kinds.asking import Limits  # noqa: PLC0415
    from barfeed.feed.kinds.gathering import Kinds  # noqa: PLC0415
    from barfeed.feed.kinds.order import KindsOrder  # noqa: PLC0415
    from barfeed.feed.market.order import SERIES_WAIT_SEC, WATCHED_WAIT_SEC  # noqa: PLC0415

    order = KindsOrder(
        kinds=kinds(settings.kinds, tuple(window_bars)),
        reach=Reach(settings.n_recent, 0),
        wait_sec=WATCHED_WAIT_SEC if settings.watch else SERIES_WAIT_SEC,
        dry_run=settings.dry_run,
        views_of=tuple(views_of),
        accept=terms(settings),
        repaired_by=_repaired_by,
    )
    spot, limits = Rest(settings.spot_url, open_transport(settings.spot_url, clock), clock), Limits(clock)
    return {
        interval: Kinds(order._replace(reach=Reach(settings.n_recent, bars)), store.kinds, spot, limits)
        for interval, bars in window_bars.items()
    }


def _repaired_by(series: Series, kind: "Kind") -> str:
    return sister("repair", "--symbol", series.symbol, "--interval", str(series.interval), "--kinds", kind.name)


def open_rest(settings: Settings, clock: Clock) -> Rest:
    """The exchange that the settings name; nothing is asked yet."""
    return Rest(settings.base_url, open_transport(settings.base_url, clock), clock)


def alerts(settings: Settings, feed: Feed) -> list[Hear[Lived]]:
    """What tells people of the trouble in this feed, where the settings name a channel."""
    if not settings.alert:
        return []
    from barfeed.operate.alerts.channels import channels, require_apprise  # noqa: PLC0415 - most feeds have no alerts
    from barfeed.operate.alerts.delivery import ALERT_WAIT_SEC, Alerts  # noqa: PLC0415
    from barfeed.operate.alerts.ledger import LedgerFile, spare_paths  # noqa: PLC0415

    require_apprise()
    # A watch waits for no channel; and for a series of many it does not wait, but asks again.
    wait_sec, patience_sec = (0.0, settings.max_wait_sec) if settings.watch else (ALERT_WAIT_SEC, 0.0)
    # The store's disk may be another than the files', and the user's home another again.
    beside = [feed.store.file.path.parent] if feed.store.file else []
    spares = spare_paths(feed.folder, (*beside, Path(click.get_app_dir("barfeed"))))
    ledger = LedgerFile(feed.folder, spares)
    to = channels(settings.alert)
    return [Alerts(to, ledger, feed.clock, settings.max_skew_sec, wait_sec, patience_sec=patience_sec)]


def heartbeat(settings: Settings, feed: Feed, feeds: int = 1) -> list[Hear[Lived]]:
    """What tells a dead-man's switch that all these feeds live, where the settings name one."""
    if not settings.heartbeat_url:
        return []
    # Most feeds have no heartbeat.
    from barfeed.operate.alerts.delivery import HEARTBEAT_TIMEOUT_SEC, Heartbeat  # noqa: PLC0415

    wait_sec = 0.0 if settings.watch else HEARTBEAT_TIMEOUT_SEC
    transport = open_transport(settings.heartbeat_url, feed.clock)
    return [Heartbeat(settings.heartbeat_url, transport, feed.clock, wait_sec, feeds)]


def meter(
    settings: Settings,
    feed: Feed,
    feeds: Sequence[Series],
    stream: "Stream | MarketStream | None" = None,
    *,
    of_many: bool = False,
) -> "Collector":
    """What counts all that is heard of these feeds, in a file and at an address as the settings say."""
    try:
        # Imported only here: most feeds have no metrics, and the library takes longer than an hour's work.
        from barfeed.operate.metrics.collector import Collector  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"--metrics-file and --listen need a library that is not installed: {missing.name}",
            hint="pip install 'barfeed[metrics]'",
        ) from None
    followed = stream.followed if stream else None
    path = feed.store.file.path if feed.store.file else None
    collector = Collector(feeds, feed.clock, path, settings.metrics_file, followed, of_many=of_many)
    if settings.listen:
        _listen(settings.listen, collector, feed)
    return collector


def _listen(text: str, collector: "Collector", feed: Feed) -> None:
    from barfeed.operate import health  # noqa: PLC0415 - as above
    from barfeed.operate.metrics.exposition import CONTENT_TYPE  # noqa: PLC0415 - as above
    from barfeed.operate.metrics.server import Listener, Page, address  # noqa: PLC0415 - as above

    def healthz() -> Page:
        told = health.told(collector.healths())
        return Page(200 if told["healthy"] else 503, "application/json", json.dumps(told).encode() + b"\n")

    pages = {"/metrics": lambda: Page(200, CONTENT_TYPE, collector.exposition()), "/healthz": healthz}
    listener = Listener(address(text), pages, feed.clock)
    listener.start()
    _log.info("listening at %s: %s", listener.url, ", ".join(pages))
