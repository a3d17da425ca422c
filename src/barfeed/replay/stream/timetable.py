"""What is due on one connection: its streams by when each has something to say, so that who is silent costs nothing."""

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

from barfeed.replay.faults.script import Fault

Strikes = Callable[[int], Sequence[Fault]]


class Said(NamedTuple):
    """A frame, the stream it is of, and the symbol it is about."""

    stream: str
    symbol: str
    frame: str


class Speaker(Protocol):
    """A stream as it is subscribed to on a connection."""

    @property
    def next_ms(self) -> int:
        """When it may have something to say."""
        ...

    def due(self, now_ms: int, strikes: Strikes) -> list[tuple[str, str]]:
        """What it says now, each with its symbol; `strikes` tells the faults of a moment."""
        ...


class Timetable:
    """The streams of a connection by their names, in the order they came; a name that nobody knows is silent."""

    def __init__(self) -> None:
        self._speakers: dict[str, Speaker | None] = {}
        self._next: list[tuple[int, str]] = []
        self._said_ms = 0

    def __len__(self) -> int:
        return len(self._speakers)

    def __contains__(self, name: str) -> bool:
        return name in self._speakers

    def __iter__(self) -> Iterator[str]:
        return iter(self._speakers)

    @property
    def speaking(self) -> int:
        """How many of them somebody knows."""
        return len(self._next)

    def add(self, name: str, speaker: Speaker | None) -> None:
        """Begin with a stream."""
        self._speakers[name] = speaker
        if speaker:
            heappush(self._next, (speaker.next_ms, name))

    def remove(self, name: str) -> None:
        """End one, if it is there."""
        if self._speakers.pop(name, None):
            self._next = [each for each in self._next if each[1] != name]
            heapify(self._next)

    def due(self, now_ms: int, strikes: Strikes) -> list[Said]:
        """What is said now."""
        if now_ms < self._said_ms:
            # The clock was put back: whoever waits for a later moment would wait too long.
            self._next = [(now_ms, name) for _, name in self._next]
        self._said_ms = now_ms
        said = []
        for name, speaker in self._ready(now_ms):
            said += [Said(name, *each) for each in speaker.due(now_ms, strikes)]
            heappush(self._next, (max(speaker.next_ms, now_ms + 1), name))
        return said

    def _ready(self, now_ms: int) -> Iterator[tuple[str, Speaker]]:
        while self._next and self._next[0][0] <= now_ms:
            _, name = heappop(self._next)
            if speaker := self._speakers[name]:
                yield name, speaker
