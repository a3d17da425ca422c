"""Kill -9 at random moments and at every system call that touches the disk: `make kills`, `make kills-syscalls`.

`python tests/proof/kills.py [--database|--held] [--kills 500] [--seed 7] [--syscalls kill|fail] [--every 1] [--write]`;
`--database` attacks the commands whose store is one, `--held` those beside another process that has the file (only with
`--syscalls`); `--write` keeps the figures in docs/proof.md.
Each kill is judged by `scenes`: at once, after the command has gone on, and once what it left over is old.
"""

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # As pytest does it: the tests' own modules, and the tree beside them.
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

from process import ROOT, Ran
from proof import syscalls
from proof.database_scenes import (
    DATABASE_SCENES,
    Feed,
    FeedFirstStart,
    FirstPassOfDatabase,
    PassOfDatabase,
    RepairOfDatabase,
)
from proof.held_scenes import HELD_SCENES
from proof.market_scenes import MARKET_SCENES, OTHERS, FirstPass, LakePass, Pass
from proof.proof_world import exchange
from proof.scenes import SCENES, FirstStart, Prune, Repair, Scene, Watch
from world import hours

# What of them goes to each command: the feed is what runs every hour.
SHARES = {"feed": 5, "feed, first start": 3, "feed, --watch": 4, "backfill, rest": 3, "backfill, csv": 3, "repair": 3}
SYSCALL_SCENES: Sequence[type[Scene]] = (Scene, FirstStart, Repair, Prune, Pass, FirstPass, LakePass)
DATABASE_SYSCALL_SCENES = (Feed, FeedFirstStart, RepairOfDatabase, PassOfDatabase, FirstPassOfDatabase)
_PLACE = re.compile(r"^\d ")
# A watch lives on: it is killed after some hours of this length.
_HOUR_SEC = 0.25
_HOURS_WATCHED = 3
_POLL_SEC = 0.002
_START_SEC_MAX = 60.0
# Of the kills, so many come once the command is at work: before that it only imports.
_AT_WORK = 0.8


class Pace(NamedTuple):
    """How long a command takes here and now: until it is at work, and from there to its end."""

    start_sec: float
    work_sec: float


class Struck(NamedTuple):
    """One attack: on which command, where or how, and how far the command was by what it left."""

    scene: str
    how: str
    phase: str


class Fault(Exception):
    """A promise was broken; says by which attack, and which."""


@contextmanager
def arena(scenes: Iterable[type[Scene]]) -> Iterator[tuple[list[Scene], Path]]:
    """The commands to attack with the disks they begin with, and a place for the disks that are attacked."""
    with tempfile.TemporaryDirectory(prefix="proof-") as folder, exchange(OTHERS) as world:
        root = Path(folder)
        yield [scene(world, root / "start" / scene.__name__) for scene in scenes], root / "disk"


def random_kills(scenes: Sequence[Scene], disk: Path, kills: int, seed: int) -> Iterator[Struck]:
    """So many kills, shared out over the commands: most while it is at work, some before that."""
    dice = random.Random(seed)
    plan = [scene for scene in scenes for _ in range(SHARES.get(scene.name, 2))]
    made = number = 0
    paced: Scene | None = None
    while made < kills:
        scene, number = plan[made % len(plan)], number + 1
        if scene is not paced:
            # Measured each time: on a machine that is busier by now all kills would come too early.
            paced, pace = scene, _measured(scene, disk, number)
        at_work, part = dice.random() < _AT_WORK, dice.uniform(0, 1.05)
        ran = _killed(
            scene, disk, number, at_work=at_work, after_sec=part * (pace.work_sec if at_work else pace.start_sec)
        )
        # One that came too late is none.
        if ran.code == -signal.SIGKILL:
            made += 1
            yield judged(
                scene, disk, ran, f"kill {made} of seed {seed}, {part:.2f} of its {'work' if at_work else 'start'}"
            )


