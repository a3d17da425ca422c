"""What an exchange would say beside bars that a test makes up."""

from collections.abc import Sequence

from barfeed.domain.bars import Bar, Pull, Turnover


def fitting(bar: Bar) -> Turnover:
    """What an exchange would say beside such a bar: traded in the middle of its range, all of it by takers."""
    quote = (bar.low + bar.high) / 2 * bar.volume
    return Turnover(quote, 1 if bar.volume else 0, bar.volume, quote)


def fitting_pull(bars: Sequence[Bar], step_ms: int = 3_600_000) -> Pull:
    """The exchange's answer with these bars, all well beside them."""
    closes = tuple(bar.open_time_ms + step_ms - 1 for bar in bars)
    return Pull(tuple(bars), closes, tuple(map(fitting, bars)))
