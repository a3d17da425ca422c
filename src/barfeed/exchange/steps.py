"""Asking as steps: what is to be done next, told to whoever does it, for one question or for many at once.

A generator yields a `Get`, and is sent the answer or thrown what the request came to; or a `Pause`, and is resumed when
it is over. What it returns is what was asked for. Nothing here waits or touches a socket but the one who drives it.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from barfeed.domain.errors import BarfeedError
from barfeed.exchange.transport.single import Transport
from barfeed.machine.clock import Clock

_Value = TypeVar("_Value")


class Get(NamedTuple):
    """Ask for `url`, now; its whole answer may take `left_sec` seconds."""

    url: str
    left_sec: float


class Pause(NamedTuple):
    """Go on in `sec` seconds."""

    sec: float


Step = Get | Pause
Steps = Generator[Step, Any, _Value]


class AskAll(Protocol):
    """Drives the steps of many questions at once: for each, in their order, what it came to or why it came to nothing.

    What else one raises, a bug or a signal, is raised, and the others end where they are.
    """

    def __call__(self, questions: Sequence[Steps[_Value]], /) -> list[_Value | BarfeedError]:
        """As above."""
        ...


class Crowd(NamedTuple, Generic[_Value]):
    """Questions that are begun one after the other, so many of them at once."""

    questions: Iterator[Steps[_Value]]
    at_once: int


class AskEach(Protocol):
    """Drives the steps of ever more questions, some of each crowd at once; one crowd's pauses hold up no other.

    No more of a crowd is begun while as many answers of it again wait to be taken.
    """

    def __call__(self, *crowds: Crowd[_Value]) -> Generator[_Value | None, None, None]:
        """What each comes to, as it comes; None where nothing came for about a second. Raises what one raises."""
        ...


def drive(steps: Steps[_Value], transport: Transport, clock: Clock) -> _Value:
    """What the steps return, each done when it comes; raises what they raise."""
    resume: Callable[[], Step] = partial(next, steps)
    with closing(steps):
        while True:
            try:
                step = resume()
            except StopIteration as end:
                value: _Value = end.value
                return value
            resume = _done(step, steps, transport, clock)


class OneByOne(NamedTuple):
    """An `AskAll` over one connection: for few questions, and without a library of its own."""

    transport: Transport
    clock: Clock

    def __call__(self, questions: Sequence[Steps[_Value]], /) -> list[_Value | BarfeedError]:
        """What each comes to, in their order."""
        return [self._asked(each) for each in questions]

    def _asked(self, steps: Steps[_Value]) -> _Value | BarfeedError:
        try:
            return drive(steps, self.transport, self.clock)
        except BarfeedError as error:
            return error


def _done(step: Step, steps: Steps[Any], transport: Transport, clock: Clock) -> Callable[[], Step]:
    """How to go on: what the transport raises is raised where the steps asked."""
    if isinstance(step, Pause):
        clock.sleep(step.sec)
        return partial(next, steps)
    try:
        return partial(steps.send, transport(*step))
    except Exception as fault:
        return partial(steps.throw, fault)
