"""Something done beside the cycle, that may take as long as it likes: nobody waits for it longer than they want."""

import logging
from collections.abc import Callable
from threading import Thread

from barfeed.machine.clock import Clock

# An answer that drips never ends, and its end is waited for by the library that asked.
HANGS_AFTER_SEC = 60.0
# So many that hang are enough to know.
HANGING_MAX = 5

_log = logging.getLogger(__name__)


class BackgroundTask:
    """One piece of work at a time: what comes while the last is not done, is not done, unless that one hangs.

    It never keeps a process alive.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._threads: list[Thread] = []
        self._begun_sec = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether the last one is not done yet."""
        return bool(self._threads) and self._threads[-1].is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin, if the last one is done, or has taken so long that it is left to itself."""
        now_sec = self._clock.steady_sec()
        is_busy = self.is_busy
        self._threads = [each for each in self._threads if each.is_alive()]
        if is_busy and (now_sec - self._begun_sec < HANGS_AFTER_SEC or len(self._threads) >= HANGING_MAX):
            return
        self._begun_sec = now_sec
        self._threads.append(Thread(target=self._do, args=(work,), daemon=True, name=f"barfeed-{self._name}"))
        self._threads[-1].start()

    def wait(self, sec: float) -> None:
        """Wait for its end, at most `sec` seconds."""
        if self._threads:
            self._threads[-1].join(sec)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as bug:
            # Its text may hold an address with a token.
            _log.error("%s: this is a bug in barfeed; report it: %s", self._name, type(bug).__name__)
