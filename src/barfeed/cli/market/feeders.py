"""A feed's row in the database that it feeds, so that every host knows who does."""

import logging
import platform

from barfeed import __version__
from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.exchange.rest import Conversation
from barfeed.feed.order import Feed
from barfeed.feed.record import Lived
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder

_SECOND_MS = 1000

_log = logging.getLogger(__name__)


class FeederRow:
    """Written anew behind each cycle or pass; that it cannot be is no trouble of the hour."""

    def __init__(self, feed: Feed, interval: Interval) -> None:
        self._feed = feed
        self._interval = interval

    def __call__(self, record: Lived, talk: Conversation) -> None:
        """Note how it ended. While the database is away, nobody waits for it once more."""
        store = self._feed.store
        if record.dry_run or not talk.time or record.away or record.status in {"pending", StoreUnusable("").status}:
            return
        assert isinstance(store, Server)
        try:
            store.note_feeder(self._told(record, talk.now_ms))
        except StoreUnusable as trouble:
            _log.warning("%s: this feed is not noted in it", trouble)

    def _told(self, record: Lived, now_ms: int) -> Feeder:
        newest_ms = record.measured.newest_ms
        lag_sec = None if newest_ms is None else (now_ms - newest_ms - self._interval.ms) / _SECOND_MS
        folder = str(self._feed.folder.absolute())
        return Feeder(platform.node(), folder, __version__, now_ms, record.status, newest_ms, lag_sec)
