"""Where a symbol's bars end: asked of the exchange's list where bars look like it, and never in a good backfill.

After a settlement the exchange goes on showing bars in which nothing was traded: they are none of the symbol's.
"""

from collections.abc import Sequence
from contextlib import suppress

from barfeed.domain import grid, life, sources
from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import BarfeedError
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life
from barfeed.domain.sources import Rows
from barfeed.exchange.paging import RestHistory
from barfeed.store.incoming.staging import Staging


class Ending:
    """What was not traded at the end of what came: kept apart until it is known whether the symbol had ended."""

    def __init__(self, series: Series, rest: RestHistory) -> None:
        self._series = series
        self._rest = rest
        self._held: list[Bar] = []
        self._now: Life | None = None
        self._end_ms: int | None = None
        self._left_out = 0

    def hold_back(self, staging: Staging) -> None:
        """Take what was not traded at the end out of what is staged; what was held back goes in before a trade."""
        tail = staging.take_out_flat_tail()
        if self._held and staging.rows():
            staging.put_rows(Rows(self._held))
            self._held = []
        self._held += tail

    def give_back(self, staging: Staging) -> None:
        """Stage what was held back and is the symbol's own; `ExchangeUnavailable`, `ExchangeRefused`."""
        held, self._held = self._held, []
        if held:
            self._ask(held[0].open_time_ms)
            own = [bar for bar in held if self._end_ms is None or bar.open_time_ms < self._end_ms]
            self._left_out += len(held) - len(own)
            staging.put_rows(Rows(own))

    def before(self, holes: Sequence[Gap], wanted: Gap) -> list[Gap]:
        """The holes but for what is missing after the symbol's end, which one up to the end of `wanted` may be."""
        if self._now is None and holes and holes[-1].last_ms == wanted.last_ms:
            # All that came is stored: what the list does not tell must not make that a failure.
            with suppress(BarfeedError):
                self._ask(holes[-1].first_ms)
        end_ms = wanted.last_ms + 1 if self._end_ms is None else self._end_ms
        return sources.cut(holes, wanted.first_ms, life.last_bar(end_ms, self._step_ms), self._step_ms)

    def said(self, stored_ms: int | None = None) -> str:
        """What the list says of a symbol that does not trade on, and what was left out; empty where nothing is to tell.

        `stored_ms` is the store's newest open_time.
        """
        if self._now is None:
            return ""
        return said(self._now, self._end_ms, self._left_out, stored_ms, self._step_ms)

    def _ask(self, flat_ms: int) -> None:
        """Learn where it ended, if it has; `flat_ms` is the first open_time after the last trade."""
        self._now = self._now or self._rest.life()
        self._end_ms = life.ended_ms(self._now, flat_ms)

    @property
    def _step_ms(self) -> int:
        return self._series.interval.ms


def said(now: Life, end_ms: int | None, left_out: int, stored_ms: int | None, step_ms: int) -> str:
    """What there is to tell of a symbol that ends, if it does, at `end_ms`, after which so many bars were left out."""
    if now.stage == "trading":
        return ""
    if end_ms is None:
        return str(now)
    last_ms = life.last_bar(end_ms, step_ms)
    told = [f"{now}: its last bar is {grid.text(last_ms)}"]
    if left_out:
        told.append(f"what comes after it was not traded and is left out, {_count(left_out)}")
    if stored_ms is not None and stored_ms > last_ms:
        told.append(life.stored_after(stored_ms))
    return "; ".join(told)


def _count(bars: int) -> str:
    return f"{bars} bar{'s' * (bars > 1)}"
