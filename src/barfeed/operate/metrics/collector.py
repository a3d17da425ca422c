"""Hears how each cycle ended, and says at any moment what the metrics and the feed's health are."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import Series
from barfeed.exchange.rest import Conversation
from barfeed.exchange.stream.wire import Followed
from barfeed.feed.record import Record
from barfeed.machine.atomic import Unflushed, open_regular, whole_file
from barfeed.machine.clock import Clock, ExchangeTime
from barfeed.operate import health
from barfeed.operate.metrics import definitions, exposition
from barfeed.operate.metrics.definitions import Cycle, Samples

_log = logging.getLogger(__name__)


class _Heard(NamedTuple):
    """All that is known; replaced as a whole, so that another thread never sees half a cycle."""

    samples: Samples
    time: ExchangeTime | None = None
    last: Record | None = None


class Collector:
    """The metrics of one feed, for as long as its process lives, and with a file beyond that."""

    def __init__(
        self,
        series: Series,
        clock: Clock,
        store: Path,
        file: Path | None = None,
        followed: Callable[[], Followed] | None = None,
    ) -> None:
        """`followed` tells of the stream, where there is one."""
        self._series = series
        self._clock = clock
        self._store = store
        self._file = file
        self._followed = followed
        self._labels = definitions.labels(series)
        self._heard = _Heard(self._left_off(file) if file else definitions.before_any())

    def hear(self, record: Record, talk: Conversation) -> None:
        """Count a cycle that has ended; write the file, if there is one."""
        cycle = Cycle(record, talk, self._clock.utc_ms() / 1000, _size(self._store))
        before = self._heard
        # Without an answer of its own, a cycle leaves the exchange's time to be carried on from an earlier one.
        self._heard = _Heard(definitions.after(before.samples, cycle), talk.time or before.time, record)
        if self._file:
            self._write(self._file)

    def exposition(self) -> bytes:
        """Every metric at this moment, in Prometheus's text format."""
        heard, followed = self._heard, self._followed() if self._followed else None
        told = definitions.families(heard.samples, self._series, self._now_ms(heard), followed)
        return exposition.text(told, self._labels)

    def health(self) -> health.Health:
        """How the feed is at this moment."""
        heard = self._heard
        return health.judge(self._series, definitions.newest_ms(heard.samples), self._now_ms(heard), heard.last)

    def _now_ms(self, heard: _Heard) -> int:
        return heard.time.now_ms(self._clock) if heard.time else self._clock.utc_ms()

    def _left_off(self, file: Path) -> Samples:
        try:
            with open_regular(file) as left:
                return definitions.continued(exposition.read(left.read().decode(), self._labels))
        except FileNotFoundError:
            return definitions.before_any()
        except (OSError, UnicodeDecodeError, exposition.NotMetrics) as problem:
            _log.warning("--metrics-file %s cannot be read, the counters begin anew: %s", file, problem)
            return definitions.before_any()

    def _write(self, file: Path) -> None:
        try:
            # It is written anew each hour: nobody needs it to outlive a power cut.
            with suppress(Unflushed), whole_file(file) as unfinished:
                unfinished.write_bytes(self.exposition())
        except OSError as problem:
            # The hour itself is done and told.
            _log.warning("--metrics-file %s cannot be written: %s", file, problem.strerror)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
