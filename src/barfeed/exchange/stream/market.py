"""The streams of a market: each series subscribed to, on as many connections as the exchange's limits make of them.

A wrong name is acknowledged and silent, a connection with one stream too many is ended with all of them: so no name is
made up, and none is asked for beyond what is left. Who is not heard is fed by the clock.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from threading import Lock
from typing import Protocol, Unpack

from barfeed.domain.bars import Series
from barfeed.exchange.stream.follower import Follower, Heard, Patience
from barfeed.exchange.stream.wire import (
    CONTRACTS,
    SPEAK_EVERY_SEC,
    STREAMS_FILLED,
    Contract,
    Followed,
    market_address,
    read_combined,
    requests,
    stream_name,
)
from barfeed.machine.clock import Clock


class Ear(Protocol):
    """Who is told what the streams say; in the thread of each."""

    def closed(self, series: Series, open_time_ms: int) -> None:
        """A bar's closing frame came."""
        ...

    def contract(self, told: Contract) -> None:
        """Something became of a symbol."""
        ...


class MarketStream:
    """The streams of many series, which may become others; begun with the first of them, and followed until `stop`."""

    def __init__(self, url: str, ear: Ear, clock: Clock, **patience: Unpack[Patience]) -> None:
        self._open = partial(_Lane, url, ear, clock, **patience)
        self._lanes: list[_Lane] = []

    def follow(self, series: Iterable[Series]) -> None:
        """Follow these, and no others: what is new is subscribed to, what is gone is let go."""
        wanted = {stream_name(each): each for each in series}
        for lane in self._lanes:
            lane.keep(wanted)
        held = {name for lane in self._lanes for name in lane.names}
        new = {name: each for name, each in wanted.items() if name not in held}
        for lane in self._lanes:
            new = lane.take(new)
        while new:
            lane = self._open(tells_contracts=not self._lanes, number=len(self._lanes) + 1)
            new = lane.take(new)
            self._lanes.append(lane)
            lane.start()

    def followed(self) -> Followed:
        """What has come of all the connections, at this moment."""
        told = [lane.followed() for lane in self._lanes]
        return Followed(
            connections=sum(each.connections for each in told),
            frames=sum(each.frames for each in told),
            closes=sum(each.closes for each in told),
            ignored=sum(each.ignored for each in told),
            silences=sum(each.silences for each in told),
            is_connected=bool(told) and all(each.is_connected for each in told),
            frame_age_sec=max((each.frame_age_sec for each in told), default=0.0),
        )

    def stop(self) -> None:
        """Let go of the connections."""
        for lane in self._lanes:
            lane.stop()


class _Lane(Follower):
    """One connection, and the streams that are subscribed to on it."""

    def __init__(
        self,
        url: str,
        ear: Ear,
        clock: Clock,
        *,
        tells_contracts: bool,
        number: int,
        **patience: Unpack[Patience],
    ) -> None:
        super().__init__(market_address(url), f"the market, on connection {number}", clock, **patience)
        self._ear = ear
        self._lock = Lock()
        self._wanted: dict[str, Series] = {}
        self._always = {CONTRACTS} if tells_contracts else set()
        # On which connection it was subscribed to what; and whether that is all that is wanted.
        self._subscribed_on = 0
        self._subscribed: set[str] = set()
        self._is_all_said = False
        self._next_id = 1
        self._may_speak_sec = 0.0

    @property
    def names(self) -> Iterable[str]:
        """The streams that are to be subscribed to."""
        return list(self._wanted)

    def keep(self, wanted: Mapping[str, Series]) -> None:
        """Let go of all that is not among these."""
        with self._lock:
            kept = {name: each for name, each in self._wanted.items() if name in wanted}
            self._is_all_said &= len(kept) == len(self._wanted)
            self._wanted = kept

    def take(self, new: Mapping[str, Series]) -> dict[str, Series]:
        """Subscribe to as many of these as there is room for; the others."""
        with self._lock:
            room = max(0, STREAMS_FILLED - len(self._wanted))
            items = list(new.items())
            self._is_all_said &= not items[:room]
            self._wanted = self._wanted | dict(items[:room])
        return dict(items[room:])

    def to_say(self) -> list[str]:
        """What makes the subscriptions what they are to be, as fast as the exchange lets it be said."""
        if self._subscribed_on != self.connections:
            self._subscribed_on, self._subscribed, self._is_all_said, self._may_speak_sec = (
                self.connections,
                set(),
                False,
                0.0,
            )
        if self._is_all_said or self._clock.steady_sec() < self._may_speak_sec:
            return []
        with self._lock:
            wanted, self._is_all_said = {*self._wanted, *self._always}, True
        self._may_speak_sec = self._clock.steady_sec() + SPEAK_EVERY_SEC
        # What is let go comes first: there may be no room for both.
        said = self._asked("UNSUBSCRIBE", self._subscribed - wanted)
        said += self._asked("SUBSCRIBE", wanted - self._subscribed)
        self._subscribed = wanted
        return said

    def heard(self, data: bytes) -> Heard:
        """A frame of one of the series, or an event, or none."""
        told = read_combined(data, self._wanted)
        if told is None:
            return Heard(is_frame=False)
        if isinstance(told, Contract):
            self._ear.contract(told)
            return Heard(is_frame=True)
        is_closing = told.frame.is_closing
        series, open_time_ms = self._wanted.get(told.stream), told.frame.open_time_ms
        return Heard(True, partial(self._ear.closed, series, open_time_ms) if is_closing and series else None)

    def _asked(self, method: str, names: Iterable[str]) -> list[str]:
        said = requests(method, sorted(names), self._next_id)
        self._next_id += len(said)
        return said
