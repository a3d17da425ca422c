"""`barfeed status`: the kinds beside the bars of a series, and of a market, on a line."""

from collections.abc import Mapping
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.operate.kinds import Beside, Fed

# When the newest bar of each symbol opens (ms), None where it has none.
LastBars = Mapping[str, int | None]


class Told(NamedTuple):
    """What stands beside the bars of an interval, as it is told at a moment (ms)."""

    beside: Beside
    now_ms: int

    def line(self, last_bar_ms: LastBars) -> list[str]:
        """What is fed of these symbols; nothing where nothing is."""
        said = [_said(fed, behind) for fed, behind in self._of(last_bar_ms)]
        return [f"  kinds       {'; '.join(said)}"] if said else []

    def facts(self, last_bar_ms: LastBars) -> list[dict[str, object]]:
        """As JSON types: the newest row of each kind, and how many rows these symbols lack up to their bars."""
        return [
            {
                "kind": fed.kind.name,
                "series": len(behind),
                "newest": _newest(fed, behind),
                "rows_behind": None if None in behind.values() else sum(rows or 0 for rows in behind.values()),
            }
            for fed, behind in self._of(last_bar_ms)
        ]

    @property
    def notes(self) -> list[str]:
        """Each table that is none of barfeed's, though the name of a kind is on it: the bars go by without it."""
        return [f"{each}; {each.hint}" for each in self.beside.unusable]

    def _of(self, last_bar_ms: LastBars) -> list[tuple[Fed, LastBars]]:
        """Each kind that any of these symbols has, and how many rows each of them lacks."""
        found: list[tuple[Fed, LastBars]] = []
        for fed in self.beside.fed:
            own = {each: at_ms for each, at_ms in last_bar_ms.items() if each in fed.newest_ms}
            if own:
                found.append((fed, {each: fed.behind(each, at_ms, self.now_ms) for each, at_ms in own.items()}))
        return found


def _said(fed: Fed, behind: LastBars) -> str:
    of = f" of {len(behind)} series" if len(behind) > 1 else ""
    rows = [each for each in behind.values() if each]
    lacking = f"{len(rows)} of them" if len(behind) > 1 else f"{sum(rows)} row{'s' * (sum(rows) > 1)}"
    return f"{fed.kind.name}{of} to {_newest(fed, behind)}" + (f", {lacking} behind" if rows else "")


def _newest(fed: Fed, behind: LastBars) -> str:
    # A payment is told some ms after its hour.
    return grid.text(grid.floor(max(fed.newest_ms[each] for each in behind), 60_000))
