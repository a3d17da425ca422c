"""Who hears how each cycle ended, besides the terminal: put together from the settings."""

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from barfeed.binance.rest import Conversation
from barfeed.config import Settings
from barfeed.cycle import Feed
from barfeed.errors import UsageError
from barfeed.record import Record

if TYPE_CHECKING:
    from barfeed.meter import Meter

Hear = Callable[[Record, Conversation], None]

_log = logging.getLogger(__name__)


def audience(settings: Settings, feed: Feed) -> list[Hear]:
    """Everyone whom the settings ask to tell; nobody is imported who is not asked for."""
    hearers: list[Hear] = []
    if settings.metrics_file or settings.listen:
        hearers.append(_meter(settings, feed).hear)
    return hearers


def tell(hearers: list[Hear], record: Record, talk: Conversation) -> None:
    """Tell everyone; one who cannot hear must not keep it from the next, nor end a watch."""
    for hear in hearers:
        try:
            hear(record, talk)
        except Exception:
            _log.exception("this is a bug in barfeed; report it")


def _meter(settings: Settings, feed: Feed) -> "Meter":
    if settings.listen and not settings.watch:
        raise UsageError(
            f"--listen {settings.listen} without --watch: one cycle ends before anybody asks",
            hint="add --watch, or write --metrics-file for a collector of text files",
        )
    try:
        # Imported only here: most feeds have no metrics, and the library takes longer than an hour's work.
        from barfeed.meter import Meter  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"--metrics-file and --listen need a library that is not installed: {missing.name}",
            hint="pip install 'barfeed[metrics]'",
        ) from None
    meter = Meter(settings.series(), feed.clock, feed.store.path, settings.metrics_file)
    if settings.listen:
        _listen(settings.listen, meter, feed)
    return meter


def _listen(text: str, meter: "Meter", feed: Feed) -> None:
    from barfeed.listening import Listener, Page, address  # noqa: PLC0415 - as above
    from barfeed.metrics import CONTENT_TYPE  # noqa: PLC0415 - as above

    def healthz() -> Page:
        health = meter.health()
        return Page(200 if health.is_well else 503, "application/json", json.dumps(health.told()).encode() + b"\n")

    pages = {"/metrics": lambda: Page(200, CONTENT_TYPE, meter.exposition()), "/healthz": healthz}
    listener = Listener(address(text), pages, feed.clock)
    listener.start()
    _log.info("listening at %s: %s", listener.url, ", ".join(pages))
