"""Follows the stream over one connection, and rings when a bar closes. The only module that knows websockets.

It lives in a thread of its own, and nobody waits for it: whatever becomes of it, the clock starts each cycle in time.
"""

import logging
import random
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import NamedTuple, TypedDict, Unpack

from websockets.exceptions import InvalidProxy, InvalidProxyStatus, InvalidStatus, ProxyError, WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from barfeed import __version__
from barfeed.domain.bars import Series
from barfeed.exchange.stream.wire import (
    Followed,
    is_silent,
    read_frame,
    reconnect_pause_sec,
    should_renew,
    stream_address,
)
from barfeed.exchange.transport.proxies import proxy_for
from barfeed.machine.clock import Clock

# A frame is some 400 bytes: more is none of this stream.
FRAME_BYTES_MAX = 64 * 1024
OPEN_TIMEOUT_SEC = 10.0
CLOSE_TIMEOUT_SEC = 1.0
# A connection that answers no ping is dead long before its silence would tell.
PING_EVERY_SEC = PONG_WITHIN_SEC = 20.0
# Where something is traded there are four frames a second; in quiet hours pauses of ten seconds have been seen.
SILENT_AFTER_SEC = 120.0
# A connection that was good for so long is good: told once, and not at every flicker.
GOOD_AFTER_SEC = 30.0
_LOOK_EVERY_SEC = 0.25

_log = logging.getLogger(__package__)


class _Down(Exception):
    """The connection ended, or there is none; `status` is the HTTP status that it was refused with."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Patience(TypedDict, total=False):
    """What a follower waits for, where it is not the usual."""

    jitter: Callable[[], float]
    silent_after_sec: float
    good_after_sec: float


class Heard(NamedTuple):
    """What a message was: a frame or, of no use, something else; and what there is to do where it closes a bar."""

    is_frame: bool
    on_close: Callable[[], None] | None = None


class Follower(ABC):
    """A connection followed from `start` to `stop`, anew whenever it ends; `of_what` is what messages call it.

    What it has counted can be read at any time, at once with `followed`: `connections` opened, `frames` of what is
    followed, `closes` among them, messages that were none (`ignored`), connections given up for their silence
    (`silences`).
    """

    def __init__(
        self,
        address: str,
        of_what: str,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        silent_after_sec: float = SILENT_AFTER_SEC,
        good_after_sec: float = GOOD_AFTER_SEC,
    ) -> None:
        self.address = address
        self.connections = self.frames = self.closes = self.ignored = self.silences = 0
        self.is_connected = False
        self._of_what = of_what
        self._clock = clock
        self._jitter = jitter
        self._silent_after_sec = silent_after_sec
        self._good_after_sec = good_after_sec
        self._opened_sec = 0.0
        self._frame_sec: float | None = None
        self._since_sec = clock.steady_sec()
        self._attempt = 0
        self._is_in_trouble = False
        self._stopping = Event()
        self._thread = Thread(target=self._follow, daemon=True, name="barfeed-stream")

    @abstractmethod
    def heard(self, data: bytes) -> Heard:
        """What a message says."""

    def to_say(self) -> Sequence[str]:
        """What is to be said now on the connection, which is number `connections`."""
        return ()

    @property
    def last_frame_age_sec(self) -> float:
        """How long ago the last frame came; before the first, how long one is waited for."""
        return self._clock.steady_sec() - (self._frame_sec or self._since_sec)

    def followed(self) -> Followed:
        """All of it, at this moment."""
        return Followed(
            self.connections, self.frames, self.closes, self.ignored, self.silences, self.is_connected,
            self.last_frame_age_sec,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the connection."""
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            status = None
            try:
                self._live()
            except _Down as down:
                status = down.status
                self._tell_down(down)
            except Exception:
                # The watch goes on by the clock, and the next connection may be without it.
                _log.exception("this is a bug in barfeed; report it")
            self._stopping.wait(reconnect_pause_sec(self._attempt, status, self._jitter()))
            self._attempt += 1

    def _live(self) -> None:
        """One connection, until it breaks, is silent, is old, or nobody wants it any more."""
        spread = self._jitter()
        with _translated(), self._connection() as line:
            just_closed = False
            while not self._stopping.is_set() and not should_renew(
                self._age_sec, just_closed=just_closed, jitter=spread
            ):
                just_closed = self._hear(line)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with connect(
            self.address,
            proxy=_proxy(self.address),
            open_timeout=OPEN_TIMEOUT_SEC,
            close_timeout=CLOSE_TIMEOUT_SEC,
            ping_interval=PING_EVERY_SEC,
            ping_timeout=PONG_WITHIN_SEC,
            max_size=FRAME_BYTES_MAX,
            user_agent_header=f"barfeed/{__version__}",
        ) as line:
            self.connections += 1
            self.is_connected = True
            self._opened_sec = self._clock.steady_sec()
            _log.debug("connected to %s", self.address)
            try:
                yield line
            finally:
                self.is_connected = False

    def _hear(self, line: Connection) -> bool:
        """Take one message, or none in a while; whether it was a closing frame."""
        for each in self.to_say():
            line.send(each)
        try:
            data = line.recv(timeout=min(_LOOK_EVERY_SEC, self._silent_after_sec), decode=False)
        except TimeoutError:
            heard = Heard(is_frame=False)
        else:
            heard = self.heard(data)
            self.ignored += not heard.is_frame
        if not heard.is_frame:
            self._refuse_silence()
            return False
        self._note_frame()
        if heard.on_close:
            self.closes += 1
            heard.on_close()
        return heard.on_close is not None

    def _note_frame(self) -> None:
        self.frames += 1
        self._frame_sec = self._clock.steady_sec()
        if self._age_sec < self._good_after_sec:
            return
        self._attempt = 0
        if self._is_in_trouble:
            self._is_in_trouble = False
            _log.info("the stream is back: a cycle starts at the closing frame again")

    def _refuse_silence(self) -> None:
        quiet_sec = self._clock.steady_sec() - max(self._opened_sec, self._frame_sec or 0.0)
        if is_silent(quiet_sec, self._silent_after_sec):
            self.silences += 1
            raise _Down(f"no frame of {self._of_what} in {self._silent_after_sec:g} s; check --stream-url if it stays")

    def _tell_down(self, down: _Down) -> None:
        # Once is enough: until it is back, it is tried again and again.
        _log.log(
            logging.DEBUG if self._is_in_trouble else logging.WARNING,
            "the stream %s is down: %s; until it is back, the clock starts each cycle",
            self.address,
            down,
        )
        self._is_in_trouble = True

    @property
    def _age_sec(self) -> float:
        return self._clock.steady_sec() - self._opened_sec


