"""A block of what came of many series: staged together, judged by the rules of one, stored in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from barfeed.domain import sources
from barfeed.domain.bars import Interval
from barfeed.domain.grid import Gap
from barfeed.domain.rules import TURNOVER_RULES, Finding
from barfeed.domain.sources import Csv, Lines, Note, Rows
from barfeed.history.filling import decisions
from barfeed.history.filling.report import difference_finding
from barfeed.history.market import jobs
from barfeed.history.market.asking import File, Page
from barfeed.history.market.jobs import Filled
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.klines import Broken, Compared, Klines, Piece
from barfeed.store.market import MarketTable
from barfeed.store.port.whole import WholeHistory

Tell = Callable[[Filled, Note], None]


class Block:
    """What has come and is not stored yet. `tell` hears what should be known of a series."""

    def __init__(
        self,
        store: WholeHistory,
        interval: Interval,
        now_ms: Callable[[], int],
        repair: Callable[[str], str],
        tell: Tell,
    ) -> None:
        self.rows = 0
        self.is_storing = False
        self._store = store
        self._interval = interval
        self._now_ms = now_ms
        self._repair = repair
        self._tell = tell
        self._klines = Klines(store.beside(), interval)
        self._came: list[Page | File] = []
        self._pieces: list[Piece] = []
        self._beginnings: list[tuple[str, Gap]] = []
        # Of whom the exchange has shown none of some bars, which a later one may prove.
        self._doubtful: dict[str, Filled] = {}

    def begins(self, each: Filled, first_ms: int) -> None:
        """A symbol's first bar is this: nothing before it will be asked for again."""
        each.first_ms = first_ms
        if first_ms > 0:
            self._beginnings.append((each.symbol, jobs.nothing_before(first_ms, self._interval.ms)))

    def add_page(self, page: Page) -> int:
        """Take a page of REST; how many bars it has."""
        each, opens_ms = page.job.of, page.data.opens_ms
        if absent := jobs.absent(page.job.asked, opens_ms, self._interval.ms):
            each.absent += absent
            self._doubtful[each.symbol] = each
        return self._add(page, page.data, opens_ms, page.job.only or (page.job.span,))

    def add_file(self, file: File) -> int:
        """Take a file of the archive; what of it is to be asked of REST is noted."""
        each, asked = file.job.of, self._asked(file)
        for note in file.part.notes:
            self._tell(each, note)
        opens_ms = self._opens_of(file)
        if file.data is None or opens_ms is None or each.wanted is None:
            each.unfiled += asked
            return 0
        if lacking := jobs.absent(asked, opens_ms, self._interval.ms):
            self._tell(each, decisions.lacking(file.part.name, lacking))
            each.unsound += lacking
        return self._add(file, file.data, opens_ms, (each.wanted,))

    def _opens_of(self, file: File) -> Sequence[int] | None:
        """When its bars open; None where it is none that can be used."""
        if file.data is None:
            return None
        try:
            opens_ms = self._klines.opens_ms(file.data) if isinstance(file.data, Csv) else file.data.opens_ms
        except SourceUnreadable as problem:
            self._refuse_file(file, str(problem))
            return None
        span = file.part.span
        if beside := sum(not span.first_ms <= at_ms <= span.last_ms for at_ms in opens_ms):
            self._refuse_file(file, decisions.not_of_its_time(beside))
            return None
        return opens_ms

    def _refuse_file(self, file: File, why: str) -> None:
        self._tell(file.job.of, Note("broken", file.part.name, why))

    def _asked(self, file: File) -> list[Gap]:
        return sources.cut(file.job.asked, file.part.span.first_ms, file.part.span.last_ms, self._interval.ms)

    def _add(self, came: Page | File, data: Lines | Rows | Csv, opens_ms: Sequence[int], kept: Sequence[Gap]) -> int:
        each = came.job.of
        each.newest_ms = max([*opens_ms[-1:], each.newest_ms or 0])
        self._pieces.append(Piece(len(self._came), each.symbol, data, kept))
        self._came.append(came)
        self.rows += len(opens_ms)
        return len(opens_ms)

    def add_held(self, each: Filled, rows: Rows) -> None:
        """Take what was held back of a symbol that has ended, after all."""
        span = sources.span(rows.bars[0].open_time_ms, rows.bars[-1].open_time_ms, self._interval.ms)
        self._add(Page(jobs.Job(each, span, ()), rows), rows, rows.opens_ms, (span,))

    def keep(self) -> None:
        """Judge what has come, and store what is good of it; what is not, its series is told."""
        if self._pieces:
            self._klines.take(self._pieces)
            self._refuse_broken()
            self._set_flat_aside()
        self._store_all()
        self.forget()

    def forget(self) -> None:
        """Begin the next block."""
        self._klines.clear()
        self._came, self._pieces, self._beginnings, self.rows = [], [], [], 0

    def _refuse_broken(self) -> None:
        broken = self._klines.broken(self._now_ms())
        if not broken:
            return
        dropped = {number for number, its in broken.items() if self._is_refused(number, its)}
        failed = {self._came[number].job.of.symbol for number in dropped if isinstance(self._came[number], Page)}
        dropped |= {piece.number for piece in self._pieces if piece.symbol in failed}
        self._klines.drop(dropped)

    def _is_refused(self, number: int, its: Broken) -> bool:
        came = self._came[number]
        if isinstance(came, File):
            self._refuse_file(came, decisions.broken_file(its.findings, its.rules))
            came.job.of.unfiled += self._asked(came)
            return True
        each, findings = came.job.of, self._not_let_pass(came.job.of, number, its.findings)
        rules = its.rules - len(its.findings) + len(findings)
        if rules:
            repair, is_begun = self._repair(each.symbol), each.report.appended > 0
            each.failure = each.failure or decisions.broken_answer(
                each.series, findings or its.findings, rules, repair, is_begun=is_begun
            )
        return rules > 0

    def _not_let_pass(self, each: Filled, number: int, findings: Sequence[Finding]) -> list[Finding]:
        """The findings but for contradictions of what somebody let pass."""
        odd_ms = {found.open_time_ms for found in findings if found.rule in TURNOVER_RULES and found.open_time_ms}
        if not odd_ms or not self._store.exists():
            return list(findings)
        passed = set(self._store.let_pass(each.series))
        passed_ms = {bar.open_time_ms for bar in self._klines.bars_of(number, odd_ms) if bar in passed}
        return [each for each in findings if each.rule not in TURNOVER_RULES or each.open_time_ms not in passed_ms]

    def _set_flat_aside(self) -> None:
        """What a file says was not traded, REST is asked about; what may be after a symbol's end is held back."""
        files = [piece.number for piece in self._pieces if isinstance(self._came[piece.number], File)]
        for number, bars in (self._klines.take_out_flat(files) if files else {}).items():
            file = self._came[number]
            assert isinstance(file, File)
            opens_ms = [bar.open_time_ms for bar in bars]
            if flat := jobs.inside(self._asked(file), opens_ms, self._interval.ms):
                file.job.of.flat.append((file.part.name, flat))
                file.job.of.unsound += flat
        # Of one that is looked at at the end, all of it is needed.
        untold = [piece.number for piece in self._pieces if self._came[piece.number].job.of.is_to_be_held]
        for number, bars in (self._klines.take_out_flat(untold) if untold else {}).items():
            self._came[number].job.of.held += bars

    def _store_all(self) -> None:
        staged, series = self._klines.symbols(), self._series()
        absent = {each.symbol: each.known(each.absent) for each in series}
        notes = [*self._beginnings, *((symbol, gap) for symbol, gaps in absent.items() for gap in gaps)]
        if not staged and not notes:
            return
        self.is_storing = True

        def keep(table: MarketTable) -> tuple[Compared, Mapping[str, list[int]]]:
            compared, flat_ms = self._klines.compared(), self._klines.flat_news()
            self._klines.append_new()
            table.note_exchange_gaps(notes, self._now_ms())
            return compared, flat_ms

        compared, flat_ms = self._store.filling(self._interval, self._klines.spans(), keep)
        self.is_storing = False
        # Only here, behind the commit, is it true.
        for each in series:
            shared = compared.shared.get(each.symbol, 0)
            each.report.compared += shared
            each.report.appended += staged.get(each.symbol, 0) - shared
            each.not_traded_ms += flat_ms.get(each.symbol, [])
            each.absent = [gap for gap in each.absent if gap not in absent[each.symbol]]
        for number, differences in compared.differences.items():
            came = self._came[number]
            name = came.part.name if isinstance(came, File) else "exchange"
            came.job.of.report.mismatches += [difference_finding(each, name) for each in differences]

    def _series(self) -> Iterable[Filled]:
        return ({came.job.of.symbol: came.job.of for came in self._came} | self._doubtful).values()
