"""The rows of one kind as a file: every row of it, to the bit, or none."""

import json
from pathlib import Path

import duckdb
import pytest

from barfeed.cli.commands.history.export import export
from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from commands import Ended, call
from feed.kinds.kinds_world import LATER_MS, NOW_MS, SYMBOLS, TARGET_MS, WINDOW, KindsWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> KindsWorld:
    """One to look at."""
    world = KindsWorld(tmp_path_factory.mktemp("fed"), NOW_MS + LATER_MS, "open_interest", "funding")
    assert world.run_pass(catch_up=True).exit_code == 0
    return world


def exported(world: KindsWorld, file: Path, *words: str) -> Ended:
    return call(export, file, "--duckdb", world.duckdb, *words)


def test_a_market_s_rows_are_in_the_file_to_the_bit(world: KindsWorld, tmp_path: Path) -> None:
    file = tmp_path / "interest.parquet"
    done = exported(world, file, "--kind", "open_interest", "--symbols", "all")
    assert done.out == (
        f"exported={3 * WINDOW} kind=open_interest series=3 span=2026-03-08 14:00..2026-03-10 13:00 file={file}\n"
    )
    columns = [name for name, *_ in duckdb.execute("DESCRIBE FROM read_parquet(?)", [str(file)]).fetchall()]
    assert columns == ["symbol", "timestamp", "known_at", "open_interest", "open_interest_value", "created_at"]
    query = "SELECT epoch_ms(timestamp), open_interest, open_interest_value FROM read_parquet(?) WHERE symbol = ?"
    for symbol in SYMBOLS:
        assert duckdb.execute(query, [str(file), symbol]).fetchall() == world.kept(KINDS["open_interest"], symbol)


def test_of_one_series_and_a_span_as_csv(world: KindsWorld, tmp_path: Path) -> None:
    file = tmp_path / "interest.csv"
    span = ("--from", "2026-03-10 12:00", "--to", "2026-03-10 13:00")
    told = json.loads(exported(world, file, "--kind", "open_interest", "--symbol", "BTCUSDT", *span, "--json").out)
    assert told == {
        "exported": 1, "kind": "open_interest", "series": 1, "first": "2026-03-10 12:00:00",
        "last": "2026-03-10 12:00:00", "file": str(file),
    }  # fmt: skip
    [header, row] = file.read_text().splitlines()
    assert header == "symbol,timestamp,known_at,open_interest,open_interest_value,created_at"
    [kept] = [each for each in world.kept(KINDS["open_interest"], "BTCUSDT") if each[0] == TARGET_MS - HOUR_MS]
    assert row.startswith("BTCUSDT,2026-03-10 12:00:00,2026-03-10 13:05:00,")
    assert [float(cell) for cell in row.split(",")[3:5]] == list(kept[1:])


def test_funding_keeps_its_milliseconds(world: KindsWorld, tmp_path: Path) -> None:
    file = tmp_path / "funding.csv"
    exported(world, file, "--kind", "funding", "--symbol", "ETHUSDT")
    assert "ETHUSDT,2026-03-10 08:00:00.004,2026-03-10 08:01:00.004," in file.read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--kind", "premium_index"), 1, "holds no row of premium_index 1h of these series; nothing was written"),
        (
            ("--kind", "open_interest", "--from", "2027-01-01"),
            1,
            "of these series from 2027-01-01 00:00 to before its end",
        ),
        (("--kind", "liquidations"), 2, "--kind: 'liquidations' is no kind of series"),
        (("--kind", "funding,open_interest"), 2, "one file holds one kind"),
        (("--kind", "funding", "--wide"), 2, "it goes without --wide and --as-of"),
    ],
)
def test_what_cannot_be_is_told_and_leaves_no_file(
    world: KindsWorld, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    done = exported(world, tmp_path / "x.csv", *words)
    assert (done.code, told in done.err) == (code, True), done.err
    assert not (tmp_path / "x.csv").exists()
