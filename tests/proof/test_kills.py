"""A sample of the kill loop and of the failing system calls; `make kills` and `make kills-syscalls` run all of it."""

from collections.abc import Iterator

import pytest

from proof import syscalls
from proof.database_scenes import (
    DATABASE_SCENES,
    Feed,
    FeedFirstStart,
    FirstPassOfDatabase,
    PassOfDatabase,
    RepairOfDatabase,
)
from proof.held_scenes import BesideReader, BesideWriter, PassBesideReader, PassBesideWriter
from proof.kills import Struck, arena, random_kills, syscall_failures, syscall_kills, table
from proof.market_scenes import MARKET_SCENES, FirstPass, LakePass, Pass
from proof.scenes import SCENES, BackfillCsv, FirstStart, Inference, Repair, Scene

traced = pytest.mark.skipif(not syscalls.works(), reason="strace cannot trace and tamper here")
WITHOUT_MODEL = [scene for scene in SCENES if scene is not Inference]


def count(found: Iterator[Struck]) -> int:
    return len(list(found))


@pytest.mark.long
@pytest.mark.parametrize("scene", [Scene, LakePass, Feed])
def test_a_feed_killed_while_it_is_at_work_loses_nothing(scene: type[Scene]) -> None:
    with arena([scene]) as (scenes, disk):
        assert count(random_kills(scenes, disk, kills=2, seed=1)) == 2


@pytest.mark.long
@traced
def test_a_first_start_killed_while_it_makes_its_store_starts_again() -> None:
    with arena([FirstStart]) as (scenes, disk):
        points = syscalls.points(scenes[0], scenes[0].lay(disk), ("pwrite64",))
        assert points[0].file.endswith(".PID.unfinished"), "a new store is made beside its place"
        assert count(syscall_kills(scenes, disk, calls=("pwrite64",), every=4)) >= 1


@pytest.mark.proof
def test_commands_killed_at_random_moments_lose_nothing() -> None:
    with arena([*WITHOUT_MODEL, *MARKET_SCENES]) as (scenes, disk):
        assert count(random_kills(scenes, disk, kills=29, seed=2)) == 29


@pytest.mark.proof
def test_commands_on_a_database_killed_at_random_moments_lose_nothing() -> None:
    with arena(DATABASE_SCENES) as (scenes, disk):
        assert count(random_kills(scenes, disk, kills=12, seed=4)) == 12


@pytest.mark.proof
def test_an_inference_killed_at_random_moments_predicts_once() -> None:
    pytest.importorskip("lightgbm", reason="extra `inference`")
    with arena([Inference]) as (scenes, disk):
        assert count(random_kills(scenes, disk, kills=8, seed=3)) == 8


@pytest.mark.long
@traced
@pytest.mark.parametrize(
    ("scene", "every"),
    [
        (Scene, 18),
        (FirstStart, 18),
        (Repair, 12),
        (BackfillCsv, 36),
        (Pass, 39),
        (FirstPass, 55),
        (LakePass, 55),
        (Feed, 29),
        (FeedFirstStart, 43),
        (RepairOfDatabase, 20),
        (PassOfDatabase, 47),
        (FirstPassOfDatabase, 61),
        (BesideReader, 29),
        (BesideWriter, 31),
        (PassBesideReader, 61),
        (PassBesideWriter, 53),
    ],
)
def test_a_kill_at_a_system_call_loses_nothing(scene: type[Scene], every: int) -> None:
    with arena([scene]) as (scenes, disk):
        assert count(syscall_kills(scenes, disk, every=every)) >= 1


@pytest.mark.long
@traced
@pytest.mark.parametrize(
    ("scene", "every"),
    [(Scene, 40), (LakePass, 150), (Feed, 80), (BesideReader, 90), (BesideWriter, 90), (PassBesideWriter, 170)],
)
def test_a_system_call_that_fails_is_told_and_does_no_harm(scene: type[Scene], every: int) -> None:
    with arena([scene]) as (scenes, disk):
        assert count(syscall_failures(scenes, disk, every=every)) >= 2


def test_the_report_counts_by_command_and_phase() -> None:
    found = [
        Struck("feed", "", "2 evidence saved"),
        Struck("feed", "", "2 evidence saved"),
        Struck("repair", "", "exit 4"),
    ]
    assert table(found).splitlines()[2:] == ["| feed | 2 | evidence saved 2 |", "| repair | 1 | exit 4 1 |"]
