"""Whom the history of kinds is asked of, put together from the settings."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.values.addresses import check_address
from barfeed.cli.wiring import open_rest
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.kind import Host, Kind
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.selection import Selection
from barfeed.exchange.archive import Files
from barfeed.exchange.kinds.asking import Hosts, Limits, spot_talk
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import AskEach
from barfeed.exchange.transport.single import open_transport
from barfeed.history.kinds.asking import Asking
from barfeed.history.kinds.fill import KindsTools
from barfeed.machine.clock import SystemClock

# As many as pay.
_AT_ONCE = 32


class Meant(NamedTuple):
    """Which series are meant, of which kinds, at which intervals; `one` where it is one series alone."""

    selection: Selection
    kinds: tuple[Kind, ...]
    intervals: tuple[Interval, ...]
    one: Series | None


def meant(settings: Settings, text: str) -> Meant:
    """Read `--kinds`; `UsageError` for a kind that there is not."""
    many = choice(settings)
    if many:
        return Meant(many.selection, kinds(text, many.intervals), many.intervals, None)
    series = settings.series()
    return Meant(Selection.of(series.symbol), kinds(text, (series.interval,)), (series.interval,), series)


class Whom(NamedTuple):
    """Whom to ask, how much at once, and how heavily; `one` is a series alone, for whose readers there are views."""

    archive_url: str
    cache_dir: Path | None = None
    at_once: int | None = None
    weight_budget: int | None = None
    one: Series | None = None


@contextmanager
def kinds_tools(settings: Settings, whom: Whom, *, writes: bool) -> Iterator[KindsTools]:
    """The store, the exchange on both its hosts, and the archive; nothing is asked yet."""
    check_address("--archive-url", whom.archive_url)
    clock = SystemClock()
    at_once = whom.at_once or _AT_ONCE
    urls = dict.fromkeys((settings.base_url, settings.spot_url, whom.archive_url))
    with _asking_each(list(urls), clock, at_once) as ask:
        kept = open_whole(settings, clock, writes=writes).kinds
        yield KindsTools(kept, _asking(settings, clock, whom), ask, clock, at_once, whom.one)


def _asking_each(urls: Sequence[str], clock: SystemClock, at_once: int) -> AbstractContextManager[AskEach]:
    try:
        from barfeed.exchange.transport.each import asking_each  # noqa: PLC0415 - it needs a library of its own
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"--kinds needs a library that is not installed: {missing.name}", hint="pip install 'barfeed[market]'"
        ) from None
    return asking_each(urls, clock, at_once)


def _asking(settings: Settings, clock: SystemClock, whom: Whom) -> Asking:
    talk = open_rest(settings, clock).conversation(settings.max_wait_sec)
    spot = spot_talk(_rest(settings.spot_url, clock), talk)
    archive = _rest(whom.archive_url, clock).conversation(settings.max_wait_sec)
    files = Files(lambda: talk.now_ms, whom.cache_dir)
    hosts = Hosts({Host.FUTURES: talk, Host.SPOT: spot}, Limits(clock))
    return Asking(hosts, archive, files, settings.max_wait_sec, whom.weight_budget)


def _rest(url: str, clock: SystemClock) -> Rest:
    return Rest(url, open_transport(url, clock), clock)


def names(found: Sequence[Kind]) -> str:
    """Kinds as a command line has them."""
    return ",".join(each.name for each in found)
