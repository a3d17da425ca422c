"""Hears how each cycle ended, and says at any moment what the metrics and the feed's health are."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import Series
from barfeed.exchange.rest import Conversation
from barfeed.exchange.stream.wire import Followed
from barfeed.feed.record import Lived, Newest
from barfeed.machine.atomic import Unflushed, open_regular, whole_file
from barfeed.machine.clock import Clock, ExchangeTime
from barfeed.operate import health
from barfeed.operate.metrics import definitions, exposition
from barfeed.operate.metrics.definitions import Cycle, Samples, labels
from barfeed.operate.metrics.lagging import lagging

_log = logging.getLogger(__name__)


class _Heard(NamedTuple):
    """All that is known of a feed; replaced as a whole, so that another thread never sees half a cycle."""

    samples: Samples
    time: ExchangeTime | None = None
    last: Lived | None = None
    # Of each series of a market, as the last pass that came to them left it.
    newest_of: Mapping[str, Newest] | None = None


class _Asked(NamedTuple):
    """What was asked within a conversation so far: several passes may share one."""

    talk: Conversation | None
    requests: int
    retries: Mapping[str, int]


class Collector:
    """The metrics of one feed or of several, for as long as their process lives, and with a file beyond that."""

    def __init__(
        self,
        feeds: Sequence[Series],
        clock: Clock,
        store: Path | None,
        file: Path | None = None,
        followed: Callable[[], Followed] | None = None,
        *,
        of_many: bool = False,
    ) -> None:
        """`followed` tells of the stream, where there is one.

        `of_many`: each feed is an interval of a market, whose symbols, as they were selected, stand for its symbol.
        """
        self._feeds = {str(each): each for each in feeds}
        self._clock = clock
        self._store = store
        self._file = file
        self._followed = followed
        self._asked = _Asked(None, 0, {})
        newest_of: Mapping[str, Newest] | None = {} if of_many else None
        self._heard = {
            fed: _Heard(self._left_off(file, each), newest_of=newest_of) for fed, each in self._feeds.items()
        }

    def hear(self, record: Lived, talk: Conversation) -> None:
        """Count a cycle that has ended; write the file, if there is one."""
        cycle = self._cycle(record, talk)
        before, newest_of = self._heard[record.fed], record.measured.newest_of
        self._heard[record.fed] = _Heard(
            definitions.after(before.samples, cycle),
            # Without an answer of its own, a cycle leaves the exchange's time to be carried on from an earlier one.
            talk.time or before.time,
            record,
            before.newest_of if newest_of is None else newest_of,
        )
        if self._file:
            self._write(self._file)

    def exposition(self) -> bytes:
        """Every metric at this moment, in Prometheus's text format."""
        followed = self._followed() if self._followed else None
        return exposition.text([
            (definitions.families(each.samples, series, self._now_ms(each), followed, each.newest_of), labels(series))
            for fed, series in self._feeds.items()
            for each in [self._heard[fed]]
        ])  # fmt: skip

    def healths(self) -> list[health.Health]:
        """How each feed is at this moment."""
        return [self._health(series, self._heard[fed]) for fed, series in self._feeds.items()]

    def _health(self, series: Series, heard: _Heard) -> health.Health:
        now_ms = self._now_ms(heard)
        behind = None if heard.newest_of is None else lagging(heard.newest_of, series.interval, now_ms)
        return health.judge(series, definitions.newest_ms(heard.samples), now_ms, heard.last, behind)

    def _cycle(self, record: Lived, talk: Conversation) -> Cycle:
        before = self._asked if self._asked.talk is talk else _Asked(talk, 0, {})
        self._asked = _Asked(talk, talk.requests, dict(talk.retries))
        retries = {reason: count - before.retries.get(reason, 0) for reason, count in talk.retries.items()}
        at_sec, series = self._clock.utc_ms() / 1000, self._feeds[record.fed]
        return Cycle(record, series, talk, talk.requests - before.requests, retries, at_sec, _size(self._store))

    def _now_ms(self, heard: _Heard) -> int:
        return heard.time.now_ms(self._clock) if heard.time else self._clock.utc_ms()

    def _left_off(self, file: Path | None, series: Series) -> Samples:
        if file is None:
            return definitions.before_any()
        try:
            with open_regular(file) as left:
                return definitions.continued(exposition.read(left.read().decode(), labels(series)))
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


def _size(path: Path | None) -> int | None:
    try:
        return path.stat().st_size if path else None
    except OSError:
        return None
