"""The lake in a bucket, on a server of loopback that speaks S3: as in a folder, by single puts and one lock."""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import barfeed
from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.kinds.table import KINDS
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.files import Files
from barfeed.store.lake.proof import Proven, prove
from barfeed.store.lake.table import Table
from store.lake.lakes import END_MS, TABLE, StoreAndLake
from store.lake.noting import note_others, revise
from world import hours

pytest.importorskip("obstore", reason="extra `s3`")
moto = pytest.importorskip("moto.server", reason="extra `dev`")
obstore = pytest.importorskip("obstore")

from barfeed.history.reading import mirror  # noqa: E402 - not without its library
from barfeed.store.lake import bucket  # noqa: E402 - not without its library
from barfeed.store.lake.bucket import Bucket  # noqa: E402 - the same

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server."""
    one = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    one.start()
    host, port = one.get_host_and_port()
    yield f"http://{host}:{port}"
    one.stop()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three days in a store, for each test to copy."""
    filled = StoreAndLake(tmp_path_factory.mktemp("template"))
    filled.append(62)
    return filled.store.path.parent


@pytest.fixture
def both(template: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> StoreAndLake:
    """Three days in a store, and an empty bucket."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    given = {"ENDPOINT_URL": server, "REGION": "us-east-1", "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret"}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    name = f"bucket-{tmp_path.name.replace('_', '-')}"[:60].rstrip("-").lower()
    urlopen(Request(f"{server}/{name}", method="PUT")).close()
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return StoreAndLake(tmp_path, f"s3://{name}/my/lake")


def files(both: StoreAndLake) -> Bucket:
    table = both.lake.files(Table(Interval.ONE_HOUR))
    assert isinstance(table, Bucket)
    return table


def proven(both: StoreAndLake) -> Proven:
    return prove(both.store, both.lake, Interval.ONE_HOUR)


def test_the_bucket_holds_what_the_store_does(both: StoreAndLake) -> None:
    assert both.export() == Exported(written=3, rows=186)
    assert proven(both) == Proven(files=3, rows=186, findings=[])
    assert files(both).folders() == {"date=2026-03-08", "date=2026-03-09", "date=2026-03-10"}
    assert files(both).address == f"{both.address}/{TABLE}"


def test_an_hour_later_one_object_and_the_manifest_are_put(both: StoreAndLake) -> None:
    both.export()
    before = versions(both)
    both.grow(1)
    assert both.export() == Exported(written=1, rows=189)
    after = versions(both)
    changed = [name for name in after if after[name] != before.get(name)]
    assert sorted(changed) == ["_manifest.json", "date=2026-03-10/bars.parquet"]
    assert proven(both).findings == []
    assert both.export() == Exported(rows=189)


def versions(both: StoreAndLake) -> dict[str, str]:
    return {each["path"]: each["e_tag"] for page in obstore.list(files(both)._store) for each in page}


def test_what_was_deleted_or_put_there_is_found(both: StoreAndLake) -> None:
    both.export()
    store = files(both)._store
    obstore.delete(store, "date=2026-03-09/bars.parquet")
    obstore.put(store, "date=2026-03-08/copy.parquet", b"PAR1")
    assert [str(each) for each in proven(both).findings] == [
        "date=2026-03-08/copy.parquet is not in the manifest: whoever reads the lake reads that, too",
        "date=2026-03-09/bars.parquet is not there",
    ]
    obstore.delete(store, "date=2026-03-08/copy.parquet")
    both.export()
    assert proven(both).findings == []


class Reads:
    """A bucket's reader, and which files it has fetched since one last asked."""

    def __init__(self, both: StoreAndLake, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: list[str] = []
        copied = mirror._copied
        monkeypatch.setattr(mirror, "_copied", lambda *which: self._note(*which) and copied(*which))
        self.feed = barfeed.open(both.address)

    def _note(self, _files: Files, name: str, _copy: Path) -> bool:
        self.fetched.append(name.partition("/")[0].removeprefix("date="))
        return True

    def dates(self) -> list[str]:
        dates, self.fetched = sorted(self.fetched), []
        return dates


def test_it_is_read_as_the_store_is_and_each_day_is_fetched_once(
    both: StoreAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.export()
    reads = Reads(both, monkeypatch)
    stored = barfeed.open(both.store.path)
    day = {"start": "2026-03-09", "end": "2026-03-09 12:00"}
    assert list(reads.feed.bars("ETHUSDT", **day)) == list(stored.bars("ETHUSDT", **day))
    assert reads.dates() == ["2026-03-09"]
    assert list(reads.feed.bars(["BTCUSDT", "ETHUSDT"])) == list(stored.bars(["BTCUSDT", "ETHUSDT"]))
    assert list(reads.feed.coverage()) == list(stored.coverage())
    assert reads.dates() == ["2026-03-08", "2026-03-10"]
    both.grow(1)
    both.export()
    assert list(reads.feed.bars("ETHUSDT")) == list(stored.bars("ETHUSDT"))
    assert reads.dates() == ["2026-03-10"]
    both.sql("DELETE FROM ohlcv_1h WHERE timestamp < TIMESTAMP '2026-03-09'")
    both.export()
    assert list(reads.feed.coverage()) == list(stored.coverage())
    assert len(reads.feed.bars("ETHUSDT", end="2026-03-08 23:00")) == 0


def test_kinds_stand_there_as_bars_do(both: StoreAndLake) -> None:
    both.append_kind(KINDS["funding"], 30)
    assert both.export() == Exported(written=5, rows=276)
    assert proven(both) == Proven(files=5, rows=276, findings=[])
    ours, theirs = (barfeed.open(each).wide("BTCUSDT").to_polars() for each in (both.address, both.store.path))
    assert ours.equals(theirs)
    assert "funding_rate" in ours.columns


def test_what_was_noted_stands_there_and_is_read_as_of_any_moment(
    both: StoreAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.sql("UPDATE ohlcv_1h SET created_at = timestamp + INTERVAL 1 HOUR")
    revise(both, "ETHUSDT", 20)
    note_others(both)
    both.export()
    assert proven(both) == Proven(files=3 + 5, rows=186 + 5, findings=[])
    reads, stored = Reads(both, monkeypatch), barfeed.open(both.store.path)
    asked = {"start": "2026-03-09", "end": "2026-03-09 20:00", "as_of": "2026-03-12"}
    for _ in range(2):
        assert list(reads.feed.bars("ETHUSDT", **asked)) == list(stored.bars("ETHUSDT", **asked))
    [day, changes] = reads.dates()
    assert (day, changes[:6]) == ("2026-03-09", "month=")
    revise(both, "ETHUSDT", 20)
    both.export()
    assert list(reads.feed.bars("ETHUSDT", **asked)) == list(stored.bars("ETHUSDT", **asked))
    assert reads.dates() == [day, changes]
    assert list(reads.feed.revisions()) == list(stored.revisions())
    assert list(reads.feed.symbols()) == list(stored.symbols())


def test_what_a_reader_of_a_bucket_can_meet_is_told(both: StoreAndLake) -> None:
    assert list(barfeed.open(both.address).coverage()) == []
    with pytest.raises(barfeed.StoreEmpty, match=f"^{both.address} holds no bar of BTCUSDT 1h"):
        len(barfeed.open(both.address).bars("BTCUSDT"))
    with pytest.raises(LakeUnusable, match="there is no such bucket"):
        len(barfeed.open("s3://no-such-bucket/lake").bars("BTCUSDT"))


def test_another_stores_lake_is_left_alone(both: StoreAndLake, tmp_path: Path) -> None:
    both.export()
    (tmp_path / "other").mkdir()
    other = StoreAndLake(tmp_path / "other", both.address)
    other.append(70, END_MS + hours(3))
    with pytest.raises(LakeUnusable, match="is another store's"):
        other.export()


def test_whoever_comes_while_another_writes_leaves_it(both: StoreAndLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "WAIT_SEC", 0.0)
    with files(both).exporting() as is_ours:
        assert is_ours
        assert both.export() == Exported(is_busy=True)
    assert both.export().written == 3


def test_what_a_killed_process_holds_is_taken_over_by_the_servers_own_clock(
    both: StoreAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "WAIT_SEC", 0.0)
    killed = files(both)
    held = killed._taken()
    assert held
    assert both.export().is_busy
    monkeypatch.setattr(bucket, "_ABANDONED_AFTER", timedelta(seconds=-1))
    with files(both).exporting() as is_ours:
        assert is_ours
        # Should it live on, it takes away nobody else's lock.
        killed._release(held)
        assert "_lock" in versions(both)
    assert "_lock" not in versions(both)
    assert both.export().written == 3


class TestRefused:
    def test_no_such_bucket(self, both: StoreAndLake) -> None:
        missing = StoreAndLake(both.store.path.parent, "s3://no-such-bucket/lake")
        with pytest.raises(LakeUnusable, match=rf"^s3://no-such-bucket/lake/{TABLE} cannot be used: there is no such"):
            missing.export()

    def test_nobody_there(self, both: StoreAndLake, monkeypatch: pytest.MonkeyPatch, deaf: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{deaf}")
        with pytest.raises(LakeUnusable, match="cannot be used: nobody answers") as told:
            both.export()
        assert "AWS_ENDPOINT_URL" in told.value.hint

    def test_a_manifest_that_is_cut(self, both: StoreAndLake) -> None:
        both.export()
        files(both).save("_manifest.json", b"{")
        with pytest.raises(LakeUnusable, match="is no manifest of a lake"):
            both.export()
