"""Whom the history of kinds is asked of, put together from the settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from barfeed.cli.market.choice import choice
from barfeed.cli.market.wiring import asking_each
from barfeed.cli.settings import Settings
from barfeed.cli.values.addresses import check_address
from barfeed.cli.wiring import open_rest, open_store
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.kind import Host, Kind
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.selection import Selection
from barfeed.exchange.archive import Files
from barfeed.exchange.kinds.asking import Hosts, Limits, spot_talk
from barfeed.exchange.rest import Rest
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
        found = Meant(many.selection, kinds(text, many.intervals), many.intervals, None)
    else:
        series = settings.series()
        found = Meant(Selection.of(series.symbol), kinds(text, (series.interval,)), (series.interval,), series)
    if not found.kinds:
        raise UsageError("--kinds names no kind of series", hint="as --kinds funding,open_interest")
    return found


@contextmanager
def kinds_tools(
    settings: Settings, archive_url: str, cache_dir: Path | None, at_once: int | None, one: Series | None
) -> Iterator[KindsTools]:
    """The store, the exchange on both its hosts, and the archive; nothing is asked yet."""
    check_address("--archive-url", archive_url)
    clock = SystemClock()
    urls = dict.fromkeys((settings.base_url, settings.spot_url, archive_url))
    with asking_each(list(urls), at_once or _AT_ONCE) as ask:
        asking = _asking(settings, clock, archive_url, cache_dir)
        yield KindsTools(open_store(settings, clock), asking, ask, clock, at_once or _AT_ONCE, one)


def _asking(settings: Settings, clock: SystemClock, archive_url: str, cache_dir: Path | None) -> Asking:
    talk = open_rest(settings, clock).conversation(settings.max_wait_sec)
    spot = spot_talk(_rest(settings.spot_url, clock), talk)
    archive = _rest(archive_url, clock).conversation(settings.max_wait_sec)
    files = Files(lambda: talk.now_ms, cache_dir)
    hosts = Hosts({Host.FUTURES: talk, Host.SPOT: spot}, Limits(clock))
    return Asking(hosts, archive, files, settings.max_wait_sec)


def _rest(url: str, clock: SystemClock) -> Rest:
    return Rest(url, open_transport(url, clock), clock)


def names(found: Sequence[Kind]) -> str:
    """Kinds as a command line has them."""
    return ",".join(each.name for each in found)
