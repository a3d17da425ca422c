"""What must not wait: done in a thread that is left behind where it does; the test fails and the run goes on."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

# Only a wait for ever takes as long, on the busiest machine too.
LONGEST_SEC = 60.0

_Value = TypeVar("_Value")


def in_time(do: Callable[[], _Value]) -> _Value:
    """What `do` gives or raises; `TimeoutError` where it is not done in time."""
    done: Future[_Value] = Future()

    def run() -> None:
        try:
            done.set_result(do())
        except BaseException as problem:
            # It is raised where the result is asked for.
            done.set_exception(problem)

    Thread(target=run, daemon=True).start()
    return done.result(LONGEST_SEC)
