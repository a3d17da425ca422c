"""Where the exchange contradicts stored rows of a kind: its word, taken if it is within the terms and said twice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.acceptance import Terms, not_accepted
from barfeed.domain.errors import BarfeedError, Mismatch
from barfeed.domain.kinds import acceptance
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.market.telling import named
from barfeed.exchange.kinds.asking import Question
from barfeed.exchange.rest import Conversation
from barfeed.store.kinds.revisions import Change

# So many changes of a kind are logged; `revisions --kinds` has all.
_LOGGED_MAX = 20

_log = logging.getLogger(__name__)

Answer = Mapping[str, Sequence[Row]] | BarfeedError
Ask = Callable[[Sequence[Question]], Sequence[Answer]]


class Contested(NamedTuple):
    """A series of whose stored rows the exchange contradicts some, within the terms on which its word is taken."""

    question: Question
    mismatch: Mismatch
    changes: tuple[Change, ...]

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.question.series.symbol

    @property
    def news(self) -> list[Row]:
        """The rows as the exchange has them."""
        return [each.new for each in self.changes]

    def is_said_by(self, told: Sequence[Row]) -> bool:
        """Whether the very same is said of these rows."""
        said = {row.timestamp_ms: row.values for row in told}
        return all(said.get(row.timestamp_ms) == row.values for row in self.news)


def contested(
    question: Question, told: Sequence[Row], stored: Sequence[Row], mismatch: Mismatch, terms: Terms
) -> Contested:
    """It, where the mismatch is within the terms; raises it anew, saying why, where it is not."""
    pairs = acceptance.acceptable(question.kind, told, stored, mismatch, terms)
    symbol = question.series.symbol
    return Contested(question, mismatch, tuple(Change(symbol, old, new) for old, new in pairs))


def refusals(some: Sequence[Contested], talk: Conversation, pause_sec: float, ask: Ask) -> dict[str, Mismatch]:
    """Ask once more about all of them; why the exchange's word is not taken of those of which it is not said again."""
    _log.warning(
        "%s of %d series (%s) differs from the exchange; asking again in %g s, as --on-mismatch says",
        some[0].question.kind.name, len(some), named([each.symbol for each in some]), pause_sec,
    )  # fmt: skip
    talk.patience.wait_aside(pause_sec)
    answers = zip(some, ask([each.question for each in some]), strict=True)
    return {
        each.symbol: not_accepted(each.mismatch, why) for each, answer in answers if (why := _why_not(each, answer))
    }


def _why_not(each: Contested, answer: Answer) -> str:
    if isinstance(answer, BarfeedError):
        return f"asked again, {answer}"
    is_same = each.is_said_by(answer.get(each.symbol, ()))
    return "" if is_same else "asked again, the exchange said something else"


def tell(kind: Kind, changes: Sequence[Change]) -> None:
    """Log what was changed."""
    for change in changes[:_LOGGED_MAX]:
        said = ", ".join(f"{name} stored {old}, exchange {new}" for name, old, new in change.columns(kind))
        where = f"{change.symbol} {kind.name} {grid.text(change.old.timestamp_ms)}"
        _log.warning("%s: accepted the exchange's word, as --on-mismatch says: %s", where, said)
    if len(changes) > _LOGGED_MAX:
        _log.warning("%d more were accepted likewise; barfeed revisions has all", len(changes) - _LOGGED_MAX)
