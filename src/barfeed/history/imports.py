"""Users' own bars on their way in: what their names, columns and spacing say of them, before any is stored.

What is wrong with a file is told in the user's words, and the whole file refused; what is only odd is a note.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import VALUE_COLUMNS, Bar, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.grid import Gap
from barfeed.domain.kinds import file_names
from barfeed.domain.sources import Note
from barfeed.history.filling.report import difference_finding
from barfeed.history.own_files import Member, MemberUnreadable, OwnFile, expect_duckdb, opened, within
from barfeed.store.incoming.columns import HEADERLESS
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.staging import Break, Difference, Staging, Taken

INSIST = "give the --symbol and --interval of its bars, or insist with --force-name"
NOTHING = "nothing of this file was stored"
# No open was ever so far from the close before it: 14 % at most in 46,000 hours of BTCUSDT, 44,000 of ETHUSDT.
LEVEL_BREAK = 0.2


class Import(NamedTuple):
    """What own files are taken into, and as which series; `insist` is to believe that whatever they are called."""

    staging: Staging
    series: Series
    insist: bool = False

    def stage(self, own: OwnFile, wanted: Gap) -> list[Note]:
        """Stage a file's bars that are wanted, and nothing else; what is odd about it.

        Raises `UsageError`: then nothing is staged.
        """
        self.staging.clear()
        try:
            notes = self._take_table(own) if own.table is not None else self._take_file(own)
            return [*notes, *self._left_out(own, wanted), *self._doubles(own), *self._spaced(own)]
        except SourceUnreadable as problem:
            self.staging.clear()
            where = f"{problem.name} in {own}" if isinstance(problem, MemberUnreadable) else str(own)
            raise UsageError(f"{where}: {problem}", hint=NOTHING) from None
        except UsageError:
            self.staging.clear()
            raise

    def _take_file(self, own: OwnFile) -> list[Note]:
        self._check_name(own, own.path.name, "its name")
        notes = []
        with opened(own.path) as members:
            for member in members:
                if member.name == own.path.name:
                    taken = self._put(member)
                else:
                    self._check_name(own, Path(member.name).name, f"the name of {member.name} in it")
                    with within(member.name):
                        taken = self._put(member)
                notes += self._told(own, taken)
        return notes

    def _put(self, member: Member) -> Taken:
        put = self.staging.put_parquet if member.kind == "parquet" else self.staging.put_csv
        return put(member.path, self.series)

    def _take_table(self, own: OwnFile) -> list[Note]:
        expect_duckdb(own.path)
        table = own.table or self.series.table
        # A table that says its series is in a file of any name.
        name = table if file_names.named(table).symbol else own.path.name
        self._check_name(own, name, "its name")
        self._check_name(own, table, "its table")
        return self._told(own, self.staging.put_table(own.path, table, self.series))

    def _check_name(self, own: OwnFile, name: str, what: str) -> None:
        said = "" if self.insist else file_names.contradiction(name, self.series)
        if said:
            raise UsageError(f"{own}: {what} says {said}, expected {self.series}", hint=INSIST)

    def _told(self, own: OwnFile, taken: Taken) -> list[Note]:
        """What was left out of a file besides bars; `UsageError` where a column says another symbol."""
        for label, said in taken.labels.items():
            is_other = file_names.is_other_symbol if label.tells == "symbol" else file_names.is_other_interval
            other = next((each for each in said if is_other(each, self.series)), None)
            if other is not None and not self.insist:
                raise UsageError(
                    f"{own}: its column {label.name} says {other[:40]!a}, expected {self.series}", hint=INSIST
                )
        told = [("foreword", f"a line before the bars was left out: {line[:80]!a}") for line in taken.foreword]
        if ignored := ", ".join(repr(name) for name in taken.ignored if name not in HEADERLESS[12])[:200]:
            told.append(("columns", f"columns that nobody needs were left out: {ignored}"))
        return [Note(rule, str(own), message) for rule, message in told]

    def _left_out(self, own: OwnFile, wanted: Gap) -> list[Note]:
        """Leave out what was not asked for or has not closed; where that is all there is, `UsageError`."""
        held = self.staging.span(self.series.interval.ms)
        if held is None:
            raise SourceUnreadable("it holds no bar")
        beside = self.staging.keep_only(wanted)
        if not self.staging.rows():
            raise UsageError(
                f"{own}: {_all_left_out(held, beside)}, {_outside(wanted)}",
                hint="give a --from and --to that its bars are in; one that has not closed is never taken",
            )
        return [Note("outside", str(own), f"left out: {_bars(beside)} {_outside(wanted)}")] if beside else []

    def _doubles(self, own: OwnFile) -> list[Note]:
        doubles = self.staging.drop_doubles()
        if two := self.staging.two_versions():
            raise UsageError(f"{own}: {_two_versions(*two)}", hint=f"{NOTHING}; find out which is right")
        same = f"{_bars(doubles)} came twice, {'each ' * (doubles > 1)}the same both times"
        return [Note("twice", str(own), same)] if doubles else []

    def _spaced(self, own: OwnFile) -> list[Note]:
        """Refuse the bars of another interval, or of the right one by their last instants."""
        if self.staging.are_ends(self.series.interval.ms):
            raise SourceUnreadable("its times are those of bars' ends: call their column close_time")
        apart_ms = self.staging.spacing_ms()
        if apart_ms is not None and apart_ms != self.series.interval.ms and not self.insist:
            raise UsageError(f"{own}: its bars open {_length(apart_ms)} apart, expected {self.series}", hint=INSIST)
        return []


def refuse_stranger(
    own: OwnFile, differences: Sequence[Difference], shared: int, new: int, moved_ms: Callable[[], int | None]
) -> None:
    """A file fills nothing where half of the `shared` bars, or more, are others in the store: `UsageError`.

    `moved_ms` looks whether most would agree if they opened so much later.
    """
    if not (new and differences) or 2 * len(differences) < shared:
        return
    moved = moved_ms()
    why = "it is of another market, or in other units" if moved is None else f"{_moved(moved)}: its times are not UTC"
    first = difference_finding(differences[0], "here")
    raise UsageError(
        f"{own}: {len(differences)} of its {shared} bars that are stored too differ there; first: {first}",
        hint=f"{NOTHING}: {why}; who is right: barfeed verify --against rest",
    )


def _moved(ms: int) -> str:
    return f"{_length(abs(ms))} {'later' if ms > 0 else 'earlier'} they would agree"


def level_note(name: str, found: Break) -> Note:
    """Where a file's bars and stored ones do not fit to each other."""
    message = f"where it meets stored bars, the price goes from {found.before} to {found.after}"
    return Note("level", name, f"{message} at {grid.text(found.open_time_ms)}: is it of the same market?")


