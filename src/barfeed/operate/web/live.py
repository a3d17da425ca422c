"""What happens, as it happens: one watcher of the files, however many pages are open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from barfeed.domain.errors import StoreUnusable
from barfeed.operate.web.stores.file import stamp_of
from barfeed.operate.web.stores.looks import Held

_LOOK_SEC = 0.25
_ALIVE_SEC = 15.0
# A page that cannot keep up misses what is old, and asks anew anyway.
_QUEUED_MAX = 32

_STEPS = {
    "_api_pull.csv": "pulled", "_api_pull.parquet": "pulled", "_for_inference.csv": "published", "_run.json": "ended",
}  # fmt: skip
_ORDER = ("pulled", "published", "ended")


class Happening(NamedTuple):
    """What was seen: a run's `step` in its folder (pulled, published, ended), or that the store or the log changed."""

    what: str
    folder: str = ""
    run: str = ""

    def event(self) -> bytes:
        """As a server-sent event."""
        return b"event: %s\ndata: %s\n\n" % (self.what.encode(), msgspec.json.encode(self._asdict()))


class Watched(NamedTuple):
    """What is looked at: the root of the feeds' folders, the store, and the log."""

    root: Path
    store: Held
    log: Path | None


class Live:
    """Looks at the files and tells every page that listens."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._seen = look(watched)
        self._queues: set[asyncio.Queue[bytes]] = set()

    async def watch(self) -> None:
        """Look, until it is cancelled; then the store is closed."""
        try:
            while True:
                await asyncio.sleep(_LOOK_SEC)
                # Nobody listens to most of a night.
                if self._queues:
                    self._tell(await asyncio.to_thread(self._look))
                else:
                    self._watched.store.rest()
        finally:
            await asyncio.to_thread(self._watched.store.close)

    async def listen(self, first: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """Events for one page, the first of them at once; a comment now and then tells that the line is open."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_MAX)
        if not self._queues:
            self._seen = await asyncio.to_thread(self._look)
        self._queues.add(queue)
        try:
            yield first()
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), _ALIVE_SEC)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._queues.discard(queue)

    def _look(self) -> "Seen":
        return look(self._watched, self._seen)

    def _tell(self, seen: "Seen") -> None:
        for event in map(Happening.event, news(self._seen, seen)):
            for queue in self._queues:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(event)
        self._seen = seen


class Seen(NamedTuple):
    """What the files looked like: each folder's stamp and files, the store's and the log's stamp."""

    folders: dict[str, tuple[int, frozenset[str]]]
    store: object
    log: object


def look(watched: Watched, before: Seen | None = None) -> Seen:
    """How the files are now; a folder whose stamp is as before is not listed again."""
    folders = {}
    known = before.folders if before else {}
    try:
        paths = [each for each in watched.root.iterdir() if each.is_dir() and not each.is_symlink()]
    except OSError:
        paths = []
    for path in paths:
        try:
            stamp_ns = path.stat().st_mtime_ns
            names = known[path.name][1] if known.get(path.name, (0,))[0] == stamp_ns else _names(path)
        except OSError:
            continue
        folders[path.name] = (stamp_ns, names)
    return Seen(folders, _stamp(watched.store), stamp_of(watched.log) if watched.log else None)


def _stamp(store: Held) -> object:
    try:
        return store.stamp()
    except StoreUnusable as problem:
        # That it is gone, and that it is back, is news, too.
        return str(problem)


def _names(path: Path) -> frozenset[str]:
    return frozenset(each.name for each in path.iterdir())


def news(before: Seen, after: Seen) -> list[Happening]:
    """What has come since, in the order that a pass brings it."""
    found = []
    for folder, (stamp_ns, names) in after.folders.items():
        old_ns, old = before.folders.get(folder, (0, frozenset()))
        steps = sorted((_ORDER.index(step), run) for run, step in map(_step, names - old) if step)
        told = [Happening(_ORDER[order], folder, run) for order, run in steps]
        found += told or ([Happening("changed", folder)] if stamp_ns != old_ns else [])
    found += [Happening("stored")] if after.store != before.store else []
    return found + ([Happening("logged")] if after.log != before.log else [])


def _step(name: str) -> tuple[str, str]:
    """The run that a file is of, and what it tells of it; empty where it tells nothing."""
    for ending, step in _STEPS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), step
    return "", ""
