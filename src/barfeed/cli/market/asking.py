"""One conversation with the exchange about a whole market: one clock, one list, one budget of weight."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from barfeed.cli.market.wiring import asking
from barfeed.cli.settings import Settings
from barfeed.cli.wiring import open_rest
from barfeed.domain import life
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused
from barfeed.domain.life import Listing, Seen
from barfeed.domain.market.selection import Selection
from barfeed.exchange.paging import refuse_astray
from barfeed.exchange.refusals import SYMBOL_CODES
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll
from barfeed.machine.clock import SystemClock

# Where the exchange tells no limit, what it was for years.
_WEIGHT_LIMIT = 2400


class Asking(NamedTuple):
    """Who is asked, by whom, and what the exchange lists."""

    talk: Conversation
    ask: AskAll
    listings: Mapping[str, Listing]

    def explained(self, series: Series, trouble: BarfeedError, newest_ms: int | None, backfill: str) -> BarfeedError:
        """A refusal of the symbol by what the exchange lists it as; any other trouble as it is."""
        if not (isinstance(trouble, ExchangeRefused) and trouble.code in SYMBOL_CODES):
            return trouble
        now = life.life(self.listings.get(series.symbol), self.talk.now_ms, series.interval.ms)
        if now.stage == "trading":
            return trouble
        return life.why_no_bar(series, now, Seen(newest_ms, backfill, str(trouble)))

    def is_nobodys(self, series: Series, trouble: BarfeedError, selection: Selection) -> bool:
        """Whether it is only that a symbol is gone or does not trade, and nobody asked for this very one."""
        now = life.life(self.listings.get(series.symbol), self.talk.now_ms, series.interval.ms)
        is_refused = isinstance(trouble, ExchangeRefused) and trouble.code in SYMBOL_CODES
        return is_refused and now.stage != "trading" and series.symbol not in selection.names


@contextmanager
def asking_market(settings: Settings, interval: Interval) -> Iterator[Asking]:
    """Ask the time and the list, once; raises `ExchangeUnavailable`, `ExchangeRefused`, and `ContractBroken`."""
    rest = open_rest(settings, SystemClock())
    with asking(settings, rest) as ask:
        talk = rest.conversation(settings.max_wait_sec)
        talk.ask_time()
        refuse_astray(talk, Series("market", interval))
        info = talk.exchange_info()
        talk.keep_within(settings.weight_budget or (info.weight_limit or _WEIGHT_LIMIT) // 2)
        yield Asking(talk, ask, info.listings)
