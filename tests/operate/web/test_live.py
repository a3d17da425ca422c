from pathlib import Path

from barfeed.operate.web.live import Happening, Watched, look, news
from barfeed.operate.web.stores.file import HeldFile

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
