"""The file that remembers what was told: one for all processes that feed one artifact folder."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

import msgspec

from barfeed.machine.atomic import Unflushed, open_regular, whole_file
from barfeed.machine.locks import locked
from barfeed.operate.alerts.troubles import Ledger

FILE_NAME = "alerts.json"
LOCK_NAME = ".alerts.lock"

_Value = TypeVar("_Value")
_log = logging.getLogger(__name__)


def spare_paths(folder: Path, others: Sequence[Path]) -> list[Path]:
    """Where an artifact folder's ledger is kept while the folder itself is the trouble: a file in each of `others`."""
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:12]
    return [other / f"alerts-{digest}.json" for other in others if other.is_absolute()]


class LedgerFile:
    """The ledger of an artifact folder. Nothing about its file is ever an error: at worst a trouble is told twice.

    Where the folder cannot be written to, the first of `spares` that can keeps it, until the folder is back.
    """

    def __init__(self, folder: Path, spares: Sequence[Path] = ()) -> None:
        self._paths = (folder / FILE_NAME, *spares)
        self._threads = Lock()
        # What could not be written anywhere: a watch remembers all the same.
        self._unsaved: Ledger | None = None

    def read(self) -> Ledger:
        """The ledger as it is; an empty one where there is none that can be read."""
        if self._unsaved is not None:
            return self._unsaved
        # A spare is there only since those before it could not be written: it is the newer one.
        kept = (_read(path) for path in reversed(self._paths))
        return next((ledger for ledger in kept if ledger is not None), Ledger())

    def change(self, how: Callable[[Ledger], tuple[_Value, Ledger]]) -> _Value:
        """Replace the ledger by what `how` makes of it, while no other process and no other thread does."""
        with self._threads, self._locked():
            before = self.read()
            value, after = how(before)
            if after != before:
                self._write(after)
        return value

    def _write(self, ledger: Ledger) -> None:
        content = msgspec.json.format(msgspec.json.encode(ledger)) + b"\n"
        for number, path in enumerate(self._paths):
            try:
                if number:
                    path.parent.mkdir(parents=True, exist_ok=True)
                _save(path, content)
            except OSError as problem:
                _log.debug("%s cannot be written: %s", path, problem.strerror)
            else:
                self._unsaved = None
                _take_away(self._paths[number + 1 :])
                return
        if self._unsaved is None:
            _log.warning("%s cannot be written, nor what stands in for it: a trouble may be told twice", self._paths[0])
        self._unsaved = ledger

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            for path in self._paths:
                # Where nothing can be written or locked, there is nothing to keep apart; and what another process
                # holds for ever is changed all the same: to tell a trouble twice is better than not at all.
                with suppress(OSError):
                    held.enter_context(locked(path.with_name(LOCK_NAME), wait=True))
                    break
            yield


def _read(path: Path) -> Ledger | None:
    try:
        with open_regular(path) as file:
            return msgspec.json.decode(file.read(), type=Ledger)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as problem:
        _log.warning("%s cannot be read, what was told is forgotten: %s", path, problem)
        return None


def _save(path: Path, content: bytes) -> None:
    # After a power cut a trouble may be told twice.
    with suppress(Unflushed), whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _take_away(spares: Sequence[Path]) -> None:
    for path in spares:
        with suppress(OSError):
            path.unlink()