def syscall_kills(scenes: Sequence[Scene], disk: Path, every: int = 1, calls: Sequence[str] = ()) -> Iterator[Struck]:
    """A kill at every `every`-th call by which each command changes its disk, or of these `calls`."""
    for scene in scenes:
        for number, point in enumerate(_points(scene, disk, calls or syscalls.changing(scene))[::every]):
            scene.world.set_minute(number)
            scene.lay(disk)
            ran = syscalls.kill_at(scene, disk, point)
            if ran.code == -signal.SIGKILL:
                yield judged(scene, disk, ran, f"kill at {point}")


def syscall_failures(scenes: Sequence[Scene], disk: Path, every: int = 1) -> Iterator[Struck]:
    """Each error at every `every`-th call that has to do with the disk: exit 4 or a good end, and no harm."""
    for scene in scenes:
        told = syscalls.errors(scene)
        failures = [(point, error) for point in _points(scene, disk, tuple(told)) for error in told[point.call]]
        for number, (point, error) in enumerate(failures[::every]):
            scene.world.set_minute(number)
            scene.lay(disk)
            ran = syscalls.fail_at(scene, disk, point, error)
            # The same number may be another call where threads took turns otherwise.
            if syscalls.has_struck(scene, disk):
                _refuse_bad_end(scene, disk, ran, f"{error} at {point}")
                yield judged(scene, disk, ran, f"{error} at {point}")._replace(phase=f"exit {ran.code}")


def judged(scene: Scene, disk: Path, ran: Ran, how: str) -> Struck:
    """Look at what an attack left, let the command go on, look again. Raises `Fault`."""
    try:
        phase = scene.phase(disk)
        scene.check(disk, ran.out)
        scene.check_done(disk, scene.heal(disk))
    except Exception as problem:
        raise Fault(f"{scene.name}: {how}: {problem!r}\n{ran.out}{ran.err}") from problem
    return Struck(scene.name, how, phase)


def _refuse_bad_end(scene: Scene, disk: Path, ran: Ran, how: str) -> None:
    try:
        assert ran.code in {0, 4}, f"exit {ran.code}"
        assert "Traceback" not in ran.err
        if ran.code == 0:
            # A feed tells of what waits for a file, a prune of what it had to leave: these are no failures.
            if " pending=" in ran.out:
                scene.check_given(disk)
            elif "left: " not in ran.out:
                scene.check_result(disk)
        else:
            assert any(name in ran.err for name in scene.names(disk)), "the message names no file"
            assert "hint: " in ran.err
    except AssertionError as problem:
        raise Fault(f"{scene.name}: {how}: {problem!r}\n{ran.out}{ran.err}") from problem


def _points(scene: Scene, disk: Path, calls: Sequence[str]) -> list[syscalls.Point]:
    scene.world.set_minute(0)
    return syscalls.points(scene, scene.lay(disk), calls)


def _measured(scene: Scene, disk: Path, number: int) -> Pace:
    begin = time.monotonic()
    running = _started(scene, disk, number)
    _wait_for_work(scene, disk, running)
    at_work = time.monotonic()
    if isinstance(scene, Watch):
        running.kill()
    running.communicate(timeout=60)
    assert isinstance(scene, Watch) or running.returncode == 0
    work_sec = _HOURS_WATCHED * _HOUR_SEC if isinstance(scene, Watch) else time.monotonic() - at_work
    return Pace(at_work - begin, work_sec)


def _killed(scene: Scene, disk: Path, number: int, *, at_work: bool, after_sec: float) -> Ran:
    running = _started(scene, disk, number)
    if at_work:
        _wait_for_work(scene, disk, running)
    _live(scene, running, after_sec)
    running.kill()
    out, err = running.communicate(timeout=60)
    return Ran(running.returncode, out, err)


