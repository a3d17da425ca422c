"""Who hears how each cycle ended, besides the terminal: put together from the settings."""

import logging
from collections.abc import Callable

from barfeed.binance.rest import Conversation
from barfeed.config import Settings
from barfeed.cycle import Feed
from barfeed.record import Record

Hear = Callable[[Record, Conversation], None]

_log = logging.getLogger(__name__)


def audience(settings: Settings, feed: Feed) -> list[Hear]:
    """Everyone whom the settings ask to tell; nobody is imported who is not asked for."""
    return []


def tell(hearers: list[Hear], record: Record, talk: Conversation) -> None:
    """Tell everyone; one who cannot hear must not keep it from the next, nor end a watch."""
    for hear in hearers:
        try:
            hear(record, talk)
        except Exception:
            _log.exception("this is a bug in barfeed; report it")
