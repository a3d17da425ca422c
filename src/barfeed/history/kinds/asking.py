"""What a history of kinds asks: a symbol's first bar, a page of rows, a file; and what each came to, be it nothing."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError
from barfeed.domain.kinds.kind import Host, Row
from barfeed.domain.sources import Note
from barfeed.exchange import paging
from barfeed.exchange.archive import FileBroken, FileMissing, Files
from barfeed.exchange.kinds.asking import Hosts, Question, once
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import Steps
from barfeed.exchange.wire import ExchangeInfo
from barfeed.history.kinds.jobs import File, Filled, Page, last_ms
from barfeed.machine.clock import Patience


class First(NamedTuple):
    """When a symbol's first bar opened, None where it has none; or why that is not known."""

    series: Series
    first_ms: int | None
    trouble: BarfeedError | None = None


class Rows(NamedTuple):
    """What REST answered for a page."""

    page: Page
    rows: list[Row]


class Content(NamedTuple):
    """A file's CSV, None where the archive has none that holds; `note` says why."""

    job: File
    content: bytes | None
    note: Note | None = None


class Trouble(NamedTuple):
    """Why nothing came of these."""

    of: tuple[Filled, ...]
    error: BarfeedError


Answer = First | Rows | Content | Trouble


class Asking:
    """The questions, each with a patience of its own, within the conversations that all of them share."""

    def __init__(
        self, hosts: Hosts, archive: Conversation, files: Files, max_wait_sec: float, weight_budget: int | None = None
    ) -> None:
        self.hosts = hosts
        self._archive = archive
        self._files = files
        self._max_wait_sec = max_wait_sec
        self._weight_budget = weight_budget

    @property
    def talk(self) -> Conversation:
        """The conversation with the futures exchange: its clock is everybody's."""
        return self.hosts.talks[Host.FUTURES]

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(each.requests for each in _talks(self.hosts.talks)) + self._files.requests

    @property
    def refusal(self) -> BarfeedError | None:
        """Why nothing more is asked, of any series."""
        return next((each.refusal for each in (*_talks(self.hosts.talks), self._archive) if each.refusal), None)

    def begin(self, interval: Interval) -> ExchangeInfo:
        """Ask what time it is, on either host, what is listed, and keep within what is allowed."""
        talk = self.talk
        talk.ask_time()
        paging.refuse_astray(talk, Series("market", interval))
        info = talk.exchange_info()
        allowed = self._weight_budget or paging.told_limit(info.weight_limit) // 2
        talk.keep_within(max(paging.WEIGHT_BUDGET_MIN, allowed))
        for other in self.hosts.talks.values():
            other.time = talk.time
        return info

    def first(self, series: Series) -> Steps[Answer]:
        """The steps of asking for a symbol's first bar."""
        talk = self._branch(self.talk)
        try:
            # Whatever the kind's interval: bars of an hour are there of everything that is traded.
            hourly = Series(series.symbol, Interval.ONE_HOUR)
            pull = yield from talk.steps_of_first_bar(hourly, 0, self.talk.now_ms)
            return First(series, next(iter(pull.opens_ms), None))
        except BarfeedError as error:
            return First(series, None, error)

    def page(self, page: Page) -> Steps[Answer]:
        """The steps of asking REST for a page."""
        each = page.of
        if each.failure or each.has_none:
            # It has failed meanwhile: nothing more is asked for it.
            return Rows(page, [])
        question = Question(each.kind, each.series, page.span.first_ms, last_ms(each, page.span))
        try:
            branch = self.hosts.branch(each.kind, self._max_wait_sec)
            told = yield from once(branch, question)
            return Rows(page, told.get(each.series.symbol, []))
        except BarfeedError as error:
            return Trouble((each,), error)

    def file(self, job: File) -> Steps[Answer]:
        """The steps of asking the archive for a file."""
        start: Callable[[], Branch] = lambda: self._branch(self._archive)  # noqa: E731 - each request has its own
        name = job.file.name
        try:
            content = yield from self._files.steps_of_content(job.file.path, job.file.rows_max, start)
            return Content(job, content)
        except FileMissing:
            return Content(job, None, Note("missing", name, "is not in the archive"))
        except FileBroken as problem:
            return Content(job, None, Note("broken", name, str(problem)))
        except BarfeedError as error:
            return Trouble(job.of, error)

    def _branch(self, whole: Conversation) -> Branch:
        talk = Branch(whole)
        talk.patience = Patience(whole.rest.clock, self._max_wait_sec)
        return talk


def _talks(talks: Mapping[Host, Conversation]) -> list[Conversation]:
    return list(talks.values())
