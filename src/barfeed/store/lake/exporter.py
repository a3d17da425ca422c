"""After a pass: the lake made what the store is. One exporter at a time; each part is written whole, and idempotent."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable, StoreUnusable
from barfeed.machine.clock import Clock
from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.contents.origin import Origin
from barfeed.store.lake.contents.rows import Survey
from barfeed.store.lake.files import Files, saved
from barfeed.store.lake.manifest import File
from barfeed.store.lake.plan import Plan, planned
from barfeed.store.lake.table import AnyTable

# A first export of years must not keep the next hour waiting: what is left is the next pass's.
_PART_OF_AN_INTERVAL = 4
_LONGEST_SEC = 300.0
# What other engines leave beside the data, and take for none themselves.
_ASIDE = ("_", ".")

_log = logging.getLogger(__name__)


class Exported(NamedTuple):
    """How many days were written, how many are left to the next pass, and how many rows the lake holds now.

    `is_busy` where another process was writing the lake, and nothing was done.
    """

    written: int = 0
    left: int = 0
    rows: int = 0
    is_busy: bool = False


class Until(NamedTuple):
    """How long an export may go on: up to a moment of the clock that never jumps."""

    clock: Clock
    end_sec: float

    @property
    def is_over(self) -> bool:
        """Whether what is left is the next pass's."""
        return self.clock.steady_sec() >= self.end_sec


def until(clock: Clock, interval: Interval) -> Until:
    """From now on, for all the tables of a pass."""
    return Until(clock, clock.steady_sec() + min(_LONGEST_SEC, interval.ms / 1000 / _PART_OF_AN_INTERVAL))


# Called with how many changes the table's audit tells, before rows that may have been changed stand in the lake.
Cover = Callable[[int], None]


def export(origin: Origin, files: Files, table: AnyTable, until: Until, cover: Cover) -> Exported:
    """Write every part of which the store has another version than the lake, newest first.

    A part is a file that is replaced in one step, so who reads meanwhile sees every row once. Killed anywhere, the next
    call goes on. Raises `LakeUnusable`, and `StoreUnusable` where the store cannot be read.
    """
    with files.exporting() as is_ours:
        if not is_ours:
            _log.info("%s: another process is writing the lake", files.address)
            return Exported(is_busy=True)
        return _Export(origin, files, table, until, cover).run()


class _Export:
    """One export: what it works with, and the manifest that grows as it goes."""

    def __init__(self, origin: Origin, files: Files, table: AnyTable, until: Until, cover: Cover) -> None:
        self._origin = origin
        self._files = files
        self._table = table
        self._until = until
        self._cover = cover
        self._manifest = manifests.empty(table)

    def run(self) -> Exported:
        folders, before = self._files.folders(), saved(self._files, self._table)
        self._manifest = before or self._manifest
        survey, plan, changed = self._looked_through(folders)
        self._cover(changed)
        self._manifest = replace(self._manifest, marks=survey.marks, due=list(plan.write))
        if before is None:
            # A file without a manifest would be taken for somebody else's.
            self._save()
        if not (plan.write or plan.drop) and before == self._manifest:
            return Exported(rows=self._manifest.rows)
        with self._kept():
            written = self._carry_out(plan)
        return Exported(written, len(self._manifest.due), self._manifest.rows)

    def _looked_through(self, folders: set[str]) -> tuple[Survey, Plan, int]:
        manifest = self._manifest
        lost = [day for day in manifest.files if self._table.partition(day) not in folders]
        with self._origin.whole(self._table) as contents:
            survey = contents.survey(manifest, self._files.address)
            days = survey.days.union(manifest.due, lost)
            stamps = contents.stamps(days, survey.revisions)
            changed = contents.changes()
        self._refuse_others(folders, {*manifest.files, *stamps})
        return survey, planned(manifest, days, stamps, lost), changed

    def _refuse_others(self, folders: set[str], days: set[str]) -> None:
        """Return where nothing stands in the lake but its own days: a glob would read that, too."""
        of = self._table.part_of
        others = sorted(name for name in folders if not name.startswith(_ASIDE) and of(name) not in days)
        if not others:
            return
        where = self._files.address
        if self._manifest.files:
            raise LakeUnusable(
                f"{where} holds {others[0]}, which is not in its manifest: whoever reads the lake reads that, too",
                hint=f"take {where}/{others[0]} away",
            )
        raise LakeUnusable(
            f"{where} holds {others[0]}, and no manifest: it is no lake of barfeed's, or has lost it",
            hint=f"point --lake at an empty folder; or, if it is this store's lake, take {where} away: the next pass"
            " writes it anew",
        )

    def _carry_out(self, plan: Plan) -> int:
        for day in plan.drop:
            self._files.remove(self._table.file_name(day))
            self._manifest.files.pop(day)
        for written, day in enumerate(plan.write):
            if written and self._until.is_over:
                _log.info("%s: %d days are left to the next pass", self._files.address, len(self._manifest.due))
                return written
            self._manifest.files[day] = self._written(day)
            self._manifest.due.remove(day)
        return len(plan.write)

    def _written(self, day: str) -> File:
        with self._files.placing(self._table.file_name(day)) as path:
            # Let go of before the file is moved or sent: nobody waits for that.
            with self._origin.part(self._table, day) as contents:
                stamp = contents.stamp(day)
                if stamp is None:
                    gone = f"its {self._table.rows} of {day} were taken out meanwhile"
                    raise StoreUnusable(f"{self._origin.name}: {gone}", hint="run it again")
                contents.write(day, path)
                first, last = contents.span(day)
                changed = contents.changes()
            self._cover(changed)
            return File(
                stamp.rows, first, last, path.stat().st_size, sha256_of(path), stamp.created_at, stamp.revisions
            )

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """What was written is in the manifest, though the rest was not to be."""
        try:
            yield
        except (LakeUnusable, StoreUnusable):
            with suppress(LakeUnusable):
                self._save()
            raise
        self._save()

    def _save(self) -> None:
        self._files.save(manifests.NAME, manifests.encoded(self._manifest, self._table))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
