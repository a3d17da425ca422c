"""What a server or the network says, told in words of our own: what is so, what helps, and whether it may pass."""

import re
from typing import NamedTuple

import psycopg
from psycopg import errors

from barfeed.domain.errors import StoreUnusable


class Told(NamedTuple):
    """What there is to say; `is_away` where the server is out of reach for now, and nobody has to change anything."""

    said: str
    hint: str
    is_away: bool = False


class NoAnswer(Exception):
    """The server hears, and does not answer."""


class NotReplicated(Exception):
    """The wait for a synchronous standby was cancelled: what was committed stands on this node alone."""


_COMES_BACK = "see that it runs and can be reached; the next pass appends what this one could not, with --catch-up"
_LOGIN = "give the right one as PGPASSWORD, in ~/.pgpass or in a service file; see which user and host it is for"
_RIGHTS = "give this user the rights of a feeder, or of a reader: deploy/postgres"
_TLS = "see sslmode, sslrootcert and the server's certificate: libpq reads them from the address or from PGSSLMODE"

_LOST = Told("the connection was lost", _COMES_BACK, is_away=True)
_NO_ROOM = Told("the server's disk is full", "make room on the server's disk: nothing was written")
_READ_ONLY = Told(
    "the server is read-only: a standby, or default_transaction_read_only",
    "name the primary, or all hosts of it with commas between them: libpq takes the one that can be written",
)
# By the class of the error: what the server says is in its own language.
_BY_KIND: tuple[tuple[type[psycopg.Error], Told], ...] = (
    (errors.DiskFull, _NO_ROOM),
    (errors.ReadOnlySqlTransaction, _READ_ONLY),
    (errors.InsufficientPrivilege, Told("this user may not do that", _RIGHTS)),
    (
        errors.AdminShutdown,
        Told("the server was shut down, or somebody ended the connection", _COMES_BACK, is_away=True),
    ),
    (errors.CrashShutdown, _LOST),
    (errors.CannotConnectNow, Told("the server is starting up, or shutting down", _COMES_BACK, is_away=True)),
    (
        errors.TooManyConnections,
        Told("the server takes no more connections", "raise max_connections, or put a pooler before it", is_away=True),
    ),
    (
        errors.LockNotAvailable,
        Told("another session holds rows or a table for too long", "see who: pg_stat_activity", is_away=True),
    ),
    (
        errors.QueryCanceled,
        Told("it took longer than the server, or somebody, allows", "see statement_timeout, and who cancels what",
             is_away=True),
    ),
    (errors.DeadlockDetected, Told("two sessions waited for each other", "run it again", is_away=True)),
    (errors.SerializationFailure, Told("another session was quicker", "run it again", is_away=True)),
    (errors.UndefinedTable, Told("a table of barfeed's is missing", "make it: barfeed migrate")),
    (errors.UndefinedColumn, Told("a column of barfeed's is missing", "see what was changed in its schema")),
    (
        errors.NumericValueOutOfRange,
        Told("a timestamp in it is no moment", "take that row out: look WHERE NOT isfinite(timestamp)"),
    ),
    (errors.OutOfMemory, Told("the server lacks memory", "give it more, or lower its settings", is_away=True)),
)  # fmt: skip
# Where there is no connection yet, there is but a text.
_BY_WORDS = (
    ("password authentication failed|no password supplied", Told("the user or the password is wrong", _LOGIN)),
    ("no pg_hba.conf entry", Told("the server lets this user in from here not at all", "see pg_hba.conf there")),
    ('role ".*" does not exist', Told("there is no such user", _LOGIN)),
    ('database ".*" does not exist', Told("there is no such database", "make it: CREATE DATABASE; or mend the name")),
    ("read-only|standby|is not in hot standby", _READ_ONLY),
    ("starting up|shutting down|recovery", _BY_KIND[5][1]),
    ("too many (clients|connections)|remaining connection slots", _BY_KIND[6][1]),
    ("definition of service", Told("there is no such service", "see ~/.pg_service.conf, or PGSERVICEFILE")),
    ("certificate|SSL|TLS|ssl", Told("the connection cannot be made secure", _TLS)),
    ("Connection refused|No such file or directory", Told("nobody listens there", _COMES_BACK, is_away=True)),
    ("translate host name|resolve", Told("its host has no address", _COMES_BACK, is_away=True)),
    ("timeout|timed out", Told("the server does not answer", _COMES_BACK, is_away=True)),
    ("unreachable|No route", Told("the network does not lead there", _COMES_BACK, is_away=True)),
    ("closed|lost|reset|Broken pipe|EOF", _LOST),
    ("invalid|missing|unexpected", Told("the address cannot be read", "as postgresql://feeder@db.example.org/market")),
)
_UNKNOWN = "run it again with --debug, which tells what the server says, and report it if it stays"


def unusable(name: str, problem: Exception) -> StoreUnusable:
    """The error for what was said of a store; its own words go to the debug log alone."""
    told = _told(problem)
    return StoreUnusable(f"{name} cannot be used: {told.said}", hint=told.hint, is_away=told.is_away)


def is_lost(problem: psycopg.Error) -> bool:
    """Whether nothing more is heard on that connection."""
    return isinstance(problem, errors.AdminShutdown | errors.CrashShutdown) or problem.sqlstate is None


def _told(problem: Exception) -> Told:
    if isinstance(problem, NoAnswer):
        return Told("the server hears, and does not answer", _COMES_BACK, is_away=True)
    if isinstance(problem, NotReplicated):
        hint = "see its synchronous standby: what was committed stands on the primary alone, and may be lost with it"
        return Told("a synchronous standby did not confirm, and the wait was cancelled", hint, is_away=True)
    said = next((told for kind, told in _BY_KIND if isinstance(problem, kind)), None)
    return said or _by_words(str(problem)) or Told(f"PostgreSQL failed ({_named(problem)})", _UNKNOWN)


def _by_words(text: str) -> Told | None:
    return next((told for words, told in _BY_WORDS if re.search(words, text)), None)


def _named(problem: Exception) -> str:
    state = problem.sqlstate if isinstance(problem, psycopg.Error) else None
    return f"{type(problem).__name__} {state}" if state else type(problem).__name__
