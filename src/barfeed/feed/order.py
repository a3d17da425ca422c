"""What a cycle is asked to do, and what it works with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from barfeed.domain import verdict
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.rules import Asked
from barfeed.domain.verdict import Remedies
from barfeed.machine.clock import Clock

if TYPE_CHECKING:
    # Only for the types: most feeds have no lake, and the port imports what only a market needs.
    from barfeed.feed.kinds.gathering import Kinds
    from barfeed.store.lake.lake import Lake
    from barfeed.store.port.history import History

Source = Literal["db", "api", "db,api"]


class Order(NamedTuple):
    """What a cycle is asked to do; it holds no time and no connection."""

    series: Series
    dataset: str
    n_recent: int
    window_bars: int
    inference_source: Source
    catch_up: bool
    remedies: Remedies
    dry_run: bool
    settle_sec: float
    max_skew_sec: float
    then: str
    then_timeout_sec: float
    accept: Terms | None = None
    # The pause before the exchange is asked a second time, None where once is enough.
    confirm_sec: float | None = None
    # Whether the numbers of its CSVs are written without an exponent.
    plain_decimals: bool = False
    # The open_time (ms) of the bar whose closing frame came: it is not left to settle.
    heard_ms: int | None = None
    # The fewest bars that will do for a window where the exchange itself has no more; 0 where only the whole one does.
    window_bars_min: int = 0
    # The bar (ms) that is fed already: of it only what is due of other kinds is left.
    fed_ms: int | None = None


class Feed(NamedTuple):
    """What a cycle works with: the store, the folder of its files, the machine's clock.

    The lake, and the kinds that are fed beside the bars, where there are any.
    """

    store: "History"
    folder: Path
    clock: Clock
    lake: "Lake | None" = None
    kinds: "Kinds | None" = None


class Plan(NamedTuple):
    """What a cycle asks the exchange for, and how much of the answer's end it compares with the store."""

    asked: Asked
    judged_bars: int

    def judged_from_ms(self, pull: Pull) -> int:
        """The open_time of the first bar that is compared, whether the exchange shows it or not."""
        return verdict.judged_from(self.asked._replace(bars=self.judged_bars), self.judged(pull))

    def judged(self, pull: Pull) -> Sequence[Bar]:
        """What of the answer is compared with the store."""
        return pull.bars[-self.judged_bars :]
