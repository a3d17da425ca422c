"""Something done beside the cycle, that may take as long as it likes: nobody waits for it longer than they want."""

import logging
from collections.abc import Callable
from threading import Thread

_log = logging.getLogger(__name__)


class Errand:
    """One errand at a time: what comes while the last is not done, is not done. It never keeps a process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last one is not done yet."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin, if the last one is done."""
        if not self.is_busy:
            self._thread = Thread(target=self._do, args=(work,), daemon=True, name=f"barfeed-{self._name}")
            self._thread.start()

    def wait(self, sec: float) -> None:
        """Wait for its end, at most `sec` seconds."""
        if self._thread is not None:
            self._thread.join(sec)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as bug:
            # Its text may hold an address with a token.
            _log.error("%s: this is a bug in barfeed; report it: %s", self._name, type(bug).__name__)
