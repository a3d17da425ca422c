"""Who hears how the passes over a market ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from barfeed.cli import wiring
from barfeed.cli.settings import Settings
from barfeed.cli.wiring import Hear
from barfeed.domain.bars import Series
from barfeed.exchange.rest import Conversation
from barfeed.feed.cycle_log import log_cycle
from barfeed.feed.market.order import Market
from barfeed.feed.market.record import MarketRecord

if TYPE_CHECKING:
    from barfeed.exchange.stream.market import MarketStream


class Audience:
    """Everyone whom the settings ask to tell: some of all intervals, as the heartbeat, others of one of them."""

    def __init__(self, settings: Settings, markets: Sequence[Market], stream: "MarketStream | None" = None) -> None:
        """`UsageError` where what a setting needs is not installed. `stream` is metered, too."""
        self._of_all: list[Hear[MarketRecord]] = [log_cycle] if settings.log_format == "json" else []
        self._of_one: dict[Market, list[Hear[MarketRecord]]] = {each: [] for each in markets}
        if settings.metrics_file or settings.listen:
            feeds = [Series(str(each.order.selection), each.order.interval) for each in markets]
            self._of_all.append(wiring.meter(settings, markets[0].feed, feeds, stream, of_many=True).hear)
        if not settings.dry_run:
            # A dry run is somebody's look: it neither alarms others nor vouches for the feed.
            self._of_all += wiring.heartbeat(settings, markets[0].feed, len(markets))
            self._of_one = {each: [*wiring.alerts(settings, each.feed)] for each in markets}

        for each in markets:
            self._of_one[each] += wiring.feeder_row(each.feed, each.order.interval)

    def tell(self, market: Market, record: MarketRecord, talk: Conversation) -> None:
        """Tell everyone of a pass over this one."""
        wiring.tell([*self._of_all, *self._of_one[market]], record, talk)

    def dismiss(self) -> None:
        """Let everyone end what is begun, within some seconds: the process is about to."""
        for hearers in (self._of_all, *self._of_one.values()):
            wiring.dismiss(hearers)