def _started(scene: Scene, disk: Path, number: int) -> "subprocess.Popen[str]":
    scene.world.set_minute(number)
    scene.lay(disk)
    scene.begin()
    return subprocess.Popen(
        scene.words(disk),
        env=scene.world.environment(disk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_work(scene: Scene, disk: Path, running: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + _START_SEC_MAX
    while running.poll() is None and not scene.is_at_work(disk):
        assert time.monotonic() < end, f"{scene.name} never came to work"
        time.sleep(_POLL_SEC)


def _live(scene: Scene, running: "subprocess.Popen[str]", sec: float) -> None:
    """Wait so long; while a watch lives, hours pass."""
    end = time.monotonic() + sec
    while (left := end - time.monotonic()) > 0 and running.poll() is None:
        time.sleep(min(left, _HOUR_SEC))
        if isinstance(scene, Watch) and left > _HOUR_SEC:
            scene.world.clock.advance(hours(1))


def table(found: Sequence[Struck]) -> str:
    """How many attacks there were on each command, and in which phase they came; Markdown."""
    counts = Counter((each.scene, each.phase) for each in found)
    totals = Counter(each.scene for each in found)
    rows = [f"| {scene} | {totals[scene]} | {_phases(counts, scene)} |" for scene in totals]
    return "\n".join(["| command | attacks | how far it was |", "|---|---:|---|", *rows])


def _phases(counts: Counter[tuple[str, str]], scene: str) -> str:
    # A phase begins with its place among the others.
    phases = sorted((phase, count) for (name, phase), count in counts.items() if name == scene)
    return "; ".join(f"{_PLACE.sub('', phase)} {count}" for phase, count in phases)


def write(path: Path, name: str, text: str) -> None:
    """Put a report between its marks in the document."""
    begin, end = f"<!-- {name}: written by tests/proof/kills.py --write -->", f"<!-- end of {name} -->"
    head, found, rest = path.read_text("utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path} has no place between {begin!r} and {end!r}")
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", "utf-8")


def _told(found: Iterable[Struck]) -> list[Struck]:
    """All of them, each told as it comes."""
    kept = []
    for each in found:
        kept.append(each)
        print(f"{len(kept):4} {each.scene}: {each.how}: {each.phase}", flush=True)  # noqa: T201 - it is a command
    return kept


def _attacked(asked: argparse.Namespace) -> Sequence[type[Scene]]:
    if asked.held:
        return HELD_SCENES
    if asked.database:
        return DATABASE_SYSCALL_SCENES if asked.syscalls else DATABASE_SCENES
    return SYSCALL_SCENES if asked.syscalls else (*SCENES, *MARKET_SCENES)


def main() -> None:
    """Attack, and report."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--kills", type=int, default=500)
    flags.add_argument("--seed", type=int, default=7)
    flags.add_argument("--every", type=int, default=1, help="with --syscalls: only every so many-th call")
    flags.add_argument("--syscalls", choices=["kill", "fail"], help="not at random: at each call that touches the disk")
    whose = flags.add_mutually_exclusive_group()
    whose.add_argument("--database", action="store_true", help="the commands whose store is a database, alone")
    whose.add_argument("--held", action="store_true", help="the feed beside another that has its file, alone")
    flags.add_argument("--write", action="store_true")
    asked = flags.parse_args()
    if asked.syscalls and not syscalls.works():
        sys.exit("strace cannot trace and tamper on this machine")
    if asked.held and not asked.syscalls:
        flags.error("--held goes with --syscalls")
    where = ", a database" if asked.database else ", a held file" if asked.held else ""
    reports = {}
    with arena(_attacked(asked)) as (scenes, disk):
        if asked.syscalls:
            attack = syscall_kills if asked.syscalls == "kill" else syscall_failures
            reports[f"system calls: {asked.syscalls}{where}"] = table(_told(attack(scenes, disk, asked.every)))
        else:
            reports[f"kills{where}"] = table(_told(random_kills(scenes, disk, asked.kills, asked.seed)))
    for name, text in reports.items():
        print(f"\n{name}\n\n{text}")  # noqa: T201
        if asked.write:
            write(ROOT / "docs" / "proof.md", name, text)


if __name__ == "__main__":
    main()