class Stream(Follower):
    """One series' stream; `ring` is told the open_time (ms) of each bar that closes."""

    def __init__(
        self, url: str, series: Series, ring: Callable[[int], None], clock: Clock, **patience: Unpack[Patience]
    ) -> None:
        super().__init__(stream_address(url, series), str(series), clock, **patience)
        self._series = series
        self._ring = ring

    def heard(self, data: bytes) -> Heard:
        """A frame of the series, or none."""
        frame = read_frame(data, self._series)
        if frame is None:
            return Heard(is_frame=False)
        return Heard(is_frame=True, on_close=partial(self._ring, frame.open_time_ms) if frame.is_closing else None)


def _proxy(address: str) -> str | None:
    try:
        return proxy_for(address)
    except ValueError:
        # Its text may hold a password.
        raise _Down("the proxy from the environment is no address") from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except InvalidStatus as refused:
        status = refused.response.status_code
        raise _Down(f"refused with HTTP {status}", status) from refused
    except InvalidProxyStatus as refused:
        raise _Down(f"the proxy refused with HTTP {refused.response.status_code}") from refused
    except (InvalidProxy, ProxyError) as problem:
        # Its text may hold a password.
        raise _Down(f"the proxy from the environment cannot be used: {type(problem).__name__}") from None
    except ssl.SSLCertVerificationError as problem:
        raise _Down(f"its TLS certificate cannot be trusted: {problem.verify_message!r}") from problem
    except ImportError:
        raise _Down("a SOCKS proxy needs python-socks, which is not installed: pip install 'barfeed[socks]'") from None
    # A host's name may be none by a UnicodeError.
    except (WebSocketException, OSError, UnicodeError) as problem:
        raise _Down(f"{type(problem).__name__}: {str(problem)[:300]}") from problem
