"""How each series stands at a moment, worst first. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.history.reading.rows import CoverageRow, ListingRow
from barfeed.operate.status import GRACE_MS, lag_ms
from barfeed.operate.web.answers import Row
from barfeed.operate.web.manifests import Trouble
from barfeed.operate.web.views.sources import ms

_ORDER = ("trouble", "well", "quiet")
_TRADING = "TRADING"


class Known(NamedTuple):
    """What there is to judge by: what is stored, missing, revised, listed, what failed."""

    holdings: Sequence[CoverageRow]
    missing: Mapping[Series, int]
    revised: Mapping[Series, int]
    listings: Mapping[str, ListingRow]
    troubles: Mapping[Series, Trouble]
    # What a command is told to mean this store.
    flags: str


NOTHING = Known((), {}, {}, {}, {}, "")


def rows(known: Known, now_ms: int) -> list[Row]:
    """A row a series, worst first."""
    held = {Series.of(each.symbol, each.interval): each for each in known.holdings}
    stored = [_row(series, each, known, now_ms) for series, each in held.items()]
    absent = [_absent(series, trouble) for series, trouble in known.troubles.items() if series not in held]
    return sorted([*stored, *absent], key=_badness)


def _badness(row: Row) -> tuple[int, int, str, str]:
    return _ORDER.index(row.state), -(row.lag_ms or 0), row.symbol, row.interval


def _row(series: Series, held: CoverageRow, known: Known, now_ms: int) -> Row:
    listing, trouble = known.listings.get(series.symbol), known.troubles.get(series)
    is_quiet = listing is not None and listing.status not in {"", _TRADING}
    last_ms = ms(held.last)
    behind = "" if is_quiet else _behind(series, last_ms, now_ms)
    of_series = f"--symbol {series.symbol} --interval {series.interval}"
    helps = f"barfeed run{known.flags} {of_series} --catch-up" if behind else ""
    return Row(
        symbol=series.symbol,
        interval=str(series.interval),
        state="trouble" if trouble or behind else "quiet" if is_quiet else "well",
        bars=held.bars,
        first_ms=ms(held.first),
        last_ms=last_ms,
        missing=known.missing.get(series, 0),
        revisions=known.revised.get(series, 0),
        lag_ms=max(0, lag_ms(series, last_ms, now_ms) or 0),
        trouble=trouble.message if trouble else behind,
        hint=trouble.hint if trouble else helps,
        status=listing.status if listing else "",
        contract=listing.contract_type if listing else "",
        onboard_ms=ms(listing.onboard) if listing and listing.onboard else None,
        delivery_ms=ms(listing.delivery) if listing and listing.delivery else None,
    )


def _absent(series: Series, trouble: Trouble) -> Row:
    return Row(series.symbol, str(series.interval), "trouble", trouble=trouble.message, hint=trouble.hint)


def _behind(series: Series, last_ms: int, now_ms: int) -> str:
    bars = (grid.last_closed(now_ms, series.interval.ms) - last_ms) // series.interval.ms
    if bars <= 0 or (lag_ms(series, last_ms, now_ms) or 0) < GRACE_MS:
        return ""
    return f"{bars} bar{'s' * (bars > 1)} behind: the newest is {grid.text(last_ms)}"
