"""What a market's backfill asks: a symbol's first bar, a page, a file; and what each came to, be it nothing."""

from collections.abc import Callable
from typing import NamedTuple

from barfeed.domain.bars import Bar
from barfeed.domain.errors import BarfeedError
from barfeed.domain.sources import Csv, Lines, Part, Rows
from barfeed.exchange import paging, wire
from barfeed.exchange.archive import Files
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import Steps
from barfeed.history.market.jobs import Filled, Job
from barfeed.machine.clock import Patience


class First(NamedTuple):
    """The symbol's first bar, None where the exchange has none."""

    of: Filled
    bar: Bar | None


class Page(NamedTuple):
    """What REST answered for a job."""

    job: Job
    data: Lines | Rows


class File(NamedTuple):
    """A file that holds some of a job's bars, and its rows where the archive has it."""

    job: Job
    part: Part
    data: Lines | Csv | None


class Trouble(NamedTuple):
    """Why nothing came of a series."""

    of: Filled
    error: BarfeedError


Answer = First | Page | list[File] | Trouble
_Start = Callable[[], Branch]


class Asking:
    """The questions, each with a patience of its own, within the conversations that all of them share."""

    def __init__(self, talk: Conversation, archive: Conversation, files: Files, max_wait_sec: float) -> None:
        self.talk = talk
        self._archive = archive
        self._files = files
        self._max_wait_sec = max_wait_sec
        self._under_way: dict[int, tuple[str, Branch]] = {}

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.talk.requests + self._files.requests

    @property
    def used_weight(self) -> int:
        """What the exchange has counted in its current minute."""
        return self.talk.budget.used if self.talk.budget else 0

    @property
    def refusal(self) -> BarfeedError | None:
        """Why nothing more is asked, of any series."""
        return self.talk.refusal or self._archive.refusal

    @property
    def slow(self) -> list[tuple[str, int]]:
        """The symbols that are asked for again just now, and how often they were; the most often first."""
        again = [(symbol, talk.retries.total()) for symbol, talk in self._under_way.copy().values() if talk.retries]
        return sorted(again, key=lambda told: (-told[1], told[0]))

    def first(self, each: Filled) -> Steps[Answer]:
        """The steps of asking for a symbol's first bar."""

        def steps(start: _Start) -> Steps[Answer]:
            pull = yield from start().steps_of_first_bar(each.series, 0, self.talk.now_ms)
            return First(each, next(iter(pull.bars), None))

        return self._asked(each, self.talk, steps)

    def page(self, job: Job) -> Steps[Answer]:
        """The steps of asking REST for a job."""

        def steps(start: _Start) -> Steps[Answer]:
            return Page(job, (yield from paging.steps_of_page(start(), job.of.series, job.span)))

        return self._asked(job.of, self.talk, steps)

    def file(self, job: Job) -> Steps[Answer]:
        """The steps of asking the archive for a job."""

        def steps(start: _Start) -> Steps[Answer]:
            assert job.period
            parts = yield from self._files.steps_of(job.of.series, job.period, start)
            return [File(job, part, _plain(part)) for part in parts]

        return self._asked(job.of, self._archive, steps)

    def _asked(self, each: Filled, whole: Conversation, steps: Callable[[_Start], Steps[Answer]]) -> Steps[Answer]:
        def start() -> Branch:
            talk = Branch(whole)
            # From its first step on, not from when it was put in line.
            talk.patience = Patience(whole.rest.clock, self._max_wait_sec)
            self._under_way[id(steps)] = (each.symbol, talk)
            return talk

        if each.failure:
            # It has failed meanwhile: nothing more is asked for it.
            return Trouble(each, each.failure)
        try:
            return (yield from steps(start))
        except BarfeedError as error:
            return Trouble(each, error)
        finally:
            self._under_way.pop(id(steps), None)


def _plain(part: Part) -> Lines | Csv | None:
    """A file's rows, read while others are on their way; what is odd about one is for the staging to tell."""
    if not isinstance(part.data, Csv):
        return None
    return wire.file_lines(part.data.content) or part.data
