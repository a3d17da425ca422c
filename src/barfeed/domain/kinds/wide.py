"""What the wide table is: each bar, and beside it what was known of every other kind when the bar closed. Pure.

All values are doubles, also what is counted: where nothing was known there is none.
"""

from collections.abc import Sequence

from barfeed.domain.bars import VALUE_COLUMNS
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KLINES


def column(kind: Kind, name: str) -> str:
    """What a kind's column is called there: `premium_index_close`, and never `open_interest_open_interest`."""
    if kind is KLINES or name.startswith(kind.name):
        return name
    return kind.name if kind.name.endswith(f"_{name}") else f"{kind.name}_{name}"


def age(kind: Kind) -> str:
    """The column that tells how old a kind's values were when the bar closed, `open_interest_age_sec`.

    Its seconds go from the end of what the row says, not from when it was known: what came late is no fresher for it.
    """
    return f"{kind.name}_age_sec"


def columns(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """The values of a row, in order: a bar's five, those of each kind, their age behind them.

    The further columns of klines are the bar's own, and have no age.
    """
    told = [(*(column(kind, name) for name in kind.names), *_ages(kind)) for kind in kinds]
    return (*VALUE_COLUMNS, *(name for each in told for name in each))


def _ages(kind: Kind) -> tuple[str, ...]:
    return () if kind is KLINES else (age(kind),)
