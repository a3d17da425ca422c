"""A store and its lake, asked the same: every answer is the same, as of any moment, whatever was changed since."""

import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import polars
import pytest

import barfeed
from barfeed.domain.bars import Series
from barfeed.history.reading.lake import LakeSource
from barfeed.store.lake.table import Noted
from store.lake.lakes import END_MS, SYMBOLS, StoreAndLake
from store.lake.noting import FUNDING, INTEREST, let_pass, note_others, revise, revise_kind
from world import hours, made_up_bars

ADAUSDT = Series.of("ADAUSDT", "1h")
# As if each was stored when it closed, and changed one after another over the weeks after.
_SPREAD = f"""
UPDATE ohlcv_1h SET created_at = timestamp + INTERVAL 1 HOUR;
UPDATE ohlcv_adausdt_1h SET created_at = timestamp + INTERVAL 1 HOUR;
UPDATE {FUNDING.table(ADAUSDT.interval)} SET created_at = known_at;
UPDATE {INTEREST.table(ADAUSDT.interval)} SET created_at = known_at;
UPDATE ohlcv_1h SET created_at = NULL WHERE symbol = 'DOGEUSDC' AND hour(timestamp) = 3;
UPDATE ohlcv_revisions SET accepted_at = TIMESTAMP '2026-03-10 14:00' + INTERVAL (rowid * 31) HOUR;
UPDATE kinds_revisions SET accepted_at = TIMESTAMP '2026-03-10 14:30' + INTERVAL (rowid * 37) HOUR;
"""
_MOMENTS = """
SELECT DISTINCT strftime(moment - to_milliseconds(less), '%Y-%m-%d %H:%M:%S.%f')
FROM ({}), (VALUES (0), (1)) AS apart(less) ORDER BY ALL
"""
_LISTED = "SELECT seen_at AS moment FROM symbols"
_CHANGED = f"""
SELECT accepted_at AS moment FROM ohlcv_revisions UNION SELECT accepted_at FROM kinds_revisions
UNION {_LISTED} UNION SELECT TIMESTAMP '2026-03-09 00:00' UNION SELECT TIMESTAMP '2026-03-10 04:00'
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market and a series alone, kinds, listings, and many changes, some of them of one bar."""
    both = StoreAndLake(tmp_path_factory.mktemp("template"))
    both.append(60)
    both.append_alone(ADAUSDT, made_up_bars(END_MS, 60, "ADAUSDT"))
    for kind in (FUNDING, INTEREST):
        both.append_kind(kind, 60)
    chance = Random(14)
    for _ in range(24):
        revise(both, chance.choice(SYMBOLS), chance.choice((1, 2, 3, 30, 59)), by=chance.random() - 0.5)
        revise_kind(both, chance.choice((FUNDING, INTEREST)), chance.choice(SYMBOLS), chance.choice((1, 2, 40)))
    let_pass(both, made_up_bars(END_MS, 1, "ADAUSDT")[0])
    note_others(both)
    both.sql(_SPREAD)
    both.sql("DELETE FROM ohlcv_1h WHERE symbol = 'ETHUSDT' AND timestamp = TIMESTAMP '2026-03-09 05:00'")
    both.export()
    return both.store.path.parent


