"""What is due of each series of a market: which bars to ask for, and whose trouble it is where none comes. Pure.

Times are ms since 1970-01-01 UTC by the exchange's clock.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid, life, verdict
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, BarLate, StoreUnusable, SymbolNotTrading
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life, Listing, Seen
from barfeed.domain.market import membership
from barfeed.domain.market.membership import Seen as Listed
from barfeed.domain.market.selection import Selection
from barfeed.domain.rules import Asked

# So many bars are Python's own objects at once, with what stands beside them: some 10 MB.
BLOCK_BARS = 20_000


class Stored(NamedTuple):
    """What the store knows before anything is asked: each symbol's newest and first open_time, what was listed when."""

    newest_ms: Mapping[str, int]
    # Each symbol's own listings, oldest first.
    listed: Mapping[str, Sequence[Listed]]
    # The first bar of all, where the exchange was seen to have none before it.
    first_ms: Mapping[str, int]
    # The tables that hold one series alone.
    elsewhere: Collection[str] = ()


class Reach(NamedTuple):
    """How far back each series is asked for: bars to validate with, bars of a window, whether what was missed, too."""

    interval: Interval
    n_recent: int
    window_bars: int
    catch_up: bool


class Member(NamedTuple):
    """A series that something is due of, what is asked for it, and what its symbol is."""

    asked: Asked
    now: Life
    newest_ms: int | None
    catch_up: bool
    # The first bar of all, where that is known.
    first_ms: int | None = None
    # Whether the symbol was seen not to trade while its last bar was open.
    was_away: bool = False

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.asked.series.symbol


def members(
    selection: Selection, reach: Reach, listed: Mapping[str, Listing], stored: Stored, now_ms: int
) -> list[Member]:
    """Every series that trades, or did when its last bar opened and the store has not got that; by symbol."""
    fed = [symbol for symbol in stored.newest_ms if selection.includes(symbol)]
    # Once that is told, what is listed no more is asked for by who names it alone: it would be so for ever.
    gone = {symbol for symbol in fed if symbol not in listed and membership.is_gone(stored.listed.get(symbol, ()))}
    found = []
    for symbol in sorted({*selection.of_list(listed), *fed} - (gone - {*selection.names})):
        now = life.life(listed.get(symbol), now_ms, reach.interval.ms)
        member = _member(Series(symbol, reach.interval), reach, now, stored.newest_ms.get(symbol), now_ms)
        if member:
            found.append(_remembering(member, reach, stored.listed.get(symbol, ()), stored.first_ms.get(symbol)))
    return found


def _member(series: Series, reach: Reach, now: Life, newest_ms: int | None, now_ms: int) -> Member | None:
    if now.stage in {"new", "pending"}:
        # Its first bar has not closed yet.
        return None
    step_ms = reach.interval.ms
    ends_ms = now_ms
    if now.stage in {"settled", "settling"} and now.at_ms is not None:
        # One that opens then is none, though the exchange goes on showing flat ones.
        ends_ms = min(now_ms, life.last_bar(now.at_ms, step_ms) + step_ms)
    member = Member(Asked(series, reach.n_recent, ends_ms), now, newest_ms, reach.catch_up)
    if now.stage == "settled" and (newest_ms is None or newest_ms >= member.asked.target_ms):
        return None
    # What was never fed begins with its first bar.
    return _reaching_back(member, reach) if reach.catch_up or newest_ms is None else member


def _remembering(member: Member, reach: Reach, own: Sequence[Listed], first_ms: int | None) -> Member:
    """The member with what is known from before; what comes back under its name is asked for from where it ended."""
    bar = Gap(member.asked.target_ms, member.asked.target_ms, 1)
    was_away = membership.is_explained(bar, own, reach.interval.ms)
    member = member._replace(first_ms=first_ms, was_away=was_away)
    is_back = member.newest_ms is not None and membership.has_returned(own, member.newest_ms)
    return _reaching_back(member, reach) if is_back else member


def _reaching_back(member: Member, reach: Reach) -> Member:
    asked = member.asked
    bars = verdict.bars_to_pull(asked.target_ms, member.newest_ms, reach.n_recent, reach.window_bars, reach.interval.ms)
    return member._replace(asked=asked._replace(bars=bars), catch_up=True)


def blocks(due: Iterable[Member]) -> list[list[Member]]:
    """Those that are due, in their order: as many at once as memory has room for the bars of, one block at least."""
    made: list[list[Member]] = [[]]
    bars = 0
    for each in due:
        bars += each.asked.bars
        if made[-1] and bars > BLOCK_BARS:
            made.append([])
            bars = each.asked.bars
        made[-1].append(each)
    return made


class Explained(NamedTuple):
    """Why no bar comes, and whether that is a trouble: what the exchange does to a symbol is mostly nobody's."""

    why: BarfeedError
    is_trouble: bool


def explained(member: Member, trouble: BarfeedError, *, is_refused: bool, is_named: bool, backfill: str) -> Explained:
    """The trouble by what the symbol is.

    `is_refused`: it is the symbol that the exchange refuses; `is_named`: somebody asked for this very symbol.
    """
    if isinstance(trouble, BarLate) and member.was_away and member.now.stage == "trading":
        bar = grid.text(member.asked.target_ms)
        away = f"{member.asked.series}: it was seen not to trade while {bar} was open: there is no such bar"
        return Explained(SymbolNotTrading(away), is_trouble=False)
    is_life = (isinstance(trouble, BarLate) or is_refused) and member.now.stage != "trading"
    if not is_life or (not is_refused and life.is_due(member.now, member.asked.target_ms)):
        return Explained(trouble, is_trouble=True)
    seen = Seen(member.newest_ms, backfill, str(trouble) if is_refused else "")
    why = life.why_no_bar(member.asked.series, member.now, seen)
    return Explained(why, is_trouble=is_named and member.now.stage != "settled")


def stands_elsewhere(series: Series) -> StoreUnusable:
    """Why a series is not kept in a market's table: it has one of its own."""
    return StoreUnusable(
        f"{series}: the store has a table of its own for it, {series.table}: no series is kept twice",
        hint=f"move it to the others: barfeed migrate --symbols {series.symbol}; or leave it out: --symbols"
        f" 'all,!{series.symbol}'",
    )
