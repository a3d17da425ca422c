"""Who hears how each cycle ended, besides the terminal: put together from the settings."""

import logging
from collections.abc import Callable

from barfeed.binance.rest import Conversation
from barfeed.config import Settings
from barfeed.cycle import Feed
from barfeed.logs import log_cycle
from barfeed.record import Record

Hear = Callable[[Record, Conversation], None]

_log = logging.getLogger(__name__)


def audience(settings: Settings, feed: Feed) -> list[Hear]:
    """Everyone whom the settings ask to tell; nobody is imported who is not asked for."""
    hearers: list[Hear] = [log_cycle] if settings.log_format == "json" else []
    if not settings.dry_run:
        # A dry run is somebody's look: it neither alarms others nor vouches for the feed.
        hearers += _alerts(settings, feed) + _heartbeat(settings, feed)
    return hearers


def _alerts(settings: Settings, feed: Feed) -> list[Hear]:
    if not settings.alert:
        return []
    from barfeed.alerts import channels, require_apprise  # noqa: PLC0415 - most feeds have no alerts
    from barfeed.ledger import LedgerFile  # noqa: PLC0415
    from barfeed.telling import ALERT_WAIT_SEC, Alerts  # noqa: PLC0415

    require_apprise()
    wait_sec = 0.0 if settings.watch else ALERT_WAIT_SEC
    ledger = LedgerFile(feed.folder, feed.clock)
    return [Alerts(channels(settings.alert), ledger, feed.clock, settings.max_skew_sec, wait_sec)]


def _heartbeat(settings: Settings, feed: Feed) -> list[Hear]:
    if not settings.heartbeat_url:
        return []
    from barfeed.binance.transport import open_transport  # noqa: PLC0415 - most feeds have no heartbeat
    from barfeed.telling import HEARTBEAT_TIMEOUT_SEC, Heartbeat  # noqa: PLC0415

    wait_sec = 0.0 if settings.watch else HEARTBEAT_TIMEOUT_SEC
    return [Heartbeat(settings.heartbeat_url, open_transport(settings.heartbeat_url, feed.clock), wait_sec)]


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
