"""Many questions at once without a socket: by a plain transport, and a clock that moves when it is slept on."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, TypeVar

from barfeed.domain.errors import BarfeedError
from barfeed.exchange.steps import Crowd, Pause, Step, Steps
from barfeed.exchange.transport.single import Transport
from barfeed.machine.clock import Clock

_Value = TypeVar("_Value")


class InTurn:
    """An `AskAll` with one request in flight: whoever is ready first goes on, and where nobody is the clock does."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    def __call__(self, questions: Sequence[Steps[_Value]], /) -> list[_Value | BarfeedError]:
        answers: list[Any] = [None] * len(questions)
        numbers = count()
        waiting = [(0.0, next(numbers), place) for place in range(len(questions))]
        heapify(waiting)
        while waiting:
            at_sec, _, place = heappop(waiting)
            self._clock.sleep(at_sec - self._clock.steady_sec())
            try:
                pause_sec = self._until_pause(questions[place])
                heappush(waiting, (self._clock.steady_sec() + pause_sec, next(numbers), place))
            except StopIteration as end:
                answers[place] = end.value
            except BarfeedError as error:
                answers[place] = error
        return answers

    def _until_pause(self, steps: Steps[Any]) -> float:
        """Go on until there is a pause, and how long it is; raises what the steps raise, and `StopIteration` last."""
        resume: Callable[[], Step] = partial(next, steps)
        while not isinstance(step := resume(), Pause):
            try:
                resume = partial(steps.send, self._transport(*step))
            except Exception as fault:
                resume = partial(steps.throw, fault)
        return step.sec


class EachInTurn(InTurn):
    """An `AskEach` in the same way: of each crowd so many are begun, and the next when one of them is answered."""

    def __call__(self, *crowds: Crowd[_Value]) -> Generator[_Value | None, None, None]:  # type: ignore[override]
        numbers = count()
        waiting: list[tuple[float, int, Crowd[_Value], Steps[_Value]]] = []

        def begin(crowd: Crowd[_Value]) -> None:
            if (steps := next(crowd.questions, None)) is not None:
                heappush(waiting, (self._clock.steady_sec(), next(numbers), crowd, steps))

        for crowd in crowds:
            for _ in range(crowd.at_once):
                begin(crowd)
        while waiting:
            at_sec, _, crowd, steps = heappop(waiting)
            if at_sec > self._clock.steady_sec():
                yield None
                self._clock.sleep(at_sec - self._clock.steady_sec())
            try:
                pause_sec = self._until_pause(steps)
                heappush(waiting, (self._clock.steady_sec() + pause_sec, next(numbers), crowd, steps))
            except StopIteration as end:
                yield end.value
                begin(crowd)
