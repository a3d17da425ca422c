"""One connection to the stream, without its socket: what is heard on it, and what is said next."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from barfeed.replay.faults.script import Fault
from barfeed.replay.stream.frames import combined
from barfeed.replay.stream.timetable import Said, Speaker, Strikes, Timetable

ROUTES = ("/market", "/public", "")
LIFE_MS = 24 * 3_600_000
STREAMS_MAX = 1024
# Ten a second are allowed; as measured a burst of fifteen passes, and one of forty does not.
HEARD_MAX, HEARD_WITHIN_SEC = 20, 1.0
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
GOING_AWAY, POLICY = 1001, 1008


class Message(NamedTuple):
    """Something that is sent: text, or binary."""

    data: str | bytes


class Goodbye(NamedTuple):
    """The connection ends with this code; without one the line is cut."""

    code: int | None
    reason: str = ""


Out = Message | Goodbye


class Door(NamedTuple):
    """What a connection was opened at."""

    is_routed: bool
    is_combined: bool
    streams: tuple[str, ...]


def door(path: str, query: str) -> Door | None:
    """`/market/ws/a/b`, `/market/stream?streams=a/b` and the same without a route; None for anything else."""
    for route in ROUTES:
        rest = unquote(path).removeprefix(route) if path.startswith(route) else ""
        if rest == "/stream":
            return Door(route == "/market", True, _names(dict(parse_qsl(query)).get("streams", "")))
        if rest == "/ws" or rest.startswith("/ws/"):
            return Door(route == "/market", False, _names(rest.removeprefix("/ws")))
    return None


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split("/")))


# A stream's speaker by its name, None where nobody knows it: how many of the connection speak, and what time it is.
Speakers = Callable[[str, int, int], Speaker | None]


class Session:
    """Subscriptions and what they were told. Any name is acknowledged; only those that `speakers` knows ever speak."""

    def __init__(self, door: Door, speakers: Speakers, now_ms: Callable[[], int], strikes: Strikes) -> None:
        self._door = door
        self._speakers = speakers
        self._now_ms = now_ms
        self._strikes = strikes
        self._opened_ms = now_ms()
        self._streams = Timetable()
        self._heard_sec: deque[float] = deque(maxlen=HEARD_MAX)
        self._subscribe(door.streams)

    def hear(self, message: str | bytes, at_sec: float) -> list[Out]:
        """The answer to something that the client sent at a steady second."""
        crowded = len(self._heard_sec) == HEARD_MAX and at_sec - self._heard_sec[0] < HEARD_WITHIN_SEC
        self._heard_sec.append(at_sec)
        if crowded:
            return [Goodbye(POLICY, "Too many requests")]
        try:
            asked = json.loads(message)
        except (ValueError, RecursionError):
            return [_error(3, "Invalid JSON: expected value at line 1 column 1")]
        return self._answer(asked if isinstance(asked, dict) else {})

    def due(self) -> list[Out]:
        """What is to be said now."""
        if len(self._streams) > STREAMS_MAX:
            return list(_TOO_MANY)
        now_ms = self._now_ms()
        faults = self._strikes(now_ms)
        said: list[Out] = []
        for each in self._streams.due(now_ms, self._strikes):
            said += _bent(self._wrapped(each), [fault for fault in faults if fault.is_about(each.symbol, now_ms)])
        for fault in faults:
            if fault.kind == "disconnect":
                said = [Goodbye(fault.args.get("close_code"))]
        if now_ms - self._opened_ms >= LIFE_MS:
            said.append(Goodbye(GOING_AWAY))
        return said

    def _wrapped(self, said: Said) -> str:
        return combined(said.stream, said.frame) if self._door.is_combined else said.frame

    def _answer(self, asked: dict[str, Any]) -> list[Out]:
        method, names = asked.get("method"), asked.get("params", [])
        if method not in METHODS:
            expected = ", ".join(f"`{each}`" for each in METHODS)
            return [_error(2, f"Invalid request: unknown variant {method}, expected one of {expected}")]
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            return [_error(2, "Invalid request: params must be an array of stream names")]
        if method == "SUBSCRIBE" and len({*self._streams, *names}) > STREAMS_MAX:
            return list(_TOO_MANY)
        if method == "SUBSCRIBE":
            self._subscribe(names)
        if method == "UNSUBSCRIBE":
            for name in names:
                self._streams.remove(name)
        listed = list(self._streams) if method == "LIST_SUBSCRIPTIONS" else None
        return [_message({"result": listed, "id": asked.get("id")})]

    def _subscribe(self, names: Iterable[str]) -> None:
        now_ms = self._now_ms()
        for name in names:
            if name not in self._streams:
                known = self._door.is_routed
                self._streams.add(name, self._speakers(name, self._streams.speaking, now_ms) if known else None)


def _message(body: dict[str, Any]) -> Message:
    return Message(json.dumps(body, separators=(",", ":")))


def _error(code: int, text: str) -> Message:
    return _message({"error": {"code": code, "msg": text}})


_TOO_MANY = (_error(4, "Too many subscriptions"), Goodbye(POLICY, "Invalid request"))


def _bent(frame: str, faults: Sequence[Fault]) -> list[Message]:
    """What is left of a frame by the faults of this moment that are about its symbol."""
    said = [Message(frame)]
    for fault in faults:
        if fault.kind == "garbage":
            text = fault.args["text"] * fault.args.get("times", 1)
            said = [Message(text.encode() if fault.args.get("binary") else text) for _ in said]
        elif fault.kind == "silence":
            said = []
    return said
