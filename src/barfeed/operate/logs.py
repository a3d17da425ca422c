"""The log: lines for people, or one JSON object a line for machines.

DEBUG is the wire, INFO what happened, WARNING what somebody should look at, ERROR what needs somebody.
"""

import json
import logging
import sys
import time
from typing import Any, TextIO

from barfeed.feed import cycle_log


def printable(text: str) -> str:
    """The text in one line that a terminal shows and does not obey: what is no letter or sign is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _Lines(logging.Formatter):
    """One line for each message, whatever foreign text is in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - likewise
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class ToStream(logging.StreamHandler[TextIO]):
    """Writes the log; a line that cannot be written, as on a full disk, is lost without a traceback in its place."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say nothing of the disk: there is nowhere to. What is a bug is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to_stderr(*, debug: bool, as_json: bool) -> None:
    """Send barfeed's own log to stderr; everything with `debug`.

    What libraries log stays out: it can hold the addresses of channels, with their tokens.
    """
    handler = ToStream(sys.stderr)
    handler.addFilter(logging.Filter("barfeed"))
    handler.setFormatter(JsonLines() if as_json else _Lines("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])


def is_json() -> bool:
    """Whether stderr is for machines."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


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
        facts |= cycle_log.facts() | getattr(record, "facts", {})
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)
