"""Kinds out of other DuckDB files: a table a kind, by the names that readers of one series know, or that is named.

A row keeps its kind's rules, or is left out and told; one that the store has otherwise is a mismatch, and stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.errors import UsageError
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.checks import Asked, check
from barfeed.domain.kinds.kind import Kind, Row, Stamp
from barfeed.domain.sources import Note
from barfeed.history.kinds.jobs import Filled
from barfeed.history.kinds.verification import compare
from barfeed.history.own_files import OwnFile
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.kinds import TableRow, rows_of, tables_of
from barfeed.store.port.kinds import KeptKinds

_NOTHING = "nothing of it was stored"
_SHARES = ("long_share", "short_share")
_SHARES_WITHIN = 0.001


class Import(NamedTuple):
    """What is taken of others' tables: as which series, and of which time; `now_ms` is this machine's."""

    kept: KeptKinds
    series: Series
    from_ms: int | None
    to_ms: int | None
    now_ms: int

    def take(self, kind: Kind, files: Sequence[OwnFile]) -> Filled:
        """Everything of one kind in these files; `UsageError` where none has it, or one cannot be read."""
        found = [(own, name) for own in files if (name := self._table(kind, own))]
        if not found:
            said = ", ".join(str(own) for own in files)
            raise UsageError(
                f"{said}: there is no table {' or '.join(names(kind, self.series))}",
                hint=f"--source table OTHER.duckdb:TABLE --kinds {kind.name}",
            )
        filled = Filled(kind, self.series, Gap(0, 0, 0))
        for own, name in found:
            self._take(filled, own, name)
        return filled

    def _table(self, kind: Kind, own: OwnFile) -> str | None:
        if own.table:
            return own.table
        try:
            there = {name.lower(): name for name in tables_of(own.path)}
        except SourceUnreadable as problem:
            raise UsageError(f"{own}: {problem}", hint=_NOTHING) from None
        return next((there[name] for name in names(kind, self.series) if name in there), None)

    def _take(self, filled: Filled, own: OwnFile, name: str) -> None:
        where = f"{own.path}:{name}"
        try:
            rows, notes = self._rows(filled.kind, where, rows_of(own.path, name, filled.kind))
        except SourceUnreadable as problem:
            raise UsageError(f"{where}: {problem}", hint=_NOTHING) from None
        filled.notes += notes
        if not rows:
            return
        first_ms, last_ms = rows[0].timestamp_ms, rows[-1].timestamp_ms
        with self.kept.writing(filled.kind, self.series.interval) as table:
            compared = compare(filled.kind, table.between(self.series.symbol, first_ms, last_ms), rows, "table")
            differing = [each for each in compared.findings if each.rule == "mismatch"]
            if 2 * len(differing) >= max(1, compared.rows) and differing:
                raise UsageError(
                    f"{where}: {len(differing)} of its {compared.rows} rows that are stored too differ there;"
                    f" first: {differing[0]}",
                    hint=f"{_NOTHING}; who is right: barfeed verify --kinds {filled.kind.name} --against rest",
                )
            filled.appended += table.append({self.series.symbol: rows})[self.series.symbol]
            table.make_views([self.series.symbol])
        filled.compared += compared.rows
        filled.differences += differing

    def _rows(self, kind: Kind, where: str, told: Sequence[TableRow]) -> tuple[list[Row], list[Note]]:
        """The rows that can be taken, ascending, and why others were left out."""
        inside = [each for each in told if each.timestamp_ms is not None and self._is_wanted(kind, each.timestamp_ms)]
        ends = [each for each in inside if self._ends_where_it_says(kind, each)]
        rows, unshared = [], 0
        for each in ends:
            row, is_unshared = self._row(kind, each)
            unshared += is_unshared
            rows.append(row)
        rows, broken, first = self._good(kind, rows)
        oddities = {
            "outside": (len(told) - len(inside), "are not over, or not of the time that was asked for"),
            "end": (len(inside) - len(ends), "say in snapshot_time that they end at another time than they do"),
            "shares": (unshared, "have shares that are not 1 together: the ratio was taken, and no shares"),
            "rules": (broken, f"break a rule; first: {first}"),
        }
        notes = [Note(rule, where, f"{count} rows {said}") for rule, (count, said) in oddities.items() if count]
        return rows, notes

    def _is_wanted(self, kind: Kind, at_ms: int) -> bool:
        is_over = kind.end_ms(at_ms, self.series.interval) <= self.now_ms
        return is_over and (self.from_ms or 0) <= at_ms and (self.to_ms is None or at_ms < self.to_ms)

    def _ends_where_it_says(self, kind: Kind, row: TableRow) -> bool:
        if row.end_ms is None or row.timestamp_ms is None or kind.stamp is Stamp.MOMENT:
            return True
        return row.end_ms == row.timestamp_ms + self.series.interval.ms

    def _row(self, kind: Kind, told: TableRow) -> tuple[Row, bool]:
        """The row, without shares that are none: whoever filled them from the archive had none to fill in."""
        assert told.timestamp_ms is not None
        values = dict(zip(kind.names, told.values, strict=True))
        shares = [value for name in _SHARES if (value := values.get(name)) is not None]
        is_unshared = len(shares) == len(_SHARES) and abs(sum(shares) - 1) > _SHARES_WITHIN
        if is_unshared:
            values |= dict.fromkeys(_SHARES)
        known_ms = kind.known_at_ms(told.timestamp_ms, self.series.interval)
        decimals = {each.name: each.decimals for each in kind.columns}
        rounded = tuple(_rounded(value, decimals[name]) for name, value in values.items())
        return Row(told.timestamp_ms, known_ms, rounded), is_unshared

    def _good(self, kind: Kind, rows: Sequence[Row]) -> tuple[list[Row], int, str]:
        if not rows:
            return [], 0, ""
        needed = [place for place, each in enumerate(kind.columns) if each.archived and not each.may_lack]
        asked = Asked(kind, self.series, rows[0].timestamp_ms, rows[-1].timestamp_ms, self.now_ms)
        refused, _ = check(rows, asked)
        bad = {finding.open_time_ms: str(finding) for finding in refused}
        for row in rows:
            if any(row.values[place] is None for place in needed):
                bad.setdefault(row.timestamp_ms, f"{grid.text(row.timestamp_ms)} lacks a value")
        good = [row for row in rows if row.timestamp_ms not in bad]
        return good, len(rows) - len(good), next(iter(bad.values()), "")


def names(kind: Kind, series: Series) -> list[str]:
    """What a table of a kind of one series is called, our own name first."""
    own = [kind.view(series.symbol, series.interval)]
    return [*own, f"{series.table}_full"] if kind.name == "klines" else own


def _rounded(value: float | None, decimals: int | None) -> float | None:
    return value if value is None or decimals is None else round(value, decimals)
