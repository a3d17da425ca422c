"""What `barfeed prune` takes out, what it leaves, and that nothing is ever lost."""

import errno
import hashlib
import json
import os
import re
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.artifacts import reading
from barfeed.artifacts.retention import Keep, due, retain
from barfeed.cli.commands.history.verify import verify
from barfeed.cli.commands.operate.prune import prune
from barfeed.domain.errors import ArtifactsUnusable
from commands import Ended, add_run, call, execute, make_store, names
from waiting import in_time
from world import World, ms

NOW_MS = ms(2024, 2, 10, 14)
DAY_MS = 24 * 3_600_000
SLUG = "BINANCE_BTCUSDT.P_60"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feed" / SLUG


def pruned(folder: Path, *words: object) -> Ended:
    return call(prune, "--persist-dir", folder.parent, *words)


def verified(folder: Path) -> Ended:
    store = folder.parent.parent / "ohlcv.duckdb"
    if not store.exists():
        make_store(store)
    return call(verify, "--persist-dir", folder.parent, "--duckdb", store)


def entries(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


def months_of_runs(folder: Path) -> list[str]:
    """A run every ten days, from 2023-10-13 to 2024-02-10."""
    return [add_run(folder, NOW_MS - days * DAY_MS) for days in range(120, -1, -10)]


def test_what_is_older_than_ninety_days_is_folded_by_months(folder: Path) -> None:
    months_of_runs(folder)
    before = digests(folder)
    done = pruned(folder)
    assert (done.code, done.out.split()[0]) == (0, "pruned=3")
    assert {name for name in names(folder) if name.endswith(".zip")} == {"2023-10_runs.zip", "2023-11_runs.zip"}
    assert set(entries(folder / "2023-10_runs.zip")) == {
        f"{run}_{kind}"
        for run in ("20231013_140000Z", "20231023_140000Z")
        for kind in ("run.json", "api_pull.csv", "for_inference.csv")
    }
    after = digests(folder) | entries(folder / "2023-10_runs.zip") | entries(folder / "2023-11_runs.zip")
    assert {name: after.get(name) for name in before} == before
    assert not set(entries(folder / "2023-10_runs.zip")) & names(folder)


def test_a_run_of_exactly_ninety_days_stays(folder: Path) -> None:
    add_run(folder, NOW_MS - 90 * DAY_MS)
    add_run(folder, NOW_MS - 90 * DAY_MS - 1000)
    add_run(folder, NOW_MS)
    pruned(folder)
    assert reading.runs(reading.Folder(folder)) == ["20231112_140000Z", "20240210_140000Z"]


def test_the_newest_good_inference_file_stays_with_its_run_however_old(folder: Path) -> None:
    good = add_run(folder, NOW_MS - 200 * DAY_MS)
    add_run(folder, NOW_MS - 190 * DAY_MS, good=False)
    add_run(folder, NOW_MS, good=False)
    done = pruned(folder, "--keep-days", 1, "--json").told
    assert (done["pruned"], done["kept"]) == (1, good)
    assert {f"{good}_for_inference.csv", f"{good}_run.json", f"{good}_api_pull.csv"} <= names(folder)
    assert "latest_for_inference.csv" in names(folder)


def test_an_inference_file_that_was_changed_is_not_the_newest_good_one(folder: Path) -> None:
    good = add_run(folder, NOW_MS - 200 * DAY_MS)
    bad = add_run(folder, NOW_MS)
    (folder / f"{bad}_for_inference.csv").write_text("timestamp\n")
    assert pruned(folder, "--json").told["kept"] == good


@pytest.mark.long
def test_discard_deletes_and_folds_nothing(folder: Path) -> None:
    months_of_runs(folder)
    done = pruned(folder, "--discard", "--json").told
    assert (done["pruned"], done["files"], done["zips"]) == (3, 9, [])
    assert not [name for name in names(folder) if name.endswith(".zip")]
    assert verified(folder).code == 0


def test_a_dry_run_tells_the_same_and_touches_nothing(folder: Path) -> None:
    months_of_runs(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dry = pruned(folder, "--dry-run", "--json").told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    wet = pruned(folder, "--json").told
    assert dry.pop("would_prune") == wet.pop("pruned") == 3
    assert dry == wet


def test_a_second_prune_finds_nothing_to_do(folder: Path) -> None:
    months_of_runs(folder)
    pruned(folder)
    before = digests(folder)
    assert pruned(folder, "--json").told["pruned"] == 0
    assert digests(folder) == before


def test_a_later_prune_adds_to_the_months_zip(folder: Path) -> None:
    first, second = (add_run(folder, ms(2023, 10, day)) for day in (3, 4))
    add_run(folder, ms(2024, 1, 1, 12))
    pruned(folder)
    assert {name[:8] for name in entries(folder / "2023-10_runs.zip")} == {"20231003"}
    before = entries(folder / "2023-10_runs.zip") | digests(folder)
    add_run(folder, NOW_MS)
    pruned(folder)
    after = entries(folder / "2023-10_runs.zip")
    assert {name[:16] for name in after} == {first, second}
    assert {name: before[name] for name in after} == after


FOREIGN = ("notes.txt", "20231003_000000Z.csv", "2023-10_runs.zip.bak", "20231003_000000Z_api_pull.csv.old")


def test_files_of_others_are_never_touched_nor_told(folder: Path) -> None:
    months_of_runs(folder)
    for name in FOREIGN:
        (folder / name).write_text("mine")
    done = pruned(folder, "--json").told
    assert done["left"] == []
    assert all((folder / name).read_text() == "mine" for name in FOREIGN)


@pytest.mark.long
def test_a_file_that_is_not_what_its_manifest_says_stays_with_its_run_and_is_told(folder: Path) -> None:
    changed, *_ = months_of_runs(folder)
    (folder / f"{changed}_api_pull.csv").write_text("mine")
    done = pruned(folder)
    assert done.out.startswith(f"left: {changed}_api_pull.csv is not what its manifest says: the run stays\npruned=2 ")
    assert {f"{changed}_{kind}" for kind in ("run.json", "api_pull.csv", "for_inference.csv")} <= names(folder)
    assert (folder / f"{changed}_api_pull.csv").read_text() == "mine"


def test_a_link_to_another_place_stays(folder: Path, tmp_path: Path) -> None:
    linked, *_ = months_of_runs(folder)
    own = folder / f"{linked}_api_pull.csv"
    own.rename(tmp_path / "elsewhere.csv")
    own.symlink_to(tmp_path / "elsewhere.csv")
    assert pruned(folder, "--json").told["pruned"] == 2
    assert own.is_symlink()


@pytest.mark.long
def test_an_old_file_without_a_manifest_stays_and_is_told(folder: Path) -> None:
    orphan, *_ = months_of_runs(folder)
    (folder / f"{orphan}_run.json").unlink()
    done = pruned(folder, "--json").told
    assert done["left"] == [f"{orphan}_{kind}.csv has no manifest" for kind in ("api_pull", "for_inference")]
    assert f"{orphan}_api_pull.csv" in names(folder)


@pytest.mark.long
def test_a_young_file_without_a_manifest_is_a_run_that_still_goes_on(folder: Path) -> None:
    *_, newest = months_of_runs(folder)
    (folder / f"{newest}_run.json").unlink()
    assert pruned(folder, "--json").told["left"] == []


@pytest.mark.parametrize(
    "manifest",
    [
        "{}",
        "not json",
        '{"manifest_version": 1, "run_time": "20200101_000000Z"}',
        None,
    ],
)
def test_a_manifest_that_is_none_stays_and_is_told(folder: Path, manifest: str | None) -> None:
    bad, *_ = months_of_runs(folder)
    path = folder / f"{bad}_run.json"
    if manifest is None:
        # One that tells of a file that is not its own.
        told = json.loads(path.read_text())
        told["files"]["api_pull"]["file"] = "../../../etc/passwd"
        manifest = json.dumps(told)
    path.write_text(manifest)
    done = pruned(folder, "--json").told
    assert (done["pruned"], len(done["left"])) == (2, 1)
    assert path.read_text() == manifest


def test_another_file_of_the_same_name_in_the_zip_is_never_replaced(folder: Path) -> None:
    run, *_ = months_of_runs(folder)
    with zipfile.ZipFile(folder / "2023-10_runs.zip", "w") as archive:
        archive.writestr(f"{run}_api_pull.csv", "another")
    done = pruned(folder, "--json").told
    assert done["left"] == [f"{run}_api_pull.csv is in 2023-10_runs.zip already, with other content: the run stays"]
    with zipfile.ZipFile(folder / "2023-10_runs.zip") as archive:
        assert archive.read(f"{run}_api_pull.csv") == b"another"
    assert f"{run}_api_pull.csv" in names(folder)


def test_a_broken_zip_is_told_and_nothing_goes(folder: Path) -> None:
    months_of_runs(folder)
    (folder / "2023-10_runs.zip").write_bytes(b"PK broken")
    before = digests(folder)
    done = pruned(folder)
    assert done.code == 4
    assert "2023-10_runs.zip cannot be read" in done.err
    assert digests(folder) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_in_place_of_a_zip_or_a_manifest_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "2023-09_runs.zip")
    with pytest.raises(ArtifactsUnusable, match=r"/2023-09_runs\.zip cannot be read: 'it is no regular file'"):
        in_time(lambda: reading.Zip(tmp_path / "2023-09_runs.zip"))
    os.mkfifo(tmp_path / "20240101_000000Z_run.json")
    with pytest.raises(ArtifactsUnusable, match=r"/20240101_000000Z_run\.json cannot be read: 'it is no regular file'"):
        in_time(lambda: reading.read_manifest(reading.Folder(tmp_path), "20240101_000000Z"))


def test_of_two_prunes_at_once_one_waits_for_its_next_call(folder: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    months_of_runs(folder)
    with (folder / ".prune.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = pruned(folder)
    assert (done.code, "is being pruned by another process" in done.err) == (4, True)
    assert pruned(folder).code == 0


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    done = pruned(folder)
    assert done.code == 4
    assert re.fullmatch(r"\S+ cannot be pruned: 'No such file or directory'", done.err)


@pytest.mark.long
def test_verify_proves_what_was_folded_away(folder: Path) -> None:
    months_of_runs(folder)
    before = verified(folder)
    pruned(folder)
    after = verified(folder)
    assert (before.code, after.code) == (0, 0)
    assert "manifests=13 files=26 " in before.out
    assert "manifests=13 files=26 " in after.out


@pytest.mark.long
def test_verify_finds_a_folded_file_that_was_changed(folder: Path) -> None:
    run, *_ = months_of_runs(folder)
    pruned(folder)
    path = folder / "2023-10_runs.zip"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content[f"{run}_api_pull.csv"] += b"more"
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    done = verified(folder)
    assert done.code == 1
    assert f"file: {path}/{run}_api_pull.csv was changed" in done.out


@pytest.mark.long
def test_the_feeds_own_files_are_understood(started: World) -> None:
    record = started.run()
    assert record.run_time
    manifest = reading.read_manifest(reading.Folder(started.feed.folder), record.run_time)
    assert (manifest.status, manifest.exit_code, manifest.target) == ("appended", 0, "2024-02-10 13:00")
    assert [told.rows for told in manifest.csvs] == [6, 726]


def test_the_feed_folds_after_the_first_run_of_a_day(folder: Path) -> None:
    add_run(folder, NOW_MS - 50 * DAY_MS)
    add_run(folder, NOW_MS)
    add_run(folder, NOW_MS + 3_600_000)
    assert retain(folder, NOW_MS + 3_600_000, days=30) is None
    add_run(folder, NOW_MS + DAY_MS)
    done = retain(folder, NOW_MS + DAY_MS, days=30)
    assert done is not None
    assert done.runs == 1


def test_a_feeds_retention_that_fails_is_only_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    months_of_runs(folder)
    (folder / "2023-10_runs.zip").write_bytes(b"PK broken")
    assert retain(folder, NOW_MS, days=90) is None
    assert "old runs were not folded away" in caplog.text


def test_a_clock_that_runs_ahead_takes_nothing(folder: Path) -> None:
    add_run(folder, NOW_MS)
    add_run(folder, NOW_MS + DAY_MS)
    assert due(reading.runs(reading.Folder(folder)), NOW_MS + 5000 * DAY_MS, Keep(90)) == []


@pytest.mark.long
@given(
    days=st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True),
    keep_days=st.integers(1, 400),
    ahead=st.integers(0, 400),
)
def test_due_is_what_lies_further_back_than_the_days_kept(days: list[int], keep_days: int, ahead: int) -> None:
    opened = ms(2024, 1, 1)
    by_name = {runs_name(opened + day * DAY_MS): day for day in sorted(days)}
    late = due(list(by_name), opened + (max(days) + ahead) * DAY_MS, Keep(keep_days))
    assert [by_name[name] for name in late] == [day for day in sorted(days) if day < max(days) - keep_days]


def runs_name(moment_ms: int) -> str:
    return time.strftime("%Y%m%d_%H%M%SZ", time.gmtime(moment_ms // 1000))


def test_runs_of_one_second_stand_in_the_order_they_were_made(folder: Path) -> None:
    made = [add_run(folder, NOW_MS) for _ in range(11)]
    assert made[1] == "20240210_140000Z-2"
    assert reading.runs(reading.Folder(folder)) == made


@pytest.mark.parametrize("name", ["20241345_000000Z", "20240101_000000Z-", "x20240101_000000Z", "20240101_000000Z-٣"])
def test_what_is_no_runs_name_is_none(name: str) -> None:
    assert reading.age(name) is None


@pytest.mark.long
def test_a_store_changed_meanwhile_is_no_matter_of_prune(folder: Path) -> None:
    months_of_runs(folder)
    verified(folder)
    execute(folder.parent.parent / "ohlcv.duckdb", "DELETE FROM ohlcv_btcusdt_1h WHERE volume > 0")
    assert pruned(folder).code == 0


def test_a_zip_that_cannot_be_closed_is_told_and_keeps_its_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    months_of_runs(folder)
    before = digests(folder)
    close = reading.Zip.close

    def broken(self: reading.Zip) -> None:
        close(self)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(reading.Zip, "close", broken)
    ended = pruned(folder)
    assert (ended.code, "Input/output error" in ended.err) == (4, True)
    assert digests(folder) == before