@pytest.fixture
def both(template: Path, tmp_path: Path) -> StoreAndLake:
    """A copy of its own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return StoreAndLake(tmp_path)


Question = Callable[[barfeed.Reader], "barfeed.Table[Any]"]


def answers(both: StoreAndLake, ask: Question) -> list[polars.DataFrame]:
    return [ask(barfeed.open(each)).to_polars() for each in (both.store.path, both.address)]


def expect_same(both: StoreAndLake, ask: Question) -> polars.DataFrame:
    stored, in_lake = answers(both, ask)
    assert in_lake.equals(stored)
    return stored


def moments(both: StoreAndLake, when: str = _CHANGED) -> list[str]:
    """Each moment that something was changed at, and the one just before it."""
    return [moment for (moment,) in both.sql(_MOMENTS.format(when))]


def changes(both: StoreAndLake, ask: Callable[[str], Question], at: Sequence[str]) -> int:
    """From how many of these moments to the next the answer is another; the lake's is the store's at each."""
    seen = [expect_same(both, ask(moment)) for moment in at]
    return sum(not one.equals(other) for one, other in pairwise(seen))


@pytest.mark.parametrize(
    "ask",
    [
        lambda feed: feed.revisions(),
        lambda feed: feed.revisions("ETHUSDT"),
        lambda feed: feed.revisions("ADAUSDT", "1h"),
        lambda feed: feed.symbols(),
        lambda feed: feed.coverage(),
        lambda feed: feed.gaps(),
        lambda feed: feed.bars(["ADAUSDT", *SYMBOLS]),
        lambda feed: feed.wide(list(SYMBOLS)),
        lambda feed: feed.candles("BTCUSDT", every_ms=hours(4)),
    ],
)
def test_every_question_has_the_same_answer(both: StoreAndLake, ask: Question) -> None:
    assert len(expect_same(both, ask)) > 0


def every_bar(as_of: str) -> Question:
    return lambda feed: feed.bars(["ADAUSDT", *SYMBOLS], as_of=as_of)


def test_the_bars_as_of_a_moment_are_the_same(both: StoreAndLake) -> None:
    at = moments(both)
    assert changes(both, every_bar, at[1::12]) == len(at[1::12]) - 1 > 3
    bounds = {"start": "2026-03-09", "end": "2026-03-09 12:00", "as_of": at[9]}
    assert len(expect_same(both, lambda feed: feed.bars("BTCUSDT", **bounds))) == 12


@pytest.mark.long
def test_so_are_they_as_of_every_moment(both: StoreAndLake) -> None:
    assert changes(both, every_bar, moments(both)) > 20


@pytest.mark.long
def test_so_is_the_wide_table(both: StoreAndLake) -> None:
    assert changes(both, lambda at: lambda feed: feed.wide(list(SYMBOLS), as_of=at), moments(both)) > 40


def test_so_are_the_listings(both: StoreAndLake) -> None:
    assert changes(both, lambda at: lambda feed: feed.symbols(at), moments(both, _LISTED)) == 2


def test_a_lake_that_does_not_tell_them_yet_says_so_until_the_next_pass(both: StoreAndLake) -> None:
    for folder in Path(both.address).glob("table=*"):
        shutil.rmtree(folder)
    feed = barfeed.open(both.address)
    assert len(feed.bars("BTCUSDT")) == 60
    wide = feed.wide("BTCUSDT", as_of="2026-03-10", kinds="funding")
    for asked in (feed.bars("BTCUSDT", as_of="2026-03-10"), wide, feed.revisions(), feed.symbols()):
        with pytest.raises(barfeed.UsageError, match=r"is a lake, which does not tell .*: it is of an older barfeed"):
            len(asked)
    both.export()
    expect_same(both, lambda feed: feed.bars("BTCUSDT", as_of="2026-03-10"))


def test_one_that_was_not_finished_says_so_too(both: StoreAndLake) -> None:
    manifest = Path(both.address) / "table=ohlcv_revisions" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"due": []', '"due": ["2026-03"]'))
    with pytest.raises(barfeed.UsageError, match="or was not finished"):
        len(barfeed.open(both.address).revisions())
    both.export()
    assert len(barfeed.open(both.address).revisions()) == 25


def test_a_month_that_is_gone_or_cut_is_refused(both: StoreAndLake) -> None:
    [file, *_] = sorted((Path(both.address) / "table=ohlcv_revisions").rglob("*.parquet"))
    name = file.relative_to(both.address).as_posix()
    file.write_bytes(file.read_bytes()[:100])
    feed = barfeed.open(both.address)
    with pytest.raises(barfeed.LakeUnusable, match=f"cannot be read as a lake: {name} is cut"):
        len(feed.bars("BTCUSDT", as_of="2026-03-10"))
    file.unlink()
    with pytest.raises(barfeed.LakeUnusable, match=f"cannot be read as a lake: {name} is not there"):
        len(feed.revisions())


def test_what_is_changed_while_one_reads_is_read_again(both: StoreAndLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar would be the new one, and the change that tells the old one in no file that was looked at."""
    noted = LakeSource._noted
    looks: list[str] = []

    def overtaken(source: LakeSource, table: Noted, what: str) -> str | None:
        rows = noted(source, table, what)
        if not looks:
            revise(both, "BTCUSDT", 20, by=5.0)
            both.export()
        looks.append(table.name)
        return rows

    monkeypatch.setattr(LakeSource, "_noted", overtaken)
    at = "2026-03-12"
    in_lake = barfeed.open(both.address).bars("BTCUSDT", as_of=at).to_polars()
    assert in_lake.equals(barfeed.open(both.store.path).bars("BTCUSDT", as_of=at).to_polars())
    assert looks == ["ohlcv_revisions"] * 2
