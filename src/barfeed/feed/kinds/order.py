"""What a feed is asked to do about kinds, and what a pass that gathers them works with."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from barfeed.artifacts.writing import Make, Written
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Interval, Pull, Series
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.plan import Reach, repair
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll

# Saves what it is given the writing of.
Save = Callable[[Make], Written]
# The bars that this pass pulled of these symbols.
PullsOf = Callable[[Sequence[str]], Mapping[str, Pull]]


class KindsOrder(NamedTuple):
    """Which kinds a feed has beside its bars, how far back it asks, and how long for one series of one kind.

    `views_of`: of which symbols readers find a view. `accept`: on which terms the exchange's word is taken over the
    store's, None where never. `repaired_by`: the command that mends a kind of a series, as it would be typed here.
    """

    kinds: tuple[Kind, ...]
    reach: Reach
    wait_sec: float
    dry_run: bool = False
    views_of: tuple[str, ...] = ()
    accept: Terms | None = None
    repaired_by: Callable[[Series, Kind], str] = repair


class Moment(NamedTuple):
    """When a pass gathers kinds: at which interval, within which conversation, with which bars of its own at hand.

    `save` saves what the exchange said, as evidence. `until_ms` is until when limits are waited for, by the exchange's
    clock; None where they are waited out. `run_time` names the pass.
    """

    interval: Interval
    talk: Conversation
    ask: AskAll
    pulls: PullsOf
    save: Save
    until_ms: int | None = None
    run_time: str = ""
