"""A user's own table that cannot be used: whom it concerns says so in the same words, with what mends it."""

import shutil
from pathlib import Path

import pytest

from barfeed.cli.commands.history.backfill import backfill
from barfeed.cli.commands.history.export import export
from barfeed.cli.commands.history.repair import repair
from barfeed.cli.commands.history.revisions import revisions
from barfeed.cli.commands.history.verify import verify
from barfeed.cli.commands.operate.doctor import doctor
from barfeed.cli.commands.operate.status import status
from commands import Ended, call, execute
from process import Machine
from storage import opened
from world import hours, made_up_bars, ms

TABLE = "ohlcv_btcusdt_1h"
# What the machine's exchange has.
EXCHANGE = made_up_bars(ms(2024, 2, 10, 13) + hours(400), 1400)
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


VALUES = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, created_at TIMESTAMP"
TWO_PM = "2024-02-10 14:00"


def asking(constraint: str) -> list[str]:
    """A table of the right shape that asks for more of a bar, with the bars that were there."""
    table = f"CREATE TABLE {TABLE} (timestamp TIMESTAMP PRIMARY KEY, {VALUES}, {constraint})"
    return [table, f"INSERT INTO {TABLE} BY NAME FROM kept"]


# Tables that hold all bars up to 13:00 and refuse whatever comes next, and the constraint by which they do.
REFUSING = {
    "CHECK": (
        asking(f"CHECK (timestamp < '{TWO_PM}')"),
        f"{TABLE}_timestamp_check, CHECK((\"timestamp\" < '{TWO_PM}'))",
    ),
    "FOREIGN KEY": (
        ["CREATE TABLE calendar (moment TIMESTAMP PRIMARY KEY)", "INSERT INTO calendar SELECT timestamp FROM kept",
         *asking("FOREIGN KEY (timestamp) REFERENCES calendar (moment)")],
        f'{TABLE}_timestamp_moment_fkey, FOREIGN KEY ("timestamp") REFERENCES calendar(moment)',
    ),
    "unique index": (
        [*asking("note VARCHAR"), f"CREATE UNIQUE INDEX odd ON {TABLE} (least(timestamp, '2024-02-10 13:00'))"],
        "odd, CREATE UNIQUE INDEX odd ON ",
    ),
}  # fmt: skip
# They store what comes, or tell whether that can be stored; the others have nothing to do with it.
STORE_WHAT_COMES = {"run", "dry run", "backfill", "status", "doctor"}


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
        "export --as-of": call(export, folder / "out.csv", *store, "--as-of", "2099-01-01"),
        "revisions": call(revisions, *store),
        "verify": call(verify, *store, *files),
        "status": call(status, *online, *files),
        "doctor": call(doctor, *online, *files, "--max-skew-sec", "1e10"),
    }


# Each asks eleven commands: one is enough for every change.
SOME = [pytest.param(*each, id=name, marks=[pytest.mark.long] * (name != "no key")) for name, each in OWN.items()]


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("statements", "constraint"),
    [pytest.param(*each, id=name, marks=[pytest.mark.long] * (name != "CHECK")) for name, each in REFUSING.items()],
)
def test_all_who_would_store_a_bar_name_the_constraint_that_refuses_it_and_the_others_go_on(
    feeding: Machine, tmp_path: Path, statements: list[str], constraint: str
) -> None:
    execute(feeding.duckdb, f"ALTER TABLE {TABLE} RENAME TO kept", *statements)
    assert feeding.feed().code == 0, "nothing is to be stored in this hour"
    feeding.clock.advance(hours(1))
    before = feeding.duckdb.read_bytes()
    (tmp_path / "out").mkdir()
    ended = told_by_each(feeding, tmp_path / "out")
    assert feeding.duckdb.read_bytes() == before
    hint = ended["backfill"].hint
    said = f"{feeding.duckdb}: table {TABLE} refuses the bar {TWO_PM}: {constraint}"
    for name, each in ended.items():
        told = each.err + each.out + each.hint
        assert (said in told, hint in told) == (name in STORE_WHAT_COMES,) * 2, name
        assert each.code == (0 if name not in STORE_WHAT_COMES else 1 if name in {"status", "doctor"} else 4), name
    execute(feeding.duckdb, *hint.partition(": ")[2].split("; "))
    assert feeding.feed().code == 0


