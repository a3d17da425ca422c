"""What of the log belongs to a cycle: its facts beside each event, and one event for the whole of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from barfeed.domain.errors import ExchangeUnavailable

if TYPE_CHECKING:
    # Only for the types: every command logs, also one that must start fast.
    from barfeed.exchange.rest import Conversation
    from barfeed.feed.record import Lived

_cycle: ContextVar["Lived | None"] = ContextVar("barfeed_cycle", default=None)
_log = logging.getLogger(__name__)


@contextmanager
def of_cycle(record: "Lived") -> Iterator[None]:
    """What is logged in here belongs to this cycle."""
    token = _cycle.set(record)
    try:
        yield
    finally:
        _cycle.reset(token)


def log_cycle(record: "Lived", talk: "Conversation") -> None:
    """One event for the whole cycle, as its manifest tells it."""
    manifest = record.manifest(talk)
    told = ("status", "exit_code", "message", "hint", "counts", "exchange", "warnings", "durations_sec")
    with of_cycle(record):
        _log.log(
            level_of(record.exit_code), "the cycle ended", extra={"facts": {name: manifest[name] for name in told}}
        )


def level_of(exit_code: int) -> int:
    """INFO where all is well, WARNING where time will tell, ERROR where it needs somebody."""
    if not exit_code:
        return logging.INFO
    return logging.WARNING if exit_code == ExchangeUnavailable.exit_code else logging.ERROR


def facts() -> dict[str, Any]:
    """What a line for machines says of the cycle that is under way; nothing where none is."""
    cycle = _cycle.get()
    if cycle is None:
        return {}
    return {
        "series": cycle.fed,
        "target": cycle.target,
        "cycle": cycle.run_time,
        "duration_sec": round(sum(cycle.durations_sec.values()), 6),
    }
