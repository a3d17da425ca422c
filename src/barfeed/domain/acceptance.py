"""When the exchange's word is taken over the store's: what differs, how far, and whether it says so twice. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import VALUE_COLUMNS, Bar
from barfeed.domain.errors import Mismatch
from barfeed.domain.rules import compare

# What is exactly on a bound in decimals must not fail by its last binary digit.
_EDGE = 1 + 1e-12

Kind = Literal["missing", "mismatch", "absent", "unknown"]


class Change(NamedTuple):
    """A stored bar, and the exchange's that is to stand in its place; a stored NULL is NaN."""

    old: Bar
    new: Bar

    @property
    def open_time_ms(self) -> int:
        """Whose versions they are."""
        return self.old.open_time_ms

    def __str__(self) -> str:
        return "; ".join(str(found) for found in compare([self.old], [self.new]))


class Difference(NamedTuple):
    """One open_time (ms) that the store and the exchange do not agree about; None where there is no bar."""

    open_time_ms: int
    stored: Bar | None
    exchange: Bar | None

    @property
    def kind(self) -> Kind:
        """`missing` can be filled, a `mismatch` mended; of `absent` and `unknown` the exchange has no bar."""
        if self.stored is None:
            return "absent" if self.exchange is None else "missing"
        return "unknown" if self.exchange is None else "mismatch"

    @property
    def change(self) -> Change | None:
        """The change that mends a mismatch."""
        return Change(self.stored, self.exchange) if self.stored and self.exchange else None

    def __str__(self) -> str:
        if self.change:
            said = str(self.change).partition(f"{grid.text(self.open_time_ms)} ")[2]
        elif self.exchange:
            said = f"exchange {_told(self.exchange)}"
        elif self.stored:
            said = f"stored {_told(self.stored)}, the exchange has no such bar: it is left"
        else:
            said = "the exchange has no such bar either: it is left"
        return f"{grid.text(self.open_time_ms)}  {self.kind:<8}  {said}"


class Terms(NamedTuple):
    """How far the exchange's word is taken without asking: relative bounds, and the pause before it is asked again."""

    price: float
    volume: float
    pause_sec: float


def differences(expected: Sequence[int], stored: Iterable[Bar], exchange: Iterable[Bar]) -> list[Difference]:
    """What keeps the store from being the exchange's, by open_time; `expected` are those that both should have."""
    ours = {bar.open_time_ms: bar for bar in stored}
    theirs = {bar.open_time_ms: bar for bar in exchange}
    every = sorted({*expected, *ours, *theirs})
    return [
        Difference(each, ours.get(each), theirs.get(each))
        for each in every
        if each not in ours or ours[each] != theirs.get(each)
    ]


def acceptable(mismatch: Mismatch, exchange: Iterable[Bar], terms: Terms) -> list[Change]:
    """The changes that would mend `mismatch`; raises it anew, saying why, where one is beyond the terms."""
    theirs = {bar.open_time_ms: bar for bar in exchange}
    changes = []
    for found in mismatch.findings:
        if found.rule == "gap":
            raise not_accepted(mismatch, f"{found} too")
        new = theirs.get(found.open_time_ms)
        if new is None:
            raise not_accepted(mismatch, f"{grid.text(found.open_time_ms)} is no bar of the exchange")
        change = Change(new._replace(**found.stored), new)
        sides = zip(VALUE_COLUMNS, change.old.values, change.new.values, strict=True)
        if why := beyond(sides, terms):
            raise not_accepted(mismatch, f"{grid.text(found.open_time_ms)} {why}")
        changes.append(change)
    return changes


def values(bar: Bar) -> dict[str, float | None]:
    """A bar's values by column as JSON can hold them: a NaN, which is a stored NULL, becomes None."""
    return {
        name: value if math.isfinite(value) else None for name, value in zip(VALUE_COLUMNS, bar.values, strict=True)
    }


def with_changes(stored: Sequence[Bar], changes: Iterable[Change]) -> list[Bar]:
    """The stored bars as they are once the changes are made."""
    news = {change.open_time_ms: change.new for change in changes}
    return [news.get(bar.open_time_ms, bar) for bar in stored]


def not_accepted(mismatch: Mismatch, because: str) -> Mismatch:
    """The mismatch with why it was not accepted."""
    return Mismatch(f"{mismatch}; not accepted: {because}", hint=mismatch.hint, findings=mismatch.findings)


def beyond(sides: Iterable[tuple[str, float, float]], terms: Terms) -> str:
    """Why the first value that is further off than the terms allow is; empty where none is.

    `sides` are names, each with the stored value and the exchange's.
    """
    for name, old, new in sides:
        option, bound = ("volume-within", terms.volume) if _is_volume(name) else ("within", terms.price)
        # Written so that a stored NaN, of which no bound holds, is beyond.
        if not abs(new - old) <= bound * abs(old) * _EDGE:
            return f"{name} {_apart(old, new)}, --accept-{option} is {bound:g}"
    return ""


def _is_volume(name: str) -> bool:
    """What was traded, or how often; all else is a price, a share or what is open."""
    return name == "trades" or name.endswith("volume")


def _apart(old: float, new: float) -> str:
    return f"is off by {abs(new - old) / abs(old):.3g}" if old else f"goes from {old:g} to {new:g}"


def _told(bar: Bar) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(VALUE_COLUMNS, bar.values, strict=True))
