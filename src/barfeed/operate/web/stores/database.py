"""A PostgreSQL database, or a standby of one, behind the page."""

import shlex
from collections.abc import Hashable, Sequence
from contextlib import closing
from threading import Lock

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind
from barfeed.history.reading.database import DatabaseSource
from barfeed.history.reading.reader import Reader
from barfeed.machine.clock import Clock
from barfeed.store.postgres.kinds.tables import is_there
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder, News

# However many pages are open, it is asked no more often; nor, while it is away, does each of them wait for it.
_FRESH_SEC = 1.0


class HeldDatabase:
    """See `Held`. One connection, while somebody listens, tells whether anything changed; each look has its own."""

    def __init__(self, address: str, clock: Clock) -> None:
        self.name = address
        self.flags = f" --store {shlex.quote(address)}"
        self._clock = clock
        # A page does not wait for one that is away: it comes back by itself.
        self._server = Server(address, clock, 0.0)
        self._turn = Lock()
        self._is_closed = False
        self._asked_sec: float | None = None
        self._seen: News | StoreUnusable | None = None

    def keeps(self, kinds: Sequence[Kind], interval: Interval) -> bool:
        """Where there is none, no bar is sent for it."""
        with closing(Server(self.name, self._clock, 0.0)) as server, server.session(write=False) as connection:
            return any(is_there(connection, kind, interval) for kind in kinds)

    def stamp(self) -> Hashable:
        """Who feeds it, when they last did, and how many rows were written."""
        news = self._news()
        return news.feeders, news.written

    def size_bytes(self) -> int:
        """Of all its tables and their indexes."""
        return self._news().size_bytes

    def feeders(self) -> Sequence[Feeder]:
        """The last one to feed it first."""
        return self._news().feeders

    def opened(self) -> Reader:
        """Connected late and let go of early, by each question."""
        return Reader(DatabaseSource(self.name, 0.0))

    def rest(self) -> None:
        """Let go of the connection."""
        # Who is asking right now lets go of it at the next rest.
        if self._turn.acquire(blocking=False):
            try:
                self._server.close()
            finally:
                self._turn.release()

    def close(self) -> None:
        """Let go of it for good: a question that outlasts the page keeps none."""
        with self._turn:
            self._is_closed = True
            self._server.close()

    def _news(self) -> News:
        with self._turn:
            if self._asked_sec is None or self._clock.steady_sec() - self._asked_sec >= _FRESH_SEC:
                self._seen = self._ask()
                self._asked_sec = self._clock.steady_sec()
        if isinstance(self._seen, StoreUnusable):
            raise StoreUnusable(str(self._seen), hint=self._seen.hint, is_away=self._seen.is_away)
        assert self._seen
        return self._seen

    def _ask(self) -> News | StoreUnusable:
        try:
            return self._server.news()
        except StoreUnusable as problem:
            return problem
        finally:
            if self._is_closed:
                self._server.close()
