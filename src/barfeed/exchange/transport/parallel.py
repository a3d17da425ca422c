"""Several requests in flight, their answers in the order they were asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

# So many answers may wait for their turn, for each thread.
_AHEAD = 2


def in_order(
    jobs: Iterable[_Job], start_worker: Callable[[], Callable[[_Job], _Answer]], threads: int
) -> Iterator[_Answer]:
    """Each job's answer, in the order of the jobs, from `threads` threads that each have a worker of their own.

    What a worker raises is raised here, in its job's place; no job is begun after that, or after the end.
    """
    waiting: SimpleQueue[tuple[Future[_Answer], _Job] | None] = SimpleQueue()

    def live() -> None:
        work = start_worker()
        while told := waiting.get():
            future, job = told
            if future.set_running_or_notify_cancel():
                _settle(future, work, job)

    # Daemons: a process that was told to end does not wait for answers.
    for number in range(threads):
        Thread(target=live, daemon=True, name=f"barfeed-fetch-{number}").start()
    asked: deque[Future[_Answer]] = deque()
    try:
        yield from _answers(jobs, asked, waiting, threads * _AHEAD)
    finally:
        for future in asked:
            future.cancel()
        for _ in range(threads):
            waiting.put(None)


def _answers(
    jobs: Iterable[_Job],
    asked: deque[Future[_Answer]],
    waiting: "SimpleQueue[tuple[Future[_Answer], _Job] | None]",
    room: int,
) -> Iterator[_Answer]:
    for job in jobs:
        future: Future[_Answer] = Future()
        asked.append(future)
        waiting.put((future, job))
        if len(asked) >= room:
            yield asked.popleft().result()
    while asked:
        yield asked.popleft().result()


def _settle(future: "Future[_Answer]", work: Callable[[_Job], _Answer], job: _Job) -> None:
    try:
        answer = work(job)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(answer)
