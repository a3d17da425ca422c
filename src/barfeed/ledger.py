"""The file that remembers what was told: one for all processes that feed one artifact folder."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

import msgspec

from barfeed.locks import locked
from barfeed.troubles import Ledger
from barfeed.whole import whole_file

FILE_NAME = "alerts.json"
LOCK_NAME = ".alerts.lock"

_Value = TypeVar("_Value")
_log = logging.getLogger(__name__)


class LedgerFile:
    """The ledger of an artifact folder. Nothing about its file is ever an error: at worst a trouble is told twice."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._threads = Lock()
        # What could not be written: a watch on a full disk remembers all the same.
        self._unsaved: Ledger | None = None

    def read(self) -> Ledger:
        """The ledger as it is; an empty one where there is none that can be read."""
        if self._unsaved is not None:
            return self._unsaved
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Ledger)
        except FileNotFoundError:
            return Ledger()
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as problem:
            _log.warning("%s cannot be read, what was told is forgotten: %s", self._path, problem)
            return Ledger()

    def change(self, how: Callable[[Ledger], tuple[_Value, Ledger]]) -> _Value:
        """Replace the ledger by what `how` makes of it, while no other process and no other thread does."""
        with self._threads, self._locked():
            before = self.read()
            value, after = how(before)
            if after != before:
                self._write(after)
        return value

    def _write(self, ledger: Ledger) -> None:
        try:
            with whole_file(self._path) as unfinished:
                unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(ledger)) + b"\n")
        except OSError as problem:
            _log.warning("%s cannot be written, a trouble may be told twice: %s", self._path, problem.strerror)
            self._unsaved = ledger
        else:
            self._unsaved = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            # Where nothing can be written or locked, there is nothing to keep apart.
            with suppress(OSError):
                held.enter_context(locked(self._path.with_name(LOCK_NAME), wait=True))
            yield
