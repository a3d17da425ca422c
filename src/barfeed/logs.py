"""The log: lines for people, or one JSON object a line for machines.

DEBUG is the wire, INFO what happened, WARNING what somebody should look at, ERROR what needs somebody.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from barfeed.errors import ExchangeUnavailable

if TYPE_CHECKING:
    # Only for the types: every command logs, also one that must start fast.
    from barfeed.binance.rest import Conversation
    from barfeed.record import Record

_cycle: ContextVar["Record | None"] = ContextVar("barfeed_cycle", default=None)
_log = logging.getLogger(__name__)


def printable(text: str) -> str:
    """The text in one line that a terminal shows and does not obey: what is no letter or sign is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _Lines(logging.Formatter):
    """One line for each message, whatever foreign text is in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - likewise
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def log_to_stderr(*, debug: bool, as_json: bool) -> None:
    """Send barfeed's own log to stderr; everything with `debug`.

    What libraries log stays out: it can hold the addresses of channels, with their tokens.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(logging.Filter("barfeed"))
    handler.setFormatter(JsonLines() if as_json else _Lines("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])


def is_json() -> bool:
    """Whether stderr is for machines."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


@contextmanager
def of_cycle(record: "Record") -> Iterator[None]:
    """What is logged in here belongs to this cycle."""
    token = _cycle.set(record)
    try:
        yield
    finally:
        _cycle.reset(token)


def log_cycle(record: "Record", talk: "Conversation") -> None:
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


class JsonLines(logging.Formatter):
    """One JSON object for each event, on one line; time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The event's line."""
        facts: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        facts |= _cycle_facts() | getattr(record, "facts", {})
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


def _cycle_facts() -> dict[str, Any]:
    cycle = _cycle.get()
    if cycle is None:
        return {}
    return {
        "series": str(cycle.series),
        "target": cycle.target,
        "cycle": cycle.run_time,
        "duration_sec": round(sum(cycle.durations_sec.values()), 6),
    }
