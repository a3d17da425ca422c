"""Ever more questions, to several servers, whose answers are taken as they come."""

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from barfeed.exchange.steps import AskEach, Crowd, Pause, Step, Steps
from barfeed.exchange.transport.together import (
    IN_FLIGHT,
    Line,
    awaited,
    cancelled,
    closed,
    got,
    loop_beside,
    opened,
    way_to,
)
from barfeed.machine.clock import SLICE_SEC, Clock

# Who waits for answers is told as often that none came.
_LOOK_EVERY_SEC = 1.0


@contextmanager
def asking_each(base_urls: Sequence[str], clock: Clock, in_flight: int = IN_FLIGHT) -> Iterator[AskEach]:
    """As `asking_together`, for questions to several servers, whose answers are taken as they come."""
    ways = {url: way_to(url) for url in base_urls}
    with loop_beside() as loop:
        lines = {url: awaited(loop, opened(way, in_flight)) for url, way in ways.items()}
        try:
            yield partial(_as_they_come, loop, lines, clock)
        finally:
            for line in lines.values():
                awaited(loop, closed(line))


def _as_they_come(
    loop: asyncio.AbstractEventLoop, lines: Mapping[str, Line], clock: Clock, *crowds: Crowd[Any]
) -> Generator[Any, None, None]:
    answers = _Answers()
    asked = asyncio.run_coroutine_threadsafe(_Stream(lines, clock, answers).ask(crowds), loop)
    try:
        while not answers.are_all:
            yield from answers.next(loop)
        asked.result()
    finally:
        asked.cancel()


class _Answers:
    """What came and was not taken yet, each with the room that it takes up in its crowd."""

    def __init__(self) -> None:
        self._came: SimpleQueue[tuple[asyncio.Semaphore, Any] | None] = SimpleQueue()
        self.are_all = False

    def put(self, answer: tuple[asyncio.Semaphore, Any] | None) -> None:
        """One more, or None behind the last."""
        self._came.put(answer)

    def next(self, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
        """The next, or None where none comes for a while; nothing at the end."""
        try:
            came = self._came.get(timeout=_LOOK_EVERY_SEC)
        except Empty:
            yield None
            return
        if came is None:
            self.are_all = True
            return
        room, answer = came
        loop.call_soon_threadsafe(room.release)
        yield answer


class _Stream:
    """Crowds of questions on their way, by as many workers as each has at once."""

    def __init__(self, lines: Mapping[str, Line], clock: Clock, answers: _Answers) -> None:
        self._lines = lines
        self._clock = clock
        self._answers = answers

    async def ask(self, crowds: Sequence[Crowd[Any]]) -> None:
        """Until all are answered; raises a bug of one."""
        workers = []
        for crowd in crowds:
            room = asyncio.Semaphore(2 * crowd.at_once)
            workers += [asyncio.create_task(self._work(crowd.questions, room)) for _ in range(crowd.at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            await cancelled(workers)
            self._answers.put(None)

    async def _work(self, questions: Iterator[Steps[Any]], room: asyncio.Semaphore) -> None:
        while True:
            await room.acquire()
            # Only then: what is begun shall not wait.
            if (steps := next(questions, None)) is None:
                return
            with closing(steps):
                self._answers.put((room, await self._answer(steps)))

    async def _answer(self, steps: Steps[Any]) -> Any:
        resume: Callable[[], Step] = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                await self._pause(self._clock.steady_sec() + step.sec)
                resume = partial(next, steps)
            else:
                resume = await got(steps, step, self._line(step.url))

    async def _pause(self, end_sec: float) -> None:
        """Until a steady second, in slices as in a `_Crowd`."""
        while (left_sec := end_sec - self._clock.steady_sec()) > 0:
            await asyncio.sleep(min(left_sec, SLICE_SEC))

    def _line(self, url: str) -> Line:
        return next(line for base_url, line in self._lines.items() if url.startswith(base_url.rstrip("/") + "/"))
