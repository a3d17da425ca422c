"""Which server it was the last time: another one, or an old primary that came back, is not written to."""

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from psycopg import errors

from barfeed.domain.errors import StoreUnusable
from barfeed.machine.atomic import sweep, whole_file
from barfeed.store.postgres.link.connection import Connection

# The timeline of what it writes now: what its control file says is of the last checkpoint.
_ASKED = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
"""


class Identity(NamedTuple):
    """A server's own number, which its standbys share, and how often one of them was promoted."""

    system: str
    timeline: int


def asked(connection: Connection) -> Identity | None:
    """Of a primary; None where the server has no such thing to tell, as those that only speak the protocol."""
    try:
        return Identity(*connection.execute(_ASKED).fetchall()[0])
    except (errors.UndefinedFunction, errors.FeatureNotSupported, errors.InsufficientPrivilege):
        return None


class Fence:
    """What is remembered of one database, in a file beside the feed's own."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._known: Identity | None = None

    def expect(self, found: Identity | None) -> None:
        """Return for the server of before, or one promoted since, which is remembered; `StoreUnusable` for another."""
        if found and self.is_news(found):
            self._known = found
            self._write(found)

    def is_news(self, found: Identity) -> bool:
        """Whether there is something to remember; raises as `expect`."""
        known = self._known or self._read()
        if known and found.system != known.system:
            raise self._refused(f"is another server than before: its system identifier is {found.system}", known.system)
        if known and found.timeline < known.timeline:
            old = f"is an old primary that came back: its timeline is {found.timeline}"
            raise self._refused(old, f"{known.timeline} or later")
        return found != known

    def _refused(self, what: str, expected: str) -> StoreUnusable:
        return StoreUnusable(
            f"{self._name} {what}, expected {expected}",
            hint=f"see which server is the primary; if it is meant to be this one, forget the other: rm {self._path}",
        )

    def _read(self) -> Identity | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self._path.read_text("utf-8"))[self._name]
            return Identity(str(told["system"]), int(told["timeline"]))
        return None

    def _write(self, found: Identity) -> None:
        told: dict[str, object] = {}
        with suppress(OSError, ValueError):
            told = json.loads(self._path.read_text("utf-8"))
        # Who cannot keep it says so with its other files; this process remembers it all the same.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # It is written once: what a killed process left would stay. One that lives remembers it the next time.
            sweep(self._path)
            with whole_file(self._path) as unfinished:
                unfinished.write_text(json.dumps(told | {self._name: found._asdict()}, indent=1), "utf-8")
