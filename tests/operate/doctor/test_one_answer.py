"""A user's own table that cannot be used: every command says so in the same words, with what mends it."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from barfeed.cli.commands.backfill import backfill
from barfeed.cli.commands.doctor import doctor
from barfeed.cli.commands.export import export
from barfeed.cli.commands.repair import repair
from barfeed.cli.commands.revisions import revisions
from barfeed.cli.commands.status import status
from barfeed.cli.commands.verify import verify
from commands import Ended, call, execute
from process import Machine

TABLE = "ohlcv_btcusdt_1h"
MADE = f"CREATE TABLE {TABLE} AS"
# What a user has in place of barfeed's table, and what is wrong with it.
OWN = {
    "no key": ([f"{MADE} FROM kept"], "it has no primary key and no unique index on timestamp alone"),
    "pandas": (
        [f"{MADE} SELECT timestamp::TIMESTAMP_NS AS timestamp, * EXCLUDE (timestamp, created_at) FROM kept"],
        "timestamp is TIMESTAMP_NS, expected TIMESTAMP; it has no primary key",
    ),
    "view": ([f"CREATE VIEW {TABLE} AS FROM kept"], "it is a view, expected a table"),
    "NOT NULL": (
        [f"{MADE} SELECT *, 'x' AS symbol FROM kept", f"ALTER TABLE {TABLE} ADD PRIMARY KEY (timestamp)",
         f"ALTER TABLE {TABLE} ALTER symbol SET NOT NULL"],
        "symbol is NOT NULL without a default",
    ),
    "decimals": (
        [f"{MADE} SELECT * REPLACE (volume::DECIMAL(18,3) AS volume) FROM kept",
         f"ALTER TABLE {TABLE} ADD PRIMARY KEY (timestamp)"],
        "volume is DECIMAL(18,3), expected DOUBLE",
    ),
}  # fmt: skip


def told_by_each(feeding: Machine, folder: Path) -> dict[str, Ended]:
    """How each command ends on this machine's store."""
    store = ("--duckdb", feeding.duckdb)
    online = (*store, "--base-url", feeding.url)
    files = ("--persist-dir", feeding.folder / "feed")
    runs = {name: feeding.feed(*flags) for name, flags in (("run", ()), ("dry run", ("--dry-run",)))}
    return {name: Ended(ran.code, ran.out, ran.err) for name, ran in runs.items()} | {
        "backfill": call(backfill, *online, "--source", "rest", "--from", "2024-02-01"),
        "repair": call(repair, *online, "--yes"),
        "repair --dry-run": call(repair, *online, "--dry-run"),
        "export": call(export, folder / "out.csv", *store),
        "export --as-of": call(export, folder / "out.csv", *store, "--as-of", "2024-02-10"),
        "revisions": call(revisions, *store),
        "verify": call(verify, *store, *files),
        "status": call(status, *online, *files),
        "doctor": call(doctor, *online, *files, "--max-skew-sec", "1e10"),
    }


# Each asks eleven commands: one is enough for every change.
SOME = [pytest.param(*each, id=name, marks=[pytest.mark.long] * (name != "no key")) for name, each in OWN.items()]


@pytest.mark.parametrize(("statements", "wrong"), SOME)
def test_every_command_says_the_same_and_the_hint_mends_it(
    feeding: Machine, tmp_path: Path, statements: list[str], wrong: str
) -> None:
    execute(feeding.duckdb, f"ALTER TABLE {TABLE} RENAME TO kept", *statements)
    before = feeding.duckdb.read_bytes()
    (tmp_path / "out").mkdir()
    ended = told_by_each(feeding, tmp_path / "out")
    assert feeding.duckdb.read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == []
    hint = ended["repair"].hint
    # Those tell all that they see: a trouble, a check; a finding, where the rows can be read as bars.
    looks = {"status", "doctor"} | ({"verify"} if "expected DOUBLE" not in wrong and "_NS" not in wrong else set())
    said = f"{feeding.duckdb}: table {TABLE} has another shape: {wrong}"
    for name, each in ended.items():
        assert said in each.err + each.out, name
        assert hint in each.err + each.out + each.hint, name
        assert each.code == (1 if name in looks else 4), name
    execute(feeding.duckdb, *hint.partition(": ")[2].split("; "))
    assert call(repair, "--duckdb", feeding.duckdb, "--base-url", feeding.url, "--dry-run").code == 0


def test_one_table_that_is_none_says_nothing_of_the_others(feeding: Machine) -> None:
    execute(
        feeding.duckdb,
        "CREATE TABLE ohlcv_aaausdt_1h AS SELECT 1 AS note",
        f"CREATE TABLE ohlcv_bbbusdt_1h AS FROM {TABLE}",
        "INSERT INTO ohlcv_bbbusdt_1h (timestamp) VALUES (NULL)",
        "CREATE SCHEMA other",
        f"CREATE TABLE other.ohlcv_cccusdt_1h AS FROM {TABLE}",
    )
    words = ("--duckdb", feeding.duckdb, "--base-url", feeding.url, "--persist-dir", feeding.folder / "feed", "--json")
    done = call(status, *words)
    told = {each["symbol"]: each for each in done.told["series"]}
    assert done.code == 1
    assert set(told) == {"AAAUSDT", "BBBUSDT", "BTCUSDT"}
    assert "timestamp is missing, expected TIMESTAMP" in told["AAAUSDT"]["troubles"][0]
    assert (told["BTCUSDT"]["bars"], told["BTCUSDT"]["troubles"]) == (726, [])


def test_a_users_own_table_of_revisions_is_no_bug_and_no_broken_file(feeding: Machine, tmp_path: Path) -> None:
    execute(feeding.duckdb, "CREATE TABLE ohlcv_revisions AS SELECT 'mine' AS note", f"UPDATE {TABLE} SET close = 1")
    words = ("--duckdb", feeding.duckdb, "--base-url", feeding.url)
    uses: list[Callable[[], Ended]] = [
        lambda: call(revisions, *words[:2]),
        lambda: call(repair, *words, "--yes", "--pause-sec", "0"),
        lambda: call(export, tmp_path / "out.csv", *words[:2], "--as-of", "2024-02-10"),
    ]
    for use in uses:
        done = use()
        assert done.code == 4
        assert "table ohlcv_revisions is not the one that barfeed keeps the revisions in" in done.err
        statement = done.hint.partition(": ")[2]
    execute(feeding.duckdb, statement)
    assert uses[0]().out == "BTCUSDT 1h: 0 revisions\n"
    with duckdb.connect(feeding.duckdb, read_only=True) as connection:
        assert connection.execute("FROM ohlcv_revisions_before").fetchall() == [("mine",)]