def seam_notes(span: Gap, before_ms: int | None, after_ms: int | None, step_ms: int) -> list[Note]:
    """The bars that are missing between what came and what was stored before and after it."""
    ends = [(before_ms, span.first_ms), (span.last_ms, after_ms)]
    return [
        Note("seam", str(span), f"between it and the stored bars {grid.gap_between(a, b, step_ms)} are missing")
        for a, b in ends
        if a is not None and b is not None and b - a > step_ms
    ]


def _all_left_out(held: Gap, bars: int) -> str:
    first, last = grid.text(held.first_ms), grid.text(held.last_ms)
    if bars == 1:
        return f"its only bar is left out: it opens {first}"
    return f"every bar of it is left out, all {bars}: they open {first}..{last}"


def _outside(wanted: Gap) -> str:
    # Without a --from, all that is asked for ends somewhere and begins nowhere.
    return f"outside of {wanted}" if wanted.first_ms else f"after {grid.text(wanted.last_ms)}, the last to be taken"


def _bars(count: int) -> str:
    return f"{count} bar{'s' * (count > 1)}"


def _two_versions(one: Bar, other: Bar) -> str:
    return f"{grid.text(one.open_time_ms)} comes twice, {_sides(one, 'once', other, 'once')}"


def _sides(one: Bar, first: str, other: Bar, second: str) -> str:
    sides = zip(VALUE_COLUMNS, one.values, other.values, strict=True)
    return ", ".join(f"{name} {first} {mine}, {second} {theirs}" for name, mine, theirs in sides if mine != theirs)


def _length(ms: int) -> str:
    """`4h`, as the exchange writes an interval."""
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}
    unit = next((unit for unit, long in units.items() if ms % long == 0), "")
    return f"{ms // units[unit]}{unit}" if unit else f"{ms} ms"
