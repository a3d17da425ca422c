"""What a cycle or a pass says of itself, matter by matter, to those who tell people. Pure."""

import math

from barfeed.domain.errors import INTERRUPTED_EXIT_CODE
from barfeed.exchange.rest import Conversation
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.record import Failure, Lived, Record
from barfeed.operate.alerts.crowd import Crowd
from barfeed.operate.alerts.troubles import Heard

# One of many is late in most hours, and a watch asks for it again within seconds.
_IN_TIME = frozenset({"bar_late", "kind_late", "exchange_unavailable"})
_BUG_HINT = "run it again with --debug and report what it prints"


def heard(record: Lived, talk: Conversation, max_skew_sec: float) -> list[Heard]:
    """What it says of itself as a whole, of its lake, and of the clock where the exchange told its own."""
    matters = [_ended("cycle", record.fed, record.failure, record.target or "")]
    if record.is_of_use or (record.away and not _is_the_failure(record.away, record.failure)):
        # The models have their windows all the same. What failed may not have come to its store.
        matters.append(_ended("store", record.fed, record.away, record.target or ""))
    if talk.time:
        is_off = abs(talk.time.skew_sec) > max_skew_sec
        status, said = ("clock_skew", talk.time.skew_text) if is_off else ("", "")
        hint = "set the machine's clock; the feed uses the exchange's"
        matters.append(Heard("clock", record.fed, status, said, hint))
    if isinstance(record, Record) and record.flat is not None:
        matters.append(_traded("market", record.fed, record.flat_text))
    if record.lake:
        matters.append(_ended("lake", record.fed, record.lake.failure))
    return matters + _of_kinds(record)


def _is_the_failure(away: Failure, failure: Failure | None) -> bool:
    """Whether nothing could stand in for the store, so that its trouble is told already, as what ended the cycle."""
    return failure is not None and failure.status == away.status


def _of_kinds(record: Lived) -> list[Heard]:
    """What it says of the kinds beside the bars: what is late is not lost, but what is missing may be, in time."""
    if record.kinds is None:
        return []
    matters = [
        _ended(f"kind {each.kind}", record.fed, each.worst)
        for each in record.kinds.kinds
        if each.worst is None or each.worst.status not in _IN_TIME
    ]
    if record.kinds.holes is not None:
        said = record.kinds.holes
        told, hint = "; ".join(text for text, _ in said), said[0][1] if said else ""
        matters.append(Heard("kinds", record.fed, "kind_missing" if said else "", told, hint))
    return matters


def crowds(record: Lived, talk: Conversation, patience_sec: float) -> list[Crowd]:
    """What a pass says of its series; nothing where it failed as a whole, leaves some to the clock, or is of one.

    Of what time may mend it says nothing until `patience_sec` after the close, or half of a short interval.
    """
    if not isinstance(record, MarketRecord) or record.failure or record.is_early:
        return []
    # What is halted or settled is nobody's trouble.
    well = [each for each in record.outcomes.values() if not (each.failure or each.quiet)]
    fed = {each.symbol: f"{each.symbol} {record.interval}" for each in (*record.troubles, *well)}
    unsaid = _IN_TIME if _waited_sec(record, talk) < min(patience_sec, record.interval.ms / 2000) else ()
    ended = [
        _ended(f"series {symbol}", name, record.outcomes[symbol].failure)
        for symbol, name in fed.items()
        if record.outcomes[symbol].status not in unsaid
    ]
    traded = [_traded(f"market {each.symbol}", fed[each.symbol], each.flat_text) for each in well]
    return [
        Crowd("series", record.fed, ended, fed, record.target or ""),
        Crowd("market", record.fed, traded, fed),
    ]


def _waited_sec(record: MarketRecord, talk: Conversation) -> float:
    """How long ago the target closed; for ever where the exchange did not tell the time."""
    if not talk.time or record.target_ms is None:
        return math.inf
    return (talk.now_ms - record.target_ms - record.interval.ms) / 1000


def _ended(matter: str, series: str, failure: Failure | None, newest: str = "") -> Heard:
    if not failure or not failure.exit_code:
        return Heard(matter, series, newest=newest)
    is_bug = failure.exit_code == INTERRUPTED_EXIT_CODE
    status, hint = ("bug", _BUG_HINT) if is_bug else (failure.status, failure.hint)
    return Heard(matter, series, status, failure.message, hint)


def _traded(matter: str, series: str, said: str) -> Heard:
    status = "not_traded" if said else ""
    return Heard(matter, series, status, said, "see what the exchange says of the symbol")
