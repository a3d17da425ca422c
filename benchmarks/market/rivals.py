"""A contender as a process that lives on: a pass for each line of its input, told by its seconds."""

import asyncio
import sys
import time
from typing import Protocol


class Living(Protocol):
    """What lives a pass when it is told to."""

    async def live(self) -> int:
        """One pass; the weight that the exchange told then, 0 where nobody looked."""

    async def close(self) -> None:
        """Let go of connections."""


def live_on(rival: Living, *, once: bool = False) -> None:
    """A pass for each line of input, answered by its seconds, those of a processor, and its weight."""
    with asyncio.Runner() as runner:
        for _ in [""] if once else sys.stdin:
            wall_sec, cpu_sec = time.perf_counter(), time.process_time()
            weight = runner.run(rival.live())
            print(time.perf_counter() - wall_sec, time.process_time() - cpu_sec, weight, flush=True)
        runner.run(rival.close())
