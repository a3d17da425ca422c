"""Waiting with a ceiling that only what never comes reaches, however busy the machine is."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

# Only a wait for ever takes as long, on the busiest machine too.
LONGEST_SEC = 60.0

_Value = TypeVar("_Value")


def until(happened: Callable[[], object], look_every_sec: float = 0.01) -> None:
    """Wait until it has; the test fails where it never does."""
    end_sec = time.monotonic() + LONGEST_SEC
    while not happened():
        assert time.monotonic() < end_sec, "it did not happen"
        time.sleep(look_every_sec)


def in_time(do: Callable[[], _Value]) -> _Value:
    """What `do` gives or raises; `TimeoutError` where it never ends: left behind in a thread, it holds up no other."""
    done: Future[_Value] = Future()

    def run() -> None:
        try:
            done.set_result(do())
        except BaseException as problem:
            # It is raised where the result is asked for.
            done.set_exception(problem)

    Thread(target=run, daemon=True).start()
    return done.result(LONGEST_SEC)