@pytest.mark.long
def test_a_check_that_nobody_can_foresee_is_a_note_until_the_bar_comes_and_then_told_alike(feeding: Machine) -> None:
    (coming,) = (bar for bar in EXCHANGE if bar.open_time_ms == ms(2024, 2, 10, 14))
    execute(feeding.duckdb, f"ALTER TABLE {TABLE} RENAME TO kept", *asking(f"CHECK (close <> {coming.close})"))
    online = ("--duckdb", feeding.duckdb, "--base-url", feeding.url)
    files = ("--persist-dir", feeding.folder / "feed")
    assert feeding.feed("--dry-run").code == 0
    assert call(status, *online, *files).code == 0
    looked = call(doctor, *online, *files, "--max-skew-sec", "1e10", "--json")
    check = next(each for each in looked.told["checks"] if each["name"] == "constraints")
    named = f'{TABLE}_close_check, CHECK(("close" != {coming.close}))'
    assert (looked.code, check["state"], check["seen"]) == (0, "note", f"{TABLE}: {named}")

    feeding.clock.advance(hours(1))
    filled = call(backfill, *online, "--source", "rest", "--from", "2024-02-10")
    for ended in (feeding.feed("--dry-run"), feeding.feed(), filled):
        assert ended.code == 4
        assert f"{feeding.duckdb}: table {TABLE} refuses the bar {TWO_PM}: {named}" in ended.err
    with opened(feeding.duckdb, read_only=True) as connection:
        assert connection.execute(f"SELECT count(*) FROM {TABLE}").fetchall() == [(726,)]


@pytest.mark.long
def test_a_repair_that_a_check_refuses_is_told_by_its_dry_run(feeding: Machine) -> None:
    gone = "timestamp = '2024-02-10 12:00'"
    empty, filled = asking(f"CHECK (NOT {gone})")
    execute(feeding.duckdb, f"ALTER TABLE {TABLE} RENAME TO kept", empty, f"{filled} WHERE NOT {gone}")
    online = ("--duckdb", feeding.duckdb, "--base-url", feeding.url)
    for flags in (("--dry-run",), ("--yes",), ("--only", "gaps", "--dry-run")):
        done = call(repair, *online, *flags)
        assert done.code == 4
        assert f"refuses the bar 2024-02-10 12:00: {TABLE}_timestamp_check, CHECK(" in done.err
    assert call(repair, *online, "--only", "mismatches", "--dry-run").code == 0


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


AUDIT = "series VARCHAR, timestamp TIMESTAMP"
for side in ("old", "new"):
    AUDIT += "".join(f", {side}_{name} DOUBLE" for name in ("open", "high", "low", "close", "volume"))
AUDIT += ", seen_at TIMESTAMP, accepted_at TIMESTAMP, reason VARCHAR, run VARCHAR"
# What a user has in place of barfeed's own ohlcv_revisions, and why it keeps no revision.
OWN_AUDIT = {
    "other columns": (
        ["CREATE TABLE ohlcv_revisions AS SELECT 'mine' AS note"], "series is missing; timestamp is missing"
    ),
    "other types": (
        [f"CREATE TABLE ohlcv_revisions ({AUDIT.replace('seen_at TIMESTAMP', 'seen_at TIMESTAMPTZ')})"],
        "seen_at is TIMESTAMP WITH TIME ZONE",
    ),
    "a view": (
        [f"CREATE TABLE mine ({AUDIT})", "CREATE VIEW ohlcv_revisions AS FROM mine"], "it is a view",
    ),
    "a view of nothing": (
        ["CREATE TABLE mine (note VARCHAR)", "CREATE VIEW ohlcv_revisions AS FROM mine", "DROP TABLE mine"],
        "it is a view",
    ),
    "a key": (
        [f"CREATE TABLE ohlcv_revisions ({AUDIT}, PRIMARY KEY (series, timestamp))"],
        'it has a constraint of its own: ohlcv_revisions_series_timestamp_pkey, PRIMARY KEY(series, "timestamp")',
    ),
    "a further column": (
        [f"CREATE TABLE ohlcv_revisions ({AUDIT}, who VARCHAR NOT NULL)"], "who is NOT NULL without a default"
    ),
    "a computed column": (
        [f"CREATE TABLE ohlcv_revisions ({AUDIT.replace('run VARCHAR', 'run VARCHAR GENERATED ALWAYS AS (reason)')})"],
        "a column is computed (GENERATED)",
    ),
}  # fmt: skip
ACCEPT = ("--on-mismatch", "accept", "--pause-sec", "0")


