"""How a command is asked to end: a signal raises `Stopped` in whatever the main thread does just then."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from barfeed.machine.clock import SystemClock

# What a person, a closed terminal or a supervisor sends to end a command; each system lacks some.
ENDING = tuple(
    signal.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGBREAK")
    if name in signal.Signals.__members__
)
# With these it was begun so as to outlive its terminal: `nohup`, or a shell's `&`.
_OUTLIVED = {"SIGHUP", "SIGQUIT"}
# `timeout` and a terminal may send two for one wish: the second must not break into the end.
_ONE_WISH_SEC = 1.0


class Stopped(BaseException):
    """A signal asked the command to end; `exit_code` is what a shell says of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


class _Wish:
    """The last signal, for where a library made something else of what its handler raised."""

    stopped: Stopped | None = None
    at_sec = float("-inf")
    is_put_off = False


def stop_on_signals() -> None:
    """Let each signal that ends a command raise `Stopped`; a later one again, so that none is the last that is heard.

    Who began it with `nohup` wants it to go on when the terminal is closed: it does.
    """
    clock = SystemClock()

    def stop(number: int, _frame: object) -> None:
        now_sec = clock.steady_sec()
        if now_sec - _Wish.at_sec < _ONE_WISH_SEC:
            return
        _Wish.stopped, _Wish.at_sec = Stopped(number), now_sec
        if not _Wish.is_put_off:
            raise _Wish.stopped

    for each in ENDING:
        if each.name not in _OUTLIVED or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)


@contextmanager
def put_off() -> Iterator[None]:
    """Let a signal wait until the end of the block, which begins what only its end can name: raises `Stopped` there."""
    before = _Wish.stopped
    _Wish.is_put_off = True
    try:
        yield
    finally:
        _Wish.is_put_off = False
        if _Wish.stopped and _Wish.stopped is not before:
            raise _Wish.stopped


def asked() -> BaseException:
    """What the last signal's handler raised; without `stop_on_signals` that is Python's own."""
    return _Wish.stopped or KeyboardInterrupt()
