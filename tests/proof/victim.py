"""Real processes for the model, cheap enough to be killed by the hundred: each is forked from one that has all imports.

`python -m proof.victim` reads one JSON order a line and answers each with how its process ended:
    {"ground": "Ground", "folder": ..., "now_ms": ..., "faults": TOML, "command": "feed", "flags": {...}, "die_at": 17}
The process lives one command of the model's world on its own and kills itself, truly, at its `die_at`-th effect on the
disk or the database; at 0 it lives to the end. Several orders in one line live at the same time.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

# As in killed.py: calls out of Python that the disk or the database could see.
EFFECTS = frozenset(
    {"execute", "fetchall", "fsync", "replace", "rename", "mkdir", "open", "write", "close", "rmdir", "unlink", "stat"}
)
# Each statement to a server is waited for in here.
WAITS = "wait"


class Victims:
    """The process that forks them; orders go in, endings come out."""

    def __init__(self) -> None:
        self._mother = subprocess.Popen(
            [sys.executable, "-m", "proof.victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._mother.stdin
        assert self._mother.stdout
        self._mother.stdin.close()
        self._mother.stdout.close()
        self._mother.wait(timeout=60)

    def live(self, *orders: dict[str, Any]) -> list[int]:
        """Let them live at the same time; each exit code, negative for the signal that ended it."""
        assert self._mother.stdin
        assert self._mother.stdout
        self._mother.stdin.write(json.dumps(orders) + "\n")
        self._mother.stdin.flush()
        ended: list[int] = json.loads(self._mother.stdout.readline())
        return ended


def _fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = _live(order)
    finally:
        os._exit(code)


def _live(order: dict[str, Any]) -> int:
    from proof.ground import GROUNDS  # noqa: PLC0415 - imported before, by main; not by who only starts this

    ground = GROUNDS[order["ground"]](Path(order["folder"]), order["now_ms"], order["database"])
    ground.revise(order["revised"])
    sys.setprofile(_dying_at(order["die_at"]))
    ended = ground.call(order["command"], order["faults"], **order["flags"])
    sys.setprofile(None)
    return ended.exit_code


def _dying_at(step: int) -> Any:
    seen = 0

    def count(frame: FrameType, event: str, called: Any) -> None:
        nonlocal seen
        is_on_disk = event in {"c_call", "c_return"} and getattr(called, "__name__", "") in EFFECTS
        if is_on_disk or (event in {"call", "return"} and frame.f_code.co_name == WAITS):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return count


def main() -> None:
    """Until stdin ends."""
    import proof.ground  # noqa: F401, PLC0415 - once, for all children

    for line in sys.stdin:
        children = [_fork(order) for order in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