def told_of_the_audit(feeding: Machine, folder: Path) -> dict[str, Ended]:
    """How each command ends that has, or has not, to do with the audit table."""
    online = ("--duckdb", feeding.duckdb, "--base-url", feeding.url)
    fill = ("--source", "rest", "--from", "2024-02-01")
    return told_by_each(feeding, folder) | {
        "verify --against": call(
            verify, *online, "--persist-dir", feeding.folder / "feed", "--against", "rest", *fill[2:]
        ),
        "backfill of a table": call(
            backfill, *online, "--source", "table", f"{feeding.duckdb.with_name('other')}:{TABLE}"
        ),
        "repair --only gaps": call(repair, *online, "--only", "gaps", "--dry-run"),
    }


# They keep revisions, or tell what was changed; the others need none. Doctor and status have a note of it.
NEED_THE_AUDIT = {"repair", "repair --dry-run", "repair --only gaps", "revisions", "export --as-of"}


SOME_AUDITS = [
    pytest.param(*each, id=name, marks=[pytest.mark.long] * (name != "a view")) for name, each in OWN_AUDIT.items()
]


@pytest.mark.long
@pytest.mark.parametrize(("statements", "wrong"), SOME_AUDITS)
def test_who_needs_the_audit_table_refuses_another_by_its_name_and_the_hour_goes_by_without(
    feeding: Machine, tmp_path: Path, statements: list[str], wrong: str
) -> None:
    shutil.copy(feeding.duckdb, feeding.duckdb.with_name("other"))
    execute(feeding.duckdb, *statements)
    (tmp_path / "out").mkdir()
    ended = told_of_the_audit(feeding, tmp_path / "out")
    hint = ended["revisions"].hint
    said = f"table ohlcv_revisions is not the one that barfeed keeps the revisions in: {wrong}"
    tell = NEED_THE_AUDIT | {"status", "doctor"}
    for name, each in ended.items():
        told = each.err + each.out + each.hint
        assert (said in told, hint in told) == (name in tell,) * 2, name
        assert each.code == (4 if name in NEED_THE_AUDIT else 0), name
    assert "revisions unknown" in ended["status"].out


@pytest.mark.long
@pytest.mark.parametrize(("statements", "wrong"), SOME_AUDITS)
def test_an_hour_that_would_revise_a_bar_needs_the_audit_table_and_the_hint_mends_it(
    feeding: Machine, statements: list[str], wrong: str
) -> None:
    execute(feeding.duckdb, *statements)
    execute(feeding.duckdb, f"UPDATE {TABLE} SET volume = volume * 1.0001 WHERE timestamp = '2024-02-10 12:00'")
    for flags in ((), ("--dry-run",)):
        ran = feeding.feed(*ACCEPT, *flags)
        assert ran.code == 4
        assert f"table ohlcv_revisions is not the one that barfeed keeps the revisions in: {wrong}" in ran.err
    execute(feeding.duckdb, call(revisions, "--duckdb", feeding.duckdb).hint.partition(": ")[2])
    assert feeding.feed(*ACCEPT).code == 0
    assert call(revisions, "--duckdb", feeding.duckdb).out.endswith("BTCUSDT 1h: 1 revisions\n")


def test_a_users_own_table_of_revisions_is_kept_under_another_name(feeding: Machine) -> None:
    execute(feeding.duckdb, "CREATE TABLE ohlcv_revisions AS SELECT 'mine' AS note")
    execute(feeding.duckdb, call(revisions, "--duckdb", feeding.duckdb).hint.partition(": ")[2])
    assert call(revisions, "--duckdb", feeding.duckdb).out == "BTCUSDT 1h: 0 revisions\n"
    with opened(feeding.duckdb, read_only=True) as connection:
        assert connection.execute("FROM ohlcv_revisions_before").fetchall() == [("mine",)]
