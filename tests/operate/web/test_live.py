import asyncio
from contextlib import suppress
from pathlib import Path

from barfeed.operate.web.live import Happening, Live, Watched, look, news
from barfeed.operate.web.stores.database import HeldDatabase
from barfeed.operate.web.stores.file import HeldFile
from pg_server import looked_at, new_market
from waiting import until
from world import SteppingClock, hours

RUN = "20240210_140030Z"


def seen(folder: Path) -> Watched:
    (folder / "feed" / "A").mkdir(parents=True, exist_ok=True)
    return Watched(folder / "feed", HeldFile(folder / "store.duckdb", 0.0), folder / "feed.log")


def test_a_run_is_told_step_by_step(tmp_path: Path) -> None:
    watched = seen(tmp_path)
    folder = watched.root / "A"
    told = []
    before = look(watched)
    for name in (f"{RUN}_api_pull.csv", f"{RUN}_for_inference.csv", f"{RUN}_run.json"):
        (folder / name).write_text("x", "utf-8")
        after = look(watched, before)
        told += [each.what for each in news(before, after)]
        before = after
    assert told == ["pulled", "published", "ended"]
    assert news(before, look(watched, before)) == []


def test_the_store_and_the_log_are_told(tmp_path: Path) -> None:
    watched = seen(tmp_path)
    before = look(watched)
    (tmp_path / "store.duckdb").write_bytes(b"x")
    stored = look(watched, before)
    assert news(before, stored) == [Happening("stored")]
    (tmp_path / "feed.log").write_text("INFO well\n", "utf-8")
    assert news(stored, look(watched, stored)) == [Happening("logged")]


def test_a_root_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "none", HeldFile(tmp_path / "store.duckdb", 0.0), None)
    assert news(look(watched), look(watched)) == []


def test_an_event_is_one_line_whatever_a_folder_is_called() -> None:
    assert Happening("ended", "a\n\nevent: x", "b").event().count(b"\n") == 3


def test_a_page_that_ends_leaves_no_connection_nor_does_a_question_that_outlasts_it(tmp_path: Path) -> None:
    address, clock = new_market(), SteppingClock(hours(1))
    held = HeldDatabase(address, clock)
    live = Live(Watched(tmp_path, held, None))
    assert _connections(address) == 1
    asyncio.run(_ended(live))
    until(lambda: _connections(address) == 0)
    clock.sleep(60)
    assert not held.feeders()
    until(lambda: _connections(address) == 0)


async def _ended(live: Live) -> None:
    """As the server ends it, before the watch has looked once."""
    watch = asyncio.create_task(live.watch())
    await asyncio.sleep(0)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


def _connections(address: str) -> int:
    with looked_at(address) as watcher:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(watcher.execute(others).fetchall()[0][0])
