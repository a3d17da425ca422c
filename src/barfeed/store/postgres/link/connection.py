"""A connection to a database: made late, kept between uses, made anew where it was lost, and not waited on for ever."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

from barfeed.machine.clock import Clock
from barfeed.store.postgres.link.troubles import NoAnswer, NotReplicated, is_lost, unusable

# Who is there says so within milliseconds.
CONNECT_SEC = 5
# What one statement may take, by this side; the server's own limits are shorter, so that it says which was reached.
ANSWER_SEC = 30.0
_FIRST_PAUSE_SEC = 0.1
_LONGEST_PAUSE_SEC = 1.0
# A row that another feeder is storing is waited for no longer; nor is a client that went away in the middle.
_LIMITS = """
SET lock_timeout = '15s'; SET statement_timeout = '25s'; SET idle_in_transaction_session_timeout = '60s'
"""
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# All that is read in one look is of one moment.
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# In the server's language the notice may say anything; where in its source it comes from, it says in none.
_CANCELLED_WAIT = "SyncRepWaitForLSN"
# Who died without a word is found out within half a minute, in the middle of a statement too.
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
}  # fmt: skip

_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """One that answers within `answer_sec`, or is closed."""

    answer_sec = ANSWER_SEC

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """The answer; `NoAnswer` where it does not come in time."""
        try:
            return super().wait(gen, interval, timeout or self.answer_sec)
        except errors._WaitTimeout:  # noqa: SLF001 - the library has no other name for it
            self.pgconn.finish()
            raise NoAnswer from None


class Sessions:
    """One database, and the connection to it that is open, if any."""

    def __init__(self, address: str, clock: Clock, wait_sec: float, *, writes: bool = True) -> None:
        """`wait_sec`: how long a server that is away is waited for. `writes`: only one that can be written will do."""
        self.name = address
        self._address = address
        self._clock = clock
        self._wait_sec = wait_sec
        self._attributes = "read-write" if writes else "any"
        self._connection: Connection | None = None
        self._notices: list[str] = []

    def greet(self, connection: Connection) -> None:
        """Look at a server that was just connected to; raises `StoreUnusable` where it will not do."""

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by any exception. Raises `StoreUnusable`."""
        with self._translated():
            connection = self._begun(_WRITE if write else _READ)
            try:
                yield connection
                if write:
                    self._commit(connection)
            except BaseException:
                self._roll_back(connection)
                raise
            if not write:
                # What was read is read, though the server be lost by now.
                self._roll_back(connection)

    @contextmanager
    def free(self) -> Iterator[Connection]:
        """Statements outside of a transaction."""
        with self._translated():
            self.close()
            yield self._connected()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _commit(self, connection: Connection) -> None:
        self._notices.clear()
        connection.execute("COMMIT")
        if _CANCELLED_WAIT in self._notices:
            raise NotReplicated

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except (psycopg.Error, NoAnswer):
            # It was lost, or a signal came in the middle of a statement.
            self.close()

    def _begun(self, statement: str) -> Connection:
        if self._connection is not None:
            # What was left open an hour ago may have died since, without a word.
            with suppress(psycopg.Error, NoAnswer):
                self._connection.execute(statement)
                return self._connection
            self.close()
        connection = self._connected()
        connection.execute(statement)
        return connection

    def _connected(self) -> Connection:
        end_sec = self._clock.steady_sec() + self._wait_sec
        pause_sec = _FIRST_PAUSE_SEC
        while True:
            try:
                self._connection = self._connect()
            except psycopg.Error as problem:
                if self._clock.steady_sec() >= end_sec or not unusable(self.name, problem).is_away:
                    raise
                _log.debug("%s is away: %s", self.name, problem)
                self._clock.sleep(pause_sec)
                pause_sec = min(2 * pause_sec, _LONGEST_PAUSE_SEC)
            else:
                return self._connection

    def _connect(self) -> Connection:
        connection = Connection.connect(
            self._address, autocommit=True, connect_timeout=CONNECT_SEC, target_session_attrs=self._attributes,
            # A pooler gives the next transaction to another connection of its own.
            prepare_threshold=None, fallback_application_name="barfeed", **_KEEPALIVE,
        )  # fmt: skip
        try:
            connection.add_notice_handler(self._hear)
            connection.execute(_LIMITS)
            self.greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _hear(self, notice: errors.Diagnostic) -> None:
        self._notices.append(notice.source_function or "")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, NoAnswer, NotReplicated) as problem:
            _log.debug("%s: %s", self.name, problem, exc_info=True)
            if not isinstance(problem, psycopg.Error) or is_lost(problem):
                self.close()
            raise unusable(self.name, problem) from problem
