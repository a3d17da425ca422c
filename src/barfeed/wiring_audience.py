"""Who hears how each cycle ended, besides the terminal: put together from the settings."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from barfeed.binance.rest import Conversation
from barfeed.config import Settings
from barfeed.cycle import Feed
from barfeed.errors import UsageError
from barfeed.logs import log_cycle
from barfeed.record import Record

if TYPE_CHECKING:
    from barfeed.binance.stream import Stream
    from barfeed.meter import Meter

Hear = Callable[[Record, Conversation], None]

_log = logging.getLogger(__name__)


def audience(settings: Settings, feed: Feed, stream: "Stream | None" = None) -> list[Hear]:
    """Everyone whom the settings ask to tell; nobody is imported who is not asked for. `stream` is metered, too."""
    hearers: list[Hear] = [log_cycle] if settings.log_format == "json" else []
    if not settings.dry_run:
        # A dry run is somebody's look: it neither alarms others nor vouches for the feed.
        hearers += _alerts(settings, feed) + _heartbeat(settings, feed)
    if settings.metrics_file or settings.listen:
        hearers.append(_meter(settings, feed, stream).hear)
    return hearers


def _alerts(settings: Settings, feed: Feed) -> list[Hear]:
    if not settings.alert:
        return []
    from barfeed.alerts import channels, require_apprise  # noqa: PLC0415 - most feeds have no alerts
    from barfeed.ledger import LedgerFile, spare_paths  # noqa: PLC0415
    from barfeed.telling import ALERT_WAIT_SEC, Alerts  # noqa: PLC0415

    require_apprise()
    wait_sec = 0.0 if settings.watch else ALERT_WAIT_SEC
    # The store's disk may be another than the files', and the user's home another again.
    spares = spare_paths(feed.folder, (feed.store.path.parent, Path(click.get_app_dir("barfeed"))))
    ledger = LedgerFile(feed.folder, spares)
    return [Alerts(channels(settings.alert), ledger, feed.clock, settings.max_skew_sec, wait_sec)]


def _heartbeat(settings: Settings, feed: Feed) -> list[Hear]:
    if not settings.heartbeat_url:
        return []
    from barfeed.binance.transport import open_transport  # noqa: PLC0415 - most feeds have no heartbeat
    from barfeed.telling import HEARTBEAT_TIMEOUT_SEC, Heartbeat  # noqa: PLC0415

    wait_sec = 0.0 if settings.watch else HEARTBEAT_TIMEOUT_SEC
    transport = open_transport(settings.heartbeat_url, feed.clock)
    return [Heartbeat(settings.heartbeat_url, transport, feed.clock, wait_sec)]


def tell(hearers: list[Hear], record: Record, talk: Conversation) -> None:
    """Tell everyone; one who cannot hear must not keep it from the next, nor end a watch."""
    for hear in hearers:
        try:
            hear(record, talk)
        except Exception:
            _log.exception("this is a bug in barfeed; report it")


def dismiss(hearers: list[Hear]) -> None:
    """Let everyone end what is begun, within some seconds: the process is about to."""
    for hear in hearers:
        if close := getattr(hear, "close", None):
            close()


def _meter(settings: Settings, feed: Feed, stream: "Stream | None") -> "Meter":
    try:
        # Imported only here: most feeds have no metrics, and the library takes longer than an hour's work.
        from barfeed.meter import Meter  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"--metrics-file and --listen need a library that is not installed: {missing.name}",
            hint="pip install 'barfeed[metrics]'",
        ) from None
    followed = stream.followed if stream else None
    meter = Meter(settings.series(), feed.clock, feed.store.path, settings.metrics_file, followed)
    if settings.listen:
        _listen(settings.listen, meter, feed)
    return meter


def _listen(text: str, meter: "Meter", feed: Feed) -> None:
    from barfeed.listening import Listener, Page, address  # noqa: PLC0415 - as above
    from barfeed.metrics import CONTENT_TYPE  # noqa: PLC0415 - as above

    def healthz() -> Page:
        health = meter.health()
        return Page(200 if health.is_well else 503, "application/json", json.dumps(health.told()).encode() + b"\n")

    pages = {"/metrics": lambda: Page(200, CONTENT_TYPE, meter.exposition()), "/healthz": healthz}
    listener = Listener(address(text), pages, feed.clock)
    listener.start()
    _log.info("listening at %s: %s", listener.url, ", ".join(pages))
