"""What a source of history gives: one part at a time, with the span it answers for. Pure values."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, Protocol

from barfeed.domain import grid
from barfeed.domain.bars import Bar, Turnover
from barfeed.domain.grid import Gap

_SPANS_NAMED = 3


class Note(NamedTuple):
    """Something about a source that its user should know: `about` names the file or span."""

    rule: str
    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


class Rows(NamedTuple):
    """Bars in memory; the others are empty where the source does not tell any, else one for each bar."""

    bars: Sequence[Bar]
    close_times_ms: Sequence[int] = ()
    turnovers: Sequence[Turnover] = ()

    @property
    def opens_ms(self) -> list[int]:
        """When each opens."""
        return [bar.open_time_ms for bar in self.bars]

    def within(self, spans: Sequence[Gap]) -> "Rows":
        """Only what lies in these spans."""
        kept = _are_within(self.opens_ms, spans)
        return Rows(
            list(compress(self.bars, kept)),
            list(compress(self.close_times_ms, kept)),
            list(compress(self.turnovers, kept)),
        )


class Csv(NamedTuple):
    """Bars as CSV: the text itself, or the file that holds it."""

    content: bytes = b""
    path: str = ""


class Lines(NamedTuple):
    """Klines as text, a line of twelve plain numbers each, and their open_times (ms) in the same order."""

    text: bytes
    opens_ms: Sequence[int]

    def within(self, spans: Sequence[Gap]) -> "Lines":
        """Only what lies in these spans."""
        kept = _are_within(self.opens_ms, spans)
        return Lines(b"\n".join(compress(self.text.split(b"\n"), kept)), list(compress(self.opens_ms, kept)))


class Part(NamedTuple):
    """A piece of history: `data` answers for every bar of `span`, None where the source has nothing for it.

    `name` is what messages call it. What lies in `data` outside of `span` was not asked for.
    """

    name: str
    span: Gap
    data: Lines | Rows | Csv | None
    notes: tuple[Note, ...] = ()


class Source(Protocol):
    """Whoever can be asked for history."""

    def fetch(self, spans: Sequence[Gap], /) -> Iterable[Part]:
        """The parts that answer for `spans`, ascending."""
        ...


def _are_within(opens_ms: Iterable[int], spans: Sequence[Gap]) -> list[bool]:
    return [any(each.first_ms <= at_ms <= each.last_ms for each in spans) for at_ms in opens_ms]


def span(first_ms: int, last_ms: int, step_ms: int) -> Gap:
    """The span of every open_time from `first_ms` to `last_ms` (ms), both on the grid and included."""
    return Gap(first_ms, last_ms, (last_ms - first_ms) // step_ms + 1)


def between(from_ms: int, to_ms: int, step_ms: int) -> Gap | None:
    """The bars that open in `[from_ms, to_ms)`, None where there are none."""
    first_ms = grid.floor(from_ms + step_ms - 1, step_ms)
    last_ms = grid.floor(to_ms - 1, step_ms)
    return span(first_ms, last_ms, step_ms) if first_ms <= last_ms else None


def cut(spans: Sequence[Gap], first_ms: int, last_ms: int, step_ms: int) -> list[Gap]:
    """What of ascending `spans` lies from `first_ms` to `last_ms`, both included."""
    ends = [(max(each.first_ms, first_ms), min(each.last_ms, last_ms)) for each in spans]
    return [span(first, last, step_ms) for first, last in ends if first <= last]


def less(spans: Sequence[Gap], known: Sequence[Gap], step_ms: int) -> list[Gap]:
    """What of ascending `spans` lies in none of `known`."""
    left = list(spans)
    for first_ms, last_ms, _ in known:
        before = cut(left, 0, first_ms - step_ms, step_ms)
        left = before + cut(left, last_ms + step_ms, left[-1].last_ms if left else 0, step_ms)
    return left


def pages(spans: Iterable[Gap], rows_max: int, step_ms: int) -> Iterator[Gap]:
    """Ascending `spans` as few requests of up to `rows_max` bars: spans near each other share one."""
    reach_ms = (rows_max - 1) * step_ms
    page: Gap | None = None
    for first_ms, last_ms, _ in spans:
        at_ms = first_ms
        if page and at_ms <= page.first_ms + reach_ms:
            end_ms = min(last_ms, page.first_ms + reach_ms)
            page = span(page.first_ms, end_ms, step_ms)
            at_ms = end_ms + step_ms
        for begin_ms in range(at_ms, last_ms + 1, reach_ms + step_ms):
            if page:
                yield page
            page = span(begin_ms, min(last_ms, begin_ms + reach_ms), step_ms)
    if page:
        yield page


def named(spans: Sequence[Gap], counted: str = "bars") -> str:
    """Spans as messages write them, never more than three."""
    said = ", ".join(each.told(counted) for each in spans[:_SPANS_NAMED])
    return said if len(spans) <= _SPANS_NAMED else f"{said} and {len(spans) - _SPANS_NAMED} more spans"


def bars_in(spans: Sequence[Gap]) -> int:
    """How many bars they are together."""
    return sum(each.bars for each in spans)
