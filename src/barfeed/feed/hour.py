"""What every hour has, of one series or of a market: the exchange's time, a manifest, what comes behind it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from barfeed.artifacts.writing import Run, keep_for, run_files
from barfeed.domain import grid
from barfeed.domain.errors import ArtifactsUnusable, BarfeedError, StoreUnusable
from barfeed.exchange.rest import Conversation
from barfeed.feed.asking.settling import Settling
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import LakeLeft, Lived, failure_of

if TYPE_CHECKING:
    # Only for the types: one series goes by without it.
    from barfeed.feed.market.order import MarketOrder
    from barfeed.store.lake.lake import Lake

_Done = TypeVar("_Done")

_log = logging.getLogger(__name__)


def but_once_more(do: Callable[[], _Done]) -> _Done:
    """What it gives; once more where a database was lost in the middle: it is back, or something stands in for it."""
    try:
        return do()
    except StoreUnusable as lost:
        if not lost.is_away:
            raise
        return do()


class Overtaken(Exception):
    """The hour turned meanwhile, or another process has appended a newer target: live the new hour."""


class Hour:
    """One hour as it is lived, whatever is fed in it; its record grows as it goes."""

    def __init__(
        self, feed: Feed, order: "Order | MarketOrder", talk: Conversation, settling: Settling, record: Lived
    ) -> None:
        self._feed = feed
        self._order = order
        self._talk = talk
        self._settling = settling
        self._record = record

    def live(self, owner: str, work: Callable[[Run], None]) -> None:
        """Do the work of this hour in a run of its own, told by its manifest; the folder is kept for `owner`."""
        no_time = self._agree_on_time()
        keep_for(self._feed.folder, owner)
        with run_files(self._feed.folder, self._talk.now_ms, plain_decimals=self._order.plain_decimals) as run:
            try:
                with self._manifest(run):
                    if no_time:
                        raise no_time
                    work(run)
            except BarfeedError:
                # What was published before the trouble is fresh all the same.
                self._follow_up(run)
                raise
            self._follow_up(run)
            self._export(run)

    def refuse_overtaken(self, target_ms: int, stored_ms: int | None = None) -> None:
        """Return unless the hour has turned, or what is stored says that another process lives a newer one."""
        newest_ms = grid.last_closed(self._talk.now_ms, self._settling.interval.ms)
        # What is stored beyond that, another process was quicker to append; or it is a store from the future.
        is_appended = target_ms < (stored_ms or 0) <= newest_ms
        if is_appended or self._settling.has_turned(target_ms):
            # With this target, an old window would be published as the newest.
            raise Overtaken("the hour turned before this one was done: the new hour is lived instead")

    def _agree_on_time(self) -> BarfeedError | None:
        # An error is kept, not raised: a run gets its name from the time, and its manifest from its name.
        with self._record.step("time"):
            try:
                time = self._talk.time or self._talk.ask_time()
            except BarfeedError as error:
                return error
            if abs(time.skew_sec) > self._order.max_skew_sec:
                self._record.warnings.append(time.skew_text)
                _log.warning("%s; the exchange's is used", time.skew_text)
            self._settling.wait_ms()
        return None

    @contextmanager
    def _manifest(self, run: Run) -> Iterator[None]:
        self._record.run_time = run.name
        try:
            yield
        except Overtaken as turn:
            self._record.pass_on(str(turn))
            self._save_manifest(run)
            raise
        except BaseException as error:
            self._record.fail(error)
            try:
                self._save_manifest(run)
            except ArtifactsUnusable as second:
                # The first trouble is the one to tell; the disk's will come again.
                _log.error("%s", second)
            raise
        self._save_manifest(run)

    def _export(self, run: Run) -> None:
        """The lake made what the store is, last of all: the model has its window, and no trouble here is the hour's."""
        lake = self._feed.lake
        # What could not be had for the bars is not waited for once more.
        if lake is None or self._order.dry_run or self._record.away:
            return
        with self._record.step("lake"):
            self._record.lake = left = self._exported(lake)
        if left.failure:
            self._record.warnings.append(f"the lake was not written: {left.failure.message}")
            _log.warning("the lake was not written: %s; %s", left.failure.message, left.failure.hint)
        self._save_manifest_again(run)

    def _exported(self, lake: "Lake") -> LakeLeft:
        try:
            return LakeLeft(lake.address, *lake.export(self._feed.store.origin, self._settling.interval))
        except BarfeedError as trouble:
            _log.debug("the lake failed", exc_info=True)
            return LakeLeft(lake.address, failure=failure_of(trouble))
        except Exception as bug:
            _log.exception("this is a bug in barfeed; report it")
            return LakeLeft(lake.address, failure=failure_of(bug))

    def _follow_up(self, run: Run) -> None:
        news = self._record.news(run.folder) if self._order.then else {}
        if not news:
            return
        # Imported only here: most hours have no command to follow.
        from barfeed.feed.follow_up import run_command  # noqa: PLC0415

        with self._record.step("then"):
            self._record.then = run_command(self._order.then, news, self._order.then_timeout_sec)
        self._save_manifest_again(run)

    def _save_manifest_again(self, run: Run) -> None:
        try:
            self._save_manifest(run)
        except ArtifactsUnusable as problem:
            # The hour itself is done and told; only what came behind it is not.
            _log.warning("%s", problem)

    def _save_manifest(self, run: Run) -> None:
        self._record.manifest_path = str(run.save_manifest(self._record.manifest(self._talk)))
