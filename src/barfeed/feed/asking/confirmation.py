"""A pull that the exchange has to say twice: two answers that differ are not closed yet."""

import logging
from typing import NamedTuple

from barfeed.domain import grid, rules
from barfeed.domain.bars import Pull
from barfeed.domain.errors import BarfeedError, BarLate
from barfeed.domain.rules import Asked
from barfeed.exchange.rest import Conversation

# Two answers of one moment confirm nothing, and an exchange that never settles must not be asked without a pause.
LEAST_PAUSE_SEC = 1.0

_log = logging.getLogger(__name__)


class Confirmed(NamedTuple):
    """The last answer, and what keeps it from being confirmed: it is evidence too, and raised once that is saved."""

    pull: Pull
    trouble: BarfeedError | None = None


def confirm(talk: Conversation, asked: Asked, pull: Pull, pause_sec: float) -> Confirmed:
    """Ask again after `pause_sec`, until two answers in a row are the same or the patience ends."""
    # The first pause is as planned as settling is; those after it are the exchange's doing.
    pause_sec = max(pause_sec, LEAST_PAUSE_SEC)
    talk.patience.wait_aside(pause_sec)
    while True:
        try:
            again = talk.closed_bars(asked)
        except BarfeedError as error:
            return Confirmed(pull, error)
        if again == pull:
            return Confirmed(again)
        differing = unsettled(asked, pull, again)
        pull = again
        if pause_sec >= talk.patience.left_sec:
            return Confirmed(pull, differing)
        _log.info("%s; asking again in %g s", differing, pause_sec)
        talk.count_retry("unsettled")
        talk.patience.pause(pause_sec)


def unsettled(asked: Asked, first: Pull, second: Pull) -> BarLate:
    """What there is to say of two answers that differ."""
    differing = [
        found._replace(rule="confirmed", message=found.message.replace("stored", "first").replace("exchange", "then"))
        for found in rules.compare(first.bars, second.bars)
    ]
    what = differing[0] if differing else _beside(first, second)
    return BarLate(
        f"{asked.series}: the exchange has not said {grid.text(asked.target_ms)} twice yet; {what}", findings=differing
    )


def _beside(first: Pull, second: Pull) -> str:
    """What else it is that differs."""
    if first.bars != second.bars:
        return "its two answers are not of the same bars"
    return "its two answers differ in what they tell beside the bars: close time, quote volume, trades or takers' share"
